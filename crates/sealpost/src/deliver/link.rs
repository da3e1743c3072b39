//! A session with leave to send, and one transaction over it.

use std::io;
use std::time::{Duration, SystemTime};

use mail::{Channel, Clear, Host, Tls};
use smtp::client::{Outcome, Ready, Transaction, Trouble, Unsendable};
use trust::{Evidence, Plan, Seen, Shown, Unmet, Verdict, WhyClear};

use super::Errand;
use super::wire::{Said, Wire};
use crate::ports::{Ports, within};
use crate::spooling::off_the_async_threads;

/// An open session with leave to send.
pub enum Connection {
    /// In clear.
    Clear(Box<Link<Clear>>),
    /// Inside TLS.
    Tls(Box<Link<Tls>>),
}

/// A session over one kind of channel.
pub struct Link<C: Channel> {
    wire: Wire,
    pub(super) ready: Ready<C>,
    /// What the channel showed, to be judged anew for each message.
    shown: Shown<C>,
    /// Of the channel; each message gets a copy of its own.
    pub(super) evidence: Evidence,
    pub(super) sent: usize,
}

/// Why nothing was sent, or not all.
pub(super) enum NotSent {
    Unsendable(Unsendable),
    Ours(String),
}

impl<C: Channel> Link<C> {
    pub(super) fn new(wire: Wire, ready: Ready<C>, shown: Shown<C>, evidence: Evidence) -> Link<C> {
        Link {
            wire,
            ready,
            shown,
            evidence,
            sent: 0,
        }
    }

    /// Held against the plan of another message; it goes no further where that is not met.
    fn meets(&mut self, plan: &Plan, now: SystemTime) -> Result<(), Unmet> {
        let judgement = plan.judge(&self.shown, now);
        let permit = match judgement.verdict {
            Verdict::Send(permit) => permit,
            Verdict::Hold(unmet) => return Err(unmet),
        };
        self.ready.renew(permit);
        self.evidence = Evidence {
            address: self.evidence.address,
            ..judgement.evidence
        };
        Ok(())
    }

    /// One transaction, from MAIL to its final reply.
    pub(super) async fn transact(
        &mut self,
        errand: &Errand,
        batch: &[usize],
        ports: &Ports,
    ) -> Result<Outcome, NotSent> {
        let envelope = &errand.envelope;
        let transaction = Transaction {
            envelope_sender: envelope.sender.clone(),
            recipients: batch
                .iter()
                .map(|place| envelope.recipients[*place].clone())
                .collect(),
            content: errand.content,
            body: envelope.body,
            smtputf8: envelope.smtputf8,
            ret: envelope.ret,
            envelope_id: envelope.envelope_id.clone(),
            wish: envelope.wish,
        };
        if self.sent > 0 {
            // A reply nobody asked for would pass for the one to MAIL.
            self.wire.catch_up(&mut self.ready).await;
            if self.ready.unread() > 0 {
                return Err(NotSent::Unsendable(Unsendable::NotReady));
            }
        }
        self.ready
            .send(transaction, ports.clock.instant())
            .map_err(NotSent::Unsendable)?;
        self.sent += 1;
        loop {
            match self.wire.hear(&mut self.ready).await {
                Said::Content => {
                    if let Some(outcome) = self.give_content(errand).await? {
                        return Ok(outcome);
                    }
                }
                Said::Done(outcome) => return Ok(outcome),
                Said::Broken(Trouble::ContentDiffers) => {
                    return Err(NotSent::Ours(CONTENT_DIFFERS.to_owned()));
                }
                Said::Hello | Said::StartTls | Said::StartTlsRefused(_) | Said::Broken(_) | Said::Close => {
                    return Err(NotSent::Ours("the session ended without an outcome".to_owned()));
                }
            }
        }
    }

    /// Gives the content block by block, each once the one before is on its way.
    async fn give_content(&mut self, errand: &Errand) -> Result<Option<Outcome>, NotSent> {
        let ended = || NotSent::Ours("the server is stopping".to_owned());
        let open = errand.open.clone();
        let opened = off_the_async_threads(move || open()).await.ok_or_else(ended)?;
        let mut content = opened.map_err(unreadable)?;
        let mut block = vec![0; BLOCK_BYTES];
        loop {
            let read = off_the_async_threads(move || {
                let count = content.read(&mut block);
                (content, block, count)
            });
            let (back, bytes, count) = read.await.ok_or_else(ended)?;
            (content, block) = (back, bytes);
            match count.map_err(unreadable)? {
                0 => break,
                count => self.ready.content(&block[..count]),
            }
            match self
                .wire
                .hear_until(&mut self.ready, |ready| ready.content_buffered() == 0)
                .await
            {
                None => {}
                Some(Said::Done(outcome)) => return Ok(Some(outcome)),
                Some(Said::Broken(Trouble::ContentDiffers)) => {
                    return Err(NotSent::Ours(CONTENT_DIFFERS.to_owned()));
                }
                Some(_) => return Err(NotSent::Ours("the session ended without an outcome".to_owned())),
            }
        }
        self.ready.content_end();
        Ok(None)
    }

    /// Whether it went clear for the sake of one message: then it is not for others.
    pub(super) fn is_exception(&self) -> bool {
        matches!(self.evidence.seen, Some(Seen::Clear(WhyClear::Earlier(_))))
    }

    async fn quit(mut self, ports: &Ports) {
        let clock = &*ports.clock;
        self.ready.quit(clock.instant());
        let quit = async { while !matches!(self.wire.hear(&mut self.ready).await, Said::Close) {} };
        within(clock, QUIT_WAIT, quit).await;
    }
}

impl Connection {
    /// Whose it is.
    pub fn host(&self) -> &Host {
        match self {
            Connection::Clear(link) => &link.evidence.host,
            Connection::Tls(link) => &link.evidence.host,
        }
    }

    /// The same session with leave for a message of this plan, or without it.
    pub(super) fn judged_anew(mut self, plan: &Plan, now: SystemTime) -> Result<Connection, Connection> {
        let judged = match &mut self {
            Connection::Clear(link) => link.meets(plan, now),
            Connection::Tls(link) => link.meets(plan, now),
        };
        match judged {
            Ok(()) => Ok(self),
            Err(_) => Err(self),
        }
    }

    /// Ends the session politely, without a long wait for the answer.
    pub async fn quit(self, ports: &Ports) {
        match self {
            Connection::Clear(link) => link.quit(ports).await,
            Connection::Tls(link) => link.quit(ports).await,
        }
    }
}

fn unreadable(error: io::Error) -> NotSent {
    NotSent::Ours(format!("the message cannot be read from the spool: {error}"))
}

const CONTENT_DIFFERS: &str = "the message's octets differ from what was recorded when it came";
/// Octets read from the spool at a time; with as many being written, what an attempt takes of memory.
const BLOCK_BYTES: usize = 64 * 1024;
/// Politeness has an end.
pub(super) const QUIT_WAIT: Duration = Duration::from_secs(5);
