//! What the simulated world saw, and whether that is what must always be true.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::wire::{DOWN, UP, Wire, contains};

/// What is known of something that was asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Word {
    /// It was refused, or never said to its end.
    No,
    /// The reply was lost.
    Perhaps,
    /// 250.
    Yes,
}

/// A message that a client handed in, once.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Null is none.
    pub sender: Option<String>,
    pub content: Vec<u8>,
    /// For each recipient.
    pub words: BTreeMap<String, Word>,
    pub kept_as: Option<String>,
}

/// A message that a host took over, for one recipient.
#[derive(Clone)]
pub struct Delivery {
    pub id: u32,
    pub recipient: String,
    pub at: Instant,
    pub host: String,
    /// The final reply: the wire, and how far it must have been read for it to have arrived. None if it was never said.
    pub reply: Option<(Wire, u64)>,
}

/// One recipient's part of a report.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Told {
    pub id: u32,
    pub recipient: String,
    pub action: String,
    /// The report's own name: a report may arrive twice as any message.
    pub report: String,
    pub to: String,
}

/// A connection that the server made.
pub struct Dial {
    pub host: String,
    pub at: Instant,
    pub wire: Wire,
}

#[derive(Default)]
pub struct Ledger {
    pub sent: BTreeMap<u32, Sent>,
    pub deliveries: Vec<Delivery>,
    pub told: Vec<Told>,
    pub dials: Vec<Dial>,
    /// When the server ended, by a power cut or otherwise.
    pub ends: Vec<Instant>,
    /// When its disk refused something.
    pub disk_faults: Vec<Instant>,
    /// How often its wall clock was set. The wait for clear text is measured by that clock.
    pub clock_sets: u32,
    pub broken: Vec<String>,
    pub notes: Vec<String>,
}

/// The address behind an alias of the server.
pub fn targets(recipient: &str) -> Vec<String> {
    match recipient {
        "team@here.example" => vec!["bea@here.example".to_owned(), "team9@d0.example".to_owned()],
        other => vec![other.to_owned()],
    }
}

impl Ledger {
    pub fn wrong(&mut self, what: String) {
        self.broken.push(what);
    }

    /// A message arrived at a host, for these recipients. Gives the places of the deliveries.
    pub fn arrived(
        &mut self,
        host: &str,
        sender: &str,
        recipients: &[String],
        content: &[u8],
        at: Instant,
    ) -> Vec<usize> {
        match header(content, "X-Sim-Id").and_then(|id| id.parse().ok()) {
            Some(id) => {
                self.check_content(id, content, host);
                let first = self.deliveries.len();
                for recipient in recipients {
                    self.deliveries.push(Delivery {
                        id,
                        recipient: recipient.clone(),
                        at,
                        host: host.to_owned(),
                        reply: None,
                    });
                }
                (first..self.deliveries.len()).collect()
            }
            None => {
                self.reported(sender, recipients, content);
                Vec::new()
            }
        }
    }

    /// What was refused, or broken off before its end, is no message.
    fn unwanted(&self, delivery: &Delivery) -> Option<String> {
        let Delivery {
            id, recipient, host, ..
        } = delivery;
        let Some(sent) = self.sent.get(id) else {
            return Some(format!("{host} got message {id}, which nobody sent"));
        };
        let word = sent
            .words
            .iter()
            .find(|(given, _)| targets(given).iter().any(|target| target == recipient));
        match word {
            Some((_, Word::Yes | Word::Perhaps)) => None,
            Some((_, Word::No)) => Some(format!("{host} got {id} for {recipient}, which was refused")),
            None => Some(format!(
                "{host} got {id} for {recipient}, to whom it was not sent"
            )),
        }
    }

    /// Octet for octet below the fields that the server put on top.
    fn check_content(&mut self, id: u32, content: &[u8], host: &str) {
        let Some(sent) = self.sent.get(&id) else { return };
        let Some(top) = content.strip_suffix(sent.content.as_slice()) else {
            return self.wrong(format!("the content of {id} is changed at {host}"));
        };
        let top = String::from_utf8_lossy(top).into_owned();
        let fields = top
            .split_terminator("\r\n")
            .filter(|line| !line.starts_with('\t'));
        let names: Vec<&str> = fields.filter_map(|field| field.split(':').next()).collect();
        let fine = |name: &&str| ["Received", "Delivered-To", "Return-Path"].contains(name);
        let traces = names.iter().filter(|name| **name == "Received").count();
        if !names.iter().all(fine) || traces != 1 {
            self.wrong(format!("{id} has odd fields on top at {host}: {names:?}"));
        }
    }

    fn reported(&mut self, sender: &str, recipients: &[String], content: &[u8]) {
        let text = String::from_utf8_lossy(content).into_owned();
        if !sender.is_empty() || recipients.len() != 1 || !text.contains("report-type=delivery-status") {
            return self.wrong(format!("mail from <{sender}> that nobody sent: {text}"));
        }
        let report = header(content, "Message-ID").unwrap_or_default();
        let id = text
            .split("\r\n")
            .filter_map(|line| line.strip_prefix("X-Sim-Id: "))
            .find_map(|id| id.parse().ok());
        let Some(id) = id else {
            return self.wrong(format!("a report on nothing: {text}"));
        };
        let to = recipients[0].clone();
        if self.sent.get(&id).map(|sent| sent.sender.clone()) != Some(Some(to.clone())) {
            self.wrong(format!("a report on {id} went to {to}, who did not send it"));
        }
        for block in text.split("\r\n\r\n") {
            let field = |name: &str| block.split("\r\n").find_map(|line| line.strip_prefix(name));
            if let (Some(recipient), Some(action)) = (field("Final-Recipient: rfc822; "), field("Action: ")) {
                self.told.push(Told {
                    id,
                    recipient: recipient.to_owned(),
                    action: action.to_owned(),
                    report: report.clone(),
                    to: to.clone(),
                });
            }
        }
    }

    /// Reads the Maildirs below a folder.
    pub fn read_mailboxes(&mut self, root: &Path, at: Instant) {
        let mut folders = vec![root.to_owned()];
        let mut seen = BTreeSet::new();
        while let Some(folder) = folders.pop() {
            let mut entries: Vec<_> = std::fs::read_dir(&folder)
                .into_iter()
                .flatten()
                .flatten()
                .collect();
            entries.sort_by_key(std::fs::DirEntry::path);
            for entry in entries {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                } else if folder.ends_with("new") {
                    let content = std::fs::read(entry.path()).unwrap();
                    let to = header(&content, "Delivered-To").unwrap_or_default();
                    let id = header(&content, "X-Sim-Id").unwrap_or_default();
                    if !seen.insert((to.clone(), id.clone())) {
                        self.wrong(format!("{id} lies twice in the mailbox of {to}"));
                    }
                    self.arrived("the mailbox", "", &[to], &content, at);
                }
            }
        }
    }

    /// What must hold at the end. `waiting` is what the spool still has: the message's name and a recipient.
    pub fn check(&mut self, log: &str, timed: &[(Instant, String)], waiting: &BTreeSet<(String, String)>) {
        let mut broken = Vec::new();
        for (id, sent) in &self.sent {
            for (given, word) in &sent.words {
                for target in targets(given) {
                    if *word == Word::Yes {
                        broken.extend(self.lost(*id, sent, &target, log, waiting));
                    }
                    broken.extend(self.doubled(*id, &target));
                    broken.extend(self.misreported(*id, sent, &target));
                }
            }
        }
        broken.extend(
            self.deliveries
                .iter()
                .filter_map(|delivery| self.unwanted(delivery)),
        );
        for dial in &self.dials {
            broken.extend(self.in_clear(dial, log));
        }
        let wait = match self.clock_sets {
            0 => CLEAR_AFTER,
            _ => Duration::ZERO,
        };
        broken.extend(too_early(timed, wait));
        self.broken.append(&mut broken);
    }

    fn lost(
        &self,
        id: u32,
        sent: &Sent,
        target: &str,
        log: &str,
        waiting: &BTreeSet<(String, String)>,
    ) -> Option<String> {
        let delivered = self.of(id, target).next().is_some();
        let returned = self.told_of(id, target).any(|told| told.action == "failed");
        let kept = sent.kept_as.clone().unwrap_or_default();
        let waits = waiting.contains(&(kept.clone(), target.to_owned()));
        // Nobody can be told: the log says so. An alias' member has another message's name.
        let dropped = sent.sender.is_none()
            && log
                .lines()
                .any(|line| line.contains("failed") && line.contains(&format!("to={target}")));
        (!delivered && !returned && !waits && !dropped).then(|| {
            format!("{id} ({kept}) for {target} is lost: accepted, not waiting, delivered or reported")
        })
    }

    fn doubled(&self, id: u32, target: &str) -> Option<String> {
        let all: Vec<&Delivery> = self.of(id, target).collect();
        let pair = all.windows(2).find(|pair| {
            let heard = pair[0]
                .reply
                .as_ref()
                .is_some_and(|(wire, end)| wire.read(DOWN) >= *end);
            let forgotten = self.ends.iter().any(|end| {
                let soon =
                    *end <= pair[0].at + FORGETTABLE || self.disk_faults.iter().any(|fault| fault <= end);
                (pair[0].at..=pair[1].at).contains(end) && soon
            });
            heard && !forgotten
        })?;
        Some(format!(
            "{id} for {target} was delivered twice, to {} and {}, though the first said so",
            pair[0].host, pair[1].host
        ))
    }

    fn misreported(&self, id: u32, sent: &Sent, target: &str) -> Vec<String> {
        let mut broken = Vec::new();
        let reports = |action: &str| -> BTreeSet<&str> {
            let of = self.told_of(id, target).filter(|told| told.action == action);
            of.map(|told| told.report.as_str()).collect()
        };
        if reports("delayed").len() > 1 || reports("failed").len() > 1 {
            broken.push(format!("{id} for {target} was reported more than once"));
        }
        if sent.sender.is_none() && self.told_of(id, target).next().is_some() {
            broken.push(format!("{id} came from nobody and was reported"));
        }
        let sure = |delivery: &Delivery| {
            let heard = delivery
                .reply
                .as_ref()
                .is_some_and(|(wire, end)| wire.read(DOWN) >= *end);
            let end_near = |end: &Instant| *end >= delivery.at && *end <= delivery.at + FORGETTABLE;
            heard && !self.ends.iter().any(end_near) && self.disk_faults.is_empty()
        };
        if !reports("failed").is_empty() && self.of(id, target).any(sure) {
            broken.push(format!("{id} for {target} was delivered and reported as failed"));
        }
        broken
    }

    /// What a connection showed in clear, against what the host offered on it (RFC 3207 §4, §4.1).
    fn in_clear(&self, dial: &Dial, log: &str) -> Vec<String> {
        let (said, heard) = (dial.wire.said(UP), dial.wire.said(DOWN));
        let mut broken = Vec::new();
        if let Some(at) = position(&said, b"\r\nSTARTTLS\r\n") {
            let behind = &said[at..];
            let fine = behind.is_empty() || behind[0] == 0x16 || behind == b"QUIT\r\n";
            if !fine {
                let text = String::from_utf8_lossy(&behind[..behind.len().min(100)]).into_owned();
                broken.push(format!("after STARTTLS to {} in clear: {text:?}", dial.host));
            }
            return broken;
        }
        let offered = contains(&heard, b"\r\nSTARTTLS\r\n");
        if offered && contains(&said, b"MAIL FROM:") {
            let earlier = self.dials.iter().any(|other| {
                other.host == dial.host
                    && other.at + CLEAR_AFTER <= dial.at + Duration::from_secs(60)
                    && position(&other.wire.said(UP), b"\r\nSTARTTLS\r\n").is_some()
            });
            let told = log.lines().any(|line| {
                line.contains(&format!("host={} ", dial.host))
                    && line.contains("tls=no because=\"failed earlier")
            });
            // A session that broke early leaves no line of success.
            if !earlier || !told {
                broken.push(format!(
                    "mail went to {} in clear though it offered STARTTLS (earlier failure: {earlier}, told: {told})",
                    dial.host
                ));
            }
        }
        broken
    }

    fn of<'l>(&'l self, id: u32, target: &'l str) -> impl Iterator<Item = &'l Delivery> {
        self.deliveries
            .iter()
            .filter(move |delivery| delivery.id == id && delivery.recipient == target)
    }

    fn told_of<'l>(&'l self, id: u32, target: &'l str) -> impl Iterator<Item = &'l Told> {
        self.told
            .iter()
            .filter(move |told| told.id == id && told.recipient == target)
    }
}

/// By the server's own evidence, clear text to a host that offers TLS is for a message that met failed TLS before, and long
/// enough (`wait`) after the host's first trouble.
fn too_early(timed: &[(Instant, String)], wait: Duration) -> Vec<String> {
    let (mut troubles, mut met) = (BTreeMap::new(), BTreeSet::new());
    let mut broken = Vec::new();
    for (at, line) in timed {
        let after = |mark: &str| line.split(mark).nth(1)?.split(' ').next();
        let (Some(host), Some(id)) = (after(" host="), after("attempt message=")) else {
            continue;
        };
        if line.contains(" tls_trouble=") {
            troubles.entry(host).or_insert(*at);
            met.insert(id);
        }
        let waited = troubles.get(host).is_some_and(|first| *first + wait <= *at);
        if line.contains("tls=no because=\"failed earlier") && !(waited && met.contains(id)) {
            broken.push(format!(
                "{id} went to {host} in clear too early after its trouble with TLS"
            ));
        }
    }
    broken
}

/// A field of the first header.
pub fn header(content: &[u8], name: &str) -> Option<String> {
    let end = position(content, b"\r\n\r\n").unwrap_or(content.len());
    let text = String::from_utf8_lossy(&content[..end]).into_owned();
    let prefix = format!("{name}: ");
    text.split("\r\n")
        .find_map(|line| line.strip_prefix(&prefix))
        .map(str::to_owned)
}

/// The place behind the first occurrence.
fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    let at = text.windows(part.len()).position(|window| window == part)?;
    Some(at + part.len())
}

/// A settlement that a power cut may overtake is at most so old.
const FORGETTABLE: Duration = Duration::from_secs(120);
/// `clear_after` of the simulated server.
const CLEAR_AFTER: Duration = Duration::from_secs(600);
