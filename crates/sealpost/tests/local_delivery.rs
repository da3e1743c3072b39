//! Local delivery out of a real spool into real Maildirs: what lies in the mailbox, what goes on, and what the sender
//! is told.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mail::content::Survey;
use mail::{
    Arrival, Body, DeliveryStatus, Domain, Envelope, EnvelopeId, Mailbox, MessageId, Notify,
    OriginalRecipient, Protocol, Recipient, Return, ReversePath,
};
use sealpost::config::local::Local;
use sealpost::local::{self, Office};
use sealpost::ports::{Clock, Later};
use spool::{Folder, Lane, Leased, Limits, Notices, Spool};

/// A spool and a directory in a folder that goes with them.
struct House {
    folder: tempfile::TempDir,
    spool: Arc<Spool>,
    office: Office,
}

/// A clock that stands still, and dice that count.
struct Still(std::sync::atomic::AtomicU64);

impl Clock for Still {
    fn now(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000)
    }
    fn instant(&self) -> std::time::Instant {
        std::time::Instant::now()
    }
    fn sleep_until(&self, _: std::time::Instant) -> Later<'static, ()> {
        Box::pin(std::future::ready(()))
    }
    fn roll(&self) -> u64 {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
    }
}

fn house(section: &str) -> House {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("spool")).unwrap();
    let section: Local = toml::from_str(section).unwrap();
    let me = Domain::parse("mx.example").unwrap();
    let directory = Arc::new(local::load(&section, &me, &folder.path().join("mail")).unwrap());
    let disk = Arc::new(Folder::open(&folder.path().join("spool")).unwrap());
    let served = Arc::clone(&directory);
    let lane_of = move |to: &Recipient| match served.is_local(&to.mailbox) {
        true => Lane::new("local"),
        false => Lane::new("away"),
    };
    let (spool, _) = Spool::open(disk, Limits::default(), lane_of).unwrap();
    let clock = Arc::new(Still(0.into()));
    let office = Office {
        directory,
        spool: Arc::clone(&spool),
        me,
        started: UNIX_EPOCH,
        clock,
    };
    House {
        folder,
        spool,
        office,
    }
}

fn envelope(sender: &str, recipients: &[&str]) -> Envelope {
    let to = |address: &&str| Recipient {
        mailbox: Mailbox::parse(address).unwrap(),
        notify: None,
        original: None,
    };
    Envelope {
        sender: match sender {
            "" => ReversePath::Null,
            sender => ReversePath::Mailbox(Mailbox::parse(sender).unwrap()),
        },
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        wish: mail::TlsWish::Usual,
        recipients: recipients.iter().map(to).collect(),
    }
}

impl House {
    fn keep(&self, envelope: Envelope, content: &[u8]) {
        let mut draft = self
            .spool
            .draft(MessageId::new(
                1_700_000_000_000,
                u128::from(self.office.clock.roll()),
            ))
            .unwrap();
        draft.push(content).unwrap();
        let mut survey = Survey::default();
        survey.feed(content);
        let arrival = Arrival {
            at: self.office.clock.now(),
            protocol: Protocol::Local,
            greeting: None,
            client: None,
            tls: None,
        };
        let (answer, answered) = mpsc::channel();
        draft.keep(envelope, arrival, survey.content(), move |kept| {
            answer.send(kept).unwrap()
        });
        answered.recv().unwrap().unwrap();
    }

    fn lease(&self, lane: &str) -> Option<Leased> {
        self.spool
            .take(self.office.clock.now(), &|found| found.as_str() == lane)
    }

    /// Delivers what waits for local recipients and settles it.
    fn deliver(&self) -> Vec<DeliveryStatus> {
        let leased = self.lease("local").expect("a message waits");
        let outcome = self
            .office
            .deliver(&leased, &|_| UNIX_EPOCH + Duration::from_secs(9_000_000_000));
        let statuses = outcome.statuses.clone();
        leased
            .settle(
                self.office.clock.now(),
                outcome.statuses,
                outcome.offspring,
                Notices::default(),
            )
            .unwrap();
        statuses
    }

    fn files(&self, user: &str) -> Vec<PathBuf> {
        let folder = self.folder.path().join("mail").join(user).join("new");
        let mut files: Vec<PathBuf> = match std::fs::read_dir(folder) {
            Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
            Err(_) => Vec::new(),
        };
        files.sort();
        files
    }

    fn only_file(&self, user: &str) -> Vec<u8> {
        let files = self.files(user);
        assert_eq!(files.len(), 1, "{user}: {files:?}");
        std::fs::read(&files[0]).unwrap()
    }

    /// The message that waits for another host: its envelope and content.
    fn away(&self) -> (Envelope, Vec<u8>) {
        let leased = self.lease("away").expect("a message waits to go out");
        let mut content = Vec::new();
        let mut body = leased.body().unwrap();
        let mut piece = [0; 100];
        loop {
            match body.read(&mut piece).unwrap() {
                0 => break,
                read => content.extend_from_slice(&piece[..read]),
            }
        }
        let message = leased.message();
        assert_eq!(message.content.bytes, content.len() as u64);
        let mut survey = Survey::default();
        survey.feed(&content);
        assert_eq!(
            message.content,
            survey.content(),
            "the facts are those of the octets"
        );
        (message.envelope.clone(), content)
    }
}

const ANN: &str = "domains = [\"x.example\"]\nmailboxes = [\"ann\", \"bob\"]\n[aliases]\n";

fn kinds(statuses: &[DeliveryStatus]) -> Vec<String> {
    let kind = |status: &DeliveryStatus| {
        let word = match status {
            DeliveryStatus::Delivered(_) => "delivered",
            DeliveryStatus::Relayed { reports: true, .. } => "passed on",
            DeliveryStatus::Relayed { .. } => "relayed",
            DeliveryStatus::Expanded(_) => "expanded",
            DeliveryStatus::Deferred { .. } => "deferred",
            DeliveryStatus::Held(_) | DeliveryStatus::Withheld { .. } => "held",
            DeliveryStatus::Failed(_) => "failed",
        };
        format!("{word} {}", status.cause().status)
    };
    statuses.iter().map(kind).collect()
}

// proves: 5321-4.4-6 5321-4.4-7
#[test]
fn a_mailbox_copy_has_one_return_path_and_is_otherwise_the_message() {
    let house = house(ANN);
    let mut big = vec![b'x'; 300_000];
    big.extend_from_slice(b"\r\nbin\0\xff\r\n.\r\nReturn-Path: <in@the.body>\r\n");
    let header = b"Received: from a by b; x\r\nSubject: s\r\n folded\r\n\r\n";
    let sent = [&header[..], b"", &big].concat();
    let arrived = [&b"return-path:\t<old@far.example>\r\n (folded)\r\n"[..], &sent].concat();
    house.keep(envelope("eve@far.example", &["Ann@x.example"]), &arrived);
    assert_eq!(kinds(&house.deliver()), ["delivered 2.0.0"]);
    let head = b"Return-Path: <eve@far.example>\r\nDelivered-To: Ann@x.example\r\n";
    assert!(house.only_file("x.example/ann") == [&head[..], &sent].concat());

    house.keep(envelope("", &["bob@x.example"]), b"Subject: report\r\n\r\n");
    house.deliver();
    assert!(
        house
            .only_file("x.example/bob")
            .starts_with(b"Return-Path: <>\r\nDelivered-To: bob@x.example\r\n")
    );
}

// proves: 5321-4.1.2-1 5321-4.5.1-2
#[test]
fn quoted_names_and_postmaster_have_their_mailbox() {
    let house = house(ANN);
    let to = [
        "\"ann\"@x.example",
        "PostMaster@x.example",
        "postmaster@mx.example",
        "ann+tag@x.example",
    ];
    house.keep(envelope("eve@far.example", &to), b"A: b\r\n\r\n");
    assert_eq!(kinds(&house.deliver()), ["delivered 2.0.0"; 4]);
    assert_eq!(house.files("x.example/ann").len(), 2);
    assert_eq!(house.files("x.example/postmaster").len(), 1);
    assert_eq!(house.files("mx.example/postmaster").len(), 1);
}

#[test]
fn a_crash_before_the_settlement_doubles_nothing() {
    let house = house(&format!("{ANN}all = [\"ann\", \"bob\", \"eve@far.example\"]"));
    house.keep(envelope("eve@far.example", &["all@x.example"]), b"A: b\r\n\r\n");
    for _ in 0..3 {
        let leased = house.lease("local").unwrap();
        let outcome = house.office.deliver(&leased, &|_| UNIX_EPOCH);
        assert_eq!(kinds(&outcome.statuses), ["expanded 2.0.0"]);
        drop(leased); // never settled: as after a crash
    }
    house.deliver();
    house.only_file("x.example/ann");
    house.only_file("x.example/bob");
    assert_eq!(house.away().0.recipients.len(), 1);
    let waiting = house.spool.list(&spool::Filter::default(), None, 10);
    assert_eq!(waiting.len(), 1, "the offspring of broken attempts are gone");
}

// proves: 3461-5.2.7.2-1 5321-3.9-1 5321-3.9-2
#[test]
fn an_alias_for_one_address_passes_everything_on() {
    let house = house(&format!("{ANN}far = \"eve@far.example\""));
    let mut asked = envelope("sue@s.example", &["far@x.example"]);
    asked.ret = Some(Return::Headers);
    asked.envelope_id = EnvelopeId::parse_xtext("QQ314159");
    asked.recipients[0].notify = Notify::parse("SUCCESS,DELAY");
    asked.recipients[0].original = OriginalRecipient::parse("rfc822;First@X.example");
    let content =
        b"From: \"Odd  spacing\"   <sue@s.example>\r\nReturn-Path: <kept@in.transit>\r\n\r\nbody\r\n";
    house.keep(asked.clone(), content);
    assert_eq!(
        kinds(&house.deliver()),
        ["passed on 2.0.0"],
        "so that no report is made here"
    );
    let (onward, octets) = house.away();
    assert_eq!(onward.sender, asked.sender);
    assert_eq!((onward.ret, onward.envelope_id), (asked.ret, asked.envelope_id));
    assert_eq!(
        onward.recipients[0].mailbox,
        Mailbox::parse("eve@far.example").unwrap()
    );
    assert_eq!(onward.recipients[0].notify, asked.recipients[0].notify);
    assert_eq!(onward.recipients[0].original, asked.recipients[0].original);
    assert_eq!(
        octets,
        [&b"Delivered-To: far@x.example\r\n"[..], content].concat()
    );
}

// proves: 3464-3-2 5321-3.9-1
#[test]
fn an_alias_for_several_is_expanded_once() {
    let house = house(&format!(
        "{ANN}all = [\"ann\", \"eve@far.example\", \"zoe@far.example\"]"
    ));
    for (asked, passed_on) in [
        (None, None),
        (Some("SUCCESS,FAILURE"), Some("FAILURE")),
        (Some("SUCCESS"), Some("NEVER")),
        (Some("NEVER"), Some("NEVER")),
        (Some("DELAY"), Some("DELAY")),
    ] {
        let mut sent = envelope("sue@s.example", &["all@x.example"]);
        sent.recipients[0].notify = asked.and_then(Notify::parse);
        sent.envelope_id = EnvelopeId::parse_xtext("id");
        house.keep(sent.clone(), b"A: b\r\n\r\n");
        assert_eq!(kinds(&house.deliver()), ["expanded 2.0.0"]);
        let leased = house.lease("away").unwrap();
        let onward = leased.message().envelope.clone();
        assert_eq!(
            (onward.sender, onward.envelope_id),
            (sent.sender, sent.envelope_id)
        );
        assert_eq!(onward.recipients.len(), 2);
        for recipient in onward.recipients {
            assert_eq!(recipient.notify, passed_on.and_then(Notify::parse), "{asked:?}");
            assert_eq!(recipient.original.unwrap().as_str(), "rfc822;all@x.example");
        }
        let settled = DeliveryStatus::Expanded(house_cause());
        leased
            .settle(
                UNIX_EPOCH,
                vec![settled.clone(), settled],
                Vec::new(),
                Notices::default(),
            )
            .unwrap();
    }
}

fn house_cause() -> mail::Cause {
    mail::Cause {
        at: UNIX_EPOCH,
        status: mail::EnhancedStatus::parse("2.0.0").unwrap(),
        remote: None,
        reply: None,
        text: "done".into(),
    }
}

// proves: 3461-5.2.7.1-1 5321-3.9-1 5321-3.9-2
#[test]
fn a_list_is_where_delivery_ends_and_new_mail_begins() {
    let house = house(&format!(
        "{ANN}team = {{ to = [\"ann\", \"eve@far.example\"], owner = \"team-owner\" }}\nteam-owner = \"bob\""
    ));
    let mut sent = envelope("sue@s.example", &["team@x.example"]);
    sent.ret = Some(Return::Full);
    sent.envelope_id = EnvelopeId::parse_xtext("id");
    sent.recipients[0].notify = Notify::parse("SUCCESS");
    sent.recipients[0].original = OriginalRecipient::parse("rfc822;team@x.example");
    let content = b"From: Sue <sue@s.example>\r\nTo: team@x.example\r\n\r\nhello\r\n";
    house.keep(sent, content);
    assert_eq!(kinds(&house.deliver()), ["delivered 2.0.0"]);
    let copy = house.only_file("x.example/ann");
    assert!(copy.starts_with(b"Return-Path: <team-owner@x.example>\r\n"));
    assert!(copy.ends_with(content));
    let (onward, octets) = house.away();
    assert_eq!(onward.sender.to_string(), "team-owner@x.example");
    assert_eq!((onward.ret, onward.envelope_id), (None, None));
    assert_eq!(
        (onward.recipients[0].notify, &onward.recipients[0].original),
        (None, &None)
    );
    assert!(octets.ends_with(content), "the header is as it was");
}

// proves: 5321-4.5.5-1
// proves: 8689-4.1-4 8689-6-1
#[test]
fn what_a_message_asks_of_channels_stays_with_what_it_becomes() {
    for wish in [mail::TlsWish::Required, mail::TlsWish::Waived] {
        for alias in [
            "to = \"a@far.example\"",
            "to = [\"a@far.example\", \"b@far.example\", \"ann\"]",
        ] {
            let house = house(&format!("{ANN}{alias}\n"));
            let mut envelope = envelope("s@from.example", &["to@x.example"]);
            envelope.wish = wish;
            house.keep(envelope, b"Subject: x\r\n\r\ny\r\n");
            house.deliver();
            assert_eq!(house.away().0.wish, wish, "{alias}");
        }
    }
}

#[test]
fn a_null_sender_stays_null() {
    let house = house(&format!(
        "{ANN}team = {{ to = [\"ann\", \"eve@far.example\"], owner = \"bob\" }}\nfar = \"zoe@far.example\""
    ));
    house.keep(
        envelope("", &["team@x.example", "far@x.example"]),
        b"A: b\r\n\r\n",
    );
    house.deliver();
    assert!(
        house
            .only_file("x.example/ann")
            .starts_with(b"Return-Path: <>\r\n")
    );
    for _ in 0..2 {
        let leased = house.lease("away").unwrap();
        assert_eq!(leased.message().envelope.sender, ReversePath::Null);
        leased
            .settle(
                UNIX_EPOCH,
                vec![DeliveryStatus::Expanded(house_cause())],
                Vec::new(),
                Notices::default(),
            )
            .unwrap();
    }
}

// proves: 5321-4.4-9
#[test]
fn a_member_that_does_not_exist_is_reported_like_any_other() {
    let house = house(&format!("{ANN}typo = [\"ann\", \"nobody\"]"));
    house.keep(envelope("sue@s.example", &["typo@x.example"]), b"A: b\r\n\r\n");
    assert_eq!(kinds(&house.deliver()), ["expanded 2.0.0"]);
    house.only_file("x.example/ann");
    assert_eq!(kinds(&house.deliver()), ["failed 5.1.1"]);
}

#[test]
fn loops_stop() {
    let house = house(&format!(
        "{ANN}far = \"eve@far.example\"\nping = \"pong\"\npong = \"ping\""
    ));
    house.keep(envelope("sue@s.example", &["far@x.example"]), b"A: b\r\n\r\n");
    house.deliver();
    let (_, sent) = house.away();
    // The other host sends it back.
    let back = [&b"Received: from far by x; y\r\n"[..], &sent].concat();
    house.keep(envelope("sue@s.example", &["FAR@x.example"]), &back);
    assert_eq!(kinds(&house.deliver()), ["failed 5.4.6"]);
    house.keep(
        envelope("sue@s.example", &["ann@x.example"]),
        b"A: b\r\n\r\nDelivered-To: ann@x.example\r\n",
    );
    assert_eq!(
        kinds(&house.deliver()),
        ["delivered 2.0.0"],
        "the body says nothing"
    );
    house.keep(envelope("sue@s.example", &["ping@x.example"]), b"A: b\r\n\r\n");
    assert_eq!(kinds(&house.deliver()), ["failed 5.4.6"]);
}

#[test]
fn what_the_disk_refuses_is_tried_later() {
    let house = house(&format!("{ANN}all = [\"ann\", \"eve@far.example\"]"));
    let mail = house.folder.path().join("mail");
    std::fs::create_dir_all(&mail).unwrap();
    std::fs::write(mail.join("x.example"), b"in the way").unwrap();
    house.keep(
        envelope("sue@s.example", &["all@x.example", "nobody@x.example"]),
        b"A: b\r\n\r\n",
    );
    let statuses = house.deliver();
    assert_eq!(kinds(&statuses), ["deferred 4.3.0", "failed 5.1.1"]);
    let text = &statuses[0].cause().text;
    assert!(text.contains("x.example") && !text.contains('\n'), "{text}");
    assert!(
        house.lease("away").is_none(),
        "nothing goes out before all mailboxes have it"
    );
}

#[test]
fn addresses_cannot_name_other_folders() {
    let house = house("domains = \"*\"\nmailboxes = \"any\"");
    let evil = [
        "\"../../../tmp/x\"@x.example",
        "\"..\"@x.example",
        "\".\"@x.example",
        "\"/etc/passwd\"@x.example",
        "\"a/new/b\"@x.example",
        "\"~\"@x.example",
        "x@[127.0.0.1]",
    ];
    house.keep(envelope("", &evil), b"A: b\r\n\r\n");
    assert_eq!(kinds(&house.deliver()), vec!["delivered 2.0.0"; evil.len()]);
    fn depth_of_files(path: &Path, depth: usize, found: &mut Vec<usize>) {
        for entry in std::fs::read_dir(path).unwrap() {
            let entry = entry.unwrap();
            match entry.file_type().unwrap().is_dir() {
                true => depth_of_files(&entry.path(), depth + 1, found),
                false => found.push(depth),
            }
        }
    }
    let mut depths = Vec::new();
    depth_of_files(&house.folder.path().join("mail"), 0, &mut depths);
    assert_eq!(depths, vec![3; evil.len()], "DOMAIN/USER/new/FILE each");
}

#[test]
fn a_start_cleans_up() {
    let house = house(ANN);
    house.keep(envelope("", &["ann@x.example"]), b"A: b\r\n\r\n");
    house.deliver();
    let kept = house.files("x.example/ann")[0].clone();
    let tmp = kept
        .parent()
        .unwrap()
        .parent()
        .unwrap()
        .join("tmp")
        .join(kept.file_name().unwrap());
    std::fs::write(&tmp, b"half").unwrap();
    assert_eq!(
        local::clean(&house.office.directory, house.office.clock.now()).unwrap(),
        1
    );
    assert!(!tmp.exists() && kept.exists());
}
