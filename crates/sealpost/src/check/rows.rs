//! What is made of the facts: one row for each question, with what to do about it. Plain functions.

use std::time::{Duration, SystemTime};

use mail::{Class, KeyPrint};
use serde::{Deserialize, Serialize};
use trust::{Certificates, Path, dane, sts};

use super::facts::{Believed, Door, Facts, HostFacts, NoKeyword, Offered, Shook, Showed};
use super::published;
use crate::resolver::Verdict;

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Row {
    /// What it is about: `MX`, `TLSA`, `STARTTLS` and the like.
    pub about: String,
    /// The host, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub host: Option<String>,
    /// Its address, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub address: Option<String>,
    /// How it stands.
    pub mark: Mark,
    /// What was found.
    pub finding: String,
    /// What to do, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub remedy: Option<String>,
}

/// How something stands.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mark {
    /// As it should be.
    Good,
    /// It could be better; nothing breaks.
    Note,
    /// It could not be found out.
    Unknown,
    /// It is wrong.
    Fault,
}

/// All rows, the domain's first, then each host's.
pub fn rows(facts: &Facts) -> Vec<Row> {
    let mut rows: Vec<Row> = resolver(&facts.resolver).into_iter().collect();
    rows.extend(exchangers(facts));
    rows.extend(published::rows(facts));
    if let Ok(hosts) = &facts.hosts {
        rows.push(shield(hosts));
        for host in hosts {
            rows.extend(host_rows(host, facts.at));
        }
    }
    rows
}

impl Row {
    pub(super) fn new(about: &str, mark: Mark, finding: impl Into<String>) -> Row {
        Row {
            about: about.to_owned(),
            host: None,
            address: None,
            mark,
            finding: finding.into(),
            remedy: None,
        }
    }

    pub(super) fn fix(mut self, remedy: impl Into<String>) -> Row {
        self.remedy = Some(remedy.into());
        self
    }

    fn of(mut self, host: &HostFacts) -> Row {
        self.host = Some(host.host.to_string());
        self
    }

    fn at(mut self, door: &Door) -> Row {
        self.address = Some(door.address.to_string());
        self
    }
}

/// A resolver here that does not work makes every signed domain look broken: that is told first.
fn resolver(verdict: &Verdict) -> Option<Row> {
    match (verdict, verdict.advice()) {
        (Verdict::Works | Verdict::Off, _) | (_, None) => None,
        (_, Some(advice)) => {
            Some(Row::new("resolver", Mark::Unknown, format!("the resolver here: {verdict}")).fix(advice))
        }
    }
}

fn exchangers(facts: &Facts) -> Vec<Row> {
    let domain = &facts.domain;
    let main = match &facts.hosts {
        Err(no_way) if no_way.text.contains("null") => {
            Row::new("MX", Mark::Note, format!("{domain} takes no mail (null MX)"))
        }
        Err(no_way) if no_way.status.class() == Class::Permanent => {
            Row::new("MX", Mark::Fault, &*no_way.text)
                .fix("publish an MX record that names a host with an address")
        }
        Err(no_way) => Row::new("MX", Mark::Unknown, &*no_way.text)
            .fix("try again; if it stays so, look at the domain's name servers and at the resolver here"),
        Ok(hosts) if hosts.iter().all(|host| host.preference.is_none()) => Row::new(
            "MX",
            Mark::Note,
            "no MX record: mail goes to the domain's own address",
        )
        .fix(format!("publish one: {domain}. IN MX 10 {domain}.")),
        Ok(hosts) => Row::new("MX", Mark::Good, count(hosts.len(), "mail exchanger")),
    };
    let odd = |remark: &str| {
        Row::new("MX", Mark::Note, remark).fix("correct the MX records or the addresses behind them")
    };
    std::iter::once(main)
        .chain(facts.remarks.iter().map(|remark| odd(remark)))
        .collect()
}

/// Whether senders can notice that STARTTLS was taken out on the way to every host.
fn shield(hosts: &[HostFacts]) -> Row {
    let open: Vec<String> = hosts
        .iter()
        .filter(|host| !has_tlsa(host) && !matches!(host.sts, sts::Finding::Enforced(_)))
        .map(|host| host.host.to_string())
        .collect();
    match open.is_empty() {
        true => Row::new("protection", Mark::Good, "senders are told by DANE or MTA-STS to insist on TLS"),
        false => Row::new(
            "protection",
            Mark::Fault,
            format!(
                "nothing tells senders to insist on TLS with {}: who sits on the way can take it out unnoticed",
                open.join(", ")
            ),
        )
        .fix("publish TLSA records in a signed zone, or an MTA-STS policy in mode enforce: sealpost dns writes both"),
    }
}

fn has_tlsa(host: &HostFacts) -> bool {
    matches!(&host.dane, dane::Finding::Published(records) if records.has_usable())
}

fn host_rows(host: &HostFacts, now: SystemTime) -> Vec<Row> {
    let mut rows = vec![dnssec(host), tlsa(host, now), listed(host)];
    let reached = host
        .doors
        .iter()
        .any(|door| !matches!(door.showed, Showed::Unreached(_)));
    for door in &host.doors {
        let found = match &door.showed {
            Showed::Unreached(why) => vec![unreached(why, reached)],
            Showed::Odd(why) => vec![
                Row::new(
                    "SMTP",
                    Mark::Fault,
                    format!("no mail server to be talked to: {why}"),
                )
                .fix("look at the server's log: it should greet with 220 and answer EHLO"),
            ],
            Showed::NoKeyword(signs) => vec![no_keyword(*signs)],
            Showed::Offered(offered) => offered_rows(host, offered, now),
        };
        rows.extend(found.into_iter().map(|row| row.at(door)));
    }
    let rows = rows.into_iter().filter(|row| !row.finding.is_empty());
    rows.map(|row| row.of(host)).collect()
}

fn dnssec(host: &HostFacts) -> Row {
    match (host.origin, host.addresses) {
        (trust::Origin::Proven | trust::Origin::Configured, Believed::Proven) => {
            Row::new("DNSSEC", Mark::Good, "the records that lead to it are signed")
        }
        (trust::Origin::Proven | trust::Origin::Configured, Believed::Unproven) => Row::new(
            "DNSSEC",
            Mark::Note,
            "the host's own zone is not signed: TLSA records there would count for nothing",
        )
        .fix("sign the host's zone"),
        (trust::Origin::Unproven, _) => Row::new("DNSSEC", Mark::Note, "the MX record is not signed")
            .fix("sign the domain's zone: without that, DNS can lead senders to another host"),
    }
}

fn tlsa(host: &HostFacts, now: SystemTime) -> Row {
    let shown: Vec<&Shook> = host.doors.iter().flat_map(shakes).collect();
    let advice = match shown.iter().find_map(|shook| shook.certificates.key()) {
        Some(key) => format!("publish {}", record(host, &key)),
        None => "publish TLSA records once the host offers TLS".to_owned(),
    };
    let records = match &host.dane {
        dane::Finding::Published(records) => records,
        dane::Finding::Absent => {
            return Row::new("TLSA", Mark::Note, "no TLSA record").fix(advice);
        }
        dane::Finding::Unasked(why) => return Row::new("TLSA", Mark::Note, format!("not asked for: {why}")),
        dane::Finding::Failed(why) => {
            return Row::new("TLSA", Mark::Unknown, format!("could not be found out: {why}"))
                .fix("senders that keep to DANE send nothing while this lasts: look at the zone's signatures and servers");
        }
    };
    if !records.has_usable() {
        let text = format!(
            "{}, none of them usable: senders encrypt and prove nothing",
            records.told()
        );
        return Row::new("TLSA", Mark::Fault, text).fix(advice);
    }
    let misfit = shown
        .iter()
        .find_map(|shook| records.prove(shook.certificates.presented(), now).err());
    match misfit {
        Some(why) => Row::new("TLSA", Mark::Fault, format!("what it shows does not fit: {}", why.0)).fix(format!(
            "{advice}, and keep the records of keys in use beside it: senders that keep to DANE send nothing until then"
        )),
        None if shown.is_empty() => Row::new("TLSA", Mark::Unknown, format!("{}; no certificate was seen", records.told())),
        None => Row::new("TLSA", Mark::Good, format!("{}, fitting what it shows", records.told())),
    }
}

/// The record that fits a key (RFC 7671 §5.1).
fn record(host: &HostFacts, key: &KeyPrint) -> String {
    let port = host.doors.first().map_or(25, |door| door.address.port());
    format!("_{port}._tcp.{}. IN TLSA 3 1 1 {key}", host.host)
}

fn shakes(door: &Door) -> Vec<&Shook> {
    match &door.showed {
        Showed::Offered(offered) => offered.newest.iter().chain(offered.older.iter()).collect(),
        Showed::Unreached(_) | Showed::Odd(_) | Showed::NoKeyword(_) => Vec::new(),
    }
}

fn listed(host: &HostFacts) -> Row {
    let nothing = Row::new("MTA-STS", Mark::Good, "");
    match &host.sts {
        sts::Finding::Absent(_) => nothing,
        sts::Finding::Testing(held) | sts::Finding::Enforced(held) if held.listed == sts::Listed::Yes => {
            Row::new("MTA-STS", Mark::Good, format!("policy {} lists it", held.id))
        }
        sts::Finding::Testing(held) | sts::Finding::Enforced(held) => Row::new(
            "MTA-STS",
            Mark::Fault,
            format!("policy {} does not list it", held.id),
        )
        .fix(format!(
            "add \"mx: {}\" to the policy, and give the TXT record a new id",
            host.host
        )),
    }
}

fn unreached(why: &str, others: bool) -> Row {
    let row = |mark| Row::new("SMTP", mark, format!("not reached from here: {why}"));
    match others {
        true => row(Mark::Note),
        false => row(Mark::Unknown)
            .fix("see that this machine may connect to that port, then that the server listens"),
    }
}

fn no_keyword(signs: NoKeyword) -> Row {
    let mut seen = Vec::new();
    if signs.obeyed {
        seen.push("the server obeys the command that it did not list");
    }
    if signs.listed_again {
        seen.push("asked again, it lists it");
    }
    if signs.masked {
        seen.push("a keyword is written over with X");
    }
    match seen.is_empty() {
        true => Row::new(
            "STARTTLS",
            Mark::Fault,
            "not offered: all mail to it can be read on the way",
        )
        .fix("give the server a certificate and turn on STARTTLS"),
        false => Row::new(
            "STARTTLS",
            Mark::Fault,
            format!("taken out on the way: {}", seen.join("; ")),
        )
        .fix("look for a firewall that inspects SMTP between here and the server, and turn that off"),
    }
}

fn offered_rows(host: &HostFacts, offered: &Offered, now: SystemTime) -> Vec<Row> {
    let mut rows = vec![versions(offered)];
    if let Some(shook) = offered.best() {
        if let Err(why) = &shook.inside {
            rows.push(
                Row::new(
                    "STARTTLS",
                    Mark::Fault,
                    format!("inside TLS the server says nothing of use: {why}"),
                )
                .fix("look at the server's log"),
            );
        }
        rows.push(key_exchange(shook));
        rows.push(certificate(host, &shook.certificates, now));
        rows.push(expiry(host, &shook.certificates, now));
    }
    rows
}

fn versions(offered: &Offered) -> Row {
    match (&offered.newest, &offered.older) {
        (Ok(_), Ok(_)) => Row::new("versions", Mark::Good, "TLS 1.3 and TLS 1.2"),
        (Ok(_), Err(_)) => Row::new("versions", Mark::Good, "TLS 1.3 alone"),
        (Err(_), Ok(_)) => Row::new("versions", Mark::Note, "TLS 1.2 alone").fix("turn on TLS 1.3"),
        (Err(newest), Err(older)) => Row::new(
            "versions",
            Mark::Fault,
            format!("no handshake succeeds: TLS 1.3: {newest}; TLS 1.2: {older}"),
        )
        .fix("turn on TLS 1.3 and 1.2 with a certificate that suits both"),
    }
}

fn key_exchange(shook: &Shook) -> Row {
    let group = shook.facts.group.as_deref().unwrap_or("unknown");
    match is_post_quantum(group) {
        true => Row::new(
            "key exchange",
            Mark::Good,
            format!("{group}: also against quantum computers"),
        ),
        false => Row::new(
            "key exchange",
            Mark::Note,
            format!("{group}: recorded today, it may be read some day"),
        )
        .fix("let the server offer X25519MLKEM768"),
    }
}

/// Whether a group withstands quantum computers.
pub fn is_post_quantum(group: &str) -> bool {
    group.to_ascii_uppercase().contains("MLKEM")
}

fn certificate(host: &HostFacts, certificates: &Certificates, now: SystemTime) -> Row {
    let told = certificates.told(&host.host);
    let by_dane = match &host.dane {
        dane::Finding::Published(records) => records.prove(certificates.presented(), now).is_ok(),
        dane::Finding::Unasked(_) | dane::Finding::Absent | dane::Finding::Failed(_) => false,
    };
    if told.proves_host() {
        return Row::new("certificate", Mark::Good, "trusted, and for its name");
    }
    if by_dane {
        return Row::new(
            "certificate",
            Mark::Good,
            format!("{told}; DANE proves it all the same"),
        );
    }
    let remedy = match told.path {
        Path::Trusted => format!("get a certificate that names {}", host.host),
        Path::Flawed(..) => {
            "get a certificate from an authority that others trust, and send its issuers along".to_owned()
        }
        Path::Unchecked => "name trusted roots here: [tls] ca_file".to_owned(),
    };
    let mark = match (&told.path, &host.sts) {
        (Path::Unchecked, _) => Mark::Unknown,
        (_, sts::Finding::Testing(_) | sts::Finding::Enforced(_)) => Mark::Fault,
        (_, sts::Finding::Absent(_)) => Mark::Note,
    };
    Row::new("certificate", mark, told.to_string()).fix(remedy)
}

fn expiry(host: &HostFacts, certificates: &Certificates, now: SystemTime) -> Row {
    let Some(until) = certificates.told(&host.host).until else {
        return Row::new("expiry", Mark::Unknown, "the certificate's end cannot be read");
    };
    match until.duration_since(now) {
        Ok(left) if left < SOON => {
            Row::new("expiry", Mark::Note, format!("{} left", count(days(left), "day"))).fix("renew it now")
        }
        Ok(left) => Row::new("expiry", Mark::Good, format!("{} left", count(days(left), "day"))),
        // RFC 7672 §3.1.1: with DANE-EE the certificate's times do not count.
        Err(_) if has_tlsa(host) => Row::new(
            "expiry",
            Mark::Note,
            "out of date; its TLSA records may do without",
        )
        .fix("renew it"),
        Err(_) => Row::new("expiry", Mark::Fault, "out of date").fix("renew it now"),
    }
}

/// Whole days.
pub fn days(left: Duration) -> usize {
    usize::try_from(left.as_secs() / 86_400).unwrap_or(usize::MAX)
}

fn count(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        more => format!("{more} {what}s"),
    }
}

/// Less than this is little.
const SOON: Duration = Duration::from_secs(14 * 86_400);
