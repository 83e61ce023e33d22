//! The target of a transfer: whom the PBX has named, and what it makes of our INVITE.
//!
//! ```text
//!   INVITE ──180──▶ NOTIFY 180 ──200──▶ ACK, NOTIFY 200: the PBX's leg from now on
//!      └── challenged ──▶ INVITE with credentials      └── an answer of no use ──▶ ACK, BYE, NOTIFY 488
//! ```

use super::Call;
use super::reinvite::PbxSession;
use super::teardown::sip_reason;
use super::turn::{Action, Purpose, Turn};
use crate::call::summary::EndedBy;
use crate::call::watch::Mark;
use crate::leg::Leg;
use crate::media::Command;
use crate::number::{Masked, without_numbers};
use crate::peer::{Next, Refusal};
use crate::sdp::Agreement;
use crate::sip::dialog::refresh::{Interval, SessionTimer};
use crate::sip::dialog::{Dialog, Outcome, Step};
use crate::sip::message::{Common, Method, Response, reason_phrase};
use crate::sip::transport::{Hop, Target};

impl Call {
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
        dialog: Dialog,
        response: &Response,
        turn: &mut Turn<'_>,
    ) {
        let Some(transfer) = self.transfers.back().filter(|t| t.is_of(number)) else {
            return;
        };
        let offer = &transfer.offer;
        let side = match offer.accept(&response.body) {
            Ok(side) => side,
            Err(reject) => {
                let why = format!("{}: {reject}", Leg::Pbx);
                return self.hang_up_target(dialog, &Refusal::new(488, 88, why), turn);
            }
        };
        let agreement = Agreement::new(offer.ours(), offer.text().to_owned(), side.clone());
        let granted = Interval::granted_by(response);
        let timer = granted.map(|interval| SessionTimer::begin(interval, turn.now));
        let contact = transfer.invite.request().contact();
        let mut session = PbxSession::begin(agreement, contact, timer);
        session.hears(&response.headers);
        let (leg, hop) = (Leg::Pbx, transfer.hop.clone());
        let call_id = transfer.invite.request().call_id().to_owned();
        self.acknowledge_target(turn);
        self.tell_referrer(200, reason_phrase(200), turn);
        turn.actions.push(Action::Dialog(dialog.id().clone(), leg));
        self.leave_former(turn);
        self.change_legs(dialog, session, turn.now);
        (self.parties.pbx_hop, self.pbx_by_flow) = (hop, false);
        self.codecs.pbx = side.sound();
        turn.media(Command::Agree { leg, side });
        turn.media(Command::Start { leg });
        turn.mark(Mark::Transferred);
        let pbx = &self.parties.pbx.name;
        tracing::info!(pbx, pbx_leg = %Masked(&call_id), "the call is transferred");
        self.transferred.done += 1;
        self.transferred.call_id = Some(call_id);
    }

    /// It has answered with what cannot be carried.
    fn hang_up_target(&mut self, mut dialog: Dialog, why: &Refusal, turn: &mut Turn<'_>) {
        let Some(first) = self.transfers.back().map(|t| t.hop.clone()) else {
            return;
        };
        let identity = self.parties.pbx.identity(first.protocol);
        let hop = dialog.next_hop(Leg::Pbx, identity.protocol);
        self.acknowledge_target(turn);
        let mut bye = dialog.request(Method::BYE, &identity, &turn.tokens.branch());
        bye.headers
            .push("Reason", sip_reason(why.status, &why.text));
        let target = Target::Hop(hop.unwrap_or(first));
        self.open_bye(Leg::Pbx, bye, target, turn);
        self.transfer_failed(why, turn);
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

    pub(super) fn cancel_target(&mut self, why: &Refusal, turn: &mut Turn<'_>) {
        if let Some(transfer) = self.transfers.back_mut() {
            let steps = transfer.invite.cancel(Some(why.reason()));
            let number = transfer.number;
            self.take_steps(number, steps, turn);
        }
    }

    /// The transfer comes to nothing: the referrer hears why, and goes on; if it is gone, nobody is left.
    pub(super) fn transfer_failed(&mut self, refusal: &Refusal, turn: &mut Turn<'_>) {
        self.tell_referrer(refusal.status, reason_phrase(refusal.status), turn);
        let alone = self.pbx_has_left();
        self.transferred.failed += 1;
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
}
