//! Unbound: a recursive resolver over a [`Tree`], on port 53 of an address of its own.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use super::{Tree, shown};
use crate::enclosure::{Enclosure, Plan};
use crate::packages::Unpacked;
use crate::place::{make_folder, write};

/// What it does with signatures.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Validation {
    /// Checks them: AD on what is proven, SERVFAIL for what is bogus.
    Checks,
    /// Hands on what is bogus as well.
    HandsOn,
}

/// A running Unbound.
pub struct Unbound {
    address: IpAddr,
    enclosure: Enclosure,
}

impl Unbound {
    /// Starts one that trusts the tree's root key.
    pub fn start(folder: &Path, address: IpAddr, tree: &Tree, validation: Validation) -> Unbound {
        make_folder(folder);
        let file = folder.join("unbound.conf");
        write(&file, configuration(folder, address, tree, validation));
        let program = Unpacked::Unbound.folder().join("usr/sbin/unbound");
        let enclosure = Plan::new(folder, address).start("Unbound", &program, &["-d", "-c", &shown(&file)]);
        enclosure.wait_for_port(SocketAddr::new(address, 53));
        Unbound { address, enclosure }
    }

    /// Where it answers.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Its log so far.
    pub fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

/// `test` is answered from the tree, not by Unbound itself as RFC 6761 has it; nothing is remembered long, dead servers included.
fn configuration(folder: &Path, address: IpAddr, tree: &Tree, validation: Validation) -> String {
    let permissive = match validation {
        Validation::Checks => "no",
        Validation::HandsOn => "yes",
    };
    let mut text = format!(
        "server:
    interface: {address}@53
    outgoing-interface: {address}
    access-control: 127.0.0.0/8 allow
    do-ip6: no
    do-daemonize: no
    do-not-query-localhost: no
    username: \"\"
    chroot: \"\"
    directory: \"{folder}\"
    pidfile: \"\"
    use-syslog: no
    logfile: \"\"
    verbosity: 1
    val-log-level: 2
    log-servfail: yes
    num-threads: 1
    module-config: \"validator iterator\"
    val-permissive-mode: {permissive}
    trust-anchor-file: \"{anchor}\"
    local-zone: \"test.\" nodefault
    cache-max-ttl: 1
    cache-max-negative-ttl: 1
    infra-host-ttl: 1
    val-bogus-ttl: 1
    infra-cache-max-rtt: 1000
remote-control:
    control-enable: no
",
        folder = shown(folder),
        anchor = shown(&tree.anchor()),
    );
    // One server for all zones answers for a child where it was asked as the parent. Told of each zone, Unbound does not take the
    // missing signatures of an unsigned child for a broken parent.
    for zone in tree.zones() {
        let stub = format!(
            "stub-zone:\n    name: \"{zone}\"\n    stub-addr: {}@53\n",
            tree.address()
        );
        text += &stub;
    }
    text
}
