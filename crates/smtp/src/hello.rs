//! What a server says of itself in reply to EHLO or HELO (RFC 5321 §4.1.1.1, RFC 1869 §4.3): its name, its
//! extensions, its limits. It holds for one session and one channel, and dies with them.

use mail::Reply;

/// A server's answer to EHLO or HELO.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Hello {
    host: Box<str>,
    extended: bool,
    starttls: bool,
    pipelining: bool,
    size: Option<Size>,
    eight_bit_mime: bool,
    smtputf8: bool,
    chunking: bool,
    binary_mime: bool,
    dsn: bool,
    enhanced_status: bool,
    requiretls: bool,
    limits: PeerLimits,
}

/// What the server's LIMITS say (RFC 9422). A limit that was not given, or not in good form, is not there.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct PeerLimits {
    /// MAIL commands of a session, failed ones included.
    pub mail_max: Option<u32>,
    /// RCPT commands of a transaction, failed ones included.
    pub rcpt_max: Option<u32>,
    /// Different domains of recipients in a session.
    pub rcpt_domain_max: Option<u32>,
}

/// What SIZE said (RFC 1870 §3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Size {
    /// No number, 0, or nothing that is a number: no fixed limit.
    Open,
    AtMost(u64),
}

impl Hello {
    /// Reads the positive reply to EHLO. Unknown keywords are passed over.
    pub fn extended(reply: &Reply) -> Hello {
        let mut hello = Hello {
            extended: true,
            ..Hello::plain(reply)
        };
        for line in reply.lines().skip(1) {
            hello.note(line.trim_end());
        }
        hello
    }

    /// Reads the positive reply to HELO: a name and no extensions.
    pub fn plain(reply: &Reply) -> Hello {
        let host = reply
            .lines()
            .next()
            .and_then(|line| line.split(' ').next())
            .unwrap_or_default();
        Hello {
            host: host.into(),
            ..Hello::default()
        }
    }

    fn note(&mut self, line: &str) {
        let (keyword, parameters) = line.split_once(' ').unwrap_or((line, ""));
        match keyword.to_ascii_uppercase().as_str() {
            "STARTTLS" => self.starttls = true,
            "PIPELINING" => self.pipelining = true,
            "SIZE" => self.size = Some(Size::parse(parameters)),
            "8BITMIME" => self.eight_bit_mime = true,
            "SMTPUTF8" => self.smtputf8 = true, // parameters are ignored: RFC 6531 §3.1
            "CHUNKING" => self.chunking = true,
            "BINARYMIME" => self.binary_mime = true,
            "DSN" => self.dsn = true,
            "ENHANCEDSTATUSCODES" => self.enhanced_status = true,
            "REQUIRETLS" => self.requiretls = true,
            "LIMITS" => self.limits = PeerLimits::parse(parameters),
            _ => {}
        }
    }

    /// The name the server gave itself, unproven and perhaps no name at all; printable.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Whether EHLO was understood.
    pub fn is_extended(&self) -> bool {
        self.extended
    }

    /// RFC 3207. Inside TLS this is noise.
    pub fn offers_starttls(&self) -> bool {
        self.starttls
    }

    /// RFC 2920.
    pub fn pipelining(&self) -> bool {
        self.pipelining
    }

    /// RFC 1870: whether MAIL may say `SIZE=`.
    pub fn offers_size(&self) -> bool {
        self.size.is_some()
    }

    /// RFC 1870: the largest message it takes in octets, if it named one.
    pub fn size(&self) -> Option<u64> {
        match self.size? {
            Size::Open => None,
            Size::AtMost(bytes) => Some(bytes),
        }
    }

    /// RFC 6152.
    pub fn eight_bit_mime(&self) -> bool {
        self.eight_bit_mime
    }

    /// RFC 6531.
    pub fn smtputf8(&self) -> bool {
        self.smtputf8
    }

    /// RFC 3030 §2: whether BDAT is served.
    pub fn chunking(&self) -> bool {
        self.chunking
    }

    /// RFC 3030 §3; good for nothing without CHUNKING.
    pub fn binary_mime(&self) -> bool {
        self.binary_mime && self.chunking
    }

    /// RFC 3461.
    pub fn dsn(&self) -> bool {
        self.dsn
    }

    /// RFC 2034.
    pub fn enhanced_status(&self) -> bool {
        self.enhanced_status
    }

    /// RFC 8689.
    pub fn requiretls(&self) -> bool {
        self.requiretls
    }

    /// RFC 9422.
    pub fn limits(&self) -> PeerLimits {
        self.limits
    }
}

impl Size {
    fn parse(parameters: &str) -> Size {
        let digits = parameters.split(' ').next().unwrap_or_default();
        if !digits.bytes().all(|octet| octet.is_ascii_digit()) {
            return Size::Open;
        }
        let digits = digits.trim_start_matches('0');
        match digits.parse() {
            _ if digits.is_empty() => Size::Open,
            Ok(bytes) => Size::AtMost(bytes),
            Err(_) => Size::Open, // more digits than any message has octets
        }
    }
}

impl PeerLimits {
    /// Reads what follows `LIMITS`. One item that is no `name=value` makes all of it void (RFC 9422 §3.7); a value
    /// out of bounds or a name that we do not know makes that item void.
    fn parse(parameters: &str) -> PeerLimits {
        let mut limits = PeerLimits::default();
        for item in parameters.split(' ').filter(|item| !item.is_empty()) {
            let Some((name, value)) = item
                .split_once('=')
                .filter(|(name, value)| well_formed(name, value))
            else {
                return PeerLimits::default();
            };
            let limit = match name.to_ascii_uppercase().as_str() {
                "MAILMAX" => &mut limits.mail_max,
                "RCPTMAX" => &mut limits.rcpt_max,
                "RCPTDOMAINMAX" => &mut limits.rcpt_domain_max,
                _ => continue,
            };
            *limit = limit_value(value).or(*limit);
        }
        limits
    }
}

/// The grammar of RFC 9422 §3: a name of letters, digits, `-` and `_`; a value of visible ASCII without `;`.
fn well_formed(name: &str, value: &str) -> bool {
    let in_name = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_';
    let in_value = |octet: u8| octet.is_ascii_graphic() && octet != b';';
    !name.is_empty() && name.bytes().all(in_name) && !value.is_empty() && value.bytes().all(in_value)
}

/// 1 to 999999 without leading zeros (RFC 9422 §4).
fn limit_value(text: &str) -> Option<u32> {
    let digits = (1..=6).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_digit());
    if !digits || text.starts_with('0') {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(lines: &str) -> Hello {
        Hello::extended(&Reply::plain(250, format!("mx.example at your service\n{lines}")))
    }

    // proves: 5321-4.1.1.1-4 1869-4.3-1 6531-3.1-2
    #[test]
    fn keywords_are_known_in_any_letter_case() {
        let all = hello(
            "StartTls\npipelining\nSize 1000\n8bitmime\nsmtputf8 foo bar\nChunking\nBinaryMime\ndsn\n\
             EnhancedStatusCodes\nRequireTLS\nX-UNKNOWN a=b",
        );
        assert_eq!((all.host(), all.size()), ("mx.example", Some(1000)));
        assert!(all.is_extended() && all.offers_starttls() && all.pipelining() && all.offers_size());
        assert!(all.eight_bit_mime() && all.smtputf8() && all.chunking() && all.binary_mime());
        assert!(all.dsn() && all.enhanced_status() && all.requiretls());
        let none = hello("STARTTLSX\nXPIPELINING\nSIZE=10\nAUTH=PLAIN\n");
        assert_eq!(none, hello(""));
    }

    #[test]
    fn the_first_line_and_helo_hold_no_keywords() {
        let reply = Reply::plain(250, "STARTTLS\nPIPELINING");
        assert!(!Hello::extended(&reply).offers_starttls());
        assert!(!Hello::plain(&reply).pipelining() && !Hello::plain(&reply).is_extended());
        assert_eq!(Hello::extended(&Reply::plain(250, "")).host(), "");
    }

    // proves: 5321-4.5.3.1.7-2
    #[test]
    fn size_is_a_number_or_no_limit() {
        for (line, offered, size) in [
            ("SIZE 10485760", true, Some(10_485_760)),
            ("SIZE 00012", true, Some(12)),
            ("SIZE", true, None),
            ("SIZE 0", true, None),
            ("SIZE 99999999999999999999", true, None),
            ("SIZE -1", true, None),
            ("SIZE many", true, None),
            ("DSN", false, None),
        ] {
            let hello = hello(line);
            assert_eq!((hello.offers_size(), hello.size()), (offered, size), "{line}");
        }
    }

    #[test]
    fn binary_mime_needs_chunking() {
        assert!(!hello("BINARYMIME").binary_mime());
    }

    // proves: 9422-3.7-1 9422-3.7-2 9422-4.1-1
    #[test]
    fn limits_are_believed_where_well_formed() {
        let check = |line: &str, expected: [Option<u32>; 3]| {
            let limits = hello(line).limits();
            assert_eq!(
                [limits.mail_max, limits.rcpt_max, limits.rcpt_domain_max],
                expected,
                "{line:?}"
            );
        };
        check(
            "LIMITS MAILMAX=100 RCPTMAX=500 RCPTDOMAINMAX=1",
            [Some(100), Some(500), Some(1)],
        );
        check("limits rcptmax=999999", [None, Some(999_999), None]);
        check("LIMITS FOO=1 RCPTMAX=0 MAILMAX=2", [Some(2), None, None]);
        check(
            "LIMITS RCPTMAX=1000000 MAILMAX=01 RCPTDOMAINMAX=x",
            [None, None, None],
        );
        check("LIMITS  MAILMAX=3 ", [Some(3), None, None]);
        for void in [
            "LIMITS ==",
            "LIMITS",
            "LIMITS MAILMAX=2 =",
            "LIMITS MAILMAX=2 RCPTMAX",
            "LIMITS RCPTMAX=1;MAILMAX=2",
        ] {
            check(void, [None, None, None]);
        }
    }
}
