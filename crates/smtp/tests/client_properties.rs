//! What holds of the client's end whatever the server says and however it is cut; and what is too large to read as a
//! transcript.

#![allow(clippy::unwrap_used)]

use std::time::{Duration, Instant};

use mail::content::Survey;
use mail::proof::Permit;
use mail::{Body, Domain, Host, Mailbox, Recipient, ReversePath, Tls};
use proptest::prelude::*;
use smtp::Limits;
use smtp::client::{End, Outcome, Ready, RecipientOutcome, Session, Step, Transaction};

fn me() -> Domain {
    Domain::parse("me.example").unwrap()
}

fn transaction(content: &[u8], recipients: usize) -> Transaction {
    let mut survey = Survey::default();
    survey.feed(content);
    let recipient = |number| Recipient {
        mailbox: Mailbox::parse(&format!("recipient-{number}@y.example")).unwrap(),
        notify: None,
        original: None,
    };
    Transaction {
        envelope_sender: ReversePath::Mailbox(Mailbox::parse("a@x.example").unwrap()),
        recipients: (0..recipients).map(recipient).collect(),
        content: survey.content(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        wish: mail::TlsWish::Usual,
    }
}

/// A session behind a handshake with a server of these extensions, ready to send.
fn ready(extensions: &[&str], now: Instant) -> Ready<Tls> {
    let mut session = Session::implicit(me(), Limits::default(), now);
    session.feed(b"220 mx.example\r\n");
    assert!(matches!(
        session.step(now),
        Some(Step::Write(b"EHLO me.example\r\n"))
    ));
    session.feed(b"250-mx.example\r\n");
    extensions
        .iter()
        .for_each(|keyword| session.feed(format!("250-{keyword}\r\n").as_bytes()));
    session.feed(b"250 HELP\r\n");
    assert!(matches!(session.step(now), Some(Step::Hello)));
    session.ready(Permit::mint(Host::Name(Domain::parse("mx.example").unwrap())))
}

/// Takes all steps: what is written, and the outcome if the transaction ended.
fn steps(ready: &mut Ready<Tls>, now: Instant) -> (Vec<u8>, Option<Outcome>) {
    let (mut written, mut outcome) = (Vec::new(), None);
    while let Some(step) = ready.step(now) {
        match step {
            Step::Write(octets) => written.extend_from_slice(octets),
            Step::Done(done) => outcome = Some(done),
            Step::Content => {}
            step => panic!("unexpected {step:?}"),
        }
    }
    (written, outcome)
}

fn text(octets: &[u8]) -> &str {
    std::str::from_utf8(octets).unwrap()
}

// proves: 2920-3.1-5 2920-3.1-4
#[test]
fn groups_never_outgrow_a_send_buffer() {
    let now = Instant::now();
    let mut ready = ready(&["PIPELINING"], now);
    let content = b"Subject: x\r\n\r\n";
    ready.send(transaction(content, 1000), now).unwrap();
    let (mut groups, mut said) = (0, 0);
    loop {
        let (group, outcome) = steps(&mut ready, now);
        if group.is_empty() {
            assert_eq!(outcome, None);
            break; // 354 was read: content is wanted
        }
        groups += 1;
        assert!(group.len() <= 8 * 1024 + 512, "a group of {} octets", group.len());
        let commands: Vec<&str> = text(&group).split_terminator("\r\n").collect();
        for (number, command) in commands.iter().enumerate() {
            // No reply but the last lets the next group out: the server may keep them all back until then.
            assert_eq!(steps(&mut ready, now).0, b"");
            let reply = match *command {
                "DATA" => {
                    assert_eq!(number + 1, commands.len(), "DATA ends its group");
                    "354 go\r\n".to_owned()
                }
                _ if command.starts_with("MAIL") => "250 ok\r\n".to_owned(),
                _ => {
                    said += 1;
                    if said % 7 == 0 {
                        format!("550 no {said}\r\n")
                    } else {
                        "250-yes\r\n250 ok\r\n".to_owned()
                    }
                }
            };
            ready.feed(reply.as_bytes());
        }
    }
    assert!(groups > 3 && said == 1000);
    ready.content(content);
    ready.content_end();
    assert_eq!(steps(&mut ready, now).0, b"Subject: x\r\n\r\n.\r\n");
    ready.feed(b"250 kept\r\n");
    let outcome = steps(&mut ready, now).1.unwrap();
    for (place, recipient) in outcome.recipients.iter().enumerate() {
        let number = place + 1;
        match recipient {
            RecipientOutcome::Accepted => assert_ne!(number % 7, 0),
            RecipientOutcome::Refused(reply) => assert_eq!(reply.to_string(), format!("550 no {number}")),
            other => panic!("{other:?}"),
        }
    }
}

/// Lines of text, so many octets at least.
fn lines(bytes: usize) -> Vec<u8> {
    b"Every line of this message has the same words.\r\n".repeat(bytes / 48 + 1)
}

/// Gives the content in pieces and returns what went over the wire.
fn give(ready: &mut Ready<Tls>, content: &[u8], now: Instant) -> (Vec<u8>, Option<Outcome>) {
    let (mut wire, mut outcome) = (Vec::new(), None);
    for piece in content.chunks(64 * 1024) {
        ready.content(piece);
        // Memory does not grow with the message.
        assert!(ready.content_buffered() <= 2 * 64 * 1024);
        let (written, done) = steps(ready, now);
        wire.extend(written);
        outcome = outcome.or(done);
    }
    ready.content_end();
    let (written, done) = steps(ready, now);
    wire.extend(written);
    (wire, outcome.or(done))
}

/// Splits `BDAT` commands from their octets.
fn chunks(mut wire: &[u8]) -> Vec<(String, Vec<u8>)> {
    let mut chunks = Vec::new();
    while !wire.is_empty() {
        let end = wire.windows(2).position(|pair| pair == b"\r\n").unwrap();
        let command = text(&wire[..end]).to_owned();
        let bytes: usize = command.split(' ').nth(1).unwrap().parse().unwrap();
        chunks.push((command, wire[end + 2..end + 2 + bytes].to_vec()));
        wire = &wire[end + 2 + bytes..];
    }
    chunks
}

// proves: 3030-2-12
#[test]
fn large_text_goes_in_chunks_where_commands_may_be_grouped() {
    let now = Instant::now();
    let content = lines(3 * 1024 * 1024);
    for (extensions, commands) in [
        (
            &["PIPELINING", "CHUNKING"][..],
            vec!["BDAT 1048576", "BDAT 1048576", "BDAT 1048576", "BDAT 48 LAST"],
        ),
        (&["CHUNKING"], vec!["BDAT 3145776 LAST"]), // each command would have to wait for a reply
    ] {
        let mut ready = ready(extensions, now);
        ready.send(transaction(&content, 1), now).unwrap();
        steps(&mut ready, now);
        ready.feed(b"250 ok\r\n");
        steps(&mut ready, now);
        ready.feed(b"250 ok\r\n");
        assert_eq!(steps(&mut ready, now), (Vec::new(), None));
        let (wire, _) = give(&mut ready, &content, now);
        let chunks = chunks(&wire);
        assert_eq!(
            chunks
                .iter()
                .map(|(command, _)| command.as_str())
                .collect::<Vec<_>>(),
            commands
        );
        assert!(chunks.iter().flat_map(|(_, octets)| octets).eq(&content));
        for (number, _) in chunks.iter().enumerate() {
            assert_eq!(
                steps(&mut ready, now).1,
                None,
                "the last chunk's reply decides, not chunk {number}'s"
            );
            ready.feed(b"250 chunk\r\n");
        }
        let outcome = steps(&mut ready, now).1.unwrap();
        assert!(matches!(outcome.end, End::Answered(reply) if reply.is_positive()));
    }
}

// proves: 3030-2-8
#[test]
fn after_a_refused_chunk_none_is_begun() {
    let now = Instant::now();
    let content = lines(4 * 1024 * 1024);
    let mut ready = ready(&["PIPELINING", "CHUNKING"], now);
    ready.send(transaction(&content, 1), now).unwrap();
    steps(&mut ready, now);
    ready.feed(b"250 ok\r\n250 ok\r\n");
    steps(&mut ready, now);
    // The second chunk is under way when the first is refused: it must be filled up, since it was announced.
    let (mut wire, _) = {
        ready.content(&content[..1_100_000]);
        steps(&mut ready, now)
    };
    ready.feed(b"452 4.3.1 no room\r\n");
    assert_eq!(steps(&mut ready, now).1, None);
    let (rest, outcome) = give(&mut ready, &content[1_100_000..], now);
    assert_eq!(outcome, None, "the second chunk's reply is outstanding");
    wire.extend(rest);
    let chunks = chunks(&wire);
    assert_eq!(chunks.len(), 2);
    assert!(
        chunks
            .iter()
            .flat_map(|(_, octets)| octets)
            .eq(&content[..2 * 1024 * 1024])
    );
    ready.feed(b"503 no transaction\r\n");
    let outcome = steps(&mut ready, now).1.unwrap();
    assert!(matches!(outcome.end, End::Answered(reply) if reply.code() == 452));
    ready.send(transaction(b"", 1), now).unwrap();
    assert!(steps(&mut ready, now).0.starts_with(b"RSET\r\nMAIL "));
}

// proves: 5321-4.5.2-1 5321-3.3-5
#[test]
fn a_large_message_streams_through_data() {
    let now = Instant::now();
    let content = b".dot\r\n".repeat(100_000);
    let mut ready = ready(&["PIPELINING"], now);
    ready.send(transaction(&content, 1), now).unwrap();
    steps(&mut ready, now);
    ready.content(&content); // too early: nothing of it goes out
    assert_eq!(ready.content_buffered(), 0);
    ready.feed(b"250 ok\r\n250 ok\r\n354 go\r\n");
    steps(&mut ready, now);
    let (wire, _) = give(&mut ready, &content, now);
    assert_eq!(wire, [b"..dot\r\n".repeat(100_000), b".\r\n".to_vec()].concat());
}

// proves: 5321-4.5.3.2-2
#[test]
fn the_waits_are_those_of_the_standard() {
    let waits = Limits::default().client_waits;
    let minutes = |count: u64| Duration::from_secs(60 * count);
    assert_eq!([waits.greeting, waits.mail, waits.rcpt], [minutes(5); 3]);
    assert_eq!(
        [waits.data_start, waits.data_block, waits.data_end],
        [minutes(2), minutes(3), minutes(10)]
    );
}

// proves: 5321-4.5.3.2-1
#[test]
fn a_wait_begins_when_the_write_is_done() {
    let now = Instant::now();
    let mut session = Session::new(me(), Limits::default(), now);
    session.feed(b"220 mx.example\r\n");
    assert!(matches!(session.step(now), Some(Step::Write(_))));
    assert_eq!(session.wake_at(), now + Duration::from_secs(300));
    let later = now + Duration::from_secs(299);
    assert!(session.step(later).is_none());
    assert_eq!(session.wake_at(), later + Duration::from_secs(300));
}

// proves: 6531-3.7.1-1
#[test]
fn ehlo_names_this_host_in_a_labels() {
    let now = Instant::now();
    let mut session = Session::new(Domain::parse("Bücher.Example").unwrap(), Limits::default(), now);
    session.feed(b"220 mx.example\r\n");
    assert!(matches!(
        session.step(now),
        Some(Step::Write(b"EHLO xn--bcher-kva.example\r\n"))
    ));
}

/// A conversation with a caller that takes whatever way is open at once, as a log of all steps.
struct Play {
    log: Vec<String>,
    state: Option<Side>,
    sent: usize,
    now: Instant,
}

enum Side {
    Session(Session<Tls>),
    Ready(Ready<Tls>),
}

const CONTENT: &[u8] = b"Subject: x\r\n\r\n.text\r\n";

impl Play {
    fn new() -> Play {
        let now = Instant::now();
        let limits = Limits {
            reply_bytes_max: 600,
            ..Limits::default()
        };
        let session = Session::implicit(me(), limits, now);
        Play {
            log: Vec::new(),
            state: Some(Side::Session(session)),
            sent: 0,
            now,
        }
    }

    fn feed(&mut self, octets: &[u8]) {
        match &mut self.state {
            Some(Side::Session(session)) => session.feed(octets),
            Some(Side::Ready(ready)) => ready.feed(octets),
            None => {}
        }
        self.run();
    }

    fn run(&mut self) {
        loop {
            let step = match &mut self.state {
                Some(Side::Session(session)) => session.step(self.now),
                Some(Side::Ready(ready)) => ready.step(self.now),
                None => None,
            };
            let Some(step) = step else { return };
            self.log.push(match &step {
                Step::Write(octets) => octets.escape_ascii().to_string(),
                step => format!("{step:?}"),
            });
            match step {
                Step::Hello => self.open(),
                Step::Content => self.give(),
                Step::Done(_) => self.next(),
                _ => {}
            }
        }
    }

    fn open(&mut self) {
        if let Some(Side::Session(session)) = self.state.take() {
            let host = Host::Name(Domain::parse("mx.example").unwrap());
            self.state = Some(Side::Ready(session.ready(Permit::mint(host))));
        }
        self.next();
    }

    fn give(&mut self) {
        if let Some(Side::Ready(ready)) = &mut self.state {
            ready.content(CONTENT);
            ready.content_end();
        }
    }

    fn next(&mut self) {
        self.sent += 1;
        let Some(Side::Ready(ready)) = &mut self.state else {
            return;
        };
        if self.sent > 3 || ready.send(transaction(CONTENT, 2), self.now).is_err() {
            ready.quit(self.now);
        }
    }
}

/// What servers say, rightly and wrongly.
fn saying() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => Just(b"250 ok\r\n".to_vec()),
        3 => Just(b"354 go\r\n".to_vec()),
        2 => Just(b"550 5.1.1 no\r\n".to_vec()),
        2 => Just(b"452 4.5.3 too many\r\n".to_vec()),
        1 => Just(b"250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 BINARYMIME\r\n".to_vec()),
        1 => Just(b"250-mx.example\r\n250 LIMITS MAILMAX=2 RCPTMAX=1\r\n".to_vec()),
        1 => Just(b"421 bye\r\n".to_vec()),
        1 => Just(b"199 odd\r\n".to_vec()),
        1 => Just(b"250-more\r\n".to_vec()),
        1 => Just(b"250 bare\n".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..12),
    ]
}

fn server() -> impl Strategy<Value = Vec<u8>> {
    let opening = prop_oneof![
        3 => Just(b"220 mx.example\r\n250-mx.example\r\n250 PIPELINING\r\n".to_vec()),
        3 => Just(b"220 mx.example\r\n250 mx.example\r\n".to_vec()),
        1 => Just(Vec::new()),
    ];
    (opening, proptest::collection::vec(saying(), 0..25))
        .prop_map(|(opening, said)| [opening, said.concat()].concat())
}

proptest! {
    #[test]
    fn cuts_change_no_step(said in server(), sizes in proptest::collection::vec(1usize..40, 1..10)) {
        let (mut whole, mut cut) = (Play::new(), Play::new());
        whole.feed(&said);
        let mut rest = &said[..];
        for size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (piece, behind) = rest.split_at((*size).min(rest.len()));
            cut.feed(piece);
            rest = behind;
        }
        prop_assert_eq!(whole.log, cut.log);
    }

    #[test]
    fn no_server_breaks_or_traps_the_session(said in server(), wild in proptest::collection::vec(any::<u8>(), 0..600)) {
        let mut play = Play::new();
        play.feed(&said);
        play.feed(&wild);
        match &mut play.state {
            Some(Side::Session(session)) => session.closed_by_peer(),
            Some(Side::Ready(ready)) => ready.closed_by_peer(),
            None => {}
        }
        play.run();
        prop_assert_eq!(play.log.last().map(String::as_str), Some("Close"));
    }

    #[test]
    fn time_ends_every_session(said in server()) {
        let mut play = Play::new();
        play.feed(&said);
        for _ in 0..20 {
            play.now += Duration::from_secs(600);
            play.run();
        }
        prop_assert_eq!(play.log.last().map(String::as_str), Some("Close"));
    }
}
