//! A whole laboratory for trust: a signed tree, a resolver, a name server in between, an authority, hosts that do as they are told,
//! and a Sealpost that believes the tree's root key and the authority, and asks the one in between.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::authority::{Authority, Identity, Validity};
use crate::dialogue;
use crate::hostile::{Conversation, HostilePeer, Manner};
use crate::letter::{Letter, Octets};
use crate::meddler::Meddler;
use crate::patience::{USUAL, wait_for};
use crate::peers::unbound::Validation;
use crate::peers::{Host, Signing, Tree, Unbound, Zone};
use crate::place::{Place, write};
use crate::policy_host::{Page, PolicyHost};
use crate::sealpost::{Sealpost, Setup};

/// The domain of the Sealpost under test.
pub const OURS: &str = "ours.test";

/// After this long no resolver and no server remembers an answer: records and denials hold for a second.
pub const NAMES_FORGOTTEN: Duration = Duration::from_millis(2_200);

/// What is to be built.
pub struct Sketch {
    /// Addresses and folders.
    pub place: Place,
    /// Trusted by all honest programs of the laboratory.
    pub authority: Authority,
    /// Where the resolver that checks will be, for other programs.
    pub checking: IpAddr,
    zones: Vec<Zone>,
    ours: String,
}

/// What stands.
pub struct Laboratory {
    /// The server under test.
    pub sealpost: Sealpost,
    /// Between it and the resolver.
    pub meddler: Meddler,
    /// The zones.
    pub tree: Tree,
    /// The resolver behind the meddler: it hands on what is bogus as well.
    pub unbound: Unbound,
    /// A resolver that checks, for other programs.
    pub checking: Unbound,
    /// Trusted by all honest programs of the laboratory.
    pub authority: Authority,
    /// Addresses and folders.
    pub place: Place,
}

impl Sketch {
    /// An empty one.
    pub fn new(test: &str) -> Sketch {
        let place = Place::new(test);
        Sketch {
            checking: place.address(),
            place,
            authority: Authority::new("Laboratory Root"),
            zones: Vec::new(),
            ours: String::new(),
        }
    }

    /// Adds records to the zone of the server under test, which is signed.
    pub fn ours(&mut self, records: &str) {
        self.ours += records;
    }

    /// An honest identity for a name.
    pub fn identity(&self, name: &str) -> Arc<Identity> {
        self.authority.issue(&[name], Validity::Valid)
    }

    /// Adds a zone with these records.
    pub fn zone(&mut self, name: &str, signing: Signing, records: &str) {
        self.zones.push(Zone::new(name, signing, records));
    }

    /// Adds records to the zone that encloses a name.
    pub fn records(&mut self, name: &str, records: &str) {
        let absolute = format!(".{}.", name.trim_end_matches('.'));
        let enclosing = |zone: &&mut Zone| absolute.ends_with(&format!(".{}", zone.name));
        let found = self
            .zones
            .iter_mut()
            .filter(enclosing)
            .max_by_key(|zone| zone.name.len());
        found.unwrap_or_else(|| panic!("no zone for {name}")).records += records;
    }

    /// Adds a domain, in a zone that is there, with one exchanger, `mx.` and the domain, that behaves so, and whose TLSA records hold
    /// `tlsa`.
    pub fn peer(&mut self, domain: &str, manner: Manner, tlsa: &[String]) -> HostilePeer {
        let (name, address) = (format!("mx.{domain}"), self.place.address());
        self.domain(domain, address, tlsa);
        HostilePeer::start(address, &name, manner)
    }

    /// The same records for a host that is started elsewhere.
    pub fn domain(&mut self, domain: &str, address: IpAddr, tlsa: &[String]) {
        let name = format!("mx.{domain}");
        let mut records = format!("{domain}. MX 10 {name}.\n{name}. A {address}\n");
        for data in tlsa {
            records += &format!("_25._tcp.{name}. TLSA {data}\n");
        }
        self.records(domain, &records);
    }

    /// Gives a domain, in a zone that is there, an MTA-STS record with the id `1` and a policy host that shows the page.
    pub fn policy(&mut self, domain: &str, page: Page) -> PolicyHost {
        let (name, address) = (format!("mta-sts.{domain}"), self.place.address());
        self.records(
            domain,
            &format!("{name}. A {address}\n{}", sts_record(domain, "1")),
        );
        PolicyHost::start(address, &self.identity(&name), page)
    }

    /// Builds it. `setup` is added to what makes Sealpost believe the tree and the authority.
    pub fn start(mut self, setup: Setup<'_>) -> Laboratory {
        let place = self.place;
        let (knot, resolver) = (place.address(), place.address());
        let ours = Host::new(&place, OURS, resolver);
        self.zones.push(Zone::new(
            &format!("{OURS}."),
            Signing::Nsec,
            &(ours.records() + &self.ours),
        ));
        let tree = Tree::start(&place.subfolder("knot"), knot, &self.zones);
        let unbound = |folder: &str, address, validation| {
            Unbound::start(&place.subfolder(folder), address, &tree, validation)
        };
        let hands_on = unbound("hands-on", place.address(), Validation::HandsOn);
        let checks = unbound("checks", self.checking, Validation::Checks);
        let meddler = Meddler::start(resolver, hands_on.address());
        let roots = place.folder().join("roots.pem");
        write(&roots, self.authority.pem());
        let dns = format!(
            "dnssec = \"validate\"\ntrust_anchor_file = \"{}\"\nattempts = 1\ntimeout = \"4s\"\ndenial_time_max = \"1s\"\n{}",
            tree.anchor().display(),
            setup.dns
        );
        // First, so that what follows may add tables of its own to the section.
        let more = format!("[tls]\nca_file = \"{}\"\n\n{}", roots.display(), setup.more);
        let route = format!(
            "connect_wait = \"3s\"\nhandshake_wait = \"2s\"\nidle_wait = \"1s\"\n{}",
            setup.route
        );
        let sealpost = Sealpost::start(
            ours,
            Setup {
                dns: &dns,
                more: &more,
                route: &route,
                ..setup
            },
        );
        Laboratory {
            sealpost,
            meddler,
            tree,
            unbound: hands_on,
            checking: checks,
            authority: self.authority,
            place,
        }
    }
}

impl Laboratory {
    /// Hands a letter to Sealpost.
    pub fn send(&self, id: &str, recipient: &str) {
        let letter = Letter::new(id, &format!("you@{OURS}"), &[recipient], 2_000, Octets::Ascii);
        dialogue::hand_in(self.sealpost.port(25), &letter);
    }

    /// What the queue tells of a recipient, while it waits.
    pub fn waiting(&self, recipient: &str) -> Option<Value> {
        let queue = self.sealpost.json(&["queue", "list"]);
        let entries = queue.as_array().into_iter().flatten();
        let recipients = entries.flat_map(|entry| entry["recipients"].as_array().into_iter().flatten());
        let mut of = recipients.filter(|waiting| waiting["address"] == recipient);
        of.next().cloned()
    }

    /// Removes all that waits.
    pub fn delete_all(&self) {
        let queue = self.sealpost.json(&["queue", "list"]);
        for entry in queue.as_array().into_iter().flatten() {
            let id = entry["id"].as_str().expect("each message has a name");
            self.sealpost.command(&["queue", "delete", id]);
        }
    }

    /// Waits until a recipient still waits after an attempt, and gives what the queue tells of it then.
    pub fn put_off(&self, recipient: &str) -> Value {
        wait_for(&format!("{recipient} to be put off"), USUAL, || {
            self.waiting(recipient)
                .filter(|waiting| waiting["attempts"].as_u64() > Some(0) && !waiting["because"].is_null())
        })
    }

    /// Waits until a letter is with a peer, and says whether it came inside TLS.
    pub fn arrives(&self, peer: &HostilePeer, id: &str) -> bool {
        self.arrives_within(peer, id, USUAL)
    }

    /// The same with other patience.
    pub fn arrives_within(&self, peer: &HostilePeer, id: &str, patience: Duration) -> bool {
        wait_for(&format!("letter {id}"), patience, || {
            peer.letters()
                .into_iter()
                .find(|(arrived, _)| arrived == id)
                .map(|(_, inside)| inside)
        })
    }

    /// The log's lines about attempts at hosts of a domain, in order.
    pub fn attempts(&self, domain: &str) -> Vec<String> {
        let mark = format!("domain={domain} ");
        let logged = self.sealpost.logged();
        let lines = logged
            .lines()
            .filter(|line| line.contains(&mark) && line.contains(" outcome="));
        lines.map(str::to_owned).collect()
    }

    /// Whether any letter came to the sender that is a report.
    pub fn reports(&self) -> Vec<String> {
        let arrived = crate::mailbox::all(&self.sealpost.mail()).into_iter();
        let texts = arrived.map(|found| String::from_utf8_lossy(&found.octets).into_owned());
        texts
            .filter(|text| text.contains("report-type=delivery-status"))
            .collect()
    }
}

/// A domain's MTA-STS record (RFC 8461 §3.1).
pub fn sts_record(domain: &str, id: &str) -> String {
    format!("_mta-sts.{domain}. TXT \"v=STSv1; id={id};\"\n")
}

/// A policy (RFC 8461 §3.2).
pub fn policy(mode: &str, hosts: &[&str]) -> String {
    let hosts: String = hosts.iter().map(|host| format!("mx: {host}\r\n")).collect();
    format!("version: STSv1\r\nmode: {mode}\r\n{hosts}max_age: 86400\r\n")
}

/// Waits until a peer had a conversation that is over, and gives all it had.
pub fn after_a_conversation(peer: &HostilePeer) -> Vec<Conversation> {
    wait_for("a conversation to be over", USUAL, || {
        let conversations = peer.conversations();
        let over = !conversations.is_empty() && conversations.iter().all(|conversation| conversation.closed);
        over.then_some(conversations)
    })
}
