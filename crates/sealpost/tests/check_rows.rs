//! The judgements of `check`, as a table over made-up facts: what each combination of records and certificates comes to.
#![allow(clippy::unwrap_used)] // a test may panic

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Domain, Host, TlsFacts, TlsVersion};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use sealpost::check::facts::{Believed, Door, Facts, HostFacts, Inside, Offered, Shook, Showed};
use sealpost::check::published::{Reports, StsFacts};
use sealpost::check::{Audit, Level, Mark, audit};
use trust::dane::{Finding, Records, Tlsa};
use trust::sts::{Discovered, Id, Policy};
use trust::{Certificates, Origin, Presented, Roots};

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

const DAY: Duration = Duration::from_secs(86_400);

/// What signed the certificate of the host.
#[derive(Clone, Copy)]
enum Signed {
    ByRoot,
    ByItself,
}

/// A certificate for a name that ends so many days from now.
fn certificates(name: &str, days: u64, signed: Signed) -> Certificates {
    let (root_key, key) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    let mut root = CertificateParams::new(Vec::<String>::new()).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.not_before = (now() - 400 * DAY).into();
    root.not_after = (now() + 4000 * DAY).into();
    let trusted = root.clone().self_signed(&root_key).unwrap();
    let anchor = webpki_anchor(trusted.der());
    let mut own = CertificateParams::new(vec![name.to_owned()]).unwrap();
    own.not_before = (now() - 300 * DAY).into();
    own.not_after = (now() - 100 * DAY + u32::try_from(days + 100).unwrap() * DAY).into();
    let own = match signed {
        Signed::ByRoot => own.signed_by(&key, &Issuer::new(root, root_key)).unwrap(),
        Signed::ByItself => own.self_signed(&key).unwrap(),
    };
    let roots = Roots::new([anchor]);
    Certificates::examine(Presented::new([own.der().as_ref()]), &roots, now())
}

fn webpki_anchor(der: &rustls::pki_types::CertificateDer<'_>) -> rustls::pki_types::TrustAnchor<'static> {
    let mut store = rustls::RootCertStore::empty();
    store.add(der.clone().into_owned()).unwrap();
    store.roots.remove(0)
}

struct World {
    origin: Origin,
    certificates: Certificates,
    dane: Finding,
    sts: StsFacts,
}

fn world(certificates: Certificates) -> World {
    World {
        origin: Origin::Unproven,
        certificates,
        dane: Finding::Absent,
        sts: StsFacts {
            discovered: Discovered::Absent,
            policy: None,
        },
    }
}

impl World {
    fn audit(self) -> Audit {
        let host = Host::parse("mx.b.example").unwrap();
        let shook = Shook {
            facts: TlsFacts {
                version: TlsVersion::V1_3,
                cipher: "TLS_AES_256_GCM_SHA384".into(),
                group: Some("x25519".into()),
                chain: Vec::new(),
                subject: None,
                server_name: None,
            },
            certificates: self.certificates,
            inside: Ok(Inside { requiretls: false }),
        };
        let offered = Offered {
            newest: Ok(shook),
            older: Err("alert 70".into()),
        };
        let facts = HostFacts {
            preference: Some(10),
            origin: self.origin,
            addresses: Believed::Proven,
            dane: self.dane,
            sts: self.sts.finding(&host),
            doors: vec![Door {
                address: "192.0.2.1:25".parse().unwrap(),
                showed: Showed::Offered(Box::new(offered)),
            }],
            host,
        };
        audit(&Facts {
            domain: Domain::parse("a.example").unwrap(),
            at: now(),
            hosts: Ok(vec![facts]),
            remarks: Vec::new(),
            resolver: sealpost::resolver::Verdict::Works,
            sts: self.sts,
            reports: Reports::Absent,
        })
    }
}

fn records(usage: u8, association: &[u8]) -> Finding {
    let record = Tlsa {
        usage,
        selector: 1,
        matching: 1,
        association: association.into(),
    };
    let base = Domain::parse("mx.b.example").unwrap();
    Finding::Published(Arc::new(Records::new(base, [record], Vec::new())))
}

fn policy(mode: &str, mx: &str) -> StsFacts {
    let text = format!("version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: 2592000\n");
    StsFacts {
        discovered: Discovered::Published(Id::parse("7").unwrap()),
        policy: Some(Ok(Policy::parse(text.as_bytes()).unwrap())),
    }
}

/// The mark of the worst row about something; good if there is none.
fn mark(audit: &Audit, about: &str) -> Mark {
    let about = audit.rows.iter().filter(|row| row.about == about);
    about.map(|row| row.mark).max().unwrap_or(Mark::Good)
}

fn sends(audit: &Audit) -> bool {
    audit.hosts[0].addresses[0].would.as_ref().unwrap().send
}

#[test]
fn dane_decides_over_all_certificates() {
    let own = || certificates("other.example", 90, Signed::ByItself);
    let shown = own();
    let key = shown.key().unwrap().0;
    let rows = [
        (records(3, &key), Mark::Good, Level::Dane, true, "verified"),
        (
            records(3, &[1; 32]),
            Mark::Fault,
            Level::Encrypt,
            false,
            "verified",
        ),
        (records(1, &key), Mark::Fault, Level::Encrypt, true, "encrypted"),
        (Finding::Absent, Mark::Note, Level::Encrypt, true, "opportunistic"),
        (
            Finding::Failed("SERVFAIL".into()),
            Mark::Unknown,
            Level::Encrypt,
            false,
            "nothing goes to this host",
        ),
    ];
    for (dane, expected, level, send, demand) in rows {
        let audit = World {
            origin: Origin::Proven,
            dane: dane.clone(),
            ..world(shown.clone())
        }
        .audit();
        assert_eq!(
            (mark(&audit, "TLSA"), audit.level, sends(&audit)),
            (expected, Some(level), send),
            "{dane:?}"
        );
        assert_eq!(
            audit.hosts[0].addresses[0].would.as_ref().unwrap().demand,
            demand,
            "{dane:?}"
        );
        if expected == Mark::Fault {
            let row = audit.rows.iter().find(|row| row.about == "TLSA").unwrap();
            let record = format!("_25._tcp.mx.b.example. IN TLSA 3 1 1 {}", shown.key().unwrap());
            assert!(row.remedy.as_ref().unwrap().contains(&record), "{row:?}");
        }
    }
}

#[test]
fn a_policy_in_force_wants_listed_hosts_with_trusted_certificates() {
    let good = || certificates("mx.b.example", 90, Signed::ByRoot);
    let rows = [
        (
            policy("enforce", "mx.b.example"),
            good(),
            Mark::Good,
            Mark::Good,
            Level::Secure,
            true,
        ),
        (
            policy("enforce", "*.b.example"),
            good(),
            Mark::Good,
            Mark::Good,
            Level::Secure,
            true,
        ),
        (
            policy("enforce", "mx.c.example"),
            good(),
            Mark::Fault,
            Mark::Good,
            Level::Verify,
            false,
        ),
        (
            policy("enforce", "mx.b.example"),
            certificates("mx.b.example", 90, Signed::ByItself),
            Mark::Good,
            Mark::Fault,
            Level::Encrypt,
            false,
        ),
        (
            policy("enforce", "mx.b.example"),
            certificates("www.b.example", 90, Signed::ByRoot),
            Mark::Good,
            Mark::Fault,
            Level::Encrypt,
            false,
        ),
        (
            policy("testing", "mx.b.example"),
            good(),
            Mark::Note,
            Mark::Good,
            Level::Verify,
            true,
        ),
        (
            policy("testing", "mx.c.example"),
            good(),
            Mark::Fault,
            Mark::Good,
            Level::Verify,
            true,
        ),
    ];
    for (sts, certificates, listed, certificate, level, send) in rows {
        let told = format!("{sts:?}");
        let audit = World {
            sts,
            ..world(certificates)
        }
        .audit();
        assert_eq!(
            (mark(&audit, "MTA-STS"), mark(&audit, "certificate")),
            (listed, certificate),
            "{told}"
        );
        assert_eq!((audit.level, sends(&audit)), (Some(level), send), "{told}");
    }
}

#[test]
fn without_any_publication_nothing_protects_even_good_certificates() {
    let audit = world(certificates("mx.b.example", 90, Signed::ByRoot)).audit();
    assert_eq!(
        (mark(&audit, "protection"), mark(&audit, "certificate")),
        (Mark::Fault, Mark::Good)
    );
    assert_eq!((audit.level, audit.verdict), (Some(Level::Verify), Mark::Fault));
    // The domain's own name needs nobody to vouch for it.
    let audit = world(certificates("a.example", 90, Signed::ByRoot)).audit();
    assert_eq!(audit.level, Some(Level::Secure));
}

#[test]
fn the_end_of_a_certificate_is_told_ahead() {
    for (days, expected) in [(90, Mark::Good), (10, Mark::Note)] {
        let audit = world(certificates("mx.b.example", days, Signed::ByRoot)).audit();
        assert_eq!(mark(&audit, "expiry"), expected, "{days}");
        let told = audit.hosts[0].addresses[0]
            .certificate
            .as_ref()
            .unwrap()
            .days_left;
        assert_eq!(told, Some(days));
    }
    let mut params = CertificateParams::new(vec!["mx.b.example".to_owned()]).unwrap();
    params.not_before = (now() - 300 * DAY).into();
    params.not_after = (now() - DAY).into();
    let own = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let past = Certificates::examine(Presented::new([own.der().as_ref()]), &Roots::default(), now());
    assert_eq!(mark(&world(past).audit(), "expiry"), Mark::Fault);
}

#[test]
fn what_is_published_in_vain_is_a_fault() {
    let broken = |discovered, policy| StsFacts { discovered, policy };
    let id = || Discovered::Published(Id::parse("7").unwrap());
    let rows = [
        (
            broken(id(), Some(Err("HTTP status 404".into()))),
            Mark::Fault,
            "404",
        ),
        (
            broken(Discovered::Failed("SERVFAIL".into()), None),
            Mark::Unknown,
            "SERVFAIL",
        ),
        (broken(Discovered::Absent, None), Mark::Note, "no policy"),
    ];
    for (sts, expected, words) in rows {
        let audit = World {
            sts,
            ..world(certificates("mx.b.example", 90, Signed::ByRoot))
        }
        .audit();
        assert_eq!(mark(&audit, "MTA-STS"), expected, "{words}");
        assert!(
            audit.rows.iter().any(|row| row.finding.contains(words)),
            "{words}"
        );
    }
}
