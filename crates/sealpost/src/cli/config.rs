//! `sealpost config`: the configuration file, without a server.

use std::path::Path;

use clap::Subcommand;

use super::{Failed, Format, Out};
use crate::config::Config;

/// What can be done with a configuration.
#[derive(Subcommand, Debug)]
pub(super) enum Command {
    /// Say whether the configuration is sound, or what is wrong with it and where.
    Check(Format),
    /// Print it as understood, with every default.
    Show(Format),
}

/// Does it. Without a file: for the configuration of a server that was given none.
pub(super) fn act(command: &Command, file: Option<&Path>, out: &mut Out) -> Result<(), Failed> {
    let config = match file {
        Some(file) => Config::load(file)?,
        None => Config::default_loopback(),
    };
    check_local(&config)?;
    match command {
        Command::Check(format) => {
            let name = file.map_or("the built-in configuration".to_owned(), |file| {
                file.display().to_string()
            });
            let remarks = config.mta_sts.own.remarks(crate::sts::own::domains(&config));
            let answer = serde_json::json!({ "sound": true, "file": file, "remarks": remarks });
            out.answer(*format, &answer, |out| {
                writeln!(out, "{name} is sound")?;
                remarks
                    .iter()
                    .try_for_each(|remark| writeln!(out, "but: {remark}"))
            })
        }
        Command::Show(format) => {
            let text = toml::to_string(&config).map_err(|error| Failed::Words(error.to_string()))?;
            out.answer(*format, &config, |out| write!(out, "{text}"))
        }
    }
}

/// The tables of `[local]` are parsed when the server starts; here they are parsed to be checked.
fn check_local(config: &Config) -> Result<(), Failed> {
    let placeholder = mail::Domain::parse("localhost").map_err(|why| Failed::Words(why.to_string()))?;
    let me = config.server.host.clone().unwrap_or(placeholder);
    crate::local::load(&config.local, &me, &config.server.data_dir.mail())
        .map(drop)
        .map_err(|why| Failed::Words(why.to_string()))
}
