//! Drives a client session over a stream: writes what it wants said, feeds it what comes, wakes it in time.

use std::sync::Arc;

use mail::{Channel, Reply};
use smtp::client::{Outcome, Ready, Session, Step, Trouble};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::ports::{Clock, Stream};

/// A stream and the clock that bounds its waits.
pub(super) struct Wire {
    stream: Box<dyn Stream>,
    clock: Arc<dyn Clock>,
    /// A write came to nothing: nothing more is written.
    mute: bool,
}

/// What the session has to tell.
pub(super) enum Said {
    Hello,
    StartTls,
    StartTlsRefused(Reply),
    Content,
    Done(Outcome),
    Broken(Trouble),
    Close,
}

/// What both stages of a client session have in common.
pub(super) trait Talk {
    fn feed(&mut self, bytes: &[u8]);
    fn step(&mut self, now: std::time::Instant) -> Option<Step<'_>>;
    fn wake_at(&self) -> std::time::Instant;
    fn closed_by_peer(&mut self);
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>, clock: Arc<dyn Clock>) -> Wire {
        Wire {
            stream,
            clock,
            mute: false,
        }
    }

    /// Gives the stream away, for a handshake.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Goes on until the session has something to tell.
    pub(super) async fn hear(&mut self, talk: &mut impl Talk) -> Said {
        loop {
            if let Some(said) = self.hear_until(talk, |_| false).await {
                return said;
            }
        }
    }

    /// Goes on until the session has something to tell, or nothing to do and `enough` holds.
    pub(super) async fn hear_until<T: Talk>(&mut self, talk: &mut T, enough: fn(&T) -> bool) -> Option<Said> {
        loop {
            let wake = talk.wake_at();
            match talk.step(self.clock.instant()) {
                Some(Step::Write(bytes)) => {
                    if self.write(bytes, wake).await == Wrote::Gone {
                        talk.closed_by_peer();
                    }
                    continue;
                }
                Some(Step::Hello) => return Some(Said::Hello),
                Some(Step::StartTls) => return Some(Said::StartTls),
                Some(Step::StartTlsRefused(reply)) => return Some(Said::StartTlsRefused(reply)),
                Some(Step::Content) => return Some(Said::Content),
                Some(Step::Done(outcome)) => return Some(Said::Done(outcome)),
                Some(Step::Broken(trouble)) => return Some(Said::Broken(trouble)),
                Some(Step::Close) => return Some(Said::Close),
                None => {}
            }
            if enough(talk) {
                return None;
            }
            self.read(talk).await;
        }
    }

    /// Feeds what has come unasked, without a wait.
    pub(super) async fn catch_up(&mut self, talk: &mut impl Talk) {
        let mut piece = [0; PIECE_BYTES];
        tokio::select! {
            biased;
            got = self.stream.read(&mut piece) => take_in(talk, got.map(|count| &piece[..count])),
            () = std::future::ready(()) => {}
        }
    }

    async fn write(&mut self, bytes: &[u8], until: std::time::Instant) -> Wrote {
        if self.mute {
            return Wrote::Gone;
        }
        let stream = &mut self.stream;
        let writing = async {
            stream.write_all(bytes).await?;
            stream.flush().await
        };
        let wrote = tokio::select! {
            biased;
            done = writing => if done.is_ok() { Wrote::All } else { Wrote::Gone },
            () = self.clock.sleep_until(until) => Wrote::TooSlow,
        };
        self.mute |= wrote != Wrote::All;
        wrote
    }

    async fn read(&mut self, talk: &mut impl Talk) {
        let mut piece = [0; PIECE_BYTES];
        tokio::select! {
            biased;
            got = self.stream.read(&mut piece) => take_in(talk, got.map(|count| &piece[..count])),
            () = self.clock.sleep_until(talk.wake_at()) => {}
        }
    }
}

fn take_in(talk: &mut impl Talk, got: std::io::Result<&[u8]>) {
    match got {
        Ok([]) | Err(_) => talk.closed_by_peer(),
        Ok(bytes) => talk.feed(bytes),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrote {
    All,
    /// The session notices by itself that its time is up.
    TooSlow,
    Gone,
}

impl<C: Channel> Talk for Session<C> {
    fn feed(&mut self, bytes: &[u8]) {
        Session::feed(self, bytes);
    }
    fn step(&mut self, now: std::time::Instant) -> Option<Step<'_>> {
        Session::step(self, now)
    }
    fn wake_at(&self) -> std::time::Instant {
        Session::wake_at(self)
    }
    fn closed_by_peer(&mut self) {
        Session::closed_by_peer(self);
    }
}

impl<C: Channel> Talk for Ready<C> {
    fn feed(&mut self, bytes: &[u8]) {
        Ready::feed(self, bytes);
    }
    fn step(&mut self, now: std::time::Instant) -> Option<Step<'_>> {
        Ready::step(self, now)
    }
    fn wake_at(&self) -> std::time::Instant {
        Ready::wake_at(self)
    }
    fn closed_by_peer(&mut self) {
        Ready::closed_by_peer(self);
    }
}

/// Replies are small.
const PIECE_BYTES: usize = 4096;
