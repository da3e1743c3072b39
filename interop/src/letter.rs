//! Messages to send: made from a seed, so that both ends can be compared octet by octet without keeping anything.

/// The header field that begins every letter. Whatever stands above it on arrival is trace.
pub const MARK: &str = "X-Lab-Letter";

/// Longest line of a body, without its end (RFC 5321 §4.5.3.1.6 allows 998).
const LINE_BYTES_MAX: usize = 900;

/// What the body is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Octets {
    /// ASCII, with lines that begin with dots and some of great length.
    Ascii,
    /// UTF-8 text: needs 8BITMIME.
    EightBit,
}

/// A message and its envelope.
#[derive(Clone, Debug)]
pub struct Letter {
    /// Its name: the value of the [`MARK`] field.
    pub id: String,
    /// The envelope sender; empty for the null sender.
    pub sender: String,
    /// The envelope recipients.
    pub recipients: Vec<String>,
    /// The content, with CRLF line ends, from the [`MARK`] field on.
    pub content: Vec<u8>,
    /// Whether the content holds octets above 127.
    pub eight_bit: bool,
    /// Whether an address or the header holds UTF-8.
    pub smtputf8: bool,
}

impl Letter {
    /// A letter of about `bytes` octets, at least its header.
    pub fn new(id: &str, sender: &str, recipients: &[&str], bytes: usize, octets: Octets) -> Letter {
        let smtputf8 = !sender.is_ascii() || recipients.iter().any(|recipient| !recipient.is_ascii());
        let mut content = header(
            id,
            sender,
            recipients.first().copied().unwrap_or_default(),
            octets,
        )
        .into_bytes();
        fill(&mut content, bytes, octets, seed_of(id));
        let recipients = recipients
            .iter()
            .map(|recipient| (*recipient).to_owned())
            .collect();
        let eight_bit = octets == Octets::EightBit || smtputf8;
        Letter {
            id: id.to_owned(),
            sender: sender.to_owned(),
            recipients,
            content,
            eight_bit,
            smtputf8,
        }
    }

    /// What differs between this letter and one that arrived, in words; `None` if it is the same below the trace.
    /// Line ends are compared as lines: a store that keeps LF is read as CRLF.
    pub fn differs_from(&self, arrived: &[u8]) -> Option<String> {
        let arrived = with_crlf(arrived);
        let begin = format!("{MARK}: {}\r\n", self.id);
        let Some(start) = find(&arrived, begin.as_bytes()) else {
            return Some(format!("{}: no field {MARK} on arrival", self.id));
        };
        let below = &arrived[start..];
        if below == self.content {
            return None;
        }
        let same = below
            .iter()
            .zip(&self.content)
            .take_while(|(left, right)| left == right)
            .count();
        let piece = |bytes: &[u8]| {
            let end = bytes.len().min(same + 60);
            String::from_utf8_lossy(&bytes[same.saturating_sub(20).min(end)..end]).into_owned()
        };
        Some(format!(
            "{}: sent {} octets, {} arrived; they differ at octet {same}: sent {:?}, arrived {:?}",
            self.id,
            self.content.len(),
            below.len(),
            piece(&self.content),
            piece(below)
        ))
    }

    /// Panics unless `arrived` is this letter below its trace.
    pub fn must_equal(&self, arrived: &[u8]) {
        if let Some(difference) = self.differs_from(arrived) {
            panic!("altered on the way: {difference}");
        }
    }
}

/// The name of the letter that arrived, if it is one.
pub fn id_of(arrived: &[u8]) -> Option<String> {
    let begin = format!("{MARK}: ");
    let start = find(arrived, begin.as_bytes())? + begin.len();
    let line = arrived[start..].split(|byte| *byte == b'\n').next()?;
    Some(String::from_utf8_lossy(line).trim_end().to_owned())
}

/// The octets above the [`MARK`] field: what the hosts on the way wrote.
pub fn trace_of(arrived: &[u8]) -> String {
    let end = find(arrived, format!("{MARK}: ").as_bytes()).unwrap_or(arrived.len());
    String::from_utf8_lossy(&arrived[..end]).into_owned()
}

/// Lone LFs become CRLF.
pub fn with_crlf(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 40);
    let mut before = 0;
    for &byte in bytes {
        if byte == b'\n' && before != b'\r' {
            out.push(b'\r');
        }
        out.push(byte);
        before = byte;
    }
    out
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    // Looked for at line starts only, which is also quick in 30 MiB.
    let mut at = 0;
    loop {
        if bytes[at..].starts_with(wanted) {
            return Some(at);
        }
        at += bytes[at..].iter().position(|byte| *byte == b'\n')? + 1;
    }
}

fn header(id: &str, sender: &str, recipient: &str, octets: Octets) -> String {
    let from = if sender.is_empty() {
        "nobody@lab.test"
    } else {
        sender
    };
    let (charset, encoding) = match octets {
        Octets::Ascii => ("us-ascii", "7bit"),
        Octets::EightBit => ("utf-8", "8bit"),
    };
    format!(
        "{MARK}: {id}\r\nFrom: <{from}>\r\nTo: <{recipient}>\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\n\
         Message-ID: <{id}@lab.test>\r\nSubject: letter {id}\r\nMIME-Version: 1.0\r\n\
         Content-Type: text/plain; charset={charset}\r\nContent-Transfer-Encoding: {encoding}\r\n\r\n"
    )
}

/// Lines that a careless relay would change: dots at the start, blanks at the end, "From ", tabs, long ones, empty ones.
fn fill(content: &mut Vec<u8>, bytes: usize, octets: Octets, seed: u64) {
    let mut dice = Dice(seed);
    let start = content.len();
    while content.len() < bytes || content.len() == start {
        let kind = dice.roll() % 16;
        match kind {
            0 => content.push(b'.'),
            1 => content.extend_from_slice(b"..two dots"),
            2 => {}
            3 => content.extend_from_slice(b"From the start of a line"),
            4 => content.extend_from_slice(b"blanks behind \t  "),
            5 => content.extend_from_slice(b".\ttab"),
            6 => words(content, &mut dice, octets, LINE_BYTES_MAX),
            _ => words(content, &mut dice, octets, 72),
        }
        content.extend_from_slice(b"\r\n");
    }
    content.extend_from_slice(b"the end\r\n");
}

fn words(content: &mut Vec<u8>, dice: &mut Dice, octets: Octets, line_bytes: usize) {
    let end = content.len() + line_bytes;
    while content.len() + 20 < end {
        match octets {
            Octets::EightBit if dice.roll().is_multiple_of(3) => {
                content.extend_from_slice("größe – 日本 ".as_bytes())
            }
            _ => content.extend_from_slice(format!("{:014x} ", dice.roll() >> 8).as_bytes()),
        }
    }
}

fn seed_of(id: &str) -> u64 {
    // FNV-1a: the same name gives the same letter in every run.
    id.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Xorshift: enough for filling letters and choosing instants.
pub struct Dice(pub u64);

impl Dice {
    /// The next 64 bits.
    pub fn roll(&mut self) -> u64 {
        self.0 |= 1;
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_survives_a_store_with_bare_line_feeds_and_trace_above() {
        let letter = Letter::new("a1", "you@x.test", &["me@y.test"], 5_000, Octets::EightBit);
        let stored = [b"Received: by somebody\n".as_slice(), &letter.content].concat();
        let stored: Vec<u8> = stored.into_iter().filter(|byte| *byte != b'\r').collect();
        assert_eq!(letter.differs_from(&stored), None);
        assert_eq!(id_of(&stored).as_deref(), Some("a1"));
        assert_eq!(trace_of(&stored), "Received: by somebody\n");
    }

    #[test]
    fn a_lost_dot_a_cut_end_and_a_foreign_letter_are_seen() {
        let letter = Letter::new("a2", "", &["me@y.test"], 5_000, Octets::Ascii);
        let text = String::from_utf8_lossy(&letter.content).into_owned();
        assert!(
            letter
                .differs_from(text.replacen("\r\n..two", "\r\n.two", 1).as_bytes())
                .is_some()
        );
        assert!(
            letter
                .differs_from(&letter.content[..letter.content.len() - 2])
                .is_some()
        );
        assert!(
            letter
                .differs_from(text.replacen("a2", "a3", 1).as_bytes())
                .is_some()
        );
    }
}
