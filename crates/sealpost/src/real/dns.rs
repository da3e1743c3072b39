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
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use mail::{Domain, Secure};
use trust::dane::Tlsa;

use self::denials::{Denials, Denied};
use crate::config;
use crate::config::dns::Dnssec;
use crate::ports::{Answer, Denial, Dns, Later, Mx, Names, NoAnswer, Resolved, TlsaQuestion, Txt};

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
    /// The first alias, if the name is one.
    alias: Option<Alias>,
}

/// An alias under the name that was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Alias {
    /// The proof of this first link alone (RFC 7672 §2.1.3).
    proof: Proof,
    /// The name at the end of the chain, if it is one that a host can have.
    end: Option<Domain>,
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
        name: &Name,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
    ) -> Result<Found<T>, NoAnswer> {
        let asked = Instant::now();
        if let Some(denied) = self.denials.get(name, kind, asked) {
            return Err(denied.into());
        }
        let answers = match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => lookup.answers().to_vec(),
            Err(error) => match self.by_steps(name, kind, &error).await {
                Some(answers) => answers,
                None => return Err(self.no_answer(name, kind, &error, asked)),
            },
        };
        let way = walk(name, kind, &answers);
        let items: Vec<T> = way
            .records
            .iter()
            .filter_map(|record| read(&record.data))
            .collect();
        match (items.is_empty(), way.records.is_empty()) {
            (false, _) => Ok(Found {
                items,
                proof: way.proof(),
                alias: way.alias(),
            }),
            (true, true) => Err(NoAnswer::Failed(
                format!("an answer about {name} that says nothing of it").into(),
            )),
            // Records there are, so that nothing may be done as though there were none (RFC 5321 §5.1).
            (true, false) => Err(NoAnswer::Failed(
                format!("no {kind} record of {name} can be used").into(),
            )),
        }
    }

    /// The answer behind an alias, by one question for each link, where all at once did not validate. A resolver that asks as
    /// RFC 9156 has it (Unbound) may lay the target's denial of some other type beside the answer; the library then wants
    /// that to deny the alias, and finds it wanting. Each answer is validated for itself here.
    async fn by_steps(&self, name: &Name, kind: RecordType, error: &NetError) -> Option<Vec<Record>> {
        if !is_bogus(error) {
            return None;
        }
        let (mut answers, mut end) = (Vec::new(), name.clone());
        for _ in 0..ALIASES_MAX {
            let link = self.resolver.lookup(end.clone(), RecordType::CNAME).await.ok()?;
            let link = link.answers().iter().find(|record| record.name == end)?.clone();
            let RData::CNAME(alias) = &link.data else {
                return None;
            };
            end = alias.0.clone();
            answers.push(link);
            match self.resolver.lookup(end.clone(), kind).await {
                Ok(found) => {
                    answers.extend(found.answers().iter().cloned());
                    return Some(answers);
                }
                Err(error) if is_bogus(&error) => {}
                Err(_) => return None,
            }
        }
        None
    }

    fn no_answer(&self, name: &Name, kind: RecordType, error: &NetError, asked: Instant) -> NoAnswer {
        let NetError::Dns(DnsError::NoRecordsFound(none)) = error else {
            return NoAnswer::Failed(error.to_string().into());
        };
        let denial = match self.dnssec {
            Dnssec::Validate => proof_of(none),
            Dnssec::Off => Some(Denial::Unproven),
        };
        let denied = match (none.response_code, denial) {
            (_, None) => return NoAnswer::Failed("the denial did not validate by DNSSEC".into()),
            (ResponseCode::NXDomain, Some(denial)) => Denied::NoSuchName(denial),
            (ResponseCode::NoError, Some(denial)) => Denied::NoRecords(denial),
            (code, _) => return NoAnswer::Failed(format!("the resolver answered {code}").into()),
        };
        // Nothing shows that the name is not below a signed zone, and mail would be returned for it.
        if self.dnssec == Dnssec::Validate && denied == Denied::NoSuchName(Denial::Unproven) {
            return NoAnswer::Failed("the denial names no zone that it comes from".into());
        }
        self.denials.put(name, kind, denied, asked, denial_time(none));
        denied.into()
    }

    fn answer<T>(&self, items: Vec<T>, proof: Proof) -> Result<Answer<Vec<T>>, NoAnswer> {
        match (self.dnssec, proof) {
            (Dnssec::Off, _) | (Dnssec::Validate, Proof::Insecure) => Ok(Answer::Insecure(items)),
            (Dnssec::Validate, Proof::Secure) => Ok(Answer::Secure(Secure::mint(items))),
            (Dnssec::Validate, Proof::Bogus | Proof::Indeterminate) => {
                Err(NoAnswer::Failed("the answer did not validate by DNSSEC".into()))
            }
        }
    }

    fn resolved<T>(&self, name: &Domain, found: Found<T>) -> Result<Resolved<Vec<T>>, NoAnswer> {
        let believed = |name: Domain, proof: Proof| match (self.dnssec, proof) {
            (Dnssec::Validate, Proof::Secure) => Answer::Secure(Secure::mint(name)),
            (Dnssec::Validate | Dnssec::Off, _) => Answer::Insecure(name),
        };
        let first = found.alias.as_ref().map_or(found.proof, |alias| alias.proof);
        let end = found.alias.and_then(|alias| alias.end);
        Ok(Resolved {
            answer: self.answer(found.items, found.proof)?,
            names: Names {
                asked: believed(name.clone(), first),
                end: end.map(|end| believed(end, found.proof)),
            },
        })
    }
}

impl Dns for Resolve {
    fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
        Box::pin(async move {
            let found = self
                .ask(&absolute(domain.as_str())?, RecordType::MX, exchanger)
                .await?;
            self.resolved(domain, found)
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
        Box::pin(async move {
            let name = absolute(host.as_str())?;
            let v4 = self.ask(&name, RecordType::A, address);
            let v6 = self.ask(&name, RecordType::AAAA, address);
            let (v4, v6) = tokio::join!(v4, v6);
            self.resolved(host, either(v4, v6)?)
        })
    }

    fn tlsa<'a>(&'a self, question: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        Box::pin(async move {
            let found = self
                .ask(&absolute(&question.owner())?, RecordType::TLSA, association)
                .await?;
            self.answer(found.items, found.proof)
        })
    }

    fn txt<'a>(
        &'a self,
        label: &'a str,
        domain: &'a Domain,
    ) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        Box::pin(async move {
            let name = absolute(&format!("{label}.{domain}"))?;
            let found = self.ask(&name, RecordType::TXT, text).await?;
            self.answer(found.items, found.proof)
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

/// How far a denial can be believed; none if not at all. The library lets it through if it validated, if the zone is
/// unsigned, but also if all it shows comes from some other zone that is unsigned: so the zone is looked at here.
fn proof_of(none: &NoRecords) -> Option<Denial> {
    let shown = none.authorities.iter().flat_map(|records| records.iter());
    let zone = none.soa.iter().map(|soa| (&soa.name, soa.proof));
    let mut shown: Vec<(&Name, Proof)> = shown
        .filter(|record| record.record_type() != RecordType::RRSIG)
        .map(|record| (&record.name, record.proof))
        .collect();
    if shown.is_empty() {
        shown.extend(zone);
    }
    let about = |(owner, _): &(&Name, Proof)| owner.zone_of(none.query.name());
    match shown.iter().map(|(_, proof)| *proof).min() {
        None => Some(Denial::Unproven),
        Some(Proof::Secure) => Some(Denial::Secure),
        Some(Proof::Insecure) if shown.iter().any(about) => Some(Denial::Insecure),
        Some(Proof::Insecure | Proof::Bogus | Proof::Indeterminate) => None,
    }
}

fn denial_time(none: &NoRecords) -> Duration {
    let soa = none.soa.as_ref().map(|soa| soa.ttl.min(soa.data.minimum));
    Duration::from_secs(u64::from(soa.or(none.negative_ttl).unwrap_or(0)))
}

/// From a name through its aliases to records. What stands beside this way in an answer says nothing of the name: a
/// signed record of someone else's could be laid there by anyone.
struct Way<'a> {
    links: Vec<&'a Record>,
    end: Name,
    records: Vec<&'a Record>,
}

fn walk<'a>(name: &Name, kind: RecordType, answers: &'a [Record]) -> Way<'a> {
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

impl Way<'_> {
    fn proof(&self) -> Proof {
        let proofs = self.links.iter().chain(&self.records).map(|record| record.proof);
        proofs.min().unwrap_or(Proof::Indeterminate)
    }

    fn alias(&self) -> Option<Alias> {
        let first = self.links.first()?;
        Some(Alias {
            proof: first.proof,
            end: domain(&self.end),
        })
    }
}

fn is_bogus(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::DnssecBogus))
}

/// Aliases that are followed in one answer.
const ALIASES_MAX: usize = 16;

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

fn association(data: &RData) -> Option<Tlsa> {
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
fn text(data: &RData) -> Option<Txt> {
    match data {
        RData::TXT(text) => Some(text.txt_data.concat().into()),
        _ => None,
    }
}

/// With its final dot, so that no search domain is ever appended.
fn absolute(name: &str) -> Result<Name, NoAnswer> {
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
