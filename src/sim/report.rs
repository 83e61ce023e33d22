//! What a far end tells about a call when it is over.

use serde::Serialize;

pub use super::body::Keying;
pub use super::ear::Heard;
use super::ladder::Rung;

/// Who called whom.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Direction {
    /// A WhatsApp user called a business number.
    #[default]
    UserInitiated,
    /// The business called a WhatsApp user.
    BusinessInitiated,
}

/// Which end finished a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum EndedBy {
    /// This far end.
    Us,
    /// The bridge.
    Bridge,
}

/// One call, as this far end saw it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct CallReport {
    /// Who called whom.
    pub direction: Direction,
    /// Its Call-ID.
    pub call_id: String,
    /// User part of the caller.
    pub from: String,
    /// User part of the callee.
    pub to: String,
    /// Status of the final response to the INVITE; 0 if there was none.
    pub status: u16,
    /// Its reason phrase.
    pub reason: String,
    /// Status of the provisional responses that were seen, each once.
    pub provisional: Vec<u16>,
    /// Milliseconds from the first INVITE to the 200, digest round and ringing included.
    pub setup_ms: Option<u64>,
    /// How media was keyed with the bridge; `None`: it was not.
    pub keying: Option<Keying>,
    /// The SRTP profile that was agreed on.
    pub srtp: Option<&'static str>,
    /// Milliseconds from the 200 to the keys.
    pub keyed_ms: Option<u64>,
    /// What was heard; empty for a call that was not answered.
    pub heard: Heard,
    /// RTP packets sent.
    pub sent: u64,
    /// Digits that this end pressed.
    pub digits_sent: String,
    /// Digits that this end received.
    pub digits_received: String,
    /// Who said BYE or CANCEL first.
    pub ended_by: Option<EndedBy>,
    /// The Reason header of the bridge's BYE (RFC 3326).
    pub bye_reason: Option<String>,
    /// Headers `x-wa-meta-…` of the INVITE that came in.
    pub meta_headers: Vec<(String, String)>,
    /// Final status of a re-INVITE of ours.
    pub reinvite: Option<u16>,
    /// Everything that the real far end would refuse or break on.
    pub complaints: Vec<String>,
    /// The messages of the call, in order.
    #[serde(skip)]
    pub ladder: Vec<Rung>,
}

impl CallReport {
    /// Whether the call was answered and both heard and conducted as it must be.
    pub fn ok(&self) -> bool {
        self.status == 200 && self.heard.ok && self.complaints.is_empty()
    }

    /// The WhatsApp user of a call in this direction.
    pub fn user_of(&self, direction: Direction) -> &str {
        match direction {
            Direction::UserInitiated => &self.from,
            Direction::BusinessInitiated => &self.to,
        }
    }

    /// Notes a complaint once.
    pub fn complain(&mut self, what: impl Into<String>) {
        let what = what.into();
        // A bridge that errs with every packet must not fill our memory.
        if self.complaints.len() < 100 && !self.complaints.contains(&what) {
            self.complaints.push(what);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_in_order_only_if_answered_heard_and_without_complaint() {
        let mut report = CallReport {
            status: 200,
            ..CallReport::default()
        };
        assert!(!report.ok());
        report.heard.ok = true;
        assert!(report.ok());
        report.complain("a second SSRC");
        report.complain("a second SSRC");
        assert_eq!(report.complaints.len(), 1);
        assert!(!report.ok());
    }
}
