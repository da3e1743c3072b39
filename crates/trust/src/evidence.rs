//! The record of one attempt. Log, report, bounce and explanation all render this same record.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, MessageId, Reply};

use crate::chain::{Named, Path};
use crate::judge::Judged;
use crate::making::Origin;
use crate::plan::{Avoid, Demand, Plan, Reason, Source};
use crate::shown::{Seen, TlsTrouble, WhyClear};

/// One attempt at one host: what was demanded, what was shown, what was decided, and what the host answered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Evidence {
    /// The message; none until the channel carries one.
    pub message: Option<MessageId>,
    /// The domain whose mail the host was to take; none for an address literal.
    pub domain: Option<Domain>,
    /// The host that was meant.
    pub host: Host,
    /// How its name came to be known.
    pub origin: Origin,
    /// The address and port that were dialled, once one was.
    pub address: Option<SocketAddr>,
    /// What the channel had to prove.
    pub demand: Demand,
    /// Who asked for that.
    pub source: Source,
    /// What each source said of the host.
    pub reasons: Vec<Reason>,
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

impl Evidence {
    /// The record of an attempt that begins.
    pub fn begun(plan: &Plan, started: SystemTime) -> Evidence {
        Evidence {
            message: None,
            domain: plan.domain().cloned(),
            host: plan.host().clone(),
            origin: plan.origin(),
            address: None,
            demand: plan.demand(),
            source: plan.source(),
            reasons: plan.reasons().to_vec(),
            seen: None,
            judged: None,
            tls_trouble: None,
            reply: None,
            outcome: "".into(),
            started,
            ended: started,
        }
    }

    /// The record of a host that was not dialled because of what is known of it.
    pub fn avoided(host: Host, domain: Option<Domain>, avoid: &Avoid, now: SystemTime) -> Evidence {
        Evidence {
            domain,
            demand: Demand::Verified,
            source: avoid.source,
            reasons: avoid.reasons.clone(),
            ..Evidence::begun(&Plan::opportunistic(host), now)
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
                match (&chain.path, &chain.named) {
                    (Path::Trusted, Named::Host) => "its certificate proved its name".to_owned(),
                    (Path::Unchecked, _) => "its certificate was not checked".to_owned(),
                    (_, _) => format!("its certificate did not prove its name: {chain}"),
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
        if let Some(domain) = &self.domain {
            write!(f, "domain={domain} ")?;
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
                if let Some(key) = &chain.key {
                    write!(f, " key={key}")?;
                }
                write!(f, " chain={:?}", chain.to_string())?;
            }
        }
        match &self.judged {
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

fn clear_words(why: &WhyClear) -> String {
    match why {
        WhyClear::NotOffered => "not offered".to_owned(),
        WhyClear::Unwanted => "policy".to_owned(),
        WhyClear::Earlier(trouble) => format!("failed earlier: {}", trouble.text),
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mail::{TlsFacts, TlsVersion};

    use super::*;
    use crate::chain::{Chain, Flaw};
    use crate::judge::Basis;

    fn untrusted(why: &str) -> Chain {
        Chain {
            path: Path::Flawed(Flaw::Untrusted, why.into()),
            named: Named::Host,
            key: None,
            until: None,
        }
    }

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
        let seen = Seen::Tls { facts, chain };
        let sufficient = Judged::Sufficient(Basis::Encryption);
        let mut evidence = Evidence::judged(&plan, seen, sufficient, SystemTime::UNIX_EPOCH);
        evidence.outcome = "sent".into();
        evidence.ended += Duration::from_millis(1500);
        evidence
    }

    #[test]
    fn one_line_tells_the_attempt() {
        assert_eq!(
            judged(untrusted("self-signed")).to_string(),
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
        let trusted = Chain {
            path: Path::Trusted,
            ..untrusted("")
        };
        let words = judged(trusted).hop();
        assert_eq!(
            words,
            "The connection to [192.0.2.1] was encrypted (TLSv1.3, TLS_AES_256_GCM_SHA384); its certificate proved its name."
        );
    }

    #[test]
    fn a_peer_cannot_break_the_line() {
        let line = judged(untrusted("a\r\nmessage=forged \"")).to_string();
        assert!(
            !line.contains('\n') && line.contains(r#"a\r\nmessage=forged \""#),
            "{line}"
        );
    }
}
