//! Knot: an authoritative name server for the zone `test`, on port 53 of an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::shown;
use crate::enclosure::{Enclosure, Plan};
use crate::packages::Unpacked;
use crate::place::{make_folder, write};

/// A running Knot.
pub struct Knot {
    address: IpAddr,
    enclosure: Enclosure,
}

impl Knot {
    /// Serves the zone `test` with these records, one a line: absolute names with a dot behind them, no TTL, no class.
    pub fn start(folder: &Path, address: IpAddr, records: &str) -> Knot {
        let program = Unpacked::Knot.folder().join("usr/sbin/knotd");
        make_folder(folder);
        let head = format!(
            "$TTL 5\ntest. SOA ns.test. lab.test. 1 60 60 600 5\ntest. NS ns.test.\nns.test. A {address}\n"
        );
        write(&folder.join("test.zone"), head + records);
        make_folder(&folder.join("state"));
        write(&folder.join("knot.conf"), configuration(folder, address));
        let plan = Plan::new(folder, address);
        let enclosure = plan.start("Knot", &program, &["-c", &shown(&folder.join("knot.conf"))]);
        enclosure.wait_for_port(SocketAddr::new(address, 53));
        Knot { address, enclosure }
    }

    /// Where it answers, UDP and TCP.
    pub fn port_53(&self) -> SocketAddr {
        SocketAddr::new(self.address, 53)
    }

    /// Its log so far.
    pub fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

fn configuration(folder: &Path, address: IpAddr) -> String {
    format!(
        "server:
    rundir: {state}
    listen: {address}@53
    udp-workers: 1
    tcp-workers: 2
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: {state}
template:
  - id: default
    storage: {folder}
    file: \"%s.zone\"
    semantic-checks: on
zone:
  - domain: test.
",
        state = shown(&folder.join("state")),
        folder = shown(folder),
    )
}
