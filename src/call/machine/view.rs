//! What others are shown of a call: how it began, what it is doing now, whether it is over, what became of it.

use std::time::Instant;

use super::{Call, State};
use crate::call::live::CallId;
use crate::call::snapshot::{LiveCall, Phase};
use crate::call::summary::Summary;
use crate::call::watch::Began;
use crate::leg::Leg;
use crate::sip::message::Common;

impl Call {
    /// The call as it began, under the name that it goes by.
    pub fn began(&self, call: CallId) -> Began {
        Began {
            call,
            session: self.session,
            direction: self.parties.direction,
            number: self.parties.number.number.clone(),
            user: self.parties.user.clone(),
            pbx: self.parties.pbx.name.clone(),
            wacid: self.told.wacid.clone(),
            caller_call_id: self.caller.request.call_id().to_owned(),
            callee_call_id: self.callee.request().call_id().to_owned(),
        }
    }

    /// Call-ID of the PBX's leg, the first where the call was transferred.
    pub(super) fn pbx_call_id(&self) -> &str {
        let (caller, callee) = (&self.caller.request, self.callee.request());
        let invite = self.parties.direction.of(Leg::Pbx, caller, callee);
        invite.call_id()
    }

    /// The call as it is now.
    pub fn live(&self, call: CallId) -> LiveCall {
        LiveCall {
            who: self.began(call),
            phase: match &self.state {
                State::Ringing(_) => Phase::Ringing,
                State::Talking(_) => Phase::Talking,
                State::Closing(_) => Phase::Ending,
            },
            began: self.began,
            answered: self.answered,
            keying: self.keying,
            codecs: self.codecs,
        }
    }

    /// Whether nothing is left of the call.
    pub fn is_gone(&self, now: Instant) -> bool {
        self.is_over(self.pending == 0, now)
    }

    /// Whether it has been said what became of the call, and only what was given up may yet be answered.
    pub fn lingers(&self) -> bool {
        self.summarised
    }

    fn is_over(&self, nothing_pending: bool, now: Instant) -> bool {
        let State::Closing(closing) = &self.state else {
            return false;
        };
        let done = nothing_pending && self.media.is_some();
        self.held.is_none() && (done || now >= closing.until)
    }

    /// What became of the call, said once: when both its legs are over.
    pub fn summary(&mut self, call: CallId, now: Instant) -> Option<Summary> {
        if self.summarised || !self.is_over(self.only_lingers(), now) {
            return None;
        }
        let State::Closing(closing) = &self.state else {
            return None;
        };
        self.summarised = true;
        Some(Summary {
            call,
            direction: self.parties.direction,
            number: self.parties.number.number.clone(),
            user: self.parties.user.clone(),
            pbx: self.parties.pbx.name.clone(),
            told: self.told.clone(),
            caller_call_id: self.caller.request.call_id().to_owned(),
            callee_call_id: self.callee.request().call_id().to_owned(),
            began: self.began,
            rang: self.rang,
            answered: self.answered,
            ack_waited: self.ack_waited,
            ended: closing.ended,
            ended_by: closing.ended_by,
            status: self.status,
            callee_status: self.callee_status,
            why: closing.why.clone(),
            keying: self.keying,
            codecs: self.codecs,
            transfers: self.transferred.clone(),
            media: self.media.clone().unwrap_or_default(),
        })
    }
}
