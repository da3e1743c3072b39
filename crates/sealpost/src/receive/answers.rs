//! Answers to what a session asks: looks up what a decision needs, asks [`crate::admit`], counts, keeps.

use std::net::SocketAddr;
use std::sync::Arc;

use mail::{
    Arrival, Channel, Class, Clear, Domain, EnhancedStatus, Envelope, Mailbox, Recipient, Reply, TlsFacts,
};
use smtp::server::{Mail, Question, Session};
use spool::DiskError;

use super::incoming::{Incoming, NO_ROOM, accepted, not_kept};
use super::{Reception, TOO_MUCH};
use crate::admit::{self, Admission, Reachable, Standing};
use crate::clients::Deed;
use crate::local::Knows;
use crate::ports::{NoAnswer, within};
use crate::received::received;
use crate::spooling::new_id;
use crate::tls::server::Slot;

/// One session's side of the talk.
pub(super) struct Talk {
    reception: Arc<Reception>,
    client: SocketAddr,
    tls: Option<TlsFacts>,
    standing: Standing,
    incoming: Option<Incoming>,
    slot: Option<Slot>,
}

impl Talk {
    pub(super) fn new(reception: Arc<Reception>, client: SocketAddr, tls: Option<TlsFacts>) -> Talk {
        let standing = reception
            .policy
            .standing(client.ip(), reception.role, tls.as_ref());
        Talk {
            reception,
            client,
            tls,
            standing,
            incoming: None,
            slot: None,
        }
    }

    pub(super) fn reception(&self) -> &Arc<Reception> {
        &self.reception
    }

    /// The slot that [`Question::StartTls`] reserved.
    pub(super) fn take_slot(&mut self) -> Option<Slot> {
        self.slot.take()
    }

    /// The answer, or what must be asked of the session for it.
    pub(super) async fn answer(&mut self, question: Question<'_>) -> Result<Reply, Open> {
        Ok(match question {
            Question::Mail(mail) => self.mail(mail).await,
            Question::Rcpt(_, recipient) => self.rcpt(recipient).await,
            Question::Verify(text) => self.verify(text),
            Question::Expand(text) => self.expand(text),
            Question::StartTls => self.start_tls(),
            Question::Begin(envelope) => return Err(Open::Begin(envelope.clone())),
            Question::End => return Err(Open::End),
        })
    }

    /// The answer to a question for which the session must be looked at.
    pub(super) async fn close<C: Channel>(&mut self, open: Open, session: &mut Session<C>) -> Reply {
        match open {
            Open::Begin(envelope) => {
                let arrival = self.arrival(session);
                self.begin(&envelope, &arrival).await
            }
            Open::End => {
                let arrival = self.arrival(session);
                let envelope = session.take_envelope();
                self.end(envelope, arrival).await
            }
        }
    }

    async fn mail(&mut self, mail: &Mail) -> Reply {
        if self.tls.is_none() && self.reception.demands_tls() {
            // Only while no usable certificate is loaded: else the session itself says 530.
            return TLS_MISSING;
        }
        if self.is_over(Deed::Message) {
            return TOO_MUCH;
        }
        let refusal = match self.reception.policy.mail(self.standing, &mail.sender) {
            Admission::Welcome => None,
            Admission::Refused(reply) => Some(reply),
            Admission::Ask(domain) => admit::sender_refusal(&domain, &self.reachable(&domain).await),
        };
        if let Some(reply) = refusal {
            tracing::info!(client = %self.client, from = %mail.sender, %reply, "sender refused");
            return reply;
        }
        // RFC 1870 §6.1.
        match mail
            .size
            .is_none_or(|bytes| self.reception.spool.has_room_for(bytes))
        {
            true => Reply::new(250, OTHER_ADDRESS_OK, format!("sender <{}> ok", mail.sender)),
            false => NO_ROOM,
        }
    }

    async fn rcpt(&mut self, recipient: &Recipient) -> Reply {
        if self.is_over(Deed::Recipient) {
            return TOO_MUCH;
        }
        let refusal = match self.reception.policy.rcpt(self.standing, recipient) {
            Admission::Welcome => None,
            Admission::Refused(reply) => Some(reply),
            Admission::Ask(domain) => {
                admit::recipient_refusal(&recipient.mailbox, &self.reachable(&domain).await)
            }
        };
        match refusal {
            Some(reply) => {
                tracing::info!(client = %self.client, to = %recipient.mailbox, %reply, "recipient refused");
                reply
            }
            None => {
                self.reception.count(self.client, Deed::Recipient);
                Reply::new(250, RECIPIENT_OK, format!("recipient <{}> ok", recipient.mailbox))
            }
        }
    }

    async fn begin(&mut self, envelope: &Envelope, arrival: &Arrival) -> Reply {
        let id = new_id(arrival.at, &*self.reception.ports.clock);
        match self.reception.spool.draft(id) {
            Ok(draft) => {
                let received = received(arrival, &self.reception.host, id, envelope);
                self.incoming = Some(Incoming::begin(draft, &received).await);
                Reply::plain(354, "go ahead")
            }
            Err(error) => {
                self.tell_operator(&error);
                not_kept(&error)
            }
        }
    }

    /// Content, as it comes.
    pub(super) async fn body(&mut self, bytes: &[u8]) {
        if let Some(incoming) = &mut self.incoming {
            incoming.push(bytes).await;
        }
    }

    /// The message will not be.
    pub(super) fn abort(&mut self) {
        self.incoming = None;
    }

    async fn end(&mut self, envelope: Envelope, arrival: Arrival) -> Reply {
        let Some(incoming) = self.incoming.take() else {
            return not_kept(&DiskError::Closed);
        };
        let (from, hops, bytes) = (
            envelope.sender.to_string(),
            incoming.earlier_hops(),
            incoming.bytes(),
        );
        if hops > self.reception.limits.received_fields_max {
            tracing::warn!(client = %self.client, %from, hops, limit = "received_fields_max", "message refused: a loop");
            return LOOP;
        }
        let recipients = envelope.recipients.len();
        let first = envelope
            .recipients
            .first()
            .map(|recipient| recipient.mailbox.to_string());
        let (protocol, greeting) = (arrival.protocol, arrival.greeting.clone());
        match incoming.keep(envelope, arrival).await {
            Ok(receipt) => {
                self.reception.count(self.client, Deed::Message);
                let tls = self.tls.as_ref();
                tracing::info!(
                    id = %receipt.id(), client = %self.client, greeting, %from, to = first, recipients, bytes,
                    protocol = ?protocol, tls = tls.map(|tls| tls.version.to_string()),
                    cipher = tls.map(|tls| &*tls.cipher), group = tls.and_then(|tls| tls.group.as_deref()),
                    "accepted"
                );
                accepted(&receipt)
            }
            Err(error) => {
                self.tell_operator(&error);
                not_kept(&error)
            }
        }
    }

    fn arrival<C: Channel>(&self, session: &Session<C>) -> Arrival {
        Arrival {
            at: self.reception.ports.clock.now(),
            protocol: session.protocol(),
            greeting: session.greeting_name().map(Box::from),
            client: Some(self.client),
            tls: self.tls.clone(),
        }
    }

    fn start_tls(&mut self) -> Reply {
        if !self.reception.tls.is_usable() {
            return TLS_MISSING;
        }
        self.slot = self.reception.tls.try_slot();
        match self.slot {
            Some(_) => Session::<Clear>::READY_FOR_TLS,
            None => {
                tracing::info!(client = %self.client, limit = "handshakes_max", "STARTTLS put off");
                TLS_BUSY
            }
        }
    }

    /// RFC 5321 §3.5.3. Strangers learn nothing of who is here (§7.3).
    fn verify(&self, text: &str) -> Reply {
        let Some(mailbox) = self
            .mailbox_meant(text)
            .filter(|_| self.standing == Standing::Relay)
        else {
            return NOT_TOLD;
        };
        match self.reception.directory.knows(&mailbox) {
            Knows::Known => Reply::new(250, RECIPIENT_OK, format!("<{mailbox}>")),
            Knows::Unknown => no_such(&mailbox),
            Knows::Elsewhere => NOT_TOLD,
        }
    }

    fn expand(&self, text: &str) -> Reply {
        let Some(mailbox) = self
            .mailbox_meant(text)
            .filter(|_| self.standing == Standing::Relay)
        else {
            return NOT_TOLD;
        };
        if self.reception.directory.knows(&mailbox) == Knows::Elsewhere {
            return NOT_TOLD;
        }
        let Ok(expansion) = self.reception.directory.expand(&mailbox) else {
            return no_such(&mailbox);
        };
        let here = expansion.maildirs.iter().map(|place| &place.address);
        let members = here.chain(expansion.onward.iter().map(|onward| &onward.address));
        let lines: Vec<String> = members.map(|member| format!("<{member}>")).collect();
        Reply::new(250, RECIPIENT_OK, lines.join("\n"))
    }

    /// An address, or a user name of this host.
    fn mailbox_meant(&self, text: &str) -> Option<Mailbox> {
        let text = text.trim_start_matches('<').trim_end_matches('>');
        Mailbox::parse(text)
            .or_else(|_| Mailbox::parse(&format!("{text}@{}", self.reception.host)))
            .ok()
    }

    /// Whether a domain can take mail, as far as the DNS says in time.
    async fn reachable(&self, domain: &Domain) -> Reachable {
        let (dns, wait) = (&self.reception.ports.dns, self.reception.limits.lookup_wait);
        let looking = async {
            let mx = dns.mx(domain).await;
            let addresses = match &mx {
                Err(NoAnswer::NoRecords(_)) => Some(dns.addresses(domain).await.map(drop)),
                Ok(_) | Err(NoAnswer::NoSuchName(_) | NoAnswer::Failed(_)) => None,
            };
            let mx = mx.as_ref().map(|found| found.answer.get().as_slice());
            admit::reachable(mx, addresses.as_ref().map(|found| found.as_ref().copied()))
        };
        let late = || Reachable::Unknown("the look-up took too long".into());
        within(&*self.reception.ports.clock, wait, looking)
            .await
            .unwrap_or_else(late)
    }

    /// Whether the client has had its hour's share. Networks that may relay are ours.
    fn is_over(&self, deed: Deed) -> bool {
        let now = self.reception.ports.clock.instant();
        let (clients, limits) = (self.reception.clients(), &self.reception.limits);
        match clients.may(self.client.ip(), deed, limits, now) {
            Err(reached) if self.standing != Standing::Relay => {
                tracing::info!(client = %self.client, limit = reached.0, "put off");
                true
            }
            Ok(()) | Err(_) => false,
        }
    }

    /// Counts the refusals that went out, by their codes: the session's own as well.
    pub(super) fn said(&self, bytes: &[u8]) {
        let refusals = bytes
            .split(|octet| *octet == b'\n')
            .filter(|line| line.first() == Some(&b'5'));
        for _ in refusals.take(REFUSALS_COUNTED_MAX) {
            self.reception.count(self.client, Deed::Error);
        }
    }

    fn tell_operator(&self, error: &DiskError) {
        tracing::error!(client = %self.client, because = %error, "message not kept");
    }
}

/// What the session must be looked at for.
pub(super) enum Open {
    /// DATA or the first BDAT, with the complete envelope.
    Begin(Envelope),
    /// The content is complete.
    End,
}

fn no_such(mailbox: &Mailbox) -> Reply {
    Reply::new(
        550,
        EnhancedStatus::new(Class::Permanent, 1, 1),
        format!("<{mailbox}> no such mailbox here"),
    )
}

const OTHER_ADDRESS_OK: EnhancedStatus = EnhancedStatus::new(Class::Success, 1, 0);
const RECIPIENT_OK: EnhancedStatus = EnhancedStatus::new(Class::Success, 1, 5);
const NOT_TOLD: Reply = Reply::fixed(
    252,
    EnhancedStatus::new(Class::Success, 5, 2),
    "not told here; send mail and it will be tried",
);
/// RFC 3207 §4.
const TLS_MISSING: Reply = Reply::fixed(
    454,
    EnhancedStatus::new(Class::Transient, 7, 0),
    "TLS is not available now, try later",
);
const TLS_BUSY: Reply = Reply::fixed(
    454,
    EnhancedStatus::new(Class::Transient, 7, 0),
    "too many TLS handshakes now, try later",
);
const LOOP: Reply = Reply::fixed(
    554,
    EnhancedStatus::new(Class::Permanent, 4, 6),
    "too many Received fields: this message is going in circles",
);
/// Of one piece of replies; the session ends by `errors_max` long before.
const REFUSALS_COUNTED_MAX: usize = 100;
