//! Which hosts take a recipient's mail, and in what order (RFC 5321 §5.1, RFC 7505).
//!
//! Ordering is decided in plain functions; the look-ups around them hold no policy. A look-up that failed is never
//! taken for one that found nothing: the first puts mail off, the second may return it.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use mail::{Class, Domain, EnhancedStatus, Host, Mailbox, Recipient};
use spool::Lane;
use trust::Origin;

use crate::config::route::{Family, Lookup, Route as Settings, Via};
use crate::ports::{Answer, Dns, Later, Mx, Names, NoAnswer, Resolved, together};

/// Says whether a mailbox is kept by this server itself.
pub type IsLocal = Arc<dyn Fn(&Mailbox) -> bool + Send + Sync>;

/// Where a recipient's mail goes. Recipients with equal destinations share transactions and a lane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Destination {
    /// Into a mailbox here.
    Local,
    /// To a smart host.
    Smart(Via, Lookup),
    /// To a domain's mail exchangers.
    Domain(Domain),
    /// To an address literal.
    Literal(IpAddr),
}

/// How this server is known to others, so that it does not send to itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Own {
    /// Its names, the one it says in EHLO first.
    pub names: Vec<Domain>,
    /// Addresses by which the world reaches it, at any port.
    pub addresses: BTreeSet<IpAddr>,
    /// Where it listens.
    pub listeners: BTreeSet<SocketAddr>,
}

/// The routing table.
pub struct Routes {
    settings: Settings,
    own: Own,
    is_local: IsLocal,
}

/// One host to try, with what the look-ups proved.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hop {
    /// The host as it was named: the exchanger, the smart host, or the domain itself.
    pub host: Host,
    /// How its name came to be known.
    pub origin: Origin,
    /// The record that named it, if an MX did.
    pub exchanger: Option<Answer<Mx>>,
    /// What the look-up of its addresses found.
    pub found: Answer<Vec<IpAddr>>,
    /// The names that lead to its addresses; none for an address literal.
    pub names: Option<Names>,
    /// The names for which it takes mail, as far as they are proven to lead to it: the domain, and what that is an alias
    /// for. Its certificate may hold them where a TLSA record names its issuer (RFC 7672 §3.2.2).
    pub references: Vec<Domain>,
    /// Where to connect, in the order to try: both families in turn.
    pub addresses: Vec<SocketAddr>,
}

/// Where to go, with remarks for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Way {
    /// The domain that they take mail for: the recipients', or the smart host's; none for an address.
    pub domain: Option<Domain>,
    /// The hosts in the order to try; at least one.
    pub hops: Vec<Hop>,
    /// What was odd about the records.
    pub remarks: Vec<Box<str>>,
}

/// Why there is no way. The class of the status says whether it may pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoWay {
    /// `4.4.3`, `5.1.2` and the like.
    pub status: EnhancedStatus,
    /// In plain words.
    pub text: Box<str>,
}

impl Own {
    /// This server's names and places. `nat` are addresses that its interfaces do not know; a listener on all
    /// addresses listens on each of `interfaces`.
    pub fn new(names: Vec<Domain>, nat: &[IpAddr], interfaces: &[IpAddr], listeners: &[SocketAddr]) -> Own {
        let places = |at: &SocketAddr| -> Vec<SocketAddr> {
            match at.ip().is_unspecified() {
                true => interfaces
                    .iter()
                    .map(|ip| SocketAddr::new(*ip, at.port()))
                    .collect(),
                false => vec![*at],
            }
        };
        Own {
            names,
            addresses: nat.iter().copied().collect(),
            listeners: listeners.iter().flat_map(places).collect(),
        }
    }
}

impl Routes {
    /// A routing table. `is_local` is asked first, so that nothing kept here ever leaves.
    pub fn new(settings: Settings, own: Own, is_local: IsLocal) -> Routes {
        Routes {
            settings,
            own,
            is_local,
        }
    }

    /// Where a recipient's mail goes.
    pub fn destination(&self, mailbox: &Mailbox) -> Destination {
        if (self.is_local)(mailbox) {
            return Destination::Local;
        }
        let detour = self.settings.detours.iter().find(|(own, _)| own == mailbox);
        if let Some((_, via)) = detour {
            return Destination::Smart(via.clone(), Lookup::default());
        }
        let rule = self
            .settings
            .rule
            .iter()
            .find(|rule| rule.destination.fits(mailbox.host()));
        match (rule, mailbox.host()) {
            (Some(rule), _) => Destination::Smart(rule.via.clone(), rule.lookup),
            (None, Host::Name(domain)) => Destination::Domain(domain.clone()),
            (None, Host::Literal(address)) => Destination::Literal(*address),
        }
    }

    /// The queue that a recipient waits in.
    pub fn lane_of(&self, recipient: &Recipient) -> Lane {
        Lane::new(&self.destination(&recipient.mailbox).to_string())
    }

    /// Finds the hosts of a destination, in the order to try. `roll` shuffles equals.
    pub async fn find(&self, destination: &Destination, dns: &dyn Dns, roll: u64) -> Result<Way, NoWay> {
        let port = self.settings.smtp_port;
        match destination {
            Destination::Local => Err(self.itself("the mail stays here")),
            Destination::Domain(domain) => self.by_exchangers(domain, port, dns, roll).await,
            Destination::Literal(address) => self.by_address(*address, port),
            Destination::Smart(
                Via {
                    host: Host::Literal(address),
                    port,
                },
                _,
            ) => self.by_address(*address, *port),
            Destination::Smart(
                Via {
                    host: Host::Name(name),
                    port,
                },
                Lookup::Mx,
            ) => self.by_exchangers(name, *port, dns, roll).await,
            Destination::Smart(
                Via {
                    host: Host::Name(name),
                    port,
                },
                Lookup::Host,
            ) => {
                self.by_name(name, Origin::Configured, *port, dns, SMART_UNKNOWN)
                    .await
            }
        }
    }

    async fn by_exchangers(
        &self,
        domain: &Domain,
        port: u16,
        dns: &dyn Dns,
        roll: u64,
    ) -> Result<Way, NoWay> {
        match dns.mx(domain).await {
            Ok(found) => {
                let order = order(found, &self.own.names, self.settings.hosts_max, roll)?;
                self.look_up(domain, order, port, dns).await
            }
            // RFC 5321 §5.1: without MX the domain is its own exchanger.
            Err(NoAnswer::NoRecords(_)) => {
                self.by_name(domain, Origin::Proven, port, dns, NO_MAIL_HOST)
                    .await
            }
            Err(NoAnswer::NoSuchName(_)) => Err(no_way(
                NO_SUCH_DOMAIN,
                format!("the domain {domain} does not exist"),
            )),
            Err(NoAnswer::Failed(why)) => Err(no_way(
                LOOK_UP_FAILED,
                format!("MX of {domain} not found out: {why}"),
            )),
        }
    }

    fn by_address(&self, address: IpAddr, port: u16) -> Result<Way, NoWay> {
        if self.is_own(address, port) {
            return Err(self.itself(&format!("[{address}] is this server")));
        }
        let hop = Hop {
            host: Host::Literal(address),
            origin: Origin::Configured,
            exchanger: None,
            found: Answer::Insecure(vec![address]),
            names: None,
            references: Vec::new(),
            addresses: vec![SocketAddr::new(address, port)],
        };
        Ok(Way {
            domain: None,
            hops: vec![hop],
            remarks: Vec::new(),
        })
    }

    async fn by_name(
        &self,
        name: &Domain,
        origin: Origin,
        port: u16,
        dns: &dyn Dns,
        absent: EnhancedStatus,
    ) -> Result<Way, NoWay> {
        if self.own.names.contains(name) {
            return Err(self.itself(&format!("{name} is this server")));
        }
        match dns.addresses(name).await {
            Ok(at) if at.answer.get().iter().any(|address| self.is_own(*address, port)) => {
                Err(self.itself(&format!("{name} has an address of this server")))
            }
            Ok(at) => {
                let hop = Hop {
                    host: Host::Name(name.clone()),
                    origin,
                    exchanger: None,
                    addresses: self.in_order(at.answer.get(), port),
                    found: at.answer,
                    names: Some(at.names),
                    references: vec![name.clone()],
                };
                Ok(Way {
                    domain: Some(name.clone()),
                    hops: vec![hop],
                    remarks: Vec::new(),
                })
            }
            Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => Err(no_way(
                absent,
                format!("{name} has neither a mail exchanger nor an address"),
            )),
            Err(NoAnswer::Failed(why)) => Err(no_way(
                LOOK_UP_FAILED,
                format!("addresses of {name} not found out: {why}"),
            )),
        }
    }

    /// Looks up all exchangers at once; those without a usable address are left out.
    async fn look_up(&self, domain: &Domain, order: Order, port: u16, dns: &dyn Dns) -> Result<Way, NoWay> {
        let asked = order.exchangers.iter().map(|(name, _)| dns.addresses(name));
        let answers = together(asked.collect::<Vec<Later<'_, _>>>()).await;
        let mut remarks = order.remarks.clone();
        let mut found = Vec::new();
        for ((name, exchanger), answer) in order.exchangers.iter().zip(answers) {
            match answer {
                Ok(addresses) => found.push((name, exchanger, addresses)),
                Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)) => {
                    remarks.push(format!("{name} has no address").into())
                }
                Err(NoAnswer::Failed(why)) => {
                    remarks.push(format!("addresses of {name} not found out: {why}").into())
                }
            }
        }
        // RFC 5321 §5.1: found in the list, this server drops itself and all that is not better.
        let own = |found: &Resolved<Vec<IpAddr>>| found.answer.get().iter().any(|at| self.is_own(*at, port));
        let limit = found
            .iter()
            .filter(|(_, _, at)| own(at))
            .map(|(_, mx, _)| mx.get().preference)
            .min();
        if let Some(limit) = limit {
            found.retain(|(_, mx, _)| mx.get().preference < limit);
            if found.is_empty() {
                return Err(self.itself(&format!("the best mail exchanger of {domain} is this server")));
            }
        }
        let hop = |(name, mx, at): (&Domain, &Answer<Mx>, Resolved<Vec<IpAddr>>)| Hop {
            host: Host::Name(name.clone()),
            origin: match mx {
                Answer::Secure(_) => Origin::Proven,
                Answer::Insecure(_) => Origin::Unproven,
            },
            exchanger: Some(mx.clone()),
            addresses: self.in_order(at.answer.get(), port),
            found: at.answer,
            names: Some(at.names),
            references: order.references.clone(),
        };
        let hops: Vec<Hop> = found.into_iter().map(hop).collect();
        match hops.is_empty() {
            false => Ok(Way {
                domain: Some(domain.clone()),
                hops,
                remarks,
            }),
            true => Err(no_way(
                NO_USABLE_EXCHANGER,
                format!(
                    "no mail exchanger of {domain} can be used: {}",
                    remarks.join("; ")
                ),
            )),
        }
    }

    /// Where to connect: both families in turn.
    fn in_order(&self, found: &[IpAddr], port: u16) -> Vec<SocketAddr> {
        let order = alternate(found, self.settings.prefer, self.settings.addresses_max);
        order
            .into_iter()
            .map(|address| SocketAddr::new(address, port))
            .collect()
    }

    fn is_own(&self, address: IpAddr, port: u16) -> bool {
        self.own.addresses.contains(&address) || self.own.listeners.contains(&SocketAddr::new(address, port))
    }

    fn itself(&self, why: &str) -> NoWay {
        no_way(LOOP, format!("{why}, yet no mailbox of it is kept here"))
    }
}

/// Exchangers in the order to try, by name.
#[derive(Debug)]
struct Order {
    exchangers: Vec<(Domain, Answer<Mx>)>,
    references: Vec<Domain>,
    remarks: Vec<Box<str>>,
}

/// The domain, and what it is proven to be an alias for, where its exchangers are proven (RFC 7672 §3.2.2): where they
/// are not, no name but the exchanger's own says anything.
fn references(records: &Answer<Vec<Mx>>, names: Names) -> Vec<Domain> {
    match (records, names.end) {
        (Answer::Insecure(_), _) => Vec::new(),
        (Answer::Secure(_), Some(Answer::Secure(end))) => vec![names.asked.get().clone(), end.get().clone()],
        (Answer::Secure(_), _) => vec![names.asked.get().clone()],
    }
}

/// Orders mail exchangers: better preferences first, equals by chance, this server and all that is not better left out.
fn order(found: Resolved<Vec<Mx>>, own: &[Domain], hosts_max: usize, roll: u64) -> Result<Order, NoWay> {
    let mut remarks: Vec<Box<str>> = Vec::new();
    let references = references(&found.answer, found.names);
    let records: Vec<Answer<Mx>> = found.answer.into_each();
    let (null, mut named): (Vec<_>, Vec<_>) = records.into_iter().partition(|mx| mx.get().exchange.is_none());
    match (null.is_empty(), named.is_empty()) {
        // RFC 7505 §3: the domain says that it takes no mail.
        (false, true) => {
            return Err(no_way(
                NULL_MX,
                "the domain takes no mail: its MX is null (RFC 7505)".to_owned(),
            ));
        }
        (false, false) => remarks.push("a null MX stands beside others and is ignored (RFC 7505 §3)".into()),
        (true, _) => {}
    }
    let is_own = |mx: &Answer<Mx>| mx.get().exchange.as_ref().is_some_and(|name| own.contains(name));
    if let Some(limit) = named
        .iter()
        .filter(|mx| is_own(mx))
        .map(|mx| mx.get().preference)
        .min()
    {
        named.retain(|mx| mx.get().preference < limit);
        if named.is_empty() {
            return Err(no_way(
                LOOP,
                "the best mail exchanger is this server, yet the domain is not kept here".to_owned(),
            ));
        }
    }
    shuffle(&mut named, roll);
    named.sort_by_key(|mx| mx.get().preference);
    let mut exchangers: Vec<(Domain, Answer<Mx>)> = Vec::new();
    for mx in named {
        let Some(name) = mx.get().exchange.clone() else {
            continue;
        };
        if exchangers.iter().all(|(known, _)| *known != name) {
            exchangers.push((name, mx));
        }
    }
    if exchangers.len() > hosts_max {
        remarks.push(
            format!(
                "only {hosts_max} of {} mail exchangers are tried",
                exchangers.len()
            )
            .into(),
        );
        exchangers.truncate(hosts_max);
    }
    Ok(Order {
        exchangers,
        references,
        remarks,
    })
}

/// Fisher and Yates, with a small generator seeded by the roll.
fn shuffle<T>(items: &mut [T], roll: u64) {
    let mut state = roll | 1;
    for end in (1..items.len()).rev() {
        // Xorshift (Marsaglia): plenty for an order of a few hosts.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let bound = u64::try_from(end + 1).unwrap_or(u64::MAX);
        items.swap(end, usize::try_from((state >> 11) % bound).unwrap_or(0));
    }
}

/// Families in turn, the preferred one first, each in the resolver's order: one dead family costs one attempt, not all.
fn alternate(addresses: &[IpAddr], prefer: Family, max: usize) -> Vec<IpAddr> {
    let (first, second): (Vec<IpAddr>, Vec<IpAddr>) = addresses.iter().partition(|address| match prefer {
        Family::Ipv4 => address.is_ipv4(),
        Family::Ipv6 => address.is_ipv6(),
    });
    let longest = first.len().max(second.len());
    let turns = (0..longest).flat_map(|turn| [first.get(turn), second.get(turn)]);
    turns.flatten().copied().take(max).collect()
}

fn no_way(status: EnhancedStatus, text: String) -> NoWay {
    NoWay {
        status,
        text: text.into(),
    }
}

/// The label of the lane: no two destinations share one.
impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Destination::Local => f.write_str(LOCAL_LANE),
            Destination::Smart(via, Lookup::Host) => write!(f, "smart:{via}"),
            Destination::Smart(via, Lookup::Mx) => write!(f, "smart:mx:{via}"),
            Destination::Domain(domain) => domain.fmt(f),
            Destination::Literal(address) => Host::Literal(*address).fmt(f),
        }
    }
}

/// The lane of mail that stays here. Parentheses stand in no domain, so that no destination can take its name.
pub const LOCAL_LANE: &str = "(local)";

// RFC 7505 §4.3, RFC 3463 §3.
const NULL_MX: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 1, 10);
const NO_SUCH_DOMAIN: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 1, 2);
const NO_MAIL_HOST: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 4, 4);
const SMART_UNKNOWN: EnhancedStatus = EnhancedStatus::new(Class::Transient, 4, 4);
const NO_USABLE_EXCHANGER: EnhancedStatus = EnhancedStatus::new(Class::Transient, 4, 4);
const LOOK_UP_FAILED: EnhancedStatus = EnhancedStatus::new(Class::Transient, 4, 3);
const LOOP: EnhancedStatus = EnhancedStatus::new(Class::Permanent, 4, 6);

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use mail::Pattern;
    use trust::dane::Tlsa;

    use crate::config::route::Rule;
    use crate::ports::{Denial, TlsaQuestion, Txt};

    /// Names to answers; what is not in the map does not exist.
    #[derive(Default)]
    struct Zone {
        mx: BTreeMap<Domain, Result<Vec<Mx>, NoAnswer>>,
        hosts: BTreeMap<Domain, Result<Vec<IpAddr>, NoAnswer>>,
    }

    impl Dns for Zone {
        fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>> {
            let answer = self.mx.get(domain).cloned();
            let other = match self.hosts.contains_key(domain) {
                true => NoAnswer::NoRecords(Denial::Unproven),
                false => NoAnswer::NoSuchName(Denial::Unproven),
            };
            Box::pin(async move {
                let found = answer.unwrap_or(Err(other))?;
                Ok(Resolved::insecure(domain, found))
            })
        }

        fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>> {
            let absent = NoAnswer::NoSuchName(Denial::Unproven);
            let answer = self.hosts.get(host).cloned().unwrap_or(Err(absent));
            Box::pin(async move { Ok(Resolved::insecure(host, answer?)) })
        }

        fn tlsa<'a>(&'a self, _: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>> {
            Box::pin(async { Err(NoAnswer::NoSuchName(Denial::Unproven)) })
        }

        fn txt<'a>(&'a self, _: &'a str, _: &'a Domain) -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>> {
            Box::pin(async { Err(NoAnswer::NoSuchName(Denial::Unproven)) })
        }
    }

    fn name(text: &str) -> Domain {
        Domain::parse(text).unwrap()
    }

    /// `domain MX 10 host, 20 .` and `host A 192.0.2.1, 2001:db8::1`; `domain MX fail` is a failed look-up.
    fn zone(records: &[&str]) -> Zone {
        let mut zone = Zone::default();
        for record in records {
            let (owner, rest) = record.split_once(' ').unwrap();
            let (kind, values) = rest.split_once(' ').unwrap();
            let values: Vec<&str> = values.split(", ").collect();
            match (kind, values.as_slice()) {
                ("MX", ["fail"]) => drop(
                    zone.mx
                        .insert(name(owner), Err(NoAnswer::Failed("SERVFAIL".into()))),
                ),
                ("A", ["fail"]) => drop(
                    zone.hosts
                        .insert(name(owner), Err(NoAnswer::Failed("timeout".into()))),
                ),
                ("MX", values) => {
                    let mx = values.iter().map(|value| {
                        let (preference, exchange) = value.split_once(' ').unwrap();
                        Mx {
                            preference: preference.parse().unwrap(),
                            exchange: (exchange != ".").then(|| name(exchange)),
                        }
                    });
                    zone.mx.insert(name(owner), Ok(mx.collect()));
                }
                (_, values) => {
                    let at = values.iter().map(|value| value.parse().unwrap()).collect();
                    zone.hosts.insert(name(owner), Ok(at));
                }
            }
        }
        zone
    }

    fn routes(rules: Vec<Rule>) -> Routes {
        let own = Own {
            names: vec![name("mail.own.example")],
            addresses: BTreeSet::from(["192.0.2.250".parse().unwrap()]),
            listeners: BTreeSet::from(["127.0.0.1:25".parse().unwrap()]),
        };
        let settings = Settings {
            rule: rules,
            prefer: Family::Ipv4,
            hosts_max: 4,
            ..Settings::default()
        };
        Routes::new(
            settings,
            own,
            Arc::new(|mailbox| mailbox.as_str().ends_with("@own.example")),
        )
    }

    fn mailbox(text: &str) -> Mailbox {
        Mailbox::parse(text).unwrap()
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
            .block_on(future)
    }

    /// The hosts with their addresses, or the status and text.
    fn found(routes: &Routes, zone: &Zone, to: &str, roll: u64) -> Result<Vec<String>, String> {
        let destination = routes.destination(&mailbox(to));
        let way = block_on(routes.find(&destination, zone, roll))
            .map_err(|no| format!("{} {}", no.status, no.text))?;
        let hop = |hop: &Hop| {
            let at: Vec<String> = hop.addresses.iter().map(|at| at.ip().to_string()).collect();
            format!("{}:{} {}", hop.host, hop.addresses[0].port(), at.join(" "))
        };
        Ok(way.hops.iter().map(hop).collect())
    }

    fn check(records: &[&str], to: &str, expected: Result<&[&str], &str>) {
        let outcome = found(&routes(Vec::new()), &zone(records), to, 7);
        match (&outcome, expected) {
            (Ok(hops), Ok(expected)) => assert_eq!(hops, expected, "{records:?}"),
            (Err(text), Err(expected)) => assert!(text.starts_with(expected), "{text:?} for {records:?}"),
            _ => panic!("{outcome:?} instead of {expected:?}"),
        }
    }

    // proves: 5321-5.1-1 5321-5.1-3
    #[test]
    fn exchangers_come_first_and_without_them_the_domain_itself() {
        check(
            &[
                "a.example MX 20 b.mx, 10 a.mx",
                "a.mx A 192.0.2.1",
                "b.mx A 192.0.2.2",
                "a.example A 192.0.2.9",
            ],
            "x@a.example",
            Ok(&["a.mx:25 192.0.2.1", "b.mx:25 192.0.2.2"]),
        );
        check(
            &["a.example A 192.0.2.9"],
            "x@a.example",
            Ok(&["a.example:25 192.0.2.9"]),
        );
    }

    // proves: 5321-5.1-2
    #[test]
    fn what_does_not_exist_fails_and_what_is_unknown_waits() {
        check(&[], "x@a.example", Err("5.1.2 "));
        check(&["a.example MX fail"], "x@a.example", Err("4.4.3 "));
        check(&["a.example A fail"], "x@a.example", Err("4.4.3 "));
    }

    // proves: 5321-5.1-4 5321-5.1-3
    #[test]
    fn exchangers_that_cannot_be_used_are_an_error_and_no_leave_to_use_the_domain() {
        let records = ["a.example MX 10 a.mx", "a.example A 192.0.2.9"];
        check(
            &records,
            "x@a.example",
            Err("4.4.4 no mail exchanger of a.example can be used: a.mx has no address"),
        );
        let records = ["a.example MX 10 a.mx, 20 b.mx", "a.mx A fail", "b.mx A 192.0.2.2"];
        check(&records, "x@a.example", Ok(&["b.mx:25 192.0.2.2"]));
    }

    // proves: 7505-3-3
    #[test]
    fn a_null_mx_refuses_at_once() {
        check(
            &["a.example MX 0 .", "a.example A 192.0.2.9"],
            "x@a.example",
            Err("5.1.10 "),
        );
    }

    // proves: 7505-3-2
    #[test]
    fn a_null_mx_beside_others_is_malformed_and_told() {
        let zone = zone(&["a.example MX 0 ., 10 a.mx", "a.mx A 192.0.2.1"]);
        let way =
            block_on(routes(Vec::new()).find(&Destination::Domain(name("a.example")), &zone, 1)).unwrap();
        assert_eq!(way.hops.len(), 1);
        assert_eq!(way.remarks.len(), 1);
        assert!(way.remarks[0].contains("null MX"));
    }

    // proves: 5321-5.1-7
    #[test]
    fn finding_itself_drops_all_that_is_not_better() {
        let hosts = [
            "a.mx A 192.0.2.1",
            "b.mx A 192.0.2.2",
            "nat.mx A 192.0.2.250",
            "lo.mx A 127.0.0.1",
        ];
        let with = |mx: &'static str| [[mx].as_slice(), hosts.as_slice()].concat();
        let rest: Result<&[&str], &str> = Ok(&["a.mx:25 192.0.2.1"]);
        for own in ["mail.own.example", "nat.mx", "lo.mx"] {
            let mx: &'static str = format!("a.example MX 10 a.mx, 20 {own}, 20 b.mx, 30 b.mx").leak();
            check(&with(mx), "x@a.example", rest);
            let mx: &'static str = format!("a.example MX 10 {own}, 20 a.mx").leak();
            check(&with(mx), "x@a.example", Err("5.4.6 "));
        }
        check(&["a.example A 192.0.2.250"], "x@a.example", Err("5.4.6 "));
        check(&[], "x@[192.0.2.250]", Err("5.4.6 "));
    }

    // proves: 5321-5.1-5
    #[test]
    fn equals_are_shuffled_and_preferences_kept() {
        let zone = zone(&[
            "a.example MX 10 a.mx, 10 b.mx, 20 c.mx",
            "a.mx A 192.0.2.1",
            "b.mx A 192.0.2.2",
            "c.mx A 192.0.2.3",
        ]);
        let routes = routes(Vec::new());
        let mut first = BTreeMap::new();
        for roll in 0..200_u64 {
            let hops = found(
                &routes,
                &zone,
                "x@a.example",
                roll.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            )
            .unwrap();
            assert_eq!(hops[2], "c.mx:25 192.0.2.3");
            *first.entry(hops[0].clone()).or_insert(0) += 1;
        }
        assert_eq!(first.len(), 2);
        assert!(
            first.values().all(|times| (60..=140).contains(times)),
            "{first:?}"
        );
    }

    // proves: 5321-5.1-6 5321-5.2-1
    #[test]
    fn all_addresses_of_both_families_are_tried_in_turn() {
        check(
            &["a.example A 192.0.2.1, 192.0.2.2, 2001:db8::1"],
            "x@a.example",
            Ok(&["a.example:25 192.0.2.1 2001:db8::1 192.0.2.2"]),
        );
        let many: Vec<IpAddr> = (1..=9).map(|n| IpAddr::from([192, 0, 2, n])).collect();
        assert_eq!(alternate(&many, Family::Ipv6, 5).len(), 5);
    }

    #[test]
    fn long_lists_are_cut_and_doubles_dropped() {
        let zone = zone(&[
            "a.example MX 1 a.mx, 2 a.mx, 3 b.mx, 4 c.mx, 5 d.mx, 6 e.mx",
            "a.mx A 192.0.2.1",
        ]);
        let way =
            block_on(routes(Vec::new()).find(&Destination::Domain(name("a.example")), &zone, 1)).unwrap();
        assert_eq!(way.hops.len(), 1);
        assert!(
            way.remarks.iter().any(|remark| remark.contains("only 4 of 5")),
            "{:?}",
            way.remarks
        );
    }

    #[test]
    fn the_first_fitting_rule_names_the_smart_host() {
        let rule = |destination: &str, via: &str, lookup| Rule {
            destination: Pattern::parse(destination).unwrap(),
            via: Via::parse(via).unwrap(),
            lookup,
        };
        let routes = routes(vec![
            rule("a.example", "[192.0.2.7]:2525", Lookup::Host),
            rule("*.example", "relay.test:587", Lookup::Host),
            rule("*", "relay.test", Lookup::Mx),
        ]);
        let zone = zone(&[
            "relay.test A 192.0.2.8",
            "relay.test MX 5 mx.test",
            "mx.test A 192.0.2.9",
        ]);
        for (to, label, hop) in [
            (
                "x@a.example",
                "smart:[192.0.2.7]:2525",
                "[192.0.2.7]:2525 192.0.2.7",
            ),
            ("x@b.example", "smart:relay.test:587", "relay.test:587 192.0.2.8"),
            ("x@c.test", "smart:mx:relay.test:25", "mx.test:25 192.0.2.9"),
            (
                "x@[198.51.100.1]",
                "smart:mx:relay.test:25",
                "mx.test:25 192.0.2.9",
            ),
        ] {
            assert_eq!(routes.destination(&mailbox(to)).to_string(), label);
            assert_eq!(found(&routes, &zone, to, 1).unwrap(), [hop]);
        }
        assert_eq!(routes.destination(&mailbox("x@own.example")), Destination::Local);
    }

    // proves: 6531-3.2-2
    #[test]
    fn names_are_asked_for_in_a_labels() {
        check(
            &["xn--bcher-kva.example A 192.0.2.1"],
            "x@bücher.example",
            Ok(&["xn--bcher-kva.example:25 192.0.2.1"]),
        );
    }

    #[test]
    fn literals_need_no_look_up() {
        check(&[], "x@[192.0.2.1]", Ok(&["[192.0.2.1]:25 192.0.2.1"]));
        check(
            &[],
            "x@[IPv6:2001:db8::1]",
            Ok(&["[IPv6:2001:db8::1]:25 2001:db8::1"]),
        );
    }
}
