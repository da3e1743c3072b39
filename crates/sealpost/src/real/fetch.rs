//! HTTPS over the DNS and network ports, so that the resolver and the routes of this server are used.
//!
//! Asks for one document in a connection of its own. Follows nothing, caches nothing, says nothing before the
//! certificate has proven the host.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Empty};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use mail::{Domain, Host, TlsVersion};
use trust::{Certificates, Path};

use crate::ports::{Clock, Dns, Fetch, Later, Net, NoAnswer, NotFetched, Stream, Wanted, within};
use crate::tls::client::Ask;
use crate::tls::{Encrypted, HandshakeError};

/// HTTPS as it is.
pub struct Https {
    dns: Arc<dyn Dns>,
    net: Arc<dyn Net>,
    clock: Arc<dyn Clock>,
}

impl Https {
    /// Over these.
    pub fn new(dns: Arc<dyn Dns>, net: Arc<dyn Net>, clock: Arc<dyn Clock>) -> Https {
        Https { dns, net, clock }
    }

    async fn get(&self, wanted: &Wanted) -> Result<Vec<u8>, NotFetched> {
        let stream = self.connect(&wanted.host).await?;
        let host = Host::Name(wanted.host.clone());
        let ask = Ask {
            server_name: Some(&wanted.host),
            version_min: TlsVersion::V1_2,
            groups: None,
            certificate: None,
        };
        let shaken = wanted.tls.connect(stream, &host, ask, wanted.wait).await;
        let Encrypted {
            stream, certificates, ..
        } = shaken.map_err(no_tls)?;
        prove(&certificates, &wanted.host)?;
        ask_for(stream, wanted).await
    }

    /// The first address that takes a connection.
    async fn connect(&self, host: &Domain) -> Result<Box<dyn Stream>, NotFetched> {
        let found = self
            .dns
            .addresses(host)
            .await
            .map_err(|none| no_address(host, none))?;
        let mut last = NotFetched::NoAddress(format!("{host} has none").into());
        for address in found.answer.get().iter().take(ADDRESSES_MAX) {
            let at = SocketAddr::new(*address, HTTPS_PORT);
            match within(&*self.clock, CONNECT_WAIT, self.net.connect(at, None)).await {
                Some(Ok(stream)) => return Ok(stream),
                Some(Err(error)) => last = NotFetched::NotConnected(format!("{at}: {error}").into()),
                None => last = NotFetched::NotConnected(format!("{at}: no answer").into()),
            }
        }
        Err(last)
    }
}

impl Fetch for Https {
    fn get<'a>(&'a self, wanted: &'a Wanted) -> Later<'a, Result<Vec<u8>, NotFetched>> {
        Box::pin(async move {
            let all = within(&*self.clock, wanted.wait, self.get(wanted)).await;
            all.unwrap_or(Err(NotFetched::TimedOut))
        })
    }
}

fn no_address(host: &Domain, none: NoAnswer) -> NotFetched {
    NotFetched::NoAddress(match none {
        NoAnswer::NoSuchName(_) => format!("{host} does not exist").into(),
        NoAnswer::NoRecords(_) => format!("{host} has none").into(),
        NoAnswer::Failed(why) => format!("{host} could not be looked up: {why}").into(),
    })
}

fn no_tls(error: HandshakeError) -> NotFetched {
    match error {
        HandshakeError::TimedOut => NotFetched::TimedOut,
        HandshakeError::Ours(_) | HandshakeError::Peer(_) => NotFetched::NoTls(error.to_string().into()),
    }
}

/// RFC 8461 §3.3: in date, to a root that we trust, for this name among its DNS-IDs.
fn prove(certificates: &Certificates, host: &Domain) -> Result<(), NotFetched> {
    match certificates.path() {
        Path::Trusted if certificates.covers(host) => Ok(()),
        Path::Trusted => Err(NotFetched::Certificate(format!("it is not for {host}").into())),
        Path::Flawed(_, why) => Err(NotFetched::Certificate(why.clone())),
        Path::Unchecked => Err(NotFetched::Certificate("this server trusts no root".into())),
    }
}

async fn ask_for(stream: Box<dyn Stream>, wanted: &Wanted) -> Result<Vec<u8>, NotFetched> {
    let (mut sender, connection) = http1::Builder::new()
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let request = Request::get(wanted.path)
        .header(header::HOST, wanted.host.as_str())
        .header(
            header::USER_AGENT,
            concat!("Sealpost/", env!("CARGO_PKG_VERSION")),
        )
        .header(header::ACCEPT, wanted.media_type)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| NotFetched::Broken(error.to_string().into()))?;
    let answering = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        check_head(&response, wanted)?;
        body(response.into_body(), wanted.bytes_max).await
    };
    // The connection moves only while it is polled; its own end, good or bad, reaches the answer by itself.
    let driving = async {
        let _ = connection.await;
        std::future::pending::<()>().await
    };
    tokio::select! {
        biased;
        answer = answering => answer,
        () = driving => Err(NotFetched::Broken("the connection ended".into())),
    }
}

fn check_head(response: &Response<Incoming>, wanted: &Wanted) -> Result<(), NotFetched> {
    if response.status() != StatusCode::OK {
        return Err(NotFetched::Status(response.status().as_u16()));
    }
    let found = response.headers().get(header::CONTENT_TYPE);
    let found = found.map_or(Ok(""), |value| value.to_str()).unwrap_or("");
    let essence = found.split(';').next().unwrap_or("").trim();
    match essence.eq_ignore_ascii_case(wanted.media_type) {
        true => Ok(()),
        false => Err(NotFetched::MediaType(
            essence.chars().take(TOLD_CHARS_MAX).collect(),
        )),
    }
}

async fn body(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, NotFetched> {
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(NotFetched::TooLong);
    }
    let mut octets = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(piece) = frame.map_err(broken)?.into_data() {
            if octets.len() + piece.len() > bytes_max {
                return Err(NotFetched::TooLong);
            }
            octets.extend_from_slice(&piece);
        }
    }
    Ok(octets)
}

fn broken(error: hyper::Error) -> NotFetched {
    NotFetched::Broken(error.to_string().into())
}

const HTTPS_PORT: u16 = 443;
const ADDRESSES_MAX: usize = 4;
const CONNECT_WAIT: Duration = Duration::from_secs(10);
const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const TOLD_CHARS_MAX: usize = 80;
