//! The machine's clocks and dice.

use std::time::{Instant, SystemTime};

use rustls::crypto::SecureRandom;

use crate::ports::{Clock, Later};

/// Time as the machine has it; the steady clock is the runtime's, so that a test that pauses it pauses this.
pub struct SystemClock {
    dice: &'static dyn SecureRandom,
}

impl SystemClock {
    /// Dice come from the cryptographic library.
    pub fn new() -> SystemClock {
        SystemClock {
            dice: rustls::crypto::aws_lc_rs::default_provider().secure_random,
        }
    }
}

impl Default for SystemClock {
    fn default() -> SystemClock {
        SystemClock::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> SystemTime {
        SystemTime::now()
    }

    fn instant(&self) -> Instant {
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, when: Instant) -> Later<'static, ()> {
        Box::pin(tokio::time::sleep_until(when.into()))
    }

    fn roll(&self) -> u64 {
        let mut bytes = [0; 8];
        // Names and jitter need no secrecy: should the kernel refuse randomness, the clock must do.
        match self.dice.fill(&mut bytes) {
            Ok(()) => u64::from_ne_bytes(bytes),
            Err(_) => self
                .now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .map_or(0, |d| d.as_nanos() as u64),
        }
    }
}
