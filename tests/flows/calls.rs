//! The beginnings and ends that many ladders share.

use wabridge::leg::Leg;
use wabridge::sip::message::Common;
use wabridge::sip::{Request, Response};

use crate::world::*;

/// A call that both sides have answered.
pub struct Up {
    /// Who called.
    pub caller: Leg,
    /// The caller's INVITE, and our 200 to it.
    pub theirs: Request,
    pub our_ok: Response,
    /// Our INVITE to the callee, and its 200.
    pub ours: Request,
    pub their_ok: Response,
}

impl World {
    /// The whole digest round of a user-initiated call; the PBX has been invited when it is over.
    pub fn user_calls(&mut self) -> (Request, Request) {
        let invite = self.metas_invite();
        self.user_calls_with(invite)
    }

    /// The same with an INVITE that has something special.
    pub fn user_calls_with(&mut self, invite: Request) -> (Request, Request) {
        let again = self.user_authenticates(invite);
        self.gets(Leg::Meta, 100);
        let ours = self.gets_request(Leg::Pbx, "INVITE");
        (again, ours)
    }

    /// Meta is challenged and has answered.
    pub fn user_authenticates(&mut self, invite: Request) -> Request {
        self.sends(Leg::Meta, invite.clone());
        let challenge = self.is_refused(Leg::Meta, &invite, 407);
        let again = self.answers_challenge(&invite, &challenge, PASSWORD);
        self.sends(Leg::Meta, again.clone());
        again
    }

    /// The whole digest round of a business-initiated call; Meta has the authenticated INVITE when it is over.
    pub fn business_calls(&mut self) -> (Request, Request) {
        let (invite, first) = self.business_starts();
        self.challenges(&first, 407, CHALLENGE);
        let second = self.gets_request(Leg::Meta, "INVITE");
        (invite, second)
    }

    /// The same with an INVITE of the PBX that has something special.
    pub fn business_calls_with(
        &mut self,
        special: impl FnOnce(&mut Request),
    ) -> (Request, Request) {
        let mut invite = self.pbx_invite(USER);
        special(&mut invite);
        self.sends(Leg::Pbx, invite.clone());
        self.gets(Leg::Pbx, 100);
        let first = self.gets_request(Leg::Meta, "INVITE");
        self.challenges(&first, 407, CHALLENGE);
        let second = self.gets_request(Leg::Meta, "INVITE");
        (invite, second)
    }

    /// A user calls, the PBX answers, Meta acknowledges.
    pub fn user_talks(&mut self) -> Up {
        self.talks(Leg::Meta)
    }

    /// The PBX calls, the user answers, the PBX acknowledges.
    pub fn business_talks(&mut self) -> Up {
        self.talks(Leg::Pbx)
    }

    fn talks(&mut self, caller: Leg) -> Up {
        let up = self.is_answered(caller);
        let ack = self.ack(&up);
        self.sends(caller, ack);
        self.is_quiet();
        up
    }

    /// The callee has answered, and the caller has our 200 without having acknowledged it.
    pub fn is_answered(&mut self, caller: Leg) -> Up {
        let (theirs, ours) = match caller {
            Leg::Meta => self.user_calls(),
            Leg::Pbx => self.business_calls(),
        };
        let their_ok = match caller.other() {
            Leg::Meta => metas_ok(&ours),
            Leg::Pbx => pbx_ok(&ours),
        };
        self.answers(caller, theirs, ours, their_ok)
    }

    /// The callee answers our INVITE with this; the caller has our 200 without having acknowledged it.
    #[track_caller]
    pub fn answers(
        &mut self,
        caller: Leg,
        theirs: Request,
        ours: Request,
        their_ok: Response,
    ) -> Up {
        self.sends(caller.other(), their_ok.clone());
        self.gets(caller.other(), "ACK");
        let our_ok = self.gets_response(caller, 200);
        Up {
            caller,
            theirs,
            our_ok,
            ours,
            their_ok,
        }
    }

    /// The caller's ACK of our 200.
    pub fn ack(&mut self, up: &Up) -> Request {
        let cseq = up.theirs.cseq().unwrap().number;
        self.in_dialog("ACK", cseq, &up.theirs, &up.our_ok, true)
    }

    /// A request of a leg in its dialog with us.
    pub fn within(&mut self, up: &Up, leg: Leg, method: &str) -> Request {
        self.cseqs += 1;
        let cseq = self.cseqs;
        match leg == up.caller {
            true => self.in_dialog(method, cseq, &up.theirs, &up.our_ok, true),
            false => self.in_dialog(method, cseq, &up.ours, &up.their_ok, false),
        }
    }

    /// One leg hangs up and the other agrees; gives the BYE that the other got.
    #[track_caller]
    pub fn hangs_up(&mut self, up: &Up, leg: Leg) -> Request {
        let bye = self.within(up, leg, "BYE");
        self.sends(leg, bye);
        self.gets(leg, 200);
        self.agrees_to(leg.other(), "BYE")
    }

    /// Meta's ordinary challenge to an INVITE of ours.
    pub fn challenges(&mut self, invite: &Request, status: u16, challenge: &str) {
        let mut response = respond(invite, status);
        let header = match status {
            401 => "WWW-Authenticate",
            _ => "Proxy-Authenticate",
        };
        response.headers.push(header, challenge);
        self.sends(Leg::Meta, response);
        self.gets(Leg::Meta, "ACK");
    }

    /// The PBX calls; Meta has our first INVITE, without credentials.
    pub fn business_starts(&mut self) -> (Request, Request) {
        let invite = self.pbx_invite(USER);
        self.sends(Leg::Pbx, invite.clone());
        self.gets(Leg::Pbx, 100);
        let first = self.gets_request(Leg::Meta, "INVITE");
        (invite, first)
    }
}
