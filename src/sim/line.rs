//! The media of one call: SRTP around a phone, and the eye of a strict client on what comes in (§8).
//!
//! ```text
//!   Order ──▶ ┌──────┐ ── unprotect, order of packets, silence ──▶ Phone
//!   datagram ▶│ Line │ ◀─ protect ────────────────────────────────
//!             └──────┘ ──▶ complaints
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::agent::{Order, Plan};
use super::body::Peer;
use super::phone::{Events, Payloads, Phone, Setup};
use super::report::CallReport;
use super::tone::{PBX_HZ, Recording, USER_HZ};
use crate::media::demux::Kind;
use crate::media::rtp::{Packet, Seq, Ssrc, Timestamp};
use crate::media::srtp::{Receiver, Sender};

/// Media that overtakes the 200 or the ACK by less than this may have been sent after it: two sockets keep no common
/// order, and on a busy machine a TLS record waits longer for its reader than a datagram. What plays while it rings
/// rings longer.
const RACE: Duration = Duration::from_millis(100);

/// The app hangs up when nothing has come for this long after the answer, or in a call (§8).
const FIRST_SILENCE: Duration = Duration::from_secs(20);
const LATER_SILENCE: Duration = Duration::from_secs(30);

/// Datagrams kept that come before the keys.
const MOST_EARLY: usize = 200;

/// What one packet holds.
const FRAME_TIME: Duration = Duration::from_millis(20);

/// Digits are pressed this long after the answer.
const BEFORE_DIGITS: Duration = Duration::from_secs(1);

/// Packets by which a sequence number may go forward or back; more is another sequence.
const MOST_JUMP: u16 = 100;

/// Which far end this line belongs to.
#[derive(Clone, Debug)]
pub enum Owner {
    /// A WhatsApp user: strict, and silent until the business has spoken.
    Meta(Arc<Recording>),
    /// A telephone of the PBX.
    Pbx(Arc<Recording>),
}

impl Owner {
    /// A WhatsApp user with its tone.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn meta() -> Result<Owner, opus::Error> {
        Ok(Owner::Meta(Recording::tone(USER_HZ)?))
    }

    /// A telephone with its tone.
    ///
    /// # Errors
    /// When libopus fails.
    pub fn pbx() -> Result<Owner, opus::Error> {
        Ok(Owner::Pbx(Recording::tone(PBX_HZ)?))
    }

    fn is_meta(&self) -> bool {
        matches!(self, Owner::Meta(_))
    }

    fn setup(&self, peer: &Peer, plan: &Plan) -> Setup {
        let (says, other) = match self {
            Owner::Meta(says) => (says, PBX_HZ),
            Owner::Pbx(says) => (says, USER_HZ),
        };
        let payloads = Payloads {
            opus: peer.opus,
            events: peer.events.map(|(number, rate)| Events { number, rate }),
        };
        Setup {
            ssrc: Ssrc(peer.ssrc),
            mode: plan.mode,
            says: Arc::clone(says),
            listens_for: plan.listens_for.unwrap_or(other),
            send: payloads,
            receive: payloads,
        }
    }
}

/// One call's media.
pub struct Line {
    owner: Owner,
    plan: Plan,
    early: Vec<(Instant, SocketAddr, Vec<u8>)>,
    voice: Option<Voice>,
    answered: Option<Instant>,
    last_packet: Option<Instant>,
    dial_at: Option<Instant>,
    silence_told: bool,
    complaints: CallReport,
}

/// What exists once both SDPs are there.
struct Voice {
    phone: Phone,
    peer: Peer,
    protect: Option<Sender>,
    open: Option<Receiver>,
    last: Option<Last>,
    opened: Vec<u8>,
    plain: Vec<u8>,
}

/// The newest RTP packet.
#[derive(Clone, Copy)]
struct Last {
    ssrc: Ssrc,
    seq: Seq,
    timestamp: Timestamp,
    at: Instant,
}

impl Line {
    /// A line that knows nobody yet.
    pub fn new(owner: Owner, plan: Plan) -> Line {
        Line {
            owner,
            plan,
            early: Vec::new(),
            voice: None,
            answered: None,
            last_packet: None,
            dial_at: None,
            silence_told: false,
            complaints: CallReport::default(),
        }
    }

    /// Does what signalling asks for.
    pub fn order(&mut self, order: Order, now: Instant) {
        match order {
            Order::Agree(peer) if self.voice.is_none() => {
                match Voice::new(&self.owner, peer, &self.plan, now) {
                    Ok(voice) => self.voice = Some(voice),
                    Err(why) => self.complaints.complain(why),
                }
                if !self.owner.is_meta() {
                    self.take_early();
                }
            }
            Order::Speak => self.speak(now),
            Order::Answered if self.answered.is_none() => self.answer(now),
            _ => {}
        }
    }

    fn answer(&mut self, now: Instant) {
        self.answered = Some(now);
        if let Some(voice) = &mut self.voice {
            voice.phone.answered(now);
        }
        if !self.plan.digits.is_empty() {
            self.dial_at = Some(now + BEFORE_DIGITS);
        }
        if self.owner.is_meta() {
            if let Some((at, ..)) = self.early.first() {
                let ahead = now.saturating_duration_since(*at);
                if ahead > RACE {
                    let ms = ahead.as_millis();
                    self.complaints.complain(format!(
                        "media: the first packet came {ms} ms too early (§8)"
                    ));
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
            self.listen(&datagram, from, at.max(self.answered.unwrap_or(at)));
        }
    }

    fn speak(&mut self, now: Instant) {
        if let Some(voice) = &mut self.voice {
            voice.phone.start(now);
        }
    }

    /// Takes a datagram that came in.
    pub fn receive(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let waits = self.owner.is_meta() && self.answered.is_none();
        if waits || self.voice.is_none() {
            if self.early.len() < MOST_EARLY {
                self.early.push((now, from, datagram.to_vec()));
            }
            return;
        }
        self.listen(datagram, from, now);
    }

    fn listen(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        let Some(voice) = &mut self.voice else {
            return;
        };
        let strict = self.owner.is_meta();
        if strict && from != voice.peer.rtp {
            let what = "media: it comes from another address than the SDP says";
            self.complaints.complain(what);
        }
        let kind = Kind::of(datagram);
        if let Err(why) = voice.unprotect(kind, datagram) {
            return self.complaints.complain(why);
        }
        self.last_packet = Some(now);
        if let (Kind::Rtp, Ok(packet)) = (kind, Packet::parse(&voice.opened)) {
            let last = Last {
                ssrc: packet.ssrc(),
                seq: packet.seq(),
                timestamp: packet.timestamp(),
                at: now,
            };
            if strict && let Some(what) = voice.last.and_then(|before| before.fault(last)) {
                self.complaints.complain(what);
            }
            let newest = voice
                .last
                .is_none_or(|before| before.ssrc != last.ssrc || last.seq.since(before.seq) > 0);
            if newest {
                voice.last = Some(last);
            }
        }
        voice.phone.handle(&voice.opened, now);
        if strict && kind == Kind::Rtp {
            voice.phone.start(now); // §8: the business speaks first
        }
    }

    /// When [`Line::poll`] may have something to send.
    pub fn deadline(&self) -> Option<Instant> {
        let phone = self.voice.as_ref().and_then(|voice| voice.phone.deadline());
        [phone, self.dial_at].into_iter().flatten().min()
    }

    /// Makes `out` the next datagram to send and says where it goes; call it until there is none.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<SocketAddr> {
        let voice = self.voice.as_mut()?;
        if self.dial_at.is_some_and(|at| at <= now) {
            self.dial_at = None;
            match voice.phone.dial(&self.plan.digits) {
                true => self.complaints.digits_sent = self.plan.digits.clone(),
                false => self
                    .complaints
                    .complain("digits: no telephone-event was agreed"),
            }
        }
        let kind = voice.phone.poll(now, &mut voice.plain)?;
        voice.protect(kind, out)?;
        let rtcp = voice.peer.rtcp.filter(|_| kind == Kind::Rtcp);
        Some(rtcp.unwrap_or(voice.peer.rtp))
    }

    /// Why the app hangs up now, said once.
    pub fn silent(&mut self, now: Instant) -> Option<String> {
        let answered = self.answered.filter(|_| self.owner.is_meta())?;
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

    /// Adds to a report what this line heard and found wrong.
    pub fn finish(self, report: &mut CallReport, now: Instant) {
        for complaint in self.complaints.complaints {
            report.complain(complaint);
        }
        report.digits_sent = self.complaints.digits_sent;
        if self.answered.is_none() && self.owner.is_meta() && !self.early.is_empty() {
            report.complain("media: it came though the call was never answered (§8)");
        }
        let Some(voice) = self.voice else {
            return;
        };
        report.heard = voice.phone.heard();
        report.digits_received = report.heard.digits.clone();
        report.sent = voice.phone.sent().into();
        let facts = voice.phone.facts(now);
        if !self.owner.is_meta() {
            return;
        }
        if facts.ssrcs.len() > 1 {
            report.complain("media: more than one SSRC; the relay garbles them (§8)");
        }
        if facts.unusable > 0 {
            let what = "media: packets that are neither Opus nor digits as agreed";
            report.complain(what);
        }
        let talked = self.answered.map_or(Duration::ZERO, |at| now - at);
        if talked > Duration::from_secs(10) && facts.reports == 0 {
            report.complain("media: no RTCP in more than 10 s (§8)");
        }
    }
}

impl Voice {
    fn new(owner: &Owner, peer: Peer, plan: &Plan, now: Instant) -> Result<Voice, String> {
        let phone = Phone::new(owner.setup(&peer, plan), now).map_err(|e| e.to_string())?;
        let (mut protect, mut open) = (None, None);
        if let Some(keys) = &peer.keys {
            let sender = Sender::new(keys.profile, &keys.send);
            let receiver = Receiver::new(keys.profile, &keys.receive);
            protect = Some(sender.map_err(|e| e.to_string())?);
            open = Some(receiver.map_err(|e| e.to_string())?);
        }
        Ok(Voice {
            phone,
            peer,
            protect,
            open,
            last: None,
            opened: Vec::new(),
            plain: Vec::new(),
        })
    }

    /// Leaves what a datagram holds in `opened`.
    fn unprotect(&mut self, kind: Kind, datagram: &[u8]) -> Result<(), String> {
        let Some(open) = &mut self.open else {
            self.opened.clear();
            self.opened.extend_from_slice(datagram);
            return Ok(());
        };
        let result = match kind {
            Kind::Rtp => open.unprotect_rtp(datagram, &mut self.opened),
            Kind::Rtcp => open.unprotect_rtcp(datagram, &mut self.opened),
            _ => return Err("media: neither SRTP nor SRTCP".to_owned()),
        };
        result.map_err(|error| format!("media: {error}"))
    }

    fn protect(&mut self, kind: Kind, out: &mut Vec<u8>) -> Option<()> {
        let Some(protect) = &mut self.protect else {
            out.clear();
            out.extend_from_slice(&self.plain);
            return Some(());
        };
        match kind {
            Kind::Rtcp => protect.protect_rtcp(&self.plain, out).ok(),
            _ => protect.protect_rtp(&self.plain, out).ok(),
        }
    }
}

impl Last {
    /// What is wrong with a packet after this one: the sender must be one continuous source (§8).
    fn fault(self, next: Last) -> Option<&'static str> {
        /// Clock units by which timestamps may run ahead of the clock: 5 s.
        const AHEAD: u128 = 5 * 48_000;
        if next.ssrc != self.ssrc {
            return Some("media: a second SSRC appears (§8)");
        }
        let (packets, units) = (
            next.seq.since(self.seq),
            next.timestamp.since(self.timestamp),
        );
        let passed = next.at.saturating_duration_since(self.at).as_millis() * 48;
        match (packets, units) {
            _ if packets.unsigned_abs() > MOST_JUMP => {
                Some("media: the sequence number jumps (§8)")
            }
            (1.., ..0) => Some("media: the timestamp goes backwards (§8)"),
            (1.., _) if units as u128 > passed + AHEAD => Some("media: the timestamp jumps (§8)"),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::media::rtp::Header;
    use crate::media::sdes::Crypto;
    use crate::media::{MasterKey, SrtpKeys, SrtpProfile};

    static PBX_TONE: LazyLock<Arc<Recording>> = LazyLock::new(|| Recording::tone(PBX_HZ).unwrap());

    const MS: Duration = Duration::from_millis(1);

    fn bridge() -> SocketAddr {
        "127.0.0.1:42000".parse().unwrap()
    }

    /// A line of Meta's, and what the bridge protects with.
    struct Bench {
        line: Line,
        theirs: Sender,
        now: Instant,
    }

    impl Bench {
        fn new(plan: Plan) -> Bench {
            let (ours, theirs): (MasterKey, MasterKey) =
                (Crypto::generate(1).key, Crypto::generate(1).key);
            let profile = SrtpProfile::AesCm128HmacSha1_80;
            let now = Instant::now();
            let mut line = Line::new(Owner::meta().unwrap(), plan);
            let sender = Sender::new(profile, &theirs).unwrap();
            let peer = Peer {
                rtp: bridge(),
                rtcp: None,
                opus: 111,
                events: Some((126, 8000)),
                ssrc: 7,
                keys: Some(SrtpKeys {
                    profile,
                    send: ours,
                    receive: theirs,
                }),
            };
            line.order(Order::Agree(peer), now);
            Bench {
                line,
                theirs: sender,
                now,
            }
        }

        fn answered() -> Bench {
            let mut bench = Bench::new(Plan::default());
            bench.line.order(Order::Answered, bench.now);
            bench
        }

        /// The bridge sends one frame.
        fn hears(&mut self, ssrc: u32, seq: u16, timestamp: u32) {
            let header = Header {
                marker: false,
                payload_type: 111,
                seq: Seq(seq),
                timestamp: Timestamp(timestamp),
                ssrc: Ssrc(ssrc),
            };
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            header.write(PBX_TONE.packet(seq.into()), &mut plain);
            self.theirs.protect_rtp(&plain, &mut out).unwrap();
            self.line.receive(&out, bridge(), self.now);
            self.now += 20 * MS;
        }

        fn sends(&mut self) -> usize {
            let mut out = Vec::new();
            let mut sent = 0;
            while self.line.poll(self.now, &mut out).is_some() {
                sent += 1;
            }
            sent
        }

        fn report(self) -> CallReport {
            let mut report = CallReport::default();
            self.line.finish(&mut report, self.now);
            report
        }
    }

    #[test]
    fn a_client_speaks_only_after_the_business_has_and_hears_it() {
        let mut bench = Bench::answered();
        bench.now += 500 * MS;
        assert_eq!(bench.sends(), 0);
        for n in 0..50 {
            bench.hears(1, n, u32::from(n) * 960);
            assert!(bench.sends() > 0 || n == 0);
        }
        let report = bench.report();
        assert_eq!(report.complaints, Vec::<String>::new());
        assert!(report.heard.ok && report.heard.packets == 50 && report.heard.lost == 0);
        assert!(report.heard.first_audio_ms.unwrap() >= 500);
    }

    #[test]
    fn media_before_the_answer_is_named_unless_it_only_overtook_it() {
        for (ahead, named) in [(20 * MS, false), (700 * MS, true)] {
            let mut bench = Bench::new(Plan::default());
            bench.hears(1, 0, 0);
            bench.now += ahead;
            bench.line.order(Order::Answered, bench.now);
            let report = bench.report();
            assert_eq!(report.heard.packets, 1, "it is heard all the same");
            assert_eq!(!report.complaints.is_empty(), named, "{ahead:?}");
        }
        let mut bench = Bench::new(Plan::default());
        bench.hears(1, 0, 0);
        assert!(bench.report().complaints[0].contains("never answered"));
    }

    /// What is said about packets with these sources, numbers and timestamps.
    fn said(packets: &[(u32, u16, u32)]) -> String {
        let mut bench = Bench::answered();
        for (ssrc, seq, timestamp) in packets {
            bench.hears(*ssrc, *seq, *timestamp);
        }
        bench.report().complaints.join("\n")
    }

    #[test]
    fn a_stream_that_is_not_one_is_named() {
        assert_eq!(said(&[(1, 65_535, 0), (1, 0, 960), (1, 3, 3840)]), "");
        assert!(said(&[(1, 0, 0), (2, 1, 960)]).contains("second SSRC"));
        assert!(said(&[(1, 0, 0), (1, 500, 960)]).contains("sequence number jumps"));
        assert!(said(&[(1, 0, 9600), (1, 1, 0)]).contains("goes backwards"));
        assert!(said(&[(1, 0, 0), (1, 1, 960_000)]).contains("timestamp jumps"));
    }

    #[test]
    fn what_is_not_protected_with_the_agreed_key_is_named() {
        let mut bench = Bench::answered();
        bench.line.receive(&[0x80; 60], bridge(), bench.now);
        assert!(!bench.report().complaints.is_empty());
        let mut bench = Bench::answered();
        let stranger = "127.0.0.9:1".parse().unwrap();
        bench.line.receive(&[0x80; 60], stranger, bench.now);
        assert!(bench.report().complaints[0].contains("another address"));
    }

    #[test]
    fn a_client_hangs_up_after_20_s_without_a_first_packet_and_30_s_later_on() {
        let mut bench = Bench::answered();
        assert_eq!(bench.line.silent(bench.now + 19_999 * MS), None);
        let why = bench.line.silent(bench.now + 20_000 * MS).unwrap();
        assert!(why.contains("20 s after the answer"));
        assert_eq!(bench.line.silent(bench.now + 21_000 * MS), None, "once");
        let mut bench = Bench::answered();
        bench.hears(1, 0, 0);
        assert_eq!(bench.line.silent(bench.now + 29_000 * MS), None);
        assert!(bench.line.silent(bench.now + 30_000 * MS).is_some());
    }

    #[test]
    fn a_long_call_without_reports_is_named() {
        let mut bench = Bench::answered();
        bench.hears(1, 0, 0);
        bench.now += 11_000 * MS;
        assert!(bench.report().complaints[0].contains("no RTCP"));
    }

    #[test]
    fn digits_are_pressed_one_second_after_the_answer() {
        let mut bench = Bench::new(Plan {
            digits: "12#".into(),
            ..Plan::default()
        });
        bench.line.order(Order::Answered, bench.now);
        for n in 0..40 {
            bench.hears(1, n, u32::from(n) * 960);
            bench.sends();
        }
        assert_eq!(bench.line.complaints.digits_sent, "");
        for n in 40..60 {
            bench.hears(1, n, u32::from(n) * 960);
            bench.sends();
        }
        assert_eq!(bench.report().digits_sent, "12#");
    }
}
