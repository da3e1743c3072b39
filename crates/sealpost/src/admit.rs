//! May it enter? Asked at MAIL and at each RCPT.
//!
//! Plain decisions on what is known of the client, the address and the names that were looked up. Never looks up,
//! waits or logs. There is no spelling by which a stranger can send through this server: a local part is never read
//! as a route, and what looks like one is refused.

use std::net::IpAddr;
use std::sync::Arc;

use mail::{
    Class, Domain, EnhancedStatus, Fingerprint, Host, Mailbox, Recipient, Reply, ReversePath, TlsFacts,
};

use crate::config::Role;
use crate::config::server::Server;
use crate::config::units::Network;
use crate::local::{Directory, Knows};
use crate::ports::{Mx, NoAnswer};

/// Who may send what, as configured.
#[derive(Clone, Debug)]
pub struct Policy {
    directory: Arc<Directory>,
    relay_from: Vec<Network>,
    relay_certificates: Vec<Fingerprint>,
    check_sender_domain: bool,
}

/// What a client may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Send to any domain: it is in a named network or showed a named certificate.
    Relay,
    /// Send to local domains.
    Local,
    /// Nothing before it has proven who it is: a stranger at a submission port (RFC 8314 §3.3).
    Nothing,
}

/// What must be looked up before an answer to MAIL or RCPT.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Admission {
    /// It may enter.
    Welcome,
    /// Whether it may enter hangs on the mail exchangers of this domain.
    Ask(Domain),
    /// It may not.
    Refused(Reply),
}

impl Policy {
    /// The rules of a configuration.
    pub fn new(server: &Server, directory: Arc<Directory>) -> Policy {
        Policy {
            directory,
            relay_from: server.relay_from.clone(),
            relay_certificates: server.relay_certificates.clone(),
            check_sender_domain: server.check_sender_domain,
        }
    }

    /// What a client may do. A certificate counts because the handshake proved that the client holds its key.
    pub fn standing(&self, client: IpAddr, role: Role, tls: Option<&TlsFacts>) -> Standing {
        let shown = tls.and_then(|facts| facts.chain.first());
        if self.is_named_network(client) || shown.is_some_and(|shown| self.relay_certificates.contains(shown))
        {
            return Standing::Relay;
        }
        match role {
            Role::Mx => Standing::Local,
            Role::Submission | Role::Submissions => Standing::Nothing,
        }
    }

    /// Whether an address lies in a network that may relay.
    pub fn is_named_network(&self, client: IpAddr) -> bool {
        self.relay_from.iter().any(|network| network.holds(client))
    }

    /// MAIL: may this sender send?
    pub fn mail(&self, standing: Standing, sender: &ReversePath) -> Admission {
        match (standing, sender) {
            (Standing::Nothing, _) => Admission::Refused(AUTHENTICATION_REQUIRED),
            (Standing::Relay, _) | (Standing::Local, ReversePath::Null) => Admission::Welcome,
            (Standing::Local, ReversePath::Mailbox(mailbox)) => match mailbox.host() {
                Host::Name(domain) if self.check_sender_domain && !self.directory.serves(mailbox.host()) => {
                    Admission::Ask(domain.clone())
                }
                Host::Name(_) | Host::Literal(_) => Admission::Welcome,
            },
        }
    }

    /// RCPT: may the client send to this recipient?
    pub fn rcpt(&self, standing: Standing, recipient: &Recipient) -> Admission {
        let mailbox = &recipient.mailbox;
        match (standing, self.directory.knows(mailbox)) {
            (Standing::Nothing, _) => Admission::Refused(AUTHENTICATION_REQUIRED),
            (Standing::Local, Knows::Elsewhere) => Admission::Refused(no_relay(mailbox)),
            (Standing::Local, Knows::Known | Knows::Unknown) if looks_like_a_route(mailbox) => {
                Admission::Refused(no_relay(mailbox))
            }
            (Standing::Local | Standing::Relay, Knows::Unknown) => Admission::Refused(Reply::new(
                550,
                EnhancedStatus::new(Class::Permanent, 1, 1),
                format!("<{mailbox}> no such mailbox here"),
            )),
            (Standing::Local | Standing::Relay, Knows::Known) => Admission::Welcome,
            (Standing::Relay, Knows::Elsewhere) => match mailbox.host() {
                Host::Name(domain) => Admission::Ask(domain.clone()),
                Host::Literal(_) => Admission::Welcome,
            },
        }
    }
}

/// What is known of a domain's way to take mail.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Reachable {
    /// It names hosts, or is one.
    Yes,
    /// It says that it takes no mail (RFC 7505).
    NullMx,
    /// It does not exist, or has neither mail exchangers nor addresses.
    No,
    /// Could not find out.
    Unknown(Box<str>),
}

/// Reads the look-ups of a domain: its mail exchangers and, where it has none, its addresses.
pub fn reachable(mx: Result<&[Mx], &NoAnswer>, addresses: Option<Result<(), &NoAnswer>>) -> Reachable {
    match (mx, addresses) {
        (Ok([Mx { exchange: None, .. }]), _) => Reachable::NullMx,
        (Ok(_), _) | (Err(NoAnswer::NoRecords(_)), Some(Ok(()))) => Reachable::Yes,
        (Err(NoAnswer::NoSuchName(_)), _) => Reachable::No,
        (Err(NoAnswer::NoRecords(_)), Some(Err(NoAnswer::NoSuchName(_) | NoAnswer::NoRecords(_)))) => {
            Reachable::No
        }
        (Err(NoAnswer::Failed(why)), _) | (Err(NoAnswer::NoRecords(_)), Some(Err(NoAnswer::Failed(why)))) => {
            Reachable::Unknown(why.clone())
        }
        (Err(NoAnswer::NoRecords(_)), None) => Reachable::Unknown("its addresses were not looked up".into()),
    }
}

/// A sender whose domain can take no report is refused (RFC 7505 §4.2, RFC 7372-like status codes of the registry).
pub fn sender_refusal(domain: &Domain, found: &Reachable) -> Option<Reply> {
    let (code, class, subject, detail, why) = match found {
        Reachable::Yes => return None,
        Reachable::NullMx => (
            550,
            Class::Permanent,
            7,
            27,
            "says that it takes no mail (RFC 7505)",
        ),
        Reachable::No => (550, Class::Permanent, 1, 8, "does not exist or has no hosts"),
        Reachable::Unknown(_) => (451, Class::Transient, 4, 3, "cannot be looked up now"),
    };
    let text = format!("sender domain {domain} {why}");
    Some(Reply::new(
        code,
        EnhancedStatus::new(class, subject, detail),
        text,
    ))
}

/// A recipient whose domain takes no mail is refused at once (RFC 7505 §4.1). Everything else is routing's business,
/// where a look-up can be tried again.
pub fn recipient_refusal(mailbox: &Mailbox, found: &Reachable) -> Option<Reply> {
    match found {
        Reachable::NullMx => Some(Reply::new(
            556,
            EnhancedStatus::new(Class::Permanent, 1, 10),
            format!("<{mailbox}> its domain says that it takes no mail (RFC 7505)"),
        )),
        Reachable::Yes | Reachable::No | Reachable::Unknown(_) => None,
    }
}

/// The percent hack, a bang path, or a second `@` in quotes: words for another host behind our back (RFC 2505 §2.1).
fn looks_like_a_route(mailbox: &Mailbox) -> bool {
    mailbox.local().as_str().contains(['%', '!', '@'])
}

fn no_relay(mailbox: &Mailbox) -> Reply {
    let text = format!("<{mailbox}> this server does not relay for you");
    Reply::new(550, EnhancedStatus::new(Class::Permanent, 7, 1), text)
}

/// RFC 4954 §6, RFC 8314 §3.3.
const AUTHENTICATION_REQUIRED: Reply = Reply::fixed(
    530,
    EnhancedStatus::new(Class::Permanent, 7, 0),
    "authentication required",
);

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Config, Domains};
    use crate::ports::Denial;

    const STRANGER: &str = "203.0.113.9";
    const FRIEND: &str = "10.1.2.3";
    const SHOWN: Fingerprint = Fingerprint([7; 32]);

    fn policy() -> Policy {
        let text = "[server]\nrelay_from = [\"10.0.0.0/8\"]\n[local]\ndomains = [\"here.example\", \"also.example\"]\nmailboxes = [\"ann\"]\n";
        let mut config = Config::parse(text, "test").unwrap();
        config.server.relay_certificates = vec![SHOWN];
        build(&config)
    }

    fn build(config: &Config) -> Policy {
        let me = Domain::parse("mx.here.example").unwrap();
        let directory = Directory::build(&config.local, &me, Path::new("/mail"), "").unwrap();
        let directory = directory.with_addresses(vec!["192.0.2.1".parse().unwrap()]);
        Policy::new(&config.server, Arc::new(directory))
    }

    fn recipient(address: &str) -> Recipient {
        Recipient {
            mailbox: Mailbox::parse(address).unwrap(),
            notify: None,
            original: None,
        }
    }

    fn code(admission: Admission) -> String {
        match admission {
            Admission::Welcome => "welcome".to_owned(),
            Admission::Ask(domain) => format!("ask {domain}"),
            Admission::Refused(reply) => format!("{} {}", reply.code(), reply.status().unwrap()),
        }
    }

    // proves: 5321-3.6.2-1 5321-7.9-1 5321-4.5.1-2
    #[test]
    fn strangers_reach_local_mailboxes_only_by_any_spelling() {
        let policy = policy();
        let standing = policy.standing(STRANGER.parse().unwrap(), Role::Mx, None);
        assert_eq!(standing, Standing::Local);
        let rows = [
            ("ann@here.example", "welcome"),
            ("ANN@also.example", "welcome"),
            ("postmaster@here.example", "welcome"),
            ("PostMaster@also.example", "welcome"),
            ("postmaster@mx.here.example", "welcome"),
            ("bob@here.example", "550 5.1.1"),
            ("ann@[192.0.2.1]", "welcome"),
            ("ann@[192.0.2.2]", "550 5.7.1"),
            ("bob@there.example", "550 5.7.1"),
            ("postmaster@there.example", "550 5.7.1"),
            ("bob%there.example@here.example", "550 5.7.1"),
            ("there.example!bob@here.example", "550 5.7.1"),
            ("\"bob@there.example\"@here.example", "550 5.7.1"),
            ("\"bob@there.example\"@[192.0.2.1]", "550 5.7.1"),
            ("postmaster%there.example@here.example", "550 5.7.1"),
            ("ann@sub.here.example", "550 5.7.1"),
            ("ann@here.example.there.example", "550 5.7.1"),
        ];
        for (address, expected) in rows {
            assert_eq!(
                code(policy.rcpt(standing, &recipient(address))),
                expected,
                "{address}"
            );
        }
    }

    // proves: 3207-4-7 2487-5-6
    #[test]
    fn named_networks_and_named_certificates_may_relay() {
        let policy = policy();
        let facts = |chain| TlsFacts {
            version: mail::TlsVersion::V1_3,
            cipher: "TLS_AES_256_GCM_SHA384".into(),
            group: None,
            chain,
            subject: None,
            server_name: None,
        };
        let (named, other) = (facts(vec![SHOWN]), facts(vec![Fingerprint([8; 32]), SHOWN]));
        let rows = [
            (FRIEND, Role::Mx, None, Standing::Relay),
            (FRIEND, Role::Submission, None, Standing::Relay),
            ("::ffff:10.0.0.1", Role::Mx, None, Standing::Relay),
            (STRANGER, Role::Mx, Some(&named), Standing::Relay),
            (STRANGER, Role::Mx, Some(&other), Standing::Local),
            (STRANGER, Role::Submissions, Some(&other), Standing::Nothing),
            (STRANGER, Role::Submission, None, Standing::Nothing),
        ];
        for (client, role, tls, expected) in rows {
            assert_eq!(
                policy.standing(client.parse().unwrap(), role, tls),
                expected,
                "{client} {role:?}"
            );
        }
        assert_eq!(
            code(policy.rcpt(Standing::Relay, &recipient("bob@there.example"))),
            "ask there.example"
        );
        assert_eq!(
            code(policy.rcpt(Standing::Relay, &recipient("bob@[192.0.2.9]"))),
            "welcome"
        );
        assert_eq!(
            code(policy.rcpt(Standing::Relay, &recipient("bob@here.example"))),
            "550 5.1.1"
        );
        assert_eq!(
            code(policy.rcpt(Standing::Local, &recipient("bob@there.example"))),
            "550 5.7.1"
        );
    }

    // proves: 8314-7.3-1
    #[test]
    fn strangers_at_submission_ports_get_nowhere() {
        let policy = policy();
        for address in ["ann@here.example", "bob@there.example", "postmaster@here.example"] {
            assert_eq!(
                code(policy.rcpt(Standing::Nothing, &recipient(address))),
                "530 5.7.0"
            );
        }
        assert_eq!(
            code(policy.mail(Standing::Nothing, &ReversePath::Null)),
            "530 5.7.0"
        );
    }

    #[test]
    fn senders_of_strangers_are_looked_up() {
        let policy = policy();
        let from = |address: &str| ReversePath::Mailbox(Mailbox::parse(address).unwrap());
        assert_eq!(
            code(policy.mail(Standing::Local, &from("a@there.example"))),
            "ask there.example"
        );
        assert_eq!(
            code(policy.mail(Standing::Local, &from("a@here.example"))),
            "welcome"
        );
        assert_eq!(
            code(policy.mail(Standing::Local, &from("a@[192.0.2.9]"))),
            "welcome"
        );
        assert_eq!(code(policy.mail(Standing::Local, &ReversePath::Null)), "welcome");
        assert_eq!(
            code(policy.mail(Standing::Relay, &from("a@there.example"))),
            "welcome"
        );
    }

    // proves: 7505-4.1-1 7505-4.1-2
    #[test]
    fn what_was_looked_up_decides() {
        let exchanger = |name: Option<&str>| Mx {
            preference: 0,
            exchange: name.map(|name| Domain::parse(name).unwrap()),
        };
        let failed = NoAnswer::Failed("SERVFAIL".into());
        let real = [exchanger(Some("mx.there.example"))];
        let both = [exchanger(None), exchanger(Some("mx.there.example"))];
        let null = [exchanger(None)];
        let rows: [(Result<&[Mx], &NoAnswer>, _, _, _); 8] = [
            (Ok(&real), None, None, None),
            (Ok(&null), None, Some("550 5.7.27"), Some("556 5.1.10")),
            (Ok(&both), None, None, None),
            (
                Err(&NoAnswer::NoSuchName(Denial::Insecure)),
                None,
                Some("550 5.1.8"),
                None,
            ),
            (
                Err(&NoAnswer::NoRecords(Denial::Insecure)),
                Some(Ok(())),
                None,
                None,
            ),
            (
                Err(&NoAnswer::NoRecords(Denial::Insecure)),
                Some(Err(&NoAnswer::NoRecords(Denial::Insecure))),
                Some("550 5.1.8"),
                None,
            ),
            (
                Err(&NoAnswer::NoRecords(Denial::Insecure)),
                Some(Err(&failed)),
                Some("451 4.4.3"),
                None,
            ),
            (Err(&failed), None, Some("451 4.4.3"), None),
        ];
        let domain = Domain::parse("there.example").unwrap();
        let mailbox = Mailbox::parse("bob@there.example").unwrap();
        let short =
            |reply: Option<Reply>| reply.map(|reply| format!("{} {}", reply.code(), reply.status().unwrap()));
        for (mx, addresses, sender, recipient) in rows {
            let found = reachable(mx, addresses);
            assert_eq!(
                short(sender_refusal(&domain, &found)).as_deref(),
                sender,
                "{mx:?}"
            );
            assert_eq!(
                short(recipient_refusal(&mailbox, &found)).as_deref(),
                recipient,
                "{mx:?}"
            );
        }
    }

    #[test]
    fn without_a_configuration_every_domain_is_local() {
        let config = Config::default_loopback();
        assert_eq!(config.local.domains, Domains::Every);
        let policy = build(&config);
        let standing = policy.standing("127.0.0.1".parse().unwrap(), Role::Submission, None);
        for address in ["you@anything.test", "a%b@c.example", "x@[192.0.2.77]"] {
            assert_eq!(
                code(policy.rcpt(standing, &recipient(address))),
                "welcome",
                "{address}"
            );
        }
    }
}
