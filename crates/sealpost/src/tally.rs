//! What happened how often, for those who watch: counted here, told on the control interface as OpenMetrics text.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use spool::Counts;

/// The counts of one process, from its start.
#[derive(Debug, Default)]
pub struct Tally {
    alarms: Mutex<BTreeMap<&'static str, u64>>,
    standing: AtomicU64,
    untold: AtomicU64,
    verdicts: Mutex<BTreeMap<String, u64>>,
    holds: AtomicU64,
}

impl Tally {
    /// An alarm began or ended.
    pub fn alarm(&self, event: &'static str) {
        *self
            .alarms
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(event)
            .or_default() += 1;
    }

    /// So many alarms stand.
    pub fn standing(&self, count: usize) {
        self.standing.store(count as u64, Ordering::Relaxed);
    }

    /// A webhook or a mailbox could not be told.
    pub fn untold(&self) {
        self.untold.fetch_add(1, Ordering::Relaxed);
    }

    /// A channel was judged: what leave to send rested on, or `insufficient`.
    pub fn verdict(&self, basis: &str) {
        let mut verdicts = self.verdicts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = verdicts.get_mut(basis) {
            *count += 1;
        } else if verdicts.len() < BASES_MAX {
            verdicts.insert(basis.to_owned(), 1);
        }
    }

    /// An attempt ended with mail held.
    pub fn hold(&self) {
        self.holds.fetch_add(1, Ordering::Relaxed);
    }

    /// OpenMetrics text, with what the queue holds now.
    pub fn text(&self, queue: &Counts) -> String {
        let mut text = Text(String::new());
        let alarms = self.alarms.lock().unwrap_or_else(PoisonError::into_inner).clone();
        text.family("sealpost_alarms", "counter", "Alarms that began or ended");
        for event in ["begin", "end"] {
            let count = alarms.get(event).copied().unwrap_or(0);
            text.sample("sealpost_alarms_total", &[("event", event)], count);
        }
        text.family("sealpost_alarms_standing", "gauge", "Alarms that stand");
        text.sample(
            "sealpost_alarms_standing",
            &[],
            self.standing.load(Ordering::Relaxed),
        );
        text.family(
            "sealpost_alarms_untold",
            "counter",
            "Tries to tell an alarm that came to nothing",
        );
        text.sample(
            "sealpost_alarms_untold_total",
            &[],
            self.untold.load(Ordering::Relaxed),
        );
        text.family(
            "sealpost_verdicts",
            "counter",
            "Channels judged, by what leave to send rested on",
        );
        let verdicts = self
            .verdicts
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        for (basis, count) in &verdicts {
            text.sample("sealpost_verdicts_total", &[("basis", basis)], *count);
        }
        text.family("sealpost_holds", "counter", "Attempts after which mail was held");
        text.sample("sealpost_holds_total", &[], self.holds.load(Ordering::Relaxed));
        text.family(
            "sealpost_queue_recipients",
            "gauge",
            "Recipients in the queue, by state",
        );
        let person = queue.held.saturating_sub(queue.withheld);
        for (state, count) in [
            ("waiting", queue.waiting),
            ("leased", queue.leased),
            ("held_by_person", person),
            ("held_by_trust", queue.withheld),
        ] {
            text.sample("sealpost_queue_recipients", &[("state", state)], count);
        }
        text.0.push_str("# EOF\n");
        text.0
    }
}

struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // A string takes any text.
        let _ = write!(self.0, "# TYPE {name} {kind}\n# HELP {name} {help}.\n");
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: u64) {
        let labels: Vec<String> = labels
            .iter()
            .map(|(name, value)| format!("{name}=\"{}\"", value.replace(['\\', '"', '\n'], "_")))
            .collect();
        let labels = match labels.is_empty() {
            true => String::new(),
            false => format!("{{{}}}", labels.join(",")),
        };
        let _ = writeln!(self.0, "{name}{labels} {value}");
    }
}

/// Kinds of proof that are told apart.
const BASES_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_is_open_metrics() {
        let tally = Tally::default();
        tally.alarm("begin");
        tally.standing(1);
        tally.verdict("dane-3-1-1");
        tally.verdict("dane-3-1-1");
        let queue = Counts {
            held: 5,
            withheld: 3,
            ..Counts::default()
        };
        let text = tally.text(&queue);
        for line in [
            "# TYPE sealpost_alarms counter",
            "sealpost_alarms_total{event=\"begin\"} 1",
            "sealpost_alarms_total{event=\"end\"} 0",
            "sealpost_alarms_standing 1",
            "sealpost_verdicts_total{basis=\"dane-3-1-1\"} 2",
            "sealpost_queue_recipients{state=\"held_by_person\"} 2",
            "sealpost_queue_recipients{state=\"held_by_trust\"} 3",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
