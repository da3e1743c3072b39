//! The HTTPS host of our own policy (RFC 8461 §3.3): one document for each domain, and 404 for everything else.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use trust::sts::POLICY_PATH;

use super::own::Published;
use crate::ports::{Accepted, Clock, Listener, within};
use crate::receive::Phase;
use crate::tls::web::WebTls;

/// An open policy host.
pub struct PolicyHost {
    listener: Box<dyn Listener>,
    tls: WebTls,
    clock: Arc<dyn Clock>,
    pages: Arc<dyn Fn() -> Pages + Send + Sync>,
}

/// The policies, by the name of the host that serves each.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pages(BTreeMap<Box<str>, Bytes>);

impl Pages {
    /// One page for each.
    pub fn new(published: Vec<Published>) -> Pages {
        let page = |one: Published| (one.policy_host.as_str().into(), Bytes::from(one.policy));
        Pages(published.into_iter().map(page).collect())
    }

    fn of(&self, host: &str) -> Option<Bytes> {
        self.0.get(host.to_ascii_lowercase().as_str()).cloned()
    }

    fn has(&self, host: &str) -> bool {
        self.0.contains_key(host.to_ascii_lowercase().as_str())
    }
}

impl PolicyHost {
    /// Serves at this listener. `pages` gives those of now.
    pub fn new(
        listener: Box<dyn Listener>,
        tls: WebTls,
        clock: Arc<dyn Clock>,
        pages: Arc<dyn Fn() -> Pages + Send + Sync>,
    ) -> PolicyHost {
        PolicyHost {
            listener,
            tls,
            clock,
            pages,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.address()
    }

    /// Serves until the server ends.
    pub async fn serve(self, mut phase: watch::Receiver<Phase>) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut open = JoinSet::new();
        loop {
            tokio::select! {
                biased;
                () = draining(&mut phase) => return,
                Some(_) = open.join_next(), if !open.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    // With every place taken, a client is turned away at once: it will come again.
                    Ok(accepted) => if let Ok(place) = places.clone().try_acquire_owned() {
                        let (tls, clock, pages) = (self.tls.clone(), self.clock.clone(), (self.pages)());
                        open.spawn(async move {
                            let _place = place;
                            within(&*clock, CONNECTION_WAIT, converse(accepted, &tls, pages)).await;
                        });
                    },
                    Err(because) => {
                        tracing::warn!(%because, "connection to the policy host not accepted");
                        self.clock.sleep_until(self.clock.instant() + ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

/// The one who would say so being gone is the same.
pub(super) async fn draining(phase: &mut watch::Receiver<Phase>) {
    let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
}

/// One connection, one request.
async fn converse(accepted: Accepted, tls: &WebTls, pages: Pages) {
    let client = accepted.client;
    let known = pages.clone();
    let shaken = tls.accept(accepted.stream, move |name| known.has(name)).await;
    let (stream, name) = match shaken {
        Ok(shaken) => shaken,
        Err(because) => {
            tracing::debug!(%client, %because, "no handshake at the policy host");
            return;
        }
    };
    let service = service_fn(|request: Request<Incoming>| {
        let response = answer(&request, &name, &pages);
        async move { Ok::<_, Infallible>(response) }
    });
    let served = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(because) = served {
        tracing::debug!(%client, %because, "request at the policy host broken");
    }
}

/// `name` is what was asked for by SNI: what the certificate was chosen by.
fn answer(request: &Request<Incoming>, name: &str, pages: &Pages) -> Response<Full<Bytes>> {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    let host = host.map(|host| host.strip_suffix(":443").unwrap_or(host));
    let wanted =
        request.uri().path() == POLICY_PATH && host.is_some_and(|host| host.eq_ignore_ascii_case(name));
    let page = pages.of(name).filter(|_| wanted);
    let (status, body) = match (page, request.method()) {
        (Some(page), &Method::GET | &Method::HEAD) => (StatusCode::OK, page),
        (Some(_), _) | (None, _) => (StatusCode::NOT_FOUND, Bytes::from_static(b"no such page\n")),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let kind = header::HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

const CONNECTIONS_MAX: usize = 256;
const CONNECTION_WAIT: Duration = Duration::from_secs(20);
const HEAD_BYTES_MAX: usize = 8 * 1024;
const HEADERS_MAX: usize = 64;
/// After a failed accept, so that a lack of file descriptors does not turn into a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
