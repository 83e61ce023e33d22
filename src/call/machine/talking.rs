//! In the two dialogs: what a leg asks for, what it is refused, and the ACK that our 200 waits for.

use super::teardown::reason_of;
use super::turn::Turn;
use super::{Call, State};
use crate::call::summary::EndedBy;
use crate::leg::Leg;
use crate::peer::{Refusal, meta};
use crate::sip::dialog::Unacknowledged;
use crate::sip::message::{Method, Request};
use crate::sip::transaction::ServerId;
use crate::sip::{Abilities, build};

impl Call {
    pub(super) fn ack(&mut self, leg: Leg, ack: &Request, turn: &mut Turn<'_>) {
        if leg == self.caller_leg() && self.caller.is_acked_by(ack) && self.caller.acknowledged() {
            // Whoever has acknowledged our 200 has it, even if the transport never said so.
            self.start_meta(turn);
            self.send_held_bye(turn);
        } else if leg == Leg::Pbx {
            self.reinvite_acked(ack, turn);
        }
    }

    pub(super) fn request(
        &mut self,
        leg: Leg,
        server: ServerId,
        request: &Request,
        turn: &mut Turn<'_>,
    ) {
        if self.is_of_former_leg(leg, request) {
            return self.former_asks(server, request, turn);
        }
        let in_order = match &mut self.state {
            State::Talking(talking) => {
                let (dialog, _) = talking.leg(leg, self.parties.direction);
                dialog.is_in_order(request)
            }
            _ => true,
        };
        let status = match request.method {
            _ if !in_order => 500,
            Method::BYE => 200,
            Method::INVITE | Method::UPDATE if self.modifies(leg) => {
                return self.modify(server, request, turn);
            }
            Method::REFER if self.modifies(leg) => return self.refer(server, request, turn),
            // Meta documents 500 for a re-INVITE and forwards none (FAQ, 2025-11-13); the call goes on.
            Method::INVITE => 500,
            Method::OPTIONS => 200,
            Method::INFO if leg == Leg::Pbx => return self.info(server, request, turn),
            _ => 405,
        };
        if in_order && leg == Leg::Pbx {
            self.note_unchanged(&request.method, status);
        }
        let mut response = build::response(request, status, None);
        if status == 405 || request.method == Method::OPTIONS {
            response.headers.push("Allow", self.allow(leg));
        }
        turn.respond(server, response);
        if status == 200 && request.method == Method::BYE {
            self.told_by(Some(leg), &request.headers);
            if leg == Leg::Meta {
                self.told.words = reason_of(request);
            }
            self.hung_up(leg, request, turn);
        }
    }

    /// Says why a hold, say, does not work.
    fn note_unchanged(&self, method: &Method, status: u16) {
        if matches!(method, &Method::INVITE | &Method::UPDATE | &Method::REFER) {
            let pbx = &self.parties.pbx.name;
            tracing::info!(pbx, %method, status, "refused to the PBX, whose setting is reinvite = \"reject\"; the call goes on as it was");
        }
    }

    fn allow(&self, leg: Leg) -> &'static str {
        let abilities = match leg {
            Leg::Meta => Abilities::CALLS,
            Leg::Pbx => self.parties.pbx.abilities(),
        };
        abilities.allow
    }

    fn hung_up(&mut self, leg: Leg, bye: &Request, turn: &mut Turn<'_>) {
        match &self.state {
            State::Ringing(_) => self.caller_gave_up(reason_of(bye), turn),
            State::Talking(_) if leg == Leg::Pbx && self.is_transferring() => {
                self.referrer_leaves(turn);
            }
            State::Talking(_) => {
                self.acknowledge(turn);
                let why = Refusal::new(487, 31, format!("{leg} hung up"));
                self.give_up_transfer(&why, turn);
                let custom = match leg {
                    Leg::Meta => meta::custom_headers(&bye.headers),
                    Leg::Pbx => Vec::new(),
                };
                let reason = reason_of(bye)
                    .unwrap_or_else(|| Refusal::new(200, 16, "NORMAL_CLEARING").reason());
                self.bye_leg(leg.other(), reason, &custom, turn);
                self.close(EndedBy::Leg(leg), &format!("{leg} hung up"), turn);
            }
            // Each side hung up before it knew of the other.
            State::Closing(_) if leg == self.caller_leg() => self.held = None,
            State::Closing(_) => {}
        }
    }

    pub(super) fn repeat_our_200(&mut self, turn: &mut Turn<'_>) {
        match self.caller.tick(turn.now) {
            // If the first copy never got onto the wire, this one starts the media.
            Ok(Some(ok)) => turn.respond_and_tell(self.caller.id, ok),
            Ok(None) => {}
            Err(Unacknowledged) => {
                let why = format!("{} never acknowledged our 200", self.caller_leg());
                self.end(EndedBy::Bridge, &Refusal::new(408, 102, why), turn);
                self.send_held_bye(turn);
            }
        }
    }
}
