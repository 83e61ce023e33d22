//! The agent over a wire in memory: virtual time, loss, delay and reordering from a seed, and a lite peer at its end.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::lite::{self, Lite, Manner};
use super::*;

const OURS: [&str; 2] = ["198.51.100.20:40100", "[2001:db8:40::20]:40100"];
const V4: &str = "57.144.135.35:3480";
const V6: &str = "[2a03:2880:f343:131:face:b00c:0:699c]:3480";
const UFRAG: &str = "RmDDkfzkwbexPfbC";
const PWD: &str = "0YdE1EdHlZXr9y2NbUCZiA==";

fn at(address: &str) -> SocketAddr {
    address.parse().unwrap()
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// Meta's two, from uic-offer-dtls-doc.sdp.
fn metas() -> Vec<Candidate> {
    let lines = [
        "1775469887 1 udp 2122260223 57.144.135.35 3480 typ host generation 0 network-cost 50",
        "3355715111 1 udp 2122262783 2a03:2880:f343:131:face:b00c:0:699c 3480 typ host generation 0 network-cost 50",
    ];
    let parsed = lines.map(|line| Candidate::parse(line).unwrap().unwrap());
    parsed.to_vec()
}

/// SplitMix64.
fn noise(seed: u64) -> impl FnMut() -> u64 + Send + 'static {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

struct Wire {
    agent: Agent,
    /// The agent's credentials.
    local: Credentials,
    lite: Lite,
    start: Instant,
    now: Instant,
    random: Box<dyn FnMut() -> u64>,
    /// In percent, each way.
    loss: u64,
    /// One way, least and most: what lies between reorders.
    delay: (u64, u64),
    /// Addresses of the peer that nothing reaches.
    dead: Vec<SocketAddr>,
    /// Arrival, the peer's address, whether it is for the agent, and what it is.
    flying: Vec<(Instant, SocketAddr, bool, Vec<u8>)>,
    /// When each check left, and for where.
    sent: Vec<(Duration, SocketAddr)>,
    /// All that is not `Send`.
    said: Vec<(Duration, Action)>,
}

impl Wire {
    fn new(seed: u64, manner: Manner, candidates: &[Candidate]) -> Wire {
        let (now, local) = (Instant::now(), Credentials::generate());
        let theirs = local.ufrag().to_owned();
        let remote = Credentials::new(UFRAG, PWD).unwrap();
        let settings = Settings::default();
        let mut draw = noise(seed);
        let agent = Agent::new(
            local.clone(),
            remote,
            &OURS.map(at),
            candidates,
            now,
            settings,
        )
        .drawing_from(move |octets| octets.fill_with(|| draw() as u8));
        Wire {
            agent,
            local,
            lite: Lite {
                ufrag: UFRAG,
                pwd: PWD,
                manner,
                theirs,
                nominated: Vec::new(),
                ended: Vec::new(),
                checks: 0,
            },
            start: now,
            now,
            random: Box::new(noise(!seed)),
            loss: 0,
            delay: (20, 20),
            dead: Vec::new(),
            flying: Vec::new(),
            sent: Vec::new(),
            said: Vec::new(),
        }
    }

    fn lossy(mut self, percent: u64, delay: (u64, u64)) -> Wire {
        (self.loss, self.delay) = (percent, delay);
        self
    }

    fn with_dead(mut self, addresses: &[&str]) -> Wire {
        self.dead = addresses.iter().map(|address| at(address)).collect();
        self
    }

    /// Runs until nothing is due before `end`, counted from the start.
    fn run(&mut self, end: Duration) {
        let end = self.start + end;
        loop {
            let arrival = self.flying.iter().map(|flight| flight.0).min();
            let tick = self.agent.deadline();
            let Some(next) = arrival.into_iter().chain(tick).min().filter(|t| *t <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(next);
            if arrival == Some(next) {
                let at = self.flying.iter().position(|flight| flight.0 == next);
                self.arrive(at.unwrap());
            } else {
                let actions = self.agent.tick(self.now);
                let moved = self.agent.deadline().is_none_or(|d| d > self.now);
                assert!(moved || !actions.is_empty(), "due, and nothing done");
                self.perform(actions);
            }
        }
    }

    fn arrive(&mut self, flight: usize) {
        let (_, peer, ours, datagram) = self.flying.remove(flight);
        if ours {
            let actions = self.agent.handle(&datagram, peer, self.now);
            self.perform(actions);
        } else {
            let from = at(OURS[usize::from(peer.is_ipv6())]);
            let answer = self.lite.answer(&datagram, from, peer);
            self.fly(peer, true, answer);
        }
    }

    fn perform(&mut self, actions: Vec<Action>) {
        let since = self.now - self.start;
        for action in actions {
            match action {
                Action::Send { to, datagram } => {
                    self.sent.push((since, to));
                    self.fly(to, false, datagram);
                }
                other => self.said.push((since, other)),
            }
        }
    }

    fn fly(&mut self, peer: SocketAddr, ours: bool, datagram: Vec<u8>) {
        let (least, most) = self.delay;
        let delay = least + (self.random)() % (most - least + 1);
        let lost = (self.random)() % 100 < self.loss || self.dead.contains(&peer);
        if !lost {
            let arrival = self.now + ms(delay);
            self.flying.push((arrival, peer, ours, datagram));
        }
    }

    /// What was said, without the times.
    fn events(&self) -> Vec<&Action> {
        self.said.iter().map(|(_, action)| action).collect()
    }

    /// When and what was selected, if that is the only thing said.
    fn selected(&self) -> (Duration, SocketAddr) {
        match &self.said[..] {
            [(when, Action::Selected(address))] => (*when, *address),
            other => panic!("{other:?}"),
        }
    }

    /// One more datagram for the agent; what it sends in return does not leave.
    fn inject(&mut self, datagram: &[u8], from: &str) -> Vec<Action> {
        self.agent.handle(datagram, at(from), self.now)
    }
}

#[test]
fn the_preferred_address_is_selected_after_two_round_trips() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    wire.run(ms(10_000));
    assert_eq!(wire.selected(), (ms(80), at(V6)));
    assert_eq!(wire.lite.nominated, [at(V6)]);
    assert_eq!(wire.agent.mapped(), Some(at(OURS[1])));
}

#[test]
fn loss_and_delay_cost_time_and_nothing_else() {
    for (loss, delay, within) in [
        (0, (20, 20), 80),
        (0, (800, 800), 3200),
        (20, (20, 20), 2_000),
        (20, (20, 400), 4_000),
        (40, (20, 20), 6_000),
        (40, (20, 800), 10_000),
    ] {
        let mut times: Vec<Duration> = (0..100)
            .map(|seed| {
                let mut wire = Wire::new(seed, Manner::Proper, &metas()).lossy(loss, delay);
                wire.run(ms(14_900));
                let (when, address) = wire.selected();
                wire.lite.nominated.dedup();
                assert_eq!(wire.lite.nominated, [address], "loss {loss}, seed {seed}");
                when
            })
            .collect();
        times.sort();
        let slowest = times[times.len() - 1];
        println!(
            "{loss} %, {delay:?} ms: median {:?}, p90 {:?}, last {slowest:?}",
            times[50], times[90]
        );
        assert!(slowest <= ms(within), "{loss} %, {delay:?}: {slowest:?}");
    }
}

#[test]
fn a_dead_ipv6_path_costs_one_pace() {
    let mut wire = Wire::new(1, Manner::Proper, &metas()).with_dead(&[V6]);
    wire.run(ms(10_000));
    assert_eq!(wire.selected(), (ms(20 + 80), at(V4)));
    let last_to_the_dead = wire.sent.iter().rfind(|(_, to)| *to == at(V6)).unwrap().0;
    assert!(last_to_the_dead < ms(100), "nothing after the nomination");
}

#[test]
fn candidates_of_a_family_that_we_do_not_have_are_passed_over() {
    let (local, now) = (Credentials::generate(), Instant::now());
    let remote = Credentials::new(UFRAG, PWD).unwrap();
    let only_v6 = &OURS.map(at)[1..];
    let new = |candidates: &[Candidate]| {
        let (local, remote) = (local.clone(), remote.clone());
        Agent::new(local, remote, only_v6, candidates, now, Settings::default())
    };
    let mut agent = new(&metas());
    let sent = [agent.tick(now), agent.tick(now + ms(20))].concat();
    assert!(matches!(&sent[..], [Action::Send { to, .. }] if *to == at(V6)));

    let mut agent = new(&metas()[..1]);
    assert_eq!(agent.deadline(), Some(now));
    assert_eq!(agent.tick(now), [Action::Failed(Failure::NoCandidate)]);
    assert_eq!(agent.deadline(), None);
}

#[test]
fn of_two_live_addresses_only_the_first_to_answer_is_ever_nominated() {
    for seed in 0..40 {
        // Answers cross, and the better address often answers last.
        let mut wire = Wire::new(seed, Manner::Proper, &metas()).lossy(10, (20, 300));
        wire.run(ms(30_000));
        let (_, address) = wire.selected();
        wire.lite.nominated.dedup();
        assert_eq!(wire.lite.nominated, [address], "seed {seed}");
        let after: Vec<_> = wire
            .sent
            .iter()
            .filter(|(when, _)| *when > ms(15_000))
            .collect();
        assert!(after.iter().all(|(_, to)| *to == address), "seed {seed}");
    }
}

#[test]
fn a_silent_peer_ends_it_after_few_packets() {
    let mut wire = Wire::new(1, Manner::Proper, &metas()).with_dead(&[V4, V6]);
    wire.run(ms(60_000));
    assert_eq!(
        wire.said,
        [(ms(15_000), Action::Failed(Failure::Unanswered))]
    );
    assert_eq!(wire.agent.deadline(), None);
    let times: Vec<_> = wire
        .sent
        .iter()
        .filter(|(_, to)| *to == at(V6))
        .map(|s| s.0)
        .collect();
    assert_eq!(times[..5], [0, 100, 300, 500, 700].map(ms));
    assert!(times.len() < 80, "{} checks", times.len());
    assert_eq!(wire.agent.stats().sent, wire.sent.len() as u64);
}

#[test]
fn a_peer_that_signs_with_another_password_is_never_selected() {
    let mut wire = Wire::new(1, Manner::WrongPassword, &metas());
    wire.run(ms(60_000));
    assert_eq!(wire.events(), [&Action::Failed(Failure::Unauthentic)]);
    let stats = wire.agent.stats();
    assert_eq!((stats.answered, stats.unauthentic > 10), (0, true));
    assert!(wire.lite.nominated.is_empty());
}

#[test]
fn a_peer_that_knows_other_credentials_is_named_by_its_error() {
    let mut wire = Wire::new(1, Manner::Unauthorized, &metas());
    wire.run(ms(60_000));
    let (when, action) = &wire.said[0];
    assert_eq!(
        (*when, action),
        (ms(15_000), &Action::Failed(Failure::Refused(401)))
    );
    assert_eq!(wire.said.len(), 1);
}

#[test]
fn a_role_conflict_is_asked_again_in_the_same_role() {
    for conflicts in [1, 3, 5] {
        // The lite peer itself panics at a check without ICE-CONTROLLING.
        let mut wire = Wire::new(1, Manner::Conflicted(conflicts), &metas());
        wire.run(ms(10_000));
        assert!(wire.selected().0 < ms(1_500), "{:?}", wire.said);
        assert_eq!(wire.agent.stats().refused, conflicts as u64);
    }
}

#[test]
fn consent_is_asked_for_about_every_five_seconds_under_a_new_name_each_time() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    wire.run(ms(600_000));
    wire.selected();
    let asked: Vec<_> = wire
        .sent
        .iter()
        .map(|s| s.0)
        .filter(|t| *t > ms(1_000))
        .collect();
    let gaps: Vec<_> = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(
        gaps.iter().all(|gap| (ms(4_000)..=ms(6_000)).contains(gap)),
        "{gaps:?}"
    );
    assert!(gaps.iter().min() < Some(&ms(4_500)) && gaps.iter().max() > Some(&ms(5_500)));
    assert_eq!(
        wire.lite.nominated.len(),
        1,
        "a consent check nominates nothing"
    );
}

#[test]
fn a_peer_that_falls_silent_is_lost_thirty_seconds_after_its_last_answer() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    wire.run(ms(20_000));
    let (_, address) = wire.selected();
    let last = wire.sent.last().unwrap().0 + ms(40);
    wire.dead = vec![at(V4), at(V6)];
    wire.run(ms(120_000));
    assert_eq!(wire.said[1..], [(last + ms(30_000), Action::Lost)]);
    assert_eq!(wire.agent.deadline(), None);
    let sent = wire.sent.len();
    wire.dead.clear();
    wire.run(ms(200_000));
    assert_eq!(
        wire.sent.len(),
        sent,
        "nothing is sent to {address} after that"
    );
}

#[test]
fn an_answer_to_a_consent_check_counts_once() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    wire.run(ms(1_000));
    wire.selected();
    let due = wire.agent.deadline().unwrap();
    let Some(Action::Send { datagram, .. }) = wire.agent.tick(due).pop() else {
        panic!("no consent check")
    };
    let answer = lite::success(&datagram, at(OURS[1]), PWD);
    for _ in 0..3 {
        assert_eq!(wire.inject(&answer, V6), []);
    }
    // The third that was ignored is the answer of the pair that came second.
    let stats = wire.agent.stats();
    assert_eq!((stats.answered, stats.ignored), (3, 2 + 1));
}

#[test]
fn an_answer_from_elsewhere_or_to_nothing_we_asked_counts_for_nothing() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    let Some(Action::Send { datagram, .. }) = wire.agent.tick(wire.now).pop() else {
        panic!("no check")
    };
    let answer = lite::success(&datagram, at(OURS[1]), PWD);
    assert_eq!(wire.inject(&answer, V4), [], "asked at V6");
    assert_eq!(wire.inject(&answer, "203.0.113.9:3480"), []);
    let mut other = datagram.clone();
    other[8] ^= 1;
    assert_eq!(
        wire.inject(&lite::success(&other, at(OURS[1]), PWD), V6),
        []
    );
    assert_eq!(wire.agent.stats().ignored, 3);
    let forged = lite::success(&datagram, at(OURS[1]), "AAAAAAAAAAAAAAAAAAAAAA==");
    assert_eq!(wire.inject(&forged, V6), []);
    assert_eq!(wire.agent.stats().unauthentic, 1);
    let nominating = wire.inject(&answer, V6);
    let [Action::Send { to, datagram }] = &nominating[..] else {
        panic!("{nominating:?}")
    };
    assert_eq!(*to, at(V6));
    assert_eq!(
        wire.inject(&answer, V6),
        [],
        "a second copy answers nothing any more"
    );
    let agreed = lite::success(datagram, at(OURS[1]), PWD);
    assert_eq!(wire.inject(&agreed, V4), [], "nominated at V6");
    assert_eq!(wire.inject(&agreed, V6), [Action::Selected(at(V6))]);
    assert_eq!(wire.inject(&agreed, V6), []);
}

/// USERNAME and password of a request to the agent.
fn to_us(wire: &Wire) -> (String, String) {
    let local = &wire.local;
    (format!("{}:{UFRAG}", local.ufrag()), local.pwd().to_owned())
}

const CONTROLLED: (u16, &[u8]) = (0x8029, &[0; 8]);
const PRIORITY: (u16, &[u8]) = (0x0024, &[0x6e, 0, 1, 0xff]);

#[test]
fn a_full_peer_that_checks_us_is_answered_with_a_signature() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    let (username, pwd) = to_us(&wire);
    let check = lite::request(&username, &pwd, [7; 12], &[PRIORITY, CONTROLLED]);
    let actions = wire.inject(&check, V4);
    let [
        Action::Send { to, datagram },
        Action::Send { to: triggered, .. },
    ] = &actions[..]
    else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (*to, *triggered),
        (at(V4), at(V4)),
        "an answer, and our check at once"
    );
    let by_hand = lite::success(&check, at(V4), &pwd);
    assert_eq!(*datagram, by_hand);
    // The same again, as it repeats what got lost: answered again, but our check is under way already.
    assert_eq!(wire.inject(&check, V4).len(), 1);
    assert_eq!(wire.agent.stats().served, 2);
}

#[test]
fn a_peer_that_wants_to_control_is_told_487() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    let (username, pwd) = to_us(&wire);
    let check = lite::request(&username, &pwd, [7; 12], &[PRIORITY, (0x802a, &[0xff; 8])]);
    let actions = wire.inject(&check, V4);
    let [Action::Send { datagram, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(datagram[..2], [0x01, 0x11]);
    assert_eq!(
        datagram[20..28],
        [0, 9, 0, 17, 0, 0, 4, 87],
        "ERROR-CODE 487"
    );
}

#[test]
fn what_we_must_understand_and_do_not_is_told_420() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    let (username, pwd) = to_us(&wire);
    let check = lite::request(&username, &pwd, [7; 12], &[PRIORITY, (0x7abc, b"new")]);
    let actions = wire.inject(&check, V4);
    let [Action::Send { datagram, .. }] = &actions[..] else {
        panic!("{actions:?}")
    };
    assert_eq!(datagram[24..28], [0, 0, 4, 20]);
    let listed = [0, 10, 0, 2, 0x7a, 0xbc];
    assert!(datagram.windows(6).any(|window| window == listed));
}

#[test]
fn a_request_without_our_signature_or_name_is_not_answered() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    let (username, pwd) = to_us(&wire);
    let longer = format!("x{username}");
    let headless = username.split_once(':').unwrap().0.to_owned();
    for (username, pwd) in [
        (username.as_str(), PWD),
        (longer.as_str(), pwd.as_str()),
        (headless.as_str(), pwd.as_str()),
        ("", pwd.as_str()),
    ] {
        let check = lite::request(username, pwd, [7; 12], &[PRIORITY, CONTROLLED]);
        assert_eq!(wire.inject(&check, V4), [], "{username}");
    }
    assert_eq!(wire.agent.stats().unauthentic, 4);
}

#[test]
fn an_address_learnt_from_a_signed_request_is_selected_if_it_answers_and_few_are_learnt() {
    let behind_nat = "203.0.113.9:61000";
    let mut wire = Wire::new(1, Manner::Proper, &metas()[..1]).with_dead(&[V4]);
    wire.run(ms(500));
    let (username, pwd) = to_us(&wire);
    let check = lite::request(&username, &pwd, [7; 12], &[PRIORITY, CONTROLLED]);
    let actions = wire.inject(&check, behind_nat);
    assert_eq!(actions.len(), 2);
    wire.perform(actions[1..].to_vec());
    wire.run(ms(5_000));
    assert_eq!(wire.selected(), (ms(580), at(behind_nat)));

    let mut wire = Wire::new(1, Manner::Proper, &metas());
    let (username, pwd) = to_us(&wire);
    let check = lite::request(&username, &pwd, [7; 12], &[PRIORITY, CONTROLLED]);
    let doors = (1..=200).map(|n| format!("203.0.113.{n}:61000"));
    let knocked = doors
        .filter(|door| wire.inject(&check, door).len() > 1)
        .count();
    assert_eq!(knocked, 4, "addresses that no SDP named");
    assert_eq!(wire.agent.stats().served, 200);
}

#[test]
fn a_selected_agent_still_answers_and_never_moves() {
    let mut wire = Wire::new(1, Manner::Proper, &metas());
    wire.run(ms(1_000));
    let (_, address) = wire.selected();
    let (username, pwd) = to_us(&wire);
    let check = lite::request(
        &username,
        &pwd,
        [7; 12],
        &[PRIORITY, CONTROLLED, (0x0025, b"")],
    );
    for from in [V4, V6, "203.0.113.9:61000"] {
        assert_eq!(wire.inject(&check, from).len(), 1, "an answer and no check");
    }
    wire.run(ms(60_000));
    assert_eq!(wire.selected().1, address);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Whatever comes, in any state, from anywhere: no panic, nothing said, one answer at most to anything.
    #[test]
    fn noise_changes_nothing(
        seed: u64,
        noise in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..120), 0u64..3_000), 1..40),
    ) {
        let mut wire = Wire::new(seed, Manner::Proper, &metas()).lossy(20, (20, 200));
        for (octets, when) in noise {
            wire.run((wire.now - wire.start).max(ms(when)));
            let body = &octets[..octets.len() & !3];
            let header = [1, 1, 0, body.len() as u8, 0x21, 0x12, 0xa4, 0x42, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];
            let stun = [&header, body].concat();
            prop_assert_eq!(wire.inject(&octets, V6), []);
            prop_assert_eq!(wire.inject(&stun, V6), []);
        }
        wire.run(ms(14_900));
        wire.selected();
    }
}
