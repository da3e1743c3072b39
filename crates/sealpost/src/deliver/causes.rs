//! Statuses and words for what went wrong with a host (RFC 3463 §3.5 to §3.8).

use std::io;
use std::time::SystemTime;

use mail::{Cause, Class, EnhancedStatus, Host, Reply, TlsWish};
use smtp::client::{Awaited, ContentSent, Trouble, Unsendable};
use trust::{Avoid, Unmet, WhyAvoid};

/// A refusal of a recipient or a message: the host's own status where it fits its code.
pub(super) fn refused(host: &Host, reply: &Reply, at: SystemTime) -> Cause {
    // RFC 5321 §4.2.1: the code decides; an enhanced status of another class contradicts it.
    let class = if reply.is_permanent() {
        Class::Permanent
    } else {
        Class::Transient
    };
    let own = reply.status().filter(|status| status.class() == class);
    Cause {
        at,
        status: own.unwrap_or_else(|| usual(reply.code(), class)),
        remote: Some(host.clone()),
        reply: Some(reply.clone()),
        text: format!("refused by {host}").into(),
    }
}

/// The host took the message over.
pub(super) fn taken(host: &Host, reply: &Reply, at: SystemTime) -> Cause {
    let own = reply.status().filter(|status| status.class() == Class::Success);
    Cause {
        at,
        status: own.unwrap_or(EnhancedStatus::new(Class::Success, 0, 0)),
        remote: Some(host.clone()),
        reply: Some(reply.clone()),
        text: format!("taken over by {host}").into(),
    }
}

/// What a bare code most often means (RFC 2034 has no say in it; RFC 3463 §3 has the subjects).
fn usual(code: u16, class: Class) -> EnhancedStatus {
    match code {
        450 | 550 => EnhancedStatus::new(class, 2, 0),
        452 => EnhancedStatus::new(class, 3, 1),
        552 => EnhancedStatus::new(class, 2, 2),
        553 => EnhancedStatus::new(class, 1, 3),
        556 => EnhancedStatus::new(class, 1, 10),
        500..=504 => EnhancedStatus::new(class, 5, 0),
        _ => EnhancedStatus::new(class, 0, 0),
    }
}

/// The session came to nothing. Never permanent: the next host, or later.
pub(super) fn trouble(host: &Host, trouble: &Trouble, at: SystemTime) -> Cause {
    let (subject, detail, reply) = match trouble {
        Trouble::TimedOut(Awaited::Greeting) => (4, 1, None),
        Trouble::Closed(_) | Trouble::TimedOut(_) => (4, 2, None),
        Trouble::BadReply(_) => (5, 0, None),
        Trouble::Unexpected(_, reply) => (5, 0, Some(reply)),
        // RFC 3463 §3.4: it takes no mail from us now.
        Trouble::Refused(reply) => (3, 2, Some(reply)),
        Trouble::ContentDiffers => (3, 0, None),
    };
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, subject, detail),
        remote: Some(host.clone()),
        reply: reply.cloned(),
        text: match trouble {
            Trouble::Refused(_) => format!("{host} takes no mail from us now").into(),
            other => format!("{host}: {other}").into(),
        },
    }
}

/// The connection broke in a transaction (RFC 5321 §3.8).
pub(super) fn lost(host: &Host, broke: &Trouble, sent: ContentSent, at: SystemTime) -> Cause {
    let mut cause = trouble(host, broke, at);
    if sent == ContentSent::Whole {
        // RFC 1047: the one case in which a message may arrive twice.
        cause.text = format!("{}; it may have taken the message nevertheless", cause.text).into();
    }
    cause
}

/// No connection came to stand.
pub(super) fn unreached(place: &str, error: &io::Error, at: SystemTime) -> Cause {
    silent(format!("no connection to {place}: {error}"), at)
}

/// As [`unreached`], in words already made.
pub(super) fn silent(text: String, at: SystemTime) -> Cause {
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, 4, 1),
        remote: None,
        reply: None,
        text: text.into(),
    }
}

/// STARTTLS came to nothing.
pub(super) fn insecure(host: &Host, reply: Option<Reply>, text: &str, at: SystemTime) -> Cause {
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, 7, 5),
        remote: Some(host.clone()),
        reply,
        text: format!("no TLS with {host}: {text}").into(),
    }
}

/// The channel is less than was demanded.
pub(super) fn unmet(host: &Host, unmet: &Unmet, at: SystemTime) -> Cause {
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, 7, 5),
        remote: Some(host.clone()),
        reply: None,
        text: format!("{host} showed too little: {unmet}").into(),
    }
}

/// RFC 8689 §7: where the message itself demands TLS, a lack of it has a status of its own.
pub(super) fn for_wish(cause: Cause, wish: TlsWish) -> Cause {
    let lacks_tls = cause.status == EnhancedStatus::new(Class::Transient, 7, 5);
    match (wish, lacks_tls) {
        (TlsWish::Required, true) => Cause {
            status: EnhancedStatus::new(Class::Transient, 7, 10),
            ..cause
        },
        (TlsWish::Required | TlsWish::Usual | TlsWish::Waived, _) => cause,
    }
}

/// The host must not be used for what it publishes, or does not.
pub(super) fn avoided(host: &Host, avoid: &Avoid, at: SystemTime) -> Cause {
    let (subject, detail) = match avoid.why {
        // RFC 3463 §3.5: the directory could not be asked.
        WhyAvoid::NotFoundOut(_) => (4, 3),
        WhyAvoid::NotListed(_) | WhyAvoid::Unprovable(_) => (7, 5),
    };
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, subject, detail),
        remote: Some(host.clone()),
        reply: None,
        text: format!("{host} not used: {} (demanded by {})", avoid.why, avoid.source).into(),
    }
}

/// The host cannot take a message of this form (RFC 6152 §3, RFC 3030 §3, RFC 6531 §3.2, RFC 1870 §6.1).
pub(super) fn unsendable(host: &Host, why: Unsendable, at: SystemTime) -> Cause {
    let (class, subject, detail) = match why {
        Unsendable::EightBit | Unsendable::Binary | Unsendable::LongLine => (Class::Permanent, 6, 3),
        Unsendable::Utf8 => (Class::Permanent, 6, 7),
        Unsendable::TooLarge(_) => (Class::Permanent, 3, 4),
        // RFC 8689 §7.
        Unsendable::RequireTls => (Class::Permanent, 7, 30),
        Unsendable::NotReady => (Class::Transient, 5, 3),
    };
    Cause {
        at,
        status: EnhancedStatus::new(class, subject, detail),
        remote: Some(host.clone()),
        reply: None,
        text: format!("{host}: {why}").into(),
    }
}

/// It takes a session for a few recipients, and there were enough sessions for one attempt (RFC 9422 §6).
pub(super) fn few_at_a_time(host: &Host, at: SystemTime) -> Cause {
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, 5, 3),
        remote: Some(host.clone()),
        reply: None,
        text: format!("{host} takes few recipients at a time; the rest follow later").into(),
    }
}

/// The host is this server.
pub(super) fn loops(host: &Host, at: SystemTime) -> Cause {
    Cause {
        at,
        status: EnhancedStatus::new(Class::Permanent, 4, 6),
        remote: Some(host.clone()),
        reply: None,
        text: format!("{host} greets with this server's own name: the mail loops").into(),
    }
}

/// A fault on our side.
pub(super) fn ours(text: String, at: SystemTime) -> Cause {
    Cause {
        at,
        status: EnhancedStatus::new(Class::Transient, 3, 0),
        remote: None,
        reply: None,
        text: text.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // proves: 3463-2-3 3463-2-4 3463-3.5-1
    #[test]
    fn statuses_of_refusals() {
        let host = Host::parse("mx.example").unwrap();
        let check = |code, own: Option<&str>, expected: &str| {
            let reply = match own {
                Some(own) => Reply::new(code, EnhancedStatus::parse(own).unwrap(), "text"),
                None => Reply::plain(code, "text"),
            };
            let cause = refused(&host, &reply, SystemTime::UNIX_EPOCH);
            assert_eq!(cause.status.to_string(), expected, "{code} {own:?}");
        };
        check(550, Some("5.1.1"), "5.1.1");
        check(550, Some("5.99.99"), "5.99.99");
        check(450, Some("4.2.99"), "4.2.99");
        check(550, Some("4.1.1"), "5.2.0");
        check(599, None, "5.0.0");
        check(459, None, "4.0.0");
        check(556, None, "5.1.10");
        let broken = trouble(&host, &Trouble::Closed(Awaited::Rcpt), SystemTime::UNIX_EPOCH);
        assert_eq!(broken.status.to_string(), "4.4.2");
        let late = trouble(
            &host,
            &Trouble::TimedOut(Awaited::Greeting),
            SystemTime::UNIX_EPOCH,
        );
        assert_eq!(late.status.to_string(), "4.4.1");
    }

    // proves: 8689-4.2.1-7
    #[test]
    fn a_message_that_demands_tls_is_told_of_its_lack() {
        let host = Host::parse("mx.example").unwrap();
        let lack = insecure(&host, None, "the handshake failed", SystemTime::UNIX_EPOCH);
        let told = |wish| for_wish(lack.clone(), wish).status.to_string();
        assert_eq!(
            (told(TlsWish::Required), told(TlsWish::Usual)),
            ("4.7.10".into(), "4.7.5".into())
        );
        let lacks_keyword = unsendable(&host, Unsendable::RequireTls, SystemTime::UNIX_EPOCH);
        assert_eq!(lacks_keyword.status.to_string(), "5.7.30");
    }

    // proves: 3463-3.7-1
    #[test]
    fn statuses_of_messages_that_do_not_fit() {
        let host = Host::parse("mx.example").unwrap();
        let rows = [
            (Unsendable::EightBit, "5.6.3"),
            (Unsendable::Binary, "5.6.3"),
            (Unsendable::LongLine, "5.6.3"),
            (Unsendable::Utf8, "5.6.7"),
            (Unsendable::TooLarge(10), "5.3.4"),
            (Unsendable::RequireTls, "5.7.30"),
        ];
        for (why, expected) in rows {
            let cause = unsendable(&host, why, SystemTime::UNIX_EPOCH);
            assert_eq!(cause.status.to_string(), expected);
        }
    }
}
