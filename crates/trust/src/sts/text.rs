//! The policy itself (RFC 8461 §3.2), and which hosts it lists (§4.1).

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use mail::{Domain, Host};

use super::Listed;
use super::record::is_name;

/// What a domain demands of its hosts, and for how long that is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// Whether anything is demanded.
    pub mode: Mode,
    /// The hosts; empty only where the mode is `none`.
    pub mx: Vec<MxPattern>,
    /// How long it counts after the last successful fetch; at most [`MAX_AGE_MAX`].
    pub max_age: Duration,
}

/// What is done about a host that does not fit the policy (§5).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It is not used.
    Enforce,
    /// It is used, and the failure reported.
    Testing,
    /// There is no policy any more.
    None,
}

/// A host, or all hosts one label below a domain.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum MxPattern {
    /// This host.
    Host(Domain),
    /// `*.domain`: exactly one label stands for the star.
    Below(Domain),
}

/// Why a text is no policy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BadPolicy {
    /// Longer than [`POLICY_BYTES_MAX`].
    TooLong,
    /// Not UTF-8.
    NotText,
    /// This line (from 1) is no `name: value`.
    Line(usize),
    /// A field that must be there is missing.
    Missing(&'static str),
    /// This field's value makes no sense.
    Value(&'static str),
}

impl Policy {
    /// Reads one. Lines end in CRLF or LF; unknown fields are left out; of a field other than `mx` that comes twice, the
    /// first counts (§3.2).
    pub fn parse(octets: &[u8]) -> Result<Policy, BadPolicy> {
        if octets.len() > POLICY_BYTES_MAX {
            return Err(BadPolicy::TooLong);
        }
        let text = std::str::from_utf8(octets).map_err(|_| BadPolicy::NotText)?;
        let (mut version, mut mode, mut max_age, mut mx) = (None, None, None, Vec::new());
        for (index, line) in text.split('\n').enumerate() {
            let line = line.strip_suffix('\r').unwrap_or(line).trim_end_matches(WSP);
            // Not in the grammar, but at the end of many a file that people edit.
            if line.is_empty() {
                continue;
            }
            let (name, value) = field(line).ok_or(BadPolicy::Line(index + 1))?;
            match name {
                "version" => drop(version.get_or_insert(value)),
                "mode" => drop(mode.get_or_insert(value)),
                "max_age" => drop(max_age.get_or_insert(value)),
                "mx" => mx.push(value.parse().map_err(|_: NoPattern| BadPolicy::Value("mx"))?),
                _ => {}
            }
        }
        if version.ok_or(BadPolicy::Missing("version"))? != VERSION {
            return Err(BadPolicy::Value("version"));
        }
        let mode = mode_of(mode.ok_or(BadPolicy::Missing("mode"))?).ok_or(BadPolicy::Value("mode"))?;
        let max_age =
            age_of(max_age.ok_or(BadPolicy::Missing("max_age"))?).ok_or(BadPolicy::Value("max_age"))?;
        if mx.is_empty() && mode != Mode::None {
            return Err(BadPolicy::Missing("mx"));
        }
        Ok(Policy { mode, mx, max_age })
    }

    /// Whether a host is one of the policy's. Letter case and a final dot are gone from a [`Host`] already.
    pub fn lists(&self, host: &Host) -> Listed {
        let fits = |name: &Domain| self.mx.iter().any(|pattern| pattern.fits(name));
        match host.name().is_some_and(fits) {
            true => Listed::Yes,
            false => Listed::No,
        }
    }
}

impl MxPattern {
    /// §4.1: the star stands for the whole left-most label and for nothing else.
    pub fn fits(&self, name: &Domain) -> bool {
        match self {
            MxPattern::Host(host) => host == name,
            MxPattern::Below(domain) => {
                let parent = name.as_str().split_once('.').map(|(_, parent)| parent);
                parent == Some(domain.as_str())
            }
        }
    }
}

/// A text is neither a host's name in ASCII nor `*.` and a domain's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoPattern;

impl FromStr for MxPattern {
    type Err = NoPattern;

    /// U-labels are none here (§3.2): names stand as the DNS has them.
    fn from_str(text: &str) -> Result<MxPattern, NoPattern> {
        let name = |text: &str| match text.is_ascii() {
            true => Domain::parse(text).map_err(|_| NoPattern),
            false => Err(NoPattern),
        };
        match text.strip_prefix("*.") {
            Some(domain) => name(domain).map(MxPattern::Below),
            None => name(text).map(MxPattern::Host),
        }
    }
}

/// `name: value`, without blanks at the ends of the value.
fn field(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once(':')?;
    let value = value.trim_start_matches(WSP);
    (is_name(name) && !value.is_empty() && !value.contains(char::is_control)).then_some((name, value))
}

fn mode_of(text: &str) -> Option<Mode> {
    [Mode::Enforce, Mode::Testing, Mode::None]
        .into_iter()
        .find(|mode| mode.as_str() == text)
}

/// One to ten digits; more than a year counts as a year.
fn age_of(text: &str) -> Option<Duration> {
    let digits = (1..=AGE_DIGITS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let seconds: u64 = text.parse().ok().filter(|_| digits)?;
    Some(Duration::from_secs(seconds).min(MAX_AGE_MAX))
}

impl Mode {
    /// As a policy spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Testing => "testing",
            Mode::None => "none",
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for MxPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MxPattern::Host(host) => host.fmt(f),
            MxPattern::Below(domain) => write!(f, "*.{domain}"),
        }
    }
}

/// The text that is published, and read again as the same.
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "version: {VERSION}\r\nmode: {}\r\n", self.mode)?;
        self.mx
            .iter()
            .try_for_each(|pattern| write!(f, "mx: {pattern}\r\n"))?;
        write!(f, "max_age: {}\r\n", self.max_age.as_secs())
    }
}

impl fmt::Display for BadPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadPolicy::TooLong => write!(f, "it is longer than {POLICY_BYTES_MAX} octets"),
            BadPolicy::NotText => f.write_str("it is not UTF-8"),
            BadPolicy::Line(line) => write!(f, "line {line} is no \"name: value\""),
            BadPolicy::Missing(name) => write!(f, "it has no {name}"),
            BadPolicy::Value(name) => write!(f, "its {name} makes no sense"),
        }
    }
}

impl std::error::Error for BadPolicy {}

/// The longest policy that is read (§3.3 suggests the number).
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// The longest that a policy can count: 31557600 seconds, a year (§3.2).
pub const MAX_AGE_MAX: Duration = Duration::from_secs(31_557_600);
const VERSION: &str = "STSv1";
const AGE_DIGITS_MAX: usize = 10;
const WSP: [char; 2] = [' ', '\t'];

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n";

    fn parse(text: &str) -> Result<Policy, BadPolicy> {
        Policy::parse(text.as_bytes())
    }

    fn host(text: &str) -> Host {
        Host::parse(text.trim_end_matches('.')).unwrap()
    }

    #[test]
    fn printing_and_parsing_give_the_same() {
        let policy = parse(GOOD).unwrap();
        assert_eq!(policy.to_string(), GOOD);
        let none = parse("version: STSv1\nmode: none\nmax_age: 0\n").unwrap();
        assert_eq!(parse(&none.to_string()), Ok(none));
    }

    // proves: 8461-3.2-3 8461-3.2-9 8461-3.2-10
    #[test]
    fn forms_of_the_same_policy() {
        let policy = parse(GOOD).unwrap();
        let rows = [
            GOOD.replace("\r\n", "\n"),
            GOOD.trim_end().to_owned(),
            GOOD.replace(": ", ":"),
            GOOD.replace(": ", ":\t  "),
            GOOD.replace("\r\n", " \t\r\n"),
            format!("{GOOD}\r\n\r\n"),
            format!("x-foo: bär, baz: 7\n{GOOD}"),
            format!("{GOOD}mode: testing\r\n"),
            format!("{GOOD}mode: nonsense\r\nmax_age: 1\r\nversion: STSv9\r\n"),
        ];
        for text in rows {
            assert_eq!(parse(&text).as_ref(), Ok(&policy), "{text:?}");
        }
        let testing = GOOD.replace("mode: enforce", "mode: testing\r\nmode: enforce");
        assert_eq!(parse(&testing).unwrap().mode, Mode::Testing);
    }

    // proves: 8461-3.2-3
    #[test]
    fn what_must_be_there() {
        for name in ["version", "mode", "max_age", "mx"] {
            let without: String = GOOD
                .split_inclusive('\n')
                .filter(|line| !line.starts_with(name))
                .collect();
            assert_eq!(parse(&without), Err(BadPolicy::Missing(name)));
        }
        assert!(parse("version: STSv1\nmode: none\nmax_age: 86400").is_ok());
        assert_eq!(
            parse("version: STSv1\nmode: testing\nmax_age: 86400"),
            Err(BadPolicy::Missing("mx"))
        );
        assert_eq!(parse(""), Err(BadPolicy::Missing("version")));
    }

    // proves: 8461-3.2-4 8461-3.2-5 8461-3.2-7 8461-3.2-8
    #[test]
    fn values_that_make_no_sense() {
        let rows = [
            ("version: STSv1", "version: STSv2", "version"),
            ("version: STSv1", "version: stsv1", "version"),
            ("mode: enforce", "mode: Enforce", "mode"),
            ("mode: enforce", "mode: enforced", "mode"),
            ("max_age: 604800", "max_age: 99999999999", "max_age"),
            ("max_age: 604800", "max_age: -1", "max_age"),
            ("max_age: 604800", "max_age: +1", "max_age"),
            ("max_age: 604800", "max_age: 7d", "max_age"),
            ("mx: mail.example.com", "mx: a.example, b.example", "mx"),
            ("mx: mail.example.com", "mx: bücher.example", "mx"),
            ("mx: mail.example.com", "mx: *", "mx"),
            ("mx: mail.example.com", "mx: *.", "mx"),
            ("mx: mail.example.com", "mx: mail*.example.com", "mx"),
            ("mx: mail.example.com", "mx: a.*.example.com", "mx"),
            ("mx: mail.example.com", "mx: *.*.example.com", "mx"),
            ("mx: mail.example.com", "mx: [192.0.2.1]", "mx"),
        ];
        for (good, bad, name) in rows {
            assert_eq!(
                parse(&GOOD.replace(good, bad)),
                Err(BadPolicy::Value(name)),
                "{bad}"
            );
        }
        let age = |text: &str| parse(&GOOD.replace("604800", text)).unwrap().max_age;
        assert_eq!(age("0"), Duration::ZERO);
        assert_eq!(age("31557600"), MAX_AGE_MAX);
        assert_eq!(age("31557601"), MAX_AGE_MAX);
        assert_eq!(age("9999999999"), MAX_AGE_MAX);
    }

    #[test]
    fn lines_that_are_none() {
        let rows = [
            ("nonsense", 1),
            (": value", 1),
            ("version STSv1", 1),
            ("ver sion: STSv1", 1),
            ("version: STSv1\nmode:", 2),
            ("version: STSv1\nmode: a\u{7}b", 2),
            ("version: STSv1\n\n  mode: enforce", 3),
            ("version: STSv1\rmode: enforce\r", 1),
            ("<html>", 1),
        ];
        for (text, line) in rows {
            assert_eq!(parse(text), Err(BadPolicy::Line(line)), "{text:?}");
        }
        assert_eq!(Policy::parse(b"version: STSv1\nx: \xff"), Err(BadPolicy::NotText));
        assert_eq!(parse(&"\n".repeat(POLICY_BYTES_MAX + 1)), Err(BadPolicy::TooLong));
        assert_eq!(
            parse(&"\n".repeat(POLICY_BYTES_MAX)),
            Err(BadPolicy::Missing("version"))
        );
    }

    // proves: 8461-4.1-1 8461-4.1-2 8461-3.2-7 8461-3.2-8
    #[test]
    fn patterns_and_hosts() {
        let rows = [
            ("mail.example.com", "mail.example.com", Listed::Yes),
            ("mail.example.com", "MAIL.Example.COM.", Listed::Yes),
            ("MAIL.example.com", "mail.example.com", Listed::Yes),
            ("mail.example.com", "example.com", Listed::No),
            ("mail.example.com", "a.mail.example.com", Listed::No),
            ("*.example.com", "mail.example.com", Listed::Yes),
            ("*.EXAMPLE.com", "mail.example.com", Listed::Yes),
            ("*.example.com", "example.com", Listed::No),
            ("*.example.com", "a.b.example.com", Listed::No),
            ("*.example.com", "mailexample.com", Listed::No),
            ("*.com", "example.com", Listed::Yes),
            ("*.com", "com", Listed::No),
            ("xn--bcher-kva.example", "xn--bcher-kva.example", Listed::Yes),
            ("xn--bcher-kva.example", "bücher.example", Listed::Yes),
            ("mail.example.com", "[192.0.2.1]", Listed::No),
        ];
        for (pattern, name, expected) in rows {
            let policy = Policy {
                mode: Mode::Enforce,
                mx: vec![pattern.parse().unwrap()],
                max_age: MAX_AGE_MAX,
            };
            assert_eq!(policy.lists(&host(name)), expected, "{pattern} {name}");
        }
    }
}
