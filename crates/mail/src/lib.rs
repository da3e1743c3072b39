//! The nouns of mail: what a message, its envelope, an address, a reply, a status and a proof are.
//!
//! Owns meaning and spelling, in reading order of a message's way. Never performs input or output, knows no clock,
//! no log and no other crate of the server.

pub mod address;
pub mod pattern;
pub mod message;
pub mod content;
pub mod channel;
pub mod reply;
pub mod status;
pub mod proof;

pub use address::{BadAddress, Domain, Host, LocalPart, Mailbox, ReversePath};
pub use channel::{Arrival, Fingerprint, KeyPrint, Protocol, TlsFacts, TlsVersion};
pub use content::Content;
pub use message::{
    Body, Envelope, EnvelopeId, MessageId, Notify, OriginalRecipient, Recipient, Return, TlsWish,
};
pub use pattern::Pattern;
pub use proof::{Channel, Clear, Receipt, Secure, Tls};
pub use reply::Reply;
pub use status::{Cause, Class, DeliveryStatus, EnhancedStatus};
