//! What people and programs are shown of a stored message: the row of a listing, the whole, and a part.

use mail_parser::decoders::html::html_to_text;
use serde::{Deserialize, Serialize};

use super::PartFile;
use super::decode::{self, Encoding};
use super::mime::{Bounds, Disposition, Kind, Mime, Part};
use super::travel::{Hop, Way};
use super::{names, screen};

/// A row of `mail list`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// Its name here; the beginning is enough where it is unique.
    pub id: String,
    /// The mailbox it was delivered to.
    pub mailbox: String,
    /// The envelope sender; empty for reports.
    pub sender: String,
    /// Who it says it is from.
    pub from: String,
    /// Who it says it is to.
    pub to: Vec<String>,
    /// Its subject.
    pub subject: String,
    /// Its date, as written.
    pub date: String,
    /// When it arrived here, in seconds since 1970.
    pub arrived: u64,
    /// Octets as stored.
    pub size: u64,
    /// What hangs on it.
    pub attachments: Vec<Attachment>,
    /// How it came to this server.
    pub travelled: Travelled,
    /// What is odd about it, in plain words.
    pub notes: Vec<String>,
}

/// Something to save.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Attachment {
    /// Its place in the message: `2.1`.
    pub part: String,
    /// A safe name to save it under.
    pub name: String,
    /// The name as the sender wrote it, where that differs.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name_as_sent: Option<String>,
    /// Its media type.
    pub media_type: String,
    /// Octets once decoded.
    pub size: u64,
    /// The attachment or message it lies in, if it does.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub within: Option<String>,
}

/// The last hop, by this server's own word.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Travelled {
    /// Whether it came inside TLS.
    pub encrypted: bool,
    /// What it came over.
    pub way: Way,
    /// One line for people.
    pub summary: String,
    /// The clauses of the trace line.
    #[serde(flatten)]
    pub hop: Hop,
}

/// A message to be read.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Shown {
    /// What the listing has.
    #[serde(flatten)]
    pub summary: Summary,
    /// The header, decoded.
    pub headers: Vec<Header>,
    /// The text, decoded, harmless for a terminal.
    pub text: String,
    /// Every part.
    pub parts: Vec<ShownPart>,
    /// All hops by the trace lines, the last first. Only the first is this server's word.
    pub hops: Vec<Hop>,
}

/// A header field.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// Its name as written.
    pub name: String,
    /// Its value, unfolded and decoded.
    pub value: String,
}

/// A part in the tree.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ShownPart {
    /// Its place.
    pub part: String,
    /// The type that counts.
    pub media_type: String,
    /// The type it claims, if that is another.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub claimed_type: Option<String>,
    /// Whether it is to be saved.
    pub attachment: bool,
    /// Octets once decoded.
    pub size: u64,
}

/// The row of a listing. `octets` may be the header alone, where `size` is more.
pub fn summary(id: &str, arrived: u64, octets: &[u8], size: u64) -> Summary {
    summarize(&Mime::read(octets, Bounds::default()), id, arrived, octets, size)
}

/// The whole message for reading.
pub fn shown(id: &str, arrived: u64, octets: &[u8], size: u64) -> Shown {
    let mime = Mime::read(octets, Bounds::default());
    let mut summary = summarize(&mime, id, arrived, octets, size);
    let (text, cut) = text(&mime);
    if cut {
        summary.notes.push(format!(
            "only the first {TEXT_BYTES_MAX} octets of text are shown"
        ));
    }
    let received = mime.fields.all("Received").take(HOPS_MAX);
    let hops = received.map(|raw| Hop::parse(&decode::undeclared(raw))).collect();
    let headers = mime.fields.shown().map(|(name, value)| Header {
        name: screen::line(name),
        value: screen::line(&value),
    });
    Shown {
        headers: headers.collect(),
        text,
        parts: mime.parts.iter().map(|part| shown_part(&mime, part)).collect(),
        hops,
        summary,
    }
}

/// A part's octets, or the whole message's for `message`.
pub fn part(id: &str, octets: Vec<u8>, place: &str) -> Option<PartFile> {
    if place == "message" {
        return Some(PartFile {
            name: format!("{}.eml", names::safe(id)?),
            media_type: "message/rfc822".to_owned(),
            octets,
        });
    }
    let mime = Mime::read(&octets, Bounds::default());
    let part = mime.part(place)?;
    Some(PartFile {
        name: file_name(part),
        media_type: part.media_type.clone(),
        octets: mime.file(part).into_owned(),
    })
}

impl Summary {
    /// Whether it was delivered to this address.
    pub fn is_for(&self, address: &str) -> bool {
        self.mailbox.to_lowercase() == address.to_lowercase()
    }
}

fn summarize(mime: &Mime<'_>, id: &str, arrived: u64, octets: &[u8], size: u64) -> Summary {
    let one_line = |name: &str| screen::line(&mime.fields.text(name).unwrap_or_default());
    // Written by this server: what looks like an encoded word is none.
    let address = |name: &str| {
        let raw = mime.fields.raw(name).unwrap_or_default();
        screen::line(&decode::undeclared(raw))
    };
    let addresses = |name: &str| {
        mime.fields
            .addresses(name)
            .iter()
            .map(|one| screen::line(one))
            .collect()
    };
    let hop = Hop::parse(
        &mime
            .fields
            .raw("Received")
            .map(decode::undeclared)
            .unwrap_or_default(),
    );
    let mut notes = notes(mime);
    if (octets.len() as u64) < size {
        notes.push("too large to be read whole: attachments are not listed".to_owned());
    }
    Summary {
        id: id.to_owned(),
        mailbox: address("Delivered-To"),
        sender: address("Return-Path").trim_matches(['<', '>']).to_owned(),
        from: screen::line(&mime.fields.addresses("From").join(", ")),
        to: addresses("To"),
        subject: one_line("Subject"),
        date: one_line("Date"),
        arrived,
        size,
        attachments: attachments(mime),
        travelled: Travelled {
            encrypted: hop.is_encrypted(),
            way: hop.way(),
            summary: hop.to_string(),
            hop,
        },
        notes,
    }
}

fn attachments(mime: &Mime<'_>) -> Vec<Attachment> {
    let wanted = mime
        .parts
        .iter()
        .filter(|part| mime.is_attachment(part) && !is_inside_message(mime, part));
    wanted
        .map(|part| Attachment {
            part: part.path.clone(),
            name: file_name(part),
            name_as_sent: part
                .name
                .as_ref()
                .map(|text| screen::line(&text.value))
                .filter(|sent| *sent != file_name(part)),
            media_type: screen::line(&part.media_type),
            size: mime.file_length(part),
            within: part.within.map(|at| mime.parts[at].path.clone()),
        })
        .collect()
}

/// What lies in an attached message is saved with that message.
fn is_inside_message(mime: &Mime<'_>, part: &Part) -> bool {
    ancestors(mime, part).any(|around| around.kind == Kind::Message)
}

/// The safe name that a part is saved under; a second part of the same name gets a number when it is saved.
fn file_name(part: &Part) -> String {
    let suggested = part
        .name
        .as_ref()
        .map(|text| text.guess.as_ref().unwrap_or(&text.value));
    let said = part.said_type.as_ref().unwrap_or(&part.media_type);
    let extension = names::extension_for(said);
    match suggested.and_then(|name| names::safe(name)) {
        Some(name) if part.kind != Kind::Leaf && !name.to_ascii_lowercase().ends_with(".eml") => {
            format!("{name}.eml")
        }
        Some(name) => name,
        None => format!("part-{}.{extension}", part.path),
    }
}

fn shown_part(mime: &Mime<'_>, part: &Part) -> ShownPart {
    ShownPart {
        part: part.path.clone(),
        media_type: screen::line(&part.media_type),
        claimed_type: part.said_type.as_deref().map(screen::line),
        attachment: mime.is_attachment(part),
        size: mime.content_length(part),
    }
}

/// The text that is the message's own: of alternatives the plain one, HTML as text, no attachments.
fn text(mime: &Mime<'_>) -> (String, bool) {
    let mut out = String::new();
    for (part, chosen) in mime.parts.iter().zip(chosen(mime)) {
        if !chosen || !part.is_readable() || mime.is_attachment(part) || part.within.is_some() {
            continue;
        }
        let text = decode::text(&mime.content(part), &part.charset);
        let text = match part.media_type.as_str() {
            "text/html" => html_to_text(&text),
            _ => text,
        };
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(screen::lines(&text).trim_end());
        out.push('\n');
        if out.len() > TEXT_BYTES_MAX {
            out.truncate(out.floor_char_boundary(TEXT_BYTES_MAX));
            return (out, true);
        }
    }
    (out, false)
}

/// Which parts every multipart/alternative around them would show: of its branches the first with plain text, else the
/// last, which is the richest (RFC 2046 §5.1.4).
fn chosen(mime: &Mime<'_>) -> Vec<bool> {
    let parts = &mime.parts;
    let mut has_plain = vec![false; parts.len()];
    for (at, _) in parts
        .iter()
        .enumerate()
        .filter(|(_, part)| part.media_type == "text/plain")
    {
        for around in std::iter::successors(Some(at), |at| parts[*at].parent) {
            has_plain[around] = true;
        }
    }
    let mut branch_of = vec![None; parts.len()];
    for (at, part) in parts.iter().enumerate() {
        let Some(parent) = part.parent else { continue };
        if branch_of[parent].is_none_or(|branch: usize| !has_plain[branch]) {
            branch_of[parent] = Some(at);
        }
    }
    // Parents stand before their children.
    let mut chosen = vec![true; parts.len()];
    for (at, part) in parts.iter().enumerate() {
        let Some(parent) = part.parent else { continue };
        let is_branch = parts[parent].media_type != "multipart/alternative" || branch_of[parent] == Some(at);
        chosen[at] = chosen[parent] && is_branch;
    }
    chosen
}

fn ancestors<'m>(mime: &'m Mime<'_>, part: &'m Part) -> impl Iterator<Item = &'m Part> {
    std::iter::successors(part.parent, |at| mime.parts[*at].parent).map(|at| &mime.parts[at])
}

fn notes(mime: &Mime<'_>) -> Vec<String> {
    let mut notes = Vec::new();
    if mime.cut {
        notes.push("it has more parts than are looked at; the rest is in the message itself".to_owned());
    }
    for part in &mime.parts {
        let at = &part.path;
        if part.is_tnef() {
            notes.push(format!(
                "part {at} is TNEF (winmail.dat): it can be saved, and is not unpacked"
            ));
        }
        if part.kind == Kind::Leaf && part.encoding == Encoding::Unknown {
            notes.push(format!(
                "part {at} is in an unknown transfer encoding and kept as it came"
            ));
        }
        if part.is_readable() && part.charset.is_empty() && part.encoding == Encoding::Identity {
            let eight_bit = mime.content(part).iter().any(|byte| *byte > 127);
            if eight_bit {
                notes.push(format!("part {at} has octets above 127 and names no charset; they are read as UTF-8 where they are that"));
            }
        }
        if part.name.as_ref().is_some_and(|name| name.guess.is_some()) {
            notes.push(format!(
                "part {at}'s name is a guess: it was sent in a form the standards do not know"
            ));
        }
        if part.kind == Kind::Leaf
            && part.disposition == Some(Disposition::Inline)
            && part.said_type.is_some()
        {
            notes.push(format!(
                "part {at} claims to be {}",
                screen::line(part.said_type.as_deref().unwrap_or_default())
            ));
        }
    }
    notes.truncate(NOTES_MAX);
    notes
}

const TEXT_BYTES_MAX: usize = 1024 * 1024;
const HOPS_MAX: usize = 200;
const NOTES_MAX: usize = 50;
