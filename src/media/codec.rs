//! The vocabulary of what an RTP packet may carry.

/// One payload format, with what identifies it in `a=rtpmap`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// `opus/48000/2` (RFC 7587); Meta's voice.
    Opus,
    /// `G722/8000` (RFC 3551 §4.5.2): wideband at 64 kbit/s.
    G722,
    /// `PCMA/8000` (RFC 3551 §4.5.14): G.711 A-law.
    Pcma,
    /// `PCMU/8000` (RFC 3551 §4.5.14): G.711 µ-law.
    Pcmu,
    /// `telephone-event/<clock rate>` (RFC 4733): digits.
    TelephoneEvent {
        /// Clock rate in Hz: 8000 at Meta, 8000 or 48000 at a PBX.
        rate: u32,
    },
}

impl Codec {
    /// RTP clock rate in Hz. That of G.722 is 8000 by an old mistake, though it samples twice as often (RFC 3551 §4.5.2).
    pub fn clock_rate(self) -> u32 {
        match self {
            Codec::Opus => 48_000,
            Codec::G722 | Codec::Pcma | Codec::Pcmu => 8_000,
            Codec::TelephoneEvent { rate } => rate,
        }
    }

    /// Samples a second of the sound that it carries: of Opus what Meta's clients send, wideband. 0 for events.
    pub fn sample_rate(self) -> u32 {
        match self {
            Codec::Opus | Codec::G722 => 16_000,
            Codec::Pcma | Codec::Pcmu => 8_000,
            Codec::TelephoneEvent { .. } => 0,
        }
    }

    /// Whether it carries sound, as opposed to events.
    pub fn is_audio(self) -> bool {
        !matches!(self, Codec::TelephoneEvent { .. })
    }

    /// The payload number that means it without any `a=rtpmap` (RFC 3551 §6).
    pub fn static_number(self) -> Option<u8> {
        match self {
            Codec::Pcmu => Some(0),
            Codec::Pcma => Some(8),
            Codec::G722 => Some(9),
            Codec::Opus | Codec::TelephoneEvent { .. } => None,
        }
    }

    /// The encoding name of `a=rtpmap`, which compares without case (RFC 8866 §6.6).
    pub fn name(self) -> &'static str {
        match self {
            Codec::Opus => "opus",
            Codec::G722 => "G722",
            Codec::Pcma => "PCMA",
            Codec::Pcmu => "PCMU",
            Codec::TelephoneEvent { .. } => "telephone-event",
        }
    }
}

impl std::fmt::Display for Codec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (name, rate) = (self.name(), self.clock_rate());
        match self {
            Codec::Opus => write!(f, "{name}/{rate}/2"),
            _ => write!(f, "{name}/{rate}"),
        }
    }
}
