//! Every bound of a conversation, by name.

use std::time::Duration;

/// Bounds of one end's sessions. Defaults are those of RFC 5321 §4.5.3 or wider.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A command line with its CRLF, extensions' parameters included (RFC 5321 §4.5.3.1.4, RFC 3461 §5.4).
    pub command_line_bytes_max: usize,
    /// Largest message, announced by SIZE (RFC 1870); 0 for no limit.
    pub message_bytes_max: u64,
    /// Recipients of one transaction (RFC 5321 §4.5.3.1.8); announced by LIMITS RCPTMAX.
    pub recipients_max: usize,
    /// MAIL commands of one session; announced by LIMITS MAILMAX (RFC 9422 §4.1). One more is answered 421.
    pub messages_max: usize,
    /// Replies of 4yz and 5yz that a client gets; instead of one more it is cut off with 421. Those that only say
    /// that `recipients_max` is reached do not count: the client is asked to send the rest in another message.
    pub errors_max: usize,
    /// `Received:` fields before a message counts as looping (RFC 5321 §6.3).
    pub received_fields_max: u32,
    /// Wait for the next command (RFC 5321 §4.5.3.2.7).
    pub command_wait: Duration,
    /// Wait for the next piece of a message's content.
    pub body_wait: Duration,
    /// The whole life of a server session.
    pub session_time_max: Duration,
    /// A reply's octets, all lines together, before a peer counts as broken.
    pub reply_bytes_max: usize,
    /// Waits of a client for replies (RFC 5321 §4.5.3.2).
    pub client_waits: ClientWaits,
}

/// How long a client waits for each reply (RFC 5321 §4.5.3.2.1 to .6).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientWaits {
    /// The greeting after the connection stands.
    pub greeting: Duration,
    /// EHLO, HELO, STARTTLS, RSET; and how long an idle session is kept.
    pub command: Duration,
    /// MAIL.
    pub mail: Duration,
    /// RCPT.
    pub rcpt: Duration,
    /// The 354 to DATA.
    pub data_start: Duration,
    /// One block of content.
    pub data_block: Duration,
    /// The reply to the final dot or the last chunk.
    pub data_end: Duration,
    /// QUIT: its reply is a courtesy, and RFC 5321 names no wait for it.
    pub quit: Duration,
}

impl Limits {
    /// Whether so many octets are more than a message may have.
    pub fn message_is_too_large(&self, bytes: u64) -> bool {
        self.message_bytes_max != 0 && bytes > self.message_bytes_max
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            command_line_bytes_max: 4096,
            message_bytes_max: 50 * 1024 * 1024,
            recipients_max: 1000,
            messages_max: 1000,
            errors_max: 20,
            received_fields_max: 100,
            command_wait: Duration::from_secs(300),
            body_wait: Duration::from_secs(180),
            session_time_max: Duration::from_secs(4 * 3600),
            reply_bytes_max: 64 * 1024,
            client_waits: ClientWaits::default(),
        }
    }
}

impl Default for ClientWaits {
    fn default() -> ClientWaits {
        ClientWaits {
            greeting: Duration::from_secs(300),
            command: Duration::from_secs(300),
            mail: Duration::from_secs(300),
            rcpt: Duration::from_secs(300),
            data_start: Duration::from_secs(120),
            data_block: Duration::from_secs(180),
            data_end: Duration::from_secs(600),
            quit: Duration::from_secs(30),
        }
    }
}
