//! Two sides joined: a packet in, packets out. No socket, no clock, no lock; buffers are used again.

use std::net::SocketAddr;
use std::time::Instant;

use super::outbox::{Outbox, Socket};
use super::rtcp::WallClock;
use super::settings::Timing;
use super::side::{Lot, Side};
use super::srtp::KeyError;
use super::{Command, SessionStats};
use crate::leg::Leg;

/// A session, as its worker sees it.
pub(crate) struct Session {
    meta: Side,
    pbx: Side,
}

impl Session {
    /// A session with which nothing is agreed yet; each side has its own lot.
    pub(crate) fn new(
        timing: Timing,
        meta: Lot,
        pbx: Lot,
        wall: WallClock,
        now: Instant,
    ) -> Session {
        Session {
            meta: Side::new(Leg::Meta, timing, meta, wall, now),
            pbx: Side::new(Leg::Pbx, timing, pbx, wall, now),
        }
    }

    /// Does what signalling says; what that makes due at once is in `out`.
    ///
    /// # Errors
    /// When a key cannot be used; nothing is then agreed with that side.
    pub(crate) fn command(
        &mut self,
        command: Command,
        now: Instant,
        out: &mut Outbox,
    ) -> Result<(), KeyError> {
        match command {
            Command::Agree { leg, side } => self.side(leg).agree(side)?,
            Command::Start { leg } => self.side(leg).start(now),
        }
        self.tick(now, out);
        Ok(())
    }

    /// Takes a datagram that came to a socket of one side.
    pub(crate) fn datagram(
        &mut self,
        leg: Leg,
        socket: Socket,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        let (near, far) = match leg {
            Leg::Meta => (&mut self.meta, &mut self.pbx),
            Leg::Pbx => (&mut self.pbx, &mut self.meta),
        };
        let Some(heard) = near.receive(socket, from, datagram, now) else {
            return;
        };
        if let Err(lost) = far.forward(&heard, now, out) {
            near.count(lost);
        }
    }

    /// The system would not send a packet for this leg.
    pub(crate) fn unsent(&mut self, leg: Leg) {
        self.side(leg).unsent();
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, now: Instant, out: &mut Outbox) {
        self.meta.tick(now, out);
        self.pbx.tick(now, out);
    }

    /// When [`Session::tick`] is next due; ask again after every input.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        [self.meta.deadline(), self.pbx.deadline()]
            .into_iter()
            .flatten()
            .min()
    }

    /// Says goodbye to both sides.
    pub(crate) fn close(&mut self, now: Instant, out: &mut Outbox) {
        self.meta.bye(now, out);
        self.pbx.bye(now, out);
    }

    /// What was carried so far.
    pub(crate) fn stats(&self) -> SessionStats {
        SessionStats {
            meta: self.meta.stats(),
            pbx: self.pbx.stats(),
        }
    }

    fn side(&mut self, leg: Leg) -> &mut Side {
        match leg {
            Leg::Meta => &mut self.meta,
            Leg::Pbx => &mut self.pbx,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
    use crate::media::srtp::{Receiver, Sender};
    use crate::media::{
        Codec, Direction, MasterKey, Payload, Security, SideSpec, Source, SrtpKeys, SrtpProfile,
        rtcp,
    };

    const META: &str = "198.51.100.1:40012";
    const PBX: &str = "192.0.2.5:14000";
    const PBX_RTCP: &str = "192.0.2.5:14001";
    const EVENT_8K: Codec = Codec::TelephoneEvent { rate: 8_000 };
    const EVENT_48K: Codec = Codec::TelephoneEvent { rate: 48_000 };
    const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];

    fn at(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn map(payloads: &[(u8, Codec)]) -> Vec<Payload> {
        payloads
            .iter()
            .map(|&(number, codec)| Payload { number, codec })
            .collect()
    }

    fn side(rtp: &str, rtcp: Option<&str>, payloads: &[(u8, Codec)]) -> SideSpec {
        SideSpec {
            remote_rtp: at(rtp),
            remote_rtcp: rtcp.map(at),
            send: map(payloads),
            receive: map(payloads),
            security: Security::Plain,
            source: Source::Negotiated,
            direction: Direction::SendRecv,
        }
    }

    fn meta() -> SideSpec {
        side(META, None, &[(111, Codec::Opus), (126, EVENT_8K)])
    }

    fn pbx() -> SideSpec {
        side(PBX, Some(PBX_RTCP), &[(107, Codec::Opus), (101, EVENT_8K)])
    }

    /// What the far end sends: a stream with 20 ms frames.
    fn frame(payload_type: u8, ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        Header {
            marker: false,
            payload_type,
            seq: Seq(seq),
            timestamp: Timestamp(u32::from(seq) * 960),
            ssrc: Ssrc(ssrc),
        }
        .write(payload, &mut out);
        out
    }

    struct Sent {
        at: Duration,
        leg: Leg,
        socket: Socket,
        to: SocketAddr,
        bytes: Vec<u8>,
    }

    impl Sent {
        fn is_rtcp(&self) -> bool {
            super::super::demux::Kind::of(&self.bytes) == super::super::demux::Kind::Rtcp
        }
    }

    /// A session in virtual time.
    struct Call {
        session: Session,
        begun: Instant,
        now: Instant,
        out: Outbox,
        sent: Vec<Sent>,
        silent: Vec<(Duration, Leg)>,
    }

    /// A session with which nothing is agreed.
    fn bare() -> Call {
        let now = Instant::now();
        let timing = crate::media::Settings::default().timing();
        let wall = WallClock::new(now, Duration::from_secs(1_800_000_000));
        let lot = |ssrc, seq| Lot {
            ssrc,
            seq,
            timestamp: 4_000_000_000,
        };
        let session = Session::new(timing, lot(0xa, 65_530), lot(0xb, 7), wall, now);
        let (out, sent, silent) = (Outbox::new(), Vec::new(), Vec::new());
        Call {
            session,
            begun: now,
            now,
            out,
            sent,
            silent,
        }
    }

    /// A session agreed with both sides, neither started.
    fn agreed() -> Call {
        let mut call = bare();
        call.agree(Leg::Meta, meta()).agree(Leg::Pbx, pbx());
        call
    }

    /// A call that talks.
    fn talking() -> Call {
        let mut call = agreed();
        call.start(Leg::Pbx).start(Leg::Meta);
        call
    }

    impl Call {
        fn collect(&mut self) -> &mut Self {
            let at = self.now - self.begun;
            for p in self.out.packets() {
                let (leg, socket, to, bytes) = (p.leg, p.socket, p.to, p.bytes.to_vec());
                self.sent.push(Sent {
                    at,
                    leg,
                    socket,
                    to,
                    bytes,
                });
            }
            self.silent
                .extend(self.out.silent_legs().map(|leg| (at, leg)));
            self.out.clear();
            self
        }

        fn command(&mut self, command: Command) -> &mut Self {
            self.session
                .command(command, self.now, &mut self.out)
                .unwrap();
            self.collect()
        }

        fn agree(&mut self, leg: Leg, side: SideSpec) -> &mut Self {
            self.command(Command::Agree { leg, side })
        }

        fn start(&mut self, leg: Leg) -> &mut Self {
            self.command(Command::Start { leg })
        }

        /// Lets time pass, waking the session exactly when it asks to be.
        fn wait(&mut self, ms: u64) -> &mut Self {
            let until = self.now + Duration::from_millis(ms);
            while let Some(due) = self.session.deadline().filter(|&due| due <= until) {
                self.now = self.now.max(due);
                self.session.tick(self.now, &mut self.out);
                self.collect();
            }
            self.now = until;
            self
        }

        fn comes(&mut self, leg: Leg, socket: Socket, from: &str, datagram: &[u8]) -> &mut Self {
            self.session
                .datagram(leg, socket, at(from), datagram, self.now, &mut self.out);
            self.collect()
        }

        fn meta_sends(&mut self, packet: &[u8]) -> &mut Self {
            self.comes(Leg::Meta, Socket::Rtp, META, packet)
        }

        fn pbx_sends(&mut self, packet: &[u8]) -> &mut Self {
            self.comes(Leg::Pbx, Socket::Rtp, PBX, packet)
        }

        /// The audio of a peer for a while, one frame each 20 ms.
        fn talk(&mut self, leg: Leg, ssrc: u32, seqs: std::ops::Range<u16>) -> &mut Self {
            for seq in seqs {
                match leg {
                    Leg::Meta => self.meta_sends(&frame(111, ssrc, seq, b"voice")),
                    Leg::Pbx => self.pbx_sends(&frame(107, ssrc, seq, b"voice")),
                };
                self.wait(20);
            }
            self
        }

        /// The RTP sent to a side so far: header and payload.
        fn rtp(&self, leg: Leg) -> Vec<(Header, &[u8])> {
            let packets = self.sent.iter().filter(|s| s.leg == leg && !s.is_rtcp());
            packets
                .map(|s| {
                    let packet = Packet::parse(&s.bytes).unwrap();
                    (packet.header(), packet.payload())
                })
                .collect()
        }

        /// When and to whom RTCP went.
        fn rtcp(&self, leg: Leg) -> Vec<&Sent> {
            self.sent
                .iter()
                .filter(|s| s.leg == leg && s.is_rtcp())
                .collect()
        }

        /// Fails unless a side heard one SSRC, one sequence without a gap, and a clock that only goes forward.
        fn is_one_stream(&self, leg: Leg) -> &Self {
            for pair in self.rtp(leg).windows(2) {
                let [(a, _), (b, _)] = pair else {
                    unreachable!()
                };
                assert_eq!(a.ssrc, b.ssrc);
                assert_eq!(b.seq, a.seq.next(), "{a:?} then {b:?}");
                assert!(b.timestamp.since(a.timestamp) > 0, "{a:?} then {b:?}");
                assert!(b.timestamp.since(a.timestamp) < 48_000, "{a:?} then {b:?}");
            }
            self
        }
    }

    #[test]
    fn nothing_goes_to_meta_before_start_and_a_silence_frame_at_once_after_it() {
        let mut call = agreed();
        call.start(Leg::Pbx).talk(Leg::Pbx, 1, 0..100);
        assert!(
            call.sent.iter().all(|s| s.leg == Leg::Pbx),
            "only RTCP towards the PBX"
        );
        assert_eq!(call.session.stats().meta.held_back, 100);

        call.start(Leg::Meta);
        let (first, payload) = call.rtp(Leg::Meta)[0];
        assert_eq!(
            call.sent
                .iter()
                .find(|s| s.leg == Leg::Meta)
                .unwrap()
                .at
                .as_millis(),
            2_000
        );
        assert_eq!(
            (payload, first.payload_type, first.marker),
            (SILENCE, 111, true)
        );
        assert!(first.seq.0 < 1 << 15, "RFC 3711 §3.3.1");
        call.talk(Leg::Pbx, 1, 100..150).is_one_stream(Leg::Meta);
    }

    #[test]
    fn start_before_the_agreement_takes_effect_with_it() {
        let mut call = bare();
        call.start(Leg::Meta).wait(100);
        assert!(call.sent.is_empty());
        call.agree(Leg::Meta, meta());
        assert_eq!(call.rtp(Leg::Meta).len(), 1);
    }

    #[test]
    fn payload_numbers_are_mapped_by_codec_both_ways() {
        let mut call = talking();
        call.pbx_sends(&frame(107, 1, 1, b"to meta"))
            .pbx_sends(&frame(101, 1, 2, &[5, 10, 0, 160]));
        call.meta_sends(&frame(111, 2, 1, b"to pbx"))
            .meta_sends(&frame(126, 2, 2, &[5, 10, 0, 160]));
        let numbers = |leg| {
            call.rtp(leg)
                .iter()
                .map(|(h, _)| h.payload_type)
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(Leg::Meta), [111, 111, 126]);
        assert_eq!(numbers(Leg::Pbx), [107, 101]);
        assert_eq!(call.rtp(Leg::Pbx)[0].1, b"to pbx");
    }

    #[test]
    fn what_nobody_agreed_to_is_dropped_and_counted() {
        let mut call = talking();
        call.pbx_sends(&frame(8, 1, 1, b"alaw"))
            .pbx_sends(b"\x05 not RTP")
            .pbx_sends(&[0x80; 5]);
        call.agree(Leg::Meta, side(META, None, &[(111, Codec::Opus)]));
        call.pbx_sends(&frame(101, 1, 2, &[5, 10, 0, 160]));
        assert_eq!(call.session.stats().pbx.unusable, 4);
        assert_eq!(call.rtp(Leg::Meta).len(), 1, "our silence alone");
    }

    #[test]
    fn an_event_of_another_clock_rate_has_its_duration_scaled() {
        let mut call = agreed();
        call.agree(
            Leg::Pbx,
            side(PBX, None, &[(107, Codec::Opus), (102, EVENT_48K)]),
        );
        call.start(Leg::Pbx).start(Leg::Meta);
        call.pbx_sends(&frame(102, 1, 2, &[5, 0x8a, 0x12, 0xc0]));
        call.meta_sends(&frame(126, 2, 2, &[7, 10, 0, 160]));
        call.meta_sends(&frame(126, 2, 3, &[7, 10, 0xff, 0xff]));
        call.meta_sends(&frame(126, 2, 4, &[7]));
        assert_eq!(
            call.rtp(Leg::Meta)[1].1,
            [5, 0x8a, 0x03, 0x20],
            "4800/48000 s is 800/8000 s"
        );
        assert_eq!(call.rtp(Leg::Pbx)[0].1, [7, 10, 0x03, 0xc0]);
        assert_eq!(
            call.rtp(Leg::Pbx)[1].1,
            [7, 10, 0xff, 0xff],
            "as long as the field can say"
        );
        assert_eq!(
            call.session.stats().meta.unusable,
            1,
            "too short to be an event"
        );
    }

    #[test]
    fn meta_hears_one_stream_whatever_the_pbx_does_with_its_own() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 65_500..65_535).wait(900);
        call.talk(Leg::Pbx, 2, 10..60).wait(5_000);
        call.talk(Leg::Pbx, 2, 60..100)
            .talk(Leg::Pbx, 3, 40_000..40_020)
            .wait(1_000);
        call.is_one_stream(Leg::Meta);
        assert_eq!(
            call.rtp(Leg::Meta)
                .iter()
                .filter(|(_, p)| *p == b"voice")
                .count(),
            145
        );
    }

    #[test]
    fn sequence_numbers_towards_meta_go_on_across_the_wrap() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 0..65_000);
        call.is_one_stream(Leg::Meta);
        assert_eq!(call.session.stats().meta.sent, 65_001);
    }

    #[test]
    fn a_silent_pbx_is_covered_by_frames_that_libopus_decodes_to_silence() {
        let mut call = talking();
        call.wait(4_000);
        let frames: Vec<_> = call
            .sent
            .iter()
            .filter(|s| s.leg == Leg::Meta && !s.is_rtcp())
            .collect();
        assert!(
            frames
                .windows(2)
                .all(|w| w[1].at - w[0].at <= Duration::from_millis(400))
        );
        assert_eq!(frames.len(), 11);
        assert_eq!(call.session.stats().meta.silence_sent, 11);
        call.is_one_stream(Leg::Meta);

        let mut decoder = opus::Decoder::new(48_000, opus::Channels::Stereo).unwrap();
        let mut sound = [1i16; 960 * 2];
        for (_, payload) in call.rtp(Leg::Meta) {
            assert_eq!(decoder.decode(payload, &mut sound, false).unwrap(), 960);
            assert!(sound.iter().all(|sample| *sample == 0));
        }
        assert!(call.rtp(Leg::Pbx).is_empty(), "the PBX needs none");
    }

    #[test]
    fn a_loss_of_the_pbx_reaches_meta_as_a_gap_and_a_repetition_does_not() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 0..10)
            .talk(Leg::Pbx, 1, 12..14)
            .talk(Leg::Pbx, 1, 13..14);
        let seqs: Vec<_> = call.rtp(Leg::Meta).iter().map(|(h, _)| h.seq.0).collect();
        assert_eq!(seqs[10] + 3, seqs[11]);
        assert_eq!(seqs.len(), 13);
        let stats = call.session.stats().pbx;
        assert_eq!((stats.repeated, stats.received), (1, 13));
    }

    #[test]
    fn packets_of_strangers_are_ignored_and_counted() {
        let mut call = talking();
        let packet = frame(107, 1, 1, b"voice");
        call.comes(Leg::Pbx, Socket::Rtp, "192.0.2.5:14002", &packet);
        call.comes(Leg::Pbx, Socket::Rtp, "192.0.2.66:14000", &packet);
        call.comes(Leg::Meta, Socket::Rtp, PBX, &frame(111, 1, 1, b"voice"));
        assert_eq!(call.rtp(Leg::Meta).len(), 1, "our silence");
        assert!(call.rtp(Leg::Pbx).is_empty());
        let stats = call.session.stats();
        assert_eq!((stats.pbx.strangers, stats.meta.strangers), (2, 1));
        assert_eq!(
            bare()
                .comes(Leg::Pbx, Socket::Rtp, PBX, &packet)
                .session
                .stats()
                .pbx
                .strangers,
            1
        );
    }

    #[test]
    fn the_first_source_is_locked_on_to_and_answered() {
        let mut call = agreed();
        call.agree(
            Leg::Pbx,
            SideSpec {
                source: Source::First,
                ..pbx()
            },
        );
        call.start(Leg::Pbx).start(Leg::Meta);
        call.comes(
            Leg::Pbx,
            Socket::Rtp,
            "203.0.113.66:9",
            &frame(99, 1, 1, b"unknown number"),
        );
        call.comes(
            Leg::Pbx,
            Socket::Rtp,
            "203.0.113.9:61000",
            &frame(107, 1, 1, b"voice"),
        );
        call.comes(
            Leg::Pbx,
            Socket::Rtp,
            "203.0.113.66:9",
            &frame(107, 9, 1, b"intruder"),
        );
        call.pbx_sends(&frame(107, 1, 2, b"from where SDP said"));
        call.meta_sends(&frame(111, 2, 1, b"answer"));
        let stats = call.session.stats().pbx;
        assert_eq!((stats.received, stats.strangers, stats.unusable), (1, 2, 1));
        assert_eq!(call.sent.last().unwrap().to, at("203.0.113.9:61000"));
        // The same agreement again (a repeated answer) does not forget what was learnt.
        call.agree(
            Leg::Pbx,
            SideSpec {
                source: Source::First,
                ..pbx()
            },
        );
        call.meta_sends(&frame(111, 2, 2, b"answer"));
        assert_eq!(call.sent.last().unwrap().to, at("203.0.113.9:61000"));
    }

    #[test]
    fn reports_lock_on_too_and_then_rtp_must_come_from_the_same_host() {
        let mut call = agreed();
        call.agree(
            Leg::Pbx,
            SideSpec {
                source: Source::First,
                ..pbx()
            },
        );
        call.start(Leg::Pbx).start(Leg::Meta);
        let mut report = Vec::new();
        rtcp::Report {
            ssrc: Ssrc(5),
            sent: None,
            blocks: &[],
            cname: "pbx",
            bye: false,
        }
        .write(&mut report);
        call.comes(Leg::Pbx, Socket::Rtcp, "203.0.113.9:61001", &report);
        call.comes(
            Leg::Pbx,
            Socket::Rtp,
            "203.0.113.66:9",
            &frame(107, 9, 1, b"intruder"),
        );
        call.comes(
            Leg::Pbx,
            Socket::Rtp,
            "203.0.113.9:61000",
            &frame(107, 1, 1, b"voice"),
        );
        call.wait(5_000);
        assert!(
            call.rtcp(Leg::Pbx)
                .iter()
                .all(|sent| sent.to == at("203.0.113.9:61001"))
        );
        let stats = call.session.stats().pbx;
        assert_eq!((stats.received, stats.strangers), (1, 1));
    }

    #[test]
    fn a_leg_from_which_nothing_comes_is_told_once_counted_from_its_own_start() {
        let mut call = agreed();
        call.start(Leg::Pbx)
            .wait(10_000)
            .start(Leg::Meta)
            .wait(60_000);
        assert_eq!(
            call.silent,
            [
                (Duration::from_secs(30), Leg::Pbx),
                (Duration::from_secs(40), Leg::Meta),
            ]
        );
    }

    #[test]
    fn the_silence_of_a_leg_that_was_started_early_counts_anew_from_the_answer() {
        let mut call = agreed();
        call.start(Leg::Pbx)
            .wait(45_000)
            .start(Leg::Pbx)
            .wait(60_000);
        assert_eq!(
            call.silent,
            [
                (Duration::from_secs(30), Leg::Pbx),
                (Duration::from_secs(75), Leg::Pbx),
            ]
        );
    }

    #[test]
    fn reports_alone_keep_a_leg_from_being_silent() {
        let mut call = talking();
        let mut report = Vec::new();
        rtcp::Report {
            ssrc: Ssrc(5),
            sent: None,
            blocks: &[],
            cname: "pbx",
            bye: false,
        }
        .write(&mut report);
        for _ in 0..4 {
            call.wait(20_000)
                .comes(Leg::Pbx, Socket::Rtcp, PBX_RTCP, &report);
        }
        assert_eq!(call.silent, [(Duration::from_secs(30), Leg::Meta)]);
    }

    #[test]
    fn a_pbx_that_sends_only_comfort_noise_is_not_silent() {
        let mut call = talking();
        for seq in 0..40 {
            call.pbx_sends(&frame(13, 1, seq, b"noise")).wait(1_000);
        }
        assert_eq!(call.silent, [(Duration::from_secs(30), Leg::Meta)]);
        assert_eq!(call.session.stats().pbx.unusable, 40);
    }

    #[test]
    fn a_leg_that_falls_silent_in_the_middle_is_told() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 0..500).wait(30_000);
        assert!(
            call.silent
                .contains(&(Duration::from_millis(39_980), Leg::Pbx)),
            "{:?}",
            call.silent
        );
    }

    #[test]
    fn both_sides_get_reports_every_five_seconds_where_they_expect_them() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 0..1500);
        for (leg, socket, to) in [
            (Leg::Meta, Socket::Rtp, META),
            (Leg::Pbx, Socket::Rtcp, PBX_RTCP),
        ] {
            let reports = call.rtcp(leg);
            assert!(reports.len() >= 6, "{leg}: {}", reports.len());
            assert!(
                reports
                    .windows(2)
                    .all(|w| w[1].at - w[0].at <= Duration::from_secs(5))
            );
            assert!(reports.iter().all(|r| r.socket == socket && r.to == at(to)));
        }
        let last = rtcp::read(&call.rtcp(Leg::Meta).last().unwrap().bytes)
            .unwrap()
            .next();
        assert!(
            matches!(last, Some(rtcp::Entry::Sent { from: Ssrc(0xa), sent }) if sent.packets > 1000)
        );
        let heard = rtcp::read(&call.rtcp(Leg::Pbx).last().unwrap().bytes)
            .unwrap()
            .next();
        assert!(
            matches!(heard, Some(rtcp::Entry::Heard { block, .. }) if block.source == Ssrc(1) && block.lost == 0)
        );
    }

    #[test]
    fn a_report_about_us_measures_the_round_trip() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 0..50);
        let first = rtcp::read(&call.rtcp(Leg::Meta)[0].bytes).unwrap().next();
        let Some(rtcp::Entry::Sent { sent, .. }) = first else {
            panic!("{first:?}")
        };
        let block = rtcp::Block {
            source: Ssrc(0xa),
            fraction_lost: 0,
            lost: 0,
            highest: 0,
            jitter: 0,
            last_sender_report: sent.ntp.middle(),
            delay: call.now - call.begun - call.rtcp(Leg::Meta)[0].at,
        };
        call.wait(80);
        let mut report = Vec::new();
        rtcp::Report {
            ssrc: Ssrc(5),
            sent: None,
            blocks: &[block],
            cname: "meta",
            bye: false,
        }
        .write(&mut report);
        call.meta_sends(&report);
        let trip = call.session.stats().meta.round_trip_ms.unwrap();
        assert!((79.9..80.1).contains(&trip), "{trip}");
    }

    #[test]
    fn the_end_is_said_with_bye_to_whom_we_spoke() {
        let mut call = talking();
        call.talk(Leg::Pbx, 1, 0..2);
        call.session.close(call.now, &mut call.out);
        call.collect();
        let last = call.sent.last().unwrap();
        assert_eq!(
            last.leg,
            Leg::Meta,
            "the PBX heard no RTP of ours, so there is no stream to end"
        );
        let said: Vec<_> = rtcp::read(&last.bytes).unwrap().collect();
        assert_eq!(said.last(), Some(&rtcp::Entry::Bye { from: Ssrc(0xa) }));
    }

    #[test]
    fn a_side_on_hold_is_neither_sent_to_nor_listened_to_but_gets_reports() {
        let mut call = talking();
        call.agree(
            Leg::Pbx,
            SideSpec {
                direction: Direction::Inactive,
                ..pbx()
            },
        );
        call.talk(Leg::Meta, 2, 0..400).talk(Leg::Pbx, 1, 0..50);
        assert!(call.rtp(Leg::Pbx).is_empty());
        assert!(
            call.rtp(Leg::Meta)
                .iter()
                .all(|(_, payload)| *payload == SILENCE)
        );
        assert!(call.rtcp(Leg::Pbx).len() >= 2);
        call.agree(Leg::Pbx, pbx())
            .talk(Leg::Meta, 2, 400..410)
            .talk(Leg::Pbx, 1, 50..60);
        call.is_one_stream(Leg::Meta).is_one_stream(Leg::Pbx);
        assert_eq!(call.rtp(Leg::Pbx).len(), 10);
    }

    fn key(octet: u8) -> MasterKey {
        MasterKey(vec![octet; 30])
    }

    const PROFILE: SrtpProfile = SrtpProfile::AesCm128HmacSha1_80;

    fn keyed(spec: SideSpec, send: u8, receive: u8) -> SideSpec {
        let keys = SrtpKeys {
            profile: PROFILE,
            send: key(send),
            receive: key(receive),
        };
        SideSpec {
            security: Security::Sdes(keys),
            ..spec
        }
    }

    #[test]
    fn srtp_is_opened_and_sealed_on_both_sides_with_each_sides_keys() {
        let mut call = bare();
        call.agree(Leg::Meta, keyed(meta(), 1, 2))
            .agree(Leg::Pbx, keyed(pbx(), 3, 4));
        call.start(Leg::Pbx).start(Leg::Meta);
        let (mut meta, mut pbx) = (
            Sender::new(PROFILE, &key(2)).unwrap(),
            Sender::new(PROFILE, &key(4)).unwrap(),
        );
        let mut sealed = Vec::new();
        for seq in 0..300 {
            meta.protect_rtp(&frame(111, 1, seq, b"from meta"), &mut sealed)
                .unwrap();
            call.meta_sends(&sealed);
            pbx.protect_rtp(&frame(107, 2, seq, b"from pbx"), &mut sealed)
                .unwrap();
            call.pbx_sends(&sealed).wait(20);
        }
        for (leg, key_octet, text) in [
            (Leg::Meta, 1, &b"from pbx"[..]),
            (Leg::Pbx, 3, b"from meta"),
        ] {
            let mut receiver = Receiver::new(PROFILE, &key(key_octet)).unwrap();
            let (mut clear, mut heard) = (Vec::new(), 0);
            for sent in call.sent.iter().filter(|s| s.leg == leg) {
                if sent.is_rtcp() {
                    receiver.unprotect_rtcp(&sent.bytes, &mut clear).unwrap();
                    assert!(rtcp::read(&clear).is_ok());
                } else {
                    receiver.unprotect_rtp(&sent.bytes, &mut clear).unwrap();
                    heard += usize::from(Packet::parse(&clear).unwrap().payload() == text);
                }
            }
            assert_eq!(heard, 300, "{leg}");
        }
    }

    #[test]
    fn what_is_forged_or_replayed_is_refused_and_locks_nobody_on() {
        let mut call = agreed();
        let first = SideSpec {
            source: Source::First,
            ..keyed(meta(), 1, 2)
        };
        call.agree(Leg::Meta, first.clone())
            .start(Leg::Pbx)
            .start(Leg::Meta);
        let (mut sender, mut sealed) = (Sender::new(PROFILE, &key(2)).unwrap(), Vec::new());
        sender
            .protect_rtp(&frame(111, 1, 1, b"voice"), &mut sealed)
            .unwrap();
        let mut forged = sealed.clone();
        forged[14] ^= 1;
        call.comes(Leg::Meta, Socket::Rtp, "203.0.113.66:9", &forged);
        call.meta_sends(&sealed).meta_sends(&sealed);
        // A repeated agreement must not make old packets new.
        call.agree(Leg::Meta, first).meta_sends(&sealed);
        let stats = call.session.stats().meta;
        assert_eq!((stats.refused, stats.received, stats.strangers), (3, 1, 0));
        assert_eq!(call.rtp(Leg::Pbx).len(), 1);
    }

    #[test]
    fn a_key_of_the_wrong_length_is_an_error_and_nothing_is_sent() {
        let mut call = agreed();
        let keys = SrtpKeys {
            profile: PROFILE,
            send: MasterKey(vec![1; 5]),
            receive: key(2),
        };
        let command = Command::Agree {
            leg: Leg::Meta,
            side: SideSpec {
                security: Security::Sdes(keys),
                ..meta()
            },
        };
        assert!(
            call.session
                .command(command, call.now, &mut call.out)
                .is_err()
        );
        call.start(Leg::Meta).wait(10_000);
        assert!(call.sent.is_empty(), "least of all in clear");
    }

    proptest::proptest! {
        #[test]
        fn no_datagram_makes_a_session_panic(
            datagrams: Vec<(Vec<u8>, bool, bool, u16)>, header in proptest::option::of((0u8..128, 0u16..9)),
        ) {
            let mut call = talking();
            for (mut bytes, from_meta, rtcp, wait) in datagrams {
                if let (Some((payload, seq)), Some(start)) = (header, bytes.first_chunk_mut::<4>()) {
                    *start = [0x80, payload, seq as u8, 0];
                }
                let socket = if rtcp { Socket::Rtcp } else { Socket::Rtp };
                let (leg, from) = if from_meta { (Leg::Meta, META) } else { (Leg::Pbx, PBX) };
                call.comes(leg, socket, from, &bytes).wait(wait.into());
            }
        }
    }
}
