//! INVITE client transaction (RFC 3261 §17.1.1, RFC 6026 §7.2).
//!
//! ```text
//!   Calling ──1xx──▶ Proceeding ─┬─ 2xx ──────▶ Accepted ──M──▶ over
//!   A resends, B gives up        └─ 300–699 ──▶ Completed ─D──▶ over   (the ACK is ours)
//!   Calling may take either branch at once.
//! ```

use std::mem;
use std::sync::Arc;
use std::time::Instant;

use crate::sip::transport::{Flow, Target};
use crate::sip::{Message, Request, Response, build};

use super::timers::{Resend, Timers, earlier};
use super::{Action, ClientId};

#[derive(Debug)]
pub(super) struct InviteClient {
    id: ClientId,
    target: Target,
    timers: Arc<Timers>,
    /// When to give up though the phone rings: 64 T1 after our CANCEL (§9.1), since an RFC 2543 peer may never
    /// answer the INVITE once it has been cancelled.
    cancelled: Option<Instant>,
    state: State,
}

#[derive(Debug)]
enum State {
    Calling {
        invite: Request,
        resend: Option<Resend>,
        give_up: Instant,
    },
    Proceeding {
        invite: Request,
    },
    Accepted {
        until: Instant,
    },
    Completed {
        ack: Request,
        target: Target,
        until: Instant,
    },
    Over,
}

impl InviteClient {
    /// Opens the transaction; the INVITE goes out.
    pub fn open(
        id: ClientId,
        invite: Request,
        target: Target,
        timers: Arc<Timers>,
        now: Instant,
    ) -> (InviteClient, Vec<Action>) {
        let send = send(id, &invite, &target);
        let state = State::Calling {
            invite,
            resend: Resend::start(timers.a, now),
            give_up: now + timers.b,
        };
        let client = InviteClient {
            id,
            target,
            timers,
            cancelled: None,
            state,
        };
        (client, vec![send])
    }

    /// A response that belongs here.
    pub fn response(&mut self, response: Response, flow: Flow, now: Instant) -> Vec<Action> {
        match mem::replace(&mut self.state, State::Over) {
            State::Calling { invite, .. } | State::Proceeding { invite } => {
                self.answered(invite, response, flow, now)
            }
            // RFC 6026 §7.2: a repeated 2xx, or one from another branch of a fork, is the dialog's to acknowledge.
            state @ State::Accepted { .. } => {
                self.state = state;
                match response.status {
                    200..300 => vec![self.deliver(response, flow)],
                    _ => Vec::new(),
                }
            }
            State::Completed { ack, target, until } => {
                // The peer repeats its refusal until our ACK gets through.
                let again = match response.status {
                    300.. => vec![send_ack(&ack, &target)],
                    _ => Vec::new(),
                };
                self.state = State::Completed { ack, target, until };
                again
            }
            State::Over => Vec::new(),
        }
    }

    /// The first final response, or one more provisional.
    fn answered(
        &mut self,
        invite: Request,
        response: Response,
        flow: Flow,
        now: Instant,
    ) -> Vec<Action> {
        match response.status {
            ..200 => {
                self.state = State::Proceeding { invite };
                vec![self.deliver(response, flow)]
            }
            200..300 => {
                let until = now + self.timers.m;
                self.state = State::Accepted { until };
                vec![self.deliver(response, flow)]
            }
            _ => {
                let ack = build::ack(&invite, &response);
                // §17.1.1.3: to where the INVITE went. Of several addresses behind a name, that is the one whose
                // connection the answer came on.
                let target = match flow.protocol.is_reliable() {
                    true => Target::Flow(flow),
                    false => self.target.clone(),
                };
                let acknowledge = send_ack(&ack, &target);
                let until = now + self.timers.d;
                self.state = State::Completed { ack, target, until };
                vec![acknowledge, self.deliver(response, flow)]
            }
        }
    }

    fn deliver(&self, response: Response, flow: Flow) -> Action {
        Action::Response {
            client: self.id,
            response,
            flow,
        }
    }

    /// Our CANCEL for it goes out.
    pub fn cancelled(&mut self, now: Instant) {
        self.cancelled.get_or_insert(now + self.timers.b);
    }

    /// It is repeated no more, and waits for what may still come.
    pub fn quiet(&mut self) {
        if let State::Calling { resend, .. } = &mut self.state {
            *resend = None;
        }
    }

    /// It could not be sent. Once there is a final response nobody needs to know.
    pub fn failed(&mut self, reason: &str) -> Vec<Action> {
        if !matches!(self.state, State::Calling { .. } | State::Proceeding { .. }) {
            return Vec::new();
        }
        self.state = State::Over;
        vec![Action::Failed {
            client: self.id,
            reason: reason.to_owned(),
        }]
    }

    /// When [`InviteClient::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Calling {
                resend, give_up, ..
            } => Some(earlier(resend, *give_up)),
            State::Proceeding { .. } => self.cancelled,
            State::Accepted { until } | State::Completed { until, .. } => Some(*until),
            State::Over => None,
        }
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Instant) -> Vec<Action> {
        match &mut self.state {
            State::Calling {
                invite,
                resend: Some(resend),
                give_up,
            } if now < *give_up => {
                // No ceiling at T2: that is for other requests (§17.1.1.2).
                resend.after(2 * resend.wait, now);
                vec![send(self.id, invite, &self.target)]
            }
            State::Calling { .. } | State::Proceeding { .. } => {
                self.state = State::Over;
                vec![Action::TimedOut { client: self.id }]
            }
            State::Accepted { .. } | State::Completed { .. } | State::Over => {
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

fn send(id: ClientId, invite: &Request, target: &Target) -> Action {
    Action::Send {
        message: Message::Request(invite.clone()),
        target: target.clone(),
        client: Some(id),
    }
}

/// Nobody is told when an ACK cannot be sent: the peer repeats its response.
fn send_ack(ack: &Request, target: &Target) -> Action {
    Action::Send {
        message: Message::Request(ack.clone()),
        target: target.clone(),
        client: None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{Bench, flow, hop, request, response};
    use super::*;
    use crate::sip::message::Common;
    use crate::sip::transport::Protocol::{Tls, Udp};

    fn invite() -> Request {
        request("INVITE", "z9hG4bK1")
    }

    #[test]
    fn an_abandoned_invite_is_not_repeated_and_still_takes_its_answer() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Udp));
        bench.abandons();
        assert!(bench.until(31_999).is_empty());
        assert_eq!(
            bench.gets(response(&invite(), 486, "a"), flow(Udp)),
            ["31999 send ACK to pbx", "31999 response 486 a"]
        );
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Udp));
        bench.abandons();
        assert_eq!(bench.until(40_000), ["32000 timed out"]);
        bench.is_empty();
    }

    #[test]
    fn over_udp_an_invite_is_repeated_at_doubling_pauses_and_given_up_after_64_t1() {
        let mut bench = Bench::new();
        assert_eq!(bench.sends(invite(), hop(Udp)), ["0 send INVITE to pbx"]);
        assert_eq!(
            bench.until(40_000),
            [
                "500 send INVITE to pbx",
                "1500 send INVITE to pbx",
                "3500 send INVITE to pbx",
                "7500 send INVITE to pbx",
                "15500 send INVITE to pbx",
                "31500 send INVITE to pbx",
                "32000 timed out",
            ]
        );
        bench.is_empty();
    }

    #[test]
    fn over_tls_an_invite_is_sent_once_and_given_up_after_64_t1() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Tls));
        assert_eq!(bench.until(40_000), ["32000 timed out"]);
        bench.is_empty();
    }

    #[test]
    fn a_provisional_response_stops_repetition_and_lets_it_ring_for_ever() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Udp));
        bench.until(1_000);
        assert_eq!(
            bench.gets(response(&invite(), 180, "a"), flow(Udp)),
            ["1000 response 180 a"]
        );
        assert!(bench.until(600_000).is_empty());
        assert_eq!(bench.table.deadline(), None);
        assert_eq!(bench.table.len(), 1);
    }

    #[test]
    fn a_cancelled_invite_that_is_never_answered_is_given_up_64_t1_after_the_cancel() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Tls));
        bench.gets(response(&invite(), 180, "a"), flow(Tls));
        bench.until(10_000);
        let cancel = build::cancel(&invite());
        assert_eq!(
            bench.sends(cancel.clone(), hop(Tls)),
            ["10000 send CANCEL to pbx"]
        );
        assert_eq!(
            bench.gets(response(&cancel, 200, "a"), flow(Tls)),
            ["10000 response 200 a"]
        );
        // One more provisional does not lift it.
        bench.until(20_000);
        bench.gets(response(&invite(), 183, "a"), flow(Tls));
        assert_eq!(bench.until(60_000), ["42000 timed out"]);
        bench.is_empty();
    }

    #[test]
    fn a_repeated_486_is_acked_again_but_delivered_once() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Udp));
        let busy = response(&invite(), 486, "a");
        assert_eq!(
            bench.gets(busy.clone(), flow(Udp)),
            ["0 send ACK to pbx", "0 response 486 a"]
        );
        bench.until(31_999);
        assert_eq!(
            bench.gets(busy.clone(), flow(Udp)),
            ["31999 send ACK to pbx"]
        );
        assert!(
            bench
                .gets(response(&invite(), 180, "a"), flow(Udp))
                .is_empty()
        );
        assert!(bench.until(32_000).is_empty());
        bench.is_empty();
        assert!(bench.gets(busy, flow(Udp)).is_empty());
        assert_eq!(bench.table.stats().strays, 1);
    }

    #[test]
    fn the_ack_of_a_refusal_has_the_invites_branch_and_the_refusals_to() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Udp));
        bench.gets(response(&invite(), 404, "theirs"), flow(Udp));
        let ack = bench.last_sent_request();
        assert_eq!(ack.via(), invite().via());
        assert_eq!(ack.to().unwrap().tag(), Some("theirs"));
        assert_eq!(ack.headers.get("CSeq"), Some("7 ACK"));
    }

    #[test]
    fn over_tls_the_ack_takes_the_connection_of_the_refusal_and_nothing_lingers() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Tls));
        assert_eq!(
            bench.gets(response(&invite(), 486, "a"), flow(Tls)),
            ["0 send ACK to 192.0.2.7:5070", "0 response 486 a"]
        );
        bench.is_empty();
    }

    #[test]
    fn repeated_and_forked_2xx_reach_the_dialog_for_64_t1() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Tls));
        bench.gets(response(&invite(), 180, "a"), flow(Tls));
        let ok = response(&invite(), 200, "a");
        assert_eq!(bench.gets(ok.clone(), flow(Tls)), ["0 response 200 a"]);
        bench.until(500);
        assert_eq!(bench.gets(ok.clone(), flow(Tls)), ["500 response 200 a"]);
        let fork = response(&invite(), 200, "b");
        assert_eq!(bench.gets(fork, flow(Tls)), ["500 response 200 b"]);
        for late in [180, 486] {
            let late = response(&invite(), late, "b");
            assert!(bench.gets(late, flow(Tls)).is_empty());
        }
        assert!(bench.until(32_000).is_empty());
        bench.is_empty();
        assert!(bench.gets(ok, flow(Tls)).is_empty());
    }

    #[test]
    fn a_failed_transport_is_reported_once_and_not_after_a_final_response() {
        let mut bench = Bench::new();
        bench.sends(invite(), hop(Tls));
        let id = bench.last_client();
        assert_eq!(bench.fails(id), ["0 failed: refused"]);
        assert!(bench.fails(id).is_empty());
        bench.is_empty();

        bench.sends(invite(), hop(Udp));
        bench.gets(response(&invite(), 486, "a"), flow(Udp));
        let id = bench.last_client();
        assert!(bench.fails(id).is_empty());
        assert_eq!(bench.table.len(), 1);
    }
}
