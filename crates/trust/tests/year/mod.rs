//! A year of mail to many destinations, with honest trouble and attackers, driving the real plans, verdicts and ledger.
//! Every number follows from a seed.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)] // each user takes its part

pub mod nature;
pub mod run;
pub mod table;

/// Dice that can be thrown again (splitmix64).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Dice {
        Dice(seed)
    }

    pub fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    pub fn part(&mut self) -> f64 {
        (self.roll() >> 11) as f64 / (1u64 << 53) as f64
    }

    pub fn chance(&mut self, of: f64) -> bool {
        self.part() < of
    }

    /// Seconds from `least` to `most`.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.roll() % (most - least + 1)
    }

    /// Seconds until the next of events that come so often a day.
    pub fn gap(&mut self, a_day: f64) -> u64 {
        let wait = -(1.0 - self.part()).ln() / a_day * 86_400.0;
        wait.min(1e9) as u64 + 1
    }
}

pub const HOUR: u64 = 3600;
pub const DAY: u64 = 86_400;
pub const YEAR: u64 = 365 * DAY;
/// When the year begins.
pub const BEGIN: u64 = 1_800_000_000;
