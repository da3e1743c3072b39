//! Talks to one address of a host up to the end of a TLS handshake. Knows no MAIL: nothing here could begin a message.

use std::net::SocketAddr;
use std::time::Duration;

use mail::{Domain, Host, Reply, TlsVersion};
use smtp::hello::Hello;
use smtp::wire::ReplyReader;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::facts::{Door, Inside, NoKeyword, Offered, Shook, Showed};
use crate::ports::{Ports, Stream, within};
use crate::tls::{Ask, ClientTls};

/// What probing needs.
#[derive(Clone)]
pub struct Prober {
    /// The world.
    pub ports: Ports,
    /// Handshakes, held against the trusted roots.
    pub tls: ClientTls,
    /// The name said in EHLO.
    pub me: Domain,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds of an audit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Hosts that are talked to.
    pub hosts_max: usize,
    /// Addresses of a host that are talked to.
    pub addresses_max: usize,
    /// For a connection to stand.
    pub connect_wait: Duration,
    /// For a reply; greetings too, which some servers delay on purpose.
    pub reply_wait: Duration,
    /// For a TLS handshake.
    pub handshake_wait: Duration,
    /// For the MTA-STS policy.
    pub fetch_wait: Duration,
    /// For all that is asked of one host.
    pub host_wait: Duration,
    /// Octets of a reply.
    pub reply_bytes_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hosts_max: 10,
            addresses_max: 4,
            connect_wait: Duration::from_secs(10),
            reply_wait: Duration::from_secs(20),
            handshake_wait: Duration::from_secs(15),
            fetch_wait: Duration::from_secs(30),
            host_wait: Duration::from_secs(60),
            reply_bytes_max: 16 * 1024,
        }
    }
}

impl Prober {
    /// Finds out what an address shows.
    pub(super) async fn door(&self, host: &Host, server_name: Option<&Domain>, address: SocketAddr) -> Door {
        let knocking = self.knock(host, server_name, address);
        let showed = within(&*self.ports.clock, self.limits.host_wait, knocking).await;
        Door {
            address,
            showed: showed.unwrap_or_else(|| Showed::Unreached("it took too long".into())),
        }
    }

    async fn knock(&self, host: &Host, server_name: Option<&Domain>, address: SocketAddr) -> Showed {
        let mut talk = match self.connect(address).await {
            Ok(talk) => talk,
            Err(why) => return Showed::Unreached(why),
        };
        let lines = match talk.hello(&self.me).await {
            Ok(lines) => lines,
            Err(why) => return Showed::Odd(why),
        };
        if !lines.hello.offers_starttls() {
            return Showed::NoKeyword(talk.look_closer(&self.me, lines.masked).await);
        }
        let newest = self.shake(talk, host, server_name, TlsVersion::V1_3).await;
        let older = match self.connect(address).await {
            Ok(mut talk) => match talk.hello(&self.me).await {
                Ok(_) => self.shake(talk, host, server_name, TlsVersion::V1_2).await,
                Err(why) => Err(why),
            },
            Err(why) => Err(why),
        };
        Showed::Offered(Box::new(Offered { newest, older }))
    }

    async fn connect(&self, address: SocketAddr) -> Result<Talk<'_>, Box<str>> {
        let connecting = self.ports.net.connect(address, None);
        match within(&*self.ports.clock, self.limits.connect_wait, connecting).await {
            Some(Ok(stream)) => Ok(Talk {
                stream,
                replies: ReplyReader::new(self.limits.reply_bytes_max),
                prober: self,
            }),
            Some(Err(error)) => Err(error.to_string().into()),
            None => Err("no connection in time".into()),
        }
    }

    /// STARTTLS with one version alone, then EHLO and QUIT inside.
    async fn shake(
        &self,
        mut talk: Talk<'_>,
        host: &Host,
        server_name: Option<&Domain>,
        version: TlsVersion,
    ) -> Result<Shook, Box<str>> {
        let reply = talk.ask("STARTTLS").await?;
        if reply.code() != 220 {
            return Err(format!("STARTTLS was answered {reply}").into());
        }
        // RFC 3207 §6: what stands behind 220 was sent in the clear.
        if talk.replies.unread() > 0 {
            return Err("octets were injected behind the reply to STARTTLS".into());
        }
        let ask = Ask {
            server_name: server_name.or(host.name()),
            version_min: version,
            groups: None,
            certificate: None,
        };
        let tls = self.tls.clone().at_most(version);
        let shaking = tls.connect(talk.stream, host, ask, self.limits.handshake_wait);
        let encrypted = shaking
            .await
            .map_err(|error| Box::<str>::from(error.to_string()))?;
        let mut inside = Talk {
            stream: encrypted.stream,
            replies: ReplyReader::new(self.limits.reply_bytes_max),
            prober: self,
        };
        Ok(Shook {
            facts: encrypted.facts,
            certificates: encrypted.certificates,
            inside: inside.inside(&self.me).await,
        })
    }
}

/// A connection in words.
struct Talk<'a> {
    stream: Box<dyn Stream>,
    replies: ReplyReader,
    prober: &'a Prober,
}

/// What a server said to EHLO.
struct Lines {
    hello: Hello,
    masked: bool,
}

impl Talk<'_> {
    /// The greeting, EHLO, and its reply.
    async fn hello(&mut self, me: &Domain) -> Result<Lines, Box<str>> {
        let greeting = self.reply().await?;
        if greeting.code() != 220 {
            return Err(format!("it greets with {greeting}").into());
        }
        self.ehlo(me).await
    }

    async fn ehlo(&mut self, me: &Domain) -> Result<Lines, Box<str>> {
        let reply = self.ask(&format!("EHLO {me}")).await?;
        let masked = |line: &str| {
            let keyword = line.split(' ').next().unwrap_or_default();
            keyword.len() >= MASKED_LETTERS && keyword.trim_end_matches('A').bytes().all(|c| c == b'X')
        };
        match reply.is_positive() {
            true => Ok(Lines {
                masked: reply.lines().skip(1).any(masked),
                hello: Hello::extended(&reply),
            }),
            // RFC 5321 §3.2: an old server. It has no extensions.
            false if reply.is_permanent() => Ok(Lines {
                masked: false,
                hello: Hello::default(),
            }),
            false => Err(format!("EHLO was answered {reply}").into()),
        }
    }

    /// Looks for signs that STARTTLS was taken out on the way.
    async fn look_closer(&mut self, me: &Domain, masked: bool) -> NoKeyword {
        let again = self.ehlo(me).await;
        let listed_again = again.is_ok_and(|lines| lines.hello.offers_starttls());
        let obeyed = match self.ask("STARTTLS").await {
            Ok(reply) => reply.code() == 220,
            Err(_) => false,
        };
        if !obeyed {
            self.quit().await;
        }
        NoKeyword {
            listed_again,
            obeyed,
            masked,
        }
    }

    async fn inside(&mut self, me: &Domain) -> Result<Inside, Box<str>> {
        let lines = self.ehlo(me).await?;
        self.quit().await;
        Ok(Inside {
            requiretls: lines.hello.requiretls(),
        })
    }

    /// QUIT; whatever is said to it is no matter.
    async fn quit(&mut self) {
        let _ = self.ask("QUIT").await;
    }

    async fn ask(&mut self, line: &str) -> Result<Reply, Box<str>> {
        let said = format!("{line}\r\n");
        let writing = async {
            self.stream.write_all(said.as_bytes()).await?;
            self.stream.flush().await
        };
        match within(&*self.prober.ports.clock, self.prober.limits.reply_wait, writing).await {
            Some(Ok(())) => self.reply().await,
            Some(Err(error)) => Err(error.to_string().into()),
            None => Err("it does not read what is said to it".into()),
        }
    }

    async fn reply(&mut self) -> Result<Reply, Box<str>> {
        let (stream, replies) = (&mut self.stream, &mut self.replies);
        let reading = async {
            let mut piece = [0; PIECE_BYTES];
            loop {
                match replies.next_reply() {
                    Ok(Some(reply)) => return Ok(reply),
                    Ok(None) => {}
                    Err(bad) => return Err(bad.to_string().into()),
                }
                match stream.read(&mut piece).await {
                    Ok(0) => return Err("it closed the connection".into()),
                    Ok(count) => replies.feed(&piece[..count]),
                    Err(error) => return Err(error.to_string().into()),
                }
            }
        };
        let answered = within(&*self.prober.ports.clock, self.prober.limits.reply_wait, reading).await;
        answered.unwrap_or_else(|| Err("no reply in time".into()))
    }
}

/// Replies are small.
const PIECE_BYTES: usize = 4096;
/// Letters of a keyword that is written over.
const MASKED_LETTERS: usize = 4;
