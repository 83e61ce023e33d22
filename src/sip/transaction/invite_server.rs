//! INVITE server transaction (RFC 3261 §17.2.1, RFC 6026 §7.1).
//!
//! ```text
//!   Proceeding ─┬─ 2xx ──────▶ Accepted ────────────────────────L──▶ over
//!               └─ 300–699 ──▶ Completed ──ACK──▶ Confirmed ────I──▶ over
//!                              G resends, H gives up
//! ```
//!
//! Repeating a 2xx until its ACK comes is the dialog's task: it travels from end to end, not from hop to hop.

use std::sync::Arc;
use std::time::Instant;

use crate::sip::Response;
use crate::sip::message::Common;
use crate::sip::transport::Target;

use super::Action;
use super::action::reply;
use super::timers::{Resend, Timers, earlier};

#[derive(Debug)]
pub(super) struct InviteServer {
    /// Where the latest copy of the INVITE wants its answer.
    target: Target,
    timers: Arc<Timers>,
    /// The To tag of our responses, once one has had it.
    to_tag: Option<String>,
    state: State,
}

#[derive(Debug)]
enum State {
    Proceeding {
        last: Option<Response>,
        cancelled: bool,
    },
    Accepted {
        until: Instant,
    },
    Completed {
        response: Response,
        resend: Option<Resend>,
        give_up: Instant,
    },
    Confirmed {
        until: Instant,
    },
    Over,
}

/// What an ACK meant here.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acked {
    /// It was for our refusal, and goes no further.
    Refusal,
    /// It is for a 2xx: the dialog's.
    Success,
}

impl InviteServer {
    /// Opens the transaction; its responses go to `target`.
    pub fn open(target: Target, timers: Arc<Timers>) -> InviteServer {
        InviteServer {
            target,
            timers,
            to_tag: None,
            state: State::Proceeding {
                last: None,
                cancelled: false,
            },
        }
    }

    /// The INVITE came again, perhaps over another connection: that is where the peer listens now.
    pub fn copy(&mut self, target: Target) -> Vec<Action> {
        self.target = target;
        match &self.state {
            State::Proceeding {
                last: Some(response),
                ..
            }
            | State::Completed { response, .. } => vec![reply(response.clone(), &self.target)],
            _ => Vec::new(),
        }
    }

    /// A response of ours.
    pub fn respond(&mut self, response: Response, now: Instant) -> Vec<Action> {
        let proceeding = matches!(self.state, State::Proceeding { .. });
        let accepted = matches!(self.state, State::Accepted { .. });
        match response.status {
            ..200 if proceeding => self.provisional(response.clone()),
            200..300 if proceeding => {
                let until = now + self.timers.l;
                self.state = State::Accepted { until };
            }
            200..300 if accepted => {}
            300.. if proceeding => {
                self.state = State::Completed {
                    response: response.clone(),
                    resend: Resend::start(self.timers.g, now),
                    give_up: now + self.timers.h,
                }
            }
            // There has been a final response already.
            _ => return Vec::new(),
        }
        self.note_tag(&response);
        vec![reply(response, &self.target)]
    }

    fn provisional(&mut self, response: Response) {
        if let State::Proceeding { last, .. } = &mut self.state {
            *last = Some(response);
        }
    }

    fn note_tag(&mut self, response: &Response) {
        if self.to_tag.is_none() {
            self.to_tag = response.to_tag().map(str::to_owned);
        }
    }

    /// An ACK in this transaction; `None` if it comes out of turn.
    pub fn ack(&mut self, now: Instant) -> Option<Acked> {
        match self.state {
            State::Completed { .. } => {
                let until = now + self.timers.i;
                self.state = State::Confirmed { until };
                Some(Acked::Refusal)
            }
            State::Confirmed { .. } => Some(Acked::Refusal),
            // Old peers, and some new ones, give the ACK of a 2xx the branch of the INVITE.
            State::Accepted { .. } => Some(Acked::Success),
            State::Proceeding { .. } | State::Over => None,
        }
    }

    /// A CANCEL for it; whether it has an effect: once, and only before the final response (§9.2).
    pub fn cancel(&mut self) -> bool {
        match &mut self.state {
            State::Proceeding { cancelled, .. } => !std::mem::replace(cancelled, true),
            _ => false,
        }
    }

    /// The To tag of our responses, once one has had it.
    pub fn to_tag(&self) -> Option<&str> {
        self.to_tag.as_deref()
    }

    /// When [`InviteServer::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Proceeding { .. } | State::Over => None,
            State::Completed {
                resend, give_up, ..
            } => Some(earlier(resend, *give_up)),
            State::Accepted { until } | State::Confirmed { until } => Some(*until),
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        match &mut self.state {
            State::Proceeding { .. } => Vec::new(),
            State::Completed {
                response,
                resend: Some(resend),
                give_up,
            } if now < *give_up => {
                resend.after(self.timers.t2.min(2 * resend.wait), now);
                vec![reply(response.clone(), &self.target)]
            }
            _ => {
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

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Bench, flow, request, second_connection};
    use crate::sip::Request;
    use crate::sip::transport::Protocol::{Tls, Udp};

    fn invite() -> Request {
        request("INVITE", "z9hG4bK1")
    }

    fn ack() -> Request {
        request("ACK", "z9hG4bK1")
    }

    #[test]
    fn a_repeated_invite_is_absorbed_and_the_last_response_repeated() {
        let mut bench = Bench::new();
        assert_eq!(bench.gets(invite(), flow(Udp)), ["0 request INVITE"]);
        assert!(bench.gets(invite(), flow(Udp)).is_empty());
        bench.responds(180, "b");
        assert_eq!(
            bench.gets(invite(), flow(Udp)),
            ["0 send 180 to 192.0.2.7:5070"]
        );
    }

    #[test]
    fn over_udp_a_refusal_is_repeated_until_timer_h() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Udp));
        assert_eq!(bench.responds(486, "b"), ["0 send 486 to 192.0.2.7:5070"]);
        let times: Vec<_> = [
            500, 1500, 3500, 7500, 11500, 15500, 19500, 23500, 27500, 31500,
        ]
        .iter()
        .map(|at| format!("{at} send 486 to 192.0.2.7:5070"))
        .collect();
        assert_eq!(bench.until(31_999), times);
        assert_eq!(bench.table.len(), 1);
        assert!(bench.until(32_000).is_empty());
        bench.is_empty();
    }

    #[test]
    fn the_ack_of_a_refusal_stops_it_and_its_copies_are_absorbed_for_t4() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Udp));
        bench.responds(486, "b");
        bench.until(700);
        assert!(bench.gets(ack(), flow(Udp)).is_empty());
        assert!(bench.until(5_699).is_empty());
        assert!(bench.gets(ack(), flow(Udp)).is_empty());
        assert!(bench.gets(invite(), flow(Udp)).is_empty());
        assert_eq!(bench.table.len(), 1);
        assert_eq!(bench.table.stats().strays, 0);
        assert!(bench.until(5_700).is_empty());
        bench.is_empty();
    }

    #[test]
    fn over_tls_a_refusal_is_sent_once_and_gone_with_its_ack() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Tls));
        bench.responds(486, "b");
        assert!(bench.until(31_000).is_empty());
        assert!(bench.gets(ack(), flow(Tls)).is_empty());
        bench.is_empty();
    }

    #[test]
    fn over_tls_a_refusal_without_an_ack_is_forgotten_at_timer_h() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Tls));
        bench.responds(486, "b");
        assert!(bench.until(31_999).is_empty());
        assert_eq!(bench.table.len(), 1);
        bench.until(32_000);
        bench.is_empty();
    }

    #[test]
    fn a_2xx_is_the_dialogs_to_repeat_until_timer_l() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Udp));
        assert_eq!(bench.responds(200, "b"), ["0 send 200 to 192.0.2.7:5070"]);
        bench.until(500);
        assert!(bench.gets(invite(), flow(Udp)).is_empty());
        assert_eq!(bench.responds(200, "b"), ["500 send 200 to 192.0.2.7:5070"]);
        assert!(bench.responds(486, "b").is_empty());
        assert!(bench.responds(180, "b").is_empty());
        assert!(bench.until(31_999).is_empty());
        assert_eq!(bench.table.len(), 1);
        bench.until(32_000);
        bench.is_empty();
        assert!(bench.responds(200, "b").is_empty());
    }

    #[test]
    fn a_second_copy_on_another_connection_draws_the_responses_there() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Tls));
        bench.responds(180, "b");
        assert_eq!(
            bench.gets(invite(), second_connection()),
            ["0 send 180 to 192.0.2.7:6000"]
        );
        assert_eq!(bench.responds(200, "b"), ["0 send 200 to 192.0.2.7:6000"]);
    }

    #[test]
    fn an_ack_with_the_invites_branch_after_a_2xx_goes_to_the_dialog() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Tls));
        bench.responds(200, "b");
        assert_eq!(bench.gets(ack(), flow(Tls)), ["0 ack"]);
        assert_eq!(bench.gets(ack(), flow(Tls)), ["0 ack"]);
    }

    #[test]
    fn an_ack_before_any_final_response_is_a_stray() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Tls));
        assert!(bench.gets(ack(), flow(Tls)).is_empty());
        assert_eq!(bench.table.stats().strays, 1);
        assert_eq!(bench.responds(486, "b").len(), 1);
    }

    #[test]
    fn a_cancel_is_answered_with_the_tag_of_the_invite_and_told_once() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Udp));
        bench.responds(180, "ringing");
        let cancel = request("CANCEL", "z9hG4bK1");
        assert_eq!(
            bench.gets(cancel.clone(), flow(Udp)),
            ["0 send 200 to 192.0.2.7:5070", "0 cancelled"]
        );
        assert_eq!(bench.last_sent_tag(), "ringing");
        assert_eq!(
            bench.gets(cancel, flow(Udp)),
            ["0 send 200 to 192.0.2.7:5070"]
        );
        assert_eq!(bench.responds(487, "ringing").len(), 1);
    }

    #[test]
    fn a_cancel_that_crosses_our_200_is_answered_and_changes_nothing() {
        let mut bench = Bench::new();
        bench.gets(invite(), flow(Tls));
        bench.responds(200, "b");
        assert_eq!(
            bench.gets(request("CANCEL", "z9hG4bK1"), flow(Tls)),
            ["0 send 200 to 192.0.2.7:5070"]
        );
        assert_eq!(bench.last_sent_tag(), "b");
    }
}
