//! Client transaction of every request but INVITE and ACK (RFC 3261 §17.1.2).
//!
//! ```text
//!   Trying ──1xx──▶ Proceeding ──final──▶ Completed ──K──▶ over
//!   E resends, every T2 once Proceeding; F gives up
//! ```

use std::sync::Arc;
use std::time::Instant;

use crate::sip::transport::{Flow, Target};
use crate::sip::{Message, Request, Response};

use super::timers::{Resend, Timers, earlier};
use super::{Action, ClientId};

#[derive(Debug)]
pub(super) struct Client {
    id: ClientId,
    target: Target,
    timers: Arc<Timers>,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Trying, and Proceeding once `heard`.
    Pending {
        /// Boxed, so that one that lingers is small.
        request: Box<Request>,
        heard: bool,
        resend: Option<Resend>,
        give_up: Instant,
    },
    Completed {
        until: Instant,
    },
    Over,
}

impl Client {
    /// Opens the transaction; the request goes out.
    pub fn open(
        id: ClientId,
        request: Request,
        target: Target,
        timers: Arc<Timers>,
        now: Instant,
    ) -> (Client, Vec<Action>) {
        let send = send(id, &request, &target);
        let state = State::Pending {
            request: Box::new(request),
            heard: false,
            resend: Resend::start(timers.e, now),
            give_up: now + timers.f,
        };
        let client = Client {
            id,
            target,
            timers,
            state,
        };
        (client, vec![send])
    }

    /// A response that belongs here.
    pub fn response(&mut self, response: Response, flow: Flow, now: Instant) -> Vec<Action> {
        let State::Pending { heard, .. } = &mut self.state else {
            return Vec::new();
        };
        if response.status < 200 {
            *heard = true;
        } else {
            let until = now + self.timers.k;
            self.state = State::Completed { until };
        }
        vec![Action::Response {
            client: self.id,
            response,
            flow,
        }]
    }

    /// It could not be sent. Once there is a final response nobody needs to know.
    pub fn failed(&mut self, reason: &str) -> Vec<Action> {
        if !matches!(self.state, State::Pending { .. }) {
            return Vec::new();
        }
        self.state = State::Over;
        vec![Action::Failed {
            client: self.id,
            reason: reason.to_owned(),
        }]
    }

    /// When [`Client::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Pending {
                resend, give_up, ..
            } => Some(earlier(resend, *give_up)),
            State::Completed { until } => Some(*until),
            State::Over => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        match &mut self.state {
            State::Pending {
                request,
                heard,
                resend: Some(resend),
                give_up,
            } if now < *give_up => {
                // §17.1.2.2: whoever has heard us need not be hurried.
                let t2 = self.timers.t2;
                resend.after(if *heard { t2 } else { t2.min(2 * resend.wait) }, now);
                vec![send(self.id, request, &self.target)]
            }
            State::Pending { .. } => {
                self.state = State::Over;
                vec![Action::TimedOut { client: self.id }]
            }
            State::Completed { .. } | State::Over => {
                self.state = State::Over;
                Vec::new()
            }
        }
    }

    /// Whether nothing more can come of it.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }
}

fn send(id: ClientId, request: &Request, target: &Target) -> Action {
    Action::Send {
        message: Message::Request(request.clone()),
        target: target.clone(),
        client: Some(id),
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Bench, flow, hop, request, response};
    use super::*;
    use crate::sip::transport::Protocol::{Tls, Udp};

    fn bye() -> Request {
        request("BYE", "z9hG4bK1")
    }

    #[test]
    fn what_nobody_wants_an_answer_to_is_forgotten_with_its_repetitions() {
        let mut bench = Bench::new();
        bench.sends(request("OPTIONS", "z9hG4bK1"), hop(Udp));
        bench.abandons();
        bench.is_empty();
        let late = response(&request("OPTIONS", "z9hG4bK1"), 200, "a");
        assert!(bench.gets(late, flow(Udp)).is_empty());
        assert_eq!(bench.table.stats().strays, 1);
    }

    #[test]
    fn over_udp_a_request_is_repeated_up_to_every_t2_and_given_up_after_64_t1() {
        let mut bench = Bench::new();
        bench.sends(bye(), hop(Udp));
        let times: Vec<_> = [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500,
        ]
        .iter()
        .map(|at| format!("{at} send BYE to pbx"))
        .chain(["32000 timed out".to_owned()])
        .collect();
        assert_eq!(bench.until(40_000), times);
        bench.is_empty();
    }

    #[test]
    fn once_heard_a_request_is_repeated_every_t2_and_still_given_up() {
        let mut bench = Bench::new();
        bench.sends(bye(), hop(Udp));
        bench.until(600);
        assert_eq!(
            bench.gets(response(&bye(), 100, ""), flow(Udp)),
            ["600 response 100 "]
        );
        let log = bench.until(40_000);
        assert_eq!(log[..2], ["1500 send BYE to pbx", "5500 send BYE to pbx"]);
        assert_eq!(log.last().unwrap(), "32000 timed out");
        bench.is_empty();
    }

    #[test]
    fn a_repeated_final_response_is_absorbed_for_t4() {
        let mut bench = Bench::new();
        bench.sends(bye(), hop(Udp));
        let ok = response(&bye(), 200, "a");
        assert_eq!(bench.gets(ok.clone(), flow(Udp)), ["0 response 200 a"]);
        bench.until(4_999);
        assert!(bench.gets(ok, flow(Udp)).is_empty());
        assert_eq!(bench.table.len(), 1);
        assert!(bench.until(5_000).is_empty());
        bench.is_empty();
    }

    #[test]
    fn over_tls_nothing_is_repeated_and_nothing_lingers() {
        let mut bench = Bench::new();
        bench.sends(bye(), hop(Tls));
        assert!(bench.until(31_999).is_empty());
        assert_eq!(
            bench.gets(response(&bye(), 200, "a"), flow(Tls)),
            ["31999 response 200 a"]
        );
        bench.is_empty();
    }

    #[test]
    fn a_failed_transport_ends_it_at_once() {
        let mut bench = Bench::new();
        bench.sends(bye(), hop(Tls));
        let id = bench.last_client();
        assert_eq!(bench.fails(id), ["0 failed: refused"]);
        bench.is_empty();
    }
}
