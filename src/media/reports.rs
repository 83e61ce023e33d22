//! The reports of one side: what we sent, what we hear, and when the next one is due (RFC 3550 §6).

use std::time::{Duration, Instant};

use super::buffered::Buffered;
use super::extended::{self, Extended};
use super::heard::{Heard, Numbers};
use super::intervals::{Conditions, Counts, INTERVAL, Judge, Measured, Way};
use super::losses::Losses;
use super::quality::Coding;
use super::rtcp::{self, Entry, Reception, Report, Sent, WallClock};
use super::rtp::{Packet, Seq, Ssrc, Timestamp};
use super::settings::Timing;
use super::xr::Wanted;
use super::{Codec, Reported, SideStats};

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
    /// When the next interval ends, and what score is bad then.
    judged: Option<Instant>,
    bad_mos: f64,
    judges: [Judge; 2],
    extended: Extended,
    /// The sound that the peer sent last, and that it was sent last.
    codecs: [Option<Codec>; 2],
    /// Packets and octets of payload that we sent, and the numbers of the packets.
    numbers: Numbers,
    packets: u32,
    octets: u32,
    /// Reports since we last sent RTP.
    quiet: u8,
    /// Packets of the peer.
    received: u64,
    /// The source that we hear now.
    reception: Option<Reception>,
    /// What sources before it lost.
    lost_before: u64,
    /// What becomes of what we hear.
    buffered: Buffered,
    round_trip: Option<Duration>,
    /// What the peer said last of our stream.
    reported: Option<Reported>,
    /// What it said so far, and what that lets us expect.
    theirs: Heard,
    losses: Losses,
}

impl Reports {
    /// Nothing sent, nothing heard, nothing due.
    pub(crate) fn new(ssrc: Ssrc, timing: &Timing, wall: WallClock) -> Reports {
        Reports {
            ssrc,
            cname: format!("wabridge-{ssrc}"),
            wall,
            interval: timing.report,
            due: None,
            judged: None,
            bad_mos: timing.bad_mos,
            judges: Default::default(),
            extended: Extended::default(),
            codecs: [None; 2],
            numbers: Numbers::default(),
            packets: 0,
            octets: 0,
            quiet: 0,
            received: 0,
            reception: None,
            lost_before: 0,
            buffered: Buffered::default(),
            round_trip: None,
            reported: None,
            theirs: Heard::default(),
            losses: Losses::default(),
        }
    }

    /// The peer's SDP asks for these extended reports.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.extended.want(wanted);
    }

    /// Reports may be sent from now on. The first comes early, so that both ends soon know the round trip.
    pub(crate) fn start(&mut self, now: Instant) {
        self.due = Some(now + self.interval / 10);
        self.judged = Some(now + INTERVAL);
    }

    /// What our jitter buffer does with the peer's sound.
    pub(crate) fn note_buffer(&mut self, buffered: Buffered) {
        self.buffered = buffered;
    }

    /// When the next report is due.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// When the interval ends that is judged next.
    pub(crate) fn judged(&self) -> Option<Instant> {
        self.judged
    }

    /// Counts a packet of ours.
    pub(crate) fn sent(&mut self, seq: Seq, octets: usize, codec: Option<Codec>) {
        self.numbers.sent(seq);
        if let Some(codec) = codec.filter(|codec| codec.is_audio()) {
            self.codecs[Way::Out as usize] = Some(codec);
        }
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(octets as u32);
        self.quiet = 0;
    }

    /// Counts a packet of the peer. An event has no time of its own.
    pub(crate) fn heard(&mut self, packet: &Packet<'_>, codec: Codec, now: Instant) {
        self.received += 1;
        // In its place: it is too large to be moved for each packet.
        let ssrc = packet.ssrc();
        if let Some(before) = self.reception.take_if(|source| source.ssrc() != ssrc) {
            self.lost_before += before.lost();
        }
        let rate = codec.clock_rate();
        let start = || Reception::starting_with(ssrc, packet.seq(), rate, now);
        let reception = self.reception.get_or_insert_with(start);
        let audio = codec.is_audio();
        if audio {
            self.codecs[Way::In as usize] = Some(codec);
            reception.set_clock(rate);
        }
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
                    let clock_rate = self.codec(Way::Out).clock_rate();
                    let lost = i64::from(block.lost) - i64::from(self.numbers.skipped());
                    self.reported = Some(Reported {
                        // Below zero where more came twice than got lost.
                        lost: u64::try_from(lost).unwrap_or(0),
                        jitter_ms: f64::from(block.jitter) * 1000.0 / f64::from(clock_rate),
                    });
                    self.theirs.report(&block, &self.numbers);
                    self.losses.reported(self.theirs.counts());
                }
                Entry::Extended { from, block } => {
                    let told = self.extended.read(from, &block, self.ssrc, &self.wall, now);
                    self.round_trip = told.or(self.round_trip);
                }
                // A source that leaves may be followed by another (hold, transfer); the call ends by signalling.
                Entry::Heard { .. } | Entry::Bye { .. } => {}
            }
        }
        true
    }

    /// Adds the report for now to `out`, and plans the next. `timestamp` is our stream's clock at `now`.
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
        .append(out);
        // A BYE is the last packet of its source (RFC 3550 §6.1).
        if !bye {
            let [codec, sent] = Way::BOTH.map(|way| self.codec(way));
            let Counts { expected, .. } = self.ours();
            let side = extended::Side {
                ssrc: self.ssrc,
                wall: &self.wall,
                codec,
                sent,
                round_trip: self.round_trip,
                waiting: self.buffered.now,
                discarded: self.buffered.discarded as f64 / expected.max(1) as f64,
                reception: self.reception.as_mut(),
            };
            self.extended.write(side, now, out);
        }
        // Somewhat early, since it may be sent somewhat late.
        self.due = Some(now + self.interval * 9 / 10);
    }

    /// Ends an interval: what each direction was like in it, unless too little was sent to tell.
    pub(crate) fn judge(&mut self, now: Instant) -> [Option<Measured>; 2] {
        self.judged = Some(now + INTERVAL);
        Way::BOTH.map(|way| {
            let codec = self.codec(way);
            let (counts, coding, discarded, jitter_ms) = match way {
                Way::In => (self.ours(), Coding::of(codec), 0.0, self.jitter_ms()),
                Way::Out => (
                    self.theirs.counts(),
                    self.extended.coding(codec),
                    self.extended.discarded(),
                    self.reported.map_or(0.0, |reported| reported.jitter_ms),
                ),
            };
            let held = self.buffered.now.filter(|_| way == Way::In);
            let conditions = Conditions {
                coding,
                discarded,
                jitter_ms,
                buffered_ms: held.map(|held| held.delay.as_secs_f64() * 1000.0),
                round_trip_ms: self.round_trip_ms(),
            };
            self.judges[way as usize].judge(way, counts, &conditions, self.bad_mos)
        })
    }

    /// Percent of our packets that the peer is likely to lose, by what it has reported.
    pub(crate) fn likely_loss(&self) -> u8 {
        self.losses.likely()
    }

    /// Adds what reports know to what was counted.
    pub(crate) fn fill(&self, stats: &mut SideStats) {
        stats.lost = self.lost();
        stats.jitter_ms = self.jitter_ms();
        stats.round_trip_ms = self.round_trip_ms();
        stats.reported = self.reported;
        [stats.codec_in, stats.codec_out] = self.codecs;
        [stats.quality_in, stats.quality_out] =
            Way::BOTH.map(|way| self.judges[way as usize].quality());
    }

    /// What we heard of the peer's packets.
    fn ours(&self) -> Counts {
        let lost = self.lost();
        Counts {
            expected: self.received + lost,
            lost,
            late: self.buffered.discarded,
        }
    }

    fn lost(&self) -> u64 {
        self.lost_before + self.reception.as_ref().map_or(0, Reception::lost)
    }

    fn jitter_ms(&self) -> f64 {
        let jitter = self.reception.as_ref().map(Reception::jitter);
        jitter.unwrap_or_default().as_secs_f64() * 1000.0
    }

    fn round_trip_ms(&self) -> Option<f64> {
        self.round_trip.map(|trip| trip.as_secs_f64() * 1000.0)
    }

    /// What sound goes that way; of nothing yet, Meta's.
    fn codec(&self, way: Way) -> Codec {
        self.codecs[way as usize].unwrap_or(Codec::Opus)
    }
}
