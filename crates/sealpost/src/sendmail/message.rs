//! A message that a program wrote, made complete: Date, From and Message-ID where they are missing, no Bcc, and the
//! recipients that its header names (RFC 5322 §3.6, RFC 6409 §8).

use std::io::Read;
use std::time::SystemTime;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use super::lines::{BadLine, Lines};

/// What is put in where it is missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// The address for From.
    pub from: String,
    /// The name for From.
    pub name: Option<String>,
    /// The date, as mail writes it.
    pub date: String,
    /// The message's name, without angle brackets.
    pub message_id: String,
    /// Whether To, Cc and Bcc name the recipients.
    pub recipients_from_header: bool,
}

/// A completed header and what of the body was read with it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completed {
    /// Octets to send first.
    pub head: Vec<u8>,
    /// Addresses from the header, if they were asked for.
    pub recipients: Vec<String>,
}

/// Reads a message in pieces.
#[derive(Debug)]
pub struct MessageReader {
    lines: Lines,
    over: bool,
}

impl MessageReader {
    /// Before the first octet.
    pub fn new(lines: Lines) -> MessageReader {
        MessageReader { lines, over: false }
    }

    /// Reads to the end of the header and completes it.
    pub fn read_head(
        &mut self,
        input: &mut impl Read,
        completion: &Completion,
    ) -> Result<Completed, BadLine> {
        let mut text = Vec::new();
        loop {
            if let Some(end) = header_end(&text, self.over) {
                let (mut head, recipients) = complete(&text[..end.fields], completion);
                head.extend_from_slice(b"\r\n");
                head.extend_from_slice(&text[end.body..]);
                return Ok(Completed { head, recipients });
            }
            if text.len() > HEADER_BYTES_MAX {
                return Err(BadLine::HeaderTooLong);
            }
            self.read(input, &mut text)?;
        }
    }

    /// The next octets of the body; none at its end.
    pub fn read_more(&mut self, input: &mut impl Read) -> Result<Option<Vec<u8>>, BadLine> {
        let mut text = Vec::new();
        while text.is_empty() && !self.over {
            self.read(input, &mut text)?;
        }
        Ok(Some(text).filter(|text| !text.is_empty()))
    }

    fn read(&mut self, input: &mut impl Read, text: &mut Vec<u8>) -> Result<(), BadLine> {
        let mut piece = vec![0; PIECE_BYTES];
        let read = input.read(&mut piece).map_err(BadLine::World)?;
        self.over = match read {
            0 => {
                self.lines.end(text);
                true
            }
            read => self.lines.feed(&piece[..read], text)?,
        };
        Ok(())
    }
}

/// Where the fields end, and where the body begins.
struct HeaderEnd {
    fields: usize,
    body: usize,
}

/// Finds the end of the header: the empty line, a line that is no field, or the end of all. None: more must be read.
fn header_end(text: &[u8], over: bool) -> Option<HeaderEnd> {
    let mut at = 0;
    loop {
        let Some(length) = text[at..].windows(2).position(|two| two == b"\r\n") else {
            let end = text.len();
            return over.then_some(HeaderEnd {
                fields: end,
                body: end,
            });
        };
        let line = &text[at..at + length];
        if line.is_empty() {
            return Some(HeaderEnd {
                fields: at,
                body: at + 2,
            });
        }
        let folded = at > 0 && matches!(line[0], b' ' | b'\t');
        let belongs = folded || is_field(line) || (at == 0 && is_mbox_line(line));
        if !belongs {
            // The program forgot the empty line.
            return Some(HeaderEnd { fields: at, body: at });
        }
        at += length + 2;
    }
}

fn is_field(line: &[u8]) -> bool {
    let colon = line.iter().position(|octet| *octet == b':');
    let name = colon.map(|colon| line[..colon].trim_ascii_end());
    name.is_some_and(|name| !name.is_empty() && name.iter().all(|octet| (33..127).contains(octet)))
}

/// `From someone date` of an mbox file, which is no field.
fn is_mbox_line(line: &[u8]) -> bool {
    line.starts_with(b"From ") || line.starts_with(b">From ")
}

/// The header with what was missing and without Bcc, and the recipients it names.
fn complete(header: &[u8], completion: &Completion) -> (Vec<u8>, Vec<String>) {
    let fields = fields(header);
    let has = |name: &str| fields.iter().any(|(found, _)| found.eq_ignore_ascii_case(name));
    let mut out = Vec::new();
    let mut add = |name: &str, value: &str| out.extend_from_slice(format!("{name}: {value}\r\n").as_bytes());
    if !has("Date") {
        add("Date", &completion.date);
    }
    if !has("From") {
        add("From", &from(completion));
    }
    if !has("Message-ID") {
        add("Message-ID", &format!("<{}>", completion.message_id));
    }
    if !has("To") && !has("Cc") {
        add("To", "undisclosed-recipients:;");
    }
    for (name, lines) in &fields {
        if !["Bcc", "Resent-Bcc", "Return-Path"]
            .iter()
            .any(|gone| name.eq_ignore_ascii_case(gone))
        {
            out.extend_from_slice(lines);
        }
    }
    let recipients = match completion.recipients_from_header {
        true => recipients(&fields),
        false => Vec::new(),
    };
    (out, recipients)
}

/// Names and whole lines.
fn fields(header: &[u8]) -> Vec<(String, &[u8])> {
    let mut fields: Vec<(String, usize, usize)> = Vec::new();
    let mut at = 0;
    while at < header.len() {
        let end = at
            + header[at..]
                .windows(2)
                .position(|two| two == b"\r\n")
                .map_or(header.len() - at, |end| end + 2);
        let line = &header[at..end];
        match fields.last_mut() {
            Some((_, _, last)) if matches!(line[0], b' ' | b'\t') => *last = end,
            _ if is_field(line) => {
                let name = line.split(|octet| *octet == b':').next().unwrap_or_default();
                fields.push((
                    String::from_utf8_lossy(name.trim_ascii_end()).into_owned(),
                    at,
                    end,
                ));
            }
            _ => {} // an mbox line
        }
        at = end;
    }
    fields
        .into_iter()
        .map(|(name, from, to)| (name, &header[from..to]))
        .collect()
}

/// A message that is resent goes to whom it is resent to (RFC 5322 §3.6.6).
fn recipients(fields: &[(String, &[u8])]) -> Vec<String> {
    let of = |prefix: &str| {
        let named = fields.iter().filter(|(name, _)| {
            ["To", "Cc", "Bcc"]
                .iter()
                .any(|part| name.eq_ignore_ascii_case(&format!("{prefix}{part}")))
        });
        let mut found: Vec<String> = Vec::new();
        for (name, lines) in named {
            let value = String::from_utf8_lossy(&lines[name.len()..]);
            let value = value.trim_start().trim_start_matches(':');
            for address in addresses_in(value) {
                if !found.contains(&address) {
                    found.push(address);
                }
            }
        }
        found
    };
    let resent = of("Resent-");
    match resent.is_empty() {
        true => of(""),
        false => resent,
    }
}

/// The addresses of a list: `Ann (x) <a@b>, group: c@d, e;`. Names, comments and routes fall away.
pub fn addresses_in(list: &str) -> Vec<String> {
    let entries = entries(list);
    let addresses = entries.iter().map(|entry| {
        let address = inside_brackets(entry).map_or(entry.as_str(), without_route);
        address.trim().to_owned()
    });
    addresses.filter(|address| !address.is_empty()).collect()
}

/// The entries of a list, without comments and names of groups.
fn entries(list: &str) -> Vec<String> {
    let (mut found, mut one) = (Vec::new(), String::new());
    // Inside quotes; behind a backslash; comments around; brackets around, `<` or `[`.
    let (mut quoted, mut escaped, mut comments, mut brackets) = (false, false, 0_usize, 0_usize);
    for c in list.chars() {
        let is_escaped = std::mem::take(&mut escaped);
        match c {
            _ if is_escaped => {}
            '\\' if quoted || comments > 0 => escaped = true,
            '"' if comments == 0 => quoted = !quoted,
            _ if quoted => {}
            '(' => comments += 1,
            ')' if comments > 0 => {
                comments -= 1;
                continue;
            }
            _ if comments > 0 => {}
            '<' | '[' => brackets += 1,
            '>' | ']' => brackets = brackets.saturating_sub(1),
            ',' | ';' if brackets == 0 => {
                found.push(std::mem::take(&mut one));
                continue;
            }
            ':' if brackets == 0 => {
                one.clear(); // a group's name
                continue;
            }
            _ => {}
        }
        if comments == 0 && (quoted || !c.is_control()) {
            one.push(c);
        }
    }
    found.push(one);
    found
}

/// What stands in angle brackets outside quotes, if anything does.
fn inside_brackets(entry: &str) -> Option<&str> {
    let (mut quoted, mut escaped) = (false, false);
    let open = entry.find(|c| {
        let is_escaped = std::mem::take(&mut escaped);
        match c {
            _ if is_escaped => {}
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        c == '<' && !quoted
    })?;
    let inside = &entry[open + 1..];
    Some(inside.rsplit_once('>').map_or(inside, |(inside, _)| inside))
}

/// `@a,@b:user@c` is `user@c` (RFC 5321 §4.1.1.3).
fn without_route(path: &str) -> &str {
    match (path.starts_with('@'), path.split_once(':')) {
        (true, Some((_, address))) => address,
        _ => path,
    }
}

fn from(completion: &Completion) -> String {
    match &completion.name {
        None => completion.from.clone(),
        Some(name) => {
            let clean: String = name.chars().filter(|c| !c.is_control()).collect();
            let quoted = clean.replace('\\', "\\\\").replace('"', "\\\"");
            match clean.is_ascii() {
                true => format!("\"{quoted}\" <{}>", completion.from),
                false => format!("{} <{}>", encoded_words(&clean), completion.from),
            }
        }
    }
}

/// A phrase in encoded words of at most 75 octets (RFC 2047 §2, §5).
fn encoded_words(text: &str) -> String {
    let mut words = vec![String::new()];
    for c in text.chars() {
        let mut buffer = [0; 4];
        let piece: String = c
            .encode_utf8(&mut buffer)
            .bytes()
            .map(|octet| match octet {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => char::from(octet).to_string(),
                octet => format!("={octet:02X}"),
            })
            .collect();
        match words.last_mut() {
            Some(word) if word.len() + piece.len() <= 60 => word.push_str(&piece),
            _ => words.push(piece),
        }
    }
    let words: Vec<String> = words.iter().map(|word| format!("=?utf-8?Q?{word}?=")).collect();
    words.join(" ")
}

/// A time as mail writes it, in UTC.
pub fn date(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    at.format(&Rfc2822)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

const HEADER_BYTES_MAX: usize = 1024 * 1024;
const PIECE_BYTES: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sendmail::lines::Dot;

    fn completion() -> Completion {
        Completion {
            from: "ann@mx.example".into(),
            name: None,
            date: "DATE".into(),
            message_id: "ID@mx.example".into(),
            recipients_from_header: true,
        }
    }

    fn read(text: &str, completion: &Completion) -> (String, Vec<String>) {
        let mut reader = MessageReader::new(Lines::new(Dot::Ends));
        let mut input = text.as_bytes();
        let completed = reader.read_head(&mut input, completion).unwrap();
        let mut octets = completed.head;
        while let Some(more) = reader.read_more(&mut input).unwrap() {
            octets.extend(more);
        }
        (String::from_utf8(octets).unwrap(), completed.recipients)
    }

    #[test]
    fn a_message_is_completed() {
        let (text, to) = read(
            "To: a@b,\n\tBob <c@d>\nBcc: e@f\nSubject: x\n\nbody\n",
            &completion(),
        );
        assert_eq!(to, ["a@b", "c@d", "e@f"]);
        assert_eq!(
            text,
            "Date: DATE\r\nFrom: ann@mx.example\r\nMessage-ID: <ID@mx.example>\r\nTo: a@b,\r\n\tBob <c@d>\r\nSubject: x\r\n\r\nbody\r\n"
        );
        let whole = "Date: d\r\nFrom: f\r\nMessage-Id: m\r\nTo: a@b\r\n\r\nx\r\n";
        assert_eq!(read(whole, &completion()).0, whole);
    }

    #[test]
    fn odd_messages() {
        let start = "Date: DATE\r\nFrom: ann@mx.example\r\nMessage-ID: <ID@mx.example>\r\nTo: undisclosed-recipients:;\r\n";
        assert_eq!(read("", &completion()).0, format!("{start}\r\n"));
        assert_eq!(
            read("just text\n", &completion()).0,
            format!("{start}\r\njust text\r\n")
        );
        assert_eq!(
            read("Subject: x\nno field\nmore", &completion()).0,
            format!("{start}Subject: x\r\n\r\nno field\r\nmore\r\n")
        );
        assert_eq!(
            read("From root Mon\nSubject: x\n\ny", &completion()).0,
            format!("{start}Subject: x\r\n\r\ny\r\n")
        );
        assert_eq!(
            read("\nFrom: in the body\n", &completion()).0,
            format!("{start}\r\nFrom: in the body\r\n")
        );
        let resent = read("To: a@b\nResent-To: c@d\nResent-Bcc: e@f\n\n", &completion());
        assert_eq!(resent.1, ["c@d", "e@f"]);
        assert!(!resent.0.contains("e@f"));
    }

    // proves: 2049-2-5 2047-5-1
    #[test]
    fn a_name_is_quoted_or_encoded() {
        let named = |name: &str| {
            from(&Completion {
                name: Some(name.into()),
                ..completion()
            })
        };
        assert_eq!(named("Ann \"x\"\n"), "\"Ann \\\"x\\\"\" <ann@mx.example>");
        assert_eq!(named("Änn"), "=?utf-8?Q?=C3=84nn?= <ann@mx.example>");
        let long = named(&"ä".repeat(60));
        assert!(long.split(' ').all(|word| word.len() <= 75), "{long}");
        assert_eq!(
            crate::mailbox::fields::words(&long),
            format!("{} <ann@mx.example>", "ä".repeat(60))
        );
    }

    #[test]
    fn addresses_of_every_shape() {
        for (list, expected) in [
            ("a@b", vec!["a@b"]),
            ("a@b, c@d", vec!["a@b", "c@d"]),
            ("Ann <a@b> (x), \"B, C\" <c@d>", vec!["a@b", "c@d"]),
            ("a@b (comment, with (nested) comma), c@d", vec!["a@b", "c@d"]),
            ("friends: a@b, Bob <c@d>;, e@f", vec!["a@b", "c@d", "e@f"]),
            ("undisclosed-recipients:;", vec![]),
            ("\"odd, local\"@x.example", vec!["\"odd, local\"@x.example"]),
            ("<@r1,@r2:a@b>", vec!["a@b"]),
            ("root", vec!["root"]),
            ("", vec![]),
            (",,", vec![]),
            ("<>", vec![]),
            ("\"Quo\\\"ted\" <a@b>", vec!["a@b"]),
        ] {
            assert_eq!(addresses_in(list), expected, "{list}");
        }
    }
}
