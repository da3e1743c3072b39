//! Postfix's `posttls-finger` and Sealpost, before the same hosts: where they agree, and where not and why.
//!
//! `docs/posttls-finger.md` holds the table that comes out; `BLESS=1` writes it anew.

use std::collections::BTreeMap;
use std::sync::Arc;

use interop::authority::{Identity, Validity};
use interop::fate::{Case, Fate};
use interop::hostile::{HostilePeer, Manner, StartTls};
use interop::laboratory::Sketch;
use interop::peers::Signing;
use interop::peers::finger::{Finger, Found, Level};
use interop::place::{workspace, write};
use interop::sealpost::{ONCE, Setup};

const RULES: &str = r#"
[[trust.rule]]
domain = "*.encrypt.f.test"
demand = "encrypted"

[[trust.rule]]
domain = "*.secure.f.test"
demand = "verified"
proof = "chain"

[[trust.rule]]
domain = "*.dane-only.f.test"
demand = "verified"
proof = "dane"
"#;

const LEVELS: [(&str, Level); 5] = [
    ("may", Level::May),
    ("encrypt", Level::Encrypt),
    ("dane", Level::Dane),
    ("dane-only", Level::DaneOnly),
    ("secure", Level::Secure),
];

const KINDS: [&str; 11] = [
    "honest",
    "self-signed",
    "expired",
    "misnamed",
    "tlsa-3-1-1",
    "tlsa-2-0-1",
    "tlsa-mismatch",
    "tlsa-unusable",
    "tlsa-stripped",
    "stripped",
    "refuses",
];

/// Where one would send and the other would not: `docs/posttls-finger.md` says why.
const EXPLAINED: [(&str, &str); 6] = [
    ("honest", "dane-only"),
    ("tlsa-mismatch", "may"),
    ("tlsa-mismatch", "encrypt"),
    ("tlsa-mismatch", "secure"),
    ("tlsa-unusable", "dane-only"),
    ("tlsa-stripped", "may"),
];

const BEGIN: &str = "<!-- made by interop/tests/finger.rs -->\n";
const END: &str = "<!-- end -->\n";

fn peer(sketch: &mut Sketch, kind: &str, domain: &str) -> HostilePeer {
    let name = format!("mx.{domain}");
    let names = [name.as_str()];
    let honest = sketch.identity(&name);
    let other = Identity::self_signed(&names, Validity::Valid);
    let of = |identity: &Arc<Identity>| Manner::honest(identity);
    let (manner, tlsa) = match kind {
        "honest" => (of(&honest), None),
        "self-signed" => (of(&other), None),
        "expired" => (of(&sketch.authority.issue(&names, Validity::Expired)), None),
        "misnamed" => (of(&sketch.identity("mx.elsewhere.test")), None),
        "tlsa-3-1-1" => (of(&other), Some(other.tlsa(3, 1, 1))),
        "tlsa-2-0-1" => (of(&honest), Some(honest.tlsa(2, 0, 1))),
        "tlsa-mismatch" => (of(&honest), Some(other.tlsa(3, 1, 1))),
        "tlsa-unusable" => (of(&honest), Some(honest.tlsa(1, 1, 1))),
        "tlsa-stripped" => (
            Manner::with(&honest, StartTls::Stripped),
            Some(honest.tlsa(3, 1, 1)),
        ),
        "stripped" => (Manner::with(&honest, StartTls::Stripped), None),
        "refuses" => (
            Manner::with(&honest, StartTls::Refuses("454 4.7.0 not now".to_owned())),
            None,
        ),
        _ => panic!("no kind {kind}"),
    };
    let tlsa: Vec<String> = tlsa.into_iter().collect();
    sketch.peer(domain, manner, &tlsa)
}

fn finger_words(found: &Found) -> &'static str {
    match found {
        Found::Verified => "verified",
        Found::Trusted => "trusted",
        Found::Untrusted => "untrusted",
        Found::Clear => "no TLS offered",
        Found::Failed(_) => "failed",
    }
}

fn our_words(fate: Fate, told: &str) -> &'static str {
    match fate {
        Fate::InClear => "sent in clear",
        Fate::Inside if told.contains("basis=dane") => "sent, DANE",
        Fate::Inside if told.contains("basis=chain") => "sent, chain",
        Fate::Inside => "sent, encrypted",
        Fate::Goodbye => "waits: not proven",
        Fate::NoHandshake => "waits: no TLS",
        Fate::NoContact => "waits: not dialled",
    }
}

/// Whether Postfix would send at this level after this finding. What to make of a host without TLS, or of a key that fits no record,
/// the finger leaves to its reader: at `dane` it depends on whether there are records that oblige.
fn postfix_sends(kind: &str, level: Level, found: &Found) -> bool {
    match (level, found) {
        (_, Found::Verified) => true,
        (_, Found::Failed(_)) => false,
        (Level::May | Level::Encrypt, Found::Trusted | Found::Untrusted) | (Level::May, Found::Clear) => true,
        (Level::Dane, Found::Trusted | Found::Untrusted) => kind != "tlsa-mismatch",
        (Level::Dane, Found::Clear) => !kind.starts_with("tlsa"),
        (Level::DaneOnly | Level::Secure, Found::Trusted | Found::Untrusted | Found::Clear) => false,
        (Level::Encrypt, Found::Clear) => false,
    }
}

#[test]
fn the_finger_and_sealpost_agree_but_where_it_is_said_why_not() {
    let mut sketch = Sketch::new("finger");
    sketch.zone("f.test.", Signing::Nsec, "");
    let mut cases = BTreeMap::new();
    for kind in KINDS {
        for (level, _) in LEVELS {
            let domain = format!("{kind}.{level}.f.test");
            let peer = peer(&mut sketch, kind, &domain);
            cases.insert((kind, level), Case::new(&domain, peer, Fate::Inside));
        }
    }
    let finger_folder = sketch.place.subfolder("finger");
    let lab = sketch.start(Setup { more: RULES, ..ONCE });
    let finger = Finger::new(&finger_folder, lab.checking.address(), &lab.authority.pem());
    for case in cases.values() {
        lab.send(&case.domain, &format!("a@{}", case.domain));
    }
    let mut rows = Vec::new();
    let mut disagree = Vec::new();
    for kind in KINDS {
        let mut row = format!("| `{kind}` |");
        for (name, level) in LEVELS {
            let case = &cases[&(kind, name)];
            let fate = case.fate_now(&lab);
            let found = finger.look(level, &case.domain);
            let told = lab.attempts(&case.domain).concat();
            let sent = matches!(fate, Fate::Inside | Fate::InClear);
            let mark = if sent == postfix_sends(kind, level, &found) {
                ""
            } else {
                " **≠**"
            };
            if !mark.is_empty() {
                disagree.push((kind, name));
            }
            row += &format!(" {} / {}{mark} |", finger_words(&found), our_words(fate, &told));
        }
        rows.push(row);
    }
    let table = format!(
        "{BEGIN}| host | {} |\n|---|{}\n{}\n{END}",
        LEVELS.map(|(name, _)| format!("`{name}`")).join(" | "),
        "---|".repeat(LEVELS.len()),
        rows.join("\n")
    );
    compare_with_the_page(&table);
    assert_eq!(disagree, EXPLAINED, "{table}");
}

fn compare_with_the_page(table: &str) {
    let page = workspace().join("docs/posttls-finger.md");
    let text = std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let (before, rest) = text.split_once(BEGIN).expect("the table's begin");
    let (_, after) = rest.split_once(END).expect("the table's end");
    let wanted = format!("{before}{table}{after}");
    if std::env::var_os("BLESS").is_some() {
        write(&page, &wanted);
        return;
    }
    assert_eq!(
        text, wanted,
        "docs/posttls-finger.md tells something else (BLESS=1 writes it anew)"
    );
}
