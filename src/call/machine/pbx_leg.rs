//! The PBX's leg of a call: how we name ourselves there, its dialog and session in a call that talks, and what it is answered
//! that asks for a password.

use super::reinvite::PbxSession;
use super::turn::Turn;
use super::{Call, State};
use crate::leg::Leg;
use crate::sip::dialog::{Dialog, Identity};
use crate::sip::digest::client::Client;
use crate::sip::message::{Common, Request, Response};

impl Call {
    /// How we name ourselves to the PBX.
    pub(super) fn to_pbx(&self) -> Identity {
        self.parties.pbx.identity(self.parties.pbx_hop.protocol)
    }

    /// The dialog with the PBX and what that may change, in a call that talks.
    pub(super) fn pbx_session(&mut self) -> Option<(&mut Dialog, &mut PbxSession)> {
        let direction = self.parties.direction;
        let State::Talking(talking) = &mut self.state else {
            return None;
        };
        let (dialog, pbx) = talking.leg(Leg::Pbx, direction);
        Some((dialog, pbx?))
    }

    /// What the PBX is answered that challenges a request; nothing, if that had credentials already.
    pub(super) fn pbx_credentials(
        &self,
        request: &Request,
        response: &Response,
        turn: &mut Turn<'_>,
    ) -> Option<(&'static str, String)> {
        let proven = ["Authorization", "Proxy-Authorization"];
        if proven
            .iter()
            .any(|name| request.headers().get(name).is_some())
        {
            return None;
        }
        let cnonce = turn.tokens.word();
        let pbx = &self.parties.pbx;
        pbx.next(&mut Client::new(), request, response, cnonce)
            .credentials()
    }
}
