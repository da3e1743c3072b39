//! Reports word by word: each case is compared with a file in `tests/reports`. `BLESS=1` rewrites them; the diff is the
//! review.

#![allow(clippy::unwrap_used)] // a test may panic

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use mail::content::Survey;
use mail::{
    Arrival, Body, Cause, Content, DeliveryStatus, Domain, EnhancedStatus, Envelope, EnvelopeId, Host,
    Mailbox, MessageId, Notify, OriginalRecipient, Protocol, Recipient, Reply, Return, ReversePath,
};
use sealpost::config::retry::Retry;
use sealpost::report::{
    Action, Delay, LostReports, Original, Outcome, Report, Reporter, action, notification,
};

fn at(hours: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000 + hours * 3600)
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

fn reporter() -> Reporter {
    Reporter::new(&domain("mail.own.example"), &Retry::default())
}

fn status(text: &str) -> EnhancedStatus {
    EnhancedStatus::parse(text).unwrap()
}

fn cause(code: &str, text: &str, reply: Option<Reply>) -> Cause {
    Cause {
        at: at(1),
        status: status(code),
        remote: reply.as_ref().map(|_| Host::Name(domain("mx.remote.example"))),
        reply,
        text: text.into(),
    }
}

fn refused() -> DeliveryStatus {
    let reply = Reply::new(
        550,
        status("5.1.1"),
        "no such user\nask the postmaster\nof remote.example",
    );
    DeliveryStatus::Failed(cause("5.1.1", "refused by mx.remote.example", Some(reply)))
}

fn deferred() -> DeliveryStatus {
    DeliveryStatus::Deferred {
        until: at(6),
        cause: cause("4.4.1", "no answer from 192.0.2.1:25", None),
    }
}

fn relayed(reports: bool) -> DeliveryStatus {
    let reply = Reply::new(250, status("2.6.0"), "queued as 1");
    DeliveryStatus::Relayed {
        cause: cause("2.6.0", "taken over", Some(reply)),
        reports,
    }
}

fn delivered() -> DeliveryStatus {
    DeliveryStatus::Delivered(cause("2.1.5", "in the mailbox", None))
}

fn expanded() -> DeliveryStatus {
    DeliveryStatus::Expanded(cause("2.1.5", "expanded", None))
}

fn to(mailbox: &str, notify: Option<&str>, original: Option<&str>) -> Recipient {
    Recipient {
        mailbox: Mailbox::parse(mailbox).unwrap(),
        notify: notify.map(|value| Notify::parse(value).unwrap()),
        original: original.map(|value| OriginalRecipient::parse(value).unwrap()),
    }
}

/// A message and what becomes of it.
struct Case {
    envelope: Envelope,
    arrival: Arrival,
    octets: Vec<u8>,
    statuses: Vec<DeliveryStatus>,
    delay: Delay,
    last_attempt: Option<SystemTime>,
    reporter: Reporter,
}

fn case(told: Vec<(Recipient, DeliveryStatus)>) -> Case {
    let (recipients, statuses) = told.into_iter().unzip();
    Case {
        envelope: Envelope {
            sender: ReversePath::Mailbox(Mailbox::parse("Sender@home.example").unwrap()),
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envelope_id: None,
            wish: mail::TlsWish::Usual,
            recipients,
        },
        arrival: Arrival {
            at: at(0),
            protocol: Protocol::Esmtp,
            greeting: Some("client.home.example".into()),
            client: Some(SocketAddr::from(([192, 0, 2, 77], 4025))),
            tls: None,
        },
        octets: b"From: Sender@home.example\r\nSubject: hello\r\n\r\nThe text.\r\n.dot\r\n".to_vec(),
        statuses,
        delay: Delay::NotDue,
        last_attempt: Some(at(1)),
        reporter: reporter(),
    }
}

impl Case {
    fn report(&self) -> Option<(Report, String)> {
        let mut survey = Survey::default();
        survey.feed(&self.octets);
        let original = Original {
            id: MessageId::new(1_795_000_000_000, 1),
            arrival: &self.arrival,
            envelope: &self.envelope,
            content: survey.content(),
        };
        let outcome = |(recipient, status)| Outcome {
            recipient,
            status,
            delay: self.delay,
            last_attempt: self.last_attempt,
            evidence: None,
        };
        let outcomes: Vec<Outcome<'_>> = self
            .envelope
            .recipients
            .iter()
            .zip(&self.statuses)
            .map(outcome)
            .collect();
        let id = MessageId::new(1_795_003_600_000, 2);
        let report = notification(&original, &outcomes, &self.reporter, id, at(1))?;
        let (written, content) = self.write(&report, &original.content);
        assert_eq!(content.bytes, written.len() as u64);
        assert!(!content.binary && content.longest_line_bytes <= 998);
        let eight_bit = content.eight_bit_body || content.eight_bit_header;
        assert_eq!(
            eight_bit,
            report.envelope.body == Body::EightBitMime || report.envelope.smtputf8
        );
        Some((report, String::from_utf8(written).unwrap()))
    }

    fn write(&self, report: &Report, content: &Content) -> (Vec<u8>, Content) {
        let (mut rest, mut written) = (self.octets.as_slice(), Vec::new());
        let read = |into: &mut [u8]| std::io::Read::read(&mut rest, into);
        let content = report.write::<std::io::Error>(content, read, |bytes| {
            written.extend_from_slice(bytes);
            Ok(())
        });
        (written, content.unwrap())
    }

    fn text(&self) -> String {
        self.report().unwrap().1
    }
}

/// Compares a report with its file.
fn golden(name: &str, case: &Case) {
    let text = case.text();
    assert!(
        text.replace("\r\n", "").chars().all(|c| c != '\r' && c != '\n'),
        "a bare line end in {name}"
    );
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/reports")
        .join(name);
    let shown = text.replace("\r\n", "\n");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &shown).unwrap();
    }
    assert_eq!(shown, std::fs::read_to_string(&path).unwrap(), "{name}");
}

fn fields<'t>(text: &'t str, name: &str) -> Vec<&'t str> {
    let prefix = format!("{name}: ");
    text.split("\r\n")
        .filter_map(|line| line.strip_prefix(&prefix))
        .collect()
}

// proves: 3464-2-1 3464-2-2 3464-2-3 3464-2.1-1 3464-2.2.2-1 3464-2.2.4-1 3464-2.2.5-1 3464-2.3.2-1 3464-2.3.6-1
// proves: 3461-6.3-1 3461-6.3-2 3461-6.3-3 3461-6.3-4 3461-6.3-5 3461-9.2-1 6522-3-1 6522-3-2 6522-3-3 6522-3-4 6522-3-5
// proves: 3464-2-5 3464-2.2.1-1 3464-2.3.7-1 3464-3-1
#[test]
fn a_failure_word_by_word() {
    let mut case = case(vec![
        (
            to(
                "User+Tag@remote.example",
                None,
                Some("rfc822;First+2BName@list.example"),
            ),
            refused(),
        ),
        (to("other@remote.example", None, None), refused()),
    ]);
    case.envelope.envelope_id = EnvelopeId::parse_xtext("AbC+2Bd");
    golden("failed.txt", &case);
    let mut plain = case;
    plain.envelope.envelope_id = None;
    plain.last_attempt = None;
    assert!(fields(&plain.text(), "Original-Envelope-Id").is_empty());
    assert!(fields(&plain.text(), "Last-Attempt-Date").is_empty());
}

// proves: 3464-2.3.9-1 3461-5.2.5-1
#[test]
fn a_delay_word_by_word() {
    let mut case = case(vec![(to("user@remote.example", None, None), deferred())]);
    case.delay = Delay::Due;
    golden("delayed.txt", &case);
}

// A fault while a report is written would cost the record of what was delivered in the same attempt.
#[test]
fn an_age_beyond_all_calendars_is_no_fault() {
    let mut case = case(vec![(to("user@remote.example", None, None), deferred())]);
    case.delay = Delay::Due;
    case.reporter.age_max = Duration::from_millis(u64::MAX);
    assert_eq!(fields(&case.text(), "Action"), ["delayed"]);
}

// proves: 3464-2.3.3-1 3464-2.3.4-1 3464-2.3.5-1 3461-5.2.3-1 3461-5.2.2-2 3461-6.2-1 6522-4-1 6522-4-2
#[test]
fn successes_word_by_word() {
    let asked = Some("SUCCESS,FAILURE,DELAY");
    let mut case = case(vec![
        (to("here@own.example", asked, None), delivered()),
        (to("there@remote.example", asked, None), relayed(false)),
        (to("team@own.example", asked, None), expanded()),
        (to("late@remote.example", asked, None), deferred()),
    ]);
    case.delay = Delay::Due;
    golden("successes.txt", &case);
}

// proves: 6531-3.2-4 6531-3.2-5
#[test]
fn addresses_that_ascii_cannot_spell() {
    let failed = DeliveryStatus::Failed(cause("5.6.7", "mx.remote.example offers no SMTPUTF8", None));
    let mut case = case(vec![(to("jürgen@remote.example", None, None), failed)]);
    case.envelope.smtputf8 = true;
    case.octets = "Subject: grüße\r\n\r\ntext\r\n".as_bytes().to_vec();
    golden("international.txt", &case);
    // A sender of this kind can only be written to in UTF-8.
    case.envelope.sender = ReversePath::Mailbox(Mailbox::parse("søren@home.example").unwrap());
    assert!(case.report().unwrap().0.envelope.smtputf8);
}

// proves: 3461-6.1-1 3461-6.1-2 3464-2-4 5321-3.6.3-3
#[test]
fn a_report_comes_from_nobody_and_asks_for_nothing() {
    let (report, _) = case(vec![(to("user@remote.example", None, None), refused())])
        .report()
        .unwrap();
    assert_eq!(report.envelope.sender, ReversePath::Null);
    assert_eq!(report.envelope.ret, None);
    assert_eq!(report.envelope.envelope_id, None);
    assert_eq!(report.envelope.recipients.len(), 1);
    assert_eq!(
        report.envelope.recipients[0].mailbox.as_str(),
        "Sender@home.example"
    );
    assert_eq!(report.envelope.recipients[0].notify, Some(Notify::Never));
}

// proves: 3461-5.2-1 5321-3.6.3-2 5321-4.5.4-1 5321-6.1-2
#[test]
fn nobody_is_told_of_mail_from_nobody() {
    let mut case = case(vec![(
        to("user@remote.example", Some("SUCCESS,FAILURE,DELAY"), None),
        refused(),
    )]);
    assert!(case.report().is_some());
    case.envelope.sender = ReversePath::Null;
    assert!(case.report().is_none());
    // But the postmaster may be, and of no failure of such a note.
    case.reporter.lost = LostReports::Noted;
    let (note, text) = case.report().unwrap();
    assert_eq!(note.envelope.sender, ReversePath::Null);
    assert_eq!(
        note.envelope.recipients[0].mailbox.as_str(),
        "postmaster@mail.own.example"
    );
    assert!(text.contains("Subject: A report could not be delivered"));
    case.envelope.recipients[0] = to("postmaster@mail.own.example", Some("NEVER"), None);
    assert!(case.report().is_none());
}

// proves: 3461-4.1-2 3461-5.2.2-3 3461-5.2.2-4 3461-5.2.2-6 3461-5.2.3-2 3461-5.2.5-2 3461-5.2.6-1 3461-5.2.6-2 3464-2.3.3-2
#[test]
fn what_each_notify_asks_for() {
    use Action::{Delayed, Delivered, Expanded, Failed, Relayed};
    type Row<'a> = (Option<&'a str>, [Option<Action>; 7]);
    let rows: [Row<'_>; 5] = [
        (None, [Some(Failed), Some(Delayed), None, None, None, None, None]),
        (Some("NEVER"), [None; 7]),
        (
            Some("FAILURE"),
            [Some(Failed), None, None, None, None, None, None],
        ),
        (Some("DELAY"), [None, Some(Delayed), None, None, None, None, None]),
        (
            Some("SUCCESS"),
            [
                None,
                None,
                None,
                Some(Delivered),
                Some(Relayed),
                None,
                Some(Expanded),
            ],
        ),
    ];
    for (notify, expected) in rows {
        let recipient = to("user@remote.example", notify, None);
        let of = |status: DeliveryStatus, delay| action(&recipient, &status, delay);
        let found = [
            of(refused(), Delay::NotDue),
            of(deferred(), Delay::Due),
            of(deferred(), Delay::NotDue),
            of(delivered(), Delay::NotDue),
            of(relayed(false), Delay::NotDue),
            of(relayed(true), Delay::NotDue),
            of(expanded(), Delay::NotDue),
        ];
        assert_eq!(found, expected, "{notify:?}");
    }
}

// proves: 3461-5.2.8-1
#[test]
fn recipients_who_get_no_report_are_not_mentioned() {
    let case = case(vec![
        (to("loud@remote.example", None, None), refused()),
        (to("quiet@remote.example", Some("NEVER"), None), refused()),
        (to("happy@remote.example", None, None), relayed(false)),
    ]);
    let text = case.text();
    assert_eq!(fields(&text, "Final-Recipient"), ["rfc822; loud@remote.example"]);
    assert!(!text.contains("quiet@") && !text.contains("happy@"));
}

// proves: 3461-4.3-2 3461-6.2-1
#[test]
fn how_much_comes_back() {
    let mut case = case(vec![(to("user@remote.example", None, None), refused())]);
    let whole = |case: &Case| case.text().contains("Content-Type: message/rfc822\r\n");
    let headers = |case: &Case| {
        let text = case.text();
        assert!(!text.contains("The text."));
        text.contains("Content-Type: text/rfc822-headers\r\n")
    };
    assert!(whole(&case));
    case.envelope.ret = Some(Return::Headers);
    assert!(headers(&case));
    case.envelope.ret = Some(Return::Full);
    assert!(whole(&case) && case.text().contains("The text.\r\n.dot\r\n"));
    case.reporter.return_bytes_max = 10;
    assert!(headers(&case));
}

// proves: 8689-5-1 8689-5-2
#[test]
fn a_report_on_mail_that_demands_tls_demands_it_too_and_returns_the_header() {
    let mut case = case(vec![(to("user@remote.example", None, None), refused())]);
    case.envelope.ret = Some(Return::Full);
    case.envelope.wish = mail::TlsWish::Required;
    let (report, text) = case.report().unwrap();
    assert_eq!(report.envelope.wish, mail::TlsWish::Required);
    assert!(text.contains("Content-Type: text/rfc822-headers\r\n") && !text.contains("The text."));
    // What the sender waives for the message is not waived for the report.
    case.envelope.wish = mail::TlsWish::Waived;
    let (report, text) = case.report().unwrap();
    assert_eq!(report.envelope.wish, mail::TlsWish::Usual);
    assert!(text.contains("The text."));
}

// proves: 6522-3-6
#[test]
fn eight_bit_originals_come_back_by_their_header_unless_asked_for() {
    let mut case = case(vec![(to("user@remote.example", None, None), refused())]);
    case.octets = "Subject: a\r\n\r\nwörter\r\n".as_bytes().to_vec();
    let (report, text) = case.report().unwrap();
    assert!(text.is_ascii() && report.envelope.body == Body::SevenBit);
    assert!(text.contains("\r\nSubject: a\r\n"));
    case.envelope.ret = Some(Return::Full);
    let (report, text) = case.report().unwrap();
    assert_eq!(report.envelope.body, Body::EightBitMime);
    assert!(text.contains("wörter"));
}

#[test]
fn binary_and_long_lines_come_back_encoded() {
    let mut case = case(vec![(to("user@remote.example", None, None), refused())]);
    case.octets = format!("Subject: {}\r\n\r\nx\r\n", "y".repeat(5000)).into_bytes();
    let text = case.text();
    assert!(text.contains(
        "Content-Type: text/rfc822-headers\r\nContent-Transfer-Encoding: base64\r\n\r\nU3ViamVjdDog"
    ));
    case.octets = vec![b'a'; 300_000];
    assert!(case.text().contains("base64"));
    case.octets = b"\0\r\n".to_vec();
    assert!(case.text().contains("base64"));
}

// What a peer or a sender wrote cannot begin a field, a line or a part of its own.
#[test]
fn foreign_text_stays_inside_its_field() {
    let reply = Reply::plain(550, "no\nAction: delivered\n--=_x");
    let failed = DeliveryStatus::Failed(cause("5.0.0", "refused", Some(reply)));
    assert_eq!(
        OriginalRecipient::parse("rfc822;a+0D+0AAction:+20delivered"),
        None
    );
    let original = "rfc822;a+20Action:+20delivered";
    let text = case(vec![(to("user@remote.example", None, Some(original)), failed)]).text();
    assert_eq!(fields(&text, "Action"), ["failed"]);
    assert_eq!(
        fields(&text, "Original-Recipient"),
        ["rfc822; a Action: delivered"]
    );
    assert_eq!(fields(&text, "Diagnostic-Code"), ["smtp; 550-no"]);
    assert!(text.contains("\r\n 550-Action: delivered\r\n 550 --=_x\r\n"));
}

// proves: 3463-2-3 3463-3.5-2
#[test]
fn unknown_and_transient_statuses_are_told_as_they_are() {
    let odd = DeliveryStatus::Failed(cause("5.99.99", "refused", None));
    let old = DeliveryStatus::Failed(cause(
        "4.7.1",
        "put off for too long",
        Some(Reply::plain(451, "4.7.1 later")),
    ));
    let text = case(vec![
        (to("a@remote.example", None, None), odd),
        (to("b@remote.example", None, None), old),
    ])
    .text();
    assert_eq!(fields(&text, "Status"), ["5.99.99", "4.7.1"]);
    assert_eq!(fields(&text, "Action"), ["failed", "failed"]);
}
