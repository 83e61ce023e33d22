//! RTCP extended reports: what SR and RR have no room for (RFC 3611).
//!
//! ```text
//!   XR packet   header, our SSRC, then blocks, each:  type | specific | length in words, less one | body
//!
//!   4  receiver reference time   "it is now …", of whoever only receives  ─┐ together a round trip
//!   5  DLRR                      "your last such block, and since then …" ─┘ without any sender report
//!   6  statistics summary        lost, came twice, jitter, of the numbers since the last one
//!   7  VoIP metrics              loss in bursts and between them, delay, R and MOS, of the whole call
//! ```
//!
//! Whatever comes is read, and what is not understood is read over. Written is only what the peer's SDP asks for (§5).

mod wire;

use std::time::Duration;

use super::rtcp::{Ntp, round_trip};
use super::rtp::{Seq, Ssrc};
pub(super) use wire::{EXTENDED_REPORT, blocks, write};

/// Packets received in a row between two losses that make them separate (§4.7.2 recommends 16).
pub(crate) const GMIN: u8 = 16;

/// What blocks a peer asks for in its SDP (`a=rtcp-xr`, RFC 3611 §5.1).
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Wanted {
    /// `rcvr-rtt`: round trips of whoever only receives.
    pub round_trip: bool,
    /// `stat-summary`.
    pub summary: bool,
    /// `voip-metrics`.
    pub voip: bool,
}

impl Wanted {
    /// Reads the formats behind `a=rtcp-xr:`; those of other blocks are read over.
    pub fn read(formats: &str) -> Wanted {
        let names = || {
            formats
                .split_ascii_whitespace()
                .filter_map(|format| format.split(['=', ':']).next())
        };
        let has = |name: &str| names().any(|other| other.eq_ignore_ascii_case(name));
        Wanted {
            round_trip: has("rcvr-rtt"),
            summary: has("stat-summary"),
            voip: has("voip-metrics"),
        }
    }

    /// Whether it asks for anything.
    pub fn is_any(self) -> bool {
        self.round_trip || self.summary || self.voip
    }
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let formats = [
            ("rcvr-rtt", self.round_trip),
            ("stat-summary", self.summary),
            ("voip-metrics", self.voip),
        ];
        let wanted = formats.iter().filter(|(_, wanted)| *wanted);
        f.debug_list()
            .entries(wanted.map(|(name, _)| name))
            .finish()
    }
}

/// One report block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// When the packet was made, by the clock of a receiver (§4.4).
    ReferenceTime(Ntp),
    /// The answer to such a block (§4.5).
    Delay(Delay),
    /// What became of some packets of a source (§4.6).
    Summary(Summary),
    /// How a call sounds (§4.7).
    Voip(Voip),
}

/// How long ago a receiver's reference time came (§4.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delay {
    /// The receiver that it came from.
    pub receiver: Ssrc,
    /// [`Ntp::middle`] of it; 0: none came yet.
    pub last: u32,
    /// Since then. Units of 2⁻¹⁶ s on the wire.
    pub since: Duration,
}

impl Delay {
    /// The round trip that this shows when it arrives at `now`, if it answers a block of ours.
    pub fn round_trip(&self, now: Ntp) -> Option<Duration> {
        round_trip(now, self.last, self.since)
    }
}

/// What became of the packets of a source between two numbers (§4.6). Jitter is in units of the source's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The source.
    pub source: Ssrc,
    /// The first number.
    pub first: Seq,
    /// The number after the last one.
    pub end: Seq,
    /// Never came; `None`: not counted.
    pub lost: Option<u32>,
    /// Came again; `None`: not counted.
    pub duplicates: Option<u32>,
    /// `None`: not measured.
    pub jitter: Option<Spread>,
}

/// How differences of transit times lie, in units of the source's clock (§4.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spread {
    /// The smallest.
    pub min: u32,
    /// The largest.
    pub max: u32,
    /// Their mean.
    pub mean: u32,
    /// Their standard deviation.
    pub deviation: u32,
}

/// How a call sounds at one end (§4.7): shares are in 1/256, times in ms, and what nobody knows as the field says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Voip {
    /// The source that is heard.
    pub source: Ssrc,
    /// Share of its packets that never came.
    pub lost: u8,
    /// Share of its packets that came too early or too late to be played.
    pub discarded: u8,
    /// Share of the packets within bursts that were lost or discarded.
    pub burst_density: u8,
    /// The same of those between bursts.
    pub gap_density: u8,
    /// Mean time that a burst lasts.
    pub burst_duration: u16,
    /// Mean time between bursts.
    pub gap_duration: u16,
    /// There and back; 0: not known.
    pub round_trip: u16,
    /// What the end itself takes, its jitter buffer included; 0: not known.
    pub end_system: u16,
    /// R of the E-model, 0 to 100; 127: not known.
    pub rating: u8,
    /// Ten times the MOS of what is heard; 127: not known.
    pub listening: u8,
    /// Ten times the MOS of the conversation, delays included; 127: not known.
    pub conversation: u8,
    /// What is done about losses.
    pub concealment: Concealment,
    /// The jitter buffer; `None`: there is none, or not known.
    pub buffer: Option<Buffer>,
}

/// What a jitter buffer holds back, in ms (§4.7.6, §4.7.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Buffer {
    /// Whether that changes with the network.
    pub adapts: bool,
    /// Now, of a packet that comes just in time.
    pub now: u16,
    /// Now, of the earliest packet that is not discarded.
    pub most: u16,
    /// The same at most ever.
    pub most_ever: u16,
}

/// What a receiver does about packets that are missing (§4.7.6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Concealment {
    /// It does not say.
    #[default]
    Unspecified,
    /// Silence.
    Disabled,
    /// Something better than repeating the last frame.
    Enhanced,
    /// Repeats the last frame, or something like it.
    Standard,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_is_known_without_a_sender_report() {
        // The example of RFC 3550 §6.4.1, whose arithmetic §4.5 uses.
        let answer = Delay {
            receiver: Ssrc(1),
            last: 0xb705_2000,
            since: Duration::from_secs_f64(5.25),
        };
        let now = Ntp(0xb710_8000 << 16);
        let trip = Duration::from_secs_f64(6.125);
        assert_eq!(answer.round_trip(now), Some(trip));
        assert_eq!(Delay { last: 0, ..answer }.round_trip(now), None);
    }

    #[test]
    fn the_formats_of_sdp_say_which_blocks_are_wanted() {
        let all = Wanted::read(
            "pkt-loss-rle=100 rcvr-rtt=all:10 stat-summary=loss,dup,jitt voip-metrics",
        );
        assert!(all.round_trip && all.summary && all.voip);
        let names = "[\"rcvr-rtt\", \"stat-summary\", \"voip-metrics\"]";
        assert_eq!(format!("{all:?}"), names);
        let none = Wanted::read("pkt-rcpt-times");
        assert!(!none.is_any());
        let one = Wanted::read("VoIP-Metrics");
        assert_eq!(
            (one.round_trip, one.summary, one.voip),
            (false, false, true)
        );
    }
}
