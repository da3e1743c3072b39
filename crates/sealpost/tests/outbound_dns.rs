//! The resolver against a name server on loopback: what exists, what does not, and what could not be found out.
#![allow(clippy::unwrap_used)] // a test may panic

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, SOA, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use mail::Domain;
use sealpost::config::dns::{Dns as Settings, Dnssec};
use sealpost::ports::{Answer, Denial, Dns, Mx, NoAnswer, Resolved};
use sealpost::real::dns::Resolve;
use tokio::net::UdpSocket;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

/// The zone: `a.test` and its like, without a signature anywhere.
fn answer(asked: &Name, kind: RecordType) -> Result<Vec<RData>, ResponseCode> {
    let mx = |preference, exchange: &str| RData::MX(MX::new(preference, name(exchange)));
    let text = asked.to_ascii();
    Ok(match (text.as_str(), kind) {
        ("a.test.", RecordType::MX) => vec![mx(20, "two.test."), mx(10, "One.test.")],
        ("null.test.", RecordType::MX) => vec![mx(0, ".")],
        ("odd.test.", RecordType::MX) => vec![mx(10, "not_a_host.test.")],
        ("a.test.", RecordType::A) => vec![RData::A(A::new(192, 0, 2, 1))],
        ("a.test.", RecordType::AAAA) => vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))],
        ("v4.test.", RecordType::A) => vec![RData::A(A::new(192, 0, 2, 4))],
        ("_mta-sts.provider.test.", RecordType::TXT) => vec![
            RData::TXT(TXT::new(vec!["v=STSv1; id=2020".into(), "0101;".into()])),
            RData::TXT(TXT::new(vec!["v=spf1 ".into(), "-all".into()])),
        ],
        ("_mta-sts.user.test.", _) => vec![RData::CNAME(CNAME(name("_mta-sts.provider.test.")))],
        ("alias.test.", _) => vec![RData::CNAME(CNAME(name("v4.test.")))],
        ("v4.test." | "null.test." | "odd.test.", _) => Vec::new(),
        ("broken.test.", _) => return Err(ResponseCode::ServFail),
        _ => return Err(ResponseCode::NXDomain),
    })
}

/// A name server that counts questions.
async fn server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (at, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = asked.clone();
    tokio::spawn(async move {
        let mut packet = [0; 4096];
        while let Ok((length, from)) = socket.recv_from(&mut packet).await {
            count.fetch_add(1, Ordering::SeqCst);
            let question = Message::from_vec(&packet[..length]).unwrap();
            socket.send_to(&reply(&question), from).await.unwrap();
        }
    });
    (at, asked)
}

fn reply(question: &Message) -> Vec<u8> {
    let query = question.queries[0].clone();
    let mut reply = Message::response(question.metadata.id, OpCode::Query);
    reply.metadata.recursion_available = true;
    let soa = || SOA::new(name("ns.test."), name("admin.test."), 1, 60, 60, 60, 60);
    match answer(&query.name, query.query_type) {
        Ok(found) => {
            if found.is_empty() {
                reply.add_authority(Record::from_rdata(name("test."), 60, RData::SOA(soa())));
            }
            for data in found {
                let target = match &data {
                    RData::CNAME(alias) => Some(alias.0.clone()),
                    _ => None,
                };
                reply.add_answer(Record::from_rdata(query.name.clone(), 60, data));
                if let Some(target) = target {
                    for data in answer(&target, query.query_type).unwrap_or_default() {
                        reply.add_answer(Record::from_rdata(target.clone(), 60, data));
                    }
                }
            }
        }
        Err(code) => {
            reply.metadata.response_code = code;
            if code == ResponseCode::NXDomain {
                reply.add_authority(Record::from_rdata(name("test."), 60, RData::SOA(soa())));
            }
        }
    }
    reply.add_query(query);
    reply.to_vec().unwrap()
}

fn resolver(server: SocketAddr, dnssec: Dnssec) -> Resolve {
    let settings = Settings {
        servers: vec![server],
        dnssec,
        timeout: Duration::from_millis(500),
        attempts: 1,
        ..Settings::default()
    };
    Resolve::new(&settings).unwrap()
}

fn domain(text: &str) -> Domain {
    Domain::parse(text).unwrap()
}

// proves: 8461-3.1-4 8461-3.1-7
#[tokio::test]
async fn the_strings_of_a_txt_record_are_joined_and_aliases_followed() {
    let (at, _) = server().await;
    let dns = resolver(at, Dnssec::Off);
    for owner in ["provider.test", "user.test"] {
        let found = dns.txt("_mta-sts", &domain(owner)).await.unwrap();
        let mut texts: Vec<_> = found
            .get()
            .iter()
            .map(|text| String::from_utf8_lossy(text))
            .collect();
        texts.sort();
        assert_eq!(texts, ["v=STSv1; id=20200101;", "v=spf1 -all"], "{owner}");
        let id = trust::sts::Id::parse("20200101").unwrap();
        assert_eq!(
            trust::sts::discover(found.get()),
            trust::sts::Discovered::Published(id)
        );
    }
}

#[tokio::test]
async fn what_exists_and_what_does_not() {
    let (at, _) = server().await;
    let dns = resolver(at, Dnssec::Off);
    let mx = |preference, exchange: &str| Mx {
        preference,
        exchange: Some(domain(exchange)),
    };
    let Ok(Resolved {
        answer: Answer::Insecure(mut found),
        ..
    }) = dns.mx(&domain("a.test")).await
    else {
        panic!("no MX")
    };
    found.sort();
    assert_eq!(found, [mx(10, "one.test"), mx(20, "two.test")]);
    let null = Mx {
        preference: 0,
        exchange: None,
    };
    assert_eq!(
        dns.mx(&domain("null.test")).await,
        Ok(Resolved::insecure(&domain("null.test"), vec![null]))
    );
    assert_eq!(
        dns.mx(&domain("v4.test")).await,
        Err(NoAnswer::NoRecords(Denial::Unproven))
    );
    assert_eq!(
        dns.mx(&domain("nowhere.test")).await,
        Err(NoAnswer::NoSuchName(Denial::Unproven))
    );
    // An exchanger that can be no host is no leave to use the domain's own address (RFC 5321 §5.1).
    assert!(matches!(
        dns.mx(&domain("odd.test")).await,
        Err(NoAnswer::Failed(_))
    ));
}

// proves: 5321-5.1-1
#[tokio::test]
async fn addresses_of_both_families_and_behind_aliases() {
    let (at, _) = server().await;
    let dns = resolver(at, Dnssec::Off);
    let both = vec!["192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap()];
    let a = domain("a.test");
    assert_eq!(dns.addresses(&a).await, Ok(Resolved::insecure(&a, both)));
    let one: Vec<IpAddr> = vec!["192.0.2.4".parse().unwrap()];
    let v4 = domain("v4.test");
    assert_eq!(dns.addresses(&v4).await, Ok(Resolved::insecure(&v4, one.clone())));
    let behind = dns.addresses(&domain("alias.test")).await.unwrap();
    assert_eq!(behind.answer, Answer::Insecure(one));
    assert_eq!(behind.names.end, Some(Answer::Insecure(v4)));
    assert_eq!(
        dns.addresses(&domain("nowhere.test")).await,
        Err(NoAnswer::NoSuchName(Denial::Unproven))
    );
}

#[tokio::test]
async fn a_failure_is_never_taken_for_an_absence() {
    let (at, _) = server().await;
    assert!(matches!(
        resolver(at, Dnssec::Off).mx(&domain("broken.test")).await,
        Err(NoAnswer::Failed(_))
    ));
    // Nobody answers.
    let closed = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let silent = resolver(closed.local_addr().unwrap(), Dnssec::Off);
    assert!(matches!(
        silent.mx(&domain("a.test")).await,
        Err(NoAnswer::Failed(_))
    ));
}

// A resolver that strips signatures makes every name fail; none becomes unsigned by that.
// proves: 7505-5-1
#[tokio::test]
async fn without_signatures_nothing_is_believed_where_they_are_due() {
    let (at, _) = server().await;
    let dns = resolver(at, Dnssec::Validate);
    for name in ["a.test", "null.test", "v4.test", "nowhere.test"] {
        let found = dns.mx(&domain(name)).await;
        assert!(matches!(found, Err(NoAnswer::Failed(_))), "{name}: {found:?}");
    }
    assert!(matches!(
        dns.addresses(&domain("a.test")).await,
        Err(NoAnswer::Failed(_))
    ));
}

#[tokio::test]
async fn what_was_denied_is_not_asked_again_soon() {
    let (at, asked) = server().await;
    let dns = resolver(at, Dnssec::Off);
    for _ in 0..3 {
        assert_eq!(
            dns.mx(&domain("v4.test")).await,
            Err(NoAnswer::NoRecords(Denial::Unproven))
        );
        assert_eq!(
            dns.mx(&domain("nowhere.test")).await,
            Err(NoAnswer::NoSuchName(Denial::Unproven))
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}
