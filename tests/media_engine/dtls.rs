//! Calls that are keyed by DTLS, over real sockets: against a lite ICE peer and a handshake driven by hand.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use wabridge::leg::Leg;
use wabridge::media::demux::Kind;
use wabridge::media::dtls::{self, Action, Certificate, Context, Fingerprint, Handshake, Role};
use wabridge::media::ice::{Candidate, Credentials};
use wabridge::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use wabridge::media::srtp::{Receiver, Sender};
use wabridge::media::{
    Command, DtlsSpec, Length, MediaEvent, Opened, Plane, PortRange, Recording, Security, Settings,
    SideSpec,
};

use super::lite::{Lite, Manner};
use super::{PATIENCE, Phone, Relay, open_descriptors, own_address, relay_with, speech};

const UFRAG: &str = "RmDDkfzkwbexPfbC";
const PWD: &str = "0YdE1EdHlZXr9y2NbUCZiA==";

/// Meta's end on a socket.
struct Meta {
    socket: UdpSocket,
    phone: SideSpec,
    context: Context,
    /// Which end of the handshake is ours.
    role: Role,
    /// What our SDP says.
    credentials: Credentials,
    ours: Fingerprint,
    lite: Lite,
    handshake: Option<Handshake>,
    srtp: Option<(Sender, Receiver)>,
    /// Where it is sent to from.
    bridge: Option<SocketAddr>,
    heard: Vec<u16>,
    /// Why its handshake failed.
    failed: Option<String>,
}

impl Meta {
    fn new(address: IpAddr, role: Role, opened: &Opened) -> Meta {
        let phone = Phone::new(3, 111, opened.meta.rtp).spec();
        let credentials = Credentials::generate();
        let certificate = Certificate::generate().unwrap();
        Meta {
            socket: UdpSocket::bind((address, 0)).unwrap(),
            phone,
            context: Context::new(&certificate, &dtls::Settings::default()).unwrap(),
            role,
            ours: opened.fingerprint,
            lite: Lite {
                ufrag: UFRAG,
                pwd: PWD,
                manner: Manner::Proper,
                theirs: credentials.ufrag().to_owned(),
                nominated: Vec::new(),
                ended: Vec::new(),
                checks: 0,
            },
            credentials,
            handshake: None,
            srtp: None,
            bridge: None,
            heard: Vec::new(),
            failed: None,
        }
    }

    fn spec(&self) -> SideSpec {
        let spec = DtlsSpec {
            role: self.role,
            fingerprints: vec![self.context.fingerprint()],
            local: self.credentials.clone(),
            remote: Credentials::new(UFRAG, PWD).unwrap(),
            candidates: vec![Candidate::host(self.socket.local_addr().unwrap())],
        };
        SideSpec {
            security: Security::Dtls(Box::new(spec)),
            ..self.phone.clone()
        }
    }

    /// Answers what comes until it has heard so many packets of speech, or its handshake has failed.
    fn hears(&mut self, count: usize) {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 2_000];
        while self.heard.len() < count && self.failed.is_none() {
            let now = Instant::now();
            assert!(now < end, "{} of {count} packets came", self.heard.len());
            let due = self.handshake.as_ref().and_then(Handshake::deadline);
            let due = due.unwrap_or(end).saturating_duration_since(now);
            let wait = due.clamp(Duration::from_millis(1), PATIENCE);
            self.socket.set_read_timeout(Some(wait)).unwrap();
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) => self.takes(&buffer[..length], from),
                Err(_) => {
                    let ticked = self.handshake.as_mut().map(|h| h.tick(Instant::now()));
                    self.acts(ticked.unwrap_or_default());
                }
            }
        }
    }

    fn takes(&mut self, datagram: &[u8], from: SocketAddr) {
        assert_eq!(*self.bridge.get_or_insert(from), from, "media never moves");
        match Kind::of(datagram) {
            Kind::Stun => {
                let here = self.socket.local_addr().unwrap();
                let answer = self.lite.answer(datagram, from, here);
                // A client says hello as soon as it is nominated, before we have been told that it knows.
                if !self.lite.nominated.is_empty() && self.handshake.is_none() {
                    self.shakes();
                }
                self.socket.send_to(&answer, from).unwrap();
            }
            Kind::Dtls => {
                let handshake = self.handshake.as_mut().expect("nominated before");
                let actions = handshake.handle(datagram, Instant::now());
                self.acts(actions);
            }
            Kind::Rtp => {
                // What came before the keys is opened by nobody.
                let Some((_, receiver)) = &mut self.srtp else {
                    return;
                };
                let mut clear = Vec::new();
                receiver.unprotect_rtp(datagram, &mut clear).unwrap();
                if let [0x48, 0, high, low] = *Packet::parse(&clear).unwrap().payload() {
                    self.heard.push(u16::from_be_bytes([high, low]));
                }
            }
            Kind::Rtcp => {}
            Kind::Unknown => panic!("{datagram:?}"),
        }
    }

    fn shakes(&mut self) {
        let role = match self.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let now = Instant::now();
        let mut handshake = Handshake::new(&self.context, role, vec![self.ours], now).unwrap();
        let actions = handshake.tick(now);
        self.handshake = Some(handshake);
        self.acts(actions);
    }

    fn acts(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(datagram) => {
                    let to = self.bridge.expect("asked from somewhere");
                    self.socket.send_to(&datagram, to).unwrap();
                }
                Action::Keys(keys) => {
                    let sender = Sender::new(keys.profile, &keys.send).unwrap();
                    let receiver = Receiver::new(keys.profile, &keys.receive).unwrap();
                    self.srtp = Some((sender, receiver));
                }
                Action::Failed(failure) => self.failed = Some(failure.to_string()),
            }
        }
    }

    fn says(&mut self, seq: u16) {
        let (sender, _) = self.srtp.as_mut().unwrap();
        let (mut clear, mut sealed) = (Vec::new(), Vec::new());
        Header {
            marker: false,
            payload_type: 111,
            seq: Seq(seq),
            timestamp: Timestamp(u32::from(seq) * 960),
            ssrc: Ssrc(8),
        }
        .write(&speech(seq), &mut clear);
        sender.protect_rtp(&clear, &mut sealed).unwrap();
        self.socket.send_to(&sealed, self.bridge.unwrap()).unwrap();
    }
}

fn engine(first: u16, ipv6: bool) -> Relay {
    relay_with(Settings {
        meta_ipv6_address: ipv6.then_some(Ipv6Addr::LOCALHOST),
        ports: PortRange::new(first, first + 99).unwrap(),
        port_rest: 0,
        workers: 1,
        ..Settings::default()
    })
}

/// All is agreed, and the PBX says three words before Meta may be sent to.
fn call(relay: &mut Relay, address: IpAddr, role: Role) -> (Opened, Meta, Phone) {
    let opened = relay.engine.open(own_address(2).into()).unwrap();
    let (meta, pbx) = agreed(relay, &opened, address, role);
    (opened, meta, pbx)
}

/// The same of a session that is open.
fn agreed(relay: &mut Relay, opened: &Opened, address: IpAddr, role: Role) -> (Meta, Phone) {
    let meta = Meta::new(address, role, opened);
    let pbx = Phone::new(4, 107, opened.pbx.rtp);
    for (leg, side) in [(Leg::Meta, meta.spec()), (Leg::Pbx, pbx.spec())] {
        relay
            .engine
            .command(opened.id, Command::Agree { leg, side });
    }
    relay.start(opened.id, Leg::Pbx);
    (1..=3).for_each(|number| pbx.says(number));
    relay.start(opened.id, Leg::Meta);
    (meta, pbx)
}

#[test]
fn a_call_that_is_keyed_by_dtls_is_heard_from_its_first_word_on_ipv4_and_on_ipv6() {
    let mut relay = engine(23_000, true);
    for address in [own_address(5), Ipv6Addr::LOCALHOST.into()] {
        for role in [Role::Client, Role::Server] {
            let (opened, mut meta, pbx) = call(&mut relay, address, role);
            meta.hears(3);
            assert_eq!(meta.heard, [1, 2, 3]);
            let event = relay.events.recv_timeout(PATIENCE).unwrap();
            assert!(
                matches!(event, MediaEvent::Keyed { id, leg: Leg::Meta } if id == opened.id),
                "{event:?}"
            );
            pbx.says(4);
            meta.hears(4);
            assert_eq!(meta.heard[3], 4);
            meta.says(77);
            assert_eq!(pbx.hears().1, speech(77));

            let other = opened.meta.other_family.unwrap();
            assert_eq!(other.ip(), Ipv6Addr::LOCALHOST);
            let ours = if address.is_ipv6() {
                other
            } else {
                opened.meta.rtp
            };
            assert_eq!(meta.bridge, Some(ours));
            relay.engine.close(opened.id);
            let event = relay.events.recv_timeout(PATIENCE).unwrap();
            let MediaEvent::Closed { stats, .. } = event else {
                panic!("{event:?}")
            };
            assert_eq!((stats.meta.kept, stats.meta.not_kept), (3, 0));
            assert!(stats.meta.keyed_after.unwrap() < PATIENCE);
            assert_eq!((stats.meta.received, stats.pbx.received), (1, 4));
        }
    }
}

/// What a recording has of RTP: whose leg, whether we sent it, and what was said.
fn said(recording: &Recording) -> Vec<(Leg, bool, Vec<u8>)> {
    let rtp = recording
        .packets()
        .filter(|packet| Kind::of(packet.octets) == Kind::Rtp);
    rtp.map(|packet| {
        let payload = Packet::parse(packet.octets).unwrap().payload().to_vec();
        (packet.leg, packet.sent, payload)
    })
    .collect()
}

#[test]
fn what_both_legs_of_a_recorded_call_carry_is_there_in_clear_while_it_is_up_and_when_it_ends() {
    let mut relay = engine(23_200, false);
    let opened = relay.engine.open(own_address(2).into()).unwrap();
    let handle = relay.engine.handle();
    let length = Length {
        base: Instant::now(),
        seconds: 30,
    };
    handle.record(opened.id, Some(length));
    let (mut meta, pbx) = agreed(&mut relay, &opened, own_address(5), Role::Client);
    meta.hears(3);
    meta.says(77);
    assert_eq!(pbx.hears().1, speech(77));

    let (give, given) = mpsc::channel();
    handle.read(opened.id, move |recording| drop(give.send(recording)));
    let now = said(&given.recv_timeout(PATIENCE).unwrap());
    for number in 1..=3u16 {
        for (leg, sent) in [(Leg::Pbx, false), (Leg::Meta, true)] {
            let packet = (leg, sent, speech(number).to_vec());
            assert!(now.contains(&packet), "{packet:?}");
        }
    }
    for (leg, sent) in [(Leg::Meta, false), (Leg::Pbx, true)] {
        let packet = (leg, sent, speech(77).to_vec());
        assert!(now.contains(&packet), "{packet:?}");
    }

    relay.engine.close(opened.id);
    let mut events = std::iter::from_fn(|| relay.events.recv_timeout(PATIENCE).ok());
    let recording = events.find_map(|event| match event {
        MediaEvent::Recorded { id, recording } => {
            assert_eq!(id, opened.id);
            Some(recording)
        }
        MediaEvent::Closed { .. } => panic!("that is the last event"),
        _ => None,
    });
    let recording = recording.unwrap();
    assert!(said(&recording).starts_with(&now));
    for packet in recording.packets() {
        let (ours, theirs) = match packet.leg {
            Leg::Meta => (opened.meta.rtp, meta.socket.local_addr().unwrap()),
            Leg::Pbx => (opened.pbx.rtp, pbx.socket.local_addr().unwrap()),
        };
        assert_eq!((packet.local, packet.remote), (ours, theirs));
    }
    let goodbyes = recording.packets().filter(|packet| packet.sent);
    let goodbyes = goodbyes.filter(|packet| Kind::of(packet.octets) == Kind::Rtcp);
    assert!(goodbyes.count() >= 2, "one to each leg, in clear");
    assert!(matches!(events.next(), Some(MediaEvent::Closed { .. })));
}

#[test]
fn nothing_is_read_of_a_call_that_is_not_recorded_or_not_any_more() {
    let mut relay = engine(23_300, false);
    let (opened, _meta, _pbx) = call(&mut relay, own_address(5), Role::Client);
    let handle = relay.engine.handle();
    let read = || {
        let (give, given) = mpsc::channel();
        handle.read(opened.id, move |recording| drop(give.send(recording)));
        given.recv_timeout(PATIENCE)
    };
    let dropped = Err(mpsc::RecvTimeoutError::Disconnected);
    assert_eq!(read().map(|_| ()), dropped);
    let length = Length {
        base: Instant::now(),
        seconds: 1,
    };
    handle.record(opened.id, Some(length));
    assert!(read().is_ok());
    handle.record(opened.id, None);
    assert_eq!(read().map(|_| ()), dropped);
    relay.engine.close(opened.id);
    while let Ok(event) = relay.events.recv_timeout(PATIENCE) {
        assert!(!matches!(event, MediaEvent::Recorded { .. }), "{event:?}");
        if matches!(event, MediaEvent::Closed { .. }) {
            return;
        }
    }
    panic!("it was not closed");
}

#[test]
fn a_meta_that_is_somebody_else_is_told_and_the_next_call_is_well() {
    let mut relay = engine(23_200, false);
    let opened = relay.engine.open(own_address(2).into()).unwrap();
    assert_eq!(opened.meta.other_family, None);
    let mut impostor = Meta::new(own_address(5), Role::Client, &opened);
    let mut side = impostor.spec();
    if let Security::Dtls(spec) = &mut side.security {
        spec.fingerprints = vec![opened.fingerprint];
    }
    let leg = Leg::Meta;
    relay
        .engine
        .command(opened.id, Command::Agree { leg, side });
    relay.start(opened.id, leg);
    impostor.hears(1);
    let event = relay.events.recv_timeout(PATIENCE).unwrap();
    let MediaEvent::Failed { id, leg, why } = event else {
        panic!("{event:?}")
    };
    assert_eq!((id, leg), (opened.id, Leg::Meta));
    assert!(why.starts_with("the peer's certificate is "), "{why}");
    let told = impostor.failed.unwrap();
    assert!(told.contains("bad certificate"), "{told}");

    let (_, mut meta, _) = call(&mut relay, own_address(5), Role::Server);
    meta.hears(3);
    assert_eq!(meta.heard, [1, 2, 3]);
}

/// Memory of this process that is in use, in octets.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    let kilobytes = line.and_then(|line| line.split_whitespace().nth(1));
    kilobytes.unwrap().parse::<usize>().unwrap() * 1024
}

#[test]
fn calls_that_were_keyed_by_dtls_leave_neither_memory_nor_descriptors_behind() {
    let mut relay = engine(23_400, true);
    let mut calls = |count: u32| {
        for nth in 0..count {
            let role = [Role::Client, Role::Server][nth as usize % 2];
            let (opened, mut meta, _) = call(&mut relay, own_address(5), role);
            // Some end before they have begun.
            if nth % 3 != 0 {
                meta.hears(3);
            }
            relay.engine.close(opened.id);
            while !matches!(
                relay.events.recv_timeout(PATIENCE).unwrap(),
                MediaEvent::Closed { .. }
            ) {}
        }
    };
    calls(50);
    let (memory, descriptors) = (resident(), open_descriptors());
    calls(200);
    let grown = resident().saturating_sub(memory);
    assert!(grown < 512 * 1024, "{grown} octets more after 200 calls");
    assert_eq!(open_descriptors(), descriptors);
}
