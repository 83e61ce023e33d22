//! A PBX that may change its session (`reinvite = "local"`), and what it sends to do so.

use wabridge::leg::Leg::{Meta, Pbx};
use wabridge::media::SideSpec;
use wabridge::policy::Reinvite;
use wabridge::sip::message::Common;
use wabridge::sip::{Request, Response};

use crate::world::*;

/// A world whose PBX may change its session.
pub fn locally() -> World {
    World::with(with_pbx(|pbx| pbx.reinvite = Reinvite::Local))
}

/// A call that is up in each direction.
pub fn both() -> [(World, Up); 2] {
    let mut users = locally();
    let user = users.user_talks();
    let mut businesses = locally();
    let business = businesses.business_talks();
    [(users, user), (businesses, business)]
}

/// The PBX's description with something else in place of something.
pub fn but(from: &str, to: &str) -> String {
    assert!(PBX_SDP.contains(from), "{from}");
    PBX_SDP.replace(from, to)
}

/// The `o=` line of a message's description.
pub fn origin(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let mut lines = text.lines();
    lines
        .find(|line| line.starts_with("o="))
        .unwrap()
        .to_owned()
}

pub fn version(body: &[u8]) -> u64 {
    origin(body).split(' ').nth(2).unwrap().parse().unwrap()
}

pub fn text(body: &[u8]) -> String {
    String::from_utf8_lossy(body).into_owned()
}

impl Up {
    /// What the PBX has said of its media.
    pub fn their_sdp(&self) -> Vec<u8> {
        match self.caller {
            Pbx => self.theirs.body.clone(),
            Meta => self.their_ok.body.clone(),
        }
    }
}

impl World {
    /// A request of the PBX that changes its session, or asks us to; without a description: `None`.
    pub fn change(&mut self, up: &Up, method: &str, sdp: Option<&str>) -> Request {
        let mut request = self.within(up, Pbx, method);
        request.headers.push("Contact", "<sip:100@192.0.2.7:5060>");
        if let Some(sdp) = sdp {
            request.headers.push("Content-Type", "application/sdp");
            request.body = sdp.into();
        }
        request
    }

    /// The PBX changes its session, and is agreed to; a re-INVITE is acknowledged.
    #[track_caller]
    pub fn changes(&mut self, up: &Up, method: &str, sdp: &str) -> Response {
        let request = self.change(up, method, Some(sdp));
        self.sends(Pbx, request.clone());
        let ok = self.gets_response(Pbx, 200);
        if method == "INVITE" {
            let ack = self.ack_of(up, &request);
            self.sends(Pbx, ack);
        }
        self.is_quiet();
        ok
    }

    /// The PBX's ACK of our 200 to its re-INVITE.
    pub fn ack_of(&mut self, up: &Up, reinvite: &Request) -> Request {
        let mut ack = self.within(up, Pbx, "ACK");
        let number = reinvite.cseq().unwrap().number;
        ack.headers.set("CSeq", format!("{number} ACK"));
        ack
    }

    /// What is agreed with the PBX by now.
    #[track_caller]
    pub fn with_pbx(&self) -> SideSpec {
        let media = self.media.lock().unwrap();
        let mut agreed = media.agreed.iter().rev();
        agreed.find(|(leg, _)| *leg == Pbx).unwrap().1.clone()
    }

    /// Meta's media was agreed and begun once, whatever the PBX has done since.
    #[track_caller]
    pub fn meta_knows_nothing(&mut self) {
        self.gets_nothing(Meta);
        let media = self.media.lock().unwrap();
        let agreed = media.agreed.iter().filter(|(leg, _)| *leg == Meta).count();
        let started = media.started.iter().filter(|leg| **leg == Meta).count();
        assert_eq!((agreed, started), (1, 1));
    }
}
