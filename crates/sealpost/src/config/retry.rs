//! `[retry]`: when mail is tried again, when its sender hears of it, and when it is given up.

use std::time::Duration;

use mail::Mailbox;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

use super::units;

/// `[retry]`
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Retry {
    /// The waits after the first, second, … attempt; the last one repeats (RFC 5321 §4.5.4.1).
    pub pauses: Pauses,
    /// How much a wait may be lengthened by chance, in percent, so that what failed together does not return together.
    pub jitter_percent: u8,
    /// How old a message gets before it goes back to its sender (RFC 5321 §4.5.4.1: 4 to 5 days).
    #[serde(with = "units::duration")]
    pub age_max: Duration,
    /// How old a report, which nobody waits for, gets before it is dropped.
    #[serde(with = "units::duration")]
    pub report_age_max: Duration,
    /// After how long its sender is told that a message still waits.
    #[serde(with = "units::duration")]
    pub delay_notice: Duration,
    /// The longest that a host which does not answer is left alone.
    #[serde(with = "units::duration")]
    pub host_wait_max: Duration,
    /// Failed messages up to this size are returned whole, larger ones by their header.
    #[serde(with = "units::bytes")]
    pub return_bytes_max: u64,
    /// Who reports come from, and whom readers may ask: `postmaster` at this host if left out.
    #[serde(skip_serializing_if = "Option::is_none", with = "optional_mailbox")]
    pub postmaster: Option<Mailbox>,
    /// Whether the postmaster is told of reports that could not be delivered.
    pub note_lost_reports: bool,
}

/// Waits between attempts, at least one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pauses(Vec<Duration>);

impl Pauses {
    /// The wait after this many failed attempts.
    pub fn after(&self, attempts: u32) -> Duration {
        let index = usize::try_from(attempts.saturating_sub(1)).unwrap_or(usize::MAX);
        let last = self.0.last().copied().unwrap_or(SHORTEST);
        self.0.get(index).copied().unwrap_or(last)
    }
}

impl Serialize for Pauses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(units::duration::print))
    }
}

impl<'de> Deserialize<'de> for Pauses {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Pauses, D::Error> {
        let read = |text: &String| match units::duration::parse(text) {
            Some(pause) if pause >= SHORTEST => Ok(pause),
            Some(_) => Err(D::Error::custom(format_args!(
                "a pause of {text} would hammer hosts; use 1s or more"
            ))),
            None => Err(D::Error::custom(format_args!(
                "\"{text}\" is no length of time; write one like \"90s\", \"5m\" or \"4h\""
            ))),
        };
        match Vec::<String>::deserialize(deserializer)? {
            none if none.is_empty() => Err(D::Error::custom("pauses need at least one length of time")),
            texts => texts.iter().map(read).collect::<Result<_, _>>().map(Pauses),
        }
    }
}

impl Default for Retry {
    fn default() -> Retry {
        let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
        Retry {
            // Two quick ones for greylisting and restarts, then as RFC 5321 advises.
            pauses: Pauses([5, 15, 30, 60, 120, 240].map(minutes).to_vec()),
            jitter_percent: 20,
            age_max: minutes(5 * 24 * 60),
            report_age_max: minutes(2 * 24 * 60),
            delay_notice: minutes(4 * 60),
            host_wait_max: minutes(60),
            return_bytes_max: 256 * 1024,
            postmaster: None,
            note_lost_reports: false,
        }
    }
}

pub(super) mod optional_mailbox {
    use mail::Mailbox;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(in crate::config) fn serialize<S: Serializer>(
        mailbox: &Option<Mailbox>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match mailbox {
            Some(mailbox) => serializer.serialize_str(mailbox.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Mailbox>, D::Error> {
        let text = String::deserialize(deserializer)?;
        Mailbox::parse(&text)
            .map(Some)
            .map_err(|bad| D::Error::custom(format_args!("\"{text}\" is no mail address: {bad}")))
    }
}

const SHORTEST: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    fn pauses(text: &str) -> Result<Retry, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn the_last_pause_repeats() {
        let retry = pauses("pauses = [\"1m\", \"2m\"]").unwrap();
        let waits: Vec<u64> = [0, 1, 2, 3, u32::MAX]
            .map(|n| retry.pauses.after(n).as_secs())
            .to_vec();
        assert_eq!(waits, [60, 60, 120, 120, 120]);
    }

    // proves: 5321-4.5.4.1-3
    #[test]
    fn mail_is_kept_for_five_days_by_default() {
        assert_eq!(Retry::default().age_max, Duration::from_secs(5 * 24 * 3600));
    }

    #[test]
    fn pauses_that_would_hammer_are_refused() {
        for text in [
            "pauses = []",
            "pauses = [\"0s\"]",
            "pauses = [\"soon\"]",
            "pauses = [\"999ms\"]",
        ] {
            assert!(pauses(text).is_err(), "{text}");
        }
    }
}
