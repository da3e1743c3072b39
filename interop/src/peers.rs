//! The peers. Each starts on an address of its own with its own certificate, spool folder and configuration made for quick tests,
//! takes letters into its own queue, finds other hosts by MX through the Knot it is given, and keeps what it receives in files.

pub mod postfix;
pub mod finger;
pub mod exim;
pub mod opensmtpd;
pub mod chasquid;
pub mod knot;
pub mod tree;
pub mod unbound;
pub mod clients;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::letter::Letter;
use crate::place::Place;

pub use chasquid::Chasquid;
pub use exim::Exim;
pub use finger::Finger;
pub use knot::Knot;
pub use opensmtpd::OpenSmtpd;
pub use postfix::Postfix;
pub use tree::{Signing, Tree, Zone};
pub use unbound::Unbound;

/// Largest message that peers are set up to take: above every letter of these tests.
pub const MESSAGE_MEGABYTES_MAX: u32 = 200;

/// A mail host to be: where it will live, which domain it serves, whom it asks for names.
#[derive(Clone, Debug)]
pub struct Host {
    /// The mail domain, for example `postfix.test`.
    pub domain: String,
    /// Its only mail exchanger: `mx.` and the domain.
    pub name: String,
    /// The exchanger's address.
    pub address: IpAddr,
    /// A name server on port 53.
    pub resolver: IpAddr,
    /// A folder of its own.
    pub folder: PathBuf,
}

impl Host {
    /// Takes an address and a folder for `domain`.
    pub fn new(place: &Place, domain: &str, resolver: IpAddr) -> Host {
        let name = format!("mx.{domain}");
        Host {
            domain: domain.to_owned(),
            name,
            address: place.address(),
            resolver,
            folder: place.subfolder(domain),
        }
    }

    /// The records that lead mail for the domain here.
    pub fn records(&self) -> String {
        format!(
            "{}. MX 10 {}.\n{}. A {}\n",
            self.domain, self.name, self.name, self.address
        )
    }

    /// Port 25.
    pub fn port_25(&self) -> SocketAddr {
        SocketAddr::new(self.address, 25)
    }

    /// Where mail for the domain arrives.
    pub fn mail(&self) -> PathBuf {
        self.folder.join("mail")
    }
}

/// What all mail servers can do here.
pub trait MailServer {
    /// The program's name.
    fn name(&self) -> &'static str;
    /// Where and for whom it serves.
    fn host(&self) -> &Host;
    /// Puts a letter into its queue, by way of its own front door.
    fn hand_in(&self, letter: &Letter);
    /// Has it try at once what waits in its queue.
    fn retry(&self);
    /// Its logs so far.
    fn logged(&self) -> String;
    /// The folder in which mail arrives.
    fn mail(&self) -> PathBuf {
        self.host().mail()
    }
}

/// A path as text, for configurations.
fn shown(path: &Path) -> String {
    path.display().to_string()
}
