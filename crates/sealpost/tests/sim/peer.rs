//! Mail servers of others: our protocol core and real TLS, with habits good and bad.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mail::{Class, Clear, Domain, EnhancedStatus, Reply, ReversePath, Tls};
use rustls::ServerConfig;
use sealpost::ports::Stream;
use smtp::server::{Question, Service, Session, StartTls, Step, Verify};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::dice::Dice;
use super::ledger::Ledger;
use super::wire::{DOWN, End, Wire};

/// What a host is like at this hour.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mood {
    Good,
    /// Nobody listens.
    Refuses,
    /// Packets vanish.
    Silent,
    /// 421 to everyone.
    Busy,
    /// Everyone is told to come again.
    Greylists,
    /// 454 to STARTTLS.
    TlsBroken,
    /// Goes away while content comes.
    Vanishes,
    /// Takes the message and goes away without a word.
    TakesSilently,
    /// Goes away behind the final dot, and has nothing.
    DropsSilently,
    Slow,
}

/// One host.
pub struct Peer {
    pub name: String,
    pub service: Arc<Service>,
    pub tls: Option<Arc<ServerConfig>>,
    pub mood: Mutex<Mood>,
    pub ledger: Arc<Mutex<Ledger>>,
}

impl Peer {
    pub fn new(name: &str, tls: Option<Arc<ServerConfig>>, ledger: Arc<Mutex<Ledger>>) -> Arc<Peer> {
        let service = Service {
            host: Domain::parse(name).unwrap(),
            software: None,
            starttls: match tls {
                Some(_) => StartTls::Offered,
                None => StartTls::Absent,
            },
            verify: Verify::Hidden,
            limits: smtp::Limits::default(),
        };
        Arc::new(Peer {
            name: name.to_owned(),
            service: Arc::new(service),
            tls,
            mood: Mutex::new(Mood::Good),
            ledger,
        })
    }

    pub fn mood(&self) -> Mood {
        *self.mood.lock().unwrap()
    }

    /// Serves one connection.
    pub async fn serve(self: Arc<Peer>, end: End, wire: Wire, dice: Dice) {
        let mut talk = Talk {
            peer: self.clone(),
            wire,
            dice,
            content: Vec::new(),
            taken: Vec::new(),
            vanish_at: None,
        };
        let client = [10, 0, 0, 1].into();
        let mut stream: Box<dyn Stream> = Box::new(end);
        let mut session = match self.mood() {
            Mood::Busy => {
                let busy = Reply::fixed(421, EnhancedStatus::new(Class::Transient, 3, 2), "too busy");
                Session::<Clear>::refuse(self.service.clone(), client, busy, now())
            }
            _ => Session::<Clear>::new(self.service.clone(), client, now()),
        };
        if talk.converse(&mut session, &mut stream).await != Next::StartTls {
            return;
        }
        let (Ok(handshake), Some(tls)) = (session.leave(), &self.tls) else {
            return;
        };
        let shaking = TlsAcceptor::from(tls.clone()).accept(stream);
        let Ok(Ok(stream)) = tokio::time::timeout(Duration::from_secs(60), shaking).await else {
            return;
        };
        let mut stream: Box<dyn Stream> = Box::new(stream);
        let mut session: Session<Tls> = handshake.done(now());
        talk.converse(&mut session, &mut stream).await;
        // Whether the farewell arrives changes nothing.
        let _ = stream.shutdown().await;
    }
}

struct Talk {
    peer: Arc<Peer>,
    wire: Wire,
    dice: Dice,
    content: Vec<u8>,
    /// Deliveries whose final reply is not said yet.
    taken: Vec<usize>,
    vanish_at: Option<usize>,
}

#[derive(PartialEq, Eq)]
enum Next {
    Over,
    StartTls,
}

impl Talk {
    async fn converse<C: mail::Channel>(
        &mut self,
        session: &mut Session<C>,
        stream: &mut Box<dyn Stream>,
    ) -> Next {
        loop {
            while let Some(step) = session.step(now()) {
                match step {
                    Step::Write(octets) => {
                        if self.peer.mood() == Mood::Slow {
                            tokio::time::sleep(Duration::from_secs(self.dice.between(1, 40))).await;
                        }
                        if stream.write_all(octets).await.is_err() || stream.flush().await.is_err() {
                            return Next::Over;
                        }
                        let mut ledger = self.peer.ledger.lock().unwrap();
                        for taken in self.taken.drain(..) {
                            ledger.deliveries[taken].reply =
                                Some((self.wire.clone(), self.wire.written(DOWN)));
                        }
                    }
                    Step::Ask(Question::End) => {
                        let envelope = session.take_envelope();
                        match self.end(&envelope) {
                            Some(reply) => session.answer(reply),
                            None => return Next::Over,
                        }
                    }
                    Step::Ask(question) => {
                        let reply = self.answer(question);
                        session.answer(reply);
                    }
                    Step::Body(octets) => {
                        self.content.extend_from_slice(octets);
                        if self.vanish_at.is_some_and(|at| self.content.len() > at) {
                            return Next::Over;
                        }
                    }
                    Step::Abort => self.content.clear(),
                    Step::StartTls => return Next::StartTls,
                    Step::Close => return Next::Over,
                }
            }
            let mut piece = [0; 4096];
            let wake = session.wake_at().into();
            tokio::select! {
                biased;
                read = stream.read(&mut piece) => match read {
                    Ok(0) | Err(_) => return Next::Over,
                    Ok(count) => session.feed(&piece[..count]),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn answer(&mut self, question: Question<'_>) -> Reply {
        let later = |code, text| Reply::fixed(code, EnhancedStatus::new(Class::Transient, 7, 1), text);
        let mood = self.peer.mood();
        match question {
            Question::StartTls if mood == Mood::TlsBroken => later(454, "no TLS now"),
            Question::StartTls => Session::<Clear>::READY_FOR_TLS,
            Question::Mail(_) => Reply::plain(250, "fine"),
            Question::Rcpt(_, recipient) => match recipient.mailbox.local().as_str() {
                _ if mood == Mood::Greylists => later(451, "greylisted"),
                user if user.starts_with("no") => {
                    Reply::new(550, EnhancedStatus::new(Class::Permanent, 1, 1), "no such user")
                }
                user if user.starts_with("full") => later(452, "mailbox full"),
                user if user.starts_with("odd") && self.dice.percent(50) => later(450, "not now"),
                _ => Reply::plain(250, "fine"),
            },
            Question::Begin(_) => {
                self.content.clear();
                let early = self.dice.below(2000) as usize;
                self.vanish_at = (mood == Mood::Vanishes).then_some(early);
                Reply::plain(354, "go")
            }
            Question::Verify(_) | Question::Expand(_) | Question::End => Reply::plain(252, "who knows"),
        }
    }

    fn end(&mut self, envelope: &mail::Envelope) -> Option<Reply> {
        let mood = self.peer.mood();
        let recipients: Vec<String> = envelope
            .recipients
            .iter()
            .map(|recipient| recipient.mailbox.to_string())
            .collect();
        if mood == Mood::Vanishes || mood == Mood::DropsSilently {
            return None;
        }
        if recipients.iter().any(|recipient| recipient.starts_with("spam")) {
            let status = EnhancedStatus::new(Class::Permanent, 7, 1);
            return Some(Reply::new(554, status, "not wanted"));
        }
        let sender = match &envelope.sender {
            ReversePath::Null => String::new(),
            ReversePath::Mailbox(mailbox) => mailbox.to_string(),
        };
        let content = std::mem::take(&mut self.content);
        let at = Instant::now();
        let mut ledger = self.peer.ledger.lock().unwrap();
        self.taken = ledger.arrived(&self.peer.name, &sender, &recipients, &content, at);
        (mood != Mood::TakesSilently).then(|| Reply::plain(250, "taken"))
    }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
