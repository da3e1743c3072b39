//! Measures the ledger: `cargo run --release -p trust --example year -- --seed 1` prints the table of `docs/ledger.md`.
#![allow(clippy::print_stdout)]

#[path = "../tests/year/mod.rs"]
mod year;

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let number = |name: &str, usual: u64| {
        let place = words.iter().position(|word| word == name);
        place
            .and_then(|place| words.get(place + 1)?.parse().ok())
            .unwrap_or(usual)
    };
    let destinations = u32::try_from(number("--destinations", 10_000)).unwrap_or(10_000);
    let results = year::table::play_all(destinations, number("--seed", 1));
    print!("{}", year::table::table(&results));
}
