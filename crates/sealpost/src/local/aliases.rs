//! Who an address stands for: aliases, lists, sub-addresses, catch-alls, mailboxes (RFC 5321 §3.9).
//!
//! Plain look-ups in parsed tables. Never reads or writes a mailbox.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use mail::{Domain, Host, Mailbox, ReversePath};

use crate::config::local::{Domains, Local};

use super::tables::{
    Alias, BadLocal, Key, Users, fold, parse_aliases, parse_catch_alls, parse_users, read_alias_file,
};

/// The parsed `[local]` section: every table by folded name.
#[derive(Clone, Debug)]
pub struct Directory {
    me: Domain,
    /// This host's own addresses, for address literals.
    addresses: Vec<IpAddr>,
    domains: Domains,
    users: Users,
    aliases: BTreeMap<Key, Alias>,
    catch_all: BTreeMap<Option<Host>, Alias>,
    delimiter: String,
    root: PathBuf,
    expansion_max: usize,
}

/// What this host knows of an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Knows {
    /// Its mail is taken here.
    Known,
    /// The domain is ours and has no such user: 550 5.1.1.
    Unknown,
    /// The domain is not ours.
    Elsewhere,
}

/// What an address comes to, all aliases followed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Expansion {
    /// Mailboxes here, each once.
    pub maildirs: Vec<Place>,
    /// Addresses to send on to, each once, with the sender they go out under.
    pub onward: Vec<Onward>,
    /// Whether the address itself is a list, an alias, or a mailbox.
    pub shape: Shape,
}

/// One mailbox here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The address that led to it, for `Delivered-To:`.
    pub address: Mailbox,
    /// Its Maildir.
    pub path: PathBuf,
    /// The list owner who becomes the sender, if a list led here.
    pub owner: Option<Mailbox>,
}

/// One address elsewhere, or one here that does not exist (so that its failure is reported like any other).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Onward {
    /// Where to.
    pub address: Mailbox,
    /// The list owner who becomes the sender, if a list led here.
    pub owner: Option<Mailbox>,
}

/// What kind of address was expanded; it decides what is reported (RFC 3461 §5.2.7).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Shape {
    /// A mailbox of this host.
    #[default]
    Mailbox,
    /// An alias for exactly one address (§5.2.7.2).
    OneAlias,
    /// An alias for several (§5.2.7.3).
    ManyAlias,
    /// A list with an owner (§5.2.7.1).
    List,
}

/// Why an address could not be expanded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoExpansion {
    /// The domain is ours, the user is not: 5.1.1.
    Unknown,
    /// Aliases lead only back to themselves: 5.4.6.
    Loop,
    /// More than `expansion_max` addresses: 4.3.5, for the operator.
    TooMany(usize),
}

enum Found<'d> {
    Alias(Key, &'d Alias),
    Maildir(PathBuf),
}

impl Directory {
    /// Parses the section. `me` is this server's name, `root` the folder of Maildirs without a place of their own,
    /// and `alias_lines` the text of `alias_file`, empty if there is none.
    pub fn build(local: &Local, me: &Domain, root: &Path, alias_lines: &str) -> Result<Directory, BadLocal> {
        let mut aliases = parse_aliases(&local.aliases)?;
        for (key, alias) in read_alias_file(alias_lines)? {
            aliases.entry(key).or_insert(alias);
        }
        let directory = Directory {
            me: me.clone(),
            addresses: Vec::new(),
            domains: local.domains.clone(),
            users: parse_users(&local.mailboxes)?,
            aliases,
            catch_all: parse_catch_alls(&local.catch_all)?,
            delimiter: local.delimiter.clone(),
            root: root.to_owned(),
            expansion_max: local.expansion_max,
        };
        Ok(directory)
    }

    /// Also serves address literals of this host (RFC 5321 §4.1.3).
    pub fn with_addresses(mut self, addresses: Vec<IpAddr>) -> Directory {
        self.addresses = addresses;
        self
    }

    /// Whether mail for this host's domain stays here. This server's own name is always one of them: reports and what
    /// programs on this machine write come from there (RFC 5321 §4.5.1).
    pub fn serves(&self, host: &Host) -> bool {
        match (&self.domains, host) {
            (Domains::Every, _) => true,
            (Domains::These(domains), Host::Name(name)) => *name == self.me || domains.contains(name),
            (Domains::These(_), Host::Literal(address)) => self.addresses.contains(&address.to_canonical()),
        }
    }

    /// Whether the address is local.
    pub fn is_local(&self, mailbox: &Mailbox) -> bool {
        self.serves(mailbox.host())
    }

    /// What is known of an address, for the answer to RCPT.
    pub fn knows(&self, mailbox: &Mailbox) -> Knows {
        if !self.is_local(mailbox) {
            return Knows::Elsewhere;
        }
        match self.find(mailbox, &BTreeSet::new()) {
            Some(_) => Knows::Known,
            None => Knows::Unknown,
        }
    }

    /// Follows all aliases from a local address to mailboxes and addresses elsewhere.
    pub fn expand(&self, mailbox: &Mailbox) -> Result<Expansion, NoExpansion> {
        let mut walk = Walk::default();
        let shape = match self.find(mailbox, &BTreeSet::new()) {
            None => return Err(NoExpansion::Unknown),
            Some(Found::Maildir(_)) => Shape::Mailbox,
            Some(Found::Alias(_, alias)) if alias.owner.is_some() => Shape::List,
            Some(Found::Alias(..)) => Shape::ManyAlias, // or one, seen when all is followed
        };
        walk.open.push((mailbox.clone(), None));
        while let Some((address, owner)) = walk.open.pop() {
            self.follow(address, owner, &mut walk);
            if walk.size() > self.expansion_max {
                return Err(NoExpansion::TooMany(self.expansion_max));
            }
        }
        let Walk { maildirs, onward, .. } = walk;
        let shape = match (shape, maildirs.len() + onward.len()) {
            (_, 0) => return Err(NoExpansion::Loop),
            (Shape::ManyAlias, 1) => Shape::OneAlias,
            (shape, _) => shape,
        };
        Ok(Expansion {
            maildirs,
            onward,
            shape,
        })
    }

    /// Every Maildir with a folder of its own, and the folder that holds all others as `DOMAIN/USER`.
    pub fn places(&self) -> (&Path, Vec<&Path>) {
        let own = match &self.users {
            Users::Any => Vec::new(),
            Users::Named(named) => named.values().flatten().map(PathBuf::as_path).collect(),
        };
        (&self.root, own)
    }

    /// One step of an expansion.
    fn follow(&self, address: Mailbox, owner: Option<Mailbox>, walk: &mut Walk) {
        if !self.is_local(&address) {
            return walk.send_on(address, owner);
        }
        match self.find(&address, &walk.seen) {
            Some(Found::Maildir(path)) => walk.deliver(address, path, owner),
            // Every name is opened once: a name that comes up again stands for its mailbox (`ann = ["ann", …]`).
            Some(Found::Alias(key, alias)) => {
                walk.seen.insert(key);
                let owner = match &alias.owner {
                    Some(target) => Some(target.at(address.host())),
                    None => owner,
                };
                // Pushed backwards so that they come out in the order written.
                for target in alias.to.iter().rev() {
                    walk.open.push((target.at(address.host()), owner.clone()));
                }
            }
            None if self.find(&address, &BTreeSet::new()).is_some() => {} // a loop: its other members count
            None => walk.send_on(address, owner),
        }
    }

    /// What a local address leads to; aliases in `seen` are passed over.
    fn find(&self, mailbox: &Mailbox, seen: &BTreeSet<Key>) -> Option<Found<'_>> {
        let whole = fold(mailbox.local().as_str());
        let user = self.without_detail(&whole);
        let host = mailbox.host();
        let mut names = vec![whole.as_str()];
        if user != whole {
            names.push(user);
        }
        for name in &names {
            if let Some(found) = self.alias(name, host, seen) {
                return Some(found);
            }
            if let Some(path) = self.named_maildir(name, host) {
                return Some(Found::Maildir(path));
            }
        }
        // Machines write to root, and someone must read it.
        if user == "root" && host.name() == Some(&self.me) && matches!(self.users, Users::Named(_)) {
            let postmaster = "postmaster";
            return (self.alias(postmaster, host, seen))
                .or_else(|| self.named_maildir(postmaster, host).map(Found::Maildir))
                .or_else(|| Some(Found::Maildir(self.usual_place(postmaster, host))));
        }
        // RFC 5321 §4.5.1: postmaster exists in every served domain, whoever was forgotten.
        if matches!(self.users, Users::Any) || user == "postmaster" {
            return Some(Found::Maildir(self.usual_place(user, host)));
        }
        self.catch_all(host, seen)
    }

    fn alias(&self, name: &str, host: &Host, seen: &BTreeSet<Key>) -> Option<Found<'_>> {
        for key in [(name.to_owned(), Some(host.clone())), (name.to_owned(), None)] {
            if let Some(alias) = self.aliases.get(&key).filter(|_| !seen.contains(&key)) {
                return Some(Found::Alias(key, alias));
            }
        }
        None
    }

    fn named_maildir(&self, name: &str, host: &Host) -> Option<PathBuf> {
        let Users::Named(named) = &self.users else {
            return None;
        };
        let path = named
            .get(&(name.to_owned(), Some(host.clone())))
            .or_else(|| named.get(&(name.to_owned(), None)))?;
        Some(path.clone().unwrap_or_else(|| self.usual_place(name, host)))
    }

    fn catch_all(&self, host: &Host, seen: &BTreeSet<Key>) -> Option<Found<'_>> {
        let alias = self
            .catch_all
            .get(&Some(host.clone()))
            .or_else(|| self.catch_all.get(&None))?;
        let key = ("@".to_owned(), Some(host.clone())); // no user is called so
        (!seen.contains(&key)).then_some(Found::Alias(key, alias))
    }

    /// `DOMAIN/USER` below the root, spelled so that no name can leave it or meet another.
    fn usual_place(&self, user: &str, host: &Host) -> PathBuf {
        self.root
            .join(folder_name(&host.to_string()))
            .join(folder_name(user))
    }

    fn without_detail<'n>(&self, name: &'n str) -> &'n str {
        match name.split_once(self.delimiter.as_str()) {
            Some((user, _)) if !self.delimiter.is_empty() && !user.is_empty() => user,
            _ => name,
        }
    }
}

/// The state of one expansion.
#[derive(Default)]
struct Walk {
    open: Vec<(Mailbox, Option<Mailbox>)>,
    seen: BTreeSet<Key>,
    maildirs: Vec<Place>,
    onward: Vec<Onward>,
    reached: BTreeSet<(PathBuf, Option<Mailbox>)>,
}

impl Walk {
    fn size(&self) -> usize {
        self.open.len() + self.maildirs.len() + self.onward.len()
    }

    fn deliver(&mut self, address: Mailbox, path: PathBuf, owner: Option<Mailbox>) {
        if self.reached.insert((path.clone(), None)) {
            self.maildirs.push(Place { address, path, owner });
        }
    }

    fn send_on(&mut self, address: Mailbox, owner: Option<Mailbox>) {
        if self.reached.insert((PathBuf::new(), Some(address.clone()))) {
            self.onward.push(Onward { address, owner });
        }
    }
}

/// The sender that a message goes on under.
pub fn sender_of(owner: Option<&Mailbox>, original: &ReversePath) -> ReversePath {
    match owner {
        Some(owner) if *original != ReversePath::Null => ReversePath::Mailbox(owner.clone()),
        // RFC 5321 §4.5.5: a null sender stays null, or reports would be answered with reports.
        _ => original.clone(),
    }
}

/// A name for a folder that stands for exactly one text: lower-case letters, digits and a few signs stay, every
/// other octet becomes `%XX`. Longer than a folder may be: `%=` and all of it in hexadecimal.
fn folder_name(text: &str) -> String {
    let mut name = String::new();
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'_' | b'+' => name.push(char::from(byte)),
            // Not in front: no hidden names, no `.` or `..`, nothing that looks like an option.
            b'.' | b'-' if at > 0 => name.push(char::from(byte)),
            _ => name.push_str(&format!("%{byte:02x}")),
        }
    }
    if name.len() <= FOLDER_BYTES_MAX {
        return name;
    }
    let hex: String = text.bytes().map(|byte| format!("{byte:02x}")).collect();
    format!("%={hex}")
}

/// Linux allows 255 octets.
const FOLDER_BYTES_MAX: usize = 253;

#[cfg(test)]
mod tests {
    use super::*;

    const ROOT: &str = "/mail";

    fn directory(section: &str, alias_lines: &str) -> Directory {
        let local: Local = toml::from_str(section).unwrap();
        let me = Domain::parse("mx.example").unwrap();
        Directory::build(&local, &me, Path::new(ROOT), alias_lines).unwrap()
    }

    fn usual() -> Directory {
        directory(
            r#"
            domains = ["x.example", "y.example"]
            mailboxes = { ann = "", "bob@x.example" = "/srv/bob/Maildir", "Odd.Name" = "" }
            [aliases]
            info = "ann"
            all = ["ann", "bob@x.example", "eve@far.example"]
            ann2 = ["ann2", "eve@far.example"]
            far = "eve@far.example"
            chain = "all"
            ping = "pong"
            pong = "ping"
            typo = ["ann", "nobody"]
            team = { to = ["ann", "eve@far.example"], owner = "bob@x.example" }
            club = { to = ["team", "zoe@far.example"], owner = "ann" }
            "only@y.example" = "ann@x.example"
            [catch_all]
            "y.example" = "ann@x.example"
            "#,
            "",
        )
    }

    /// Mailboxes as paths, then addresses to send on to, each with its owner.
    fn expand(directory: &Directory, address: &str) -> (Vec<String>, Vec<String>, Shape) {
        let expansion = directory.expand(&Mailbox::parse(address).unwrap()).unwrap();
        let owner = |owner: &Option<Mailbox>| {
            owner
                .as_ref()
                .map(|owner| format!(" by {owner}"))
                .unwrap_or_default()
        };
        (
            expansion
                .maildirs
                .iter()
                .map(|p| format!("{}{}", p.path.display(), owner(&p.owner)))
                .collect(),
            expansion
                .onward
                .iter()
                .map(|o| format!("{}{}", o.address, owner(&o.owner)))
                .collect(),
            expansion.shape,
        )
    }

    fn check(address: &str, maildirs: &[&str], onward: &[&str], shape: Shape) {
        let (found, sent, found_shape) = expand(&usual(), address);
        assert_eq!(found, maildirs, "{address}");
        assert_eq!(sent, onward, "{address}");
        assert_eq!(found_shape, shape, "{address}");
    }

    // proves: 5321-4.1.2-1
    #[test]
    fn mailboxes_by_any_spelling() {
        let ann = ["/mail/x.example/ann"];
        check("ann@x.example", &ann, &[], Shape::Mailbox);
        check("\"ann\"@x.example", &ann, &[], Shape::Mailbox);
        check("\"a\\nn\"@X.EXAMPLE", &ann, &[], Shape::Mailbox);
        check("ANN@x.example", &ann, &[], Shape::Mailbox);
        check("ann+lists@x.example", &ann, &[], Shape::Mailbox);
        check("ann@y.example", &["/mail/y.example/ann"], &[], Shape::Mailbox);
        check("bob@x.example", &["/srv/bob/Maildir"], &[], Shape::Mailbox);
        check(
            "odd.name@x.example",
            &["/mail/x.example/odd.name"],
            &[],
            Shape::Mailbox,
        );
    }

    // proves: 5321-3.9-1
    #[test]
    fn aliases_and_lists() {
        let ann = "/mail/x.example/ann";
        check("info@x.example", &[ann], &[], Shape::OneAlias);
        check("Info+x@x.example", &[ann], &[], Shape::OneAlias);
        check("far@x.example", &[], &["eve@far.example"], Shape::OneAlias);
        let all = [ann, "/srv/bob/Maildir"];
        check("all@x.example", &all, &["eve@far.example"], Shape::ManyAlias);
        check("chain@x.example", &all, &["eve@far.example"], Shape::ManyAlias);
        // A member that does not exist is sent on to itself, so that its failure is reported like any other.
        check("typo@x.example", &[ann], &["nobody@x.example"], Shape::ManyAlias);
        check("only@y.example", &[ann], &[], Shape::OneAlias);
        check("who@y.example", &[ann], &[], Shape::OneAlias);
        let by_bob = ["/mail/x.example/ann by bob@x.example"];
        check(
            "team@x.example",
            &by_bob,
            &["eve@far.example by bob@x.example"],
            Shape::List,
        );
        let members = [
            "eve@far.example by bob@x.example",
            "zoe@far.example by ann@x.example",
        ];
        check("club@x.example", &by_bob, &members, Shape::List);
    }

    #[test]
    fn an_alias_that_names_itself_means_its_mailbox() {
        let directory = directory(
            "domains = [\"x.example\"]\nmailboxes = [\"ann\"]\n[aliases]\nann = [\"ann\", \"eve@far.example\"]",
            "",
        );
        let (maildirs, onward, _) = expand(&directory, "ann@x.example");
        assert_eq!(
            (maildirs[0].as_str(), onward[0].as_str()),
            ("/mail/x.example/ann", "eve@far.example")
        );
    }

    #[test]
    fn loops_and_floods_end() {
        let directory = usual();
        let ping = Mailbox::parse("ping@x.example").unwrap();
        assert_eq!(directory.expand(&ping), Err(NoExpansion::Loop));
        let many: Vec<String> = (0..50).map(|n| format!("\"u{n}@far.example\"")).collect();
        let text = format!(
            "domains = [\"x.example\"]\nexpansion_max = 20\n[aliases]\nall = [{}]",
            many.join(",")
        );
        let all = Mailbox::parse("all@x.example").unwrap();
        assert_eq!(
            super::tests::directory(&text, "").expand(&all),
            Err(NoExpansion::TooMany(20))
        );
    }

    // proves: 5321-4.5.1-2
    #[test]
    fn what_is_known() {
        let directory = usual();
        let rows = [
            ("ann@x.example", Knows::Known),
            ("info+y@x.example", Knows::Known),
            ("nobody@x.example", Knows::Unknown),
            ("bob@y.example", Knows::Known), // by the catch-all
            ("bob+a@x.example", Knows::Known),
            ("+ann@x.example", Knows::Unknown),
            ("PostMaster@x.example", Knows::Known),
            ("postMASTER@y.example", Knows::Known),
            ("postmaster@MX.example", Knows::Known), // this server's own
            ("ann@mx.example", Knows::Known),
            ("nobody@mx.example", Knows::Unknown),
            ("root@mx.example", Knows::Known),
            ("root@x.example", Knows::Unknown),
            ("ann@far.example", Knows::Elsewhere),
            ("ann@[127.0.0.1]", Knows::Elsewhere),
        ];
        for (address, expected) in rows {
            assert_eq!(
                directory.knows(&Mailbox::parse(address).unwrap()),
                expected,
                "{address}"
            );
        }
    }

    #[test]
    fn without_a_configuration_every_name_has_a_mailbox() {
        let local = Local::keep_everything();
        let me = Domain::parse("mx.example").unwrap();
        let directory = Directory::build(&local, &me, Path::new(ROOT), "").unwrap();
        for (address, path) in [
            ("you@anything.test", "/mail/anything.test/you"),
            ("You+tag@Anything.test", "/mail/anything.test/you"),
            ("a@[127.0.0.1]", "/mail/%5b127.0.0.1%5d/a"),
            (
                "\"../../etc/passwd\"@a.test",
                "/mail/a.test/%2e.%2f..%2fetc%2fpasswd",
            ),
            ("\"a b\"@a.test", "/mail/a.test/a%20b"),
            ("\"%20\"@a.test", "/mail/a.test/%2520"),
            ("-rf@a.test", "/mail/a.test/%2drf"),
        ] {
            assert_eq!(expand(&directory, address).0, [path], "{address}");
        }
    }

    #[test]
    fn no_name_leaves_its_folder() {
        for text in [
            ".",
            "..",
            "/",
            "a/b",
            "\u{0}",
            "é",
            "ſ",
            "\"",
            "*",
            "~",
            "",
            &"ß".repeat(200),
            &"/".repeat(100),
        ] {
            let name = folder_name(text);
            assert!(
                !name.starts_with('.') && !name.contains('/') && name.len() <= 255 * 4,
                "{name}"
            );
            assert!(name.is_ascii() && !name.contains('\0'));
        }
        let longest = "Ⱥ".repeat(32).to_lowercase(); // 64 octets that grow to 96
        assert!(folder_name(&longest).len() <= 255);
    }

    #[test]
    fn the_alias_file() {
        let lines = "# comment\npostmaster: ann\n\nteam:  ann,\n\teve@far.example\nowner-team: bob@x.example\n\
                     \"odd: name\": \"a,b\"@far.example\n";
        let directory = directory("domains = [\"x.example\"]\nmailboxes = [\"ann\", \"bob\"]", lines);
        assert_eq!(
            expand(&directory, "postmaster@x.example").0,
            ["/mail/x.example/ann"]
        );
        let (maildirs, onward, shape) = expand(&directory, "team@x.example");
        assert_eq!(shape, Shape::List);
        assert_eq!(maildirs, ["/mail/x.example/ann by owner-team@x.example"]);
        assert_eq!(onward, ["eve@far.example by owner-team@x.example"]);
        assert_eq!(
            expand(&directory, "\"odd: name\"@x.example").1,
            ["\"a,b\"@far.example"]
        );
    }

    #[test]
    fn what_cannot_be_served_is_named() {
        let local = Local::default();
        let me = Domain::parse("mx.example").unwrap();
        for (lines, word) in [
            ("a: |/bin/sh", "line 1"),
            ("\na: /var/mail/a", "line 2"),
            ("a: :include:/x", "includes"),
            ("a", "colon"),
            ("a:", "nobody"),
            ("a: b@", "b@"),
        ] {
            let error = Directory::build(&local, &me, Path::new(ROOT), lines).unwrap_err();
            assert!(error.0.contains(word), "{lines:?}: {error}");
        }
    }
}
