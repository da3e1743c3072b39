//! What holds for every server session, whatever a client sends and however it is cut.

#![allow(clippy::unwrap_used)] // these are tests, helpers included

mod server;

use mail::EnhancedStatus;
use mail::status::Class;
use proptest::prelude::*;
use server::Caller;

/// A session over, or nearly.
struct Seen {
    replies: Vec<String>,
    events: Vec<String>,
}

fn roomy() -> smtp::server::Service {
    let mut service = server::service();
    service.limits.errors_max = 1_000_000;
    service.limits.messages_max = 1_000_000;
    service.limits.message_bytes_max = 200;
    service.limits.command_line_bytes_max = 600;
    service.limits.recipients_max = 5;
    service.verify = smtp::server::Verify::Served;
    service
}

fn run(octets: &[u8], cuts: &[usize]) -> Seen {
    let mut caller = Caller::connect(roomy());
    let mut from = 0;
    for &cut in cuts {
        let to = cut.clamp(from, octets.len());
        if to > from {
            caller.feed(&octets[from..to]);
        }
        from = to;
    }
    caller.feed(&octets[from..]);
    let text = String::from_utf8(caller.written).unwrap();
    let replies = text.split_inclusive("\r\n").map(str::to_owned).collect();
    Seen {
        replies,
        events: caller.events,
    }
}

/// Lines that a client may well send, and some that none should.
fn line() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"EHLO c.example\r\n"[..],
        b"HELO c.example\r\n",
        b"EHLO\r\n",
        b"MAIL FROM:<a@x.example>\r\n",
        b"MAIL FROM:<\xc3\xa9@x.example> SMTPUTF8 BODY=8BITMIME\r\n",
        b"MAIL FROM:<> BODY=BINARYMIME\r\n",
        b"MAIL FROM:<a@x.example> SIZE=201\r\n",
        b"RCPT TO:<b@mx.example>\r\n",
        b"RCPT TO:<unknown@mx.example>\r\n",
        b"RCPT TO:<\xc3\xa9@mx.example> NOTIFY=NEVER\r\n",
        b"DATA\r\n",
        b".\r\n",
        b"..\r\n",
        b"\r\n.\r\n",
        b"text\r\n",
        b"te\nxt\r\n",
        b"te\rxt\r\n",
        b".\n",
        b"\n.\r\n",
        b"\r",
        b"\n",
        b".",
        b"\0",
        b"BDAT 0\r\n",
        b"BDAT 5\r\nhello",
        b"BDAT 7 LAST\r\n.\r\n.\r\n\0",
        b"BDAT 300\r\n",
        b"BDAT x\r\n",
        b"RSET\r\n",
        b"NOOP\r\n",
        b"VRFY \xc3\xa9 SMTPUTF8\r\n",
        b"EXPN list\r\n",
        b"HELP\r\n",
        b"AUTH PLAIN\r\n",
        b"STARTTLS x\r\n",
    ]);
    prop_oneof![
        8 => known.prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 0..40),
        1 => (1..1500_usize).prop_map(|count| vec![b'x'; count]),
    ]
}

fn talk() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(line(), 0..40).prop_map(|lines| lines.concat())
}

/// Code, mark, status of the right class (RFC 2034 §4), ASCII, length.
fn check(reply: &str) -> Result<(), TestCaseError> {
    prop_assert!(reply.len() <= 512, "{}", reply);
    let text = reply.strip_suffix("\r\n").expect("a reply ends with CRLF");
    prop_assert!(!text.contains(['\r', '\n', '\0']), "{}", reply);
    let octets = text.as_bytes();
    prop_assert!(matches!(octets[0], b'2'..=b'5'), "{}", reply);
    prop_assert!(
        octets[1].is_ascii_digit() && octets[2].is_ascii_digit(),
        "{}",
        reply
    );
    prop_assert!(matches!(octets[3], b' ' | b'-'), "{}", reply);
    let hello = text.starts_with("220 ") || text.starts_with("250-") || text.starts_with("250 STARTTLS");
    match text[4..].split(' ').next().and_then(EnhancedStatus::parse) {
        Some(status) => {
            prop_assert_eq!(status.to_string().as_bytes()[0], octets[0], "{}", reply);
            prop_assert!(is_registered(status), "{}", reply);
        }
        None => prop_assert!(
            hello
                || octets[0] == b'3'
                || text == "250 mx.example"
                || text.starts_with("501 ")
                || text.starts_with("500 "),
            "no status: {}",
            reply
        ),
    }
    Ok(())
}

/// IANA's table of enumerated status codes, as far as this server reaches.
fn is_registered(status: EnhancedStatus) -> bool {
    let details = match status.subject() {
        0 => 0..=0,
        1 => 0..=10,
        2 => 0..=4,
        3 => 0..=6,
        4 => 0..=7,
        5 => 0..=6,
        6 => 0..=10,
        7 => 0..=30,
        _ => return false,
    };
    details.contains(&status.detail())
}

proptest! {
    // proves: 5321-4.2-4 5321-4.5.3.1.5-1 2034-4-1 2034-4-2 3463-2-1 3463-2-2
    #[test]
    fn every_reply_is_well_formed(talk in talk()) {
        let seen = run(&talk, &[]);
        for reply in &seen.replies {
            check(reply)?;
        }
    }

    #[test]
    fn cuts_change_nothing(talk in talk(), mut cuts in prop::collection::vec(0..2000_usize, 0..20)) {
        cuts.sort_unstable();
        let whole = run(&talk, &[]);
        let cut = run(&talk, &cuts);
        prop_assert_eq!(&whole.replies, &cut.replies);
        prop_assert_eq!(&whole.events, &cut.events);
        let octets: Vec<usize> = (0..talk.len()).collect();
        let apart = run(&talk, &octets);
        prop_assert_eq!(&whole.replies, &apart.replies);
        prop_assert_eq!(&whole.events, &apart.events);
    }

    // proves: 3030-2-11
    #[test]
    fn no_octets_panic(octets in prop::collection::vec(any::<u8>(), 0..3000)) {
        run(&octets, &[]);
    }

    // proves: 5321-4.2-1
    #[test]
    fn one_reply_a_command(lines in prop::collection::vec("[ -~]{0,60}", 0..30)) {
        // Text lines hold no content to pass over, but these.
        let lines: Vec<String> = lines
            .into_iter()
            .filter(|line| !["BDAT", "STAR", "QUIT", "GET", "POST", "PUT", "HEAD", "CONN", "OPTI"]
                .iter()
                .any(|verb| line.to_ascii_uppercase().starts_with(verb)))
            .collect();
        let talk: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
        let seen = run(talk.as_bytes(), &[]);
        let last_lines = seen.replies.iter().filter(|reply| reply.as_bytes()[3] == b' ').count();
        prop_assert_eq!(last_lines, 1 + lines.len());
    }
}

// proves: 2920-3.2-2
#[test]
fn replies_to_a_group_are_one_write() {
    let mut caller = Caller::connect(server::service());
    caller.feed(b"EHLO c.example\r\n");
    caller.writes = 0;
    caller.feed(
        b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@mx.example>\r\nRCPT TO:<unknown@mx.example>\r\nRSET\r\n",
    );
    assert_eq!(caller.writes, 1);
    caller.feed(b"MAIL FROM:<a@x.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n");
    assert_eq!(caller.writes, 2);
}

// proves: 2920-3.2-5
#[test]
fn what_must_not_wait_is_written_before_the_next_command() {
    for command in [
        "EHLO c.example",
        "VRFY u",
        "EXPN l",
        "TURN",
        "NOOP",
        "BLAH",
        "DATA",
    ] {
        let mut caller = Caller::connect(server::service());
        caller.writes = 0;
        caller.feed(format!("RSET\r\n{command}\r\nRSET\r\n").as_bytes());
        assert_eq!(caller.writes, 2, "{command}");
    }
}

// proves: 2034-4-3
#[test]
fn every_line_of_a_reply_has_the_status() {
    let mut caller = Caller::connect(server::service());
    caller.feed(b"EHLO c.example\r\n");
    caller.written.clear();
    let status = EnhancedStatus::new(Class::Permanent, 7, 1);
    let reply = mail::Reply::new(550, status, "not\nfrom\nyou");
    caller.scripted.push_back(("MAIL".to_owned(), reply));
    caller.feed(b"MAIL FROM:<a@x.example>\r\n");
    assert_eq!(
        String::from_utf8_lossy(&caller.written),
        "550-5.7.1 not\r\n550-5.7.1 from\r\n550 5.7.1 you\r\n"
    );
}

// proves: 3463-3.1-1
#[test]
fn replies_of_the_caller_get_a_status_of_their_class() {
    let mut caller = Caller::connect(server::service());
    caller.feed(b"EHLO c.example\r\n");
    for reply in [
        mail::Reply::plain(450, "later"),
        mail::Reply::new(450, EnhancedStatus::new(Class::Permanent, 7, 1), "later"),
    ] {
        caller.written.clear();
        caller.scripted.push_back(("MAIL".to_owned(), reply));
        caller.feed(b"MAIL FROM:<a@x.example>\r\n");
        assert_eq!(caller.written, b"450 4.0.0 later\r\n");
    }
}

#[test]
fn octets_fed_while_tls_is_asked_for_are_injected() {
    use smtp::server::{Injected, Question, Session, Step};
    let now = std::time::Instant::now();
    let mut session = Session::new(std::sync::Arc::new(server::service()), server::CLIENT, now);
    while session.step(now).is_some() {}
    session.feed(b"STARTTLS\r\n");
    assert!(matches!(session.step(now), Some(Step::Ask(Question::StartTls))));
    session.feed(b"RSET\r\n");
    session.answer(Session::<mail::Clear>::READY_FOR_TLS);
    assert!(matches!(session.step(now), Some(Step::Write(_))));
    assert!(matches!(session.step(now), Some(Step::StartTls)));
    assert!(matches!(session.leave(), Err(Injected(6))));
}

#[test]
fn the_session_ends_at_its_time_however_busy_it_is() {
    let mut caller = Caller::connect(server::service());
    caller.feed(b"EHLO c.example\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@mx.example>\r\nDATA\r\n");
    caller.written.clear();
    let minute = std::time::Duration::from_secs(60);
    for _ in 0..240 {
        caller.feed(b"x");
        caller.wait(minute);
    }
    assert!(
        caller.written.starts_with(b"421 4.4.2 "),
        "{:?}",
        caller.written.escape_ascii().to_string()
    );
    assert_eq!(caller.events, ["dropped", "closed"]);
}
