//! Tables of hosts and of what must become of a letter to each.

use crate::hostile::HostilePeer;
use crate::laboratory::{Laboratory, after_a_conversation};
use crate::patience::{USUAL, wait_for};

/// What must become of a letter.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrives inside TLS.
    Inside,
    /// It arrives in clear.
    InClear,
    /// It is held; the host shook hands and was told goodbye.
    Goodbye,
    /// It is held; no handshake came about.
    NoHandshake,
    /// It waits; nobody was contacted.
    NoContact,
}

/// One host of the table.
pub struct Case {
    /// The mail domain; its letter is named after it.
    pub domain: String,
    /// The domain's host.
    pub peer: HostilePeer,
    /// What must become of the letter.
    pub fate: Fate,
}

/// Sends a letter to every host, and panics with all that came out otherwise than it must, or if anything was returned.
pub fn check(lab: &Laboratory, cases: &[Case]) {
    for case in cases {
        lab.send(&case.domain, &format!("a@{}", case.domain));
    }
    let mut wrong = Vec::new();
    for case in cases {
        let fate = case.fate_now(lab);
        if fate != case.fate {
            let told = lab.attempts(&case.domain);
            wrong.push(format!(
                "{}: {fate:?} instead of {:?}: {told:#?}",
                case.domain, case.fate
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(lab.reports(), Vec::<String>::new(), "held, never bounced");
}

impl Case {
    /// A case.
    pub fn new(domain: &str, peer: HostilePeer, fate: Fate) -> Case {
        Case {
            domain: domain.to_owned(),
            peer,
            fate,
        }
    }

    /// What became of the letter.
    pub fn fate_now(&self, lab: &Laboratory) -> Fate {
        let recipient = format!("a@{}", self.domain);
        let decided = || {
            let letters = self.peer.letters();
            let arrived = letters.iter().find(|(id, _)| *id == self.domain);
            match arrived {
                Some((_, true)) => Some(Fate::Inside),
                Some((_, false)) => Some(Fate::InClear),
                None => lab
                    .waiting(&recipient)
                    .filter(|waiting| waiting["attempts"].as_u64() > Some(0))
                    .map(|_| Fate::NoContact),
            }
        };
        let fate = wait_for(&recipient, USUAL, decided);
        if fate == Fate::InClear {
            return fate;
        }
        self.peer.must_have_heard_nothing_in_clear();
        if fate == Fate::Inside || self.peer.conversations().is_empty() {
            return fate;
        }
        let conversations = after_a_conversation(&self.peer);
        let shook = conversations
            .iter()
            .any(|conversation| conversation.handshake.is_some());
        for conversation in &conversations {
            // RFC 3207 §4.1: who is not satisfied with what the handshake showed says QUIT, and nothing else.
            let wanted: &[&str] = if conversation.handshake.is_some() {
                &["QUIT"]
            } else {
                &[]
            };
            assert_eq!(conversation.commands_inside(), wanted, "{}", self.domain);
        }
        self.must_be_held_if_more_was_demanded(lab, &recipient);
        if shook { Fate::Goodbye } else { Fate::NoHandshake }
    }

    /// What a host showed too little for is held, and tested again. Where nothing was demanded of it, the letter is merely late.
    fn must_be_held_if_more_was_demanded(&self, lab: &Laboratory, recipient: &str) {
        if lab
            .attempts(&self.domain)
            .concat()
            .contains(" demand=opportunistic/")
        {
            return;
        }
        let waiting = wait_for(&format!("{recipient} to be held"), USUAL, || {
            lab.waiting(recipient)
                .filter(|waiting| !waiting["hold"].is_null())
        });
        assert_eq!(waiting["hold"]["by"], "trust", "{}: {waiting}", self.domain);
    }
}
