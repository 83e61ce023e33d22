//! Digits, whichever way they travel: key presses read out of RTP, and written into it (RFC 4733).
//!
//! ```text
//!   telephone-event ──▶ Reader ──▶ Stroke: Down, Up ──▶ Writer ──▶ telephone-event on another clock
//!   a tone ───────▶ ToneReader ──────┤                   │  └────▶ INFO, a tone, when it is up
//!   INFO ─────────▶ Press ───────────┴───────────────────┘
//! ```
//!
//! Digits are passwords as often as not, so they are not for the log: nothing here prints them but `Display` of [`Key`].

mod read;
mod report;
mod tones;
mod write;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Codec;

pub use read::Reader;
pub use tones::ToneReader;
pub use write::{Packet, Writer};

/// One of the sixteen keys of a telephone, by its event code (RFC 4733 §3.2).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key(u8);

/// The keys in the order of their codes.
const KEYS: [char; 16] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '*', '#', 'A', 'B', 'C', 'D',
];

impl Key {
    /// The key of an event code; `None` for events that are no key, such as the hook flash (16).
    pub fn from_code(code: u8) -> Option<Key> {
        (usize::from(code) < KEYS.len()).then_some(Key(code))
    }

    /// The key that is written so, in either case.
    pub fn from_char(written: char) -> Option<Key> {
        let written = written.to_ascii_uppercase();
        let code = KEYS.iter().position(|key| *key == written)?;
        Key::from_code(u8::try_from(code).ok()?)
    }

    /// Its event code, 0–15.
    pub fn code(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let key = KEYS.get(usize::from(self.0));
        key.map_or(Ok(()), |key| write!(f, "{key}"))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(secret)")
    }
}

/// A key that was pressed and let go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Press {
    /// Which.
    pub key: Key,
    /// How long it was held.
    pub duration: Duration,
}

/// What is heard of a key while it is being pressed. Each `Down` is followed by its `Up` before the next `Down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stroke {
    /// It goes down.
    Down(Key),
    /// It has been let go.
    Up(Press),
}

/// How a PBX says that keys are pressed, and is told so. Meta knows events alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// By events in its stream.
    #[default]
    Rfc4733,
    /// By INFO.
    Info,
    /// By tones in its sound.
    Inband,
}

impl Form {
    /// Whether a codec may be agreed with such a PBX. Events are for one that has its digits so, or it would hear each
    /// twice; and what Opus makes of a tone, at the bit rate of speech, is no digit any more.
    pub fn allows(self, codec: Codec) -> bool {
        match self {
            Form::Rfc4733 => true,
            Form::Info => codec.is_audio(),
            Form::Inband => codec.is_audio() && codec != Codec::Opus,
        }
    }
}

/// What a stream's events are counted in, both in Hz.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// Of the RTP timestamps: usually that of the sound that the events are among.
    pub timestamps: u32,
    /// Of the durations: the rate in the `a=rtpmap` of the events.
    pub events: u32,
}

impl Clocks {
    /// A time in units of durations.
    fn units(self, time: Duration) -> u64 {
        count(self.events, time)
    }

    /// The time of so many units of durations.
    fn time(self, units: u64) -> Duration {
        let micros = u128::from(units) * 1_000_000 / u128::from(self.events.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }

    /// How far timestamps go on in the longest duration that there is, which is where a long event's next segment begins
    /// (RFC 4733 §2.5.1.3).
    fn segment(self) -> u32 {
        let scaled =
            u64::from(u16::MAX) * u64::from(self.timestamps) / u64::from(self.events.max(1));
        u32::try_from(scaled).unwrap_or(u32::MAX)
    }
}

/// A time in units of a clock of `rate` Hz.
fn count(rate: u32, time: Duration) -> u64 {
    let units = time.as_micros().saturating_mul(u128::from(rate)) / 1_000_000;
    u64::try_from(units).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod line_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_has_its_code_and_its_character() {
        for (code, written) in (0..16).zip("0123456789*#ABCD".chars()) {
            let key = Key::from_code(code).unwrap();
            assert_eq!(key.code(), code);
            assert_eq!(key.to_string(), written.to_string());
            assert_eq!(Key::from_char(written.to_ascii_lowercase()), Some(key));
        }
        assert_eq!(Key::from_code(16), None, "the hook flash is no key");
        assert_eq!(Key::from_char('x'), None);
    }

    #[test]
    fn a_digit_does_not_get_into_a_log() {
        let key = Key::from_char('7').unwrap();
        let duration = Duration::from_millis(40);
        let printed = format!("{:?}", Stroke::Up(Press { key, duration }));
        assert!(!printed.contains('7'), "{printed}");
    }

    #[test]
    fn durations_are_counted_in_the_clock_of_the_events() {
        let clocks = Clocks {
            timestamps: 48_000,
            events: 8_000,
        };
        assert_eq!(clocks.units(Duration::from_millis(40)), 320);
        assert_eq!(clocks.time(320), Duration::from_millis(40));
        assert_eq!(clocks.segment(), 6 * 0xffff);
        assert_eq!(clocks.units(Duration::MAX), u64::MAX);
    }
}
