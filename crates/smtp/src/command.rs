//! One command line, read into a typed command or the reply that refuses it (RFC 5321 §4.1.1 and the extensions'
//! grammar).
//!
//! Owns spelling: verbs, paths, parameters. Knows nothing of the order in which commands may come.

use std::fmt::Display;

use mail::{
    BadAddress, Body, EnhancedStatus, EnvelopeId, Host, Mailbox, Notify, OriginalRecipient, Reply, Return,
    ReversePath,
};

mod refusals;

pub(crate) use refusals::BDAT_SYNTAX;

use refusals::{
    BAD_PARAMETER, BAD_RECIPIENT, BAD_SENDER, BARE_OR_NUL, CONTROL_CHARACTER, LOOK_UP_NEEDS_UTF8,
    MAIL_SYNTAX, NO_ARGUMENT, NOT_SERVED, NOT_THE_WEB, NOT_UTF8, NOTHING_TO_LOOK_UP, RCPT_SYNTAX,
    REPEATED_PARAMETER, SENDER_NEEDS_UTF8, UNKNOWN, UNKNOWN_PARAMETER,
};

/// A command whose words are right. Text borrows from the line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Command<'l> {
    /// EHLO with the client's name, as written: a domain or an address literal.
    Ehlo(&'l str),
    /// HELO with the same.
    Helo(&'l str),
    /// MAIL.
    Mail(Mail),
    /// RCPT.
    Rcpt(Rcpt),
    /// DATA.
    Data,
    /// BDAT.
    Bdat(Chunk),
    /// BDAT with words behind its size that mean nothing: so many octets follow all the same.
    OddBdat(u64),
    /// RSET.
    Rset,
    /// NOOP; what stands behind it is ignored (RFC 5321 §4.1.1.9).
    Noop,
    /// QUIT.
    Quit,
    /// VRFY.
    Vrfy(LookUp<'l>),
    /// EXPN.
    Expn(LookUp<'l>),
    /// HELP, on whatever subject.
    Help,
    /// STARTTLS.
    StartTls,
}

/// What MAIL said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mail {
    /// The reverse-path.
    pub sender: ReversePath,
    /// `SIZE=` in octets, if declared.
    pub size: Option<u64>,
    /// `BODY=`.
    pub body: Body,
    /// `SMTPUTF8`.
    pub smtputf8: bool,
    /// `RET=`.
    pub ret: Option<Return>,
    /// `ENVID=`.
    pub envelope_id: Option<EnvelopeId>,
    /// `REQUIRETLS` (RFC 8689 §2).
    pub requiretls: bool,
}

/// What RCPT said.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rcpt {
    /// The forward-path.
    pub to: ForwardPath,
    /// `NOTIFY=`.
    pub notify: Option<Notify>,
    /// `ORCPT=`.
    pub original: Option<OriginalRecipient>,
}

/// Whom RCPT names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ForwardPath {
    /// `<Postmaster>` without a domain: the one of this host (RFC 5321 §4.1.1.3).
    Postmaster,
    /// An ordinary recipient; a source route before it has been dropped (RFC 5321 §3.3).
    Mailbox(Mailbox),
}

/// `BDAT octets [LAST]` (RFC 3030 §2).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// How many octets follow the line.
    pub bytes: u64,
    /// `LAST`: the message is complete with it.
    pub last: bool,
}

/// What VRFY or EXPN asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LookUp<'l> {
    /// The name or address.
    pub text: &'l str,
    /// `SMTPUTF8`: the reply may hold UTF-8 (RFC 6531 §3.7.4.2).
    pub smtputf8: bool,
}

/// The first word of a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    /// EHLO
    Ehlo,
    /// HELO
    Helo,
    /// MAIL
    Mail,
    /// RCPT
    Rcpt,
    /// DATA
    Data,
    /// BDAT
    Bdat,
    /// RSET
    Rset,
    /// NOOP
    Noop,
    /// QUIT
    Quit,
    /// VRFY
    Vrfy,
    /// EXPN
    Expn,
    /// HELP
    Help,
    /// STARTTLS
    StartTls,
    /// A verb that some standard knows and this server does not serve.
    NotServed,
    /// A request of HTTP: a browser was made to talk to us, and the commands would come in its body.
    Web,
    /// Nothing that any standard knows.
    Unknown,
}

impl Verb {
    /// The verb of a line, in any letter case (RFC 5321 §2.4).
    pub fn of(line: &[u8]) -> Verb {
        let word = line.split(|&octet| is_blank(octet)).next().unwrap_or_default();
        let mut upper = [0; 8];
        let Some(upper) = upper.get_mut(..word.len()) else {
            return Verb::Unknown;
        };
        upper.copy_from_slice(word);
        upper.make_ascii_uppercase();
        match &*upper {
            b"EHLO" => Verb::Ehlo,
            b"HELO" => Verb::Helo,
            b"MAIL" => Verb::Mail,
            b"RCPT" => Verb::Rcpt,
            b"DATA" => Verb::Data,
            b"BDAT" => Verb::Bdat,
            b"RSET" => Verb::Rset,
            b"NOOP" => Verb::Noop,
            b"QUIT" => Verb::Quit,
            b"VRFY" => Verb::Vrfy,
            b"EXPN" => Verb::Expn,
            b"HELP" => Verb::Help,
            b"STARTTLS" => Verb::StartTls,
            b"AUTH" | b"TURN" | b"ETRN" | b"ATRN" | b"SEND" | b"SOML" | b"SAML" | b"BURL" | b"LHLO" => {
                Verb::NotServed
            }
            b"GET" | b"POST" | b"PUT" | b"HEAD" | b"CONNECT" | b"OPTIONS" => Verb::Web,
            _ => Verb::Unknown,
        }
    }
}

impl<'l> Command<'l> {
    /// Reads a line without its CRLF. The error is the reply to give; where BDAT was the verb, nobody knows how many
    /// octets of content follow.
    pub fn parse(line: &'l [u8]) -> Result<Command<'l>, Reply> {
        // RFC 5321 §2.3.8: only CRLF ends a line, and neither half of it means anything alone.
        if memchr::memchr3(b'\r', b'\n', 0, line).is_some() {
            return Err(BARE_OR_NUL);
        }
        let line = line.trim_ascii_end();
        let verb = Verb::of(line);
        let blank = line.iter().position(|&octet| is_blank(octet));
        let argument = blank.map_or(&[][..], |at| line[at..].trim_ascii_start());
        let text = str::from_utf8(argument).map_err(|_| NOT_UTF8);
        match verb {
            Verb::Ehlo => client_name(text?).map(Command::Ehlo),
            Verb::Helo => client_name(text?).map(Command::Helo),
            Verb::Mail => mail(text?).map(Command::Mail),
            Verb::Rcpt => rcpt(text?).map(Command::Rcpt),
            Verb::Data => alone(argument, Command::Data),
            Verb::Bdat => chunk(text?),
            Verb::Rset => alone(argument, Command::Rset),
            Verb::Noop => Ok(Command::Noop),
            Verb::Quit => alone(argument, Command::Quit),
            Verb::Vrfy => look_up(text?).map(Command::Vrfy),
            Verb::Expn => look_up(text?).map(Command::Expn),
            Verb::Help => Ok(Command::Help),
            Verb::StartTls => alone(argument, Command::StartTls),
            Verb::NotServed => Err(NOT_SERVED),
            Verb::Web => Err(NOT_THE_WEB),
            Verb::Unknown => Err(UNKNOWN),
        }
    }
}

/// RFC 5321 §4.1.1: no parameters on DATA, RSET, QUIT; RFC 3207 §4: none on STARTTLS.
fn alone<'l>(argument: &[u8], command: Command<'l>) -> Result<Command<'l>, Reply> {
    if argument.is_empty() {
        Ok(command)
    } else {
        Err(NO_ARGUMENT)
    }
}

/// RFC 5321 §4.1.1.1; A-labels only (RFC 6531 §3.7.1). Replies to EHLO and HELO have no enhanced status
/// (RFC 2034 §4).
fn client_name(text: &str) -> Result<&str, Reply> {
    if text.is_empty() {
        return Err(Reply::plain(501, "say your domain name or address literal"));
    }
    if !text.is_ascii() {
        return Err(Reply::plain(501, "say your domain name in ASCII"));
    }
    match Host::parse(text) {
        Ok(_) => Ok(text),
        Err(bad) => Err(Reply::plain(
            501,
            format!("this is no domain name or address literal: {bad}"),
        )),
    }
}

/// `FROM:<reverse-path> [parameters]`, RFC 5321 §4.1.1.2.
fn mail(text: &str) -> Result<Mail, Reply> {
    let (path, parameters) = path_of(text, "FROM:", MAIL_SYNTAX, BAD_SENDER)?;
    let sender = match path {
        "" => ReversePath::Null,
        path => ReversePath::Mailbox(mailbox_of(path, BAD_SENDER)?),
    };
    let mut mail = Mail {
        sender,
        size: None,
        body: Body::SevenBit,
        smtputf8: false,
        ret: None,
        envelope_id: None,
        requiretls: false,
    };
    let mut body = None;
    for parameter in words(parameters) {
        let (keyword, value) = parameter_of(parameter)?;
        match () {
            () if keyword.eq_ignore_ascii_case("SIZE") => once(&mut mail.size, value.and_then(size))?,
            () if keyword.eq_ignore_ascii_case("BODY") => once(&mut body, value.and_then(body_kind))?,
            () if keyword.eq_ignore_ascii_case("SMTPUTF8") => flag(&mut mail.smtputf8, value)?,
            () if keyword.eq_ignore_ascii_case("REQUIRETLS") => flag(&mut mail.requiretls, value)?,
            () if keyword.eq_ignore_ascii_case("RET") => once(&mut mail.ret, value.and_then(ret))?,
            () if keyword.eq_ignore_ascii_case("ENVID") => {
                once(&mut mail.envelope_id, value.and_then(EnvelopeId::parse_xtext))?;
            }
            () => return Err(UNKNOWN_PARAMETER),
        }
    }
    mail.body = body.unwrap_or_default();
    // RFC 6531 §3.5.
    match &mail.sender {
        ReversePath::Mailbox(sender) if !mail.smtputf8 && !sender.as_str().is_ascii() => {
            Err(SENDER_NEEDS_UTF8)
        }
        ReversePath::Mailbox(_) | ReversePath::Null => Ok(mail),
    }
}

/// `TO:<forward-path> [parameters]`, RFC 5321 §4.1.1.3. Whether a non-ASCII path may stand depends on MAIL.
fn rcpt(text: &str) -> Result<Rcpt, Reply> {
    let (path, parameters) = path_of(text, "TO:", RCPT_SYNTAX, BAD_RECIPIENT)?;
    let to = if path.eq_ignore_ascii_case("postmaster") {
        ForwardPath::Postmaster
    } else {
        ForwardPath::Mailbox(mailbox_of(path, BAD_RECIPIENT)?)
    };
    let mut rcpt = Rcpt {
        to,
        notify: None,
        original: None,
    };
    for parameter in words(parameters) {
        let (keyword, value) = parameter_of(parameter)?;
        if keyword.eq_ignore_ascii_case("NOTIFY") {
            once(&mut rcpt.notify, value.and_then(Notify::parse))?;
        } else if keyword.eq_ignore_ascii_case("ORCPT") {
            once(&mut rcpt.original, value.and_then(OriginalRecipient::parse))?;
        } else {
            return Err(UNKNOWN_PARAMETER);
        }
    }
    Ok(rcpt)
}

/// The inside of the brackets, and what follows them. No white space stands between colon and bracket
/// (RFC 5321 §3.3).
fn path_of<'t>(
    text: &'t str,
    keyword: &str,
    syntax: Reply,
    bad: EnhancedStatus,
) -> Result<(&'t str, &'t str), Reply> {
    let rest = match text.split_at_checked(keyword.len()) {
        Some((word, rest)) if word.eq_ignore_ascii_case(keyword) => rest,
        _ => return Err(syntax),
    };
    let inside = rest
        .strip_prefix('<')
        .ok_or_else(|| refuse(bad, "an address stands in < > directly behind the colon"))?;
    let end = path_end(inside).ok_or_else(|| refuse(bad, "the closing > is missing"))?;
    let (path, rest) = (&inside[..end], &inside[end + 1..]);
    if rest.is_empty() || rest.starts_with(' ') {
        Ok((path, rest))
    } else {
        Err(syntax)
    }
}

/// Where the closing bracket is; one inside a quoted local part does not count.
fn path_end(inside: &str) -> Option<usize> {
    let mut quoted = false;
    let mut octets = inside.bytes().enumerate();
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' if quoted => drop(octets.next()),
            b'"' => quoted = !quoted,
            b'>' if !quoted => return Some(at),
            _ => {}
        }
    }
    None
}

/// A mailbox, behind a source route or not. RFC 5321 §3.3: routes are read and ignored.
fn mailbox_of(path: &str, bad: EnhancedStatus) -> Result<Mailbox, Reply> {
    let address = match path.strip_prefix('@') {
        None => path,
        Some(_) => {
            let (route, address) = path
                .split_once(':')
                .ok_or_else(|| refuse(bad, "the source route has no end"))?;
            let good = route.split(',').all(|hop| {
                hop.strip_prefix('@')
                    .is_some_and(|name| Host::parse(name).is_ok())
            });
            if !good {
                return Err(refuse(bad, "the source route is not valid"));
            }
            address
        }
    };
    Mailbox::parse(address).map_err(|why: BadAddress| refuse(bad, why))
}

fn refuse(status: EnhancedStatus, why: impl Display) -> Reply {
    let whose = if status == BAD_SENDER {
        "sender"
    } else {
        "recipient"
    };
    Reply::new(501, status, format!("bad {whose} address: {why}"))
}

/// `keyword[=value]`, RFC 5321 §4.1.2 (esmtp-param). A value may hold UTF-8 only where its own grammar says so.
fn parameter_of(text: &str) -> Result<(&str, Option<&str>), Reply> {
    let (keyword, value) = match text.split_once('=') {
        Some((keyword, value)) => (keyword, Some(value)),
        None => (text, None),
    };
    let good = keyword.starts_with(|c: char| c.is_ascii_alphanumeric())
        && keyword.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && value.is_none_or(|value| !value.is_empty() && !value.chars().any(|c| c == '=' || c.is_control()));
    if good {
        Ok((keyword, value))
    } else {
        Err(BAD_PARAMETER)
    }
}

/// Sets a parameter that may stand once and needs a good value.
fn once<T>(slot: &mut Option<T>, value: Option<T>) -> Result<(), Reply> {
    if slot.is_some() {
        return Err(REPEATED_PARAMETER);
    }
    *slot = Some(value.ok_or(BAD_PARAMETER)?);
    Ok(())
}

/// RFC 6531 §3.1, RFC 8689 §2: no value.
fn flag(said: &mut bool, value: Option<&str>) -> Result<(), Reply> {
    match value {
        Some(_) => Err(BAD_PARAMETER),
        None if *said => Err(REPEATED_PARAMETER),
        None => {
            *said = true;
            Ok(())
        }
    }
}

/// RFC 1870 §3: 1 to 20 digits. What is more than 64 bits hold is too large for any limit.
fn size(value: &str) -> Option<u64> {
    let digits = (1..=20).contains(&value.len()) && value.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| value.parse().unwrap_or(u64::MAX))
}

/// RFC 6152 §2, RFC 3030 §3.
fn body_kind(value: &str) -> Option<Body> {
    [
        ("7BIT", Body::SevenBit),
        ("8BITMIME", Body::EightBitMime),
        ("BINARYMIME", Body::BinaryMime),
    ]
    .into_iter()
    .find(|(name, _)| value.eq_ignore_ascii_case(name))
    .map(|(_, body)| body)
}

/// RFC 3461 §4.3.
fn ret(value: &str) -> Option<Return> {
    if value.eq_ignore_ascii_case("FULL") {
        Some(Return::Full)
    } else if value.eq_ignore_ascii_case("HDRS") {
        Some(Return::Headers)
    } else {
        None
    }
}

/// RFC 3030 §2. A size beyond 64 bits cannot be waited for, so it is no size.
fn chunk(text: &str) -> Result<Command<'_>, Reply> {
    let mut words = words(text);
    let (size, last, more) = (words.next(), words.next(), words.next());
    let bytes = size
        .filter(|size| size.len() <= 20 && size.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|size| size.parse().ok())
        .ok_or(BDAT_SYNTAX)?;
    match (last, more) {
        (None, _) => Ok(Command::Bdat(Chunk { bytes, last: false })),
        (Some(word), None) if word.eq_ignore_ascii_case("LAST") => {
            Ok(Command::Bdat(Chunk { bytes, last: true }))
        }
        (Some(_), _) => Ok(Command::OddBdat(bytes)),
    }
}

/// `VRFY string [SMTPUTF8]`, RFC 5321 §4.1.1.6, RFC 6531 §3.7.4.2.
fn look_up(text: &str) -> Result<LookUp<'_>, Reply> {
    let (text, smtputf8) = match text.rsplit_once(' ') {
        Some((rest, word)) if word.eq_ignore_ascii_case("SMTPUTF8") => (rest.trim_ascii_end(), true),
        _ => (text, false),
    };
    if text.is_empty() {
        Err(NOTHING_TO_LOOK_UP)
    } else if text.chars().any(char::is_control) {
        Err(CONTROL_CHARACTER)
    } else if !smtputf8 && !text.is_ascii() {
        Err(LOOK_UP_NEEDS_UTF8)
    } else {
        Ok(LookUp { text, smtputf8 })
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(' ').filter(|word| !word.is_empty())
}

/// White space that RFC 5321 §4.1.1 wants tolerated: SP, and HT because it was allowed once.
fn is_blank(octet: u8) -> bool {
    matches!(octet, b' ' | b'\t')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn verbs() {
        let check =
            |line: &[u8], expected: Verb| assert_eq!(Verb::of(line), expected, "{}", line.escape_ascii());
        check(b"ehlo x", Verb::Ehlo);
        check(b"StartTLS", Verb::StartTls);
        check(b"STARTTLS\tx", Verb::StartTls);
        check(b"STARTTLSX", Verb::Unknown);
        check(b"AUTH", Verb::NotServed);
        check(b"GET /", Verb::Web);
        check(b"", Verb::Unknown);
        check(b" EHLO", Verb::Unknown);
        check(b"EHLO\n", Verb::Unknown);
        check(b"\xffHLO", Verb::Unknown);
    }

    #[test]
    fn plain_commands() {
        let check = |line: &[u8], expected: Result<Command<'_>, u16>| {
            let found = Command::parse(line).map_err(|reply| reply.code());
            assert_eq!(found, expected, "{}", line.escape_ascii());
        };
        check(b"EHLO x.example ", Ok(Command::Ehlo("x.example")));
        check(b"HELO [192.0.2.1]", Ok(Command::Helo("[192.0.2.1]")));
        check(b"DATA", Ok(Command::Data));
        check(b"RSET\t", Ok(Command::Rset));
        check(b"NOOP \xff", Ok(Command::Noop));
        check(b"HELP \xff", Ok(Command::Help));
        check(
            b"BDAT 7",
            Ok(Command::Bdat(Chunk {
                bytes: 7,
                last: false,
            })),
        );
        check(b"BDAT 7 last", Ok(Command::Bdat(Chunk { bytes: 7, last: true })));
        check(
            b"BDAT 18446744073709551615",
            Ok(Command::Bdat(Chunk {
                bytes: u64::MAX,
                last: false,
            })),
        );
        let user = LookUp {
            text: "user",
            smtputf8: false,
        };
        check(b"VRFY user", Ok(Command::Vrfy(user)));
        check(
            b"EXPN user smtputf8",
            Ok(Command::Expn(LookUp {
                smtputf8: true,
                ..user
            })),
        );
        check(b"EHLO", Err(501));
        check(b"DATA x", Err(501));
        check(b"QUIT x", Err(501));
        check(b"STARTTLS x", Err(501));
        check(b"BDAT 7 LAST 8", Ok(Command::OddBdat(7)));
        check(b"BDAT 18446744073709551616", Err(501));
        check(b"BDAT LAST", Err(501));
        check(b"VRFY", Err(501));
        check("VRFY é".as_bytes(), Err(550));
        check(b"TURN", Err(502));
        check(b"WHAT", Err(500));
        check(b"NOOP\r", Err(500));
        check(b"NOOP\n", Err(500));
        check(b"NOOP\0", Err(500));
        check(b"POST / HTTP/1.1", Err(421));
    }

    #[test]
    fn senders() {
        let check = |line: &str, expected: Result<&str, &str>| {
            let found = match Command::parse(line.as_bytes()) {
                Ok(Command::Mail(mail)) => Ok(mail.sender.to_string()),
                Ok(other) => panic!("{other:?}"),
                Err(reply) => Err(format!("{} {}", reply.code(), reply.status().unwrap())),
            };
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(found, expected, "{line}");
        };
        check("MAIL FROM:<>", Ok(""));
        check("MAIL  FROM:<A@x.example>  ", Ok("A@x.example"));
        check("MAIL FROM:<@a.example,@b.example:c@x.example>", Ok("c@x.example"));
        check("MAIL FROM:<\"> \\\" <\"@x.example>", Ok("\"> \\\" <\"@x.example"));
        check("MAIL FROM:<é@x.example> SMTPUTF8", Ok("é@x.example"));
        check("MAIL FROM:<é@x.example>", Err("550 5.6.7"));
        check("MAIL FROM:< >", Err("501 5.1.7"));
        check("MAIL FROM:<a@x.example> FOO", Err("555 5.5.4"));
        check("MAIL FROM:<a@x.example> REQUIRETLS=yes", Err("501 5.5.4"));
        check("MAIL FROM:<a@x.example> REQUIRETLS REQUIRETLS", Err("501 5.5.4"));
        check("MAIL FROM:<a@x.example>FOO", Err("501 5.5.2"));
        check("MAIL FROM :<a@x.example>", Err("501 5.5.2"));
        check("MAIL FROMé<a@x.example>", Err("501 5.5.2"));
        check("MAIL FROM:<@a.example,:c@x.example>", Err("501 5.1.7"));
        check("MAIL FROM:<@a.example:>", Err("501 5.1.7"));
    }

    #[test]
    fn all_that_mail_says() {
        let line = b"MAIL FROM:<a@x.example> size=5 body=binarymime SMTPUTF8 RET=hdrs ENVID=a+2Bb requiretls";
        let Ok(Command::Mail(mail)) = Command::parse(line) else {
            panic!()
        };
        assert_eq!(
            (mail.size, mail.body, mail.smtputf8),
            (Some(5), Body::BinaryMime, true)
        );
        assert_eq!(mail.ret, Some(Return::Headers));
        assert!(mail.requiretls);
        assert_eq!(mail.envelope_id.unwrap().as_str(), "a+b");
    }

    #[test]
    fn all_that_rcpt_says() {
        let line = b"RCPT TO:<b@x.example> ORCPT=rfc822;c+2Bd@x.example NOTIFY=Failure,delay";
        let Ok(Command::Rcpt(rcpt)) = Command::parse(line) else {
            panic!()
        };
        assert_eq!(
            rcpt.to,
            ForwardPath::Mailbox(Mailbox::parse("b@x.example").unwrap())
        );
        assert_eq!(rcpt.original.unwrap().as_str(), "rfc822;c+2Bd@x.example");
        let notify = Notify::On {
            success: false,
            failure: true,
            delay: true,
        };
        assert_eq!(rcpt.notify, Some(notify));
        let line = b"RCPT TO:<POSTmaster>";
        assert!(
            matches!(Command::parse(line), Ok(Command::Rcpt(rcpt)) if rcpt.to == ForwardPath::Postmaster)
        );
    }

    proptest! {
        #[test]
        fn no_line_panics(line in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Command::parse(&line);
        }

        #[test]
        fn no_argument_panics(verb in "(MAIL FROM:<|RCPT TO:<|BDAT |VRFY |EHLO )", rest in ".{0,80}") {
            let _ = Command::parse(format!("{verb}{rest}").as_bytes());
        }

        #[test]
        fn addresses_come_through(local in "[a-z.]{1,10}", quoted in "[ -~]{0,10}") {
            let escaped = quoted.replace('\\', "\\\\").replace('"', "\\\"");
            for written in [format!("{local}@x.example"), format!("\"{escaped}\"@x.example")] {
                let Ok(expected) = Mailbox::parse(&written) else { continue };
                let line = format!("RCPT TO:<@r.example:{written}> NOTIFY=NEVER");
                let Ok(Command::Rcpt(rcpt)) = Command::parse(line.as_bytes()) else {
                    return Err(TestCaseError::fail(line));
                };
                prop_assert_eq!(rcpt.to, ForwardPath::Mailbox(expected));
            }
        }
    }
}
