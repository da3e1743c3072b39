//! A scripted mail server: answers well unless its script says otherwise, and writes down what it hears.

use std::sync::{Arc, Mutex};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, PublicKeyData};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{RootCertStore, ServerConfig};
use sealpost::ports::Stream;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio_rustls::TlsAcceptor;

/// What a stub says to a line, where it does not say the usual.
pub type Script = Arc<dyn Fn(&Heard, &str) -> Option<String> + Send + Sync>;

/// How a stub does STARTTLS, once it offers it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StartTls {
    /// As it should.
    Works,
    /// 220 with octets behind it.
    Injects,
    /// 220, then something that is no handshake.
    Breaks,
}

/// A server's behaviour.
#[derive(Clone)]
pub struct Stub {
    pub greeting: String,
    pub name: String,
    /// EHLO keywords in clear.
    pub clear: Vec<String>,
    /// EHLO keywords inside TLS.
    pub inside: Vec<String>,
    pub starttls: StartTls,
    pub script: Script,
    /// The certificates that it shows, if not those that everybody shows.
    pub identity: Option<Arc<Identity>>,
    pub log: Arc<Mutex<Vec<Session>>>,
}

/// What one connection brought.
#[derive(Clone, Default, Debug)]
pub struct Session {
    /// Lines heard: `clear` or `tls`, and the line.
    pub lines: Vec<(&'static str, String)>,
    /// Messages taken over.
    pub messages: Vec<Vec<u8>>,
    /// Whether the client said QUIT before it went.
    pub quit: bool,
    /// The name that the client asked for by SNI.
    pub server_name: Option<String>,
}

/// What a script may look at.
#[derive(Clone, Copy, Debug, Default)]
pub struct Heard {
    /// Connections before this one.
    pub connection: usize,
    /// RCPT commands in this transaction, this one included.
    pub rcpts: usize,
    /// Lines of any kind in this session, this one included.
    pub lines: usize,
}

impl Stub {
    /// A friendly server of this name, in clear.
    pub fn new(name: &str) -> Stub {
        let keywords = ["PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES"];
        Stub {
            greeting: format!("220 {name} ready"),
            name: name.to_owned(),
            clear: keywords.map(str::to_owned).to_vec(),
            inside: keywords.map(str::to_owned).to_vec(),
            starttls: StartTls::Works,
            script: Arc::new(|_, _| None),
            identity: None,
            log: Arc::default(),
        }
    }

    pub fn offers(mut self, keywords: &[&str]) -> Stub {
        for keyword in keywords {
            self.clear.push((*keyword).to_owned());
            self.inside.push((*keyword).to_owned());
        }
        self
    }

    /// Offers STARTTLS.
    pub fn tls(mut self, how: StartTls) -> Stub {
        self.clear.push("STARTTLS".to_owned());
        self.starttls = how;
        self
    }

    /// Says something else to some lines; an answer of `!close` closes the connection, and what stands behind
    /// `!later` comes a second later.
    pub fn says(mut self, script: impl Fn(&Heard, &str) -> Option<String> + Send + Sync + 'static) -> Stub {
        self.script = Arc::new(script);
        self
    }

    /// Shows these certificates.
    pub fn shows(mut self, identity: &Arc<Identity>) -> Stub {
        self.identity = Some(identity.clone());
        self
    }

    pub fn sessions(&self) -> Vec<Session> {
        self.log.lock().unwrap().clone()
    }

    pub fn messages(&self) -> Vec<Vec<u8>> {
        self.sessions()
            .into_iter()
            .flat_map(|session| session.messages)
            .collect()
    }

    /// All lines heard, without their channel.
    pub fn lines(&self) -> Vec<String> {
        let sessions = self.sessions().into_iter();
        sessions
            .flat_map(|session| session.lines)
            .map(|(_, line)| line)
            .collect()
    }

    /// The lines that begin so.
    pub fn lines_of(&self, verb: &str) -> Vec<String> {
        self.lines()
            .into_iter()
            .filter(|line| line.starts_with(verb))
            .collect()
    }

    /// Serves one connection to its end.
    pub async fn serve(self, stream: Box<dyn Stream>, certificate: Arc<ServerConfig>) {
        let number = {
            let mut log = self.log.lock().unwrap();
            log.push(Session::default());
            log.len() - 1
        };
        let mut talk = Talk {
            stub: self,
            number,
            heard: Heard {
                connection: number,
                ..Heard::default()
            },
            channel: "clear",
            accepted: None,
        };
        let mut stream = BufStream::new(stream);
        if stream
            .write_all(format!("{}\r\n", talk.stub.greeting).as_bytes())
            .await
            .is_err()
        {
            return;
        }
        if stream.flush().await.is_err() {
            return;
        }
        if let After::StartTls = talk.run(&mut stream).await {
            match talk.stub.starttls {
                StartTls::Works | StartTls::Injects => {}
                StartTls::Breaks => {
                    drop(stream.write_all(b"\x15\x03\x03\x00\x02\x02\x28").await);
                    drop(stream.flush().await);
                    return;
                }
            }
            let own = talk.stub.identity.as_ref().map(|own| own.config.clone());
            let acceptor = TlsAcceptor::from(own.unwrap_or(certificate));
            let Ok(inside) = acceptor.accept(stream).await else {
                return;
            };
            let asked = inside.get_ref().1.server_name().map(str::to_owned);
            talk.note(|session| session.server_name = asked);
            talk.channel = "tls";
            talk.run(&mut BufStream::new(Box::new(inside) as Box<dyn Stream>))
                .await;
        }
    }
}

enum After {
    StartTls,
    Over,
}

struct Talk {
    stub: Stub,
    number: usize,
    heard: Heard,
    channel: &'static str,
    /// Recipients accepted since a MAIL that was; none without one.
    accepted: Option<usize>,
}

impl Talk {
    fn note(&self, change: impl FnOnce(&mut Session)) {
        change(&mut self.stub.log.lock().unwrap()[self.number]);
    }

    async fn run<S: Stream>(&mut self, stream: &mut BufStream<S>) -> After {
        loop {
            let mut line = String::new();
            match stream.read_line(&mut line).await {
                Ok(0) | Err(_) => return After::Over,
                Ok(_) => {}
            }
            let line = line.trim_end_matches("\r\n").to_owned();
            self.heard.lines += 1;
            self.heard.rcpts += usize::from(line.starts_with("RCPT"));
            self.note(|session| session.lines.push((self.channel, line.clone())));
            let reply = (self.stub.script)(&self.heard, &line).unwrap_or_else(|| self.usual(&line));
            if reply == "!close" {
                return After::Over;
            }
            if !say(stream, &reply).await {
                return After::Over;
            }
            let verb = line.split(' ').next().unwrap_or("").to_ascii_uppercase();
            match verb.as_str() {
                "MAIL" | "RSET" => {
                    self.heard.rcpts = 0;
                    self.accepted = (verb == "MAIL" && reply.starts_with('2')).then_some(0);
                }
                "RCPT" if reply.starts_with('2') => self.accepted = self.accepted.map(|count| count + 1),
                "STARTTLS" if reply.starts_with("220") => return After::StartTls,
                "QUIT" => {
                    self.note(|session| session.quit = true);
                    return After::Over;
                }
                "DATA" if reply.starts_with('3') && !self.content(stream).await => return After::Over,
                "BDAT" => {
                    let size = line
                        .split(' ')
                        .nth(1)
                        .and_then(|size| size.parse().ok())
                        .unwrap_or(0);
                    let mut content = vec![0; size];
                    if stream.read_exact(&mut content).await.is_err() {
                        return After::Over;
                    }
                    self.note(|session| session.messages.push(content));
                }
                _ => {}
            }
        }
    }

    /// Reads the content; `.` is a line that scripts see, too.
    async fn content<S: Stream>(&mut self, stream: &mut BufStream<S>) -> bool {
        let mut content = Vec::new();
        loop {
            let mut line = Vec::new();
            match stream.read_until(b'\n', &mut line).await {
                Ok(0) | Err(_) => return false,
                Ok(_) if line == b".\r\n" => break,
                Ok(_) => content.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line)),
            }
        }
        let reply = (self.stub.script)(&self.heard, ".").unwrap_or_else(|| "250 2.0.0 taken".to_owned());
        if reply == "!close" {
            return false;
        }
        if reply.starts_with('2') {
            self.note(|session| session.messages.push(content));
        }
        say(stream, &reply).await
    }

    fn usual(&self, line: &str) -> String {
        let keywords = if self.channel == "tls" {
            &self.stub.inside
        } else {
            &self.stub.clear
        };
        let verb = line.split(' ').next().unwrap_or("").to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => {
                let mut lines = vec![self.stub.name.clone()];
                lines.extend(keywords.iter().cloned());
                let last = lines.len() - 1;
                let line = |(index, text): (usize, &String)| {
                    format!("250{}{text}", if index == last { ' ' } else { '-' })
                };
                lines
                    .iter()
                    .enumerate()
                    .map(line)
                    .collect::<Vec<_>>()
                    .join("\r\n")
            }
            "HELO" => format!("250 {}", self.stub.name),
            "STARTTLS" if self.stub.starttls == StartTls::Injects => {
                "220 go\r\n250-x\r\n250 AUTH PLAIN".to_owned()
            }
            "STARTTLS" => "220 go".to_owned(),
            "RCPT" if self.accepted.is_none() => "503 5.5.1 MAIL first".to_owned(),
            "DATA" if self.accepted.unwrap_or(0) == 0 => "503 5.5.1 RCPT first".to_owned(),
            "DATA" => "354 go".to_owned(),
            "QUIT" => "221 bye".to_owned(),
            "BDAT" | "MAIL" | "RCPT" | "RSET" | "NOOP" => "250 2.0.0 fine".to_owned(),
            _ => "500 5.5.2 what?".to_owned(),
        }
    }
}

/// Says it; what stands behind `!later` a second later.
async fn say<S: Stream>(stream: &mut BufStream<S>, reply: &str) -> bool {
    let (now, later) = reply
        .split_once("!later")
        .map_or((reply, None), |(now, later)| (now, Some(later)));
    let mut sent = stream.write_all(format!("{now}\r\n").as_bytes()).await.is_ok();
    sent &= stream.flush().await.is_ok();
    if let Some(later) = later {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        sent &= stream.write_all(format!("{later}\r\n").as_bytes()).await.is_ok();
        sent &= stream.flush().await.is_ok();
    }
    sent
}

/// A key and the certificates that go with it, its own first.
pub struct Identity {
    pub chain: Vec<Vec<u8>>,
    pub config: Arc<ServerConfig>,
    pub key: mail::KeyPrint,
}

/// An authority that signs certificates.
pub struct Root {
    params: CertificateParams,
    key: KeyPair,
    der: Vec<u8>,
}

pub fn root(name: &str) -> Root {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    let key = KeyPair::generate().unwrap();
    let der = params.self_signed(&key).unwrap().der().to_vec();
    Root { params, key, der }
}

/// A certificate for these names that nobody signed.
pub fn identity(names: &[&str]) -> Arc<Identity> {
    let (params, key) = prepared(names);
    let own = params.self_signed(&key).unwrap().der().to_vec();
    Arc::new(served(vec![own], &key))
}

/// A certificate for these names that an authority signed, with the authority's own behind it.
pub fn identity_by(names: &[&str], root: &Root) -> Arc<Identity> {
    let (params, key) = prepared(names);
    let issuer = Issuer::from_params(&root.params, &root.key);
    let own = params.signed_by(&key, &issuer).unwrap().der().to_vec();
    Arc::new(served(vec![own, root.der.clone()], &key))
}

fn prepared(names: &[&str]) -> (CertificateParams, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    (
        CertificateParams::new(names).unwrap(),
        KeyPair::generate().unwrap(),
    )
}

fn served(chain: Vec<Vec<u8>>, key: &KeyPair) -> Identity {
    let print = trust::chain::key_print(&key.subject_public_key_info());
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let ders = chain.iter().cloned().map(CertificateDer::from).collect();
    let builder = ServerConfig::builder_with_provider(sealpost::tls::provider());
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(ders, key).unwrap();
    Identity {
        chain,
        config: Arc::new(config),
        key: print,
    }
}

/// A certificate that nobody signed, and its key.
pub fn certificate() -> (Arc<ServerConfig>, mail::KeyPrint) {
    let own = identity(&["stub.example"]);
    (own.config.clone(), own.key)
}

/// A certificate for these names until a year, and the root that signed it.
pub fn signed(names: &[&str], until_year: i32) -> (Arc<ServerConfig>, RootCertStore) {
    let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root_key = rcgen::KeyPair::generate().unwrap();
    let root = params.self_signed(&root_key).unwrap();
    let issuer = rcgen::Issuer::new(params, root_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = rcgen::KeyPair::generate().unwrap();
    let mut leaf = rcgen::CertificateParams::new(names).unwrap();
    leaf.not_after = rcgen::date_time_ymd(until_year, 1, 1);
    let leaf = leaf.signed_by(&key, &issuer).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.der().clone()).unwrap();
    let builder = ServerConfig::builder_with_provider(sealpost::tls::provider());
    let builder = builder
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let config = builder.with_single_cert(vec![leaf.der().clone()], key).unwrap();
    (Arc::new(config), roots)
}
