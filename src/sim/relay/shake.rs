//! Meta's end of the DTLS handshake, with the patience of ordinary stacks: a flight that gets lost is repeated after 1,
//! 2 and 4 s (RFC 6347 §4.2.4.1), which the user hears as silence.

use std::time::{Duration, Instant};

use crate::media::dtls::{Action, Context, Handshake, SetupError};
use crate::sim::body::Handshaking;

/// First wait for an answer; then it doubles.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// One call's handshake.
pub struct Shake {
    handshake: Handshake,
    /// Nothing is repeated before.
    repeat: Instant,
    wait: Duration,
}

impl Shake {
    /// A handshake that is due at once where we are the client.
    ///
    /// # Errors
    /// When the library fails.
    pub fn new(context: &Context, both: &Handshaking, now: Instant) -> Result<Shake, SetupError> {
        let expected = both.fingerprints.clone();
        Ok(Shake {
            handshake: Handshake::new(context, both.role, expected, now)?,
            repeat: now,
            wait: FIRST_WAIT / 2,
        })
    }

    /// Takes one datagram of the bridge.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) -> Vec<Action> {
        let actions = self.handshake.handle(datagram, now);
        if sends(&actions) {
            self.wait = FIRST_WAIT;
            self.repeat = now + self.wait;
        }
        actions
    }

    /// Sends what is due.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        if self.deadline().is_none_or(|due| now < due) {
            return Vec::new();
        }
        let actions = self.handshake.tick(now);
        if sends(&actions) {
            self.wait *= 2;
            self.repeat = now + self.wait;
        }
        actions
    }

    /// When [`Shake::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        Some(self.handshake.deadline()?.max(self.repeat))
    }
}

fn sends(actions: &[Action]) -> bool {
    actions
        .iter()
        .any(|action| matches!(action, Action::Send(_)))
}

/// What tells one ClientHello from another, if this is one: its random (RFC 5246 §7.4.1.2). A repetition has the same.
pub fn hello(datagram: &[u8]) -> Option<[u8; 32]> {
    const HANDSHAKE: u8 = 22;
    const CLIENT_HELLO: u8 = 1;
    // Record: type, version (2), epoch (2), sequence (6), length (2). Handshake: type, length (3), sequence (2),
    // offset (3), length (3). Then the version (2), and the random.
    let begins = datagram.first() == Some(&HANDSHAKE)
        && datagram.get(3..5) == Some(&[0, 0])
        && datagram.get(13) == Some(&CLIENT_HELLO)
        && datagram.get(19..22) == Some(&[0, 0, 0]);
    let random = datagram.get(27..59).filter(|_| begins)?;
    random.try_into().ok()
}
