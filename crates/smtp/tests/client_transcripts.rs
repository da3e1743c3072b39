//! Runs the transcripts of `tests/client/*.txt`: what the server says is fed, what the client says and tells is
//! compared. Each runs whole, byte by byte, and cut in two at every seam; all must read the same.
//!
//! | line | meaning |
//! |---|---|
//! | `# …` | comment; `# proves: ID …` names requirement rows |
//! | `S: …` | the server's line, CRLF added; `S\|` without. Lines that stand together come in one piece |
//! | `C: …` | the client's line; `C\|` where CRLF is missing |
//! | `M: …` | a line of the message to send, CRLF added; `M\|` without |
//! | `! …` | what the caller does: see `Run::act` |
//! | `= …` | what the caller is told |
//!
//! `\r \n \0 \\` and `\xHH` are escapes, `\*N{…}` repeats. `BLESS=1` rewrites the `C` and `=` lines.

#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use mail::content::Survey;
use mail::proof::Permit;
use mail::{
    Body, Clear, Domain, EnvelopeId, Host, Mailbox, Notify, OriginalRecipient, Recipient, Return,
    ReversePath, Tls,
};
use smtp::Limits;
use smtp::client::{End, Fate, Hello, Outcome, Ready, RecipientOutcome, Session, Step, Transaction};

#[test]
fn client_transcripts() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/client");
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    paths.sort();
    assert!(paths.len() > 20, "transcripts are missing");
    let mut red = Vec::new();
    for path in paths {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).unwrap();
        let whole = play(&text, Cut::Whole);
        if std::env::var_os("BLESS").is_some() {
            std::fs::write(&path, &whole).unwrap();
        } else if whole != text {
            red.push(format!("{name}: reads otherwise:\n{}", difference(&text, &whole)));
        }
        let said: usize = text
            .lines()
            .filter(|line| line.starts_with('S'))
            .map(|line| octets(line).len())
            .sum();
        let seams = (1..said.min(1500)).map(Cut::At);
        for cut in [Cut::EachByte].into_iter().chain(seams) {
            let played = play(&text, cut);
            if played != whole {
                red.push(format!(
                    "{name}: {cut:?} changes it:\n{}",
                    difference(&whole, &played)
                ));
                break;
            }
        }
    }
    assert!(red.is_empty(), "{}", red.join("\n"));
}

fn difference(expected: &str, found: &str) -> String {
    let mut lines = expected.lines().zip(found.lines()).enumerate();
    match lines.find(|(_, (expected, found))| expected != found) {
        Some((number, (expected, found))) => format!("line {}:\n  - {expected}\n  + {found}", number + 1),
        None => format!(
            "one is longer; the end reads\n{}",
            found.lines().last().unwrap_or_default()
        ),
    }
}

/// How the server's octets are cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    Whole,
    EachByte,
    /// In two, at this octet of all the server says.
    At(usize),
}

/// Plays the inputs of a transcript and writes it anew, with the outputs found.
fn play(text: &str, cut: Cut) -> String {
    let mut run = Run::new(cut);
    let mut written = String::new();
    let mut block = Vec::new();
    for line in text.lines().chain(["#end"]) {
        let input = line.get(..1).unwrap_or_default();
        if input != "S" && !block.is_empty() {
            run.feed(&std::mem::take(&mut block), &mut written);
        }
        match input {
            "C" | "=" => continue,
            "S" => block.extend(octets(line)),
            "M" => run.message.extend(octets(line)),
            _ => {}
        }
        if line != "#end" {
            writeln!(written, "{line}").unwrap();
        }
        if let Some(action) = line.strip_prefix("! ") {
            run.act(action, &mut written);
        }
    }
    written
}

/// `S: text` as octets with CRLF, `S| text` without.
fn octets(line: &str) -> Vec<u8> {
    let mut octets = unescape(line.get(3..).unwrap_or_default());
    if line.as_bytes().get(1) == Some(&b':') {
        octets.extend(b"\r\n");
    }
    octets
}

fn unescape(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        rest = &rest[character.len_utf8()..];
        if character != '\\' {
            octets.extend(character.to_string().bytes());
            continue;
        }
        let (escape, behind) = rest.split_at(1);
        rest = behind;
        match escape {
            "r" => octets.push(b'\r'),
            "n" => octets.push(b'\n'),
            "0" => octets.push(0),
            "x" => {
                octets.push(u8::from_str_radix(&rest[..2], 16).unwrap());
                rest = &rest[2..];
            }
            "*" => {
                let (count, behind) = rest.split_once('{').unwrap();
                let (repeated, behind) = behind.split_once('}').unwrap();
                octets.extend(unescape(repeated).repeat(count.parse().unwrap()));
                rest = behind;
            }
            other => octets.extend(other.bytes()),
        }
    }
    octets
}

enum Client {
    Clear(Session<Clear>),
    Tls(Session<Tls>),
    ReadyClear(Ready<Clear>),
    ReadyTls(Ready<Tls>),
    Gone,
}

/// Calls the same method on whichever session there is.
macro_rules! each {
    ($client:expr, $session:ident => $call:expr, $gone:expr) => {
        match $client {
            Client::Clear($session) => $call,
            Client::Tls($session) => $call,
            Client::ReadyClear($session) => $call,
            Client::ReadyTls($session) => $call,
            Client::Gone => $gone,
        }
    };
}

/// Calls the same method on whichever session may send.
macro_rules! ready {
    ($client:expr, $ready:ident => $call:expr) => {
        match $client {
            Client::ReadyClear($ready) => $call,
            Client::ReadyTls($ready) => $call,
            Client::Clear(_) | Client::Tls(_) | Client::Gone => panic!("the session is not ready"),
        }
    };
}

struct Run {
    client: Client,
    now: Instant,
    limits: Limits,
    cut: Cut,
    fed: usize,
    message: Vec<u8>,
    /// Octets of the message given in this transaction.
    given: usize,
    /// Octets written and not shown yet.
    wire: Vec<u8>,
}

impl Run {
    fn new(cut: Cut) -> Run {
        let now = Instant::now();
        let limits = Limits {
            reply_bytes_max: 4096,
            ..Limits::default()
        };
        let client = Client::Clear(Session::new(me(), limits.clone(), now));
        Run {
            client,
            now,
            limits,
            cut,
            fed: 0,
            message: Vec::new(),
            given: 0,
            wire: Vec::new(),
        }
    }

    fn feed(&mut self, octets: &[u8], written: &mut String) {
        let pieces: Vec<&[u8]> = match self.cut {
            Cut::Whole => vec![octets],
            Cut::EachByte => octets.chunks(1).collect(),
            Cut::At(at) => {
                let (first, second) = octets.split_at(at.saturating_sub(self.fed).min(octets.len()));
                vec![first, second]
            }
        };
        self.fed += octets.len();
        for piece in pieces {
            each!(&mut self.client, session => session.feed(piece), ());
            self.step(written);
        }
        self.show_wire(written);
    }

    fn act(&mut self, action: &str, written: &mut String) {
        let (verb, rest) = action.split_once(' ').unwrap_or((action, ""));
        let now = self.now;
        match verb {
            // The connection begins with a TLS handshake.
            "implicit" => self.client = Client::Tls(Session::implicit(me(), self.limits.clone(), now)),
            "start-tls" => self.start_tls(written),
            // Leave the clear session, shake hands; `handshake quit`: what was reached is not enough.
            "handshake" => self.handshake(rest, written),
            "ready" => self.ready(),
            // What the message is, so far: see `transaction`.
            "send" => self.send(rest, written),
            // Give the message from where it was left; `content N`: only so many octets.
            "content" => self.content(rest, written),
            // Claim that all is given.
            "end" => ready!(&mut self.client, ready => ready.content_end()),
            // The message to come has no line yet.
            "new-message" => self.message.clear(),
            "quit" => each!(&mut self.client, session => session.quit(now), ()),
            "close" => each!(&mut self.client, session => session.closed_by_peer(), ()),
            // So many seconds pass.
            "wait" => self.now += Duration::from_secs(rest.parse().unwrap()),
            "hello" => {
                let shown = each!(&self.client, session => show_hello(session.hello()), String::new());
                writeln!(written, "= {shown}").unwrap();
            }
            // Nothing happens.
            "look" => {}
            _ => panic!("unknown action {action:?}"),
        }
        self.step(written);
        self.show_wire(written);
    }

    fn start_tls(&mut self, written: &mut String) {
        let Client::Clear(session) = &mut self.client else {
            panic!("no clear session");
        };
        if let Err(refused) = session.start_tls(self.now) {
            writeln!(written, "= {refused}").unwrap();
        }
    }

    fn handshake(&mut self, how: &str, written: &mut String) {
        let Client::Clear(session) = std::mem::replace(&mut self.client, Client::Gone) else {
            panic!("no clear session");
        };
        match (session.leave(), how) {
            (Err(injected), _) => writeln!(written, "= injected: {} octets", injected.0).unwrap(),
            (Ok(handshake), "quit") => self.client = Client::Tls(handshake.quit(self.now)),
            (Ok(handshake), _) => self.client = Client::Tls(handshake.done(self.now)),
        }
    }

    fn ready(&mut self) {
        let host = Host::Name(Domain::parse("mx.example").unwrap());
        self.client = match std::mem::replace(&mut self.client, Client::Gone) {
            Client::Clear(session) => Client::ReadyClear(session.ready(Permit::mint(host))),
            Client::Tls(session) => Client::ReadyTls(session.ready(Permit::mint(host))),
            Client::ReadyClear(_) | Client::ReadyTls(_) | Client::Gone => panic!("no session to make ready"),
        };
    }

    fn send(&mut self, words: &str, written: &mut String) {
        let transaction = transaction(words, &self.message);
        self.given = 0;
        if let Err(unsendable) = ready!(&mut self.client, ready => ready.send(transaction, self.now)) {
            writeln!(written, "= unsendable: {unsendable}").unwrap();
        }
    }

    fn content(&mut self, bytes: &str, written: &mut String) {
        let rest = self.message.split_off(self.given);
        let bytes = bytes.parse().unwrap_or(rest.len());
        let piece_bytes = match self.cut {
            Cut::Whole => rest.len().max(1),
            Cut::EachByte => 1,
            Cut::At(at) => at % 50 + 1,
        };
        let pieces: Vec<&[u8]> = rest[..bytes].chunks(piece_bytes).collect();
        for piece in pieces {
            ready!(&mut self.client, ready => ready.content(piece));
            self.step(written);
            let buffered = ready!(&self.client, ready => ready.content_buffered());
            assert_eq!(buffered, 0, "all steps are taken, so all is written");
        }
        if bytes == rest.len() {
            ready!(&mut self.client, ready => ready.content_end());
        }
        self.given += bytes;
        self.message.extend(rest);
    }

    fn step(&mut self, written: &mut String) {
        while let Some(told) = each!(&mut self.client, session => owned(session.step(self.now)), None) {
            let text = match told {
                Told::Write(octets) => {
                    assert!(!octets.is_empty());
                    self.wire.extend(octets);
                    continue;
                }
                Told::Hello => format!(
                    "hello from {}",
                    each!(&self.client, session => session.hello().host(), "")
                ),
                Told::Done(outcome) => {
                    let more = ready!(&self.client, ready => ready.can_send_more());
                    format!("{outcome}  can send more: {more}")
                }
                Told::Other(text) => text,
            };
            self.show_wire(written);
            text.lines()
                .for_each(|line| writeln!(written, "= {line}").unwrap());
        }
    }

    fn show_wire(&mut self, written: &mut String) {
        for line in std::mem::take(&mut self.wire).split_inclusive(|&octet| octet == b'\n') {
            let (mark, line) = match line.strip_suffix(b"\r\n") {
                Some(line) => (':', line),
                None => ('|', line),
            };
            let shown = match std::str::from_utf8(line) {
                Ok(text) if !text.contains(char::is_control) => text.replace('\\', "\\\\"),
                _ => line.escape_ascii().to_string(),
            };
            writeln!(written, "{}", format!("C{mark} {shown}").trim_end()).unwrap();
        }
    }
}

/// A step without its borrow.
enum Told {
    Write(Vec<u8>),
    Hello,
    Done(String),
    Other(String),
}

fn owned(step: Option<Step<'_>>) -> Option<Told> {
    Some(match step? {
        Step::Write(octets) => Told::Write(octets.to_vec()),
        Step::Hello => Told::Hello,
        Step::Done(outcome) => Told::Done(show_outcome(&outcome)),
        Step::StartTls => Told::Other("start TLS".to_owned()),
        Step::StartTlsRefused(reply) => Told::Other(format!("STARTTLS refused: {reply}")),
        Step::Content => Told::Other("content wanted".to_owned()),
        Step::Broken(trouble) => Told::Other(format!("broken: {trouble}")),
        Step::Close => Told::Other("close".to_owned()),
    })
}

fn me() -> Domain {
    Domain::parse("me.example").unwrap()
}

/// `from=a@x to=b@y,c@y smtputf8 body=8BITMIME ret=HDRS envid=… notify=… orcpt=…`, nothing of it needed but `to`.
fn transaction(words: &str, message: &[u8]) -> Transaction {
    let mut survey = Survey::default();
    survey.feed(message);
    let mut transaction = Transaction {
        envelope_sender: ReversePath::Null,
        recipients: Vec::new(),
        content: survey.content(),
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        wish: mail::TlsWish::Usual,
    };
    let (mut notify, mut original) = (None, None);
    for word in words.split(' ') {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        match name {
            "from" => transaction.envelope_sender = ReversePath::Mailbox(Mailbox::parse(value).unwrap()),
            "to" => transaction.recipients = value.split(',').map(recipient).collect(),
            "smtputf8" => transaction.smtputf8 = true,
            "requiretls" => transaction.wish = mail::TlsWish::Required,
            "body" => transaction.body = Body::parse(value).unwrap(),
            "ret" => transaction.ret = Return::parse(value),
            "envid" => transaction.envelope_id = EnvelopeId::parse_xtext(value),
            "notify" => notify = Notify::parse(value),
            "orcpt" => original = OriginalRecipient::parse(value),
            // The facts are wrong on purpose: what is given later is not what was surveyed.
            "lying" => {
                transaction.content = mail::Content {
                    bytes: message.len() as u64,
                    ..Default::default()
                }
            }
            _ => panic!("unknown word {word:?}"),
        }
    }
    for recipient in &mut transaction.recipients {
        (recipient.notify, recipient.original) = (notify, original.clone());
    }
    transaction
}

fn recipient(address: &str) -> Recipient {
    Recipient {
        mailbox: Mailbox::parse(address).unwrap(),
        notify: None,
        original: None,
    }
}

fn show_hello(hello: &Hello) -> String {
    let words = [
        (hello.is_extended(), "extended"),
        (hello.offers_starttls(), "STARTTLS"),
        (hello.pipelining(), "PIPELINING"),
        (hello.offers_size(), "SIZE"),
        (hello.eight_bit_mime(), "8BITMIME"),
        (hello.smtputf8(), "SMTPUTF8"),
        (hello.chunking(), "CHUNKING"),
        (hello.binary_mime(), "BINARYMIME"),
        (hello.dsn(), "DSN"),
        (hello.requiretls(), "REQUIRETLS"),
    ];
    let mut shown = format!("{}:", hello.host());
    for (_, word) in words.into_iter().filter(|(on, _)| *on) {
        write!(shown, " {word}").unwrap();
    }
    let limits = hello.limits();
    for (name, limit) in [("MAILMAX", limits.mail_max), ("RCPTMAX", limits.rcpt_max)] {
        limit
            .iter()
            .for_each(|limit| write!(shown, " {name}={limit}").unwrap());
    }
    shown
}

fn show_outcome(outcome: &Outcome) -> String {
    let end = match &outcome.end {
        End::Answered(reply) => format!("answered {reply}"),
        End::RefusedAtMail(reply) => format!("refused at MAIL {reply}"),
        End::NoRecipient => "no recipient".to_owned(),
        End::RefusedAtData(reply) => format!("refused at DATA {reply}"),
        End::Lost { trouble, content } => format!("lost, content sent {content:?}: {trouble}"),
    };
    let mut shown = format!("done: {end}\n");
    for (recipient, fate) in outcome.recipients.iter().zip(outcome.fates()) {
        let said = match recipient {
            RecipientOutcome::Accepted => "accepted".to_owned(),
            RecipientOutcome::Refused(reply) => format!("refused {reply}"),
            RecipientOutcome::TooMany(reply) => format!("too many {reply}"),
            RecipientOutcome::NotTried => "not tried".to_owned(),
        };
        let fate = match fate {
            Fate::Taken(_) => "taken",
            Fate::Refused(reply) if reply.is_transient() => "not now",
            Fate::Refused(_) => "never",
            Fate::Again => "again",
            Fate::Lost(..) => "lost",
        };
        writeln!(shown, "  {said} → {fate}").unwrap();
    }
    shown
}
