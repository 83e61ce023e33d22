//! Extended reports as octets (RFC 3611 §2, §3).

use std::time::Duration;

use super::{Block, Buffer, Concealment, Delay, GMIN, Spread, Summary, Voip};
use crate::media::rtcp::{Ntp, Words, begin, delay_units, finish};
use crate::media::rtp::{Seq, Ssrc};

/// Packet type of an extended report.
pub(in crate::media) const EXTENDED_REPORT: u8 = 207;

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

/// A jitter buffer that adapts or not; and how many times two frames it takes to (§4.7.6): ten packets, as `sound::delay` has it.
const ADAPTS: u8 = 0x30;
const ADAPTS_NOT: u8 = 0x20;
const QUICKLY: u8 = 5;

/// Levels, R factors and scores that nobody knows (§4.7.3, §4.7.5).
const UNAVAILABLE: u8 = 127;

/// Appends an extended report of these blocks; nothing if there are none.
pub(in crate::media) fn write<'a>(
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
                word(out, delay_units(delay.since));
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
        let kind = match self.buffer {
            Some(buffer) if buffer.adapts => ADAPTS | QUICKLY,
            Some(_) => ADAPTS_NOT,
            None => 0,
        };
        out.extend_from_slice(&[concealment << 6 | kind, 0]);
        let buffer = self.buffer.unwrap_or_default();
        for time in [buffer.now, buffer.most, buffer.most_ever] {
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
        let [config, now] = halves(words.next()?);
        let [most, most_ever] = halves(words.next()?);
        let adapts = (config >> 8) as u8 & ADAPTS == ADAPTS;
        let buffer = Buffer {
            adapts,
            now,
            most,
            most_ever,
        };
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
            buffer: (buffer != Buffer::default()).then_some(buffer),
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
pub(in crate::media) fn blocks(body: &[u8]) -> impl Iterator<Item = Block> {
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
            buffer: Some(Buffer {
                adapts: true,
                now: 40,
                most: 200,
                most_ever: 250,
            }),
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
            0xb5, 0, 0, 40, 0, 200, 0, 250, // concealment; jitter buffer
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
