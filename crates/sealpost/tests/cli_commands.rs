//! The program itself, run as people and scripts run it, against a control socket.

#![allow(clippy::unwrap_used)] // helpers of tests

mod control;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use control::{House, KEEP_ALL, house};
use serde_json::Value;

/// Runs it with a socket, words and standard input.
async fn run(socket: &Path, words: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
    command.arg("--socket").arg(socket).args(words);
    command.env_remove("SEALPOST_SOCKET");
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let input = input.to_owned();
    let ran = tokio::task::spawn_blocking(move || {
        let mut child = command.spawn().unwrap();
        // It may end before it has read all.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    });
    ran.await.unwrap()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8(octets.to_vec()).unwrap()
}

async fn answer(house: &House, words: &[&str]) -> String {
    let output = run(&house.folder.path().join("control.sock"), words, "").await;
    assert!(output.status.success(), "{words:?}: {}", text(&output.stderr));
    text(&output.stdout)
}

async fn json(house: &House, words: &[&str]) -> Value {
    serde_json::from_str(&answer(house, &[words, &["--json"]].concat()).await).unwrap()
}

/// The one line it fails with.
async fn failure(house: &House, words: &[&str]) -> String {
    let output = run(&house.folder.path().join("control.sock"), words, "").await;
    assert!(!output.status.success(), "{words:?}");
    let line = text(&output.stderr);
    assert_eq!(line.trim_end().lines().count(), 1, "{line:?}");
    line
}

const LETTER: &str = "From: Eve <eve@far.example>\nTo: you@anything.test\nSubject: hello \u{202e}there\n\
Content-Type: multipart/mixed; boundary=b\n\n--b\n\nthe text \u{1b}[31m\n\
--b\nContent-Disposition: attachment; filename=\"../../evil.sh\"\nContent-Transfer-Encoding: base64\n\nAAECAw==\n\
--b\nContent-Disposition: attachment; filename=\"evil.sh\"\n\nsecond\n--b--\n";

#[tokio::test(flavor = "multi_thread")]
async fn mail_is_listed_shown_and_saved() {
    let house = house(KEEP_ALL);
    let socket = house.open().await.socket().to_owned();
    assert_eq!(answer(&house, &["mail", "list"]).await, "no mail\n");
    assert_eq!(json(&house, &["mail", "list"]).await, serde_json::json!([]));
    let sent = run(
        &socket,
        &["sendmail", "-i", "-f", "eve@far.example", "you@anything.test"],
        LETTER,
    )
    .await;
    assert!(
        sent.status.success() && sent.stdout.is_empty(),
        "{}",
        text(&sent.stderr)
    );
    assert_eq!(house.deliver(), 1);

    let list = json(&house, &["mail", "list"]).await;
    let id = list[0]["id"].as_str().unwrap();
    assert_eq!(
        (&list[0]["from"], &list[0]["mailbox"]),
        (&"Eve <eve@far.example>".into(), &"you@anything.test".into())
    );
    assert_eq!(list[0]["attachments"].as_array().unwrap().len(), 2);
    assert_eq!(list[0]["travelled"]["encrypted"], false);
    let listed = answer(&house, &["mail", "list"]).await;
    assert!(
        listed.contains("    on this machine, ") && listed.contains("2 attachments"),
        "{listed}"
    );
    let shown = answer(&house, &["mail", "show", &id[..12]]).await;
    assert!(
        shown.contains("the text \\x1b[31m") && shown.contains("hello \\u{202e}there"),
        "{shown}"
    );
    assert!(
        !shown.contains(['\u{1b}', '\u{202e}']),
        "no colours but on a terminal"
    );

    let to = house.folder.path().join("saved");
    let saved = json(&house, &["mail", "save", id, "--to", to.to_str().unwrap()]).await;
    assert_eq!(saved.as_array().unwrap().len(), 2);
    assert_eq!(std::fs::read(to.join("evil.sh")).unwrap(), [0, 1, 2, 3]);
    assert_eq!(std::fs::read(to.join("evil (2).sh")).unwrap(), b"second");
    answer(
        &house,
        &[
            "mail",
            "save",
            id,
            "--to",
            to.to_str().unwrap(),
            "--part",
            "message",
        ],
    )
    .await;
    let whole = std::fs::read(to.join(format!("{id}.eml"))).unwrap();
    assert!(whole == std::fs::read(&house.files("anything.test/you")[0]).unwrap());
    assert_eq!(std::fs::read_dir(&to).unwrap().count(), 3);
    assert!(!house.folder.path().join("evil.sh").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_queue_is_steered() {
    let house = house("[local]\ndomains = [\"x.example\"]\n");
    let socket = house.open().await.socket().to_owned();
    assert_eq!(answer(&house, &["queue", "list"]).await, "nothing waits\n");
    run(
        &socket,
        &["sendmail", "-f", "a@x.example", "z@far.example"],
        "Subject: x\n\ny\n",
    )
    .await;
    let list = json(&house, &["queue", "list", "--destination", "far.example"]).await;
    let id = list[0]["id"].as_str().unwrap();
    assert_eq!(list[0]["recipients"][0]["address"], "z@far.example");
    assert!(
        answer(&house, &["queue", "hold", id, "--reason", "why"])
            .await
            .starts_with("1 message held")
    );
    assert!(
        answer(&house, &["queue", "show", id])
            .await
            .contains("held by the operator: why")
    );
    assert_eq!(json(&house, &["queue", "release", "--all"]).await["messages"], 1);
    assert!(
        answer(&house, &["queue", "retry", "--sender", "x.example"])
            .await
            .starts_with("1 message ")
    );
    answer(&house, &["queue", "return", id]).await;
    assert_eq!(house.given_up.lock().unwrap().len(), 1);
    assert_eq!(json(&house, &["queue", "delete", id]).await["messages"], 1);
    assert_eq!(json(&house, &["status"]).await["messages"], 0);
    assert!(
        failure(&house, &["queue", "show", id])
            .await
            .contains("not in the queue")
    );
    assert!(failure(&house, &["queue", "hold"]).await.contains("--all"));
    assert!(failure(&house, &["reload"]).await.contains("unknown key"));
    assert!(
        failure(&house, &["mail", "show", "nothing"])
            .await
            .contains("mail list")
    );
}

// proves: 8689-4.3-1
#[tokio::test(flavor = "multi_thread")]
async fn a_program_demands_tls_by_a_switch_and_waives_it_in_the_header() {
    let house = house("[local]\ndomains = [\"x.example\"]\n");
    let socket = house.open().await.socket().to_owned();
    let rows = [
        (&["-O", "requiretls"][..], "Subject: x", Some("required")),
        (&[], "TLS-Required: No", Some("waived")),
        (&["-O", "RequireTLS=yes"], "TLS-Required: No", Some("required")),
        (&["-O", "requiretls=no"], "Subject: x", None),
    ];
    for (switches, field, expected) in rows {
        let words = [
            &["sendmail", "-f", "a@x.example"][..],
            switches,
            &["z@far.example"],
        ]
        .concat();
        run(&socket, &words, &format!("{field}\n\ny\n")).await;
        let entry = json(&house, &["queue", "list"]).await[0].clone();
        assert_eq!(entry["tls"].as_str(), expected, "{switches:?} {field}");
        let id = entry["id"].as_str().unwrap();
        let shown = answer(&house, &["queue", "show", id]).await;
        assert_eq!(
            shown.contains("(REQUIRETLS)"),
            expected == Some("required"),
            "{shown}"
        );
        assert_eq!(
            shown.contains("(TLS-Required: No)"),
            expected == Some("waived"),
            "{shown}"
        );
        answer(&house, &["queue", "delete", id]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_on_several_messages_tells_what_became_of_each() {
    let house = house("[local]\ndomains = [\"x.example\"]\n");
    let socket = house.open().await.socket().to_owned();
    for _ in 0..4 {
        let words = ["sendmail", "-f", "a@x.example", "z@far.example"];
        run(&socket, &words, "Subject: x\n\ny\n").await;
    }
    let list = json(&house, &["queue", "list"]).await;
    let ids: Vec<&str> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["id"].as_str().unwrap())
        .collect();
    let unknown = "01KQ0000000000000000000000";

    let output = run(
        &socket,
        &["queue", "delete", ids[0], unknown, "nonsense", ids[1]],
        "",
    )
    .await;
    assert!(!output.status.success());
    assert_eq!(
        text(&output.stderr),
        "sealpost: 2 of 4 messages could not be deleted\n"
    );
    let told = text(&output.stdout);
    let told: Vec<&str> = told.lines().collect();
    assert_eq!(
        (told.len(), told[0], told[3]),
        (
            4,
            &*format!("{}  deleted", ids[0]),
            &*format!("{}  deleted", ids[1])
        )
    );
    assert!(
        told[1].starts_with(&format!("{unknown}  not deleted: ")),
        "{}",
        told[1]
    );

    let words = ["queue", "delete", unknown, ids[2], "--json"];
    let output = run(&socket, &words, "").await;
    assert!(!output.status.success());
    let each: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&each["messages"], &each["outcomes"][1]["id"]),
        (&1.into(), &ids[2].into())
    );
    assert!(each["outcomes"][0]["error"].is_string() && each["outcomes"][1].get("error").is_none());
    assert_eq!(
        json(&house, &["queue", "delete", ids[3]]).await["outcomes"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    assert_eq!(answer(&house, &["queue", "list"]).await, "nothing waits\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_server_nothing_is_accepted() {
    let house = house(KEEP_ALL);
    assert!(
        failure(&house, &["mail", "list"])
            .await
            .contains("sealpost serve")
    );
    let socket = house.folder.path().join("control.sock");
    let output = run(&socket, &["sendmail", "a@x.example"], "Subject: x\n\n").await;
    assert_eq!(output.status.code(), Some(75));
    assert!(text(&output.stderr).contains("was not accepted"));
    let output = run(&socket, &["sendmail", "-bd"], "").await;
    assert_eq!(output.status.code(), Some(64));
}

// A data folder that someone else has put in the current folder is not this user's server.
#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_s_socket_in_the_current_folder_is_not_used() {
    let house = house(KEEP_ALL);
    let data = house.folder.path().join("sealpost-data");
    std::fs::create_dir(&data).unwrap();
    house.open_at(&data.join("control.sock")).await;
    let here = |words: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sealpost"));
        command.args(words).current_dir(house.folder.path());
        command.env_remove("SEALPOST_SOCKET").stdin(Stdio::null());
        async move {
            let ran = tokio::task::spawn_blocking(move || command.output().unwrap());
            ran.await.unwrap()
        }
    };
    assert!(here(&["mail", "list"]).await.status.success());
    // Only root may give files away.
    let stranger = |path: &Path| std::os::unix::fs::chown(path, Some(54_321), None).is_ok();
    if !stranger(&data.join("control.sock")) {
        return;
    }
    for words in [&["mail", "list"][..], &["reload"], &["sendmail", "-bp"]] {
        let output = here(words).await;
        assert!(!output.status.success(), "{words:?}");
        let line = text(&output.stderr);
        assert_eq!(line.trim_end().lines().count(), 1, "{line}");
        assert!(
            line.contains("belongs to user-54321") && line.contains("--socket"),
            "{line}"
        );
    }
    let named = ["--socket", "sealpost-data/control.sock", "mail", "list"];
    assert!(here(&named).await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_checked_and_shown() {
    let house = house(KEEP_ALL);
    let file = house.folder.path().join("sealpost.toml");
    let name = file.to_str().unwrap();
    std::fs::write(
        &file,
        "[server]\nhost = \"mx.example\"\n[local]\ndomains = [\"x.example\"]\naliases = { info = \"ann\" }\n",
    )
    .unwrap();
    assert!(
        answer(&house, &["config", "check", "--config", name])
            .await
            .contains("is sound")
    );
    let shown = answer(&house, &["config", "show", "--config", name]).await;
    assert!(
        shown.contains("info = [\"ann\"]") && shown.contains("delimiter = \"+\""),
        "{shown}"
    );
    std::fs::write(&file, shown).unwrap();
    answer(&house, &["config", "check", "--config", name]).await;
    assert_eq!(
        json(&house, &["config", "show", "--config", name]).await["server"]["host"],
        "mx.example"
    );
    for (text, word) in [
        ("[local]\naliasses = {}\n", "did you mean \"aliases\""),
        ("[local]\naliases = { info = \"a b@\" }\n", "info"),
        ("[local]\nalias_file = \"missing\"\n", "missing"),
    ] {
        std::fs::write(&file, text).unwrap();
        let line = failure(&house, &["config", "check", "--config", name]).await;
        assert!(line.contains(word), "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn called_by_the_name_of_sendmail() {
    let house = house(KEEP_ALL);
    let socket = house.open().await.socket().to_owned();
    let link = house.folder.path().join("sendmail");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_sealpost"), &link).unwrap();
    let called = link.clone();
    let ran = tokio::task::spawn_blocking(move || {
        let mut command = Command::new(called);
        command
            .args(["-t", "-i"])
            .env("SEALPOST_SOCKET", socket)
            .stdin(Stdio::piped());
        let mut child = command.spawn().unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(b"To: you@anything.test\nSubject: by link\n\nx\n")
            .unwrap();
        child.wait().unwrap()
    });
    assert!(ran.await.unwrap().success());
    assert_eq!(house.deliver(), 1);
    assert_eq!(json(&house, &["mail", "list"]).await[0]["subject"], "by link");
}
