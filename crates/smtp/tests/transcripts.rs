//! Runs the sessions written down in `tests/transcripts/*.txt`, each whole, octet by octet, and cut at every seam.
//!
//! In a transcript
//! - `C: text` is sent by the client with CRLF, `C+ text` without; lines that follow each other are one write. `\r`,
//!   `\n`, `\t`, `\0`, `\xNN`, `\\` are escapes, and `{text*N}` repeats;
//! - `S: text` is what the server says (`S, 9 times: text` where it repeats itself), `= text` what else comes of it;
//! - `! ...` is an event, see `event` below;
//! - `# ...` is a remark, and `# proves: ID ...` a claim.
//!
//! `BLESS=1 cargo test -p smtp --test transcripts` writes what the server does into the files; the diff is the review.

#![allow(clippy::unwrap_used)] // these are tests, helpers included

mod server;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mail::{EnhancedStatus, Reply};
use server::{CLIENT, Caller, Line};
use smtp::server::{Service, Session, StartTls, Verify};

/// How the octets of each write are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    Octets,
    /// Behind so many octets of all that the client sends.
    At(usize),
}

#[test]
fn transcripts_hold_however_the_octets_are_cut() {
    let bless = std::env::var_os("BLESS").is_some();
    let mut wrong = Vec::new();
    let files = files();
    assert!(!files.is_empty());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let found = run(&text, Cut::Whole);
        if found != text && bless {
            std::fs::write(&file, &found).unwrap();
        } else if found != text {
            wrong.push(format!("{name}:\n{}", first_difference(&text, &found)));
            continue;
        }
        if let Some(cut) = cuts(&found).into_iter().find(|&cut| run(&found, cut) != found) {
            let other = run(&found, cut);
            wrong.push(format!(
                "{name}, cut {cut:?}:\n{}",
                first_difference(&found, &other)
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "txt"))
        .collect();
    files.sort();
    files
}

/// Long sessions are cut at some seams only. Where cuts are part of the story, the transcript says `! whole`.
fn cuts(text: &str) -> Vec<Cut> {
    if text.contains("\n! whole\n") {
        return Vec::new();
    }
    let total: usize = text.lines().filter_map(sent).map(|octets| octets.len()).sum();
    let stride = total * total / 200_000 + 1;
    let mut cuts: Vec<Cut> = (1..total).step_by(stride).map(Cut::At).collect();
    if total <= 150_000 {
        cuts.push(Cut::Octets);
    }
    cuts
}

fn first_difference(expected: &str, found: &str) -> String {
    let same = expected
        .lines()
        .zip(found.lines())
        .take_while(|(one, other)| one == other)
        .count();
    let line = |text: &str| text.lines().nth(same).unwrap_or("(end)").to_owned();
    format!(
        "  line {}\n  expected {}\n  found    {}",
        same + 1,
        line(expected),
        line(found)
    )
}

/// The transcript as it turns out.
fn run(text: &str, cut: Cut) -> String {
    let mut play = Play {
        caller: None,
        service: server::service(),
        cut,
        sent: 0,
        waiting: Vec::new(),
        story: String::new(),
        hello: true,
    };
    let start = Instant::now();
    for line in text.lines() {
        if let Some(octets) = sent(line) {
            play.waiting.extend_from_slice(&octets);
            play.story += &format!("{line}\n");
        } else if !line.starts_with(['S', '=']) {
            play.send();
            if let Some(what) = line.strip_prefix("! ") {
                play.tell(what, line, start);
            } else {
                play.story += &format!("{line}\n");
            }
        } else {
            play.send();
        }
    }
    play.send();
    play.story
}

struct Play {
    caller: Option<Caller>,
    service: Service,
    cut: Cut,
    sent: usize,
    waiting: Vec<u8>,
    story: String,
    /// The next replies may be to EHLO, HELO or none: without a status.
    hello: bool,
}

impl Play {
    fn send(&mut self) {
        let octets = std::mem::take(&mut self.waiting);
        if octets.is_empty() {
            return;
        }
        self.hello = octets
            .windows(4)
            .any(|word| word.eq_ignore_ascii_case(b"EHLO") || word.eq_ignore_ascii_case(b"HELO"));
        let caller = self
            .caller
            .as_mut()
            .expect("the transcript begins with an event that connects");
        match self.cut {
            Cut::Whole => caller.feed(&octets),
            Cut::Octets => octets.iter().for_each(|octet| caller.feed(&[*octet])),
            Cut::At(place) => {
                let place = place.saturating_sub(self.sent).min(octets.len());
                let (one, other) = octets.split_at(place);
                [one, other]
                    .into_iter()
                    .filter(|piece| !piece.is_empty())
                    .for_each(|piece| caller.feed(piece));
            }
        }
        self.sent += octets.len();
        self.note();
    }

    fn tell(&mut self, what: &str, line: &str, start: Instant) {
        self.story += &format!("{line}\n");
        match &mut self.caller {
            None => {
                self.caller = before(what, &mut self.service, start);
                self.hello = true;
            }
            Some(caller) => event(what, caller),
        }
        self.note();
    }

    /// What the server said and did since the last note. Its replies come first: how they lie between the events
    /// depends on the cuts.
    fn note(&mut self) {
        let Some(caller) = &mut self.caller else { return };
        let written = std::mem::take(&mut caller.written);
        let mut lines: Vec<&[u8]> = written.split(|&octet| octet == b'\n').collect();
        assert_eq!(lines.pop(), Some(&b""[..]), "replies end with CRLF");
        for same in lines.chunk_by(|one, other| one == other) {
            check_reply_line(same[0], self.hello);
            let text = str::from_utf8(same[0]).unwrap().trim_end_matches('\r');
            match same.len() {
                count @ 4.. => self.story += &format!("S, {count} times: {text}\n"),
                _ => same.iter().for_each(|_| self.story += &format!("S: {text}\n")),
            }
        }
        for event in caller.events.drain(..) {
            self.story += &format!("= {event}\n");
        }
    }
}

/// What holds for every line that a server says: code, length, status.
fn check_reply_line(line: &[u8], hello: bool) {
    let text = str::from_utf8(line).unwrap();
    let shown = text.trim_end();
    assert!(line.len() < 512, "too long: {shown}");
    assert!(text.ends_with('\r') && !shown.contains(['\r', '\0']), "{shown}");
    assert!(
        matches!(line[0], b'2'..=b'5') && line[1].is_ascii_digit() && line[2].is_ascii_digit(),
        "{shown}"
    );
    assert!(matches!(line[3], b' ' | b'-'), "{shown}");
    let status = text[4..].split(' ').next().and_then(EnhancedStatus::parse);
    match status {
        Some(status) => assert_eq!(status.to_string().as_bytes()[0], line[0], "{shown}"),
        None => assert!(hello || line[0] == b'3', "no status: {shown}"),
    }
}

/// Events before the session: `service NAME=VALUE ...`, then `connect`, `connect implicit` or `connect refused REPLY`.
fn before(what: &str, service: &mut Service, now: Instant) -> Option<Caller> {
    if let Some(settings) = what.strip_prefix("service ") {
        settings.split(' ').for_each(|setting| set(service, setting));
        return None;
    }
    if what == "whole" {
        return None;
    }
    let shared = Arc::new(service.clone());
    let line = match what {
        "connect" => Line::Clear(Session::new(shared, CLIENT, now)),
        "connect implicit" => Line::Tls(Session::implicit(shared, CLIENT, now)),
        _ => {
            let reply = what
                .strip_prefix("connect refused ")
                .expect("an event that connects");
            Line::Clear(Session::refuse(shared, CLIENT, reply_of(reply), now))
        }
    };
    Some(Caller::new(line, now))
}

fn set(service: &mut Service, setting: &str) {
    let (name, value) = setting.split_once('=').expect("NAME=VALUE");
    let number = || value.parse().expect("a number");
    match name {
        "software" => service.software = Some(value.into()),
        "starttls" => {
            service.starttls = match value {
                "absent" => StartTls::Absent,
                "offered" => StartTls::Offered,
                "demanded" => StartTls::Demanded,
                _ => panic!("{setting}"),
            }
        }
        "verify" => {
            service.verify = if value == "served" {
                Verify::Served
            } else {
                Verify::Hidden
            }
        }
        "message_bytes_max" => service.limits.message_bytes_max = value.parse().unwrap(),
        "recipients_max" => service.limits.recipients_max = number(),
        "messages_max" => service.limits.messages_max = number(),
        "errors_max" => service.limits.errors_max = number(),
        "command_line_bytes_max" => service.limits.command_line_bytes_max = number(),
        _ => panic!("{setting}"),
    }
}

/// Events in a session: `tls` (the handshake succeeds), `wait SECONDS`, `eof`, `stop` (the server goes down),
/// `full disk` (the next message cannot be kept), `unsatisfied REPLY`, `answer KIND REPLY` (to the next question of
/// that kind), `knows NAME` (by EHLO, or nothing).
fn event(what: &str, caller: &mut Caller) {
    let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
    match word {
        "tls" => caller.start_tls(),
        "wait" => caller.wait(Duration::from_secs(rest.trim_end_matches('s').parse().unwrap())),
        "eof" => caller.closed_by_client(),
        "stop" => caller.shut_down(),
        "full" => caller
            .scripted
            .push_back(("end".to_owned(), reply_of("452 4.3.1 no room on the disk"))),
        "unsatisfied" => match &mut caller.line {
            Line::Tls(session) => session.unsatisfied(reply_of(rest)),
            _ => panic!("not inside TLS"),
        },
        "answer" => {
            let (kind, reply) = rest.split_once(' ').expect("answer KIND REPLY");
            caller.scripted.push_back((kind.to_owned(), reply_of(reply)));
        }
        "knows" => assert_eq!(caller.greeting_name().unwrap_or("nothing"), rest),
        _ => panic!("no such event: {what}"),
    }
}

/// `CODE [STATUS] TEXT`, lines separated by `\n`.
fn reply_of(text: &str) -> Reply {
    let (code, text) = text.split_once(' ').unwrap();
    let code = code.parse().unwrap();
    let text = text.replace(r"\n", "\n");
    match text.split_once(' ') {
        Some((status, rest)) if EnhancedStatus::parse(status).is_some() => {
            Reply::new(code, EnhancedStatus::parse(status).unwrap(), rest.to_owned())
        }
        _ => Reply::plain(code, text),
    }
}

/// The octets that a `C:` or `C+` line sends.
fn sent(line: &str) -> Option<Vec<u8>> {
    let (text, end) = match line.split_at_checked(2)? {
        ("C:", text) => (text, &b"\r\n"[..]),
        ("C+", text) => (text, &b""[..]),
        _ => return None,
    };
    let text = repeated(text.strip_prefix(' ').unwrap_or(text));
    let mut octets = unescaped(&text);
    octets.extend_from_slice(end);
    Some(octets)
}

fn repeated(text: &str) -> String {
    let Some((before, rest)) = text.split_once('{') else {
        return text.to_owned();
    };
    let (inside, after) = rest.split_once('}').expect("a closing brace");
    let (what, times) = inside.rsplit_once('*').expect("{text*N}");
    before.to_owned() + &what.repeat(times.parse().unwrap()) + &repeated(after)
}

fn unescaped(text: &str) -> Vec<u8> {
    let mut octets = Vec::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            octets.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
            continue;
        }
        octets.push(match chars.next().expect("an escape") {
            'r' => b'\r',
            'n' => b'\n',
            't' => b'\t',
            '0' => 0,
            '\\' => b'\\',
            'x' => {
                let digits: String = chars.by_ref().take(2).collect();
                u8::from_str_radix(&digits, 16).unwrap()
            }
            other => panic!("no such escape: {other}"),
        });
    }
    octets
}
