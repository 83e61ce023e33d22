//! The end of a call: who is told, and by what.

use super::turn::{Action, Purpose, Turn};
use super::{CLOSING, Call, Closing, Parties, State};
use crate::call::summary::EndedBy;
use crate::leg::Leg;
use crate::media::SessionStats;
use crate::peer::meta::Authenticator;
use crate::peer::{Refusal, printable};
use crate::sip::dialog::Dialog;
use crate::sip::grammar::quote;
use crate::sip::message::{Common, Method, Request, Response};
use crate::sip::transport::Target;
use crate::sip::{Via, build};

impl Call {
    pub(super) fn silent(&mut self, leg: Leg, turn: &mut Turn<'_>) {
        // Before the answer nobody owes us media: many phones send none while they wait for another to be picked up.
        if matches!(self.state, State::Ringing(_)) || self.may_be_silent(leg) {
            return;
        }
        let refusal = Refusal::new(408, 102, format!("no media from {leg}"));
        self.end(EndedBy::Bridge, &refusal, turn);
    }

    pub(super) fn media_failed(&mut self, leg: Leg, why: &str, turn: &mut Turn<'_>) {
        // 41 (temporary failure): another call may well succeed. A caller that still waits is not told 503, after which
        // it would leave the whole trunk alone for a while (RFC 3261 §21.5.4).
        let refusal = Refusal::new(500, 41, format!("no media path to {leg}: {why}"));
        self.end(EndedBy::Bridge, &refusal, turn);
    }

    /// Ends the call from our side, whatever it is doing.
    pub(super) fn end(&mut self, by: EndedBy, why: &Refusal, turn: &mut Turn<'_>) {
        match &self.state {
            State::Ringing(_) => {
                self.refuse(by, why, turn);
                self.cancel(Some(why.reason()), turn);
            }
            State::Talking(_) => {
                // §15: no BYE before the ACK.
                self.acknowledge(turn);
                self.give_up_transfer(why, turn);
                self.bye_leg(self.callee_leg(), why.reason(), &[], turn);
                self.bye_leg(self.caller_leg(), why.reason(), &[], turn);
                self.close(by, &why.text, turn);
            }
            State::Closing(_) => {}
        }
    }

    /// The process is about to be gone, so no BYE can wait for an ACK any more.
    pub(super) fn stop(&mut self, turn: &mut Turn<'_>) {
        let refusal = Refusal::new(503, 41, "the bridge stops");
        self.end(EndedBy::Bridge, &refusal, turn);
        self.send_held_bye(turn);
    }

    /// Nobody answers, and nobody can wait any longer.
    pub(super) fn give_up(&mut self, turn: &mut Turn<'_>) {
        self.close(EndedBy::Bridge, "the bridge stops", turn);
        self.held = None;
        if let State::Closing(closing) = &mut self.state {
            closing.until = turn.now;
        }
    }

    pub(super) fn close(&mut self, ended_by: EndedBy, why: &str, turn: &mut Turn<'_>) {
        if matches!(self.state, State::Closing(_)) {
            return;
        }
        self.state = State::Closing(Closing {
            ended: turn.now,
            until: turn.now + CLOSING,
            ended_by,
            why: why.to_owned(),
        });
        self.cancel_own(turn);
        self.forget_transfer();
        if self.media.is_none() {
            turn.actions.push(Action::CloseMedia);
        }
    }

    pub(super) fn media_closed(&mut self, stats: SessionStats, turn: &mut Turn<'_>) {
        self.media = Some(stats);
        self.end(
            EndedBy::Bridge,
            &Refusal::new(503, 41, "the media engine ended the session"),
            turn,
        );
    }

    /// BYE on one leg of a call that talks.
    pub(super) fn bye_leg(
        &mut self,
        leg: Leg,
        reason: String,
        custom: &[(String, String)],
        turn: &mut Turn<'_>,
    ) {
        let has_left = leg == Leg::Pbx && self.pbx_has_left();
        let State::Talking(talking) = &mut self.state else {
            return;
        };
        if has_left {
            return;
        }
        let (dialog, _) = talking.leg(leg, self.parties.direction);
        let mut dialog = dialog.clone();
        self.bye(leg, &mut dialog, reason, custom, turn);
    }

    pub(super) fn bye(
        &mut self,
        leg: Leg,
        dialog: &mut Dialog,
        reason: String,
        custom: &[(String, String)],
        turn: &mut Turn<'_>,
    ) {
        let protocol = self.parties.pbx_hop.protocol;
        let identity = match leg {
            Leg::Meta => self.parties.meta.identity(&self.parties.number),
            Leg::Pbx => self.parties.pbx.identity(protocol),
        };
        let hop = dialog.next_hop(leg, protocol);
        let target = self.target(leg, hop.clone());
        let mut request = dialog.request(Method::BYE, &identity, &turn.tokens.branch());
        request.headers.push("Reason", reason);
        for (name, value) in custom {
            request.headers.push(name, value);
        }
        if let (Target::Flow(_), Some(hop)) = (&target, hop) {
            self.detour = Some(Box::new((request.clone(), hop)));
        }
        if leg == self.caller_leg() && self.caller.awaits_ack() {
            self.held = Some(Box::new((request, target)));
        } else {
            self.open_bye(leg, request, target, turn);
        }
    }

    pub(super) fn open_bye(&mut self, leg: Leg, bye: Request, target: Target, turn: &mut Turn<'_>) {
        self.unproven.retain(|(of, ..)| *of != leg);
        self.unproven.push((leg, bye.clone(), target.clone()));
        self.open(bye, target, Purpose::Bye(leg), turn);
    }

    /// A connection may be closed in a long call because nothing was said on it: then the Contact is what is left.
    pub(super) fn bye_by_detour(&mut self, turn: &mut Turn<'_>) {
        let Some(detour) = self.detour.take() else {
            return;
        };
        let (bye, hop) = *detour;
        let identity = self.to_pbx();
        let cseq = bye.cseq().map_or(0, |c| c.number) + 1;
        let again = build::again(&bye, &identity.via(&turn.tokens.branch()), cseq);
        self.takes_longer(turn);
        self.open(again, Target::Hop(hop), Purpose::Errand, turn);
    }

    fn takes_longer(&mut self, turn: &Turn<'_>) {
        if let State::Closing(closing) = &mut self.state {
            closing.until = turn.now + CLOSING;
        }
    }

    /// A PBX may challenge a BYE as it does an INVITE. No page says that Meta does; if it did, the user would stay on the
    /// line (unverified).
    pub(super) fn bye_answered(&mut self, leg: Leg, response: &Response, turn: &mut Turn<'_>) {
        if !matches!(response.status, 401 | 407) {
            return;
        }
        let branch = |via: Option<Via>| via?.branch().map(str::to_owned);
        let answered = branch(response.via());
        let is_it =
            |(of, bye, _): &(Leg, Request, Target)| *of == leg && branch(bye.via()) == answered;
        let Some(at) = self.unproven.iter().position(is_it) else {
            return;
        };
        let (_, bye, target) = self.unproven.swap_remove(at);
        let (credentials, identity) = match leg {
            Leg::Meta => {
                let Parties { meta, number, .. } = &self.parties;
                let cnonce = turn.tokens.word();
                let next = Authenticator::default().next(&bye, response, number, cnonce);
                (next.credentials(), meta.identity(number))
            }
            Leg::Pbx => (self.pbx_credentials(&bye, response, turn), self.to_pbx()),
        };
        let Some((name, value)) = credentials else {
            return;
        };
        let cseq = bye.cseq().map_or(0, |c| c.number) + 1;
        let mut again = build::again(&bye, &identity.via(&turn.tokens.branch()), cseq);
        again.headers.set(name, value);
        self.open(again, target, Purpose::Errand, turn);
    }

    pub(super) fn send_held_bye(&mut self, turn: &mut Turn<'_>) {
        let Some(held) = self.held.take() else {
            return;
        };
        self.takes_longer(turn);
        let (request, target) = *held;
        self.open_bye(self.caller_leg(), request, target, turn);
    }
}

/// What a CANCEL or BYE says of its reason (RFC 3326), fit to be passed on.
pub(super) fn reason_of(request: &Request) -> Option<String> {
    let reason = printable(request.headers.get("Reason")?, 256);
    let quotes_close = reason.matches('"').count().is_multiple_of(2);
    (!reason.is_empty() && quotes_close).then_some(reason)
}

/// A Reason that carries a SIP status.
pub(super) fn sip_reason(status: u16, text: &str) -> String {
    format!("SIP;cause={status};text={}", quote(&printable(text, 256)))
}
