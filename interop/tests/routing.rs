//! Routing by what a real name server says: null MX, implicit MX, equal preferences, aliases, dead hosts, absent names.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use interop::dialogue::{self, Dialogue};
use interop::enclosure::{Enclosure, Plan, give_to};
use interop::letter::{Letter, Octets};
use interop::mailbox::{self, tally, wait_for_letter};
use interop::packages::Unpacked;
use interop::patience::{USUAL, wait_for};
use interop::peers::{Host, Knot};
use interop::place::Place;
use interop::sealpost::{Sealpost, Setup};

/// Postfix's `smtp-sink` at a host's port 25: takes everything, in clear, and keeps it in files.
struct Sink {
    host: Host,
    _enclosure: Enclosure,
}

impl Sink {
    fn start(place: &Place, name: &str, host: Host) -> Sink {
        let program = Unpacked::Postfix.folder();
        let plan =
            Plan::new(&host.folder, host.resolver).mount(program.join("usr/lib/postfix"), "/usr/lib/postfix");
        std::fs::create_dir_all(host.mail()).expect("a folder of our own");
        give_to("postfix", &host.mail());
        let dump = format!("{}/%H%M%S.", host.mail().display());
        let at = host.port_25().to_string();
        let arguments = ["-u", "postfix", "-h", &host.name, "-d", &dump, &at, "100"];
        let enclosure = plan.start(name, &program.join("usr/sbin/smtp-sink"), &arguments);
        enclosure.wait_for_port(host.port_25());
        assert!(place.folder().exists());
        Sink {
            host,
            _enclosure: enclosure,
        }
    }

    fn mail(&self) -> PathBuf {
        self.host.mail()
    }
}

struct Laboratory {
    sealpost: Sealpost,
    one: Sink,
    two: Sink,
    _knot: Knot,
    _place: Place,
}

/// Two sinks, `one.test` and `two.test`, and `dead.test`, where nobody listens. `ONE` in the records stands for the first's address.
/// What fails is not tried again within the test, so that what arrives arrived in the first attempt.
fn start(test: &str, records: &str) -> Laboratory {
    let place = Place::new(test);
    let resolver = place.address();
    let [one, two, ours] =
        ["one.test", "two.test", "sealpost.test"].map(|domain| Host::new(&place, domain, resolver));
    let hosts = format!(
        "one.test. A {}\ntwo.test. A {}\ndead.test. A {}\n",
        one.address,
        two.address,
        place.address()
    );
    let zone = hosts + &ours.records() + &records.replace("ONE", &one.address.to_string());
    let knot = Knot::start(&place.subfolder("knot"), resolver, &zone);
    let (one, two) = (Sink::start(&place, "one", one), Sink::start(&place, "two", two));
    let route = "connection_messages_max = 1\nconnect_wait = \"3s\"";
    let sealpost = Sealpost::start(
        ours,
        Setup {
            route,
            retry: "pauses = [\"10m\"]",
            ..Setup::default()
        },
    );
    Laboratory {
        sealpost,
        one,
        two,
        _knot: knot,
        _place: place,
    }
}

fn send(port: SocketAddr, id: &str, recipient: &str) {
    let letter = Letter::new(id, "you@sealpost.test", &[recipient], 2_000, Octets::Ascii);
    dialogue::hand_in(port, &letter);
}

/// The failure report about the letter `id`, as it came to its sender.
fn report_about(mail: &Path, id: &str) -> String {
    wait_for(&format!("a report about {id}"), USUAL, || {
        let texts = mailbox::all(mail)
            .into_iter()
            .map(|found| String::from_utf8_lossy(&found.octets).into_owned());
        texts.into_iter().find(|text| {
            text.contains("report-type=delivery-status") && text.contains(&format!("<{id}@lab.test>"))
        })
    })
}

/// Waits until the queue tells that the only recipient `recipient` waits, with this status.
fn waits_with(sealpost: &Sealpost, recipient: &str, status: &str) {
    wait_for(&format!("{recipient} to wait with {status}"), USUAL, || {
        let queue = sealpost.json(&["queue", "list"]).to_string();
        (queue.contains(recipient) && queue.contains(status)).then_some(())
    });
}

// proves: 5321-5.1-1
#[test]
fn exchangers_aliases_and_hosts_without_exchangers_are_found() {
    let records = "direct.test. MX 10 one.test.\nalias.test. CNAME real.test.\nreal.test. MX 10 two.test.\n";
    let lab = start("routing-found", records);
    for (id, recipient, mail) in [
        ("by-mx", "a@direct.test", lab.one.mail()),
        ("by-alias", "a@alias.test", lab.two.mail()),
        ("without-mx", "a@one.test", lab.one.mail()),
    ] {
        send(lab.sealpost.port(25), id, recipient);
        wait_for_letter(&mail, id, USUAL);
    }
    lab.sealpost.wait_for_empty_queue(USUAL);
    assert_eq!(
        (tally(&lab.one.mail()).len(), tally(&lab.two.mail()).len()),
        (2, 1)
    );
}

// proves: 5321-5.1-5 5321-5.1-6 5321-5.2-1
#[test]
fn better_hosts_come_first_equal_ones_share_and_dead_ones_are_passed_over() {
    let records = "order.test. MX 10 one.test.\norder.test. MX 20 two.test.\n\
                   equal.test. MX 10 one.test.\nequal.test. MX 10 two.test.\n\
                   dead-first.test. MX 5 dead.test.\ndead-first.test. MX 10 two.test.\n\
                   dual.test. MX 10 dual-host.test.\ndual-host.test. AAAA 100::1\ndual-host.test. A ONE\n";
    let lab = start("routing-order", records);
    let port = lab.sealpost.port(25);
    for number in 0..10 {
        send(port, &format!("order-{number}"), "a@order.test");
    }
    for number in 0..40 {
        send(port, &format!("equal-{number}"), "a@equal.test");
    }
    send(port, "dead-first", "a@dead-first.test");
    send(port, "dual", "a@dual.test");
    lab.sealpost.wait_for_empty_queue(USUAL);
    let (one, two) = (tally(&lab.one.mail()), tally(&lab.two.mail()));
    let count = |tally: &std::collections::BTreeMap<String, usize>, kind: &str| {
        tally
            .iter()
            .filter(|(id, _)| id.starts_with(kind))
            .map(|(_, copies)| copies)
            .sum::<usize>()
    };
    assert_eq!((count(&one, "order"), count(&two, "order")), (10, 0));
    assert_eq!((count(&one, "dead-first"), count(&two, "dead-first")), (0, 1));
    assert_eq!((count(&one, "dual"), count(&two, "dual")), (1, 0));
    assert_eq!(count(&one, "equal") + count(&two, "equal"), 40);
    // Were each chosen by a fair coin, one in a million runs would see less than 5 on one side.
    assert!(
        count(&one, "equal").min(count(&two, "equal")) >= 5,
        "one: {one:?}, two: {two:?}"
    );
}

// proves: 7505-4.1-1 5321-5.1-7
#[test]
fn what_can_never_be_delivered_is_returned_at_once_with_the_reason() {
    let records = "null.test. MX 0 .\nnull.test. A ONE\nloop.test. MX 10 mx.sealpost.test.\n";
    let lab = start("routing-returned", records);
    for (id, recipient, status) in [
        ("to-nowhere", "a@absent.test", "Status: 5.1.2"),
        ("to-itself", "a@loop.test", "Status: 5.4.6"),
    ] {
        send(lab.sealpost.port(25), id, recipient);
        let report = report_about(&lab.sealpost.mail(), id);
        assert!(report.contains(status), "no {status} in\n{report}");
        assert!(
            report.contains(&format!("Final-Recipient: rfc822; {recipient}")),
            "{report}"
        );
    }
    let mut dialogue = Dialogue::open(lab.sealpost.port(25)).expect("answers EHLO");
    let letter = Letter::new(
        "to-null-mx",
        "you@sealpost.test",
        &["a@null.test"],
        2_000,
        Octets::Ascii,
    );
    let refused = dialogue.send(&letter).expect_err("its domain takes no mail");
    assert!(refused.starts_with("556 5.1.10 "), "{refused}");
    lab.sealpost.wait_for_empty_queue(USUAL);
    assert_eq!(mailbox::files(&lab.one.mail()).len(), 0, "a host was contacted");
}

// proves: 5321-5.1-2 5321-5.1-3
#[test]
fn what_may_pass_waits_and_the_domains_own_address_is_not_tried() {
    let lab = start("routing-waits", "down.test. MX 10 dead.test.\ndown.test. A ONE\n");
    send(lab.sealpost.port(25), "down", "a@down.test");
    waits_with(&lab.sealpost, "a@down.test", "4.4.1");
    // The name server refuses questions about names outside `test`: that is no answer.
    send(lab.sealpost.port(25), "refused", "a@unanswered.example");
    waits_with(&lab.sealpost, "a@unanswered.example", "4.4.3");
    send(lab.sealpost.port(25), "absent", "a@absent.test");
    assert!(report_about(&lab.sealpost.mail(), "absent").contains("Status: 5.1.2"));
    assert_eq!(
        mailbox::files(&lab.one.mail()).len(),
        0,
        "the domain's own address was contacted"
    );
}
