//! The session timer of the PBX's leg (RFC 4028): we refresh, or we see to it that the PBX does.
//!
//! ```text
//!   half the interval ──▶ UPDATE, or where the PBX does not take that, a re-INVITE that changes nothing ──2xx──▶ begin anew
//!        refused: once more a little later   408, 481, no answer twice, nobody has refreshed in time: BYE on both legs
//! ```

use std::time::Duration;

use super::turn::{Action, Purpose, Turn};
use super::{Call, State};
use crate::call::summary::EndedBy;
use crate::leg::Leg;
use crate::peer::Refusal;
use crate::sdp::Offer;
use crate::sip::build;
use crate::sip::dialog::Dialog;
use crate::sip::dialog::refresh::{Interval, Refresher, SessionTimer, least};
use crate::sip::message::{Common, Method, Request, Response};
use crate::sip::transport::{Hop, Target};

/// Longest time that a Retry-After makes a refresh wait.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// An UPDATE or re-INVITE of ours to the PBX.
#[derive(Debug)]
pub(super) struct Own {
    request: Request,
    /// The dialog as it was when the request went out: its 2xx is acknowledged even when the call is over.
    dialog: Dialog,
    /// The offer in it, if it is a re-INVITE.
    offer: Option<Offer>,
    target: Target,
    /// Whether its leg is no longer the PBX's.
    stale: bool,
    progress: Progress,
}

#[derive(Debug)]
enum Progress {
    /// Nothing has been heard of it.
    Sent,
    /// Something provisional has.
    Heard,
    /// It is over; what each copy of its 2xx is acknowledged with.
    Over(Option<Box<(Request, Target)>>),
}

impl Own {
    /// Whether it is a re-INVITE of the PBX's present leg that is not over.
    pub(super) fn offers(&self) -> bool {
        self.offer.is_some() && !self.stale && !self.is_over()
    }

    /// The leg that it was for is the PBX's no more: nothing but an ACK follows from its answer.
    pub(super) fn is_of_former_leg(&mut self) {
        self.stale = true;
    }

    fn is_over(&self) -> bool {
        matches!(self.progress, Progress::Over(_))
    }

    /// Whether this is the response that it waits for.
    pub(super) fn awaits(&self, response: &Response) -> bool {
        !self.is_over() && self.is_answered_by(response)
    }

    fn is_answered_by(&self, response: &Response) -> bool {
        self.request.cseq() == response.cseq()
    }
}

impl Call {
    /// Does what the session timer wants.
    pub(super) fn keep_session(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now;
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let Some(timer) = &mut pbx.timer else { return };
        if timer.is_over(now) {
            let why = match timer.interval().refresher {
                Refresher::Peer => format!("{} has not refreshed its session in time", Leg::Pbx),
                Refresher::Us => format!("{} took no refresh of its session in time", Leg::Pbx),
            };
            return self.end(EndedBy::Bridge, &Refusal::new(408, 102, why), turn);
        }
        if timer.takes_refresh(now) {
            self.refresh(None, turn);
        }
    }

    /// Refreshes the session, with credentials if the PBX wants them.
    fn refresh(&mut self, credentials: Option<(&'static str, String)>, turn: &mut Turn<'_>) {
        let busy = self.own.as_ref().is_some_and(|own| !own.is_over());
        let open = self.exchange_is_open();
        let (identity, branch) = (self.to_pbx(), turn.tokens.branch());
        let Some((dialog, pbx)) = self.pbx_session() else {
            return;
        };
        let Some(timer) = &mut pbx.timer else { return };
        if busy || (open && !pbx.takes_update) {
            return timer.tries_again(None, turn.now);
        }
        let interval = timer.interval();
        let (method, offer) = match pbx.takes_update {
            true => (Method::UPDATE, None),
            false => (Method::INVITE, Some(pbx.agreement.repeat())),
        };
        let mut request = dialog.request(method, &identity, &branch);
        let contact = pbx.contact.as_ref().map(ToString::to_string);
        let headers = &mut request.headers;
        headers.push("Contact", contact.unwrap_or_default());
        identity.abilities.say(headers);
        headers.push("Session-Expires", interval.in_request());
        headers.push("Min-SE", interval.length.as_secs().to_string());
        if let Some((name, value)) = credentials {
            headers.push(name, value);
        }
        if let Some(offer) = &offer {
            headers.push("Content-Type", "application/sdp");
            request.body = offer.text().as_bytes().to_vec();
        }
        let hop = dialog.next_hop(Leg::Pbx, identity.protocol);
        let (dialog, unheard) = (dialog.clone(), pbx.unheard);
        let target = self.refresh_target(hop, unheard);
        self.own = Some(Box::new(Own {
            request: request.clone(),
            dialog,
            offer,
            target: target.clone(),
            stale: false,
            progress: Progress::Sent,
        }));
        self.open(request, target, Purpose::Refresh, turn);
    }

    /// The connection that the PBX called us by may be gone: its Contact is what is left.
    fn refresh_target(&self, hop: Option<Hop>, unheard: bool) -> Target {
        match (self.target(Leg::Pbx, hop.clone()), hop) {
            (Target::Flow(_), Some(hop)) if unheard => Target::Hop(hop),
            (usual, _) => usual,
        }
    }

    /// A response to a refresh of ours.
    pub(super) fn refreshed(&mut self, response: Response, turn: &mut Turn<'_>) {
        let Some(own) = self
            .own
            .as_mut()
            .filter(|own| own.is_answered_by(&response))
        else {
            return;
        };
        match &mut own.progress {
            Progress::Over(Some(again)) if response.is_success() => {
                let (ack, target) = (**again).clone();
                return turn.actions.push(Action::Ack(ack, target));
            }
            Progress::Over(_) => return,
            progress if response.is_provisional() => {
                *progress = Progress::Heard;
                if matches!(self.state, State::Closing(_)) {
                    self.cancel_own(turn);
                }
                return;
            }
            progress => *progress = Progress::Over(None),
        }
        if own.stale {
            if response.is_success() {
                self.acknowledge_own(&response, turn);
            }
            return;
        }
        if let Some((_, pbx)) = self.pbx_session() {
            pbx.unheard = false;
        }
        match response.status {
            ..300 => self.refresh_taken(&response, turn),
            401 | 407 => self.refresh_challenged(&response, turn),
            422 => self.refresh_lengthened(&response, turn),
            408 | 481 => {
                let why = format!("{} refused its refresh with {}", Leg::Pbx, response.status);
                self.end(EndedBy::Bridge, &Refusal::new(408, 102, why), turn);
            }
            status => self.refresh_refused(status, &response, turn),
        }
    }

    fn refresh_taken(&mut self, response: &Response, turn: &mut Turn<'_>) {
        self.acknowledge_own(response, turn);
        let offer = self.own.as_mut().and_then(|own| own.offer.take());
        let now = turn.now;
        let Some((dialog, pbx)) = self.pbx_session() else {
            return;
        };
        dialog.retarget(response);
        pbx.hears(&response.headers);
        let granted = Interval::granted_by(response);
        pbx.timer = granted.map(|interval| SessionTimer::begin(interval, now));
        let Some(offer) = offer else { return };
        let before = pbx.agreement.side().clone();
        match pbx.agreement.accept(&offer, &response.body) {
            Ok(_) => self.agreed_anew(&before, turn),
            Err(reject) => {
                let pbx = &self.parties.pbx.name;
                tracing::warn!(pbx, %reject, "the PBX's answer to our re-INVITE is of no use: its session stays as it was");
            }
        }
    }

    /// §13.2.2.4: a 2xx to an INVITE must be acknowledged, whatever the call is doing by now.
    fn acknowledge_own(&mut self, response: &Response, turn: &mut Turn<'_>) {
        let (identity, branch) = (self.to_pbx(), turn.tokens.branch());
        let Some(mut own) = self.own.take() else {
            return;
        };
        if own.request.method == Method::INVITE {
            own.dialog.retarget(response);
            let number = own.request.cseq().map_or(0, |cseq| cseq.number);
            let mut ack = own.dialog.ack(number, &identity, &branch);
            for name in ["Authorization", "Proxy-Authorization"] {
                for value in own.request.headers.all(name) {
                    ack.headers.push(name, value);
                }
            }
            let hop = own.dialog.next_hop(Leg::Pbx, identity.protocol);
            let target = match &own.target {
                Target::Hop(_) => hop.map_or_else(|| own.target.clone(), Target::Hop),
                Target::Flow(_) => own.target.clone(),
            };
            turn.actions.push(Action::Ack(ack.clone(), target.clone()));
            own.progress = Progress::Over(Some(Box::new((ack, target))));
        }
        self.own = Some(own);
    }

    fn refresh_challenged(&mut self, response: &Response, turn: &mut Turn<'_>) {
        let own = self.own.as_ref();
        match own.and_then(|own| self.pbx_credentials(&own.request, response, turn)) {
            Some(credentials) => self.refresh(Some(credentials), turn),
            None => self.refresh_refused(response.status, response, turn),
        }
    }

    /// The PBX wants a longer interval (RFC 4028 §7.4).
    fn refresh_lengthened(&mut self, response: &Response, turn: &mut Turn<'_>) {
        let least = least(response);
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let Some(timer) = &mut pbx.timer else { return };
        match timer.lengthen(least) {
            true => self.refresh(None, turn),
            // It wants what it has been given, or more each time.
            false => timer.tries_again(None, turn.now),
        }
    }

    fn refresh_refused(&mut self, status: u16, response: &Response, turn: &mut Turn<'_>) {
        let ours = self.callee_leg() == Leg::Pbx;
        let draw = turn.tokens.number();
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        let after = match status {
            405 | 501 if pbx.takes_update => {
                pbx.takes_update = false;
                return self.refresh(None, turn);
            }
            // §14.1: the owner of the Call-ID waits 2.1–4 s and the other side 0–2 s, so they cannot meet again.
            491 if ours => Some(Duration::from_millis(2100 + draw % 191 * 10)),
            491 => Some(Duration::from_millis(draw % 201 * 10)),
            _ => retry_after(response),
        };
        tracing::info!(
            pbx = self.parties.pbx.name,
            status,
            "the PBX refused the refresh of its session: it is tried again"
        );
        if let Some((_, pbx)) = self.pbx_session()
            && let Some(timer) = &mut pbx.timer
        {
            timer.tries_again(after, turn.now);
        }
    }

    /// A refresh of ours got no answer, or could not be sent: it is tried once more, then the PBX is gone (§12.2.1.2).
    pub(super) fn refresh_lost(&mut self, why: &str, turn: &mut Turn<'_>) {
        let Some(own) = &mut self.own else { return };
        own.progress = Progress::Over(None);
        if own.stale {
            return;
        }
        let now = turn.now;
        let Some((_, pbx)) = self.pbx_session() else {
            return;
        };
        if std::mem::replace(&mut pbx.unheard, true) {
            let why = format!(
                "{} does not take the refresh of its session: {why}",
                Leg::Pbx
            );
            return self.end(EndedBy::Bridge, &Refusal::new(408, 102, why), turn);
        }
        if let Some(timer) = &mut pbx.timer {
            timer.tries_again(None, now);
        }
    }

    /// A re-INVITE of ours that is still being answered when the call ends (§9.1).
    pub(super) fn cancel_own(&mut self, turn: &mut Turn<'_>) {
        let Some(own) = &self.own else { return };
        if own.offer.is_some() && matches!(own.progress, Progress::Heard) {
            let (cancel, target) = (build::cancel(&own.request), own.target.clone());
            self.open(cancel, target, Purpose::Errand, turn);
        }
    }
}

/// What a refusal says of when to come again (§20.33), within reason.
fn retry_after(response: &Response) -> Option<Duration> {
    let value = response.headers.get("Retry-After")?;
    let seconds: String = value.chars().take_while(char::is_ascii_digit).collect();
    let asked = Duration::from_secs(seconds.parse::<u32>().ok()?.into());
    Some(asked.min(LONGEST_PAUSE))
}
