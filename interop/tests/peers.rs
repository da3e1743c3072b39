//! The laboratory itself: each peer starts, answers EHLO as expected, carries a letter to another peer, and stops.

use interop::dialogue::Dialogue;
use interop::letter::{Letter, Octets};
use interop::mailbox::wait_for_letter;
use interop::patience::USUAL;
use interop::peers::clients::{self, Channel, Smtplib};
use interop::peers::{Chasquid, Exim, Host, Knot, MailServer, OpenSmtpd, Postfix};
use interop::place::Place;

struct All {
    servers: Vec<Box<dyn MailServer>>,
    knot: Knot,
    _place: Place,
}

fn start_all(test: &str) -> All {
    let place = Place::new(test);
    let resolver = place.address();
    let host = |domain: &str| Host::new(&place, domain, resolver);
    let hosts = [
        host("postfix.test"),
        host("exim.test"),
        host("opensmtpd.test"),
        host("chasquid.test"),
    ];
    let records: String = hosts.iter().map(Host::records).collect();
    let knot = Knot::start(&place.subfolder("knot"), resolver, &records);
    let [postfix, exim, opensmtpd, chasquid] = hosts;
    let servers: Vec<Box<dyn MailServer>> = vec![
        Box::new(Postfix::start(postfix, "")),
        Box::new(Exim::start(exim)),
        Box::new(OpenSmtpd::start(opensmtpd)),
        Box::new(Chasquid::start(chasquid)),
    ];
    All {
        servers,
        knot,
        _place: place,
    }
}

#[test]
fn each_peer_starts_answers_and_delivers_to_itself_and_to_every_other() {
    let all = start_all("peers");
    assert!(all.knot.port_53().port() == 53, "{}", all.knot.logged());
    for server in &all.servers {
        let dialogue = Dialogue::open(server.host().port_25()).expect("answers EHLO");
        let offers_starttls = dialogue.offers.iter().any(|offer| offer == "STARTTLS");
        assert_eq!(
            offers_starttls,
            server.name() != "OpenSMTPD",
            "{}: {:?}",
            server.name(),
            dialogue.offers
        );
        dialogue.quit();
    }
    let mut sent = Vec::new();
    for from in &all.servers {
        for to in &all.servers {
            let id = format!("{}-to-{}", from.name(), to.name());
            let (sender, recipient) = (
                format!("lab@{}", from.host().domain),
                format!("lab@{}", to.host().domain),
            );
            let letter = Letter::new(&id, &sender, &[&recipient], 20_000, Octets::EightBit);
            from.hand_in(&letter);
            sent.push((to.mail(), letter));
        }
    }
    for (mail, letter) in sent {
        let arrived = wait_for_letter(&mail, &letter.id, USUAL);
        assert_eq!(arrived.len(), 1, "{} came more than once", letter.id);
        letter.must_equal(&arrived[0].octets);
    }
}

#[test]
fn each_client_hands_a_letter_to_a_known_good_server_over_starttls() {
    let place = Place::new("clients");
    let resolver = place.address();
    let host = Host::new(&place, "postfix.test", resolver);
    let _knot = Knot::start(&place.subfolder("knot"), resolver, &host.records());
    let postfix = Postfix::start(host, "");
    let port = postfix.host().port_25();
    let (sender, recipient) = ("you@postfix.test", "lab@postfix.test");
    let letter = |id: &str| Letter::new(id, sender, &[recipient], 50_000, Octets::Ascii);
    Smtplib::new(port, Channel::StartTls)
        .send(&letter("smtplib"))
        .must_succeed();
    clients::msmtp(port, Channel::StartTls, &letter("msmtp")).must_succeed();
    clients::curl(port, Channel::StartTls, &letter("curl"), place.folder()).must_succeed();
    let data = clients::swaks_data(&letter("swaks"), place.folder());
    clients::swaks(port, sender, &[recipient], &["--tls", "--data", &data]).must_succeed();
    for id in ["smtplib", "msmtp", "curl", "swaks"] {
        let arrived = wait_for_letter(&postfix.mail(), id, USUAL);
        assert_eq!(arrived.len(), 1, "{id} came more than once");
        assert!(
            arrived[0].trace().contains("using TLSv1.3"),
            "{}",
            arrived[0].trace()
        );
        letter(id).must_equal(&arrived[0].octets);
    }
}
