//! Where the world enters. Each port has one real body (`real/`) and one simulated body (`tests/`).

use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant, SystemTime};

use mail::{Domain, Secure};
use tokio::io::{AsyncRead, AsyncWrite};
use trust::dane::Tlsa;

use crate::tls::ClientTls;

/// A future behind a port.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// All ports, handed to every task.
#[derive(Clone)]
pub struct Ports {
    /// Names to hosts.
    pub dns: Arc<dyn Dns>,
    /// Sockets.
    pub net: Arc<dyn Net>,
    /// The web.
    pub fetch: Arc<dyn Fetch>,
    /// Time and dice.
    pub clock: Arc<dyn Clock>,
}

/// Does `work` for at most `wait`; none if that was not enough. Work that is done in time wins.
pub async fn within<T>(clock: &dyn Clock, wait: Duration, work: impl Future<Output = T>) -> Option<T> {
    let end = clock.sleep_until(clock.instant() + wait);
    tokio::select! {
        biased;
        done = work => Some(done),
        () = end => None,
    }
}

/// A connected byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Stream for T {}

/// Listening and connecting.
pub trait Net: Send + Sync + 'static {
    /// Connects to `peer`, from `source` if one is given. No time limit of its own.
    fn connect(&self, peer: SocketAddr, source: Option<IpAddr>) -> Later<'_, io::Result<Box<dyn Stream>>>;
    /// Opens a listener. The error's text is one line for the operator.
    fn listen<'a>(&'a self, at: &'a Place) -> Later<'a, io::Result<Box<dyn Listener>>>;
    /// The addresses of this host's own interfaces, loopback included.
    fn addresses(&self) -> io::Result<Vec<IpAddr>>;
}

/// Where to listen.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Place {
    /// An address and port. `[::]` takes IPv4 clients as well.
    Address(SocketAddr),
    /// An IPv6 address and port for IPv6 clients only, since IPv4 has a listener of its own.
    AddressV6Only(SocketAddr),
    /// A socket handed over by systemd, by its name.
    Socket(Box<str>),
}

/// An open listener.
pub trait Listener: Send + Sync + 'static {
    /// The next connection.
    fn accept(&self) -> Later<'_, io::Result<Accepted>>;
    /// Where it listens (the port chosen by the system, where 0 was asked for).
    fn address(&self) -> io::Result<SocketAddr>;
}

/// A connection that a client made. IPv4 addresses mapped into IPv6 are given as what they are.
pub struct Accepted {
    /// Its octets.
    pub stream: Box<dyn Stream>,
    /// The client's end.
    pub client: SocketAddr,
    /// Our end.
    pub here: SocketAddr,
}

/// The wall clock, the steady clock, and dice.
pub trait Clock: Send + Sync + 'static {
    /// Wall-clock time.
    fn now(&self) -> SystemTime;
    /// The steady clock that session timers use.
    fn instant(&self) -> Instant;
    /// Sleeps until the steady clock shows `when`.
    fn sleep_until(&self, when: Instant) -> Later<'static, ()>;
    /// 64 random bits.
    fn roll(&self) -> u64;
}

/// A DNS answer with how far it can be believed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// Validated by DNSSEC along the whole chain of names.
    Secure(Secure<T>),
    /// From a zone that is not signed.
    Insecure(T),
}

/// Records, and the names that lead to them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resolved<T> {
    /// The records, and how far the whole chain of names and records can be believed.
    pub answer: Answer<T>,
    /// The names.
    pub names: Names,
}

/// The name that was asked for, and what it is an alias for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Names {
    /// The name that was asked for. Proven if what stands under it is: the records, or the first alias, whatever that
    /// leads to (RFC 7672 §2.1.3).
    pub asked: Answer<Domain>,
    /// Where it is an alias, the name at the end of the chain. Proven if each link and the records at its end are.
    pub end: Option<Answer<Domain>>,
}

/// Why a look-up found nothing, or could not find out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NoAnswer {
    /// The name does not exist (NXDOMAIN).
    NoSuchName(Denial),
    /// The name exists, without records of this type.
    NoRecords(Denial),
    /// Could not find out: SERVFAIL, timeout, or an answer that failed validation. The host is unreachable for now.
    Failed(Box<str>),
}

/// How far "there is none" can be believed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Denial {
    /// Nothing speaks for it: DNSSEC is off, or the answer was empty.
    Unproven,
    /// It comes from a zone that is proven not to be signed.
    Insecure,
    /// Proven by DNSSEC.
    Secure,
}

/// One mail exchanger.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Mx {
    /// Lower is tried first.
    pub preference: u16,
    /// The exchanger; none for the null MX `.` (RFC 7505 §3).
    pub exchange: Option<Domain>,
}

/// The text of one TXT record, its strings put together.
pub type Txt = Box<[u8]>;

/// The question for the TLSA records of a service. Made by [`tlsa_question`] alone: an unproven name cannot ask, since
/// its answer would prove nothing (RFC 7672 §2.2.2).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct TlsaQuestion {
    base: Domain,
    port: u16,
}

/// Asks for the TLSA records of the service at a TCP port of a proven name.
///
/// A name that is not proven does not compile:
/// ```compile_fail
/// let base = mail::Domain::parse("mx.example").unwrap();
/// sealpost::ports::tlsa_question(&base, 25);
/// ```
pub fn tlsa_question(base: &Secure<Domain>, port: u16) -> TlsaQuestion {
    TlsaQuestion {
        base: base.get().clone(),
        port,
    }
}

/// What a resolver makes of the keys of the root, from which all proof starts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RootKeys {
    /// They validated.
    Proven,
    /// They came with signatures that do not fit the keys trusted here, and why.
    Contradicted(Box<str>),
    /// They came without signatures, or not at all though other answers come.
    Unsigned,
    /// The resolver is trusted to validate and did not.
    Unvalidated,
    /// Nothing is validated.
    Unchecked,
}

/// Name look-ups. CNAMEs are followed.
pub trait Dns: Send + Sync + 'static {
    /// The mail exchangers of a domain.
    fn mx<'a>(&'a self, domain: &'a Domain) -> Later<'a, Result<Resolved<Vec<Mx>>, NoAnswer>>;
    /// The addresses of a host, A and AAAA, in the resolver's order; found if either type is.
    fn addresses<'a>(&'a self, host: &'a Domain) -> Later<'a, Result<Resolved<Vec<IpAddr>>, NoAnswer>>;
    /// The TLSA records of a service.
    fn tlsa<'a>(&'a self, question: &'a TlsaQuestion) -> Later<'a, Result<Answer<Vec<Tlsa>>, NoAnswer>>;
    /// The keys of the root. Not cached.
    fn root_keys(&self) -> Later<'_, Result<RootKeys, NoAnswer>> {
        Box::pin(async { Ok(RootKeys::Unchecked) })
    }
    /// The TXT records of a label below a domain, such as `_mta-sts`.
    fn txt<'a>(&'a self, label: &'a str, domain: &'a Domain)
    -> Later<'a, Result<Answer<Vec<Txt>>, NoAnswer>>;
}

/// One document to be fetched from the web.
#[derive(Clone)]
pub struct Wanted {
    /// The host, at port 443; its certificate must prove this name.
    pub host: Domain,
    /// The path, with its first slash.
    pub path: &'static str,
    /// The media type that it must have; parameters do not count.
    pub media_type: &'static str,
    /// The longest body that is taken.
    pub bytes_max: usize,
    /// How long all of it may take.
    pub wait: Duration,
    /// Whom to trust.
    pub tls: ClientTls,
}

/// Why a document was not fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum NotFetched {
    /// The host's addresses could not be had.
    NoAddress(Box<str>),
    /// None of its addresses takes a connection.
    NotConnected(Box<str>),
    /// TLS came to nothing.
    NoTls(Box<str>),
    /// The certificate does not prove the host's name.
    Certificate(Box<str>),
    /// The answer is not 200; redirects are not followed.
    Status(u16),
    /// The answer is of this media type.
    MediaType(Box<str>),
    /// The body is longer than wanted.
    TooLong,
    /// It took too long.
    TimedOut,
    /// The answer broke off, or is no HTTP.
    Broken(Box<str>),
}

/// HTTPS: GET and nothing else. No redirect is followed and nothing is cached.
pub trait Fetch: Send + Sync + 'static {
    /// Fetches a document: its body, unless anything at all is not as it was wanted.
    fn get<'a>(&'a self, wanted: &'a Wanted) -> Later<'a, Result<Vec<u8>, NotFetched>>;
}

impl std::fmt::Display for NotFetched {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotFetched::NoAddress(why) => write!(f, "no address: {why}"),
            NotFetched::NotConnected(why) => write!(f, "no connection: {why}"),
            NotFetched::NoTls(why) => write!(f, "no TLS: {why}"),
            NotFetched::Certificate(why) => write!(f, "certificate: {why}"),
            NotFetched::Status(status @ 300..400) => {
                write!(f, "HTTP status {status}, and redirects are not followed")
            }
            NotFetched::Status(status) => write!(f, "HTTP status {status}"),
            NotFetched::MediaType(found) => write!(f, "media type {found:?}"),
            NotFetched::TooLong => f.write_str("the answer is too long"),
            NotFetched::TimedOut => f.write_str("it took too long"),
            NotFetched::Broken(why) => write!(f, "no proper answer: {why}"),
        }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Place::Address(at) | Place::AddressV6Only(at) => write!(f, "{at}"),
            Place::Socket(name) => write!(f, "socket {name}"),
        }
    }
}

impl TlsaQuestion {
    /// The name under which the service's records stand, without port and protocol.
    pub fn base(&self) -> &Domain {
        &self.base
    }

    /// The name to ask for (RFC 6698 §3), without a final dot.
    pub fn owner(&self) -> String {
        format!("_{}._tcp.{}", self.port, self.base)
    }
}

impl<T> Resolved<T> {
    /// An answer without proof, under the very name that was asked for.
    pub fn insecure(name: &Domain, found: T) -> Resolved<T> {
        Resolved {
            answer: Answer::Insecure(found),
            names: Names {
                asked: Answer::Insecure(name.clone()),
                end: None,
            },
        }
    }
}

impl<T> Answer<T> {
    /// The answer, however far it can be believed.
    pub fn get(&self) -> &T {
        match self {
            Answer::Secure(proven) => proven.get(),
            Answer::Insecure(found) => found,
        }
    }
}

impl<T> Answer<Vec<T>> {
    /// An answer for each record.
    pub fn into_each(self) -> Vec<Answer<T>> {
        match self {
            Answer::Secure(proven) => proven.into_each().map(Answer::Secure).collect(),
            Answer::Insecure(found) => found.into_iter().map(Answer::Insecure).collect(),
        }
    }
}

/// Waits for all of them at the same time; the results stand in the order of the questions.
pub async fn together<T>(questions: Vec<Later<'_, T>>) -> Vec<T> {
    let mut waiting: Vec<Result<T, Later<'_, T>>> = questions.into_iter().map(Err).collect();
    std::future::poll_fn(|context| {
        for slot in &mut waiting {
            if let Err(question) = slot
                && let Poll::Ready(answer) = question.as_mut().poll(context)
            {
                *slot = Ok(answer);
            }
        }
        match waiting.iter().all(Result::is_ok) {
            true => Poll::Ready(
                std::mem::take(&mut waiting)
                    .into_iter()
                    .filter_map(Result::ok)
                    .collect(),
            ),
            false => Poll::Pending,
        }
    })
    .await
}
