//! The PBX's leg that has asked for a transfer: what it hears of that (RFC 3515 §2.4.4), and what becomes of it.
//!
//! ```text
//!   202 ──▶ NOTIFY … ─┬─ the target answers ──▶ a former leg: its BYE, or after a while ours ──▶ gone
//!             └─ BYE: it has left, and Meta waits for the target alone
//! ```

use std::time::{Duration, Instant};

use super::reinvite::PbxSession;
use super::turn::{Purpose, Turn};
use super::{Call, State};
use crate::leg::Leg;
use crate::media::Command;
use crate::peer::Refusal;
use crate::sip::build;
use crate::sip::dialog::{Dialog, DialogId, Identity};
use crate::sip::message::{Method, Request};
use crate::sip::transaction::ServerId;
use crate::sip::transport::Target;

/// How long a referrer has for its own BYE once the transfer is done.
const HANG_UP: Duration = Duration::from_secs(3);

/// The leg that the PBX had before: it is to hang up, or we do.
#[derive(Debug)]
pub(super) struct Former {
    dialog: Dialog,
    identity: Identity,
    target: Target,
    until: Instant,
}

impl Call {
    /// Whether the PBX has no leg any more, and the one it wants has not come to anything yet.
    pub(super) fn pbx_has_left(&self) -> bool {
        self.trying().is_some_and(|trying| trying.alone)
    }

    /// NOTIFY to the referrer, if this is news that it wants.
    pub(super) fn tell_referrer(&mut self, status: u16, reason: &str, turn: &mut Turn<'_>) {
        let (now, branch) = (turn.now, turn.tokens.branch());
        let identity = self.to_pbx();
        let Some(mut trying) = self.transfers.back_mut().and_then(|t| t.trying.take()) else {
            return;
        };
        let left = trying.until.saturating_duration_since(now);
        if let (Some(watch), Some((dialog, pbx))) = (&mut trying.watch, self.pbx_session())
            && watch.is_news(status)
        {
            let mut notify = dialog.request(Method::NOTIFY, &identity, &branch);
            let contact = pbx.contact.as_ref().map(ToString::to_string);
            notify.headers.push("Contact", contact.unwrap_or_default());
            identity.abilities.say(&mut notify.headers);
            watch.tell(&mut notify, status, reason, left);
            let hop = dialog.next_hop(Leg::Pbx, identity.protocol);
            let target = self.target(Leg::Pbx, hop);
            self.open(notify, target, Purpose::Notify, turn);
        }
        if let Some(transfer) = self.transfers.back_mut() {
            transfer.trying = Some(trying);
        }
    }

    /// A referrer that does not take our NOTIFY wants no other (RFC 6665 §4.2.2).
    pub(super) fn notify_answered(&mut self, status: u16) {
        if status >= 300
            && let Some(trying) = self.trying_mut()
        {
            trying.watch = None;
        }
    }

    /// The leg that the PBX had is over, or will be soon.
    pub(super) fn change_legs(&mut self, dialog: Dialog, session: PbxSession, now: Instant) {
        let identity = self.to_pbx();
        self.referrals = 0;
        let trying = self.transfers.back_mut().and_then(|t| t.trying.take());
        let State::Talking(talking) = &mut self.state else {
            return;
        };
        talking.pbx = Some(Box::new(session));
        let (place, _) = talking.leg(Leg::Pbx, self.parties.direction);
        let former = std::mem::replace(place, dialog);
        if trying.is_some_and(|trying| trying.alone) {
            return;
        }
        let hop = former.next_hop(Leg::Pbx, identity.protocol);
        let target = self.target(Leg::Pbx, hop);
        if let State::Talking(talking) = &mut self.state {
            talking.former.push(Former {
                dialog: former,
                identity,
                target,
                until: now + HANG_UP,
            });
        }
    }

    /// When the next former leg has had its time.
    pub(super) fn former_due(&self) -> Option<Instant> {
        match &self.state {
            State::Talking(talking) => talking.former.iter().map(|leg| leg.until).min(),
            _ => None,
        }
    }

    /// Hangs up the former legs that this is true of.
    pub(super) fn hang_up_former(
        &mut self,
        is_due: impl Fn(Instant) -> bool,
        why: &Refusal,
        turn: &mut Turn<'_>,
    ) {
        let State::Talking(talking) = &mut self.state else {
            return;
        };
        let all = std::mem::take(&mut talking.former).into_iter();
        let (due, left): (Vec<_>, Vec<_>) = all.partition(|leg| is_due(leg.until));
        talking.former = left;
        for mut leg in due {
            let branch = turn.tokens.branch();
            let mut bye = leg.dialog.request(Method::BYE, &leg.identity, &branch);
            bye.headers.push("Reason", why.reason());
            let hop = leg.dialog.next_hop(Leg::Pbx, leg.identity.protocol);
            if let (Target::Flow(_), Some(hop)) = (&leg.target, hop) {
                self.detour = Some(Box::new((bye.clone(), hop)));
            }
            self.open_bye(Leg::Pbx, bye, leg.target, turn);
        }
    }

    /// Whether a request of the PBX is in the leg that it had before a transfer, or has left.
    pub(super) fn is_of_former_leg(&mut self, leg: Leg, request: &Request) -> bool {
        let State::Talking(talking) = &mut self.state else {
            return false;
        };
        let (current, _) = talking.leg(Leg::Pbx, self.parties.direction);
        let is_current = DialogId::of(request).as_ref() == Some(current.id());
        leg == Leg::Pbx && (self.pbx_has_left() || (self.referral > 0 && !is_current))
    }

    /// A request in the leg that the PBX had before: it hangs up, and nothing else is of use there.
    pub(super) fn former_asks(&mut self, server: ServerId, request: &Request, turn: &mut Turn<'_>) {
        let id = DialogId::of(request);
        let mut known = false;
        if let (State::Talking(talking), &Method::BYE) = (&mut self.state, &request.method) {
            let before = talking.former.len();
            let is_it = |former: &Former| Some(former.dialog.id()) == id.as_ref();
            talking.former.retain(|former| !is_it(former));
            known = talking.former.len() < before;
        }
        let status = if known { 200 } else { 481 };
        turn.respond(server, build::response(request, status, None));
    }

    /// Nothing is for whoever was at the PBX's end any more: neither sound nor digits that wait, nor what a refresh brings.
    pub(super) fn leave_former(&mut self, turn: &mut Turn<'_>) {
        self.infos.forget();
        if let Some(own) = &mut self.own {
            own.is_of_former_leg();
        }
        turn.media(Command::Leave { leg: Leg::Pbx });
    }

    /// The PBX hangs up whose transfer is under way: the WhatsApp user waits for what becomes of that.
    pub(super) fn referrer_leaves(&mut self, turn: &mut Turn<'_>) {
        self.leave_former(turn);
        if let Some(trying) = self.trying_mut() {
            trying.alone = true;
        }
        if let Some((_, pbx)) = self.pbx_session() {
            pbx.ends();
        }
    }
}
