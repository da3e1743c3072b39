//! Header fields as they stand in stored mail: names, folded values, parameters (RFC 2045 §5.1, RFC 2231), and
//! encoded words (RFC 2047). Foreign text: every shape is read as something, nothing panics, everything has an end.

use super::decode;

/// The fields of one header, in order.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    fields: Vec<(String, Vec<u8>)>,
}

/// A structured value with parameters: `text/plain; charset=utf-8`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Value {
    /// What stands before the first semicolon, lower case, comments removed.
    pub word: String,
    parameters: Vec<(String, String)>,
}

/// A parameter's text, and how far it can be trusted to be meant so.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Text {
    /// As the standards read it.
    pub value: String,
    /// What a sender that puts encoded words into parameters probably meant (RFC 2047 §5 forbids it).
    pub guess: Option<String>,
    /// The plain form, where an extended one was given beside it and won.
    pub plain: Option<String>,
}

impl Fields {
    /// Reads a header from the start of `bytes`; returns it and where the body begins. Lines that are no fields are
    /// passed over.
    pub fn read(bytes: &[u8]) -> (Fields, usize) {
        let mut fields: Vec<(String, Vec<u8>)> = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let end = line_end(bytes, at);
            let line = without_line_end(&bytes[at..end]);
            at = end;
            if line.is_empty() {
                break;
            }
            if matches!(line[0], b' ' | b'\t') {
                if let Some((_, value)) = fields.last_mut().filter(|(_, v)| v.len() < FIELD_BYTES_MAX) {
                    value.push(b' ');
                    value.extend_from_slice(line.trim_ascii());
                }
            } else if let Some((name, value)) = field(line)
                && fields.len() < FIELDS_MAX
            {
                fields.push((name, value.to_vec()));
            }
        }
        (Fields { fields }, at)
    }

    /// The first field of this name, unfolded, its octets as they came.
    pub fn raw(&self, name: &str) -> Option<&[u8]> {
        let found = self.fields.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_slice())
    }

    /// All fields of this name.
    pub fn all<'f>(&'f self, name: &'f str) -> impl Iterator<Item = &'f [u8]> {
        self.fields
            .iter()
            .filter(move |(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// The first field of this name as text, encoded words decoded.
    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(unstructured)
    }

    /// The addresses in the first field of this name, one text each, display names decoded.
    pub fn addresses(&self, name: &str) -> Vec<String> {
        let text = self.raw(name).map(decode::undeclared).unwrap_or_default();
        split_outside(&text, ',')
            .map(|one| words_outside_quotes(one.trim()))
            .filter(|one| !one.is_empty())
            .take(ADDRESSES_MAX)
            .collect()
    }

    /// The first field of this name as a word with parameters.
    pub fn value(&self, name: &str) -> Option<Value> {
        self.raw(name).map(Value::parse)
    }

    /// Every field, values decoded for reading.
    pub fn shown(&self) -> impl Iterator<Item = (&str, String)> {
        self.fields
            .iter()
            .map(|(name, value)| (name.as_str(), unstructured(value)))
    }
}

impl Value {
    /// Reads `word; name=value; …`; what does not fit is passed over.
    pub fn parse(bytes: &[u8]) -> Value {
        let text = without_comments(&decode::undeclared(bytes));
        let mut pieces = split_outside(&text, ';');
        let word = pieces.next().unwrap_or_default();
        let word: String = word.chars().filter(|c| !c.is_whitespace()).collect();
        let parameters = pieces.take(PARAMETERS_MAX).filter_map(|piece| {
            let (name, value) = piece.split_once('=')?;
            Some((name.trim().to_ascii_lowercase(), unquoted(value.trim())))
        });
        Value {
            word: word.to_ascii_lowercase(),
            parameters: parameters.collect(),
        }
    }

    /// A parameter that is a plain token, such as a boundary.
    pub fn plain(&self, name: &str) -> Option<&str> {
        let found = self.parameters.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }

    /// A parameter that is text for people, continuations joined and charsets decoded (RFC 2231 §3, §4).
    pub fn text(&self, name: &str) -> Option<Text> {
        let plain = self.plain(name).map(str::to_owned);
        if let Some(value) = self.extended(name).or_else(|| self.continued(name)) {
            return Some(Text {
                value,
                guess: None,
                plain,
            });
        }
        plain.map(|value| Text {
            guess: Some(words(&value)).filter(|guess| *guess != value),
            value,
            plain: None,
        })
    }

    /// `name*=charset'language'text`.
    fn extended(&self, name: &str) -> Option<String> {
        let value = self.plain(&format!("{name}*"))?;
        let (charset, text) = charset_and_text(value)?;
        Some(decode::text(&percent(text), charset))
    }

    /// `name*0`, `name*1*`, …: in numeric order, without gaps, the charset in the first (RFC 2231 §4.1).
    fn continued(&self, name: &str) -> Option<String> {
        let (mut octets, mut charset) = (Vec::new(), "");
        for number in 0..PARAMETERS_MAX {
            let plain = format!("{name}*{number}");
            if let Some(value) = self.plain(&format!("{plain}*")) {
                let text = match number {
                    0 => charset_and_text(value).map_or(value, |(said, text)| {
                        charset = said;
                        text
                    }),
                    _ => value,
                };
                octets.extend(percent(text));
            } else if let Some(value) = self.plain(&plain) {
                octets.extend_from_slice(value.as_bytes());
            } else if number == 0 {
                return None;
            } else {
                break;
            }
        }
        Some(decode::text(&octets, charset))
    }
}

/// An unstructured field for reading: encoded words decoded (RFC 2047 §5 (1)).
pub fn unstructured(raw: &[u8]) -> String {
    words(decode::undeclared(raw).trim())
}

/// Decodes the encoded words in a text; faulty ones stay as they are (RFC 2047 §6.3), and blanks between two
/// adjacent ones vanish (§6.2).
pub fn words(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut rest, mut after_word) = (text, false);
    while let Some(start) = rest.find("=?") {
        let before = &rest[..start];
        match encoded_word(&rest[start..]) {
            Some((decoded, length)) => {
                if !(after_word && before.chars().all(char::is_whitespace)) {
                    out.push_str(before);
                }
                out.push_str(&decoded);
                rest = &rest[start + length..];
                after_word = true;
            }
            None => {
                out.push_str(&rest[..start + 2]);
                rest = &rest[start + 2..];
                after_word = false;
            }
        }
    }
    out.push_str(rest);
    out
}

/// `=?charset*language?encoding?text?=` at the start of `text`: what it says and how long it is.
fn encoded_word(text: &str) -> Option<(String, usize)> {
    let bytes = text.as_bytes();
    let window = &text[..text.floor_char_boundary(WORD_BYTES_MAX)];
    let mut marks = window.match_indices('?').map(|(at, _)| at).skip(1);
    let (charset_end, encoding_end) = (marks.next()?, marks.next()?);
    let end = encoding_end + 1 + window[encoding_end + 1..].find("?=")?;
    let charset = text[2..charset_end].split('*').next()?; // RFC 2231 §5: a language may follow
    let payload = &bytes[encoding_end + 1..end];
    if charset.is_empty() || text[..end].contains(char::is_whitespace) || !decode::knows_charset(charset) {
        return None;
    }
    let octets = match &bytes[charset_end + 1..encoding_end] {
        b"B" | b"b" => decode::base64(payload),
        b"Q" | b"q" => decode::q(payload),
        _ => return None,
    };
    Some((decode::text(&octets, charset), end + 2))
}

/// As [`words`], but what stands between quotes is no encoded word (RFC 2047 §5).
fn words_outside_quotes(text: &str) -> String {
    let mut out = String::new();
    for (at, piece) in text.split('"').enumerate() {
        if at > 0 {
            out.push('"');
        }
        match at % 2 {
            0 => out.push_str(&words(piece)),
            _ => out.push_str(piece),
        }
    }
    out
}

fn field(line: &[u8]) -> Option<(String, &[u8])> {
    let colon = line.iter().position(|byte| *byte == b':')?;
    let name = line[..colon].trim_ascii_end();
    let is_name = !name.is_empty() && name.iter().all(|byte| (33..127).contains(byte));
    let value = &line[colon + 1..];
    let value = &value[..value.len().min(FIELD_BYTES_MAX)];
    is_name.then(|| (String::from_utf8_lossy(name).into_owned(), value.trim_ascii()))
}

/// Behind the line that starts at `from`, its line end included (CRLF, or LF where another program stored it).
pub fn line_end(bytes: &[u8], from: usize) -> usize {
    let end = memchr::memchr(b'\n', &bytes[from..]);
    end.map_or(bytes.len(), |at| from + at + 1)
}

/// A line without its line end.
pub fn without_line_end(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Splits at a sign outside quotes, comments and angle brackets.
fn split_outside(text: &str, sign: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    text.split(move |c: char| {
        if std::mem::take(&mut escaped) {
            return false;
        }
        match c {
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == sign && !quoted && depth == 0
    })
}

fn without_comments(text: &str) -> String {
    let (mut quoted, mut escaped, mut depth) = (false, false, 0_usize);
    let keeps = |c: &char| {
        if std::mem::take(&mut escaped) {
            return depth == 0;
        }
        match c {
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            '(' if !quoted => depth += 1,
            ')' if !quoted && depth > 0 => {
                depth -= 1;
                return false;
            }
            _ => {}
        }
        depth == 0
    };
    text.chars().filter(keeps).collect()
}

/// A parameter's value without quotes. Only `\"` and `\\` are taken as escapes: senders who put Windows paths between
/// quotes do not mean the others.
fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"') else {
        return value.to_owned();
    };
    let mut out = String::new();
    let mut chars = inner.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('"', _) => break,
            ('\\', Some('"' | '\\')) => out.extend(chars.next()),
            _ => out.push(c),
        }
    }
    out
}

/// `charset'language'text`: both quotes must be there (RFC 2231 §4).
fn charset_and_text(value: &str) -> Option<(&str, &str)> {
    let (charset, rest) = value.split_once('\'')?;
    let (_language, text) = rest.split_once('\'')?;
    Some((charset, text))
}

/// `%XX` to octets; what is no such pair stays.
fn percent(text: &str) -> Vec<u8> {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::with_capacity(bytes.len()), 0);
    while at < bytes.len() {
        let pair = (bytes[at] == b'%')
            .then(|| decode::hex_pair(&bytes[at + 1..]))
            .flatten();
        out.push(pair.unwrap_or(bytes[at]));
        at += if pair.is_some() { 3 } else { 1 };
    }
    out
}

const FIELDS_MAX: usize = 2000;
const FIELD_BYTES_MAX: usize = 64 * 1024;
const PARAMETERS_MAX: usize = 200;
const ADDRESSES_MAX: usize = 2000;
/// RFC 2047 §2 allows 75; senders exceed it.
const WORD_BYTES_MAX: usize = 1000;

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::parse(text.as_bytes())
    }

    fn name(text: &str) -> Option<String> {
        value(&format!("attachment; {text}"))
            .text("filename")
            .map(|text| text.value)
    }

    // proves: 2045-5.1-1 2183-2-1
    #[test]
    fn words_and_parameters_in_any_case_and_order() {
        for text in [
            "TEXT/Plain (x); CharSet=\"utf-8\"",
            "text/plain;charset=utf-8",
            " Text / Plain ; (a (nested) comment) x=1 ; charset = \"utf-8\" (and) ; y",
            "text/plain; x=\"; charset=no\"; charset=utf-8",
        ] {
            let value = value(text);
            assert_eq!(
                (value.word.as_str(), value.plain("charset")),
                ("text/plain", Some("utf-8")),
                "{text}"
            );
        }
        let disposition = value("ATTACHMENT; FileName=a.txt");
        assert_eq!(disposition.word, "attachment");
        assert_eq!(disposition.text("filename").unwrap().value, "a.txt");
        assert_eq!(value("garbage; = ;;\"").word, "garbage");
    }

    // proves: 2231-3-1 2231-4-1 2231-4.1-1 2231-4.1-2 2231-4-2
    #[test]
    fn extended_parameters() {
        for (text, expected) in [
            ("filename*1=\"b.txt\"; filename*0=a", "ab.txt"),
            ("filename*0=a; filename*2=c", "a"),
            ("filename*00=a; filename=b", "b"),
            ("filename*=utf-8''na%C3%AFve.txt", "naïve.txt"),
            ("filename*=''plain%20", "plain "),
            ("filename*=iso-8859-1'de'%E4", "ä"),
            ("filename*=utf-8'no second quote; filename=b", "b"),
            ("filename*0*=us-ascii'en'a%20; filename*1=\"b\"", "a b"),
            ("filename*0*=utf-8''%C3; filename*1*=%A4'x'", "ä'x'"),
            ("filename*0=\"a%20\"; filename*1*=%20b", "a%20 b"),
            ("filename=plain.txt; filename*=utf-8''%C3%A4.txt", "ä.txt"),
            ("filename*=utf-8''100%; filename=x", "100%"),
            ("filename=\"a\\\"b\"", "a\"b"),
            ("filename=\"C:\\temp\\x.txt\"", "C:\\temp\\x.txt"),
            ("filename=\"never closed", "never closed"),
        ] {
            assert_eq!(name(text).as_deref(), Some(expected), "{text}");
        }
        let both = value("x; filename=plain.txt; filename*=utf-8''%C3%A4.txt")
            .text("filename")
            .unwrap();
        assert_eq!(both.plain.as_deref(), Some("plain.txt"), "the loser is kept");
        assert_eq!(name("name=x"), None);
    }

    // proves: 2047-2-1 2047-4.2-1 2047-6.2-1 2047-6.3-1 2231-5-1
    #[test]
    fn encoded_words() {
        for (text, expected) in [
            ("=?UTF-8?q?a_b=C3=A9?=", "a bé"),
            ("=?utf-8?B?w6k=?= x", "é x"),
            ("=?utf-8?b?w6k?=", "é"),
            ("=?US-ASCII*EN?Q?Keith?=", "Keith"),
            ("=?utf-8?q?a?= =?utf-8?q?b?=", "ab"),
            ("=?utf-8?q?a?=  c =?utf-8?q?b?=", "a  c b"),
            ("=?iso-8859-1?Q?=E4?=", "ä"),
            ("=?koi8-r?B?8NLJ18XU?=", "Привет"),
            ("=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"),
            ("=?bad?X?zz?=", "=?bad?X?zz?="),
            ("=?utf-8?X?zz?=", "=?utf-8?X?zz?="),
            ("=?utf-8?q?a b?=", "=?utf-8?q?a b?="),
            ("=?utf-8?q?open", "=?utf-8?q?open"),
            ("=?=?=?", "=?=?=?"),
            ("=?utf-8?q?=ZZ=?=", "=ZZ="),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
        let (fields, _) = Fields::read(b"Subject: =?utf-8?q?a?=\r\n =?utf-8?q?b?=\r\n\r\n");
        assert_eq!(fields.text("subject").as_deref(), Some("ab"));
    }

    // proves: 2047-5-1
    #[test]
    fn no_encoded_words_in_quotes_or_parameters() {
        let quoted = value("attachment; filename=\"=?utf-8?B?w6kudHh0?=\"")
            .text("filename")
            .unwrap();
        assert_eq!(quoted.value, "=?utf-8?B?w6kudHh0?=");
        assert_eq!(quoted.guess.as_deref(), Some("é.txt"));
        let (fields, _) = Fields::read(b"To: \"=?utf-8?q?x?=\" <a@b>, =?utf-8?q?=C3=A9=2C?= <c@d>\r\n");
        assert_eq!(fields.addresses("to"), ["\"=?utf-8?q?x?=\" <a@b>", "é, <c@d>"]);
    }

    #[test]
    fn headers_of_any_shape() {
        let message = b"From me Mon\r\nA : 1\r\n 2\r\nno field\r\nB:3\n\tx\r\n\r\nbody";
        let (fields, body) = Fields::read(message);
        assert_eq!(fields.raw("a"), Some(&b"1 2"[..]));
        assert_eq!(fields.raw("b"), Some(&b"3 x"[..]));
        assert_eq!(&message[body..], b"body");
        assert_eq!(Fields::read(b"").1, 0);
        assert_eq!(Fields::read(b" folded").1, 7);
        let long = "A: b\r\n".repeat(FIELDS_MAX * 2);
        assert_eq!(Fields::read(long.as_bytes()).0.all("a").count(), FIELDS_MAX);
    }
}
