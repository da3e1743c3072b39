//! The record of one attempt. Log, report, bounce and explanation all render this same record.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mail::{Host, MessageId, Reply};

use crate::plan::{Demand, Plan, Source, Unmet};
use crate::shown::{Chain, Seen, TlsTrouble, WhyClear};

/// One attempt at one host: what was demanded, what was shown, what was decided, and what the host answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The message; none until the channel carries one.
    pub message: Option<MessageId>,
    /// The host that was meant.
    pub host: Host,
    /// The address and port that were dialled, once one was.
    pub address: Option<SocketAddr>,
    /// What the channel had to prove.
    pub demand: Demand,
    /// Who asked for that.
    pub source: Source,
    /// What the channel showed; none if it never came to that.
    pub seen: Option<Seen>,
    /// What was made of it, and on what it rests.
    pub judged: Option<Judged>,
    /// A handshake that came to nothing in this attempt, or 454 to STARTTLS.
    pub tls_trouble: Option<TlsTrouble>,
    /// The reply that decided: the final one, or the refusal.
    pub reply: Option<Reply>,
    /// What came of it, in plain words.
    pub outcome: Box<str>,
    /// When the attempt began.
    pub started: SystemTime,
    /// When it was over.
    pub ended: SystemTime,
}

/// What was made of what the channel showed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Judged {
    /// Enough, because of this.
    Sufficient(Basis),
    /// Not enough, for want of this.
    Insufficient(Unmet),
}

/// What a permit rests on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Basis {
    /// Local policy allows clear text.
    ClearAllowed,
    /// The host gave no other choice and nothing demands more.
    ClearUnavoided,
    /// Encrypted; who the peer is was not proven.
    Encryption,
    /// Encrypted, with a chain of certificates to a trusted root for the host's name.
    Chain,
}

impl Evidence {
    /// The record of an attempt that begins.
    pub fn begun(plan: &Plan, started: SystemTime) -> Evidence {
        Evidence {
            message: None,
            host: plan.host().clone(),
            address: None,
            demand: plan.demand(),
            source: plan.source(),
            seen: None,
            judged: None,
            tls_trouble: None,
            reply: None,
            outcome: "".into(),
            started,
            ended: started,
        }
    }

    pub(crate) fn judged(plan: &Plan, seen: Seen, judged: Judged, now: SystemTime) -> Evidence {
        Evidence {
            seen: Some(seen),
            judged: Some(judged),
            ..Evidence::begun(plan, now)
        }
    }

    /// How the hop was secured, in a sentence for people. It speaks of this hop only (RFC 3207 §6).
    pub fn hop(&self) -> String {
        match &self.seen {
            None => "No message octets were sent.".to_owned(),
            Some(Seen::Clear(WhyClear::NotOffered)) => {
                format!(
                    "The connection to {} was not encrypted: it offered no TLS.",
                    self.host
                )
            }
            Some(Seen::Clear(WhyClear::Unwanted)) => {
                format!(
                    "The connection to {} was not encrypted: local policy says so.",
                    self.host
                )
            }
            Some(Seen::Clear(WhyClear::Earlier(trouble))) => format!(
                "The connection to {} was not encrypted: TLS had failed earlier ({}).",
                self.host, trouble.text
            ),
            Some(Seen::Tls { facts, chain }) => format!(
                "The connection to {} was encrypted ({}, {}); {}.",
                self.host,
                facts.version,
                facts.cipher,
                match chain {
                    Chain::Trusted => "its certificate proved its name".to_owned(),
                    Chain::Untrusted(why) => format!("its certificate did not prove its name: {why}"),
                    Chain::Unchecked => "its certificate was not checked".to_owned(),
                }
            ),
        }
    }

    fn took(&self) -> Duration {
        self.ended.duration_since(self.started).unwrap_or(Duration::ZERO)
    }
}

/// One log line, `key=value` pairs in a fixed order.
impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(message) = &self.message {
            write!(f, "message={message} ")?;
        }
        write!(f, "host={}", self.host)?;
        if let Some(address) = &self.address {
            write!(f, " address={address}")?;
        }
        write!(f, " demand={}/{}", self.demand, self.source)?;
        match &self.seen {
            None => {}
            Some(Seen::Clear(why)) => write!(f, " tls=no because={:?}", clear_words(why))?,
            Some(Seen::Tls { facts, chain }) => {
                write!(f, " tls={} cipher={}", facts.version, facts.cipher)?;
                if let Some(group) = &facts.group {
                    write!(f, " group={group}")?;
                }
                if let Some(own) = facts.chain.first() {
                    write!(f, " certificate={own}")?;
                }
                write!(f, " chain={:?}", chain_words(chain))?;
            }
        }
        match self.judged {
            None => {}
            Some(Judged::Sufficient(basis)) => write!(f, " basis={basis}")?,
            Some(Judged::Insufficient(unmet)) => write!(f, " unmet={:?}", unmet.to_string())?,
        }
        if let Some(trouble) = &self.tls_trouble {
            write!(f, " tls_trouble={:?}", trouble.text)?;
        }
        if let Some(reply) = &self.reply {
            write!(f, " reply={:?}", reply.to_string())?;
        }
        write!(
            f,
            " outcome={:?} took_ms={}",
            self.outcome,
            self.took().as_millis()
        )
    }
}

impl fmt::Display for Basis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Basis::ClearAllowed => "clear-allowed",
            Basis::ClearUnavoided => "clear-unavoided",
            Basis::Encryption => "encryption",
            Basis::Chain => "chain",
        })
    }
}

fn clear_words(why: &WhyClear) -> String {
    match why {
        WhyClear::NotOffered => "not offered".to_owned(),
        WhyClear::Unwanted => "policy".to_owned(),
        WhyClear::Earlier(trouble) => format!("failed earlier: {}", trouble.text),
    }
}

fn chain_words(chain: &Chain) -> &str {
    match chain {
        Chain::Trusted => "trusted",
        Chain::Untrusted(why) => why,
        Chain::Unchecked => "unchecked",
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mail::{TlsFacts, TlsVersion};

    use super::*;
    use crate::shown::Shown;

    fn judged(chain: Chain) -> Evidence {
        let facts = TlsFacts {
            version: TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            group: Some("X25519".into()),
            chain: vec![mail::Fingerprint([0xab; 32])],
            subject: None,
            server_name: None,
        };
        let plan = Plan::opportunistic(Host::Literal(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1))));
        let mut evidence = plan
            .judge(&Shown::tls(facts, chain), SystemTime::UNIX_EPOCH)
            .evidence;
        evidence.outcome = "sent".into();
        evidence.ended += Duration::from_millis(1500);
        evidence
    }

    #[test]
    fn one_line_tells_the_attempt() {
        assert_eq!(
            judged(Chain::Untrusted("self-signed".into())).to_string(),
            format!(
                "host=[192.0.2.1] demand=opportunistic/default tls=TLSv1.3 cipher=TLS_AES_256_GCM_SHA384 group=X25519 \
                 certificate={} chain=\"self-signed\" basis=encryption outcome=\"sent\" took_ms=1500",
                "ab".repeat(32)
            )
        );
    }

    // The words speak of one hop, not of the way or the author.
    // proves: 3207-6-1 2487-7-1
    #[test]
    fn the_sentence_for_people_names_the_hop_only() {
        let words = judged(Chain::Trusted).hop();
        assert_eq!(
            words,
            "The connection to [192.0.2.1] was encrypted (TLSv1.3, TLS_AES_256_GCM_SHA384); its certificate proved its name."
        );
    }

    #[test]
    fn a_peer_cannot_break_the_line() {
        let line = judged(Chain::Untrusted("a\r\nmessage=forged \"".into())).to_string();
        assert!(
            !line.contains('\n') && line.contains(r#"a\r\nmessage=forged \""#),
            "{line}"
        );
    }
}
