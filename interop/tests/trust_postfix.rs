//! DANE with Postfix on the other side, in both directions.

use std::sync::Arc;

use interop::authority::{Identity, Validity, new_key};
use interop::laboratory::{NAMES_FORGOTTEN, OURS, Sketch};
use interop::letter::{Letter, Octets};
use interop::mailbox::{files, wait_for_letter};
use interop::patience::{USUAL, pass, wait_until};
use interop::peers::{Host, MailServer, Postfix, Signing};
use interop::sealpost::{ONCE, Setup};

/// What Postfix needs to speak nothing newer than TLS 1.0.
const ONLY_OLD: &str = "smtpd_tls_protocols = TLSv1\nsmtpd_tls_mandatory_protocols = TLSv1\nsmtpd_tls_ciphers = low\n\
                        tls_low_cipherlist = ALL:@SECLEVEL=0\n";

fn records(host: &Host, tlsa: &[String]) -> String {
    let records = tlsa
        .iter()
        .map(|data| format!("_25._tcp.{}. TLSA {data}\n", host.name));
    host.records() + &records.collect::<String>()
}

fn postfix(host: &Host, identity: &Arc<Identity>, extra: &str) -> Postfix {
    Postfix::start_with(host.clone(), &identity.files(&host.folder.join("tls")), extra)
}

#[test]
fn letters_reach_a_postfix_that_keeps_to_its_records_through_a_change_of_keys() {
    let mut sketch = Sketch::new("trust-postfix-to");
    let host = Host::new(&sketch.place, "p.test", sketch.checking);
    let old = sketch.place.subfolder("old");
    let old_host = Host {
        folder: old,
        ..Host::new(&sketch.place, "old.p.test", sketch.checking)
    };
    let (first, second) = (sketch.identity("mx.p.test"), sketch.identity("mx.p.test"));
    let both = [first.tlsa(3, 1, 1), second.tlsa(3, 1, 1)];
    let old_identity = sketch.identity("mx.old.p.test");
    let old_records = records(&old_host, &[old_identity.tlsa(3, 1, 1)]);
    sketch.zone(
        "p.test.",
        Signing::Nsec3,
        &(records(&host, &both[..1]) + &old_records),
    );
    let mut lab = sketch.start(ONCE);
    let only_old = postfix(&old_host, &old_identity, ONLY_OLD);
    let before = postfix(&host, &first, "");
    lab.send("first-key", "a@p.test");
    let arrived = wait_for_letter(&host.mail(), "first-key", USUAL);
    assert!(
        arrived[0].trace().contains("using TLSv1.3"),
        "{}",
        arrived[0].trace()
    );
    // The next key is published first, then used; the old one goes last.
    lab.tree
        .change("p.test.", &(records(&host, &both) + &old_records));
    drop(before);
    let after = postfix(&host, &second, "");
    pass(&NAMES_FORGOTTEN);
    lab.send("second-key", "a@p.test");
    wait_for_letter(&host.mail(), "second-key", USUAL);
    lab.tree
        .change("p.test.", &(records(&host, &both[..1]) + &old_records));
    pass(&NAMES_FORGOTTEN);
    lab.send("withdrawn-key", "a@p.test");
    lab.put_off("a@p.test");
    lab.send("only-old", "a@old.p.test");
    lab.put_off("a@old.p.test");
    assert_eq!(files(&host.mail()).len(), 2, "{}", after.logged());
    assert_eq!(files(&old_host.mail()).len(), 0, "{}", only_old.logged());
    for told in lab.attempts("p.test").iter().take(2) {
        assert!(
            told.contains("demand=verified/dane") && told.contains("basis=dane"),
            "{told}"
        );
    }
    assert_eq!(lab.reports(), Vec::<String>::new());
}

#[test]
fn postfix_verifies_this_server_by_its_own_record() {
    let mut sketch = Sketch::new("trust-postfix-from");
    let host = Host::new(&sketch.place, "p.test", sketch.checking);
    sketch.zone("p.test.", Signing::Nsec, &host.records());
    let name = format!("mx.{OURS}");
    let identity = sketch.authority.issue_for(&[&name], Validity::Valid, new_key());
    let files = identity.files(&sketch.place.subfolder("identity"));
    let more = format!(
        "[[tls.certificate]]\nchain = \"{}\"\nkey = \"{}\"\n",
        files.chain.display(),
        files.key.display()
    );
    sketch.ours(&format!("_25._tcp.{name}. TLSA {}\n", identity.tlsa(3, 1, 1)));
    let lab = sketch.start(Setup { more: &more, ..ONCE });
    let peer = postfix(
        &host,
        &identity,
        "smtp_dns_support_level = dnssec\nsmtp_tls_security_level = dane-only\n",
    );
    let letter = Letter::new("to-us", "you@p.test", &["me@ours.test"], 2_000, Octets::Ascii);
    peer.hand_in(&letter);
    wait_for_letter(&lab.sealpost.mail(), "to-us", USUAL);
    wait_until("Postfix to tell how it went", USUAL, || {
        peer.logged()
            .contains(&format!("Verified TLS connection established to {name}"))
    });
}
