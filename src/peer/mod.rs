//! What each side expects of us, and what it means by what it says.
//!
//! [`meta`] holds everything we know about `wa.meta.vc`, [`pbx`] everything a PBX may need; neither knows the other.
//! [`info`] is how some of those say that a key was pressed.

pub mod info;
pub mod meta;
mod meta_refusals;
pub mod pbx;
mod register;

pub use meta::Meta;
pub use pbx::Pbx;
pub use register::Register;

use crate::number::User;
use crate::sip::dialog::Identity;
use crate::sip::header::CSeq;
use crate::sip::message::{Method, Request};
use crate::sip::token::Tokens;
use crate::sip::{NameAddr, SipUri};

/// Who calls, as the callee's phone should show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The name that the caller goes by, without quotes or control characters.
    pub name: Option<String>,
    /// The caller's number or id; `None`: withheld, or nothing we can read.
    pub user: Option<User>,
}

/// What identifies a request outside any dialog; each draws fresh ones.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Call-ID of the new leg: never the other leg's, which holds numbers.
    pub call_id: String,
    /// From tag.
    pub tag: String,
    /// Via branch.
    pub branch: String,
}

impl Fresh {
    /// Draws them.
    pub fn draw(tokens: &mut Tokens) -> Fresh {
        Fresh {
            call_id: tokens.call_id(),
            tag: tokens.tag(),
            branch: tokens.branch(),
        }
    }
}

/// A request outside any dialog: what all of them have in common.
struct Opening {
    method: Method,
    /// How we name ourselves to whoever gets it.
    identity: Identity,
    /// The Request-URI.
    target: SipUri,
    from: NameAddr,
    to: SipUri,
    /// The user part of our Contact.
    contact: Option<String>,
    fresh: Fresh,
    /// Max-Forwards.
    hops_left: u8,
}

impl Opening {
    fn build(self) -> Request {
        let Opening {
            method,
            identity,
            target,
            from,
            to,
            contact,
            fresh,
            hops_left,
        } = self;
        let mut request = Request::new(method.clone(), target);
        let headers = &mut request.headers;
        headers.push("Via", identity.via(&fresh.branch).to_string());
        headers.push("Max-Forwards", hops_left.to_string());
        headers.push("From", from.with_tag(&fresh.tag).to_string());
        headers.push("To", NameAddr::new(to).to_string());
        headers.push("Call-ID", fresh.call_id);
        headers.push("CSeq", CSeq { number: 1, method }.to_string());
        headers.push("Contact", identity.contact(contact.as_deref()).to_string());
        identity.abilities.say(headers);
        headers.push("User-Agent", identity.agent);
        request
    }

    fn with_sdp(self, sdp: &str) -> Request {
        let mut request = self.build();
        request.headers.push("Content-Type", "application/sdp");
        request.body = sdp.as_bytes().to_vec();
        request
    }
}

/// A refusal as the other leg is told it: a status, a Q.850 cause, and the words of whoever refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// SIP status.
    pub status: u16,
    /// ITU-T Q.850 cause value.
    pub cause: u8,
    /// Why, in the words of whoever refused.
    pub text: String,
}

impl Refusal {
    /// A refusal of our own.
    pub fn new(status: u16, cause: u8, text: impl Into<String>) -> Refusal {
        Refusal {
            status,
            cause,
            text: text.into(),
        }
    }

    /// The value of a Reason header (RFC 3326).
    pub fn reason(&self) -> String {
        format!(
            "Q.850;cause={};text={}",
            self.cause,
            crate::sip::grammar::quote(&printable(&self.text, 256))
        )
    }
}

/// What to do about a final response to a request of ours.
#[derive(Debug)]
pub enum Next {
    /// Send the request again with this header.
    Retry(&'static str, String),
    /// Tell the other leg.
    Refuse(Refusal),
}

impl Next {
    /// The header with credentials that the request is to have, if it may be sent again.
    pub fn credentials(self) -> Option<(&'static str, String)> {
        match self {
            Next::Retry(name, value) => Some((name, value)),
            Next::Refuse(_) => None,
        }
    }
}

/// What may be passed on of a text from the network: no control characters, bounded in length.
pub fn printable(text: &str, most: usize) -> String {
    text.chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect::<String>()
        .trim()
        .to_owned()
}
