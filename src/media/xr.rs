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

use std::time::Duration;

use super::rtcp::{Ntp, Words, begin, finish, round_trip};
use super::rtp::{Seq, Ssrc};

/// Packet type of an extended report.
pub(super) const EXTENDED_REPORT: u8 = 207;

const REFERENCE_TIME: u8 = 4;
const DELAY: u8 = 5;
const SUMMARY: u8 = 6;
const VOIP: u8 = 7;

/// In a summary: it counts losses, duplicates, and jitter (§4.6).
const COUNTS_LOSS: u8 = 0x80;
const COUNTS_DUPLICATES: u8 = 0x40;
const COUNTS_JITTER: u8 = 0x20;

/// Words of a summary and of VoIP metrics, behind their header (§4.6, §4.7).
const SUMMARY_WORDS: usize = 9;
const VOIP_WORDS: usize = 8;

/// Levels, R factors and scores that nobody knows (§4.7.3, §4.7.5).
const UNAVAILABLE: u8 = 127;
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
    /// What the jitter buffer holds back now; 0: there is none, or not known.
    pub buffer: u16,
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

/// Appends an extended report of these blocks; nothing if there are none.
pub(super) fn write<'a>(
    ours: Ssrc,
    blocks: impl IntoIterator<Item = &'a Block>,
    out: &mut Vec<u8>,
) {
    let mut blocks = blocks.into_iter().peekable();
    if blocks.peek().is_none() {
        return;
    }
    let start = begin(out, 0, EXTENDED_REPORT);
    word(out, ours.0);
    for block in blocks {
        block.write(out);
    }
    finish(out, start);
}

impl Block {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Block::ReferenceTime(now) => {
                header(out, REFERENCE_TIME, 0, 2);
                out.extend_from_slice(&now.0.to_be_bytes());
            }
            Block::Delay(delay) => {
                header(out, DELAY, 0, 3);
                word(out, delay.receiver.0);
                word(out, delay.last);
                word(out, super::rtcp::delay_units(delay.since));
            }
            Block::Summary(summary) => summary.write(out),
            Block::Voip(voip) => voip.write(out),
        }
    }
}

impl Summary {
    fn write(&self, out: &mut Vec<u8>) {
        let flag = |is_there: bool, bit: u8| if is_there { bit } else { 0 };
        let flags = flag(self.lost.is_some(), COUNTS_LOSS)
            | flag(self.duplicates.is_some(), COUNTS_DUPLICATES)
            | flag(self.jitter.is_some(), COUNTS_JITTER);
        header(out, SUMMARY, flags, SUMMARY_WORDS);
        word(out, self.source.0);
        out.extend_from_slice(&self.first.0.to_be_bytes());
        out.extend_from_slice(&self.end.0.to_be_bytes());
        word(out, self.lost.unwrap_or(0));
        word(out, self.duplicates.unwrap_or(0));
        let jitter = self.jitter.unwrap_or_default();
        for value in [jitter.min, jitter.max, jitter.mean, jitter.deviation] {
            word(out, value);
        }
        // Hops are not looked at.
        word(out, 0);
    }

    fn read(flags: u8, words: &mut Words<'_>) -> Option<Summary> {
        let source = Ssrc(words.next()?);
        let [first, end] = halves(words.next()?);
        let (lost, duplicates) = (words.next()?, words.next()?);
        let spread = Spread {
            min: words.next()?,
            max: words.next()?,
            mean: words.next()?,
            deviation: words.next()?,
        };
        Some(Summary {
            source,
            first: Seq(first),
            end: Seq(end),
            lost: (flags & COUNTS_LOSS != 0).then_some(lost),
            duplicates: (flags & COUNTS_DUPLICATES != 0).then_some(duplicates),
            jitter: (flags & COUNTS_JITTER != 0).then_some(spread),
        })
    }
}

impl Voip {
    fn write(&self, out: &mut Vec<u8>) {
        header(out, VOIP, 0, VOIP_WORDS);
        word(out, self.source.0);
        out.extend_from_slice(&[
            self.lost,
            self.discarded,
            self.burst_density,
            self.gap_density,
        ]);
        for time in [
            self.burst_duration,
            self.gap_duration,
            self.round_trip,
            self.end_system,
        ] {
            out.extend_from_slice(&time.to_be_bytes());
        }
        // Nobody here hears levels, noise or echo.
        out.extend_from_slice(&[UNAVAILABLE, UNAVAILABLE, UNAVAILABLE, GMIN]);
        let (listening, conversation) = (self.listening, self.conversation);
        out.extend_from_slice(&[self.rating, UNAVAILABLE, listening, conversation]);
        let concealment = match self.concealment {
            Concealment::Unspecified => 0,
            Concealment::Disabled => 1,
            Concealment::Enhanced => 2,
            Concealment::Standard => 3,
        };
        out.extend_from_slice(&[concealment << 6, 0]);
        // What it holds back now, at most of late, and at most at all: of the last two nothing is known.
        for time in [self.buffer, 0, 0] {
            out.extend_from_slice(&time.to_be_bytes());
        }
    }

    fn read(words: &mut Words<'_>) -> Option<Voip> {
        let source = Ssrc(words.next()?);
        let [lost, discarded, burst_density, gap_density] = words.next()?.to_be_bytes();
        let [burst_duration, gap_duration] = halves(words.next()?);
        let [round_trip, end_system] = halves(words.next()?);
        let _levels = words.next()?;
        let [rating, _, listening, conversation] = words.next()?.to_be_bytes();
        let [config, buffer] = halves(words.next()?);
        let _most = words.next()?;
        let concealment = match config >> 14 {
            1 => Concealment::Disabled,
            2 => Concealment::Enhanced,
            3 => Concealment::Standard,
            _ => Concealment::Unspecified,
        };
        Some(Voip {
            source,
            lost,
            discarded,
            burst_density,
            gap_density,
            burst_duration,
            gap_duration,
            round_trip,
            end_system,
            rating,
            listening,
            conversation,
            concealment,
            buffer,
        })
    }
}

fn header(out: &mut Vec<u8>, kind: u8, specific: u8, words: usize) {
    out.extend_from_slice(&[kind, specific, 0, words as u8]);
}

fn word(out: &mut Vec<u8>, word: u32) {
    out.extend_from_slice(&word.to_be_bytes());
}

fn halves(word: u32) -> [u16; 2] {
    [(word >> 16) as u16, word as u16]
}

/// The blocks of an extended report's body, behind the SSRC of its sender. A block that runs past the end, or is shorter
/// than its kind, ends the report or is read over; of a DLRR block each part is one of its own.
pub(super) fn blocks(body: &[u8]) -> impl Iterator<Item = Block> {
    let mut rest = body;
    let raw = std::iter::from_fn(move || {
        let [kind, specific, long, short, after @ ..] = rest else {
            return None;
        };
        let length = 4 * usize::from(u16::from_be_bytes([*long, *short]));
        let (content, next) = after.split_at_checked(length)?;
        rest = next;
        Some((*kind, *specific, content))
    });
    raw.flat_map(|(kind, specific, content)| {
        let mut words = Words::of(content);
        let mut first = true;
        std::iter::from_fn(move || {
            let is_first = std::mem::take(&mut first);
            match kind {
                DELAY => delay(&mut words).map(Block::Delay),
                _ if !is_first => None,
                REFERENCE_TIME => reference_time(&mut words).map(Block::ReferenceTime),
                SUMMARY => Summary::read(specific, &mut words).map(Block::Summary),
                VOIP => Voip::read(&mut words).map(Block::Voip),
                _ => None,
            }
        })
    })
}

fn reference_time(words: &mut Words<'_>) -> Option<Ntp> {
    let (whole, fraction) = (words.next()?, words.next()?);
    Some(Ntp(u64::from(whole) << 32 | u64::from(fraction)))
}

fn delay(words: &mut Words<'_>) -> Option<Delay> {
    Some(Delay {
        receiver: Ssrc(words.next()?),
        last: words.next()?,
        since: Duration::from_secs_f64(f64::from(words.next()?) / 65_536.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtcp::{self, Entry};
    use proptest::prelude::*;

    fn summary() -> Summary {
        Summary {
            source: Ssrc(0xb),
            first: Seq(65_530),
            end: Seq(4),
            lost: Some(3),
            duplicates: Some(1),
            jitter: Some(Spread {
                min: 1,
                max: 960,
                mean: 48,
                deviation: 7,
            }),
        }
    }

    fn voip() -> Voip {
        Voip {
            source: Ssrc(0xb),
            lost: 12,
            discarded: 3,
            burst_density: 80,
            gap_density: 2,
            burst_duration: 240,
            gap_duration: 12_000,
            round_trip: 84,
            end_system: 60,
            rating: 81,
            listening: 41,
            conversation: 40,
            concealment: Concealment::Enhanced,
            buffer: 40,
        }
    }

    fn delay() -> Delay {
        Delay {
            receiver: Ssrc(0xc),
            last: 0x2222_3333,
            since: Duration::from_millis(1_500),
        }
    }

    fn all() -> [Block; 4] {
        [
            Block::ReferenceTime(Ntp(0x1111_2222_3333_4444)),
            Block::Delay(delay()),
            Block::Summary(summary()),
            Block::Voip(voip()),
        ]
    }

    fn read(bytes: &[u8]) -> Vec<Entry> {
        rtcp::read(bytes).unwrap().collect()
    }

    #[test]
    fn an_extended_report_is_these_octets() {
        let mut out = Vec::new();
        write(Ssrc(0xa), &all(), &mut out);
        let expected = [
            0x80, 207, 0, 27, 0, 0, 0, 0xa, // XR of 28 words
            4, 0, 0, 2, 0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, // reference time
            5, 0, 0, 3, 0, 0, 0, 0xc, 0x22, 0x22, 0x33, 0x33, 0, 1, 0x80, 0, // DLRR of 1.5 s
            6, 0xe0, 0, 9, 0, 0, 0, 0xb, 0xff, 0xfa, 0, 4, // loss, duplicates, jitter
            0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 3, 0xc0, 0, 0, 0, 48, 0, 0, 0, 7, 0, 0, 0, 0,
            7, 0, 0, 8, 0, 0, 0, 0xb, 12, 3, 80, 2, // loss, discard, burst and gap density
            0, 240, 0x2e, 0xe0, 0, 84, 0, 60, // burst, gap, round trip, end system
            127, 127, 127, 16, 81, 127, 41, 40, // levels, Gmin; R and MOS
            0x80, 0, 0, 40, 0, 0, 0, 0, // concealment; jitter buffer
        ];
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_written_is_read_back_and_nothing_is_written_for_nothing() {
        let mut out = Vec::new();
        write(Ssrc(0xa), &[], &mut out);
        assert!(out.is_empty());
        write(Ssrc(0xa), &all(), &mut out);
        let from = Ssrc(0xa);
        let wanted = all().map(|block| Entry::Extended { from, block });
        assert_eq!(read(&out), wanted);
        let bare = Summary {
            lost: None,
            duplicates: None,
            jitter: None,
            ..summary()
        };
        out.clear();
        write(from, &[Block::Summary(bare)], &mut out);
        let block = Block::Summary(bare);
        assert_eq!(read(&out), [Entry::Extended { from, block }]);
    }

    #[test]
    fn unknown_and_short_blocks_are_read_over_and_one_that_runs_past_the_end_is_the_last() {
        let bytes = [
            0x80, 207, 0, 13, 0, 0, 0, 9, // from 9
            1, 0, 0, 1, 0, 0, 0, 9, // loss RLE, which we do not read
            7, 0, 0, 1, 0, 0, 0, 9, // VoIP metrics cut short
            5, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0,
            4, // DLRR of one part and two words
            4, 0, 0, 9, 0, 0, 0, 1, // reference time that runs out
        ];
        let block = Block::Delay(Delay {
            receiver: Ssrc(1),
            last: 2,
            since: Duration::ZERO,
        });
        let from = Ssrc(9);
        assert_eq!(read(&bytes), [Entry::Extended { from, block }]);
    }

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

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic_or_more_blocks_than_they_hold(
            body: Vec<u8>, kinds in prop::collection::vec((0u8..9, any::<u8>(), 0u8..12), 0..6),
        ) {
            let mut bytes = body.clone();
            for (kind, specific, length) in kinds {
                bytes.extend_from_slice(&[kind, specific, 0, length]);
                bytes.extend_from_slice(&body);
            }
            let read: Vec<Block> = blocks(&bytes).collect();
            prop_assert!(read.len() <= bytes.len() / 4);
            for block in read {
                if let Block::Delay(delay) = block {
                    let _ = delay.round_trip(Ntp(0x1234_5678_9abc_def0));
                }
                let mut out = Vec::new();
                write(Ssrc(1), &[block], &mut out);
                prop_assert_eq!(rtcp::read(&out).unwrap().count(), 1);
            }
        }
    }
}
