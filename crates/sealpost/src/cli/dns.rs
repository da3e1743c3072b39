//! `sealpost dns`: the records that the domains served here should publish, without a server.

use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use mail::Domain;

use super::page::Page;
use super::{Failed, Format, Out, SYSTEM_CONFIG};
use crate::config::{Config, Domains};
use crate::mailbox::screen;
use crate::ports::Net;
use crate::publish::{self, Ground, OwnKey, Record, State, StsRecord, Turn, Zone};
use crate::real::dns::Resolve;
use crate::real::net::SystemNet;
use crate::tls::{own, prints};

/// What is asked.
#[derive(Args, Debug)]
pub(super) struct Command {
    /// The domain; each that `[local] domains` names, if it is left out.
    domain: Option<String>,
    /// Compare with what DNS answers now.
    #[arg(long)]
    check: bool,
    /// How it is printed.
    #[command(flatten)]
    format: Format,
}

/// Prints them: 0; with `--check` 1 where a record is missing or another, 2 where that could not be found out.
pub(super) async fn act(command: Command, file: Option<&Path>, out: &mut Out) -> Result<ExitCode, Failed> {
    let config = config(file)?;
    let grounds = grounds(&config, command.domain.as_deref())?;
    let mut zones: Vec<Zone> = grounds.iter().map(publish::zone).collect();
    if command.check {
        let dns = Resolve::new(&config.dns).map_err(|why| Failed::Words(why.to_string()))?;
        for (zone, ground) in zones.iter_mut().zip(&grounds) {
            publish::compare(zone, ground, &dns).await;
        }
    }
    let colours = out.colours;
    out.answer(command.format, &zones, |out| {
        zones.iter().enumerate().try_for_each(|(place, zone)| {
            let gap = if place == 0 { "" } else { "\n" };
            write!(out, "{gap}{}", page(zone, colours))
        })
    })?;
    let worst = zones
        .iter()
        .flat_map(|zone| &zone.records)
        .filter_map(|record| record.state)
        .max();
    Ok(ExitCode::from(match worst {
        None | Some(State::Published) => 0,
        Some(State::Differs | State::Missing) => 1,
        Some(State::Unknown) => 2,
    }))
}

fn config(file: Option<&Path>) -> Result<Config, Failed> {
    let system = Path::new(SYSTEM_CONFIG);
    Ok(match file {
        Some(file) => Config::load(file)?,
        None if system.exists() => Config::load(system)?,
        None => Config::default_loopback(),
    })
}

fn grounds(config: &Config, domain: Option<&str>) -> Result<Vec<Ground>, Failed> {
    let words = |why: &dyn std::fmt::Display| Failed::Words(why.to_string());
    let host = config.server.host.clone().or_else(crate::system::host_name);
    let host =
        host.ok_or_else(|| words(&"this server has no name: set host = \"mx.example.org\" in [server]"))?;
    let domains = match (domain, &config.local.domains) {
        (Some(name), _) => vec![
            Domain::parse(name)
                .map_err(|why| Failed::Words(format!("{} is no domain: {why}", screen::line(name))))?,
        ],
        (None, Domains::These(list)) if !list.is_empty() => list.clone(),
        (None, Domains::These(_) | Domains::Every) => {
            return Err(words(
                &"[local] domains names no domain: say which, as in `sealpost dns example.org`",
            ));
        }
    };
    let made = own::existing(&config.server.data_dir.tls());
    let files = match config.tls.certificate.is_empty() {
        true => made.into_iter().collect(),
        false => config.tls.certificate.clone(),
    };
    let prints = prints::of_host(&files, &host, &crate::tls::provider()).map_err(|why| words(&why))?;
    let keys = |list: &[mail::KeyPrint], turn| -> Vec<OwnKey> {
        list.iter().map(|print| OwnKey { print: *print, turn }).collect()
    };
    let keys = [
        keys(&prints.current, Turn::Current),
        keys(&prints.next, Turn::Next),
    ]
    .concat();
    let addresses = addresses(config)?;
    let policies = crate::sts::own::published(config, &host);
    let sts = |domain: &Domain| {
        let own = policies.iter().find(|own| own.domain == *domain)?;
        Some(StsRecord {
            record: own.record.clone(),
            policy_host: own.policy_host.clone(),
            policy: own.policy.clone(),
        })
    };
    let ground = |domain: Domain| Ground {
        sts: sts(&domain),
        domain,
        host: host.clone(),
        addresses: addresses.clone(),
        keys: keys.clone(),
        reports_to: config.tls.reports_to.clone(),
    };
    Ok(domains.into_iter().map(ground).collect())
}

/// The addresses by which the world reaches this server: those that are configured, else those of its listeners and
/// interfaces that are public.
fn addresses(config: &Config) -> Result<Vec<IpAddr>, Failed> {
    let said = config
        .server
        .addresses
        .iter()
        .chain(&config.route.source)
        .copied();
    let mut all: Vec<IpAddr> = said.collect();
    if config.server.addresses.is_empty() {
        let listening: Vec<IpAddr> = config
            .listen
            .iter()
            .filter_map(|listen| Some(listen.address?.ip()))
            .collect();
        all.extend(&listening);
        if listening.iter().any(IpAddr::is_unspecified) {
            let interfaces = SystemNet::default().addresses();
            all.extend(
                interfaces
                    .map_err(|error| Failed::World("find this machine's addresses".to_owned(), error))?,
            );
        }
        all.retain(is_public);
    }
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Whether strangers could reach it.
fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => {
            !(address.is_private()
                || address.is_loopback()
                || address.is_link_local()
                || address.is_unspecified())
        }
        IpAddr::V6(address) => {
            let first = address.segments()[0];
            let local = first & 0xfe00 == 0xfc00 || first & 0xffc0 == 0xfe80;
            !(local || address.is_loopback() || address.is_unspecified())
        }
    }
}

/// A zone file with remarks.
fn page(zone: &Zone, colours: bool) -> String {
    let mut page = Page::new(colours);
    page.verbatim(&format!("; {} with its mail host {}", zone.domain, zone.host));
    let owner = zone
        .records
        .iter()
        .map(|record| record.owner.len())
        .max()
        .unwrap_or_default();
    for record in &zone.records {
        page.verbatim(&format!("; {}{}", record.purpose, standing(record)));
        page.verbatim(&format!(
            "{:owner$} IN {:5} {}",
            record.owner, record.kind, record.value
        ));
    }
    if let Some(policy) = &zone.policy {
        page.verbatim(&format!(";\n; The policy, to be served at {}:", policy.url));
        policy
            .text
            .lines()
            .for_each(|line| page.verbatim(&format!(";   {line}")));
    }
    page.verbatim(";");
    zone.advice.iter().for_each(|advice| page.remark(advice));
    page.text()
}

fn standing(record: &Record) -> String {
    let state = match record.state {
        None => return String::new(),
        Some(State::Published) => "published",
        Some(State::Unknown) => "NOT FOUND OUT",
        Some(State::Differs) => "ANOTHER IS PUBLISHED",
        Some(State::Missing) => "MISSING",
    };
    match &record.found {
        Some(found) => format!(" -- {state}: {found}"),
        None => format!(" -- {state}"),
    }
}
