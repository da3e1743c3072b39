//! Names to hosts, by a resolver that validates DNSSEC in this process. The only mint of [`Secure`].
//!
//! Tells three things apart that must never be mixed: the name does not exist, it has no such records, and it could
//! not be found out. A forged answer, or an unsigned one where a signature is due, is of the third kind.

mod answers;
mod denials;
mod plain;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError, NoRecords};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{Resolver, TokioResolver, system_conf};
use mail::{Domain, Secure};
use trust::dane::Tlsa;

use self::answers::{ALIASES_MAX, Found, Way, either, read_all};
use self::denials::{Denials, Denied};
use self::plain::{Checking, Plain};
use crate::config;
use crate::config::dns::Dnssec;
use crate::ports::{Answer, Denial, Dns, Later, Mx, Names, NoAnswer, Resolved, RootKeys, TlsaQuestion, Txt};

/// A validating stub resolver with a bounded cache.
pub struct Resolve {
    resolver: TokioResolver,
    /// The same resolvers, asked without validation here.
    plain: Plain,
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
    /// A resolver that is to be believed is not on this machine, so that anyone on the way could speak for it.
    Remote(SocketAddr),
}

impl Resolve {
    /// Makes the resolver that `[dns]` describes.
    pub fn new(config: &config::dns::Dns) -> Result<Resolve, BadResolver> {
        let servers = match config.servers.as_slice() {
            [] => system_conf::read_system_conf().map_err(BadResolver::System)?.0,
            named => ResolverConfig::from_parts(None, Vec::new(), named.iter().map(server).collect()),
        };
        let plain = Plain::new(addresses(&servers), config.timeout, config.attempts);
        if config.dnssec == Dnssec::UpstreamAd
            && let Some(remote) = plain
                .servers()
                .iter()
                .find(|at| !at.ip().to_canonical().is_loopback())
        {
            // RFC 7672 §2.1.1, RFC 6698 §8.3.
            return Err(BadResolver::Remote(*remote));
        }
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
            plain,
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
        if self.dnssec == Dnssec::UpstreamAd {
            return self.ask_upstream(name, kind, read, asked).await;
        }
        let answers = match self.resolver.lookup(name.clone(), kind).await {
            Ok(lookup) => lookup.answers().to_vec(),
            Err(error) => match self.by_steps(name, kind, &error).await {
                Some(answers) => answers,
                None => return Err(self.no_answer(name, kind, &error, asked)),
            },
        };
        let way = Way::walk(name, kind, &answers);
        match way.records.is_empty() {
            false => read_all(name, kind, &way, read),
            true => Err(NoAnswer::Failed(
                format!("an answer about {name} that says nothing of it").into(),
            )),
        }
    }

    /// Believes a resolver on this machine that says of an answer that it has validated it.
    async fn ask_upstream<T>(
        &self,
        name: &Name,
        kind: RecordType,
        read: fn(&RData) -> Option<T>,
        asked: Instant,
    ) -> Result<Found<T>, NoAnswer> {
        let message = self.upstream(name, kind).await?;
        let way = Way::walk(name, kind, &message.answers);
        if !way.records.is_empty() {
            let mut found = read_all(name, kind, &way, read)?;
            if let Some(alias) = &mut found.alias
                && found.proof != Proof::Secure
            {
                // RFC 7672 §2.1.3: the answer as a whole is not proven; its first link may be.
                alias.proof = proof_of_all(&self.upstream(name, RecordType::CNAME).await?);
            }
            return Ok(found);
        }
        let soa = message.authorities.iter().find_map(|record| match &record.data {
            RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
            _ => None,
        });
        if soa.is_none() && !way.links.is_empty() {
            return Err(NoAnswer::Failed(
                format!("the resolver does not follow the alias {name}").into(),
            ));
        }
        let denial = match message.metadata.authentic_data {
            true => Denial::Secure,
            false => Denial::Insecure,
        };
        let denied = match message.metadata.response_code {
            ResponseCode::NXDomain => Denied::NoSuchName(denial),
            _ => Denied::NoRecords(denial),
        };
        let time = Duration::from_secs(u64::from(soa.unwrap_or(0)));
        self.denials.put(name, kind, denied, asked, time);
        Err(denied.into())
    }

    /// An answer of the resolver on this machine, each record with the proof that it has by the AD bit.
    async fn upstream(&self, name: &Name, kind: RecordType) -> Result<Message, NoAnswer> {
        let answer = self.plain.ask(name, kind, Checking::Wanted).await;
        let mut message = answer.map_err(|error| NoAnswer::Failed(error.to_string().into()))?;
        match message.metadata.response_code {
            ResponseCode::NoError | ResponseCode::NXDomain => {}
            code => return Err(NoAnswer::Failed(format!("the resolver answered {code}").into())),
        }
        let proof = proof_of_all(&message);
        message.answers.iter_mut().for_each(|record| record.proof = proof);
        Ok(message)
    }

    /// Whether the root's keys validate and, if not, what the resolver hands on of them.
    async fn look_at_root(&self) -> Result<RootKeys, NoAnswer> {
        if self.dnssec == Dnssec::Off {
            return Ok(RootKeys::Unchecked);
        }
        if self.dnssec == Dnssec::UpstreamAd {
            let answer = self.upstream(&Name::root(), RecordType::DNSKEY).await?;
            return Ok(match answer.metadata.authentic_data {
                true => RootKeys::Proven,
                false => RootKeys::Unvalidated,
            });
        }
        let why = match self.resolver.lookup(Name::root(), RecordType::DNSKEY).await {
            Ok(lookup) => match Way::walk(&Name::root(), RecordType::DNSKEY, lookup.answers()).proof() {
                Proof::Secure => return Ok(RootKeys::Proven),
                other => other.to_string(),
            },
            Err(error) => error.to_string(),
        };
        let answer = self
            .plain
            .ask(&Name::root(), RecordType::DNSKEY, Checking::Disabled)
            .await;
        let message = answer.map_err(|error| NoAnswer::Failed(error.to_string().into()))?;
        let signed = message
            .answers
            .iter()
            .any(|record| record.record_type() == RecordType::RRSIG);
        match (message.metadata.response_code, signed) {
            (ResponseCode::ServFail, _) => Err(NoAnswer::Failed("the resolver answered SERVFAIL".into())),
            (_, true) => Ok(RootKeys::Contradicted(why.into())),
            (_, false) => Ok(RootKeys::Unsigned),
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
            Dnssec::Off | Dnssec::UpstreamAd => Some(Denial::Unproven),
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
        believed(self.dnssec, items, proof)
    }

    fn resolved<T>(&self, name: &Domain, found: Found<T>) -> Result<Resolved<Vec<T>>, NoAnswer> {
        let believed = |name: Domain, proof: Proof| match (self.dnssec, proof) {
            (Dnssec::Validate | Dnssec::UpstreamAd, Proof::Secure) => Answer::Secure(Secure::mint(name)),
            (Dnssec::Validate | Dnssec::UpstreamAd | Dnssec::Off, _) => Answer::Insecure(name),
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
                .ask(&absolute(domain.as_str())?, RecordType::MX, answers::exchanger)
                .await?;
            self.resolved(domain, found)
        })
    }

    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
        Box::pin(async move {
            let name = absolute(host.as_str())?;
            let v4 = self.ask(&name, RecordType::A, answers::address);
            let v6 = self.ask(&name, RecordType::AAAA, answers::address);
            let (v4, v6) = tokio::join!(v4, v6);
            self.resolved(host, either(v4, v6)?)
        })
    }

    fn tlsa<'a>(&'a self, question: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
        Box::pin(async move {
            let found = self
                .ask(
                    &absolute(&question.owner())?,
                    RecordType::TLSA,
                    answers::association,
                )
                .await?;
            self.answer(found.items, found.proof)
        })
    }

    fn root_keys(&self) -> Later<'_, Result<RootKeys, NoAnswer>> {
        Box::pin(self.look_at_root())
    }

    fn txt<'a>(
        &'a self,
        label: &'a str,
        domain: &'a Domain,
    ) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
        Box::pin(async move {
            let name = absolute(&format!("{label}.{domain}"))?;
            let found = self.ask(&name, RecordType::TXT, answers::text).await?;
            self.answer(found.items, found.proof)
        })
    }
}

/// An answer with its proof. What cannot be decided is as bad as what is wrong (RFC 7672 §2.1.1).
fn believed<T>(dnssec: Dnssec, items: Vec<T>, proof: Proof) -> Result<Answer<Vec<T>>, NoAnswer> {
    match (dnssec, proof) {
        (Dnssec::Off, _) | (_, Proof::Insecure) => Ok(Answer::Insecure(items)),
        (Dnssec::Validate | Dnssec::UpstreamAd, Proof::Secure) => Ok(Answer::Secure(Secure::mint(items))),
        (Dnssec::Validate | Dnssec::UpstreamAd, Proof::Bogus | Proof::Indeterminate) => {
            Err(NoAnswer::Failed("the answer did not validate by DNSSEC".into()))
        }
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

fn is_bogus(error: &NetError) -> bool {
    matches!(error, NetError::Dns(DnsError::DnssecBogus))
}

/// What the AD bit says of an answer (RFC 4035 §3.2.3).
fn proof_of_all(message: &Message) -> Proof {
    match message.metadata.authentic_data {
        true => Proof::Secure,
        false => Proof::Insecure,
    }
}

fn addresses(config: &ResolverConfig) -> Vec<SocketAddr> {
    let port = |server: &NameServerConfig| {
        server
            .connections
            .first()
            .map_or(53, |connection| connection.port)
    };
    let servers = config.name_servers().iter();
    servers
        .map(|server| SocketAddr::new(server.ip, port(server)))
        .collect()
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
                write!(
                    f,
                    "cannot use the trust anchors in {}: {error}; a line reads \". 3600 IN DNSKEY 257 3 13 …\"",
                    path.display()
                )
            }
            BadResolver::Remote(at) => write!(
                f,
                "dnssec = \"upstream-ad\" in [dns] needs a resolver on this machine, and {at} is not: name one in servers, or validate here"
            ),
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
            BadResolver::TrustAnchor(..) | BadResolver::Remote(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves: 7672-2.1.1-3 7672-2.1.1-5
    #[test]
    fn what_cannot_be_decided_is_a_failure() {
        let check = |dnssec, proof| believed(dnssec, vec![1], proof);
        for dnssec in [Dnssec::Validate, Dnssec::UpstreamAd] {
            assert!(matches!(check(dnssec, Proof::Secure), Ok(Answer::Secure(_))));
            assert!(matches!(check(dnssec, Proof::Insecure), Ok(Answer::Insecure(_))));
            for proof in [Proof::Bogus, Proof::Indeterminate] {
                assert!(matches!(check(dnssec, proof), Err(NoAnswer::Failed(_))));
            }
        }
        for proof in [Proof::Secure, Proof::Insecure, Proof::Bogus, Proof::Indeterminate] {
            assert!(matches!(check(Dnssec::Off, proof), Ok(Answer::Insecure(_))));
        }
    }
}
