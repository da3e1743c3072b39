//! `dns`: every record that a domain served here should publish, and whether DNS has it now.
//!
//! What is to be published follows in plain functions from names, addresses and keys; the comparison looks up and judges
//! nothing else.

mod compare;

use std::net::IpAddr;

use mail::{Domain, KeyPrint, Mailbox};
use serde::{Deserialize, Serialize};

pub use compare::compare;

/// What records follow from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ground {
    /// The domain.
    pub domain: Domain,
    /// The host that takes its mail: this server.
    pub host: Domain,
    /// The server's public addresses.
    pub addresses: Vec<IpAddr>,
    /// The keys of its certificates.
    pub keys: Vec<OwnKey>,
    /// The domain's own MTA-STS policy.
    pub sts: Option<StsRecord>,
    /// Where others are to send their TLS reports.
    pub reports_to: Option<Mailbox>,
}

/// A key of this server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OwnKey {
    /// The SHA-256 of its public half.
    pub print: KeyPrint,
    /// Whether it is in use.
    pub turn: Turn,
}

/// When a key is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// Now.
    Current,
    /// After the next change of certificates.
    Next,
}

/// An MTA-STS policy and its record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StsRecord {
    /// The TXT record.
    pub record: String,
    /// The host that serves the policy.
    pub policy_host: Domain,
    /// The policy.
    pub policy: String,
}

/// What a domain should publish.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Zone {
    /// The domain.
    pub domain: String,
    /// The host that takes its mail.
    pub host: String,
    /// The records.
    pub records: Vec<Record>,
    /// The MTA-STS policy to be served by HTTPS.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub policy: Option<PolicyFile>,
    /// What else is to be known or done.
    pub advice: Vec<String>,
}

/// A document to be served.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PolicyFile {
    /// Where.
    pub url: String,
    /// Its lines.
    pub text: String,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Record {
    /// Its name, with the final dot.
    pub owner: String,
    /// Its type.
    pub kind: String,
    /// What it says, as in a zone file.
    pub value: String,
    /// What it is for.
    pub purpose: String,
    /// Whether DNS has it now; none if that was not asked.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub state: Option<State>,
    /// What DNS has instead, or why that is not known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub found: Option<String>,
}

/// How a record stands in DNS.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It is there.
    Published,
    /// It could not be found out.
    Unknown,
    /// Another one is there.
    Differs,
    /// There is none.
    Missing,
}

impl Record {
    fn new(owner: impl std::fmt::Display, kind: &str, value: String, purpose: &str) -> Record {
        Record {
            owner: format!("{owner}."),
            kind: kind.to_owned(),
            value,
            purpose: purpose.to_owned(),
            state: None,
            found: None,
        }
    }
}

/// Everything that the domain should publish.
pub fn zone(ground: &Ground) -> Zone {
    let (domain, host) = (&ground.domain, &ground.host);
    let mut records = hosts(ground);
    records.extend(keys(ground));
    records.extend(policies(ground));
    records.extend(senders(ground));
    Zone {
        domain: domain.to_string(),
        host: host.to_string(),
        records,
        policy: ground.sts.as_ref().map(|sts| PolicyFile {
            url: format!("https://{}/.well-known/mta-sts.txt", sts.policy_host),
            text: sts.policy.clone(),
        }),
        advice: advice(ground),
    }
}

fn hosts(ground: &Ground) -> Vec<Record> {
    let (domain, host) = (&ground.domain, &ground.host);
    let purpose = "which host takes the domain's mail";
    let mut records = vec![Record::new(domain, "MX", format!("10 {host}."), purpose)];
    records.extend(ground.addresses.iter().map(|address| {
        let kind = if address.is_ipv4() { "A" } else { "AAAA" };
        Record::new(host, kind, address.to_string(), "where the host is")
    }));
    records
}

fn keys(ground: &Ground) -> impl Iterator<Item = Record> {
    ground.keys.iter().map(|key| {
        let purpose = match key.turn {
            Turn::Current => "DANE: the key in use; counts only where the zone is signed",
            Turn::Next => "DANE: the key that comes next, published ahead",
        };
        let owner = format!("_25._tcp.{}", ground.host);
        Record::new(owner, "TLSA", format!("3 1 1 {}", key.print), purpose)
    })
}

fn policies(ground: &Ground) -> Vec<Record> {
    let (domain, host) = (&ground.domain, &ground.host);
    let mut records = Vec::new();
    if let Some(sts) = &ground.sts {
        let owner = format!("_mta-sts.{domain}");
        let purpose = "MTA-STS: that there is a policy; change it only once the new policy is served";
        records.push(Record::new(owner, "TXT", quoted(&sts.record), purpose));
        let purpose = "MTA-STS: the host that serves the policy";
        records.push(Record::new(
            &sts.policy_host,
            "CNAME",
            format!("{host}."),
            purpose,
        ));
    }
    if let Some(to) = &ground.reports_to {
        let (owner, text) = (
            format!("_smtp._tls.{domain}"),
            format!("v=TLSRPTv1; rua=mailto:{to}"),
        );
        let purpose = "where others report failed handshakes";
        records.push(Record::new(owner, "TXT", quoted(&text), purpose));
    }
    records
}

fn senders(ground: &Ground) -> [Record; 3] {
    let (domain, host) = (&ground.domain, &ground.host);
    let purpose = "SPF: which hosts send the domain's mail";
    let own = Record::new(domain, "TXT", quoted(&spf(&ground.addresses)), purpose);
    let purpose = "SPF: for the name said in EHLO, and for reports";
    let hello = Record::new(host, "TXT", quoted("v=spf1 a -all"), purpose);
    let dmarc = format!("v=DMARC1; p=none; rua=mailto:postmaster@{domain}");
    let purpose = "DMARC: what others do with forged mail, and tell of";
    [
        own,
        hello,
        Record::new(format!("_dmarc.{domain}"), "TXT", quoted(&dmarc), purpose),
    ]
}

/// By address, so that a receiver has nothing more to look up; by `mx` where none is known.
fn spf(addresses: &[IpAddr]) -> String {
    let term = |address: &IpAddr| match address {
        IpAddr::V4(address) => format!("ip4:{address}"),
        IpAddr::V6(address) => format!("ip6:{address}"),
    };
    let terms: Vec<String> = addresses.iter().map(term).collect();
    match terms.is_empty() {
        true => "v=spf1 mx -all".to_owned(),
        false => format!("v=spf1 {} -all", terms.join(" ")),
    }
}

fn advice(ground: &Ground) -> Vec<String> {
    let mut advice = Vec::new();
    if ground.addresses.is_empty() {
        advice.push("No public address of this server is known: set [server] addresses, then publish A and AAAA of the host.".to_owned());
    }
    let next = ground.keys.iter().any(|key| key.turn == Turn::Next);
    match (ground.keys.is_empty(), next) {
        (true, _) => advice.push("No certificate could be read, so there is no TLSA record to publish yet.".to_owned()),
        // RFC 7671 §8.1.
        (false, true) => advice.push(
            "Change of keys: publish both TLSA records, wait twice their TTL, then use the new key, then remove the old record."
                .to_owned(),
        ),
        (false, false) => advice.push(
            "Keep the key when the certificate is renewed. To change it, name the new one as next_key in [[tls.certificate]] \
             first: its TLSA record must be out for twice the TTL before the key is used."
                .to_owned(),
        ),
    }
    if ground.sts.is_none() {
        advice.push("No MTA-STS policy: there is one for each domain that [local] domains names.".to_owned());
    }
    if ground.reports_to.is_none() {
        advice.push(
            "No TLSRPT record: set reports_to in [tls] to an address that reads reports, and it is listed here.".to_owned(),
        );
    }
    advice.push(
        "DKIM: this server does not sign yet, so there is no DKIM record, and DMARC stays at p=none."
            .to_owned(),
    );
    advice.push("The reverse names (PTR) of the addresses should be the host's name.".to_owned());
    advice
}

/// A text as in a zone file: in pieces of at most 255 octets.
fn quoted(text: &str) -> String {
    let octets: Vec<char> = text.chars().collect();
    let pieces = octets
        .chunks(TEXT_OCTETS_MAX)
        .map(|piece| format!("\"{}\"", piece.iter().collect::<String>()));
    pieces.collect::<Vec<_>>().join(" ")
}

/// Octets of one string of a TXT record; what is written here is ASCII.
const TEXT_OCTETS_MAX: usize = 255;

#[cfg(test)]
mod tests {
    use super::*;

    fn ground() -> Ground {
        Ground {
            domain: Domain::parse("a.example").unwrap(),
            host: Domain::parse("mx.a.example").unwrap(),
            addresses: vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()],
            keys: vec![OwnKey {
                print: KeyPrint([0xab; 32]),
                turn: Turn::Current,
            }],
            sts: None,
            reports_to: None,
        }
    }

    fn lines(ground: &Ground) -> Vec<String> {
        let lines = zone(ground).records;
        lines
            .iter()
            .map(|record| format!("{} {} {}", record.owner, record.kind, record.value))
            .collect()
    }

    #[test]
    fn every_record_of_a_plain_server() {
        assert_eq!(
            lines(&ground()),
            [
                "a.example. MX 10 mx.a.example.",
                "mx.a.example. A 192.0.2.1",
                "mx.a.example. AAAA 2001:db8::1",
                &format!("_25._tcp.mx.a.example. TLSA 3 1 1 {}", "ab".repeat(32)),
                "a.example. TXT \"v=spf1 ip4:192.0.2.1 ip6:2001:db8::1 -all\"",
                "mx.a.example. TXT \"v=spf1 a -all\"",
                "_dmarc.a.example. TXT \"v=DMARC1; p=none; rua=mailto:postmaster@a.example\"",
            ]
        );
        let advice = zone(&ground()).advice.join("\n");
        for word in ["next_key", "reports_to", "DKIM", "MTA-STS"] {
            assert!(advice.contains(word), "{word}: {advice}");
        }
    }

    #[test]
    fn the_next_key_the_policy_and_the_reports_add_their_records() {
        let mut ground = ground();
        ground.keys.push(OwnKey {
            print: KeyPrint([1; 32]),
            turn: Turn::Next,
        });
        ground.sts = Some(StsRecord {
            record: "v=STSv1; id=1;".to_owned(),
            policy_host: Domain::parse("mta-sts.a.example").unwrap(),
            policy: "version: STSv1\r\n".to_owned(),
        });
        ground.reports_to = Some(Mailbox::parse("tls@a.example").unwrap());
        let all = lines(&ground).join("\n");
        for line in [
            "_mta-sts.a.example. TXT \"v=STSv1; id=1;\"",
            "mta-sts.a.example. CNAME mx.a.example.",
            "_smtp._tls.a.example. TXT \"v=TLSRPTv1; rua=mailto:tls@a.example\"",
            &format!("_25._tcp.mx.a.example. TLSA 3 1 1 {}", "01".repeat(32)),
        ] {
            assert!(all.contains(line), "{line} in {all}");
        }
        assert!(
            zone(&ground)
                .advice
                .iter()
                .any(|advice| advice.contains("twice their TTL"))
        );
    }

    #[test]
    fn long_texts_are_cut_into_strings() {
        let text = quoted(&"x".repeat(600));
        let pieces: Vec<&str> = text.split(' ').collect();
        assert_eq!(
            pieces.iter().map(|piece| piece.len() - 2).collect::<Vec<_>>(),
            [255, 255, 90]
        );
    }
}
