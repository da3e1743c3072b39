//! `sealpost check`: a domain as strangers see it, without a server.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use clap::Args;
use mail::Domain;

use super::page::{Page, Tone};
use super::{Failed, Format, Out};
use crate::check::probe::{Limits, Prober};
use crate::check::{Audit, Auditor, HostReport, Level, Mark, Row, audit};
use crate::config::Config;
use crate::mailbox::screen;
use crate::ports::{Dns, Net};
use crate::real::clock::SystemClock;
use crate::real::dns::Resolve;
use crate::real::net::SystemNet;
use crate::tls::ClientTls;

/// What is asked.
#[derive(Args, Debug)]
pub(super) struct Command {
    /// The domain, or an address of it.
    domain: String,
    /// The port of its mail exchangers. Anything but 25 is for laboratories.
    #[arg(long)]
    port: Option<u16>,
    /// How it is printed.
    #[command(flatten)]
    format: Format,
}

/// Audits it: 0 nothing is wrong, 1 there are faults, 2 not all could be found out.
pub(super) async fn act(command: Command, file: Option<&Path>, out: &mut Out) -> Result<ExitCode, Failed> {
    let name = command.domain.rsplit('@').next().unwrap_or_default();
    let domain = Domain::parse(name)
        .map_err(|why| Failed::Words(format!("{} is no domain: {why}", screen::line(name))))?;
    let mut config = match file {
        Some(file) => Config::load(file)?,
        None => Config::default(),
    };
    if let Some(port) = command.port {
        config.route.smtp_port = port;
    }
    let audit = audit(&auditor(&config)?.gather(&domain).await);
    let colours = out.colours;
    out.answer(command.format, &audit, |out| {
        write!(out, "{}", page(&audit, colours))
    })?;
    Ok(ExitCode::from(match audit.verdict {
        Mark::Good | Mark::Note => 0,
        Mark::Fault => 1,
        Mark::Unknown => 2,
    }))
}

fn auditor(config: &Config) -> Result<Auditor, Failed> {
    let words = |why: &dyn std::fmt::Display| Failed::Words(why.to_string());
    let clock = Arc::new(SystemClock::new());
    let dns: Arc<dyn Dns> = Arc::new(Resolve::new(&config.dns).map_err(|why| words(&why))?);
    let net: Arc<dyn Net> = Arc::new(SystemNet::default());
    let ports = crate::real::ports(dns, net, clock.clone());
    let tls = ClientTls::load(config.tls.ca_file.as_deref(), clock).map_err(|why| words(&why))?;
    let own = config.server.host.clone().or_else(crate::system::host_name);
    let me = match own {
        Some(me) => me,
        None => Domain::parse("localhost").map_err(|why| words(&why))?,
    };
    let prober = Prober {
        ports,
        tls,
        me,
        limits: Limits::default(),
    };
    Ok(Auditor::new(prober, &config.route).knowing(config.dns.known_signed()))
}

/// The audit as text.
fn page(audit: &Audit, colours: bool) -> String {
    let mut page = Page::new(colours);
    page.head(&format!("{}: {}", audit.domain, audit.summary));
    page.gap();
    for row in audit.rows.iter().filter(|row| row.host.is_none()) {
        print_row(&mut page, row);
    }
    for host in &audit.hosts {
        print_host(&mut page, host, &audit.rows);
    }
    page.text()
}

fn print_host(page: &mut Page, host: &HostReport, rows: &[Row]) {
    let preference = host.preference.map(|preference| format!(", MX {preference}"));
    page.head(&format!(
        "{}{}: {}",
        host.host,
        preference.unwrap_or_default(),
        level(host.level)
    ));
    let own = |row: &&Row| row.host.as_deref() == Some(&host.host);
    for row in rows.iter().filter(own).filter(|row| row.address.is_none()) {
        print_row(page, row);
    }
    for address in &host.addresses {
        page.row(Tone::Plain, "address", &address.address);
        let here = |row: &&Row| row.address.as_deref() == Some(&address.address);
        for row in rows.iter().filter(own).filter(here) {
            print_row(page, row);
        }
        if let Some(would) = &address.would {
            let (tone, words) = match would.send {
                true => (Tone::Plain, "sends, by"),
                false => (Tone::Bad, "sends nothing:"),
            };
            let text = format!(
                "demands {} ({}) and {words} {}",
                would.demand, would.source, would.because
            );
            page.row(tone, "Sealpost", &text);
        }
    }
}

fn print_row(page: &mut Page, row: &Row) {
    let tone = match row.mark {
        Mark::Good => Tone::Good,
        Mark::Note => Tone::Note,
        Mark::Unknown => Tone::Unknown,
        Mark::Fault => Tone::Bad,
    };
    page.row(tone, &row.about, &screen::line(&row.finding));
    if let Some(remedy) = &row.remedy {
        page.remedy(&screen::line(remedy));
    }
}

fn level(level: Level) -> &'static str {
    match level {
        Level::None => "not reached",
        Level::May => "clear text (level may)",
        Level::Encrypt => "encrypted, not proven (level encrypt)",
        Level::Verify => "encrypted, for a name without proof (level verify)",
        Level::Secure => "encrypted and proven by its certificate (level secure)",
        Level::Dane => "encrypted and proven by DANE (level dane)",
    }
}
