//! `sealpost queue`: what waits to go out.

use std::io::{self, Write};

use clap::{Args, Subcommand};
use hyper::Method;
use serde::Serialize;

use super::{Failed, Format, Out, size};
use crate::control::client::{Client, NoAnswer, escaped, query};
use crate::control::queue::{Done, Entry, Hold, Listing, Which};

/// What can be done with the queue.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// List what waits, oldest first.
    List {
        /// Which messages.
        #[command(flatten)]
        which: WhichArgs,
        /// At most so many.
        #[arg(long)]
        max: Option<usize>,
        /// Only messages behind this one.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Show a message: each recipient, its state, and why.
    Show {
        /// Its name.
        id: String,
        /// How it is printed.
        #[command(flatten)]
        format: Format,
    },
    /// Try again now.
    Retry(Several),
    /// Keep and do not try until released.
    Hold(Several),
    /// Let held messages be tried again.
    Release(Several),
    /// Give up now: the sender gets the report.
    Return(Named),
    /// Remove; nobody is told.
    Delete(Named),
}

/// Which messages.
#[derive(Args, Clone, Debug, Default)]
pub struct WhichArgs {
    /// With a recipient at this domain.
    #[arg(long, value_name = "DOMAIN")]
    destination: Option<String>,
    /// From this address, this domain, or `<>`.
    #[arg(long, value_name = "SENDER")]
    sender: Option<String>,
    /// With a recipient in this state: waiting, leased, held or settled.
    #[arg(long)]
    state: Option<String>,
    /// Arrived longer ago than this: 90s, 5m, 4h, 2d.
    #[arg(long, value_name = "AGE")]
    older_than: Option<String>,
    /// Arrived less long ago than this.
    #[arg(long, value_name = "AGE")]
    newer_than: Option<String>,
}

/// Messages by name or by filter.
#[derive(Args, Clone, Debug, Default)]
pub struct Several {
    /// Their names.
    ids: Vec<String>,
    #[command(flatten)]
    which: WhichArgs,
    /// Every message in the queue.
    #[arg(long)]
    all: bool,
    /// Why, for those who look later.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Messages by name alone.
#[derive(Args, Clone, Debug, Default)]
pub struct Named {
    /// Their names.
    #[arg(required = true)]
    ids: Vec<String>,
    /// Why, for those who look later.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    format: Format,
}

/// Does it.
pub(super) async fn act(command: Command, client: &Client, out: &mut Out) -> Result<(), Failed> {
    match command {
        Command::List {
            which,
            max,
            after,
            format,
        } => {
            let which = Which {
                max,
                after,
                ..which.into_query()
            };
            let listing: Listing = client.get(&format!("/v1/queue{}", query(&which)?)).await?;
            out.answer(format, &listing.messages, |out| print(out, &listing))
        }
        Command::Show { id, format } => {
            let entry: Entry = client.get(&format!("/v1/queue/{}", escaped(&id))).await?;
            out.answer(format, &entry, |out| print_entry(out, &entry))
        }
        Command::Retry(several) => on_several("retry", several, client, out).await,
        Command::Hold(several) => on_several("hold", several, client, out).await,
        Command::Release(several) => on_several("release", several, client, out).await,
        Command::Return(named) => on_named("return", named, client, out).await,
        Command::Delete(named) => on_named("delete", named, client, out).await,
    }
}

async fn on_several(act: &str, several: Several, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let Several {
        ids,
        which,
        all,
        reason,
        format,
    } = several;
    let which = Which {
        all: all.then_some(true),
        reason: reason.clone(),
        ..which.into_query()
    };
    if !ids.is_empty() {
        if which.narrows() || all {
            return Err(Failed::Words("give names or filters, not both".to_owned()));
        }
        return on_named(act, Named { ids, reason, format }, client, out).await;
    }
    let done: Done = client
        .act(Method::POST, &format!("/v1/queue-acts/{act}{}", query(&which)?))
        .await?;
    say(act, done, format, out)
}

async fn on_named(act: &str, named: Named, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let reason = query(&Which {
        reason: named.reason,
        ..Which::default()
    })?;
    let mut outcomes = Vec::new();
    for id in named.ids {
        let place = escaped(&id);
        let done: Result<Done, NoAnswer> = match act {
            "delete" => client.act(Method::DELETE, &format!("/v1/queue/{place}")).await,
            act => {
                let path = format!("/v1/queue/{place}/{act}{reason}");
                client.act(Method::POST, &path).await
            }
        };
        match done {
            // Nobody answers: nothing has been done, and nothing will.
            Err(why @ (NoAnswer::NotRunning(..) | NoAnswer::NotAllowed(_))) if outcomes.is_empty() => {
                return Err(why.into());
            }
            done => outcomes.push((id, done)),
        }
    }
    tell(act, outcomes, named.format, out)
}

/// What became of each, whatever became of the others.
fn tell(
    act: &str,
    mut outcomes: Vec<(String, Result<Done, NoAnswer>)>,
    format: Format,
    out: &mut Out,
) -> Result<(), Failed> {
    if outcomes.len() == 1 && !format.json {
        let (_, done) = outcomes.remove(0);
        return say(act, done?, format, out);
    }
    let done = || outcomes.iter().filter_map(|(_, done)| done.as_ref().ok());
    let each = Each {
        messages: done().map(|done| done.messages).sum(),
        in_flight: done().map(|done| done.in_flight).sum(),
        outcomes: outcomes.iter().map(|(id, done)| OfOne::new(id, done)).collect(),
    };
    out.answer(format, &each, |out| {
        for of_one in &each.outcomes {
            match &of_one.error {
                None => writeln!(out, "{}  {}", of_one.id, word(act))?,
                Some(error) => writeln!(out, "{}  not {}: {error}", of_one.id, word(act))?,
            }
        }
        in_flight(out, each.in_flight)
    })?;
    let failed = each
        .outcomes
        .iter()
        .filter(|of_one| of_one.error.is_some())
        .count();
    match failed {
        0 => Ok(()),
        failed => Err(Failed::Words(format!(
            "{failed} of {} messages could not be {}",
            each.outcomes.len(),
            word(act)
        ))),
    }
}

/// What was done to several messages by name.
#[derive(Serialize)]
struct Each {
    messages: u64,
    in_flight: u64,
    outcomes: Vec<OfOne>,
}

/// What was done to one of them; with an error, nothing.
#[derive(Serialize)]
struct OfOne {
    id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl OfOne {
    fn new(id: &str, done: &Result<Done, NoAnswer>) -> OfOne {
        OfOne {
            id: id.to_owned(),
            error: done.as_ref().err().map(ToString::to_string),
        }
    }
}

fn word(act: &str) -> &'static str {
    match act {
        "retry" => "to be tried now",
        "hold" => "held",
        "release" => "released",
        "return" => "given back to the sender",
        _ => "deleted",
    }
}

fn in_flight(out: &mut (impl Write + ?Sized), count: u64) -> io::Result<()> {
    match count {
        0 => Ok(()),
        1 => writeln!(
            out,
            "1 recipient is being tried at this moment and may receive it nevertheless"
        ),
        count => writeln!(
            out,
            "{count} recipients are being tried at this moment and may receive it nevertheless"
        ),
    }
}

fn say(act: &str, done: Done, format: Format, out: &mut Out) -> Result<(), Failed> {
    let word = word(act);
    out.answer(format, &done, |out| {
        match done.messages {
            1 => writeln!(out, "1 message {word}")?,
            several => writeln!(out, "{several} messages {word}")?,
        }
        in_flight(out, done.in_flight)
    })
}

/// The queue as text.
pub fn print(out: &mut (impl Write + ?Sized), listing: &Listing) -> io::Result<()> {
    if listing.messages.is_empty() {
        return writeln!(out, "nothing waits");
    }
    for entry in &listing.messages {
        writeln!(
            out,
            "{}  {}  {}  <{}>",
            entry.id,
            age(entry.age_seconds),
            size(entry.size),
            entry.sender
        )?;
        for to in &entry.recipients {
            let because = to.because.as_ref().map(|because| format!(": {}", because.text));
            writeln!(
                out,
                "    {} {}{}",
                to.state,
                to.address,
                because.unwrap_or_default()
            )?;
        }
    }
    match &listing.more_after {
        Some(last) => writeln!(out, "there may be more: --after {last}"),
        None => Ok(()),
    }
}

fn print_entry(out: &mut dyn Write, entry: &Entry) -> io::Result<()> {
    writeln!(out, "Message:  {}", entry.id)?;
    writeln!(
        out,
        "Arrived:  {} ({} ago)",
        entry.arrived,
        age(entry.age_seconds)
    )?;
    let lock = if entry.encrypted { "TLS" } else { "no TLS" };
    writeln!(
        out,
        "Came:     {} with {lock}",
        entry
            .client
            .as_deref()
            .map_or("from this machine".to_owned(), |c| format!("from {c}"))
    )?;
    writeln!(out, "Sender:   <{}>", entry.sender)?;
    writeln!(out, "Size:     {}", size(entry.size))?;
    match entry.tls.as_deref() {
        Some("required") => writeln!(
            out,
            "TLS:      required on every hop, the host proven (REQUIRETLS)"
        )?,
        Some("waived") => writeln!(out, "TLS:      what hosts publish is waived (TLS-Required: No)")?,
        _ => {}
    }
    for to in &entry.recipients {
        writeln!(out, "\n{}", to.address)?;
        writeln!(
            out,
            "  {} in lane {}, {} attempts so far",
            to.state, to.lane, to.attempts
        )?;
        if let Some(next) = &to.next {
            writeln!(out, "  next attempt: {next}")?;
        }
        if let Some(hold) = &to.hold {
            print_hold(out, hold)?;
        }
        if let Some(because) = &to.because {
            let host = because
                .remote
                .as_ref()
                .map(|host| format!(" by {host}"))
                .unwrap_or_default();
            writeln!(
                out,
                "  {} at {}{host}: {}",
                because.status, because.at, because.text
            )?;
            if let Some(reply) = &because.reply {
                writeln!(out, "  it said: {reply}")?;
            }
        }
    }
    Ok(())
}

fn print_hold(out: &mut dyn Write, hold: &Hold) -> io::Result<()> {
    let by = match hold.by.as_str() {
        "trust" => "held because no host showed what is demanded",
        _ => "held by a person",
    };
    let since = hold.since.as_ref().map(|since| format!(" since {since}"));
    writeln!(out, "  {by}{}", since.unwrap_or_default())?;
    if let Some(until) = &hold.until {
        writeln!(out, "  returned to its sender at {until} at the latest")?;
    }
    writeln!(out, "  You can:")?;
    for choice in &hold.choices {
        writeln!(out, "  - {choice}")?;
    }
    Ok(())
}

fn age(seconds: u64) -> String {
    match seconds {
        0..=99 => format!("{seconds}s"),
        100..=5999 => format!("{}m", seconds / 60),
        6000..=172_799 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

impl WhichArgs {
    fn into_query(self) -> Which {
        Which {
            destination: self.destination,
            sender: self.sender,
            state: self.state,
            older_than: self.older_than,
            newer_than: self.newer_than,
            ..Which::default()
        }
    }
}
