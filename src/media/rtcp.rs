//! RTCP: the reports that two sides exchange about what they hear (RFC 3550 §6).
//!
//! ```text
//!   compound packet:   SR or RR   then   SDES with the CNAME   then XR (xr.rs), or at the end BYE
//!                      │                                        (others are read over)
//!                      └ what we sent; for each source we hear a Block: loss, jitter, LSR, DLSR
//!
//!   round trip = now − LSR (our SR, as the peer saw it) − DLSR (how long the peer kept it)
//! ```

use std::time::{Duration, Instant};

pub use super::reception::Reception;
use super::rtp::{Ssrc, Timestamp};
use super::xr;

const VERSION_2: u8 = 2 << 6;
const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;
const CNAME: u8 = 1;

/// The count field has five bits.
const MAX_BLOCKS: usize = 31;

/// Wall-clock time, in units of 2⁻³² s since 1900 (RFC 3550 §4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Ntp(pub u64);

impl Ntp {
    /// The middle 32 bits, as LSR carries them: units of 2⁻¹⁶ s.
    pub fn middle(self) -> u32 {
        (self.0 >> 16) as u32
    }
}

/// Turns the monotonic clock into wall-clock time. Set once for a session, so that its reports never jump.
#[derive(Clone, Copy, Debug)]
pub struct WallClock {
    origin: Instant,
    ntp: Ntp,
}

impl WallClock {
    /// A clock that read `since_1970` (Unix time) at the instant `origin`.
    pub fn new(origin: Instant, since_1970: Duration) -> WallClock {
        const FROM_1900_TO_1970: u64 = 2_208_988_800;
        let ntp = (FROM_1900_TO_1970 << 32).wrapping_add(fixed_point(since_1970));
        WallClock {
            origin,
            ntp: Ntp(ntp),
        }
    }

    /// Wall-clock time at `now`.
    pub fn ntp(&self, now: Instant) -> Ntp {
        let since = fixed_point(now.saturating_duration_since(self.origin));
        Ntp(self.ntp.0.wrapping_add(since))
    }
}

/// Seconds in 32.32 fixed point; whole seconds wrap in 2036, as NTP does.
fn fixed_point(time: Duration) -> u64 {
    let fraction = (u64::from(time.subsec_nanos()) << 32) / 1_000_000_000;
    time.as_secs() << 32 | fraction
}

/// What a sender says of its own stream (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// When the report was made.
    pub ntp: Ntp,
    /// The same instant in the units of the stream's timestamps.
    pub timestamp: Timestamp,
    /// RTP packets sent so far.
    pub packets: u32,
    /// Octets of payload sent so far.
    pub octets: u32,
}

/// What a receiver says of one source that it hears (RFC 3550 §6.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The source that is reported on.
    pub source: Ssrc,
    /// Part of the packets lost since the last report, in 1/256.
    pub fraction_lost: u8,
    /// Packets lost since the beginning; negative where more came twice. 24 bits on the wire.
    pub lost: i32,
    /// Highest sequence number received, with the count of wraps above it.
    pub highest: u32,
    /// Interarrival jitter in units of the source's clock.
    pub jitter: u32,
    /// [`Ntp::middle`] of the last sender report from the source; 0: none yet.
    pub last_sender_report: u32,
    /// Time between receiving that report and sending this one. Units of 2⁻¹⁶ s on the wire.
    pub delay: Duration,
}

impl Block {
    /// The round trip that this block shows when it arrives at `now`, if it answers a report of ours.
    pub fn round_trip(&self, now: Ntp) -> Option<Duration> {
        round_trip(now, self.last_sender_report, self.delay)
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.source.0.to_be_bytes());
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        out.extend_from_slice(&(u32::from(self.fraction_lost) << 24 | lost).to_be_bytes());
        let delay = delay_units(self.delay);
        for word in [self.highest, self.jitter, self.last_sender_report, delay] {
            out.extend_from_slice(&word.to_be_bytes());
        }
    }

    fn read(words: &mut Words<'_>) -> Option<Block> {
        let source = Ssrc(words.next()?);
        let loss = words.next()?;
        Some(Block {
            source,
            fraction_lost: (loss >> 24) as u8,
            lost: (loss << 8) as i32 >> 8,
            highest: words.next()?,
            jitter: words.next()?,
            last_sender_report: words.next()?,
            delay: Duration::from_secs_f64(f64::from(words.next()?) / 65_536.0),
        })
    }
}

/// The round trip of a time of ours that was sent as `last`, kept by the peer for so long, and comes back at `now`; 0 is none.
pub(super) fn round_trip(now: Ntp, last: u32, kept: Duration) -> Option<Duration> {
    if last == 0 {
        return None;
    }
    let units = now
        .middle()
        .wrapping_sub(last)
        .wrapping_sub(delay_units(kept));
    // Rounding may make a short trip negative by a unit or two; what is far below zero was no report of ours.
    match units as i32 {
        units @ 0.. => Some(Duration::from_secs_f64(f64::from(units) / 65_536.0)),
        -16..0 => Some(Duration::ZERO),
        _ => None,
    }
}

/// Units of 2⁻¹⁶ s, rounded.
pub(super) fn delay_units(delay: Duration) -> u32 {
    (delay.as_secs_f64() * 65_536.0).round() as u32
}

/// One compound packet of ours.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// Our source.
    pub ssrc: Ssrc,
    /// What we sent; `None` where we sent nothing since the last two reports, which makes it a receiver report.
    pub sent: Option<Sent>,
    /// What we hear; from the 32nd block on they are left out.
    pub blocks: &'a [Block],
    /// Our name, the same for the whole call; at most 255 octets are sent. It must tell nothing about a person.
    pub cname: &'a str,
    /// Whether this is our last packet.
    pub bye: bool,
}

impl Report<'_> {
    /// Makes `out` this compound packet; allocates only where `out` is too small for it.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.clear();
        self.append(out);
    }

    /// Adds this compound packet to `out`.
    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        self.write_report(out);
        self.write_name(out);
        if self.bye {
            let start = begin(out, 1, GOODBYE);
            out.extend_from_slice(&self.ssrc.0.to_be_bytes());
            finish(out, start);
        }
    }

    fn write_report(&self, out: &mut Vec<u8>) {
        let blocks = self.blocks.get(..MAX_BLOCKS).unwrap_or(self.blocks);
        let kind = if self.sent.is_some() {
            SENDER_REPORT
        } else {
            RECEIVER_REPORT
        };
        let start = begin(out, blocks.len() as u8, kind);
        out.extend_from_slice(&self.ssrc.0.to_be_bytes());
        if let Some(sent) = &self.sent {
            out.extend_from_slice(&sent.ntp.0.to_be_bytes());
            for word in [sent.timestamp.0, sent.packets, sent.octets] {
                out.extend_from_slice(&word.to_be_bytes());
            }
        }
        for block in blocks {
            block.write(out);
        }
        finish(out, start);
    }

    fn write_name(&self, out: &mut Vec<u8>) {
        let name = self.cname.as_bytes();
        let name = name.get(..255).unwrap_or(name);
        let start = begin(out, 1, SOURCE_DESCRIPTION);
        out.extend_from_slice(&self.ssrc.0.to_be_bytes());
        out.extend_from_slice(&[CNAME, name.len() as u8]);
        out.extend_from_slice(name);
        // §6.5: a zero octet ends the list, then zeros up to the next word.
        out.push(0);
        while !(out.len() - start).is_multiple_of(4) {
            out.push(0);
        }
        finish(out, start);
    }
}

/// Writes a packet's header; its length is filled in by [`finish`].
pub(super) fn begin(out: &mut Vec<u8>, count: u8, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[VERSION_2 | count, kind, 0, 0]);
    start
}

/// Fills in the length of the packet that begins at `start`.
pub(super) fn finish(out: &mut [u8], start: usize) {
    let words_less_one = (out.len() - start) / 4 - 1;
    if let Some(length) = out.get_mut(start + 2..start + 4) {
        length.copy_from_slice(&(words_less_one as u16).to_be_bytes());
    }
}

/// What is wrong with bytes that should have been RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not RTCP: {0} (RFC 3550 §6.4)")]
pub struct Malformed(&'static str);

/// One thing that a compound packet says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A source tells what it sent.
    Sent {
        /// The source.
        from: Ssrc,
        /// What it sent.
        sent: Sent,
    },
    /// A participant tells how it hears a source.
    Heard {
        /// The participant.
        from: Ssrc,
        /// How it hears the source named in the block.
        block: Block,
    },
    /// A source leaves.
    Bye {
        /// The source.
        from: Ssrc,
    },
    /// A participant tells more than a report has room for (RFC 3611).
    Extended {
        /// The participant.
        from: Ssrc,
        /// What it tells.
        block: xr::Block,
    },
}

/// Reads a compound packet, whose entries come in their order; what we do not use is read over.
///
/// # Errors
/// When its packets do not fill `bytes` exactly, as the check of RFC 3550 A.2 wants it. It need not begin with a
/// report: reduced-size RTCP (RFC 5506) does not.
pub fn read(bytes: &[u8]) -> Result<impl Iterator<Item = Entry>, Malformed> {
    let mut rest = bytes;
    while !rest.is_empty() {
        (_, rest) = split_packet(rest)?;
    }
    if bytes.is_empty() {
        return Err(Malformed("it is empty"));
    }
    let mut rest = bytes;
    let packets = std::iter::from_fn(move || {
        let (packet, after) = split_packet(rest).ok()?;
        rest = after;
        Some(packet)
    });
    Ok(packets.flat_map(entries))
}

struct RawPacket<'a> {
    count: u8,
    kind: u8,
    body: &'a [u8],
}

fn split_packet(bytes: &[u8]) -> Result<(RawPacket<'_>, &[u8]), Malformed> {
    let [first, kind, long, short, after_header @ ..] = bytes else {
        return Err(Malformed("it ends within a header"));
    };
    if first >> 6 != 2 {
        return Err(Malformed("its version is not 2"));
    }
    let len = 4 * usize::from(u16::from_be_bytes([*long, *short]));
    let (body, rest) = after_header
        .split_at_checked(len)
        .ok_or(Malformed("a packet runs past its end"))?;
    Ok((
        RawPacket {
            count: first & 0x1f,
            kind: *kind,
            body,
        },
        rest,
    ))
}

/// The 32-bit words of a packet's body.
pub(super) struct Words<'a>(std::slice::ChunksExact<'a, u8>);

impl Words<'_> {
    /// Those of some octets; what is left over at the end is read over.
    pub(super) fn of(octets: &[u8]) -> Words<'_> {
        Words(octets.chunks_exact(4))
    }

    /// The next of them.
    pub(super) fn next(&mut self) -> Option<u32> {
        self.0
            .next()?
            .first_chunk()
            .map(|word| u32::from_be_bytes(*word))
    }
}

/// The entries of one packet; one that is shorter than its count says ends where it ends.
fn entries(packet: RawPacket<'_>) -> impl Iterator<Item = Entry> {
    let mut words = Words::of(packet.body);
    let extended = match packet.kind {
        xr::EXTENDED_REPORT => packet.body.split_first_chunk::<4>(),
        _ => None,
    };
    let extended = extended.map(|(from, body)| {
        let from = Ssrc(u32::from_be_bytes(*from));
        xr::blocks(body).map(move |block| Entry::Extended { from, block })
    });
    let reports = matches!(packet.kind, SENDER_REPORT | RECEIVER_REPORT);
    let from = if reports {
        words.next().map(Ssrc)
    } else {
        None
    };
    let sent = match (packet.kind, from) {
        (SENDER_REPORT, Some(from)) => read_sent(&mut words).map(|sent| Entry::Sent { from, sent }),
        _ => None,
    };
    let mut left = packet.count;
    let listed = std::iter::from_fn(move || {
        left = left.checked_sub(1)?;
        match (from, packet.kind) {
            (Some(from), _) => Block::read(&mut words).map(|block| Entry::Heard { from, block }),
            (None, GOODBYE) => words.next().map(|from| Entry::Bye { from: Ssrc(from) }),
            _ => None,
        }
    });
    let listed = sent.into_iter().chain(listed);
    listed.chain(extended.into_iter().flatten())
}

fn read_sent(words: &mut Words<'_>) -> Option<Sent> {
    let (whole, fraction) = (words.next()?, words.next()?);
    Some(Sent {
        ntp: Ntp(u64::from(whole) << 32 | u64::from(fraction)),
        timestamp: Timestamp(words.next()?),
        packets: words.next()?,
        octets: words.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block(source: u32) -> Block {
        Block {
            source: Ssrc(source),
            fraction_lost: 64,
            lost: -2,
            highest: 0x0001_0005,
            jitter: 48,
            last_sender_report: 0x2222_3333,
            delay: Duration::from_millis(1_500),
        }
    }

    fn sent() -> Sent {
        Sent {
            ntp: Ntp(0x1111_2222_3333_4444),
            timestamp: Timestamp(960),
            packets: 7,
            octets: 420,
        }
    }

    fn entries_of(report: Report<'_>) -> Vec<Entry> {
        let mut out = Vec::new();
        report.write(&mut out);
        read(&out).unwrap().collect()
    }

    #[test]
    fn a_sender_report_is_these_octets() {
        let mut out = vec![9; 3];
        let report = Report {
            ssrc: Ssrc(0xa),
            sent: Some(sent()),
            blocks: &[block(0xb)],
            cname: "wa",
            bye: true,
        };
        report.append(&mut out);
        let expected = [
            0x81, 200, 0, 12, 0, 0, 0, 0xa, // SR of 13 words
            0x11, 0x11, 0x22, 0x22, 0x33, 0x33, 0x44, 0x44, // NTP
            0, 0, 3, 0xc0, 0, 0, 0, 7, 0, 0, 1, 0xa4, // timestamp, packets, octets
            0, 0, 0, 0xb, 64, 0xff, 0xff, 0xfe, 0, 1, 0, 5, 0, 0, 0, 48, // block
            0x22, 0x22, 0x33, 0x33, 0, 1, 0x80, 0, // LSR, DLSR of 1.5 s
            0x81, 202, 0, 3, 0, 0, 0, 0xa, 1, 2, b'w', b'a', 0, 0, 0, 0, // SDES, CNAME
            0x81, 203, 0, 1, 0, 0, 0, 0xa, // BYE
        ];
        assert_eq!(out[..3], [9; 3], "what stands before is left alone");
        assert_eq!(out[3..], expected);
        report.write(&mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn what_is_written_is_read_back() {
        let (from, blocks) = (Ssrc(1), [block(2), block(3)]);
        let mut report = Report {
            ssrc: from,
            sent: Some(sent()),
            blocks: &blocks,
            cname: "c",
            bye: true,
        };
        let heard = blocks.map(|block| Entry::Heard { from, block });
        let all = [
            Entry::Sent { from, sent: sent() },
            heard[0],
            heard[1],
            Entry::Bye { from },
        ];
        assert_eq!(entries_of(report), all);
        report.sent = None;
        report.bye = false;
        assert_eq!(entries_of(report), heard, "a receiver report");
    }

    #[test]
    fn more_blocks_or_a_longer_name_than_fit_are_cut() {
        let blocks = [block(1); 40];
        let name = "x".repeat(300);
        let report = Report {
            ssrc: Ssrc(1),
            sent: None,
            blocks: &blocks,
            cname: &name,
            bye: false,
        };
        assert_eq!(entries_of(report).len(), 31);
    }

    #[test]
    fn the_round_trip_is_that_of_the_example_in_rfc_3550() {
        // §6.4.1, figure 2: A = 0xb710:8000, LSR = 0xb705:2000, DLSR = 0x0005:4000, so 6.125 s.
        let mut block = block(1);
        block.last_sender_report = 0xb705_2000;
        block.delay = Duration::from_secs_f64(5.25);
        let arrival = Ntp(0xb710_8000 << 16);
        assert_eq!(
            block.round_trip(arrival),
            Some(Duration::from_secs_f64(6.125))
        );
        block.last_sender_report = 0;
        assert_eq!(
            block.round_trip(arrival),
            None,
            "the peer had no report of ours yet"
        );
        block.last_sender_report = 0xb710_9000;
        assert_eq!(block.round_trip(arrival), None, "from the future");
    }

    #[test]
    fn the_wall_clock_counts_from_1900_and_follows_the_monotonic_clock() {
        let start = Instant::now();
        let clock = WallClock::new(start, Duration::from_millis(1_500));
        assert_eq!(clock.ntp(start), Ntp(2_208_988_801 << 32 | 1 << 31));
        assert_eq!(
            clock.ntp(start + Duration::from_millis(250)).0 - clock.ntp(start).0,
            1 << 30
        );
    }

    #[test]
    fn packets_that_do_not_fill_the_datagram_are_refused() {
        let mut out = Vec::new();
        Report {
            ssrc: Ssrc(1),
            sent: None,
            blocks: &[],
            cname: "c",
            bye: false,
        }
        .write(&mut out);
        for len in (0..out.len()).filter(|len| *len != 8) {
            assert!(read(&out[..len]).is_err(), "{len} octets");
        }
        out[0] = 0x40;
        assert!(read(&out).is_err(), "version 1");
    }

    #[test]
    fn unknown_packets_are_read_over_and_false_counts_end_with_their_packet() {
        let bytes = [
            0x80, 206, 0, 1, 1, 2, 3, 4, // feedback, which we do not read
            0x9f, 203, 0, 1, 0, 0, 0, 5, // BYE that counts 31 sources and has one
            0x9f, 201, 0, 1, 0, 0, 0, 6, // RR that counts 31 blocks and has none
        ];
        let entries: Vec<_> = read(&bytes).unwrap().collect();
        assert_eq!(entries, [Entry::Bye { from: Ssrc(5) }]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(mut bytes: Vec<u8>, kind in 195u8..210, words in 0u8..20) {
            if let Some(header) = bytes.first_chunk_mut::<4>() {
                *header = [header[0] & 0x3f | 0x80, kind, 0, words];
            }
            if let Ok(entries) = read(&bytes) {
                let count = entries.inspect(|entry| {
                    if let Entry::Heard { block, .. } = entry {
                        let _ = block.round_trip(Ntp(0x1234_5678_9abc_def0));
                    }
                }).count();
                prop_assert!(count <= bytes.len() / 4);
            }
        }
    }
}
