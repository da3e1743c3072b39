//! What stands in an answer: the way from the name asked for to its records, and what those say.

use std::net::IpAddr;

use hickory_resolver::proto::dnssec::Proof;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mail::Domain;
use trust::dane::Tlsa;

use crate::ports::{Mx, NoAnswer, Txt};

/// What one question found.
pub(super) struct Found<T> {
    pub(super) items: Vec<T>,
    /// The least proof of the records along the chain of aliases: a signed alias into an unsigned zone proves nothing.
    pub(super) proof: Proof,
    /// The first alias, if the name is one.
    pub(super) alias: Option<Alias>,
}

/// An alias under the name that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Alias {
    /// The proof of this first link alone (RFC 7672 §2.1.3).
    pub(super) proof: Proof,
    /// The name at the end of the chain, if it is one that a host can have.
    pub(super) end: Option<Domain>,
}

/// From a name through its aliases to records. What stands beside this way in an answer says nothing of the name: a
/// signed record of someone else's could be laid there by anyone.
pub(super) struct Way<'a> {
    pub(super) links: Vec<&'a Record>,
    end: Name,
    pub(super) records: Vec<&'a Record>,
}

impl<'a> Way<'a> {
    pub(super) fn walk(name: &Name, kind: RecordType, answers: &'a [Record]) -> Way<'a> {
        let (mut links, mut end) = (Vec::new(), name.clone());
        while links.len() < ALIASES_MAX {
            let next = answers.iter().find_map(|record| match &record.data {
                RData::CNAME(alias) if record.name == end => Some((record, alias.0.clone())),
                _ => None,
            });
            let Some((link, target)) = next else { break };
            links.push(link);
            end = target;
        }
        let stands = |record: &&Record| record.record_type() == kind && record.name == end;
        let records = answers.iter().filter(stands).collect();
        Way { links, end, records }
    }

    /// The least proof along the way.
    pub(super) fn proof(&self) -> Proof {
        let proofs = self.links.iter().chain(&self.records).map(|record| record.proof);
        proofs.min().unwrap_or(Proof::Indeterminate)
    }

    pub(super) fn alias(&self) -> Option<Alias> {
        let first = self.links.first()?;
        Some(Alias {
            proof: first.proof,
            end: domain(&self.end),
        })
    }
}

/// Aliases that are followed in one answer.
pub(super) const ALIASES_MAX: usize = 16;

/// All records at the end of the way that can be used.
pub(super) fn read_all<T>(
    name: &Name,
    kind: RecordType,
    way: &Way<'_>,
    read: fn(&RData) -> Option<T>,
) -> Result<Found<T>, NoAnswer> {
    let items: Vec<T> = way
        .records
        .iter()
        .filter_map(|record| read(&record.data))
        .collect();
    match items.is_empty() {
        false => Ok(Found {
            items,
            proof: way.proof(),
            alias: way.alias(),
        }),
        // Records there are, so that nothing may be done as though there were none (RFC 5321 §5.1).
        true => Err(NoAnswer::Failed(
            format!("no {kind} record of {name} can be used").into(),
        )),
    }
}

/// Both families count. With one of them unknown, what the other says stands; with none found, a failure outweighs a
/// denial, since the missing answer could have been an address.
pub(super) fn either<T>(
    a: Result<Found<T>, NoAnswer>,
    b: Result<Found<T>, NoAnswer>,
) -> Result<Found<T>, NoAnswer> {
    match (a, b) {
        (Ok(mut a), Ok(b)) => {
            a.items.extend(b.items);
            Ok(Found {
                items: a.items,
                proof: a.proof.min(b.proof),
                alias: both(a.alias, b.alias),
            })
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(failed @ NoAnswer::Failed(_)), Err(_)) | (Err(_), Err(failed @ NoAnswer::Failed(_))) => {
            Err(failed)
        }
        (Err(NoAnswer::NoSuchName(a)), Err(NoAnswer::NoSuchName(b) | NoAnswer::NoRecords(b)))
        | (Err(NoAnswer::NoRecords(a)), Err(NoAnswer::NoSuchName(b))) => Err(NoAnswer::NoSuchName(a.min(b))),
        (Err(NoAnswer::NoRecords(a)), Err(NoAnswer::NoRecords(b))) => Err(NoAnswer::NoRecords(a.min(b))),
    }
}

/// The alias that both families go through, no better proven than the worse; where they do not agree (the record may
/// have changed between the two answers), its end counts as no name at all.
fn both(a: Option<Alias>, b: Option<Alias>) -> Option<Alias> {
    match (a, b) {
        (Some(a), Some(b)) => Some(Alias {
            proof: a.proof.min(b.proof),
            end: a.end.filter(|end| b.end.as_ref() == Some(end)),
        }),
        (Some(one), None) | (None, Some(one)) => Some(Alias { end: None, ..one }),
        (None, None) => None,
    }
}

pub(super) fn exchanger(data: &RData) -> Option<Mx> {
    match data {
        RData::MX(mx) => Some(Mx {
            preference: mx.preference,
            exchange: if mx.exchange.is_root() {
                None
            } else {
                Some(domain(&mx.exchange)?)
            },
        }),
        _ => None,
    }
}

pub(super) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Parsed once, at the door: an exchanger whose name is no host name cannot be reached and is left out.
pub(super) fn domain(name: &Name) -> Option<Domain> {
    Domain::parse(&name.to_ascii()).ok()
}

pub(super) fn association(data: &RData) -> Option<Tlsa> {
    match data {
        RData::TLSA(tlsa) => Some(Tlsa {
            usage: tlsa.cert_usage.into(),
            selector: tlsa.selector.into(),
            matching: tlsa.matching.into(),
            association: tlsa.cert_data.as_slice().into(),
        }),
        _ => None,
    }
}

/// The strings of one record, put together.
pub(super) fn text(data: &RData) -> Option<Txt> {
    match data {
        RData::TXT(text) => Some(text.txt_data.concat().into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Denial;

    fn found(items: &[u8], proof: Proof) -> Result<Found<u8>, NoAnswer> {
        Ok(Found {
            items: items.to_vec(),
            proof,
            alias: None,
        })
    }

    fn failed() -> NoAnswer {
        NoAnswer::Failed("timeout".into())
    }

    #[test]
    fn both_families_make_one_answer() {
        let both = either(found(&[4], Proof::Secure), found(&[6], Proof::Insecure))
            .ok()
            .unwrap();
        assert_eq!((both.items, both.proof), (vec![4, 6], Proof::Insecure));
        for none in [NoAnswer::NoRecords(Denial::Secure), failed()] {
            let one = either(found(&[4], Proof::Secure), Err(none.clone()))
                .ok()
                .unwrap();
            assert_eq!(one.items, [4]);
            let one = either(Err(none), found(&[6], Proof::Secure)).ok().unwrap();
            assert_eq!(one.items, [6]);
        }
    }

    #[test]
    fn a_failure_outweighs_a_denial() {
        use Denial::{Insecure, Secure};
        use NoAnswer::{NoRecords, NoSuchName};
        let none = |a: NoAnswer, b: NoAnswer| either::<u8>(Err(a), Err(b)).err().unwrap();
        assert_eq!(none(NoRecords(Secure), failed()), failed());
        assert_eq!(none(failed(), NoSuchName(Secure)), failed());
        assert_eq!(
            none(NoRecords(Secure), NoSuchName(Insecure)),
            NoSuchName(Insecure)
        );
        assert_eq!(none(NoRecords(Secure), NoRecords(Secure)), NoRecords(Secure));
    }
}
