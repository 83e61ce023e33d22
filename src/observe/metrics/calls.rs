//! What signalling tells of calls and messages, counted.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Counter, Histogram, Metrics, table};
use crate::call::overload;
use crate::call::watch::{At, Mark, Note, Rejected, Watch};
use crate::call::{Because, Direction, EndedBy, Summary};
use crate::leg::Leg;
use crate::media::quality::Impairment;
use crate::media::{self, Codec, SideStats, Way};
use crate::peer::meta;
use crate::sdp::Keying;
use crate::sip::message::Message;
use crate::sip::transport::{Arrival, Target};

/// Counts calls and messages as they are told. It locks a family of metrics for the time of a look-up, and waits for
/// nothing else.
pub struct CallMetrics {
    metrics: Arc<Metrics>,
    arrived: [Counter; 2],
    sent: [Counter; 2],
    turns: Histogram,
    turn: Turn,
}

/// What the bridge is working on, as far as it has told.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    /// The side that a message came from, and how long that had waited.
    arrived: Option<(Leg, Duration)>,
    /// What the message led to.
    step: Option<Step>,
}

/// A step of a set-up in which a message on one leg follows from one on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Our INVITE from the caller's.
    Invite,
    /// Our 200 from the callee's.
    Answer,
}

/// How a call went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Answered,
    Dropped,
    NoAnswer,
    Busy,
    Cancelled,
    RefusedByMeta,
    RefusedByPbx,
    Failed,
}

impl CallMetrics {
    /// Counts there. What has a closed set of labels begins at 0, so that the first of its kind is seen as a growth.
    pub fn new(metrics: Arc<Metrics>) -> CallMetrics {
        for direction in Direction::BOTH.map(Direction::word) {
            for keying in [Keying::Dtls, Keying::Sdes] {
                let labels = [direction, &keying.to_string(), Codec::Opus.name()];
                metrics.counter(&table::CALLS_ANSWERED, &labels);
            }
            for row in [
                &table::RINGING_SECONDS,
                &table::ANSWER_SECONDS,
                &table::KEYED_SECONDS,
                &table::TALK_SECONDS,
            ] {
                metrics.histogram(row, &[direction]);
            }
            for step in [Step::Invite, Step::Answer] {
                metrics.histogram(&table::ADDED_SECONDS, &[direction, step.word()]);
            }
        }
        for leg in Leg::BOTH.map(Leg::word) {
            for row in [
                &table::JITTER_SECONDS,
                &table::ROUND_TRIP_SECONDS,
                &table::LOSS_RATIO,
            ] {
                metrics.histogram(row, &[leg]);
            }
            for (way, why) in Way::BOTH
                .map(|way| Impairment::ALL.map(|why| (way, why)))
                .concat()
            {
                metrics.counter(&table::TURNED_BAD, &[leg, way.word(), why.word()]);
            }
            for because in Because::ALL {
                metrics.counter(&table::INVITES_REFUSED, &[leg, because.word()]);
            }
        }
        for (status, reason) in meta::refusal_words() {
            metrics.counter(&table::META_REFUSALS, &[&status.to_string(), reason]);
        }
        metrics.counter(&table::META_REFUSALS, &["other", "other"]);
        for pbx in [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu] {
            let labels = [Codec::Opus, pbx].map(Codec::name);
            metrics.counter(&table::CALLS_TRANSCODED, &labels);
        }
        metrics.counter(&table::OVERLOADS, &[]);
        for result in ["done", "failed"] {
            metrics.counter(&table::TRANSFERS, &[result]);
        }
        let both = |row, more: &[&str]| -> [Counter; 2] {
            Leg::BOTH.map(|leg| metrics.counter(row, &[&[leg.word()], more].concat()))
        };
        CallMetrics {
            arrived: both(&table::MESSAGES, &["in"]),
            sent: both(&table::MESSAGES, &["out"]),
            turns: metrics.histogram(&table::SIGNALLING_SECONDS, &[]),
            turn: Turn::default(),
            metrics,
        }
    }

    fn ended(&self, call: &Summary) {
        let direction = call.direction.word();
        let labels = [direction, &call.pbx, Outcome::of(call).word()];
        self.metrics.counter(&table::CALLS, &labels).inc();
        let since = |row, from: Instant, to: Option<Instant>| {
            if let Some(to) = to {
                let took = to.saturating_duration_since(from).as_secs_f64();
                self.metrics.histogram(row, &[direction]).observe(took);
            }
        };
        since(&table::RINGING_SECONDS, call.began, call.rang);
        since(&table::ANSWER_SECONDS, call.began, call.answered);
        match call.answered {
            Some(answered) => self.talked(call, answered, direction),
            None => self.refused_by_meta(call),
        }
    }

    fn talked(&self, call: &Summary, answered: Instant, direction: &str) {
        let keying = call.keying.map_or("none".into(), |k| k.to_string());
        let codec = call.codecs.pbx.map_or("none", Codec::name);
        let labels = [direction, keying.as_str(), codec];
        self.metrics.counter(&table::CALLS_ANSWERED, &labels).inc();
        let sides = [&call.media.meta, &call.media.pbx];
        if sides.iter().any(|side| side.buffered_mean_ms.is_some()) {
            let labels = [call.codecs.meta, call.codecs.pbx];
            let labels = labels.map(|codec| codec.map_or("none", Codec::name));
            let transcoded = self.metrics.counter(&table::CALLS_TRANSCODED, &labels);
            transcoded.inc();
        }
        let transfers = &call.transfers;
        for (result, times) in [("done", transfers.done), ("failed", transfers.failed)] {
            let counter = self.metrics.counter(&table::TRANSFERS, &[result]);
            counter.inc_by(times.into());
        }
        let talked = call.ended.saturating_duration_since(answered);
        let talk = self.metrics.histogram(&table::TALK_SECONDS, &[direction]);
        talk.observe(talked.as_secs_f64());
        self.carried(Leg::Meta, &call.media.meta);
        self.carried(Leg::Pbx, &call.media.pbx);
        if let Some(keyed) = call.media.meta.keyed_after {
            let keys = self.metrics.histogram(&table::KEYED_SECONDS, &[direction]);
            keys.observe(keyed.as_secs_f64());
        }
    }

    fn carried(&self, leg: Leg, side: &SideStats) {
        let observe = |row, value| self.metrics.histogram(row, &[leg.word()]).observe(value);
        if side.received > 0 {
            observe(&table::JITTER_SECONDS, side.jitter_ms / 1000.0);
        }
        if let Some(round_trip) = side.round_trip_ms {
            observe(&table::ROUND_TRIP_SECONDS, round_trip / 1000.0);
        }
        let all = side.received + side.lost;
        if all > 0 {
            observe(&table::LOSS_RATIO, side.lost as f64 / all as f64);
        }
    }

    fn refused_by_meta(&self, call: &Summary) {
        let by_meta = call.ended_by == EndedBy::Leg(Leg::Meta);
        if !by_meta || call.direction.callee() != Leg::Meta {
            return;
        }
        let words = call.told.words.as_deref().unwrap_or_default();
        let known = call
            .callee_status
            .and_then(|status| meta::refusal_word(status, words));
        let (status, reason) = known.map_or(("other".to_owned(), "other"), |(status, reason)| {
            (status.to_string(), reason)
        });
        self.metrics
            .counter(&table::META_REFUSALS, &[&status, reason])
            .inc();
    }

    fn marked(&mut self, mark: &Mark) {
        match mark {
            Mark::Answered => self.turn.step = Some(Step::Answer),
            Mark::Turned { leg, measured } => {
                if let Some(media::Turn::Bad(why)) = measured.turn {
                    let labels = [leg.word(), measured.way.word(), why.word()];
                    self.metrics.counter(&table::TURNED_BAD, &labels).inc();
                }
            }
            _ => {}
        }
    }

    fn rejected(&self, invite: &Rejected) {
        let labels = [invite.leg.word(), invite.because.word()];
        self.metrics.counter(&table::INVITES_REFUSED, &labels).inc();
    }
}

impl Watch for CallMetrics {
    fn received(&mut self, arrival: &Arrival, at: At) {
        let leg = arrival.flow.leg;
        self.arrived[leg as usize].inc();
        let waited = at.now.saturating_duration_since(arrival.at);
        self.turn.arrived = Some((leg, waited));
    }

    fn sent(&mut self, _message: &Message, _octets: &[u8], target: &Target, _at: At) {
        let leg = match target {
            Target::Flow(flow) => flow.leg,
            Target::Hop(hop) => hop.leg,
        };
        self.sent[leg as usize].inc();
    }

    fn overloaded(&mut self, turn: overload::Turn) {
        if turn == overload::Turn::Late {
            self.metrics.counter(&table::OVERLOADS, &[]).inc();
        }
    }

    fn turned(&mut self, took: Duration) {
        self.turns.observe(took.as_secs_f64());
        let turn = std::mem::take(&mut self.turn);
        if let (Some((leg, waited)), Some(step)) = (turn.arrived, turn.step) {
            let labels = [step.direction(leg).word(), step.word()];
            let added = self.metrics.histogram(&table::ADDED_SECONDS, &labels);
            added.observe((waited + took).as_secs_f64());
        }
    }

    fn noted(&mut self, note: &Note, _at: At) {
        match note {
            Note::Ended(summary) => self.ended(summary),
            Note::Refused(rejected) => self.rejected(rejected),
            Note::Began(_) => self.turn.step = Some(Step::Invite),
            Note::Mark { mark, .. } => self.marked(mark),
        }
    }
}

/// The calls of a PBX of this name begin at 0, unless some are counted already.
pub(in crate::observe) fn expect_calls(metrics: &Metrics, pbx: &str) {
    for direction in Direction::BOTH.map(Direction::word) {
        for outcome in Outcome::ALL {
            metrics.counter(&table::CALLS, &[direction, pbx, outcome.word()]);
        }
    }
}

impl Step {
    /// Who called whom, where the message that it begins with came from this side.
    fn direction(self, from: Leg) -> Direction {
        let caller = match self {
            Step::Invite => from,
            Step::Answer => from.other(),
        };
        match caller {
            Leg::Meta => Direction::UserInitiated,
            Leg::Pbx => Direction::BusinessInitiated,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Step::Invite => "invite",
            Step::Answer => "answer",
        }
    }
}

impl Outcome {
    const ALL: [Outcome; 8] = [
        Outcome::Answered,
        Outcome::Dropped,
        Outcome::NoAnswer,
        Outcome::Busy,
        Outcome::Cancelled,
        Outcome::RefusedByMeta,
        Outcome::RefusedByPbx,
        Outcome::Failed,
    ];

    fn of(call: &Summary) -> Outcome {
        let callee = call.direction.callee();
        match (call.ended_by, call.callee_status.unwrap_or(call.status)) {
            (EndedBy::Bridge, _) if call.answered.is_some() => Outcome::Dropped,
            _ if call.answered.is_some() => Outcome::Answered,
            // The ring time is up, and the callee has answered our CANCEL since.
            (EndedBy::Bridge, _) if call.status == 480 => Outcome::NoAnswer,
            (EndedBy::Bridge, _) => Outcome::Failed,
            (EndedBy::Leg(leg), _) if leg != callee => Outcome::Cancelled,
            (EndedBy::Leg(_), 408 | 480) => Outcome::NoAnswer,
            (EndedBy::Leg(_), 486 | 600) => Outcome::Busy,
            (EndedBy::Leg(Leg::Meta), _) => Outcome::RefusedByMeta,
            (EndedBy::Leg(Leg::Pbx), _) => Outcome::RefusedByPbx,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Outcome::Answered => "answered",
            Outcome::Dropped => "dropped",
            Outcome::NoAnswer => "no-answer",
            Outcome::Busy => "busy",
            Outcome::Cancelled => "cancelled",
            Outcome::RefusedByMeta => "refused-by-meta",
            Outcome::RefusedByPbx => "refused-by-pbx",
            Outcome::Failed => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;
    use crate::call::CallId;
    use crate::sip::Limits;
    use crate::sip::transport::{Flow, Protocol};

    /// A message that has waited so long, what came of it, and how long that took.
    fn turn(watcher: &mut CallMetrics, leg: Leg, waited: u64, marks: &[Mark], took: u64) {
        let now = Instant::now() + Duration::from_secs(60);
        let at = At {
            now,
            wall: SystemTime::UNIX_EPOCH,
        };
        let octets =
            b"SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP c;branch=z9hG4bK1\r\nFrom: <sip:x@y>;tag=1\r\n\
            To: <sip:a@b>;tag=2\r\nCall-ID: 1\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n";
        let arrival = Arrival {
            message: Message::parse(octets, &Limits::default()).unwrap(),
            flow: Flow {
                leg,
                protocol: Protocol::Udp,
                local: "127.0.0.1:5070".parse().unwrap(),
                remote: "127.0.0.9:5060".parse().unwrap(),
                connection: None,
            },
            octets: octets.as_slice().into(),
            at: now - Duration::from_millis(waited),
        };
        watcher.received(&arrival, at);
        for mark in marks {
            let (call, mark) = (CallId(1), mark.clone());
            watcher.noted(&Note::Mark { call, mark }, at);
        }
        watcher.turned(Duration::from_millis(took));
    }

    /// How many answers there were of calls in this direction, and what they took in milliseconds.
    fn added(metrics: &Metrics, direction: Direction) -> (u64, u64) {
        let text = metrics.text().unwrap();
        let of = |what: &str| {
            let labels = format!("{{direction=\"{direction}\",step=\"answer\"}} ");
            let name = format!("wabridge_call_added_seconds_{what}{labels}");
            let line = text.lines().find_map(|line| line.strip_prefix(&name));
            line.unwrap_or_else(|| panic!("{name} in {text}"))
                .parse::<f64>()
                .unwrap()
        };
        (of("count") as u64, (of("sum") * 1000.0).round() as u64)
    }

    #[test]
    fn a_direction_that_turns_bad_is_counted_with_its_reason_and_its_recovery_is_not() {
        let metrics = Arc::new(Metrics::new());
        let mut watcher = CallMetrics::new(metrics.clone());
        for turned in [media::Turn::Bad(Impairment::Jitter), media::Turn::Good] {
            let measured = media::Measured {
                way: Way::In,
                interval: media::Interval {
                    mos: 3.0,
                    loss: 0.0,
                    jitter_ms: 300.0,
                    buffered_ms: None,
                    round_trip_ms: None,
                },
                turn: Some(turned),
            };
            let leg = Leg::Meta;
            let marks = [Mark::Turned { leg, measured }];
            turn(&mut watcher, Leg::Meta, 0, &marks, 0);
        }
        let text = metrics.text().unwrap();
        for (reason, count) in [("jitter", 1), ("loss", 0)] {
            let labels = format!("leg=\"meta\",way=\"in\",reason=\"{reason}\"");
            let line = format!("\nwabridge_media_turned_bad_total{{{labels}}} {count}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn what_the_bridge_adds_to_an_answer_is_the_wait_of_the_200_and_the_work_on_it() {
        let metrics = Arc::new(Metrics::new());
        let mut watcher = CallMetrics::new(metrics.clone());
        let answered = [Mark::Progress(180), Mark::Answered];
        turn(&mut watcher, Leg::Pbx, 30, &answered, 4);
        turn(&mut watcher, Leg::Pbx, 500, &[Mark::Progress(180)], 4);
        // A timer, which nothing came before.
        watcher.turned(Duration::from_millis(900));
        assert_eq!(added(&metrics, Direction::UserInitiated), (1, 34));
        assert_eq!(added(&metrics, Direction::BusinessInitiated), (0, 0));
        turn(&mut watcher, Leg::Meta, 1, &answered, 1);
        assert_eq!(added(&metrics, Direction::BusinessInitiated), (1, 2));
    }
}
