//! The control interface: HTTP over a Unix socket in the data folder, described by `control/openapi.json`.
//!
//! Owns the socket, the routes and the shapes of what is said. Decides nothing about mail: it asks the spool, the
//! Maildirs and the server. Commands and console reach nothing else.

pub mod queue;
mod hold;
pub mod letters;
pub mod ledger;
pub mod submit;
pub mod explain;
pub mod evidence;
pub mod alarms;
pub mod client;
mod problem;

use std::future::Future;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::State as Shared;
use axum::extract::connect_info::Connected;
use axum::routing::{MethodRouter, get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use mail::{Cause, Domain, MessageId};
use rustix::fs::Mode;
use serde::{Deserialize, Serialize};
use spool::Spool;
use tokio::net::{UnixListener, UnixStream};

use crate::config::Config;
use crate::dispatch::Witnesses;
use crate::explain::{Explanation, Question};
use crate::local::Directory;
use crate::ports::{Clock, Later};
use crate::spooling::off_the_async_threads;
use queue::Done;

pub use problem::{Problem, ProblemBody};

/// What the interface acts on.
#[derive(Clone)]
pub struct Desk {
    /// The queue.
    pub spool: Arc<Spool>,
    /// Evidence, alarms and counts.
    pub witnesses: Witnesses,
    /// What is remembered of peers.
    pub ledger: crate::ledger::Ledger,
    /// Time and dice.
    pub clock: Arc<dyn Clock>,
    /// The configuration now in force.
    pub settings: Arc<dyn Fn() -> Arc<Settings> + Send + Sync>,
    /// Reads the configuration anew; the error is one line.
    pub reload: Arc<dyn Fn() -> Result<(), String> + Send + Sync>,
    /// Gives a message up for this reason and reports to its sender. Blocks.
    pub give_up: Arc<GiveUp>,
    /// Explains a destination or a message.
    pub explain: Arc<Explain>,
    /// Lets mail that a person wants tried now go to hosts that were left to rest.
    pub try_again: Arc<dyn Fn() -> Later<'static, ()> + Send + Sync>,
}

/// See [`Desk::give_up`].
pub type GiveUp = dyn Fn(MessageId, Cause) -> Result<Done, Problem> + Send + Sync;

/// See [`Desk::explain`].
pub type Explain = dyn Fn(Question) -> Later<'static, Result<Explanation, Problem>> + Send + Sync;

/// What is in force.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The configuration.
    pub config: Config,
    /// Who is who here.
    pub directory: Arc<Directory>,
    /// This server's name.
    pub me: Domain,
}

/// How the server is doing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Its name.
    pub host: String,
    /// The program's version.
    pub version: String,
    /// Messages in the queue.
    pub messages: u64,
    /// Their octets.
    pub bytes: u64,
    /// Recipients that wait for an attempt.
    pub waiting: u64,
    /// Recipients being tried.
    pub leased: u64,
    /// Recipients held.
    pub held: u64,
}

/// Why there is no control socket; one line for the operator.
#[derive(Debug)]
pub struct NoSocket {
    path: PathBuf,
    source: io::Error,
}

/// A socket that only the server's own user can open.
pub struct Private(UnixListener);

/// A socket that every user of the machine can open, for handing in mail.
pub struct Public(UnixListener);

impl Private {
    /// Opens the control socket. What a dead server left is replaced; a living one keeps it.
    pub async fn open(path: &Path) -> Result<Private, NoSocket> {
        listen(path, Mode::from_raw_mode(0o600)).await.map(Private)
    }

    /// Answers until `end`.
    pub async fn serve(self, desk: Desk, end: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        serve(self.0, routes(), desk, end).await
    }
}

impl Public {
    /// Opens the socket for submission alone.
    pub async fn open(path: &Path) -> Result<Public, NoSocket> {
        listen(path, Mode::from_raw_mode(0o666)).await.map(Public)
    }

    /// Answers until `end`.
    pub async fn serve(self, desk: Desk, end: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        serve(self.0, public_routes(), desk, end).await
    }
}

/// Connects to a control socket.
pub async fn connect(path: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(path).await
}

/// Every path of the interface with its methods, as the description has them.
pub fn routes() -> Vec<(&'static str, MethodRouter<Desk>)> {
    vec![
        ("/v1/status", get(status)),
        ("/v1/config", get(config)),
        ("/v1/reload", post(reload)),
        ("/v1/queue", get(queue::list)),
        ("/v1/queue/{id}", get(queue::show).delete(queue::delete)),
        ("/v1/queue/{id}/{act}", post(queue::act_on_one)),
        ("/v1/queue-acts/{act}", post(queue::act_on_several)),
        ("/v1/mail", get(letters::list)),
        ("/v1/mail/{id}", get(letters::show)),
        ("/v1/mail/{id}/parts/{place}", get(letters::part)),
        ("/v1/ledger", get(ledger::list)),
        ("/v1/ledger/{name}", get(ledger::show)),
        ("/v1/ledger/{name}/{act}", post(ledger::say)),
        ("/v1/ledger-import", post(ledger::import)),
        ("/v1/submit", get(submit::welcome).post(submit::submit)),
        ("/v1/explain", get(explain::explain)),
        ("/v1/evidence", get(evidence::page)),
        ("/v1/evidence/check", get(evidence::check)),
        ("/v1/evidence/messages/{id}", get(evidence::of_message)),
        ("/v1/alarms", get(alarms::list)),
        ("/metrics", get(alarms::metrics)),
        ("/v1/openapi.json", get(description)),
    ]
}

fn public_routes() -> Vec<(&'static str, MethodRouter<Desk>)> {
    vec![("/v1/submit", get(submit::welcome).post(submit::submit))]
}

/// The whole interface as a service, for a listener or a test.
pub fn router(routes: Vec<(&'static str, MethodRouter<Desk>)>, desk: Desk) -> Router {
    let router = routes.into_iter().fold(Router::new(), |router, (path, methods)| {
        router.route(path, methods)
    });
    router
        .fallback(async || Problem::unknown("no such path: see /v1/openapi.json"))
        .with_state(desk)
}

async fn serve(
    listener: UnixListener,
    routes: Vec<(&'static str, MethodRouter<Desk>)>,
    desk: Desk,
    end: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let service = router(routes, desk).into_make_service_with_connect_info::<Caller>();
    axum::serve(listener, service).with_graceful_shutdown(end).await
}

/// Who calls: the user that the kernel says is at the other end.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Caller {
    /// The user's number, where the kernel tells.
    pub user: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Caller {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Caller {
        let credentials = stream.io().peer_cred().ok();
        Caller {
            user: credentials.map(|who| who.uid()),
        }
    }
}

/// `GET /v1/status`
async fn status(Shared(desk): Shared<Desk>) -> Result<Json<Status>, Problem> {
    let host = (desk.settings)().me.to_string();
    let counts = blocking(move || queue::counts(&desk)).await?;
    Ok(Json(Status {
        host,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        messages: counts.messages,
        bytes: counts.bytes,
        waiting: counts.waiting,
        leased: counts.leased,
        held: counts.held,
    }))
}

/// `GET /v1/config`: as understood, with every default.
async fn config(Shared(desk): Shared<Desk>) -> Json<Config> {
    Json((desk.settings)().config.clone())
}

/// `POST /v1/reload`
async fn reload(Shared(desk): Shared<Desk>) -> Result<Json<Reloaded>, Problem> {
    let outcome = blocking(move || (desk.reload)()).await?;
    outcome
        .map(|()| Json(Reloaded { reloaded: true }))
        .map_err(Problem::asked)
}

/// The answer to a reload.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reloaded {
    /// Always true: what failed is a problem.
    pub reloaded: bool,
}

/// `GET /v1/openapi.json`
async fn description() -> ([(axum::http::HeaderName, &'static str); 1], &'static str) {
    (
        [(axum::http::header::CONTENT_TYPE, "application/json")],
        DESCRIPTION,
    )
}

/// The description of this interface (OpenAPI 3.1).
pub const DESCRIPTION: &str = include_str!("control/openapi.json");

/// Runs blocking work off the async threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    off_the_async_threads(work)
        .await
        .ok_or_else(|| Problem::ours("the server broke off the work: see its log"))
}

/// Binds a socket beside its place, gives it its mode there, and moves it: nobody can open it with another mode.
async fn listen(path: &Path, mode: Mode) -> Result<UnixListener, NoSocket> {
    let problem = |source| NoSocket {
        path: path.to_owned(),
        source,
    };
    let is_socket = path.symlink_metadata().map(|meta| meta.file_type().is_socket());
    if is_socket.as_ref().is_ok_and(|is| !is) {
        return Err(problem(io::Error::other(
            "something that is no socket lies there",
        )));
    }
    if is_socket.is_ok() && connect(path).await.is_ok() {
        return Err(problem(io::Error::other("another server answers there")));
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    // Left by a start that was killed between the two steps.
    match rustix::fs::unlink(&beside) {
        Ok(()) | Err(rustix::io::Errno::NOENT) => {}
        Err(error) => return Err(problem(error.into())),
    }
    let listener = UnixListener::bind(&beside).map_err(problem)?;
    rustix::fs::chmod(&beside, mode).map_err(|error| problem(error.into()))?;
    rustix::fs::rename(&beside, path).map_err(|error| problem(error.into()))?;
    Ok(listener)
}

impl std::fmt::Display for NoSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "cannot open the socket {}: {}",
            self.path.display(),
            self.source
        )
    }
}

impl std::error::Error for NoSocket {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
