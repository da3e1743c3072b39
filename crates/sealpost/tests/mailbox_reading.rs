//! Messages of every shape, read back: the parts found, the names given, the text shown, the octets saved.

#![allow(clippy::unwrap_used)] // helpers of tests

use proptest::prelude::*;
use sealpost::mailbox::mime::{Bounds, Kind, Mime};
use sealpost::mailbox::view::{self, Shown};

/// Reads a message written with LF line ends, as a listing and in whole.
fn read(text: &str) -> Shown {
    read_octets(text.replace('\n', "\r\n").as_bytes())
}

fn read_octets(octets: &[u8]) -> Shown {
    view::shown("ID", 0, octets, octets.len() as u64)
}

fn part(text: &str, place: &str) -> Vec<u8> {
    view::part("ID", text.replace('\n', "\r\n").into_bytes(), place)
        .unwrap()
        .octets
}

/// The attachments as `place name type`.
fn attachments(text: &str) -> Vec<String> {
    let list = read(text).summary.attachments;
    list.iter()
        .map(|a| format!("{} {} {}", a.part, a.name, a.media_type))
        .collect()
}

/// The parts as `place type`.
fn parts(text: &str) -> Vec<String> {
    read(text)
        .parts
        .iter()
        .map(|p| format!("{} {}", p.part, p.media_type))
        .collect()
}

const MIXED: &str = "From: =?utf-8?q?J=C3=BCrgen?= <j@x.example>\nTo: a@x.example, \"b, c\" <b@x.example>\n\
Subject: =?utf-8?B?w4R0?= =?utf-8?B?aGVy?=\nMIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=\"out\"\n\n\
preamble\n--out\nContent-Type: multipart/alternative; boundary=out-in\n\n\
--out-in\nContent-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n\n\
Gr=FC=DFe=\n, plain\n--out-in\nContent-Type: text/html\n\n<p>Hello <b>HTML</b></p>\n--out-in--\n\
--out  \nContent-Type: image/png; name=\"ignored.png\"\nContent-Disposition: attachment;\n filename*0*=utf-8''na%C3%AF;\n filename*1=\"ve.png\"\n\
Content-Transfer-Encoding: BASE64\n\niVBORw0KGgo=\n--out--\nepilogue --out\n";

// proves: 2046-5.1-1 2046-5.1.1-1 2049-2-1 2045-6.1-1
#[test]
fn nested_parts_with_boundaries_that_begin_alike() {
    assert_eq!(
        parts(MIXED),
        [
            "0 multipart/mixed",
            "1 multipart/alternative",
            "1.1 text/plain",
            "1.2 text/html",
            "2 image/png"
        ]
    );
    let shown = read(MIXED);
    assert_eq!(shown.text, "Grüße, plain\n");
    assert_eq!(shown.summary.subject, "Äther");
    assert_eq!(shown.summary.from, "Jürgen <j@x.example>");
    assert_eq!(shown.summary.to, ["a@x.example", "\"b, c\" <b@x.example>"]);
    assert_eq!(attachments(MIXED), ["2 naïve.png image/png"]);
    assert_eq!(part(MIXED, "2"), b"\x89PNG\r\n\x1a\n");
    // The line end before a delimiter is the delimiter's.
    assert_eq!(part(MIXED, "1.2"), b"<p>Hello <b>HTML</b></p>");
}

fn mixed(parts: &[&str]) -> String {
    let mut text = "Subject: x\nContent-Type: multipart/mixed; boundary=b\n\n".to_owned();
    for part in parts {
        text.push_str(&format!("--b\n{part}\n"));
    }
    text + "--b--\n"
}

// proves: 2049-2-1
#[test]
fn each_encoding_gives_the_same_octets() {
    let content = "héllo wörld, = and _ and\r\ntrailing";
    let eight = mixed(&[
        "Content-Type: application/x-a\nContent-Transfer-Encoding: 8bit\n\nhéllo wörld, = and _ and\ntrailing",
    ]);
    let binary = eight.replace("8bit", "binary");
    let unlabelled = eight.replace("Content-Transfer-Encoding: 8bit\n", "");
    let quoted = mixed(&[
        "Content-Type: application/x-a\nContent-Transfer-Encoding: Quoted-Printable\n\nh=C3=A9llo w=C3=B6rld,=\n =3D and _ and\ntraili=\nng",
    ]);
    let base64 = mixed(&[
        "Content-Type: application/x-a\nContent-Transfer-Encoding: base64\n\naMOpbGxvIHfDtnJsZCwgPSBhbmQg\nXyBhbmQNCnRyYWlsaW5n",
    ]);
    for text in [eight, binary, unlabelled, quoted, base64] {
        assert_eq!(String::from_utf8(part(&text, "1")).unwrap(), content, "{text}");
        assert_eq!(attachments(&text), ["1 part-1.bin application/x-a"]);
    }
}

// proves: 2045-4-1 2045-5.2-1
#[test]
fn mail_without_or_with_garbled_types_is_text() {
    assert_eq!(parts("Subject: x\n\nhello"), ["1 text/plain"]);
    assert_eq!(read("Subject: x\n\nhello").text, "hello\n");
    let text = mixed(&[
        "Content-Type: garbage\n\nhello",
        "Content-Type: application/pdf\n\n%PDF",
    ]);
    assert_eq!(parts(&text)[1..], ["1 text/plain", "2 application/pdf"]);
    assert_eq!(read(&text).text, "hello\n");
    assert_eq!(attachments(&text), ["2 part-2.pdf application/pdf"]);
}

// proves: 2045-6.4-1
#[test]
fn containers_are_never_encoded() {
    let text = mixed(&["Content-Type: application/pdf; name=a.pdf\n\n%PDF"])
        .replace("Subject: x", "Content-Transfer-Encoding: base64\nSubject: x");
    assert_eq!(attachments(&text), ["1 a.pdf application/pdf"]);
    // Really encoded: nothing can be split, and nothing is hidden.
    let hidden = "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\nLS1iDQoNCmV2aWwNCi0tYi0t\n";
    assert_eq!(attachments(hidden), ["1 part-1.eml application/octet-stream"]);
    assert_eq!(part(hidden, "1"), b"--b\r\n\r\nevil\r\n--b--");
    let labelled =
        mixed(&["Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeA=="]);
    assert_eq!(attachments(&labelled), ["1 part-1.eml message/rfc822"]);
}

// proves: 2045-6.4-2 2049-2-2 2049-2-3 2049-2-4 2046-4.1.4-1 2046-4.5.3-1
#[test]
fn what_is_unknown_is_kept_as_octets() {
    let text = mixed(&[
        "Content-Type: text/plain\nContent-Transfer-Encoding: x-foo\n\n=41",
        "Content-Type: text/plain; charset=x-nope\n\n\u{e9}",
        "Content-Type: text/foo; charset=utf-8; unknown=1\n\nreadable",
        "Content-Type: application/x-foo; bar=1\n\nz",
        "Content-Type: multipart/foo; boundary=c\n\n--c\n\nin foo\n--c--",
        "Content-Type: strange/thing\n\ny",
    ]);
    assert_eq!(
        parts(&text)[1..],
        [
            "1 application/octet-stream",
            "2 application/octet-stream",
            "3 text/foo",
            "4 application/x-foo",
            "5 multipart/foo",
            "5.1 text/plain",
            "6 strange/thing"
        ]
    );
    assert_eq!(part(&text, "1"), b"=41");
    assert_eq!(part(&text, "2"), "\u{e9}".as_bytes());
    assert_eq!(read(&text).text, "readable\n\nin foo\n");
    assert_eq!(attachments(&text).len(), 4);
}

// proves: 2046-4.1.2-1
#[test]
fn octets_without_a_charset_are_flagged() {
    let shown = read_octets(b"Subject: x\r\nContent-Type: text/plain; CHARSET=US-ASCII\r\n\r\nplain");
    assert_eq!((shown.text.as_str(), shown.summary.notes.len()), ("plain\n", 0));
    let shown = read_octets(b"Subject: x\xe4\r\n\r\nl\xe4tin");
    assert_eq!(shown.text, "l\\xe4tin\n");
    assert_eq!(shown.summary.subject, "x\\xe4");
    assert!(
        shown.summary.notes[0].contains("names no charset"),
        "{:?}",
        shown.summary.notes
    );
}

// proves: 2046-5.1-2
#[test]
fn a_truncated_message_gives_what_is_there() {
    let text = "Content-Type: multipart/mixed; boundary=a\n\nnot shown\n--a\nContent-Type: multipart/mixed; boundary=b\n\n\
                --b\n\none\n--b\nContent-Type: application/pdf\n\n%P\n--a\n\ntwo";
    assert_eq!(
        parts(text)[1..],
        [
            "1 multipart/mixed",
            "1.1 text/plain",
            "1.2 application/pdf",
            "2 text/plain"
        ]
    );
    assert_eq!(part(text, "1.2"), b"%P");
    assert_eq!(read(text).text, "one\n\ntwo\n");
    let no_delimiter = "Content-Type: multipart/mixed; boundary=zz\n\nall of it";
    assert_eq!(
        attachments(no_delimiter),
        ["1 part-1.eml application/octet-stream"]
    );
    let no_boundary = "Content-Type: multipart/mixed\n\nall of it";
    assert_eq!(part(no_boundary, "1"), b"all of it");
}

// proves: 2046-5.1.5-1 2046-5.2.1-1
#[test]
fn messages_in_messages() {
    let text = "Content-Type: multipart/digest; boundary=d\n\n--d\n\nSubject: inner\nContent-Type: application/pdf\n\n%P\n--d\n\
                Content-Type: text/plain\n\nnot a message\n--d--\n";
    assert_eq!(
        parts(text)[1..],
        ["1 message/rfc822", "1.1 application/pdf", "2 text/plain"]
    );
    assert_eq!(attachments(text), ["1 part-1.eml message/rfc822"]);
    assert_eq!(
        part(text, "1"),
        b"Subject: inner\r\nContent-Type: application/pdf\r\n\r\n%P"
    );
    let named = mixed(&["Content-Type: message/rfc822; name=\"re: x\"\n\nSubject: y\n\nz"]);
    assert_eq!(attachments(&named), ["1 re_ x.eml message/rfc822"]);
    let deep = "Content-Type: message/rfc822\n\n".repeat(1000) + "Subject: core\n\ntext";
    let shown = read(&deep);
    assert_eq!(shown.parts.len(), 21);
    assert_eq!(shown.summary.attachments.len(), 1);
    let whole = deep.replace('\n', "\r\n");
    assert_eq!(
        view::part("ID", whole.clone().into_bytes(), "message")
            .unwrap()
            .octets,
        whole.as_bytes()
    );
}

// proves: 2183-2.8-1 2183-2.9-1 2183-2-1
#[test]
fn dispositions() {
    let text = mixed(&[
        "Content-Disposition: foo; bar=1\n\nunknown disposition",
        "Content-Disposition: INLINE; x=y\n\nshown",
        "Content-Disposition: attachment; filename=all\nContent-Type: multipart/mixed; boundary=c\n\n\
         --c\nContent-Disposition: inline\n\nbelow\n--c\nContent-Type: image/gif\n\nGIF\n--c--",
    ]);
    assert_eq!(read(&text).text, "shown\n");
    let list = read(&text).summary.attachments;
    let rows: Vec<_> = list
        .iter()
        .map(|a| (a.part.as_str(), a.name.as_str(), a.within.as_deref()))
        .collect();
    assert_eq!(
        rows,
        [
            ("1", "part-1.txt", None),
            ("3", "all.eml", None),
            ("3.2", "part-3.2.gif", Some("3"))
        ]
    );
    assert!(part(&text, "3").starts_with(b"Content-Disposition: attachment"));
}

// proves: 2047-5-1
#[test]
fn a_name_in_encoded_words_is_a_labelled_guess() {
    let text = mixed(&["Content-Type: application/pdf; name=\"=?utf-8?B?w6kucGRm?=\"\n\n%P"]);
    let summary = read(&text).summary;
    assert_eq!(summary.attachments[0].name, "é.pdf");
    assert_eq!(
        summary.attachments[0].name_as_sent.as_deref(),
        Some("=?utf-8?B?w6kucGRm?=")
    );
    assert!(summary.notes.iter().any(|note| note.contains("guess")));
}

#[test]
fn tnef_is_named_and_kept() {
    let text = mixed(&["Content-Type: application/ms-tnef\nContent-Transfer-Encoding: base64\n\neJ8+Ig=="]);
    assert_eq!(attachments(&text), ["1 part-1.dat application/ms-tnef"]);
    assert_eq!(part(&text, "1"), b"x\x9f>\"");
    assert!(read(&text).summary.notes[0].contains("TNEF"));
}

#[test]
fn a_report_can_be_read() {
    let text = "Content-Type: multipart/report; boundary=r; report-type=delivery-status\n\n--r\n\nIt failed.\n--r\n\
                Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example\n--r\nContent-Type: message/rfc822\n\nSubject: old\n\nbody\n--r--\n";
    assert_eq!(read(text).text, "It failed.\n\nReporting-MTA: dns; mx.example\n");
    assert_eq!(attachments(text), ["3 part-3.eml message/rfc822"]);
}

#[test]
fn nothing_shown_can_reach_the_terminal() {
    let evil = "\u{1b}]0;owned\u{7}\u{202e}";
    let text = format!(
        "From: {evil}\nTo: {evil}\nSubject: =?utf-8?q?=1B[2J?= {evil}\nX-{evil}: a\nReceived: from {evil} by {evil}\nContent-Type: multipart/mixed; boundary=b\n\n\
         --b\n\n{evil}\n--b\nContent-Type: application/{evil}; name=\"{evil}\"\n\nx\n--b--\n"
    );
    let shown = read(&text);
    let json = serde_json::to_value(&shown).unwrap();
    fn walk(value: &serde_json::Value, key: &str) {
        match value {
            serde_json::Value::String(text) => {
                let allowed = |c: char| c == '\n' && key == "text";
                assert!(
                    !text
                        .chars()
                        .any(|c| (c.is_control() || c == '\u{202e}') && !allowed(c)),
                    "{key}: {text:?}"
                );
            }
            serde_json::Value::Array(list) => list.iter().for_each(|value| walk(value, key)),
            serde_json::Value::Object(map) => map.iter().for_each(|(key, value)| walk(value, key)),
            _ => {}
        }
    }
    walk(&json, "");
}

#[test]
fn counts_and_depths_are_bounded() {
    let many = mixed(&vec!["\nx"; 3000]);
    let shown = read(&many);
    assert_eq!(shown.parts.len(), 1000);
    assert!(shown.summary.notes[0].contains("more parts"));
    let mut deep = String::new();
    for level in 0..200 {
        deep.push_str(&format!(
            "Content-Type: multipart/mixed; boundary=b{level}\n\n--b{level}\n"
        ));
    }
    let shown = read(&deep);
    assert_eq!(shown.parts.len(), 21);
    assert_eq!(
        shown.summary.attachments.len(),
        1,
        "what is too deep can be saved"
    );
    // A part for every line of each level would be quadratic without the bound.
    let bomb = "Content-Type: multipart/mixed; boundary=b\n\n".to_owned()
        + &"--b\nContent-Type: multipart/mixed; boundary=b\n\n".repeat(5000);
    assert!(read(&bomb).parts.len() <= 1000);
}

/// Pieces that mean something to a reader of mail, in any order.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("\r\n".to_owned()),
        Just("\r\n\r\n".to_owned()),
        Just("--b".to_owned()),
        Just("--b--\r\n".to_owned()),
        Just("Content-Type: multipart/mixed; boundary=b\r\n\r\n".to_owned()),
        Just("Content-Type: message/rfc822\r\n\r\n".to_owned()),
        Just("Content-Type: text/html\r\n\r\n<a <b>&#x110000;".to_owned()),
        Just("Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n\u{1b}$B".to_owned()),
        Just("Content-Type: text/plain; charset=utf-7\r\n\r\n+AGE-+".to_owned()),
        Just("Content-Type: text/plain; charset=utf-16\r\n\r\na".to_owned()),
        Just("Content-Disposition: attachment; filename*0*=utf-8''%C3; filename*1=\"(\"".to_owned()),
        Just("Content-Transfer-Encoding: base64\r\n".to_owned()),
        Just("Content-Transfer-Encoding: quoted-printable\r\n".to_owned()),
        Just("Subject: =?utf-8?B?w6?= =?iso-8859-1*x?Q?=?=".to_owned()),
        Just("Received: from a (b (c) by d with ESMTPS; x".to_owned()),
        ".{0,20}",
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_octets_make_the_reader_panic(octets in proptest::collection::vec(any::<u8>(), 0..2000)) {
        check_reading(&octets);
    }

    #[test]
    fn no_pieces_make_the_reader_panic(pieces in proptest::collection::vec(piece(), 0..40)) {
        check_reading(pieces.concat().as_bytes());
    }
}

/// Whatever the octets, every listed part can be fetched, and every name is safe.
fn check_reading(octets: &[u8]) {
    let shown = read_octets(octets);
    for attachment in &shown.summary.attachments {
        let part = view::part("ID", octets.to_vec(), &attachment.part).unwrap();
        assert_eq!(part.octets.len() as u64, attachment.size);
        assert!(
            !part.name.contains(['/', '\\', '\0']) && !part.name.starts_with('.') && !part.name.is_empty()
        );
    }
    let mime = Mime::read(octets, Bounds::default());
    assert!(
        mime.parts
            .iter()
            .all(|part| part.kind != Kind::Message || !part.media_type.starts_with("text/"))
    );
}

#[test]
fn many_alternatives_cost_little_and_the_last_is_shown() {
    let branch = "--b\r\nContent-Type: text/other\r\n\r\nnot me\r\n";
    let mut text = "Content-Type: multipart/alternative; boundary=b\r\n\r\n".to_owned();
    text.push_str(&branch.repeat(990));
    text.push_str("--b\r\nContent-Type: text/other\r\n\r\nme\r\n--b--\r\n");
    let began = std::time::Instant::now();
    assert_eq!(read_octets(text.as_bytes()).text, "me\n");
    assert!(
        began.elapsed() < std::time::Duration::from_secs(5),
        "{:?}",
        began.elapsed()
    );
}

#[test]
fn an_envelope_sender_is_shown_as_it_is_spelled() {
    let shown = read(
        "Return-Path: <=?utf-8?Q?ceo=40bank.example?=@evil.example>\nDelivered-To: =?utf-8?Q?a?=@x.example\n\nhi\n",
    );
    assert_eq!(
        shown.summary.sender,
        "=?utf-8?Q?ceo=40bank.example?=@evil.example"
    );
    assert_eq!(shown.summary.mailbox, "=?utf-8?Q?a?=@x.example");
}
