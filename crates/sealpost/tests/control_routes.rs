//! The control interface: its description against its routes, the queue's acts, delivered mail, and its sockets.

#![allow(clippy::unwrap_used)] // helpers of tests

mod control;

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;

use control::{House, KEEP_ALL, house};
use hyper::Method;
use sealpost::control::client::{Client, NoAnswer, envelope_line, flow};
use sealpost::control::letters::Letters;
use sealpost::control::queue::{Done, Entry, Listing};
use sealpost::control::submit::{Submission, Submitted};
use sealpost::control::{DESCRIPTION, Private, Status, routes};
use sealpost::mailbox::Shown;

async fn submit(
    client: &Client,
    sender: &str,
    recipients: &[&str],
    message: &[u8],
) -> Result<Submitted, NoAnswer> {
    let submission = Submission {
        sender: sender.into(),
        recipients: recipients.iter().map(|&to| to.into()).collect(),
        ..Submission::default()
    };
    let (mut pieces, flow) = flow();
    let message = message.to_vec();
    tokio::spawn(async move {
        pieces.send(envelope_line(&submission).unwrap()).await;
        for piece in message.chunks(1000) {
            pieces.send(piece.to_vec().into()).await;
        }
        pieces.finish();
    });
    client.submit(flow).await
}

fn refused<T: std::fmt::Debug>(answer: Result<T, NoAnswer>) -> (u16, String) {
    match answer.unwrap_err() {
        NoAnswer::Refused(status, words) => {
            assert!(
                !words.is_empty() && !words.contains('\n'),
                "{words:?} is one line"
            );
            (status, words)
        }
        other => panic!("{other}"),
    }
}

#[test]
fn the_description_has_every_route_and_no_other() {
    let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
    let described: BTreeSet<&str> = description["paths"]
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let served: BTreeSet<&str> = routes().iter().map(|(path, _)| *path).collect();
    assert_eq!(described, served);
    let schemas = description["components"]["schemas"].as_object().unwrap();
    for name in DESCRIPTION
        .split("#/components/schemas/")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
    {
        assert!(schemas.contains_key(name), "{name} is described");
    }
}

#[tokio::test]
async fn every_described_method_is_answered() {
    let house = house(KEEP_ALL);
    let client = house.open().await;
    let description: serde_json::Value = client.get("/v1/openapi.json").await.unwrap();
    for (path, methods) in description["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let path = path
                .replace("{id}", "01ARZ3NDEKTSV4RRFFQ69G5FAV")
                .replace("{act}", "retry")
                .replace("{place}", "1")
                .replace("{name}", "a.example");
            match client.act::<serde_json::Value>(method.clone(), &path).await {
                Ok(_) => {}
                // Counts are no JSON.
                Err(_) if path == "/metrics" => {}
                Err(NoAnswer::Refused(status, words)) => {
                    assert!(
                        status != 405 && !words.contains("no such path"),
                        "{method} {path}: {status} {words}"
                    );
                }
                Err(other) => panic!("{method} {path}: {other}"),
            }
        }
    }
    assert!(
        refused(client.get::<serde_json::Value>("/v1/nothing").await)
            .1
            .contains("openapi")
    );
}

/// The answers have the fields that the description requires, and only ones that it names.
#[tokio::test]
async fn answers_are_as_described() {
    let house = house(KEEP_ALL);
    let client = house.open().await;
    let multipart = b"Subject: s\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Disposition: attachment\r\n\r\nx\r\n--b--\r\n";
    submit(&client, "", &["a@x.example"], multipart).await.unwrap();
    let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
    check(
        &description,
        "QueueListing",
        &client.get("/v1/queue").await.unwrap(),
    );
    house.deliver();
    let letters: serde_json::Value = client.get("/v1/mail").await.unwrap();
    check(&description, "MailListing", &letters);
    let id = letters["messages"][0]["id"].as_str().unwrap();
    check(
        &description,
        "Shown",
        &client.get(&format!("/v1/mail/{id}")).await.unwrap(),
    );
    check(&description, "Status", &client.get("/v1/status").await.unwrap());
    check(&description, "Welcome", &client.get("/v1/submit").await.unwrap());
}

fn check(description: &serde_json::Value, name: &str, answer: &serde_json::Value) {
    follow(
        description,
        &description["components"]["schemas"][name],
        answer,
        name,
    );
}

fn follow(all: &serde_json::Value, schema: &serde_json::Value, answer: &serde_json::Value, at: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return follow(
            all,
            &all["components"]["schemas"][name],
            answer,
            &format!("{at}/{name}"),
        );
    }
    if let Some(parts) = schema["allOf"].as_array() {
        for part in parts {
            let name = part["$ref"].as_str().and_then(|name| name.rsplit('/').next());
            let part = name.map_or(part, |name| &all["components"]["schemas"][name]);
            for required in part["required"].as_array().into_iter().flatten() {
                assert!(
                    answer.get(required.as_str().unwrap()).is_some(),
                    "{at} lacks {required}"
                );
            }
        }
        return;
    }
    if let Some(items) = schema.get("items") {
        for one in answer.as_array().unwrap() {
            follow(all, items, one, at);
        }
    }
    for required in schema["required"].as_array().into_iter().flatten() {
        assert!(
            answer.get(required.as_str().unwrap()).is_some(),
            "{at} lacks {required}"
        );
    }
    if let (Some(properties), Some(fields)) = (schema["properties"].as_object(), answer.as_object()) {
        for (name, value) in fields {
            let known = properties
                .get(name)
                .unwrap_or_else(|| panic!("{at}/{name} is not described"));
            if !value.is_null() {
                follow(all, known, value, &format!("{at}/{name}"));
            }
        }
    }
}

async fn queue_of(client: &Client, query: &str) -> Vec<String> {
    let listing: Listing = client.get(&format!("/v1/queue{query}")).await.unwrap();
    listing
        .messages
        .iter()
        .map(|entry| entry.sender.clone())
        .collect()
}

#[tokio::test]
async fn the_queue_is_filtered_held_and_emptied() {
    let house = house("[local]\ndomains = [\"x.example\"]\n");
    let client = house.open().await;
    let message = b"Subject: s\r\n\r\nx\r\n";
    let one = submit(&client, "a@one.example", &["z@far.example"], message)
        .await
        .unwrap()
        .id;
    let two = submit(&client, "b@two.example", &["z@else.example"], message)
        .await
        .unwrap()
        .id;
    assert_eq!(queue_of(&client, "").await, ["a@one.example", "b@two.example"]);
    assert_eq!(
        queue_of(&client, "?destination=far.example").await,
        ["a@one.example"]
    );
    assert_eq!(queue_of(&client, "?sender=two.example").await, ["b@two.example"]);
    assert_eq!(
        queue_of(&client, "?sender=a%40one.example").await,
        ["a@one.example"]
    );
    assert_eq!(queue_of(&client, "?older_than=1h").await, Vec::<String>::new());
    assert_eq!(queue_of(&client, "?newer_than=1h&max=1").await, ["a@one.example"]);

    let held: Done = client
        .act(
            Method::POST,
            "/v1/queue-acts/hold?sender=one.example&reason=look%20first",
        )
        .await
        .unwrap();
    assert_eq!(held.messages, 1);
    assert_eq!(queue_of(&client, "?state=held").await, ["a@one.example"]);
    let shown: Entry = client.get(&format!("/v1/queue/{one}")).await.unwrap();
    assert_eq!(shown.recipients[0].state, "held");
    assert_eq!(
        shown.recipients[0].because.as_ref().unwrap().text,
        "held by the operator: look first"
    );
    assert_eq!(
        house.lease("away").unwrap().message().id.to_string(),
        two,
        "a held message is not tried"
    );
    let status: Status = client.get("/v1/status").await.unwrap();
    assert_eq!((status.messages, status.held), (2, 1));
    let _: Done = client
        .act(Method::POST, &format!("/v1/queue/{one}/release"))
        .await
        .unwrap();
    assert_eq!(queue_of(&client, "?state=held").await.len(), 0);
    let _: Done = client
        .act(Method::POST, &format!("/v1/queue/{one}/retry"))
        .await
        .unwrap();

    let _: Done = client
        .act(Method::POST, &format!("/v1/queue/{two}/return?reason=why"))
        .await
        .unwrap();
    assert_eq!(
        *house.given_up.lock().unwrap(),
        [format!("{two}: returned by the operator: why")]
    );
    let _: Done = client
        .act(Method::DELETE, &format!("/v1/queue/{one}"))
        .await
        .unwrap();
    assert_eq!(queue_of(&client, "").await, ["b@two.example"]);
    assert_eq!(
        refused(client.get::<Entry>(&format!("/v1/queue/{one}")).await).0,
        404
    );
    assert_eq!(
        refused(
            client
                .act::<Done>(Method::DELETE, &format!("/v1/queue/{one}"))
                .await
        )
        .0,
        404
    );
    assert_eq!(
        refused(
            client
                .act::<Done>(Method::POST, &format!("/v1/queue/{one}/hold"))
                .await
        )
        .0,
        409
    );
}

#[tokio::test]
async fn wrong_questions_get_one_clear_line() {
    let house = house(KEEP_ALL);
    let client = house.open().await;
    for (method, path, word) in [
        (Method::GET, "/v1/queue?destination=..", "no domain"),
        (
            Method::GET,
            "/v1/queue?state=odd",
            "waiting, leased, held or settled",
        ),
        (Method::GET, "/v1/queue?older_than=soon", "4h"),
        (Method::GET, "/v1/queue/abc", "26 letters"),
        (Method::POST, "/v1/queue-acts/hold", "--all"),
        (Method::POST, "/v1/queue-acts/explode?all=true", "no such act"),
        (Method::POST, "/v1/reload", "unknown key"),
        (Method::GET, "/v1/mail/xyz", "mail list"),
    ] {
        let (_, words) = refused(client.act::<serde_json::Value>(method, path).await);
        assert!(words.contains(word), "{path}: {words}");
    }
}

#[tokio::test]
async fn delivered_mail_is_listed_shown_and_fetched() {
    let house = house(KEEP_ALL);
    let client = house.open().await;
    let attached: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    let encoded = base64(&attached);
    let message = format!(
        "From: =?utf-8?q?J=C3=BCrgen?= <j@far.example>\r\nTo: you@anything.test\r\nSubject: hello\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n\
         --b\r\n\r\ntext\r\n--b\r\nContent-Type: image/png; name=\"../x.png\"\r\nContent-Transfer-Encoding: base64\r\n\r\n{encoded}\r\n--b--\r\n"
    );
    submit(
        &client,
        "j@far.example",
        &["you@anything.test"],
        message.as_bytes(),
    )
    .await
    .unwrap();
    assert_eq!(house.deliver(), 1);
    let letters: Letters = client.get("/v1/mail").await.unwrap();
    let row = &letters.messages[0];
    assert_eq!(
        (row.from.as_str(), row.subject.as_str()),
        ("Jürgen <j@far.example>", "hello")
    );
    assert_eq!(
        (row.mailbox.as_str(), row.sender.as_str()),
        ("you@anything.test", "j@far.example")
    );
    assert_eq!(
        (row.attachments[0].name.as_str(), row.attachments[0].size),
        ("x.png", 100_000)
    );
    assert!(!row.travelled.encrypted);
    assert_eq!(row.travelled.hop.by.as_deref(), Some("mx.example (Sealpost)"));
    let shown: Shown = client
        .get(&format!("/v1/mail/{}", &row.id[..20].to_lowercase()))
        .await
        .unwrap();
    assert_eq!(shown.text, "text\n");
    let octets = client
        .octets(&format!("/v1/mail/{}/parts/{}", row.id, row.attachments[0].part))
        .await
        .unwrap();
    assert!(octets == attached);
    let whole = client
        .octets(&format!("/v1/mail/{}/parts/message", row.id))
        .await
        .unwrap();
    assert!(whole.ends_with(message.as_bytes()));
    assert_eq!(
        refused(client.octets(&format!("/v1/mail/{}/parts/9", row.id)).await).0,
        404
    );
    let none: Letters = client
        .get("/v1/mail?mailbox=other%40anything.test")
        .await
        .unwrap();
    assert_eq!(none.messages.len(), 0);
    let one: Letters = client
        .get("/v1/mail?mailbox=You%40anything.test&max=1")
        .await
        .unwrap();
    assert_eq!(one.messages.len(), 1);
}

fn base64(octets: &[u8]) -> String {
    const SIGNS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for three in octets.chunks(3) {
        let bits = three
            .iter()
            .fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet))
            << (8 * (3 - three.len()));
        for at in 0..4 {
            let sign = SIGNS[(bits >> (18 - 6 * at)) as usize & 63];
            out.push(if at > three.len() { '=' } else { char::from(sign) });
        }
        if out.len() % 78 == 76 {
            out.push_str("\r\n");
        }
    }
    out
}

// proves: 5321-2.3.8-2
#[tokio::test]
async fn what_is_handed_in_must_be_mail() {
    let house = house("[limits]\nmessage_bytes_max = \"64KiB\"\n[local]\ndomains = [\"x.example\"]\n");
    let client = house.open().await;
    for (message, word) in [
        (&b"A: b\n\nbare line feeds\n"[..], "bare LF"),
        (b"A: b\r\n\r\nbare\rreturn\r\n", "bare CR"),
        (b"A: b\r\n\r\nno end", "end with CRLF"),
        (b"A: b\r\n\r\n\0\r\n", "NUL"),
    ] {
        let (status, words) = refused(submit(&client, "", &["z@far.example"], message).await);
        assert!(status == 422 && words.contains(word), "{words}");
    }
    let looping = b"Received: from a by b; c\r\n".repeat(101);
    assert!(
        refused(
            submit(
                &client,
                "",
                &["z@far.example"],
                &[&looping[..], b"\r\nx\r\n"].concat()
            )
            .await
        )
        .1
        .contains("loop")
    );
    let large = [&b"A: b\r\n\r\n"[..], &b"0123456789\r\n".repeat(10_000)].concat();
    assert!(submit(&client, "", &["z@far.example"], &large).await.is_err());
    for (sender, to) in [("a@b@c", "z@far.example"), ("", "a b"), ("", "z@-bad-.example")] {
        assert_eq!(
            refused(submit(&client, sender, &[to], b"A: b\r\n\r\n").await).0,
            400,
            "{sender} {to}"
        );
    }
    assert_eq!(refused(submit(&client, "", &[], b"A: b\r\n\r\n").await).0, 400);
    assert_eq!(queue_of(&client, "").await.len(), 0, "nothing refused is kept");
    submit(&client, "root", &["root", "<z@far.example>"], b"A: b\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(queue_of(&client, "").await, ["root@mx.example"]);
}

#[tokio::test]
async fn a_broken_submission_is_not_kept() {
    let house = house(KEEP_ALL);
    let client = house.open().await;
    let (mut pieces, flow) = flow();
    let submission = Submission {
        recipients: vec!["a@x.example".into()],
        ..Submission::default()
    };
    let sent = tokio::spawn(async move { client.submit(flow).await });
    pieces.send(envelope_line(&submission).unwrap()).await;
    pieces.send((&b"Subject: x\r\n\r\nhalf\r\n"[..]).into()).await;
    drop(pieces);
    assert!(sent.await.unwrap().is_err());
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    assert_eq!(house.deliver(), 0);
}

/// Cron hands in what a job says as it says it, over hours.
#[test]
fn half_a_message_holds_no_thread() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let house = house(KEEP_ALL);
        let client = house.open().await;
        let submission = Submission {
            recipients: vec!["a@x.example".into()],
            ..Submission::default()
        };
        let mut halves = Vec::new();
        for _ in 0..3 {
            let ((mut pieces, flow), client) = (flow(), client.clone());
            let sent = tokio::spawn(async move { client.submit(flow).await });
            pieces.send(envelope_line(&submission).unwrap()).await;
            pieces.send((&b"Subject: x\r\n\r\nhalf\r\n"[..]).into()).await;
            halves.push((pieces, sent));
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        let whole = submit(&client, "", &["a@x.example"], b"A: b\r\n\r\n");
        let whole = tokio::time::timeout(std::time::Duration::from_secs(20), whole).await;
        whole.expect("others do not wait for it").unwrap();
    });
}

#[tokio::test]
async fn the_sockets_are_for_whom_they_are_meant() {
    let house = house(KEEP_ALL);
    let control = house.open().await;
    let public = house.open_public().await;
    let mode = |client: &Client| std::fs::metadata(client.socket()).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&control), mode(&public)), (0o600, 0o666));
    submit(&public, "", &["a@x.example"], b"A: b\r\n\r\n")
        .await
        .unwrap();
    for path in [
        "/v1/queue",
        "/v1/mail",
        "/v1/config",
        "/v1/status",
        "/v1/openapi.json",
    ] {
        assert_eq!(
            refused(public.get::<serde_json::Value>(path).await).0,
            404,
            "{path}"
        );
    }
    assert_eq!(
        refused(
            public
                .act::<Done>(Method::POST, "/v1/queue-acts/hold?all=true")
                .await
        )
        .0,
        404
    );
    // A living server keeps its socket; what a dead one left is replaced; anything else stays.
    assert!(Private::open(control.socket()).await.is_err());
    let House { folder, .. } = &house;
    let left = folder.path().join("left.sock");
    drop(std::os::unix::net::UnixListener::bind(&left).unwrap());
    assert!(Private::open(&left).await.is_ok());
    let file = folder.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    assert!(Private::open(&file).await.is_err());
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
}

#[tokio::test]
async fn without_a_server_the_error_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let client = Client::at(folder.path().join("control.sock"));
    let error = client.get::<Status>("/v1/status").await.unwrap_err().to_string();
    assert!(
        error.contains("sealpost serve") && !error.contains('\n'),
        "{error}"
    );
}

#[tokio::test]
async fn persons_speak_to_the_ledger_with_author_reason_and_end() {
    use sealpost::control::ledger::{Heard, Peers};
    use sealpost::ledger::Imported;
    let house = house(KEEP_ALL);
    let client = house.open().await;
    let name = mail::Domain::parse("client.example").unwrap();
    house
        .desk
        .ledger
        .came_in(&name, trust::ledger::Came::Encrypted)
        .await;
    let listed: Peers = client.get("/v1/ledger").await.unwrap();
    assert_eq!(listed.peers.len(), 1);
    let description: serde_json::Value = serde_json::from_str(DESCRIPTION).unwrap();
    check(&description, "Peers", &client.get("/v1/ledger").await.unwrap());
    let say = |path: &'static str| client.act::<Heard>(Method::POST, path);
    assert_eq!(
        refused(say("/v1/ledger/nobody.example/relax?for=2d&reason=x").await).0,
        404
    );
    assert_eq!(
        refused(say("/v1/ledger/client.example/relax?for=2d").await).0,
        400
    );
    assert_eq!(
        refused(say("/v1/ledger/client.example/relax?for=soon&reason=x").await).0,
        400
    );
    assert_eq!(
        refused(say("/v1/ledger/client.example/praise?for=2d&reason=x").await).0,
        404
    );
    let heard = say("/v1/ledger/client.example/relax?for=2d&reason=moving&author=ann")
        .await
        .unwrap();
    assert_eq!(
        (heard.act.as_str(), heard.until.as_str()),
        ("relax", "2027-01-17T08:00:00Z")
    );
    assert!(heard.author.starts_with("ann (as "), "{}", heard.author);
    let shown: Peers = client.get("/v1/ledger/client.example").await.unwrap();
    let kinds: Vec<&str> = shown.peers.iter().map(|line| line.kind.as_str()).collect();
    assert_eq!(kinds, ["client", "note"]);
    let lines = serde_json::to_string(&shown.peers[0]).unwrap();
    let taken: Imported = client.hand_in("/v1/ledger-import", lines.into()).await.unwrap();
    assert_eq!((taken.taken, taken.known), (0, 1));
    let wrong = client.hand_in::<Imported>("/v1/ledger-import", "{}".into()).await;
    assert_eq!(refused(wrong).0, 400);
    say("/v1/ledger/client.example/forget?reason=gone").await.unwrap();
    let listed: Peers = client.get("/v1/ledger").await.unwrap();
    assert!(listed.peers.iter().all(|line| line.kind == "note"));
}
