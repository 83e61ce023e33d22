//! A phone with SRTP around it, and the order of what it hears.

use std::net::SocketAddr;
use std::time::Instant;

use super::Owner;
use crate::media::demux::Kind;
use crate::media::rtp::{Packet, Seq, Ssrc, Timestamp};
use crate::media::srtp::{KeyError, Receiver, Sender};
use crate::media::{Codec, SrtpKeys};
use crate::sim::agent::Plan;
use crate::sim::body::{Keys, Peer};
use crate::sim::phone::Phone;

/// Packets by which a sequence number may go forward or back; more is another sequence.
const MOST_JUMP: u16 = 100;

/// What exists once both SDPs are there.
pub(super) struct Voice {
    pub(super) phone: Phone,
    codec: Codec,
    rtp: SocketAddr,
    rtcp: Option<SocketAddr>,
    srtp: Srtp,
    last: Option<Last>,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

/// How far protection has got.
enum Srtp {
    /// There is none.
    Plain,
    /// The keys are being agreed on.
    Awaited,
    Keyed {
        protect: Box<Sender>,
        open: Box<Receiver>,
    },
}

impl Srtp {
    fn keyed(keys: &SrtpKeys) -> Result<Srtp, KeyError> {
        Ok(Srtp::Keyed {
            protect: Box::new(Sender::new(keys.profile, &keys.send)?),
            open: Box::new(Receiver::new(keys.profile, &keys.receive)?),
        })
    }
}

impl Voice {
    pub(super) fn new(
        owner: &Owner,
        peer: &Peer,
        plan: &Plan,
        now: Instant,
    ) -> Result<Voice, String> {
        let phone = Phone::new(owner.setup(peer, plan)?, now).map_err(|e| e.to_string())?;
        let srtp = match &peer.keys {
            Keys::Plain => Srtp::Plain,
            Keys::Sdes(keys) => Srtp::keyed(keys).map_err(|e| e.to_string())?,
            Keys::Dtls(_) => Srtp::Awaited,
        };
        Ok(Voice {
            phone,
            codec: peer.sound.codec,
            rtp: peer.rtp,
            rtcp: peer.rtcp,
            srtp,
            last: None,
            opened: Vec::new(),
            plain: Vec::new(),
        })
    }

    /// From now on these are the keys, and media goes there.
    pub(super) fn key(&mut self, keys: &SrtpKeys, to: SocketAddr) -> Result<(), KeyError> {
        self.srtp = Srtp::keyed(keys)?;
        self.rtp = to;
        Ok(())
    }

    /// What is spoken.
    pub(super) fn codec(&self) -> Codec {
        self.codec
    }

    /// Where RTP must come from.
    pub(super) fn source(&self) -> SocketAddr {
        self.rtp
    }

    pub(super) fn awaits_keys(&self) -> bool {
        matches!(self.srtp, Srtp::Awaited)
    }

    /// Hears a datagram. Returns what is wrong with its place in the stream, where that is looked at.
    ///
    /// # Errors
    /// What is wrong with its protection: it is not heard.
    pub(super) fn hear(
        &mut self,
        kind: Kind,
        datagram: &[u8],
        strict: bool,
        now: Instant,
    ) -> Result<Option<&'static str>, String> {
        self.unprotect(kind, datagram)?;
        let mut fault = None;
        if let (Kind::Rtp, Ok(packet)) = (kind, Packet::parse(&self.opened)) {
            let next = Last {
                ssrc: packet.ssrc(),
                seq: packet.seq(),
                timestamp: packet.timestamp(),
                at: now,
            };
            let clock = self.codec.clock_rate();
            fault = self
                .last
                .filter(|_| strict)
                .and_then(|last| last.fault(next, clock));
            let newest = self
                .last
                .is_none_or(|last| last.ssrc != next.ssrc || next.seq.since(last.seq) > 0);
            if newest {
                self.last = Some(next);
            }
        }
        self.phone.handle(&self.opened, now);
        Ok(fault)
    }

    /// Makes `out` the next packet that is due and says where it goes.
    pub(super) fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let kind = self.phone.poll(now, &mut self.plain)?;
        match (&mut self.srtp, kind) {
            (Srtp::Plain, _) => {
                out.clear();
                out.extend_from_slice(&self.plain);
            }
            (Srtp::Awaited, _) => return None,
            (Srtp::Keyed { protect, .. }, Kind::Rtcp) => {
                protect.protect_rtcp(&self.plain, out).ok()?;
            }
            (Srtp::Keyed { protect, .. }, _) => protect.protect_rtp(&self.plain, out).ok()?,
        }
        let rtcp = self.rtcp.filter(|_| kind == Kind::Rtcp);
        Some(rtcp.unwrap_or(self.rtp))
    }

    /// Leaves what a datagram holds in `opened`.
    fn unprotect(&mut self, kind: Kind, datagram: &[u8]) -> Result<(), String> {
        let open = match &mut self.srtp {
            Srtp::Plain => {
                self.opened.clear();
                self.opened.extend_from_slice(datagram);
                return Ok(());
            }
            Srtp::Awaited => return Err("media: there are no keys yet".to_owned()),
            Srtp::Keyed { open, .. } => open,
        };
        let result = match kind {
            Kind::Rtp => open.unprotect_rtp(datagram, &mut self.opened),
            Kind::Rtcp => open.unprotect_rtcp(datagram, &mut self.opened),
            _ => return Err("media: neither SRTP nor SRTCP".to_owned()),
        };
        result.map_err(|error| format!("media: {error}"))
    }
}

/// The newest RTP packet.
#[derive(Clone, Copy)]
struct Last {
    ssrc: Ssrc,
    seq: Seq,
    timestamp: Timestamp,
    at: Instant,
}

impl Last {
    /// What is wrong with a packet after this one, where timestamps count in `clock` Hz: the sender must be one continuous
    /// source (§8).
    fn fault(self, next: Last, clock: u32) -> Option<&'static str> {
        // Timestamps may run ahead of the clock by 5 s.
        let ahead = 5 * u128::from(clock);
        if next.ssrc != self.ssrc {
            return Some("media: a second SSRC appears (§8)");
        }
        let (packets, units) = (
            next.seq.since(self.seq),
            next.timestamp.since(self.timestamp),
        );
        let passed = next.at.saturating_duration_since(self.at).as_millis();
        let passed = passed * u128::from(clock / 1000);
        match (packets, units) {
            _ if packets.unsigned_abs() > MOST_JUMP => {
                Some("media: the sequence number jumps (§8)")
            }
            (1.., ..0) => Some("media: the timestamp goes backwards (§8)"),
            (1.., _) if units as u128 > passed + ahead => Some("media: the timestamp jumps (§8)"),
            _ => None,
        }
    }
}
