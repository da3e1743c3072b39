//! `[limits]`: bounds of sessions, clients and TLS, each with a name and a default.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::units;

/// `[limits]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message (RFC 1870); more gets 552 5.3.4.
    #[serde(with = "units::bytes")]
    pub message_bytes_max: u64,
    /// Recipients of one transaction; more get 452 4.5.3. At least 100 (RFC 5321 §4.5.3.1.8).
    pub recipients_max: usize,
    /// Messages of one session; then 421.
    pub messages_max: usize,
    /// Refusals in one session before it is closed with 421 4.7.0.
    pub errors_max: usize,
    /// A command line with its line end. At least 512 (RFC 5321 §4.5.3.1.4).
    #[serde(with = "units::bytes")]
    pub command_line_bytes_max: u64,
    /// `Received:` fields of a message before it counts as looping: 554 5.4.6. At least 100 (RFC 5321 §6.3).
    pub received_fields_max: u32,
    /// Wait for the next command (RFC 5321 §4.5.3.2.7).
    #[serde(with = "units::duration")]
    pub command_wait: Duration,
    /// Wait for the next piece of a message.
    #[serde(with = "units::duration")]
    pub body_wait: Duration,
    /// Wait for a client to read what it is told.
    #[serde(with = "units::duration")]
    pub write_wait: Duration,
    /// Wait for the DNS before a sender or recipient is answered.
    #[serde(with = "units::duration")]
    pub lookup_wait: Duration,
    /// The whole life of a session.
    #[serde(with = "units::duration")]
    pub session_time_max: Duration,
    /// Connections at a time, of all clients together; more get 421 4.7.0.
    pub connections_max: usize,
    /// Connections at a time of one client: an IPv4 address, or an IPv6 /64. Networks that may relay are exempt from this
    /// and the other bounds of a client.
    pub connections_per_client_max: usize,
    /// Messages accepted from one client in an hour.
    pub messages_per_client_hour_max: u32,
    /// Recipients accepted from one client in an hour.
    pub recipients_per_client_hour_max: u32,
    /// Refusals to one client in an hour, before its connections are turned away for the rest of it.
    pub errors_per_client_hour_max: u32,
    /// Clients of the last hour that are remembered; beyond it those that are not connected are forgotten.
    pub clients_max: usize,
    /// TLS handshakes at a time; STARTTLS beyond it gets 454 4.7.0.
    pub handshakes_max: usize,
    /// Time for one TLS handshake.
    #[serde(with = "units::duration")]
    pub handshake_wait: Duration,
    /// Time that sessions get to end at a shutdown.
    #[serde(with = "units::duration")]
    pub drain_wait: Duration,
}

impl Limits {
    /// The bounds that the protocol itself keeps.
    pub fn session(&self) -> smtp::Limits {
        smtp::Limits {
            command_line_bytes_max: usize::try_from(self.command_line_bytes_max).unwrap_or(usize::MAX),
            message_bytes_max: self.message_bytes_max,
            recipients_max: self.recipients_max,
            messages_max: self.messages_max,
            errors_max: self.errors_max,
            received_fields_max: self.received_fields_max,
            command_wait: self.command_wait,
            body_wait: self.body_wait,
            session_time_max: self.session_time_max,
            ..smtp::Limits::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), String> {
        let least = [
            ("recipients_max", self.recipients_max as u64, 100),
            ("received_fields_max", u64::from(self.received_fields_max), 100),
            ("command_line_bytes_max", self.command_line_bytes_max, 512),
            ("message_bytes_max", self.message_bytes_max, 64 * 1024),
        ];
        for (name, value, least) in least {
            if value < least {
                return Err(format!(
                    "[limits] {name} = {value} is below {least}, the least that RFC 5321 allows"
                ));
            }
        }
        let most = [
            ("command_line_bytes_max", self.command_line_bytes_max, 64 * 1024),
            ("recipients_max", self.recipients_max as u64, 100_000),
        ];
        for (name, value, most) in most {
            if value > most {
                return Err(format!("[limits] {name} = {value} is above {most}"));
            }
        }
        let counts = [
            self.messages_max,
            self.errors_max,
            self.connections_max,
            self.connections_per_client_max,
            self.clients_max,
            self.handshakes_max,
        ];
        if counts.contains(&0) {
            return Err("[limits] a limit of 0 would shut everyone out".to_owned());
        }
        Ok(())
    }
}

impl Default for Limits {
    fn default() -> Limits {
        let session = smtp::Limits::default();
        Limits {
            message_bytes_max: session.message_bytes_max,
            recipients_max: session.recipients_max,
            messages_max: session.messages_max,
            errors_max: session.errors_max,
            command_line_bytes_max: session.command_line_bytes_max as u64,
            received_fields_max: session.received_fields_max,
            command_wait: session.command_wait,
            body_wait: session.body_wait,
            write_wait: Duration::from_secs(180),
            lookup_wait: Duration::from_secs(30),
            session_time_max: session.session_time_max,
            connections_max: 10_000,
            connections_per_client_max: 100,
            messages_per_client_hour_max: 10_000,
            recipients_per_client_hour_max: 50_000,
            errors_per_client_hour_max: 500,
            clients_max: 100_000,
            handshakes_max: 256,
            handshake_wait: Duration::from_secs(30),
            drain_wait: Duration::from_secs(30),
        }
    }
}
