//! Digits by INFO: those of the PBX go on to Meta's stream, and the user's go to a PBX that wants them so.
//!
//! ```text
//!   PBX ── INFO ──▶ 200, and Press{Meta} to the media session, whatever the PBX's setting is
//!   Pressed{Meta} ──▶ waiting ──▶ INFO ──▶ PBX: the next only after the answer to this one, so that none overtakes another
//! ```

use std::collections::VecDeque;

use super::turn::{Purpose, Turn};
use super::{Call, State};
use crate::leg::Leg;
use crate::media::Command;
use crate::media::digits::{Form, Press};
use crate::number::Masked;
use crate::peer::info;
use crate::sip::build;
use crate::sip::grammar::quote;
use crate::sip::message::{Method, Request, Response};
use crate::sip::transaction::ServerId;

/// How many presses may wait for a PBX that is slow to answer.
const MOST_WAITING: usize = 32;

/// What the PBX is still to be told of the user's digits.
#[derive(Debug, Default)]
pub(super) struct Infos {
    waiting: VecDeque<Press>,
    asking: Option<Asking>,
    /// How often whoever is told of digits has left: what is still said of an INFO to that one is no news.
    left: u32,
    /// Whether it has been said that digits get lost: once a call is enough.
    complained: bool,
}

/// The INFO that has no answer yet.
#[derive(Debug)]
struct Asking {
    press: Press,
    request: Request,
}

impl Infos {
    /// Whoever was told of digits has left: those that wait are nobody else's.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.asking = None;
        self.left = self.left.wrapping_add(1);
    }
}

impl Call {
    /// The PBX says something by INFO.
    pub(super) fn info(&mut self, server: ServerId, request: &Request, turn: &mut Turn<'_>) {
        let talking = matches!(self.state, State::Talking(_));
        let (status, why) = match info::read(request) {
            // Before the answer, and after the end, there is nobody to hear it.
            _ if matches!(self.state, State::Closing(_)) => (481, None),
            Ok(Some(press)) if talking => {
                let leg = Leg::Meta;
                turn.media(Command::Press { leg, press });
                (200, None)
            }
            Ok(_) => (200, None),
            Err(why) => (why.status(), Some(why)),
        };
        let mut response = build::response(request, status, None);
        if status == 415 {
            response.headers.push("Accept", info::ACCEPT);
        }
        if let Some(why) = why {
            let warning = format!("399 wabridge {}", quote(&why.to_string()));
            response.headers.push("Warning", warning);
        }
        turn.respond(server, response);
    }

    /// The media session heard a press that it cannot pass on.
    pub(super) fn pressed(&mut self, leg: Leg, press: Press, turn: &mut Turn<'_>) {
        if self.pbx_has_left() {
            // Nobody is there whom it could be for.
            return;
        }
        match (leg, self.parties.pbx.dtmf) {
            (Leg::Meta, Form::Info) => {}
            (Leg::Meta, Form::Rfc4733) => {
                return self.complain(match self.parties.pbx.has_events() {
                    true => "it has agreed to no telephone-event: set pbx.dtmf to what it has",
                    false => "pbx.codecs has no telephone-event: add it, or set pbx.dtmf",
                });
            }
            _ => return,
        }
        if self.infos.waiting.len() >= MOST_WAITING {
            return self.complain("it is told of them one by one, and answers too slowly");
        }
        self.infos.waiting.push_back(press);
        self.tell_next(turn);
    }

    /// The PBX has answered an INFO.
    pub(super) fn info_answered(&mut self, left: u32, response: &Response, turn: &mut Turn<'_>) {
        if response.is_provisional() || left != self.infos.left {
            return;
        }
        let Some(asking) = self.infos.asking.take() else {
            return;
        };
        if response.is_success() {
            return self.tell_next(turn);
        }
        if let Some(credentials) = self.pbx_credentials(&asking.request, response, turn) {
            return self.tell(asking.press, Some(credentials), turn);
        }
        // RFC 3261 §12.2.1.2 would have a 481 end the call. Some say it to an INFO alone, and a PBX that has lost the call
        // sends no media either, which ends it.
        self.complain(&format!("it answers INFO with {}", response.status));
        self.tell_next(turn);
    }

    /// An INFO got no answer.
    pub(super) fn info_lost(&mut self, left: u32, why: &str, turn: &mut Turn<'_>) {
        if left != self.infos.left {
            return;
        }
        self.infos.asking = None;
        self.complain(why);
        self.tell_next(turn);
    }

    /// Tells the PBX of the next press, if there is one and the last has its answer.
    fn tell_next(&mut self, turn: &mut Turn<'_>) {
        if self.infos.asking.is_some() {
            return;
        }
        if let Some(press) = self.infos.waiting.pop_front() {
            self.tell(press, None, turn);
        }
    }

    fn tell(
        &mut self,
        press: Press,
        credentials: Option<(&'static str, String)>,
        turn: &mut Turn<'_>,
    ) {
        let (identity, direction) = (self.to_pbx(), self.parties.direction);
        let State::Talking(talking) = &mut self.state else {
            // Whoever was told of digits is gone.
            self.infos.waiting.clear();
            return;
        };
        let (dialog, _) = talking.leg(Leg::Pbx, direction);
        let mut request = dialog.request(Method::INFO, &identity, &turn.tokens.branch());
        let hop = dialog.next_hop(Leg::Pbx, identity.protocol);
        info::write(press, &mut request);
        if let Some((name, value)) = credentials {
            request.headers.set(name, value);
        }
        let target = self.target(Leg::Pbx, hop);
        self.infos.asking = Some(Asking {
            press,
            request: request.clone(),
        });
        self.open(request, target, Purpose::Info(self.infos.left), turn);
    }

    fn complain(&mut self, why: &str) {
        if !std::mem::replace(&mut self.infos.complained, true) {
            let (pbx, pbx_leg) = (self.parties.pbx.name.as_str(), Masked(self.pbx_call_id()));
            tracing::warn!(pbx, %pbx_leg, why, "digits of the user do not get to the PBX");
        }
    }
}
