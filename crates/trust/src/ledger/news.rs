//! What an observation changed, for log, alarm and people. Decides nothing.

use std::fmt;
use std::time::SystemTime;

use mail::KeyPrint;

use super::Bound;

/// Something that changed in what is remembered, and of whom.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notice {
    /// The domain whose mail it is about; a client's proven name for mail that comes in.
    pub domain: Box<str>,
    /// The host, where it is about one.
    pub host: Option<Box<str>>,
    /// When.
    pub at: SystemTime,
    /// What.
    pub news: News,
}

/// What changed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum News {
    /// It is bound from now on, or to more than before.
    Bound(Bound),
    /// It showed less than it is bound to: mail to it waits. Told once, until it shows enough again.
    Suspect {
        /// What it is bound to.
        bound: Bound,
        /// What it showed, in plain words.
        showed: Box<str>,
    },
    /// It shows enough again.
    Recovered {
        /// When it had begun to show less.
        since: SystemTime,
    },
    /// The same proof with a key that was not known. Certificates rotate: this is no suspicion.
    NewKey(KeyPrint),
    /// A certificate that proves nothing now, over a key that was proven before. Noted, and not held.
    Continuity {
        /// What is wrong with the certificate, in plain words.
        flaw: Box<str>,
    },
    /// Mail exchangers under a name that was none of the domain's, in answers that nobody vouches for.
    NewExchanger {
        /// The name under which they stand: `example.com` of `mx.example.com`.
        under: Box<str>,
        /// How loud that is.
        change: MxChange,
    },
    /// The bound ended: nothing has confirmed it for too long.
    Decayed {
        /// What it was bound to.
        from: Bound,
        /// Whether it was showing less when it ended: mail may go to it in clear from now on.
        suspect: bool,
    },
    /// A client that always came encrypted came in clear. Its mail is taken.
    CameInClear,
}

/// What is done about mail exchangers under a new name, where nobody vouches for them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum MxChange {
    /// It is noted.
    #[default]
    Note,
    /// It is noted, and an alarm is raised.
    Alarm,
    /// Also, they are not used until a person says that they are right.
    Hold,
}

/// How loud news is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Weight {
    /// For the log.
    Note,
    /// An alarm that ended.
    End,
    /// An alarm.
    Alarm,
}

impl News {
    /// How loud it is.
    pub fn weight(&self) -> Weight {
        match self {
            News::Suspect { .. } | News::CameInClear | News::Decayed { suspect: true, .. } => Weight::Alarm,
            News::NewExchanger { change, .. } => match change {
                MxChange::Note => Weight::Note,
                MxChange::Alarm | MxChange::Hold => Weight::Alarm,
            },
            News::Recovered { .. } => Weight::End,
            News::Bound(_)
            | News::NewKey(_)
            | News::Continuity { .. }
            | News::Decayed { suspect: false, .. } => Weight::Note,
        }
    }

    /// One word for machines: of which kind it is. An alarm of a kind is raised once for a domain and host.
    pub fn kind(&self) -> &'static str {
        match self {
            News::Bound(_) => "bound",
            News::Suspect { .. } => "suspect",
            News::Recovered { .. } => "recovered",
            News::NewKey(_) => "new-key",
            News::Continuity { .. } => "continuity",
            News::NewExchanger { .. } => "new-exchanger",
            News::Decayed { .. } => "decayed",
            News::CameInClear => "came-in-clear",
        }
    }
}

impl fmt::Display for News {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            News::Bound(bound) => write!(f, "bound from now on: {bound}"),
            News::Suspect { bound, showed } => {
                write!(
                    f,
                    "it showed less than before ({bound}): {showed}; mail to it waits"
                )
            }
            News::Recovered { .. } => f.write_str("it shows again what it showed before"),
            News::NewKey(key) => write!(f, "a new key with the same proof: {key}"),
            News::Continuity { flaw } => {
                write!(
                    f,
                    "its certificate proves nothing ({flaw}), yet its key is one that was proven before"
                )
            }
            News::NewExchanger { under, change } => {
                write!(
                    f,
                    "new mail exchangers under {under}, and nobody vouches for them"
                )?;
                match change {
                    MxChange::Note | MxChange::Alarm => Ok(()),
                    MxChange::Hold => {
                        f.write_str("; they are not used until a person says that they are right")
                    }
                }
            }
            News::Decayed { from, suspect: false } => {
                write!(f, "no longer bound ({from}): not confirmed for too long")
            }
            News::Decayed { from, suspect: true } => write!(
                f,
                "no longer bound ({from}), though it showed less to the end: mail may go to it in clear from now on"
            ),
            News::CameInClear => {
                f.write_str("a client that always came encrypted came in clear; its mail was taken")
            }
        }
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.domain)?;
        if let Some(host) = &self.host {
            write!(f, " at {host}")?;
        }
        write!(f, ": {}", self.news)
    }
}
