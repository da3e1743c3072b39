//! Sealpost and four other servers: each sends to Sealpost and receives from it, over STARTTLS, octet by octet the same.

use interop::letter::{Letter, Octets};
use interop::mailbox::{self, Arrived, wait_for_letter};
use interop::patience::{USUAL, wait_for};
use interop::peers::chasquid::USER;
use interop::peers::{Chasquid, Exim, Host, Knot, MailServer, OpenSmtpd, Postfix};
use interop::place::Place;
use interop::sealpost::{Sealpost, Setup};

/// Carries letters both ways between Sealpost and one peer, and gives back the trace of what arrived: at Sealpost, at the peer.
fn exchange(test: &str, start: impl FnOnce(Host) -> Box<dyn MailServer>) -> (Vec<String>, Vec<String>) {
    let place = Place::new(test);
    let resolver = place.address();
    let (ours, theirs) = (
        Host::new(&place, "sealpost.test", resolver),
        Host::new(&place, "peer.test", resolver),
    );
    let _knot = Knot::start(
        &place.subfolder("knot"),
        resolver,
        &(ours.records() + &theirs.records()),
    );
    let peer = start(theirs);
    let sealpost = Sealpost::start(ours, Setup::default());
    let (here, there) = (format!("{USER}@sealpost.test"), format!("{USER}@peer.test"));
    let letters = |from: &str, to: &str, way: &str| -> Vec<Letter> {
        [
            (1_000, Octets::Ascii),
            (70_000, Octets::EightBit),
            (3_000_000, Octets::Ascii),
        ]
        .iter()
        .map(|(bytes, octets)| Letter::new(&format!("{way}-{bytes}"), from, &[to], *bytes, *octets))
        .collect()
    };
    let (inward, outward) = (letters(&there, &here, "in"), letters(&here, &there, "out"));
    inward.iter().for_each(|letter| peer.hand_in(letter));
    outward
        .iter()
        .for_each(|letter| interop::dialogue::hand_in(sealpost.port(25), letter));

    let traces = |mail: &std::path::Path, letters: &[Letter]| -> Vec<String> {
        letters
            .iter()
            .map(|letter| {
                let arrived: Vec<Arrived> = wait_for_letter(mail, &letter.id, USUAL);
                assert_eq!(arrived.len(), 1, "{} came {} times", letter.id, arrived.len());
                letter.must_equal(&arrived[0].octets);
                arrived[0].trace()
            })
            .collect()
    };
    let at_sealpost = traces(&sealpost.mail(), &inward);
    let at_peer = traces(&peer.mail(), &outward);
    sealpost.wait_for_empty_queue(USUAL);
    (at_sealpost, at_peer)
}

/// The trace of each letter must say this, whatever line folding was used.
fn all_say(traces: &[String], words: &[&str]) {
    for trace in traces {
        let unfolded = trace.split_whitespace().collect::<Vec<_>>().join(" ");
        for word in words {
            assert!(unfolded.contains(word), "no {word:?} in\n{trace}");
        }
    }
}

// proves: 3207-4.1-2 3848-1-2 5321-3.6.3-4
#[test]
fn postfix_sends_and_receives_over_starttls() {
    let (ours, theirs) = exchange("exchange-postfix", |host| Box::new(Postfix::start(host, "")));
    all_say(
        &ours,
        &["by mx.sealpost.test", "with ESMTPS", "tls TLS_AES_256_GCM_SHA384"],
    );
    all_say(
        &theirs,
        &[
            "by mx.peer.test (Postfix) with ESMTPS",
            "using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384",
        ],
    );
}

#[test]
fn exim_sends_and_receives_over_starttls() {
    let (ours, theirs) = exchange("exchange-exim", |host| Box::new(Exim::start(host)));
    all_say(
        &ours,
        &["by mx.sealpost.test", "with ESMTPS", "tls TLS_AES_256_GCM_SHA384"],
    );
    all_say(
        &theirs,
        &[
            "by mx.peer.test with esmtps (TLS1.3) tls TLS_ECDHE_",
            "AES_256_GCM_SHA384",
        ],
    );
}

// proves: 3207-6-7
/// Debian 12's OpenSMTPD cannot serve STARTTLS (its key process fails with OpenSSL 3): it receives in clear.
#[test]
fn opensmtpd_sends_over_starttls_and_receives_in_clear() {
    let (ours, theirs) = exchange("exchange-opensmtpd", |host| Box::new(OpenSmtpd::start(host)));
    all_say(
        &ours,
        &["by mx.sealpost.test", "with ESMTPS", "tls TLS_AES_256_GCM_SHA384"],
    );
    all_say(&theirs, &["by mx.peer.test (OpenSMTPD) with ESMTP id"]);
}

#[test]
fn chasquid_sends_and_receives_over_starttls() {
    let (ours, theirs) = exchange("exchange-chasquid", |host| Box::new(Chasquid::start(host)));
    all_say(
        &ours,
        &["by mx.sealpost.test", "with ESMTPS", "tls TLS_AES_128_GCM_SHA256"],
    );
    all_say(
        &theirs,
        &["by mx.peer.test (chasquid) with ESMTPS", "tls TLS_AES_"],
    );
}

// proves: 6531-3.2-3 6531-3.2-4
/// OpenSMTPD 6.8 offers no SMTPUTF8.
#[test]
fn a_utf8_letter_is_returned_and_not_sent_to_a_server_that_cannot_take_it() {
    let place = Place::new("exchange-utf8");
    let resolver = place.address();
    let [ours, theirs] = ["sealpost.test", "peer.test"].map(|domain| Host::new(&place, domain, resolver));
    let records = ours.records() + &theirs.records();
    let _knot = Knot::start(&place.subfolder("knot"), resolver, &records);
    let peer = OpenSmtpd::start(theirs);
    let sealpost = Sealpost::start(ours, Setup::default());
    let letter = Letter::new(
        "utf8",
        "lab@sealpost.test",
        &["grüße@peer.test"],
        2_000,
        Octets::EightBit,
    );
    interop::dialogue::hand_in(sealpost.port(25), &letter);
    let report = wait_for("a report about the letter", USUAL, || {
        let arrived = mailbox::all(&sealpost.mail()).pop()?;
        Some(String::from_utf8_lossy(&arrived.octets).into_owned())
    });
    assert!(
        report.contains("report-type=delivery-status") && report.contains("Status: 5.6.7"),
        "{report}"
    );
    assert!(mailbox::files(&peer.mail()).is_empty());
    assert!(
        !peer.logged().contains("SMTPUTF8"),
        "OpenSMTPD was asked for SMTPUTF8"
    );
}
