//! The control interface's view of the running server.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use super::{Server, StartError};
use crate::control::{Desk, Private, Problem, Public, queue::Done};
use crate::dispatch;
use crate::explain::Explainer;
use crate::receive::Phase;

/// Someone at the control interface asks for a reload, and waits to hear how it went.
pub type ReloadAsked = oneshot::Sender<Result<(), String>>;

/// Opens the control socket, and the one for submission where it is configured; answers until the server ends.
pub(super) async fn open(
    server: &Server,
    dispatch: dispatch::Handle,
    reloads: mpsc::Sender<ReloadAsked>,
    parts: &mut JoinSet<&'static str>,
) -> Result<(), StartError> {
    let config = server.setup.borrow().settings.config.clone();
    let private = Private::open(&config.server.data_dir.control_socket())
        .await
        .map_err(StartError::Control)?;
    let public = match &config.control.submit_socket {
        Some(path) => Some(Public::open(path).await.map_err(StartError::Control)?),
        None => None,
    };
    let desk = desk(server, dispatch, reloads);
    let (served, end) = (desk.clone(), draining(server.phase.clone()));
    parts.spawn(async move {
        told(private.serve(served, end).await);
        "control"
    });
    if let Some(public) = public {
        let end = draining(server.phase.clone());
        parts.spawn(async move {
            told(public.serve(desk, end).await);
            "submission socket"
        });
    }
    Ok(())
}

fn desk(server: &Server, dispatch: dispatch::Handle, reloads: mpsc::Sender<ReloadAsked>) -> Desk {
    let (setup, rules) = (server.setup.clone(), server.rules.clone());
    let (spool, clock) = (server.spool.clone(), server.ports.clock.clone());
    let (explained, ports) = (server.rules.clone(), server.ports.clone());
    let queue = server.spool.clone();
    Desk {
        spool: spool.clone(),
        witnesses: server.witnesses.clone(),
        ledger: server.ledger.clone(),
        clock: clock.clone(),
        settings: Arc::new(move || setup.borrow().settings.clone()),
        reload: Arc::new(move || {
            let (answer, answered) = oneshot::channel();
            let ended = || "the server is ending".to_owned();
            reloads.blocking_send(answer).map_err(|_| ended())?;
            answered.blocking_recv().unwrap_or_else(|_| Err(ended()))
        }),
        give_up: Arc::new(move |id, cause| {
            let rules = rules.borrow().clone();
            match dispatch::give_up(&spool, &rules, &*clock, id, &cause) {
                Ok(0) => Err(Problem::unknown(format!(
                    "message {id} has nothing that waits or is held"
                ))),
                Ok(_) => Ok(Done {
                    messages: 1,
                    in_flight: 0,
                }),
                Err(spool::DiskError::Gone) => {
                    Err(Problem::unknown(format!("message {id} is not in the queue")))
                }
                Err(error) => Err(Problem::later(error.to_string())),
            }
        }),
        explain: Arc::new(move |question| {
            let explainer = Explainer {
                rules: explained.borrow().clone(),
                ports: ports.clone(),
                spool: queue.clone(),
            };
            Box::pin(async move { explainer.explain(question).await })
        }),
        try_again: Arc::new(move || {
            let dispatch = dispatch.clone();
            Box::pin(async move { dispatch.try_again().await })
        }),
    }
}

async fn draining(mut phase: watch::Receiver<Phase>) {
    // The one who would say so being gone is the same.
    let _ = phase.wait_for(|phase| *phase == Phase::Draining).await;
}

fn told(served: std::io::Result<()>) {
    if let Err(because) = served {
        tracing::error!(%because, "control socket closed");
    }
}
