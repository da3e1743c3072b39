//! The commands' end of the control interface.

use std::io;
use std::path::{Path, PathBuf};

use http_body_util::channel::{Channel, Sender};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;

use super::submit::{Submission, Submitted};
use super::{ProblemBody, connect};

/// Asks one server.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

/// Why there is no answer; prints as one line that says what to do.
#[derive(Debug)]
pub enum NoAnswer {
    /// No server answers at the socket.
    NotRunning(PathBuf, io::Error),
    /// The socket is not for this user.
    NotAllowed(PathBuf),
    /// It refused: the HTTP status, and its own words.
    Refused(u16, String),
    /// It broke off, or answered something else than agreed.
    Broken(String),
}

/// Takes the pieces of a message in order. Only [`Pieces::finish`] makes it a message: dropped before, it breaks the
/// request off, and the server keeps nothing.
pub struct Pieces(Option<Sender<Bytes, io::Error>>);

/// A message on its way.
pub type Flow = Channel<Bytes, io::Error>;

/// A way for a message: what goes in at one end comes out at the other.
pub fn flow() -> (Pieces, Flow) {
    let (sender, flow) = Channel::new(PIECES_WAITING_MAX);
    (Pieces(Some(sender)), flow)
}

impl Client {
    /// Talks through this socket.
    pub fn at(socket: impl Into<PathBuf>) -> Client {
        Client {
            socket: socket.into(),
        }
    }

    /// The socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// GET: a value.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        read_json(self.send(Method::GET, path, empty()).await?).await
    }

    /// POST or DELETE without a body: a value.
    pub async fn act<T: DeserializeOwned>(&self, method: Method, path: &str) -> Result<T, NoAnswer> {
        read_json(self.send(method, path, empty()).await?).await
    }

    /// POST with a body: a value.
    pub async fn hand_in<T: DeserializeOwned>(&self, path: &str, body: Bytes) -> Result<T, NoAnswer> {
        read_json(self.send(Method::POST, path, Full::new(body)).await?).await
    }

    /// GET: octets.
    pub async fn octets(&self, path: &str) -> Result<Bytes, NoAnswer> {
        read(self.send(Method::GET, path, empty()).await?).await
    }

    /// Hands in a message: what comes out of `flow`, which begins with the [`envelope_line`].
    pub async fn submit(&self, flow: Flow) -> Result<Submitted, NoAnswer> {
        read_json(self.send(Method::POST, "/v1/submit", flow).await?).await
    }

    async fn send<B>(&self, method: Method, path: &str, body: B) -> Result<Response<Incoming>, NoAnswer>
    where
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let broken = |error: hyper::Error| NoAnswer::Broken(error.to_string());
        let stream = connect(&self.socket).await.map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => NoAnswer::NotAllowed(self.socket.clone()),
            _ => NoAnswer::NotRunning(self.socket.clone(), error),
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        tokio::spawn(async move {
            // Its errors come back through the request as well.
            let _ = connection.await;
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "sealpost")
            .body(body)
            .map_err(|error| NoAnswer::Broken(error.to_string()))?;
        sender.send_request(request).await.map_err(broken)
    }
}

impl Pieces {
    /// Waits until a piece is taken; no if nobody takes it any more.
    pub async fn send(&mut self, octets: Bytes) -> bool {
        match &mut self.0 {
            Some(sender) => sender.send_data(octets).await.is_ok(),
            None => false,
        }
    }

    /// The message is whole.
    pub fn finish(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        if let Some(sender) = self.0.take() {
            sender.abort(io::Error::other("the message broke off"));
        }
    }
}

/// The envelope as the first line of what is handed in.
pub fn envelope_line(submission: &Submission) -> Result<Bytes, NoAnswer> {
    let mut line = serde_json::to_vec(submission).map_err(|error| NoAnswer::Broken(error.to_string()))?;
    line.push(b'\n');
    Ok(Bytes::from(line))
}

/// A path segment or query value, escaped.
pub fn escaped(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

/// A query string out of a value with plain fields; those that are none are left out.
pub fn query<T: serde::Serialize>(value: &T) -> Result<String, NoAnswer> {
    let fields = serde_json::to_value(value).map_err(|error| NoAnswer::Broken(error.to_string()))?;
    let fields = fields.as_object().into_iter().flatten();
    let pairs: Vec<String> = fields
        .map(|(name, value)| match value {
            serde_json::Value::String(text) => format!("{name}={}", escaped(text)),
            other => format!("{name}={}", escaped(&other.to_string())),
        })
        .collect();
    Ok(match pairs.is_empty() {
        true => String::new(),
        false => format!("?{}", pairs.join("&")),
    })
}

async fn read(response: Response<Incoming>) -> Result<Bytes, NoAnswer> {
    let status = response.status();
    let octets = response
        .into_body()
        .collect()
        .await
        .map_err(|error| NoAnswer::Broken(error.to_string()))?
        .to_bytes();
    if status.is_success() {
        return Ok(octets);
    }
    let words = match serde_json::from_slice::<ProblemBody>(&octets) {
        Ok(problem) => problem.error,
        Err(_) => String::from_utf8_lossy(&octets).trim().to_owned(),
    };
    Err(NoAnswer::Refused(status.as_u16(), words))
}

async fn read_json<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, NoAnswer> {
    let octets = read(response).await?;
    serde_json::from_slice(&octets)
        .map_err(|error| NoAnswer::Broken(format!("{error}; is the server of the same version?")))
}

fn empty() -> Full<Bytes> {
    Full::new(Bytes::new())
}

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoAnswer::NotRunning(socket, error) => write!(
                f,
                "no server answers at {} ({error}); start one with `sealpost serve`, or name its socket with --socket, --data-dir or --config",
                socket.display()
            ),
            NoAnswer::NotAllowed(socket) => write!(
                f,
                "this user may not open {}; run the command as the server's user or as root",
                socket.display()
            ),
            NoAnswer::Refused(_, words) => f.write_str(words),
            NoAnswer::Broken(words) => {
                write!(f, "the server's answer broke off or is not understood: {words}")
            }
        }
    }
}

impl std::error::Error for NoAnswer {}

const PIECES_WAITING_MAX: usize = 8;
