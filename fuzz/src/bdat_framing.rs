//! The server's session: whatever a client sends, it is one and the same conversation however the octets are cut, and
//! no octet of a message is taken for a command or the other way round.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Instant;

use mail::{Channel, Content, Domain, EnhancedStatus, Reply, content::Survey};
use smtp::Limits;
use smtp::server::{Question, Service, Session, StartTls, Step, Verify};

use super::cuts::Cuts;

/// What a session did, in a form that does not depend on the cuts.
#[derive(Default, PartialEq, Eq, Debug)]
struct Conversation {
    /// Everything written.
    written: Vec<u8>,
    /// Each message begun: its content, and how it ended.
    messages: Vec<(Vec<u8>, Ending)>,
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ending {
    Open,
    Kept,
    Aborted,
}

/// Checks one stream. Its first octet chooses the cuts.
pub fn check(octets: &[u8]) {
    let Some((&seed, stream)) = octets.split_first() else {
        return;
    };
    let service = Arc::new(service());
    let converse = |cuts: Cuts| {
        let now = Instant::now();
        let session = Session::implicit(service.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST), now);
        run(session, &cuts.of(stream), now)
    };
    let whole = converse(Cuts::Whole);
    for cuts in [Cuts::Octets, Cuts::Seeded(seed)] {
        let cut = converse(cuts);
        assert_eq!(said(&whole), said(&cut), "{cuts:?}");
        assert_eq!(whole, cut, "{cuts:?}");
    }
    check_kept(&whole, stream);
    assert_eq!(survey(&[stream]), survey(&Cuts::Seeded(seed).of(stream)));
    let now = Instant::now();
    let clear = Session::new(service.clone(), IpAddr::V4(Ipv4Addr::LOCALHOST), now);
    run(clear, &Cuts::Seeded(seed).of(stream), now);
}

/// Each message kept was answered as such, and its content stands in the stream but for the dots that were stuffed.
fn check_kept(conversation: &Conversation, stream: &[u8]) {
    let mut most = stream.len();
    for (content, _) in conversation
        .messages
        .iter()
        .filter(|(_, ending)| *ending == Ending::Kept)
    {
        assert!(content.len() <= most, "a message is longer than what came");
        most -= content.len();
    }
    let kept = conversation
        .messages
        .iter()
        .filter(|(_, ending)| *ending == Ending::Kept)
        .count();
    assert_eq!(said(conversation).matches(" kept\r\n").count(), kept);
}

/// What is found out about a message's octets while they stream in.
fn survey(pieces: &[&[u8]]) -> Content {
    let mut survey = Survey::default();
    pieces.iter().for_each(|piece| survey.feed(piece));
    survey.content()
}

fn said(conversation: &Conversation) -> String {
    String::from_utf8(conversation.written.clone()).expect("replies are UTF-8")
}

fn service() -> Service {
    Service {
        host: Domain::parse("mx.example").expect("a good name"),
        software: None,
        starttls: StartTls::Offered,
        verify: Verify::Served,
        limits: Limits {
            message_bytes_max: 2000,
            recipients_max: 3,
            messages_max: 4,
            errors_max: 6,
            ..Limits::default()
        },
    }
}

fn run<C: Channel>(mut session: Session<C>, pieces: &[&[u8]], now: Instant) -> Conversation {
    let mut conversation = Conversation::default();
    take_steps(&mut session, &mut conversation, now);
    for piece in pieces {
        if conversation.closed {
            return conversation;
        }
        session.feed(piece);
        take_steps(&mut session, &mut conversation, now);
    }
    session.closed_by_client(now);
    take_steps(&mut session, &mut conversation, now);
    conversation
}

fn take_steps<C: Channel>(session: &mut Session<C>, conversation: &mut Conversation, now: Instant) {
    let mut steps = 0;
    while let Some(step) = session.step(now) {
        steps += 1;
        assert!(steps < 100_000, "the session goes round in circles");
        assert!(!conversation.closed, "a step behind Close");
        let answer = match step {
            Step::Write(octets) => {
                conversation.written.extend_from_slice(octets);
                continue;
            }
            Step::Body(octets) => {
                let (content, ending) = conversation.messages.last_mut().expect("Begin comes before Body");
                assert_eq!(*ending, Ending::Open);
                content.extend_from_slice(octets);
                continue;
            }
            Step::Abort => {
                let (content, ending) = conversation
                    .messages
                    .last_mut()
                    .expect("Begin comes before Abort");
                assert_eq!(*ending, Ending::Open);
                *ending = Ending::Aborted;
                // How much of it came before it was given up does depend on the cuts.
                content.clear();
                continue;
            }
            Step::Close | Step::StartTls => {
                conversation.closed = true;
                continue;
            }
            Step::Ask(question) => reply_to(&question, conversation),
        };
        session.answer(answer);
    }
}

/// Answers that follow from the question alone, some of them refusals.
fn reply_to(question: &Question<'_>, conversation: &mut Conversation) -> Reply {
    const OK: EnhancedStatus = EnhancedStatus::new(mail::status::Class::Success, 0, 0);
    let refused = || Reply::plain(550, "no");
    match question {
        Question::Mail(mail) if mail.size.is_some_and(|size| size % 7 == 3) => refused(),
        Question::Rcpt(_, recipient) if recipient.mailbox.as_str().starts_with('x') => refused(),
        Question::Begin(envelope) if envelope.recipients.len() == 3 => Reply::plain(452, "no room"),
        Question::Begin(_) => {
            if let Some((_, ending)) = conversation.messages.last() {
                assert_ne!(*ending, Ending::Open, "two messages at a time");
            }
            conversation.messages.push((Vec::new(), Ending::Open));
            Reply::plain(354, "go on")
        }
        Question::End => {
            let (_, ending) = conversation.messages.last_mut().expect("Begin comes before End");
            assert_eq!(*ending, Ending::Open);
            *ending = Ending::Kept;
            Reply::new(250, OK, "kept")
        }
        Question::StartTls => Session::<mail::Clear>::READY_FOR_TLS,
        Question::Mail(_) | Question::Rcpt(..) | Question::Verify(_) | Question::Expand(_) => {
            Reply::new(250, OK, "ok")
        }
    }
}
