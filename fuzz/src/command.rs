//! Command lines: each is a command or a refusal that can be said on the wire, and what it names is well-formed.

use mail::{Mailbox, ReversePath};
use smtp::command::{Command, ForwardPath};

/// Checks one line without its CRLF.
pub fn check(line: &[u8]) {
    match Command::parse(line) {
        Ok(Command::Mail(mail)) => match &mail.sender {
            ReversePath::Null => {}
            ReversePath::Mailbox(mailbox) => check_mailbox(mailbox),
        },
        Ok(Command::Rcpt(rcpt)) => match &rcpt.to {
            ForwardPath::Postmaster => {}
            ForwardPath::Mailbox(mailbox) => check_mailbox(mailbox),
        },
        Ok(Command::Ehlo(name) | Command::Helo(name)) => {
            assert!(!name.is_empty() && !name.contains(['\r', '\n']))
        }
        Ok(_) => {}
        Err(reply) => {
            assert!(reply.is_permanent() || reply.is_transient(), "{reply:?}");
            check_reply(&reply);
        }
    }
}

fn check_mailbox(mailbox: &Mailbox) {
    assert_eq!(
        Mailbox::parse(mailbox.as_str()).as_ref(),
        Ok(mailbox),
        "{}",
        mailbox.as_str()
    );
}

/// What a client sent comes back in replies now and then; it must not begin a line of its own.
pub(crate) fn check_reply(reply: &mail::Reply) {
    let mut wire = Vec::new();
    reply.write_utf8_to(&mut wire);
    let wire = String::from_utf8(wire).expect("a reply is UTF-8");
    let code = reply.code().to_string();
    let lines = wire
        .strip_suffix("\r\n")
        .expect("a reply ends in CRLF")
        .split("\r\n");
    for line in lines {
        assert!(
            line.len() <= 510 && line.starts_with(&code) && !line.contains(['\r', '\n', '\0']),
            "{line:?}"
        );
    }
}
