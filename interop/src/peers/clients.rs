//! Clients: swaks, msmtp, Python's smtplib and curl. Each sends one letter and says how it went.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use super::shown;
use crate::letter::Letter;
use crate::packages::Installed;

/// How a client speaks to the server.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Channel {
    /// Without TLS.
    Clear,
    /// STARTTLS, and nothing without it.
    StartTls,
    /// TLS from the first octet (port 465).
    ImplicitTls,
}

/// How a client ended.
pub struct Ended {
    client: &'static str,
    output: Output,
}

impl Ended {
    /// Whether the client says that the letter was taken.
    pub fn succeeded(&self) -> bool {
        self.output.status.success()
    }

    /// All it printed.
    pub fn printed(&self) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        text(&self.output.stdout) + &text(&self.output.stderr)
    }

    /// Panics with what it printed, unless it succeeded.
    pub fn must_succeed(self) -> Ended {
        assert!(
            self.succeeded(),
            "{} failed ({}):\n{}",
            self.client,
            self.output.status,
            self.printed()
        );
        self
    }
}

/// Python's smtplib.
pub struct Smtplib {
    server: SocketAddr,
    channel: Channel,
    login: Option<(String, String)>,
    options: Vec<String>,
}

const SMTPLIB: &str = r#"
import json, smtplib, ssl, sys
plan = json.loads(sys.argv[1])
context = ssl.create_default_context()
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
kind = {"ImplicitTls": lambda: smtplib.SMTP_SSL(plan["host"], plan["port"], timeout=120, context=context)}
server = kind.get(plan["channel"], lambda: smtplib.SMTP(plan["host"], plan["port"], timeout=120))()
server.ehlo("client.lab.test")
if plan["channel"] == "StartTls":
    server.starttls(context=context)
    server.ehlo("client.lab.test")
if plan["login"]:
    server.login(*plan["login"])
refused = server.sendmail(plan["sender"], plan["recipients"], sys.stdin.buffer.read(), plan["options"])
server.quit()
sys.exit("refused: %r" % refused if refused else 0)
"#;

impl Smtplib {
    /// A client of `server`.
    pub fn new(server: SocketAddr, channel: Channel) -> Smtplib {
        Smtplib {
            server,
            channel,
            login: None,
            options: Vec::new(),
        }
    }

    /// Says this behind MAIL as well.
    pub fn with_option(mut self, option: &str) -> Smtplib {
        self.options.push(option.to_owned());
        self
    }

    /// Logs in before it sends.
    pub fn with_login(mut self, user: &str, password: &str) -> Smtplib {
        self.login = Some((user.to_owned(), password.to_owned()));
        self
    }

    /// Sends one letter.
    pub fn send(&self, letter: &Letter) -> Ended {
        let mut options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        if letter.eight_bit {
            options.push("BODY=8BITMIME");
        }
        if letter.smtputf8 {
            options.push("SMTPUTF8");
        }
        let plan = serde_json::json!({
            "host": self.server.ip().to_string(),
            "port": self.server.port(),
            "channel": format!("{:?}", self.channel),
            "login": self.login,
            "sender": letter.sender,
            "recipients": letter.recipients,
            "options": options,
        });
        let mut command = Command::new(Installed::Python.program());
        command.args(["-c", SMTPLIB, &plan.to_string()]);
        feed("smtplib", &mut command, &letter.content)
    }
}

/// swaks, with arguments of the test's choice behind server, sender and recipients.
pub fn swaks(server: SocketAddr, sender: &str, recipients: &[&str], arguments: &[&str]) -> Ended {
    let mut command = Command::new(Installed::Swaks.program());
    command.args([
        "--server",
        &server.ip().to_string(),
        "--port",
        &server.port().to_string(),
    ]);
    command
        .args([
            "--ehlo",
            "client.lab.test",
            "--from",
            sender,
            "--to",
            &recipients.join(","),
        ])
        .args(arguments);
    feed("swaks", &mut command, b"")
}

/// The argument of swaks' `--data` for a letter. swaks adds a line end of its own, so the file goes without the last.
pub fn swaks_data(letter: &Letter, folder: &Path) -> String {
    let file = folder.join(format!("{}.swaks", letter.id));
    crate::place::write(
        &file,
        letter.content.strip_suffix(b"\r\n").unwrap_or(&letter.content),
    );
    format!("@{}", shown(&file))
}

/// msmtp: reads a message with bare line feeds.
pub fn msmtp(server: SocketAddr, channel: Channel, letter: &Letter) -> Ended {
    let mut command = Command::new(Installed::Msmtp.program());
    let (tls, starttls) = match channel {
        Channel::Clear => ("off", "off"),
        Channel::StartTls => ("on", "on"),
        Channel::ImplicitTls => ("on", "off"),
    };
    command.args([
        "--host",
        &server.ip().to_string(),
        "--port",
        &server.port().to_string(),
    ]);
    command.args([
        &format!("--tls={tls}"),
        &format!("--tls-starttls={starttls}"),
        "--tls-certcheck=off",
    ]);
    command.args([
        "--auth=off",
        "--domain=client.lab.test",
        "--debug",
        "--from",
        &letter.sender,
        "--",
    ]);
    command.args(&letter.recipients);
    let with_line_feeds: Vec<u8> = letter
        .content
        .iter()
        .copied()
        .filter(|byte| *byte != b'\r')
        .collect();
    feed("msmtp", &mut command, &with_line_feeds)
}

/// curl: uploads the message from a file, which it makes in `folder`.
pub fn curl(server: SocketAddr, channel: Channel, letter: &Letter, folder: &Path) -> Ended {
    let file = folder.join(format!("{}.eml", letter.id));
    crate::place::write(&file, &letter.content);
    let scheme = if channel == Channel::ImplicitTls {
        "smtps"
    } else {
        "smtp"
    };
    let mut command = Command::new(Installed::Curl.program());
    command.args([
        "-v",
        "--silent",
        "--show-error",
        "--max-time",
        "120",
        "--insecure",
    ]);
    command.args([
        "--url",
        &format!("{scheme}://{server}/client.lab.test"),
        "--upload-file",
        &shown(&file),
    ]);
    command.args(["--mail-from", &letter.sender]);
    if channel == Channel::StartTls {
        command.arg("--ssl-reqd");
    }
    for recipient in &letter.recipients {
        command.args(["--mail-rcpt", recipient]);
    }
    feed("curl", &mut command, b"")
}

/// Runs a command with `input` on its standard input.
fn feed(client: &'static str, command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("cannot start {client}: {error}"));
    let mut stdin = child.stdin.take().expect("asked for above");
    let output = std::thread::scope(|scope| {
        // A client that ends early closes the pipe: its own words tell more than our broken pipe.
        scope.spawn(move || stdin.write_all(input).is_ok());
        child.wait_with_output()
    });
    let output = output.unwrap_or_else(|error| panic!("{client} was lost: {error}"));
    Ended { client, output }
}
