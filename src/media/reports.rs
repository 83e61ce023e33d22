//! The reports of one side: what we sent, what we hear, and when the next one is due (RFC 3550 §6).

use std::time::{Duration, Instant};

use super::rtcp::{self, Entry, Reception, Report, Sent, WallClock};
use super::rtp::{Packet, Ssrc, Timestamp};
use super::{Reported, SideStats};

/// The clock of Opus, and of every event beside it.
const CLOCK_RATE: u32 = 48_000;
/// Reports without a packet of ours between them after which they are receiver reports (RFC 3550 §6.4).
const QUIET: u8 = 2;

/// Sender and receiver of RTCP on one side.
#[derive(Debug)]
pub(crate) struct Reports {
    ssrc: Ssrc,
    cname: String,
    wall: WallClock,
    interval: Duration,
    due: Option<Instant>,
    /// Packets and octets of payload that we sent.
    packets: u32,
    octets: u32,
    /// Reports since we last sent RTP.
    quiet: u8,
    /// The source that we hear now.
    reception: Option<Reception>,
    /// What sources before it lost.
    lost_before: u64,
    round_trip: Option<Duration>,
    /// What the peer said last of our stream.
    reported: Option<Reported>,
}

impl Reports {
    /// Nothing sent, nothing heard, nothing due. `interval` is the longest time between two reports.
    pub(crate) fn new(ssrc: Ssrc, interval: Duration, wall: WallClock) -> Reports {
        Reports {
            ssrc,
            cname: format!("wabridge-{ssrc}"),
            wall,
            interval,
            due: None,
            packets: 0,
            octets: 0,
            quiet: 0,
            reception: None,
            lost_before: 0,
            round_trip: None,
            reported: None,
        }
    }

    /// Reports may be sent from now on. The first comes early, so that both ends soon know the round trip.
    pub(crate) fn start(&mut self, now: Instant) {
        self.due = Some(now + self.interval / 10);
    }

    /// When the next report is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Counts a packet of ours.
    pub(crate) fn sent(&mut self, octets: usize) {
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
        self.quiet = 0;
    }

    /// Counts a packet of the peer. An event has no time of its own.
    pub(crate) fn heard(&mut self, packet: &Packet<'_>, audio: bool, now: Instant) {
        let known = self.reception.take().filter(|reception| {
            let same = reception.ssrc() == packet.ssrc();
            if !same {
                self.lost_before += reception.lost();
            }
            same
        });
        let start = || Reception::starting_with(packet.ssrc(), packet.seq(), CLOCK_RATE, now);
        let reception = self.reception.insert(known.unwrap_or_else(start));
        reception.received(packet.seq(), audio.then(|| packet.timestamp()), now);
    }

    /// Reads a compound packet of the peer; `false` if it is none.
    pub(crate) fn read(&mut self, packet: &[u8], now: Instant) -> bool {
        let Ok(entries) = rtcp::read(packet) else {
            return false;
        };
        for entry in entries {
            match entry {
                Entry::Sent { from, sent } => {
                    if let Some(reception) = self.reception.as_mut().filter(|r| r.ssrc() == from) {
                        reception.sender_report(sent.ntp, now);
                    }
                }
                Entry::Heard { block, .. } if block.source == self.ssrc => {
                    self.round_trip = block.round_trip(self.wall.ntp(now)).or(self.round_trip);
                    self.reported = Some(Reported {
                        // Below zero where more came twice than got lost.
                        lost: u64::try_from(block.lost).unwrap_or(0),
                        jitter_ms: f64::from(block.jitter) * 1000.0 / f64::from(CLOCK_RATE),
                    });
                }
                // A source that leaves may be followed by another (hold, transfer); the call ends by signalling.
                Entry::Heard { .. } | Entry::Bye { .. } => {}
            }
        }
        true
    }

    /// Makes `out` the report for now, and plans the next. `timestamp` is our stream's clock at `now`.
    pub(crate) fn write(
        &mut self,
        timestamp: Timestamp,
        bye: bool,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let speaking = self.packets > 0 && (bye || self.quiet < QUIET);
        self.quiet = self.quiet.saturating_add(1);
        let sent = speaking.then(|| Sent {
            ntp: self.wall.ntp(now),
            timestamp,
            packets: self.packets,
            octets: self.octets,
        });
        let block = self
            .reception
            .as_mut()
            .map(|reception| reception.report(now));
        Report {
            ssrc: self.ssrc,
            sent,
            blocks: block.as_slice(),
            cname: &self.cname,
            bye,
        }
        .write(out);
        // Somewhat early, since it may be sent somewhat late.
        self.due = Some(now + self.interval * 9 / 10);
    }

    /// Adds what reports know to what was counted.
    pub(crate) fn fill(&self, stats: &mut SideStats) {
        let reception = self.reception.as_ref();
        stats.lost = self.lost_before + reception.map_or(0, Reception::lost);
        stats.jitter_ms = reception.map_or(0.0, |r| r.jitter().as_secs_f64() * 1000.0);
        stats.round_trip_ms = self.round_trip.map(|trip| trip.as_secs_f64() * 1000.0);
        stats.reported = self.reported;
    }
}
