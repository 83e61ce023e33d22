//! Which transaction a message belongs to (RFC 3261 §17.1.3, §17.2.3).

use std::hash::{Hash, Hasher};

use crate::leg::Leg;
use crate::sip::message::Common;
use crate::sip::{Method, Request, Response, Via};

/// What a branch begins with whose maker promises that it is unique (§8.1.1.7).
const MAGIC_COOKIE: &str = "z9hG4bK";

/// Names a transaction. A leg is part of every name: what one side sends never touches the other side's.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Key {
    /// Ours: the branch that we made, and the method in CSeq.
    Client {
        leg: Leg,
        branch: String,
        method: String,
    },
    /// A peer's that makes unique branches.
    Server {
        leg: Leg,
        branch: String,
        sent_by: SentBy,
        method: String,
    },
    /// A peer's that does not: RFC 2543, or a branch that is nothing but the cookie.
    OldServer {
        leg: Leg,
        call_id: String,
        cseq: u32,
        from_tag: String,
        uri: String,
        sent_by: SentBy,
        method: String,
    },
}

/// Host and port of a Via, as written but for case.
pub(super) type SentBy = (String, Option<u16>);

impl Key {
    /// Of a request that we send.
    pub fn of_ours(request: &Request, leg: Leg) -> Key {
        Key::client(request.via(), &request.method, leg)
    }

    /// Of the INVITE that a CANCEL of ours is about: the CANCEL has its branch (§9.1).
    pub fn of_cancelled(cancel: &Request, leg: Leg) -> Key {
        Key::client(cancel.via(), &Method::INVITE, leg)
    }

    /// Of the request that a peer's response answers; `None` where it cannot be ours.
    pub fn of_answered(response: &Response, leg: Leg) -> Option<Key> {
        let via = response.via();
        via.as_ref()?.branch()?;
        Some(Key::client(via, &response.cseq()?.method, leg))
    }

    fn client(via: Option<Via>, method: &Method, leg: Leg) -> Key {
        let branch = via.as_ref().and_then(Via::branch).unwrap_or_default();
        Key::Client {
            leg,
            branch: branch.to_owned(),
            method: method.to_string(),
        }
    }

    /// Of a peer's request, whose top Via is `via`. ACK and CANCEL go by the name of their INVITE.
    pub fn of_theirs(request: &Request, via: &Via, leg: Leg) -> Key {
        let method = match &request.method {
            m if *m == Method::ACK || *m == Method::CANCEL => Method::INVITE.to_string(),
            m => m.to_string(),
        };
        let sent_by = (via.host.to_ascii_lowercase(), via.port);
        match via.branch().filter(|branch| is_unique(branch)) {
            Some(branch) => Key::Server {
                leg,
                branch: branch.to_owned(),
                sent_by,
                method,
            },
            None => Key::OldServer {
                leg,
                call_id: request.call_id().to_owned(),
                cseq: request.cseq().map_or(0, |cseq| cseq.number),
                from_tag: request.tag_of_from().unwrap_or_default().to_owned(),
                uri: request.uri.to_string(),
                sent_by,
                method,
            },
        }
    }

    /// A To tag for the responses that the table makes itself: the same for a repeated request, and nothing that an
    /// outsider who does not know `seed` can foretell (§19.3).
    pub fn tag(&self, seed: u64) -> String {
        format!("{:016x}", self.hash(seed))
    }

    /// A number for it that an outsider cannot foretell.
    pub fn hash(&self, seed: u64) -> u64 {
        // Seeded by us, so that a test can know the tag; not the hasher that the maps use.
        let mut hasher = std::hash::DefaultHasher::new();
        (seed, self).hash(&mut hasher);
        hasher.finish()
    }
}

/// Whether a branch names one transaction and no other: the cookie, and something after it.
fn is_unique(branch: &str) -> bool {
    let cookie = branch.get(..MAGIC_COOKIE.len());
    cookie.is_some_and(|cookie| cookie.eq_ignore_ascii_case(MAGIC_COOKIE))
        && branch.len() > MAGIC_COOKIE.len()
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{request, response};
    use super::*;

    fn key(request: &Request) -> Key {
        Key::of_theirs(request, &request.via().unwrap(), Leg::Pbx)
    }

    fn with_via(method: &str, via: &str) -> Request {
        let mut request = request(method, "z9hG4bKany");
        request.headers.set("Via", via);
        request
    }

    #[test]
    fn an_ack_and_a_cancel_find_their_invite_and_a_bye_does_not() {
        let invite = key(&request("INVITE", "z9hG4bK1"));
        assert_eq!(key(&request("ACK", "z9hG4bK1")), invite);
        assert_eq!(key(&request("CANCEL", "z9hG4bK1")), invite);
        assert_ne!(key(&request("BYE", "z9hG4bK1")), invite);
        assert_ne!(key(&request("INVITE", "z9hG4bK2")), invite);
    }

    #[test]
    fn the_same_branch_from_another_host_or_leg_is_another_transaction() {
        let one = with_via("BYE", "SIP/2.0/UDP Host.example;branch=z9hG4bK1");
        let same = with_via("BYE", "SIP/2.0/UDP hOST.example;rport;branch=z9hG4bK1");
        let other = with_via("BYE", "SIP/2.0/UDP host.example:5062;branch=z9hG4bK1");
        assert_eq!(key(&one), key(&same));
        assert_ne!(key(&one), key(&other));
        assert_ne!(
            key(&one),
            Key::of_theirs(&one, &one.via().unwrap(), Leg::Meta)
        );
    }

    #[test]
    fn branches_that_promise_nothing_are_told_apart_by_call_id_cseq_and_from_tag() {
        for via in [
            "SIP/2.0/UDP old.example",
            "SIP/2.0/UDP old.example;branch=1",
            "SIP/2.0/UDP old.example;branch=z9hG4bK",
            "SIP/2.0/UDP old.example;branch=Ü9hG4bKx",
        ] {
            let invite = with_via("INVITE", via);
            assert_eq!(key(&invite), key(&with_via("ACK", via)));
            for (name, value) in [
                ("Call-ID", "other@example"),
                ("CSeq", "8 INVITE"),
                ("From", "<sip:a@example>;tag=other"),
            ] {
                let mut other = invite.clone();
                other.headers.set(name, value);
                assert_ne!(key(&invite), key(&other), "{via} {name}");
            }
        }
    }

    #[test]
    fn a_response_belongs_to_the_method_in_its_cseq() {
        let invite = request("INVITE", "z9hG4bK1");
        let cancel = request("CANCEL", "z9hG4bK1");
        let answered = |request: &Request| Key::of_answered(&response(request, 200, ""), Leg::Pbx);
        assert_eq!(answered(&invite), Some(Key::of_ours(&invite, Leg::Pbx)));
        assert_eq!(answered(&cancel), Some(Key::of_ours(&cancel, Leg::Pbx)));
        assert_ne!(answered(&invite), answered(&cancel));
        assert_eq!(
            Key::of_cancelled(&cancel, Leg::Pbx),
            Key::of_ours(&invite, Leg::Pbx)
        );
    }

    #[test]
    fn a_tag_is_the_same_for_a_repeated_request_and_depends_on_the_seed() {
        let one = key(&request("INVITE", "z9hG4bK1"));
        let two = key(&request("INVITE", "z9hG4bK2"));
        assert_eq!(one.tag(1), one.clone().tag(1));
        assert_ne!(one.tag(1), one.tag(2));
        assert_ne!(one.tag(1), two.tag(1));
    }
}
