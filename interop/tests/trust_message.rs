//! What a message itself demands, or waives (RFC 8689), with hosts that can carry it and hosts that cannot.

use std::time::Duration;

use interop::authority::{Identity, Validity};
use interop::hostile::{HostilePeer, Manner, StartTls};
use interop::laboratory::{Laboratory, OURS, Sketch};
use interop::letter::{Letter, Octets};
use interop::patience::{USUAL, wait_for};
use interop::peers::Signing;
use interop::peers::clients::{Channel, Smtplib};
use interop::sealpost::{ONCE, Setup};

/// Hands in a letter with REQUIRETLS, inside TLS.
fn send_required(lab: &Laboratory, id: &str, recipient: &str) {
    let letter = Letter::new(id, &format!("you@{OURS}"), &[recipient], 2_000, Octets::Ascii);
    let client = Smtplib::new(lab.sealpost.port(465), Channel::ImplicitTls).with_option("REQUIRETLS");
    client.send(&letter).must_succeed();
}

/// Hands in a letter with `TLS-Required: No`.
fn send_waived(lab: &Laboratory, id: &str, recipient: &str) {
    let mut letter = Letter::new(id, &format!("you@{OURS}"), &[recipient], 2_000, Octets::Ascii);
    letter.content = [b"TLS-Required: No\r\n".as_slice(), &letter.content].concat();
    interop::dialogue::hand_in(lab.sealpost.port(25), &letter);
}

fn able(manner: Manner) -> Manner {
    Manner {
        offers_inside: vec!["REQUIRETLS".to_owned()],
        ..manner
    }
}

fn mail_commands(peer: &HostilePeer) -> Vec<String> {
    let conversations = peer.conversations().into_iter();
    let commands = conversations.flat_map(|conversation| conversation.commands_inside());
    commands.filter(|command| command.starts_with("MAIL ")).collect()
}

// proves: 8689-2-4 8689-2-5 8689-2-6 8689-4.2.1-1 8689-4.2.1-2 8689-4.2.1-3 8689-4.2.1-5 8689-4.2.1-9 8689-8.2-1
#[test]
fn a_message_that_requires_tls_goes_over_proven_hosts_that_say_they_can_carry_it() {
    let mut sketch = Sketch::new("trust-message-required");
    sketch.zone("d.test.", Signing::Nsec, "");
    sketch.zone("plain.test.", Signing::Unsigned, "");
    let mx = |domain: &str| format!("mx.{domain}");
    let mut good = Vec::new();
    let mut bad = Vec::new();
    let identity = Identity::self_signed(&["mx.dane.d.test"], Validity::Valid);
    good.push((
        "dane.d.test",
        sketch.peer(
            "dane.d.test",
            able(Manner::honest(&identity)),
            &[identity.tlsa(3, 1, 1)],
        ),
    ));
    let identity = sketch.identity(&mx("chain.d.test"));
    good.push((
        "chain.d.test",
        sketch.peer("chain.d.test", able(Manner::honest(&identity)), &[]),
    ));
    let identity = sketch.identity(&mx("unable.d.test"));
    bad.push((
        "unable.d.test",
        "5.7.30",
        sketch.peer("unable.d.test", Manner::honest(&identity), &[]),
    ));
    let identity = sketch.identity(&mx("unproven.plain.test"));
    bad.push((
        "unproven.plain.test",
        "4.7.10",
        sketch.peer("unproven.plain.test", able(Manner::honest(&identity)), &[]),
    ));
    let identity = Identity::self_signed(&["mx.self-signed.d.test"], Validity::Valid);
    bad.push((
        "self-signed.d.test",
        "4.7.10",
        sketch.peer("self-signed.d.test", able(Manner::honest(&identity)), &[]),
    ));
    let identity = sketch.identity("mx.elsewhere.test");
    bad.push((
        "misnamed.d.test",
        "4.7.10",
        sketch.peer("misnamed.d.test", able(Manner::honest(&identity)), &[]),
    ));
    let identity = sketch.identity(&mx("stripped.d.test"));
    bad.push((
        "stripped.d.test",
        "4.7.10",
        sketch.peer(
            "stripped.d.test",
            able(Manner::with(&identity, StartTls::Stripped)),
            &[],
        ),
    ));
    // The better host cannot, the second can.
    let identity = sketch.identity(&mx("second.d.test"));
    good.push((
        "second.d.test",
        sketch.peer("second.d.test", able(Manner::honest(&identity)), &[]),
    ));
    sketch.records("d.test", "second.d.test. MX 5 mx.unable.d.test.\n");
    let lab = sketch.start(Setup { more: "", ..ONCE });
    for (domain, _) in &good {
        send_required(&lab, domain, &format!("a@{domain}"));
    }
    for (domain, _, _) in &bad {
        send_required(&lab, domain, &format!("a@{domain}"));
    }
    for (domain, peer) in &good {
        assert!(lab.arrives(peer, domain), "{domain} in clear");
        for command in mail_commands(peer) {
            assert!(command.contains(" REQUIRETLS"), "{domain}: {command}");
        }
    }
    // Who can never carry it sends it back; who might yet prove himself delays it, and the sender hears so early.
    for (domain, status, peer) in &bad {
        let report = wait_for(&format!("word of {domain}"), USUAL, || {
            lab.reports()
                .into_iter()
                .find(|report| report.contains(&format!("a@{domain}")))
        });
        assert!(
            report.contains(&format!("Status: {status}")),
            "{domain}: {report}"
        );
        peer.must_have_heard_nothing_in_clear();
        assert_eq!(mail_commands(peer), Vec::<String>::new(), "{domain}");
    }
}

// proves: 8689-3-3 8689-3-4 8689-4.1-2 8689-4.2.2-1
#[test]
fn a_message_that_waives_tls_passes_what_is_published_and_never_local_policy() {
    let mut sketch = Sketch::new("trust-message-waived");
    sketch.zone("d.test.", Signing::Nsec, "");
    let other = Identity::self_signed(&["x.test"], Validity::Valid);
    let tlsa = [other.tlsa(3, 1, 1)];
    let mut peer = |domain: &str, starttls: StartTls| {
        let identity = sketch.identity(&format!("mx.{domain}"));
        sketch.peer(domain, Manner::with(&identity, starttls), &tlsa)
    };
    let mismatch = peer("mismatch.d.test", StartTls::Honest);
    let stripped = peer("stripped.d.test", StartTls::Stripped);
    let demanded = peer("demanded.d.test", StartTls::Stripped);
    let more = "[[trust.rule]]\ndomain = \"demanded.d.test\"\ndemand = \"encrypted\"\n";
    let lab = sketch.start(Setup { more, ..ONCE });
    for domain in ["mismatch.d.test", "stripped.d.test", "demanded.d.test"] {
        send_waived(&lab, domain, &format!("a@{domain}"));
    }
    // Encrypted where it can be, although the key is wrong.
    assert!(lab.arrives(&mismatch, "mismatch.d.test"));
    assert!(!lab.arrives(&stripped, "stripped.d.test"));
    lab.put_off("a@demanded.d.test");
    demanded.must_have_heard_nothing_in_clear();
    assert!(lab.arrives_within(&mismatch, "mismatch.d.test", Duration::from_secs(1)));
}
