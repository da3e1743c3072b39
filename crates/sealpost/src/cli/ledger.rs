//! `sealpost ledger`: what is remembered of peers.

use std::io::{self, Write};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use hyper::Method;

use super::{Failed, Format, Out};
use crate::control::client::{Client, escaped, query};
use crate::control::ledger::{Heard, Peers, Spoken, Which};
use crate::ledger::{Imported, Line};

/// What can be done with the memory of peers.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List what is remembered.
    List {
        /// Only of this domain.
        #[arg(long)]
        domain: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Show what is remembered of a domain, a host or a client.
    Show {
        /// Its name.
        name: String,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// What is known of it is right: it does not decay for a time, and its new exchangers are accepted.
    Keep(Word),
    /// Ask nothing of it for a time because of what is remembered.
    Relax(Word),
    /// Forget it; it is learned anew.
    Forget(Word),
    /// Write everything as lines of JSON.
    Export {
        /// Where to; to the terminal if left out.
        file: Option<PathBuf>,
    },
    /// Take in what was exported here or elsewhere. No demand becomes weaker by it.
    Import {
        /// The file.
        file: PathBuf,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
}

/// A person's word.
#[derive(Args, Clone, Debug)]
pub struct Word {
    /// The domain, host or client.
    name: String,
    /// For how long: 12h, 2d.
    #[arg(long = "for", value_name = "TIME")]
    span: Option<String>,
    /// Why, for those who look later.
    #[arg(long)]
    reason: String,
    /// Who says so, where that is not the user who calls.
    #[arg(long)]
    author: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Does it.
pub(super) async fn act(command: Command, client: &Client, out: &mut Out) -> Result<(), Failed> {
    match command {
        Command::List { domain, format } => {
            let mut peers = Vec::new();
            each_page(client, domain.as_deref(), &mut |page| {
                peers.extend(page);
                Ok(())
            })
            .await?;
            out.answer(format, &peers, |out| print(out, &peers))
        }
        Command::Show { name, format } => {
            let found: Peers = client.get(&format!("/v1/ledger/{}", escaped(&name))).await?;
            out.answer(format, &found.peers, |out| print(out, &found.peers))
        }
        Command::Keep(word) => say("keep", word, client, out).await,
        Command::Relax(word) => say("relax", word, client, out).await,
        Command::Forget(word) => say("forget", word, client, out).await,
        Command::Export { file } => export(file, client, out).await,
        Command::Import { file, format } => import(file, format, client, out).await,
    }
}

async fn each_page(
    client: &Client,
    domain: Option<&str>,
    each: &mut dyn FnMut(Vec<Line>) -> Result<(), Failed>,
) -> Result<(), Failed> {
    let mut which = Which {
        domain: domain.map(str::to_owned),
        ..Which::default()
    };
    loop {
        let page: Peers = client.get(&format!("/v1/ledger{}", query(&which)?)).await?;
        each(page.peers)?;
        match page.more_after {
            Some(after) => which.after = Some(after),
            None => return Ok(()),
        }
    }
}

async fn say(act: &str, word: Word, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let spoken = Spoken {
        span: word.span,
        reason: Some(word.reason),
        author: word.author,
    };
    let path = format!("/v1/ledger/{}/{act}{}", escaped(&word.name), query(&spoken)?);
    let heard: Heard = client.act(Method::POST, &path).await?;
    out.answer(word.format, &heard, |out| match act {
        "forget" => writeln!(out, "{} is forgotten; it is learned anew", word.name),
        act => writeln!(
            out,
            "{act} {} until {}, says {}",
            word.name, heard.until, heard.author
        ),
    })
}

async fn export(file: Option<PathBuf>, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let wrong = |error| Failed::World("write the export".to_owned(), error);
    let mut text = String::new();
    each_page(client, None, &mut |page| {
        for line in page {
            text.push_str(&serde_json::to_string(&line).map_err(|error| wrong(error.into()))?);
            text.push('\n');
        }
        Ok(())
    })
    .await?;
    match file {
        Some(file) => crate::system::write_private(&file, text.as_bytes()).map_err(wrong),
        None => out.print(|out| out.write_all(text.as_bytes())),
    }
}

async fn import(file: PathBuf, format: Format, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let text = crate::config::read_text(&file)?;
    let mut all = Imported::default();
    let lines: Vec<&str> = text.lines().collect();
    for piece in lines.chunks(LINES_AT_ONCE) {
        let piece = piece.join("\n") + "\n";
        let taken: Imported = client.hand_in("/v1/ledger-import", piece.into()).await?;
        all.taken += taken.taken;
        all.known += taken.known;
    }
    out.answer(format, &all, |out| {
        writeln!(
            out,
            "{} entries taken, {} left out: as much or more is known here",
            all.taken, all.known
        )
    })
}

fn print(out: &mut dyn Write, peers: &[Line]) -> io::Result<()> {
    for line in peers {
        let name = match &line.host {
            Some(host) => format!("{} at {host}", line.name),
            None => line.name.clone(),
        };
        let standing = line.standing.as_deref().unwrap_or("-");
        let last = line.last.as_deref().unwrap_or("-");
        writeln!(out, "{:<7} {name}  {standing}  {last}", line.kind)?;
    }
    match peers.is_empty() {
        true => writeln!(out, "nothing is remembered"),
        false => Ok(()),
    }
}

const LINES_AT_ONCE: usize = 500;
