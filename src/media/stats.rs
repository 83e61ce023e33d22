//! What a session carried, for records, metrics and whoever looks at a call that is up.

use std::time::Duration;

use super::{Codec, Quality};

/// What a session carried, both sides.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SessionStats {
    /// Towards and from Meta.
    pub meta: SideStats,
    /// Towards and from the PBX.
    pub pbx: SideStats,
}

/// What one side of a session carried. Counts are packets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SideStats {
    /// RTP accepted from the peer.
    pub received: u64,
    /// RTP sent to the peer, silence frames of our own included.
    pub sent: u64,
    /// RTP the peer sent and we never saw, by sequence numbers (RFC 3550 §6.4.1).
    pub lost: u64,
    /// Interarrival jitter of the peer's RTP (RFC 3550 §6.4.1), in milliseconds.
    pub jitter_ms: f64,
    /// Last round trip measured by RTCP, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// What sound the peer sent last.
    pub codec_in: Option<Codec>,
    /// What sound it was sent last.
    pub codec_out: Option<Codec>,
    /// How what the peer sends sounds here.
    pub quality_in: Quality,
    /// How what we send sounds to the peer, by its reports.
    pub quality_out: Quality,
    /// What the peer said last of our RTP; `None` where it says nothing.
    pub reported: Option<Reported>,
    /// Packets from addresses that are not the peer's, or from long before the PBX had answered.
    pub strangers: u64,
    /// Packets dropped because SRTP authentication or replay protection refused them.
    pub refused: u64,
    /// Packets dropped because they were no RTP, or had a payload number nobody agreed to.
    pub unusable: u64,
    /// Packets of the peer dropped because they came twice, or too late for their place in the sequence.
    pub repeated: u64,
    /// Packets for the peer dropped because it may not be sent to yet, or nothing is agreed with it.
    pub held_back: u64,
    /// Packets for the peer that were kept until it could be sent to, and then sent.
    pub kept: u64,
    /// Packets for the peer that were to be kept and had to make room, or that no key came for.
    pub not_kept: u64,
    /// Time from [`Command::Start`](super::Command::Start) to the keys; `None` where no DTLS handshake was completed.
    pub keyed_after: Option<Duration>,
    /// Packets for the peer that the operating system would not send.
    pub unsent: u64,
    /// Silence frames of our own among `sent`.
    pub silence_sent: u64,
    /// Key presses that did not come in the other side's stream, or on another clock, and that the peer is told of by events
    /// among `sent`.
    pub digits: u64,
    /// The same that it could not be told of: too many at once, or no events were agreed.
    pub digits_lost: u64,
    /// Milliseconds that the peer's sound waits in the jitter buffer now; `None` where it is passed on as it comes.
    pub buffered_ms: Option<f64>,
    /// The same on average over all the sound that was heard; `None` where none ever waited.
    pub buffered_mean_ms: Option<f64>,
    /// Packets of the peer that came too late for the jitter buffer, or too many at once.
    pub discarded: u64,
    /// Milliseconds of its sound that were made up in place of what did not come.
    pub mended_ms: u64,
}

/// What a peer reports of the RTP that it hears from us (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reported {
    /// Packets of ours that it never saw. Gaps that we pass on, for losses on the other leg, are none.
    pub lost: u64,
    /// Interarrival jitter, in milliseconds.
    pub jitter_ms: f64,
}
