//! The parts of a message: where each lies and what it says of itself (RFC 2045, RFC 2046, RFC 2183).
//!
//! Walks without recursion, to a bounded depth and number of parts. What cannot be taken apart stays one part that can
//! be saved, so that nothing hides.

use std::borrow::Cow;
use std::ops::Range;

use super::decode::{Encoding, knows_charset};
use super::fields::{Fields, Text, Value, line_end, without_line_end};

/// A message in memory and its parts, outermost first, in reading order.
#[derive(Debug)]
pub struct Mime<'b> {
    bytes: &'b [u8],
    /// The message's own header.
    pub fields: Fields,
    /// All parts; the first is the message itself.
    pub parts: Vec<Part>,
    /// Whether parts were left out because there are more than [`Bounds::parts_max`].
    pub cut: bool,
}

/// How far a message is taken apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Bounds {
    /// Multiparts and messages inside each other.
    pub depth_max: usize,
    /// Parts of one message.
    pub parts_max: usize,
}

/// One part.
#[derive(Clone, Debug)]
pub struct Part {
    /// `1`, `2.1`: its place, as people name it. The message itself is `0` if it has parts, else `1`.
    pub path: String,
    /// Multiparts and messages around it.
    pub depth: usize,
    /// What it is made of.
    pub kind: Kind,
    /// `text/plain`: effective, after all rules for unknown and faulty ones.
    pub media_type: String,
    /// As the part says, if that is something else.
    pub said_type: Option<String>,
    /// Its charset, lower case, empty if not said.
    pub charset: String,
    /// How its content is encoded.
    pub encoding: Encoding,
    /// `Content-Disposition`, if there is one; unknown ones count as attachment (RFC 2183 §2.8).
    pub disposition: Option<Disposition>,
    /// The name it suggests for itself.
    pub name: Option<Text>,
    /// The nearest part around it that is a message of its own or an attachment.
    pub within: Option<usize>,
    /// The nearest part around it.
    pub parent: Option<usize>,
    entity: Range<usize>,
    body: Range<usize>,
}

/// What a part is made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Other parts.
    Multipart,
    /// A whole message (RFC 2046 §5.2.1).
    Message,
    /// Content.
    Leaf,
}

/// How a part wants to be shown (RFC 2183 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Disposition {
    /// In place.
    Inline,
    /// On demand.
    Attachment,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            depth_max: 20,
            parts_max: 1000,
        }
    }
}

impl<'b> Mime<'b> {
    /// Takes a message apart.
    pub fn read(bytes: &'b [u8], bounds: Bounds) -> Mime<'b> {
        let mut mime = Mime {
            bytes,
            fields: Fields::read(bytes).0,
            parts: Vec::new(),
            cut: false,
        };
        let mut open = vec![Entity {
            range: 0..bytes.len(),
            path: String::new(),
            depth: 0,
            digest: false,
            parent: None,
            within: None,
        }];
        while let Some(entity) = open.pop() {
            if mime.parts.len() >= bounds.parts_max {
                mime.cut = true;
                break;
            }
            mime.take(entity, bounds, &mut open);
        }
        mime
    }

    /// A part's decoded content. A multipart's or message's is everything inside it, as it came.
    pub fn content(&self, part: &Part) -> Cow<'b, [u8]> {
        let body = &self.bytes[part.body.clone()];
        match part.kind {
            // RFC 2045 §6.4: these are never encoded, whatever a label says.
            Kind::Multipart | Kind::Message => Cow::Borrowed(body),
            Kind::Leaf => part.encoding.decode(body),
        }
    }

    /// What is saved for a part: its content; for a multipart its header as well, without which it cannot be read.
    pub fn file(&self, part: &Part) -> Cow<'b, [u8]> {
        match part.kind {
            Kind::Multipart => Cow::Borrowed(&self.bytes[part.entity.clone()]),
            Kind::Message | Kind::Leaf => self.content(part),
        }
    }

    /// How long [`Mime::content`] is.
    pub fn content_length(&self, part: &Part) -> u64 {
        let body = &self.bytes[part.body.clone()];
        let length = match part.kind {
            Kind::Multipart | Kind::Message => body.len(),
            Kind::Leaf => part.encoding.decoded_length(body),
        };
        length as u64
    }

    /// How long [`Mime::file`] is.
    pub fn file_length(&self, part: &Part) -> u64 {
        match part.kind {
            Kind::Multipart => part.entity.len() as u64,
            Kind::Message | Kind::Leaf => self.content_length(part),
        }
    }

    /// The part at a place.
    pub fn part(&self, path: &str) -> Option<&Part> {
        self.parts.iter().find(|part| part.path == path)
    }

    /// Whether the part is something to save rather than text to read: named, marked so, or no text that can be shown.
    pub fn is_attachment(&self, part: &Part) -> bool {
        if part.depth == 0 && part.kind == Kind::Multipart {
            return false; // the message itself
        }
        match (part.kind, part.disposition) {
            (Kind::Message, _) | (_, Some(Disposition::Attachment)) => true,
            (Kind::Multipart, _) => false,
            (Kind::Leaf, _) => part.name.is_some() || !part.is_readable(),
        }
    }

    fn take(&mut self, entity: Entity, bounds: Bounds, open: &mut Vec<Entity>) {
        let octets = &self.bytes[entity.range.clone()];
        let (fields, header_length) = Fields::read(octets);
        let body = entity.range.start + header_length..entity.range.end;
        let mut part = describe(&fields, &entity, body.clone());
        let index = self.parts.len();
        let may_open = entity.depth < bounds.depth_max;
        match part.kind {
            Kind::Multipart if may_open => {
                let boundary = boundary(&fields);
                let room = bounds.parts_max.saturating_sub(self.parts.len() + open.len());
                let (ranges, cut) = boundary
                    .map(|b| split(self.bytes, body, &b, room))
                    .unwrap_or_default();
                self.cut |= cut;
                match ranges.is_empty() {
                    // Nothing to split: octets like any others, decoded as their label says.
                    true => part.make_leaf(),
                    false => entity.open_parts(&part, index, ranges, self.is_attachment(&part), open),
                }
            }
            Kind::Message if may_open => entity.open_message(&part, index, body, open),
            Kind::Multipart | Kind::Message => part.make_leaf(),
            Kind::Leaf => {}
        }
        if part.depth == 0 && part.kind != Kind::Multipart {
            part.path = "1".to_owned();
        }
        self.parts.push(part);
    }
}

impl Part {
    fn make_leaf(&mut self) {
        self.kind = Kind::Leaf;
        self.said_type.get_or_insert_with(|| self.media_type.clone());
        self.media_type = OCTETS.to_owned();
    }

    /// Whether its content is text that people can read: text, or the machine's half of a report.
    pub fn is_readable(&self) -> bool {
        let is_report = matches!(
            self.media_type.as_str(),
            "message/delivery-status" | "message/global-delivery-status" | "message/disposition-notification"
        );
        self.kind == Kind::Leaf && (is_report || self.media_type.starts_with("text/"))
    }

    /// Whether this is Outlook's wrapping (winmail.dat), which is named and not unpacked.
    pub fn is_tnef(&self) -> bool {
        let said = self.said_type.as_ref().unwrap_or(&self.media_type);
        matches!(said.as_str(), "application/ms-tnef" | "application/vnd.ms-tnef")
    }
}

/// A stretch of the message that is a header and a body.
struct Entity {
    range: Range<usize>,
    path: String,
    depth: usize,
    /// Inside multipart/digest, where parts are messages unless they say otherwise (RFC 2046 §5.1.5).
    digest: bool,
    parent: Option<usize>,
    within: Option<usize>,
}

impl Entity {
    fn open_parts(
        &self,
        part: &Part,
        index: usize,
        ranges: Vec<Range<usize>>,
        whole: bool,
        open: &mut Vec<Entity>,
    ) {
        let children = ranges.into_iter().enumerate().map(|(at, range)| Entity {
            range,
            path: below(&self.path, at + 1),
            depth: self.depth + 1,
            digest: part.said_type.as_deref().unwrap_or(&part.media_type) == "multipart/digest",
            parent: Some(index),
            within: if whole { Some(index) } else { self.within },
        });
        // The last is opened last.
        let from = open.len();
        open.extend(children);
        open[from..].reverse();
    }

    fn open_message(&self, part: &Part, index: usize, body: Range<usize>, open: &mut Vec<Entity>) {
        if part.encoding != Encoding::Identity {
            return; // a faulty label: kept whole
        }
        open.push(Entity {
            range: body,
            path: format!("{}.1", if self.path.is_empty() { "1" } else { &self.path }),
            depth: self.depth + 1,
            digest: false,
            parent: Some(index),
            within: Some(index),
        });
    }
}

fn below(path: &str, number: usize) -> String {
    match path {
        "" => number.to_string(),
        path => format!("{path}.{number}"),
    }
}

/// Reads what a part says of itself and applies the rules for what it should not have said.
fn describe(fields: &Fields, entity: &Entity, body: Range<usize>) -> Part {
    let content_type = fields.value("Content-Type");
    let written = content_type
        .as_ref()
        .map(|value| value.word.as_str())
        .unwrap_or_default();
    let encoding = fields.value("Content-Transfer-Encoding");
    let encoding = Encoding::parse(encoding.as_ref().map(|value| value.word.as_str()));
    let charset = content_type.as_ref().and_then(|value| value.plain("charset"));
    let charset = charset.unwrap_or_default().to_ascii_lowercase();
    let disposition = fields.value("Content-Disposition");
    let media_type = effective_type(written, &charset, encoding, entity.digest);
    let name = disposition.as_ref().and_then(|value| value.text("filename"));
    let path = match entity.path.as_str() {
        "" => "0".to_owned(),
        path => path.to_owned(),
    };
    Part {
        path,
        depth: entity.depth,
        kind: match media_type.as_str() {
            "message/rfc822" | "message/global" => Kind::Message,
            other if other.starts_with("multipart/") => Kind::Multipart,
            _ => Kind::Leaf,
        },
        said_type: (!written.is_empty() && written != media_type).then(|| written.to_owned()),
        media_type,
        charset,
        encoding,
        disposition: disposition.as_ref().map(|value| match value.word.as_str() {
            "inline" => Disposition::Inline,
            _ => Disposition::Attachment,
        }),
        name: name.or_else(|| content_type.as_ref().and_then(|value| value.text("name"))),
        within: entity.within,
        parent: entity.parent,
        entity: entity.range.clone(),
        body,
    }
}

/// The type that counts: RFC 2045 §5.2 (missing or garbled), §6.4 (unknown encoding), RFC 2046 §4.1.4 and RFC 2049
/// §2 (unknown subtypes and charsets).
fn effective_type(written: &str, charset: &str, encoding: Encoding, digest: bool) -> String {
    let well_formed = written.split_once('/').is_some_and(|(kind, subtype)| {
        !kind.is_empty() && !subtype.is_empty() && written.bytes().all(|b| b.is_ascii_graphic())
    });
    let word = match (well_formed, digest) {
        (true, _) => written,
        (false, true) => "message/rfc822",
        (false, false) => "text/plain",
    };
    let is_container = word.starts_with("multipart/") || word.starts_with("message/");
    if encoding == Encoding::Unknown && !is_container {
        return OCTETS.to_owned();
    }
    match word.starts_with("text/") && !knows_charset(charset) {
        true => OCTETS.to_owned(),
        false => word.to_owned(),
    }
}

/// The boundary, if it is one that can be looked for.
fn boundary(fields: &Fields) -> Option<String> {
    let value: Value = fields.value("Content-Type")?;
    let boundary = value.plain("boundary")?.trim_end();
    (!boundary.is_empty() && boundary.len() <= BOUNDARY_BYTES_MAX).then(|| boundary.to_owned())
}

/// The stretches between delimiter lines (RFC 2046 §5.1.1), at most `room`; and whether there were more. The line end
/// before a delimiter belongs to the delimiter; without a closing delimiter the last part ends with its parent.
fn split(bytes: &[u8], within: Range<usize>, boundary: &str, room: usize) -> (Vec<Range<usize>>, bool) {
    let mut parts = Vec::new();
    let mut start = None;
    let mut at = within.start;
    while at < within.end {
        let next = line_end(&bytes[..within.end], at);
        if let Some(delimiter) = delimiter(&bytes[at..next], boundary) {
            if let Some(from) = start {
                if parts.len() == room {
                    return (parts, true);
                }
                parts.push(from..before_line_end(bytes, from, at));
            }
            start = Some(next);
            if delimiter == Delimiter::Close {
                return (parts, false);
            }
        }
        at = next;
    }
    match start {
        Some(from) if parts.len() < room => parts.push(from..within.end),
        Some(_) => return (parts, true),
        None => {}
    }
    (parts, false)
}

#[derive(PartialEq, Eq)]
enum Delimiter {
    Next,
    Close,
}

/// Trailing blanks are allowed; anything else makes it another boundary that begins the same.
fn delimiter(line: &[u8], boundary: &str) -> Option<Delimiter> {
    let rest = line.strip_prefix(b"--")?.strip_prefix(boundary.as_bytes())?;
    let rest = without_line_end(rest).trim_ascii_end();
    match rest {
        b"" => Some(Delimiter::Next),
        b"--" => Some(Delimiter::Close),
        _ => None,
    }
}

fn before_line_end(bytes: &[u8], from: usize, to: usize) -> usize {
    from + without_line_end(&bytes[from..to]).len()
}

const OCTETS: &str = "application/octet-stream";
/// RFC 2046 §5.1.1 allows 70; what is a little longer still splits.
const BOUNDARY_BYTES_MAX: usize = 200;
