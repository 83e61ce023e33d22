//! What crosses the wires of a session, in clear: the newest of it, for whoever looks into a call.
//!
//! ```text
//!   Tape, on the worker:   chunk ▶ chunk ▶ chunk ◀─ written to     when it is full, the oldest is used again
//!                            └───────┴─ shared ─▶ Recording, for whoever asks
//! ```
//!
//! Only a session that was told to ([`Handle::record`](super::Handle::record)) has one. Nothing is written to a full chunk
//! while somebody reads it, so whoever reads takes no lock, and of the worker's time the copy of one chunk.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::outbox::Socket;
use crate::leg::Leg;

/// Octets of a chunk. The largest datagram fits into one.
const CHUNK: usize = 96 * 1024;
/// Octets for each second that is kept: 50 packets of Opus in each direction of both legs at 64 kbit/s.
const SECOND: usize = 48 * 1024;
/// What stands before each packet: when, what, the peer's address and port, how long.
const HEADER: usize = 8 + 1 + 16 + 2 + 2;
/// What it is, bit by bit.
const OF_PBX: u8 = 1;
const SENT: u8 = 2;
const AT_RTCP: u8 = 4;

/// How much of a session is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Length {
    /// Times count from here.
    pub base: Instant,
    /// Seconds, counted back from the newest packet.
    pub seconds: u16,
}

impl Length {
    /// Most octets of memory that so many seconds take, whatever the peers send.
    pub fn octets(seconds: u16) -> usize {
        Length::chunks(seconds) * CHUNK
    }

    /// One more than there must be room for, because the oldest goes as a whole.
    fn chunks(seconds: u16) -> usize {
        (usize::from(seconds) * SECOND).div_ceil(CHUNK) + 1
    }
}

/// Where a session listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) meta: SocketAddr,
    /// Towards Meta on the other version of IP; the same where there is none.
    pub(crate) meta_ipv6: SocketAddr,
    pub(crate) pbx: SocketAddr,
    pub(crate) pbx_rtcp: SocketAddr,
}

/// What a session is recorded on.
pub(crate) struct Tape {
    length: Length,
    /// Of what is written from now on.
    ends: Ends,
    /// Oldest first; the last is written to, and nobody else's.
    chunks: VecDeque<Arc<Chunk>>,
}

/// Packets, each behind its header.
#[derive(Clone)]
struct Chunk {
    ends: Ends,
    octets: Vec<u8>,
    /// When the newest of them crossed the wire.
    newest: Duration,
}

/// What was on a tape when somebody asked for it.
#[derive(Clone)]
pub struct Recording {
    length: Length,
    chunks: Vec<Arc<Chunk>>,
}

/// RTP or RTCP that crossed a wire, in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crossed<'a> {
    /// When, counted from [`Length::base`].
    pub after: Duration,
    /// Whose wire.
    pub leg: Leg,
    /// Whether we sent it.
    pub sent: bool,
    /// Our end.
    pub local: SocketAddr,
    /// The peer's end.
    pub remote: SocketAddr,
    /// The packet.
    pub octets: &'a [u8],
}

/// One of the packets that a session wants written down.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crossing<'a> {
    pub(crate) leg: Leg,
    pub(crate) socket: Socket,
    pub(crate) sent: bool,
    pub(crate) remote: SocketAddr,
    pub(crate) octets: &'a [u8],
}

impl Tape {
    /// A tape with nothing on it.
    pub(crate) fn new(length: Length, ends: Ends) -> Tape {
        Tape {
            length,
            ends,
            chunks: VecDeque::with_capacity(Length::chunks(length.seconds)),
        }
    }

    /// From now on the PBX's side listens there.
    pub(crate) fn face(&mut self, pbx: SocketAddr, pbx_rtcp: SocketAddr) {
        self.ends = Ends {
            pbx,
            pbx_rtcp,
            ..self.ends
        };
    }

    /// Adds a packet; what is oldest makes room.
    pub(crate) fn write(&mut self, crossing: &Crossing<'_>, at: Instant) {
        let Ok(length) = u16::try_from(crossing.octets.len()) else {
            return;
        };
        let after = at.saturating_duration_since(self.length.base);
        let Some(chunk) = self.room_for(HEADER + crossing.octets.len(), after) else {
            return;
        };
        let nanos = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX);
        let ip = match crossing.remote.ip() {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let octets = &mut chunk.octets;
        octets.extend_from_slice(&nanos.to_be_bytes());
        octets.push(crossing.flags());
        octets.extend_from_slice(&ip.octets());
        octets.extend_from_slice(&crossing.remote.port().to_be_bytes());
        octets.extend_from_slice(&length.to_be_bytes());
        octets.extend_from_slice(crossing.octets);
        chunk.newest = chunk.newest.max(after);
    }

    /// What is on it now.
    pub(crate) fn read(&self) -> Recording {
        let mut chunks: Vec<_> = self.chunks.iter().cloned().collect();
        // That which is written to goes on being ours alone.
        if let Some(last) = chunks.last_mut() {
            *last = Arc::new(Chunk::clone(last));
        }
        Recording {
            length: self.length,
            chunks,
        }
    }

    /// All of it, once nothing is added any more.
    pub(crate) fn end(self) -> Recording {
        Recording {
            length: self.length,
            chunks: self.chunks.into(),
        }
    }

    /// The chunk to write so many octets to.
    fn room_for(&mut self, octets: usize, now: Duration) -> Option<&mut Chunk> {
        let fits =
            |chunk: &Arc<Chunk>| chunk.ends == self.ends && chunk.octets.len() + octets <= CHUNK;
        if !self.chunks.back().is_some_and(fits) {
            let chunk = self.another(now);
            self.chunks.push_back(chunk);
        }
        Arc::get_mut(self.chunks.back_mut()?)
    }

    /// The oldest chunk, if there is no room for more or it is too old, and nobody reads it; else a new one.
    fn another(&mut self, now: Duration) -> Arc<Chunk> {
        let is_full = self.chunks.len() >= Length::chunks(self.length.seconds);
        let time = Duration::from_secs(self.length.seconds.into());
        let goes = |oldest: &Arc<Chunk>| is_full || oldest.newest + time < now;
        if self.chunks.front().is_some_and(goes)
            && let Some(mut oldest) = self.chunks.pop_front()
            && let Some(chunk) = Arc::get_mut(&mut oldest)
        {
            chunk.ends = self.ends;
            chunk.octets.clear();
            chunk.newest = Duration::ZERO;
            return oldest;
        }
        Arc::new(Chunk {
            ends: self.ends,
            octets: Vec::with_capacity(CHUNK),
            newest: Duration::ZERO,
        })
    }
}

impl Crossing<'_> {
    fn flags(&self) -> u8 {
        let of_pbx = u8::from(self.leg == Leg::Pbx) * OF_PBX;
        let at_rtcp = u8::from(self.socket == Socket::Rtcp) * AT_RTCP;
        let sent = u8::from(self.sent) * SENT;
        of_pbx | at_rtcp | sent
    }
}

impl Recording {
    /// Octets of memory that it takes.
    pub fn octets(&self) -> usize {
        self.chunks.len() * CHUNK
    }

    /// One of that size, with nothing in it.
    #[cfg(test)]
    pub(crate) fn of(octets: usize) -> Recording {
        let nowhere = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
        let chunk = Arc::new(Chunk {
            ends: Ends {
                meta: nowhere,
                meta_ipv6: nowhere,
                pbx: nowhere,
                pbx_rtcp: nowhere,
            },
            octets: Vec::new(),
            newest: Duration::ZERO,
        });
        Recording {
            length: Length {
                base: Instant::now(),
                seconds: 1,
            },
            chunks: vec![chunk; octets.div_ceil(CHUNK)],
        }
    }

    /// The packets, in the order in which they were written down: what waited for its turn has its true time.
    pub fn packets(&self) -> impl Iterator<Item = Crossed<'_>> {
        let newest = self.chunks.iter().map(|chunk| chunk.newest).max();
        let time = Duration::from_secs(self.length.seconds.into());
        let oldest = newest.unwrap_or_default().saturating_sub(time);
        let packets = self.chunks.iter().flat_map(|chunk| {
            let mut rest = &chunk.octets[..];
            std::iter::from_fn(move || {
                let packet;
                (packet, rest) = chunk.ends.first(rest)?;
                Some(packet)
            })
        });
        packets.filter(move |packet| packet.after >= oldest)
    }
}

impl Ends {
    /// The first packet of a chunk, and what follows it.
    fn first<'a>(&self, octets: &'a [u8]) -> Option<(Crossed<'a>, &'a [u8])> {
        let (nanos, octets) = octets.split_first_chunk()?;
        let (flags, octets) = octets.split_first()?;
        let (ip, octets) = octets.split_first_chunk::<16>()?;
        let (port, octets) = octets.split_first_chunk()?;
        let (length, octets) = octets.split_first_chunk()?;
        let (packet, rest) = octets.split_at_checked(u16::from_be_bytes(*length).into())?;
        let ip = Ipv6Addr::from(*ip).to_canonical();
        let leg = match flags & OF_PBX {
            0 => Leg::Meta,
            _ => Leg::Pbx,
        };
        let local = match (leg, flags & AT_RTCP) {
            (Leg::Meta, _) if ip.is_ipv6() => self.meta_ipv6,
            (Leg::Meta, _) => self.meta,
            (Leg::Pbx, 0) => self.pbx,
            (Leg::Pbx, _) => self.pbx_rtcp,
        };
        let crossed = Crossed {
            after: Duration::from_nanos(u64::from_be_bytes(*nanos)),
            leg,
            sent: flags & SENT != 0,
            local,
            remote: SocketAddr::new(ip, u16::from_be_bytes(*port)),
            octets: packet,
        };
        Some((crossed, rest))
    }
}

impl std::fmt::Debug for Recording {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Recording({} octets)", self.octets())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn ends() -> Ends {
        Ends {
            meta: at("192.0.2.1:20000"),
            meta_ipv6: at("[2001:db8::1]:20002"),
            pbx: at("192.0.2.1:20004"),
            pbx_rtcp: at("192.0.2.1:20005"),
        }
    }

    fn tape(seconds: u16) -> (Tape, Instant) {
        let base = Instant::now();
        (Tape::new(Length { base, seconds }, ends()), base)
    }

    fn heard(octets: &[u8]) -> Crossing<'_> {
        Crossing {
            leg: Leg::Meta,
            socket: Socket::Rtp,
            sent: false,
            remote: at("198.51.100.1:3480"),
            octets,
        }
    }

    #[test]
    fn what_crossed_each_wire_is_read_with_its_time_and_its_two_ends() {
        let (mut tape, base) = tape(10);
        let crossings = [
            (Leg::Meta, Socket::Rtp, false, "198.51.100.1:3480"),
            (Leg::Meta, Socket::Rtp, true, "[2001:db8::2]:3480"),
            (Leg::Pbx, Socket::Rtp, true, "192.0.2.8:4000"),
            (Leg::Pbx, Socket::Rtcp, false, "192.0.2.8:4001"),
        ];
        for (number, (leg, socket, sent, remote)) in (1..).zip(crossings) {
            let octets = &vec![number; usize::from(number)];
            let crossing = Crossing {
                leg,
                socket,
                sent,
                remote: at(remote),
                octets,
            };
            tape.write(&crossing, base + Duration::from_millis(number.into()));
        }
        let recording = tape.end();
        let read: Vec<_> = recording.packets().collect();
        let locals = [ends().meta, ends().meta_ipv6, ends().pbx, ends().pbx_rtcp];
        assert_eq!(read.len(), crossings.len());
        for (number, (packet, (leg, _, sent, remote))) in (1..).zip(read.iter().zip(crossings)) {
            let octets = &vec![number; usize::from(number)][..];
            let expected = Crossed {
                after: Duration::from_millis(number.into()),
                leg,
                sent,
                local: locals[usize::from(number) - 1],
                remote: at(remote),
                octets,
            };
            assert_eq!(*packet, expected);
        }
    }

    #[test]
    fn what_was_written_before_the_pbx_had_another_address_of_ours_keeps_the_old_one() {
        let (mut tape, base) = tape(10);
        let crossing = Crossing {
            leg: Leg::Pbx,
            ..heard(b"x")
        };
        tape.write(&crossing, base);
        let moved = at("198.51.100.9:30000");
        tape.face(moved, at("198.51.100.9:30001"));
        tape.write(&crossing, base);
        tape.write(&heard(b"y"), base);
        let recording = tape.end();
        let locals: Vec<_> = recording.packets().map(|packet| packet.local).collect();
        assert_eq!(locals, [ends().pbx, moved, ends().meta]);
    }

    #[test]
    fn neither_many_packets_nor_large_ones_take_more_memory_than_there_is_for_a_call() {
        for size in [0, 1, 172, 1_400, 65_507] {
            let (mut tape, base) = tape(2);
            let most = Length::octets(2);
            let packet = vec![7; size];
            for number in 0..20_000 {
                tape.write(&heard(&packet), base + Duration::from_micros(number));
            }
            let taken: usize = tape
                .chunks
                .iter()
                .map(|chunk| chunk.octets.capacity())
                .sum();
            assert!(taken <= most, "{size}: {taken} of {most}");
            let recording = tape.end();
            assert!(recording.octets() <= most);
            let times: Vec<_> = recording.packets().map(|p| p.after.as_micros()).collect();
            let first = 20_000 - times.len() as u128;
            assert_eq!(
                times,
                (first..20_000).collect::<Vec<_>>(),
                "the newest, whole"
            );
            assert!(times.len() * (HEADER + size) >= most / 2 - CHUNK, "{size}");
        }
    }

    #[test]
    fn what_is_older_than_the_newest_by_more_than_the_settings_say_is_not_read() {
        let (mut tape, base) = tape(2);
        for tenth in 0..=50 {
            tape.write(&heard(b"x"), base + Duration::from_millis(100) * tenth);
        }
        let recording = tape.read();
        let times: Vec<_> = recording.packets().map(|p| p.after.as_millis()).collect();
        assert_eq!((times.len(), times[0], times[20]), (21, 3_000, 5_000));
    }

    #[test]
    fn a_second_of_the_largest_packets_of_sound_fits_into_a_second() {
        let (mut tape, base) = tape(5);
        let packet = vec![0; 12 + 160];
        let step = Duration::from_millis(5);
        for number in 0..2_000 {
            tape.write(&heard(&packet), base + step * number);
        }
        assert_eq!(tape.end().packets().count(), 1_001, "five seconds of ten");
    }

    #[test]
    fn what_somebody_reads_stays_as_it_was_while_the_tape_goes_on() {
        let (mut tape, base) = tape(1);
        let packet = vec![1; 1_000];
        let write = |tape: &mut Tape, from: u64, to: u64| {
            for number in from..to {
                tape.write(&heard(&packet), base + Duration::from_micros(number));
            }
        };
        write(&mut tape, 0, 150);
        let early = tape.read();
        write(&mut tape, 150, 1_000);
        let times: Vec<_> = early.packets().map(|p| p.after.as_micros()).collect();
        assert_eq!(times, (0..150).collect::<Vec<_>>());
        assert!(tape.chunks.len() <= Length::chunks(1));
        assert_eq!(tape.end().packets().last().unwrap().after.as_micros(), 999);
    }
}
