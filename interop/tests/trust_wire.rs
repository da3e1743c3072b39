//! What crosses the wire when a host breaks its word at STARTTLS.

use interop::hostile::{HostilePeer, Manner, StartTls};
use interop::laboratory::{Laboratory, Sketch, after_a_conversation};
use interop::peers::Signing;
use interop::sealpost::ONCE;

/// Every way to fail at a handshake, by name.
fn broken_ways() -> Vec<(&'static str, StartTls)> {
    vec![
        ("refuses", StartTls::Refuses("454 4.7.0 not now".to_owned())),
        ("fails", StartTls::Refuses("500 5.5.1 what".to_owned())),
        (
            "garbage",
            StartTls::Garbage(b"\x00\x01garbage\r\n250 go on\r\n".to_vec()),
        ),
        ("stalls", StartTls::Stalls),
        ("old", StartTls::OldVersion),
        ("closes", StartTls::Closes),
        ("injects", StartTls::Injects(b"250-mx\r\n250 SIZE 1\r\n".to_vec())),
    ]
}

/// Sends a letter to each and gives the peers back.
fn send_to_all(lab: &Laboratory, peers: &[(&'static str, HostilePeer)], zone: &str) {
    for (way, _) in peers {
        lab.send(way, &format!("a@{way}.{zone}"));
    }
}

// proves: 3207-4.2-5
#[test]
fn a_broken_handshake_is_not_followed_by_clear_text_in_the_same_attempt() {
    let mut sketch = Sketch::new("trust-wire-broken");
    sketch.zone("plain.test.", Signing::Unsigned, "");
    let peers: Vec<_> = broken_ways()
        .into_iter()
        .map(|(way, starttls)| {
            let domain = format!("{way}.plain.test");
            let identity = sketch.identity(&format!("mx.{domain}"));
            (way, sketch.peer(&domain, Manner::with(&identity, starttls), &[]))
        })
        .collect();
    let lab = sketch.start(ONCE);
    send_to_all(&lab, &peers, "plain.test");
    for (way, peer) in &peers {
        let waiting = lab.put_off(&format!("a@{way}.plain.test"));
        assert!(
            waiting["because"]["status"]
                .as_str()
                .is_some_and(|status| status.starts_with('4')),
            "{way}: {waiting}"
        );
        for conversation in after_a_conversation(peer) {
            conversation.must_have_told_nothing_in_clear();
            assert_eq!(
                conversation.inside,
                b"",
                "{way}: {:?}",
                conversation.commands_inside()
            );
        }
    }
    assert_eq!(lab.reports(), Vec::<String>::new());
}
