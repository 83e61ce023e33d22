//! Two handshakes with each other in virtual time, over a path that loses, delays, reorders and repeats.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use proptest::test_runner::{RngAlgorithm, TestRng};

use super::*;
use crate::media::{SrtpKeys, SrtpProfile};

static ECDSA: LazyLock<Certificate> = LazyLock::new(|| Certificate::generate().unwrap());
static RSA: LazyLock<Certificate> = LazyLock::new(|| Certificate::generate_rsa().unwrap());

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::AesCm128HmacSha1_80,
    SrtpProfile::AeadAes256Gcm,
];

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn context(certificate: &Certificate) -> Context {
    Context::new(certificate, &Settings::default()).unwrap()
}

fn only(certificate: &Certificate, profile: SrtpProfile) -> Context {
    let settings = Settings {
        profiles: vec![profile],
        ..Settings::default()
    };
    Context::new(certificate, &settings).unwrap()
}

/// What one end has come to.
#[derive(Default)]
struct Outcome {
    keys: Option<(SrtpKeys, Instant)>,
    failed: Option<Failure>,
}

/// Both ends, 0 the client and 1 the server, and the path between them.
struct Path {
    ends: [Handshake; 2],
    outcomes: [Outcome; 2],
    started: Instant,
    now: Instant,
    /// When, to whom, what.
    flying: Vec<(Instant, usize, Vec<u8>)>,
    random: TestRng,
    /// Of 100 datagrams, how many are lost, and how many are carried twice.
    loss: u32,
    twice: u32,
    /// The first is lost before this; a deaf peer.
    deaf: Duration,
    sent: usize,
}

impl Path {
    fn new(client: &Context, server: &Context) -> Path {
        Path::expecting(client, server, server.fingerprint(), client.fingerprint())
    }

    fn expecting(
        client: &Context,
        server: &Context,
        by_client: Fingerprint,
        by_server: Fingerprint,
    ) -> Path {
        let now = Instant::now();
        let end = |context, role, expected| Handshake::new(context, role, vec![expected], now);
        Path {
            ends: [
                end(client, Role::Client, by_client).unwrap(),
                end(server, Role::Server, by_server).unwrap(),
            ],
            outcomes: Default::default(),
            started: now,
            now,
            flying: Vec::new(),
            random: TestRng::deterministic_rng(RngAlgorithm::ChaCha),
            loss: 0,
            twice: 0,
            deaf: Duration::ZERO,
            sent: 0,
        }
    }

    fn losing(mut self, loss: u32, seed: u8) -> Path {
        self.loss = loss;
        self.random = TestRng::from_seed(RngAlgorithm::ChaCha, &[seed; 32]);
        self
    }

    fn percent(&mut self) -> u32 {
        use proptest::prelude::Rng;
        self.random.next_u32() % 100
    }

    fn act(&mut self, at: usize, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::Send(datagram) => self.send(1 - at, datagram),
                Action::Keys(keys) => {
                    let before = self.outcomes[at].keys.replace((keys, self.now));
                    assert!(before.is_none(), "keys come once");
                }
                Action::Failed(failure) => {
                    let before = self.outcomes[at].failed.replace(failure);
                    assert!(before.is_none(), "failed once");
                }
            }
        }
    }

    fn send(&mut self, to: usize, datagram: Vec<u8>) {
        assert!(datagram.len() <= 1200, "{} octets", datagram.len());
        self.sent += 1;
        let copies = 1 + usize::from(self.percent() < self.twice);
        for _ in 0..copies {
            if self.percent() < self.loss || self.now < self.started + self.deaf {
                continue;
            }
            // 20 to 35 ms: datagrams of one flight overtake each other.
            let delay = millis(20 + u64::from(self.percent()) * 15 / 100);
            self.flying.push((self.now + delay, to, datagram.clone()));
        }
    }

    /// Runs until nothing is due any more, or for a minute.
    fn run(mut self) -> Path {
        while self.now < self.started + Duration::from_secs(60) {
            let due = (0..2).filter_map(|at| self.ends[at].deadline().map(|due| (due, at)));
            let arriving = self.flying.iter().map(|(due, to, _)| (*due, 2 + to));
            let Some((due, what)) = due.chain(arriving).min() else {
                break;
            };
            self.now = self.now.max(due);
            if what < 2 {
                let actions = self.ends[what].tick(self.now);
                self.act(what, actions);
                continue;
            }
            let first = (0..self.flying.len()).min_by_key(|nth| self.flying[*nth].0);
            let (_, to, datagram) = self.flying.remove(first.unwrap());
            let actions = self.ends[to].handle(&datagram, self.now);
            self.act(to, actions);
        }
        self
    }

    /// Both ends have keys, and what one sends with the other receives with. Returns the profile and how long it took.
    fn agreed(&self) -> Option<(SrtpProfile, Duration)> {
        let [client, server] = &self.outcomes;
        let ((client, at), (server, then)) = (client.keys.as_ref()?, server.keys.as_ref()?);
        assert!(client.send == server.receive && client.receive == server.send);
        assert!(client.send != client.receive);
        assert_eq!(client.profile, server.profile);
        assert_eq!(client.send.0.len(), client.profile.key_and_salt_len());
        Some((client.profile, *at.max(then) - self.started))
    }

    fn failures(&self) -> [Option<Failure>; 2] {
        [0, 1].map(|at| self.outcomes[at].failed.clone())
    }
}

#[test]
fn every_profile_is_agreed_with_ecdsa_and_rsa_certificates_in_either_role() {
    for (client, server) in [
        (&ECDSA, &ECDSA),
        (&ECDSA, &RSA),
        (&RSA, &ECDSA),
        (&RSA, &RSA),
    ] {
        for profile in PROFILES {
            let path = Path::new(&context(client), &only(server, profile)).run();
            let (agreed, took) = path.agreed().unwrap();
            assert_eq!(agreed, profile);
            assert!(took < millis(160), "two round trips, took {took:?}");
            assert_eq!(path.failures(), [None, None]);
        }
    }
}

#[test]
fn as_server_our_order_of_profiles_wins() {
    let settings = Settings {
        profiles: PROFILES.into_iter().rev().collect(),
        ..Settings::default()
    };
    let server = Context::new(&ECDSA, &settings).unwrap();
    let path = Path::new(&context(&ECDSA), &server).run();
    assert_eq!(path.agreed().unwrap().0, SrtpProfile::AeadAes256Gcm);
}

#[test]
fn the_keys_of_two_handshakes_differ() {
    let ours = context(&ECDSA);
    let [first, second] = [0, 1].map(|_| Path::new(&ours, &ours).run());
    let key = |path: &Path| path.outcomes[0].keys.as_ref().unwrap().0.send.clone();
    assert!(key(&first) != key(&second));
}

#[test]
fn two_hundred_handshakes_end_well_though_a_fifth_or_a_third_is_lost() {
    let (ours, theirs) = (context(&ECDSA), context(&RSA));
    for (loss, twice, median) in [(0, 0, 140), (20, 10, 250), (30, 10, 350)] {
        let mut took: Vec<Duration> = Vec::new();
        for seed in 0..200 {
            let (client, server) = if seed % 2 == 0 {
                (&ours, &theirs)
            } else {
                (&theirs, &ours)
            };
            let mut path = Path::new(client, server).losing(loss, seed);
            path.twice = twice;
            let path = path.run();
            assert!(path.sent < 200, "{} datagrams", path.sent);
            took.extend(path.agreed().map(|(_, took)| took));
        }
        took.sort();
        assert!(took.len() >= 198, "{loss} %: {} of 200", took.len());
        assert!(
            took[100] < millis(median),
            "{loss} %: median {:?}",
            took[100]
        );
    }
}

#[test]
fn a_peer_that_is_deaf_for_five_seconds_is_reached_soon_after() {
    let ours = context(&ECDSA);
    let mut path = Path::new(&ours, &ours);
    path.deaf = Duration::from_secs(5);
    let (_, took) = path.run().agreed().unwrap();
    assert!(took < millis(6_500), "{took:?}");
}

#[test]
fn the_first_flight_is_repeated_after_50_ms_and_the_wait_doubles_up_to_an_eighth_of_the_whole() {
    let now = Instant::now();
    let ours = context(&ECDSA);
    let mut client = Handshake::new(&ours, Role::Client, vec![ours.fingerprint()], now).unwrap();
    let (mut at, mut times, mut last) = (now, Vec::new(), Vec::new());
    while let Some(due) = client.deadline() {
        at = due;
        last = client.tick(at);
        times.push((at - now).as_millis());
    }
    assert_eq!(
        times,
        [
            0, 50, 150, 350, 750, 1550, 2800, 4050, 5300, 6550, 7800, 9050, 10_000
        ]
    );
    let given_up = Failure::GaveUp {
        after: Duration::from_secs(10),
        heard: false,
    };
    assert_eq!(
        given_up.to_string(),
        "the DTLS handshake was given up after 10.0s: no datagram came from the peer"
    );
    assert_eq!(last, [Action::Failed(given_up)]);
    assert_eq!(client.tick(at), [], "once");
    assert_eq!(client.handle(&[22], at), []);
}

#[test]
fn a_server_without_a_peer_gives_up_too_and_sends_nothing() {
    let now = Instant::now();
    let ours = context(&ECDSA);
    let mut server = Handshake::new(&ours, Role::Server, vec![ours.fingerprint()], now).unwrap();
    assert_eq!(server.tick(now), []);
    let due = server.deadline().unwrap();
    assert_eq!(due - now, Duration::from_secs(10));
    assert!(matches!(
        server.tick(due)[..],
        [Action::Failed(Failure::GaveUp { heard: false, .. })]
    ));
}

#[test]
fn a_certificate_that_sdp_did_not_speak_of_gives_no_keys_in_either_role() {
    let (ours, other) = (context(&ECDSA), Certificate::generate().unwrap());
    for (theirs, mismatched) in [(&ECDSA, 0), (&RSA, 0), (&ECDSA, 1), (&RSA, 1)] {
        let theirs = context(theirs);
        let contexts = if mismatched == 0 {
            [&ours, &theirs]
        } else {
            [&theirs, &ours]
        };
        let mut expected = [contexts[1].fingerprint(), contexts[0].fingerprint()];
        expected[mismatched] = other.fingerprint();
        let path = Path::expecting(contexts[0], contexts[1], expected[0], expected[1]).run();
        let [client, server] = &path.outcomes;
        assert!(client.keys.is_none() && server.keys.is_none());
        let failures = path.failures();
        let expected = vec![other.fingerprint()];
        let presented = theirs.fingerprint();
        let mismatch = Failure::Fingerprint {
            presented,
            expected,
        };
        let text = mismatch.to_string();
        assert!(text.contains(&presented.to_string()));
        assert!(text.contains(&other.fingerprint().to_string()));
        assert_eq!(failures[mismatched].as_ref(), Some(&mismatch));
        // The other end is told (RFC 8122 §6.2).
        let description = "bad certificate".to_owned();
        assert_eq!(
            failures[1 - mismatched],
            Some(Failure::Alert { description })
        );
    }
}

#[test]
fn any_of_several_fingerprints_will_do_and_none_at_all_will_not() {
    let (ours, other) = (context(&ECDSA), Certificate::generate().unwrap());
    let with = |expected| {
        let mut path = Path::new(&ours, &ours);
        path.ends[0] = Handshake::new(&ours, Role::Client, expected, path.now).unwrap();
        path.run()
    };
    let both = with(vec![other.fingerprint(), ours.fingerprint()]);
    assert!(both.agreed().is_some());
    assert!(with(Vec::new()).outcomes[0].keys.is_none());
}

#[test]
fn no_common_profile_is_a_failure_though_the_library_completes() {
    let client = only(&ECDSA, SrtpProfile::AeadAes128Gcm);
    let server = only(&ECDSA, SrtpProfile::AesCm128HmacSha1_80);
    let path = Path::new(&client, &server).run();
    let expected = Some(Failure::NoCommonProfile);
    assert_eq!(path.failures(), [expected.clone(), expected]);
    assert!(path.agreed().is_none());
    let nothing = Settings {
        profiles: Vec::new(),
        ..Settings::default()
    };
    assert!(Context::new(&ECDSA, &nothing).is_err());
}

#[test]
fn garbage_from_the_peers_address_does_not_end_a_handshake() {
    let ours = context(&ECDSA);
    for end in [0, 1] {
        let mut path = Path::new(&ours, &ours);
        let garbage: [&[u8]; 7] = [
            &[],
            &[22],
            &[0x80; 60],
            &[0xff; 3000],
            // No DTLS version; a record cut short; application data before any keys.
            &[22, 3, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            &[22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 99, 1],
            &[23, 0xfe, 0xfd, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1, 1],
        ];
        for datagram in garbage {
            let actions = path.ends[end].handle(datagram, path.now);
            path.act(end, actions);
        }
        assert!(path.run().agreed().is_some(), "end {end}");
    }
}

/// A fatal alert without encryption, as anybody can make it: `handshake_failure`.
const ALERT: &[u8] = &[21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 40];

#[test]
fn a_forged_alert_ends_a_handshake_so_only_the_nominated_address_may_be_fed() {
    let ours = context(&ECDSA);
    let mut path = Path::new(&ours, &ours);
    let actions = path.ends[0].tick(path.now);
    path.act(0, actions);
    let description = "handshake failure".to_owned();
    let failure = Failure::Alert { description };
    assert_eq!(
        failure.to_string(),
        "the peer ended the DTLS handshake with alert \"handshake failure\""
    );
    assert_eq!(
        path.ends[0].handle(ALERT, path.now),
        [Action::Failed(failure)]
    );
    assert_eq!(path.ends[0].deadline(), None);
}

#[test]
fn once_the_keys_are_out_strangers_can_do_nothing() {
    let ours = context(&ECDSA);
    let mut path = Path::new(&ours, &ours).run();
    let mut stranger = Handshake::new(&ours, Role::Client, Vec::new(), path.now).unwrap();
    let [Action::Send(hello)] = &stranger.tick(path.now)[..] else {
        panic!("a client starts with one datagram");
    };
    for end in [0, 1] {
        for datagram in [ALERT, hello, &[0xff; 1500], &[22], &[]] {
            for _ in 0..50 {
                assert_eq!(path.ends[end].handle(datagram, path.now), []);
            }
        }
        assert_eq!(path.ends[end].deadline(), None);
    }
}

#[test]
fn a_lost_last_flight_is_repeated_after_completion() {
    let ours = context(&ECDSA);
    let mut path = Path::new(&ours, &ours);
    // Until the server has its keys, all goes through; its last flight is then thrown away, three times.
    for _ in 0..3 {
        while path.outcomes[1].keys.is_none() {
            path = step(path);
        }
        path.flying.retain(|(_, to, _)| *to != 0);
        let due = path.ends[0].deadline().unwrap();
        path.now = due;
        let actions = path.ends[0].tick(due);
        assert!(!actions.is_empty(), "the client repeats its flight");
        path.act(0, actions);
        let (_, _, finished) = path.flying.pop().unwrap();
        let actions = path.ends[1].handle(&finished, path.now);
        assert!(matches!(actions[..], [Action::Send(_)]), "{actions:?}");
        path.act(1, actions);
    }
    assert!(path.outcomes[0].keys.is_none());
    assert!(path.run().agreed().is_some());
}

fn step(mut path: Path) -> Path {
    if let Some(at) = (0..2).find(|at| path.ends[*at].deadline().is_some_and(|due| due <= path.now))
    {
        let actions = path.ends[at].tick(path.now);
        path.act(at, actions);
        return path;
    }
    let (due, to, datagram) = path.flying.remove(0);
    path.now = path.now.max(due);
    let actions = path.ends[to].handle(&datagram, path.now);
    path.act(to, actions);
    path
}

#[test]
fn a_worker_thread_may_own_a_handshake_and_all_threads_may_share_the_context() {
    let now = Instant::now();
    let ours = context(&ECDSA);
    let mut client = Handshake::new(&ours, Role::Client, vec![ours.fingerprint()], now).unwrap();
    let elsewhere = std::thread::spawn(move || client.tick(now).len());
    assert_eq!(elsewhere.join().unwrap(), 1);
    fn shared<T: Clone + Send + Sync>(_: &T) {}
    shared(&ours);
}

#[test]
fn keys_do_not_print() {
    let ours = context(&ECDSA);
    let path = Path::new(&ours, &ours).run();
    let (keys, _) = path.outcomes[0].keys.clone().unwrap();
    assert_eq!(
        format!("{:?}", Action::Keys(keys)),
        "Keys(SrtpKeys(AeadAes128Gcm, secret))"
    );
}
