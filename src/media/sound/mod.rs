//! Sound itself: packets decoded, mended, paced and encoded again, for the calls whose two sides have no codec in common.
//!
//! All of it is 16-bit mono at 8000 or 16000 samples a second, and machines without socket or clock.

mod comfort;
mod conceal;
mod decoder;
mod delay;
mod encoder;
mod error;
mod g711;
mod g722;
mod jitter;
pub(crate) mod opus;
mod player;
mod ready;
mod stretch;
pub mod tones;

use std::time::Duration;

pub use comfort::ComfortNoise;
pub use decoder::Decoder;
pub use encoder::Encoder;
pub use error::SoundError;
pub use opus::OpusSettings;
pub use player::{Played, Player, Settings, Stats};

/// How long so many samples last, at `rate` a second.
pub fn lasting(samples: u64, rate: u32) -> Duration {
    Duration::from_micros(samples.saturating_mul(1_000_000) / u64::from(rate.max(1)))
}

/// A codec's reading half.
pub trait Decode {
    /// Samples a second of what it makes: 8000 or 16000.
    fn rate(&self) -> u32;

    /// How many samples, at [`rate`](Decode::rate), the packet holds; `None`: it cannot be read.
    fn samples(&self, payload: &[u8]) -> Option<usize>;

    /// Appends the sound of a packet.
    ///
    /// # Errors
    /// When it cannot be read; nothing is appended then.
    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable>;

    /// Appends `samples` in place of a packet that never came. `next` is the packet right after it, where that is here
    /// already: some codecs say in it what was in the one before (RFC 6716 §2.1.7).
    fn conceal(&mut self, samples: usize, next: Option<&[u8]>, out: &mut Vec<i16>);

    /// Whether packets of this codec may say what was in the one before, so that one is worth waiting for when much is lost.
    fn repeats(&self) -> bool {
        false
    }
}

/// A packet is not what its codec makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the packet cannot be decoded")]
pub struct Unreadable;
