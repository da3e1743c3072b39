//! TLSA records and certificates of any octets: two octets of length and so many more, first a record, then certificates.

use std::time::{Duration, SystemTime};

use mail::Domain;
use trust::Presented;
use trust::dane::{Records, Tlsa};

/// Checks that a record reads as it prints, that certificates never panic, and that a record of a certificate fits it.
pub fn check(octets: &[u8]) {
    let mut rest = octets;
    let mut parts = Vec::new();
    while let [high, low, behind @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low])).min(behind.len());
        parts.push(&behind[..length]);
        rest = &behind[length..];
    }
    let Some((record, certificates)) = parts.split_first() else {
        return;
    };
    let record = Tlsa::parse(record);
    if let Ok(record) = &record {
        assert_eq!(record.to_string().parse().as_ref(), Ok(record));
    }
    let presented = Presented::new(certificates.iter().copied());
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    let prove = |all: Vec<Tlsa>| {
        let base = Domain::parse("mx.a.example").expect("a domain");
        let records = Records::new(base, all, Vec::new());
        let usable = records.has_usable();
        let proven = records.prove(&presented, now);
        assert!(
            usable || proven.is_err(),
            "nothing is proven by what cannot be used"
        );
        proven.is_ok()
    };
    prove(record.into_iter().collect());
    for (place, certificate) in certificates.iter().enumerate() {
        for (usage, selector, matching) in [
            (3, 0, 1),
            (3, 1, 1),
            (3, 1, 2),
            (2, 0, 0),
            (2, 0, 1),
            (2, 1, 0),
            (2, 1, 1),
        ] {
            if let Some(of) = Tlsa::of(usage, selector, matching, certificate) {
                let proven = prove(vec![of]);
                assert!(
                    proven || usage == 2 || place > 0,
                    "a record of the very certificate"
                );
            }
        }
    }
}
