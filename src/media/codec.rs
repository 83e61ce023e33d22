//! The vocabulary of what an RTP packet may carry.

/// One payload format, with what identifies it in `a=rtpmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `opus/48000/2` (RFC 7587); Meta's voice.
    Opus,
    /// `telephone-event/<clock rate>` (RFC 4733): digits.
    TelephoneEvent {
        /// Clock rate in Hz: 8000 at Meta, 8000 or 48000 at a PBX.
        rate: u32,
    },
}

impl Codec {
    /// RTP clock rate in Hz.
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::TelephoneEvent { rate } => rate,
        }
    }

    /// Whether it carries sound, as opposed to events.
    pub fn is_audio(self) -> bool {
        matches!(self, Codec::Opus)
    }

    /// The encoding name of `a=rtpmap`, which compares without case (RFC 8866 §6.6).
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::TelephoneEvent { .. } => "telephone-event",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Codec::Opus => f.write_str("opus/48000/2"),
            Codec::TelephoneEvent { rate } => write!(f, "telephone-event/{rate}"),
        }
    }
}
