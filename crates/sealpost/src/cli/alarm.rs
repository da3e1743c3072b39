//! `sealpost alarm`: what is wrong with other hosts at this moment.

use std::io::{self, Write};

use clap::Subcommand;

use super::{Failed, Format, Out};
use crate::control::alarms::Standing;
use crate::control::client::Client;

/// What can be asked of alarms.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// The alarms that stand.
    List(Format),
}

/// Does it.
pub(super) async fn act(command: Command, client: &Client, out: &mut Out) -> Result<(), Failed> {
    let Command::List(format) = command;
    let standing: Standing = client.get("/v1/alarms").await?;
    out.answer(format, &standing.alarms, |out| print(out, &standing))
}

fn print(out: &mut dyn Write, standing: &Standing) -> io::Result<()> {
    if standing.alarms.is_empty() {
        return writeln!(out, "no alarm stands");
    }
    for alarm in &standing.alarms {
        let held = if alarm.holds_mail { "; mail is held" } else { "" };
        writeln!(out, "{} {} since {}{held}", alarm.kind, alarm.name, alarm.began)?;
        writeln!(out, "    {}", alarm.text)?;
        for (host, lacked) in &alarm.hosts {
            writeln!(out, "    {host}: {lacked}")?;
        }
    }
    Ok(())
}
