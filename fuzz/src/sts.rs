//! MTA-STS: any octets as a policy and as TXT records. What is read can be printed and read again as the same.

use std::time::Duration;

use mail::{Domain, Host};
use trust::sts::{Discovered, MAX_AGE_MAX, Mode, MxPattern, Policy, discover};

/// Checks a text as a policy, and its lines as TXT records.
pub fn check(octets: &[u8]) {
    if let Ok(policy) = Policy::parse(octets) {
        assert_eq!(Policy::parse(policy.to_string().as_bytes()).as_ref(), Ok(&policy));
        assert!(policy.max_age <= MAX_AGE_MAX);
        assert!(policy.mode == Mode::None || !policy.mx.is_empty());
        policy.mx.iter().for_each(check_pattern);
        let _ = trust::sts::refresh_after(policy.max_age, octets.len() as u64) > Duration::ZERO;
    }
    let records: Vec<&[u8]> = octets.split(|octet| *octet == b'\n').collect();
    if let Discovered::Published(id) = discover(&records) {
        assert_eq!(discover(&[id.record()]), Discovered::Published(id));
    }
}

fn check_pattern(pattern: &MxPattern) {
    assert_eq!(pattern.to_string().parse().as_ref(), Ok(pattern));
    let listed = |name: &Domain| pattern.fits(name);
    match pattern {
        MxPattern::Host(host) => assert!(listed(host)),
        MxPattern::Below(domain) => {
            assert!(!listed(domain));
            let below = |name: &Domain| Domain::parse(&format!("a.{name}")).ok();
            if let Some(one) = below(domain) {
                assert!(listed(&one));
                assert!(below(&one).is_none_or(|two| !listed(&two)));
                assert!(Host::parse(one.as_str()).is_ok());
            }
        }
    }
}
