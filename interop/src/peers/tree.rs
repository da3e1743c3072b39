//! A tree of zones under a private root, on one Knot: each zone signed as it is told, so that every fate of a signature has a name.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::shown;
use crate::enclosure::{Enclosure, Plan, run};
use crate::packages::Unpacked;
use crate::patience::USUAL;
use crate::place::{make_folder, write};

/// Before every key's first use: so that a zone can be signed as of a time long past.
const KEYS_SINCE: u64 = 1_700_000_000;
/// How long signatures hold (the policy's `rrsig-lifetime`), and how old those of an expired zone are.
const EXPIRED_AGE: Duration = Duration::from_secs(40 * 24 * 3600);
/// Of all records: answers are forgotten before a test looks again.
const TTL_SECONDS: u32 = 1;

/// How a zone is signed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signing {
    /// Not at all, and its parent proves so.
    Unsigned,
    /// By Knot while it serves, denials by NSEC.
    Nsec,
    /// The same, denials by NSEC3.
    Nsec3,
    /// By Knot, under a DS record that fits no key: every answer is bogus.
    WrongDs,
    /// Once, so long ago that every signature has expired.
    Expired,
}

/// A zone to be served.
#[derive(Clone, Debug)]
pub struct Zone {
    /// Its absolute name, for example `a.test.`.
    pub name: String,
    /// How it is signed.
    pub signing: Signing,
    /// One a line: absolute names with a dot behind them, no TTL, no class. Without SOA and the zone's own NS.
    pub records: String,
}

/// A Knot that serves a root, `test.` and the zones below.
pub struct Tree {
    files: Files,
    enclosure: Enclosure,
}

/// What lies in the tree's folder.
struct Files {
    address: IpAddr,
    folder: PathBuf,
    program: PathBuf,
    zones: BTreeMap<String, Zone>,
    serials: BTreeMap<String, u32>,
    /// The DS records of each signed zone's key.
    ds: BTreeMap<String, Vec<String>>,
}

impl Zone {
    /// A zone with these records.
    pub fn new(name: &str, signing: Signing, records: &str) -> Zone {
        Zone {
            name: name.to_owned(),
            signing,
            records: records.to_owned(),
        }
    }
}

impl Tree {
    /// Serves the zones on port 53 of `address`. The root and `test.` need not be named; both are signed.
    pub fn start(folder: &Path, address: IpAddr, zones: &[Zone]) -> Tree {
        let files = Files::prepare(folder, address, zones);
        let configuration = shown(&files.configuration());
        let enclosure =
            Plan::new(folder, address).start("Knot", &files.program.join("knotd"), &["-c", &configuration]);
        enclosure.wait_for_port(SocketAddr::new(address, 53));
        enclosure.wait_for_words("server started", USUAL);
        Tree { files, enclosure }
    }

    /// Where it answers.
    pub fn address(&self) -> IpAddr {
        self.files.address
    }

    /// The names of all zones.
    pub fn zones(&self) -> impl Iterator<Item = &str> {
        self.files.zones.keys().map(String::as_str)
    }

    /// The root's key, as `[dns] trust_anchor_file` and Unbound's `trust-anchor-file` want it.
    pub fn anchor(&self) -> PathBuf {
        self.files.folder.join("anchor")
    }

    /// Gives a zone other records, signed anew as before, and returns when they are served.
    pub fn change(&mut self, name: &str, records: &str) {
        let zone = self
            .files
            .zones
            .get_mut(name)
            .unwrap_or_else(|| panic!("no zone {name}"));
        records.clone_into(&mut zone.records);
        self.files.write_zone(name);
        let knotc = self.files.program.join("knotc");
        let configuration = shown(&self.files.configuration());
        self.enclosure
            .run(&knotc, &["-c", &configuration, "-b", "zone-reload", name]);
    }

    /// Its log so far.
    pub fn logged(&self) -> String {
        self.enclosure.logged()
    }
}

impl Files {
    fn prepare(folder: &Path, address: IpAddr, zones: &[Zone]) -> Files {
        make_folder(&folder.join("state"));
        let always = [".", "test."].map(|name| (name.to_owned(), Zone::new(name, Signing::Nsec, "")));
        let mut all = BTreeMap::from(always);
        all.extend(zones.iter().map(|zone| (zone.name.clone(), zone.clone())));
        let mut files = Files {
            address,
            folder: folder.to_path_buf(),
            program: Unpacked::Knot.folder().join("usr/sbin"),
            serials: BTreeMap::new(),
            zones: all,
            ds: BTreeMap::new(),
        };
        write(&files.keys(), files.configuration_text(Purpose::Keys));
        write(&files.configuration(), files.configuration_text(Purpose::Serving));
        let names: Vec<String> = files.zones.keys().cloned().collect();
        for name in &names {
            files.make_key(name);
        }
        for name in &names {
            files.write_zone(name);
        }
        // keymgr leaves out what some readers want of a record: its TTL and class.
        let key = files.keymgr(".", &["dnskey"]);
        write(
            &folder.join("anchor"),
            key.replacen(". DNSKEY", ". 3600 IN DNSKEY", 1),
        );
        files
    }

    fn keys(&self) -> PathBuf {
        self.folder.join("keys.conf")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.join("knot.conf")
    }

    fn zone_file(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}zone"))
    }

    fn make_key(&mut self, name: &str) {
        if self.zones[name].signing == Signing::Unsigned {
            return;
        }
        let since = KEYS_SINCE.to_string();
        let times = ["created", "publish", "ready", "active"].map(|time| format!("{time}={since}"));
        let mut arguments = vec!["generate", "algorithm=ecdsap256sha256", "ksk=yes", "zsk=yes"];
        arguments.extend(times.iter().map(String::as_str));
        self.keymgr(name, &arguments);
        let ds = self.keymgr(name, &["ds"]).lines().map(str::to_owned).collect();
        self.ds.insert(name.to_owned(), ds);
    }

    fn keymgr(&self, zone: &str, arguments: &[&str]) -> String {
        let mut command = Command::new(self.program.join("keymgr"));
        let output = run(command.arg("-c").arg(self.keys()).arg(zone).args(arguments));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Writes a zone under its next serial, with the delegations to the zones right below it.
    fn write_zone(&mut self, name: &str) {
        let serial = self.serials.entry(name.to_owned()).or_insert(0);
        *serial += 1;
        let mut text = format!(
            "$TTL {TTL_SECONDS}\n{name} SOA ns.test. lab.test. {serial} 60 60 600 {TTL_SECONDS}\n{name} NS ns.test.\n"
        );
        if [".", "test."].contains(&name) {
            text += &format!("ns.test. A {}\n", self.address);
        }
        for below in self
            .zones
            .values()
            .filter(|zone| self.parent_of(&zone.name) == Some(name))
        {
            text += &self.delegation(below);
        }
        text += &self.zones[name].records;
        write(&self.zone_file(name), text);
        if self.zones[name].signing == Signing::Expired {
            self.sign_long_ago(name);
        }
    }

    fn parent_of(&self, name: &str) -> Option<&str> {
        let above =
            |zone: &&String| zone.as_str() != name && (*zone == "." || name.ends_with(&format!(".{zone}")));
        self.zones
            .keys()
            .filter(above)
            .max_by_key(|zone| zone.len())
            .map(String::as_str)
    }

    fn delegation(&self, zone: &Zone) -> String {
        let mut text = format!("{} NS ns.test.\n", zone.name);
        for ds in self.ds.get(&zone.name).into_iter().flatten() {
            match zone.signing {
                Signing::WrongDs => {
                    let digest_at = ds.rfind(' ').expect("a DS record ends with its digest") + 1;
                    text += &format!(
                        "{}{}\n",
                        &ds[..digest_at],
                        "ab".repeat((ds.len() - digest_at) / 2)
                    );
                }
                Signing::Unsigned | Signing::Nsec | Signing::Nsec3 | Signing::Expired => {
                    text += &format!("{ds}\n");
                }
            }
        }
        text
    }

    fn sign_long_ago(&self, name: &str) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
        let then = (now - EXPIRED_AGE).as_secs().to_string();
        let out = self.folder.join("expired");
        make_folder(&out);
        let kzonesign = Unpacked::KnotTools.folder().join("usr/bin/kzonesign");
        let mut command = Command::new(kzonesign);
        run(command
            .arg("-c")
            .arg(self.keys())
            .args(["-t", &then, "-o"])
            .arg(&out)
            .arg(name));
        let signed = out.join(format!("{name}zone"));
        std::fs::rename(&signed, self.zone_file(name))
            .unwrap_or_else(|error| panic!("kzonesign left no {}: {error}", signed.display()));
    }

    fn configuration_text(&self, purpose: Purpose) -> String {
        let state = shown(&self.folder.join("state"));
        let mut text = format!(
            "server:\n    rundir: {state}\n    listen: {}@53\n    udp-workers: 1\n    tcp-workers: 2\n    background-workers: 1
log:\n  - target: stderr\n    any: info\ndatabase:\n    storage: {state}\npolicy:\n",
            self.address
        );
        for (id, nsec3) in [("nsec", "off"), ("nsec3", "on")] {
            text += &format!(
                "  - id: {id}\n    algorithm: ecdsap256sha256\n    single-type-signing: on\n    manual: on\n    \
                 dnskey-ttl: {TTL_SECONDS}\n    zone-max-ttl: 5\n    nsec3: {nsec3}\n    nsec3-iterations: 0\n    nsec3-salt-length: 0\n"
            );
        }
        text += "zone:\n";
        for zone in self.zones.values() {
            text += &format!(
                "  - domain: {}\n    storage: {}\n    file: {}\n    zonefile-sync: -1\n    zonefile-load: difference-no-serial\n    \
                 journal-content: all\n",
                zone.name,
                shown(&self.folder),
                shown(&self.zone_file(&zone.name)),
            );
            let policy = match (zone.signing, purpose) {
                (Signing::Unsigned, _) | (Signing::Expired, Purpose::Serving) => continue,
                (Signing::Nsec3, _) => "nsec3",
                (Signing::Nsec | Signing::WrongDs, _) | (Signing::Expired, Purpose::Keys) => "nsec",
            };
            text += &format!("    dnssec-signing: on\n    dnssec-policy: {policy}\n");
        }
        text
    }
}

/// What a configuration is for: an expired zone has a key, and is not signed while it is served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Purpose {
    Keys,
    Serving,
}
