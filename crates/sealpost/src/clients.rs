//! How much each client has asked of this server: connections of now, and the counts of its last hour.
//!
//! Counts and compares; the caller says what time it is and turns clients away. An IPv6 client is its /64, since
//! one host can have all of that to itself.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use crate::config::limits::Limits;

/// The counts of all clients. Bounded by `clients_max` and `connections_max`.
#[derive(Debug, Default)]
pub struct Clients {
    connections: usize,
    tallies: BTreeMap<IpAddr, Tally>,
    swept: Option<Instant>,
}

/// Whose client it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kin {
    /// In a network that may relay.
    Ours,
    /// Anyone else.
    Stranger,
}

/// One thing that is counted by the hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Deed {
    /// A message was accepted.
    Message,
    /// A recipient was accepted.
    Recipient,
    /// Something was refused.
    Error,
}

/// The limit that was reached, by its name in `[limits]`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reached(pub &'static str);

#[derive(Debug)]
struct Tally {
    connections: usize,
    hour: Option<Hour>,
}

#[derive(Clone, Copy, Debug)]
struct Hour {
    began: Instant,
    messages: u32,
    recipients: u32,
    errors: u32,
}

impl Clients {
    /// A client connects. Each success must be followed by one [`Clients::leave`]. One of ours is held to the bound of all
    /// connections alone.
    pub fn enter(&mut self, client: IpAddr, kin: Kin, limits: &Limits, now: Instant) -> Result<(), Reached> {
        if self.connections >= limits.connections_max {
            return Err(Reached("connections_max"));
        }
        self.sweep(limits, now);
        let tally = self.tallies.entry(key(client)).or_insert(Tally {
            connections: 0,
            hour: None,
        });
        if kin == Kin::Stranger {
            tally.may_enter(limits, now)?;
        }
        tally.connections += 1;
        self.connections += 1;
        Ok(())
    }

    /// A client that had entered is gone.
    pub fn leave(&mut self, client: IpAddr) {
        self.connections = self.connections.saturating_sub(1);
        if let Some(tally) = self.tallies.get_mut(&key(client)) {
            tally.connections = tally.connections.saturating_sub(1);
            if tally.connections == 0 && tally.hour.is_none() {
                self.tallies.remove(&key(client));
            }
        }
    }

    /// Whether a client may do one more of this in its hour.
    pub fn may(&self, client: IpAddr, deed: Deed, limits: &Limits, now: Instant) -> Result<(), Reached> {
        let hour = self
            .tallies
            .get(&key(client))
            .and_then(|tally| tally.hour)
            .filter(|hour| hour.is_on(now));
        let Some(hour) = hour else {
            return Ok(());
        };
        let (count, most, name) = match deed {
            Deed::Message => (
                hour.messages,
                limits.messages_per_client_hour_max,
                "messages_per_client_hour_max",
            ),
            Deed::Recipient => (
                hour.recipients,
                limits.recipients_per_client_hour_max,
                "recipients_per_client_hour_max",
            ),
            Deed::Error => (
                hour.errors,
                limits.errors_per_client_hour_max,
                "errors_per_client_hour_max",
            ),
        };
        if count >= most { Err(Reached(name)) } else { Ok(()) }
    }

    /// Counts a deed of a connected client.
    pub fn count(&mut self, client: IpAddr, deed: Deed, now: Instant) {
        let Some(tally) = self.tallies.get_mut(&key(client)) else {
            return;
        };
        let fresh = Hour {
            began: now,
            messages: 0,
            recipients: 0,
            errors: 0,
        };
        let hour = tally.hour.get_or_insert(fresh);
        if !hour.is_on(now) {
            *hour = fresh;
        }
        match deed {
            Deed::Message => hour.messages = hour.messages.saturating_add(1),
            Deed::Recipient => hour.recipients = hour.recipients.saturating_add(1),
            Deed::Error => hour.errors = hour.errors.saturating_add(1),
        }
    }

    /// Connections of now.
    pub fn connections(&self) -> usize {
        self.connections
    }

    /// Forgets hours that are over, once in a while; and, when there are too many clients, all that are not connected.
    fn sweep(&mut self, limits: &Limits, now: Instant) {
        let due = self
            .swept
            .is_none_or(|last| now.saturating_duration_since(last) >= SWEEP_EVERY);
        if due {
            self.swept = Some(now);
            self.tallies
                .retain(|_, tally| tally.connections > 0 || tally.hour.is_some_and(|hour| hour.is_on(now)));
        }
        if self.tallies.len() >= limits.clients_max {
            self.tallies.retain(|_, tally| tally.connections > 0);
        }
    }
}

impl Tally {
    fn may_enter(&self, limits: &Limits, now: Instant) -> Result<(), Reached> {
        if self.connections >= limits.connections_per_client_max {
            return Err(Reached("connections_per_client_max"));
        }
        match self.hour {
            Some(hour) if hour.is_on(now) && hour.errors >= limits.errors_per_client_hour_max => {
                Err(Reached("errors_per_client_hour_max"))
            }
            Some(_) | None => Ok(()),
        }
    }
}

impl Hour {
    fn is_on(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.began) < HOUR
    }
}

fn key(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const SWEEP_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn limits() -> Limits {
        Limits {
            connections_max: 5,
            connections_per_client_max: 2,
            messages_per_client_hour_max: 2,
            errors_per_client_hour_max: 2,
            clients_max: 3,
            ..Limits::default()
        }
    }

    #[test]
    fn connections_are_bounded_by_client_and_in_all() {
        let (mut clients, limits, now) = (Clients::default(), limits(), Instant::now());
        let rows = [
            ("192.0.2.1", Ok(())),
            ("::ffff:192.0.2.1", Ok(())),
            ("192.0.2.1", Err(Reached("connections_per_client_max"))),
            ("2001:db8::1", Ok(())),
            ("2001:db8::2", Ok(())),
            ("2001:db8::3", Err(Reached("connections_per_client_max"))),
            ("2001:db8:0:1::1", Ok(())),
            ("192.0.2.9", Err(Reached("connections_max"))),
        ];
        for (client, expected) in rows {
            assert_eq!(
                clients.enter(ip(client), Kin::Stranger, &limits, now),
                expected,
                "{client}"
            );
        }
        clients.leave(ip("192.0.2.1"));
        assert_eq!(
            clients.enter(ip("192.0.2.9"), Kin::Stranger, &limits, now),
            Ok(())
        );
        assert_eq!(clients.connections(), 5);
        clients.leave(ip("2001:db8::1"));
        assert_eq!(clients.enter(ip("192.0.2.1"), Kin::Ours, &limits, now), Ok(()));
        assert_eq!(
            clients.enter(ip("192.0.2.1"), Kin::Ours, &limits, now),
            Err(Reached("connections_max"))
        );
    }

    #[test]
    fn counts_are_forgotten_after_an_hour() {
        let (mut clients, limits, start) = (Clients::default(), limits(), Instant::now());
        let (client, late) = (ip("192.0.2.1"), start + HOUR);
        clients.enter(client, Kin::Stranger, &limits, start).unwrap();
        for _ in 0..2 {
            assert_eq!(clients.may(client, Deed::Message, &limits, start), Ok(()));
            clients.count(client, Deed::Message, start);
            clients.count(client, Deed::Error, start);
        }
        let reached = Err(Reached("messages_per_client_hour_max"));
        assert_eq!(clients.may(client, Deed::Message, &limits, start), reached);
        assert_eq!(clients.may(client, Deed::Recipient, &limits, start), Ok(()));
        let reached = Err(Reached("errors_per_client_hour_max"));
        assert_eq!(clients.enter(client, Kin::Stranger, &limits, start), reached);
        assert_eq!(clients.may(client, Deed::Message, &limits, late), Ok(()));
        assert_eq!(clients.enter(client, Kin::Stranger, &limits, late), Ok(()));
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut clients, limits, now) = (Clients::default(), limits(), Instant::now());
        for last in 0..200_u8 {
            let client = IpAddr::from([192, 0, 2, last]);
            clients.enter(client, Kin::Stranger, &limits, now).unwrap();
            clients.count(client, Deed::Error, now);
            clients.leave(client);
            assert!(clients.tallies.len() <= limits.clients_max);
        }
        assert_eq!(clients.connections(), 0);
    }
}
