//! What a line says on which nothing is heard for long, a hold say: a few seconds of noise, encoded once and said again and
//! again. To Opus a hiss is as much work as a voice.
//!
//! ```text
//!   nothing heard   1 s: encoded ─▶ 3 s: encoded and learnt ─▶ said again, from the first of it, until something is heard
//! ```

use std::time::Duration;

/// Until the encoder makes nothing but noise of it: nothing of the last word is left in what it sends twice (FEC).
const SETTLING: Duration = Duration::from_secs(1);
/// What is said again. So much of a hiss is not heard to begin anew.
const LEARNT: Duration = Duration::from_secs(3);

/// The packets of a long silence.
#[derive(Debug, Default)]
pub(super) struct Lull {
    /// How long nothing has been heard.
    lasts: Duration,
    octets: Vec<u8>,
    /// Where each packet ends in those.
    ends: Vec<usize>,
    /// Which is next.
    next: usize,
}

impl Lull {
    /// Something is heard.
    pub(super) fn end(&mut self) {
        if !self.lasts.is_zero() {
            *self = Lull::default();
        }
    }

    /// The next packet, if what is to be said is known; an empty one need not be sent.
    pub(super) fn next(&mut self) -> Option<&[u8]> {
        if self.lasts < SETTLING + LEARNT {
            return None;
        }
        let from = self.next.checked_sub(1).and_then(|i| self.ends.get(i));
        let range = from.copied().unwrap_or(0)..*self.ends.get(self.next)?;
        self.next = (self.next + 1) % self.ends.len();
        self.octets.get(range)
    }

    /// A packet of so much noise was made.
    pub(super) fn learn(&mut self, packet: &[u8], length: Duration) {
        if self.lasts >= SETTLING {
            self.octets.extend_from_slice(packet);
            self.ends.push(self.octets.len());
        }
        self.lasts += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_is_said_again_in_its_order_and_forgotten_when_something_is_heard() {
        let (mut lull, length) = (Lull::default(), Duration::from_millis(500));
        for nth in 0..8u8 {
            assert_eq!(lull.next(), None);
            // The fourth need not be sent.
            lull.learn(&vec![nth; usize::from(nth % 4)], length);
        }
        for _ in 0..2 {
            for nth in 2..8u8 {
                assert_eq!(
                    lull.next(),
                    Some(vec![nth; usize::from(nth % 4)].as_slice())
                );
            }
        }
        lull.end();
        assert_eq!(lull.next(), None);
    }
}
