//! Why a codec cannot be had, or will not take what it was given.

use crate::media::codec::Codec;

/// What goes wrong when sound is to be encoded, or a codec is to be made.
#[derive(Debug, thiserror::Error)]
pub enum SoundError {
    /// No such rate.
    #[error("{codec} at {rate} samples a second cannot be had; ask for {has}")]
    Rate {
        /// The codec asked for.
        codec: Codec,
        /// The rate asked for, in Hz.
        rate: u32,
        /// The rates it has.
        has: &'static str,
    },
    /// Events, not sound.
    #[error("{0} carries events, no sound")]
    NoSound(Codec),
    /// A value out of its range.
    #[error("{key} = {value} is out of range; set {range}")]
    Setting {
        /// The key among [`OpusSettings`](super::OpusSettings).
        key: &'static str,
        /// What it was set to.
        value: u32,
        /// What it may be.
        range: &'static str,
    },
    /// Not a length that the codec can put into a packet.
    #[error("{codec} cannot put {samples} samples at {rate} Hz into one packet; give it {takes}")]
    Length {
        /// The codec.
        codec: Codec,
        /// How many samples there were.
        samples: usize,
        /// Samples a second.
        rate: u32,
        /// What it takes.
        takes: &'static str,
    },
    /// libopus would not.
    #[error("libopus: {0}")]
    Opus(#[from] opus::Error),
}
