//! The `sendmail` interface that cron, PHP and scripts expect: a message on standard input, recipients as arguments or
//! in its header, an exit code of `sysexits.h`.
//!
//! Owns the switches and what is completed in a message that a program wrote. The message is accepted when the server
//! says so, and not before: without a server it fails for now and says that nothing was accepted.

pub mod lines;
pub mod message;
pub mod switches;
mod session;

use std::io::{Read, Write};
use std::path::Path;

use hyper::body::Bytes;

use crate::control::client::{Client, Flow, NoAnswer, Pieces, envelope_line, flow};
use crate::control::submit::{Submission, Submitted, Welcome};
use crate::ports::Clock;
use lines::{BadLine, Dot, Lines};
use message::{Completed, Completion, MessageReader};
use switches::{Mode, Switches};

/// How a run ended: the codes of `sysexits.h`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Exit {
    /// Accepted.
    Ok = 0,
    /// Wrong switches, or no recipient.
    Usage = 64,
    /// The message or an address is wrong.
    Message = 65,
    /// Standard input or output failed.
    Input = 74,
    /// Not now: try again later.
    Later = 75,
    /// This user may not.
    NotAllowed = 77,
}

/// Why a message was not accepted: the code, and one line for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NotAccepted {
    /// The code.
    pub exit: Exit,
    /// The line.
    pub text: String,
}

/// Who runs the command.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct User {
    /// The login name.
    pub login: String,
    /// The full name, if it is known.
    pub name: Option<String>,
}

/// Does what the switches say. `clients` are the sockets to try, in order.
pub async fn run(
    switches: &Switches,
    clients: &[Client],
    user: &User,
    clock: &dyn Clock,
    input: impl Read + Send + 'static,
    output: &mut (impl Write + Send),
) -> Result<(), NotAccepted> {
    let (client, welcome) = reach(clients)
        .await
        .map_err(|why| not_reached(switches.mode, why))?;
    match switches.mode {
        Mode::Message => hand_in(switches, &client, &welcome, user, clock, input).await,
        Mode::Session => session::serve(&client, &welcome, clock, input, output).await,
        Mode::ShowQueue => show_queue(&client, output).await,
        Mode::RunQueue => run_queue(&client).await,
    }
}

/// Reads the login name of a user's number from the text of `/etc/passwd`; a number where there is none.
pub fn user_of(number: u32, passwd: &str) -> User {
    let entry = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (login, _, uid, _, name) = (
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
            fields.next()?,
        );
        (uid.parse() == Ok(number)).then(|| {
            (
                login.to_owned(),
                name.split(',').next().unwrap_or("").trim().to_owned(),
            )
        })
    });
    match entry {
        Some((login, name)) => User {
            login,
            name: Some(name).filter(|name| !name.is_empty()),
        },
        None => User {
            login: format!("user-{number}"),
            name: None,
        },
    }
}

/// The user this process belongs to.
pub fn current_user() -> User {
    user_named(rustix::process::getuid().as_raw())
}

/// The user of this number.
pub fn user_named(number: u32) -> User {
    let passwd = std::fs::read_to_string(Path::new("/etc/passwd")).unwrap_or_default(); // without one: by number
    user_of(number, &passwd)
}

/// The first socket behind which a server answers; else why the last one did not, if there was one.
async fn reach(clients: &[Client]) -> Result<(Client, Welcome), Option<NoAnswer>> {
    let mut last = None;
    for client in clients {
        match client.get::<Welcome>("/v1/submit").await {
            Ok(welcome) => return Ok((client.clone(), welcome)),
            Err(why) => last = Some(why),
        }
    }
    Err(last)
}

fn not_reached(mode: Mode, why: Option<NoAnswer>) -> NotAccepted {
    match (mode, why) {
        (Mode::Message | Mode::Session, Some(why)) => NotAccepted::from(why),
        (Mode::ShowQueue | Mode::RunQueue, Some(why)) => queue_trouble(why),
        (_, None) => NotAccepted::later("no socket of a server is known; name one with --socket"),
    }
}

async fn hand_in(
    switches: &Switches,
    client: &Client,
    welcome: &Welcome,
    user: &User,
    clock: &dyn Clock,
    input: impl Read + Send + 'static,
) -> Result<(), NotAccepted> {
    if switches.recipients.is_empty() && !switches.from_header {
        return Err(NotAccepted::usage(
            "no recipient is named; give addresses, or -t to take them from the header",
        ));
    }
    let completion = completion(switches, welcome, user, clock);
    let (submission, pieces) = (submission(switches, &completion), switches.clone());
    let max = welcome.message_bytes_max;
    let (sender, flow) = flow();
    let reader =
        tokio::task::spawn_blocking(move || feed(pieces, submission, completion, max, input, sender));
    let submitted = submit(client, flow);
    let (read, submitted) = tokio::join!(reader, submitted);
    // What is wrong with the input explains why the server saw it break off.
    match read {
        Ok(Err(why)) => Err(why),
        Ok(Ok(())) => submitted.map(drop),
        Err(_) => Err(NotAccepted::later("the message could not be read")),
    }
}

async fn submit(client: &Client, flow: Flow) -> Result<Submitted, NotAccepted> {
    client.submit(flow).await.map_err(NotAccepted::from)
}

fn completion(switches: &Switches, welcome: &Welcome, user: &User, clock: &dyn Clock) -> Completion {
    let here = |login: &str| format!("{login}@{}", welcome.host);
    let from = switches
        .sender
        .as_deref()
        .filter(|sender| !matches!(*sender, "" | "<>"));
    Completion {
        from: from.map_or_else(
            || here(&user.login),
            |from| {
                if from.contains('@') {
                    from.to_owned()
                } else {
                    here(from)
                }
            },
        ),
        name: switches.full_name.clone().or_else(|| user.name.clone()),
        date: message::date(clock.now()),
        message_id: format!("{:016x}{:016x}@{}", clock.roll(), clock.roll(), welcome.host),
        recipients_from_header: switches.from_header,
    }
}

fn submission(switches: &Switches, completion: &Completion) -> Submission {
    Submission {
        sender: switches.sender.clone().unwrap_or_else(|| completion.from.clone()),
        recipients: switches.recipients.clone(),
        notify: switches.notify.clone(),
        asked: Vec::new(),
        ret: switches.ret.clone(),
        envelope_id: switches.envelope_id.clone(),
        require_tls: switches.require_tls,
    }
}

/// Reads the message, completes its header and sends it on in pieces. Blocks. An error drops the pieces, so that nothing
/// is accepted.
fn feed(
    switches: Switches,
    mut submission: Submission,
    completion: Completion,
    bytes_max: u64,
    mut input: impl Read,
    mut pieces: Pieces,
) -> Result<(), NotAccepted> {
    let dot = if switches.dot_ends { Dot::Ends } else { Dot::Stays };
    let mut reader = MessageReader::new(Lines::new(dot));
    let Completed { head, recipients } = reader.read_head(&mut input, &completion)?;
    submission.recipients.extend(recipients);
    if submission.recipients.is_empty() {
        return Err(NotAccepted::usage(
            "the header names no recipient in To, Cc or Bcc",
        ));
    }
    let line = envelope_line(&submission)?;
    let mut sent = 0_u64;
    let mut piece = Some([&line[..], &head].concat());
    while let Some(octets) = piece {
        sent += octets.len() as u64;
        if sent > bytes_max.saturating_add(line.len() as u64) {
            return Err(NotAccepted {
                exit: Exit::Message,
                text: format!("the message was not accepted: it is larger than {bytes_max} octets"),
            });
        }
        if !send(&mut pieces, octets.into()) {
            return Ok(()); // the server stopped listening and says why
        }
        piece = reader.read_more(&mut input)?;
    }
    pieces.finish();
    Ok(())
}

/// Waits until the piece is taken; no if nobody takes it any more.
fn send(pieces: &mut Pieces, octets: Bytes) -> bool {
    tokio::runtime::Handle::current().block_on(pieces.send(octets))
}

async fn show_queue(client: &Client, output: &mut impl Write) -> Result<(), NotAccepted> {
    let listing = client.get("/v1/queue").await.map_err(queue_trouble)?;
    crate::cli::queue::print(output, &listing).map_err(|error| NotAccepted::from(BadLine::World(error)))
}

async fn run_queue(client: &Client) -> Result<(), NotAccepted> {
    let done: crate::control::queue::Done = client
        .act(hyper::Method::POST, "/v1/queue-acts/retry?all=true")
        .await
        .map_err(queue_trouble)?;
    let _ = done;
    Ok(())
}

/// Where no message is at stake, none is spoken of.
fn queue_trouble(why: NoAnswer) -> NotAccepted {
    NotAccepted {
        exit: exit_for(&why),
        text: why.to_string(),
    }
}

fn exit_for(why: &NoAnswer) -> Exit {
    match why {
        NoAnswer::NotAllowed(_) => Exit::NotAllowed,
        NoAnswer::Refused(400..=499, _) => Exit::Message,
        NoAnswer::NotRunning(..) | NoAnswer::Refused(..) | NoAnswer::Broken(_) => Exit::Later,
    }
}

impl NotAccepted {
    /// Wrong switches.
    pub fn usage(text: impl Into<String>) -> NotAccepted {
        NotAccepted {
            exit: Exit::Usage,
            text: text.into(),
        }
    }

    fn later(text: &str) -> NotAccepted {
        NotAccepted {
            exit: Exit::Later,
            text: format!("the message was not accepted: {text}"),
        }
    }
}

impl From<NoAnswer> for NotAccepted {
    fn from(why: NoAnswer) -> NotAccepted {
        let hint = match &why {
            NoAnswer::NotAllowed(_) => " (for all users of this machine: [control] submit_socket)",
            _ => "",
        };
        NotAccepted {
            exit: exit_for(&why),
            text: format!("the message was not accepted: {why}{hint}"),
        }
    }
}

impl From<BadLine> for NotAccepted {
    fn from(why: BadLine) -> NotAccepted {
        NotAccepted {
            exit: match why {
                BadLine::World(_) => Exit::Input,
                BadLine::Nul | BadLine::HeaderTooLong => Exit::Message,
            },
            text: format!("the message was not accepted: {why}"),
        }
    }
}

impl std::fmt::Display for NotAccepted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for NotAccepted {}
