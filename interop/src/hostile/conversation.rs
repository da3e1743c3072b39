//! One conversation: the peer's side of it, and what it heard.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{Manner, Shared, StartTls};
use crate::letter;

const PATIENCE: Duration = Duration::from_secs(60);
const PIECE_BYTES: usize = 16 * 1024;
/// What a client may say in clear to a host that has not shown enough.
const HARMLESS: [&str; 3] = ["EHLO ", "STARTTLS", "QUIT"];

/// What one connection brought.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    /// Every octet before the handshake's first.
    pub clear: Vec<u8>,
    /// What came in place of a handshake, or as one that was not finished.
    pub during_handshake: Vec<u8>,
    /// The handshake, once it was finished.
    pub handshake: Option<Handshake>,
    /// Every octet inside TLS.
    pub inside: Vec<u8>,
    /// The letters taken, by name, and whether they came inside TLS.
    pub letters: Vec<(String, bool)>,
    /// Whether it is over.
    pub closed: bool,
}

/// A finished handshake.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handshake {
    /// `TLSv1_3` or `TLSv1_2`.
    pub version: String,
    /// The name asked for by SNI.
    pub server_name: Option<String>,
}

impl Conversation {
    /// Panics if more was told in clear than that somebody came.
    pub fn must_have_told_nothing_in_clear(&self) {
        let clear = String::from_utf8_lossy(&self.clear);
        for line in clear.split_inclusive("\r\n") {
            let harmless = HARMLESS
                .iter()
                .any(|start| line.to_ascii_uppercase().starts_with(start));
            assert!(
                harmless && line.ends_with("\r\n"),
                "in clear came {line:?}, of {clear:?}"
            );
        }
    }

    /// The commands inside TLS, one a line.
    pub fn commands_inside(&self) -> Vec<String> {
        lines(&self.inside)
    }

    /// The commands in clear, one a line.
    pub fn commands_in_clear(&self) -> Vec<String> {
        lines(&self.clear)
    }
}

fn lines(octets: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(octets);
    text.lines().map(str::to_owned).collect()
}

/// Which of the two records octets belong to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Heard {
    InClear,
    Inside,
}

/// How a dialogue ended.
enum End {
    Closed,
    /// STARTTLS was asked for, and the client waits for the handshake.
    Handshake,
}

/// Serves one connection to its end.
pub(super) fn serve(stream: TcpStream, shared: &Shared) {
    let (number, manner) = {
        let mut state = shared.lock();
        state.conversations.push(Conversation::default());
        (state.conversations.len() - 1, state.manner.clone())
    };
    let mut line = Line {
        shared,
        number,
        manner,
        unread: Vec::new(),
    };
    // However the client ends it, what was heard is what counts.
    drop(line.serve(stream));
    shared.note(number, |conversation| conversation.closed = true);
}

struct Line<'s> {
    shared: &'s Shared,
    number: usize,
    manner: Manner,
    unread: Vec<u8>,
}

impl Line<'_> {
    fn serve(&mut self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(stream, "220 {} ESMTP\r\n", self.shared.name)?;
        match self.talk(&mut stream, Heard::InClear)? {
            End::Closed => Ok(()),
            End::Handshake => self.after_220(stream),
        }
    }

    fn after_220(&mut self, mut stream: TcpStream) -> io::Result<()> {
        match self.manner.starttls.clone() {
            StartTls::Garbage(octets) => stream.write_all(&octets)?,
            StartTls::Stalls => {}
            StartTls::OldVersion => {
                let mut hello = vec![0; PIECE_BYTES];
                let count = stream.read(&mut hello)?;
                self.shared.note(self.number, |kept| {
                    kept.during_handshake.extend_from_slice(&hello[..count])
                });
                stream.write_all(&old_server_hello())?;
            }
            StartTls::Closes => return Ok(()),
            StartTls::Honest | StartTls::Injects(_) => return self.shake_hands(stream),
            StartTls::Stripped | StartTls::Refuses(_) => unreachable!("no 220 was said"),
        }
        self.keep_the_rest(stream)
    }

    fn keep_the_rest(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer = vec![0; PIECE_BYTES];
        while !self.shared.is_stopped() {
            match stream.read(&mut buffer)? {
                0 => break,
                count => self.shared.note(self.number, |kept| {
                    kept.during_handshake.extend_from_slice(&buffer[..count])
                }),
            }
        }
        Ok(())
    }

    fn shake_hands(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let config = self.manner.identity.server(self.manner.versions);
        let mut connection = rustls::ServerConnection::new(config).map_err(io::Error::other)?;
        while connection.is_handshaking() {
            connection.complete_io(&mut stream)?;
        }
        let handshake = Handshake {
            version: connection
                .protocol_version()
                .map_or_else(String::new, |version| format!("{version:?}")),
            server_name: connection.server_name().map(str::to_owned),
        };
        self.shared
            .note(self.number, |kept| kept.handshake = Some(handshake));
        let mut tls = rustls::StreamOwned::new(connection, stream);
        match self.talk(&mut tls, Heard::Inside)? {
            End::Closed | End::Handshake => {
                tls.conn.send_close_notify();
                tls.flush()
            }
        }
    }

    /// The dialogue, until QUIT, the client's end, or STARTTLS.
    fn talk(&mut self, stream: &mut (impl Read + Write), heard: Heard) -> io::Result<End> {
        self.unread.clear();
        while let Some(command) = self.line(stream, heard)? {
            let command = String::from_utf8_lossy(&command).trim_end().to_ascii_uppercase();
            let verb = command.split([' ', ':']).next().unwrap_or_default();
            let reply = match verb {
                "EHLO" => self.hello(heard),
                "STARTTLS" if heard == Heard::InClear => match self.starttls() {
                    (reply, true) => {
                        stream.write_all(&reply)?;
                        return Ok(End::Handshake);
                    }
                    (reply, false) => reply,
                },
                "DATA" => {
                    stream.write_all(b"354 go ahead\r\n")?;
                    self.content(stream, heard)?;
                    b"250 2.0.0 taken\r\n".to_vec()
                }
                "QUIT" => {
                    stream.write_all(b"221 2.0.0 bye\r\n")?;
                    return Ok(End::Closed);
                }
                "HELO" | "MAIL" | "RCPT" | "RSET" | "NOOP" => b"250 2.0.0 ok\r\n".to_vec(),
                _ => b"502 5.5.1 unknown\r\n".to_vec(),
            };
            stream.write_all(&reply)?;
            stream.flush()?;
        }
        Ok(End::Closed)
    }

    fn hello(&self, heard: Heard) -> Vec<u8> {
        let mut keywords = vec![
            self.shared.name.clone(),
            "PIPELINING".to_owned(),
            "8BITMIME".to_owned(),
        ];
        match heard {
            Heard::InClear if self.manner.starttls != StartTls::Stripped => {
                keywords.push("STARTTLS".to_owned())
            }
            Heard::InClear => {}
            Heard::Inside => keywords.extend(self.manner.offers_inside.iter().cloned()),
        }
        keywords.push("ENHANCEDSTATUSCODES".to_owned());
        let last = keywords.len() - 1;
        let lines = keywords.iter().enumerate();
        let text: String = lines
            .map(|(at, keyword)| format!("250{}{keyword}\r\n", if at == last { ' ' } else { '-' }))
            .collect();
        text.into_bytes()
    }

    /// The reply to STARTTLS, and whether a handshake is to follow.
    fn starttls(&self) -> (Vec<u8>, bool) {
        let go = b"220 2.0.0 go ahead\r\n".to_vec();
        match &self.manner.starttls {
            StartTls::Stripped => (b"502 5.5.1 unknown\r\n".to_vec(), false),
            StartTls::Refuses(reply) => (format!("{reply}\r\n").into_bytes(), false),
            StartTls::Injects(octets) => ([go, octets.clone()].concat(), true),
            StartTls::Honest
            | StartTls::Garbage(_)
            | StartTls::Stalls
            | StartTls::OldVersion
            | StartTls::Closes => (go, true),
        }
    }

    fn content(&mut self, stream: &mut impl Read, heard: Heard) -> io::Result<()> {
        let mut content = Vec::new();
        while let Some(line) = self.line(stream, heard)? {
            if line == b".\r\n" {
                let id = letter::id_of(&content).unwrap_or_else(|| "no letter of the laboratory".to_owned());
                self.shared.note(self.number, |kept| {
                    kept.letters.push((id, heard == Heard::Inside))
                });
                return Ok(());
            }
            content.extend_from_slice(&line);
        }
        Ok(())
    }

    /// The next line with its end; `None` when the client has closed.
    fn line(&mut self, stream: &mut impl Read, heard: Heard) -> io::Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; PIECE_BYTES];
        loop {
            if let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                return Ok(Some(self.unread.drain(..=end).collect()));
            }
            let count = stream.read(&mut buffer)?;
            if count == 0 || self.shared.is_stopped() {
                return Ok(None);
            }
            self.unread.extend_from_slice(&buffer[..count]);
            self.shared.note(self.number, |kept| match heard {
                Heard::InClear => kept.clear.extend_from_slice(&buffer[..count]),
                Heard::Inside => kept.inside.extend_from_slice(&buffer[..count]),
            });
        }
    }
}

/// A ServerHello of TLS 1.0 with TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA (RFC 2246 §7.4.1.3) and safe renegotiation, so that only the
/// version is wrong with it.
fn old_server_hello() -> Vec<u8> {
    let mut body = vec![3, 1];
    body.extend_from_slice(&[0x5a; 32]);
    body.extend_from_slice(&[0, 0xc0, 0x13, 0]);
    body.extend_from_slice(&[0, 5, 0xff, 1, 0, 1, 0]);
    let length = u8::try_from(body.len()).expect("45 octets");
    [&[0x16, 3, 1, 0, length + 4, 2, 0, 0, length], body.as_slice()].concat()
}
