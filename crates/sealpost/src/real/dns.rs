//! Names to hosts, by a resolver that validates DNSSEC in this process. The only mint of [`Secure`].
//!
//! Tells three things apart that must never be mixed: the name does not exist, it has no such records, and it could
//! not be found out. A forged answer, or an unsigned one where a signature is due, is of the third kind.

mod denials;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use mail::{Domain, Secure};

use self::denials::{Denial, Denials};
use crate::config;
use crate::config::dns::Dnssec;
use crate::ports::{Answer, Dns, Later, Mx, NoAnswer};

/// A validating stub resolver with a bounded cache.
pub struct Resolve {
    resolver: TokioResolver,
    dnssec: Dnssec,
    /// The library forgets denials when it validates, and most names lack an MX or AAAA, so they are kept here.
    denials: Denials,
}

/// Why no resolver could be made: the operator must act.
#[derive(Debug)]
pub enum BadResolver {
    /// The system's resolver configuration cannot be read.
    System(NetError),
    /// The trust anchor file cannot be used.
    TrustAnchor(PathBuf, String),
    /// The configuration makes no resolver.
    Build(NetError),
}

/// What one question found.
struct Found<T> {
    items: Vec<T>,
    /// The least proof of the records along the chain of aliases: a signed alias into an unsigned zone proves nothing.
    proof: Proof,
}

impl Resolve {
    /// Makes the resolver that `[dns]` describes.
    pub fn new(config: &config::dns::Dns) -> Result<Resolve, BadResolver> {
        let servers = match config.servers.as_slice() {
            [] => system_conf::read_system_conf().map_err(BadResolver::System)?.0,
            named => ResolverConfig::from_parts(None, Vec::new(), named.iter().map(server).collect()),
        };
        let mut builder = Resolver::builder_with_config(servers, TokioRuntimeProvider::default());
        if config.dnssec == Dnssec::Validate {
            builder = builder.with_trust_anchor(Arc::new(trust_anchors(config)?));
        }
        let options = builder.options_mut();
        options.validate = config.dnssec == Dnssec::Validate;
        options.use_hosts_file = ResolveHosts::Never;
        options.timeout = config.timeout;
        options.attempts = config.attempts;
        options.cache_size = u64::from(config.cache_entries_max);
        options.preserve_intermediates = true;
        options.try_tcp_on_error = true;
        Ok(Resolve {
            resolver: builder.build().map_err(BadResolver::Build)?,
            dnssec: config.dnssec,
            denials: Denials::new(config.cache_entries_max as usize, config.denial_time_max),
        })
    }

    async fn ask<T>(
        &self,
        name: &Domain,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> Result<Found<T>, NoAnswer> {
        let asked = Instant::now();
        if let Some(denial) = self.denials.get(name, kind, asked) {
            return Err(denial.into());
        }
        let lookup = match self.resolver.lookup(absolute(name)?, kind).await {
            Ok(lookup) => lookup,
            Err(error) => return Err(self.no_answer(name, kind, &error, asked)),
        };
        let items: Vec<T> = lookup
            .answers()
            .iter()
            .filter_map(|record| read(&record.data))
            .collect();
        let answered = lookup.answers().iter().any(|record| record.record_type() == kind);
        match (items.is_empty(), answered) {
            (false, _) => Ok(Found {
                items,
                proof: least_proof(&lookup, kind),
            }),
            (true, false) => Err(NoAnswer::NoRecords),
            // Records there are, so that nothing may be done as though there were none (RFC 5321 §5.1).
            (true, true) => Err(NoAnswer::Failed(
                format!("no {kind} record of {name} can be used").into(),
            )),
        }
    }

    fn no_answer(&self, name: &Domain, kind: RecordType, error: &NetError, asked: Instant) -> NoAnswer {
        let NetError::Dns(DnsError::NoRecordsFound(none)) = error else {
            return NoAnswer::Failed(error.to_string().into());
        };
        let denial = match none.response_code {
            ResponseCode::NXDomain => Denial::NoSuchName,
            ResponseCode::NoError => Denial::NoRecords,
            code => return NoAnswer::Failed(format!("the resolver answered {code}").into()),
        };
        if self.dnssec == Dnssec::Validate && !believable(none) {
            return NoAnswer::Failed("the denial did not validate by DNSSEC".into());
        }
        self.denials.put(name, kind, denial, asked, denial_time(none));
        denial.into()
    }

    fn answer<T>(&self, found: Found<T>) -> Result<Answer<Vec<T>>, NoAnswer> {
        match (self.dnssec, found.proof) {
            (Dnssec::Off, _) | (Dnssec::Validate, Proof::Insecure) => Ok(Answer::Insecure(found.items)),
            (Dnssec::Validate, Proof::Secure) => Ok(Answer::Secure(Secure::mint(found.items))),
            (Dnssec::Validate, Proof::Bogus | Proof::Indeterminate) => {
                Err(NoAnswer::Failed("the answer did not validate by DNSSEC".into()))
            }
        }
    }
}

impl Dns for Resolve {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Answer<Vec<Mx>>, NoAnswer>> {
        Box::pin(async move { self.answer(self.ask(domain, RecordType::MX, exchanger).await?) })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Answer<Vec<IpAddr>>, NoAnswer>> {
        Box::pin(async move {
            let v4 = self.ask(host, RecordType::A, address);
            let v6 = self.ask(host, RecordType::AAAA, address);
            let (v4, v6) = tokio::join!(v4, v6);
            self.answer(either(v4, v6)?)
        })
    }
}

/// Both families count. With one of them unknown, what the other says stands; with none found, a failure outweighs a
/// denial, since the missing answer could have been an address.
fn either<T>(a: Result<Found<T>, NoAnswer>, b: Result<Found<T>, NoAnswer>) -> Result<Found<T>, NoAnswer> {
    match (a, b) {
        (Ok(mut a), Ok(b)) => {
            a.items.extend(b.items);
            Ok(Found {
                items: a.items,
                proof: a.proof.min(b.proof),
            })
        }
        (Ok(found), Err(_)) | (Err(_), Ok(found)) => Ok(found),
        (Err(failed @ NoAnswer::Failed(_)), Err(_)) | (Err(_), Err(failed @ NoAnswer::Failed(_))) => {
            Err(failed)
        }
        (Err(NoAnswer::NoSuchName), Err(_)) | (Err(_), Err(NoAnswer::NoSuchName)) => {
            Err(NoAnswer::NoSuchName)
        }
        (Err(NoAnswer::NoRecords), Err(NoAnswer::NoRecords)) => Err(NoAnswer::NoRecords),
    }
}

fn least_proof(lookup: &Lookup, kind: RecordType) -> Proof {
    let counts =
        |record: &&Record| [kind, RecordType::CNAME, RecordType::DNAME].contains(&record.record_type());
    let proofs = lookup.answers().iter().filter(counts).map(|record| record.proof);
    proofs.min().unwrap_or(Proof::Indeterminate)
}

/// The library lets a denial through only if it validated or the zone is unsigned; nothing bogus may hide in it.
fn believable(none: &NoRecords) -> bool {
    let records = none.authorities.iter().flat_map(|records| records.iter());
    records.clone().all(|record| record.proof >= Proof::Insecure)
}

fn denial_time(none: &NoRecords) -> Duration {
    let soa = none.soa.as_ref().map(|soa| soa.ttl.min(soa.data.minimum));
    Duration::from_secs(u64::from(soa.or(none.negative_ttl).unwrap_or(0)))
}

fn exchanger(data: &RData) -> Option<Mx> {
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

fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(address) => Some(IpAddr::V4(address.0)),
        RData::AAAA(address) => Some(IpAddr::V6(address.0)),
        _ => None,
    }
}

/// Parsed once, at the door: an exchanger whose name is no host name cannot be reached and is left out.
fn domain(name: &Name) -> Option<Domain> {
    Domain::parse(&name.to_ascii()).ok()
}

/// With its final dot, so that no search domain is ever appended.
fn absolute(name: &Domain) -> Result<Name, NoAnswer> {
    Name::from_ascii(format!("{name}."))
        .map_err(|error| NoAnswer::Failed(format!("{name} cannot be asked for: {error}").into()))
}

fn server(at: &std::net::SocketAddr) -> NameServerConfig {
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    udp.port = at.port();
    tcp.port = at.port();
    NameServerConfig::new(at.ip(), true, vec![udp, tcp])
}

fn trust_anchors(config: &config::dns::Dns) -> Result<TrustAnchors, BadResolver> {
    match &config.trust_anchor_file {
        None => Ok(TrustAnchors::default()),
        Some(path) => TrustAnchors::from_file(path)
            .map_err(|error| BadResolver::TrustAnchor(path.clone(), error.to_string())),
    }
}

impl fmt::Display for BadResolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadResolver::System(error) => write!(
                f,
                "cannot read the system's resolver configuration: {error}; name resolvers in [dns] servers"
            ),
            BadResolver::TrustAnchor(path, error) => {
                write!(f, "cannot use the trust anchors in {}: {error}", path.display())
            }
            BadResolver::Build(error) => {
                write!(f, "cannot set up the resolver that [dns] describes: {error}")
            }
        }
    }
}

impl std::error::Error for BadResolver {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            BadResolver::System(error) | BadResolver::Build(error) => Some(error),
            BadResolver::TrustAnchor(..) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(items: &[u8], proof: Proof) -> Result<Found<u8>, NoAnswer> {
        Ok(Found {
            items: items.to_vec(),
            proof,
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
        for none in [NoAnswer::NoRecords, failed()] {
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
        let none = |a: NoAnswer, b: NoAnswer| either::<u8>(Err(a), Err(b)).err().unwrap();
        assert_eq!(none(NoAnswer::NoRecords, failed()), failed());
        assert_eq!(none(failed(), NoAnswer::NoSuchName), failed());
        assert_eq!(
            none(NoAnswer::NoRecords, NoAnswer::NoSuchName),
            NoAnswer::NoSuchName
        );
        assert_eq!(
            none(NoAnswer::NoRecords, NoAnswer::NoRecords),
            NoAnswer::NoRecords
        );
    }
}
