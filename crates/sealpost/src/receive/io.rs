//! Octets between a session and its stream. Nothing is kept between reads, so that an idle client costs no buffer.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mail::Channel;
use smtp::server::Session;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::sync::watch;

use super::Phase;
use crate::ports::{Clock, Stream, within};

/// What ended a wait.
pub(super) enum Heard {
    /// The session was fed.
    Octets,
    /// The client closed its end.
    Gone,
    /// The session's own time came.
    Nothing,
    /// The server ends.
    Draining,
}

/// Feeds the session what comes next, or says what came instead.
pub(super) async fn hear<C: Channel + Send>(
    session: &mut Session<C>,
    stream: &mut Box<dyn Stream>,
    phase: &mut watch::Receiver<Phase>,
    clock: &dyn Clock,
) -> io::Result<Heard> {
    let wake = clock.sleep_until(session.wake_at());
    tokio::select! {
        biased;
        read = poll_fn(|context| read_into(session, stream, context)) => match read? {
            0 => Ok(Heard::Gone),
            _ => Ok(Heard::Octets),
        },
        () = drained(phase) => Ok(Heard::Draining),
        () = wake => Ok(Heard::Nothing),
    }
}

/// Says something; a client that does not read it in time is lost.
pub(super) async fn say(
    stream: &mut Box<dyn Stream>,
    bytes: &[u8],
    clock: &dyn Clock,
    wait: Duration,
) -> io::Result<()> {
    let saying = async {
        stream.write_all(bytes).await?;
        stream.flush().await
    };
    let late = || io::Error::new(io::ErrorKind::TimedOut, "the client does not read (write_wait)");
    within(clock, wait, saying).await.unwrap_or_else(|| Err(late()))
}

/// The buffer lives on the stack for the time of the call only.
fn read_into<C: Channel>(
    session: &mut Session<C>,
    stream: &mut Box<dyn Stream>,
    context: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let mut space = [const { MaybeUninit::uninit() }; READ_BYTES];
    let mut buffer = ReadBuf::uninit(&mut space);
    std::task::ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
    let octets = buffer.filled();
    if !octets.is_empty() {
        session.feed(octets);
    }
    Poll::Ready(Ok(octets.len()))
}

/// Returns once, when the server begins to end; a session that was told already waits for ever.
async fn drained(phase: &mut watch::Receiver<Phase>) {
    match phase.changed().await {
        Ok(()) if *phase.borrow_and_update() == Phase::Draining => {}
        // The server that would tell is gone: the task will be ended with it.
        Ok(()) | Err(_) => std::future::pending().await,
    }
}

/// One read: what a TLS record holds at most.
const READ_BYTES: usize = 16 * 1024;
