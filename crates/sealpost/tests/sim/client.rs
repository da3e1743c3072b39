//! Clients that hand messages in, each once: what they were told is what the server is held to.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use mail::content::Survey;
use mail::proof::Permit;
use mail::{Body, Clear, Domain, Host, Mailbox, MessageId, Recipient, ReversePath, Tls};
use sealpost::ports::Stream;
use sealpost::tls::{Ask, ClientTls};
use smtp::client::{ContentSent, Fate, Outcome, Ready, Session, Step, Transaction};
use spool::Spool;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

use super::dice::Dice;
use super::ledger::{Sent, Word};
use super::world::World;

/// A message to hand in.
pub struct Letter {
    pub id: u32,
    pub client: IpAddr,
    pub sender: Option<String>,
    pub recipients: Vec<String>,
    pub content: Vec<u8>,
    pub wants_tls: bool,
    pub dice: Dice,
}

/// Hands it in, once, and writes down what came of it.
pub async fn hand_in(world: Arc<World>, letter: Letter) {
    let words = letter
        .recipients
        .iter()
        .map(|to| (to.clone(), Word::Perhaps))
        .collect();
    let sent = Sent {
        sender: letter.sender.clone(),
        content: letter.content.clone(),
        words,
        kept_as: None,
    };
    world.ledger().sent.insert(letter.id, sent);
    let mut handing = Handing {
        world: world.clone(),
        letter,
    };
    let patience = Duration::from_secs(3 * 3600);
    let outcome = tokio::time::timeout(patience, handing.run()).await;
    let id = handing.letter.id;
    match outcome {
        Ok(Some(outcome)) => handing.write_down(&outcome),
        Ok(None) => {
            world.note(format!("client {id}: nothing was sent"));
            let mut ledger = world.ledger();
            let words = &mut ledger.sent.get_mut(&id).unwrap().words;
            words.values_mut().for_each(|word| *word = Word::No);
        }
        Err(_) => world.note(format!("client {id}: it took too long")),
    }
}

struct Handing {
    world: Arc<World>,
    letter: Letter,
}

enum Came {
    Hello,
    StartTls,
    Content,
    Done(Outcome),
    Over,
}

/// What both stages have in common.
trait Talk {
    fn feed(&mut self, octets: &[u8]);
    fn step(&mut self, now: std::time::Instant) -> Option<Step<'_>>;
    fn wake_at(&self) -> std::time::Instant;
    fn closed_by_peer(&mut self);
}

macro_rules! talks {
    ($($kind:ident),*) => {$(
        impl<C: mail::Channel> Talk for $kind<C> {
            fn feed(&mut self, octets: &[u8]) {
                $kind::feed(self, octets)
            }
            fn step(&mut self, now: std::time::Instant) -> Option<Step<'_>> {
                $kind::step(self, now)
            }
            fn wake_at(&self) -> std::time::Instant {
                $kind::wake_at(self)
            }
            fn closed_by_peer(&mut self) {
                $kind::closed_by_peer(self)
            }
        }
    )*};
}
talks!(Session, Ready);

impl Handing {
    async fn run(&mut self) -> Option<Outcome> {
        let mut stream = self.world.call(self.letter.client, &mut self.letter.dice)?;
        let me = Domain::parse("client.example").unwrap();
        let mut session = Session::<Clear>::new(me, smtp::Limits::default(), now());
        let Came::Hello = self.hear(&mut session, &mut stream).await else {
            return None;
        };
        if !self.letter.wants_tls || !session.hello().offers_starttls() {
            let ready = session.ready(Permit::<Clear>::mint(server()));
            return self.send(ready, stream).await;
        }
        session.start_tls(now()).ok()?;
        let Came::StartTls = self.hear(&mut session, &mut stream).await else {
            return None;
        };
        let handshake = session.leave().ok()?;
        let tls = ClientTls::trusting(rustls::RootCertStore::empty(), self.world.clock.clone());
        let ask = Ask {
            server_name: None,
            version_min: mail::TlsVersion::V1_2,
            groups: None,
            certificate: None,
        };
        let wait = Duration::from_secs(120);
        let mut stream = tls.connect(stream, &server(), ask, wait).await.ok()?.stream;
        let mut session: Session<Tls> = handshake.done(now());
        let Came::Hello = self.hear(&mut session, &mut stream).await else {
            return None;
        };
        let ready = session.ready(Permit::<Tls>::mint(server()));
        self.send(ready, stream).await
    }

    async fn send<C: mail::Channel>(
        &mut self,
        mut ready: Ready<C>,
        mut stream: Box<dyn Stream>,
    ) -> Option<Outcome> {
        ready.send(self.transaction(), now()).ok()?;
        loop {
            match self.hear(&mut ready, &mut stream).await {
                Came::Content => {
                    for piece in self.letter.content.clone().chunks(7000) {
                        if self.letter.dice.percent(10) {
                            tokio::time::sleep(Duration::from_secs(self.letter.dice.below(20))).await;
                        }
                        ready.content(piece);
                    }
                    ready.content_end();
                }
                Came::Done(outcome) => {
                    if self.letter.dice.percent(80) {
                        ready.quit(now());
                        // Whatever is said to QUIT.
                        self.hear(&mut ready, &mut stream).await;
                    }
                    return Some(outcome);
                }
                Came::Hello | Came::StartTls | Came::Over => return None,
            }
        }
    }

    async fn hear(&mut self, talk: &mut impl Talk, stream: &mut Box<dyn Stream>) -> Came {
        loop {
            while let Some(step) = talk.step(now()) {
                match step {
                    Step::Write(octets) => {
                        let written = stream.write_all(octets).await;
                        if written.is_err() || stream.flush().await.is_err() {
                            talk.closed_by_peer();
                        }
                        self.world.touch();
                    }
                    Step::Hello => return Came::Hello,
                    Step::StartTls => return Came::StartTls,
                    Step::Content => return Came::Content,
                    Step::Done(outcome) => return Came::Done(outcome),
                    Step::StartTlsRefused(_) | Step::Broken(_) | Step::Close => return Came::Over,
                }
            }
            let mut piece = [0; 4096];
            let wake = talk.wake_at().into();
            tokio::select! {
                biased;
                read = stream.read(&mut piece) => match read {
                    Ok(0) | Err(_) => talk.closed_by_peer(),
                    Ok(count) => talk.feed(&piece[..count]),
                },
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn transaction(&self) -> Transaction {
        let mut survey = Survey::default();
        survey.feed(&self.letter.content);
        let content = survey.content();
        let recipient = |address: &String| Recipient {
            mailbox: Mailbox::parse(address).unwrap(),
            notify: None,
            original: None,
        };
        Transaction {
            envelope_sender: match &self.letter.sender {
                Some(sender) => ReversePath::Mailbox(Mailbox::parse(sender).unwrap()),
                None => ReversePath::Null,
            },
            recipients: self.letter.recipients.iter().map(recipient).collect(),
            content,
            body: if content.eight_bit_body {
                Body::EightBitMime
            } else {
                Body::SevenBit
            },
            smtputf8: false,
            ret: None,
            envelope_id: None,
            wish: mail::TlsWish::Usual,
        }
    }

    fn write_down(&mut self, outcome: &Outcome) {
        let id = self.letter.id;
        let mut kept_as = None;
        for (recipient, fate) in self.letter.recipients.clone().iter().zip(outcome.fates()) {
            let word = match fate {
                Fate::Taken(reply) => {
                    let text = reply.lines().last().unwrap_or_default();
                    kept_as = text.rsplit(' ').next().map(str::to_owned);
                    Word::Yes
                }
                Fate::Lost(_, ContentSent::Whole) => Word::Perhaps,
                // After a failure of its disk the server cannot know what a power cut would bring back.
                Fate::Refused(reply) if reply.code() == 452 => Word::Perhaps,
                Fate::Lost(_, ContentSent::Partly) | Fate::Refused(_) | Fate::Again => Word::No,
            };
            self.world.note(format!("client {id}: {recipient} {word:?}"));
            self.world
                .ledger()
                .sent
                .get_mut(&id)
                .unwrap()
                .words
                .insert(recipient.clone(), word);
        }
        if let Some(kept_as) = kept_as {
            self.survives(&kept_as);
            self.world.ledger().sent.get_mut(&id).unwrap().kept_as = Some(kept_as);
        }
    }

    /// A 250 was read: what if the power went now?
    fn survives(&mut self, kept_as: &str) {
        let id = MessageId::parse(kept_as).expect("the reply names the message");
        let Some((live, disk)) = self.world.spool() else {
            return;
        };
        if disk.is_dead() || live.show(id).is_none() {
            return;
        }
        let after = Arc::new(disk.after_power_cut(self.letter.dice.roll()));
        let lane_of = |_: &Recipient| spool::Lane::new("any");
        let found = Spool::open_without_threads(after, super::world::spool_limits(), lane_of);
        let number = self.letter.id;
        match found {
            Ok((spool, _)) if spool.show(id).is_some() => {}
            Ok(_) => self
                .world
                .ledger()
                .wrong(format!("250 for {number}, and a power cut takes it")),
            Err(error) => self
                .world
                .ledger()
                .wrong(format!("no spool after a power cut: {error}")),
        }
    }
}

fn server() -> Host {
    Host::Name(Domain::parse("mx.here.example").unwrap())
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}
