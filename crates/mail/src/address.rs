//! Addresses: RFC 5321 §4.1.2 and §4.1.3, widened by RFC 6531 §3.3 to UTF-8 local parts and U-labels.
//!
//! A value of these types is well-formed; `parse` is the only way to make one. What a peer wrote is kept beside
//! what it means, because a relay passes addresses on as they came (RFC 5321 §2.3.11).

use std::fmt;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use icu_properties::props::GeneralCategory;
use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

/// A domain name: lower-case A-labels, no final dot, at most 255 octets (RFC 5321 §4.5.3.1.2, RFC 5890). The DNS
/// ends at 253 (RFC 1035 §2.3.4), so a longer one is a name that no look-up finds.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Domain(Box<str>);

/// The part of an address before the `@`, unquoted, its letter case kept (RFC 5321 §2.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LocalPart(Box<str>);

/// A host as SMTP names it: a domain, or an address literal (RFC 5321 §4.1.3).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Host {
    /// A name to look up.
    Name(Domain),
    /// An address to connect to as it stands.
    Literal(IpAddr),
}

/// `local-part@host`. Equality, order and hash look at the meaning (local part and host); printing gives the
/// spelling in which the address was received.
#[derive(Clone, Debug)]
pub struct Mailbox {
    written: Box<str>,
    local: LocalPart,
    host: Host,
}

/// Where failure reports go (RFC 5321 §4.5.5): nowhere, or to a mailbox.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ReversePath {
    /// `<>`: reports and other mail that must not be answered.
    Null,
    /// An ordinary sender.
    Mailbox(Mailbox),
}

/// Why a text is not the address, domain or literal it was taken for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BadAddress {
    /// Nothing where something must stand.
    Empty,
    /// Longer than RFC 5321 §4.5.3.1 allows (local part 64, domain 255, path without brackets 254 octets; a label
    /// 63, RFC 1035 §2.3.4).
    TooLong,
    /// An octet or sequence that the grammar does not have at this place.
    Syntax,
    /// A label that is no valid A-label or U-label (RFC 5891), or holds an underscore or the like.
    Label,
    /// An address literal that is no IPv4 or IPv6 address.
    Literal,
    /// No `@` and thus no host.
    NoHost,
}

impl Domain {
    /// Reads a domain in A-labels or U-labels, with or without a final dot, in any letter case.
    pub fn parse(text: &str) -> Result<Domain, BadAddress> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let name = if text.is_ascii() && !text.split('.').any(is_a_label) {
            text.to_ascii_lowercase()
        } else {
            to_a_labels(text)?
        };
        check_ldh(&name)?;
        Ok(Domain(name.into()))
    }

    /// The name in lower-case A-labels.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name with U-labels where it has any, for people and for SMTPUTF8 trace fields.
    pub fn to_unicode(&self) -> String {
        let (unicode, _valid_since_parse) =
            Uts46::new().to_unicode(self.0.as_bytes(), AsciiDenyList::EMPTY, Hyphens::Allow);
        unicode.into_owned()
    }

    /// Whether this is `other` or a name below it.
    pub fn is_within(&self, other: &Domain) -> bool {
        self.0
            .strip_suffix(other.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    }
}

impl LocalPart {
    /// Reads a dot-string or quoted string, in ASCII or UTF-8 (RFC 6531 §3.3). Quotes that are not needed vanish.
    pub fn parse(text: &str) -> Result<LocalPart, BadAddress> {
        if text.is_empty() {
            return Err(BadAddress::Empty);
        }
        if text.len() > LOCAL_PART_BYTES_MAX {
            return Err(BadAddress::TooLong);
        }
        match text.strip_prefix('"') {
            Some(quoted) => Ok(LocalPart(unquote(quoted)?.into())),
            None if is_dot_string(text) => Ok(LocalPart(text.into())),
            None => Err(BadAddress::Syntax),
        }
    }

    /// The local part without quotes or escapes.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Host {
    /// Reads a domain or `[192.0.2.1]`, `[IPv6:2001:db8::1]`. Strictly as RFC 5321 §4.1.2 has it: no final dot.
    pub fn parse(text: &str) -> Result<Host, BadAddress> {
        if text.is_empty() {
            return Err(BadAddress::Empty);
        }
        match text.strip_prefix('[') {
            Some(rest) => {
                let inner = rest.strip_suffix(']').ok_or(BadAddress::Literal)?;
                literal(inner).map(Host::Literal).ok_or(BadAddress::Literal)
            }
            None if text.ends_with('.') => Err(BadAddress::Syntax),
            None => Domain::parse(text).map(Host::Name),
        }
    }

    /// The domain, if this host has a name.
    pub fn name(&self) -> Option<&Domain> {
        match self {
            Host::Name(domain) => Some(domain),
            Host::Literal(_) => None,
        }
    }
}

impl Mailbox {
    /// Reads `local-part@host` without angle brackets or a source route.
    pub fn parse(text: &str) -> Result<Mailbox, BadAddress> {
        if text.is_empty() {
            return Err(BadAddress::Empty);
        }
        if text.len() > MAILBOX_BYTES_MAX {
            return Err(BadAddress::TooLong);
        }
        let (local, host) = text.split_at(local_part_end(text).ok_or(BadAddress::NoHost)?);
        let host = host.strip_prefix('@').ok_or(BadAddress::Syntax)?;
        if host.is_empty() {
            return Err(BadAddress::NoHost);
        }
        Ok(Mailbox {
            local: LocalPart::parse(local)?,
            host: Host::parse(host)?,
            written: text.into(),
        })
    }

    /// Puts an address together from its parts, spelled canonically.
    pub fn new(local: LocalPart, host: Host) -> Mailbox {
        Mailbox {
            written: format!("{local}@{host}").into(),
            local,
            host,
        }
    }

    /// The part before the `@`.
    pub fn local(&self) -> &LocalPart {
        &self.local
    }

    /// The part behind the `@`.
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The address as it was received.
    pub fn as_str(&self) -> &str {
        &self.written
    }

    /// Whether the address cannot be spelled in ASCII, so that only an SMTPUTF8 peer can take it: its local part
    /// has UTF-8. A U-label domain alone does not count, since it has an A-label form.
    pub fn needs_utf8(&self) -> bool {
        !self.local.0.is_ascii()
    }

    /// The address in ASCII (A-labels), unless its local part forbids that. Written in ASCII, it stays as written.
    pub fn to_ascii(&self) -> Option<String> {
        if self.needs_utf8() {
            None
        } else if self.written.is_ascii() {
            Some(self.written.to_string())
        } else {
            Some(format!("{}@{}", self.local, self.host))
        }
    }
}

/// Where the local part ends: at the `@` behind a quoted string, else at the first one.
fn local_part_end(text: &str) -> Option<usize> {
    if !text.starts_with('"') {
        return text.find('@');
    }
    let mut octets = text.bytes().enumerate().skip(1);
    while let Some((at, octet)) = octets.next() {
        match octet {
            b'\\' => drop(octets.next()),
            b'"' => return (at + 1 < text.len()).then_some(at + 1),
            _ => {}
        }
    }
    None
}

/// Atoms with single dots between them. RFC 6531 §3.3 adds all of UTF-8 to atext.
fn is_dot_string(text: &str) -> bool {
    text.split('.')
        .all(|atom| !atom.is_empty() && atom.chars().all(|c| is_atext(c) || is_utf8_text(c)))
}

/// RFC 5322 §3.2.3.
fn is_atext(c: char) -> bool {
    c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~".contains(c)
}

/// UTF8-non-ascii of RFC 6531 §3.3 without the C1 control characters, which no line of text may hold
/// (RFC 5198 §2).
fn is_utf8_text(c: char) -> bool {
    c > '\u{9f}'
}

/// The meaning of a quoted string behind its opening quote: qtextSMTP, quoted-pairSMTP (RFC 5321 §4.1.2), UTF-8.
fn unquote(quoted: &str) -> Result<String, BadAddress> {
    let inner = quoted.strip_suffix('"').ok_or(BadAddress::Syntax)?;
    let mut meaning = String::with_capacity(inner.len());
    let mut chars = inner.chars();
    while let Some(c) = chars.next() {
        meaning.push(match c {
            '\\' => chars
                .next()
                .filter(|c| (' '..='~').contains(c))
                .ok_or(BadAddress::Syntax)?,
            '"' => return Err(BadAddress::Syntax),
            ' '..='~' => c,
            c if is_utf8_text(c) => c,
            _ => return Err(BadAddress::Syntax),
        });
    }
    Ok(meaning)
}

/// The inside of an address literal (RFC 5321 §4.1.3). Leading zeros in IPv4 are refused, since some systems read
/// them as octal. A tag other than `IPv6:` is registered nowhere.
fn literal(inner: &str) -> Option<IpAddr> {
    match inner.split_at_checked("IPv6:".len()) {
        Some((tag, address)) if tag.eq_ignore_ascii_case("IPv6:") => {
            address.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        }
        _ => inner.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

fn is_a_label(label: &str) -> bool {
    label
        .get(..4)
        .is_some_and(|prefix| prefix.eq_ignore_ascii_case("xn--"))
}

/// `sub-domain *("." sub-domain)` of RFC 5321 §4.1.2 and the length limits. Underscores are no part of it.
fn check_ldh(name: &str) -> Result<(), BadAddress> {
    if name.is_empty() {
        return Err(BadAddress::Empty);
    }
    if name.len() > DOMAIN_BYTES_MAX {
        return Err(BadAddress::TooLong);
    }
    name.split('.').try_for_each(|label| {
        if label.is_empty() {
            Err(BadAddress::Syntax)
        } else if label.len() > LABEL_BYTES_MAX {
            Err(BadAddress::TooLong)
        } else if label.starts_with('-')
            || label.ends_with('-')
            || !label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            Err(BadAddress::Label)
        } else {
            Ok(())
        }
    })
}

/// Turns U-labels to A-labels and checks both kinds by RFC 5891 §5. UTS 46 maps letter case and width first, as
/// RFC 5895 suggests; what it lets through beyond IDNA 2008 (symbols, emoji, dots of other scripts) is refused.
fn to_a_labels(text: &str) -> Result<String, BadAddress> {
    if text.len() > DOMAIN_BYTES_MAX {
        return Err(BadAddress::TooLong);
    }
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::STD3,
            Hyphens::Allow,
            DnsLength::Ignore,
        )
        .map_err(|_| BadAddress::Label)?;
    // RFC 6531 §3.3: the dot of an address is U+002E alone.
    if ascii.matches('.').count() != text.matches('.').count() {
        return Err(BadAddress::Label);
    }
    let (unicode, valid) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::STD3, Hyphens::Allow);
    valid.map_err(|_| BadAddress::Label)?;
    let good = unicode
        .split('.')
        .all(|label| label.is_ascii() || is_u_label(label));
    if good {
        Ok(ascii.into_owned())
    } else {
        Err(BadAddress::Label)
    }
}

/// RFC 5891 §4.2.3 for a label that has passed UTS 46 with its checks of joiners and direction.
fn is_u_label(label: &str) -> bool {
    let hyphens =
        label.starts_with('-') || label.ends_with('-') || label.chars().skip(2).take(2).eq("--".chars());
    !hyphens && label.chars().all(is_permitted)
}

/// The derived property of RFC 5892 §3: PVALID, CONTEXTJ or CONTEXTO, for a character that UTS 46 leaves as it is.
/// CONTEXTO is let pass without its rule, as RFC 5891 §5.4 allows where names are looked up and not registered.
fn is_permitted(c: char) -> bool {
    match c {
        '-' => true,
        // Exceptions (F), the permitted half.
        '\u{df}' | '\u{3c2}' | '\u{6fd}' | '\u{6fe}' | '\u{f0b}' | '\u{3007}' => true,
        '\u{b7}' | '\u{375}' | '\u{5f3}' | '\u{5f4}' | '\u{30fb}' => true,
        // Exceptions (F), the disallowed half.
        '\u{640}' | '\u{7fa}' | '\u{302e}' | '\u{302f}' | '\u{3031}'..='\u{3035}' | '\u{303b}' => false,
        // IgnorableBlocks (D).
        '\u{20d0}'..='\u{20ff}' | '\u{1d100}'..='\u{1d24f}' => false,
        // OldHangulJamo (I).
        '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}' => false,
        // JoinControl (H).
        '\u{200c}' | '\u{200d}' => true,
        // LetterDigits (A).
        c => matches!(
            icu_properties::CodePointMapData::<GeneralCategory>::new().get(c),
            GeneralCategory::LowercaseLetter
                | GeneralCategory::UppercaseLetter
                | GeneralCategory::OtherLetter
                | GeneralCategory::ModifierLetter
                | GeneralCategory::NonspacingMark
                | GeneralCategory::SpacingMark
                | GeneralCategory::DecimalNumber
        ),
    }
}

impl PartialEq for Mailbox {
    fn eq(&self, other: &Self) -> bool {
        (&self.local, &self.host) == (&other.local, &other.host)
    }
}

impl Eq for Mailbox {}

impl PartialOrd for Mailbox {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Mailbox {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (&self.local, &self.host).cmp(&(&other.local, &other.host))
    }
}

impl std::hash::Hash for Mailbox {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        (&self.local, &self.host).hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// As a dot-string where that can be, else quoted with no more escapes than needed.
impl fmt::Display for LocalPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if is_dot_string(&self.0) {
            return f.write_str(&self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Host::Name(domain) => domain.fmt(f),
            Host::Literal(IpAddr::V4(address)) => write!(f, "[{address}]"),
            Host::Literal(IpAddr::V6(address)) => write!(f, "[IPv6:{address}]"),
        }
    }
}

impl fmt::Display for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.written)
    }
}

/// Without angle brackets: empty for the null path.
impl fmt::Display for ReversePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ReversePath::Null => Ok(()),
            ReversePath::Mailbox(mailbox) => mailbox.fmt(f),
        }
    }
}

impl fmt::Display for BadAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            BadAddress::Empty => "it is empty",
            BadAddress::TooLong => "it is too long",
            BadAddress::Syntax => "a character stands where it may not",
            BadAddress::Label => "a label of the domain is not valid",
            BadAddress::Literal => "the address literal is not valid",
            BadAddress::NoHost => "the part behind @ is missing",
        })
    }
}

impl std::error::Error for BadAddress {}

/// RFC 5321 §4.5.3.1.1.
const LOCAL_PART_BYTES_MAX: usize = 64;
/// RFC 5321 §4.5.3.1.2.
const DOMAIN_BYTES_MAX: usize = 255;
/// RFC 1035 §2.3.4.
const LABEL_BYTES_MAX: usize = 63;
/// RFC 5321 §4.5.3.1.3: a path has 256 octets, its two brackets included.
const MAILBOX_BYTES_MAX: usize = 254;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn domains() {
        let check = |text: &str, expected: Result<&str, BadAddress>| {
            let found = Domain::parse(text);
            assert_eq!(
                found.as_ref().map(Domain::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        };
        check("x.example", Ok("x.example"));
        check("X.EXAMPLE.", Ok("x.example"));
        check("localhost", Ok("localhost"));
        check("1.2.3.4", Ok("1.2.3.4"));
        check("r3---sn-abc.example", Ok("r3---sn-abc.example"));
        check("bücher.example", Ok("xn--bcher-kva.example"));
        check("BÜCHER.example", Ok("xn--bcher-kva.example"));
        check("XN--bcher-KVA.example", Ok("xn--bcher-kva.example"));
        check("例え.テスト", Ok("xn--r8jz45g.xn--zckzah"));
        check("straße.example", Ok("xn--strae-oqa.example"));
        check("l\u{b7}l.example", Ok("xn--ll-0ea.example"));
        check("", Err(BadAddress::Empty));
        check(".", Err(BadAddress::Empty));
        check("x..example", Err(BadAddress::Syntax));
        check(".x.example", Err(BadAddress::Syntax));
        check("x.example..", Err(BadAddress::Syntax));
        check("a_b.example", Err(BadAddress::Label));
        check("a_b.bücher.example", Err(BadAddress::Label));
        check("-a.example", Err(BadAddress::Label));
        check("a-.example", Err(BadAddress::Label));
        check("a b.example", Err(BadAddress::Label));
        check("a@b.example", Err(BadAddress::Label));
        check("a\0.example", Err(BadAddress::Label));
        check("-ü.example", Err(BadAddress::Label));
        check("ü-.example", Err(BadAddress::Label));
        check("üa--b.example", Err(BadAddress::Label));
        check("☃.example", Err(BadAddress::Label));
        check("xn--n3h.example", Err(BadAddress::Label));
        check("💌.example", Err(BadAddress::Label));
        check("xn--ls8h.example", Err(BadAddress::Label));
        check("xn--.example", Err(BadAddress::Label));
        check("xn--abc-.example", Err(BadAddress::Label));
        check("xn--999999999.example", Err(BadAddress::Label));
        check("x。example", Err(BadAddress::Label));
        check("\u{301}a.example", Err(BadAddress::Label));
        check("a\u{200d}b.example", Err(BadAddress::Label));
        check("a\u{640}b.example", Err(BadAddress::Label));
    }

    #[test]
    fn domain_lengths() {
        let label = "a".repeat(63);
        assert!(Domain::parse(&format!("{label}.example")).is_ok());
        assert_eq!(
            Domain::parse(&format!("{label}a.example")),
            Err(BadAddress::TooLong)
        );
        let name = format!("{label}.{label}.{label}.{label}");
        assert_eq!(name.len(), 255);
        assert!(Domain::parse(&name).is_ok());
        assert_eq!(Domain::parse(&format!("b.{name}")), Err(BadAddress::TooLong));
        assert_eq!(Domain::parse(&"ü".repeat(130)), Err(BadAddress::TooLong));
    }

    #[test]
    fn domains_within_domains() {
        let check = |inner: &str, outer: &str, expected: bool| {
            let (inner, outer) = (Domain::parse(inner).unwrap(), Domain::parse(outer).unwrap());
            assert_eq!(inner.is_within(&outer), expected, "{inner} in {outer}");
        };
        check("x.example", "x.example", true);
        check("a.x.example", "x.example", true);
        check("ax.example", "x.example", false);
        check("example", "x.example", false);
    }

    #[test]
    fn domains_for_people() {
        let check = |text: &str, expected: &str| {
            assert_eq!(Domain::parse(text).unwrap().to_unicode(), expected);
        };
        check("xn--bcher-kva.example", "bücher.example");
        check("x.example", "x.example");
    }

    #[test]
    fn local_parts() {
        let check = |text: &str, expected: Result<&str, BadAddress>| {
            let found = LocalPart::parse(text);
            assert_eq!(
                found.as_ref().map(LocalPart::as_str),
                expected.as_ref().copied(),
                "{text:?}"
            );
        };
        check("user", Ok("user"));
        check("User+Tag", Ok("User+Tag"));
        check("a.b", Ok("a.b"));
        check("!#$%&'*+-/=?^_`{|}~", Ok("!#$%&'*+-/=?^_`{|}~"));
        check("\"user\"", Ok("user"));
        check("\"\\u\\s\\e\\r\"", Ok("user"));
        check("\"a b\"", Ok("a b"));
        check("\"a..b\"", Ok("a..b"));
        check("\"a@b\"", Ok("a@b"));
        check("\"a\\\"b\"", Ok("a\"b"));
        check("\"\"", Ok(""));
        check("jürgen", Ok("jürgen"));
        check("\"jü rgen\"", Ok("jü rgen"));
        check("", Err(BadAddress::Empty));
        check(".a", Err(BadAddress::Syntax));
        check("a.", Err(BadAddress::Syntax));
        check("a..b", Err(BadAddress::Syntax));
        check("a b", Err(BadAddress::Syntax));
        check("a,b", Err(BadAddress::Syntax));
        check("a\"b", Err(BadAddress::Syntax));
        check("\"a", Err(BadAddress::Syntax));
        check("\"", Err(BadAddress::Syntax));
        check("\"a\"b\"", Err(BadAddress::Syntax));
        check("\"a\\\"", Err(BadAddress::Syntax));
        check("\"a\\ü\"", Err(BadAddress::Syntax));
        check("\"a\tb\"", Err(BadAddress::Syntax));
        check("a\u{7f}", Err(BadAddress::Syntax));
        check("\u{1}a", Err(BadAddress::Syntax));
        check("a\u{85}", Err(BadAddress::Syntax));
        check(&"a".repeat(65), Err(BadAddress::TooLong));
        assert!(LocalPart::parse(&"a".repeat(64)).is_ok());
    }

    #[test]
    fn hosts() {
        let check = |text: &str, expected: Result<&str, BadAddress>| {
            let found = Host::parse(text).map(|host| host.to_string());
            assert_eq!(found.as_deref(), expected.as_ref().copied(), "{text:?}");
        };
        check("X.example", Ok("x.example"));
        check("[192.0.2.1]", Ok("[192.0.2.1]"));
        check("[IPv6:2001:DB8:0::1]", Ok("[IPv6:2001:db8::1]"));
        check("[ipv6:::1]", Ok("[IPv6:::1]"));
        check("[IPv6:::ffff:192.0.2.1]", Ok("[IPv6:::ffff:192.0.2.1]"));
        check("", Err(BadAddress::Empty));
        check("x.example.", Err(BadAddress::Syntax));
        check("[1.2.3]", Err(BadAddress::Literal));
        check("[1.2.3.04]", Err(BadAddress::Literal));
        check("[1.2.3.256]", Err(BadAddress::Literal));
        check("[1.2.3.4", Err(BadAddress::Literal));
        check("[]", Err(BadAddress::Literal));
        check("[2001:db8::1]", Err(BadAddress::Literal));
        check("[IPv6:2001:db8::1%eth0]", Err(BadAddress::Literal));
        check("[IPv6:1.2.3.4]", Err(BadAddress::Literal));
        check("[x-tag:content]", Err(BadAddress::Literal));
        check("[IPv6ü]", Err(BadAddress::Literal));
    }

    #[test]
    fn mailboxes() {
        let check = |text: &str, expected: Result<(&str, &str), BadAddress>| {
            let found = Mailbox::parse(text);
            let parts = found
                .clone()
                .map(|mailbox| (mailbox.local().to_string(), mailbox.host().to_string()));
            let expected = expected.and_then(|(local, host)| {
                Ok((
                    LocalPart(local.into()).to_string(),
                    Host::parse(host)?.to_string(),
                ))
            });
            assert_eq!(parts, expected, "{text:?}");
            if let Ok(mailbox) = found {
                assert_eq!(mailbox.as_str(), text);
            }
        };
        check("User@X.example", Ok(("User", "x.example")));
        check("\"a@b\"@x.example", Ok(("a@b", "x.example")));
        check("\"a\\\"@b\"@x.example", Ok(("a\"@b", "x.example")));
        check("u@[192.0.2.1]", Ok(("u", "[192.0.2.1]")));
        check("é@bücher.example", Ok(("é", "xn--bcher-kva.example")));
        check("", Err(BadAddress::Empty));
        check("user", Err(BadAddress::NoHost));
        check("user@", Err(BadAddress::NoHost));
        check("\"user@x.example", Err(BadAddress::NoHost));
        check("\"user\"", Err(BadAddress::NoHost));
        check("@x.example", Err(BadAddress::Empty));
        check("\"u\"v@x.example", Err(BadAddress::Syntax));
        check("a@b@x.example", Err(BadAddress::Label));
        check("a b@x.example", Err(BadAddress::Syntax));
        check("u@x.example.", Err(BadAddress::Syntax));
        check("u@a_b.example", Err(BadAddress::Label));
        check("u%y.example@x.example", Ok(("u%y.example", "x.example")));
        let long = format!("{}@{}.{}", "l".repeat(64), "d".repeat(63), "e.".repeat(62) + "fg");
        assert_eq!(long.len(), 255);
        check(&long, Err(BadAddress::TooLong));
        assert!(Mailbox::parse(&long[1..]).is_ok());
    }

    // proves: 5321-4.1.2-1
    #[test]
    fn equality_is_of_meaning() {
        let check = |one: &str, other: &str, expected: bool| {
            let (one, other) = (Mailbox::parse(one).unwrap(), Mailbox::parse(other).unwrap());
            assert_eq!(one == other, expected, "{one} {other}");
        };
        check("\"user\"@x.example", "user@X.EXAMPLE", true);
        check("u@bücher.example", "u@xn--bcher-kva.example", true);
        check("u@[IPv6:::1]", "u@[IPv6:0:0:0:0:0:0:0:1]", true);
        check("User@x.example", "user@x.example", false);
        check("\"a b\"@x.example", "\"a\\ b\"@x.example", true);
    }

    #[test]
    fn spelling_in_ascii() {
        let check = |text: &str, expected: Option<&str>| {
            let mailbox = Mailbox::parse(text).unwrap();
            assert_eq!(mailbox.to_ascii().as_deref(), expected);
            assert_eq!(mailbox.needs_utf8(), expected.is_none());
        };
        check("\"u\"@X.example", Some("\"u\"@X.example"));
        check("u@bücher.example", Some("u@xn--bcher-kva.example"));
        check("\"u v\"@bücher.example", Some("\"u v\"@xn--bcher-kva.example"));
        check("é@x.example", None);
        check("\"é\"@x.example", None);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(text in "\\PC{0,70}") {
            let quoted: String = text.chars().flat_map(|c| match c {
                '"' | '\\' => vec!['\\', c],
                c => vec![c],
            }).collect();
            for spelled in [text.clone(), format!("\"{quoted}\"")] {
                let Ok(local) = LocalPart::parse(&spelled) else { continue };
                prop_assert_eq!(LocalPart::parse(&local.to_string()), Ok(local.clone()));
                let host = Host::parse("x.example").unwrap();
                let mailbox = Mailbox::new(local, host);
                prop_assert_eq!(Mailbox::parse(mailbox.as_str()), Ok(mailbox.clone()));
            }
        }

        #[test]
        fn domains_read_back(text in "([a-zA-Zßäéλ例0-9-]{1,6}\\.){0,4}[a-zA-Z]{1,6}") {
            if let Ok(domain) = Domain::parse(&text) {
                prop_assert_eq!(Domain::parse(domain.as_str()), Ok(domain.clone()));
                prop_assert_eq!(Domain::parse(&domain.to_unicode()), Ok(domain.clone()));
                prop_assert!(domain.as_str().is_ascii());
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,300}") {
            let _ = Mailbox::parse(&text);
            let _ = Host::parse(&text);
            let _ = LocalPart::parse(&text);
        }

        #[test]
        fn hosts_read_back(address in any::<std::net::IpAddr>()) {
            let host = Host::Literal(address);
            prop_assert_eq!(Host::parse(&host.to_string()), Ok(host));
        }
    }
}
