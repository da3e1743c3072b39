//! A name server in the middle: it hands questions on to a real resolver and answers as told, by UDP and TCP. Honest at first.
//!
//! It notes every question, so that a test can tell what was never asked.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

pub use hickory_resolver::proto::rr::RecordType;

use hickory_resolver::proto::op::{Message, ResponseCode};
use hickory_resolver::proto::rr::{Name, RData, Record};

/// How long an idle thread takes to see that it shall end.
const GLANCE: Duration = Duration::from_millis(50);
/// A real resolver's longest search.
const UPSTREAM_WAIT: Duration = Duration::from_secs(10);
const DATAGRAM_BYTES_MAX: usize = 65_535;

/// How it treats questions of which nothing else was said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Manner {
    /// Question and answer pass as they are.
    Honest,
    /// Signatures and all that proves a denial are dropped, and none are asked for: what many home routers do.
    Strips,
    /// SERVFAIL to everything: a name server that has lost its zones.
    Fails,
}

/// A false answer to one question.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Forgery {
    /// None at all.
    Silence,
    /// SERVFAIL.
    ServFail,
    /// There are no such records, says an unsigned answer.
    Nothing,
    /// The name does not exist, says an unsigned answer.
    NoSuchName,
    /// These records, unsigned: the text behind their type, one each.
    Records(Vec<String>),
}

/// A running one. Dropped, it falls silent.
pub struct Meddler {
    address: IpAddr,
    shared: Arc<Shared>,
}

struct Shared {
    upstream: SocketAddr,
    stopped: AtomicBool,
    state: Mutex<State>,
}

struct State {
    manner: Manner,
    forgeries: Vec<(String, RecordType, Forgery)>,
    asked: Vec<(String, RecordType)>,
}

impl Meddler {
    /// Answers on port 53 of `address` with what the resolver at `upstream` says.
    pub fn start(address: IpAddr, upstream: IpAddr) -> Meddler {
        let here = SocketAddr::new(address, 53);
        let bound = UdpSocket::bind(here).and_then(|udp| Ok((udp, TcpListener::bind(here)?)));
        let (udp, tcp) = bound.unwrap_or_else(|error| panic!("cannot listen at {here}: {error}"));
        let shared = Arc::new(Shared {
            upstream: SocketAddr::new(upstream, 53),
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                manner: Manner::Honest,
                forgeries: Vec::new(),
                asked: Vec::new(),
            }),
        });
        udp.set_read_timeout(Some(GLANCE)).expect("a socket of our own");
        tcp.set_nonblocking(true).expect("a socket of our own");
        let (udp, for_udp, for_tcp) = (Arc::new(udp), shared.clone(), shared.clone());
        std::thread::spawn(move || serve_udp(&udp, &for_udp));
        std::thread::spawn(move || serve_tcp(&tcp, &for_tcp));
        Meddler { address, shared }
    }

    /// Where it answers.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// From now on.
    pub fn be(&self, manner: Manner) {
        self.shared.lock().manner = manner;
    }

    /// From now on, to this question. `name` ends with a dot.
    pub fn forge(&self, name: &str, kind: RecordType, forgery: Forgery) {
        let mut state = self.shared.lock();
        state
            .forgeries
            .retain(|(known, of, _)| (known.as_str(), *of) != (name, kind));
        state.forgeries.push((name.to_owned(), kind, forgery));
    }

    /// Honest again.
    pub fn relent(&self) {
        let mut state = self.shared.lock();
        state.forgeries.clear();
        state.manner = Manner::Honest;
    }

    /// All questions so far: names in lower case with a final dot.
    pub fn asked(&self) -> Vec<(String, RecordType)> {
        self.shared.lock().asked.clone()
    }
}

impl Drop for Meddler {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    /// The answer to a question, unless it is silence. `ask` reaches the real resolver over the same transport.
    fn answer(
        &self,
        question: &[u8],
        ask: impl Fn(&[u8]) -> io::Result<Vec<u8>>,
    ) -> io::Result<Option<Vec<u8>>> {
        let message = Message::from_vec(question).map_err(io::Error::other)?;
        let Some(query) = message.queries.first().cloned() else {
            return Ok(None);
        };
        let name = query.name().to_lowercase().to_string();
        let (manner, forgery) = {
            let mut state = self.lock();
            state.asked.push((name.clone(), query.query_type()));
            let matches =
                |(of, kind, _): &&(String, RecordType, Forgery)| *of == name && *kind == query.query_type();
            let forgery = state
                .forgeries
                .iter()
                .find(matches)
                .map(|(_, _, forgery)| forgery.clone());
            (state.manner, forgery)
        };
        match (forgery, manner) {
            (Some(forgery), _) => forged(message, query.name(), query.query_type(), &forgery),
            (None, Manner::Honest) => ask(question).map(Some),
            (None, Manner::Fails) => forged(message, query.name(), query.query_type(), &Forgery::ServFail),
            (None, Manner::Strips) => stripped(message, ask).map(Some),
        }
    }
}

fn stripped(mut message: Message, ask: impl Fn(&[u8]) -> io::Result<Vec<u8>>) -> io::Result<Vec<u8>> {
    if let Some(edns) = &mut message.edns {
        edns.set_dnssec_ok(false);
    }
    let answer = ask(&message.to_vec().map_err(io::Error::other)?)?;
    let mut answer = Message::from_vec(&answer).map_err(io::Error::other)?;
    for section in [
        &mut answer.answers,
        &mut answer.authorities,
        &mut answer.additionals,
    ] {
        section.retain(|record| !is_proof(record.record_type()));
    }
    answer.metadata.authentic_data = false;
    answer.to_vec().map_err(io::Error::other)
}

fn is_proof(kind: RecordType) -> bool {
    use RecordType::{CDNSKEY, CDS, DNSKEY, DS, NSEC, NSEC3, NSEC3PARAM, RRSIG};
    [CDNSKEY, CDS, DNSKEY, DS, NSEC, NSEC3, NSEC3PARAM, RRSIG].contains(&kind)
}

fn forged(
    question: Message,
    name: &Name,
    kind: RecordType,
    forgery: &Forgery,
) -> io::Result<Option<Vec<u8>>> {
    let mut answer = question.into_response();
    answer.metadata.recursion_available = true;
    match forgery {
        Forgery::Silence => return Ok(None),
        Forgery::ServFail => answer.metadata.response_code = ResponseCode::ServFail,
        Forgery::NoSuchName => answer.metadata.response_code = ResponseCode::NXDomain,
        Forgery::Nothing => {}
        Forgery::Records(texts) => {
            for text in texts {
                let data =
                    RData::try_from_str(kind, text).unwrap_or_else(|error| panic!("{kind} {text}: {error}"));
                answer.add_answer(Record::from_rdata(name.clone(), 1, data));
            }
        }
    }
    answer.to_vec().map(Some).map_err(io::Error::other)
}

fn serve_udp(socket: &Arc<UdpSocket>, shared: &Arc<Shared>) {
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !shared.is_stopped() {
        let Ok((count, client)) = socket.recv_from(&mut buffer) else {
            continue;
        };
        let (question, socket, shared) = (buffer[..count].to_vec(), socket.clone(), shared.clone());
        std::thread::spawn(move || {
            match shared.answer(&question, |octets| ask_by_udp(shared.upstream, octets)) {
                Ok(Some(answer)) => {
                    // A client that is gone asks no more.
                    let _ = socket.send_to(&answer, client);
                }
                Ok(None) => {}
                Err(error) => eprintln!("meddler: {error}"),
            }
        });
    }
}

fn ask_by_udp(upstream: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((IpAddr::from([127, 0, 0, 1]), 0))?;
    socket.set_read_timeout(Some(UPSTREAM_WAIT))?;
    socket.connect(upstream)?;
    socket.send(question)?;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    let count = socket.recv(&mut buffer)?;
    buffer.truncate(count);
    Ok(buffer)
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.is_stopped() {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = shared.clone();
                std::thread::spawn(move || serve_stream(stream, &shared));
            }
            Err(_) => std::thread::sleep(GLANCE),
        }
    }
}

fn serve_stream(mut stream: TcpStream, shared: &Shared) {
    let served = (|| -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(UPSTREAM_WAIT))?;
        while !shared.is_stopped() {
            let question = read_framed(&mut stream)?;
            let answer = shared.answer(&question, |octets| {
                let mut upstream = TcpStream::connect(shared.upstream)?;
                upstream.set_read_timeout(Some(UPSTREAM_WAIT))?;
                write_framed(&mut upstream, octets)?;
                read_framed(&mut upstream)
            })?;
            if let Some(answer) = answer {
                write_framed(&mut stream, &answer)?;
            }
        }
        Ok(())
    })();
    // A client closes when it has its answers.
    drop(served);
}

fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut octets)?;
    Ok(octets)
}

fn write_framed(stream: &mut TcpStream, octets: &[u8]) -> io::Result<()> {
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), octets].concat())
}
