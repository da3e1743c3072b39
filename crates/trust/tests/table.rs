//! The whole space of a decision without gaps: what the message asks × the operator's rule × the memory × how the host's name
//! is known × DANE × MTA-STS × what the channel showed. `table.txt` holds every outcome, to be read by people; here it is
//! replayed, and laws that must hold over all of it are checked apart from it. `BLESS=1` rewrites it; the diff is the review.

#![allow(clippy::unwrap_used)] // helpers of tests

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mail::{Clear, Domain, Host, KeyPrint, Pattern, Tls, TlsFacts, TlsVersion, TlsWish};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls_pki_types::{CertificateDer, TrustAnchor};
use trust::dane::{self, Records, Tlsa};
use trust::policy::{Of, Proofs, Rule};
use trust::sts::{self, Held, Listed};
use trust::{
    Basis, Bound, Certificates, Claim, Demand, Inputs, Judged, Lack, Origin, Plan, Presented, Roots, Shown,
    Source, WhyAvoid, WhyClear,
};

const HOST: &str = "mx.a.example";
const DOMAIN: &str = "b.example";

const WISHES: [(&str, TlsWish); 3] = [
    ("usual", TlsWish::Usual),
    ("REQUIRETLS", TlsWish::Required),
    ("TLS-Required: No", TlsWish::Waived),
];
const RULES: [&str; 9] = [
    "no rule",
    "none",
    "opportunistic",
    "encrypted",
    "verified",
    "verified by dane",
    "verified by chain",
    "verified by chain for another name",
    "verified by pin",
];
const BOUNDS: [(&str, Bound); 3] = [
    ("nothing", Bound::Nothing),
    ("encrypted", Bound::Encrypted),
    ("verified", Bound::Verified),
];
const ORIGINS: [(&str, Origin); 3] = [
    ("proven", Origin::Proven),
    ("configured", Origin::Configured),
    ("unproven", Origin::Unproven),
];
const DANES: [&str; 5] = ["unasked", "absent", "usable", "unusable", "failed"];
const POLICIES: [&str; 6] = [
    "absent",
    "unknown",
    "testing",
    "testing others",
    "enforced",
    "enforced others",
];
const CHANNELS: [&str; 9] = [
    "clear: STARTTLS not offered",
    "clear: TLS failed earlier",
    "self-signed, an unknown key",
    "self-signed, the pinned key",
    "out of date, a key known from before",
    "trusted, for another name",
    "trusted, for the host",
    "fits the TLSA record, not trusted",
    "fits the TLSA record, trusted for the host",
];

/// What was shown, once for all cells.
struct Channels {
    clear: [Shown<Clear>; 2],
    tls: [Shown<Tls>; 7],
    records: Arc<Records>,
    unusable: Arc<Records>,
    pinned: KeyPrint,
    known: KeyPrint,
}

/// One place in the space.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    wish: usize,
    rule: usize,
    bound: usize,
    origin: usize,
    dane: usize,
    sts: usize,
}

/// What follows there: not used at all, or a plan with an outcome for each channel.
#[derive(PartialEq, Eq)]
enum Cell {
    Avoided(Source, &'static str),
    Planned(Demand, Source, Vec<Judged>),
}

fn at(days: i64) -> SystemTime {
    let seconds = u64::try_from(1_800_000_000 + days * 86_400).expect("after 1970");
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

fn params(name: &str, from: i64, until: i64) -> CertificateParams {
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    params.not_before = at(from).into();
    params.not_after = at(until).into();
    params
}

fn print_of(key: &KeyPair) -> KeyPrint {
    trust::chain::key_print(&key.subject_public_key_info())
}

impl Channels {
    fn make() -> Channels {
        let key = || KeyPair::generate().unwrap();
        let (root_key, pinned, known, published) = (key(), key(), key(), key());
        let mut root = params("root.example", -100, 1000);
        root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let root_der = root.self_signed(&root_key).unwrap();
        let issuer = Issuer::new(root, root_key);
        let anchor = TrustAnchor::to_owned(&webpki_anchor(root_der.der()));
        let roots = Roots::new([anchor]);
        let alone = |key: &KeyPair| params(HOST, -10, 100).self_signed(key).unwrap();
        let signed = |name, until, key: &KeyPair| params(name, -10, until).signed_by(key, &issuer).unwrap();
        let shown = |certificate: rcgen::Certificate| {
            let presented = Presented::new([certificate.der().as_ref()]);
            Shown::tls(facts(), Certificates::examine(presented, &roots, at(0)))
        };
        let record = |usage, association: &[u8]| Tlsa {
            usage,
            selector: 1,
            matching: 1,
            association: association.into(),
        };
        let records = |record| {
            Arc::new(Records {
                base: Domain::parse(HOST).unwrap(),
                all: vec![record],
                references: vec![Domain::parse(HOST).unwrap()],
            })
        };
        Channels {
            clear: [
                Shown::clear(WhyClear::NotOffered),
                Shown::clear(WhyClear::Earlier(trust::TlsTrouble {
                    at: at(-1),
                    text: "alert".into(),
                })),
            ],
            tls: [
                shown(alone(&key())),
                shown(alone(&pinned)),
                shown(signed(HOST, -1, &known)),
                shown(signed("mx.c.example", 100, &key())),
                shown(signed(HOST, 100, &key())),
                shown(alone(&published)),
                shown(signed(HOST, 100, &published)),
            ],
            records: records(record(3, &print_of(&published).0)),
            unusable: records(record(1, &print_of(&published).0)),
            pinned: print_of(&pinned),
            known: print_of(&known),
        }
    }

    fn cell(&self, place: Place) -> Cell {
        let (host, domain) = (Host::parse(HOST).unwrap(), Domain::parse(DOMAIN).unwrap());
        let rule = self.rule(place.rule);
        let inputs = Inputs {
            host: &host,
            domain: Some(&domain),
            origin: ORIGINS[place.origin].1,
            wish: WISHES[place.wish].1,
            rule: rule.as_ref(),
            dane: &self.dane(place.dane),
            sts: &policy(place.sts),
            claim: &Claim {
                bound: BOUNDS[place.bound].1,
                keys: vec![self.known],
                ..Claim::default()
            },
        };
        let plan = match Plan::make(&inputs) {
            Ok(plan) => plan,
            Err(avoid) => {
                let why = match avoid.why {
                    WhyAvoid::NotFoundOut(_) => "not found out",
                    WhyAvoid::NotListed(_) => "not listed",
                    WhyAvoid::Unprovable(_) => "unprovable",
                };
                return Cell::Avoided(avoid.source, why);
            }
        };
        let clear = self
            .clear
            .iter()
            .map(|shown| plan.judge(shown, at(0)).evidence.judged);
        let tls = self
            .tls
            .iter()
            .map(|shown| plan.judge(shown, at(0)).evidence.judged);
        let judged = clear.chain(tls).map(Option::unwrap).collect();
        Cell::Planned(plan.demand(), plan.source(), judged)
    }

    fn dane(&self, place: usize) -> dane::Finding {
        match DANES[place] {
            "unasked" => dane::Finding::Unasked("the zone is not signed".into()),
            "absent" => dane::Finding::Absent,
            "usable" => dane::Finding::Published(Arc::clone(&self.records)),
            "unusable" => dane::Finding::Published(Arc::clone(&self.unusable)),
            _ => dane::Finding::Failed("SERVFAIL".into()),
        }
    }

    fn rule(&self, place: usize) -> Option<Rule> {
        let any = Proofs::Any { names: Vec::new() };
        let chain = |names: &[&str]| Proofs::Chain {
            names: names.iter().map(|name| Pattern::parse(name).unwrap()).collect(),
        };
        let (demand, proofs) = match RULES[place] {
            "no rule" => return None,
            "none" => (Demand::None, any),
            "opportunistic" => (Demand::Opportunistic, any),
            "encrypted" => (Demand::Encrypted, any),
            "verified" => (Demand::Verified, any),
            "verified by dane" => (Demand::Verified, Proofs::Dane),
            "verified by chain" => (Demand::Verified, chain(&["*.a.example"])),
            "verified by chain for another name" => (Demand::Verified, chain(&["mx.c.example"])),
            _ => (Demand::Verified, Proofs::Pin(vec![self.pinned])),
        };
        Some(Rule {
            name: "1".into(),
            of: Of::Domain(Pattern::All),
            demand,
            proofs,
            version_min: None,
            groups: Vec::new(),
            certificate: None,
        })
    }
}

/// The root's name and key, as a trust store holds them.
fn webpki_anchor<'a>(der: &'a CertificateDer<'a>) -> TrustAnchor<'a> {
    webpki::anchor_from_trusted_cert(der).unwrap()
}

fn facts() -> TlsFacts {
    TlsFacts {
        version: TlsVersion::V1_3,
        cipher: "TLS_AES_256_GCM_SHA384".into(),
        group: Some("X25519MLKEM768".into()),
        chain: Vec::new(),
        subject: None,
        server_name: None,
    }
}

fn policy(place: usize) -> sts::Finding {
    let held = |listed| Held {
        id: "1".into(),
        listed,
    };
    match POLICIES[place] {
        "absent" => sts::Finding::Absent(None),
        "unknown" => sts::Finding::Absent(Some("the fetch failed".into())),
        "testing" => sts::Finding::Testing(held(Listed::Yes)),
        "testing others" => sts::Finding::Testing(held(Listed::No)),
        "enforced" => sts::Finding::Enforced(held(Listed::Yes)),
        _ => sts::Finding::Enforced(held(Listed::No)),
    }
}

fn places() -> impl Iterator<Item = Place> {
    let all = (0..WISHES.len()).flat_map(|wish| (0..RULES.len()).map(move |rule| (wish, rule)));
    let all = all.flat_map(|(wish, rule)| (0..BOUNDS.len()).map(move |bound| (wish, rule, bound)));
    let all = all.flat_map(|(w, r, b)| (0..ORIGINS.len()).map(move |origin| (w, r, b, origin)));
    let all = all.flat_map(|(w, r, b, o)| (0..DANES.len()).map(move |dane| (w, r, b, o, dane)));
    all.flat_map(|(wish, rule, bound, origin, dane)| {
        (0..POLICIES.len()).map(move |sts| Place {
            wish,
            rule,
            bound,
            origin,
            dane,
            sts,
        })
    })
}

fn letter(judged: &Judged) -> char {
    match judged {
        Judged::Sufficient(basis) => match basis {
            Basis::ClearAllowed => 'a',
            Basis::ClearUnavoided => 'u',
            Basis::Encryption => 'e',
            Basis::KnownKey => 'k',
            Basis::Chain => 'c',
            Basis::Pin => 'p',
            Basis::Dane(_) => 'd',
        },
        Judged::Insufficient(unmet) => match unmet.lack {
            Lack::Encryption => 'E',
            Lack::Dane(_) => 'D',
            Lack::Path(_) => 'T',
            Lack::Name(_) => 'N',
            Lack::Pin => 'P',
            Lack::Identity(_) => 'I',
            Lack::Version(_) | Lack::Group(_) => unreachable!("no rule asks for it"),
        },
    }
}

fn told(cell: &Cell) -> String {
    match cell {
        Cell::Avoided(source, why) => format!("({source}: {why})"),
        Cell::Planned(demand, source, judged) => {
            let letters: String = judged.iter().map(letter).collect();
            let demand = match demand {
                Demand::None => 'N',
                Demand::Opportunistic => 'O',
                Demand::Encrypted => 'E',
                Demand::Verified => 'V',
            };
            format!("{letters} {demand} {source}")
        }
    }
}

fn sends(cell: &Cell) -> Vec<bool> {
    match cell {
        Cell::Avoided(..) => vec![false; CHANNELS.len()],
        Cell::Planned(_, _, judged) => judged
            .iter()
            .map(|judged| matches!(judged, Judged::Sufficient(_)))
            .collect(),
    }
}

const HEAD: &str = "Every decision, without gaps. One letter for each channel, in this order:
CHANNELS
Small letters send, and say on what it rests: a clear text allowed by a rule, u clear text unavoided, e encryption, k a key
known from before, c a chain, p a pin, d DANE. Capitals hold, and say what is lacking: E encryption, D the TLSA records'
certificate, T a trusted path, N the name, P the pin, I any proof of who it is. Behind them the strictest demand (None,
Opportunistic, Encrypted, Verified) and who asks for it. In brackets: the host is not used at all, who says so, and why.
The host is mx.a.example, the domain b.example; the rule by chain is for *.a.example, the other for mx.c.example.
";

fn table(channels: &Channels) -> String {
    let numbered = CHANNELS.iter().enumerate();
    let list: Vec<String> = numbered
        .map(|(place, channel)| format!("  {} {channel}", place + 1))
        .collect();
    let mut text = HEAD.replace("CHANNELS", &list.join("\n"));
    for place in places() {
        if (place.dane, place.sts) == (0, 0) {
            let _ = write!(
                text,
                "\nmessage: {}; rule: {}; memory: {}; name: {}\n{:9}",
                WISHES[place.wish].0, RULES[place.rule], BOUNDS[place.bound].0, ORIGINS[place.origin].0, ""
            );
            for sts in POLICIES {
                let _ = write!(text, " {:<24}", format!("STS {sts}"));
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        if place.sts == 0 {
            let _ = write!(text, "{:9}", DANES[place.dane]);
        }
        let _ = write!(text, " {:<24}", told(&channels.cell(place)));
        if place.sts + 1 == POLICIES.len() {
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
    }
    text
}

#[test]
fn the_table_stands_as_it_was_reviewed() {
    let text = table(&Channels::make());
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/table.txt");
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    let differs = text.lines().zip(stands.lines()).find(|(is, was)| is != was);
    assert!(
        text == stands,
        "tests/table.txt differs, first at {differs:?}: BLESS=1 cargo test -p trust --test table, and read the diff"
    );
}

/// Said apart from the code that plans: what must be true of every cell.
#[test]
fn laws_hold_over_the_whole_table() {
    let channels = Channels::make();
    for place in places() {
        let sent = sends(&channels.cell(place));
        let (wish, rule) = (WISHES[place.wish].1, RULES[place.rule]);
        let (dane, sts) = (DANES[place.dane], POLICIES[place.sts]);
        let at = format!(
            "{} {rule} {} {} {dane} {sts}: {sent:?}",
            WISHES[place.wish].0, BOUNDS[place.bound].0, ORIGINS[place.origin].0
        );
        let heard = wish != TlsWish::Waived;
        let published = heard && (matches!(dane, "usable" | "unusable") || sts.starts_with("enforced"));
        let remembered = BOUNDS[place.bound].1 > Bound::Nothing;
        let ruled = rule == "encrypted" || rule.starts_with("verified");
        // Not one octet in clear where anything demands more, whatever else holds.
        if published || remembered || ruled || wish == TlsWish::Required {
            assert!(!sent[0] && !sent[1], "clear text: {at}");
        }
        // A look-up that failed is not one that found nothing (RFC 7672 §2.1).
        if heard && dane == "failed" {
            assert!(!sent.contains(&true), "after a failed look-up: {at}");
        }
        // What TLSA records say is kept, whoever else asks for less.
        if heard && dane == "usable" {
            assert!(!sent[..7].contains(&true), "against the TLSA records: {at}");
        }
        // A host outside a policy in force is not used, but where DANE speaks first (RFC 8461 §2).
        if heard && sts == "enforced others" && dane != "usable" {
            assert!(!sent.contains(&true), "outside the policy: {at}");
        }
        // REQUIRETLS takes proof of a host that is proven to be the right one (RFC 8689 §4.2.1).
        if wish == TlsWish::Required {
            assert!(!sent[..6].contains(&true), "without proof: {at}");
            let vouched =
                ORIGINS[place.origin].1 != Origin::Unproven || ["testing", "enforced"].contains(&sts);
            if !vouched && dane != "usable" {
                assert!(!sent.contains(&true), "a host that nobody vouches for: {at}");
            }
        }
        if rule == "verified by pin" {
            assert!(
                sent.iter().enumerate().all(|(place, sent)| !sent || place == 3),
                "another key: {at}"
            );
        }
        if rule == "verified by dane" {
            assert!(!sent[..7].contains(&true), "without DANE: {at}");
        }
        // Where nobody asks for anything, mail flows as it always did.
        let asked = ruled || remembered || wish == TlsWish::Required || published;
        if !asked && (dane != "failed" || !heard) {
            assert!(sent.iter().all(|sent| *sent), "held for nothing: {at}");
        }
    }
}

/// Nobody who asks for more makes mail go that would be held otherwise.
#[test]
fn asking_for_more_never_lets_more_through() {
    let channels = Channels::make();
    let at_most = |place: Place, looser: Place| {
        let (sent, more) = (sends(&channels.cell(place)), sends(&channels.cell(looser)));
        sent.iter().zip(more).all(|(sent, more)| !sent || more)
    };
    for place in places() {
        for bound in 0..place.bound {
            assert!(at_most(place, Place { bound, ..place }), "memory");
        }
        // What the operator takes for proof, the memory takes for one too.
        let named = RULES[place.rule].contains("chain") || RULES[place.rule].contains("pin");
        let widened = named && BOUNDS[place.bound].1 == Bound::Verified;
        let ruled = RULES[place.rule] == "encrypted" || RULES[place.rule].starts_with("verified");
        if ruled && !widened {
            assert!(
                at_most(place, Place { rule: 0, ..place }),
                "rule {}",
                RULES[place.rule]
            );
        }
        if WISHES[place.wish].1 != TlsWish::Waived {
            assert!(at_most(place, Place { wish: 2, ..place }), "what is published");
            assert!(
                at_most(Place { wish: 1, ..place }, Place { wish: 0, ..place }),
                "REQUIRETLS"
            );
        }
    }
}
