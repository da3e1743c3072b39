//! The real server on simulated ports and hours, from a seed: days of mail with faults in DNS, network, disk and time,
//! and an attacker on the wire. What must always be true is checked at the end of each run.
//!
//! `SIM_SEEDS=1000 cargo test -p sealpost --test sim` runs more; `SIM_SEED=17 … -- --nocapture` runs one and tells its
//! story. A seed that
//! turns red is written into `sim.seeds`, whose seeds run first.
#![allow(clippy::unwrap_used, unreachable_pub)] // a test may panic

#[path = "sim/client.rs"]
mod client;
#[path = "sim/dice.rs"]
mod dice;
#[path = "sim/ledger.rs"]
mod ledger;
#[path = "sim/peer.rs"]
mod peer;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/wire.rs"]
mod wire;
#[path = "sim/world.rs"]
mod world;

use std::panic::catch_unwind;
use std::sync::Mutex;

use run::{Counts, run};

/// The seeds of earlier faults, then fresh ones.
fn seeds() -> Vec<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("SIM_SEED") {
        return vec![seed];
    }
    let known = include_str!("sim.seeds").lines().filter_map(|line| {
        let seed = line.split('#').next().unwrap_or_default().trim();
        (!seed.is_empty()).then(|| seed.parse().unwrap())
    });
    known.chain(1..=number("SIM_SEEDS").unwrap_or(QUICK)).collect()
}

#[test]
fn what_is_accepted_is_never_lost_doubled_changed_or_bared() {
    let left = Mutex::new(seeds().into_iter());
    let (red, total) = (Mutex::new(Vec::new()), Mutex::new(Counts::default()));
    std::thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(|| {
                loop {
                    let Some(seed) = left.lock().unwrap().next() else {
                        return;
                    };
                    match catch_unwind(|| run(seed)) {
                        Ok(report) => {
                            if !report.broken.is_empty() {
                                let told = format!("seed {seed}:\n  {}", report.broken.join("\n  "));
                                red.lock().unwrap().push(told);
                            }
                            total.lock().unwrap().add(&report.counts);
                        }
                        Err(_) => red.lock().unwrap().push(format!("seed {seed}: panicked")),
                    }
                }
            });
        }
    });
    println!("{:?}", total.lock().unwrap());
    let red = red.into_inner().unwrap();
    assert!(
        red.is_empty(),
        "put these into tests/sim.seeds:\n{}",
        red.join("\n")
    );
}

/// The same seed, the same story: every log line of the server, every look at the world.
#[test]
fn a_run_can_be_replayed_from_its_seed() {
    for seed in [3, 8] {
        let (first, second) = (run(seed), run(seed));
        let differs = first
            .notes
            .iter()
            .zip(&second.notes)
            .find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        let differs = first
            .log
            .lines()
            .zip(second.log.lines())
            .find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(
            (first.notes.len(), first.log.len()),
            (second.notes.len(), second.log.len())
        );
    }
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.accepted += other.accepted;
        self.delivered += other.delivered;
        self.reports += other.reports;
        self.dials += other.dials;
        self.attacked += other.attacked;
        self.ends += other.ends;
    }
}

const QUICK: u64 = 12;
const THREADS: usize = 2;
