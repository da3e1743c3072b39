//! What is counted, and how it is told.

use std::fmt::Write;

use super::Dice;
use super::nature::Destination;
use super::run::{Shared, Way, play};

/// What one way to remember came to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    pub destinations: u64,
    pub messages: u64,
    /// Sessions in which an attacker showed less than the bound of a peer.
    pub attacked_sessions: u64,
    pub attacked_refused: u64,
    /// Sessions in which an attacker showed as much as the bound: TLS of his own to a peer that never proved more.
    pub beyond_bound: u64,
    pub beyond_bound_sent: u64,
    /// Attacks of hours and days on peers that were bound, with sessions in them.
    pub attacks: u64,
    pub attacks_noticed: u64,
    /// Sessions with exchangers that a forged answer named.
    pub forged_exchangers: u64,
    pub forged_exchangers_sent: u64,
    pub new_exchangers_noted: u64,
    pub clear_to_bound: u64,
    /// Messages in clear to peers that honest sessions alone would have bound.
    pub clear_to_known: u64,
    pub held: u64,
    pub held_long: u64,
    pub held_by_downgrade: u64,
    pub held_under_attack: u64,
    /// Put off because a handshake failed by accident; no way to remember changes that.
    pub accidents: u64,
    pub returned: u64,
    pub poisoned: u64,
    pub keys_poisoned: u64,
    pub alarms: u64,
    pub answers: u64,
    /// Seconds from the first message held by an honest downgrade to the next one delivered.
    pub recoveries: Vec<u64>,
}

impl Counts {
    pub fn add(&mut self, other: &Counts) {
        let Counts { recoveries, .. } = other;
        self.recoveries.extend(recoveries);
        for (mine, theirs) in self.numbers().into_iter().zip(other.clone().numbers()) {
            *mine += *theirs;
        }
    }

    fn numbers(&mut self) -> [&mut u64; 23] {
        [
            &mut self.destinations,
            &mut self.messages,
            &mut self.attacked_sessions,
            &mut self.attacked_refused,
            &mut self.beyond_bound,
            &mut self.beyond_bound_sent,
            &mut self.attacks,
            &mut self.attacks_noticed,
            &mut self.forged_exchangers,
            &mut self.forged_exchangers_sent,
            &mut self.new_exchangers_noted,
            &mut self.clear_to_bound,
            &mut self.clear_to_known,
            &mut self.held,
            &mut self.held_long,
            &mut self.held_by_downgrade,
            &mut self.held_under_attack,
            &mut self.accidents,
            &mut self.returned,
            &mut self.poisoned,
            &mut self.keys_poisoned,
            &mut self.alarms,
            &mut self.answers,
        ]
    }

    fn per_million(&self, count: u64) -> String {
        format!("{:.1}", count as f64 * 1e6 / self.messages.max(1) as f64)
    }

    fn days(&self, part: f64) -> String {
        let mut all = self.recoveries.clone();
        all.sort_unstable();
        let place = ((all.len().saturating_sub(1)) as f64 * part) as usize;
        all.get(place).map_or("–".to_owned(), |seconds| {
            format!("{:.1}", *seconds as f64 / 86_400.0)
        })
    }
}

/// Plays the same year under every way to remember.
pub fn play_all(destinations: u32, seed: u64) -> Vec<(Way, Counts)> {
    let mut dice = Dice::new(seed);
    let all: Vec<Destination> = (0..destinations)
        .map(|number| Destination::draw(number, &mut dice))
        .collect();
    let shared = Shared::new();
    let ways = Way::ALL.into_iter().map(|way| {
        let mut counts = Counts::default();
        for destination in &all {
            counts.add(&play(destination, way, &shared));
        }
        (way, counts)
    });
    ways.collect()
}

/// The table, as it stands in the documentation.
pub fn table(results: &[(Way, Counts)]) -> String {
    let mut text = String::new();
    let messages = results.first().map_or(0, |(_, counts)| counts.messages);
    let destinations = results.first().map_or(0, |(_, counts)| counts.destinations);
    let _ = writeln!(
        text,
        "{destinations} destinations, {messages} messages in the year.\n"
    );
    let _ = writeln!(
        text,
        "| | ledger, alarms answered | ledger, nobody answers | bound at first sight | no memory |\n|---|---|---|---|---|"
    );
    let share = |part: u64, whole: u64| match whole {
        0 => "–".to_owned(),
        _ => format!("{part} of {whole}"),
    };
    type Cell = Box<dyn Fn(&Counts) -> String>;
    let rows: Vec<(&str, Cell)> = vec![
        (
            "sessions of attackers who showed less than a bound peer's bound: refused",
            Box::new(move |c| share(c.attacked_refused, c.attacked_sessions)),
        ),
        (
            "stripping and impersonation on them: attacks told by an alarm",
            Box::new(move |c| share(c.attacks_noticed, c.attacks)),
        ),
        (
            "messages in clear to peers that its own memory held bound",
            Box::new(|c| c.clear_to_bound.to_string()),
        ),
        (
            "messages in clear to peers that honest sessions had bound by the ledger's rules",
            Box::new(|c| c.clear_to_known.to_string()),
        ),
        (
            "mail held without an attack, messages per million",
            Box::new(|c| c.per_million(c.held)),
        ),
        (
            "– of them by an honest downgrade or move for good",
            Box::new(|c| c.per_million(c.held_by_downgrade)),
        ),
        (
            "– of them longer than 4 h",
            Box::new(|c| c.per_million(c.held_long)),
        ),
        (
            "put off by an accident of a handshake, per million (no memory needed)",
            Box::new(|c| c.per_million(c.accidents)),
        ),
        (
            "days from an honest downgrade to the next mail delivered: median",
            Box::new(|c| c.days(0.5)),
        ),
        ("– the longest", Box::new(|c| c.days(1.0))),
        (
            "honest plain hosts whose mail a forger's TLS got held: messages",
            Box::new(|c| c.poisoned.to_string()),
        ),
        (
            "sessions after which a stranger's key counted as proven",
            Box::new(|c| c.keys_poisoned.to_string()),
        ),
        (
            "TLS of an attacker's own to peers that never proved who they are: sent",
            Box::new(move |c| share(c.beyond_bound_sent, c.beyond_bound)),
        ),
        (
            "forged MX, certificate for his own name: sent",
            Box::new(move |c| share(c.forged_exchangers_sent, c.forged_exchangers)),
        ),
        ("alarms in the year", Box::new(|c| c.alarms.to_string())),
    ];
    for (name, cell) in rows {
        let cells: Vec<String> = results.iter().map(|(_, counts)| cell(counts)).collect();
        let _ = writeln!(text, "| {name} | {} |", cells.join(" | "));
    }
    text
}
