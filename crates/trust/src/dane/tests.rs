use std::time::Duration;

use proptest::prelude::*;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use super::*;
use crate::{Certificates, Claim, Inputs, Lack, Origin, Path, Plan, Roots, Shown, Verdict};

/// A certificate with its key, to sign others with.
struct Holder {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

/// January 2027.
fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn expired(params: &mut CertificateParams) {
    params.not_after = date_time_ymd(2026, 1, 1);
}

/// Makes a certificate for these DNS names, signed by itself or by another.
fn holder(
    common: &str,
    names: &[&str],
    by: Option<&Holder>,
    change: impl FnOnce(&mut CertificateParams),
) -> Holder {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name.push(DnType::CommonName, common);
    change(&mut params);
    let key = KeyPair::generate().unwrap();
    let made = match by {
        Some(by) => params.signed_by(&key, &Issuer::from_params(&by.params, &by.key)),
        None => params.self_signed(&key),
    };
    Holder {
        der: made.unwrap().der().to_vec(),
        params,
        key,
    }
}

fn authority(common: &str, by: Option<&Holder>, constraints: BasicConstraints) -> Holder {
    holder(common, &[], by, |params| params.is_ca = IsCa::Ca(constraints))
}

fn leaf(names: &[&str], by: Option<&Holder>) -> Holder {
    holder("leaf", names, by, |_| {})
}

fn presented(chain: &[&Holder]) -> Presented {
    Presented::new(chain.iter().map(|holder| &*holder.der))
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// Records at mx.a.example; mail for a.example goes there.
fn records(all: Vec<Tlsa>) -> Records {
    Records::new(domain("mx.a.example"), all, vec![domain("a.example")])
}

fn tlsa(usage: u8, selector: u8, matching: u8, of: &Holder) -> Tlsa {
    Tlsa::of(usage, selector, matching, &of.der).unwrap()
}

/// Whether the records are met: the numbers of the one that is.
fn prove(all: Vec<Tlsa>, chain: &[&Holder]) -> Result<(u8, u8, u8), String> {
    let found = records(all).prove(&presented(chain), now());
    let kind = |fits: Match| (fits.usage, fits.selector, fits.matching);
    found.map(kind).map_err(|why| why.0.into())
}

fn refused(all: Vec<Tlsa>, chain: &[&Holder], because: &str) {
    let why = prove(all, chain).expect_err(because);
    assert!(why.contains(because), "{why:?} does not say {because:?}");
}

// proves: 6698-2.1.1-4 6698-2.1.2-1 6698-2.1.3-1 6698-6-1 6698-6-2 7671-2-1 7671-4.2-1
#[test]
fn every_selector_and_matching_type_fits_its_own_certificate_only() {
    let (own, other) = (leaf(&["mx.a.example"], None), leaf(&["mx.a.example"], None));
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            let right = tlsa(3, selector, matching, &own);
            assert_eq!(prove(vec![right.clone()], &[&own]), Ok((3, selector, matching)));
            refused(vec![right], &[&other], "the certificate is another one");
        }
    }
    let renewed = Holder {
        der: own.params.clone().self_signed(&own.key).unwrap().der().to_vec(),
        params: own.params.clone(),
        key: KeyPair::generate().unwrap(),
    };
    assert_ne!(renewed.der, own.der, "the signature has dice in it");
    assert_eq!(prove(vec![tlsa(3, 1, 1, &own)], &[&renewed]), Ok((3, 1, 1)));
    assert!(prove(vec![tlsa(3, 0, 1, &own)], &[&renewed]).is_err());
}

// proves: 7672-3.1.1-1 7672-3.1.1-2 7672-3.2.1-1 7671-5.1-1 7671-5.1-2
#[test]
fn an_end_entity_needs_neither_name_nor_date_nor_issuer() {
    let strange = holder("x", &["elsewhere.example"], None, expired);
    assert_eq!(prove(vec![tlsa(3, 1, 1, &strange)], &[&strange]), Ok((3, 1, 1)));
    let nameless = holder("x", &[], None, expired);
    assert_eq!(prove(vec![tlsa(3, 0, 1, &nameless)], &[&nameless]), Ok((3, 0, 1)));
    let unreadable = [0x30, 0x03, 1, 2, 3];
    let whole = Tlsa::of(3, 0, 1, &unreadable).unwrap();
    let shown = Presented::new([&unreadable[..]]);
    assert!(
        records(vec![whole]).prove(&shown, now()).is_ok(),
        "its octets are what counts"
    );
    assert!(
        records(vec![tlsa(3, 1, 1, &strange)])
            .prove(&Presented::default(), now())
            .is_err()
    );
}

// proves: 6698-4.1-6 7671-4-1 7672-3.1.3-2
#[test]
fn what_can_be_used() {
    let own = leaf(&["mx.a.example"], None);
    let digest = |usage, selector, matching, octets: usize| Tlsa {
        usage,
        selector,
        matching,
        association: vec![7; octets].into(),
    };
    for (record, usable) in [
        (digest(3, 1, 1, 32), true),
        (digest(3, 1, 2, 64), true),
        (digest(2, 0, 1, 32), true),
        (tlsa(3, 0, 0, &own), true),
        (tlsa(2, 1, 0, &own), true),
        (digest(0, 0, 1, 32), false),
        (digest(1, 1, 1, 32), false),
        (digest(4, 1, 1, 32), false),
        (digest(255, 1, 1, 32), false),
        (digest(3, 2, 1, 32), false),
        (digest(3, 1, 3, 32), false),
        (digest(3, 1, 9, 32), false),
        (digest(3, 1, 1, 20), false),
        (digest(3, 1, 1, 33), false),
        (digest(3, 1, 2, 32), false),
        (digest(3, 1, 0, 32), false),
        (digest(2, 0, 0, 32), false),
        (digest(3, 1, 1, 0), false),
    ] {
        assert_eq!(record.is_usable(), usable, "{record}");
        assert_eq!(records(vec![record]).has_usable(), usable);
    }
    let mut longer = tlsa(3, 0, 0, &own);
    longer.association = [&*longer.association, &[0]].concat().into();
    assert!(!longer.is_usable(), "octets behind the certificate");
}

// proves: 7671-9-1 7671-9-3 7671-9-4 7672-5-1
#[test]
fn of_several_digests_the_strongest_counts() {
    let (own, other) = (leaf(&["mx.a.example"], None), leaf(&["mx.a.example"], None));
    refused(
        vec![tlsa(3, 1, 1, &own), tlsa(3, 1, 2, &other)],
        &[&own],
        "none of 2",
    );
    assert_eq!(
        prove(vec![tlsa(3, 1, 1, &other), tlsa(3, 1, 2, &own)], &[&own]),
        Ok((3, 1, 2))
    );
    let all = vec![tlsa(3, 1, 0, &other), tlsa(3, 1, 1, &own), tlsa(3, 1, 2, &other)];
    assert!(prove(all, &[&own]).is_err());
    // In full counts beside the strongest digest; another selector is another matter; a malformed one is none.
    assert_eq!(
        prove(vec![tlsa(3, 1, 0, &own), tlsa(3, 1, 2, &other)], &[&own]),
        Ok((3, 1, 0))
    );
    assert_eq!(
        prove(vec![tlsa(3, 0, 1, &own), tlsa(3, 1, 2, &other)], &[&own]),
        Ok((3, 0, 1))
    );
    let mut malformed = tlsa(3, 1, 2, &other);
    malformed.association = malformed.association[..31].into();
    assert_eq!(
        prove(vec![malformed, tlsa(3, 1, 1, &own)], &[&own]),
        Ok((3, 1, 1))
    );
}

#[test]
fn while_keys_roll_over_any_record_is_enough() {
    let root = authority("root", None, BasicConstraints::Unconstrained);
    let (own, next) = (
        leaf(&["mx.a.example"], Some(&root)),
        leaf(&["mx.a.example"], None),
    );
    assert_eq!(
        prove(vec![tlsa(3, 1, 1, &next), tlsa(3, 1, 1, &own)], &[&own, &root]),
        Ok((3, 1, 1))
    );
    // DANE-EE and DANE-TA are not both required, in neither direction.
    assert_eq!(
        prove(vec![tlsa(2, 0, 1, &next), tlsa(3, 1, 1, &own)], &[&own, &root]),
        Ok((3, 1, 1))
    );
    assert_eq!(
        prove(vec![tlsa(3, 1, 1, &next), tlsa(2, 0, 1, &root)], &[&own, &root]),
        Ok((2, 0, 1))
    );
    // A record that cannot be used stands in nobody's way.
    let web = Tlsa {
        usage: 1,
        ..tlsa(3, 1, 1, &next)
    };
    assert_eq!(prove(vec![web, tlsa(3, 1, 1, &own)], &[&own]), Ok((3, 1, 1)));
}

// proves: 6698-2.1.1-3 7671-5.2.2-2 7671-5.2.3-2
#[test]
fn a_trust_anchor_is_one_that_the_path_leads_to() {
    let root = authority("root", None, BasicConstraints::Unconstrained);
    let between = authority("between", Some(&root), BasicConstraints::Unconstrained);
    let own = leaf(&["mx.a.example"], Some(&between));
    let stranger = authority("root", None, BasicConstraints::Unconstrained);
    let chain = [&own, &between, &root];
    for selector in [0, 1] {
        for matching in [0, 1, 2] {
            for anchor in [&root, &between] {
                let found = prove(vec![tlsa(2, selector, matching, anchor)], &chain);
                assert_eq!(found, Ok((2, selector, matching)));
            }
            assert!(prove(vec![tlsa(2, selector, matching, &stranger)], &chain).is_err());
            // The stranger's certificate in the chain makes no path to it.
            let all = [&own, &between, &root, &stranger];
            assert!(prove(vec![tlsa(2, selector, matching, &stranger)], &all).is_err());
        }
    }
    // What was not sent: a digest names nothing, a certificate or key in the record does.
    let sent = [&own, &between];
    refused(
        vec![tlsa(2, 0, 1, &root)],
        &sent,
        "no certificate of its chain is the one named",
    );
    refused(
        vec![tlsa(2, 1, 1, &root)],
        &sent,
        "no certificate of its chain is the one named",
    );
    assert_eq!(prove(vec![tlsa(2, 0, 0, &root)], &sent), Ok((2, 0, 0)));
    assert_eq!(prove(vec![tlsa(2, 1, 0, &root)], &sent), Ok((2, 1, 0)));
    assert!(
        prove(vec![tlsa(2, 1, 0, &stranger)], &sent).is_err(),
        "the same name, another key"
    );
    assert!(prove(vec![tlsa(2, 0, 0, &stranger)], &sent).is_err());
    // The peer's own certificate is no trust anchor of itself.
    assert!(prove(vec![tlsa(2, 0, 1, &own)], &chain).is_err());
    // A path that breaks off.
    refused(
        vec![tlsa(2, 0, 1, &root)],
        &[&own, &root],
        "its path does not lead",
    );
}

#[test]
fn a_certificate_that_signed_itself_is_its_own_anchor() {
    let own = leaf(&["mx.a.example"], None);
    assert_eq!(prove(vec![tlsa(2, 0, 1, &own)], &[&own]), Ok((2, 0, 1)));
    assert_eq!(prove(vec![tlsa(2, 1, 1, &own)], &[&own]), Ok((2, 1, 1)));
    let all = holder("leaf", &["mx.a.example"], None, |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    assert_eq!(prove(vec![tlsa(2, 0, 1, &all)], &[&all]), Ok((2, 0, 1)));
    let late = holder("leaf", &["mx.a.example"], None, expired);
    refused(vec![tlsa(2, 0, 1, &late)], &[&late], "out of date");
    let other = leaf(&["mx.b.example"], None);
    refused(
        vec![tlsa(2, 0, 1, &other)],
        &[&other],
        "is not for mx.a.example or a.example",
    );
}

// proves: 7672-3.2.2-1 7672-3.2.2-2 7672-1.1-1 7672-3.2.3-1 7672-3.2.3-2 7672-3.2.3-3 7671-10.2-2
#[test]
fn below_a_trust_anchor_the_names_count() {
    let root = authority("root", None, BasicConstraints::Unconstrained);
    let anchor = || vec![tlsa(2, 0, 1, &root)];
    let check = |common: &str, names: &[&str], right: bool| {
        let own = holder(common, names, Some(&root), |_| {});
        let found = prove(anchor(), &[&own, &root]);
        assert_eq!(found.is_ok(), right, "{common} {names:?}: {found:?}");
    };
    check("x", &["mx.a.example"], true);
    check("x", &["a.example"], true);
    check("x", &["other.example", "MX.A.example"], true);
    check("x", &["b.example"], false);
    check("x", &["*.a.example"], true);
    check("x", &["*.example"], false);
    check("x", &["mx*.a.example"], false);
    check("x", &["*.mx.a.example"], false);
    check("mx.a.example", &["b.example"], false);
    check("mx.a.example", &[], true);
    check("b.example", &[], false);
    // Names that lead there without proof count for nothing: the base alone is left.
    let alone = Records::new(domain("mx.a.example"), anchor(), Vec::new());
    let own = leaf(&["a.example"], Some(&root));
    assert!(alone.prove(&presented(&[&own, &root]), now()).is_err());
    let deep = Records::new(domain("x.mx.a.example"), anchor(), Vec::new());
    let own = leaf(&["*.a.example"], Some(&root));
    assert!(deep.prove(&presented(&[&own, &root]), now()).is_err());
}

#[test]
fn below_a_trust_anchor_the_dates_count() {
    let root = authority("root", None, BasicConstraints::Unconstrained);
    let late = |by: &Holder| holder("leaf", &["mx.a.example"], Some(by), expired);
    refused(vec![tlsa(2, 0, 1, &root)], &[&late(&root), &root], "out of date");
    let between = holder("between", &[], Some(&root), |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        expired(params);
    });
    let own = leaf(&["mx.a.example"], Some(&between));
    refused(
        vec![tlsa(2, 0, 1, &root)],
        &[&own, &between, &root],
        "out of date",
    );
    refused(
        vec![tlsa(2, 0, 1, &between)],
        &[&own, &between, &root],
        "out of date",
    );
}

// The third fault: DANE-TA judged with the web's roots, or a mismatch outweighed by them.
// proves: 7672-3.2-1
#[test]
fn the_webs_roots_play_no_part() {
    let root = authority("root", None, BasicConstraints::Unconstrained);
    let other = authority("other", None, BasicConstraints::Unconstrained);
    let own = leaf(&["mx.a.example"], Some(&root));
    let der = rustls_pki_types::CertificateDer::from(root.der.clone());
    let trusted = webpki::anchor_from_trusted_cert(&der).unwrap().to_owned();
    let shown = presented(&[&own, &root]);
    let certificates = Certificates::examine(shown, &Roots::new([trusted]), now());
    assert_eq!(*certificates.path(), Path::Trusted);
    let shown = Shown::tls(facts(), certificates);
    for (record, meets) in [
        (tlsa(3, 1, 1, &own), true),
        (tlsa(2, 0, 1, &root), true),
        (tlsa(3, 1, 1, &other), false),
        (tlsa(2, 0, 1, &other), false),
        (tlsa(2, 0, 0, &other), false),
    ] {
        let finding = Finding::Published(Arc::new(records(vec![record.clone()])));
        let host = mail::Host::parse("mx.a.example").unwrap();
        let plan = Plan::make(&Inputs {
            host: &host,
            domain: Some(&domain("a.example")),
            origin: Origin::Proven,
            wish: mail::TlsWish::Usual,
            rule: None,
            dane: &finding,
            sts: &crate::sts::Finding::Absent(None),
            claim: &Claim::default(),
        });
        let verdict = plan.unwrap().judge(&shown, now()).verdict;
        match verdict {
            Verdict::Send(_) => assert!(meets, "{record}"),
            Verdict::Hold(unmet) => {
                assert!(!meets, "{record}: {unmet}");
                assert!(matches!(unmet.lack, Lack::Dane(_)), "{unmet}");
            }
        }
    }
}

// proves: 7672-2.2.1-5
#[test]
fn records_of_a_host_that_was_named_without_proof_are_not_told_as_proof() {
    let own = leaf(&["mx.a.example"], None);
    let finding = Finding::Published(Arc::new(records(vec![tlsa(3, 1, 1, &own)])));
    let certificates = Certificates::examine(presented(&[&own]), &Roots::default(), now());
    let host = mail::Host::parse("mx.a.example").unwrap();
    let told = |origin| {
        let plan = Plan::make(&Inputs {
            host: &host,
            domain: Some(&domain("b.example")),
            origin,
            wish: mail::TlsWish::Usual,
            rule: None,
            dane: &finding,
            sts: &crate::sts::Finding::Absent(None),
            claim: &Claim::default(),
        });
        let shown = Shown::tls(facts(), certificates.clone());
        plan.unwrap().judge(&shown, now()).evidence.to_string()
    };
    assert!(told(Origin::Proven).contains(" basis=dane-3-1-1 "));
    assert!(told(Origin::Unproven).contains(" basis=encryption "));
}

fn facts() -> mail::TlsFacts {
    mail::TlsFacts {
        version: mail::TlsVersion::V1_3,
        cipher: "x".into(),
        group: None,
        chain: Vec::new(),
        subject: None,
        server_name: None,
    }
}

// proves: 7672-3.1.2-5 7671-5.2.1-2
#[test]
fn a_trust_anchor_keeps_to_its_own_limits() {
    let root = authority("root", None, BasicConstraints::Constrained(0));
    let between = authority("between", Some(&root), BasicConstraints::Unconstrained);
    let near = leaf(&["mx.a.example"], Some(&root));
    let far = leaf(&["mx.a.example"], Some(&between));
    assert_eq!(prove(vec![tlsa(2, 0, 1, &root)], &[&near, &root]), Ok((2, 0, 1)));
    refused(
        vec![tlsa(2, 0, 1, &root)],
        &[&far, &between, &root],
        "longer than",
    );
    // RFC 7671 §5.2.3: a key alone has no limits.
    assert_eq!(
        prove(vec![tlsa(2, 1, 1, &root)], &[&far, &between, &root]),
        Ok((2, 1, 1))
    );
    let none = holder("none", &[], None, |params| params.is_ca = IsCa::ExplicitNoCa);
    let own = leaf(&["mx.a.example"], Some(&none));
    refused(vec![tlsa(2, 0, 1, &none)], &[&own, &none], "no authority");
}

// proves: 6698-2.2-1
#[test]
fn the_text_of_a_record() {
    let read = |text: &str| text.parse::<Tlsa>();
    let record = read("3 1 1 00ff 0A\t0b").unwrap();
    assert_eq!(record, read("3  1 1 00FF0a0B").unwrap());
    assert_eq!(record.to_string(), "3 1 1 00ff0a0b");
    assert_eq!(record, Tlsa::parse(&[3, 1, 1, 0, 0xff, 10, 11]).unwrap());
    for (text, why) in [
        ("", BadTlsa::Short),
        ("3 1", BadTlsa::Short),
        ("3 1 1", BadTlsa::Short),
        ("256 1 1 00", BadTlsa::Number),
        ("+3 1 1 00", BadTlsa::Number),
        ("a 1 1 00", BadTlsa::Number),
        ("3 1 1 0", BadTlsa::Hex),
        ("3 1 1 0g", BadTlsa::Hex),
        ("3 1 1 é0", BadTlsa::Hex),
    ] {
        assert_eq!(read(text), Err(why), "{text:?}");
    }
    assert_eq!(Tlsa::parse(&[3, 1, 1]), Err(BadTlsa::Short));
    assert_eq!(Tlsa::parse(&vec![3; 65_536]), Err(BadTlsa::Long));
}

#[test]
fn a_flood_of_records_is_cut() {
    let own = leaf(&["mx.a.example"], None);
    let many = records(vec![tlsa(3, 1, 1, &own); 10_000]);
    assert_eq!(many.all.len(), RECORDS_MAX);
}

proptest! {
    #[test]
    fn foreign_octets_never_panic(
        octets in prop::collection::vec(any::<u8>(), 0..200),
        text in "\\PC{0,60}",
        ders in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..80), 0..5),
    ) {
        drop(text.parse::<Tlsa>());
        if let Ok(record) = Tlsa::parse(&octets) {
            prop_assert_eq!(record.to_string().parse::<Tlsa>().unwrap(), record.clone());
            let shown = Presented::new(ders.iter().map(|der| &**der));
            drop(records(vec![record]).prove(&shown, now()));
        }
    }

    #[test]
    fn changed_certificates_never_panic(
        at in 0_usize..600,
        with in any::<u8>(),
        usage in 2_u8..=3,
        selector in 0_u8..=1,
        matching in 0_u8..=2,
    ) {
        let chain = CHAIN.with(|chain| chain.clone());
        let mut changed = chain.clone();
        for der in &mut changed {
            if let Some(octet) = der.get_mut(at) {
                *octet = with;
            }
        }
        for of in &chain {
            let record = Tlsa::of(usage, selector, matching, of).unwrap();
            let shown = Presented::new(changed.iter().map(|der| &**der));
            drop(records(vec![record]).prove(&shown, now()));
        }
    }
}

thread_local! {
    /// A leaf and its root.
    static CHAIN: Vec<Vec<u8>> = {
        let root = authority("root", None, BasicConstraints::Unconstrained);
        let own = leaf(&["mx.a.example"], Some(&root));
        vec![own.der, root.der]
    };
}
