//! Clients hand mail in, and `sealpost mail` gives it back: swaks, msmtp, smtplib, curl; attachments octet by octet the same.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use interop::letter::{Dice, Letter, Octets};
use interop::mailbox::wait_for_letter;
use interop::packages::Installed;
use interop::patience::{USUAL, wait_for};
use interop::peers::Host;
use interop::peers::clients::{self, Channel, Smtplib};
use interop::place::{Place, write};
use interop::sealpost::{Sealpost, Setup};

const SENDER: &str = "you@client.test";
const RECIPIENT: &str = "me@sealpost.test";

fn start(place: &Place) -> Sealpost {
    // Nothing leaves this machine, so nobody need answer for names.
    Sealpost::start(
        Host::new(place, "sealpost.test", place.address()),
        Setup::default(),
    )
}

/// The mailbox's letter named `id`, compared with what was sent, and its trace in one line.
fn arrived(sealpost: &Sealpost, letter: &Letter) -> String {
    let found = wait_for_letter(&sealpost.mail(), &letter.id, USUAL);
    assert_eq!(found.len(), 1, "{} came {} times", letter.id, found.len());
    letter.must_equal(&found[0].octets);
    found[0].trace().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn letter(id: &str, octets: Octets) -> Letter {
    Letter::new(id, SENDER, &[RECIPIENT], 60_000, octets)
}

// proves: 3207-4.2-8 3848-1-2
#[test]
fn smtplib_speaks_on_all_three_ports() {
    let place = Place::new("clients-smtplib");
    let sealpost = start(&place);
    for (id, port, channel, with) in [
        ("clear", 25, Channel::Clear, "with ESMTP "),
        ("starttls", 25, Channel::StartTls, "with ESMTPS "),
        ("submission", 587, Channel::StartTls, "with ESMTPS "),
        ("submissions", 465, Channel::ImplicitTls, "with ESMTPS "),
    ] {
        let letter = letter(id, Octets::EightBit);
        Smtplib::new(sealpost.port(port), channel)
            .send(&letter)
            .must_succeed();
        let trace = arrived(&sealpost, &letter);
        assert!(trace.contains(with), "no {with:?} in {trace}");
    }
    let utf8 = Letter::new(
        "utf8",
        "bjørn@client.test",
        &["grüße@sealpost.test"],
        5_000,
        Octets::EightBit,
    );
    Smtplib::new(sealpost.port(25), Channel::StartTls)
        .send(&utf8)
        .must_succeed();
    let trace = arrived(&sealpost, &utf8);
    assert!(trace.contains("with UTF8SMTPS "), "{trace}");
}

#[test]
fn msmtp_and_curl_speak_starttls_and_implicit_tls() {
    let place = Place::new("clients-msmtp-curl");
    let sealpost = start(&place);
    for (name, port, channel) in [
        ("starttls", 25, Channel::StartTls),
        ("implicit", 465, Channel::ImplicitTls),
    ] {
        let by_msmtp = letter(&format!("msmtp-{name}"), Octets::Ascii);
        clients::msmtp(sealpost.port(port), channel, &by_msmtp).must_succeed();
        let by_curl = letter(&format!("curl-{name}"), Octets::Ascii);
        clients::curl(sealpost.port(port), channel, &by_curl, place.folder()).must_succeed();
        for letter in [by_msmtp, by_curl] {
            let trace = arrived(&sealpost, &letter);
            assert!(trace.contains("with ESMTPS "), "{trace}");
        }
    }
}

#[test]
fn swaks_speaks_starttls_implicit_tls_and_pipelining() {
    let place = Place::new("clients-swaks");
    let sealpost = start(&place);
    for (id, port, arguments) in [
        ("tls", 25, ["--tls"].as_slice()),
        ("tls-pipelined", 25, &["--tls", "--pipeline"]),
        ("tlsc", 465, &["--tls-on-connect"]),
        ("tls-1-2", 25, &["--tls", "--tls-protocol", "tlsv1_2"]),
        ("clear-pipelined", 25, &["--pipeline"]),
    ] {
        let letter = letter(id, Octets::Ascii);
        let data = clients::swaks_data(&letter, place.folder());
        let arguments = [arguments, &["--data", &data]].concat();
        clients::swaks(sealpost.port(port), SENDER, &[RECIPIENT], &arguments).must_succeed();
        let trace = arrived(&sealpost, &letter);
        let with = if id.starts_with("clear") {
            "with ESMTP "
        } else {
            "with ESMTPS "
        };
        assert!(trace.contains(with), "no {with:?} in {trace}");
    }
}

/// Octets that every careless conversion changes.
fn attachment(seed: u64, bytes: usize) -> Vec<u8> {
    let mut dice = Dice(seed);
    let mut content = b"\r\n.\r\n\0\xff\r\r\n\nFrom \r".to_vec();
    content.extend(std::iter::repeat_with(|| dice.roll() as u8).take(bytes));
    content
}

/// The id under which `sealpost mail` lists the message with this subject.
fn listed(sealpost: &Sealpost, subject: &str) -> String {
    wait_for(&format!("{subject:?} in the list"), USUAL, || {
        let list = sealpost.json(&["mail", "list"]);
        let found = list
            .as_array()?
            .iter()
            .find(|message| message["subject"] == subject)?
            .clone();
        found["id"].as_str().map(str::to_owned)
    })
}

/// All files below a folder by their names.
fn saved(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let file = |path: std::path::PathBuf| {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        (name, fs::read(&path).expect("a file that was listed"))
    };
    entries
        .map(|entry| file(entry.expect("a folder of ours").path()))
        .collect()
}

#[test]
fn attachments_of_swaks_come_back_byte_for_byte() {
    let place = Place::new("clients-attachments");
    let sealpost = start(&place);
    let files = [
        ("picture.png", attachment(1, 300_000)),
        ("numbers.bin", attachment(2, 7)),
        ("empty.txt", Vec::new()),
    ];
    let mut arguments = vec![
        "--tls".to_owned(),
        "--header".to_owned(),
        "Subject: three files".to_owned(),
    ];
    for (name, content) in &files {
        let path = place.folder().join(name);
        write(&path, content);
        arguments.extend(["--attach-name".to_owned(), (*name).to_owned()]);
        arguments.extend(["--attach-type".to_owned(), "application/octet-stream".to_owned()]);
        arguments.extend(["--attach".to_owned(), format!("@{}", path.display())]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    clients::swaks(sealpost.port(25), SENDER, &[RECIPIENT], &arguments).must_succeed();

    let id = listed(&sealpost, "three files");
    let shown = String::from_utf8_lossy(&sealpost.command(&["mail", "show", &id]).stdout).into_owned();
    assert!(
        shown.contains("three files") && shown.contains("picture.png"),
        "{shown}"
    );
    let folder = place.subfolder("saved");
    sealpost.command(&["mail", "save", &id, "--to", &folder.display().to_string()]);
    let saved = saved(&folder);
    for (name, content) in &files {
        assert!(
            saved.get(*name) == Some(content),
            "{name} differs or is missing among {:?}",
            saved.keys()
        );
    }
}

/// Python's `email` package writes names and nestings that swaks does not.
const COMPOSE: &str = r#"
import smtplib, ssl, sys
from email.message import EmailMessage
host, port, folder = sys.argv[1], int(sys.argv[2]), sys.argv[3]
message = EmailMessage()
message["From"], message["To"] = "Björn <you@client.test>", "me@sealpost.test"
message["Subject"] = "Grüße mit Anhängen – 日本"
message.set_content("Schöne Grüße\n")
message.add_alternative("<p>Schöne <img src=cid:x> Grüße</p>", subtype="html")
message.get_payload()[1].add_related(open(folder + "/a", "rb").read(), "image", "png", cid="<x>", filename="bild.png")
message.add_attachment(open(folder + "/b", "rb").read(), "application", "pdf", filename="Übersicht (letzte) – 日本.pdf")
message.add_attachment(open(folder + "/c", "rb").read(), "application", "octet-stream", filename="../../../etc/passwd")
message.add_attachment("zeile\n" * 3, filename="notiz.txt")
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
with smtplib.SMTP(host, port, timeout=60) as server:
    server.starttls(context=context)
    server.send_message(message)
"#;

#[test]
fn attachments_with_foreign_names_come_back_and_cannot_leave_the_folder() {
    let place = Place::new("clients-names");
    let sealpost = start(&place);
    let contents = [
        ("a", attachment(3, 50_000)),
        ("b", attachment(4, 200_000)),
        ("c", attachment(5, 1_000)),
    ];
    contents
        .iter()
        .for_each(|(name, content)| write(&place.folder().join(name), content));
    let host = sealpost.host().address.to_string();
    let output = Command::new(Installed::Python.program())
        .args(["-c", COMPOSE, &host, "25", &place.folder().display().to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("Python was just installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );

    let id = listed(&sealpost, "Grüße mit Anhängen – 日本");
    let folder = place.subfolder("outer/saved");
    sealpost.command(&["mail", "save", &id, "--to", &folder.display().to_string()]);
    let saved = saved(&folder);
    for (name, content) in &contents {
        assert!(
            saved.values().any(|kept| kept == content),
            "attachment {name} is not among {:?}",
            saved.keys()
        );
    }
    assert!(
        saved.contains_key("Übersicht (letzte) – 日本.pdf"),
        "{:?}",
        saved.keys()
    );
    assert_eq!(
        fs::read_dir(place.folder().join("outer"))
            .expect("made above")
            .count(),
        1,
        "a file left the folder"
    );
}
