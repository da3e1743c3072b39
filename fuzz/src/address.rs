//! Addresses: what is read prints as something that reads the same, and has the shape that its type promises.

use mail::{Domain, Host, LocalPart, Mailbox};

/// Longest domain in octets (RFC 5321 §4.5.3.1.2). Its U-labels may print longer than it may be written on the wire.
const DOMAIN_BYTES_MAX: usize = 255;
/// Longest mailbox (§4.5.3.1.3). With A-labels for U-labels it may print longer.
const MAILBOX_BYTES_MAX: usize = 254;

/// Checks one text as each kind of address.
pub fn check(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    if let Ok(domain) = Domain::parse(text) {
        check_domain(&domain);
    }
    if let Ok(host) = Host::parse(text) {
        let printed = host.to_string();
        assert!(
            printed.len() > DOMAIN_BYTES_MAX || Host::parse(&printed).as_ref() == Ok(&host),
            "{printed}"
        );
    }
    if let Ok(local) = LocalPart::parse(text) {
        assert!(local.as_str().len() <= 64 && !local.as_str().contains(['\r', '\n', '\0']));
        assert_eq!(
            LocalPart::parse(&local.to_string()).as_ref(),
            Ok(&local),
            "{local}"
        );
    }
    if let Ok(mailbox) = Mailbox::parse(text) {
        assert_eq!(mailbox.as_str(), text);
        check_mailbox(&mailbox);
    }
}

fn check_domain(domain: &Domain) {
    let name = domain.as_str();
    assert!(name.len() <= DOMAIN_BYTES_MAX && name.is_ascii() && !name.ends_with('.'));
    assert!(!name.contains(char::is_uppercase), "{name}");
    assert_eq!(Domain::parse(name).as_ref(), Ok(domain), "{name}");
    let unicode = domain.to_unicode();
    assert!(
        unicode.len() > DOMAIN_BYTES_MAX || Domain::parse(&unicode).as_ref() == Ok(domain),
        "{unicode}"
    );
    assert!(domain.is_within(domain));
}

fn check_mailbox(mailbox: &Mailbox) {
    let same = |text: &str| text.len() > MAILBOX_BYTES_MAX || Mailbox::parse(text).as_ref() == Ok(mailbox);
    let again = Mailbox::new(mailbox.local().clone(), mailbox.host().clone());
    assert!(
        same(mailbox.as_str()) && same(again.as_str()),
        "{}",
        again.as_str()
    );
    match mailbox.to_ascii() {
        Some(ascii) => assert!(
            ascii.is_ascii() && !mailbox.needs_utf8() && same(&ascii),
            "{ascii}"
        ),
        None => assert!(mailbox.needs_utf8()),
    }
}
