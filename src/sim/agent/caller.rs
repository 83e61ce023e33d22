//! Calls that we place: INVITE, digest round, ACK, CANCEL.

use std::time::{Duration, Instant};

use super::*;
use crate::sim::report::Direction;
use crate::sip::{Method, build};

/// Answers to challenges per call; a bridge that asks more often than this does not know the password.
const MOST_ROUNDS: u32 = 3;

impl<M: Manners> Agent<M> {
    /// Places a call. `None` if there is no media port for it.
    #[must_use]
    pub fn place(&mut self, outgoing: Outgoing, now: Instant) -> Option<(CallId, Vec<Action>)> {
        let media = (self.ports)()?;
        let id = self.next_id();
        let business = match M::LEG {
            Leg::Meta => &outgoing.to,
            Leg::Pbx => &outgoing.from,
        };
        let ours = self.manners.ours(media, business);
        let mut invite = self.manners.invite(&outgoing);
        invite.headers.push("Content-Type", "application/sdp");
        invite.body = self.manners.print(&ours).into_bytes();
        let report = CallReport {
            direction: match M::LEG {
                Leg::Meta => Direction::UserInitiated,
                Leg::Pbx => Direction::BusinessInitiated,
            },
            call_id: invite.call_id().to_owned(),
            from: outgoing.from.clone(),
            to: outgoing.to.clone(),
            ..CallReport::default()
        };
        let plan = outgoing.plan;
        let mut out = vec![Action::Line(id, Order::Open(media, plan.clone()))];
        self.alarms.insert((now + plan.patience, id, Alarm::Cancel));
        let (client, actions) = self
            .table
            .request(invite.clone(), self.manners.target(), now);
        self.take(actions, now, &mut out); // before the call is known: this goes over the first connection
        self.clients.insert(client, (id, Purpose::Invite));
        self.calls.insert(
            id,
            Call {
                plan,
                ours,
                report,
                started: now,
                answered: None,
                stage: Stage::Calling {
                    client,
                    invite,
                    rounds: 0,
                    provisional: false,
                    cancel: false,
                },
            },
        );
        Some((id, out))
    }

    pub(super) fn invite_answered(
        &mut self,
        id: CallId,
        client: ClientId,
        response: Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let invite = match &call.stage {
            Stage::Calling {
                client: current,
                invite,
                ..
            } if *current == client => invite.clone(),
            // A copy of the 200: our ACK did not get there.
            Stage::Talking { ack: Some(ack), .. } if response.is_success() => {
                out.push(self.send_ack(ack.clone(), call.plan.other_connection));
                return;
            }
            _ => return,
        };
        let faults = self.manners.judge(&invite, &response);
        self.complain_all(id, faults);
        match response.status {
            100..200 => self.progress(id, &response, now, out),
            200..300 => self.accepted(id, &invite, &response, now, out),
            401 | 407 => self.challenged(id, &invite, &response, now, out),
            _ => self.refused(id, &response, out),
        }
    }

    fn progress(&mut self, id: CallId, response: &Response, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if !call.report.provisional.contains(&response.status) {
            call.report.provisional.push(response.status);
        }
        let Stage::Calling {
            provisional,
            cancel,
            ..
        } = &mut call.stage
        else {
            return;
        };
        let owed = *cancel && !*provisional;
        *provisional = true;
        if !response.body.is_empty() && M::LEG == Leg::Pbx {
            let theirs = Theirs::read(&response.body, call.ours.demands());
            if let Ok(peer) = call.ours.with(&theirs) {
                out.push(Action::Line(id, Order::Agree(peer)));
            }
        }
        if owed {
            self.send_cancel(id, now, out);
        }
    }

    fn challenged(
        &mut self,
        id: CallId,
        invite: &Request,
        response: &Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let rounds = match self.calls.get(&id).map(|call| &call.stage) {
            Some(Stage::Calling { rounds, .. }) => *rounds,
            _ => return,
        };
        let again = match rounds < MOST_ROUNDS {
            true => self.manners.authorise(invite, response),
            false => Err(format!("{}: challenged for ever", response.status)),
        };
        match again {
            Ok(again) => {
                let client = self.send(id, Purpose::Invite, again.clone(), now, out);
                let Some(call) = self.calls.get_mut(&id) else {
                    return;
                };
                let cancel = matches!(call.stage, Stage::Calling { cancel: true, .. });
                call.stage = Stage::Calling {
                    client,
                    invite: again,
                    rounds: rounds + 1,
                    provisional: false,
                    cancel,
                };
            }
            Err(why) => {
                self.complain(id, why);
                self.refused(id, response, out);
            }
        }
    }

    fn refused(&mut self, id: CallId, response: &Response, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.report.status = response.status;
        call.report.reason = response.reason.clone();
        let by = match call.stage {
            Stage::Calling { cancel: true, .. } => EndedBy::Us,
            _ => EndedBy::Bridge,
        };
        self.end(id, Some(by), out);
    }

    fn accepted(
        &mut self,
        id: CallId,
        invite: &Request,
        ok: &Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        let dialog = Dialog::caller(invite, ok);
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        call.report.status = ok.status;
        call.report.reason = ok.reason.clone();
        call.report.setup_ms = Some((now - call.started).as_millis() as u64);
        call.answered = Some(now);
        let cancelled = matches!(call.stage, Stage::Calling { cancel: true, .. });
        self.alarms.retain(|(_, owner, _)| *owner != id);
        let Some(dialog) = dialog else {
            self.complain(id, "200: no Contact to acknowledge to");
            return self.end(id, None, out);
        };
        // The 32-second fault: where Meta's own Record-Routes are not what they were, its ACK goes astray (§5).
        let lost = self.manners.judge(invite, ok);
        if lost.iter().any(|what| what.contains("Record-Route")) {
            self.complain(id, "200: the ACK cannot find its way: no ACK is sent");
            self.talk(id, dialog, None);
        } else {
            let mut ack = dialog.ack(dialog.cseq);
            self.dress(id, &mut ack, now);
            let elsewhere = self.calls.get(&id).is_some_and(|c| c.plan.other_connection);
            out.push(self.send_ack(ack.clone(), elsewhere));
            self.talk(id, dialog, Some(ack));
        }
        self.agree(id, ok, now, out);
        if cancelled {
            self.hang_up(id, now, out);
        }
    }

    /// Media begins, or there is nothing to begin with and we hang up.
    fn agree(&mut self, id: CallId, ok: &Response, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get(&id) else {
            return;
        };
        let mut theirs = Theirs::read(&ok.body, call.ours.demands());
        theirs.must_mirror(&call.ours);
        let peer = call.ours.with(&theirs);
        self.complain_all(id, theirs.complaints);
        match peer {
            Ok(peer) => {
                out.push(Action::Line(id, Order::Agree(peer)));
                out.push(Action::Line(id, Order::Answered));
                self.plan_the_rest(id, now);
            }
            Err(why) => {
                self.complain(id, why);
                self.hang_up(id, now, out);
            }
        }
    }

    /// Gives up: a CANCEL if the callee still rings, as soon as one may be sent.
    pub(super) fn give_up(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        if let Stage::Calling {
            cancel,
            provisional,
            ..
        } = &mut call.stage
        {
            let first = !std::mem::replace(cancel, true);
            call.report.ended_by = Some(EndedBy::Us);
            if first && *provisional {
                self.send_cancel(id, now, out);
            }
            let patience = Duration::from_secs(32); // 64 × T1 (§9.1)
            self.alarms.insert((now + patience, id, Alarm::Forget));
        }
    }

    fn send_cancel(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        if let Some(Stage::Calling { invite, .. }) = self.calls.get(&id).map(|call| &call.stage) {
            let cancel = build::cancel(invite);
            self.send(id, Purpose::Cancel, cancel, now, out);
        }
    }

    pub(super) fn reinvite(&mut self, id: CallId, now: Instant, out: &mut Vec<Action>) {
        let Some(call) = self.calls.get_mut(&id) else {
            return;
        };
        let Stage::Talking { dialog, .. } = &mut call.stage else {
            return;
        };
        let mut invite = dialog.request(Method::INVITE);
        invite.headers.push("Content-Type", "application/sdp");
        invite.body = self.manners.print(&call.ours).into_bytes();
        self.dress(id, &mut invite, now);
        self.send(id, Purpose::Reinvite, invite, now, out);
    }

    pub(super) fn reinvite_answered(
        &mut self,
        id: CallId,
        response: &Response,
        now: Instant,
        out: &mut Vec<Action>,
    ) {
        if response.is_provisional() {
            return;
        }
        if let Some(call) = self.calls.get_mut(&id) {
            call.report.reinvite = Some(response.status);
        }
        if response.status == 500 {
            return;
        }
        self.complain(
            id,
            format!("re-INVITE: answered {}, not 500", response.status),
        );
        if let Some(Stage::Talking { dialog, .. }) = self.calls.get(&id).map(|call| &call.stage)
            && response.is_success()
        {
            let number = response.cseq().map_or(0, |cseq| cseq.number);
            let mut ack = dialog.ack(number);
            self.dress(id, &mut ack, now);
            out.push(self.send_ack(ack, false));
        }
        self.hang_up(id, now, out);
    }

    fn send_ack(&self, ack: Request, elsewhere: bool) -> Action {
        Action::Send {
            message: ack.into(),
            target: self.manners.target(),
            client: None,
            elsewhere,
        }
    }
}
