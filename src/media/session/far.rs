//! Meta's end of a call that is keyed by DTLS, and the link to it: a lite ICE peer and a handshake, in virtual time, with
//! delay, and loss from a seed.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};

use super::fixtures::*;
use crate::leg::Leg;
use crate::media::demux::Kind;
use crate::media::dtls::{self, Action, Fingerprint, Handshake, Role};
use crate::media::ice::lite::{Lite, Manner};
use crate::media::ice::{Candidate, Credentials};
use crate::media::outbox::Socket;
use crate::media::rtp::{Header, Packet};
use crate::media::srtp::{Receiver, Sender};
use crate::media::{DtlsSpec, Security, SideSpec};

/// Where Meta is: of its two addresses the better one is of IPv6.
pub(super) const V4: &str = "57.144.135.35:3480";
pub(super) const V6: &str = "[2a03:2880:f343:131:face:b00c:0:699c]:3480";
const UFRAG: &str = "RmDDkfzkwbexPfbC";
const PWD: &str = "0YdE1EdHlZXr9y2NbUCZiA==";

static THEIRS: LazyLock<dtls::Context> = LazyLock::new(|| {
    let certificate = dtls::Certificate::generate_rsa().unwrap();
    dtls::Context::new(&certificate, &dtls::Settings::default()).unwrap()
});

fn other(role: Role) -> Role {
    match role {
        Role::Client => Role::Server,
        Role::Server => Role::Client,
    }
}

/// Meta's end.
pub(super) struct Far {
    pub(super) lite: Lite,
    role: Role,
    /// Our fingerprint, as it read it in our SDP.
    ours: Fingerprint,
    pub(super) handshake: Option<Handshake>,
    srtp: Option<(Sender, Receiver)>,
    /// SRTP that came while it had no keys: a real peer throws it away.
    pub(super) too_early: Vec<Vec<u8>>,
    /// What it hears, opened.
    pub(super) heard: Vec<(Header, Vec<u8>)>,
    pub(super) failed: Option<String>,
    /// It hears no DTLS, and says none.
    pub(super) deaf: bool,
}

/// A datagram on the link, between us and one address of Meta.
struct Flight {
    arrives: Instant,
    meta: SocketAddr,
    to_us: bool,
    datagram: Vec<u8>,
}

/// A call, Meta's end and the link between them.
pub(super) struct Line {
    pub(super) call: Call,
    pub(super) far: Far,
    /// What SDP agreed on, for another `Agree`.
    pub(super) spec: SideSpec,
    random: TestRng,
    /// Of 100 datagrams of STUN and DTLS, how many are lost, each way.
    pub(super) loss: u32,
    /// One way.
    pub(super) delay: Duration,
    /// Nothing goes through any more.
    pub(super) cut: bool,
    /// Meta says nothing twice: its handshake has no timer.
    pub(super) once: bool,
    flying: Vec<Flight>,
    /// How much of what the call sent is on the link.
    launched: usize,
    /// The next number that the PBX says, and when.
    speech: Option<(u16, Instant)>,
}

impl Line {
    /// A call with which all is agreed and nothing started. `role` is ours.
    pub(super) fn new(role: Role) -> Line {
        Line::of(bare(), role)
    }

    /// The same of a call with which nothing is agreed yet.
    pub(super) fn of(call: Call, role: Role) -> Line {
        let mut line = Line::silent(call, role);
        line.agree();
        line.call.agree(Leg::Pbx, pbx());
        line
    }

    /// What SDP says of Meta is agreed on, or once more.
    pub(super) fn agree(&mut self) -> &mut Line {
        self.call.agree(Leg::Meta, self.spec.clone());
        self.launch();
        self
    }

    /// The same, and Meta's side is not agreed.
    pub(super) fn silent(call: Call, role: Role) -> Line {
        let local = Credentials::generate();
        let theirs = local.ufrag().to_owned();
        // From uic-offer-dtls-doc.sdp.
        let candidates = [
            "1775469887 1 udp 2122260223 57.144.135.35 3480 typ host",
            "3355715111 1 udp 2122262783 2a03:2880:f343:131:face:b00c:0:699c 3480 typ host",
        ];
        let candidates = candidates.map(|line| Candidate::parse(line).unwrap().unwrap());
        let spec = DtlsSpec {
            role,
            fingerprints: vec![THEIRS.fingerprint()],
            local,
            remote: Credentials::new(UFRAG, PWD).unwrap(),
            candidates: candidates.to_vec(),
        };
        let lite = Lite {
            ufrag: UFRAG,
            pwd: PWD,
            manner: Manner::Proper,
            theirs,
            nominated: Vec::new(),
            ended: Vec::new(),
            checks: 0,
        };
        Line {
            far: Far {
                lite,
                role: other(role),
                ours: call.fingerprint,
                handshake: None,
                srtp: None,
                too_early: Vec::new(),
                heard: Vec::new(),
                failed: None,
                deaf: false,
            },
            spec: SideSpec {
                security: Security::Dtls(Box::new(spec)),
                ..meta()
            },
            call,
            random: TestRng::deterministic_rng(RngAlgorithm::ChaCha),
            loss: 0,
            delay: Duration::from_millis(20),
            cut: false,
            once: false,
            flying: Vec::new(),
            launched: 0,
            speech: None,
        }
    }

    pub(super) fn losing(mut self, loss: u32, seed: u8) -> Line {
        self.loss = loss;
        self.random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        self
    }

    pub(super) fn slow(mut self, delay: Duration) -> Line {
        self.delay = delay;
        self
    }

    /// What SDP said of ICE and DTLS, to be changed before it is agreed on.
    pub(super) fn dtls_spec(&mut self) -> &mut DtlsSpec {
        match &mut self.spec.security {
            Security::Dtls(spec) => spec,
            _ => unreachable!("agreed so"),
        }
    }

    /// Both legs may be sent to, and the PBX speaks from now on.
    pub(super) fn start(&mut self) -> &mut Line {
        self.call.start(Leg::Pbx);
        self.speech = Some((1, self.call.now));
        self.call.start(Leg::Meta);
        self.launch();
        self
    }

    /// Lets time pass.
    pub(super) fn run(&mut self, ms: u64) -> &mut Line {
        let end = self.call.now + Duration::from_millis(ms);
        loop {
            let speech = self.speech.map(|(_, when)| when);
            let handshake = self.far.handshake.as_ref().filter(|_| !self.once);
            let handshake = handshake.and_then(Handshake::deadline);
            let arrival = self.flying.iter().map(|flight| flight.arrives).min();
            let ours = self.call.session.deadline();
            let due = [speech, handshake, arrival, ours].into_iter().flatten();
            let Some(due) = due.min().filter(|due| *due <= end) else {
                self.call.now = end;
                return self;
            };
            self.call.now = self.call.now.max(due);
            let now = self.call.now;
            if speech.is_some_and(|when| when <= now) {
                self.speak();
            } else if arrival.is_some_and(|when| when <= now) {
                self.arrive();
            } else if handshake.is_some_and(|when| when <= now) {
                let actions = self.far.handshake.as_mut().unwrap().tick(now);
                self.far_acts(actions);
            } else {
                self.call.wait(0);
            }
            self.launch();
        }
    }

    fn speak(&mut self) {
        let (number, when) = self.speech.unwrap();
        self.call.pbx_sends(&frame(107, 1, number, &voice(number)));
        self.speech = Some((number + 1, when + Duration::from_millis(20)));
    }

    /// Puts on the link what the call has sent to Meta since.
    fn launch(&mut self) {
        let sent = self.call.sent[self.launched..].iter();
        let to_meta = sent.filter(|sent| sent.leg == Leg::Meta);
        let datagrams: Vec<_> = to_meta.map(|sent| (sent.to, sent.bytes.clone())).collect();
        self.launched = self.call.sent.len();
        for (to, datagram) in datagrams {
            self.fly(to, false, datagram);
        }
    }

    fn fly(&mut self, meta: SocketAddr, to_us: bool, datagram: Vec<u8>) {
        let keying = matches!(Kind::of(&datagram), Kind::Stun | Kind::Dtls);
        let lost = keying && self.random.next_u32() % 100 < self.loss;
        if !lost && !self.cut {
            self.flying.push(Flight {
                arrives: self.call.now + self.delay,
                meta,
                to_us,
                datagram,
            });
        }
    }

    /// Whatever is on its way now gets lost, if it is of that kind.
    pub(super) fn lose(&mut self, kind: Kind) {
        let lost = |flight: &Flight| Kind::of(&flight.datagram) == kind;
        self.flying.retain(|flight| !lost(flight));
    }

    /// Runs until Meta has been nominated and is about to know it.
    pub(super) fn run_to_nomination(&mut self) -> &mut Line {
        while self.far.lite.nominated.is_empty() {
            self.run(1);
        }
        self
    }

    /// Comes to us now, from that address, as if from nowhere.
    pub(super) fn injects(&mut self, from: &str, datagram: &[u8]) {
        self.call.comes(Leg::Meta, Socket::Rtp, from, datagram);
        self.launch();
    }

    /// What we have sent to Meta of that kind, so many.
    pub(super) fn sent(&self, kind: Kind) -> usize {
        let to_meta = self.call.sent.iter().filter(|sent| sent.leg == Leg::Meta);
        to_meta.filter(|sent| Kind::of(&sent.bytes) == kind).count()
    }

    /// Sends from Meta's end.
    pub(super) fn far_sends(&mut self, from: SocketAddr, datagram: Vec<u8>) {
        self.fly(from, true, datagram);
    }

    fn arrive(&mut self) {
        let first = (0..self.flying.len()).min_by_key(|nth| self.flying[*nth].arrives);
        let Flight {
            meta,
            to_us,
            datagram,
            ..
        } = self.flying.remove(first.unwrap());
        if to_us {
            let (now, out) = (self.call.now, &mut self.call.out);
            let session = &mut self.call.session;
            session.datagram(Leg::Meta, Socket::Rtp, meta, &datagram, now, out);
            self.call.collect();
            return;
        }
        match Kind::of(&datagram) {
            Kind::Stun if datagram[..2] == [0, 1] => {
                let from = at("198.51.100.20:40100");
                let answer = self.far.lite.answer(&datagram, from, meta);
                // As soon as it is nominated, a client says hello, before anything else is on its way.
                let far = &self.far;
                if !far.lite.nominated.is_empty() && far.handshake.is_none() && !far.deaf {
                    self.shake();
                }
                self.far_sends(meta, answer);
            }
            Kind::Dtls if !self.far.deaf => {
                // A server is ready from the first.
                let now = self.call.now;
                let far = &mut self.far;
                let handshake = far
                    .handshake
                    .get_or_insert_with(|| handshake(far.role, far.ours, now));
                let actions = handshake.handle(&datagram, now);
                self.far_acts(actions);
            }
            Kind::Rtp => self.far.hear(&datagram),
            _ => {}
        }
    }

    fn shake(&mut self) {
        let now = self.call.now;
        let mut handshake = handshake(self.far.role, self.far.ours, now);
        let actions = handshake.tick(now);
        self.far.handshake = Some(handshake);
        self.far_acts(actions);
    }

    /// From the address that was nominated.
    fn far_acts(&mut self, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(datagram) => {
                    let from = self.far.lite.nominated[0];
                    self.far_sends(from, datagram);
                }
                Action::Keys(keys) => {
                    let sender = Sender::new(keys.profile, &keys.send).unwrap();
                    let receiver = Receiver::new(keys.profile, &keys.receive).unwrap();
                    self.far.srtp = Some((sender, receiver));
                }
                Action::Failed(failure) => self.far.failed = Some(failure.to_string()),
            }
        }
    }
}

/// The ClientHello of somebody else than Meta.
pub(super) fn hello(now: Instant) -> Vec<u8> {
    let mut client = Handshake::new(&THEIRS, Role::Client, Vec::new(), now).unwrap();
    match &client.tick(now)[..] {
        [Action::Send(datagram)] => datagram.clone(),
        other => panic!("{other:?}"),
    }
}

fn handshake(role: Role, ours: Fingerprint, now: Instant) -> Handshake {
    Handshake::new(&THEIRS, role, vec![ours], now).unwrap()
}

impl Far {
    fn hear(&mut self, datagram: &[u8]) {
        let Some((_, receiver)) = &mut self.srtp else {
            return self.too_early.push(datagram.to_vec());
        };
        let mut clear = Vec::new();
        receiver.unprotect_rtp(datagram, &mut clear).unwrap();
        let packet = Packet::parse(&clear).unwrap();
        self.heard
            .push((packet.header(), packet.payload().to_vec()));
    }

    /// Begins anew, with new SDP.
    pub(super) fn forget(&mut self) {
        self.lite.nominated.clear();
        (self.handshake, self.srtp) = (None, None);
        self.too_early.clear();
        self.heard.clear();
    }

    /// One frame, sealed.
    pub(super) fn says(&mut self, number: u16) -> Vec<u8> {
        let (sender, _) = self.srtp.as_mut().expect("it has keys");
        let mut sealed = Vec::new();
        let clear = frame(111, 2, number, &voice(number));
        sender.protect_rtp(&clear, &mut sealed).unwrap();
        sealed
    }

    /// What came too early as well, opened now that there are keys: all that was sent.
    pub(super) fn everything(&mut self) -> Vec<(Header, Vec<u8>)> {
        let later = std::mem::take(&mut self.heard);
        for datagram in self.too_early.clone() {
            self.hear(&datagram);
        }
        self.heard.extend(later);
        self.heard.clone()
    }
}
