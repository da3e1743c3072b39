//! The `Received:` field that is put on top of every message taken in (RFC 5321 §4.4).
//!
//! Claims the hop and nothing more: who connected, how, and when; not who wrote the message.

use mail::{Arrival, Domain, Envelope, Host, MessageId, Protocol, TlsFacts};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

/// The field with its line end, folded, in ASCII unless the envelope asked for SMTPUTF8.
pub fn received(arrival: &Arrival, here: &Domain, id: MessageId, envelope: &Envelope) -> String {
    let mut lines = Vec::with_capacity(6);
    if arrival.client.is_some() || arrival.greeting.is_some() {
        lines.push(from(arrival, envelope.smtputf8));
    }
    lines.push(format!(
        "by {} (Sealpost){}",
        name_of(here, envelope.smtputf8),
        with(arrival, envelope.smtputf8)
    ));
    if let Some(shown) = arrival
        .tls
        .as_ref()
        .and_then(|tls| certificate(tls, envelope.smtputf8))
    {
        lines.push(shown);
    }
    lines.push(format!("id {id}{}", recipient(envelope)));
    if let Some(tls) = &arrival.tls {
        // RFC 8314 §4.3.
        let group = tls.group.as_ref().map(|group| format!(" group {group}"));
        lines.push(format!("tls {}{}", tls.cipher, group.unwrap_or_default()));
    }
    format!("Received: {};\r\n\t{}\r\n", lines.join("\r\n\t"), date(arrival))
}

/// `from mx.a.example ([192.0.2.1])`: the name the client gave, and where it really was.
fn from(arrival: &Arrival, utf8: bool) -> String {
    let place = arrival
        .client
        .map(|client| Host::Literal(client.ip()).to_string());
    let said = arrival
        .greeting
        .as_deref()
        .and_then(|said| Host::parse(said).ok());
    let said = said.map(|host| match &host {
        Host::Name(domain) => name_of(domain, utf8),
        Host::Literal(_) => host.to_string(),
    });
    match (said, place) {
        (Some(said), Some(place)) => format!("from {said} ({place})"),
        // It gave no name that could stand here.
        (None, Some(place)) => format!("from {place} ({place})"),
        (Some(said), None) => format!("from {said}"),
        (None, None) => "from unknown".to_owned(),
    }
}

/// The registered protocol types of RFC 3848 and RFC 6531 §4.3; mail that came by no wire has none.
fn with(arrival: &Arrival, utf8: bool) -> String {
    let protocol = match (arrival.protocol, arrival.tls.is_some(), utf8) {
        (Protocol::Local | Protocol::Own, _, _) => return String::new(),
        (Protocol::Smtp, false, false) => "SMTP",
        // TLS came by EHLO even where HELO was said inside.
        (Protocol::Smtp | Protocol::Esmtp, true, false) => "ESMTPS",
        (Protocol::Esmtp, false, false) => "ESMTP",
        (Protocol::Smtp | Protocol::Esmtp, false, true) => "UTF8SMTP",
        (Protocol::Smtp | Protocol::Esmtp, true, true) => "UTF8SMTPS",
        (Protocol::Lmtp, false, false) => "LMTP",
        (Protocol::Lmtp, true, false) => "LMTPS",
        (Protocol::Lmtp, false, true) => "UTF8LMTP",
        (Protocol::Lmtp, true, true) => "UTF8LMTPS",
    };
    format!(" with {protocol}")
}

/// Which certificate the client showed, in a comment (RFC 3207 §4.1); it says nothing of having been believed.
fn certificate(tls: &TlsFacts, utf8: bool) -> Option<String> {
    let fingerprint = tls.chain.first()?;
    let subject = tls.subject.as_deref().unwrap_or("no subject");
    let subject: String = subject
        .chars()
        .map(|c| match c {
            '(' | ')' | '\\' => '?',
            c if c.is_control() || (!utf8 && !c.is_ascii()) => '?',
            c => c,
        })
        .collect();
    Some(format!(
        "(client certificate {subject}\r\n\t sha256 {fingerprint})"
    ))
}

/// Only one path may stand here, and with several recipients it would betray one to the others (RFC 5321 §4.4, §7.2).
fn recipient(envelope: &Envelope) -> String {
    match envelope.recipients.as_slice() {
        [only] => {
            let mailbox = &only.mailbox;
            let spelled = if envelope.smtputf8 {
                Some(mailbox.to_string())
            } else {
                mailbox.to_ascii()
            };
            spelled
                .map(|spelled| format!("\r\n\tfor <{spelled}>"))
                .unwrap_or_default()
        }
        _ => String::new(),
    }
}

fn name_of(domain: &Domain, utf8: bool) -> String {
    if utf8 {
        domain.to_unicode()
    } else {
        domain.to_string()
    }
}

/// With a numeric zone and four digits of year (RFC 5321 §4.4). Years beyond 9999 do not come.
fn date(arrival: &Arrival) -> String {
    let at = OffsetDateTime::from(arrival.at);
    at.format(&Rfc2822)
        .unwrap_or_else(|_| "Thu, 01 Jan 1970 00:00:00 +0000".to_owned())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use mail::{Body, Fingerprint, Mailbox, Recipient, ReversePath, TlsVersion};

    use super::*;

    fn arrival() -> Arrival {
        Arrival {
            at: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_000_000),
            protocol: Protocol::Esmtp,
            greeting: Some("mx.a.example".into()),
            client: Some("192.0.2.1:4711".parse().unwrap()),
            tls: None,
        }
    }

    fn tls() -> TlsFacts {
        TlsFacts {
            version: TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            group: Some("X25519MLKEM768".into()),
            chain: Vec::new(),
            subject: None,
            server_name: None,
        }
    }

    fn envelope(recipients: &[&str]) -> Envelope {
        let recipient = |address: &&str| Recipient {
            mailbox: Mailbox::parse(address).unwrap(),
            notify: None,
            original: None,
        };
        Envelope {
            sender: ReversePath::Null,
            body: Body::SevenBit,
            smtputf8: false,
            ret: None,
            envelope_id: None,
            wish: mail::TlsWish::Usual,
            recipients: recipients.iter().map(recipient).collect(),
        }
    }

    fn field(arrival: &Arrival, envelope: &Envelope) -> String {
        received(
            arrival,
            &Domain::parse("here.example").unwrap(),
            MessageId::from_bits(0),
            envelope,
        )
    }

    // proves: 5321-4.4-2 5321-4.4-4 5321-4.4-8
    #[test]
    fn the_clear_form() {
        assert_eq!(
            field(&arrival(), &envelope(&["b@y.example"])),
            "Received: from mx.a.example ([192.0.2.1])\r\n\tby here.example (Sealpost) with ESMTP\r\n\t\
             id 00000000000000000000000000\r\n\tfor <b@y.example>;\r\n\tWed, 18 Nov 2026 11:06:40 +0000\r\n"
        );
        assert!(!field(&arrival(), &envelope(&["b@y.example", "c@y.example"])).contains("for"));
    }

    // proves: 3848-1-2 5321-4.4-3 8314-4.3-1 3207-4.2-8 2487-5.2-6
    #[test]
    fn the_protocol_is_one_of_the_registered_and_tells_tls() {
        let rows = [
            (Protocol::Smtp, false, false, "with SMTP\r\n"),
            (Protocol::Esmtp, false, false, "with ESMTP\r\n"),
            (Protocol::Esmtp, true, false, "with ESMTPS\r\n"),
            (Protocol::Esmtp, false, true, "with UTF8SMTP\r\n"),
            (Protocol::Esmtp, true, true, "with UTF8SMTPS\r\n"),
            (Protocol::Local, false, false, "(Sealpost)\r\n"),
        ];
        for (protocol, encrypted, utf8, expected) in rows {
            let arrival = Arrival {
                protocol,
                tls: encrypted.then(tls),
                ..arrival()
            };
            let envelope = Envelope {
                smtputf8: utf8,
                ..envelope(&["b@y.example"])
            };
            let field = field(&arrival, &envelope);
            assert!(field.contains(expected), "{field}");
            let clause = "\r\n\ttls TLS_AES_256_GCM_SHA384 group X25519MLKEM768;";
            assert_eq!(field.contains(clause), encrypted, "{field}");
        }
    }

    // proves: 6531-3.7.3-1
    #[test]
    fn names_are_unicode_where_the_message_may_be() {
        let arrival = Arrival {
            greeting: Some("xn--bcher-kva.example".into()),
            ..arrival()
        };
        let plain = field(&arrival, &envelope(&["b@xn--bcher-kva.example"]));
        assert!(
            plain.is_ascii() && plain.contains("from xn--bcher-kva.example ("),
            "{plain}"
        );
        let wide = Envelope {
            smtputf8: true,
            ..envelope(&["grün@bücher.example"])
        };
        let wide = field(&arrival, &wide);
        assert!(
            wide.contains("from bücher.example (") && wide.contains("for <grün@bücher.example>"),
            "{wide}"
        );
    }

    // proves: 3207-4.1-7 2487-5.1-7
    #[test]
    fn a_client_certificate_is_named_in_a_comment_that_it_cannot_leave() {
        let chain = vec![Fingerprint([0xab; 32])];
        let facts = TlsFacts {
            chain,
            subject: Some("CN=x) by evil.example (ü".into()),
            ..tls()
        };
        let field = field(
            &Arrival {
                tls: Some(facts),
                ..arrival()
            },
            &envelope(&["b@y.example"]),
        );
        let expected = format!(
            "(client certificate CN=x? by evil.example ??\r\n\t sha256 {})\r\n",
            "ab".repeat(32)
        );
        assert!(field.contains(&expected), "{field}");
    }

    #[test]
    fn a_greeting_that_is_no_name_does_not_enter() {
        for greeting in ["x;\r\nBcc: all", "a b", "", "[256.1.1.1]"] {
            let field = field(
                &Arrival {
                    greeting: Some(greeting.into()),
                    ..arrival()
                },
                &envelope(&["b@y.example"]),
            );
            assert!(
                field.starts_with("Received: from [192.0.2.1] ([192.0.2.1])\r\n"),
                "{field}"
            );
        }
        let v6 = Arrival {
            greeting: None,
            client: Some("[2001:db8::1]:25".parse().unwrap()),
            ..arrival()
        };
        assert!(
            field(&v6, &envelope(&["b@y.example"])).contains("from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])")
        );
    }

    // proves: 3207-6-1 2487-7-1
    #[test]
    fn nothing_but_the_hop_is_claimed() {
        let field = field(
            &Arrival {
                tls: Some(tls()),
                ..arrival()
            },
            &envelope(&["b@y.example"]),
        );
        for word in ["verified", "authenticated", "secure", "end-to-end", "author"] {
            assert!(!field.to_ascii_lowercase().contains(word), "{field}");
        }
    }
}
