//! `sealpost mail`: the messages that were delivered here.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Subcommand;
use serde::Serialize;

use super::{Failed, Format, Out, size};
use crate::control::client::{Client, escaped, query};
use crate::control::letters::{Letters, Whose};
use crate::control::queue::rfc3339;
use crate::mailbox::save::Folder;
use crate::mailbox::travel::Way;
use crate::mailbox::{Attachment, Shown, Summary};

/// What can be done with delivered mail.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List the messages, oldest first.
    List {
        /// Only those delivered to this address.
        #[arg(long, value_name = "ADDRESS")]
        mailbox: Option<String>,
        /// Only so many, the newest.
        #[arg(long)]
        max: Option<usize>,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Show a message: how it travelled, its header, its text, and what hangs on it.
    Show {
        /// Its name, or the beginning of it.
        id: String,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Save the attachments of a message, under safe names and over nothing that is there.
    Save {
        /// Its name, or the beginning of it.
        id: String,
        /// The folder to save into; made if it is missing.
        #[arg(long, value_name = "DIR")]
        to: PathBuf,
        /// Only this part, as `mail show` names it; `message` saves the whole message.
        #[arg(long)]
        part: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
}

/// What was saved.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
struct Saved {
    part: String,
    path: PathBuf,
    size: u64,
    media_type: String,
}

/// Does it.
pub(super) async fn act(command: Command, client: &Client, out: &mut Out) -> Result<(), Failed> {
    match command {
        Command::List { mailbox, max, format } => {
            let path = format!("/v1/mail{}", query(&Whose { mailbox, max })?);
            let letters: Letters = client.get(&path).await?;
            if letters.left_out > 0 {
                eprintln!(
                    "sealpost: {} older messages are left out; see --max and [control] list_max",
                    letters.left_out
                );
            }
            out.answer(format, &letters.messages, |out| list(out, &letters.messages))
        }
        Command::Show { id, format } => {
            let shown: Shown = client.get(&format!("/v1/mail/{}", escaped(&id))).await?;
            let title = out.bold(&shown.summary.subject);
            out.answer(format, &shown, |out| show(out, &shown, &title))
        }
        Command::Save { id, to, part, format } => {
            let saved = save(client, &id, &to, part).await?;
            out.answer(format, &saved, |out| {
                for one in &saved {
                    writeln!(
                        out,
                        "{}  ({}, {})",
                        one.path.display(),
                        one.media_type,
                        size(one.size)
                    )?;
                }
                match saved.is_empty() {
                    true => writeln!(out, "the message has no attachments"),
                    false => Ok(()),
                }
            })
        }
    }
}

async fn save(
    client: &Client,
    id: &str,
    to: &std::path::Path,
    part: Option<String>,
) -> Result<Vec<Saved>, Failed> {
    let shown: Shown = client.get(&format!("/v1/mail/{}", escaped(id))).await?;
    let wanted = match part {
        None => shown.summary.attachments,
        Some(part) => vec![single(&shown, part)?],
    };
    let world = |act: String| move |error| Failed::World(act, error);
    let mut folder = Folder::open(to).map_err(world(format!("open the folder {}", to.display())))?;
    let mut saved = Vec::new();
    for attachment in wanted {
        let Attachment {
            part,
            name,
            media_type,
            ..
        } = attachment;
        let path = format!("/v1/mail/{}/parts/{}", escaped(&shown.summary.id), escaped(&part));
        let octets = client.octets(&path).await?;
        let path = folder
            .save(&name, &octets)
            .map_err(world(format!("save {name} in {}", to.display())))?;
        saved.push(Saved {
            part,
            path,
            size: octets.len() as u64,
            media_type,
        });
    }
    Ok(saved)
}

/// A part that was asked for by its place, attachment or not.
fn single(shown: &Shown, part: String) -> Result<Attachment, Failed> {
    if let Some(attachment) = shown.summary.attachments.iter().find(|one| one.part == part) {
        return Ok(attachment.clone());
    }
    let media_type = match shown.parts.iter().find(|one| one.part == part) {
        Some(found) => found.media_type.clone(),
        None if part == "message" => "message/rfc822".to_owned(),
        None => {
            return Err(Failed::Words(format!(
                "the message has no part {part}; `sealpost mail show` names them"
            )));
        }
    };
    let extension = crate::mailbox::names::extension_for(&media_type);
    Ok(Attachment {
        name: match part.as_str() {
            "message" => format!("{}.eml", shown.summary.id),
            place => format!("part-{place}.{extension}"),
        },
        part,
        name_as_sent: None,
        media_type,
        size: 0,
        within: None,
    })
}

fn list(out: &mut dyn Write, messages: &[Summary]) -> io::Result<()> {
    if messages.is_empty() {
        return writeln!(out, "no mail");
    }
    for message in messages {
        let way = match message.travelled.way {
            Way::Tls => "TLS",
            Way::Clear => "clear",
            Way::Local => "on this machine",
        };
        let hangs = match message.attachments.len() {
            0 => String::new(),
            1 => ", 1 attachment".to_owned(),
            several => format!(", {several} attachments"),
        };
        let from = match message.from.is_empty() {
            true => format!("<{}>", message.sender),
            false => message.from.clone(),
        };
        writeln!(
            out,
            "{}  {}  {from} → {}  {}",
            message.id,
            when(message.arrived),
            message.mailbox,
            message.subject
        )?;
        writeln!(out, "    {way}, {}{hangs}", size(message.size))?;
    }
    Ok(())
}

fn show(out: &mut dyn Write, shown: &Shown, title: &str) -> io::Result<()> {
    let summary = &shown.summary;
    writeln!(out, "{title}")?;
    writeln!(out, "From:       {}", summary.from)?;
    writeln!(out, "To:         {}", summary.to.join(", "))?;
    writeln!(out, "Date:       {}", summary.date)?;
    writeln!(
        out,
        "Arrived:    {}, for {}",
        when(summary.arrived),
        summary.mailbox
    )?;
    writeln!(out, "Sender:     <{}>", summary.sender)?;
    writeln!(out, "Travelled:  {}", summary.travelled.summary)?;
    for hop in shown.hops.iter().skip(1) {
        writeln!(
            out,
            "  before:   {hop} (by the word of {})",
            hop.by.as_deref().unwrap_or("an unknown host")
        )?;
    }
    for note in &summary.notes {
        writeln!(out, "Note:       {note}")?;
    }
    writeln!(out, "\n{}", shown.text)?;
    if !summary.attachments.is_empty() {
        writeln!(out, "Attachments (sealpost mail save {} --to DIR):", summary.id)?;
    }
    for attachment in &summary.attachments {
        writeln!(
            out,
            "  {:<6} {}  ({}, {})",
            attachment.part,
            attachment.name,
            attachment.media_type,
            size(attachment.size)
        )?;
    }
    Ok(())
}

fn when(seconds: u64) -> String {
    let at = std::time::SystemTime::UNIX_EPOCH.checked_add(std::time::Duration::from_secs(seconds));
    at.map(rfc3339).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_without_from_is_listed_by_its_envelope() {
        let octets = b"Return-Path: <a@b.example>\r\nDelivered-To: c@d.example\r\n\
            Received: from tls ([192.0.2.1]) by x with SMTP id 1; d\r\nSubject: x\r\n\r\ny\r\n";
        let summary = crate::mailbox::view::summary("ID", 0, octets, octets.len() as u64);
        let mut out = Vec::new();
        list(&mut out, &[summary]).unwrap();
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "ID  1970-01-01T00:00:00Z  <a@b.example> → c@d.example  x\n    clear, 129 B\n"
        );
    }
}
