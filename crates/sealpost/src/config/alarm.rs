//! `[alarm]`: who hears when hosts show less than they must.

use std::path::PathBuf;
use std::time::Duration;

use mail::Mailbox;
use serde::{Deserialize, Serialize};

use super::route::Via;
use super::units;

/// `[alarm]`
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Alarm {
    /// Each alarm is posted here as JSON when it begins and when it ends: `https://…`, or `http://` to this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webhook: Option<String>,
    /// A file with the secret that signs what is posted. Demanded for a webhook.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Who gets a message when an alarm begins and when it ends.
    #[serde(skip_serializing_if = "Vec::is_empty", with = "units::mailboxes")]
    pub mail: Vec<Mailbox>,
    /// The host that carries these messages, `host:port`, whatever their domain: another way than the one that an alarm may be
    /// about. All mail to these mailboxes goes there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// What cannot be told is tried again for so long.
    #[serde(with = "units::duration")]
    pub retry_for: Duration,
    /// A post that is not answered by then is tried again.
    #[serde(with = "units::duration")]
    pub webhook_wait: Duration,
}

impl Default for Alarm {
    fn default() -> Alarm {
        Alarm {
            webhook: None,
            secret_file: None,
            mail: Vec::new(),
            via: None,
            retry_for: Duration::from_secs(5 * 86_400),
            webhook_wait: Duration::from_secs(30),
        }
    }
}

impl Alarm {
    /// What the types cannot say.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(url) = &self.webhook {
            crate::alarm::Target::parse(url).map_err(|why| format!("[alarm] webhook: {why}"))?;
            if self.secret_file.is_none() {
                return Err(
                    "[alarm] webhook needs secret_file, a file with the secret that signs what is posted"
                        .to_owned(),
                );
            }
        }
        Ok(())
    }
}
