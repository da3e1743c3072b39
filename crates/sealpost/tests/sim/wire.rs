//! Connections in memory, with everything that can go wrong between two hosts, and somebody who sits on the wire.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use spool::simulated::SimulatedDisk;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use super::dice::Dice;

/// What goes wrong on one connection.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Octets of each way after which the connection is reset.
    pub reset_at: [Option<u64>; 2],
    /// Octets of each way after which nothing arrives any more.
    pub stall_at: [Option<u64>; 2],
    /// Most octets that one read gives.
    pub piece_max: Option<usize>,
    /// How long octets travel.
    pub latency: Duration,
    pub attack: Attack,
}

/// What somebody on the wire does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Attack {
    #[default]
    None,
    /// Takes STARTTLS out of what the host offers.
    Strip,
    /// Puts a reply behind the 220 to STARTTLS.
    InjectBehind,
    /// Puts a reply before the 220 to STARTTLS.
    InjectBefore,
    /// Puts commands behind the client's STARTTLS.
    InjectCommands,
    /// Changes an octet of the handshake.
    Garble(usize),
}

/// From the side that dialled.
pub const UP: usize = 0;
/// To the side that dialled.
pub const DOWN: usize = 1;

#[derive(Default)]
struct Way {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    buffered: usize,
    ended: bool,
    written: u64,
    read: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
    /// The first octets: as they were said by the side that dialled, as they will be heard from the other.
    said: Vec<u8>,
}

struct State {
    ways: [Way; 2],
    broken: bool,
    faults: Faults,
    attacked: bool,
}

/// A connection seen from outside.
#[derive(Clone)]
pub struct Wire(Arc<Mutex<State>>);

/// One end of a connection.
pub struct End {
    wire: Wire,
    side: usize,
    sleep: Option<Pin<Box<Sleep>>>,
    power: Option<SimulatedDisk>,
}

impl Wire {
    /// The end that dialled, and the other. `power` is the machine whose power cut takes `side` away.
    pub fn new(faults: Faults, side: usize, power: &SimulatedDisk) -> (End, End, Wire) {
        let wire = Wire(Arc::new(Mutex::new(State {
            ways: Default::default(),
            broken: false,
            faults,
            attacked: false,
        })));
        let end = |of: usize| End {
            wire: wire.clone(),
            side: of,
            sleep: None,
            power: (of == side).then(|| power.clone()),
        };
        (end(UP), end(DOWN), wire.clone())
    }

    /// Octets sent so far.
    pub fn written(&self, way: usize) -> u64 {
        self.0.lock().unwrap().ways[way].written
    }

    /// Octets that were taken off the wire at the other end.
    pub fn read(&self, way: usize) -> u64 {
        self.0.lock().unwrap().ways[way].read
    }

    /// The first octets: as the side that dialled said and heard them.
    pub fn said(&self, way: usize) -> Vec<u8> {
        self.0.lock().unwrap().ways[way].said.clone()
    }

    pub fn attacked(&self) -> bool {
        self.0.lock().unwrap().attacked
    }

    /// Cuts it.
    pub fn cut(&self) {
        self.0.lock().unwrap().cut();
    }
}

impl State {
    fn cut(&mut self) {
        self.broken = true;
        for way in &mut self.ways {
            way.wake();
        }
    }

    fn tamper(&mut self, way: usize, piece: &[u8]) -> Vec<u8> {
        let mut piece = piece.to_vec();
        let asked = contains(&self.ways[UP].said, b"\r\nSTARTTLS\r\n");
        let before = piece.clone();
        match (self.faults.attack, way) {
            (Attack::Strip, DOWN) if !asked => replace(&mut piece, b"STARTTLS", b"XXXXXXXX"),
            (Attack::InjectBehind, DOWN) if asked && piece.starts_with(b"220 ") && !self.attacked => {
                piece.extend_from_slice(b"250-injected\r\n250 SIZE 1\r\n");
            }
            (Attack::InjectBefore, DOWN) if asked && piece.starts_with(b"220 ") && !self.attacked => {
                piece.splice(0..0, *b"250 2.0.0 injected\r\n");
            }
            (Attack::InjectCommands, UP) if piece.ends_with(b"STARTTLS\r\n") => piece.extend_from_slice(
                b"EHLO evil.example\r\nMAIL FROM:<evil@home.example>\r\nRCPT TO:<ann@here.example>\r\nDATA\r\n\
                  Subject: injected\r\n\r\nevil\r\n.\r\n",
            ),
            (Attack::Garble(at), DOWN) if asked && piece.first() == Some(&0x16) && !self.attacked => {
                let at = at % piece.len();
                piece[at] ^= 0x55;
            }
            _ => {}
        }
        self.attacked |= piece != before;
        piece
    }
}

impl Way {
    fn wake(&mut self) {
        self.reader.take().into_iter().for_each(Waker::wake);
        self.writer.take().into_iter().for_each(Waker::wake);
    }
}

impl AsyncWrite for End {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let way = self.side;
        let mut state = self.wire.0.lock().unwrap();
        let gone = state.broken || self.power.as_ref().is_some_and(SimulatedDisk::is_dead);
        if gone || state.ways[way].ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if state.ways[way].buffered >= CAPACITY {
            state.ways[way].writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = bytes.len().min(CAPACITY - state.ways[way].buffered);
        let piece = state.tamper(way, &bytes[..count]);
        let ready = Instant::now() + state.faults.latency;
        let stalls = state.faults.stall_at[way].is_some_and(|at| state.ways[way].written >= at);
        let this = &mut state.ways[way];
        this.written += piece.len() as u64;
        this.buffered += piece.len();
        if this.said.len() < SAID_MAX {
            let said = if way == UP { &bytes[..count] } else { &piece };
            this.said.extend_from_slice(said);
        }
        if !stalls {
            this.pieces.push_back((ready, piece));
            this.reader.take().into_iter().for_each(Waker::wake);
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.wire.0.lock().unwrap();
        state.ways[self.side].ended = true;
        state.ways[self.side].wake();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for End {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let mut state = this.wire.0.lock().unwrap();
        let way = 1 - this.side;
        let reset = state.faults.reset_at[way];
        let piece_max = state.faults.piece_max.unwrap_or(usize::MAX);
        if state.broken || this.power.as_ref().is_some_and(SimulatedDisk::is_dead) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        let stalls = state.faults.stall_at[way].is_some();
        let from = &mut state.ways[way];
        let left = reset.map_or(usize::MAX, |at| at.saturating_sub(from.read) as usize);
        if left == 0 {
            state.cut();
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if let Some((ready, piece)) = from.pieces.front_mut() {
            if *ready > Instant::now() {
                let mut sleep = Box::pin(tokio::time::sleep_until(*ready));
                if sleep.as_mut().poll(context).is_pending() {
                    this.sleep = Some(sleep);
                    return Poll::Pending;
                }
            }
            let count = piece.len().min(buffer.remaining()).min(piece_max).min(left);
            buffer.put_slice(&piece[..count]);
            piece.drain(..count);
            if piece.is_empty() {
                from.pieces.pop_front();
            }
            from.read += count as u64;
            from.buffered -= count;
            from.writer.take().into_iter().for_each(Waker::wake);
            return Poll::Ready(Ok(()));
        }
        if from.ended && !stalls {
            return Poll::Ready(Ok(()));
        }
        from.reader = Some(context.waker().clone());
        Poll::Pending
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut state = self.wire.0.lock().unwrap();
        for way in [self.side, 1 - self.side] {
            state.ways[way].ended = true;
            state.ways[way].wake();
        }
    }
}

impl Faults {
    /// A connection like any other.
    pub fn none(dice: &mut Dice) -> Faults {
        Faults {
            latency: Duration::from_millis(*dice.pick(&[0, 0, 1, 20, 150])),
            piece_max: dice.percent(20).then(|| dice.between(1, 40) as usize),
            ..Faults::default()
        }
    }

    /// One that something happens to.
    pub fn some(dice: &mut Dice) -> Faults {
        let mut faults = Faults::none(dice);
        // Early octets are replies and the handshake; behind them comes the message.
        let reach = *dice.pick(&[100, 600, 3000, 20_000]);
        let at = Some(dice.below(reach));
        let way = dice.below(2) as usize;
        match dice.below(8) {
            0..3 => faults.reset_at[way] = at,
            3..5 => faults.stall_at[way] = at,
            _ => {
                faults.attack = *dice.pick(&[
                    Attack::Strip,
                    Attack::InjectBehind,
                    Attack::InjectBefore,
                    Attack::InjectCommands,
                    Attack::Garble(5 + dice.clone().below(800) as usize),
                ]);
            }
        }
        faults
    }
}

pub fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

fn replace(text: &mut [u8], part: &[u8], by: &[u8]) {
    if let Some(at) = text.windows(part.len()).position(|window| window == part) {
        text[at..at + part.len()].copy_from_slice(by);
    }
}

const CAPACITY: usize = 64 * 1024;
const SAID_MAX: usize = 8 * 1024;
