//! Mail's nouns as octets: arrivals, envelopes, contents, causes. Numbers that stand for a case are fixed for ever.

use std::net::{IpAddr, SocketAddr};

use mail::{
    Arrival, Body, Cause, Class, Content, EnhancedStatus, Envelope, EnvelopeId, Fingerprint, Host, Mailbox,
    Notify, OriginalRecipient, Protocol, Recipient, Reply, Return, ReversePath, TlsFacts, TlsVersion,
    TlsWish,
};

use crate::octets::{Malformed, Put, Take, moment, time};

pub(crate) fn put_cause(out: &mut Vec<u8>, cause: &Cause) {
    out.put_u64(moment(cause.at));
    put_status(out, cause.status);
    out.put_optional_text(cause.remote.as_ref().map(Host::to_string).as_deref());
    out.put_u8(u8::from(cause.reply.is_some()));
    if let Some(reply) = &cause.reply {
        out.put_u16(reply.code());
        out.put_u8(u8::from(reply.status().is_some()));
        if let Some(status) = reply.status() {
            put_status(out, status);
        }
        out.put_text(&reply.lines().collect::<Vec<_>>().join("\n"));
    }
    out.put_text(&cause.text);
}

pub(crate) fn take_cause(take: &mut Take<'_>) -> Result<Cause, Malformed> {
    Ok(Cause {
        at: time(take.u64()?),
        status: take_status(take)?,
        remote: match take.optional_text()? {
            Some(text) => Some(Host::parse(text).map_err(|_| Malformed("a host that is none"))?),
            None => None,
        },
        reply: if take.flag()? {
            Some(take_reply(take)?)
        } else {
            None
        },
        text: take.text()?.into(),
    })
}

fn take_reply(take: &mut Take<'_>) -> Result<Reply, Malformed> {
    let code = take.u16()?;
    if !(200..=599).contains(&code) {
        return Err(Malformed("a reply code that is none"));
    }
    let status = if take.flag()? {
        Some(take_status(take)?)
    } else {
        None
    };
    let text = take.text()?.to_owned();
    Ok(match status {
        Some(status) => Reply::new(code, status, text),
        None => Reply::plain(code, text),
    })
}

fn put_status(out: &mut Vec<u8>, status: EnhancedStatus) {
    out.put_u8(match status.class() {
        Class::Success => 2,
        Class::Transient => 4,
        Class::Permanent => 5,
    });
    out.put_u16(status.subject());
    out.put_u16(status.detail());
}

fn take_status(take: &mut Take<'_>) -> Result<EnhancedStatus, Malformed> {
    let class = match take.u8()? {
        2 => Class::Success,
        4 => Class::Transient,
        5 => Class::Permanent,
        _ => return Err(Malformed("a status class that is none")),
    };
    match (take.u16()?, take.u16()?) {
        (subject @ 0..=999, detail @ 0..=999) => Ok(EnhancedStatus::new(class, subject, detail)),
        _ => Err(Malformed("a status part over 999")),
    }
}

pub(crate) fn put_content(out: &mut Vec<u8>, content: &Content) {
    out.put_u64(content.bytes);
    out.put_u64(content.header_bytes);
    out.put_u8(
        u8::from(content.eight_bit_header)
            | u8::from(content.eight_bit_body) << 1
            | u8::from(content.binary) << 2,
    );
    out.put_u64(content.longest_line_bytes);
    out.put_u32(content.received_fields);
}

pub(crate) fn take_content(take: &mut Take<'_>) -> Result<Content, Malformed> {
    let (bytes, header_bytes, flags) = (take.u64()?, take.u64()?, take.u8()?);
    Ok(Content {
        bytes,
        header_bytes,
        eight_bit_header: flags & 1 != 0,
        eight_bit_body: flags & 2 != 0,
        binary: flags & 4 != 0,
        longest_line_bytes: take.u64()?,
        received_fields: take.u32()?,
    })
}

pub(crate) fn put_arrival(out: &mut Vec<u8>, arrival: &Arrival) {
    out.put_u64(moment(arrival.at));
    out.put_u8(match arrival.protocol {
        Protocol::Smtp => 0,
        Protocol::Esmtp => 1,
        Protocol::Lmtp => 2,
        Protocol::Local => 3,
        Protocol::Own => 4,
    });
    out.put_optional_text(arrival.greeting.as_deref());
    match arrival.client {
        None => out.put_u8(0),
        Some(SocketAddr::V4(client)) => {
            out.put_u8(4);
            out.put(&client.ip().octets());
            out.put_u16(client.port());
        }
        Some(SocketAddr::V6(client)) => {
            out.put_u8(6);
            out.put(&client.ip().octets());
            out.put_u16(client.port());
            out.put_u32(client.flowinfo());
            out.put_u32(client.scope_id());
        }
    }
    out.put_u8(u8::from(arrival.tls.is_some()));
    if let Some(tls) = &arrival.tls {
        put_tls(out, tls);
    }
}

pub(crate) fn take_arrival(take: &mut Take<'_>) -> Result<Arrival, Malformed> {
    Ok(Arrival {
        at: time(take.u64()?),
        protocol: match take.u8()? {
            0 => Protocol::Smtp,
            1 => Protocol::Esmtp,
            2 => Protocol::Lmtp,
            3 => Protocol::Local,
            4 => Protocol::Own,
            _ => return Err(Malformed("a protocol of an unknown kind")),
        },
        greeting: take.optional_text()?.map(Box::from),
        client: take_client(take)?,
        tls: if take.flag()? { Some(take_tls(take)?) } else { None },
    })
}

fn take_client(take: &mut Take<'_>) -> Result<Option<SocketAddr>, Malformed> {
    match take.u8()? {
        0 => Ok(None),
        4 => {
            let ip = u32::from_be_bytes(fixed(take.take(4)?)?);
            Ok(Some(SocketAddr::new(IpAddr::V4(ip.into()), take.u16()?)))
        }
        6 => {
            let ip = u128::from_be_bytes(fixed(take.take(16)?)?).into();
            let (port, flow, scope) = (take.u16()?, take.u32()?, take.u32()?);
            Ok(Some(std::net::SocketAddrV6::new(ip, port, flow, scope).into()))
        }
        _ => Err(Malformed("an address of an unknown kind")),
    }
}

fn fixed<const N: usize>(bytes: &[u8]) -> Result<[u8; N], Malformed> {
    bytes
        .try_into()
        .map_err(|_| Malformed("the record ends too early"))
}

fn put_tls(out: &mut Vec<u8>, tls: &TlsFacts) {
    out.put_u8(match tls.version {
        TlsVersion::V1_2 => 2,
        TlsVersion::V1_3 => 3,
    });
    out.put_text(&tls.cipher);
    out.put_optional_text(tls.group.as_deref());
    out.put_count(tls.chain.len());
    for fingerprint in &tls.chain {
        out.put(&fingerprint.0);
    }
    out.put_optional_text(tls.subject.as_deref());
    out.put_optional_text(tls.server_name.as_deref());
}

fn take_tls(take: &mut Take<'_>) -> Result<TlsFacts, Malformed> {
    let version = match take.u8()? {
        2 => TlsVersion::V1_2,
        3 => TlsVersion::V1_3,
        _ => return Err(Malformed("a TLS version of an unknown kind")),
    };
    let cipher = take.text()?.into();
    let group = take.optional_text()?.map(Box::from);
    let count = take.count(32)?;
    let chain = (0..count)
        .map(|_| Ok(Fingerprint(fixed(take.take(32)?)?)))
        .collect::<Result<_, _>>()?;
    Ok(TlsFacts {
        version,
        cipher,
        group,
        chain,
        subject: take.optional_text()?.map(Box::from),
        server_name: take.optional_text()?.map(Box::from),
    })
}

pub(crate) fn put_envelope(out: &mut Vec<u8>, envelope: &Envelope) {
    out.put_optional_text(match &envelope.sender {
        ReversePath::Null => None,
        ReversePath::Mailbox(mailbox) => Some(mailbox.as_str()),
    });
    out.put_u8(match envelope.body {
        Body::SevenBit => 0,
        Body::EightBitMime => 1,
        Body::BinaryMime => 2,
    });
    out.put_u8(u8::from(envelope.smtputf8));
    out.put_u8(match envelope.ret {
        None => 0,
        Some(Return::Full) => 1,
        Some(Return::Headers) => 2,
    });
    out.put_optional_text(envelope.envelope_id.as_ref().map(EnvelopeId::to_xtext).as_deref());
    out.put_count(envelope.recipients.len());
    for recipient in &envelope.recipients {
        put_recipient(out, recipient);
    }
}

pub(crate) fn take_envelope(take: &mut Take<'_>) -> Result<Envelope, Malformed> {
    let sender = match take.optional_text()? {
        None => ReversePath::Null,
        Some(text) => ReversePath::Mailbox(take_mailbox(text)?),
    };
    let body = match take.u8()? {
        0 => Body::SevenBit,
        1 => Body::EightBitMime,
        2 => Body::BinaryMime,
        _ => return Err(Malformed("a BODY of an unknown kind")),
    };
    let smtputf8 = take.flag()?;
    let ret = match take.u8()? {
        0 => None,
        1 => Some(Return::Full),
        2 => Some(Return::Headers),
        _ => return Err(Malformed("a RET of an unknown kind")),
    };
    let envelope_id = match take.optional_text()? {
        None => None,
        Some(text) => Some(EnvelopeId::parse_xtext(text).ok_or(Malformed("an ENVID that is none"))?),
    };
    let count = take.count(RECIPIENT_BYTES_MIN)?;
    let recipients = (0..count)
        .map(|_| take_recipient(take))
        .collect::<Result<_, _>>()?;
    Ok(Envelope {
        sender,
        body,
        smtputf8,
        ret,
        envelope_id,
        wish: TlsWish::Usual, // stands behind all else in the record
        recipients,
    })
}

pub(crate) fn put_wish(out: &mut Vec<u8>, wish: TlsWish) {
    out.put_u8(match wish {
        TlsWish::Usual => 0,
        TlsWish::Required => 1,
        TlsWish::Waived => 2,
    });
}

/// Records written before there were wishes end without one.
pub(crate) fn take_wish(take: &mut Take<'_>) -> Result<TlsWish, Malformed> {
    if take.left() == 0 {
        return Ok(TlsWish::Usual);
    }
    match take.u8()? {
        0 => Ok(TlsWish::Usual),
        1 => Ok(TlsWish::Required),
        2 => Ok(TlsWish::Waived),
        _ => Err(Malformed("a wish for TLS of an unknown kind")),
    }
}

const RECIPIENT_BYTES_MIN: usize = 4 + 1 + 1;

fn put_recipient(out: &mut Vec<u8>, recipient: &Recipient) {
    out.put_text(recipient.mailbox.as_str());
    out.put_u8(match recipient.notify {
        None => 0,
        Some(Notify::Never) => 1,
        Some(Notify::On {
            success,
            failure,
            delay,
        }) => 8 | u8::from(success) | u8::from(failure) << 1 | u8::from(delay) << 2,
    });
    out.put_optional_text(recipient.original.as_ref().map(OriginalRecipient::as_str));
}

fn take_recipient(take: &mut Take<'_>) -> Result<Recipient, Malformed> {
    Ok(Recipient {
        mailbox: take_mailbox(take.text()?)?,
        notify: match take.u8()? {
            0 => None,
            1 => Some(Notify::Never),
            flags @ 9..=15 => Some(Notify::On {
                success: flags & 1 != 0,
                failure: flags & 2 != 0,
                delay: flags & 4 != 0,
            }),
            _ => return Err(Malformed("a NOTIFY of an unknown kind")),
        },
        original: match take.optional_text()? {
            None => None,
            Some(text) => Some(OriginalRecipient::parse(text).ok_or(Malformed("an ORCPT that is none"))?),
        },
    })
}

fn take_mailbox(text: &str) -> Result<Mailbox, Malformed> {
    Mailbox::parse(text).map_err(|_| Malformed("a mailbox that is none"))
}
