//! Digits in the RTP stream: telephone-event (RFC 4733 §2).
//!
//! ```text
//!   one digit, a packet each 20 ms:   M ── ── ── E  E  E      all with the timestamp of the first,
//!   duration, in frames:              1  2  3  4 5  5  5      while sequence numbers go on
//! ```

use std::collections::VecDeque;

use crate::media::rtp::{Ssrc, Timestamp};

/// How long a digit lasts, and the rest after it, in milliseconds: in whole frames, and at least two.
const PRESSED_MS: u16 = 100;
const REST_MS: u16 = 100;
/// Frames that end it: the first of them is the last of those that it lasts.
const ENDS: u16 = 3;

/// No test dials more, and no peer fills our memory with digits.
const MOST_DIGITS: usize = 256;

/// Events 0–15 in their order (RFC 4733 §3.2).
const KEYS: &str = "0123456789*#ABCD";

/// Presses digits, one after another.
#[derive(Debug)]
pub struct Keypad {
    /// Clock units of one frame in the event's own clock.
    frame: u16,
    /// Frames that a digit lasts, and frames of rest after it.
    pressed_frames: u16,
    rest_frames: u16,
    waiting: VecDeque<u8>,
    /// The event, and which of its packets is next.
    pressed: Option<(u8, u16)>,
    rest: u16,
}

/// One packet of a digit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    /// Whether the digit begins here: the marker is set, and the packet's timestamp is that of all that follow.
    pub first: bool,
    /// The payload.
    pub payload: [u8; 4],
}

impl Keypad {
    /// A keypad whose durations count in `rate` Hz, and which sends a packet each `ptime` milliseconds.
    pub fn new(rate: u32, ptime: u16) -> Keypad {
        let frames = |time: u16| time.div_ceil(ptime.max(1)).max(2);
        Keypad {
            frame: (rate * u32::from(ptime) / 1000) as u16,
            pressed_frames: frames(PRESSED_MS),
            rest_frames: frames(REST_MS),
            waiting: VecDeque::new(),
            pressed: None,
            rest: 0,
        }
    }

    /// Puts digits in line; what is no digit is left out.
    pub fn dial(&mut self, digits: &str) {
        let events = digits
            .chars()
            .filter_map(|digit| KEYS.find(digit.to_ascii_uppercase()));
        let room = MOST_DIGITS - self.waiting.len().min(MOST_DIGITS);
        self.waiting
            .extend(events.map(|event| event as u8).take(room));
    }

    /// Whether all digits have been sent.
    pub fn is_done(&self) -> bool {
        self.waiting.is_empty() && self.pressed.is_none()
    }

    /// What to send in place of the next frame of sound, if a digit is pressed.
    pub fn next_frame(&mut self) -> Option<Press> {
        if self.pressed.is_none() && self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        let (event, step) = self
            .pressed
            .take()
            .or_else(|| self.waiting.pop_front().map(|event| (event, 0)))?;
        if step + 1 < self.pressed_frames - 1 + ENDS {
            self.pressed = Some((event, step + 1));
        } else {
            self.rest = self.rest_frames;
        }
        Some(Press {
            first: step == 0,
            payload: self.payload(event, step),
        })
    }

    fn payload(&self, event: u8, step: u16) -> [u8; 4] {
        const END: u8 = 1 << 7;
        const VOLUME: u8 = 10; // −10 dBm0
        let frames = (step + 1).min(self.pressed_frames);
        let duration = self.frame.saturating_mul(frames).to_be_bytes();
        let end = if frames == self.pressed_frames {
            END
        } else {
            0
        };
        [event, end | VOLUME, duration[0], duration[1]]
    }
}

/// Collects the digits that come in, each once.
#[derive(Debug, Default)]
pub struct Digits {
    text: String,
    /// Source and timestamp of the newest digit: whatever else carries them is the same digit again.
    last: Option<(Ssrc, Timestamp)>,
}

impl Digits {
    /// Takes the payload of an event packet; any packet of a digit will do, since the first may be lost.
    pub fn received(&mut self, ssrc: Ssrc, timestamp: Timestamp, payload: &[u8]) {
        let Some(digit) = payload
            .first()
            .and_then(|event| KEYS.chars().nth(usize::from(*event)))
        else {
            return;
        };
        let is_new = match self.last {
            Some((source, last)) => source != ssrc || timestamp.since(last) > 0,
            None => true,
        };
        if is_new && payload.len() >= 4 && self.text.len() < MOST_DIGITS {
            self.last = Some((ssrc, timestamp));
            self.text.push(digit);
        }
    }

    /// The digits so far, in the order they were pressed.
    pub fn text(&self) -> &str {
        &self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(keypad: &mut Keypad, count: usize) -> Vec<Option<Press>> {
        (0..count).map(|_| keypad.next_frame()).collect()
    }

    #[test]
    fn a_digit_is_four_growing_packets_and_three_ends_of_the_full_length() {
        let mut keypad = Keypad::new(8_000, 20);
        keypad.dial("5");
        let sent: Vec<_> = frames(&mut keypad, 8)
            .into_iter()
            .flatten()
            .map(|press| press.payload)
            .collect();
        let duration = |n: u16| n.to_be_bytes();
        let expected = [
            (160, 10),
            (320, 10),
            (480, 10),
            (640, 10),
            (800, 138),
            (800, 138),
            (800, 138),
        ]
        .map(|(length, flags)| [5, flags, duration(length)[0], duration(length)[1]]);
        assert_eq!(sent, expected);
        assert!(keypad.is_done());
    }

    #[test]
    fn only_the_first_packet_begins_a_digit_and_a_rest_follows_it() {
        let mut keypad = Keypad::new(48_000, 20);
        keypad.dial("11");
        let sent = frames(&mut keypad, 24);
        let begins: Vec<_> = (0..24)
            .filter(|n| sent[*n].is_some_and(|press| press.first))
            .collect();
        assert_eq!(begins, [0, 12]);
        assert!(
            sent[7..12].iter().all(Option::is_none),
            "100 ms in which sound may go on"
        );
        assert_eq!(sent[6].unwrap().payload[2..], 4_800u16.to_be_bytes());
    }

    #[test]
    fn a_digit_lasts_about_as_long_whatever_a_packet_holds() {
        for (ptime, frames, duration) in [(10, 12, 800), (30, 6, 960), (60, 4, 960)] {
            let mut keypad = Keypad::new(8_000, ptime);
            keypad.dial("5");
            let sent = frames_of(&mut keypad);
            assert_eq!(sent.len(), frames, "{ptime} ms");
            let [.., high, low] = sent[frames - 1].payload;
            assert_eq!(u16::from_be_bytes([high, low]), duration, "{ptime} ms");
        }
    }

    fn frames_of(keypad: &mut Keypad) -> Vec<Press> {
        frames(keypad, 20).into_iter().flatten().collect()
    }

    #[test]
    fn each_digit_is_collected_once_though_packets_are_lost_repeated_and_late() {
        let mut digits = Digits::default();
        for (timestamp, event) in [
            (0, 1),
            (0, 1),
            (9_600, 1),
            (0, 1),
            (9_600, 1),
            (19_200, 11),
            (28_800, 16),
        ] {
            digits.received(
                Ssrc(1),
                Timestamp(u32::MAX - 5_000).plus(timestamp),
                &[event, 10, 0, 160],
            );
        }
        digits.received(Ssrc(1), Timestamp(90_000), &[3]);
        assert_eq!(digits.text(), "11#");
        digits.received(Ssrc(2), Timestamp(0), &[12, 10, 0, 160]);
        assert_eq!(digits.text(), "11#A", "another source has another clock");
    }

    #[test]
    fn what_is_no_key_is_not_dialled_and_no_peer_fills_the_memory() {
        let mut keypad = Keypad::new(8_000, 20);
        keypad.dial("x +");
        assert!(keypad.is_done());
        let mut digits = Digits::default();
        (0..1_000).for_each(|n| digits.received(Ssrc(1), Timestamp(n), &[1, 10, 0, 160]));
        assert_eq!(digits.text().len(), MOST_DIGITS);
    }
}
