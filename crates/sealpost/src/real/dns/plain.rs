//! Questions put to a resolver as they are; nothing of the answer is validated here. For a resolver that validates by
//! itself on this machine, and to learn what a resolver does to signatures.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, MessageType, Query};
use hickory_resolver::proto::rr::{Name, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

/// Resolvers to ask in turn.
pub(super) struct Plain {
    servers: Vec<SocketAddr>,
    wait: Duration,
    attempts: usize,
}

/// Whether the resolver is to hand on what it could not validate itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Checking {
    /// It is to answer SERVFAIL to that.
    Wanted,
    /// It is to answer all the same (RFC 4035 §3.2.2).
    Disabled,
}

impl Plain {
    pub(super) fn new(servers: Vec<SocketAddr>, wait: Duration, attempts: usize) -> Plain {
        Plain {
            servers,
            wait,
            attempts: attempts.max(1),
        }
    }

    pub(super) fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// Asks until one of them answers; the error says why the last one did not.
    pub(super) async fn ask(&self, name: &Name, kind: RecordType, checking: Checking) -> io::Result<Message> {
        let mut last = io::Error::other("no resolver is known");
        for _ in 0..self.attempts {
            for server in &self.servers {
                let exchange = exchange(*server, name, kind, checking);
                match timeout(self.wait, exchange).await {
                    Ok(Ok(answer)) => return Ok(answer),
                    Ok(Err(error)) => last = error,
                    Err(_) => {
                        last = io::Error::new(io::ErrorKind::TimedOut, format!("{server} does not answer"))
                    }
                }
            }
        }
        Err(last)
    }
}

/// One question by UDP, and by TCP where the answer is too long for that (RFC 7766 §5).
async fn exchange(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    checking: Checking,
) -> io::Result<Message> {
    let question = question(name, kind, checking);
    let octets = question.to_vec().map_err(io::Error::other)?;
    let answer = by_udp(server, &question, &octets).await?;
    match answer.metadata.truncation {
        false => Ok(answer),
        true => by_tcp(server, &question, &octets).await,
    }
}

/// RFC 6840 §5.7: the AD bit asks for the AD bit; RFC 3225: the DO bit asks for signatures.
fn question(name: &Name, kind: RecordType, checking: Checking) -> Message {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.metadata.authentic_data = true;
    question.metadata.checking_disabled = checking == Checking::Disabled;
    question.add_query(Query::query(name.clone(), kind));
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD_BYTES_MAX).set_dnssec_ok(true);
    question.edns = Some(edns);
    question
}

async fn by_udp(server: SocketAddr, question: &Message, octets: &[u8]) -> io::Result<Message> {
    let any = match server.is_ipv4() {
        true => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        false => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    // A port of its own for each question, and answers from nobody else.
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    socket.connect(server).await?;
    socket.send(octets).await?;
    let mut packet = [0; PACKET_BYTES_MAX];
    loop {
        let length = socket.recv(&mut packet).await?;
        if let Some(answer) = answer_to(question, &packet[..length]) {
            return Ok(answer);
        }
    }
}

async fn by_tcp(server: SocketAddr, question: &Message, octets: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes()[..], octets].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    answer_to(question, &answer).ok_or_else(|| io::Error::other(format!("{server} answered something else")))
}

/// The answer, if it is one to this question.
fn answer_to(question: &Message, octets: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(octets).ok()?;
    let fits = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && answer.queries == question.queries;
    fits.then_some(answer)
}

/// What fits into one packet nearly everywhere (RFC 9715 §3.2).
const PAYLOAD_BYTES_MAX: u16 = 1232;
/// Room for a packet.
const PACKET_BYTES_MAX: usize = 4096;
