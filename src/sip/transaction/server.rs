//! Server transaction of every request but INVITE, ACK and CANCEL (RFC 3261 §17.2.2).
//!
//! ```text
//!   Trying ──1xx──▶ Proceeding ──final──▶ Completed ──J──▶ over
//!   64 T1 end the first two: who asked has given up by then (RFC 4320 §4.2)
//! ```

use std::sync::Arc;
use std::time::Instant;

use crate::sip::Response;
use crate::sip::transport::Target;

use super::Action;
use super::action::reply;
use super::timers::Timers;

#[derive(Debug)]
pub(super) struct Server {
    /// Where the latest copy of the request wants its answer.
    target: Target,
    timers: Arc<Timers>,
    /// The latest response of ours.
    last: Option<Response>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Trying, and Proceeding once there is a response.
    Pending {
        give_up: Instant,
    },
    Completed {
        until: Instant,
    },
    Over,
}

impl Server {
    /// Opens the transaction; its responses go to `target`.
    pub fn open(target: Target, timers: Arc<Timers>, now: Instant) -> Server {
        let give_up = now + timers.f;
        Server {
            target,
            timers,
            last: None,
            state: State::Pending { give_up },
        }
    }

    /// The request came again, perhaps over another connection: that is where the peer listens now.
    pub fn copy(&mut self, target: Target) -> Vec<Action> {
        self.target = target;
        let last = self.last.clone();
        last.map(|response| reply(response, &self.target))
            .into_iter()
            .collect()
    }

    /// A response of ours.
    pub fn respond(&mut self, response: Response, now: Instant) -> Vec<Action> {
        if !matches!(self.state, State::Pending { .. }) {
            return Vec::new();
        }
        if response.status >= 200 {
            let until = now + self.timers.j;
            self.state = State::Completed { until };
        }
        self.last = Some(response.clone());
        vec![reply(response, &self.target)]
    }

    /// When [`Server::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Pending { give_up } => Some(give_up),
            State::Completed { until } => Some(until),
            State::Over => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self) -> Vec<Action> {
        self.state = State::Over;
        Vec::new()
    }

    /// Whether nothing more can come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Bench, flow, request, second_connection};
    use crate::sip::Request;
    use crate::sip::transport::Protocol::{Tls, Udp};

    fn bye() -> Request {
        request("BYE", "z9hG4bK1")
    }

    #[test]
    fn a_repeated_request_gets_the_same_answer_until_timer_j() {
        let mut bench = Bench::new();
        assert_eq!(bench.gets(bye(), flow(Udp)), ["0 request BYE"]);
        assert!(bench.gets(bye(), flow(Udp)).is_empty());
        assert_eq!(bench.responds(200, "b"), ["0 send 200 to 192.0.2.7:5070"]);
        assert!(bench.responds(500, "b").is_empty());
        bench.until(31_999);
        assert_eq!(
            bench.gets(bye(), flow(Udp)),
            ["31999 send 200 to 192.0.2.7:5070"]
        );
        bench.until(32_000);
        bench.is_empty();
    }

    #[test]
    fn over_tls_nothing_lingers_after_the_answer() {
        let mut bench = Bench::new();
        bench.gets(bye(), flow(Tls));
        bench.responds(100, "");
        assert_eq!(
            bench.gets(bye(), second_connection()),
            ["0 send 100 to 192.0.2.7:6000"]
        );
        assert_eq!(bench.responds(200, "b"), ["0 send 200 to 192.0.2.7:6000"]);
        bench.is_empty();
    }

    #[test]
    fn a_request_that_nobody_answers_is_forgotten_when_its_sender_gives_up() {
        let mut bench = Bench::new();
        bench.gets(bye(), flow(Tls));
        assert!(bench.until(31_999).is_empty());
        assert_eq!(bench.table.len(), 1);
        bench.until(32_000);
        bench.is_empty();
        assert!(bench.responds(200, "b").is_empty());
    }
}
