//! MTA-STS against real HTTPS hosts and mail hosts that keep or break what their policy promises (RFC 8461).

use interop::authority::{Identity, Validity};
use interop::fate::{Case, Fate, check};
use interop::hostile::{Manner, StartTls};
use interop::laboratory::{Sketch, policy, sts_record};
use interop::peers::Signing;
use interop::policy_host::{Page, PolicyHost};
use interop::sealpost::{ONCE, Setup};

fn mx(name: &str) -> String {
    format!("mx.{name}.s.test")
}

/// Adds a host to the zone `s.test`, and its policy host.
fn host(sketch: &mut Sketch, name: &str, manner: Manner, page: Page, fate: Fate) -> (Case, PolicyHost) {
    let domain = format!("{name}.s.test");
    let peer = sketch.peer(&domain, manner, &[]);
    let policy_host = sketch.policy(&domain, page);
    (Case::new(&domain, peer, fate), policy_host)
}

// proves: 8461-3.2-1 8461-4-1 8461-4.1-1 8461-4.2-1 8461-4.2-2
#[test]
fn a_policy_in_force_is_held_against_the_host_and_what_it_shows() {
    let mut sketch = Sketch::new("trust-sts-enforced");
    sketch.zone("s.test.", Signing::Unsigned, "");
    let (mut cases, mut policy_hosts) = (Vec::new(), Vec::new());
    let mut add = |sketch: &mut Sketch, name: &str, manner: Manner, text: String, fate: Fate| {
        let (case, policy_host) = host(sketch, name, manner, Page::Policy(text), fate);
        cases.push(case);
        policy_hosts.push(policy_host);
    };
    for (name, mode, listed, fate) in [
        ("good", "enforce", "mx.good.s.test", Fate::Inside),
        ("wildcard", "enforce", "*.wildcard.s.test", Fate::Inside),
        ("capitals", "enforce", "MX.Capitals.S.TEST", Fate::Inside),
        ("unlisted", "enforce", "mx.elsewhere.test", Fate::NoContact),
        ("too-deep", "enforce", "*.s.test", Fate::NoContact),
        ("unlisted-tried", "testing", "mx.elsewhere.test", Fate::Inside),
    ] {
        let identity = sketch.identity(&mx(name));
        add(
            &mut sketch,
            name,
            Manner::honest(&identity),
            policy(mode, &[listed]),
            fate,
        );
    }
    for (name, mode, fate) in [
        ("self-signed", "enforce", Fate::Goodbye),
        ("self-signed-tried", "testing", Fate::Inside),
        ("self-signed-none", "none", Fate::Inside),
    ] {
        let identity = Identity::self_signed(&[&mx(name)], Validity::Valid);
        add(
            &mut sketch,
            name,
            Manner::honest(&identity),
            policy(mode, &[&mx(name)]),
            fate,
        );
    }
    let expired = sketch.authority.issue(&[&mx("expired")], Validity::Expired);
    add(
        &mut sketch,
        "expired",
        Manner::honest(&expired),
        policy("enforce", &[&mx("expired")]),
        Fate::Goodbye,
    );
    let misnamed = sketch.identity("mx.elsewhere.test");
    add(
        &mut sketch,
        "misnamed",
        Manner::honest(&misnamed),
        policy("enforce", &[&mx("misnamed")]),
        Fate::Goodbye,
    );
    for (name, mode, starttls, fate) in [
        ("stripped", "enforce", StartTls::Stripped, Fate::NoHandshake),
        ("stripped-tried", "testing", StartTls::Stripped, Fate::InClear),
        ("stripped-none", "none", StartTls::Stripped, Fate::InClear),
        (
            "refuses",
            "enforce",
            StartTls::Refuses("454 4.7.0 not now".to_owned()),
            Fate::NoHandshake,
        ),
        (
            "garbage",
            "enforce",
            StartTls::Garbage(b"\x00\x01garbage\r\n".to_vec()),
            Fate::NoHandshake,
        ),
        ("stalls", "enforce", StartTls::Stalls, Fate::NoHandshake),
        ("old", "enforce", StartTls::OldVersion, Fate::NoHandshake),
        (
            "injects",
            "enforce",
            StartTls::Injects(b"250 ok\r\n".to_vec()),
            Fate::NoHandshake,
        ),
    ] {
        let identity = sketch.identity(&mx(name));
        add(
            &mut sketch,
            name,
            Manner::with(&identity, starttls),
            policy(mode, &[&mx(name)]),
            fate,
        );
    }
    let lab = sketch.start(ONCE);
    check(&lab, &cases);
    for (case, policy_host) in cases.iter().zip(&policy_hosts) {
        let wanted = format!("mta-sts.{} GET /.well-known/mta-sts.txt HTTP/1.1", case.domain);
        assert_eq!(policy_host.requests(), [wanted]);
    }
    let told = lab.attempts("good.s.test").concat();
    assert!(told.contains("demand=verified/mta-sts"), "{told}");
}

// Each mail host has lost its keyword: a letter that arrives in clear shows that no policy was believed.
// proves: 8461-3.2-2 8461-3.3-1 8461-3.3-4 8461-3.3-5 8461-3.3-8 8461-3.3-10
#[test]
fn what_is_not_fetched_as_it_should_be_is_no_policy() {
    let mut sketch = Sketch::new("trust-sts-unfetched");
    sketch.zone("s.test.", Signing::Unsigned, "");
    let strange = Identity::self_signed(&["mta-sts.strange.s.test"], Validity::Valid);
    let (mut cases, mut policy_hosts) = (Vec::new(), Vec::new());
    let text = |name: &str| policy("enforce", &[&mx(name)]);
    let redirected = sketch.policy("elsewhere.s.test", Page::Policy(text("redirects")));
    for (name, page) in [
        ("missing", Page::Status(404)),
        ("empty", Page::Status(204)),
        ("broken", Page::Status(500)),
        (
            "redirects",
            Page::Redirect("https://mta-sts.elsewhere.s.test/.well-known/mta-sts.txt".to_owned()),
        ),
        (
            "hypertext",
            Page::Typed("text/html".to_owned(), text("hypertext")),
        ),
        ("endless", Page::Endless(200_000)),
        ("hangs-up", Page::Hangup),
        ("strange", Page::Policy(text("strange"))),
        ("expired", Page::Policy(text("expired"))),
        ("misnamed", Page::Policy(text("misnamed"))),
        ("closed", Page::Policy(text("closed"))),
    ] {
        let identity = sketch.identity(&mx(name));
        let (case, policy_host) = host(
            &mut sketch,
            name,
            Manner::with(&identity, StartTls::Stripped),
            page,
            Fate::InClear,
        );
        match name {
            "strange" => policy_host.show(&strange),
            "expired" => policy_host.show(
                &sketch
                    .authority
                    .issue(&["mta-sts.expired.s.test"], Validity::Expired),
            ),
            "misnamed" => policy_host.show(&sketch.identity("misnamed.s.test")),
            _ => {}
        }
        cases.push(case);
        policy_hosts.push(policy_host);
    }
    // The last of them: nobody listens.
    drop(policy_hosts.pop());
    let lab = sketch.start(ONCE);
    check(&lab, &cases);
    assert_eq!(redirected.connections(), 0);
    for (case, policy_host) in cases.iter().zip(&policy_hosts) {
        assert!(
            policy_host.connections() > 0,
            "{}: nobody asked for its policy",
            case.domain
        );
    }
}

// proves: 8461-2-1 8461-3.1-6 8461-3.3-11
#[test]
fn a_policy_once_fetched_stays_whatever_becomes_of_its_host_and_of_this_server() {
    let mut sketch = Sketch::new("trust-sts-kept");
    sketch.zone("s.test.", Signing::Unsigned, "");
    sketch.zone("d.test.", Signing::Nsec, "");
    // Where DANE says no, a policy that says yes changes nothing.
    let honest = sketch.identity("mx.d.test");
    let other = Identity::self_signed(&["mx.d.test"], Validity::Valid);
    let peer = sketch.peer("d.test", Manner::honest(&honest), &[other.tlsa(3, 1, 1)]);
    let _says_yes = sketch.policy("d.test", Page::Policy(policy("enforce", &["mx.d.test"])));
    let both = Case::new("d.test", peer, Fate::Goodbye);
    let identity = sketch.identity(&mx("kept"));
    let page = Page::Policy(policy("enforce", &[&mx("kept")]));
    let (kept, policy_host) = host(&mut sketch, "kept", Manner::honest(&identity), page, Fate::Inside);
    let more = "[mta_sts]\nlook_up_every = \"1s\"\n";
    let mut lab = sketch.start(Setup { more, ..ONCE });
    check(&lab, &[both]);
    lab.send("first", "a@kept.s.test");
    assert!(lab.arrives(&kept.peer, "first"));
    // The keyword goes, the policy host is blocked, and the record tells of a new policy or is gone: all of it under way.
    kept.peer.behave(Manner::with(&identity, StartTls::Stripped));
    policy_host.answer(Page::Hangup);
    let address = kept.peer.address();
    let records = |record: &str| {
        format!(
            "kept.s.test. MX 10 mx.kept.s.test.\nmx.kept.s.test. A {address}\nmta-sts.kept.s.test. A {}\n{record}",
            policy_host.address()
        )
    };
    for (id, record) in [
        ("blocked", sts_record("kept.s.test", "2")),
        ("vanished", String::new()),
    ] {
        lab.tree.change("s.test.", &records(&record));
        interop::patience::pass(&interop::laboratory::NAMES_FORGOTTEN);
        lab.send(id, "a@kept.s.test");
        lab.put_off("a@kept.s.test");
        lab.delete_all();
    }
    lab.sealpost.kill();
    lab.sealpost.run();
    lab.send("restarted", "a@kept.s.test");
    lab.put_off("a@kept.s.test");
    kept.peer.must_have_heard_nothing_in_clear();
    // An honest new policy takes the demand away.
    policy_host.answer(Page::Policy(policy("none", &[])));
    lab.tree
        .change("s.test.", &records(&sts_record("kept.s.test", "3")));
    interop::patience::pass(&interop::laboratory::NAMES_FORGOTTEN);
    // A host that has proven itself once is remembered beyond its policy: only a person takes that back.
    let why = "its policy of today demands nothing";
    let relax = ["ledger", "relax", "kept.s.test", "--for", "1h", "--reason", why];
    lab.sealpost.command(&relax);
    lab.sealpost.command(&["queue", "retry", "--all"]);
    assert!(!lab.arrives(&kept.peer, "restarted"));
    assert_eq!(lab.reports(), Vec::<String>::new());
}
