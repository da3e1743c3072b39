//! Mail handed in by a program on this machine: an envelope as one line of JSON, then the message.

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, State as Shared};
use axum::http::StatusCode;
use http_body_util::BodyExt;
use mail::content::Survey;
use mail::{
    Arrival, Body as Kind, Content, Envelope, EnvelopeId, Host, LocalPart, Mailbox, Notify,
    OriginalRecipient, Protocol, Receipt, Recipient, Return, ReversePath, TlsWish,
};
use serde::{Deserialize, Serialize};

use super::{Caller, Desk, Problem, Settings};
use crate::mailbox::screen;
use crate::received::received;
use crate::spooling::{self, new_id};

/// The first line of what is handed in.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Submission {
    /// The envelope sender; empty for the null sender. A name without `@` is a user of this host.
    pub sender: String,
    /// The recipients; likewise.
    pub recipients: Vec<String>,
    /// `NOTIFY` for all of them (RFC 3461 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// What was asked for single recipients, in their order; may be shorter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
    /// `RET` (RFC 3461 §4.3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ret: Option<String>,
    /// `ENVID`, plain (RFC 3461 §4.4).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub envelope_id: Option<String>,
    /// `REQUIRETLS`: proven TLS on every hop, or it is returned (RFC 8689).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub require_tls: bool,
}

/// What was asked for one recipient.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Asked {
    /// `NOTIFY` (RFC 3461 §4.1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notify: Option<String>,
    /// `ORCPT` (RFC 3461 §4.2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub original: Option<String>,
}

/// The answer: from now on the message survives a power cut.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Submitted {
    /// Its name.
    pub id: String,
}

/// What a program needs to know before it hands in mail.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Welcome {
    /// This server's name.
    pub host: String,
    /// The largest message, in octets.
    pub message_bytes_max: u64,
}

/// `GET /v1/submit`
pub(super) async fn welcome(Shared(desk): Shared<Desk>) -> Json<Welcome> {
    let settings = (desk.settings)();
    Json(Welcome {
        host: settings.me.to_string(),
        message_bytes_max: settings.config.limits.message_bytes_max,
    })
}

/// `POST /v1/submit`
pub(super) async fn submit(
    Shared(desk): Shared<Desk>,
    ConnectInfo(caller): ConnectInfo<Caller>,
    mut body: Body,
) -> Result<Json<Submitted>, Problem> {
    let settings = (desk.settings)();
    let (line, rest) = first_line(&mut body).await?;
    let submission: Submission = serde_json::from_slice(&line)
        .map_err(|error| Problem::asked(format!("the first line is no envelope: {error}")))?;
    let envelope = envelope(&submission, &settings)?;
    let (from, recipients) = (envelope.sender.to_string(), envelope.recipients.len());
    let to = envelope.recipients.first().map(|to| to.mailbox.to_string());
    let receipt = keep(&desk, &settings, envelope, rest, body).await?;
    let user = caller.user;
    tracing::info!(id = %receipt.id(), user, %from, to, recipients, "taken from a program on this machine");
    Ok(Json(Submitted {
        id: receipt.id().to_string(),
    }))
}

/// Takes the message into the spool as it comes. A caller may take its time, as cron does with the output of a long job:
/// no thread waits for it.
async fn keep(
    desk: &Desk,
    settings: &Settings,
    mut envelope: Envelope,
    first: Bytes,
    mut body: Body,
) -> Result<Receipt, Problem> {
    let at = desk.clock.now();
    let id = new_id(at, &*desk.clock);
    let arrival = Arrival {
        at,
        protocol: Protocol::Local,
        greeting: None,
        client: None,
        tls: None,
    };
    let mut draft = desk.spool.draft(id)?;
    let mut survey = Survey::default();
    let mut pieces = vec![
        first,
        Bytes::from(received(&arrival, &settings.me, id, &envelope)),
    ];
    while let Some(octets) = pieces.pop() {
        survey.feed(&octets);
        if survey.content().bytes > settings.config.limits.message_bytes_max {
            return Err(too_large(settings));
        }
        draft = spooling::push(draft, &octets).await?;
        if pieces.is_empty() {
            pieces.extend(next_piece(&mut body).await?);
        }
    }
    let content = survey.content();
    check(&content, settings)?;
    envelope.body = match content.eight_bit_header || content.eight_bit_body {
        true => Kind::EightBitMime,
        false => Kind::SevenBit,
    };
    envelope.smtputf8 |= content.eight_bit_header;
    if envelope.wish == TlsWish::Usual {
        envelope.wish = survey.wish();
    }
    Ok(spooling::keep(draft, envelope, arrival, content).await?)
}

/// The next octets; none at the sound end of the request.
async fn next_piece(body: &mut Body) -> Result<Option<Bytes>, Problem> {
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Problem::asked(format!("the message broke off: {error}")))?;
        if let Ok(octets) = frame.into_data() {
            return Ok(Some(octets));
        }
    }
    Ok(None)
}

fn check(content: &Content, settings: &Settings) -> Result<(), Problem> {
    if content.binary {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "the message holds a NUL, a bare CR or a bare LF, or does not end with CRLF",
        ));
    }
    if content.received_fields > settings.config.limits.received_fields_max {
        return Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "5.4.6 the message has passed too many hosts: a mail loop",
        ));
    }
    Ok(())
}

fn too_large(settings: &Settings) -> Problem {
    let max = settings.config.limits.message_bytes_max;
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the message is larger than {max} octets, the most that [limits] message_bytes_max allows"),
    )
}

/// The line up to the first LF, and what came behind it.
async fn first_line(body: &mut Body) -> Result<(Vec<u8>, Bytes), Problem> {
    let mut line = Vec::new();
    while let Some(mut octets) = next_piece(body).await? {
        if let Some(end) = octets.iter().position(|octet| *octet == b'\n') {
            line.extend_from_slice(&octets.split_to(end));
            return Ok((line, octets.slice(1..)));
        }
        line.extend_from_slice(&octets);
        if line.len() > ENVELOPE_BYTES_MAX {
            return Err(Problem::asked("the envelope is larger than 1 MiB"));
        }
    }
    Err(Problem::asked("the request has no message"))
}

fn envelope(submission: &Submission, settings: &Settings) -> Result<Envelope, Problem> {
    let max = settings.config.limits.recipients_max;
    match submission.recipients.len() {
        0 => return Err(Problem::asked("no recipient is named")),
        count if count > max => {
            return Err(Problem::asked(format!(
                "{count} recipients are more than the {max} that [limits] recipients_max allows"
            )));
        }
        _ => {}
    }
    let notify = parsed(submission.notify.as_deref(), Notify::parse, "NOTIFY")?;
    let asked = submission.asked.iter().map(Some).chain(std::iter::repeat(None));
    let recipients = submission.recipients.iter().zip(asked).map(|(text, asked)| {
        let own = parsed(
            asked.and_then(|asked| asked.notify.as_deref()),
            Notify::parse,
            "NOTIFY",
        )?;
        let original = asked.and_then(|asked| asked.original.as_deref());
        Ok(Recipient {
            mailbox: mailbox(text, settings)?,
            notify: own.or(notify),
            original: parsed(original, OriginalRecipient::parse, "ORCPT")?,
        })
    });
    let recipients: Vec<Recipient> = recipients.collect::<Result<_, Problem>>()?;
    let sender = match submission.sender.as_str() {
        "" | "<>" => ReversePath::Null,
        text => ReversePath::Mailbox(mailbox(text, settings)?),
    };
    let sender_needs_utf8 = matches!(&sender, ReversePath::Mailbox(mailbox) if mailbox.needs_utf8());
    Ok(Envelope {
        smtputf8: sender_needs_utf8 || recipients.iter().any(|to| to.mailbox.needs_utf8()),
        sender,
        body: Kind::SevenBit, // until its octets are seen
        ret: parsed(submission.ret.as_deref(), ret, "RET")?,
        envelope_id: parsed(
            submission.envelope_id.as_deref(),
            EnvelopeId::parse_xtext,
            "ENVID",
        )?,
        wish: match submission.require_tls {
            true => TlsWish::Required,
            false => TlsWish::Usual,
        },
        recipients,
    })
}

fn parsed<T>(
    text: Option<&str>,
    parse: impl Fn(&str) -> Option<T>,
    name: &str,
) -> Result<Option<T>, Problem> {
    text.map(|text| {
        parse(text).ok_or_else(|| Problem::asked(format!("{} is no value of {name}", screen::line(text))))
    })
    .transpose()
}

fn ret(text: &str) -> Option<Return> {
    match text.to_ascii_lowercase().as_str() {
        "full" => Some(Return::Full),
        "hdrs" => Some(Return::Headers),
        _ => None,
    }
}

/// An address; a name alone is a user of this host.
fn mailbox(text: &str, settings: &Settings) -> Result<Mailbox, Problem> {
    let text = text
        .strip_prefix('<')
        .and_then(|text| text.strip_suffix('>'))
        .unwrap_or(text);
    let bad = |why| Problem::asked(format!("{} is no address: {why}", screen::line(text)));
    if !text.contains('@') {
        let local = LocalPart::parse(text).map_err(bad)?;
        return Ok(Mailbox::new(local, Host::Name(settings.me.clone())));
    }
    Mailbox::parse(text).map_err(bad)
}

const ENVELOPE_BYTES_MAX: usize = 1024 * 1024;
