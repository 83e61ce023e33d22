//! The relay against the bridge's own agent and handshake, in virtual time; and against checks that are wrong in one way.

use proptest::prelude::*;
use stun_types::attribute::{AttributeType, RawAttribute, Username};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, Message, MessageClass, MessageType, MessageWriteVec, Method,
    ShortTermCredentials, TransactionId,
};
use stun_types::prelude::*;

use super::opposite::{BRIDGES, Opposite, UFRAG, both, bridge, relays_address};
use super::*;
use crate::media::dtls::Handshake;
use crate::sim::path::Path;

const MS: Duration = Duration::from_millis(1);

fn other() -> SocketAddr {
    "127.0.0.1:42002".parse().unwrap()
}

/// A relay and a bridge that does everything right, with a path between them.
struct Bench {
    relay: Relay,
    bridge: Opposite,
    now: Instant,
    to_bridge: Path,
    to_relay: Path,
    keys: Option<SrtpKeys>,
    started: Instant,
}

impl Bench {
    fn new(settings: Settings, role: Role) -> Bench {
        let relays = Relays::new(settings).unwrap();
        let both = both(&relays, role);
        let now = Instant::now();
        Bench {
            bridge: Opposite::new(&relays, &both, now),
            relay: Relay::new(&relays, both),
            now,
            to_bridge: Path::new(settings.path, 1),
            to_relay: Path::new(settings.path, 2),
            keys: None,
            started: now,
        }
    }

    /// Lets everything happen that is due.
    fn turn(&mut self) {
        for datagram in self.bridge.tick(self.now) {
            self.to_relay.push(self.now, bridge(), datagram);
        }
        while let Some((at, from, datagram)) = self.to_relay.pop(self.now) {
            let kind = Kind::of(&datagram);
            self.relay.handle(kind, &datagram, from, at);
        }
        self.relay.tick(self.now);
        while let Some((to, datagram)) = self.relay.send() {
            assert_eq!(to, bridge());
            self.to_bridge.push(self.now, relays_address(), datagram);
        }
        self.keys = self.relay.keys().or(self.keys.take());
        while let Some((at, _, datagram)) = self.to_bridge.pop(self.now) {
            self.bridge.handle(&datagram, at);
        }
    }

    /// Runs until both have keys or one gave up; returns how long it took.
    fn runs(&mut self) -> Duration {
        let limit = self.started + Duration::from_secs(40);
        while !self.is_over() && self.now < limit {
            self.turn();
            self.now += MS;
        }
        self.now - self.started
    }

    fn is_over(&self) -> bool {
        let keyed = self.keys.is_some() && self.bridge.keys.is_some();
        keyed || self.bridge.failed.is_some()
    }

    fn has_good_keys(&self) {
        let (Some(ours), Some(theirs)) = (&self.keys, &self.bridge.keys) else {
            panic!("no keys: {:?}", self.bridge.failed);
        };
        assert!(ours.send == theirs.receive && ours.receive == theirs.send);
        assert_eq!(ours.profile, theirs.profile);
    }
}

#[test]
fn a_bridge_that_does_it_right_gets_a_path_and_keys_with_either_end_and_certificate() {
    for certified in [Certified::Ecdsa, Certified::Rsa] {
        for role in [Role::Client, Role::Server] {
            let settings = Settings {
                certified,
                ..Settings::default()
            };
            let mut bench = Bench::new(settings, role);
            let took = bench.runs();
            bench.has_good_keys();
            assert!(took < 50 * MS, "{took:?}");
            assert_eq!(bench.relay.peer(), Some(bridge()));
            assert_eq!(bench.relay.complaints(), Vec::<String>::new());
        }
    }
}

#[test]
fn a_role_conflict_delays_and_does_not_hinder() {
    let settings = Settings {
        checks: Checks::Conflict(2),
        ..Settings::default()
    };
    let mut bench = Bench::new(settings, Role::Server);
    let took = bench.runs();
    bench.has_good_keys();
    assert!(took > 200 * MS, "{took:?}");
    assert_eq!(bench.relay.complaints(), Vec::<String>::new());
}

#[test]
fn a_relay_that_answers_no_check_gets_nothing_else() {
    let settings = Settings {
        checks: Checks::Unanswered,
        ..Settings::default()
    };
    let mut bench = Bench::new(settings, Role::Server);
    bench.runs();
    assert!(
        bench
            .bridge
            .failed
            .as_ref()
            .unwrap()
            .contains("no candidate")
    );
    assert_eq!(bench.relay.peer(), None);
    assert_eq!(bench.relay.complaints(), Vec::<String>::new());
}

#[test]
fn a_fingerprint_of_another_certificate_is_noticed_by_the_bridge() {
    for role in [Role::Client, Role::Server] {
        let settings = Settings {
            wrong_fingerprint: true,
            ..Settings::default()
        };
        let mut bench = Bench::new(settings, role);
        bench.runs();
        assert!(
            bench
                .bridge
                .failed
                .as_ref()
                .unwrap()
                .contains("not its SDP")
        );
        bench.now += 100 * MS;
        bench.turn();
        assert!(bench.keys.is_none());
        assert!(bench.relay.complaints().concat().contains("alert"));
    }
}

#[test]
fn a_lossy_path_ends_in_keys_and_makes_nobody_look_bad() {
    for seed in 0..20 {
        for role in [Role::Client, Role::Server] {
            let path = path::Settings {
                delay: 20 * MS,
                loss: 20,
                seed,
                ..path::Settings::default()
            };
            let settings = Settings {
                path,
                ..Settings::default()
            };
            let mut bench = Bench::new(settings, role);
            bench.runs();
            bench.has_good_keys();
            assert_eq!(bench.relay.complaints(), Vec::<String>::new(), "{seed}");
        }
    }
}

#[test]
fn metas_own_flight_is_repeated_after_1_2_and_4_s() {
    let mut bench = Bench::new(Settings::default(), Role::Client);
    while bench.relay.peer().is_none() {
        bench.turn();
        bench.now += MS;
    }
    let (start, mut sent) = (bench.now, Vec::new());
    while bench.now < start + Duration::from_secs(8) {
        bench.relay.tick(bench.now);
        while let Some((_, datagram)) = bench.relay.send() {
            sent.extend(shake::hello(&datagram).map(|_| (bench.now - start).as_secs_f64()));
        }
        bench.now += 10 * MS;
    }
    let rounded: Vec<u64> = sent.iter().map(|at| at.round() as u64).collect();
    assert_eq!(rounded, [1, 3, 7], "the first one left before: {sent:?}");
}

/// What a check of the bridge consists of; tests spoil one part.
struct Check {
    username: String,
    pwd: String,
    method: Method,
    class: MessageClass,
    attributes: Vec<(u16, Vec<u8>)>,
    fingerprint: bool,
}

const CONTROLLING: u16 = 0x802a;
const CONTROLLED: u16 = 0x8029;
const USE: u16 = 0x0025;
const PRIORITY: u16 = 0x0024;

impl Check {
    fn of(both: &Handshaking) -> Check {
        Check {
            username: format!("{}:{UFRAG}", both.ice.ufrag),
            pwd: both.ice.pwd.clone(),
            method: BINDING,
            class: MessageClass::Request,
            attributes: vec![(PRIORITY, vec![110, 0, 0, 255]), (CONTROLLING, vec![7; 8])],
            fingerprint: true,
        }
    }

    fn without(mut self, kind: u16) -> Check {
        self.attributes.retain(|(k, _)| *k != kind);
        self
    }

    fn and(mut self, kind: u16, value: &[u8]) -> Check {
        self.attributes.push((kind, value.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let kind = MessageType::from_class_method(self.class, self.method);
        let mut message = Message::builder(kind, TransactionId::generate(), MessageWriteVec::new());
        message
            .add_attribute(&Username::new(&self.username).unwrap())
            .unwrap();
        for (kind, value) in &self.attributes {
            let raw = RawAttribute::new(AttributeType::new(*kind), value);
            message.add_attribute(&raw).unwrap();
        }
        let key = ShortTermCredentials::new(self.pwd.clone()).make_key();
        message
            .add_message_integrity_with_key(&key, IntegrityAlgorithm::Sha1)
            .unwrap();
        if self.fingerprint {
            message.add_fingerprint().unwrap();
        }
        message.finish()
    }
}

/// A relay, and what its checks must be signed with.
fn relay(role: Role) -> (Relay, Handshaking) {
    let relays = Relays::new(Settings::default()).unwrap();
    let both = both(&relays, role);
    (Relay::new(&relays, both.clone()), both)
}

/// Hands over one datagram; returns the class of the answer, its code, and what is complained about.
fn hand(
    relay: &mut Relay,
    datagram: &[u8],
    from: SocketAddr,
) -> (Option<MessageClass>, Option<u16>, String) {
    relay.handle(Kind::of(datagram), datagram, from, Instant::now());
    let answer = relay.send().map(|(to, answer)| {
        assert_eq!(to, from);
        answer
    });
    let message = answer.as_ref().filter(|a| Kind::of(a) == Kind::Stun);
    let message = message.map(|answer| Message::from_bytes(answer).unwrap());
    let class = message.as_ref().map(Message::class);
    let code = message.and_then(|m| m.attribute::<stun_types::attribute::ErrorCode>().ok());
    (class, code.map(|c| c.code()), relay.complaints().join("\n"))
}

#[test]
fn a_check_that_is_wrong_in_one_way_is_named_and_gets_what_it_deserves() {
    type Spoil = fn(Check) -> Check;
    let cases: [(Spoil, Option<u16>, &str); 11] = [
        (
            |c| Check {
                username: "x:y".into(),
                ..c
            },
            None,
            "USERNAME",
        ),
        (
            |c| Check {
                username: c.username.replace(UFRAG, "else"),
                ..c
            },
            None,
            "USERNAME",
        ),
        (
            |c| Check {
                pwd: "B".repeat(24),
                ..c
            },
            None,
            "MESSAGE-INTEGRITY",
        ),
        // The padding is part of the password (§7).
        (
            |c| Check {
                pwd: c.pwd.replace('=', ""),
                ..c
            },
            None,
            "MESSAGE-INTEGRITY",
        ),
        (
            |c| Check {
                fingerprint: false,
                ..c
            },
            None,
            "does not end with FINGERPRINT",
        ),
        (
            |c| c.without(CONTROLLING).and(CONTROLLED, &[7; 8]),
            Some(487),
            "it is controlled",
        ),
        (
            |c| c.without(CONTROLLING),
            Some(400),
            "without ICE-CONTROLLING",
        ),
        (|c| c.without(PRIORITY), Some(400), "without PRIORITY"),
        (|c| c.and(0x0026, &[]), Some(420), "must be understood"),
        (
            |c| Check {
                method: Method::new(3),
                ..c
            },
            None,
            "not Binding",
        ),
        (
            |c| Check {
                class: MessageClass::Success,
                ..c
            },
            None,
            "asks nothing",
        ),
    ];
    for (spoil, code, complaint) in cases {
        let (mut relay, both) = relay(Role::Server);
        let check = spoil(Check::of(&both)).bytes();
        let (class, answered, said) = hand(&mut relay, &check, bridge());
        assert!(said.contains(complaint), "{complaint}: {said}");
        assert_eq!(answered, code, "{complaint}");
        assert_ne!(class, Some(MessageClass::Success), "{complaint}");
    }
    let (mut relay, both) = relay(Role::Server);
    let mut check = Check::of(&both).bytes();
    let last = check.len() - 1;
    check[last] ^= 1;
    assert!(
        hand(&mut relay, &check, bridge())
            .2
            .contains("FINGERPRINT is wrong")
    );
    check.truncate(last);
    assert!(
        hand(&mut relay, &check, bridge())
            .2
            .contains("another length")
    );
}

#[test]
fn a_keepalive_is_no_check_and_no_fault() {
    let (mut relay, both) = relay(Role::Server);
    let keepalive = Check {
        class: MessageClass::Indication,
        ..Check::of(&both)
    };
    let (class, _, said) = hand(&mut relay, &keepalive.bytes(), bridge());
    assert_eq!((class, said.as_str()), (None, ""));
}

#[test]
fn an_address_that_no_sdp_named_is_learnt_from_a_signed_check() {
    let (mut relay, both) = relay(Role::Client);
    let behind_a_nat = "192.0.2.1:1025".parse().unwrap();
    let check = Check::of(&both).bytes();
    let (class, _, said) = hand(&mut relay, &check, behind_a_nat);
    assert_eq!((class, said.as_str()), (Some(MessageClass::Success), ""));
    let nomination = Check::of(&both).and(USE, &[]).bytes();
    hand(&mut relay, &nomination, behind_a_nat);
    assert_eq!(relay.peer(), Some(behind_a_nat));
    let (to, hello) = relay.send().expect("the ClientHello follows at once");
    assert_eq!(to, behind_a_nat);
    assert!(shake::hello(&hello).is_some());
}

#[test]
fn aggressive_nomination_and_a_second_pair_are_named() {
    let (mut relay, both) = relay(Role::Server);
    let nomination = || Check::of(&both).and(USE, &[]).bytes();
    let (_, _, said) = hand(&mut relay, &nomination(), bridge());
    assert!(said.contains("aggressive"), "{said}");
    let (_, _, said) = hand(&mut relay, &nomination(), bridge());
    assert_eq!(
        said, "",
        "the same pair again: its answer may have got lost"
    );
    hand(&mut relay, &Check::of(&both).bytes(), other());
    let (_, _, said) = hand(&mut relay, &nomination(), other());
    assert!(said.contains("second pair"), "{said}");
    assert_eq!(relay.peer(), Some(bridge()));
}

#[test]
fn a_transaction_that_was_refused_must_not_come_again() {
    let relays = Relays::new(Settings {
        checks: Checks::Conflict(1),
        ..Settings::default()
    });
    let relays = relays.unwrap();
    let both = both(&relays, Role::Server);
    let mut relay = Relay::new(&relays, both.clone());
    let check = Check::of(&both).bytes();
    assert_eq!(hand(&mut relay, &check, bridge()).1, Some(487));
    let (class, _, said) = hand(&mut relay, &check, bridge());
    assert_eq!(class, None);
    assert!(said.contains("ended with an error"), "{said}");
    let again = Check::of(&both).bytes();
    let (class, _, _) = hand(&mut relay, &again, bridge());
    assert_eq!(class, Some(MessageClass::Success));
}

/// A ClientHello of somebody, each time another.
fn hello() -> Vec<u8> {
    let now = Instant::now();
    let mut client = Handshake::new(&BRIDGES.0, Role::Client, vec![BRIDGES.1], now).unwrap();
    match client.tick(now).remove(0) {
        Action::Send(datagram) => datagram,
        action => panic!("{action:?}"),
    }
}

#[test]
fn a_handshake_that_begins_too_early_elsewhere_or_from_the_wrong_end_is_named() {
    let (mut relay, both) = relay(Role::Server);
    let (_, _, said) = hand(&mut relay, &hello(), bridge());
    assert!(said.contains("before a check has succeeded"), "{said}");
    hand(&mut relay, &Check::of(&both).bytes(), bridge());
    let (_, _, said) = hand(&mut relay, &hello(), bridge());
    assert!(said.contains("before ICE has nominated"), "{said}");
    hand(
        &mut relay,
        &Check::of(&both).and(USE, &[]).bytes(),
        bridge(),
    );
    let (_, _, said) = hand(&mut relay, &hello(), other());
    assert!(said.contains("another address"), "{said}");
    let first = hello();
    assert_eq!(hand(&mut relay, &first, bridge()).2, "");
    assert_eq!(hand(&mut relay, &first, bridge()).2, "", "repeated");
    let (_, _, said) = hand(&mut relay, &hello(), bridge());
    assert!(said.contains("second association"), "{said}");

    let (mut relay, both) = self::relay(Role::Client);
    hand(&mut relay, &Check::of(&both).bytes(), bridge());
    hand(
        &mut relay,
        &Check::of(&both).and(USE, &[]).bytes(),
        bridge(),
    );
    let (_, _, said) = hand(&mut relay, &hello(), bridge());
    assert!(said.contains("makes the bridge the server"), "{said}");
}

#[test]
fn media_without_keys_is_named_or_judged_by_the_keys_that_come() {
    let clear = [0x80; 60];
    let (mut relay, both) = relay(Role::Server);
    relay.unkeyed(Kind::Rtp, &clear);
    assert!(relay.complaints().concat().contains("before ICE"));
    hand(&mut relay, &Check::of(&both).bytes(), bridge());
    hand(
        &mut relay,
        &Check::of(&both).and(USE, &[]).bytes(),
        bridge(),
    );
    relay.unkeyed(Kind::Rtp, &clear);
    assert!(
        relay
            .complaints()
            .concat()
            .contains("before the DTLS handshake")
    );

    for protected in [false, true] {
        let mut bench = Bench::new(Settings::default(), Role::Client);
        while bench.bridge.keys.is_none() {
            bench.turn();
            bench.now += MS;
        }
        // The bridge, which is the server, is done first.
        let keys = bench.bridge.keys.clone().unwrap();
        let mut media = clear.to_vec();
        if protected {
            let mut sender = crate::media::srtp::Sender::new(keys.profile, &keys.send).unwrap();
            sender.protect_rtp(&clear, &mut media).unwrap();
        }
        assert!(bench.keys.is_none());
        bench.relay.unkeyed(Kind::Rtp, &media);
        bench.runs();
        bench.has_good_keys();
        assert_eq!(bench.relay.complaints().is_empty(), protected);
    }
    let (mut relay, both) = self::relay(Role::Client);
    hand(&mut relay, &Check::of(&both).bytes(), bridge());
    hand(
        &mut relay,
        &Check::of(&both).and(USE, &[]).bytes(),
        bridge(),
    );
    relay.unkeyed(Kind::Rtp, &clear);
    assert!(relay.finish().concat().contains("never were keys"));
}

#[test]
fn a_bridge_that_stops_asking_for_consent_is_named_after_30_s() {
    let mut bench = Bench::new(Settings::default(), Role::Server);
    bench.runs();
    let answered = bench.now;
    for seconds in 0..60 {
        bench.now = answered + Duration::from_secs(seconds);
        (0..5).for_each(|_| bench.turn());
        bench.relay.watch(answered, bench.now);
        assert_eq!(bench.relay.complaints(), Vec::<String>::new(), "{seconds}");
    }
    bench.now += Duration::from_secs(31);
    bench.relay.watch(answered, bench.now);
    assert!(
        bench
            .relay
            .complaints()
            .concat()
            .contains("no consent check")
    );
}

proptest! {
    #[test]
    fn no_datagram_makes_a_relay_panic(changes in prop::collection::vec((any::<u16>(), any::<u8>()), 0..6), cut in any::<u16>(), noise: Vec<u8>) {
        let (mut relay, both) = relay(Role::Server);
        let mut check = Check::of(&both).and(USE, &[]).bytes();
        for (at, octet) in changes {
            let at = usize::from(at) % check.len();
            check[at] = octet;
        }
        check.truncate(usize::from(cut) % (2 * check.len()));
        for datagram in [check, noise] {
            for kind in [Kind::Stun, Kind::Dtls] {
                relay.handle(kind, &datagram, bridge(), Instant::now());
            }
        }
    }
}
