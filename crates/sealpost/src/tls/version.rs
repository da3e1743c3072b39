//! Looks at the version a ClientHello says, so that clients from before TLS 1.2 get the alert that RFC 8996 §5 names:
//! rustls looks at what such a client cannot have first, and would answer with another.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::ports::Stream;

/// A stream whose first octets are watched as they pass. An old version ends it with an error.
pub(super) struct Watched {
    inner: Box<dyn Stream>,
    /// Record header (5), handshake header (4), client_version (2).
    head: [u8; HEAD_BYTES],
    seen: usize,
}

/// The client speaks nothing newer than TLS 1.1.
#[derive(Debug)]
pub(super) struct TooOld;

impl Watched {
    pub(super) fn new(inner: Box<dyn Stream>) -> Watched {
        Watched {
            inner,
            head: [0; HEAD_BYTES],
            seen: 0,
        }
    }

    fn watch(&mut self, octets: &[u8]) -> Result<(), TooOld> {
        let count = octets.len().min(HEAD_BYTES - self.seen);
        self.head[self.seen..self.seen + count].copy_from_slice(&octets[..count]);
        self.seen += count;
        let is_hello = self.head[0] == HANDSHAKE && self.head[5] == CLIENT_HELLO;
        let version = u16::from_be_bytes([self.head[9], self.head[10]]);
        match self.seen == HEAD_BYTES && is_hello && version < TLS_1_2 {
            true => Err(TooOld),
            false => Ok(()),
        }
    }
}

/// Whether a handshake failed for this reason.
pub(super) fn is_too_old(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TooOld>())
}

/// A record with the alert protocol_version, fatal (RFC 8446 §6).
pub(super) const ALERT: [u8; 7] = [21, 3, 1, 0, 2, 2, 70];

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        if self.seen < HEAD_BYTES {
            self.watch(&buffer.filled()[before..]).map_err(io::Error::other)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(context, octets)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        octets: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(context, octets)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}

impl std::fmt::Display for TooOld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the client speaks nothing newer than TLS 1.1")
    }
}

impl std::error::Error for TooOld {}

const HEAD_BYTES: usize = 11;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const TLS_1_2: u16 = 0x0303;
