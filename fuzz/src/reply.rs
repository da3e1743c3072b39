//! The client's end: replies read the same however they are cut, and no server can break or trap the session.

use std::time::Instant;

use mail::proof::Permit;
use mail::{Body, Domain, Host, Mailbox, Recipient, Reply, ReversePath, Tls, content::Survey};
use smtp::Limits;
use smtp::client::{BadReply, Ready, Session, Step, Transaction};
use smtp::wire::ReplyReader;

use super::cuts::Cuts;

const REPLY_BYTES_MAX: usize = 2048;
const CONTENT: &[u8] = b"Subject: x\r\n\r\n.dot\r\nend\r\n";

/// Checks one stream of octets from a server. Its first octet chooses the cuts.
pub fn check(octets: &[u8]) {
    let Some((&seed, stream)) = octets.split_first() else {
        return;
    };
    let whole = replies(&[stream]);
    assert_eq!(whole, replies(&Cuts::Octets.of(stream)));
    assert_eq!(whole, replies(&Cuts::Seeded(seed).of(stream)));
    for cuts in [Cuts::Whole, Cuts::Octets, Cuts::Seeded(seed)] {
        talk(&cuts.of(stream));
    }
}

fn replies(pieces: &[&[u8]]) -> (Vec<Reply>, Option<BadReply>) {
    let mut reader = ReplyReader::new(REPLY_BYTES_MAX);
    let mut found = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next_reply() {
                Ok(Some(reply)) => {
                    super::command::check_reply(&reply);
                    found.push(reply);
                }
                Ok(None) => break,
                Err(bad) => return (found, Some(bad)),
            }
        }
    }
    (found, None)
}

/// Goes as far as the server lets it: EHLO, MAIL, RCPT, content, the next message, QUIT.
fn talk(pieces: &[&[u8]]) {
    let now = Instant::now();
    let me = Domain::parse("client.example").expect("a good name");
    let limits = Limits {
        reply_bytes_max: REPLY_BYTES_MAX,
        ..Limits::default()
    };
    let mut session = Session::<Tls>::implicit(me, limits, now);
    let mut pieces = pieces.iter();
    let mut steps = 0;
    loop {
        while let Some(step) = session.step(now) {
            steps += 1;
            assert!(steps < 10_000, "the session goes round in circles");
            match step {
                Step::Hello => {
                    let host = Host::parse("mx.example").expect("a good name");
                    return send(session.ready(Permit::mint(host)), pieces, now);
                }
                Step::Close => return,
                Step::Write(_) | Step::Broken(_) => {}
                Step::StartTls | Step::StartTlsRefused(_) | Step::Content | Step::Done(_) => {
                    panic!("{step:?} before EHLO was answered")
                }
            }
        }
        match pieces.next() {
            Some(piece) => session.feed(piece),
            None => session.closed_by_peer(),
        }
    }
}

fn send<'p>(mut ready: Ready<Tls>, mut pieces: impl Iterator<Item = &'p &'p [u8]>, now: Instant) {
    let mut steps = 0;
    let mut under_way = ready.send(transaction(), now).is_ok();
    if !under_way {
        ready.quit(now);
    }
    loop {
        while let Some(step) = ready.step(now) {
            steps += 1;
            assert!(steps < 10_000, "the session goes round in circles");
            let done = match step {
                Step::Content => {
                    assert!(under_way, "content is wanted without a transaction");
                    ready.content(CONTENT);
                    ready.content_end();
                    false
                }
                Step::Done(outcome) => {
                    assert!(under_way, "an outcome without a transaction");
                    assert_eq!(outcome.recipients.len(), 2);
                    assert_eq!(outcome.fates().count(), 2);
                    under_way = false;
                    true
                }
                Step::Close => return assert!(!under_way, "closed without an outcome"),
                Step::Write(_) | Step::Broken(_) => false,
                Step::Hello | Step::StartTls | Step::StartTlsRefused(_) => {
                    panic!("{step:?} in a transaction")
                }
            };
            if done {
                under_way = ready.can_send_more() && ready.send(transaction(), now).is_ok();
                if !under_way {
                    ready.quit(now);
                }
            }
        }
        match pieces.next() {
            Some(piece) => ready.feed(piece),
            None => ready.closed_by_peer(),
        }
    }
}

fn transaction() -> Transaction {
    let recipient = |text| Recipient {
        mailbox: Mailbox::parse(text).expect("a good address"),
        notify: None,
        original: None,
    };
    let mut survey = Survey::default();
    survey.feed(CONTENT);
    Transaction {
        envelope_sender: ReversePath::Null,
        recipients: vec![recipient("a@x.example"), recipient("b@x.example")],
        content: survey.content(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        wish: mail::TlsWish::Usual,
    }
}
