//! Postfix's `posttls-finger`: what another program thinks of a domain's transport security.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::shown;
use crate::enclosure::{Enclosure, Plan};
use crate::packages::Unpacked;
use crate::patience::USUAL;
use crate::place::{make_folder, write};

/// An enclosure in which it can be run.
pub struct Finger {
    program: PathBuf,
    roots: PathBuf,
    enclosure: Enclosure,
}

/// The levels of Postfix, from its manual: what is demanded of a host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Level {
    /// TLS if it is offered.
    May,
    /// TLS.
    Encrypt,
    /// DANE where TLSA records can be had, else TLS if it is offered.
    Dane,
    /// DANE or nothing.
    DaneOnly,
    /// A chain to a trusted root and the domain's or next hop's name.
    Secure,
}

/// What it found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// TLS, and the peer proven.
    Verified,
    /// TLS, with a chain to a trusted root, and nothing asked for or proven about the name.
    Trusted,
    /// TLS with anybody.
    Untrusted,
    /// No TLS was offered: it says goodbye, whatever the level. What to make of it is left to its reader.
    Clear,
    /// Not what the level demands, or no connection at all; its own words.
    Failed(String),
}

impl Finger {
    /// One that asks `resolver`, whose AD bit it believes, and trusts the authority `roots`.
    pub fn new(folder: &Path, resolver: IpAddr, roots: &str) -> Finger {
        let program = Unpacked::Postfix.folder();
        make_folder(folder);
        let file = folder.join("roots.pem");
        write(&file, roots);
        let plan = Plan::new(folder, resolver).mount(program.join("usr/lib/postfix"), "/usr/lib/postfix");
        make_folder(&plan.etc("postfix"));
        write(
            &plan.etc("postfix/main.cf"),
            "compatibility_level = 3.6\ninet_protocols = ipv4\n",
        );
        let enclosure = plan.start(
            "posttls-finger",
            Path::new("sh"),
            &["-c", "echo ready; exec sleep infinity"],
        );
        enclosure.wait_for_words("ready", USUAL);
        Finger {
            enclosure,
            program: program.join("usr/sbin/posttls-finger"),
            roots: file,
        }
    }

    /// Looks at a domain's mail exchangers.
    pub fn look(&self, level: Level, domain: &str) -> Found {
        let level = match level {
            Level::May => "may",
            Level::Encrypt => "encrypt",
            Level::Dane => "dane",
            Level::DaneOnly => "dane-only",
            Level::Secure => "secure",
        };
        let arguments = [
            "-T",
            "3",
            "-l",
            level,
            "-L",
            "summary",
            "-F",
            &shown(&self.roots),
            "-m",
            "0",
            domain,
        ];
        let output = self.enclosure.try_run(&self.program, &arguments);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        let has = |words: &str| said.contains(words);
        if has("Verified TLS connection established") {
            Found::Verified
        } else if has("Trusted TLS connection established") {
            Found::Trusted
        } else if has("Untrusted TLS connection established") || has("Anonymous TLS connection established") {
            Found::Untrusted
        } else if has("221 ") {
            Found::Clear
        } else {
            Found::Failed(said)
        }
    }
}
