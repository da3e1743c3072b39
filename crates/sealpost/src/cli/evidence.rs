//! `sealpost evidence`: how a message went, and whether what was written of it is as it was written.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Subcommand;

use super::{Failed, Format, Out};
use crate::control::client::{Client, escaped, query};
use crate::control::evidence::{Checked, OfMessage, Part};
use crate::evidence::reading::{Check, Found, Page, Unsound, Verified};
use crate::evidence::record::{Attempt, Channel, Fact};

/// What can be asked of the evidence.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Every attempt for a message: what was demanded, what was shown, what was made of it.
    Show {
        /// The message's name.
        message: String,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Prove that nothing was changed, removed or moved: in the server's own files, or in these, which needs no server.
    Verify {
        /// Exported files, or copies of the server's, in any order.
        files: Vec<PathBuf>,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Print the chain, for someone else to verify.
    Export {
        /// From this message's first record to its last; of all others, only their digests.
        message: Option<String>,
        /// Only records made at this time or later: 2027-01-15T08:00:00Z.
        #[arg(long, value_name = "TIME")]
        since: Option<String>,
    },
}

/// Does it.
pub(super) async fn act(
    command: Command,
    client: impl FnOnce() -> Result<Client, Failed>,
    out: &mut Out,
) -> Result<(), Failed> {
    match command {
        Command::Show { message, format } => {
            let path = format!("/v1/evidence/messages/{}", escaped(&message));
            let found: OfMessage = client()?.get(&path).await?;
            out.answer(format, &found.records, |out| print(out, &found.records))
        }
        Command::Verify { files, format } => {
            let checked = match files.is_empty() {
                true => client()?.get("/v1/evidence/check").await?,
                false => check(&files)?,
            };
            verified(&checked, format, out)
        }
        Command::Export { message, since } => export(message, since, &client()?, out).await,
    }
}

fn verified(checked: &Checked, format: Format, out: &mut Out) -> Result<(), Failed> {
    match checked {
        Checked::Sound(sound) => out.answer(format, sound, |out| print_sound(out, sound)),
        Checked::Unsound(unsound) => {
            if format.json {
                out.answer(format, unsound, |_| Ok(()))?;
            }
            Err(Failed::Words(words(unsound)))
        }
    }
}

fn words(unsound: &Unsound) -> String {
    format!(
        "not sound: {} line {}: {} (sound up to record {})",
        unsound.file, unsound.line, unsound.why, unsound.behind
    )
}

fn print_sound(out: &mut dyn Write, sound: &Verified) -> io::Result<()> {
    writeln!(
        out,
        "sound: {} records, {} to {}; none was changed, removed or moved",
        sound.records, sound.first, sound.last
    )?;
    if sound.left_out > 0 {
        writeln!(out, "of {} of them only the digest is here", sound.left_out)?;
    }
    if sound.first > 1 {
        writeln!(
            out,
            "it builds on record {} with the hash {}",
            sound.first - 1,
            sound.from
        )?;
    }
    writeln!(out, "its last hash is {}", sound.hash)?;
    match sound.ended {
        true => Ok(()),
        false => writeln!(
            out,
            "keep that hash: it proves later that nothing up to here was changed or cut off"
        ),
    }
}

/// Checks files without a server: one behind the other, in the order of their records.
fn check(files: &[PathBuf]) -> Result<Checked, Failed> {
    let mut read = Vec::new();
    for path in files {
        let octets = std::fs::read(path).map_err(|error| Failed::World(path.display().to_string(), error))?;
        read.push((path.as_path(), octets));
    }
    read.sort_by_key(|(_, octets)| first(octets));
    let mut check = Check::default();
    for (path, octets) in &read {
        if let Err(unsound) = check.file(&name(path), octets) {
            return Ok(Checked::Unsound(unsound));
        }
    }
    Ok(Checked::Sound(check.verified()))
}

/// The number behind which a file begins, as its first line says.
fn first(octets: &[u8]) -> u64 {
    let line = octets.split(|octet| *octet == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).unwrap_or_default();
    match crate::evidence::chain::Line::parse(text) {
        Ok(crate::evidence::chain::Line::Head(link)) => link.seq,
        _ => 0,
    }
}

fn name(path: &Path) -> String {
    path.display().to_string()
}

async fn export(
    message: Option<String>,
    since: Option<String>,
    client: &Client,
    out: &mut Out,
) -> Result<(), Failed> {
    let mut part = Part {
        message,
        since,
        after: None,
    };
    let mut any = false;
    loop {
        let page: Page = client.get(&format!("/v1/evidence{}", query(&part)?)).await?;
        if page.lines.is_empty() && !any {
            return Err(Failed::Words("nothing is written of that".to_owned()));
        }
        let head = (!any).then_some(&page.head);
        let end = page.more_after.is_none().then_some(&page.end);
        out.print(|out| {
            let lines = head.into_iter().chain(&page.lines).chain(end);
            lines.into_iter().try_for_each(|line| writeln!(out, "{line}"))
        })?;
        any = true;
        match page.more_after {
            Some(last) => part.after = Some(last),
            None => return Ok(()),
        }
    }
}

fn print(out: &mut dyn Write, records: &[Found]) -> io::Result<()> {
    if records.is_empty() {
        return writeln!(
            out,
            "nothing is written of this message: it was never tried elsewhere, or its evidence came of age"
        );
    }
    for found in records {
        match &found.fact {
            Fact::Attempt(attempt) => print_attempt(out, found, attempt)?,
            Fact::Held(held) => writeln!(
                out,
                "{}  held for {} ({} recipients): {}\n",
                held.at, held.destination, held.recipients, held.because
            )?,
            Fact::Alarm(_) | Fact::Removed(_) | Fact::Cut(_) | Fact::Missed(_) => {}
        }
    }
    Ok(())
}

fn print_attempt(out: &mut dyn Write, found: &Found, attempt: &Attempt) -> io::Result<()> {
    let address = attempt.address.as_ref().map(|address| format!(" at {address}"));
    writeln!(
        out,
        "{}  {}{}",
        attempt.at,
        attempt.host,
        address.unwrap_or_default()
    )?;
    writeln!(out, "    demanded: {} (by {})", attempt.demand, attempt.source)?;
    for said in &attempt.reasons {
        writeln!(out, "      {}: {}", said.source, said.text)?;
    }
    if let Some(channel) = &attempt.channel {
        print_channel(out, channel)?;
    }
    if let Some(trouble) = &attempt.tls_trouble {
        writeln!(out, "    TLS failed: {trouble}")?;
    }
    if let Some(basis) = &attempt.basis {
        writeln!(out, "    enough, because of: {basis}")?;
    }
    if let Some(unmet) = &attempt.unmet {
        writeln!(out, "    not enough: {} (demanded by {})", unmet.lack, unmet.by)?;
    }
    if let Some(reply) = &attempt.reply {
        writeln!(out, "    it said: {reply}")?;
    }
    writeln!(out, "    outcome: {}", attempt.outcome)?;
    writeln!(out, "    record {} {}\n", found.seq, found.hash)
}

fn print_channel(out: &mut dyn Write, channel: &Channel) -> io::Result<()> {
    match channel {
        Channel::Clear(why) => writeln!(out, "    shown: clear text: {why}"),
        Channel::Tls {
            version,
            cipher,
            group,
            key,
            chain,
            ..
        } => {
            let group = group.as_ref().map(|group| format!(", {group}"));
            writeln!(out, "    shown: {version}, {cipher}{}", group.unwrap_or_default())?;
            writeln!(out, "    certificate: {chain}")?;
            match key {
                Some(key) => writeln!(out, "    key: {key}"),
                None => Ok(()),
            }
        }
    }
}
