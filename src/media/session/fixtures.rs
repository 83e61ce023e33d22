//! A session in virtual time, for its tests.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use super::Session;
use crate::leg::Leg;
use crate::media::common::{Announced, Common};
use crate::media::demux::Kind;
use crate::media::outbox::{News, Outbox, Socket};
use crate::media::rtcp::{self, Block, WallClock};
use crate::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use crate::media::side::Lot;
use crate::media::sound::{Decode, Decoder};
use crate::media::{
    Codec, Command, Direction, Measured, Payload, Security, Settings, SideSpec, Source, dtls,
};

pub(super) const META: &str = "198.51.100.1:40012";
pub(super) const PBX: &str = "192.0.2.5:14000";
pub(super) const PBX_RTCP: &str = "192.0.2.5:14001";
pub(super) const EVENT_8K: Codec = Codec::TelephoneEvent { rate: 8_000 };
pub(super) const EVENT_48K: Codec = Codec::TelephoneEvent { rate: 48_000 };
pub(super) const SILENCE: &[u8] = &[0xf8, 0xff, 0xfe];
/// Where we listen for Meta.
const OURS: [&str; 2] = ["198.51.100.20:0", "[2001:db8:40::20]:0"];
/// One is enough for all tests.
static CERTIFICATE: LazyLock<dtls::Certificate> =
    LazyLock::new(|| dtls::Certificate::generate().unwrap());

pub(super) fn at(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

pub(super) fn map(payloads: &[(u8, Codec)]) -> Vec<Payload> {
    payloads
        .iter()
        .map(|&(number, codec)| Payload { number, codec })
        .collect()
}

pub(super) fn side(rtp: &str, rtcp: Option<&str>, payloads: &[(u8, Codec)]) -> SideSpec {
    SideSpec {
        remote_rtp: at(rtp),
        remote_rtcp: rtcp.map(at),
        send: map(payloads),
        receive: map(payloads),
        security: Security::Plain,
        source: Source::Negotiated,
        direction: Direction::SendRecv,
        ptime: Duration::from_millis(20),
        tones: false,
        extended_reports: Default::default(),
    }
}

pub(super) fn meta() -> SideSpec {
    side(META, None, &[(111, Codec::Opus), (126, EVENT_8K)])
}

pub(super) fn pbx() -> SideSpec {
    side(PBX, Some(PBX_RTCP), &[(107, Codec::Opus), (101, EVENT_8K)])
}

/// A PBX that has its digits as tones in its sound.
pub(super) fn by_tones(number: u8, codec: Codec) -> SideSpec {
    SideSpec {
        tones: true,
        ..side(PBX, Some(PBX_RTCP), &[(number, codec)])
    }
}

/// The sound in payloads of one codec, 8000 samples a second.
pub(super) fn decoded<'a>(codec: Codec, payloads: impl Iterator<Item = &'a [u8]>) -> Vec<i16> {
    let mut decoder = Decoder::new(codec, 8_000).unwrap();
    let mut samples = Vec::new();
    for payload in payloads {
        decoder.decode(payload, &mut samples).unwrap();
    }
    samples
}

/// What the far end sends: a stream with 20 ms frames.
pub(super) fn frame(payload_type: u8, ssrc: u32, seq: u16, payload: &[u8]) -> Vec<u8> {
    frame_at(payload_type, ssrc, seq, u32::from(seq) * 960, payload)
}

/// One frame at any time of the source's clock.
pub(super) fn frame_at(
    payload_type: u8,
    ssrc: u32,
    seq: u16,
    timestamp: u32,
    payload: &[u8],
) -> Vec<u8> {
    let mut out = Vec::new();
    Header {
        marker: false,
        payload_type,
        seq: Seq(seq),
        timestamp: Timestamp(timestamp),
        ssrc: Ssrc(ssrc),
    }
    .write(payload, &mut out);
    out
}

/// Speech, each frame with the number of its packet in it.
pub(super) fn voice(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    [b"voice".as_slice(), &[high, low]].concat()
}

/// The number that a frame of [`voice`] tells; `None`: it is none.
pub(super) fn number_of(payload: &[u8]) -> Option<u16> {
    let number = payload.strip_prefix(b"voice")?;
    Some(u16::from_be_bytes(number.try_into().ok()?))
}

pub(super) struct Sent {
    pub(super) at: Duration,
    pub(super) leg: Leg,
    pub(super) socket: Socket,
    pub(super) to: SocketAddr,
    pub(super) bytes: Vec<u8>,
}

impl Sent {
    pub(super) fn is_rtcp(&self) -> bool {
        Kind::of(&self.bytes) == Kind::Rtcp
    }
}

/// A session in virtual time.
pub(super) struct Call {
    pub(super) session: Session,
    pub(super) begun: Instant,
    pub(super) now: Instant,
    pub(super) out: Outbox,
    pub(super) sent: Vec<Sent>,
    /// What our SDP says.
    pub(super) fingerprint: dtls::Fingerprint,
    /// What was told, and when.
    pub(super) told: Vec<(Duration, Leg, News)>,
    /// What each direction was like, and when that was told.
    pub(super) measured: Vec<(Duration, Leg, Measured)>,
}

/// A session with which nothing is agreed.
pub(super) fn bare() -> Call {
    with(Settings::default())
}

/// The same with other settings.
pub(super) fn with(settings: Settings) -> Call {
    sharing(&common(&settings))
}

/// What the sessions of an engine share that has these settings.
pub(super) fn common(settings: &Settings) -> Arc<Common> {
    Arc::new(Common {
        timing: settings.timing(),
        manner: settings.manner(),
        ice: settings.ice(),
        dtls: dtls::Context::new(&CERTIFICATE, &settings.dtls()).unwrap(),
        meta: OURS.map(at).to_vec(),
        announced: Announced::new(OURS.map(|ours| at(ours).ip()).to_vec()),
    })
}

/// One of the sessions that share this.
pub(super) fn sharing(common: &Arc<Common>) -> Call {
    let now = Instant::now();
    let wall = WallClock::new(now, Duration::from_secs(1_800_000_000));
    let lot = |ssrc, seq| Lot {
        ssrc,
        seq,
        timestamp: 4_000_000_000,
    };
    let session = Session::new(common.clone(), lot(0xa, 65_530), lot(0xb, 7), wall, now);
    Call {
        session,
        begun: now,
        now,
        out: Outbox::new(),
        sent: Vec::new(),
        fingerprint: common.dtls.fingerprint(),
        told: Vec::new(),
        measured: Vec::new(),
    }
}

/// A session agreed with both sides, neither started.
pub(super) fn agreed() -> Call {
    let mut call = bare();
    call.agree(Leg::Meta, meta()).agree(Leg::Pbx, pbx());
    call
}

/// A call that talks.
pub(super) fn talking() -> Call {
    let mut call = agreed();
    call.start(Leg::Pbx).start(Leg::Meta);
    call
}

impl Call {
    pub(super) fn collect(&mut self) -> &mut Self {
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
        for (leg, news) in self.out.news() {
            match news {
                News::Measured(measured) => self.measured.push((at, leg, *measured)),
                news => self.told.push((at, leg, news.clone())),
            }
        }
        self.out.clear();
        self
    }

    pub(super) fn command(&mut self, command: Command) -> &mut Self {
        self.session
            .command(command, self.now, &mut self.out)
            .unwrap();
        self.collect()
    }

    pub(super) fn agree(&mut self, leg: Leg, side: SideSpec) -> &mut Self {
        self.command(Command::Agree { leg, side })
    }

    pub(super) fn start(&mut self, leg: Leg) -> &mut Self {
        self.command(Command::Start { leg })
    }

    /// Lets time pass, waking the session exactly when it asks to be.
    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        let until = self.now + Duration::from_millis(ms);
        while let Some(due) = self.session.deadline().filter(|&due| due <= until) {
            self.now = self.now.max(due);
            self.session.tick(self.now, &mut self.out);
            self.collect();
        }
        self.now = until;
        self
    }

    pub(super) fn comes(
        &mut self,
        leg: Leg,
        socket: Socket,
        from: &str,
        datagram: &[u8],
    ) -> &mut Self {
        self.session
            .datagram(leg, socket, at(from), datagram, self.now, &mut self.out);
        self.collect()
    }

    pub(super) fn meta_sends(&mut self, packet: &[u8]) -> &mut Self {
        self.comes(Leg::Meta, Socket::Rtp, META, packet)
    }

    pub(super) fn pbx_sends(&mut self, packet: &[u8]) -> &mut Self {
        self.comes(Leg::Pbx, Socket::Rtp, PBX, packet)
    }

    /// The audio of a peer for a while, one frame each 20 ms.
    pub(super) fn talk(&mut self, leg: Leg, ssrc: u32, seqs: std::ops::Range<u16>) -> &mut Self {
        for seq in seqs {
            match leg {
                Leg::Meta => self.meta_sends(&frame(111, ssrc, seq, &voice(seq))),
                Leg::Pbx => self.pbx_sends(&frame(107, ssrc, seq, &voice(seq))),
            };
            self.wait(20);
        }
        self
    }

    /// The RTP sent to a side so far: header and payload.
    pub(super) fn rtp(&self, leg: Leg) -> Vec<(Header, &[u8])> {
        let packets = self.sent.iter().filter(|s| s.leg == leg && !s.is_rtcp());
        packets
            .map(|s| {
                let packet = Packet::parse(&s.bytes).unwrap();
                (packet.header(), packet.payload())
            })
            .collect()
    }

    /// When and to whom RTCP went.
    pub(super) fn rtcp(&self, leg: Leg) -> Vec<&Sent> {
        self.sent
            .iter()
            .filter(|s| s.leg == leg && s.is_rtcp())
            .collect()
    }

    /// Fails unless a side heard one SSRC, one sequence without a gap, and a clock that only goes forward.
    pub(super) fn is_one_stream(&self, leg: Leg) -> &Self {
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

    /// When which leg was found silent.
    pub(super) fn silent(&self) -> Vec<(Duration, Leg)> {
        let silent = self
            .told
            .iter()
            .filter(|(_, _, news)| *news == News::Silent);
        silent.map(|(at, leg, _)| (*at, *leg)).collect()
    }
}

/// A receiver report of a peer about the stream that it hears from us.
pub(super) fn report(call: &mut Call, leg: Leg, highest: u32, lost: i32, jitter: u32) {
    let ours = if leg == Leg::Meta { 0xa } else { 0xb };
    let block = Block {
        source: Ssrc(ours),
        fraction_lost: 0,
        lost,
        highest,
        jitter,
        last_sender_report: 0,
        delay: Duration::ZERO,
    };
    let mut out = Vec::new();
    rtcp::Report {
        ssrc: Ssrc(0x77),
        sent: None,
        blocks: &[block],
        cname: "peer",
        bye: false,
    }
    .write(&mut out);
    match leg {
        Leg::Meta => call.meta_sends(&out),
        Leg::Pbx => call.comes(Leg::Pbx, Socket::Rtcp, PBX_RTCP, &out),
    };
}
