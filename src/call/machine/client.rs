//! The client transactions of a call: the requests that it sends, where they go, and what comes of them.

use super::Call;
use super::attempts;
use super::turn::{Action, Purpose, Turn};
use crate::call::summary::EndedBy;
use crate::leg::Leg;
use crate::peer::meta;
use crate::sip::dialog::Step;
use crate::sip::message::{Headers, Request, Response};
use crate::sip::transport::{Hop, Target};

impl Call {
    pub(super) fn leg_of(&self, purpose: Purpose) -> Option<Leg> {
        match purpose {
            Purpose::Invite(_) => Some(self.callee_leg()),
            Purpose::Bye(leg) => Some(leg),
            Purpose::Info(_) | Purpose::Refresh | Purpose::Transfer(_) | Purpose::Notify => {
                Some(Leg::Pbx)
            }
            Purpose::Errand => None,
        }
    }

    /// Keeps what Meta tells in a message of its leg.
    pub(super) fn told_by(&mut self, leg: Option<Leg>, headers: &Headers) {
        if leg != Some(Leg::Meta) {
            return;
        }
        if let Some(wacid) = meta::wacid(headers) {
            self.told.wacid = Some(wacid.to_owned());
        }
        if let Some(duration) = meta::duration(headers) {
            self.told.duration = Some(duration);
        }
    }

    pub(super) fn open(
        &mut self,
        request: Request,
        target: Target,
        purpose: Purpose,
        turn: &mut Turn<'_>,
    ) {
        self.pending += 1;
        turn.actions.push(Action::Request {
            request,
            target,
            purpose,
        });
    }

    /// Where a request outside a dialog goes.
    pub(super) fn first_hop(&self, leg: Leg) -> Target {
        Target::Hop(match leg {
            Leg::Meta => self.parties.meta.hop(),
            Leg::Pbx => self.parties.pbx_hop.clone(),
        })
    }

    /// Where a request in a dialog goes whose next hop would be `hop`.
    pub(super) fn target(&self, leg: Leg, hop: Option<Hop>) -> Target {
        match (leg, hop) {
            // A PBX that called us over a stream is reached by that stream, whatever its Contact says.
            (Leg::Pbx, _) if self.pbx_by_flow => Target::Flow(self.caller_flow),
            (Leg::Pbx, Some(hop)) => Target::Hop(hop),
            // Route sets of Meta name hosts that are Meta's own affair.
            _ => self.first_hop(leg),
        }
    }

    pub(super) fn response(&mut self, purpose: Purpose, response: Response, turn: &mut Turn<'_>) {
        // A 2xx may come once more for an INVITE that is settled; it ends nothing a second time.
        let settled = match purpose {
            Purpose::Invite(place) => match self.abandoned.get(place) {
                Some(abandoned) => !abandoned.invite.is_pending(),
                None => !self.callee.is_pending(),
            },
            Purpose::Refresh => !self.own.as_ref().is_some_and(|own| own.awaits(&response)),
            Purpose::Transfer(number) => !self.awaits_target(number),
            Purpose::Bye(_) | Purpose::Info(_) | Purpose::Notify | Purpose::Errand => false,
        };
        if !response.is_provisional() && !settled {
            self.pending = self.pending.saturating_sub(1);
        }
        self.told_by(self.leg_of(purpose), &response.headers);
        match purpose {
            Purpose::Invite(place) if place < self.abandoned.len() => {
                self.late(place, response, turn)
            }
            Purpose::Invite(_) => {
                if !response.is_provisional() && !settled {
                    self.callee_status = Some(response.status);
                }
                self.heard = true;
                if let Some(fate) = attempts::fate(&response) {
                    self.seen(fate, turn);
                }
                let steps = self.callee.response(response, turn.tokens);
                self.take(steps, turn);
            }
            Purpose::Bye(leg) => self.bye_answered(leg, &response, turn),
            Purpose::Info(left) => self.info_answered(left, &response, turn),
            Purpose::Refresh => self.refreshed(response, turn),
            Purpose::Transfer(number) => self.target_answered(number, response, turn),
            Purpose::Notify => self.notify_answered(response.status),
            Purpose::Errand => {}
        }
    }

    pub(super) fn lost(&mut self, purpose: Purpose, why: String, turn: &mut Turn<'_>) {
        self.pending = self.pending.saturating_sub(1);
        match purpose {
            Purpose::Invite(place) => {
                if let Some(abandoned) = self.abandoned.get_mut(place) {
                    abandoned.invite.lost();
                    return;
                }
            }
            Purpose::Bye(Leg::Pbx) => return self.bye_by_detour(turn),
            Purpose::Info(left) => return self.info_lost(left, &why, turn),
            Purpose::Refresh => return self.refresh_lost(&why, turn),
            Purpose::Transfer(number) => return self.target_lost(number, &why, turn),
            Purpose::Notify => return self.notify_answered(408),
            Purpose::Bye(Leg::Meta) | Purpose::Errand => return,
        }
        self.seen(Err(why.clone()), turn);
        let steps = self.callee.lost();
        self.take(steps, turn);
        if self.caller.is_ringing() && !self.tries_another(&why, turn) {
            let refusal = self.unreachable(&why);
            self.refuse(EndedBy::Bridge, &refusal, turn);
        }
    }

    pub(super) fn take(&mut self, steps: Vec<Step>, turn: &mut Turn<'_>) {
        for step in steps {
            match step {
                Step::Cancel(cancel) => {
                    let target = self.first_hop(self.callee_leg());
                    self.open(cancel, target, Purpose::Errand, turn);
                }
                Step::Bye(bye, hop) => {
                    let target = self.target(self.callee_leg(), hop);
                    self.open_bye(self.callee_leg(), bye, target, turn);
                }
                Step::Ack(ack, hop) => {
                    let target = self.target(self.callee_leg(), hop);
                    turn.actions.push(Action::Ack(ack, target));
                }
                Step::Outcome(outcome) => self.outcome(outcome, turn),
            }
        }
    }
}
