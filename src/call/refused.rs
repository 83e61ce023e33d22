//! What a request outside any dialog must be, and what it is told otherwise.

use crate::leg::Leg;
use crate::sip::dialog::refresh;
use crate::sip::message::{Common, Method, Request};
use crate::sip::{Abilities, Uri};

/// The kinds of reasons for which an INVITE does not become a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Because {
    /// It is not what an INVITE must be.
    Unusable,
    /// Its SDP and what we can carry have nothing in common.
    Sdp,
    /// It does not prove that it is Meta's.
    Digest,
    /// The number called is none of ours.
    UnknownNumber,
    /// No PBX can be told that the call is for.
    NoPbx,
    /// The PBX calls as none of its numbers.
    UnknownCaller,
    /// What the PBX's user dialled is no number.
    BadNumber,
    /// As many calls are up as may be, or no media port is free.
    Full,
    /// The bridge takes no new calls any more.
    Stopping,
    /// The machine has less time than the calls take.
    Overload,
}

impl Because {
    /// All of them.
    pub const ALL: [Because; 10] = [
        Because::Unusable,
        Because::Sdp,
        Because::Digest,
        Because::UnknownNumber,
        Because::NoPbx,
        Because::UnknownCaller,
        Because::BadNumber,
        Because::Full,
        Because::Stopping,
        Because::Overload,
    ];

    /// A word for it, for records and metrics: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Because::Unusable => "unusable",
            Because::Sdp => "sdp",
            Because::Digest => "digest",
            Because::UnknownNumber => "unknown-number",
            Because::NoPbx => "no-pbx",
            Because::UnknownCaller => "unknown-caller",
            Because::BadNumber => "bad-number",
            Because::Full => "full",
            Because::Stopping => "stopping",
            Because::Overload => "overload",
        }
    }
}

/// Why a request is not served: a status, and words for the Warning header and the log.
#[derive(Debug)]
pub struct Refused {
    /// Its status.
    pub status: u16,
    /// The kind of reason.
    pub because: Because,
    /// Words for the peer and the log; empty where the status says it all.
    pub why: String,
    /// Headers that belong to the status.
    pub headers: Vec<(&'static str, String)>,
}

impl Refused {
    /// Because it is not what it must be, and without further headers.
    pub fn new(status: u16, why: impl Into<String>) -> Refused {
        Refused {
            status,
            because: Because::Unusable,
            why: why.into(),
            headers: Vec::new(),
        }
    }

    /// For a reason of another kind.
    pub fn because(mut self, because: Because) -> Refused {
        self.because = because;
        self
    }

    /// With one more header.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Refused {
        self.headers.push((name, value.into()));
        self
    }
}

/// What every request must be before its method counts (RFC 3261 §8.2.2).
pub fn understood(request: &Request, leg: Leg, ours: Abilities) -> Result<(), Refused> {
    let tel =
        matches!(&request.uri, Uri::Other(uri) if uri.to_ascii_lowercase().starts_with("tel:"));
    if request.uri.sip().is_none() && !(tel && leg == Leg::Pbx) {
        return Err(Refused::new(416, "the Request-URI is no sip: URI"));
    }
    extensions(request, ours)
}

/// Every extension that a request requires must be one of ours; towards Meta there is none (SIP guide, 2025-12-15).
pub fn extensions(request: &Request, ours: Abilities) -> Result<(), Refused> {
    let wanted: Vec<&str> = ["Require", "Proxy-Require"]
        .iter()
        .flat_map(|name| request.headers.list(name))
        .filter(|tag| !tag.is_empty() && !ours.supports(tag))
        .collect();
    match wanted.is_empty() {
        true => Ok(()),
        false => Err(
            Refused::new(420, "an extension is required that is not supported")
                .with("Unsupported", wanted.join(", ")),
        ),
    }
}

/// The answer to a request that starts no call.
pub fn answer_at_once(request: &Request, ours: Abilities) -> Refused {
    match request.method {
        Method::OPTIONS => Refused::new(200, "")
            .with("Allow", ours.allow)
            .with("Accept", "application/sdp"),
        // As Meta itself answers (FAQ, 2025-11-13): there is no registrar here.
        Method::REGISTER => Refused::new(403, "nobody registers here"),
        Method::BYE => Refused::new(481, ""),
        // What there is within calls alone.
        _ if ours.allows(&request.method) => Refused::new(481, ""),
        _ => Refused::new(405, "").with("Allow", ours.allow),
    }
}

/// What Max-Forwards leaves for the next leg: a B2BUA in a loop would call for ever (RFC 3261 §16.3).
pub fn hops_left(invite: &Request) -> Result<u8, Refused> {
    let hops = invite
        .headers
        .get("Max-Forwards")
        .and_then(|value| value.parse::<u8>().ok())
        .unwrap_or(70);
    hops.checked_sub(1)
        .ok_or_else(|| Refused::new(483, "Max-Forwards has reached 0"))
}

/// An offer must be there, and as SDP.
pub fn check_body(invite: &Request) -> Result<(), Refused> {
    if invite.body.is_empty() {
        return Err(Refused::new(488, "the INVITE has no SDP offer").because(Because::Sdp));
    }
    match invite.content_type().as_deref() {
        Some("application/sdp") if invite.headers.get("Content-Encoding").is_none() => Ok(()),
        _ => {
            Err(Refused::new(415, "the body is not application/sdp")
                .with("Accept", "application/sdp"))
        }
    }
}

/// The answer to a request whose session timer is too short for us (RFC 4028 §8.1).
pub fn too_small() -> Refused {
    let least = refresh::MIN.as_secs();
    Refused::new(422, format!("a session interval of less than {least} s"))
        .with("Min-SE", least.to_string())
}

/// Why a new call that the machine has no time for is answered 503.
pub fn late() -> Refused {
    Refused::new(503, "more calls come in than this machine can do").because(Because::Overload)
}

/// The answer to a call for a number that is not configured.
pub fn not_ours() -> Refused {
    Refused::new(404, "the number called is none of ours ([[number]])")
        .because(Because::UnknownNumber)
}
