//! What a far end tells about a call when it is over.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};

pub use super::body::Keying;
pub use super::ear::Heard;
use super::ladder::Rung;
pub use super::recorder::Recorded;
use crate::media::Codec;

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
    /// What was spoken, as its `a=rtpmap` says; `None`: nothing was agreed on.
    #[serde(serialize_with = "rtpmap")]
    pub codec: Option<Codec>,
    /// When we began to speak.
    #[serde(serialize_with = "unix_time")]
    pub said_from: Option<Instant>,
    /// What was kept of what was heard, where a plan asks for it: for programs when it began, and how late its packets were.
    #[serde(serialize_with = "without_sound")]
    pub recorded: Option<Recorded>,
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

fn rtpmap<S: Serializer>(codec: &Option<Codec>, to: S) -> Result<S::Ok, S::Error> {
    codec.map(|codec| codec.to_string()).serialize(to)
}

#[derive(Serialize)]
struct WithoutSound {
    #[serde(serialize_with = "unix_time")]
    from: Option<Instant>,
    late_ms: f64,
}

fn without_sound<S: Serializer>(recorded: &Option<Recorded>, to: S) -> Result<S::Ok, S::Error> {
    let told = recorded.as_ref().map(|recorded| WithoutSound {
        from: Some(recorded.from),
        late_ms: recorded.late.as_secs_f64() * 1e3,
    });
    told.serialize(to)
}

/// Seconds since 1970, by the clock that all programs of a machine have in common.
fn unix_time<S: Serializer>(at: &Option<Instant>, to: S) -> Result<S::Ok, S::Error> {
    let seconds = at.and_then(|at| {
        let then = SystemTime::now().checked_sub(at.elapsed())?;
        let since = then.duration_since(UNIX_EPOCH).ok()?;
        Some(since.as_secs_f64())
    });
    seconds.serialize(to)
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
