//! A mail host that does as it is told at STARTTLS, and keeps every octet it received: in clear and inside TLS, by connection.
//!
//! What it hears after EHLO it takes, so that a message which is not protected by its sender's own judgement arrives here.

mod conversation;

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use conversation::{Conversation, Handshake};

use rustls::SupportedProtocolVersion;

use crate::authority::Identity;

const GLANCE: Duration = Duration::from_millis(20);

/// What it does about STARTTLS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StartTls {
    /// Offers it and keeps its word.
    Honest,
    /// Does not offer it: the keyword is stripped. Were it asked for all the same, 502.
    Stripped,
    /// Offers it and answers this, for example `454 4.7.0 not now`.
    Refuses(String),
    /// 220, then these octets instead of a handshake.
    Garbage(Vec<u8>),
    /// 220, then nothing.
    Stalls,
    /// 220 and these octets in one piece, in clear, then an honest handshake.
    Injects(Vec<u8>),
    /// 220, then a handshake of TLS 1.0, which is all it knows.
    OldVersion,
    /// 220, then the connection is closed.
    Closes,
}

/// For hosts that know nothing newer.
pub const ONLY_TLS_1_2: &[&SupportedProtocolVersion] = &[&rustls::version::TLS12];

/// How it behaves from one connection to the next.
#[derive(Clone)]
pub struct Manner {
    /// At STARTTLS.
    pub starttls: StartTls,
    /// What it shows in a handshake.
    pub identity: Arc<Identity>,
    /// The versions it knows.
    pub versions: &'static [&'static SupportedProtocolVersion],
    /// Keywords offered inside TLS besides the usual ones, for example `REQUIRETLS`.
    pub offers_inside: Vec<String>,
}

impl Manner {
    /// As good as any.
    pub fn honest(identity: &Arc<Identity>) -> Manner {
        Manner {
            starttls: StartTls::Honest,
            identity: identity.clone(),
            versions: rustls::ALL_VERSIONS,
            offers_inside: Vec::new(),
        }
    }

    /// As good as any, but at STARTTLS.
    pub fn with(identity: &Arc<Identity>, starttls: StartTls) -> Manner {
        Manner {
            starttls,
            ..Manner::honest(identity)
        }
    }
}

/// A running peer on port 25.
pub struct HostilePeer {
    address: IpAddr,
    shared: Arc<Shared>,
}

struct Shared {
    name: String,
    stopped: AtomicBool,
    state: Mutex<State>,
}

struct State {
    manner: Manner,
    conversations: Vec<Conversation>,
}

impl HostilePeer {
    /// Listens at `address` and greets as `name`.
    pub fn start(address: IpAddr, name: &str, manner: Manner) -> HostilePeer {
        let here = SocketAddr::new(address, 25);
        let listener =
            TcpListener::bind(here).unwrap_or_else(|error| panic!("cannot listen at {here}: {error}"));
        listener.set_nonblocking(true).expect("a socket of our own");
        let shared = Arc::new(Shared {
            name: name.to_owned(),
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                manner,
                conversations: Vec::new(),
            }),
        });
        let inside = shared.clone();
        std::thread::spawn(move || {
            while !inside.stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let inside = inside.clone();
                        std::thread::spawn(move || conversation::serve(stream, &inside));
                    }
                    Err(_) => std::thread::sleep(GLANCE),
                }
            }
        });
        HostilePeer { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// From the next connection on.
    pub fn behave(&self, manner: Manner) {
        self.shared.lock().manner = manner;
    }

    /// All conversations so far, in the order in which they began; open ones as far as they have come.
    pub fn conversations(&self) -> Vec<Conversation> {
        self.shared.lock().conversations.clone()
    }

    /// The letters that arrived, by name, and whether each came inside TLS.
    pub fn letters(&self) -> Vec<(String, bool)> {
        let conversations = self.conversations();
        conversations
            .into_iter()
            .flat_map(|conversation| conversation.letters)
            .collect()
    }

    /// Panics if any conversation so far told in clear more than that somebody came: greeting, STARTTLS, goodbye.
    pub fn must_have_heard_nothing_in_clear(&self) {
        for conversation in self.conversations() {
            conversation.must_have_told_nothing_in_clear();
        }
    }
}

impl Drop for HostilePeer {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// Changes what is kept of a conversation.
    fn note(&self, number: usize, change: impl FnOnce(&mut Conversation)) {
        change(&mut self.lock().conversations[number]);
    }
}
