//! Whether the peer still wants to hear from us (RFC 7675 §5.1).

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::Settings;
use super::speaker::Speaker;
use super::stun::TransactionId;

/// Consent checks that may still be answered. With the usual times consent is gone before there are so many.
const UNANSWERED: usize = 12;

/// Given by the answer to the nomination, and kept by the answer to any later check.
pub(super) struct Consent {
    asked: VecDeque<TransactionId>,
    next: Instant,
    until: Instant,
}

impl Consent {
    /// Given by an answer that came now.
    pub(super) fn granted(speaker: &mut Speaker, settings: &Settings, now: Instant) -> Consent {
        Consent {
            asked: VecDeque::new(),
            next: now + wait(speaker, settings),
            until: now + settings.lost,
        }
    }

    /// When to ask again, or to stop.
    pub(super) fn due(&self) -> Instant {
        self.next.min(self.until)
    }

    pub(super) fn is_gone(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// The check to be sent now, if one is due: a new transaction each time, sent once.
    pub(super) fn asks(
        &mut self,
        speaker: &mut Speaker,
        settings: &Settings,
        now: Instant,
    ) -> Option<TransactionId> {
        if now < self.next {
            return None;
        }
        if self.asked.len() >= UNANSWERED {
            self.asked.pop_front();
        }
        let id = speaker.draw();
        self.asked.push_back(id);
        self.next = now + wait(speaker, settings);
        Some(id)
    }

    pub(super) fn awaits(&self, id: TransactionId) -> bool {
        self.asked.contains(&id)
    }

    /// An awaited answer came.
    pub(super) fn renew(&mut self, id: TransactionId, settings: &Settings, now: Instant) {
        self.asked.retain(|asked| *asked != id);
        self.until = now + settings.lost;
    }
}

/// Drawn anew each time, so that the checks of many calls do not march in step.
fn wait(speaker: &mut Speaker, settings: &Settings) -> Duration {
    settings.consent.mul_f64(0.8 + 0.4 * speaker.fraction())
}
