//! The files of evidence: appended to, synced, begun anew each day, removed when they are old.
//!
//! Blocks on its disk. What a crash left half written is cut off and set aside at the next start, and said in the chain; what a
//! failing disk refused is counted, and said in the chain once it takes records again.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use spool::disk::{Disk, File};

use super::chain::{Follower, Line, Link};
use super::reading::{Span, first_fact, read_all};
use super::record::{Cut, Fact, Missed, Removed, rfc3339};

/// Bounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A file is followed by another when it is this long.
    pub file_bytes_max: u64,
    /// How long records are kept.
    pub keep: Duration,
}

/// The disk did not take records.
#[derive(Debug)]
pub struct NotWritten {
    what: String,
    source: std::io::Error,
}

/// The files, open for writing.
pub struct Store {
    disk: Arc<dyn Disk>,
    limits: Limits,
    /// Every file, oldest first, as far as it is durable. Readers share it.
    spans: Spans,
    writing: Option<Writing>,
    /// A file with octets behind its durable end, which must go before anything is written elsewhere.
    frayed: Option<(Arc<dyn File>, u64)>,
    at: Link,
    missed: u64,
    /// To be said with the next records.
    to_say: Vec<Fact>,
}

/// What readers and the writer share.
pub type Spans = Arc<Mutex<Vec<Span>>>;

/// The file that is appended to. It is the last span.
struct Writing {
    file: Arc<dyn File>,
    day: u64,
}

impl Store {
    /// Opens the folder, cuts off what a crash left half written, and finds where the chain stands. Gives the octets cut.
    pub fn open(disk: Arc<dyn Disk>, limits: Limits, now: SystemTime) -> Result<(Store, u64), NotWritten> {
        let mut names = disk
            .list()
            .map_err(NotWritten::when("list the folder of evidence"))?;
        names.retain(|name| Span::first_of(name).is_some());
        names.sort();
        let mut store = Store {
            spans: Arc::default(),
            writing: None,
            frayed: None,
            at: Link::default(),
            missed: 0,
            to_say: Vec::new(),
            disk,
            limits,
        };
        let mut cut = 0;
        while let Some(last) = names.pop() {
            let (octets, span) = store.mend_last(&last, now)?;
            cut += octets;
            if let Some((span, at)) = span {
                let mut spans = store.spans_before(&names)?;
                spans.push(span);
                *lock(&store.spans) = spans;
                store.at = at;
                break;
            }
        }
        Ok((store, cut))
    }

    /// Reads the last file, and cuts off an unsound end. None where nothing of it is sound.
    fn mend_last(&mut self, name: &str, now: SystemTime) -> Result<(u64, Option<(Span, Link)>), NotWritten> {
        let failed = || NotWritten::when(format!("read {name}"));
        let file = self.disk.open(name).map_err(failed())?;
        let octets = read_all(&*file, u64::MAX).map_err(failed())?;
        let (sound, follower) = sound_part(&octets);
        let torn = &octets[sound..];
        if !torn.is_empty() {
            let kept_as = format!("damaged/{name}-{sound}");
            self.set_aside(&kept_as, torn)
                .map_err(NotWritten::when(format!("write {kept_as}")))?;
            self.to_say.push(Fact::Cut(Cut {
                at: rfc3339(now),
                octets: torn.len() as u64,
                kept_as,
            }));
        }
        let cut = torn.len() as u64;
        let (Some(after), Some(at)) = (follower.from(), follower.at()) else {
            self.disk
                .unlink(name)
                .map_err(NotWritten::when(format!("remove {name}")))?;
            return Ok((cut, None));
        };
        if cut > 0 {
            let mend = file.truncate(sound as u64).and_then(|()| file.sync_data());
            mend.map_err(NotWritten::when(format!("cut {name}")))?;
        }
        let span = Span {
            name: name.to_owned(),
            after,
            bytes: sound as u64,
            first_at: first_fact(&octets[..sound]),
        };
        Ok((cut, Some((span, at))))
    }

    fn set_aside(&self, name: &str, octets: &[u8]) -> std::io::Result<()> {
        // Left by a start that was cut off in turn: the octets are the same.
        match self.disk.unlink(name) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let file = self.disk.create(name, 0)?;
        file.write_all_at(octets, 0)?;
        file.sync_data()?;
        self.disk.sync_folder()
    }

    fn spans_before(&self, names: &[String]) -> Result<Vec<Span>, NotWritten> {
        let span = |name: &String| {
            let file = self.disk.open(name)?;
            let begin = read_all(&*file, BEGIN_BYTES)?;
            Ok(Span::read(name, &begin, file.bytes()?))
        };
        let spans = names
            .iter()
            .map(|name| span(name).map_err(NotWritten::when(format!("read {name}"))));
        spans.collect()
    }

    /// What readers need.
    pub fn spans(&self) -> Spans {
        Arc::clone(&self.spans)
    }

    /// Where the chain stands.
    pub fn at(&self) -> Link {
        self.at
    }

    /// Appends records and syncs them. After an error they are lost, and their number will be said in the chain.
    pub fn append(&mut self, facts: &[Fact], now: SystemTime) -> Result<(), NotWritten> {
        let result = self.try_append(facts, now);
        if let Err(error) = &result {
            self.missed += facts.len() as u64;
            let because = error.to_string();
            self.to_say.retain(|fact| !matches!(fact, Fact::Missed(_)));
            self.to_say.push(Fact::Missed(Missed {
                at: rfc3339(now),
                records: self.missed,
                because,
            }));
        }
        result
    }

    fn try_append(&mut self, facts: &[Fact], now: SystemTime) -> Result<(), NotWritten> {
        self.mend_frayed()?;
        let mut old = Vec::new();
        if self.wants_new_file(now) {
            self.begin_file(now)?;
            old = self.old_spans(now);
        }
        let removals = old.iter().map(|(removed, _)| Fact::Removed(removed.clone()));
        let said = std::mem::take(&mut self.to_say);
        let mut text = String::new();
        let mut at = self.at;
        for fact in said.iter().chain(&removals.collect::<Vec<_>>()).chain(facts) {
            // These types have no form that JSON lacks; one that had would be no record.
            let body = serde_json::to_string(fact).unwrap_or_else(|_| "{}".to_owned());
            let (line, next) = at.seal(&body);
            text.push_str(&line);
            text.push('\n');
            at = next;
        }
        if let Err(error) = self.write(&text) {
            self.to_say = said;
            return Err(error);
        }
        self.at = at;
        self.missed = 0;
        self.remove(&old)
    }

    /// A file whose last write failed is cut back to what is durable, and left.
    fn mend_frayed(&mut self) -> Result<(), NotWritten> {
        if let Some((file, bytes)) = &self.frayed {
            let cut = file.truncate(*bytes).and_then(|()| file.sync_data());
            cut.map_err(NotWritten::when("cut back the last file of evidence"))?;
            self.frayed = None;
        }
        Ok(())
    }

    fn wants_new_file(&self, now: SystemTime) -> bool {
        let Some(writing) = &self.writing else { return true };
        let long = lock(&self.spans)
            .last()
            .is_some_and(|span| span.bytes >= self.limits.file_bytes_max);
        long || writing.day != day(now)
    }

    fn begin_file(&mut self, now: SystemTime) -> Result<(), NotWritten> {
        self.writing = None;
        let name = Span::name_after(self.at);
        let failed = || NotWritten::when(format!("begin {name}"));
        // One that has no record yet, from a start or a try before.
        let mut spans = lock(&self.spans).clone();
        if spans.last().is_some_and(|last| last.name == name) {
            spans.pop();
        }
        match self.disk.unlink(&name) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed()(error)),
        }
        let file = self.disk.create(&name, 0).map_err(failed())?;
        let head = format!("{}\n", self.at.head());
        let written = file
            .write_all_at(head.as_bytes(), 0)
            .and_then(|()| file.sync_data())
            .and_then(|()| self.disk.sync_folder());
        written.map_err(failed())?;
        spans.push(Span {
            name,
            after: self.at,
            bytes: head.len() as u64,
            first_at: Some(now),
        });
        *lock(&self.spans) = spans;
        self.writing = Some(Writing { file, day: day(now) });
        Ok(())
    }

    fn write(&mut self, text: &str) -> Result<(), NotWritten> {
        let (Some(writing), Some(end)) = (&self.writing, lock(&self.spans).last().map(|span| span.bytes))
        else {
            return Err(NotWritten::when("append to evidence")(
                std::io::ErrorKind::NotFound.into(),
            ));
        };
        let file = Arc::clone(&writing.file);
        let written = file
            .write_all_at(text.as_bytes(), end)
            .and_then(|()| file.sync_data());
        if let Err(error) = written {
            // Nothing is known of it any more but what was synced before.
            self.writing = None;
            self.frayed = Some((file, end));
            return Err(NotWritten::when("append to evidence")(error));
        }
        if let Some(span) = lock(&self.spans).last_mut() {
            span.bytes = end + text.len() as u64;
        }
        Ok(())
    }

    /// Files all of whose records are older than is kept, and what is said of their removal.
    fn old_spans(&self, now: SystemTime) -> Vec<(Removed, String)> {
        let Some(oldest) = now.checked_sub(self.limits.keep) else {
            return Vec::new();
        };
        let spans = lock(&self.spans);
        let pairs = spans.iter().zip(spans.iter().skip(1));
        let old = pairs.take_while(|(_, next)| next.first_at.is_some_and(|first| first < oldest));
        old.map(|(span, next)| {
            let removed = Removed {
                at: rfc3339(now),
                file: span.name.clone(),
                last: next.after.seq,
                hash: next.after.hash.to_string(),
            };
            (removed, span.name.clone())
        })
        .collect()
    }

    /// Removes files whose removal is durably said.
    fn remove(&mut self, old: &[(Removed, String)]) -> Result<(), NotWritten> {
        for (_, name) in old {
            let failed = NotWritten::when(format!("remove {name}"));
            self.disk.unlink(name).map_err(failed)?;
            lock(&self.spans).retain(|span| span.name != *name);
        }
        match old.is_empty() {
            true => Ok(()),
            false => self
                .disk
                .sync_folder()
                .map_err(NotWritten::when("remove old files of evidence")),
        }
    }
}

/// How many octets, from the first, are whole sound lines, and what they say.
fn sound_part(octets: &[u8]) -> (usize, Follower) {
    let mut follower = Follower::default();
    let mut sound = 0;
    for line in octets.split_inclusive(|octet| *octet == b'\n') {
        let whole = line
            .strip_suffix(b"\n")
            .and_then(|line| std::str::from_utf8(line).ok());
        match whole.map(|line| follower.follow(line)) {
            Some(Ok(Line::Head(_) | Line::Record { .. } | Line::LeftOut { .. })) => sound += line.len(),
            Some(Ok(Line::End(_)) | Err(_)) | None => break,
        }
    }
    (sound, follower)
}

pub(crate) fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is changed in one step.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn day(at: SystemTime) -> u64 {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_secs() / 86_400
}

impl NotWritten {
    fn when(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> NotWritten {
        let what = what.into();
        |source| NotWritten { what, source }
    }
}

impl std::fmt::Display for NotWritten {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "evidence: cannot {}: {}", self.what, self.source)
    }
}

impl std::error::Error for NotWritten {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Enough of a file for its head and its first record.
const BEGIN_BYTES: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use spool::simulated::{Fault, SimulatedDisk};

    use super::super::reading::{Reader, verify};
    use super::super::record::Held;
    use super::*;

    const DAY: u64 = 86_400;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
    }

    fn fact(number: u64) -> Fact {
        Fact::Held(Held {
            at: rfc3339(at(number)),
            message: format!("{number:026}"),
            destination: "a.example".to_owned(),
            recipients: 1,
            since: rfc3339(at(0)),
            because: "no TLS".to_owned(),
        })
    }

    fn limits() -> Limits {
        Limits {
            file_bytes_max: 1500,
            keep: Duration::from_secs(3 * DAY),
        }
    }

    fn open(disk: &SimulatedDisk, seconds: u64) -> Result<Store, NotWritten> {
        Store::open(Arc::new(disk.clone()), limits(), at(seconds)).map(|(store, _)| store)
    }

    fn reader(disk: &SimulatedDisk, store: &Store) -> Reader {
        Reader::new(Arc::new(disk.clone()), store.spans())
    }

    fn messages(reader: &Reader) -> Vec<u64> {
        let mut all = Vec::new();
        let page = reader.page(None, None, Link::default().seq, usize::MAX).unwrap();
        for line in &page.lines {
            if let Ok(Line::Record { body, .. }) = Line::parse(line)
                && let Ok(fact) = serde_json::from_str::<Fact>(body)
                && let Some(message) = fact.message()
            {
                all.push(message.parse().unwrap());
            }
        }
        all
    }

    #[test]
    fn what_is_appended_is_found_in_several_files_and_verifies() {
        let disk = SimulatedDisk::new(1);
        let mut store = open(&disk, 0).unwrap();
        for number in 1..40 {
            store.append(&[fact(number)], at(number)).unwrap();
        }
        assert!(lock(&store.spans).len() > 5);
        let found = reader(&disk, &store)
            .of_message(&format!("{:026}", 17), None)
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].fact, fact(17));
        let verified = verify(&reader(&disk, &store)).unwrap();
        assert_eq!((verified.first, verified.last, verified.records), (1, 39, 39));
        drop(store);
        let mut store = open(&disk, 50).unwrap();
        store.append(&[fact(40)], at(51)).unwrap();
        assert_eq!(messages(&reader(&disk, &store)), (1..41).collect::<Vec<_>>());
    }

    #[test]
    fn old_files_go_and_the_chain_says_so() {
        let disk = SimulatedDisk::new(1);
        let mut store = open(&disk, 0).unwrap();
        for day in 0..8 {
            for number in 0..6 {
                store
                    .append(&[fact(day * 10 + number)], at(day * DAY + number))
                    .unwrap();
            }
        }
        let left = messages(&reader(&disk, &store));
        assert_eq!(left.first().map(|first| first / 10), Some(4), "{left:?}");
        let verified = verify(&reader(&disk, &store)).unwrap();
        assert!(verified.first > 1);
        // A file more than the chain says is missing.
        let oldest = lock(&store.spans).first().unwrap().name.clone();
        disk.unlink(&oldest).unwrap();
        lock(&store.spans).remove(0);
        let fault = verify(&reader(&disk, &store)).unwrap_err();
        assert!(
            fault.why.contains("nothing says that it was removed"),
            "{}",
            fault.why
        );
    }

    /// The power goes at any call: what was acknowledged is there, in order, and the chain is whole.
    #[test]
    fn a_power_cut_at_any_call_costs_nothing_that_was_acknowledged() {
        let mut cuts = 0;
        for call in 1..400 {
            let disk = SimulatedDisk::new(call);
            disk.set_fault(Fault::PowerCut(call));
            let mut sure = Vec::new();
            if let Ok(mut store) = open(&disk, 0) {
                for number in 1..25 {
                    let facts = [fact(2 * number), fact(2 * number + 1)];
                    if store.append(&facts, at(number * DAY / 3)).is_ok() {
                        sure.extend([2 * number, 2 * number + 1]);
                    }
                }
            }
            if !disk.is_dead() {
                break;
            }
            cuts += 1;
            let disk = disk.after_power_cut(call);
            let mut store = open(&disk, 8 * DAY).unwrap();
            verify(&reader(&disk, &store)).unwrap_or_else(|fault| panic!("call {call}: {}", fault.why));
            let found = messages(&reader(&disk, &store));
            let kept: Vec<u64> = sure
                .into_iter()
                .filter(|number| Some(number) >= found.first())
                .collect();
            assert!(found.starts_with(&kept), "call {call}: {found:?} {kept:?}");
            store.append(&[fact(99)], at(8 * DAY + 1)).unwrap();
            verify(&reader(&disk, &store)).unwrap();
        }
        assert!(cuts > 60, "{cuts}");
    }

    #[test]
    fn a_failing_disk_is_an_error_and_the_chain_says_what_is_missing() {
        for call in 3..40 {
            let disk = SimulatedDisk::new(call);
            let mut store = open(&disk, 0).unwrap();
            disk.set_fault(Fault::Failure(call));
            let mut failed = 0;
            for number in 1..15 {
                failed += u64::from(store.append(&[fact(number)], at(number)).is_err());
            }
            verify(&reader(&disk, &store)).unwrap_or_else(|fault| panic!("call {call}: {}", fault.why));
            let found = messages(&reader(&disk, &store)).len() as u64;
            assert_eq!(found + failed, 14, "call {call}");
        }
        let disk = SimulatedDisk::new(9);
        let mut store = open(&disk, 0).unwrap();
        store.append(&[fact(1)], at(1)).unwrap();
        disk.set_capacity(disk.used_bytes());
        for number in 2..5 {
            let error = store.append(&[fact(number)], at(number)).unwrap_err();
            assert!(error.to_string().starts_with("evidence: cannot "), "{error}");
        }
        disk.set_capacity(u64::MAX);
        store.append(&[fact(5)], at(5)).unwrap();
        let page = reader(&disk, &store).page(None, None, 0, usize::MAX).unwrap();
        let missed = page
            .lines
            .iter()
            .find(|line| line.contains("\"kind\":\"missed\""))
            .unwrap();
        assert!(missed.contains("\"records\":3"), "{missed}");
        assert_eq!(messages(&reader(&disk, &store)), [1, 5]);
        verify(&reader(&disk, &store)).unwrap();
    }
}
