//! `sendmail -bs`: an SMTP session on standard input and output, by the same core that serves the wire. Each message
//! goes to the server over the control interface, and its 250 is the server's.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use hyper::body::Bytes;
use mail::{Class, Clear, Domain, EnhancedStatus, Envelope, Reply, ReversePath};
use smtp::server::{Question, Service, Session, StartTls, Step, Verify};
use tokio::task::JoinHandle;

use super::lines::BadLine;
use super::{Exit, NotAccepted};
use crate::control::client::{Client, NoAnswer, Pieces, envelope_line, flow};
use crate::control::submit::{Asked, Submission, Submitted, Welcome};
use crate::ports::Clock;

/// A message on its way to the server.
struct Sending {
    pieces: Pieces,
    answer: JoinHandle<Result<Submitted, NoAnswer>>,
}

/// Serves until QUIT or the end of the input.
pub(super) async fn serve(
    client: &Client,
    welcome: &Welcome,
    clock: &dyn Clock,
    mut input: impl Read + Send + 'static,
    output: &mut (impl Write + Send),
) -> Result<(), NotAccepted> {
    let host = Domain::parse(&welcome.host).map_err(|why| {
        NotAccepted::later(&format!("the server's name {} is no domain: {why}", welcome.host))
    })?;
    let limits = smtp::Limits {
        message_bytes_max: welcome.message_bytes_max,
        ..smtp::Limits::default()
    };
    let service = Arc::new(Service {
        host,
        software: Some("Sealpost".into()),
        starttls: StartTls::Absent,
        verify: Verify::Hidden,
        limits,
    });
    let mut session = Session::<Clear>::new(service, IpAddr::V4(Ipv4Addr::LOCALHOST), clock.instant());
    let mut sending = None;
    loop {
        while let Some(step) = session.step(clock.instant()) {
            match step {
                Step::Write(octets) => output
                    .write_all(octets)
                    .and_then(|()| output.flush())
                    .map_err(world)?,
                Step::Ask(question) => {
                    let reply = answer(&question, client, &mut sending).await;
                    session.answer(reply);
                }
                Step::Body(octets) => {
                    if let Some(Sending { pieces, .. }) = &mut sending {
                        // A server that stopped listening says why at the end.
                        let _ = pieces.send(Bytes::copy_from_slice(octets)).await;
                    }
                }
                Step::Abort => drop(sending.take()),
                Step::StartTls | Step::Close => return Ok(()),
            }
        }
        let (back, octets) = hear(input).await?;
        input = back;
        if octets.is_empty() {
            return Ok(()); // a message that was on its way is dropped, and so broken off
        }
        session.feed(&octets);
    }
}

/// Reads on a thread of its own: standard input blocks.
async fn hear<R: Read + Send + 'static>(mut input: R) -> Result<(R, Vec<u8>), NotAccepted> {
    let read = tokio::task::spawn_blocking(move || {
        let mut piece = vec![0; 16 * 1024];
        let read = input.read(&mut piece)?;
        piece.truncate(read);
        Ok((input, piece))
    });
    read.await
        .map_err(|_| NotAccepted::later("standard input could not be read"))?
        .map_err(world)
}

async fn answer(question: &Question<'_>, client: &Client, sending: &mut Option<Sending>) -> Reply {
    match question {
        Question::Mail(_) => WELCOME_SENDER,
        Question::Rcpt(..) => WELCOME_RECIPIENT,
        Question::Begin(envelope) => match begin(envelope, client).await {
            Ok(begun) => {
                *sending = Some(begun);
                Reply::plain(354, "end with a line that is a single dot")
            }
            Err(why) => refusal(&why),
        },
        Question::End => match sending.take() {
            Some(Sending { pieces, answer }) => {
                pieces.finish();
                match answer.await {
                    Ok(Ok(submitted)) => Reply::new(250, ACCEPTED, format!("kept as {}", submitted.id)),
                    Ok(Err(why)) => refusal(&why),
                    Err(_) => NOT_NOW,
                }
            }
            None => NOT_NOW,
        },
        Question::StartTls => NOT_NOW, // not offered, so not asked
        Question::Verify(_) | Question::Expand(_) => Reply::fixed(
            252,
            EnhancedStatus::new(Class::Success, 5, 0),
            "not told here; send the message",
        ),
    }
}

async fn begin(envelope: &Envelope, client: &Client) -> Result<Sending, NoAnswer> {
    let submission = Submission {
        sender: match &envelope.sender {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(mailbox) => mailbox.to_string(),
        },
        recipients: envelope
            .recipients
            .iter()
            .map(|to| to.mailbox.to_string())
            .collect(),
        notify: None,
        asked: envelope
            .recipients
            .iter()
            .map(|to| Asked {
                notify: to.notify.map(|notify| notify.to_string()),
                original: to.original.as_ref().map(|original| original.as_str().to_owned()),
            })
            .collect(),
        ret: envelope.ret.map(|ret| match ret {
            mail::Return::Full => "full".to_owned(),
            mail::Return::Headers => "hdrs".to_owned(),
        }),
        envelope_id: envelope.envelope_id.as_ref().map(mail::EnvelopeId::to_xtext),
        require_tls: envelope.wish == mail::TlsWish::Required,
    };
    let (mut pieces, flow) = flow();
    let client = client.clone();
    let answer = tokio::spawn(async move { client.submit(flow).await });
    // A server that is gone says so at the end.
    let _ = pieces.send(envelope_line(&submission)?).await;
    Ok(Sending { pieces, answer })
}

fn refusal(why: &NoAnswer) -> Reply {
    match why {
        NoAnswer::Refused(400..=499, words) => {
            Reply::new(554, EnhancedStatus::new(Class::Permanent, 6, 0), words.clone())
        }
        NoAnswer::Refused(..) | NoAnswer::NotRunning(..) | NoAnswer::NotAllowed(_) | NoAnswer::Broken(_) => {
            NOT_NOW
        }
    }
}

fn world(error: io::Error) -> NotAccepted {
    let NotAccepted { exit: _, text } = NotAccepted::from(BadLine::World(error));
    NotAccepted {
        exit: Exit::Input,
        text,
    }
}

const ACCEPTED: EnhancedStatus = EnhancedStatus::new(Class::Success, 0, 0);
const WELCOME_SENDER: Reply = Reply::fixed(250, EnhancedStatus::new(Class::Success, 1, 0), "sender noted");
const WELCOME_RECIPIENT: Reply =
    Reply::fixed(250, EnhancedStatus::new(Class::Success, 1, 5), "recipient noted");
const NOT_NOW: Reply = Reply::fixed(
    451,
    EnhancedStatus::new(Class::Transient, 3, 0),
    "the server takes no mail now; try again later",
);
