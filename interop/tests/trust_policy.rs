//! What the operator demands of a host by name, held against hosts that show less (RFC 3207 §4.1, RFC 2487 §5.1).

use interop::authority::{Identity, Validity};
use interop::fate::{Case, Fate, check};
use interop::hostile::{Manner, ONLY_TLS_1_2, StartTls};
use interop::laboratory::{Laboratory, Sketch};
use interop::patience::{USUAL, wait_for};
use interop::peers::Signing;
use interop::sealpost::{ONCE, Setup};

const RULES: &str = r#"
[[trust.rule]]
domain = "*.encrypted.p.test"
demand = "encrypted"

[[trust.rule]]
domain = "*.verified.p.test"
demand = "verified"
proof = "chain"

[[trust.rule]]
domain = "*.new.p.test"
demand = "encrypted"
version_min = "1.3"

[[trust.rule]]
domain = "*.clear.p.test"
demand = "none"
"#;

/// Adds a host under a rule.
fn host(sketch: &mut Sketch, domain: &str, manner: Manner, tlsa: &[String], fate: Fate) -> Case {
    let domain = format!("{domain}.p.test");
    let peer = sketch.peer(&domain, manner, tlsa);
    Case::new(&domain, peer, fate)
}

fn mx(domain: &str) -> String {
    format!("mx.{domain}.p.test")
}

// proves: 3207-4.1-1 3207-4.1-3 3207-4.1-5 3207-4.1-6 3207-6-2 3207-6-3 3207-6-5 3207-6-6 2487-5.1-1 2487-5.1-3 2487-5.1-5 2487-5.1-6 2487-7-2
#[test]
fn every_rule_is_held_against_every_way_to_show_less() {
    let mut sketch = Sketch::new("trust-policy");
    sketch.zone("p.test.", Signing::Unsigned, "");
    let mut cases = Vec::new();
    let pinned = Identity::self_signed(&["pinned.test"], Validity::Valid);
    for (domain, starttls, fate) in [
        ("good.encrypted", StartTls::Honest, Fate::Inside),
        ("stripped.encrypted", StartTls::Stripped, Fate::NoHandshake),
        (
            "refuses.encrypted",
            StartTls::Refuses("454 4.7.0 not now".to_owned()),
            Fate::NoHandshake,
        ),
        (
            "fails.encrypted",
            StartTls::Refuses("500 5.5.1 what".to_owned()),
            Fate::NoHandshake,
        ),
        (
            "garbage.encrypted",
            StartTls::Garbage(b"\x00\x01garbage\r\n".to_vec()),
            Fate::NoHandshake,
        ),
        ("stalls.encrypted", StartTls::Stalls, Fate::NoHandshake),
        ("old.encrypted", StartTls::OldVersion, Fate::NoHandshake),
        (
            "injects.encrypted",
            StartTls::Injects(b"250 ok\r\n".to_vec()),
            Fate::NoHandshake,
        ),
        ("good.verified", StartTls::Honest, Fate::Inside),
        ("stripped.verified", StartTls::Stripped, Fate::NoHandshake),
        ("good.clear", StartTls::Honest, Fate::InClear),
        ("good.new", StartTls::Honest, Fate::Inside),
    ] {
        let identity = sketch.identity(&mx(domain));
        cases.push(host(
            &mut sketch,
            domain,
            Manner::with(&identity, starttls),
            &[],
            fate,
        ));
    }
    let self_signed = |domain: &str| Identity::self_signed(&[&mx(domain)], Validity::Valid);
    let expired = sketch
        .authority
        .issue(&[&mx("expired.verified")], Validity::Expired);
    let misnamed = sketch.identity("mx.elsewhere.test");
    for (domain, identity, fate) in [
        (
            "self-signed.encrypted",
            self_signed("self-signed.encrypted"),
            Fate::Inside,
        ),
        (
            "self-signed.verified",
            self_signed("self-signed.verified"),
            Fate::Goodbye,
        ),
        ("expired.verified", expired, Fate::Goodbye),
        ("misnamed.verified", misnamed, Fate::Goodbye),
        ("pinned", pinned.clone(), Fate::Inside),
        ("other-key", self_signed("other-key"), Fate::Goodbye),
    ] {
        cases.push(host(&mut sketch, domain, Manner::honest(&identity), &[], fate));
    }
    let identity = sketch.identity(&mx("old-tls.new"));
    let only_1_2 = Manner {
        versions: ONLY_TLS_1_2,
        ..Manner::honest(&identity)
    };
    cases.push(host(&mut sketch, "old-tls.new", only_1_2, &[], Fate::NoHandshake));
    let pins: String = ["pinned", "other-key"]
        .map(|domain| {
            format!(
                "[[trust.rule]]\ndomain = \"{domain}.p.test\"\ndemand = \"verified\"\nproof = \"pin\"\npins = [\"{}\"]\n\n",
                pinned.key_print()
            )
        })
        .concat();
    let lab = sketch.start(Setup {
        more: &format!("{RULES}\n{pins}"),
        ..ONCE
    });
    check(&lab, &cases);
    for (domain, words) in [
        ("good.verified.p.test", "demand=verified/policy"),
        ("misnamed.verified.p.test", "unmet="),
        ("good.clear.p.test", "basis=clear-allowed"),
    ] {
        let told = lab.attempts(domain).concat();
        assert!(told.contains(words), "{domain}: {told}");
    }
}

/// How often Sealpost has tried a recipient.
fn tries(lab: &Laboratory, recipient: &str) -> u64 {
    lab.waiting(recipient)
        .and_then(|waiting| waiting["attempts"].as_u64())
        .unwrap_or_default()
}

// The host is tried again and again, and only the message's age sends it back.
// proves: 3207-6-9 3207-6-10
#[test]
fn what_is_not_satisfied_is_tried_again_until_the_message_is_too_old() {
    let mut sketch = Sketch::new("trust-policy-age");
    sketch.zone("p.test.", Signing::Unsigned, "");
    let identity = sketch.identity(&mx("late.encrypted"));
    let refuses = StartTls::Refuses("454 4.7.0 not now".to_owned());
    let late = sketch.peer(
        "late.encrypted.p.test",
        Manner::with(&identity, refuses.clone()),
        &[],
    );
    let never = sketch.peer("never.encrypted.p.test", Manner::with(&identity, refuses), &[]);
    let retry = "pauses = [\"1s\"]\njitter_percent = 0\nage_max = \"15s\"\nhost_wait_max = \"1s\"";
    let lab = sketch.start(Setup {
        more: RULES,
        retry,
        ..ONCE
    });
    lab.send("late", "a@late.encrypted.p.test");
    lab.send("never", "a@never.encrypted.p.test");
    wait_for("three tries", USUAL, || {
        (tries(&lab, "a@late.encrypted.p.test") >= 3).then_some(())
    });
    late.behave(Manner::honest(&identity));
    assert!(lab.arrives(&late, "late"));
    let report = wait_for("a report", USUAL, || lab.reports().pop());
    assert!(
        report.contains("a@never.encrypted.p.test") && report.contains("Action: failed"),
        "{report}"
    );
    assert!(
        never.conversations().len() >= 3,
        "{}",
        never.conversations().len()
    );
    late.must_have_heard_nothing_in_clear();
    never.must_have_heard_nothing_in_clear();
}
