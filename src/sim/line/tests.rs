use std::sync::LazyLock;

use super::*;
use crate::media::MasterKey;
use crate::media::dtls::Role;
use crate::media::rtp::{Header, Seq, Timestamp};
use crate::media::sdes::Crypto;
use crate::media::srtp::Sender;
use crate::sim::relay;
use crate::sim::relay::opposite::{Opposite, both};
use crate::sim::speech::{Format, Recording};

static PBX_TONE: LazyLock<Arc<Recording>> =
    LazyLock::new(|| Recording::tone(PBX_HZ, Format::OPUS).unwrap());

const MS: Duration = Duration::from_millis(1);

fn bridge() -> SocketAddr {
    "127.0.0.1:42000".parse().unwrap()
}

fn relays() -> Relays {
    Relays::new(relay::Settings::default()).unwrap()
}

/// A line of Meta's, and what the bridge protects with.
struct Bench {
    line: Line,
    peer: Peer,
    theirs: Sender,
    now: Instant,
}

impl Bench {
    /// Both have answered, and the ACK is on its way.
    fn new(plan: Plan) -> Bench {
        let mut bench = Bench::unanswered(plan);
        bench.agrees();
        bench
    }

    fn unanswered(plan: Plan) -> Bench {
        let (ours, theirs): (MasterKey, MasterKey) =
            (Crypto::generate(1).key, Crypto::generate(1).key);
        let profile = SrtpProfile::AesCm128HmacSha1_80;
        let now = Instant::now();
        let line = Line::new(Owner::meta(&Speaks::default(), relays()).unwrap(), plan);
        let sender = Sender::new(profile, &theirs).unwrap();
        let peer = Peer {
            rtp: bridge(),
            rtcp: None,
            sound: Payloads::META.sound,
            events: Some((126, 8000)),
            ssrc: 7,
            keys: Keys::Sdes(SrtpKeys {
                profile,
                send: ours,
                receive: theirs,
            }),
        };
        Bench {
            line,
            peer,
            theirs: sender,
            now,
        }
    }

    fn agrees(&mut self) {
        let peer = self.peer.clone();
        self.line.order(Order::Agree(peer), self.now);
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
        let mut bench = Bench::unanswered(Plan::default());
        bench.hears(1, 0, 0);
        bench.now += ahead;
        bench.agrees();
        bench.line.order(Order::Answered, bench.now);
        let report = bench.report();
        assert_eq!(report.heard.packets, 1, "it is heard all the same");
        assert_eq!(!report.complaints.is_empty(), named, "{ahead:?}");
    }
    let mut bench = Bench::unanswered(Plan::default());
    bench.hears(1, 0, 0);
    assert!(bench.report().complaints[0].contains("never answered"));
    // Its own 200 is out, and the ACK takes its time.
    let mut bench = Bench::new(Plan::default());
    bench.hears(1, 0, 0);
    bench.now += 700 * MS;
    bench.line.order(Order::Answered, bench.now);
    let report = bench.report();
    assert_eq!(report.complaints, Vec::<String>::new());
    assert_eq!(report.heard.packets, 1);
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
    assert_eq!(bench.line.report.digits_sent, "");
    for n in 40..60 {
        bench.hears(1, n, u32::from(n) * 960);
        bench.sends();
    }
    assert_eq!(bench.report().digits_sent, "12#");
}

/// A line of Meta's whose keys come from DTLS, and the bridge that it talks to.
struct Keyless {
    line: Line,
    bridge: Opposite,
    peer: Peer,
    now: Instant,
}

impl Keyless {
    /// The bridge has sent its 200 and begins; Meta has not seen it yet.
    fn new(settings: relay::Settings) -> Keyless {
        let relays = Relays::new(settings).unwrap();
        let both = both(&relays, Role::Server);
        let now = Instant::now();
        let bridge = Opposite::new(&relays, &both, now);
        let peer = Peer {
            rtp: self::bridge(),
            rtcp: None,
            sound: Payloads::META.sound,
            events: None,
            ssrc: 7,
            keys: Keys::Dtls(both),
        };
        Keyless {
            line: Line::new(
                Owner::meta(&Speaks::default(), relays).unwrap(),
                Plan::default(),
            ),
            bridge,
            peer,
            now,
        }
    }

    /// Meta sees the 200.
    fn agrees(&mut self) {
        let peer = self.peer.clone();
        self.line.order(Order::Agree(peer), self.now);
    }

    /// Lets both work for so long, or until there are keys.
    fn works(&mut self, time: Duration) {
        let end = self.now + time;
        let mut out = Vec::new();
        while self.now < end && self.line.keyed.is_none() {
            for datagram in self.bridge.tick(self.now) {
                self.line.receive(&datagram, bridge(), self.now);
            }
            while self.line.poll(self.now, &mut out).is_some() {
                self.bridge.handle(&out, self.now);
            }
            self.now += MS;
        }
        // What the last datagram was answered with.
        while self.line.poll(self.now, &mut out).is_some() {
            self.bridge.handle(&out, self.now);
        }
    }

    /// The bridge sends its voice; returns what the line makes of the call.
    fn talks(mut self) -> CallReport {
        let keys = self.bridge.keys.as_ref().expect("the bridge has keys");
        let mut sender = Sender::new(keys.profile, &keys.send).unwrap();
        for nth in 0..40u16 {
            let header = Header {
                marker: false,
                payload_type: 111,
                seq: Seq(nth),
                timestamp: Timestamp(u32::from(nth) * 960),
                ssrc: Ssrc(1),
            };
            let (mut plain, mut out) = (Vec::new(), Vec::new());
            header.write(PBX_TONE.packet(nth.into()), &mut plain);
            sender.protect_rtp(&plain, &mut out).unwrap();
            self.line.receive(&out, bridge(), self.now);
            self.now += 20 * MS;
        }
        let mut report = CallReport::default();
        self.line.finish(&mut report, self.now);
        report
    }
}

#[test]
fn without_keys_nobody_is_blamed_for_the_want_of_reports() {
    let mut call = Keyless::new(relay::Settings {
        checks: relay::Checks::Unanswered,
        ..relay::Settings::default()
    });
    call.agrees();
    call.line.order(Order::Answered, call.now);
    call.now += 15_000 * MS;
    let mut report = CallReport::default();
    call.line.finish(&mut report, call.now);
    assert_eq!(report.complaints, Vec::<String>::new());
}

#[test]
fn a_path_and_keys_are_found_between_the_200_and_the_ack_and_the_first_packet_is_heard() {
    let mut keyless = Keyless::new(relay::Settings::default());
    keyless.agrees();
    keyless.works(500 * MS);
    assert!(keyless.line.keyed.is_some());
    keyless.line.order(Order::Answered, keyless.now);
    let report = keyless.talks();
    assert_eq!(report.complaints, Vec::<String>::new());
    assert_eq!(report.keying, Some(Keying::Dtls));
    // The bridge is the client here, and as server Meta takes what it likes best.
    assert_eq!(report.srtp, Some("AES_CM_128_HMAC_SHA1_80"));
    assert!(report.keyed_ms.unwrap() < 50, "{report:?}");
    assert!(report.heard.ok, "{report:?}");
    assert_eq!(report.heard.first_packet, Some(0));
    assert!(
        report.heard.first_audio_ms.unwrap() < 100,
        "from the 200 on"
    );
}

#[test]
fn a_relay_that_is_late_loses_what_comes_before() {
    let late = relay::Settings {
        late: 300 * MS,
        ..relay::Settings::default()
    };
    let mut keyless = Keyless::new(late);
    keyless.agrees();
    keyless.line.order(Order::Answered, keyless.now);
    keyless.works(Duration::from_secs(2));
    let report = keyless.talks();
    assert!((300..600).contains(&report.keyed_ms.unwrap()), "{report:?}");
    assert_eq!(report.complaints, Vec::<String>::new());
}

#[test]
fn checks_before_the_200_are_named_and_lost_unless_they_only_overtook_it() {
    for (ahead, named) in [(20 * MS, false), (700 * MS, true)] {
        let mut early = Keyless::new(relay::Settings::default());
        let check = early.bridge.tick(early.now).remove(0);
        early.line.receive(&check, bridge(), early.now);
        early.now += ahead;
        early.agrees();
        early.line.order(Order::Answered, early.now);
        let mut out = Vec::new();
        let answered = early.line.poll(early.now, &mut out).is_some();
        assert_eq!(answered, !named);
        let mut report = CallReport::default();
        early.line.finish(&mut report, early.now);
        let said = report.complaints.concat();
        assert_eq!(said.contains("ICE: the first check came"), named, "{said}");
    }
}

#[test]
fn media_that_is_in_clear_or_comes_from_elsewhere_is_named() {
    let mut keyless = Keyless::new(relay::Settings::default());
    keyless.agrees();
    keyless.line.order(Order::Answered, keyless.now);
    keyless.line.receive(&[0x80; 60], bridge(), keyless.now);
    keyless.works(500 * MS);
    keyless.line.receive(&[0x80; 60], bridge(), keyless.now);
    let elsewhere = "127.0.0.1:42002".parse().unwrap();
    keyless.line.receive(&[0x80; 60], elsewhere, keyless.now);
    let said = keyless.talks().complaints.join("\n");
    for what in [
        "before ICE has found a path",
        "authentic",
        "than the nominated one",
    ] {
        assert!(said.contains(what), "{what}: {said}");
    }
}

/// What is said of a call in which the bridge's packets hold so many frames each.
fn said_of_packets(of: &[u8]) -> String {
    let mut bench = Bench::answered();
    let header = Header {
        marker: false,
        payload_type: 111,
        seq: Seq(0),
        timestamp: Timestamp(0),
        ssrc: Ssrc(1),
    };
    let (mut plain, mut out) = (Vec::new(), Vec::new());
    header.write(of, &mut plain);
    bench.theirs.protect_rtp(&plain, &mut out).unwrap();
    bench.line.receive(&out, bridge(), bench.now);
    bench.report().complaints.join("\n")
}

#[test]
fn a_packet_to_meta_that_is_not_20_ms_long_is_named() {
    for ptime in [20, 40] {
        let format = Format {
            ptime,
            ..Format::OPUS
        };
        let tone = Recording::tone(PBX_HZ, format).unwrap();
        let said = said_of_packets(tone.packet(0));
        assert_eq!(
            said.contains("another length than 20 ms"),
            ptime != 20,
            "{said}"
        );
    }
}
