//! Looks up what is published, and holds it against what should be.

use std::net::IpAddr;

use mail::Domain;

use super::{Ground, Record, State, Zone};
use crate::ports::{Answer, Dns, NoAnswer, Resolved, tlsa_question};

/// Says of each record how it stands in DNS now.
pub async fn compare(zone: &mut Zone, ground: &Ground, dns: &dyn Dns) {
    for record in &mut zone.records {
        let (state, found) = stands(record, ground, dns).await;
        record.state = Some(state);
        record.found = found;
    }
}

type Standing = (State, Option<String>);

async fn stands(record: &Record, ground: &Ground, dns: &dyn Dns) -> Standing {
    let owner = record.owner.trim_end_matches('.');
    match record.kind.as_str() {
        "MX" => match dns.mx(&ground.domain).await {
            Ok(found) => {
                let names = found.answer.get().iter().filter_map(|mx| mx.exchange.as_ref());
                one_of(
                    names.map(|name| format!("{name}.")).collect(),
                    &format!("{}.", ground.host),
                )
            }
            Err(none) => absent(none),
        },
        "A" | "AAAA" => match dns.addresses(&ground.host).await {
            Ok(found) => one_of(texts(&found), &record.value),
            Err(none) => absent(none),
        },
        "TLSA" => tlsa(record, ground, dns).await,
        "CNAME" => match Domain::parse(owner) {
            Ok(owner) => alias(&owner, &ground.host, dns).await,
            Err(_) => (State::Unknown, Some("the name is too long".to_owned())),
        },
        _ => txt(owner, &record.value, dns).await,
    }
}

async fn tlsa(record: &Record, ground: &Ground, dns: &dyn Dns) -> Standing {
    let base = match dns.addresses(&ground.host).await {
        Ok(found) => found.names.asked,
        Err(none) => return absent(none),
    };
    // RFC 7672 §2.2.2: in an unsigned zone they count for nothing, and nobody asks for them.
    let Answer::Secure(base) = base else {
        let why = "the host's zone is not signed, or the resolver does not tell";
        return (State::Unknown, Some(why.to_owned()));
    };
    match dns.tlsa(&tlsa_question(&base, 25)).await {
        Ok(found) => one_of(
            found.get().iter().map(ToString::to_string).collect(),
            &record.value,
        ),
        Err(none) => absent(none),
    }
}

/// As good as an alias are the host's own addresses.
async fn alias(owner: &Domain, host: &Domain, dns: &dyn Dns) -> Standing {
    let (found, wanted) = match (dns.addresses(owner).await, dns.addresses(host).await) {
        (Ok(found), Ok(wanted)) => (found, wanted),
        (Err(none), _) | (Ok(_), Err(none)) => return absent(none),
    };
    let end = found.names.end.as_ref().map(Answer::get);
    let shared = found
        .answer
        .get()
        .iter()
        .any(|address| wanted.answer.get().contains(address));
    match end == Some(host) || shared {
        true => (State::Published, None),
        false => (State::Differs, Some(texts(&found).join(", "))),
    }
}

/// A TXT record, among others at the name; one of the same kind begins with the same word.
async fn txt(owner: &str, value: &str, dns: &dyn Dns) -> Standing {
    let wanted = value.replace("\" \"", "").replace('"', "");
    let Some((label, domain)) = split(owner) else {
        return (State::Unknown, Some("the name cannot be asked for".to_owned()));
    };
    let found = match dns.txt(label, &domain).await {
        Ok(found) => found,
        Err(none) => return absent(none),
    };
    let kind = wanted.split([';', ' ']).next().unwrap_or_default();
    let same = found
        .get()
        .iter()
        .map(|text| String::from_utf8_lossy(text).into_owned());
    let same: Vec<String> = same.filter(|text| text.starts_with(kind)).collect();
    match same.is_empty() {
        true => (State::Missing, None),
        false => one_of(same, &wanted),
    }
}

/// Labels that begin with `_` are no part of a host's name; elsewhere the first label will do.
fn split(owner: &str) -> Option<(&str, Domain)> {
    let labels = owner.bytes().scan(true, |start, octet| {
        let marked = *start && octet == b'_';
        *start = octet == b'.';
        Some(marked)
    });
    let marked = labels.filter(|marked| *marked).count().max(1);
    let (at, _) = owner.match_indices('.').nth(marked - 1)?;
    Some((&owner[..at], Domain::parse(&owner[at + 1..]).ok()?))
}

fn texts(found: &Resolved<Vec<IpAddr>>) -> Vec<String> {
    found.answer.get().iter().map(ToString::to_string).collect()
}

fn one_of(found: Vec<String>, wanted: &str) -> Standing {
    match found.iter().any(|one| one.trim() == wanted) {
        true => (State::Published, None),
        false => (
            State::Differs,
            Some(crate::mailbox::screen::line(&found.join(", "))),
        ),
    }
}

fn absent(none: NoAnswer) -> Standing {
    match none {
        NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_) => (State::Missing, None),
        NoAnswer::Failed(why) => (State::Unknown, Some(crate::mailbox::screen::line(&why))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_split_behind_their_marked_labels() {
        let rows = [
            ("_smtp._tls.a.example", "_smtp._tls", "a.example"),
            ("_dmarc.a.example", "_dmarc", "a.example"),
            ("a.example", "a", "example"),
            ("mx.a.example", "mx", "a.example"),
        ];
        for (owner, label, rest) in rows {
            let (found, domain) = split(owner).unwrap();
            assert_eq!((found, domain.as_str()), (label, rest), "{owner}");
        }
    }
}
