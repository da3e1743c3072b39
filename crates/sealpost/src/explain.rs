//! `explain`: why mail for a destination would go as it would now, or how a message went and why it waits.
//!
//! Decides nothing: it asks the routes and promises that delivery asks, and judges pretended channels by the very plan
//! that delivery would make. So it cannot disagree with delivery.

mod outlook;
mod story;
mod trial;
pub mod words;

use std::sync::Arc;

use mail::{Host, Mailbox, MessageId, TlsWish};
use serde::{Deserialize, Serialize};
use spool::Spool;

use crate::control::Problem;
use crate::dispatch::Rules;
use crate::mailbox::screen;
use crate::ports::Ports;

pub use outlook::{AskedOf, HostOutlook, Input, Offer, Outlook, Routing, Said};
pub use story::{AttemptStory, RecipientStory, Story};
pub use trial::Trial;

/// What is to be explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Question {
    /// Mail for this mailbox, now, if it wished this of its channels.
    Mailbox(Mailbox, TlsWish),
    /// This message.
    Message(MessageId),
}

/// An explanation. Text and JSON are written from it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "of", rename_all = "lowercase")]
pub enum Explanation {
    /// Of a destination.
    Destination(Box<Outlook>),
    /// Of a message.
    Message(Box<Story>),
}

/// What explanations are made from: the running server's own.
#[derive(Clone)]
pub struct Explainer {
    /// Its rules of now.
    pub rules: Arc<Rules>,
    /// Its world.
    pub ports: Ports,
    /// Its queue.
    pub spool: Arc<Spool>,
}

impl Question {
    /// Reads `user@domain`, a domain, an address in brackets, or a message's name. `wish` is `requiretls` or `waived`,
    /// or nothing. The error is one line.
    pub fn parse(text: &str, wish: Option<&str>) -> Result<Question, String> {
        let wish = match wish {
            None | Some("") => TlsWish::Usual,
            Some("requiretls") => TlsWish::Required,
            Some("waived") => TlsWish::Waived,
            Some(other) => {
                return Err(format!(
                    "{} is no wish; one is requiretls or waived",
                    screen::line(other)
                ));
            }
        };
        if let Some(id) = MessageId::parse(text) {
            return Ok(Question::Message(id));
        }
        let address = match (text.contains('@'), Host::parse(text)) {
            (false, Ok(_)) => format!("postmaster@{text}"),
            (_, _) => text.to_owned(),
        };
        Mailbox::parse(&address)
            .map(|mailbox| Question::Mailbox(mailbox, wish))
            .map_err(|_| {
                format!(
                    "{} is no mail address, no domain and no message's name",
                    screen::line(text)
                )
            })
    }
}

impl Explainer {
    /// Answers.
    pub async fn explain(&self, question: Question) -> Result<Explanation, Problem> {
        match question {
            Question::Mailbox(mailbox, wish) => {
                let outlook = self.outlook(&mailbox, wish).await;
                Ok(Explanation::Destination(Box::new(outlook)))
            }
            Question::Message(id) => {
                let story = self.story(id).await?;
                Ok(Explanation::Message(Box::new(story)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_apart() {
        let mailbox = |text: &str, wish| Ok(Question::Mailbox(Mailbox::parse(text).unwrap(), wish));
        let rows = [
            ("a@x.example", None, mailbox("a@x.example", TlsWish::Usual)),
            (
                "x.example",
                Some("requiretls"),
                mailbox("postmaster@x.example", TlsWish::Required),
            ),
            (
                "[192.0.2.1]",
                Some("waived"),
                mailbox("postmaster@[192.0.2.1]", TlsWish::Waived),
            ),
            (
                "01ARZ3NDEKTSV4RRFFQ69G5FAV",
                None,
                Ok(Question::Message(
                    MessageId::parse("01ARZ3NDEKTSV4RRFFQ69G5FAV").unwrap(),
                )),
            ),
        ];
        for (text, wish, expected) in rows {
            assert_eq!(Question::parse(text, wish), expected, "{text}");
        }
        for (text, wish) in [
            ("", None),
            ("a b", None),
            ("a@", None),
            ("x.example", Some("often")),
        ] {
            let error = Question::parse(text, wish).unwrap_err();
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
