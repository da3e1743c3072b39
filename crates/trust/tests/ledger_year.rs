//! The year of `docs/ledger.md` with few destinations: what must hold holds for any seed.
#![allow(clippy::unwrap_used)]

#[path = "year/mod.rs"]
mod year;

use year::run::Way;
use year::table::play_all;

#[test]
fn what_must_hold_holds() {
    for seed in [7, 8] {
        for (way, counts) in play_all(250, seed) {
            assert!(counts.messages > 10_000, "{counts:?}");
            assert_eq!(counts.keys_poisoned, 0, "{way:?} {seed}: {counts:?}");
            if way != Way::Nothing {
                assert_eq!(counts.clear_to_bound, 0, "{way:?} {seed}: {counts:?}");
            }
            if matches!(way, Way::Ledger | Way::LedgerAlone) {
                assert!(counts.attacked_sessions > 0);
                assert_eq!(
                    counts.attacked_refused, counts.attacked_sessions,
                    "{way:?} {seed}: {counts:?}"
                );
                assert_eq!(
                    counts.attacks_noticed, counts.attacks,
                    "{way:?} {seed}: {counts:?}"
                );
                assert_eq!(counts.poisoned, 0, "{way:?} {seed}: {counts:?}");
            }
        }
    }
}

#[test]
fn the_same_seed_plays_the_same_year() {
    assert_eq!(play_all(20, 3), play_all(20, 3));
}
