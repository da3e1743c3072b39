//! An HTTPS host for MTA-STS policies (RFC 8461), honest or not, changeable under way. It notes every request.

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use crate::authority::Identity;

const GLANCE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(30);
const REQUEST_BYTES_MAX: usize = 16 * 1024;

/// What it answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Page {
    /// 200, `text/plain`, this text.
    Policy(String),
    /// 200, this media type, this text.
    Typed(String, String),
    /// This status and no body.
    Status(u16),
    /// 301 to this address.
    Redirect(String),
    /// 200 and a body of this many octets that begins as a policy would.
    Endless(usize),
    /// The connection stands, and nobody speaks TLS.
    Stall,
    /// The connection is closed at once.
    Hangup,
}

/// A running host on port 443.
pub struct PolicyHost {
    address: IpAddr,
    shared: Arc<Shared>,
}

struct Shared {
    stopped: AtomicBool,
    state: Mutex<State>,
}

struct State {
    identity: Arc<Identity>,
    page: Page,
    requests: Vec<String>,
    connections: usize,
}

impl PolicyHost {
    /// Listens at `address`, shows `identity`, answers `page`.
    pub fn start(address: IpAddr, identity: &Arc<Identity>, page: Page) -> PolicyHost {
        let here = SocketAddr::new(address, 443);
        let listener =
            TcpListener::bind(here).unwrap_or_else(|error| panic!("cannot listen at {here}: {error}"));
        listener.set_nonblocking(true).expect("a socket of our own");
        let shared = Arc::new(Shared {
            stopped: AtomicBool::new(false),
            state: Mutex::new(State {
                identity: identity.clone(),
                page,
                requests: Vec::new(),
                connections: 0,
            }),
        });
        let inside = shared.clone();
        std::thread::spawn(move || {
            while !inside.stopped.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        let inside = inside.clone();
                        // What a client does with a refused or broken page is for the test to see.
                        std::thread::spawn(move || drop(serve(stream, &inside)));
                    }
                    Err(_) => std::thread::sleep(GLANCE),
                }
            }
        });
        PolicyHost { address, shared }
    }

    /// Where it listens.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// From now on.
    pub fn answer(&self, page: Page) {
        self.shared.lock().page = page;
    }

    /// From now on.
    pub fn show(&self, identity: &Arc<Identity>) {
        self.shared.lock().identity = identity.clone();
    }

    /// The first lines of all requests so far, each with the name asked for by SNI in front.
    pub fn requests(&self) -> Vec<String> {
        self.shared.lock().requests.clone()
    }

    /// Connections so far, whether or not a request came of them.
    pub fn connections(&self) -> usize {
        self.shared.lock().connections
    }
}

impl Drop for PolicyHost {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn serve(stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let (identity, page) = {
        let mut state = shared.lock();
        state.connections += 1;
        (state.identity.clone(), state.page.clone())
    };
    match page {
        Page::Stall => {
            let stalled = &mut &stream;
            let mut void = [0; 1024];
            loop {
                if stalled.read(&mut void)? == 0 || shared.stopped.load(Ordering::Relaxed) {
                    return Ok(());
                }
            }
        }
        Page::Hangup => return Ok(()),
        Page::Policy(_) | Page::Typed(..) | Page::Status(_) | Page::Redirect(_) | Page::Endless(_) => {}
    }
    let connection =
        rustls::ServerConnection::new(identity.server(rustls::ALL_VERSIONS)).map_err(io::Error::other)?;
    let mut tls = rustls::StreamOwned::new(connection, stream);
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < REQUEST_BYTES_MAX {
        match tls.read(&mut buffer)? {
            0 => return Ok(()),
            count => request.extend_from_slice(&buffer[..count]),
        }
    }
    let text = String::from_utf8_lossy(&request).into_owned();
    let first = text.lines().next().unwrap_or_default();
    let name = tls.conn.server_name().unwrap_or("-");
    let noted = format!("{name} {first}");
    shared.lock().requests.push(noted);
    tls.write_all(&response(&page))?;
    tls.conn.send_close_notify();
    tls.flush()
}

fn response(page: &Page) -> Vec<u8> {
    let ok = |kind: &str, body: &str| {
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
    };
    let text = match page {
        Page::Policy(text) => ok("text/plain", text),
        Page::Typed(kind, text) => ok(kind, text),
        Page::Status(code) => {
            format!("HTTP/1.1 {code} As Told\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Page::Redirect(to) => {
            format!("HTTP/1.1 301 Moved\r\nLocation: {to}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        }
        Page::Endless(bytes) => {
            let head = "version: STSv1\nmode: none\nmax_age: 86400\n";
            ok("text/plain", &(head.to_owned() + &"x: y\n".repeat(bytes / 5)))
        }
        Page::Stall | Page::Hangup => String::new(),
    };
    text.into_bytes()
}
