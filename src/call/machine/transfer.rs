//! A PBX that transfers its end of the call (RFC 3515, RFC 5589): we call whom it names, within that PBX alone, and where that
//! is answered the PBX's leg is another from then on. Meta's leg knows nothing of it.
//!
//! ```text
//!   REFER ──▶ 202, NOTIFY 100; INVITE to Refer-To, with Replaces where it has one
//!                ├── 200 ──▶ ACK; the media goes there; NOTIFY 200 to the referrer, which says BYE, or we do
//!                └── refused, silent for too long ──▶ NOTIFY with that; the leg goes on as it was
//!   the referrer may say BYE as soon as it has our 202; then there is nobody else if the transfer fails
//! ```

use std::time::{Duration, Instant};

use super::reinvite::PbxSession;
use super::turn::{Action, Purpose, Turn};
use super::{Call, State};
use crate::call::refused::{Refused, extensions};
use crate::call::summary::{Direction, EndedBy};
use crate::call::watch::Mark;
use crate::leg::Leg;
use crate::media::Command;
use crate::number::{Masked, without_numbers};
use crate::peer::pbx::Extension;
use crate::peer::{Caller, Fresh, Next, Refusal, meta};
use crate::sdp::{Agreement, Offer};
use crate::sip::SipUri;
use crate::sip::build;
use crate::sip::dialog::refer::{ReferTo, Watch};
use crate::sip::dialog::refresh::{Interval, SessionTimer};
use crate::sip::dialog::{ClientInvite, Dialog, DialogId, Identity, Outcome, Step};
use crate::sip::digest;
use crate::sip::message::{Common, Method, Request, Response, reason_phrase};
use crate::sip::token::Tokens;
use crate::sip::transaction::ServerId;
use crate::sip::transport::{Hop, Target};

use super::teardown::sip_reason;

/// How long a referrer has for its own BYE once the transfer is done.
const HANG_UP: Duration = Duration::from_secs(3);

/// Transfers that are remembered, for what is still said in their dialogs.
const MOST: usize = 8;

/// As many may be asked for in one call.
const MOST_REFERRALS: u32 = 100;

/// An INVITE to whom the PBX wants to have the call.
#[derive(Debug)]
pub(super) struct Transfer {
    number: u32,
    invite: ClientInvite,
    offer: Offer,
    hop: Hop,
    auth: digest::client::Client,
    /// As long as it has neither come to something nor failed.
    trying: Option<Trying>,
}

#[derive(Debug)]
struct Trying {
    /// When it has rung enough.
    until: Instant,
    /// What the referrer is told, if it wants to be told.
    watch: Option<Watch>,
    /// Whether the referrer has hung up, so that nobody else is there.
    alone: bool,
}

/// The leg that the PBX had before: it is to hang up, or we do.
#[derive(Debug)]
pub(super) struct Former {
    dialog: Dialog,
    identity: Identity,
    target: Target,
    until: Instant,
}

impl Transfer {
    fn is_of(&self, number: u32) -> bool {
        self.number == number
    }
}

impl Former {
    pub(super) fn until(&self) -> Instant {
        self.until
    }
}

impl Call {
    /// A REFER of the PBX.
    pub(super) fn refer(&mut self, server: ServerId, request: &Request, turn: &mut Turn<'_>) {
        match self.may_refer(request, turn.tokens) {
            Ok((to, hop, replaces)) => {
                let watch = self.accept_refer(server, request, turn);
                self.transfer(request, to, hop, replaces, watch, turn);
            }
            Err(refused) => self.refuse_within(server, request, refused, turn),
        }
    }

    /// Whom it wants called, and where that is.
    fn may_refer(
        &self,
        request: &Request,
        tokens: &mut Tokens,
    ) -> Result<(SipUri, Hop, Option<String>), Refused> {
        self.is_talking(tokens)?;
        let pbx = &self.parties.pbx;
        extensions(request, pbx.abilities())?;
        if self.exchange_is_open() || self.trying().is_some() {
            return Err(Refused::new(491, ""));
        }
        if self.referral >= MOST_REFERRALS {
            return Err(Refused::new(
                603,
                "the call has been transferred often enough",
            ));
        }
        let named = ReferTo::of(request).map_err(|why| Refused::new(400, why))?;
        let found = pbx.referred(&named.uri, &self.parties.pbx_hop);
        let (to, hop) = found.ok_or_else(|| {
            let host = &named.uri.host;
            let why = format!("Refer-To leads to {host}: this PBX transfers to itself alone");
            Refused::new(403, why)
        })?;
        Ok((to, hop, named.replaces))
    }

    fn accept_refer(
        &mut self,
        server: ServerId,
        request: &Request,
        turn: &mut Turn<'_>,
    ) -> Option<Watch> {
        let watch = Watch::of(request, self.referrals == 0);
        self.referrals = self.referrals.saturating_add(1);
        let identity = self.to_pbx();
        let mut accepted = build::response(request, 202, None);
        let headers = &mut accepted.headers;
        headers.push("Contact", identity.contact(request.uri.user()).to_string());
        identity.abilities.say(headers);
        if watch.is_none() {
            headers.push("Refer-Sub", "false");
        }
        if let Some((dialog, _)) = self.pbx_session() {
            dialog.retarget(request);
        }
        turn.respond(server, accepted);
        watch
    }

    fn transfer(
        &mut self,
        request: &Request,
        to: SipUri,
        hop: Hop,
        replaces: Option<String>,
        watch: Option<Watch>,
        turn: &mut Turn<'_>,
    ) {
        let session = turn.tokens.number() >> 1;
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let offer = pbx.agreement.elsewhere(session);
        let attended = replaces.is_some();
        let to_user = to.user.clone().unwrap_or_default();
        tracing::info!(
            pbx = self.parties.pbx.name,
            pbx_leg = %Masked(request.call_id()),
            to = %Masked(&to_user),
            attended,
            "the PBX transfers the call"
        );
        let call = self.extension();
        let fresh = Fresh::draw(turn.tokens);
        let pbx = &self.parties.pbx;
        let mut invite = pbx.invite_to(to, &hop, &call, fresh, offer.text());
        if let Some(by) = request.headers.get("Referred-By") {
            invite.headers.push("Referred-By", by);
        }
        if let Some(replaces) = replaces {
            invite.headers.push("Require", "replaces");
            invite.headers.push("Replaces", replaces);
        }
        turn.mark(Mark::Transferring {
            call_id: invite.call_id().to_owned(),
        });
        let identity = pbx.identity(hop.protocol);
        self.referral = self.referral.wrapping_add(1);
        let number = self.referral;
        if self.transfers.len() >= MOST {
            self.transfers.pop_front();
        }
        self.transfers.push_back(Transfer {
            number,
            invite: ClientInvite::new(Leg::Pbx, invite.clone(), identity),
            offer,
            hop: hop.clone(),
            auth: digest::client::Client::new(),
            trying: Some(Trying {
                until: turn.now + self.ring_timeout,
                watch,
                alone: false,
            }),
        });
        self.tell_referrer(100, reason_phrase(100), turn);
        self.open(invite, Target::Hop(hop), Purpose::Transfer(number), turn);
    }

    /// What the new leg is told of the WhatsApp user, as the first was or would have been.
    fn extension(&self) -> Extension {
        let (caller, custom) = match self.parties.direction {
            Direction::UserInitiated => (
                meta::caller(&self.caller.request),
                meta::custom_headers(&self.caller.request.headers),
            ),
            Direction::BusinessInitiated => (
                Caller {
                    name: None,
                    user: self.parties.user.clone(),
                },
                Vec::new(),
            ),
        };
        Extension {
            number: self.parties.number.number.clone(),
            target: String::new(),
            caller,
            custom,
            hops_left: 70,
        }
    }

    fn trying(&self) -> Option<&Trying> {
        self.transfers.back()?.trying.as_ref()
    }

    fn trying_mut(&mut self) -> Option<&mut Trying> {
        self.transfers.back_mut()?.trying.as_mut()
    }

    /// Whether the PBX's end of the call is on its way to somebody else.
    pub(super) fn is_transferring(&self) -> bool {
        self.trying().is_some()
    }

    /// Whether the PBX has no leg any more, and the one it wants has not come to anything yet.
    pub(super) fn pbx_has_left(&self) -> bool {
        self.trying().is_some_and(|trying| trying.alone)
    }

    /// When something is next to be done.
    pub(super) fn transfer_due(&self) -> Option<Instant> {
        let State::Talking(talking) = &self.state else {
            return None;
        };
        let former = talking.former.iter().map(Former::until);
        former.chain(self.trying().map(|trying| trying.until)).min()
    }

    /// NOTIFY to the referrer, if this is news that it wants.
    fn tell_referrer(&mut self, status: u16, reason: &str, turn: &mut Turn<'_>) {
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

    /// Whether this response ends the transaction of an INVITE to the target of a transfer.
    pub(super) fn awaits_target(&self, number: u32) -> bool {
        let mut transfers = self.transfers.iter();
        transfers.any(|transfer| transfer.is_of(number) && transfer.invite.is_pending())
    }

    /// What whom the PBX has named says.
    pub(super) fn target_answered(&mut self, number: u32, response: Response, turn: &mut Turn<'_>) {
        let mut transfers = self.transfers.iter_mut();
        let Some(transfer) = transfers.find(|transfer| transfer.is_of(number)) else {
            return;
        };
        let steps = transfer.invite.response(response, turn.tokens);
        self.take_steps(number, steps, turn);
    }

    fn take_steps(&mut self, number: u32, steps: Vec<Step>, turn: &mut Turn<'_>) {
        let mut transfers = self.transfers.iter();
        let hop = transfers.find(|transfer| transfer.is_of(number));
        let Some(first) = hop.map(|transfer| transfer.hop.clone()) else {
            return;
        };
        let to = |hop: Option<Hop>| Target::Hop(hop.unwrap_or_else(|| first.clone()));
        for step in steps {
            match step {
                Step::Cancel(cancel) => self.open(cancel, to(None), Purpose::Errand, turn),
                Step::Bye(bye, hop) => self.open_bye(Leg::Pbx, bye, to(hop), turn),
                Step::Ack(ack, hop) => turn.actions.push(Action::Ack(ack, to(hop))),
                Step::Outcome(Outcome::Progress(response)) => {
                    self.tell_referrer(response.status, &response.reason, turn);
                }
                Step::Outcome(Outcome::Answered(dialog, response)) => {
                    self.target_takes_it(number, *dialog, &response, turn);
                }
                Step::Outcome(Outcome::Refused(response)) => self.target_refuses(&response, turn),
                Step::Outcome(Outcome::Cancelled) => {}
            }
        }
    }

    fn acknowledge_target(&mut self, turn: &mut Turn<'_>) {
        if let Some(transfer) = self.transfers.back_mut() {
            let (number, steps) = (transfer.number, transfer.invite.acknowledge());
            self.take_steps(number, steps, turn);
        }
    }

    fn target_takes_it(
        &mut self,
        number: u32,
        mut dialog: Dialog,
        response: &Response,
        turn: &mut Turn<'_>,
    ) {
        let Some(transfer) = self.transfers.back().filter(|t| t.is_of(number)) else {
            return;
        };
        let side = match transfer.offer.accept(&response.body) {
            Ok(side) => side,
            Err(reject) => {
                let identity = self.parties.pbx.identity(transfer.hop.protocol);
                let hop = dialog.next_hop(Leg::Pbx, identity.protocol);
                let target = Target::Hop(hop.unwrap_or_else(|| transfer.hop.clone()));
                let why = format!("{}: {reject}", Leg::Pbx);
                self.acknowledge_target(turn);
                let mut bye = dialog.request(Method::BYE, &identity, &turn.tokens.branch());
                bye.headers.push("Reason", sip_reason(488, &why));
                self.open_bye(Leg::Pbx, bye, target, turn);
                return self.transfer_failed(&Refusal::new(488, 88, why), turn);
            }
        };
        let ours = transfer.offer.ours();
        let agreement = Agreement::new(ours, transfer.offer.text().to_owned(), side.clone());
        let granted = Interval::granted_by(response);
        let timer = granted.map(|interval| SessionTimer::begin(interval, turn.now));
        let contact = transfer.invite.request().contact();
        let mut session = PbxSession::begin(agreement, contact, timer);
        session.hears(&response.headers);
        let hop = transfer.hop.clone();
        self.acknowledge_target(turn);
        self.tell_referrer(200, reason_phrase(200), turn);
        turn.actions
            .push(Action::Dialog(dialog.id().clone(), Leg::Pbx));
        self.change_legs(dialog, session, turn.now);
        self.parties.pbx_hop = hop;
        self.pbx_by_flow = false;
        self.codecs.pbx = side.sound();
        let leg = Leg::Pbx;
        turn.media(Command::Agree { leg, side });
        turn.media(Command::Start { leg });
        turn.mark(Mark::Transferred);
        let pbx_leg = self.transfers.back().map(|t| t.invite.request().call_id());
        tracing::info!(
            pbx = self.parties.pbx.name,
            pbx_leg = %Masked(pbx_leg.unwrap_or_default()),
            "the call is transferred"
        );
    }

    /// The leg that the PBX had is over, or will be soon.
    fn change_legs(&mut self, dialog: Dialog, session: PbxSession, now: Instant) {
        let identity = self.to_pbx();
        self.referrals = 0;
        let trying = self.transfers.back_mut().and_then(|t| t.trying.take());
        if let Some(own) = &mut self.own {
            own.is_of_former_leg();
        }
        let caller = self.caller_leg();
        let State::Talking(talking) = &mut self.state else {
            return;
        };
        talking.pbx = Some(Box::new(session));
        let place = match caller {
            Leg::Pbx => &mut talking.caller,
            Leg::Meta => &mut talking.callee,
        };
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

    fn target_refuses(&mut self, response: &Response, turn: &mut Turn<'_>) {
        let cnonce = turn.tokens.word();
        let Some(transfer) = self.transfers.back_mut().filter(|t| t.trying.is_some()) else {
            return;
        };
        let request = transfer.invite.request();
        let next = (self.parties.pbx).next(&mut transfer.auth, request, response, cnonce);
        match next {
            Next::Retry(name, value) => {
                let again = transfer.invite.retry((name, value), turn.tokens);
                let (number, hop) = (transfer.number, transfer.hop.clone());
                self.open(again, Target::Hop(hop), Purpose::Transfer(number), turn);
            }
            Next::Refuse(refusal) => {
                self.tell_referrer(response.status, &response.reason, turn);
                self.transfer_failed(&refusal, turn);
            }
        }
    }

    /// Nothing was heard of an INVITE to a target, or it could not be sent.
    pub(super) fn target_lost(&mut self, number: u32, why: &str, turn: &mut Turn<'_>) {
        let mut transfers = self.transfers.iter_mut();
        let Some(transfer) = transfers.find(|transfer| transfer.is_of(number)) else {
            return;
        };
        transfer.invite.lost();
        if transfer.trying.is_some() {
            self.transfer_failed(&Refusal::new(503, 38, why), turn);
        }
    }

    /// The transfer comes to nothing: the referrer hears why, and goes on; if it is gone, nobody is left.
    fn transfer_failed(&mut self, refusal: &Refusal, turn: &mut Turn<'_>) {
        self.tell_referrer(refusal.status, reason_phrase(refusal.status), turn);
        let alone = self.pbx_has_left();
        tracing::info!(
            pbx = self.parties.pbx.name,
            status = refusal.status,
            why = without_numbers(&refusal.text),
            "the PBX's transfer of the call has failed"
        );
        if alone {
            let why = format!(
                "{} hung up, and its transfer failed: {}",
                Leg::Pbx,
                refusal.text
            );
            let refusal = Refusal::new(refusal.status, refusal.cause, why);
            return self.end(EndedBy::Leg(Leg::Pbx), &refusal, turn);
        }
        self.forget_transfer();
        // What was not to be heard of its silence meanwhile counts from now on.
        turn.media(Command::Start { leg: Leg::Pbx });
    }

    /// Does what time wants: a target has rung enough, a former leg was not hung up.
    pub(super) fn tick_transfer(&mut self, turn: &mut Turn<'_>) {
        if self.trying().is_some_and(|trying| turn.now >= trying.until) {
            let refusal = Refusal::new(408, 19, "the target of the transfer did not answer");
            self.cancel_target(&refusal, turn);
            self.transfer_failed(&refusal, turn);
        }
        let now = turn.now;
        if let State::Talking(talking) = &mut self.state {
            let (due, left) = std::mem::take(&mut talking.former)
                .into_iter()
                .partition(|former| now >= former.until);
            talking.former = left;
            let refusal = Refusal::new(200, 16, "the call was transferred");
            self.hang_up_former(due, &refusal.reason(), turn);
        }
    }

    fn hang_up_former(&mut self, former: Vec<Former>, reason: &str, turn: &mut Turn<'_>) {
        for mut leg in former {
            let branch = turn.tokens.branch();
            let mut bye = leg.dialog.request(Method::BYE, &leg.identity, &branch);
            bye.headers.push("Reason", reason);
            self.open_bye(Leg::Pbx, bye, leg.target, turn);
        }
    }

    fn cancel_target(&mut self, why: &Refusal, turn: &mut Turn<'_>) {
        if let Some(transfer) = self.transfers.back_mut() {
            let steps = transfer.invite.cancel(Some(why.reason()));
            let number = transfer.number;
            self.take_steps(number, steps, turn);
        }
    }

    /// Whether a request of the PBX is in the leg that it had before a transfer, or has left.
    pub(super) fn is_of_former_leg(&self, leg: Leg, request: &Request) -> bool {
        let State::Talking(talking) = &self.state else {
            return false;
        };
        let current = match self.caller_leg() {
            Leg::Pbx => &talking.caller,
            Leg::Meta => &talking.callee,
        };
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

    /// The PBX hangs up whose transfer is under way: the WhatsApp user waits for what becomes of that.
    pub(super) fn referrer_leaves(&mut self) {
        if let Some(trying) = self.trying_mut() {
            trying.alone = true;
        }
        if let Some(own) = &mut self.own {
            own.is_of_former_leg();
        }
        if let Some((_, pbx)) = self.pbx_session() {
            pbx.ends();
        }
    }

    /// The call ends: a transfer that is under way comes to nothing, and a leg that the PBX had before is hung up.
    pub(super) fn give_up_transfer(&mut self, why: &Refusal, turn: &mut Turn<'_>) {
        if self.is_transferring() {
            self.cancel_target(why, turn);
            self.tell_referrer(487, reason_phrase(487), turn);
        }
        if let State::Talking(talking) = &mut self.state {
            let former = std::mem::take(&mut talking.former);
            self.hang_up_former(former, &why.reason(), turn);
        }
    }

    /// A call that has ended is on its way to nobody.
    pub(super) fn forget_transfer(&mut self) {
        if let Some(transfer) = self.transfers.back_mut() {
            transfer.trying = None;
        }
    }
}
