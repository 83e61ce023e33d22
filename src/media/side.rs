//! One side of a session: what was agreed with the peer, what comes from it, and the one stream it hears from us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::across::{Digits, Wanted};
use super::agreed::{Agreed, rescale};
use super::buffered::Buffered;
use super::codec::Codec;
use super::common::Common;
use super::demux::Kind;
use super::digits::Writer;
use super::due::earliest;
use super::outbox::{News, Outbox, Socket};
use super::reports::Reports;
use super::rtcp::WallClock;
use super::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use super::srtp::KeyError;
use super::stream::{Arriving, Place, Stream};
use super::{SideSpec, SideStats};
use crate::leg::Leg;

mod digits;
mod keying;

/// Samples of G.711 in 20 ms.
const FRAME: usize = 160;

/// 20 ms of silence: in Opus CELT, fullband, mono, one frame that says no more than "silent" (RFC 6716 §4.3).
fn silence(codec: Codec) -> Option<&'static [u8]> {
    match codec {
        Codec::Opus => Some(&[0xf8, 0xff, 0xfe]),
        Codec::Pcma => Some(&[0xd5; FRAME]),
        Codec::Pcmu => Some(&[0xff; FRAME]),
        // Not a codec of Meta, and nobody else is sent silence.
        Codec::G722 | Codec::TelephoneEvent { .. } => None,
    }
}

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
    common: Arc<Common>,
    agreed: Option<Agreed>,
    /// When it was first allowed to be sent to.
    started: Option<Instant>,
    ssrc: Ssrc,
    stream: Stream,
    /// Key presses that the peer is told of, once there was one.
    digits: Option<Box<Writer>>,
    reports: Reports,
    /// When RTP was last sent, or if it had been kept, came.
    sent: Option<Instant>,
    /// When the peer was last heard, or allowed to be sent to.
    heard: Option<Instant>,
    silence_told: bool,
    stats: SideStats,
    /// What was opened last, where keys were agreed.
    clear: Vec<u8>,
}

/// RTP of the peer, opened and understood.
pub(crate) struct Heard<'a> {
    pub(crate) header: Header,
    pub(crate) codec: Codec,
    pub(crate) payload: &'a [u8],
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
    pub(crate) fn new(
        leg: Leg,
        common: Arc<Common>,
        lot: Lot,
        wall: WallClock,
        now: Instant,
    ) -> Side {
        let ssrc = Ssrc(lot.ssrc);
        // RFC 3711 §3.3.1: below 2^15 the peer cannot mistake the rollover counter when the first packets are lost.
        let before = Seq(lot.seq & 0x7fff).plus(u16::MAX);
        Side {
            leg,
            agreed: None,
            started: None,
            ssrc,
            stream: Stream::new(before, Timestamp(lot.timestamp), now),
            digits: None,
            reports: Reports::new(ssrc, &common.timing, wall),
            common,
            sent: None,
            heard: None,
            silence_told: false,
            stats: SideStats::default(),
            clear: Vec::new(),
        }
    }

    /// Takes over what signalling agreed.
    ///
    /// # Errors
    /// When a key cannot be used; nothing is then agreed.
    pub(crate) fn agree(&mut self, spec: SideSpec, now: Instant) -> Result<(), KeyError> {
        if let Some(sound) = spec.sound() {
            self.stream.count_in(sound.clock_rate(), now);
        }
        // Meta documents no extended reports, so it is sent none.
        if self.leg == Leg::Pbx {
            self.reports.want(spec.extended_reports);
        }
        self.agreed = Some(Agreed::new(spec, self.agreed.take())?);
        self.look_for_path(now);
        Ok(())
    }

    /// From now on the peer may be sent to, and is expected to be heard. Started once more, at the answer to a call
    /// with early media, its silence counts anew.
    pub(crate) fn start(&mut self, now: Instant) {
        self.heard = Some(now);
        self.silence_told = false;
        if self.started.is_none() {
            self.started = Some(now);
            self.reports.start(now);
        }
        self.look_for_path(now);
    }

    /// The peer has left. What it was still to be told of is lost.
    pub(crate) fn leave(&mut self) {
        self.agreed = None;
        self.forget_digits();
    }

    /// Takes a datagram; gives back what the other side should hear.
    pub(crate) fn receive<'a>(
        &'a mut self,
        socket: Socket,
        from: SocketAddr,
        datagram: &'a [u8],
        now: Instant,
        out: &mut Outbox,
    ) -> Option<Heard<'a>> {
        let kind = Kind::of(datagram);
        if matches!(kind, Kind::Stun | Kind::Dtls)
            && self.agreed.as_ref().is_some_and(Agreed::is_by_dtls)
        {
            self.walk_with(kind, from, datagram, now, out);
            return None;
        }
        let Some(agreed) = self
            .agreed
            .as_mut()
            .filter(|agreed| agreed.peer.admits(socket, from))
        else {
            self.stats.strangers += 1;
            return None;
        };
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
        out.heard(self.leg, socket, from, clear, now);
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
        let understood =
            packet.and_then(|packet| Some((agreed.codec(packet.payload_type())?, packet)));
        if understood.is_some() {
            agreed.peer.learn(socket, from);
        }
        // What nobody agreed to (comfort noise, say) is of no use to the other side, but the peer is there.
        if agreed.peer.knows(socket, from) {
            self.heard = Some(now);
        }
        let Some((codec, packet)) = understood else {
            self.stats.unusable += 1;
            return None;
        };
        self.stats.received += 1;
        self.reports.heard(&packet, codec, now);
        agreed.may_receive().then_some(Heard {
            header: packet.header(),
            codec,
            payload: packet.payload(),
        })
    }

    /// What sound it is sent, and so most likely sends.
    pub(crate) fn sound(&self) -> Option<Codec> {
        self.agreed.as_ref()?.sound()
    }

    /// How it has digits.
    pub(crate) fn digits(&self) -> Digits {
        self.agreed.as_ref().map(Agreed::digits).unwrap_or_default()
    }

    /// What it wants of the other side.
    pub(crate) fn wanted(&self) -> Option<Wanted> {
        let agreed = self.agreed.as_ref()?;
        Some(Wanted {
            sound: agreed.sound()?,
            ptime: agreed.ptime(),
            // Meta takes 20 ms and nothing else (SIP guide, 2025-12-15: maxptime).
            strict: self.leg == Leg::Meta,
            digits: agreed.digits(),
        })
    }

    /// Sends on what was heard on the other side at `now`, or before, if it was kept.
    pub(crate) fn forward(
        &mut self,
        heard: &Heard<'_>,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), Lost> {
        let Some(agreed) = self
            .agreed
            .as_ref()
            .filter(|agreed| self.started.is_some() && agreed.may_send())
        else {
            self.stats.held_back += 1;
            return Err(Lost::HeldBack);
        };
        let payload = agreed.payload(heard.codec).ok_or(Lost::NoPayload)?;
        let header = heard.header;
        let arriving = Arriving {
            ssrc: header.ssrc,
            seq: header.seq,
            timestamp: header.timestamp,
            marker: header.marker,
            audio: heard.codec.is_audio(),
        };
        if heard.codec.is_audio() && self.is_dialling() {
            self.stream.leave_out(&arriving);
            return Ok(());
        }
        if payload.codec == heard.codec {
            let place = self.stream.place(&arriving, now).ok_or(Lost::Repeated)?;
            self.send(payload.number, place, heard.payload, now, out);
        } else {
            let event =
                rescale(heard.payload, heard.codec, payload.codec).ok_or(Lost::NoPayload)?;
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

    /// Counts packets that were kept for this side until it could be sent to, and others that were not.
    pub(crate) fn count_kept(&mut self, kept: u64, not_kept: u64) {
        self.stats.kept += kept;
        self.stats.not_kept += not_kept;
    }

    /// Counts packets that were not for this side after all: what it may be sent begins later.
    pub(crate) fn count_held_back(&mut self, packets: u64) {
        self.stats.held_back += packets;
    }

    /// Counts packets that are nobody's.
    pub(crate) fn count_strangers(&mut self, packets: u64) {
        self.stats.strangers += packets;
    }

    /// Counts a packet that the system would not send.
    pub(crate) fn unsent(&mut self) {
        self.stats.unsent += 1;
    }

    /// What the jitter buffer does with what the peer sends.
    pub(crate) fn note_buffer(&mut self, buffered: Buffered) {
        self.reports.note_buffer(buffered);
    }

    /// Percent of what it is sent that the peer is likely to lose, by what it has reported.
    pub(crate) fn likely_loss(&self) -> u8 {
        self.reports.likely_loss()
    }

    /// Does what is due: digits, silence, reports, the news that the peer is silent.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        if self.digits_due().is_some_and(|due| due <= now) {
            self.write_digits(now, out);
        }
        if self.comfort_due().is_some_and(|due| due <= now) {
            self.comfort(now, out);
        }
        if self.report_due().is_some_and(|due| due <= now) {
            self.report(false, now, out);
        }
        if self.reports.judged().is_some_and(|due| due <= now) {
            self.judge(now, out);
        }
        if self.silence_due().is_some_and(|due| due <= now) {
            self.silence_told = true;
            out.tell(self.leg, News::Silent);
        }
    }

    /// When [`Side::tick`] is next due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        let path_due = self.agreed.as_ref().and_then(Agreed::path_due);
        earliest([
            self.digits_due(),
            self.comfort_due(),
            self.report_due(),
            self.silence_due(),
            path_due,
            self.reports.judged(),
        ])
    }

    /// Tells the peer that our stream ends.
    pub(crate) fn bye(&mut self, now: Instant, out: &mut Outbox) {
        self.judge(now, out);
        if self.sent.is_some() {
            self.report(true, now, out);
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
        let speaks = self.leg == Leg::Meta && self.started.is_some() && agreed.may_send();
        (speaks && agreed.sound().and_then(silence).is_some()).then_some(())?;
        Some(
            self.sent
                .map_or(self.heard?, |sent| sent + self.common.timing.comfort),
        )
    }

    /// Tells what each direction was like of late.
    fn judge(&mut self, now: Instant, out: &mut Outbox) {
        for measured in self.reports.judge(now).into_iter().flatten() {
            out.tell(self.leg, News::Measured(measured));
        }
    }

    fn report_due(&self) -> Option<Instant> {
        self.started?;
        let takes = |agreed: &&Agreed| agreed.peer.takes_rtcp();
        self.agreed.as_ref().filter(takes)?;
        self.reports.due()
    }

    fn silence_due(&self) -> Option<Instant> {
        self.started.filter(|_| !self.silence_told)?;
        // Without keys nothing of the peer could be heard. ICE and DTLS have times of their own, and better reasons.
        if self
            .agreed
            .as_ref()
            .is_some_and(|agreed| !agreed.is_keyed())
        {
            return None;
        }
        Some(self.heard? + self.common.timing.silence)
    }

    fn comfort(&mut self, now: Instant, out: &mut Outbox) {
        let agreed = self.agreed.as_ref();
        let payload = agreed.and_then(|agreed| agreed.payload(agreed.sound()?));
        if let Some(payload) = payload
            && let Some(silence) = silence(payload.codec)
        {
            let place = self.stream.insert(now);
            self.send(payload.number, place, silence, now, out);
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
        let header = Header {
            marker,
            payload_type,
            seq,
            timestamp,
            ssrc: self.ssrc,
        };
        let Some(agreed) = &mut self.agreed else {
            return;
        };
        // Even if it fails: what is due again at once would never end.
        self.sent = Some(now);
        let Some(to) = agreed.peer.rtp() else { return };
        let sent = out.send_sealed(
            (self.leg, Socket::Rtp, to),
            |bytes| header.append(payload, bytes),
            |bytes, start| agreed.seal(Kind::Rtp, bytes, start),
        );
        if sent.is_err() {
            return self.stats.unsent += 1;
        }
        self.stats.sent += 1;
        let codec = agreed.sent_as(payload_type);
        self.reports.sent(seq, payload.len(), codec);
    }

    /// Sends a report: the last one of all, or one of many.
    fn report(&mut self, bye: bool, now: Instant, out: &mut Outbox) {
        let Some(agreed) = &mut self.agreed else {
            return;
        };
        let Some((socket, to)) = agreed.peer.rtcp() else {
            return;
        };
        let (reports, timestamp) = (&mut self.reports, self.stream.timestamp(now));
        let sent = out.send_sealed(
            (self.leg, socket, to),
            |bytes| reports.write(timestamp, bye, now, bytes),
            |bytes, start| agreed.seal(Kind::Rtcp, bytes, start),
        );
        if sent.is_err() {
            self.stats.unsent += 1;
        }
    }
}
