//! The lite agent (RFC 8445 §2.5): answers checks, and sees from them where the bridge is.
//!
//! STUN is read and written by the crate `stun-types`, so that the bridge meets somebody else's reading of it.

use std::net::SocketAddr;
use std::time::Instant;

use stun_types::attribute::{
    AttributeType, ErrorCode, Fingerprint, MessageIntegrity, RawAttribute, Username,
    XorMappedAddress,
};
use stun_types::message::{
    BINDING, IntegrityAlgorithm, IntegrityKey, Message, MessageClass, MessageWrite,
    MessageWriteExt, MessageWriteVec, ShortTermCredentials, StunWriteError, TransactionId,
};
use stun_types::prelude::*;

use super::Checks;
use crate::sim::body::Handshaking;

const PRIORITY: AttributeType = AttributeType::new(0x0024);
const USE_CANDIDATE: AttributeType = AttributeType::new(0x0025);
const ICE_CONTROLLED: AttributeType = AttributeType::new(0x8029);
const ICE_CONTROLLING: AttributeType = AttributeType::new(0x802a);

/// Addresses that are remembered: more than a bridge has.
const MOST: usize = 64;

/// One call's lite agent.
pub struct Lite {
    username: String,
    key: IntegrityKey,
    checks: Checks,
    /// Addresses of the bridge from which a check was answered: these may be nominated.
    proven: Vec<SocketAddr>,
    /// Transactions that ended with an error: they must not be repeated as if they had not.
    ended: Vec<TransactionId>,
    nominated: Option<SocketAddr>,
    last: Option<Instant>,
}

/// What a datagram that should be a check amounts to.
#[derive(Debug, Default)]
pub struct Outcome {
    /// What is sent back to where it came from.
    pub answer: Option<Vec<u8>>,
    /// What is wrong with it.
    pub complaint: Option<&'static str>,
}

/// Why a request is not answered with success, and the code that it gets, if it gets one.
struct Fault(&'static str, Option<u16>);

impl Lite {
    /// An agent that knows both SDPs.
    pub fn new(both: &Handshaking, checks: Checks) -> Lite {
        let pwd = ShortTermCredentials::new(both.ice.pwd.clone());
        Lite {
            username: format!("{}:{}", both.ice.ufrag, both.their_ufrag),
            key: pwd.make_key(),
            checks,
            proven: Vec::new(),
            ended: Vec::new(),
            nominated: None,
            last: None,
        }
    }

    /// Where the bridge is, once it has said so.
    pub fn nominated(&self) -> Option<SocketAddr> {
        self.nominated
    }

    /// Whether a check from there was answered.
    pub fn has_proven(&self, address: SocketAddr) -> bool {
        self.proven.contains(&address)
    }

    /// When the last check came that was in order.
    pub fn last_check(&self) -> Option<Instant> {
        self.last
    }

    /// Takes one datagram that is STUN by its first octet.
    pub fn handle(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) -> Outcome {
        let request = match read(datagram) {
            Ok(Some(request)) => request,
            Ok(None) => return Outcome::default(),
            Err(complaint) => return Outcome::complain(complaint),
        };
        if let Err(Fault(complaint, code)) = self.judge(&request) {
            let answer = code.and_then(|code| self.refuse(&request, code));
            return Outcome {
                answer,
                complaint: Some(complaint),
            };
        }
        match &mut self.checks {
            Checks::Unanswered => return Outcome::default(),
            Checks::Conflict(left @ 1..) => {
                *left -= 1;
                return Outcome {
                    answer: self.refuse(&request, 487),
                    complaint: None,
                };
            }
            Checks::Conflict(0) | Checks::Answered => {}
        }
        self.last = Some(now);
        let complaint = request
            .has_attribute(USE_CANDIDATE)
            .then(|| self.nominate(from))
            .flatten();
        if !self.has_proven(from) && self.proven.len() < MOST {
            self.proven.push(from);
        }
        Outcome {
            answer: self.success(&request, from).ok(),
            complaint,
        }
    }

    /// Regular nomination (RFC 8445 §8.1.1) of one pair, and never another (§8 of Meta's rules).
    fn nominate(&mut self, from: SocketAddr) -> Option<&'static str> {
        let first = !self.has_proven(from);
        match self.nominated {
            None => {
                self.nominated = Some(from);
                first.then_some(
                    "ICE: USE-CANDIDATE in the first check of a pair: aggressive nomination (§8)",
                )
            }
            Some(nominated) if nominated == from => None,
            Some(_) => Some("ICE: a second pair is nominated; the pair must never change (§8)"),
        }
    }

    /// What Meta demands of a check.
    fn judge(&self, request: &Message<'_>) -> Result<(), Fault> {
        let last = request.iter_attributes().last();
        if last.is_none_or(|(_, last)| last.get_type() != Fingerprint::TYPE) {
            return Err(Fault(
                "ICE: a check that does not end with FINGERPRINT (RFC 8445 §7.1.1)",
                None,
            ));
        }
        let name = request.attribute::<Username>();
        if !name.is_ok_and(|name| name.username() == self.username) {
            return Err(Fault(
                "ICE: USERNAME is not our ufrag, a colon and theirs (RFC 8445 §7.2.2)",
                None,
            ));
        }
        let signed = request.has_attribute(MessageIntegrity::TYPE)
            && request.validate_integrity_with_key(&self.key).is_ok();
        if !signed {
            return Err(Fault(
                "ICE: MESSAGE-INTEGRITY is not made with our ice-pwd",
                None,
            ));
        }
        let length = |kind| {
            request
                .raw_attribute(kind)
                .map(|a: RawAttribute| a.value.len())
        };
        if request
            .iter_attributes()
            .any(|(_, a)| is_unknown(a.get_type()))
        {
            return Err(Fault(
                "ICE: an attribute that must be understood and is not",
                Some(420),
            ));
        }
        if length(ICE_CONTROLLED).is_some() {
            return Err(Fault(
                "ICE: the bridge says that it is controlled; Meta always is (§8)",
                Some(487),
            ));
        }
        if length(ICE_CONTROLLING) != Some(8) {
            return Err(Fault(
                "ICE: a check without ICE-CONTROLLING (RFC 8445 §7.1.3)",
                Some(400),
            ));
        }
        if length(PRIORITY) != Some(4) {
            return Err(Fault(
                "ICE: a check without PRIORITY (RFC 8445 §7.1.1)",
                Some(400),
            ));
        }
        if self.ended.contains(&request.transaction_id()) {
            return Err(Fault(
                "ICE: a transaction is repeated that ended with an error",
                None,
            ));
        }
        Ok(())
    }

    fn success(&self, request: &Message<'_>, from: SocketAddr) -> Result<Vec<u8>, StunWriteError> {
        let mut answer = Message::builder_success(request, MessageWriteVec::new());
        answer.add_attribute(&XorMappedAddress::new(from, request.transaction_id()))?;
        self.close(answer)
    }

    fn refuse(&mut self, request: &Message<'_>, code: u16) -> Option<Vec<u8>> {
        if self.ended.len() < MOST {
            self.ended.push(request.transaction_id());
        }
        let mut answer = Message::builder_error(request, MessageWriteVec::new());
        let error = ErrorCode::new(code, ErrorCode::default_reason_for_code(code)).ok()?;
        answer.add_attribute(&error).ok()?;
        self.close(answer).ok()
    }

    fn close(&self, mut answer: MessageWriteVec) -> Result<Vec<u8>, StunWriteError> {
        answer.add_message_integrity_with_key(&self.key, IntegrityAlgorithm::Sha1)?;
        answer.add_fingerprint()?;
        Ok(answer.finish())
    }
}

impl Outcome {
    fn complain(what: &'static str) -> Outcome {
        Outcome {
            answer: None,
            complaint: Some(what),
        }
    }
}

/// A Binding request; `None`: an indication, which only keeps a path open (RFC 8445 §11).
fn read(datagram: &[u8]) -> Result<Option<Message<'_>>, &'static str> {
    // What the crate takes for granted.
    let length = datagram
        .get(2..4)
        .map(|l| usize::from(l[0]) << 8 | usize::from(l[1]));
    if length.is_none_or(|length| length + 20 != datagram.len() || !length.is_multiple_of(4)) {
        return Err("ICE: a STUN message of another length than it says");
    }
    let message = Message::from_bytes(datagram)
        .map_err(|_| "ICE: no STUN message, or its FINGERPRINT is wrong")?;
    if !message.has_method(BINDING) {
        return Err("ICE: a STUN message that is not Binding");
    }
    match message.class() {
        MessageClass::Request => Ok(Some(message)),
        MessageClass::Indication => Ok(None),
        _ => Err("ICE: an answer, though a lite agent asks nothing"),
    }
}

/// RFC 8489 §14: types below 0x8000 must be understood.
fn is_unknown(kind: AttributeType) -> bool {
    let known = [
        Username::TYPE,
        MessageIntegrity::TYPE,
        PRIORITY,
        USE_CANDIDATE,
    ];
    kind.comprehension_required() && !known.contains(&kind)
}
