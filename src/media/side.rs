//! One side of a session: what was agreed with the peer, what comes from it, and the one stream it hears from us.

use std::net::SocketAddr;
use std::time::Instant;

use super::codec::Codec;
use super::demux::Kind;
use super::outbox::{Outbox, Socket};
use super::peer::Peer;
use super::reports::Reports;
use super::rtcp::WallClock;
use super::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use super::settings::Timing;
use super::srtp::{self, KeyError, SrtpError};
use super::stream::{Arriving, Place, Stream};
use super::{Payload, SideSpec, SideStats};
use crate::leg::Leg;

/// 20 ms of silence as Opus: CELT, fullband, mono, one frame that says no more than "silent" (RFC 6716 §4.3).
const SILENCE: [u8; 3] = [0xf8, 0xff, 0xfe];
/// Octets that buffers begin with: a frame at twice the bit rate Meta wants, or a report. Others make them grow once.
const ROOM: usize = 256;
/// Octets of an event: code, flags and volume, duration (RFC 4733 §2.3).
const EVENT_LEN: usize = 4;

/// What a side draws by lot, so that nobody can guess it (RFC 3550 §5.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Lot {
    pub(crate) ssrc: u32,
    pub(crate) seq: u16,
    pub(crate) timestamp: u32,
}

impl Lot {
    /// Draws from the system's random numbers.
    pub(crate) fn draw() -> Result<Lot, getrandom::Error> {
        Ok(Lot {
            ssrc: getrandom::u32()?,
            seq: getrandom::u32()? as u16,
            timestamp: getrandom::u32()?,
        })
    }
}

/// One side of a session.
pub(crate) struct Side {
    leg: Leg,
    timing: Timing,
    agreed: Option<Agreed>,
    started: bool,
    ssrc: Ssrc,
    stream: Stream,
    reports: Reports,
    /// When RTP was last sent.
    sent: Option<Instant>,
    /// When the peer was last heard, or allowed to be sent to.
    heard: Option<Instant>,
    silence_told: bool,
    stats: SideStats,
    clear: Vec<u8>,
    written: Vec<u8>,
    sealed: Vec<u8>,
}

/// What holds from one agreement to the next.
struct Agreed {
    spec: SideSpec,
    peer: Peer,
    sender: Option<srtp::Sender>,
    receiver: Option<srtp::Receiver>,
}

/// RTP of the peer, opened and understood.
pub(crate) struct Heard<'a> {
    packet: Packet<'a>,
    codec: Codec,
}

/// Why a packet of one side went no further on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    /// The other side may not be sent to.
    HeldBack,
    /// The other side agreed to no such payload.
    NoPayload,
    /// It came before, or too late.
    Repeated,
}

impl Side {
    /// A side with which nothing is agreed yet.
    pub(crate) fn new(leg: Leg, timing: Timing, lot: Lot, wall: WallClock, now: Instant) -> Side {
        let ssrc = Ssrc(lot.ssrc);
        // RFC 3711 §3.3.1: below 2^15 the peer cannot mistake the rollover counter when the first packets are lost.
        let before = Seq(lot.seq & 0x7fff).plus(u16::MAX);
        Side {
            leg,
            timing,
            agreed: None,
            started: false,
            ssrc,
            stream: Stream::new(before, Timestamp(lot.timestamp), now),
            reports: Reports::new(ssrc, timing.report, wall),
            sent: None,
            heard: None,
            silence_told: false,
            stats: SideStats::default(),
            clear: Vec::with_capacity(ROOM),
            written: Vec::with_capacity(ROOM),
            sealed: Vec::with_capacity(ROOM),
        }
    }

    /// Takes over what signalling agreed. Contexts of unchanged keys and a learnt address live on: a key stream must
    /// not begin anew under the same key.
    pub(crate) fn agree(&mut self, spec: SideSpec) -> Result<(), KeyError> {
        let old = self.agreed.take();
        let (peer, sender, receiver) = match old {
            Some(old) if old.spec.keys == spec.keys => {
                let peer = if old.peer.is_still(&spec) {
                    old.peer
                } else {
                    Peer::new(&spec)
                };
                (peer, old.sender, old.receiver)
            }
            _ => {
                let keys = spec.keys.as_ref();
                let sender = keys
                    .map(|k| srtp::Sender::new(k.profile, &k.send))
                    .transpose()?;
                let receiver = keys
                    .map(|k| srtp::Receiver::new(k.profile, &k.receive))
                    .transpose()?;
                (Peer::new(&spec), sender, receiver)
            }
        };
        self.agreed = Some(Agreed {
            spec,
            peer,
            sender,
            receiver,
        });
        Ok(())
    }

    /// From now on the peer may be sent to, and is expected to be heard.
    pub(crate) fn start(&mut self, now: Instant) {
        if !self.started {
            self.started = true;
            self.heard = Some(now);
            self.reports.start(now);
        }
    }

    /// Takes a datagram; gives back what the other side should hear.
    pub(crate) fn receive<'a>(
        &'a mut self,
        socket: Socket,
        from: SocketAddr,
        datagram: &'a [u8],
        now: Instant,
    ) -> Option<Heard<'a>> {
        let Some(agreed) = self
            .agreed
            .as_mut()
            .filter(|agreed| agreed.peer.admits(socket, from))
        else {
            self.stats.strangers += 1;
            return None;
        };
        let kind = Kind::of(datagram);
        let opened = match kind {
            Kind::Rtp | Kind::Rtcp => agreed.open(kind, datagram, &mut self.clear),
            Kind::Stun | Kind::Dtls | Kind::Unknown => {
                self.stats.unusable += 1;
                return None;
            }
        };
        let Ok(clear) = opened else {
            self.stats.refused += 1;
            return None;
        };
        if kind == Kind::Rtcp {
            if self.reports.read(clear, now) {
                agreed.peer.learn(socket, from);
                self.heard = Some(now);
            } else {
                self.stats.unusable += 1;
            }
            return None;
        }
        let packet = Packet::parse(clear).ok();
        let heard = packet.and_then(|packet| {
            Some(Heard {
                codec: agreed.spec.codec(packet.payload_type())?,
                packet,
            })
        });
        if heard.is_some() {
            agreed.peer.learn(socket, from);
        }
        // What nobody agreed to (comfort noise, say) is of no use to the other side, but the peer is there.
        if agreed.peer.knows(socket, from) {
            self.heard = Some(now);
        }
        let Some(heard) = heard else {
            self.stats.unusable += 1;
            return None;
        };
        self.stats.received += 1;
        self.reports
            .heard(&heard.packet, heard.codec.is_audio(), now);
        agreed.spec.direction.receives().then_some(heard)
    }

    /// Sends on what was heard on the other side.
    pub(crate) fn forward(
        &mut self,
        heard: &Heard<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), Lost> {
        let Some(agreed) = self
            .agreed
            .as_ref()
            .filter(|agreed| self.started && agreed.may_send())
        else {
            self.stats.held_back += 1;
            return Err(Lost::HeldBack);
        };
        let payload = agreed.spec.payload(heard.codec).ok_or(Lost::NoPayload)?;
        let packet = &heard.packet;
        let arriving = Arriving {
            ssrc: packet.ssrc(),
            seq: packet.seq(),
            timestamp: packet.timestamp(),
            marker: packet.marker(),
            audio: heard.codec.is_audio(),
        };
        if payload.codec == heard.codec {
            let place = self.stream.place(&arriving, now).ok_or(Lost::Repeated)?;
            self.send(payload.number, place, packet.payload(), now, out);
        } else {
            let event =
                rescale(packet.payload(), heard.codec, payload.codec).ok_or(Lost::NoPayload)?;
            let place = self.stream.place(&arriving, now).ok_or(Lost::Repeated)?;
            self.send(payload.number, place, &event, now, out);
        }
        Ok(())
    }

    /// Counts what became of a packet of this side on the other.
    pub(crate) fn count(&mut self, lost: Lost) {
        match lost {
            Lost::HeldBack => {}
            Lost::NoPayload => self.stats.unusable += 1,
            Lost::Repeated => self.stats.repeated += 1,
        }
    }

    /// Counts a packet that the system would not send.
    pub(crate) fn unsent(&mut self) {
        self.stats.unsent += 1;
    }

    /// Does what is due: silence, reports, the news that the peer is silent.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        if self.comfort_due().is_some_and(|due| due <= now) {
            self.comfort(now, out);
        }
        if self.report_due().is_some_and(|due| due <= now) {
            self.reports
                .write(self.stream.timestamp(now), false, now, &mut self.written);
            self.send_rtcp(out);
        }
        if self.silence_due().is_some_and(|due| due <= now) {
            self.silence_told = true;
            out.silent(self.leg);
        }
    }

    /// When [`Side::tick`] is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.comfort_due(), self.report_due(), self.silence_due()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Tells the peer that our stream ends.
    pub(crate) fn bye(&mut self, now: Instant, out: &mut Outbox) {
        if self.started && self.sent.is_some() {
            self.reports
                .write(self.stream.timestamp(now), true, now, &mut self.written);
            self.send_rtcp(out);
        }
    }

    /// What this side carried.
    pub(crate) fn stats(&self) -> SideStats {
        let mut stats = self.stats.clone();
        self.reports.fill(&mut stats);
        stats
    }

    /// Only Meta ends a call for want of media, and only Meta has to hear us before it says anything.
    fn comfort_due(&self) -> Option<Instant> {
        let agreed = self.agreed.as_ref()?;
        let speaks = self.leg == Leg::Meta && self.started && agreed.may_send();
        (speaks && agreed.spec.payload(Codec::Opus).is_some()).then_some(())?;
        Some(
            self.sent
                .map_or(self.heard?, |sent| sent + self.timing.comfort),
        )
    }

    fn report_due(&self) -> Option<Instant> {
        self.agreed.as_ref().filter(|_| self.started)?.peer.rtcp()?;
        self.reports.due()
    }

    fn silence_due(&self) -> Option<Instant> {
        (self.started && !self.silence_told).then_some(self.heard? + self.timing.silence)
    }

    fn comfort(&mut self, now: Instant, out: &mut Outbox) {
        let payload = self
            .agreed
            .as_ref()
            .and_then(|agreed| agreed.spec.payload(Codec::Opus));
        if let Some(payload) = payload {
            let place = self.stream.insert(now);
            self.send(payload.number, place, &SILENCE, now, out);
            self.stats.silence_sent += 1;
        }
    }

    fn send(
        &mut self,
        payload_type: u8,
        place: Place,
        payload: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        let Place {
            seq,
            timestamp,
            marker,
        } = place;
        Header {
            marker,
            payload_type,
            seq,
            timestamp,
            ssrc: self.ssrc,
        }
        .write(payload, &mut self.written);
        let Some(agreed) = &mut self.agreed else {
            return;
        };
        let Some(to) = agreed.peer.rtp() else { return };
        match agreed.seal(Kind::Rtp, &self.written, &mut self.sealed) {
            Ok(packet) => out.send(self.leg, Socket::Rtp, to, packet),
            Err(_) => return self.stats.unsent += 1,
        }
        self.sent = Some(now);
        self.stats.sent += 1;
        self.reports.sent(payload.len());
    }

    /// Sends the report in `written`.
    fn send_rtcp(&mut self, out: &mut Outbox) {
        let Some(agreed) = &mut self.agreed else {
            return;
        };
        let Some((socket, to)) = agreed.peer.rtcp() else {
            return;
        };
        match agreed.seal(Kind::Rtcp, &self.written, &mut self.sealed) {
            Ok(packet) => out.send(self.leg, socket, to, packet),
            Err(_) => self.stats.unsent += 1,
        }
    }
}

impl Agreed {
    fn may_send(&self) -> bool {
        self.spec.direction.sends() && self.peer.rtp().is_some()
    }

    /// The packet in clear: as it came, or opened into `clear`.
    fn open<'a>(
        &mut self,
        kind: Kind,
        datagram: &'a [u8],
        clear: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SrtpError> {
        match (&mut self.receiver, kind) {
            (None, _) => return Ok(datagram),
            (Some(receiver), Kind::Rtcp) => receiver.unprotect_rtcp(datagram, clear)?,
            (Some(receiver), _) => receiver.unprotect_rtp(datagram, clear)?,
        }
        Ok(clear)
    }

    /// The packet for the wire: as it is, or sealed into `sealed`.
    fn seal<'a>(
        &mut self,
        kind: Kind,
        packet: &'a [u8],
        sealed: &'a mut Vec<u8>,
    ) -> Result<&'a [u8], SrtpError> {
        match (&mut self.sender, kind) {
            (None, _) => return Ok(packet),
            (Some(sender), Kind::Rtcp) => sender.protect_rtcp(packet, sealed)?,
            (Some(sender), _) => sender.protect_rtp(packet, sealed)?,
        }
        Ok(sealed)
    }
}

impl SideSpec {
    /// What the peer means by a payload number.
    fn codec(&self, number: u8) -> Option<Codec> {
        self.receive
            .iter()
            .find(|p| p.number == number)
            .map(|p| p.codec)
    }

    /// What this side calls a codec; an event finds events of another clock rate where its own was not agreed.
    fn payload(&self, codec: Codec) -> Option<Payload> {
        let exact = self.send.iter().find(|p| p.codec == codec);
        exact
            .or_else(|| {
                self.send
                    .iter()
                    .find(|p| !codec.is_audio() && !p.codec.is_audio())
            })
            .copied()
    }
}

/// An event with its duration counted in the other clock. One too long for the field stays at its end, as a sender
/// does that repeats the last packet (RFC 4733 §2.5.1.3 would begin a new segment).
fn rescale(event: &[u8], from: Codec, to: Codec) -> Option<[u8; EVENT_LEN]> {
    let [code, flags, high, low] = *event.first_chunk::<EVENT_LEN>()?;
    let duration = u64::from(u16::from_be_bytes([high, low]));
    let scaled = duration * u64::from(to.clock_rate()) / u64::from(from.clock_rate().max(1));
    let [high, low] = u16::try_from(scaled).unwrap_or(u16::MAX).to_be_bytes();
    Some([code, flags, high, low])
}
