//! The plan for one host, made before it is dialled, and the judgement of what its channel then showed.

use std::fmt;
use std::time::{Duration, SystemTime};

use mail::proof::Permit;
use mail::{Channel, Host};

use crate::evidence::{Basis, Evidence, Judged};
use crate::shown::{Chain, Seen, Shown, TlsTrouble, WhyClear};

/// What a channel must prove before mail goes over it. Ordered by strictness.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Demand {
    /// Nothing: local policy allows clear text by name.
    None,
    /// TLS where the peer offers it; the certificate is recorded, not judged (RFC 3207 §6).
    Opportunistic,
    /// TLS, with any certificate.
    Encrypted,
    /// TLS, and the peer proven to be the host that was meant.
    Verified,
}

/// Who asked for the demand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Source {
    /// Nobody in particular: how this server treats every host.
    Default,
    /// The operator's policy table.
    Policy,
}

/// What is demanded of one host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Plan {
    host: Host,
    demand: Demand,
    source: Source,
}

/// How to open the conversation with a host, given what is remembered of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Opening {
    /// STARTTLS if it is offered.
    Tls,
    /// Stay clear, for this reason.
    Clear(WhyClear),
}

/// A verdict with its evidence; neither travels alone.
#[derive(Debug)]
pub struct Judgement<C: Channel> {
    /// Send or hold.
    pub verdict: Verdict<C>,
    /// What it rests on.
    pub evidence: Evidence,
}

/// What may happen over a channel. There is no way to bounce: only a message's age does that.
#[derive(Debug)]
pub enum Verdict<C: Channel> {
    /// Mail may go.
    Send(Permit<C>),
    /// No mail may go over this channel.
    Hold(Unmet),
}

/// What the channel lacked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unmet {
    /// Encryption.
    NotEncrypted,
    /// Proof that the peer is the host that was meant.
    NotProven,
}

impl Plan {
    /// TLS where it is offered.
    pub fn opportunistic(host: Host) -> Plan {
        Plan::new(host, Demand::Opportunistic, Source::Default)
    }

    /// A plan with a demand of one's own.
    pub fn new(host: Host, demand: Demand, source: Source) -> Plan {
        Plan { host, demand, source }
    }

    /// The host it is for.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What is demanded.
    pub fn demand(&self) -> Demand {
        self.demand
    }

    /// Who asked for it.
    pub fn source(&self) -> Source {
        self.source
    }

    /// How to open this attempt. `trouble` is what is remembered of TLS with this host; `tried` says whether this very
    /// message has met it before. Clear text after a failed handshake is never for the attempt in which it failed, nor
    /// for a message that has not tried TLS itself: the host's trouble is no reason to send other mail in clear.
    pub fn opening(
        &self,
        trouble: Option<&TlsTrouble>,
        tried: Tried,
        wait: Duration,
        now: SystemTime,
    ) -> Opening {
        match self.demand {
            Demand::None => Opening::Clear(WhyClear::Unwanted),
            Demand::Encrypted | Demand::Verified => Opening::Tls,
            Demand::Opportunistic => match (trouble, tried) {
                (Some(trouble), Tried::Before) if trouble.at + wait <= now => {
                    Opening::Clear(WhyClear::Earlier(trouble.clone()))
                }
                (Some(_) | None, Tried::Before | Tried::Never) => Opening::Tls,
            },
        }
    }

    /// Judges what the channel showed. The only place that mints a [`Permit`].
    pub fn judge<C: Channel>(&self, shown: &Shown<C>, now: SystemTime) -> Judgement<C> {
        let found = self.weigh(shown.seen());
        let evidence = Evidence::judged(self, shown.seen().clone(), found, now);
        let verdict = match found {
            Judged::Sufficient(_) => Verdict::Send(Permit::mint(self.host.clone())),
            Judged::Insufficient(unmet) => Verdict::Hold(unmet),
        };
        Judgement { verdict, evidence }
    }

    fn weigh(&self, seen: &Seen) -> Judged {
        match (self.demand, seen) {
            (Demand::None, Seen::Clear(_)) => Judged::Sufficient(Basis::ClearAllowed),
            (Demand::Opportunistic, Seen::Clear(_)) => Judged::Sufficient(Basis::ClearUnavoided),
            (Demand::Encrypted | Demand::Verified, Seen::Clear(_)) => {
                Judged::Insufficient(Unmet::NotEncrypted)
            }
            (
                Demand::None | Demand::Opportunistic | Demand::Encrypted | Demand::Verified,
                Seen::Tls {
                    chain: Chain::Trusted,
                    ..
                },
            ) => Judged::Sufficient(Basis::Chain),
            (Demand::None | Demand::Opportunistic | Demand::Encrypted, Seen::Tls { .. }) => {
                Judged::Sufficient(Basis::Encryption)
            }
            (Demand::Verified, Seen::Tls { .. }) => Judged::Insufficient(Unmet::NotProven),
        }
    }
}

/// Whether a message has met this host's trouble with TLS in an earlier attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// This is its first attempt.
    Never,
    /// It was put off before.
    Before,
}

impl fmt::Display for Demand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Demand::None => "none",
            Demand::Opportunistic => "opportunistic",
            Demand::Encrypted => "encrypted",
            Demand::Verified => "verified",
        })
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Source::Default => "default",
            Source::Policy => "policy",
        })
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unmet::NotEncrypted => "the channel is not encrypted",
            Unmet::NotProven => "the peer did not prove to be the host that was meant",
        })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use mail::{Clear, Tls, TlsFacts, TlsVersion};

    use super::*;

    fn host() -> Host {
        Host::Literal(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)))
    }

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    fn trouble() -> TlsTrouble {
        TlsTrouble {
            at: at(1000),
            text: "alert 40".into(),
        }
    }

    fn tls(chain: Chain) -> Shown<Tls> {
        let facts = TlsFacts {
            version: TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            group: Some("X25519MLKEM768".into()),
            chain: Vec::new(),
            subject: None,
            server_name: None,
        };
        Shown::tls(facts, chain)
    }

    fn outcome<C: Channel + fmt::Debug>(demand: Demand, shown: &Shown<C>) -> Result<Basis, Unmet> {
        let judgement = Plan::new(host(), demand, Source::Policy).judge(shown, at(5));
        assert_eq!(judgement.evidence.host, host());
        assert_eq!(judgement.evidence.demand, demand);
        match (judgement.verdict, judgement.evidence.judged) {
            (Verdict::Send(permit), Some(Judged::Sufficient(basis))) => {
                assert_eq!(permit.host(), &host());
                Ok(basis)
            }
            (Verdict::Hold(unmet), Some(Judged::Insufficient(told))) => {
                assert_eq!(unmet, told);
                Err(unmet)
            }
            (verdict, told) => panic!("{verdict:?} is told as {told:?}"),
        }
    }

    // proves: 3207-4.1-2 2487-5.1-2
    #[test]
    fn every_demand_against_everything_shown() {
        use Demand::{Encrypted, None, Opportunistic, Verified};
        let clear: [Shown<Clear>; 3] = [
            Shown::clear(WhyClear::NotOffered),
            Shown::clear(WhyClear::Earlier(trouble())),
            Shown::clear(WhyClear::Unwanted),
        ];
        for shown in &clear {
            assert_eq!(outcome(None, shown), Ok(Basis::ClearAllowed));
            assert_eq!(outcome(Opportunistic, shown), Ok(Basis::ClearUnavoided));
            assert_eq!(outcome(Encrypted, shown), Err(Unmet::NotEncrypted));
            assert_eq!(outcome(Verified, shown), Err(Unmet::NotEncrypted));
        }
        for demand in [None, Opportunistic, Encrypted, Verified] {
            assert_eq!(outcome(demand, &tls(Chain::Trusted)), Ok(Basis::Chain));
        }
        for chain in [Chain::Untrusted("self-signed".into()), Chain::Unchecked] {
            for demand in [None, Opportunistic, Encrypted] {
                assert_eq!(outcome(demand, &tls(chain.clone())), Ok(Basis::Encryption));
            }
            assert_eq!(outcome(Verified, &tls(chain)), Err(Unmet::NotProven));
        }
    }

    #[test]
    fn clear_text_only_later_and_only_for_a_message_that_tried() {
        let wait = Duration::from_secs(600);
        let open = |demand, trouble: Option<&TlsTrouble>, tried, now| {
            Plan::new(host(), demand, Source::Default).opening(trouble, tried, wait, at(now))
        };
        let met = trouble();
        let earlier = Opening::Clear(WhyClear::Earlier(met.clone()));
        assert_eq!(
            open(Demand::Opportunistic, None, Tried::Before, 9999),
            Opening::Tls
        );
        assert_eq!(
            open(Demand::Opportunistic, Some(&met), Tried::Before, 1599),
            Opening::Tls
        );
        assert_eq!(
            open(Demand::Opportunistic, Some(&met), Tried::Before, 1600),
            earlier
        );
        assert_eq!(
            open(Demand::Opportunistic, Some(&met), Tried::Never, 1600),
            Opening::Tls
        );
        for demand in [Demand::Encrypted, Demand::Verified] {
            assert_eq!(open(demand, Some(&met), Tried::Before, 9999), Opening::Tls);
        }
        assert_eq!(
            open(Demand::None, None, Tried::Never, 0),
            Opening::Clear(WhyClear::Unwanted)
        );
    }
}
