//! The laboratory's hosts: the hostile peer and the policy host do what they are told, as programs of other people see it.

use std::process::Command;
use std::sync::Arc;

use interop::authority::{Authority, Identity, Validity};
use interop::dialogue::Dialogue;
use interop::hostile::{HostilePeer, Manner, StartTls};
use interop::letter::{Letter, Octets};
use interop::packages::Installed;
use interop::peers::finger::{Finger, Found, Level};
use interop::peers::unbound::Validation;
use interop::peers::{Signing, Tree, Unbound, Zone};
use interop::place::{Place, write};
use interop::policy_host::{Page, PolicyHost};

struct Laboratory {
    peer: HostilePeer,
    identity: Arc<Identity>,
    finger: Finger,
    _unbound: Unbound,
    _tree: Tree,
    _place: Place,
}

/// One host, `mx.a.test`, with a TLSA record for its key; it is the exchanger of `b.test` too, which is not signed.
fn start(test: &str) -> Laboratory {
    let place = Place::new(test);
    let authority = Authority::new("Laboratory Root");
    let identity = authority.issue(&["mx.a.test"], Validity::Valid);
    let address = place.address();
    let tlsa = identity.tlsa(3, 1, 1);
    let records =
        format!("a.test. MX 10 mx.a.test.\nmx.a.test. A {address}\n_25._tcp.mx.a.test. TLSA {tlsa}\n");
    let plain = format!("b.test. MX 10 mx.b.test.\nmx.b.test. A {address}\n");
    let zones = [
        Zone::new("a.test.", Signing::Nsec, &records),
        Zone::new("b.test.", Signing::Unsigned, &plain),
    ];
    let tree = Tree::start(&place.subfolder("knot"), place.address(), &zones);
    let resolver = place.address();
    let unbound = Unbound::start(&place.subfolder("unbound"), resolver, &tree, Validation::Checks);
    Laboratory {
        peer: HostilePeer::start(address, "mx.a.test", Manner::honest(&identity)),
        finger: Finger::new(&place.subfolder("finger"), resolver, &authority.pem()),
        identity,
        _unbound: unbound,
        _tree: tree,
        _place: place,
    }
}

#[test]
fn the_peer_keeps_apart_what_came_in_clear_and_inside_tls() {
    let lab = start("lab-peers-honest");
    assert_eq!(lab.finger.look(Level::Dane, "a.test"), Found::Verified);
    assert_eq!(lab.finger.look(Level::May, "b.test"), Found::Trusted);
    let conversations = lab.peer.conversations();
    assert_eq!(conversations.len(), 2);
    for (conversation, asked_for) in conversations.iter().zip(["a.test", "mx.b.test"]) {
        conversation.must_have_told_nothing_in_clear();
        let handshake = conversation.handshake.as_ref().expect("a handshake");
        assert_eq!(handshake.version, "TLSv1_3");
        assert!(
            handshake.server_name.is_some() || asked_for == "mx.b.test",
            "{handshake:?}"
        );
        assert_eq!(
            conversation.commands_inside().last().map(String::as_str),
            Some("QUIT")
        );
    }
    let mut dialogue = Dialogue::open((lab.peer.address(), 25).into()).expect("answers EHLO");
    let letter = Letter::new("in-clear", "you@c.test", &["me@a.test"], 2_000, Octets::Ascii);
    dialogue.send(&letter).expect("takes it");
    dialogue.quit();
    assert_eq!(lab.peer.letters(), [("in-clear".to_owned(), false)]);
    let told = std::panic::catch_unwind(|| lab.peer.must_have_heard_nothing_in_clear());
    assert!(told.is_err(), "a letter in clear was not noticed");
}

#[test]
fn the_peer_breaks_its_word_in_every_way() {
    let lab = start("lab-peers-hostile");
    let ways = [
        StartTls::Refuses("454 4.7.0 not now".to_owned()),
        StartTls::Garbage(b"\x00\x01garbage".to_vec()),
        StartTls::Stalls,
        StartTls::OldVersion,
        StartTls::Closes,
        StartTls::Injects(b"250 injected\r\n".to_vec()),
        StartTls::Stripped,
    ];
    for way in ways {
        lab.peer.behave(Manner::with(&lab.identity, way.clone()));
        let found = lab.finger.look(Level::Dane, "a.test");
        // Octets behind 220 are for the client to notice; this one drops them and goes on.
        match way {
            StartTls::Injects(_) => assert_eq!(found, Found::Verified, "{way:?}"),
            StartTls::Stripped => assert_eq!(found, Found::Clear, "{way:?}"),
            _ => assert!(matches!(found, Found::Failed(_)), "{way:?}: {found:?}"),
        }
    }
    lab.peer.must_have_heard_nothing_in_clear();
    let other = Identity::self_signed(&["mx.a.test"], Validity::Valid);
    lab.peer.behave(Manner::honest(&other));
    assert!(matches!(
        lab.finger.look(Level::Dane, "a.test"),
        Found::Failed(_) | Found::Untrusted
    ));
}

#[test]
fn the_policy_host_answers_as_told() {
    let place = Place::new("lab-peers-policy");
    let authority = Authority::new("Laboratory Root");
    write(&place.folder().join("roots.pem"), authority.pem());
    let name = "mta-sts.a.test";
    let identity = authority.issue(&[name], Validity::Valid);
    let host = PolicyHost::start(
        place.address(),
        &identity,
        Page::Policy("version: STSv1\n".to_owned()),
    );
    let curl = || {
        let mut command = Command::new(Installed::Curl.program());
        command.args([
            "-sS",
            "--noproxy",
            "*",
            "--max-time",
            "2",
            "-w",
            "|%{http_code}|%{content_type}",
        ]);
        command.arg("--cacert").arg(place.folder().join("roots.pem"));
        command
            .arg("--resolve")
            .arg(format!("{name}:443:{}", host.address()));
        let output = command
            .arg(format!("https://{name}/.well-known/mta-sts.txt"))
            .output()
            .expect("curl runs");
        (
            output.status.code(),
            String::from_utf8_lossy(&output.stdout).into_owned(),
        )
    };
    assert_eq!(curl(), (Some(0), "version: STSv1\n|200|text/plain".to_owned()));
    for (page, seen) in [
        (Page::Status(404), "|404|"),
        (Page::Redirect("https://elsewhere.test/".to_owned()), "|301|"),
        (
            Page::Typed("text/html".to_owned(), "x".to_owned()),
            "x|200|text/html",
        ),
    ] {
        host.answer(page);
        assert_eq!(curl(), (Some(0), seen.to_owned()));
    }
    host.answer(Page::Endless(200_000));
    assert!(curl().1.len() > 200_000);
    for (page, code) in [(Page::Stall, 28), (Page::Hangup, 35)] {
        host.answer(page);
        assert_eq!(curl().0, Some(code));
    }
    host.answer(Page::Status(200));
    for wrong in [
        authority.issue(&[name], Validity::Expired),
        authority.issue(&["other.test"], Validity::Valid),
        Identity::self_signed(&[name], Validity::Valid),
    ] {
        host.show(&wrong);
        assert_eq!(curl().0, Some(60));
    }
    assert_eq!(host.requests().len(), 5);
    assert_eq!(
        host.requests()[0],
        "mta-sts.a.test GET /.well-known/mta-sts.txt HTTP/1.1"
    );
    assert_eq!(host.connections(), 10);
}
