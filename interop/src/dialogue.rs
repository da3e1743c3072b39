//! A plain SMTP client for handing letters to peers, and for asking a server what it offers. Clear text, blocking, no policy.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::letter::Letter;

const PATIENCE: Duration = Duration::from_secs(120);

/// An open conversation.
pub struct Dialogue {
    stream: BufReader<TcpStream>,
    /// The keywords of the last EHLO reply, one a line.
    pub offers: Vec<String>,
}

/// Hands a letter in; panics on any refusal.
pub fn hand_in(server: SocketAddr, letter: &Letter) {
    let mut dialogue = Dialogue::open(server).unwrap_or_else(|error| panic!("{server}: {error}"));
    dialogue
        .send(letter)
        .unwrap_or_else(|error| panic!("{server} did not take {}: {error}", letter.id));
    dialogue.quit();
}

impl Dialogue {
    /// Connects, reads the greeting, says EHLO.
    pub fn open(server: SocketAddr) -> Result<Dialogue, String> {
        let stream = TcpStream::connect_timeout(&server, PATIENCE).map_err(|error| error.to_string())?;
        stream
            .set_read_timeout(Some(PATIENCE))
            .map_err(|error| error.to_string())?;
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let mut dialogue = Dialogue {
            stream: BufReader::new(stream),
            offers: Vec::new(),
        };
        dialogue.expect("220")?;
        let reply = dialogue.say("EHLO client.lab.test", "250")?;
        dialogue.offers = reply
            .lines()
            .skip(1)
            .filter_map(|line| line.get(4..))
            .map(str::to_owned)
            .collect();
        Ok(dialogue)
    }

    /// One transaction. An error is the reply that was not the one wanted, or the broken connection.
    pub fn send(&mut self, letter: &Letter) -> Result<String, String> {
        let offered = |keyword: &str| {
            self.offers
                .iter()
                .any(|offer| offer.split(' ').next() == Some(keyword))
        };
        let body = if letter.eight_bit && offered("8BITMIME") {
            " BODY=8BITMIME"
        } else {
            ""
        };
        let utf8 = if letter.smtputf8 { " SMTPUTF8" } else { "" };
        self.say(&format!("MAIL FROM:<{}>{body}{utf8}", letter.sender), "250")?;
        for recipient in &letter.recipients {
            self.say(&format!("RCPT TO:<{recipient}>"), "25")?;
        }
        self.say("DATA", "354")?;
        self.write(&stuffed(&letter.content))?;
        self.expect("250")
    }

    /// Says a command and reads its reply, which must begin with `wanted`.
    pub fn say(&mut self, command: &str, wanted: &str) -> Result<String, String> {
        self.write(format!("{command}\r\n").as_bytes())?;
        self.expect(wanted)
    }

    /// Ends the conversation in good order.
    pub fn quit(mut self) {
        // The answer to QUIT changes nothing any more.
        let _ = self.say("QUIT", "221");
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), String> {
        self.stream
            .get_mut()
            .write_all(bytes)
            .map_err(|error| error.to_string())
    }

    fn expect(&mut self, wanted: &str) -> Result<String, String> {
        let mut reply = String::new();
        loop {
            let start = reply.len();
            let read = self
                .stream
                .read_line(&mut reply)
                .map_err(|error| error.to_string())?;
            if read == 0 {
                return Err(format!("closed after {reply:?}"));
            }
            if reply.as_bytes().get(start + 3) != Some(&b'-') {
                break;
            }
        }
        if reply.starts_with(wanted) {
            Ok(reply)
        } else {
            Err(reply)
        }
    }
}

/// Dots doubled at line starts, and the final dot (RFC 5321 §4.5.2).
fn stuffed(content: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(content.len() + content.len() / 50);
    let mut line_start = true;
    for &byte in content {
        if line_start && byte == b'.' {
            out.push(b'.');
        }
        out.push(byte);
        line_start = byte == b'\n';
    }
    out.extend_from_slice(b".\r\n");
    out
}
