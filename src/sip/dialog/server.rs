//! An INVITE of the peer's, from its arrival to the ACK of our answer (RFC 3261 §13.3).
//!
//! ```text
//!   Ringing ── our 2xx ──▶ Answered: repeated at T1, 2·T1 … T2 ──ACK──▶ Confirmed
//!      │                       └── 64·T1 without an ACK ──▶ the call must end
//!      └── our 300–699 ──▶ Refused: the transaction sees to its ACK
//! ```

use std::time::{Duration, Instant};

use super::{Dialog, Identity};
use crate::sip::build;
use crate::sip::message::{Common, Request, Response};
use crate::sip::transaction::{self, ServerId};

/// How fast our 2xx is repeated: T1 and T2 of the transactions.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    t1: Duration,
    t2: Duration,
}

impl From<&transaction::Settings> for Pace {
    fn from(settings: &transaction::Settings) -> Pace {
        Pace {
            t1: Duration::from_millis(settings.t1.into()),
            t2: Duration::from_millis(settings.t2.into()),
        }
    }
}

/// One INVITE and our answer to it.
#[derive(Debug)]
pub struct ServerInvite {
    /// Its transaction.
    pub id: ServerId,
    /// The INVITE.
    pub request: Request,
    identity: Identity,
    tag: String,
    pace: Pace,
    /// What our 2xx says besides what every one does.
    also: Vec<(&'static str, String)>,
    state: State,
}

#[derive(Debug)]
enum State {
    Ringing,
    Answered {
        ok: Response,
        resend: Instant,
        wait: Duration,
        give_up: Instant,
    },
    Confirmed,
    Refused,
}

/// Our 2xx was never acknowledged: the peer does not know that it has a call (§13.3.1.4).
#[derive(Debug, PartialEq, Eq)]
pub struct Unacknowledged;

impl ServerInvite {
    /// For an INVITE that has just arrived; `tag` is ours in all responses.
    pub fn new(
        id: ServerId,
        request: Request,
        identity: Identity,
        tag: String,
        pace: Pace,
    ) -> ServerInvite {
        ServerInvite {
            id,
            request,
            identity,
            tag,
            pace,
            also: Vec::new(),
            state: State::Ringing,
        }
    }

    /// Has our 2xx, and every copy of it, say this as well.
    pub fn say(&mut self, headers: Vec<(&'static str, String)>) {
        self.also.extend(headers);
    }

    /// Our tag.
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// Whether no final response has been given yet.
    pub fn is_ringing(&self) -> bool {
        matches!(self.state, State::Ringing)
    }

    /// 100, sent at once so that the peer stops repeating itself.
    pub fn trying(&self) -> Response {
        build::response(&self.request, 100, None)
    }

    /// A provisional response that makes an early dialog, with an SDP where there is early media.
    pub fn progress(&self, status: u16, sdp: Option<&str>) -> Response {
        self.dialog_response(status, sdp)
    }

    /// The 200 with our answer, and the dialog it makes; `None` if the INVITE cannot make one.
    pub fn answer(&mut self, sdp: &str, now: Instant) -> Option<(Response, Dialog)> {
        let dialog = Dialog::from_request(&self.request, &self.tag)?;
        let ok = self.ok(Some(sdp));
        let t1 = self.pace.t1;
        self.state = State::Answered {
            ok: ok.clone(),
            resend: now + t1,
            wait: t1,
            give_up: now + 64 * t1,
        };
        Some((ok, dialog))
    }

    /// The 200 as it is; [`answer`](Self::answer) gives one that is repeated.
    pub fn ok(&self, sdp: Option<&str>) -> Response {
        let mut ok = self.dialog_response(200, sdp);
        for (name, value) in &self.also {
            ok.headers.push(name, value);
        }
        ok
    }

    /// How fast its 2xx is repeated.
    pub fn pace(&self) -> Pace {
        self.pace
    }

    /// A final response other than 2xx.
    pub fn refuse(&mut self, status: u16) -> Response {
        self.state = State::Refused;
        let mut response = build::response(&self.request, status, Some(&self.tag));
        response.headers.push("Server", self.identity.agent);
        response
    }

    /// Whether the peer may not know yet that it was answered: no BYE for it before its ACK (§15).
    pub fn awaits_ack(&self) -> bool {
        matches!(self.state, State::Answered { .. })
    }

    /// The peer has our 2xx. False when that was known already.
    pub fn acknowledged(&mut self) -> bool {
        let first = matches!(self.state, State::Answered { .. });
        if first {
            self.state = State::Confirmed;
        }
        first
    }

    /// When [`ServerInvite::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Answered {
                resend, give_up, ..
            } => Some(*resend.min(give_up)),
            _ => None,
        }
    }

    /// The 2xx again, if it is due. It is repeated on streams too, since a proxy behind them may use UDP (§13.3.1.4).
    pub fn tick(&mut self, now: Instant) -> Result<Option<Response>, Unacknowledged> {
        let State::Answered {
            ok,
            resend,
            wait,
            give_up,
        } = &mut self.state
        else {
            return Ok(None);
        };
        if now >= *give_up {
            self.state = State::Confirmed;
            return Err(Unacknowledged);
        }
        if now < *resend {
            return Ok(None);
        }
        *wait = (*wait * 2).min(self.pace.t2);
        *resend = now + *wait;
        Ok(Some(ok.clone()))
    }

    /// Record-Routes come back unchanged, in order and last: Meta's ACK depends on it (integration examples, 2026).
    fn dialog_response(&self, status: u16, sdp: Option<&str>) -> Response {
        let mut response = build::response(&self.request, status, Some(&self.tag));
        for route in self.request.headers.all("Record-Route") {
            response.headers.push("Record-Route", route);
        }
        let user = self.request.uri.user();
        response
            .headers
            .push("Contact", self.identity.contact(user).to_string());
        self.identity.abilities.say(&mut response.headers);
        response.headers.push("Server", self.identity.agent);
        if let Some(sdp) = sdp {
            response.headers.push("Content-Type", "application/sdp");
            response.body = sdp.as_bytes().to_vec();
        }
        response
    }

    /// Whether an ACK belongs to our 2xx: it has the INVITE's CSeq number.
    pub fn is_acked_by(&self, ack: &Request) -> bool {
        ack.cseq().map(|c| c.number) == self.request.cseq().map(|c| c.number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::transport::Protocol;
    use crate::sip::{Limits, Message};

    fn arrived() -> ServerInvite {
        let bytes =
            std::fs::read("tests/data/meta/dialogs/uic-sdes-407/04-invite-auth.sip").unwrap();
        let Ok(Message::Request(invite)) = Message::parse(&bytes, &Limits::default()) else {
            panic!("an INVITE")
        };
        let identity = Identity::new(Protocol::Tls, "meta-voip.example.com", 5061);
        ServerInvite::new(
            ServerId(1),
            invite,
            identity,
            "ours".into(),
            Pace::from(&transaction::Settings::default()),
        )
    }

    #[test]
    fn the_200_returns_metas_record_routes_unchanged_and_in_order() {
        let mut invite = arrived();
        let (ok, dialog) = invite.answer("v=0\r\n", Instant::now()).unwrap();
        assert!(
            ok.headers
                .all("Record-Route")
                .eq(invite.request.headers.all("Record-Route"))
        );
        assert_eq!(ok.headers.all("Record-Route").count(), 2);
        let contact = ok.contact().unwrap().uri.to_string();
        assert_eq!(
            contact,
            "sip:+12145551869@meta-voip.example.com:5061;transport=tls"
        );
        assert_eq!(dialog.id().local_tag, "ours");
    }

    #[test]
    fn the_200_is_repeated_at_doubling_intervals_until_the_ack() {
        let mut invite = arrived();
        let start = Instant::now();
        let _ = invite.answer("v=0\r\n", start).unwrap();
        let mut at = Vec::new();
        while let Some(due) = invite.deadline() {
            match invite.tick(due) {
                Ok(Some(_)) => at.push((due - start).as_millis()),
                Ok(None) => panic!("nothing was due"),
                Err(Unacknowledged) => {
                    at.push((due - start).as_millis());
                    break;
                }
            }
        }
        assert_eq!(at[..5], [500, 1500, 3500, 7500, 11500]);
        assert_eq!(at.last(), Some(&32_000));

        let mut invite = arrived();
        let _ = invite.answer("v=0\r\n", start).unwrap();
        assert!(invite.acknowledged());
        assert!(!invite.acknowledged());
        assert_eq!(invite.deadline(), None);
    }
}
