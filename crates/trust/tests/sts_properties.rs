//! MTA-STS, for any text: reading never breaks, printing and reading give the same, a star is one label.
#![allow(clippy::unwrap_used)] // tests

use std::time::Duration;

use mail::{Domain, Host};
use proptest::prelude::*;
use trust::sts::{
    Blocked, Discovered, Id, Listed, MAX_AGE_MAX, Mode, MxPattern, Next, Policy, discover, next,
    refresh_after, retry_after,
};

fn label() -> impl Strategy<Value = String> {
    "[a-z0-9]{1,8}"
}

fn name() -> impl Strategy<Value = Domain> {
    prop::collection::vec(label(), 1..5).prop_map(|labels| Domain::parse(&labels.join(".")).unwrap())
}

fn policy() -> impl Strategy<Value = Policy> {
    let mode = prop::sample::select(vec![Mode::Enforce, Mode::Testing, Mode::None]);
    let pattern = (name(), any::<bool>()).prop_map(|(name, star)| match star {
        true => MxPattern::Below(name),
        false => MxPattern::Host(name),
    });
    let mx = prop::collection::vec(pattern, 1..6);
    (mode, mx, 0..=MAX_AGE_MAX.as_secs()).prop_map(|(mode, mx, seconds)| Policy {
        mode,
        mx,
        max_age: Duration::from_secs(seconds),
    })
}

fn id() -> impl Strategy<Value = Id> {
    "[A-Za-z0-9]{1,2}".prop_map(|text| Id::parse(&text).unwrap())
}

fn discovered() -> impl Strategy<Value = Discovered> {
    prop_oneof![
        Just(Discovered::Absent),
        Just(Discovered::Failed("timeout".into())),
        id().prop_map(Discovered::Published),
        prop::collection::vec(any::<Vec<u8>>(), 0..3).prop_map(|records| discover(&records)),
    ]
}

proptest! {
    #[test]
    fn any_octets_are_a_policy_or_a_reason(octets in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(policy) = Policy::parse(&octets) {
            prop_assert_eq!(Policy::parse(policy.to_string().as_bytes()), Ok(policy));
        }
    }

    #[test]
    fn policies_survive_printing_in_any_form(policy in policy(), lf in any::<bool>(), extra in "[a-z]{1,9}: [ -~]{0,20}[!-~]") {
        let mut text = format!("x-{extra}\r\n{policy}");
        if lf {
            text = text.replace("\r\n", "\n");
        }
        prop_assert_eq!(Policy::parse(text.as_bytes()), Ok(policy));
    }

    // proves: 8461-4.1-1
    #[test]
    fn a_star_is_exactly_one_label(base in name(), labels in prop::collection::vec(label(), 0..4)) {
        let pattern = MxPattern::Below(base.clone());
        let full = labels.iter().rev().fold(base.to_string(), |name, label| format!("{label}.{name}"));
        let name = Domain::parse(&full).unwrap();
        prop_assert_eq!(pattern.fits(&name), labels.len() == 1);
        let policy = Policy { mode: Mode::Enforce, mx: vec![pattern], max_age: Duration::ZERO };
        let listed = policy.lists(&Host::Name(name));
        prop_assert_eq!(listed == Listed::Yes, labels.len() == 1);
    }

    // proves: 8461-3.1-6
    #[test]
    fn only_a_fetch_takes_a_valid_policy_from_force(kept in id(), discovered in discovered(), blocked in id(), age in 0u64..600) {
        let blocked = Blocked { id: blocked, age: Duration::from_secs(age), why: "404".into() };
        for blocked in [None, Some(&blocked)] {
            match next(Some(&kept), &discovered, blocked) {
                Next::Apply => {}
                Next::Fetch(id) => prop_assert_eq!(discovered.clone(), Discovered::Published(id)),
                Next::Nothing(why) => prop_assert!(false, "{:?}", why),
            }
        }
    }

    #[test]
    fn pauses_have_bounds(max_age in 0..=MAX_AGE_MAX.as_secs(), failures in any::<u32>(), roll in any::<u64>()) {
        let day = Duration::from_secs(24 * 3600);
        let after = refresh_after(Duration::from_secs(max_age), roll);
        prop_assert!(after > Duration::from_secs(200) && after <= day);
        let after = retry_after(failures, roll);
        prop_assert!(after >= Duration::from_secs(300) && after <= day);
    }
}
