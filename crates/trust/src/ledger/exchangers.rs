//! The names under which a domain's mail exchangers stand. In an unsigned zone without MTA-STS a forged answer can name any
//! host, and a certificate for the wrong host's own name proves nothing: a new name there is news.

use mail::Domain;

use super::course::{Binding, Run};
use super::observation::Vouched;
use super::seconds::Second;

/// The names of one domain. Bounded.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Exchangers(pub(super) Vec<Under>);

/// One name under which exchangers stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Under {
    /// `example.com` of `mx.example.com`.
    pub name: Box<str>,
    pub(super) run: Run,
    /// Since when it counts as the domain's own.
    pub known: Option<Second>,
    /// When it was last used.
    pub last: Second,
}

/// What an exchanger's name is to a domain.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Acquaintance {
    /// Known, or vouched for, or nothing is known of the domain yet.
    Known,
    /// New, while others are known.
    New,
}

impl Exchangers {
    /// What a host is to the domain.
    pub fn acquaintance(&self, host: &str, vouched: Vouched) -> Acquaintance {
        let under = under(host);
        let any = self.0.iter().any(|known| known.known.is_some());
        let itself = self
            .0
            .iter()
            .any(|known| known.known.is_some() && known.name == under);
        match vouched == Vouched::Yes || itself || !any {
            true => Acquaintance::Known,
            false => Acquaintance::New,
        }
    }

    /// The names that are known, and those that are not yet.
    pub fn all(&self) -> impl Iterator<Item = &Under> {
        self.0.iter()
    }

    /// Notes a host that was used. Whether its name was never heard of before, while others are known. A name becomes known
    /// as a bound does: by several sessions, apart from each other; or at once if someone vouches for it.
    pub(super) fn note(
        &mut self,
        host: &str,
        vouched: Vouched,
        used: Used,
        now: Second,
        binding: &Binding,
    ) -> Fresh {
        let was = self.acquaintance(host, vouched);
        let name = under(host);
        let heard = self.0.iter().any(|known| known.name == name);
        if !heard {
            self.make_room();
            self.0.push(Under {
                name: name.clone(),
                run: Run::default(),
                known: None,
                last: now,
            });
        }
        if let Some(entry) = self.0.iter_mut().find(|known| known.name == name) {
            entry.last = entry.last.max(now);
            let enough = used == Used::Yes && entry.run.grow(now, binding);
            if entry.known.is_none() && (enough || vouched == Vouched::Yes) {
                entry.known = Some(now);
            }
        }
        match (was, heard) {
            (Acquaintance::New, false) => Fresh::Yes,
            (Acquaintance::New | Acquaintance::Known, _) => Fresh::No,
        }
    }

    /// A person says that all these are right.
    pub fn accept(&mut self, now: Second) {
        for entry in &mut self.0 {
            entry.known.get_or_insert(now);
        }
    }

    /// The one used longest ago gives way; those that are not known first, so that a flood of forged names displaces no
    /// name that is.
    fn make_room(&mut self) {
        if self.0.len() < NAMES_MAX {
            return;
        }
        let places = self.0.iter().enumerate();
        let last = places.min_by_key(|(_, entry)| (entry.known.is_some(), entry.last));
        if let Some((place, _)) = last {
            self.0.remove(place);
        }
    }
}

/// Whether a host was really used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Used {
    Yes,
    No,
}

/// Whether a name was never heard of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fresh {
    Yes,
    No,
}

/// The name that someone registered, as far as it can be told without a list of all registries: the last two labels, or
/// three where the last is a country's and the one before it is a word that registries use (`co.uk`, `com.br`). Wrong guesses
/// make two names of one owner look like two owners, or two small owners below an unusual registry like one.
pub fn under(host: &str) -> Box<str> {
    if Domain::parse(host).is_err() {
        return host.into();
    }
    let labels: Vec<&str> = host.rsplit('.').collect();
    let country = labels.first().is_some_and(|last| last.len() == 2);
    let registry = labels.get(1).is_some_and(|label| REGISTRY_LABELS.contains(label));
    let count = if country && registry { 3 } else { 2 };
    let kept: Vec<&str> = labels.iter().take(count).rev().copied().collect();
    kept.join(".").into()
}

/// Words below which registries of countries give out names.
const REGISTRY_LABELS: [&str; 24] = [
    "ac", "asn", "co", "com", "edu", "firm", "gen", "go", "gob", "gov", "govt", "gv", "id", "ltd", "me",
    "mil", "ne", "net", "nom", "or", "org", "plc", "priv", "sch",
];
/// Names of a domain that are remembered.
pub(super) const NAMES_MAX: usize = 12;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const BINDING: Binding = Binding {
        after: 3,
        over: Duration::from_secs(86_400),
        apart: Duration::from_secs(14_400),
        decay: Duration::from_secs(90 * 86_400),
    };

    #[test]
    fn what_someone_registered() {
        for (host, expected) in [
            ("mx.example.com", "example.com"),
            ("a.b.c.example", "c.example"),
            ("example.com", "example.com"),
            ("mx.example.co.uk", "example.co.uk"),
            ("mx.example.com.br", "example.com.br"),
            ("mx.co.com", "co.com"),
            ("mx.example.de", "example.de"),
            ("localhost", "localhost"),
            ("[192.0.2.1]", "[192.0.2.1]"),
        ] {
            assert_eq!(&*under(host), expected, "{host}");
        }
    }

    fn hour(hours: u64) -> Second {
        Second(1_000_000 + hours * 3600)
    }

    #[test]
    fn a_new_name_is_news_once_and_known_after_some_time() {
        let mut names = Exchangers::default();
        let note =
            |names: &mut Exchangers, host, at| names.note(host, Vouched::No, Used::Yes, hour(at), &BINDING);
        assert_eq!(note(&mut names, "mx.a.example", 0), Fresh::No, "the first ever");
        note(&mut names, "mx.a.example", 12);
        note(&mut names, "mx2.a.example", 24);
        assert_eq!(note(&mut names, "mx.evil.test", 25), Fresh::Yes);
        assert_eq!(note(&mut names, "mx.evil.test", 26), Fresh::No, "told once");
        assert_eq!(names.acquaintance("mx.evil.test", Vouched::No), Acquaintance::New);
        assert_eq!(
            names.acquaintance("mx.evil.test", Vouched::Yes),
            Acquaintance::Known
        );
        note(&mut names, "mx.evil.test", 40);
        note(&mut names, "mx.evil.test", 50);
        assert_eq!(
            names.acquaintance("mx3.evil.test", Vouched::No),
            Acquaintance::Known
        );
    }

    #[test]
    fn a_host_that_is_not_used_never_becomes_known_by_itself() {
        let mut names = Exchangers::default();
        names.note("mx.a.example", Vouched::Yes, Used::Yes, hour(0), &BINDING);
        for at in 1..500 {
            names.note("mx.b.example", Vouched::No, Used::No, hour(at), &BINDING);
        }
        assert_eq!(names.acquaintance("mx.b.example", Vouched::No), Acquaintance::New);
        names.accept(hour(500));
        assert_eq!(
            names.acquaintance("mx.b.example", Vouched::No),
            Acquaintance::Known
        );
    }

    #[test]
    fn a_flood_of_forged_names_displaces_no_known_one() {
        let mut names = Exchangers::default();
        names.note("mx.a.example", Vouched::Yes, Used::Yes, hour(0), &BINDING);
        for at in 1..1000 {
            let host = format!("mx.evil{at}.test");
            names.note(&host, Vouched::No, Used::Yes, hour(at), &BINDING);
        }
        assert_eq!(names.0.len(), NAMES_MAX);
        assert_eq!(
            names.acquaintance("mx.a.example", Vouched::No),
            Acquaintance::Known
        );
    }
}
