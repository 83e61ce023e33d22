//! The media of one call: SRTP around a phone, and the eye of a strict client on what comes in (§8).
//!
//! ```text
//!   Order ──▶ ┌──────┐ ── STUN, DTLS ─────▶ Relay ── keys ──▶ ┌───────┐
//!   datagram ▶│ Line │ ── SRTP, once there are keys ────────▶ │ Voice │ order of packets, Phone
//!             │      │ ◀────────────────────────────────────  └───────┘
//!             └──────┘ ──▶ complaints; silence
//! ```

#[cfg(test)]
mod tests;
mod voice;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agent::{Order, Plan};
use super::body::{Keying, Keys, Peer};
use super::ear::ListensFor;
use super::path;
use super::phone::{Events, Payloads, Setup};
use super::relay::{Relay, Relays};
use super::report::CallReport;
use super::speech::{Speaks, Voice as Words};
use super::tone::{PBX_HZ, USER_HZ};
use crate::media::demux::Kind;
use crate::media::rtp::Ssrc;
use crate::media::sound::SoundError;
use crate::media::{SrtpKeys, SrtpProfile};
use voice::Voice;

/// Media that overtakes the 200 by less than this may have been sent after it: two sockets keep no common
/// order, and on a busy machine a TLS record waits longer for its reader than a datagram. What plays while it rings
/// rings longer.
const RACE: Duration = Duration::from_millis(100);

/// The app hangs up when nothing has come for this long after the answer, or in a call (§8).
const FIRST_SILENCE: Duration = Duration::from_secs(20);
const LATER_SILENCE: Duration = Duration::from_secs(30);

/// Datagrams kept that come before the keys.
const MOST_EARLY: usize = 200;

/// Milliseconds of sound in a packet to Meta.
const META_PTIME: u16 = 20;

/// What one packet holds.
const FRAME_TIME: Duration = Duration::from_millis(20);

/// Digits are pressed this long after the answer.
const BEFORE_DIGITS: Duration = Duration::from_secs(1);

/// Which far end this line belongs to.
#[derive(Clone)]
pub enum Owner {
    /// A WhatsApp user: strict, and silent until the business has spoken.
    Meta(Words, Relays),
    /// A telephone of the PBX.
    Pbx(Words, path::Settings),
}

impl Owner {
    /// A WhatsApp user with its tone, behind these relays.
    ///
    /// # Errors
    /// When it cannot speak so.
    pub fn meta(speaks: &Speaks, relays: Relays) -> Result<Owner, SoundError> {
        Ok(Owner::Meta(Words::tone(USER_HZ, speaks)?, relays))
    }

    /// A telephone with its tone, and the path to it.
    ///
    /// # Errors
    /// When it cannot speak so.
    pub fn pbx(speaks: &Speaks, path: path::Settings) -> Result<Owner, SoundError> {
        Ok(Owner::Pbx(Words::tone(PBX_HZ, speaks)?, path))
    }

    /// The path between its calls and the bridge.
    pub fn path(&self) -> path::Settings {
        match self {
            Owner::Meta(_, relays) => relays.settings.path,
            Owner::Pbx(_, path) => *path,
        }
    }

    fn is_meta(&self) -> bool {
        matches!(self, Owner::Meta(..))
    }

    /// The error says why there is nothing to say.
    fn setup(&self, peer: &Peer, plan: &Plan) -> Result<Setup, String> {
        let (tone, other) = match self {
            Owner::Meta(tone, _) => (tone, PBX_HZ),
            Owner::Pbx(tone, _) => (tone, USER_HZ),
        };
        let words = plan.says.as_ref().unwrap_or(tone);
        let codec = peer.sound.codec;
        let says = words.recording(codec);
        let payloads = Payloads {
            sound: peer.sound,
            events: peer.events.map(|(number, rate)| Events { number, rate }),
        };
        Ok(Setup {
            ssrc: Ssrc(peer.ssrc),
            mode: plan.mode,
            says: Arc::clone(says.ok_or_else(|| format!("media: nothing to say in {codec}"))?),
            listens_for: plan.listens_for.unwrap_or(ListensFor::Tone(other)),
            records: plan.records,
            drift_ppm: self.path().drift_ppm,
            send: payloads,
            receive: payloads,
        })
    }
}

/// One call's media.
pub struct Line {
    owner: Owner,
    plan: Plan,
    early: Vec<(Instant, SocketAddr, Vec<u8>)>,
    /// Where keys come from DTLS.
    relay: Option<Relay>,
    voice: Option<Voice>,
    /// When both SDPs were there: at the 200.
    agreed: Option<Instant>,
    answered: Option<Instant>,
    keyed: Option<(Instant, SrtpProfile)>,
    last_packet: Option<Instant>,
    dial_at: Option<Instant>,
    silence_told: bool,
    /// Keying and complaints, as far as they are known.
    report: CallReport,
}

impl Line {
    /// A line that knows nobody yet.
    pub fn new(owner: Owner, plan: Plan) -> Line {
        Line {
            owner,
            plan,
            early: Vec::new(),
            relay: None,
            voice: None,
            agreed: None,
            answered: None,
            keyed: None,
            last_packet: None,
            dial_at: None,
            silence_told: false,
            report: CallReport::default(),
        }
    }

    /// Does what signalling asks for.
    pub fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Agree(peer) if self.voice.is_none() => self.agree(peer, now),
            Order::Speak => self.speak(now),
            Order::Answered if self.answered.is_none() => self.answer(now),
            _ => {}
        }
    }

    fn agree(&mut self, peer: Peer, now: Instant) {
        self.agreed = Some(now);
        match Voice::new(&self.owner, &peer, &self.plan, now) {
            Ok(voice) => self.voice = Some(voice),
            Err(why) => self.report.complain(why),
        }
        match (&self.owner, peer.keys) {
            (Owner::Meta(_, relays), Keys::Dtls(both)) => {
                self.relay = Some(Relay::new(relays, both))
            }
            (_, Keys::Sdes(keys)) => self.keyed = Some((now, keys.profile)),
            _ => {}
        }
        if !self.owner.is_meta() {
            self.take_early();
        }
    }

    fn answer(&mut self, now: Instant) {
        self.answered = Some(now);
        if let Some(voice) = &mut self.voice {
            // What the user waits for counts from the 200, whoever sent it.
            voice.phone.answered(self.agreed.unwrap_or(now));
        }
        if !self.plan.digits.is_empty() {
            self.dial_at = Some(now + BEFORE_DIGITS);
        }
        if self.owner.is_meta() {
            if let (Some((at, ..)), Some(agreed)) = (self.early.first(), self.agreed) {
                let ahead = agreed.saturating_duration_since(*at);
                if ahead > RACE {
                    let (ms, what) = (ahead.as_millis(), early_bird(&self.early));
                    self.report
                        .complain(format!("{what} came {ms} ms too early (§8)"));
                }
            }
            self.take_early();
        } else {
            // A telephone that was lifted has a packet to send once it has listened for one.
            self.speak(now + FRAME_TIME);
        }
    }

    /// Datagrams that came before anybody could read them.
    fn take_early(&mut self) {
        for (at, from, datagram) in std::mem::take(&mut self.early) {
            let read = at.max(self.agreed.unwrap_or(at));
            // A relay that knows nothing of the bridge yet loses what it sends (§8).
            if self.relay.is_none() || read - at <= RACE {
                self.take(&datagram, from, read);
            }
        }
    }

    fn speak(&mut self, now: Instant) {
        if let Some(voice) = &mut self.voice {
            voice.phone.start(now);
        }
    }

    /// Takes a datagram that came in.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        // Between its 200 and our ACK a relay already has both SDPs, and can find a path and agree on keys.
        let goes_ahead = self.relay.is_some() && is_before_media(Kind::of(datagram));
        let waits = self.owner.is_meta() && self.answered.is_none() && !goes_ahead;
        if waits || self.voice.is_none() {
            if self.early.len() < MOST_EARLY {
                self.early.push((now, from, datagram.to_vec()));
            }
            return;
        }
        self.take(datagram, from, now);
    }

    fn take(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        if self.is_deaf(now) {
            return;
        }
        let kind = Kind::of(datagram);
        match &mut self.relay {
            Some(relay) if is_before_media(kind) => {
                relay.handle(kind, datagram, from, now);
                self.follow_relay(now);
            }
            _ => self.listen(kind, datagram, from, now),
        }
    }

    /// Whether the relay has not yet heard of the answer (§8).
    fn is_deaf(&self, now: Instant) -> bool {
        match (&self.owner, self.agreed) {
            (Owner::Meta(_, relays), Some(agreed)) => now < agreed + relays.settings.late,
            _ => false,
        }
    }

    fn listen(&mut self, kind: Kind, datagram: &[u8], from: SocketAddr, now: Instant) {
        let Some(voice) = &mut self.voice else {
            return;
        };
        let strict = self.owner.is_meta();
        if let Some(relay) = self.relay.as_mut().filter(|_| voice.awaits_keys()) {
            relay.unkeyed(kind, datagram);
            return self.follow_relay(now);
        }
        if strict && from != voice.source() {
            self.report.complain(match self.relay {
                None => "media: it comes from another address than the SDP says",
                Some(_) => "media: it comes from another address than the nominated one (§8)",
            });
        }
        match voice.hear(kind, datagram, strict, now) {
            Ok(fault) => fault
                .into_iter()
                .for_each(|fault| self.report.complain(fault)),
            Err(why) => return self.report.complain(why),
        }
        self.last_packet = Some(now);
        if strict && kind == Kind::Rtp {
            voice.phone.start(now); // §8: the business speaks first
        }
    }

    /// Takes over what the relay has found out.
    fn follow_relay(&mut self, now: Instant) {
        let (Some(relay), Some(voice)) = (&mut self.relay, &mut self.voice) else {
            return;
        };
        if let (Some(keys), Some(peer)) = (relay.keys(), relay.peer()) {
            let SrtpKeys { profile, .. } = keys;
            match voice.key(&keys, peer) {
                Ok(()) => self.keyed = Some((now, profile)),
                Err(error) => self.report.complain(error.to_string()),
            }
        }
        for complaint in relay.complaints() {
            self.report.complain(complaint);
        }
    }

    /// When [`Line::poll`] may have something to send.
    pub fn deadline(&self) -> Option<Instant> {
        let phone = self.voice.as_ref().and_then(|voice| voice.phone.deadline());
        let relay = self.relay.as_ref().and_then(Relay::deadline);
        [phone, relay, self.dial_at].into_iter().flatten().min()
    }

    /// Makes `out` the next datagram to send and says where it goes; call it until there is none.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        if let Some(relay) = &mut self.relay {
            relay.tick(now);
            let next = relay.send();
            self.follow_relay(now);
            if let Some((to, datagram)) = next {
                *out = datagram;
                return Some(to);
            }
        }
        let voice = self.voice.as_mut()?;
        if self.dial_at.is_some_and(|at| at <= now) {
            self.dial_at = None;
            match voice.phone.dial(&self.plan.digits) {
                true => self.report.digits_sent = self.plan.digits.clone(),
                false => self
                    .report
                    .complain("digits: no telephone-event was agreed"),
            }
        }
        voice.poll(now, out)
    }

    /// Why the app hangs up now, said once.
    pub fn silent(&mut self, now: Instant) -> Option<String> {
        let answered = self.answered.filter(|_| self.owner.is_meta())?;
        if let Some(relay) = &mut self.relay {
            relay.watch(answered, now);
            self.follow_relay(now);
        }
        let (since, limit, when) = match self.last_packet {
            None => (answered, FIRST_SILENCE, "after the answer"),
            Some(last) => (last, LATER_SILENCE, "in the call"),
        };
        if self.silence_told || now.saturating_duration_since(since) < limit {
            return None;
        }
        self.silence_told = true;
        let seconds = limit.as_secs();
        Some(format!(
            "media: no packet for {seconds} s {when}: the app hangs up (§8)"
        ))
    }

    /// Whether the other's voice has been heard.
    pub fn hears(&self) -> bool {
        let voice = self.voice.as_ref();
        voice.is_some_and(|voice| voice.phone.hears())
    }

    /// Adds to a report what this line heard and found wrong.
    pub fn finish(mut self, report: &mut CallReport, now: Instant) {
        if let Some(relay) = self.relay.take() {
            report.keying = self.keyed.map(|_| Keying::Dtls);
            self.report.complaints.extend(relay.finish());
        } else {
            report.keying = self.keyed.map(|_| Keying::Sdes);
        }
        if let (Some((at, profile)), Some(agreed)) = (self.keyed, self.agreed) {
            report.srtp = Some(name(profile));
            report.keyed_ms = Some(at.saturating_duration_since(agreed).as_millis() as u64);
        }
        for complaint in self.report.complaints {
            report.complain(complaint);
        }
        report.digits_sent = self.report.digits_sent;
        if self.answered.is_none() && self.owner.is_meta() && !self.early.is_empty() {
            report.complain("media: it came though the call was never answered (§8)");
        }
        let Some(voice) = self.voice else {
            return;
        };
        report.heard = voice.phone.heard();
        report.digits_received = report.heard.digits.clone();
        report.sent = voice.phone.sent().into();
        report.codec = Some(voice.codec());
        report.said_from = voice.phone.began();
        report.recorded = voice.phone.recorded();
        let facts = voice.phone.facts(now);
        if !self.owner.is_meta() {
            return;
        }
        if facts.ssrcs.len() > 1 {
            report.complain("media: more than one SSRC; the relay garbles them (§8)");
        }
        if facts.unusable > 0 {
            let what = "media: packets that are neither sound nor digits as agreed";
            report.complain(what);
        }
        if report.heard.ptimes.iter().any(|ptime| *ptime != META_PTIME) {
            report.complain("media: packets of another length than 20 ms (§7: ptime, maxptime)");
        }
        // Without keys nothing could be said; why there are none is told elsewhere.
        let keyed = self.keyed.map(|(at, _)| at);
        let able = self.answered.zip(keyed).map(|(a, b)| a.max(b));
        let talked = able.map_or(Duration::ZERO, |at| now - at);
        if talked > Duration::from_secs(10) && facts.reports == 0 {
            report.complain("media: no RTCP in more than 10 s (§8)");
        }
    }
}

/// What came first of what came too early.
fn early_bird(early: &[(Instant, SocketAddr, Vec<u8>)]) -> &'static str {
    match early.first().map(|(.., datagram)| Kind::of(datagram)) {
        Some(Kind::Stun) => "ICE: the first check",
        Some(Kind::Dtls) => "DTLS: the ClientHello",
        _ => "media: the first packet",
    }
}

/// What finds the path and agrees on keys, before there can be media.
fn is_before_media(kind: Kind) -> bool {
    matches!(kind, Kind::Stun | Kind::Dtls)
}

/// The profile as RFC 5764 and RFC 7714 name it.
fn name(profile: SrtpProfile) -> &'static str {
    match profile {
        SrtpProfile::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
        SrtpProfile::AeadAes128Gcm => "AEAD_AES_128_GCM",
        SrtpProfile::AeadAes256Gcm => "AEAD_AES_256_GCM",
    }
}
