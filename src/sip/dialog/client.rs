//! An INVITE of ours, from the first copy to the dialog or its refusal (RFC 3261 §13.2, §9.1).
//!
//! ```text
//!   Calling ──1xx──▶ Proceeding ──2xx──▶ Answered ──acknowledge──▶ its ACK is repeated; other forks are hung up
//!      │                 └── 300–699 ──▶ Over
//!      └─ challenged ──▶ Calling, with credentials
//!   cancelled: CANCEL goes out with the first 1xx; a 2xx that crosses it gets ACK and BYE
//! ```

use super::{Dialog, Identity};
use crate::leg::Leg;
use crate::sip::build;
use crate::sip::message::{Common, Method, Request, Response};
use crate::sip::token::Tokens;
use crate::sip::transport::Hop;

/// One INVITE and what becomes of it.
#[derive(Debug)]
pub struct ClientInvite {
    leg: Leg,
    identity: Identity,
    invite: Request,
    state: State,
    cancel: Option<Cancel>,
}

#[derive(Debug)]
enum State {
    Calling,
    Proceeding,
    Answered(Box<Answered>),
    Over,
}

/// The fork that answered first, and what its 2xx is acknowledged with.
#[derive(Debug)]
struct Answered {
    tag: String,
    ack: Request,
    hop: Option<Hop>,
    /// Whether the ACK has gone out, and goes out again for each copy of the 2xx.
    acknowledged: bool,
}

/// A wish to cancel: what CANCEL should say, until it has been sent.
#[derive(Debug)]
struct Cancel {
    reason: Option<String>,
    sent: bool,
}

/// What must be done now.
#[derive(Debug)]
pub enum Step {
    /// Open a transaction with this CANCEL; it goes where the INVITE went.
    Cancel(Request),
    /// Open a transaction with this BYE to a fork that nobody needs.
    Bye(Request, Option<Hop>),
    /// Send this ACK of a 2xx to the dialog's next hop; it has no transaction.
    Ack(Request, Option<Hop>),
    /// Tell the call.
    Outcome(Outcome),
}

/// What the call is told of its INVITE.
#[derive(Debug)]
pub enum Outcome {
    /// A provisional response above 100.
    Progress(Response),
    /// The first 2xx. It, and every copy of it, waits for [`ClientInvite::acknowledge`].
    Answered(Box<Dialog>, Response),
    /// A final response other than 2xx. After [`ClientInvite::retry`] the call may go on.
    Refused(Response),
    /// It is over after we cancelled it, whichever way it ended.
    Cancelled,
}

impl ClientInvite {
    /// For an INVITE that is about to be sent.
    pub fn new(leg: Leg, invite: Request, identity: Identity) -> ClientInvite {
        ClientInvite {
            leg,
            identity,
            invite,
            state: State::Calling,
            cancel: None,
        }
    }

    /// The INVITE as it was last sent.
    pub fn request(&self) -> &Request {
        &self.invite
    }

    /// Whether its transaction still awaits a final response.
    pub fn is_pending(&self) -> bool {
        matches!(self.state, State::Calling | State::Proceeding)
    }

    /// The same INVITE again after a refusal (§22.2): next CSeq, new branch, and `header` set.
    pub fn retry(&mut self, header: (&str, String), tokens: &mut Tokens) -> Request {
        let cseq = self.invite.cseq().map_or(0, |c| c.number) + 1;
        let via = self.identity.via(&tokens.branch());
        self.invite = build::again(&self.invite, &via, cseq);
        self.invite.headers.set(header.0, header.1);
        self.state = State::Calling;
        self.invite.clone()
    }

    /// The ACK of the 2xx that the call was told of, the first time that this is asked for. The peer repeats its 2xx
    /// until then, and gives up after 64·T1 (§13.3.1.4); no BYE may go out before it (§15).
    pub fn acknowledge(&mut self) -> Vec<Step> {
        match &mut self.state {
            State::Answered(answered) if !answered.acknowledged => {
                answered.acknowledged = true;
                vec![answered.step()]
            }
            _ => Vec::new(),
        }
    }

    /// Takes a response of its transaction.
    pub fn response(&mut self, response: Response, tokens: &mut Tokens) -> Vec<Step> {
        match response.status {
            100..200 => self.provisional(response),
            200..300 => self.success(response, tokens),
            _ => self.refusal(response),
        }
    }

    /// The transaction ended without a final response: timed out, or could not be sent.
    pub fn lost(&mut self) -> Vec<Step> {
        self.state = State::Over;
        match self.cancel {
            Some(_) => vec![Step::Outcome(Outcome::Cancelled)],
            None => Vec::new(),
        }
    }

    /// Gives up. `reason` is the value of the CANCEL's Reason header (RFC 3326).
    pub fn cancel(&mut self, reason: Option<String>) -> Vec<Step> {
        if self.cancel.is_some() {
            return Vec::new();
        }
        self.cancel = Some(Cancel {
            reason,
            sent: false,
        });
        match self.state {
            // §9.1: before a 1xx the CANCEL could overtake the INVITE, so it waits for one.
            State::Calling | State::Answered(_) => Vec::new(),
            State::Proceeding => self.send_cancel(),
            State::Over => vec![Step::Outcome(Outcome::Cancelled)],
        }
    }

    fn send_cancel(&mut self) -> Vec<Step> {
        let Some(cancel) = self.cancel.as_mut().filter(|c| !c.sent) else {
            return Vec::new();
        };
        cancel.sent = true;
        let mut request = build::cancel(&self.invite);
        if let Some(reason) = &cancel.reason {
            request.headers.push("Reason", reason);
        }
        vec![Step::Cancel(request)]
    }

    fn provisional(&mut self, response: Response) -> Vec<Step> {
        if !matches!(self.state, State::Calling | State::Proceeding) {
            return Vec::new();
        }
        self.state = State::Proceeding;
        if self.cancel.is_some() {
            return self.send_cancel();
        }
        match response.status {
            100 => Vec::new(),
            _ => vec![Step::Outcome(Outcome::Progress(response))],
        }
    }

    fn success(&mut self, response: Response, tokens: &mut Tokens) -> Vec<Step> {
        let tag = response
            .to()
            .and_then(|to| to.tag().map(str::to_owned))
            .unwrap_or_default();
        if let State::Answered(answered) = &self.state
            && answered.tag == tag
        {
            // §13.2.2.4: each copy of the 2xx is acknowledged again, with the same ACK.
            return match answered.acknowledged {
                true => vec![answered.step()],
                false => Vec::new(),
            };
        }
        let Some(mut dialog) = Dialog::from_response(&self.invite, &response) else {
            return self.refusal(response);
        };
        let cseq = self.invite.cseq().map_or(0, |c| c.number);
        let mut ack = dialog.ack(cseq, &self.identity, &tokens.branch());
        self.prove(&mut ack);
        let hop = dialog.next_hop(self.leg, self.identity.protocol);
        let unwanted =
            self.cancel.is_some() || matches!(self.state, State::Answered(_) | State::Over);
        if !matches!(self.state, State::Answered(_)) {
            self.state = State::Answered(Box::new(Answered {
                tag,
                ack: ack.clone(),
                hop: hop.clone(),
                acknowledged: unwanted,
            }));
        }
        if unwanted {
            let bye = dialog.request(Method::BYE, &self.identity, &tokens.branch());
            return vec![Step::Ack(ack, hop.clone()), Step::Bye(bye, hop)];
        }
        vec![Step::Outcome(Outcome::Answered(Box::new(dialog), response))]
    }

    /// §13.2.2.4: an ACK carries the credentials of its INVITE. Those of Meta's samples do not.
    fn prove(&self, ack: &mut Request) {
        if self.leg == Leg::Meta {
            return;
        }
        for name in ["Authorization", "Proxy-Authorization"] {
            for value in self.invite.headers.all(name) {
                ack.headers.push(name, value);
            }
        }
    }

    fn refusal(&mut self, response: Response) -> Vec<Step> {
        if matches!(self.state, State::Over | State::Answered(_)) {
            return Vec::new();
        }
        self.state = State::Over;
        match self.cancel {
            Some(_) => vec![Step::Outcome(Outcome::Cancelled)],
            None => vec![Step::Outcome(Outcome::Refused(response))],
        }
    }
}

impl Answered {
    fn step(&self) -> Step {
        Step::Ack(self.ack.clone(), self.hop.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::transport::Protocol;
    use crate::sip::{Limits, Message};

    fn read(file: &str) -> Message {
        let bytes = std::fs::read(format!("tests/data/meta/dialogs/bic-sdes/{file}")).unwrap();
        Message::parse(&bytes, &Limits::default()).unwrap()
    }

    fn ringing() -> (ClientInvite, Response, Tokens) {
        let (Message::Request(invite), Message::Response(ok)) =
            (read("04-invite-auth.sip"), read("07-200.sip"))
        else {
            panic!("an INVITE and its 200")
        };
        let identity = Identity::new(Protocol::Tls, "meta-voip.example.com", 5061);
        (
            ClientInvite::new(Leg::Meta, invite, identity),
            ok,
            Tokens::seeded(1),
        )
    }

    fn told(steps: &[Step]) -> Vec<String> {
        steps
            .iter()
            .map(|step| match step {
                Step::Cancel(r) | Step::Bye(r, _) => format!("{}", r.method),
                Step::Ack(..) => "ACK".into(),
                Step::Outcome(Outcome::Progress(r)) => format!("progress {}", r.status),
                Step::Outcome(Outcome::Answered(..)) => "answered".into(),
                Step::Outcome(Outcome::Refused(r)) => format!("refused {}", r.status),
                Step::Outcome(Outcome::Cancelled) => "cancelled".into(),
            })
            .collect()
    }

    fn with_status(ok: &Response, status: u16) -> Response {
        Response {
            status,
            ..ok.clone()
        }
    }

    #[test]
    fn a_repeated_200_is_acked_again_and_told_once() {
        let (mut invite, ok, mut tokens) = ringing();
        let steps = invite.response(ok.clone(), &mut tokens);
        assert_eq!(told(&steps), ["answered"]);
        assert_eq!(told(&invite.acknowledge()), ["ACK"]);
        assert!(invite.acknowledge().is_empty());
        assert_eq!(told(&invite.response(ok, &mut tokens)), ["ACK"]);
    }

    #[test]
    fn a_200_that_is_to_wait_has_no_ack_however_often_it_comes() {
        let (mut invite, ok, mut tokens) = ringing();
        assert!(invite.acknowledge().is_empty());
        let _ = invite.response(ok.clone(), &mut tokens);
        assert!(invite.response(ok.clone(), &mut tokens).is_empty());
        let mut fork = ok.clone();
        fork.headers
            .set("To", "<sip:+12195550714@wa.meta.vc>;tag=other");
        assert_eq!(told(&invite.response(fork, &mut tokens)), ["ACK", "BYE"]);
        assert!(invite.response(ok, &mut tokens).is_empty());
        assert_eq!(told(&invite.acknowledge()), ["ACK"]);
    }

    #[test]
    fn a_second_fork_that_answers_is_acked_and_hung_up() {
        let (mut invite, ok, mut tokens) = ringing();
        let _ = invite.response(ok.clone(), &mut tokens);
        let mut fork = ok;
        fork.headers
            .set("To", "<sip:+12195550714@wa.meta.vc>;tag=other");
        assert_eq!(told(&invite.response(fork, &mut tokens)), ["ACK", "BYE"]);
    }

    #[test]
    fn cancel_waits_for_the_first_provisional() {
        let (mut invite, ok, mut tokens) = ringing();
        assert!(invite.cancel(None).is_empty());
        assert_eq!(
            told(&invite.response(with_status(&ok, 100), &mut tokens)),
            ["CANCEL"]
        );
        assert!(
            invite
                .response(with_status(&ok, 180), &mut tokens)
                .is_empty()
        );
        assert_eq!(
            told(&invite.response(with_status(&ok, 487), &mut tokens)),
            ["cancelled"]
        );
    }

    #[test]
    fn a_200_that_crosses_the_cancel_is_acked_and_hung_up() {
        let (mut invite, ok, mut tokens) = ringing();
        let _ = invite.response(with_status(&ok, 180), &mut tokens);
        let steps = invite.cancel(Some("Q.850;cause=16".into()));
        let [Step::Cancel(cancel)] = steps.as_slice() else {
            panic!("one CANCEL")
        };
        assert_eq!(cancel.headers.get("Reason"), Some("Q.850;cause=16"));
        assert_eq!(told(&invite.response(ok, &mut tokens)), ["ACK", "BYE"]);
    }

    #[test]
    fn a_retry_has_the_next_cseq_a_new_branch_and_the_same_call_id() {
        let (mut invite, ok, mut tokens) = ringing();
        let before = invite.request().clone();
        let steps = invite.response(with_status(&ok, 407), &mut tokens);
        assert_eq!(told(&steps), ["refused 407"]);
        let again = invite.retry(("Proxy-Authorization", "Digest x".into()), &mut tokens);
        assert_eq!(
            again.cseq().unwrap().number,
            before.cseq().unwrap().number + 1
        );
        assert_ne!(again.via(), before.via());
        assert_eq!(again.call_id(), before.call_id());
        assert_eq!(again.headers.all("Proxy-Authorization").count(), 1);
        assert_eq!(told(&invite.response(ok, &mut tokens)), ["answered"]);
        assert_eq!(told(&invite.acknowledge()), ["ACK"]);
    }
}
