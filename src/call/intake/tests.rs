//! The order in which things are served; and whole days of a machine with too many calls, in virtual time.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;
use crate::leg::Leg;
use crate::sip::Limits;
use crate::sip::transport::{ConnectionId, Flow, Protocol};

const LIMIT: Duration = Duration::from_millis(20);

fn us(microseconds: u64) -> Duration {
    Duration::from_micros(microseconds)
}

/// A request of a call; `more` are further header lines.
fn request(method: &str, call: u64, to: &str, more: &str, at: Instant) -> Event {
    let text = format!(
        "{method} sip:1@a SIP/2.0\r\nVia: SIP/2.0/TLS b;branch=z9hG4bK{call}{method}\r\nFrom: <sip:2@b>;tag=1\r\n\
         To: <sip:1@a>{to}\r\nCall-ID: {call}\r\nCSeq: 1 {method}\r\n{more}\r\n"
    );
    let flow = Flow {
        leg: Leg::Meta,
        protocol: Protocol::Tls,
        local: "192.0.2.1:5061".parse().unwrap(),
        remote: "192.0.2.2:5061".parse().unwrap(),
        connection: Some(ConnectionId(1)),
    };
    Event::Arrived(Arrival {
        message: Message::parse(text.as_bytes(), &Limits::default()).unwrap(),
        flow,
        octets: text.as_bytes().into(),
        at,
    })
}

fn invite(call: u64, at: Instant) -> Event {
    request("INVITE", call, "", "", at)
}

fn with_credentials(call: u64, at: Instant) -> Event {
    request(
        "INVITE",
        call,
        "",
        "Proxy-Authorization: Digest x=1\r\n",
        at,
    )
}

fn push(intake: &mut Intake, event: Event) {
    intake.push(event, |_| false);
}

/// What an event is: its method, its call, and whether it is refused.
fn named(event: &Event) -> (String, u64, bool) {
    let (arrival, refused) = match event {
        Event::Arrived(arrival) => (arrival, false),
        Event::Excess(arrival) => (arrival, true),
        other => panic!("{other:?}"),
    };
    let Message::Request(request) = &arrival.message else {
        panic!("a response")
    };
    let call = request.call_id().parse().unwrap();
    (request.method.to_string(), call, refused)
}

fn served(intake: &mut Intake, now: Instant) -> Vec<(String, u64, bool)> {
    std::iter::from_fn(|| intake.pop(now))
        .map(|event| named(&event))
        .collect()
}

/// The calls of what is served, and which are refused.
fn calls_served(intake: &mut Intake, now: Instant) -> Vec<(u64, bool)> {
    let served = served(intake, now).into_iter();
    served.map(|(_, call, refused)| (call, refused)).collect()
}

#[test]
fn what_belongs_to_a_call_comes_before_new_calls_each_in_the_order_it_came() {
    let now = Instant::now();
    let mut intake = Intake::new(LIMIT);
    for event in [
        invite(1, now),
        invite(2, now),
        request("BYE", 3, ";tag=2", "", now),
        with_credentials(4, now),
        request("INVITE", 5, ";tag=2", "", now),
        request("OPTIONS", 6, "", "", now),
    ] {
        push(&mut intake, event);
    }
    let calls: Vec<_> = served(&mut intake, now).into_iter().map(|s| s.1).collect();
    assert_eq!(calls, [3, 4, 5, 6, 1, 2]);
    assert!(intake.is_empty() && intake.call_ids.is_empty());
}

#[test]
fn a_cancel_does_not_overtake_the_invite_that_it_is_for() {
    let now = Instant::now();
    let mut intake = Intake::new(LIMIT);
    for event in [
        invite(1, now),
        invite(2, now),
        request("CANCEL", 2, "", "", now),
        request("CANCEL", 3, "", "", now),
    ] {
        push(&mut intake, event);
    }
    let expected = [("CANCEL", 3), ("INVITE", 1), ("INVITE", 2), ("CANCEL", 2)];
    let served = served(&mut intake, now);
    let served: Vec<_> = served.iter().map(|s| (s.0.as_str(), s.1)).collect();
    assert_eq!(served, expected);
}

#[test]
fn a_late_bridge_refuses_whoever_comes_and_serves_those_that_wait() {
    let start = Instant::now();
    let mut intake = Intake::new(LIMIT);
    push(&mut intake, invite(1, start));
    let at = start + 2 * LIMIT;
    intake.look(at);
    push(&mut intake, invite(2, at));
    let late = start + 22 * LIMIT;
    push(&mut intake, invite(3, late));
    assert_eq!(intake.take_turn(), None, "it may be a burst");
    intake.look(late);
    assert_eq!(intake.take_turn(), Some(Turn::Late));
    assert_eq!(intake.take_turn(), None);
    push(&mut intake, request("BYE", 4, ";tag=2", "", late));
    push(&mut intake, invite(5, late));
    let order = calls_served(&mut intake, late);
    let expected = [(4, false), (5, true), (1, false), (2, false), (3, false)];
    assert_eq!(order, expected);
    // Nobody waits: whoever comes is served, and when one has waited again the next is refused.
    push(&mut intake, invite(6, late));
    push(&mut intake, invite(7, late + LIMIT));
    push(&mut intake, invite(8, late + LIMIT + us(1)));
    let order = calls_served(&mut intake, late + LIMIT + us(2));
    assert_eq!(order, [(8, true), (6, false), (7, false)]);
    assert!(intake.deadline().is_some_and(|at| at > late));
}

#[test]
fn a_copy_of_a_call_that_waits_is_not_refused_before_it_is_served() {
    let start = Instant::now();
    let mut intake = Intake::new(LIMIT);
    push(&mut intake, invite(1, start));
    let late = start + 22 * LIMIT;
    intake.look(start + LIMIT + us(1));
    intake.look(late);
    assert_eq!(intake.take_turn(), Some(Turn::Late));
    push(&mut intake, invite(2, late));
    push(&mut intake, invite(1, late));
    let order = calls_served(&mut intake, late);
    assert_eq!(order, [(2, true), (1, false), (1, false)]);
    // Once it is served it is for the transaction that it made.
    assert!(intake.call_ids.is_empty());
}

#[test]
fn a_stranger_waits_for_no_call_and_makes_nobody_late() {
    let start = Instant::now();
    let mut intake = Intake::new(LIMIT);
    push(&mut intake, invite(1, start));
    intake.push(invite(2, start), |_| true);
    assert_eq!(intake.pop(start).map(|event| named(&event).1), Some(2));
    assert_eq!(intake.pop(start).map(|event| named(&event).1), Some(1));
    for call in 0..=MOST_NEW as u64 {
        intake.push(invite(call, start), |_| true);
    }
    intake.look(start + 2 * LIMIT);
    intake.look(start + 50 * LIMIT);
    assert_eq!(intake.take_turn(), None);
    assert!(served(&mut intake, start).iter().all(|served| !served.2));
}

#[test]
fn new_calls_beyond_all_measure_are_refused_however_young_they_are() {
    let now = Instant::now();
    let mut intake = Intake::new(Duration::ZERO);
    for call in 0..=MOST_NEW as u64 {
        push(&mut intake, invite(call, now));
    }
    let refused = served(&mut intake, now).iter().filter(|s| s.2).count();
    assert_eq!(refused, 1);
    let bye = || request("BYE", 6, ";tag=2", "", now);
    (0..MOST).for_each(|_| push(&mut intake, bye()));
    assert!(!intake.has_room());
    // A BYE behind a storm waits for refusals, not for the calls that wait.
    let mut intake = Intake::new(Duration::ZERO);
    (0..MOST as u64 - 1).for_each(|call| push(&mut intake, invite(call, now)));
    assert!(intake.has_room());
    push(&mut intake, bye());
    let order = served(&mut intake, now);
    let bye = order.iter().position(|served| served.1 == 6 && !served.2);
    assert_eq!(bye, Some(MOST - 1 - MOST_NEW));
    assert_eq!(
        order.iter().filter(|served| served.2).count(),
        MOST - 1 - MOST_NEW
    );
}

/// A machine that does one thing at a time, and callers and phones that answer a few milliseconds later.
struct Machine {
    intake: Intake,
    start: Instant,
    /// When the machine is free.
    now: Instant,
    /// What arrives, and when; the number tells those of one instant apart.
    coming: BinaryHeap<Reverse<(Instant, u64, Step, u64)>>,
    count: u64,
    /// How many times as long as usual it takes for everything.
    slowness: u64,
    told: Told,
}

/// What happens in a call, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Step {
    Invite,
    AckOfChallenge,
    Credentials,
    Answer,
    Ack,
    Bye,
    ByeAnswered,
}

#[derive(Default)]
struct Told {
    completed: Vec<Duration>,
    /// When it was refused, and how long that took.
    refused: Vec<(Duration, Duration)>,
    /// For how long a message of a call that was let in had to wait, and when.
    waited: Vec<(Duration, Duration)>,
    most_waiting: usize,
}

/// Microseconds of work: a call takes 650 of them.
fn work(step: Step) -> u64 {
    match step {
        Step::Invite => 100,
        Step::AckOfChallenge | Step::ByeAnswered => 30,
        Step::Credentials => 250,
        Step::Answer => 150,
        Step::Ack => 30,
        Step::Bye => 60,
    }
}

const REFUSAL: u64 = 25;
const CALL: u64 = 650;
const AWAY: Duration = Duration::from_millis(5);
const TALK: Duration = Duration::from_millis(700);

impl Machine {
    fn new(slowness: u64) -> Machine {
        let start = Instant::now();
        Machine {
            intake: Intake::new(LIMIT),
            start,
            now: start,
            coming: BinaryHeap::new(),
            count: 0,
            slowness,
            told: Told::default(),
        }
    }

    /// So many times the calls that it can do, from one second to another.
    fn offer(&mut self, load: f64, seconds: std::ops::Range<u64>) {
        let pause = Duration::from_secs_f64(1.0 / load / self.most());
        let end = self.start + Duration::from_secs(seconds.end);
        let mut at = self.start + Duration::from_secs(seconds.start);
        while at < end {
            self.count += 1;
            let call = self.count;
            self.comes(at, call, Step::Invite);
            at += pause;
        }
    }

    /// Calls that it can do in a second.
    fn most(&self) -> f64 {
        1e6 / (CALL * self.slowness) as f64
    }

    fn comes(&mut self, at: Instant, call: u64, step: Step) {
        let tie = self.coming.len() as u64;
        self.coming.push(Reverse((at, tie, step, call)));
    }

    fn run(&mut self) {
        loop {
            while let Some(&Reverse((at, _, step, call))) = self.coming.peek()
                && (at <= self.now || self.intake.is_empty())
            {
                self.coming.pop();
                self.now = self.now.max(at);
                push(&mut self.intake, message(step, call, at));
            }
            let waiting = self.intake.due.len() + self.intake.new.len();
            self.told.most_waiting = self.told.most_waiting.max(waiting);
            let Some(event) = self.intake.pop(self.now) else {
                return;
            };
            self.serve(&event);
        }
    }

    fn serve(&mut self, event: &Event) {
        let (Event::Arrived(arrival) | Event::Excess(arrival)) = event else {
            panic!("{event:?}")
        };
        let (_, call, refused) = named(event);
        let step = step(arrival);
        self.now += us(self.slowness * if refused { REFUSAL } else { work(step) });
        let (at, took) = (self.now - self.start, self.now - arrival.at);
        let next = match step {
            Step::Invite if refused => return self.told.refused.push((at, took)),
            Step::Invite => {
                self.comes(self.now + AWAY, call, Step::AckOfChallenge);
                (AWAY, Step::Credentials)
            }
            Step::AckOfChallenge => return,
            Step::Credentials => (AWAY, Step::Answer),
            Step::Answer => (AWAY, Step::Ack),
            Step::Ack => (TALK, Step::Bye),
            Step::Bye => (AWAY, Step::ByeAnswered),
            Step::ByeAnswered => return self.told.completed.push(at),
        };
        self.told.waited.push((at, took));
        self.comes(self.now + next.0, call, next.1);
    }

    /// Calls completed in a second, from one to another.
    fn completed(&self, seconds: std::ops::Range<u64>) -> f64 {
        let within = |at: &&Duration| seconds.contains(&at.as_secs());
        let count = self.told.completed.iter().filter(within).count();
        count as f64 / (seconds.end - seconds.start) as f64
    }
}

fn message(step: Step, call: u64, at: Instant) -> Event {
    match step {
        Step::Invite => invite(call, at),
        Step::AckOfChallenge => request("ACK", call, ";tag=1", "", at),
        Step::Credentials => with_credentials(call, at),
        Step::Answer => request("INFO", call, ";tag=2", "", at),
        Step::Ack => request("ACK", call, ";tag=2", "", at),
        Step::Bye => request("BYE", call, ";tag=2", "", at),
        Step::ByeAnswered => request("INFO", call, ";tag=3", "", at),
    }
}

fn step(arrival: &Arrival) -> Step {
    let Message::Request(request) = &arrival.message else {
        panic!("a response")
    };
    let tag = request.to_tag().unwrap_or_default();
    match (request.method.to_string().as_str(), tag) {
        ("INVITE", _) if is_new_call(&arrival.message) => Step::Invite,
        ("INVITE", _) => Step::Credentials,
        ("ACK", "1") => Step::AckOfChallenge,
        ("INFO", "2") => Step::Answer,
        ("ACK", _) => Step::Ack,
        ("BYE", _) => Step::Bye,
        _ => Step::ByeAnswered,
    }
}

#[test]
fn whatever_is_offered_the_machine_completes_what_it_can_and_refuses_the_rest_at_once() {
    for (load, least) in [(0.5, 0.49), (1.0, 0.94), (2.0, 0.94), (5.0, 0.8)] {
        let mut machine = Machine::new(4);
        machine.offer(load, 0..4);
        machine.run();
        let completed = machine.completed(2..4) / machine.most();
        assert!(completed >= least, "{load}: {completed}");
        let told = &machine.told;
        assert_eq!(told.refused.is_empty(), load <= 1.0, "{load}");
        let slowest = told.refused.iter().map(|r| r.1).max();
        assert!(
            slowest.is_none_or(|slowest| slowest < LIMIT),
            "{load}: {slowest:?}"
        );
        // The first ones were let in before it was known to be no burst. While one has not waited too long all are let in,
        // so it is the longer the more there are.
        let settled = |(at, _): &&(Duration, Duration)| at.as_secs() >= 3;
        let longest = told.waited.iter().filter(settled).map(|r| r.1).max();
        assert!(
            longest.is_some_and(|longest| longest < LIMIT * (load as u32 + 3)),
            "{load}: {longest:?}"
        );
        let longest = told.waited.iter().map(|r| r.1).max();
        let burst = 4 * us(CALL) * MOST_NEW as u32;
        assert!(
            longest.is_some_and(|longest| longest < burst * 3 / 2),
            "{load}: {longest:?}"
        );
        assert!(told.most_waiting < 1000, "{load}: {}", told.most_waiting);
    }
}

#[test]
fn a_second_after_a_storm_all_is_as_ever() {
    let mut machine = Machine::new(4);
    machine.offer(3.0, 0..2);
    machine.offer(0.8, 2..6);
    machine.run();
    let told = &machine.told;
    assert!(
        told.refused
            .iter()
            .all(|(at, _)| *at < Duration::from_millis(2_500))
    );
    let completed = machine.completed(4..6) / machine.most();
    assert!(completed > 0.78, "{completed}");
    let late = |(at, took): &&(Duration, Duration)| at.as_secs() >= 3 && *took > LIMIT;
    assert_eq!(told.waited.iter().filter(late).count(), 0);
}

#[test]
fn a_burst_of_500_is_let_in_whole() {
    let mut machine = Machine::new(1);
    for call in 0..500 {
        machine.comes(machine.start, call, Step::Invite);
    }
    machine.run();
    let told = &machine.told;
    assert_eq!((told.completed.len(), told.refused.len()), (500, 0));
}
