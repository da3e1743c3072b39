//! The resolver against a signed root of its own on loopback: what is proven, what is not, and what is forged.
#![allow(clippy::unwrap_used, clippy::type_complexity)] // a test may panic

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use hickory_resolver::proto::dnssec::crypto::EcdsaSigningKey;
use hickory_resolver::proto::dnssec::rdata::{DNSKEY, DNSSECRData, NSEC, RRSIG};
use hickory_resolver::proto::dnssec::{Algorithm, DnssecSigner, SigningKey};
use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::tlsa::{CertUsage, Matching, Selector};
use hickory_resolver::proto::rr::rdata::{A, CNAME, MX, NS, SOA, TLSA, TXT};
use hickory_resolver::proto::rr::{DNSClass, Name, RData, Record, RecordSet, RecordType};
use mail::{Domain, Secure};
use sealpost::config::dns::{Dns as Settings, Dnssec};
use sealpost::ports::{Answer, Denial, Dns, NoAnswer, RootKeys, tlsa_question};
use sealpost::real::dns::{BadResolver, Resolve};
use sealpost::resolver::{Verdict, probe, verdict};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

/// What a server does besides answering well.
#[derive(Clone, Copy)]
enum Manner {
    Honest,
    /// Leaves out all that DNSSEC has added.
    Strips,
    /// Validates by itself and says so; leaves signatures out.
    Says,
    /// Changes its answers to some questions.
    Forges(fn(&Root, &mut Message)),
}

/// A signed root with one unsigned zone below it, `plain.`.
struct Root {
    records: Mutex<BTreeMap<(Name, RecordType), Vec<RData>>>,
    signer: DnssecSigner,
    manner: Mutex<Manner>,
    ttl: u32,
    asked: Mutex<Vec<String>>,
}

fn tlsa(octet: u8) -> RData {
    let (usage, selector, matching) = (CertUsage::from(3), Selector::from(1), Matching::from(1));
    RData::TLSA(TLSA::new(usage, selector, matching, vec![octet; 32]))
}

fn soa() -> RData {
    RData::SOA(SOA::new(
        name("ns.test."),
        name("admin.test."),
        1,
        60,
        60,
        600,
        60,
    ))
}

fn at(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn cname(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

impl Root {
    fn new(ttl: u32) -> Arc<Root> {
        let pkcs8 = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
        let key = EcdsaSigningKey::from_pkcs8(&pkcs8, Algorithm::ECDSAP256SHA256).unwrap();
        let public = DNSKEY::from_key(&key.to_public_key().unwrap());
        let week = Duration::from_secs(7 * 24 * 3600);
        let signer = DnssecSigner::new(public.clone(), Box::new(key), Name::root(), week);
        let root = Root {
            records: Mutex::default(),
            signer,
            manner: Mutex::new(Manner::Honest),
            ttl,
            asked: Mutex::default(),
        };
        root.put(".", RData::DNSSEC(DNSSECRData::DNSKEY(public)));
        // One that nobody trusts by itself, as in the real root.
        let pkcs8 = EcdsaSigningKey::generate_pkcs8(Algorithm::ECDSAP256SHA256).unwrap();
        let other = EcdsaSigningKey::from_pkcs8(&pkcs8, Algorithm::ECDSAP256SHA256).unwrap();
        let other = DNSKEY::from_key(&other.to_public_key().unwrap());
        root.put(".", RData::DNSSEC(DNSSECRData::DNSKEY(other)));
        root.put(".", soa());
        root.put(".", RData::NS(NS(name("ns.test."))));
        root.put("plain.", RData::NS(NS(name("ns.test."))));
        for (owner, data) in [
            ("a.test.", RData::MX(MX::new(10, name("mx.a.test.")))),
            ("a.test.", RData::MX(MX::new(20, name("mx.plain.")))),
            ("mx.a.test.", at(1)),
            ("_25._tcp.mx.a.test.", tlsa(1)),
            ("bare.a.test.", at(2)),
            ("alias.a.test.", cname("mx.a.test.")),
            ("away.a.test.", cname("mx.plain.")),
            (
                "_mta-sts.a.test.",
                RData::TXT(TXT::new(vec!["v=STSv1; ".to_owned(), "id=1".to_owned()])),
            ),
            ("foreign.test.", at(3)),
            ("_25._tcp.foreign.test.", tlsa(66)),
            ("mx.plain.", at(4)),
            ("back.plain.", cname("mx.a.test.")),
            ("_25._tcp.mx.plain.", tlsa(4)),
            ("_25._tcp.bound.a.test.", cname("_25._tcp.mx.plain.")),
            ("bound.a.test.", at(5)),
        ] {
            root.put(owner, data);
        }
        Arc::new(root)
    }

    fn put(&self, owner: &str, data: RData) {
        let key = (name(owner), data.record_type());
        self.records.lock().unwrap().entry(key).or_default().push(data);
    }

    fn change(&self, owner: &str, data: RData) {
        self.records
            .lock()
            .unwrap()
            .insert((name(owner), data.record_type()), vec![data]);
    }

    fn behaves(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    fn rrset(&self, owner: &Name, kind: RecordType) -> Option<RecordSet> {
        let records = self.records.lock().unwrap();
        let found = records.get(&(owner.clone(), kind))?;
        let mut set = RecordSet::new(owner.clone(), kind, 0);
        for data in found {
            set.insert(Record::from_rdata(owner.clone(), self.ttl, data.clone()), 0);
        }
        Some(set)
    }

    /// The records with their signature, if they lie in the signed zone.
    fn signed(&self, set: &RecordSet) -> Vec<Record> {
        let mut records: Vec<Record> = set.records_without_rrsigs().cloned().collect();
        // The parent signs where its child begins.
        if !is_plain(set.name()) || set.record_type() == RecordType::NSEC {
            let since = SystemTime::now() - Duration::from_secs(3600);
            let signature = RRSIG::from_rrset(set, DNSClass::IN, since.into(), &self.signer).unwrap();
            let data = RData::DNSSEC(DNSSECRData::RRSIG(signature));
            records.push(Record::from_rdata(set.name().clone(), self.ttl, data));
        }
        records
    }

    fn owners(&self) -> BTreeSet<Name> {
        let records = self.records.lock().unwrap();
        records
            .keys()
            .map(|(owner, _)| owner.clone())
            .filter(|owner| !is_plain(owner) || *owner == name("plain."))
            .collect()
    }

    /// The NSEC record at a name, or at the last one before it.
    fn nsec(&self, of: &Name) -> Vec<Record> {
        let owners = self.owners();
        let owner = owners.range(..=of.clone()).next_back().unwrap().clone();
        let next = owners
            .iter()
            .find(|next| **next > owner)
            .cloned()
            .unwrap_or(Name::root());
        let records = self.records.lock().unwrap();
        let kinds: Vec<RecordType> = records
            .keys()
            .filter(|(known, _)| *known == owner)
            .map(|(_, kind)| *kind)
            .collect();
        drop(records);
        let data = RData::DNSSEC(DNSSECRData::NSEC(NSEC::new_cover_self(next, kinds)));
        let mut set = RecordSet::new(owner.clone(), RecordType::NSEC, 0);
        set.insert(Record::from_rdata(owner, self.ttl, data), 0);
        self.signed(&set)
    }

    fn answer(&self, question: &Message) -> Message {
        let query = question.queries[0].clone();
        self.asked
            .lock()
            .unwrap()
            .push(format!("{} {}", query.query_type, query.name));
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        let mut end = query.name.clone();
        let mut proven = true;
        loop {
            proven &= !is_plain(&end) || query.query_type == RecordType::DS;
            if let Some(set) = self.rrset(&end, query.query_type) {
                reply.add_answers(self.signed(&set));
                break;
            }
            let Some(set) = self.rrset(&end, RecordType::CNAME) else {
                self.deny(&end, query.query_type, &mut reply);
                break;
            };
            let RData::CNAME(alias) = &set.records_without_rrsigs().next().unwrap().data else {
                unreachable!()
            };
            end = alias.0.clone();
            reply.add_answers(self.signed(&set));
        }
        match *self.manner.lock().unwrap() {
            Manner::Honest => {}
            Manner::Strips => strip(&mut reply),
            Manner::Says => {
                strip(&mut reply);
                reply.metadata.authentic_data = proven;
            }
            Manner::Forges(forge) => forge(self, &mut reply),
        }
        reply
    }

    fn deny(&self, end: &Name, kind: RecordType, reply: &mut Message) {
        if is_plain(end) && kind != RecordType::DS {
            let known = self
                .records
                .lock()
                .unwrap()
                .keys()
                .any(|(owner, _)| end.zone_of(owner));
            if !known {
                reply.metadata.response_code = ResponseCode::NXDomain;
            }
            reply.add_authority(Record::from_rdata(name("plain."), self.ttl, soa()));
            return;
        }
        reply.add_authorities(self.signed(&self.rrset(&Name::root(), RecordType::SOA).unwrap()));
        reply.add_authorities(self.nsec(end));
        if !self.owners().iter().any(|owner| end.zone_of(owner)) {
            reply.metadata.response_code = ResponseCode::NXDomain;
            let mut encloser = end.base_name();
            while !self.owners().iter().any(|owner| encloser.zone_of(owner)) {
                encloser = encloser.base_name();
            }
            let wildcard = name("*").append_domain(&encloser).unwrap();
            let about = self.nsec(&wildcard);
            if !reply.authorities.contains(&about[0]) {
                reply.add_authorities(about);
            }
        }
    }

    /// Serves by UDP and TCP at one port; by UDP no more than fits.
    async fn serve(self: Arc<Root>) -> SocketAddr {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = tcp.local_addr().unwrap();
        let udp = UdpSocket::bind(at).await.unwrap();
        let root = self.clone();
        tokio::spawn(async move {
            let mut packet = [0; 4096];
            while let Ok((length, from)) = udp.recv_from(&mut packet).await {
                let mut reply = self.answer(&Message::from_vec(&packet[..length]).unwrap());
                if reply.to_vec().unwrap().len() > 4000 {
                    reply.answers.clear();
                    reply.metadata.truncation = true;
                }
                udp.send_to(&reply.to_vec().unwrap(), from).await.unwrap();
            }
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = tcp.accept().await {
                let root = root.clone();
                tokio::spawn(async move {
                    while let Ok(length) = stream.read_u16().await {
                        let mut question = vec![0; length.into()];
                        stream.read_exact(&mut question).await.unwrap();
                        let reply = root
                            .answer(&Message::from_vec(&question).unwrap())
                            .to_vec()
                            .unwrap();
                        stream
                            .write_u16(u16::try_from(reply.len()).unwrap())
                            .await
                            .unwrap();
                        stream.write_all(&reply).await.unwrap();
                    }
                });
            }
        });
        at
    }
}

fn is_plain(owner: &Name) -> bool {
    name("plain.").zone_of(owner)
}

fn strip(reply: &mut Message) {
    let added = |record: &Record| [RecordType::RRSIG, RecordType::NSEC].contains(&record.record_type());
    reply.answers.retain(|record| !added(record));
    reply.authorities.retain(|record| !added(record));
}

/// A resolver that trusts this root.
async fn validating(root: &Arc<Root>) -> Resolve {
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("root.key");
    let key = format!(". 3600 IN DNSKEY {}\n", root.signer.dnskey());
    std::fs::write(&anchor, key).unwrap();
    Resolve::new(&Settings {
        trust_anchor_file: Some(anchor),
        ..settings(root, Dnssec::Validate).await
    })
    .unwrap()
}

async fn believing(root: &Arc<Root>) -> Resolve {
    root.behaves(Manner::Says);
    Resolve::new(&settings(root, Dnssec::UpstreamAd).await).unwrap()
}

async fn settings(root: &Arc<Root>, dnssec: Dnssec) -> Settings {
    Settings {
        servers: vec![root.clone().serve().await],
        dnssec,
        timeout: Duration::from_millis(1000),
        attempts: 1,
        ..Settings::default()
    }
}

type Tlsas = Result<Answer<Vec<u8>>, NoAnswer>;

/// The first octet of each TLSA record of a host.
async fn tlsa_of(dns: &Resolve, host: &str) -> Tlsas {
    let proven = Secure::mint(domain(host));
    let found = dns.tlsa(&tlsa_question(&proven, 25)).await?;
    let first =
        |records: &Vec<trust::dane::Tlsa>| records.iter().map(|record| record.association[0]).collect();
    Ok(match &found {
        Answer::Secure(records) => Answer::Secure(Secure::mint(first(records.get()))),
        Answer::Insecure(records) => Answer::Insecure(first(records)),
    })
}

fn is_secure<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Answer::Secure(_))
}

/// What both ways of knowing tell alike.
async fn check(dns: &Resolve) {
    let mx = dns.mx(&domain("a.test")).await.unwrap();
    assert!(is_secure(&mx.answer) && is_secure(&mx.names.asked));
    assert_eq!(mx.answer.get().len(), 2);
    assert_eq!(
        tlsa_of(dns, "mx.a.test").await,
        Ok(Answer::Secure(Secure::mint(vec![1])))
    );
    let txt = dns.txt("_mta-sts", &domain("a.test")).await.unwrap();
    assert!(is_secure(&txt));
    assert_eq!(*txt.get(), [Box::from(&b"v=STSv1; id=1"[..])]);
    // Denials.
    assert_eq!(
        tlsa_of(dns, "bare.a.test").await,
        Err(NoAnswer::NoSuchName(Denial::Secure))
    );
    let none = dns.mx(&domain("mx.a.test")).await;
    assert_eq!(none, Err(NoAnswer::NoRecords(Denial::Secure)));
    let none = dns.mx(&domain("nowhere.test")).await;
    assert_eq!(none, Err(NoAnswer::NoSuchName(Denial::Secure)));
    let none = dns.mx(&domain("mx.plain")).await;
    assert_eq!(none, Err(NoAnswer::NoRecords(Denial::Insecure)));
    // Addresses and aliases.
    let host = dns.addresses(&domain("mx.a.test")).await.unwrap();
    assert!(is_secure(&host.answer) && host.names.end.is_none());
    let plain = dns.addresses(&domain("mx.plain")).await.unwrap();
    assert!(!is_secure(&plain.answer) && !is_secure(&plain.names.asked));
    let alias = dns.addresses(&domain("alias.a.test")).await.unwrap();
    let end = alias.names.end.unwrap();
    assert!(is_secure(&alias.answer) && is_secure(&alias.names.asked) && is_secure(&end));
    assert_eq!(*end.get(), domain("mx.a.test"));
    let away = dns.addresses(&domain("away.a.test")).await.unwrap();
    assert!(!is_secure(&away.answer) && !is_secure(&away.names.end.unwrap()));
    assert!(is_secure(&away.names.asked), "the alias itself is proven");
    let back = dns.addresses(&domain("back.plain")).await.unwrap();
    assert!(
        !is_secure(&back.answer) && !is_secure(&back.names.asked) && !is_secure(&back.names.end.unwrap())
    );
    // RFC 7672 §2.2.3: an alias at the records' own name is followed, and each link must be proven.
    assert_eq!(tlsa_of(dns, "bound.a.test").await, Ok(Answer::Insecure(vec![4])));
}

// proves: 7672-2.1.1-1 7672-2.1.3-2 7672-2.2.3-2 6698-4.1-1 6698-4.1-4
#[tokio::test]
async fn what_is_signed_is_proven_and_what_is_not_is_told() {
    let root = Root::new(60);
    let dns = validating(&root).await;
    check(&dns).await;
    let known = [domain("a.test"), domain("nowhere.test")];
    assert_eq!(verdict(&probe(&dns, &known).await), Verdict::Works);
    let wrong = [domain("a.test"), domain("mx.plain")];
    assert_eq!(
        verdict(&probe(&dns, &wrong).await),
        Verdict::Zones(vec![domain("mx.plain")])
    );
}

// The eighth fault: what is forged passes for unsigned, or for absent.
// proves: 6698-4.1-3 7672-2.1.2-4
#[tokio::test]
async fn what_is_forged_is_a_failure() {
    let forgeries: [(&str, fn(&Root, &mut Message)); 6] = [
        ("a signature is lacking", |_, reply| strip(reply)),
        ("another key, the old signature", |_, reply| {
            reply.answers[0].data = tlsa(66);
        }),
        ("there is none, says an unsigned zone", |root, reply| {
            reply.answers.clear();
            reply.authorities = vec![Record::from_rdata(name("plain."), root.ttl, soa())];
            reply.metadata.response_code = ResponseCode::NXDomain;
        }),
        ("there is none, in an empty answer", |_, reply| {
            reply.answers.clear();
            reply.authorities.clear();
        }),
        ("there is none, with a proof for another name", |root, reply| {
            reply.answers.clear();
            reply.add_authorities(root.signed(&root.rrset(&Name::root(), RecordType::SOA).unwrap()));
            reply.add_authorities(root.nsec(&name("bare.a.test.")));
            reply.metadata.response_code = ResponseCode::NXDomain;
        }),
        (
            "an unsigned zone's record instead, and its word that there is no other",
            |root, reply| {
                let owner = name("_25._tcp.mx.plain.");
                reply.answers = vec![Record::from_rdata(owner, root.ttl, tlsa(66))];
                reply.authorities = vec![Record::from_rdata(
                    name("plain."),
                    root.ttl,
                    RData::NS(NS(name("ns.test."))),
                )];
            },
        ),
    ];
    for (what, forge) in forgeries {
        let root = Root::new(60);
        let dns = validating(&root).await;
        FORGERY.lock().unwrap().replace(forge);
        root.behaves(Manner::Forges(|root, reply| {
            if reply.queries[0].query_type == RecordType::TLSA {
                let forge = FORGERY.lock().unwrap().unwrap();
                forge(root, reply);
            }
        }));
        let found = tlsa_of(&dns, "mx.a.test").await;
        let is_held_off = matches!(
            found,
            Err(NoAnswer::Failed(_)
                | NoAnswer::NoRecords(Denial::Unproven)
                | NoAnswer::NoSuchName(Denial::Unproven))
        );
        assert!(is_held_off, "{what}: {found:?}");
    }
}

static FORGERY: Mutex<Option<fn(&Root, &mut Message)>> = Mutex::new(None);

// A record of someone else's zone is as well signed as any, and says nothing of this host.
#[tokio::test]
async fn a_signed_record_of_another_host_says_nothing_of_this_one() {
    let root = Root::new(60);
    let dns = validating(&root).await;
    root.behaves(Manner::Forges(|root, reply| {
        if reply.queries[0].query_type == RecordType::TLSA {
            let foreign = root
                .rrset(&name("_25._tcp.foreign.test."), RecordType::TLSA)
                .unwrap();
            reply.add_answers(root.signed(&foreign));
        }
    }));
    assert_eq!(
        tlsa_of(&dns, "mx.a.test").await,
        Ok(Answer::Secure(Secure::mint(vec![1])))
    );
}

// proves: 7672-2.1.3-1
#[tokio::test]
async fn an_alias_whose_end_is_not_found_out_is_a_failure() {
    let root = Root::new(60);
    let dns = validating(&root).await;
    root.behaves(Manner::Forges(|_, reply| {
        let asked = reply.queries[0].name.clone();
        if asked == name("mx.a.test.") {
            reply.answers.clear();
            reply.authorities.clear();
            reply.metadata.response_code = ResponseCode::ServFail;
        } else {
            reply.answers.retain(|record| record.name == asked);
        }
    }));
    let found = dns.addresses(&domain("alias.a.test")).await;
    assert!(matches!(found, Err(NoAnswer::Failed(_))), "{found:?}");
}

// proves: 6698-8.2-1
#[tokio::test]
async fn what_is_remembered_ends_with_its_time() {
    let root = Root::new(1);
    let dns = validating(&root).await;
    let secure = |octet| Ok(Answer::Secure(Secure::mint(vec![octet])));
    assert_eq!(tlsa_of(&dns, "mx.a.test").await, secure(1));
    root.change("_25._tcp.mx.a.test.", tlsa(2));
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(tlsa_of(&dns, "mx.a.test").await, secure(2));
}

#[tokio::test]
async fn a_resolver_that_strips_is_told_from_a_wrong_key_and_from_silence() {
    let root = Root::new(60);
    let dns = validating(&root).await;
    root.behaves(Manner::Strips);
    let known = [domain("a.test"), domain("mx.a.test")];
    assert_eq!(verdict(&probe(&dns, &known).await), Verdict::Strips);

    let (root, other) = (Root::new(60), Root::new(60));
    let folder = tempfile::tempdir().unwrap();
    let anchor = folder.path().join("root.key");
    std::fs::write(&anchor, format!(". 3600 IN DNSKEY {}\n", other.signer.dnskey())).unwrap();
    let wrong = Resolve::new(&Settings {
        trust_anchor_file: Some(anchor),
        ..settings(&root, Dnssec::Validate).await
    });
    let found = verdict(&probe(&wrong.unwrap(), &known).await);
    assert!(matches!(found, Verdict::Contradicts(_)), "{found}");

    // The root is handed on, and nothing below it.
    let root = Root::new(60);
    let dns = validating(&root).await;
    root.behaves(Manner::Forges(|_, reply| {
        if reply.queries[0].name != Name::root() {
            strip(reply);
        }
    }));
    let found = verdict(&probe(&dns, &known).await);
    assert!(matches!(found, Verdict::Loses(_)), "{found}");

    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = Resolve::new(&Settings {
        servers: vec![closed.local_addr().unwrap()],
        timeout: Duration::from_millis(200),
        attempts: 1,
        ..Settings::default()
    });
    let found = verdict(&probe(&silent.unwrap(), &[]).await);
    assert!(matches!(found, Verdict::Unreachable(_)), "{found}");
}

// proves: 7672-2.1.1-4 7672-2.1.3-3
#[tokio::test]
async fn a_resolver_on_this_machine_is_believed_where_that_is_asked_for() {
    let root = Root::new(60);
    let dns = believing(&root).await;
    check(&dns).await;
    assert!(
        root.asked
            .lock()
            .unwrap()
            .contains(&"CNAME away.a.test.".to_owned())
    );
    assert_eq!(dns.root_keys().await, Ok(RootKeys::Proven));
    // Without its word, the same answer proves nothing.
    root.behaves(Manner::Strips);
    assert_eq!(tlsa_of(&dns, "mx.a.test").await, Ok(Answer::Insecure(vec![1])));
    assert_eq!(verdict(&probe(&dns, &[]).await), Verdict::Believes);
    root.behaves(Manner::Forges(|_, reply| {
        reply.answers.clear();
        reply.metadata.response_code = ResponseCode::ServFail;
    }));
    assert!(matches!(
        tlsa_of(&dns, "mx.a.test").await,
        Err(NoAnswer::Failed(_))
    ));
}

#[tokio::test]
async fn what_is_too_long_for_a_packet_comes_by_tcp() {
    let root = Root::new(60);
    let dns = believing(&root).await;
    for octet in 0..200 {
        root.put("_25._tcp.mx.a.test.", tlsa(octet));
    }
    let found = tlsa_of(&dns, "mx.a.test").await.unwrap();
    assert!(is_secure(&found));
    assert_eq!(found.get().len(), 200);
}

// proves: 7672-2.1.1-5
#[tokio::test]
async fn without_dnssec_nothing_is_proven_and_that_is_told() {
    let root = Root::new(60);
    let dns = Resolve::new(&settings(&root, Dnssec::Off).await).unwrap();
    let host = dns.addresses(&domain("mx.a.test")).await.unwrap();
    assert!(!is_secure(&host.answer) && !is_secure(&host.names.asked));
    let found = verdict(&probe(&dns, &[]).await);
    assert_eq!(found, Verdict::Off);
    assert!(!found.is_good() && found.to_string().contains("DANE"));
}

// proves: 7672-2.1.1-6 6698-4.1-5 6698-8.3-1
#[test]
fn a_resolver_elsewhere_is_never_believed() {
    for server in ["192.0.2.53:53", "[2001:db8::53]:53", "[::ffff:192.0.2.53]:53"] {
        let settings = Settings {
            servers: vec!["127.0.0.1:53".parse().unwrap(), server.parse().unwrap()],
            dnssec: Dnssec::UpstreamAd,
            ..Settings::default()
        };
        assert!(matches!(Resolve::new(&settings), Err(BadResolver::Remote(at)) if at.to_string() == server));
        let text = format!("[dns]\nservers = [\"{server}\"]\ndnssec = \"upstream-ad\"\n");
        let error = sealpost::config::Config::parse(&text, "test")
            .unwrap_err()
            .to_string();
        assert!(error.contains("name a resolver on this machine"), "{error}");
    }
}
