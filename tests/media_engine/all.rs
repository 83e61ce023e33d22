//! The tests themselves, for either kind of I/O.

#[path = "dtls.rs"]
mod dtls;
/// A lite ICE peer that shares no line with the agent it meets.
#[allow(dead_code)]
#[path = "../../src/media/ice/lite.rs"]
mod lite;

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::IO;
use wabridge::leg::Leg;
use wabridge::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use wabridge::media::{
    Codec, Command, Direction, Engine, Facing, Measured, MediaEvent, OpenError, Opened, Payload,
    Plane, PortRange, Security, SessionId, SessionStats, Settings, SideSpec, Source, Way,
};

/// Long enough for any machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(10);

/// One test at a time: they count what the process has open.
static ALONE: Mutex<()> = Mutex::new(());

/// An engine and what it told.
struct Relay {
    engine: Engine,
    events: Receiver<MediaEvent>,
    /// What directions were like, which is told whenever there was enough of them.
    measured: Receiver<(SessionId, Leg, Measured)>,
    _alone: MutexGuard<'static, ()>,
}

/// A loopback address that a second run of these tests, at the same time, does not use.
fn own_address(host: u8) -> IpAddr {
    let [.., middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 64 | middle & 63, low, host])
}

fn relay(first: u16, last: u16, port_rest: u16) -> Relay {
    relay_with(Settings {
        ports: PortRange::new(first, last).unwrap(),
        port_rest,
        workers: 2,
        ..Settings::default()
    })
}

/// The same with other settings, but for its addresses.
fn relay_with(settings: Settings) -> Relay {
    let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Settings {
        meta_address: own_address(1),
        pbx_address: own_address(2),
        io: IO,
        ..settings
    };
    let (tell, events) = mpsc::channel();
    let (tell_measured, measured) = mpsc::channel();
    let listener = move |event| match event {
        MediaEvent::Measured { id, leg, measured } => {
            let _ = tell_measured.send((id, leg, measured));
        }
        event => drop(tell.send(event)),
    };
    let engine = Engine::start(&settings, listener).unwrap();
    Relay {
        engine,
        events,
        measured,
        _alone: alone,
    }
}

impl Relay {
    fn start(&mut self, id: SessionId, leg: Leg) {
        self.engine.command(id, Command::Start { leg });
    }

    fn closed(&self) -> SessionId {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            MediaEvent::Closed { id, .. } => id,
            other => panic!("{other:?}"),
        }
    }
}

/// A far end: a plain socket that reads and writes RTP.
struct Phone {
    socket: UdpSocket,
    number: u8,
    bridge: SocketAddr,
}

/// A packet of 20 ms by its first octet (RFC 6716 §3.1), which tells its number.
fn speech(number: u16) -> [u8; 4] {
    let [high, low] = number.to_be_bytes();
    [0x48, 0, high, low]
}

impl Phone {
    fn new(host: u8, number: u8, bridge: SocketAddr) -> Phone {
        Phone::at(own_address(host), number, bridge)
    }

    fn at(address: IpAddr, number: u8, bridge: SocketAddr) -> Phone {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Phone {
            socket,
            number,
            bridge,
        }
    }

    fn spec(&self) -> SideSpec {
        let payload = Payload {
            number: self.number,
            codec: Codec::Opus,
        };
        SideSpec {
            remote_rtp: self.socket.local_addr().unwrap(),
            remote_rtcp: None,
            send: vec![payload],
            receive: vec![payload],
            security: Security::Plain,
            source: Source::Negotiated,
            direction: Direction::SendRecv,
            ptime: wabridge::sdp::FRAME,
            tones: false,
            extended_reports: Default::default(),
        }
    }

    fn says(&self, seq: u16) {
        let mut packet = Vec::new();
        Header {
            marker: false,
            payload_type: self.number,
            seq: Seq(seq),
            timestamp: Timestamp(u32::from(seq) * 960),
            ssrc: Ssrc(7),
        }
        .write(&speech(seq), &mut packet);
        self.socket.send_to(&packet, self.bridge).unwrap();
    }

    /// The next RTP packet from the bridge: header and payload.
    fn hears(&self) -> (Header, Vec<u8>) {
        let mut buffer = [0; 2000];
        loop {
            let (length, from) = self.socket.recv_from(&mut buffer).unwrap();
            assert_eq!(from, self.bridge);
            // Payload types 72 to 76 are RTCP, which is multiplexed here.
            let packet = Packet::parse(&buffer[..length]).unwrap();
            if !(72..=76).contains(&packet.payload_type()) {
                return (packet.header(), packet.payload().to_vec());
            }
        }
    }
}

/// Two phones joined by a session that has started on both sides.
fn call(relay: &mut Relay) -> (Opened, Phone, Phone) {
    let opened = relay.engine.open(own_address(2).into()).unwrap();
    let pbx = Phone::new(4, 107, opened.pbx.rtp);
    let meta = joined(relay, &opened, &pbx);
    (opened, meta, pbx)
}

/// A phone of Meta's side, joined to that of the PBX by a session that has started on both sides.
fn joined(relay: &mut Relay, opened: &Opened, pbx: &Phone) -> Phone {
    let meta = Phone::new(3, 111, opened.meta.rtp);
    // Meta last: once its phone hears the first frame, everything is agreed.
    for (leg, phone) in [(Leg::Pbx, pbx), (Leg::Meta, &meta)] {
        let side = phone.spec();
        relay
            .engine
            .command(opened.id, Command::Agree { leg, side });
        relay.engine.command(opened.id, Command::Start { leg });
    }
    meta
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn two_phones_hear_each_other_and_meta_hears_us_first() {
    let mut relay = relay(20_000, 20_099, 5);
    let (opened, meta, pbx) = call(&mut relay);
    assert_eq!(opened.meta.rtp.ip(), own_address(1));
    assert_eq!((opened.meta.rtp.port() % 2, opened.meta.rtcp), (0, None));
    let rtcp = opened.pbx.rtcp.unwrap();
    assert_eq!(rtcp.port(), opened.pbx.rtp.port() + 1);

    let (first, payload) = meta.hears();
    assert_eq!(
        (first.payload_type, payload.as_slice()),
        (111, &[0xf8, 0xff, 0xfe][..])
    );
    let mut expected = first.seq;
    for seq in 500..600u16 {
        pbx.says(seq);
        let (header, payload) = meta.hears();
        expected = expected.next();
        assert_eq!(
            (header.seq, header.ssrc, header.payload_type),
            (expected, first.ssrc, 111)
        );
        assert_eq!(payload, speech(seq));
        meta.says(seq);
        let (header, payload) = pbx.hears();
        assert_eq!((header.payload_type, payload), (107, speech(seq).to_vec()));
    }
    relay.engine.close(opened.id);
    let MediaEvent::Closed { id, stats } = relay.events.recv_timeout(PATIENCE).unwrap() else {
        panic!("not closed")
    };
    assert_eq!(
        (id, stats.meta.received, stats.pbx.received),
        (opened.id, 100, 100)
    );
    assert_eq!(
        (stats.meta.sent - stats.meta.silence_sent, stats.pbx.sent),
        (100, 100)
    );
    assert_eq!((stats.meta.unsent, stats.pbx.lost), (0, 0));
    for leg in Leg::BOTH {
        let (id, of, measured) = relay.measured.recv_timeout(PATIENCE).unwrap();
        assert_eq!((id, of, measured.way), (opened.id, leg, Way::In));
        assert_eq!(measured.interval.loss, 0.0, "{measured:?}");
    }
}

#[test]
fn what_a_call_has_carried_so_far_is_told_while_it_is_up() {
    let mut relay = relay(20_600, 20_699, 5);
    let (opened, meta, pbx) = call(&mut relay);
    let other = relay.engine.open(own_address(2).into()).unwrap();
    meta.hears();
    for seq in [500, 501, 504u16] {
        pbx.says(seq);
        while meta.hears().1 != speech(seq) {}
    }
    let told = relay.engine.handle().sessions(PATIENCE);
    assert_eq!(told.len(), 2, "{told:?}");
    let one = &told[&opened.id];
    assert_eq!((one.pbx.received, one.pbx.lost, one.pbx.sent), (3, 2, 0));
    assert_eq!(one.meta.sent - one.meta.silence_sent, 3);
    assert_eq!(told[&other.id], SessionStats::default());
    relay.engine.close(opened.id);
    assert_eq!(relay.closed(), opened.id);
    let told = relay.engine.handle().sessions(PATIENCE);
    assert_eq!(told.into_keys().collect::<Vec<_>>(), [other.id]);
}

#[test]
fn a_stuck_worker_holds_up_nobody_who_asks_what_calls_have_carried() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Settings {
        meta_address: own_address(1),
        pbx_address: own_address(1),
        io: IO,
        workers: 2,
        ..Settings::default()
    };
    let (stuck, is_stuck) = mpsc::channel();
    let (free, freed) = mpsc::channel::<()>();
    let freed = Mutex::new(freed);
    let mut engine = Engine::start(&settings, move |_| {
        let _ = stuck.send(());
        let _ = freed.lock().map(|freed| freed.recv());
    })
    .unwrap();
    let [first, second] = [(); 2].map(|()| engine.open(own_address(1).into()).unwrap().id);
    assert_ne!(first.0 % 2, second.0 % 2, "each has a worker of its own");
    engine.close(first);
    is_stuck.recv_timeout(PATIENCE).unwrap();
    let told = engine.handle().sessions(Duration::from_millis(100));
    assert_eq!(told.into_keys().collect::<Vec<_>>(), [second]);
    drop(free);
}

#[test]
fn a_burst_longer_than_a_turn_is_relayed_to_its_end() {
    let mut relay = relay(20_100, 20_199, 5);
    let (_, meta, pbx) = call(&mut relay);
    meta.hears();
    for round in 0..10u16 {
        let burst = round * 100..(round + 1) * 100;
        burst.clone().for_each(|seq| pbx.says(seq));
        for seq in burst {
            let mut heard = meta.hears().1;
            while heard == [0xf8, 0xff, 0xfe] {
                heard = meta.hears().1;
            }
            assert_eq!(heard, speech(seq));
        }
    }
}

#[test]
fn an_exhausted_range_is_said_and_ports_of_an_ended_call_rest() {
    let mut relay = relay(20_200, 20_203, 3600);
    let first = relay.engine.open(own_address(2).into()).unwrap();
    let second = relay.engine.open(own_address(2).into()).unwrap();
    assert_ne!(first.meta.rtp, second.meta.rtp);
    let refused = relay.engine.open(own_address(2).into()).unwrap_err();
    assert!(matches!(
        refused,
        OpenError::Exhausted {
            first: 20_200,
            last: 20_203,
            ..
        }
    ));
    relay.engine.close(first.id);
    assert_eq!(relay.closed(), first.id);
    assert!(
        relay.engine.open(own_address(2).into()).is_err(),
        "its ports have an hour to rest"
    );
}

#[test]
fn ports_that_have_rested_serve_the_next_call() {
    let mut relay = relay(20_300, 20_301, 0);
    for _ in 0..5 {
        let opened = relay.engine.open(own_address(2).into()).unwrap();
        relay.engine.close(opened.id);
        assert_eq!(relay.closed(), opened.id);
    }
}

#[test]
fn two_hundred_calls_leave_no_descriptor_behind() {
    let mut relay = relay(21_000, 21_999, 0);
    let before = open_descriptors();
    let mut ids: Vec<_> = (0..200)
        .map(|_| relay.engine.open(own_address(2).into()).unwrap().id)
        .collect();
    assert_eq!(open_descriptors(), before + 600, "three sockets a call");
    ids.iter().for_each(|id| relay.engine.close(*id));
    let mut closed: Vec<_> = ids.iter().map(|_| relay.closed()).collect();
    ids.sort();
    closed.sort();
    assert_eq!(closed, ids, "each once");
    assert_eq!(open_descriptors(), before);
}

#[test]
fn a_dropped_engine_closes_its_calls_and_joins_its_threads() {
    let relay = relay(22_000, 22_099, 5);
    let Relay {
        engine,
        events,
        _alone,
        ..
    } = relay;
    let mut handle = engine.handle();
    let ids = [
        handle.open(own_address(2).into()).unwrap().id,
        handle.open(own_address(2).into()).unwrap().id,
    ];
    drop(engine);
    // The threads are gone, and with them whoever could still tell something.
    let mut closed = Vec::new();
    while let Ok(MediaEvent::Closed { id, .. }) = events.try_recv() {
        closed.push(id);
    }
    closed.sort();
    assert_eq!(closed, ids);
    assert!(
        handle.open(own_address(2).into()).is_err(),
        "nobody is left to serve it"
    );
}

#[test]
fn what_is_asked_of_an_unknown_session_is_ignored() {
    let mut relay = relay(22_100, 22_199, 5);
    let (opened, meta, _) = call(&mut relay);
    let stranger = SessionId(opened.id.0 + 1_000_000);
    relay
        .engine
        .command(stranger, Command::Start { leg: Leg::Meta });
    relay.engine.close(stranger);
    meta.hears();
    relay.engine.close(opened.id);
    relay.engine.close(opened.id);
    assert_eq!(relay.closed(), opened.id);
    assert!(relay.events.try_recv().is_err());
}

#[test]
fn a_listener_that_panics_stops_neither_the_other_calls_nor_the_worker() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let settings = Settings {
        meta_address: own_address(1),
        pbx_address: own_address(1),
        io: IO,
        workers: 1,
        ..Settings::default()
    };
    let (tell, events) = mpsc::channel();
    let listener = move |event: MediaEvent| {
        let MediaEvent::Closed { id, .. } = event else {
            return;
        };
        tell.send(id).unwrap();
        assert_ne!(id, SessionId(0), "the panic that this test is about");
    };
    let mut engine = Engine::start(&settings, listener).unwrap();
    let ids = [(); 3].map(|()| engine.open(own_address(1).into()).unwrap().id);
    for id in ids {
        engine.close(id);
        assert_eq!(events.recv_timeout(PATIENCE), Ok(id));
    }
}

/// What one phone says the other hears, in both directions.
#[track_caller]
fn both_are_heard(meta: &Phone, pbx: &Phone) {
    for (from, to) in [(meta, pbx), (pbx, meta)] {
        let payload = speech(3_000);
        from.says(3_000);
        while to.hears().1 != payload {}
    }
}

#[test]
fn a_call_that_goes_to_another_pbx_has_the_other_address_and_leaves_the_first() {
    let mut relay = relay(22_200, 22_299, 0);
    let mut opened = relay.engine.open(own_address(2).into()).unwrap();
    let before = open_descriptors();
    let first = opened.pbx;
    let public = Facing {
        address: IpAddr::from(Ipv6Addr::LOCALHOST),
        announced: "2001:db8::7".parse().unwrap(),
    };
    opened.pbx = relay.engine.face(opened.id, public).unwrap();
    assert_eq!(
        opened.pbx.rtp.ip(),
        public.announced,
        "what the PBX is told"
    );
    let here = |told: SocketAddr| SocketAddr::new(public.address, told.port());
    let pbx = Phone::at(public.address, 107, here(opened.pbx.rtp));
    let meta = joined(&mut relay, &opened, &pbx);
    both_are_heard(&meta, &pbx);
    assert_eq!(opened.pbx.rtcp.unwrap().port(), opened.pbx.rtp.port() + 1);
    assert_eq!(open_descriptors(), before + 2, "those of the two phones");
    for left in [Some(first.rtp), first.rtcp] {
        UdpSocket::bind(left.unwrap()).expect("nobody listens there any more");
    }
    let used = |address| move |(of, _): &(IpAddr, _)| *of == address;
    let handle = relay.engine.handle();
    for (address, taken) in [(own_address(2), 0), (public.address, 1)] {
        let ports = handle.port_use().into_iter().find(used(address)).unwrap();
        assert_eq!(ports.1.taken, taken, "{address}");
    }
    relay.engine.close(opened.id);
    relay.closed();
    assert_eq!(open_descriptors(), before - 1, "Meta's and the two phones'");
}

#[test]
fn a_call_that_cannot_have_another_address_keeps_the_one_it_has() {
    let mut relay = relay(22_300, 22_399, 0);
    let (opened, meta, pbx) = call(&mut relay);
    // Reserved for documents (RFC 5737): no host has it.
    let elsewhere = IpAddr::from([192, 0, 2, 1]);
    let refused = relay.engine.face(opened.id, elsewhere.into()).unwrap_err();
    assert_eq!(refused.address(), elsewhere);
    both_are_heard(&meta, &pbx);
}

#[test]
fn meta_is_told_the_public_address() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let public = IpAddr::from([203, 0, 113, 7]);
    let settings = Settings {
        meta_address: own_address(1),
        pbx_address: own_address(1),
        meta_public_address: Some(public),
        ..Settings::default()
    };
    let mut engine = Engine::start(&settings, |_| {}).unwrap();
    let opened = engine.open(own_address(1).into()).unwrap();
    assert_eq!(opened.meta.rtp.ip(), public);
    assert_eq!(opened.pbx.rtp.ip(), own_address(1));
    assert_ne!(opened.meta.rtp.port(), opened.pbx.rtp.port());
}
