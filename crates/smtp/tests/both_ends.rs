//! Our client speaks to our server: what one says is what the other understands, over STARTTLS (with the handshake
//! left out), by DATA and by BDAT, for any content and however the octets are cut.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use mail::content::Survey;
use mail::proof::Permit;
use mail::{
    Body, Channel, Clear, Domain, EnhancedStatus, Envelope, EnvelopeId, Host, Mailbox, Notify,
    OriginalRecipient, Recipient, Reply, Return, ReversePath, Tls,
};
use proptest::prelude::*;
use smtp::client::{self, Transaction};
use smtp::server::{self, Question, Service, StartTls, Verify};
use smtp::{Limits, client::Outcome};

/// The server's side and what it got.
struct Receiver<C: Channel> {
    session: server::Session<C>,
    content: Vec<u8>,
    messages: Vec<(Envelope, Vec<u8>)>,
    steps: Vec<&'static str>,
}

impl<C: Channel> Receiver<C> {
    fn new(session: server::Session<C>) -> Receiver<C> {
        Receiver {
            session,
            content: Vec::new(),
            messages: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Takes what the client wrote, and returns the replies.
    fn hear(&mut self, octets: &[u8], cut: usize, now: Instant) -> Vec<u8> {
        let mut replies = Vec::new();
        self.steps(&mut replies, now);
        for piece in octets.chunks(cut) {
            self.session.feed(piece);
            self.steps(&mut replies, now);
        }
        replies
    }

    fn steps(&mut self, replies: &mut Vec<u8>, now: Instant) {
        loop {
            let reply = match self.session.step(now) {
                None => return,
                Some(server::Step::Write(octets)) => {
                    replies.extend_from_slice(octets);
                    continue;
                }
                Some(server::Step::Body(octets)) => {
                    self.content.extend_from_slice(octets);
                    continue;
                }
                Some(server::Step::Ask(question)) => answer(&question),
                Some(server::Step::Abort) => {
                    self.steps.push("abort");
                    continue;
                }
                Some(server::Step::StartTls) => {
                    self.steps.push("start TLS");
                    return;
                }
                Some(server::Step::Close) => {
                    self.steps.push("close");
                    return;
                }
            };
            match reply {
                Some(reply) => self.session.answer(reply),
                None => {
                    let content = std::mem::take(&mut self.content);
                    self.messages.push((self.session.take_envelope(), content));
                    self.session.answer(ok());
                }
            }
        }
    }
}

fn ok() -> Reply {
    Reply::new(250, EnhancedStatus::parse("2.0.0").unwrap(), "so be it")
}

/// Yes to everything; none at the end of a message, which is kept first.
fn answer(question: &Question<'_>) -> Option<Reply> {
    match question {
        Question::End => None,
        Question::Begin(_) => Some(Reply::plain(354, "go on")),
        Question::StartTls => Some(server::Session::<Clear>::READY_FOR_TLS),
        Question::Rcpt(_, recipient) if recipient.mailbox.as_str().starts_with("no") => Some(Reply::new(
            550,
            EnhancedStatus::parse("5.1.1").unwrap(),
            "no such mailbox",
        )),
        Question::Mail(_) | Question::Rcpt(..) | Question::Verify(_) | Question::Expand(_) => Some(ok()),
    }
}

fn service() -> Arc<Service> {
    Arc::new(Service {
        host: Domain::parse("mx.example").unwrap(),
        software: None,
        starttls: StartTls::Offered,
        verify: Verify::Hidden,
        limits: Limits::default(),
    })
}

/// Sends one message through STARTTLS and a fresh session; returns both ends' accounts.
fn deliver(transaction: Transaction, content: &[u8], cut: usize) -> (Outcome, Receiver<Tls>) {
    let now = Instant::now();
    let me = Domain::parse("me.example").unwrap();
    let client = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let mut host = Receiver::new(server::Session::new(service(), client, now));
    let mut session = client::Session::new(me, Limits::default(), now);
    let mut replies = host.hear(b"", cut, now);
    while !host.steps.contains(&"start TLS") {
        session.feed(&replies);
        let said = opening(&mut session, now);
        replies = host.hear(&said, cut, now);
    }
    session.feed(&replies);
    assert!(matches!(session.step(now), Some(client::Step::StartTls)));
    let mut host = Receiver::new(host.session.leave().unwrap().done(now));
    let session = session.leave().unwrap().done(now);
    let outcome = converse(session, &mut host, transaction, content, cut, now);
    (outcome, host)
}

fn opening(session: &mut client::Session<Clear>, now: Instant) -> Vec<u8> {
    let mut said = Vec::new();
    while let Some(step) = session.step(now) {
        match step {
            client::Step::Write(octets) => said.extend_from_slice(octets),
            client::Step::Hello => session.start_tls(now).unwrap(),
            step => panic!("unexpected {step:?}"),
        }
    }
    said
}

fn converse(
    mut session: client::Session<Tls>,
    host: &mut Receiver<Tls>,
    transaction: Transaction,
    content: &[u8],
    cut: usize,
    now: Instant,
) -> Outcome {
    let mut said = match session.step(now) {
        Some(client::Step::Write(octets)) => octets.to_vec(),
        step => panic!("unexpected {step:?}"),
    };
    session.feed(&host.hear(&said, cut, now));
    assert!(matches!(session.step(now), Some(client::Step::Hello)));
    let mut ready = session.ready(Permit::mint(Host::Name(Domain::parse("mx.example").unwrap())));
    ready.send(transaction, now).unwrap();
    let mut outcome = None;
    loop {
        said.clear();
        while let Some(step) = ready.step(now) {
            match step {
                client::Step::Write(octets) => said.extend_from_slice(octets),
                client::Step::Content => {
                    content.chunks(cut).for_each(|piece| ready.content(piece));
                    ready.content_end();
                }
                client::Step::Done(done) => {
                    outcome = Some(done);
                    ready.quit(now);
                }
                client::Step::Close => return outcome.unwrap(),
                step => panic!("unexpected {step:?}"),
            }
        }
        assert!(!said.is_empty(), "both ends wait for each other");
        let replies = host.hear(&said, cut, now);
        replies.chunks(cut).for_each(|piece| ready.feed(piece));
    }
}

fn transaction(content: &[u8], recipients: &[&str]) -> Transaction {
    let mut survey = Survey::default();
    survey.feed(content);
    let recipient = |address: &&str| Recipient {
        mailbox: Mailbox::parse(address).unwrap(),
        notify: Notify::parse("FAILURE,DELAY"),
        original: OriginalRecipient::parse("rfc822;First+2BOne@y.example"),
    };
    Transaction {
        envelope_sender: ReversePath::Mailbox(Mailbox::parse("\"a b\"@x.example").unwrap()),
        recipients: recipients.iter().map(recipient).collect(),
        content: survey.content(),
        body: Body::EightBitMime,
        smtputf8: false,
        ret: Some(Return::Headers),
        envelope_id: EnvelopeId::parse_xtext("envelope+2B1"),
        wish: mail::TlsWish::Usual,
    }
}

#[test]
fn the_envelope_arrives_as_it_was() {
    let content = b"Subject: x\r\n\r\n..\r\n";
    let sent = transaction(
        content,
        &["B.c@y.example", "no@y.example", "\"q\\\"\"@[192.0.2.1]"],
    );
    let (outcome, host) = deliver(sent.clone(), content, 7);
    let [(envelope, arrived)] = &host.messages[..] else {
        panic!("one message")
    };
    assert_eq!(arrived, content);
    assert_eq!(envelope.sender, sent.envelope_sender);
    assert_eq!(
        (envelope.ret, &envelope.envelope_id),
        (sent.ret, &sent.envelope_id)
    );
    assert_eq!(envelope.body, Body::EightBitMime);
    assert_eq!(
        envelope.recipients,
        [sent.recipients[0].clone(), sent.recipients[2].clone()]
    );
    let spelled: Vec<&str> = envelope
        .recipients
        .iter()
        .map(|recipient| recipient.mailbox.as_str())
        .collect();
    assert_eq!(spelled, ["B.c@y.example", "\"q\\\"\"@[192.0.2.1]"]);
    assert_eq!(
        outcome
            .fates()
            .filter(|fate| matches!(fate, client::Fate::Taken(_)))
            .count(),
        2
    );
    assert_eq!(host.steps, ["close"]);
}

// proves: 6531-3.4-1
#[test]
fn utf8_arrives_as_it_was() {
    let content = "Subject: Grüße\r\n\r\n😀\r\n".as_bytes();
    let sent = Transaction {
        smtputf8: true,
        ..transaction(content, &["jörg@bücher.example"])
    };
    let (_, host) = deliver(sent, content, 5);
    let [(envelope, arrived)] = &host.messages[..] else {
        panic!("one message")
    };
    assert_eq!(arrived, content);
    assert!(envelope.smtputf8);
    assert_eq!(envelope.recipients[0].mailbox.as_str(), "jörg@bücher.example");
}

/// Lines that dots, cuts and line ends can trip over; binary now and then.
fn content() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        4 => Just(&b"\r\n"[..]),
        3 => Just(&b".\r\n"[..]),
        2 => Just(&b"..\r\n"[..]),
        3 => Just(&b"text\r\n"[..]),
        1 => Just("é.\r\n".as_bytes()),
        1 => Just(&b"QUIT\r\n"[..]),
    ];
    let odd = prop_oneof![
        6 => Just(&b""[..]),
        1 => Just(&b"\n.\n"[..]),
        1 => Just(&b"\r.\r"[..]),
        1 => Just(&b"\0no end"[..]),
    ];
    (proptest::collection::vec(line, 0..20), odd)
        .prop_map(|(lines, odd)| [b"A: b\r\n\r\n", &lines.concat()[..], odd].concat())
}

proptest! {
    // proves: 5321-4.5.2-1 3030-2-12
    #[test]
    fn any_content_arrives_octet_by_octet(content in content(), cut in 1usize..50) {
        let (outcome, host) = deliver(transaction(&content, &["b@y.example"]), &content, cut);
        prop_assert!(matches!(&outcome.end, client::End::Answered(reply) if reply.is_positive()), "{outcome:?}");
        let [(_, arrived)] = &host.messages[..] else { panic!("one message") };
        prop_assert_eq!(arrived, &content);
    }
}
