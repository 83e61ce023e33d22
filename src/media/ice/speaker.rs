//! What an agent says: checks and answers, each signed with the password that its receiver will look for.

use std::net::SocketAddr;

use super::candidate::{self, Kind};
use super::stun::{Class, Message, TransactionId, Writer};
use super::{Action, Credentials};

/// RFC 8445 §7.3.1.1: of two agents that both want to control, the one with the larger tie-breaker keeps the role. Ours
/// is the largest there is, so that we never have to yield: Meta cannot control, and a full peer need not.
const TIE_BREAKER: u64 = u64::MAX;

/// Fills octets with what nobody can guess, unless a test has to.
pub(super) type Random = Box<dyn FnMut(&mut [u8]) + Send>;

/// Both sides' credentials, and the source of transaction ids.
pub(super) struct Speaker {
    local: Credentials,
    remote: Credentials,
    random: Random,
}

impl Speaker {
    pub(super) fn new(local: Credentials, remote: Credentials) -> Speaker {
        let random = |octets: &mut [u8]| {
            getrandom::fill(octets).expect("the operating system gives random octets");
        };
        Speaker {
            local,
            remote,
            random: Box::new(random),
        }
    }

    pub(super) fn draw_from(&mut self, random: Random) {
        self.random = random;
    }

    /// A new transaction.
    pub(super) fn draw(&mut self) -> TransactionId {
        let mut id = [0; 12];
        (self.random)(&mut id);
        TransactionId(id)
    }

    /// A number from 0 to 1.
    pub(super) fn fraction(&mut self) -> f64 {
        let mut octets = [0; 2];
        (self.random)(&mut octets);
        f64::from(u16::from_be_bytes(octets)) / f64::from(u16::MAX)
    }

    /// A check, or the nominating one with USE-CANDIDATE (RFC 8445 §7.2.2, §8.1.1).
    pub(super) fn ask(&self, to: SocketAddr, id: TransactionId, nominate: bool) -> Action {
        let username = format!("{}:{}", self.remote.ufrag(), self.local.ufrag());
        let request = Writer::new(Class::Request, id)
            .username(&username)
            .priority(candidate::priority(Kind::PeerReflexive, to.is_ipv4()))
            .controlling(TIE_BREAKER);
        let request = match nominate {
            true => request.use_candidate(),
            false => request,
        };
        let datagram = request.finish(self.remote.pwd());
        Action::Send { to, datagram }
    }

    /// Whether `answer` is signed by the peer.
    pub(super) fn believes_answer(&self, answer: &Message) -> bool {
        answer.is_signed_with(self.remote.pwd())
    }

    /// Whether `request` is for us and signed by somebody who read our SDP (RFC 8445 §7.3).
    pub(super) fn believes_request(&self, request: &Message) -> bool {
        let ours = self.local.ufrag().as_bytes();
        let addressed = request.username.and_then(|name| name.strip_prefix(ours));
        addressed.is_some_and(|rest| rest.starts_with(b":"))
            && request.is_signed_with(self.local.pwd())
    }

    /// The answer to an authentic request, and whether it is a success.
    pub(super) fn answer(&self, request: &Message, from: SocketAddr) -> (Action, bool) {
        let id = request.id;
        let (answer, success) = if !request.unknown.is_empty() {
            let error = Writer::new(Class::Error, id).error(420, "Unknown Attribute");
            (error.unknown(&request.unknown), false)
        } else if request.controlling {
            // §7.3.1.1: the tie-breaker of the peer cannot be larger than ours.
            (
                Writer::new(Class::Error, id).error(487, "Role Conflict"),
                false,
            )
        } else {
            (Writer::new(Class::Success, id).mapped(from, &id), true)
        };
        let datagram = answer.finish(self.local.pwd());
        (Action::Send { to: from, datagram }, success)
    }
}
