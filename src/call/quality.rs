//! A direction of a leg turns bad, or good again: whoever watches is told, and the log has a line that says which and why.

use std::time::Instant;

use super::bridge::Bridge;
use super::event::Action;
use super::live::CallId;
use super::watch::{Began, Mark, Note};
use crate::leg::Leg;
use crate::media::quality::Impairment;
use crate::media::{Interval, Measured, SessionId, Turn, Way};
use crate::number::Masked;
use crate::sip::seldom::Seldom;

/// Lines a minute for all calls together: a network that is bad for one is bad for hundreds.
const LINES: usize = 20;

/// What is named in the log: each turn of each direction once a minute.
pub(super) type Named = Seldom<(CallId, Leg, Way, bool)>;

/// Nothing is named yet.
pub(super) fn unnamed() -> Named {
    Seldom::new(LINES)
}

impl Bridge {
    /// An interval of a direction is over.
    pub(super) fn measured(
        &mut self,
        session: SessionId,
        leg: Leg,
        measured: Measured,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some((turn, id)) = measured.turn.zip(self.live.of_session(session)) else {
            return;
        };
        let mark = Mark::Turned { leg, measured };
        out.push(Action::Note(Note::Mark { call: id, mark }));
        let named = (id, leg, measured.way, turn == Turn::Good);
        let call = self.live.get_mut(id).map(|call| call.began(id));
        if let Some(call) = call
            && let Some(more) = self.turned.tell(named, now)
        {
            log(&call, leg, &measured, turn, more);
        }
    }
}

fn log(call: &Began, leg: Leg, measured: &Measured, turn: Turn, more: u64) {
    let Measured { way, interval, .. } = measured;
    let Interval {
        mos,
        loss,
        jitter_ms,
        buffered_ms,
        round_trip_ms,
    } = interval;
    // To what somebody can tell apart.
    let rounded = |value: f64, scale: f64| (value * scale).round() / scale;
    let [buffered_ms, round_trip_ms] =
        [buffered_ms, round_trip_ms].map(|ms| ms.map(|ms| rounded(ms, 1.0)));
    macro_rules! line {
        ($level:ident, $why:expr, $message:literal) => {
            tracing::$level!(
                call = call.call.0,
                direction = %call.direction,
                number = %call.number,
                pbx = call.pbx,
                meta_leg = %Masked(call.call_id_of(Leg::Meta)),
                pbx_leg = %Masked(call.call_id_of(Leg::Pbx)),
                leg = leg.word(),
                way = way.word(),
                why = $why,
                mos = rounded(*mos, 100.0),
                loss = rounded(*loss, 1000.0),
                jitter_ms = rounded(*jitter_ms, 10.0),
                buffered_ms,
                round_trip_ms,
                more,
                $message
            )
        };
    }
    match turn {
        Turn::Bad(why) => line!(warn, why_bad(leg, *way, why), "a call sounds bad"),
        Turn::Good => line!(info, tracing::field::Empty, "a call sounds good again"),
    }
}

/// What is wrong, for people to read.
pub fn why_bad(leg: Leg, way: Way, why: Impairment) -> String {
    match (way, why) {
        (Way::In, Impairment::Loss) => format!("packets get lost between {leg} and here"),
        (Way::Out, Impairment::Loss) => format!("{leg} reports loss of what we send"),
        (Way::In, Impairment::Jitter) => format!("packets from {leg} come at uneven times"),
        (Way::Out, Impairment::Jitter) => format!("{leg} reports that ours come at uneven times"),
        (_, Impairment::Delay) => format!("the way to {leg} and back takes long"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_says_which_leg_and_who_noticed() {
        let loss = |leg, way| why_bad(leg, way, Impairment::Loss);
        assert_eq!(
            loss(Leg::Meta, Way::In),
            "packets get lost between Meta and here"
        );
        assert_eq!(
            loss(Leg::Pbx, Way::Out),
            "the PBX reports loss of what we send"
        );
        let delay = Way::BOTH.map(|way| why_bad(Leg::Pbx, way, Impairment::Delay));
        assert_eq!(delay[0], "the way to the PBX and back takes long");
        assert_eq!(delay[0], delay[1]);
    }

    #[test]
    fn a_network_that_is_bad_for_hundreds_of_calls_leaves_as_many_lines_as_one_can_read() {
        let (mut named, now) = (unnamed(), Instant::now());
        let mut tell = |call| named.tell((CallId(call), Leg::Meta, Way::In, false), now);
        let said = (0..500).filter(|call| tell(*call).is_some()).count();
        assert_eq!(said, LINES);
    }
}
