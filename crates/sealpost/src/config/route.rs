//! `[route]`: where mail goes that does not stay here, and how it is handed over.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use mail::{Domain, Host, Pattern};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::units;

/// `[route]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Route {
    // Mailboxes that have a way of their own, whatever their domain: `[alarm] via`.
    #[serde(skip)]
    pub(crate) detours: Vec<(mail::Mailbox, Via)>,
    /// The port of mail exchangers. Anything but 25 is for laboratories.
    pub smtp_port: u16,
    /// Addresses to send from, at most one of each family used; the system's choice if left out.
    pub source: Vec<IpAddr>,
    /// The family tried first where a host has both.
    pub prefer: Family,
    /// Mail exchangers of one domain that are looked up and tried.
    pub hosts_max: usize,
    /// Addresses of one host that are tried; at least 2 (RFC 5321 §5.1).
    pub addresses_max: usize,
    /// Wait for a connection to stand.
    #[serde(with = "units::duration")]
    pub connect_wait: Duration,
    /// Wait for a TLS handshake to end.
    #[serde(with = "units::duration")]
    pub handshake_wait: Duration,
    /// How long after a failed handshake a message that met it may go in clear, at a later attempt, to a host of
    /// which nothing more is demanded.
    #[serde(with = "units::duration")]
    pub clear_after: Duration,
    /// Connections to all hosts together.
    pub connections_max: usize,
    /// Connections to one destination at the same time.
    pub destination_connections_max: usize,
    /// How long a connection is kept for the next message.
    #[serde(with = "units::duration")]
    pub idle_wait: Duration,
    /// Messages sent over one connection.
    pub connection_messages_max: usize,
    /// `[route.waits]`: how long a host may take for each answer.
    pub waits: Waits,
    /// `[[route.rule]]`: smart hosts. The first rule that fits a destination counts; without one its MX do.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rule: Vec<Rule>,
}

/// `[route.waits]`: the least that RFC 5321 §4.5.3.2 advises is the default.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Waits {
    /// The greeting, once the connection stands.
    #[serde(with = "units::duration")]
    pub greeting: Duration,
    /// EHLO, STARTTLS, RSET.
    #[serde(with = "units::duration")]
    pub command: Duration,
    /// MAIL.
    #[serde(with = "units::duration")]
    pub mail: Duration,
    /// RCPT.
    #[serde(with = "units::duration")]
    pub rcpt: Duration,
    /// The go-ahead after DATA.
    #[serde(with = "units::duration")]
    pub data_start: Duration,
    /// One block of a message to be taken.
    #[serde(with = "units::duration")]
    pub data_block: Duration,
    /// The answer to the end of a message.
    #[serde(with = "units::duration")]
    pub data_end: Duration,
}

/// One `[[route.rule]]`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// `"a.example"`, `"*.example"` for the names below one, or `"*"` for all.
    #[serde(with = "units::pattern")]
    pub destination: Pattern,
    /// The smart host: `"relay.example:25"`, `"[192.0.2.1]:25"`.
    pub via: Via,
    /// Whether the smart host's name is a host, or a domain whose MX are used.
    #[serde(default)]
    pub lookup: Lookup,
}

/// A smart host and its port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Via {
    /// The name or address.
    pub host: Host,
    /// The port.
    pub port: u16,
}

/// What a smart host's name stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lookup {
    /// A host with addresses.
    #[default]
    Host,
    /// A domain with mail exchangers.
    Mx,
}

/// A family of addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Family {
    /// IPv4.
    Ipv4,
    /// IPv6.
    #[default]
    Ipv6,
}

impl Route {
    pub(super) fn check(&self) -> Result<(), String> {
        if self.addresses_max < 2 {
            return Err(format!(
                "[route] addresses_max = {} is below 2, the least that RFC 5321 asks for",
                self.addresses_max
            ));
        }
        let zeros = [
            ("smtp_port", usize::from(self.smtp_port)),
            ("hosts_max", self.hosts_max),
            ("connections_max", self.connections_max),
            ("destination_connections_max", self.destination_connections_max),
            ("connection_messages_max", self.connection_messages_max),
        ];
        match zeros.iter().find(|(_, value)| *value == 0) {
            Some((name, _)) => Err(format!(
                "[route] {name} = 0 would let nothing leave; use 1 or more"
            )),
            None => Ok(()),
        }
    }
}

impl Waits {
    /// Bounds of sessions with other hosts.
    pub fn session_limits(&self) -> smtp::Limits {
        let client_waits = smtp::limits::ClientWaits {
            greeting: self.greeting,
            command: self.command,
            mail: self.mail,
            rcpt: self.rcpt,
            data_start: self.data_start,
            data_block: self.data_block,
            data_end: self.data_end,
            ..smtp::limits::ClientWaits::default()
        };
        smtp::Limits {
            client_waits,
            ..smtp::Limits::default()
        }
    }
}

impl Default for Waits {
    fn default() -> Waits {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Waits {
            greeting: minutes(5),
            command: minutes(5),
            mail: minutes(5),
            rcpt: minutes(5),
            data_start: minutes(2),
            data_block: minutes(3),
            data_end: minutes(10),
        }
    }
}

impl Via {
    /// Reads `host:port`; the port may be left out and is 25 then. Addresses stand in brackets; IPv4 ones may do without.
    pub fn parse(text: &str) -> Option<Via> {
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.contains(']') => (host, port.parse().ok().filter(|port| *port != 0)?),
            Some(_) | None => (text, 25),
        };
        Some(Via {
            host: smart_host(host)?,
            port,
        })
    }
}

/// A name, or an address in brackets, where IPv6 needs no tag as it does in mail addresses.
fn smart_host(text: &str) -> Option<Host> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(address) => Some(Host::Literal(address.trim_start_matches("IPv6:").parse().ok()?)),
        // Four numbers are nobody's name: what else could be meant?
        None => match text.parse() {
            Ok(address) => Some(Host::Literal(IpAddr::V4(address))),
            Err(_) => Domain::parse(text).ok().map(Host::Name),
        },
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Name(name) => write!(f, "{name}:{}", self.port),
            Host::Literal(address) => write!(f, "[{address}]:{}", self.port),
        }
    }
}

impl Serialize for Via {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Via {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Via, D::Error> {
        let text = String::deserialize(deserializer)?;
        Via::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "\"{text}\" is no smart host; write one like \"relay.example:25\" or \"[192.0.2.1]:25\""
            ))
        })
    }
}

impl Default for Route {
    fn default() -> Route {
        Route {
            detours: Vec::new(),
            smtp_port: 25,
            source: Vec::new(),
            prefer: Family::Ipv6,
            hosts_max: 10,
            addresses_max: 5,
            connect_wait: Duration::from_secs(30),
            handshake_wait: Duration::from_secs(60),
            clear_after: Duration::from_secs(600),
            connections_max: 500,
            destination_connections_max: 20,
            idle_wait: Duration::from_secs(5),
            connection_messages_max: 100,
            waits: Waits::default(),
            rule: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smart_hosts_print_as_they_parse() {
        for text in ["relay.example:25", "[192.0.2.1]:2525", "[2001:db8::1]:25"] {
            assert_eq!(Via::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(Via::parse("relay.example").unwrap().port, 25);
        assert_eq!(Via::parse("[2001:db8::1]").unwrap().port, 25);
        assert_eq!(
            Via::parse("192.0.2.1:2525").unwrap().to_string(),
            "[192.0.2.1]:2525"
        );
        for text in [
            "",
            ":25",
            "relay.example:",
            "relay.example:0",
            "relay.example:99999",
            "[192.0.2.1",
            "[x]:25",
        ] {
            assert_eq!(Via::parse(text), None, "{text}");
        }
    }

    // proves: 5321-4.5.3.2-2
    #[test]
    fn waits_are_as_long_as_advised_and_can_be_changed() {
        let minutes = |wait: Duration| wait.as_secs() / 60;
        let waits = Waits::default();
        let advised = [
            waits.greeting,
            waits.mail,
            waits.rcpt,
            waits.data_start,
            waits.data_block,
            waits.data_end,
        ];
        assert_eq!(advised.map(minutes), [5, 5, 5, 2, 3, 10]);
        let route: Route = toml::from_str("[waits]\nmail = \"7m\"\n").unwrap();
        assert_eq!(minutes(route.waits.session_limits().client_waits.mail), 7);
    }
}
