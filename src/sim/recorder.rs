//! Keeps what a phone hears, and puts it on a real time line in the end: each packet where its timestamp says, silence where
//! none came.
//!
//! ```text
//!   arrived      0 1   2  4 3      6        the fastest of them says where the stream stands in time,
//!   recorded  0──1──2──3──4──░░──6──        its clock where each packet stands in the stream
//! ```
//!
//! A stream that falls behind its own clock, or leaps ahead of it, stands elsewhere from then on, as a phone would play it.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use super::wav::Wav;
use crate::media::Codec;
use crate::media::rtp::{Packet, Seq, Ssrc, Timestamp};
use crate::media::sound::{Decode, Decoder};

/// Packets and octets that are kept: some minutes of sound.
const MOST_PACKETS: usize = 60_000;
const MOST_OCTETS: usize = 16 << 20;

/// The longest recording.
const MOST: Duration = Duration::from_secs(1_200);

/// How late a packet may come for its place in the stream, in seconds, and how early: what a phone's buffer makes good for.
const TOLERATED: f64 = 0.1;

/// Collects packets of sound.
#[derive(Debug, Default)]
pub struct Recorder {
    packets: Vec<Kept>,
    octets: usize,
}

#[derive(Debug)]
struct Kept {
    at: Instant,
    ssrc: Ssrc,
    seq: Seq,
    timestamp: Timestamp,
    payload: Vec<u8>,
}

/// A recording, and when it began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// The time of its first sample.
    pub from: Instant,
    /// How late the latest packets came for where they stand, but one in a hundred: so long a phone must wait with all.
    pub late: Duration,
    /// The sound, at the codec's rate.
    pub wav: Wav,
}

impl Recorder {
    /// Keeps a packet that came now.
    pub fn take(&mut self, packet: &Packet<'_>, now: Instant) {
        let payload = packet.payload();
        if self.packets.len() >= MOST_PACKETS || self.octets + payload.len() > MOST_OCTETS {
            return;
        }
        self.octets += payload.len();
        self.packets.push(Kept {
            at: now,
            ssrc: packet.ssrc(),
            seq: packet.seq(),
            timestamp: packet.timestamp(),
            payload: payload.to_vec(),
        });
    }

    /// Decodes it all. `None`: there was nothing that could be.
    pub fn recorded(&self, codec: Codec) -> Option<Recorded> {
        let base = self.packets.iter().map(|kept| kept.at).min()?;
        let clock = f64::from(codec.clock_rate());
        let streams = self.streams(base, clock);
        let first = streams.iter().map(|stream| stream.begins(clock));
        let from = first.reduce(f64::min)?;
        let mut wav = Wav {
            rate: codec.sample_rate(),
            samples: Vec::new(),
        };
        let mut decoders = HashMap::new();
        for stream in &streams {
            let decoder = match decoders.entry(stream.ssrc.0) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => new.insert(Decoder::new(codec, wav.rate).ok()?),
            };
            stream.play(decoder, codec, from, &mut wav);
        }
        let moved = Duration::try_from_secs_f64(from.abs()).ok()?;
        let from = match from < 0.0 {
            true => base.checked_sub(moved)?,
            false => base + moved,
        };
        let late = late(&streams, clock);
        Some(Recorded { from, late, wav })
    }

    /// What each source sent, and where that stands in time; a new one where its clock has stood still or leapt.
    fn streams(&self, base: Instant, clock: f64) -> Vec<Stream<'_>> {
        let mut streams: Vec<Stream<'_>> = Vec::new();
        for kept in &self.packets {
            let arrived = (kept.at - base).as_secs_f64();
            let of_source = |stream: &&mut Stream<'_>| stream.ssrc == kept.ssrc;
            let last = streams.iter_mut().rfind(of_source);
            if last.is_none_or(|stream| !stream.add(kept, arrived, clock)) {
                streams.push(Stream::new(kept, arrived));
            }
        }
        streams
    }
}

/// How late all packets but one in a hundred came, or earlier.
fn late(streams: &[Stream<'_>], clock: f64) -> Duration {
    let all = streams.iter().flat_map(|stream| {
        let late =
            |packet: &Placed<'_>| packet.arrived - stream.origin - packet.units as f64 / clock;
        stream.packets.values().map(late)
    });
    let mut all: Vec<f64> = all.collect();
    all.sort_unstable_by(f64::total_cmp);
    let most = all.get(all.len() * 99 / 100).copied().unwrap_or_default();
    Duration::try_from_secs_f64(most).unwrap_or_default()
}

/// A packet in its stream.
struct Placed<'a> {
    /// Its timestamp, without wrap, counted from the first.
    units: i64,
    /// In seconds from a common origin.
    arrived: f64,
    payload: &'a [u8],
}

/// The packets of one source in order.
struct Stream<'a> {
    ssrc: Ssrc,
    /// When its first packet would have come had it been as fast as the fastest: seconds from a common origin.
    origin: f64,
    /// The newest packet: sequence number and timestamp, both without wrap, counted from the first.
    newest: (Seq, i64, Timestamp, i64),
    /// By sequence number.
    packets: BTreeMap<i64, Placed<'a>>,
}

impl<'a> Stream<'a> {
    fn new(kept: &'a Kept, arrived: f64) -> Stream<'a> {
        let first = Placed {
            units: 0,
            arrived,
            payload: &kept.payload,
        };
        Stream {
            ssrc: kept.ssrc,
            origin: arrived,
            newest: (kept.seq, 0, kept.timestamp, 0),
            packets: BTreeMap::from([(0, first)]),
        }
    }

    /// Takes one more packet, unless it comes too late or too early to stand here.
    fn add(&mut self, kept: &'a Kept, arrived: f64, clock: f64) -> bool {
        let (seq, nth, timestamp, units) = self.newest;
        let nth = nth + i64::from(kept.seq.since(seq));
        let units = units + i64::from(kept.timestamp.since(timestamp));
        let origin = arrived - units as f64 / clock;
        if (origin - self.origin).abs() > TOLERATED {
            return false;
        }
        if nth > self.newest.1 {
            self.newest = (kept.seq, nth, kept.timestamp, units);
        }
        self.origin = self.origin.min(origin);
        self.packets.entry(nth).or_insert(Placed {
            units,
            arrived,
            payload: &kept.payload,
        });
        true
    }

    /// When its earliest packet was.
    fn begins(&self, clock: f64) -> f64 {
        let earliest = self.packets.values().map(|packet| packet.units).min();
        self.origin + earliest.unwrap_or_default() as f64 / clock
    }

    /// Writes it where it belongs in a recording that begins at `from`.
    fn play(&self, decoder: &mut Decoder, codec: Codec, from: f64, wav: &mut Wav) {
        let rate = i64::from(wav.rate);
        let start = ((self.origin - from) * rate as f64).round() as i64;
        let longest = MOST.as_secs() as usize * wav.rate as usize;
        let mut samples = Vec::new();
        for Placed { units, payload, .. } in self.packets.values() {
            samples.clear();
            let place = start + units * rate / i64::from(codec.clock_rate());
            let (Ok(()), Ok(place)) = (
                decoder.decode(payload, &mut samples),
                usize::try_from(place),
            ) else {
                continue;
            };
            let end = place + samples.len();
            if end > longest {
                continue;
            }
            if wav.samples.len() < end {
                wav.samples.resize(end, 0);
            }
            if let Some(there) = wav.samples.get_mut(place..end) {
                there.copy_from_slice(&samples);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::Header;

    const MS: Duration = Duration::from_millis(1);

    /// Gives packet `nth` of a source, 20 ms of one level each, `at` milliseconds after the beginning.
    fn hears(recorder: &mut Recorder, ssrc: u32, nth: u16, at: u32, start: Instant) {
        let header = Header {
            marker: false,
            payload_type: 8,
            seq: Seq(nth.wrapping_sub(3)),
            timestamp: Timestamp((u32::from(nth) * 160).wrapping_sub(400)),
            ssrc: Ssrc(ssrc),
        };
        let mut bytes = Vec::new();
        // A-law: 0xd5 is silence, 0x80 the loudest of the positive half after 0xaa.
        let level = if nth.is_multiple_of(2) { 0xaa } else { 0x80 };
        header.write(&[level; 160], &mut bytes);
        recorder.take(&Packet::parse(&bytes).unwrap(), start + MS * at);
    }

    /// What was recorded, in tenths of a packet: silence, a level, or the other.
    fn told(recorder: &Recorder) -> (Instant, Vec<i16>) {
        let recorded = recorder.recorded(Codec::Pcma).unwrap();
        let tenths = recorded.wav.samples.chunks(16).map(|tenth| tenth[8]);
        (recorded.from, tenths.collect())
    }

    #[test]
    fn packets_stand_where_their_timestamps_say_in_whatever_order_they_come_and_gaps_stay_gaps() {
        let start = Instant::now();
        let mut recorder = Recorder::default();
        for (nth, at) in [(0, 35), (2, 60), (1, 61), (2, 62), (5, 100), (6, 125)] {
            hears(&mut recorder, 1, nth, at, start);
        }
        let (from, tenths) = told(&recorder);
        // The fastest was packet 5, which came when packet 0 would have come at 0.
        assert_eq!(from, start);
        let (even, odd) = (tenths[0], tenths[10]);
        assert!(even != 0 && odd != 0 && even != odd);
        let each = [even, odd, even, 0, 0, odd, even];
        assert_eq!(tenths, each.map(|level| [level; 10]).concat());
    }

    #[test]
    fn how_late_packets_come_for_their_places_is_told() {
        let start = Instant::now();
        let mut recorder = Recorder::default();
        for nth in 0..200 {
            let late = if nth % 10 == 9 { 35 } else { 5 };
            hears(&mut recorder, 1, nth, u32::from(nth) * 20 + late, start);
        }
        let recorded = recorder.recorded(Codec::Pcma).unwrap();
        assert!(recorded.late.abs_diff(MS * 30) < MS / 10, "{recorded:?}");
    }

    #[test]
    fn a_stream_whose_clock_stands_still_at_every_loss_falls_behind_and_is_heard_later() {
        let start = Instant::now();
        let mut recorder = Recorder::default();
        (0..10).for_each(|nth| hears(&mut recorder, 1, nth, u32::from(nth) * 20, start));
        // 120 ms are missing, and neither its numbers nor its timestamps tell.
        (10..20).for_each(|nth| hears(&mut recorder, 1, nth, u32::from(nth) * 20 + 120, start));
        let (_, tenths) = told(&recorder);
        assert_eq!(tenths.len(), 260);
        assert_eq!(tenths[100..160], [0; 60]);
        assert!(
            tenths[..100]
                .iter()
                .chain(&tenths[160..])
                .all(|level| *level != 0)
        );
    }

    #[test]
    fn a_stream_whose_clock_leaps_stands_where_it_came() {
        let start = Instant::now();
        let mut recorder = Recorder::default();
        (0..10).for_each(|nth| hears(&mut recorder, 1, nth, u32::from(nth) * 20, start));
        // Its timestamps say that 600 ms have passed.
        (40..50).for_each(|nth| hears(&mut recorder, 1, nth, u32::from(nth) * 20 - 600, start));
        let (_, tenths) = told(&recorder);
        assert_eq!(tenths.len(), 200);
        assert!(tenths.iter().all(|level| *level != 0));
    }

    #[test]
    fn another_source_has_its_own_place_in_time() {
        let start = Instant::now();
        let mut recorder = Recorder::default();
        hears(&mut recorder, 1, 0, 10, start);
        hears(&mut recorder, 2, 40, 44, start);
        let (from, tenths) = told(&recorder);
        assert_eq!(from, start + MS * 10);
        assert_eq!(tenths.len(), 27);
        assert_eq!(tenths[10..17], [0; 7]);
        assert!(tenths[17..].iter().all(|level| *level == tenths[0]));
    }

    #[test]
    fn nothing_heard_is_no_recording() {
        assert_eq!(Recorder::default().recorded(Codec::Pcma), None);
    }
}
