//! Addresses: what is read prints as something that reads the same, and has the shape that its type promises.

use mail::{Domain, Host, LocalPart, Mailbox};

/// Checks one text as each kind of address.
pub fn check(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else {
        return;
    };
    if let Ok(domain) = Domain::parse(text) {
        let name = domain.as_str();
        assert!(
            name.len() <= 253
                && name.is_ascii()
                && !name.ends_with('.')
                && !name.contains(char::is_uppercase)
        );
        assert_eq!(Domain::parse(name).as_ref(), Ok(&domain), "{name}");
        assert_eq!(
            Domain::parse(&domain.to_unicode()).as_ref(),
            Ok(&domain),
            "{}",
            domain.to_unicode()
        );
        assert!(domain.is_within(&domain));
    }
    if let Ok(host) = Host::parse(text) {
        assert_eq!(Host::parse(&host.to_string()).as_ref(), Ok(&host), "{host}");
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
        assert_eq!(Mailbox::parse(mailbox.as_str()).as_ref(), Ok(&mailbox));
        let again = Mailbox::new(mailbox.local().clone(), mailbox.host().clone());
        assert_eq!(
            Mailbox::parse(again.as_str()).as_ref(),
            Ok(&mailbox),
            "{}",
            again.as_str()
        );
        match mailbox.to_ascii() {
            Some(ascii) => {
                assert!(ascii.is_ascii() && !mailbox.needs_utf8());
                assert_eq!(Mailbox::parse(&ascii).as_ref(), Ok(&mailbox), "{ascii}");
            }
            None => assert!(mailbox.needs_utf8()),
        }
    }
}
