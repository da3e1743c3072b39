//! A report whose whole original cannot travel in 8 bits, written anew with the original's header alone (RFC 6522 §4).

use mail::Content;
use mail::content::Survey;

/// Where in the report the next line stands.
enum Place {
    Header,
    Parts,
    PartType,
    PartEncoding,
    PartGap,
    Original,
}

/// Reads one of this server's reports and writes it with the header of the original in place of the whole, so that it is
/// 7-bit. Gives what kind of octets were written; nothing if it is no report that returns a whole original in 8 bits.
pub fn shorten<E>(
    read: impl FnMut(&mut [u8]) -> Result<usize, E>,
    mut push: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<Option<Content>, E> {
    let mut lines = Lines::new(read);
    let mut survey = Survey::default();
    let mut put = |bytes: &[u8]| {
        survey.feed(bytes);
        push(bytes)
    };
    let (mut boundary, mut returned): (Option<Vec<u8>>, usize) = (None, 0);
    let mut place = Place::Header;
    while let Some(line) = lines.next()? {
        let is_boundary = || boundary.as_ref().is_some_and(|boundary| *boundary == line);
        place = match (place, line.as_slice()) {
            (Place::Header, EIGHT_BIT) => put(SEVEN_BIT).map(|()| Place::Header)?,
            (Place::Header, b"\r\n") if boundary.is_none() => return Ok(None),
            (Place::Header, b"\r\n") => put(&line).map(|()| Place::Parts)?,
            (Place::Header, field) => {
                boundary = boundary.or_else(|| delimiter(field));
                put(field).map(|()| Place::Header)?
            }
            (Place::Parts, _) if is_boundary() => put(&line).map(|()| Place::PartType)?,
            (Place::PartType, WHOLE) => put(HEADER).map(|()| Place::PartEncoding)?,
            (Place::Parts | Place::PartType, other) => put(other).map(|()| Place::Parts)?,
            (Place::PartEncoding, EIGHT_BIT) => put(SEVEN_BIT).map(|()| Place::PartGap)?,
            (Place::PartGap, b"\r\n") => put(&line).map(|()| Place::Original)?,
            (Place::PartEncoding | Place::PartGap, _) => return Ok(None),
            (Place::Original, field) if field != b"\r\n" && returned + field.len() <= super::HEADER_BYTES => {
                returned += field.len();
                put(field).map(|()| Place::Original)?
            }
            (Place::Original, _) => {
                let name = boundary.as_deref().unwrap_or_default();
                put(&[b"\r\n", name.trim_ascii_end(), b"--\r\n"].concat())?;
                return Ok(Some(survey.content()));
            }
        };
    }
    Ok(None)
}

/// The line between parts, from the field that names it.
fn delimiter(field: &[u8]) -> Option<Vec<u8>> {
    let field = std::str::from_utf8(field).ok()?;
    let name = field.split_once("boundary=\"")?.1.split_once('"')?.0;
    Some(format!("--{name}\r\n").into_bytes())
}

/// A stream by lines, each with its end.
struct Lines<R> {
    read: R,
    waiting: Vec<u8>,
}

impl<E, R: FnMut(&mut [u8]) -> Result<usize, E>> Lines<R> {
    fn new(read: R) -> Lines<R> {
        Lines {
            read,
            waiting: Vec::new(),
        }
    }

    /// The next line, or a piece of one that is longer than any of a report's own.
    fn next(&mut self) -> Result<Option<Vec<u8>>, E> {
        loop {
            let end = self.waiting.windows(2).position(|pair| pair == b"\r\n");
            let whole = end
                .map(|at| at + 2)
                .or((self.waiting.len() >= PIECE_BYTES).then_some(PIECE_BYTES));
            if let Some(end) = whole {
                return Ok(Some(self.waiting.drain(..end).collect()));
            }
            let mut piece = [0; PIECE_BYTES];
            match (self.read)(&mut piece)? {
                0 if self.waiting.is_empty() => return Ok(None),
                0 => return Ok(Some(std::mem::take(&mut self.waiting))),
                got => self.waiting.extend_from_slice(&piece[..got]),
            }
        }
    }
}

const WHOLE: &[u8] = b"Content-Type: message/rfc822\r\n";
const HEADER: &[u8] = b"Content-Type: text/rfc822-headers\r\n";
const EIGHT_BIT: &[u8] = b"Content-Transfer-Encoding: 8bit\r\n";
const SEVEN_BIT: &[u8] = b"Content-Transfer-Encoding: 7bit\r\n";
/// Octets read at a time; longer than any line of a report.
const PIECE_BYTES: usize = 4096;
