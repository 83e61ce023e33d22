//! What a far end is asked to do with a call.

use std::time::Duration;

use crate::sim::ear::ListensFor;
use crate::sim::phone::Mode;
use crate::sim::speech::Voice;

/// What is done in a call once it is answered, whoever placed it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// We hang up this long after the answer; `None`: the other side must.
    pub talk: Option<Duration>,
    /// Digits that we press, beginning one second after the answer.
    pub digits: String,
    /// Tone, echo or silence.
    pub mode: Mode,
    /// What we say in place of the far end's tone.
    pub says: Option<Voice>,
    /// What is to be found in what we hear; `None`: the tone of the other far end.
    pub listens_for: Option<ListensFor>,
    /// Whether what we hear is kept, for [`CallReport::recorded`](crate::sim::CallReport::recorded).
    pub records: bool,
    /// We give up an unanswered call after this time.
    pub patience: Duration,
    /// We send a re-INVITE this long after the answer; it must be refused with 500, and the call go on.
    pub reinvite: Option<Duration>,
    /// The digest retry, ACK and BYE leave on another connection than the first INVITE (§2.8).
    pub other_connection: bool,
}

impl Default for Plan {
    fn default() -> Plan {
        Plan {
            talk: None,
            digits: String::new(),
            mode: Mode::Talk,
            says: None,
            listens_for: None,
            records: false,
            patience: Duration::from_secs(60),
            reinvite: None,
            other_connection: false,
        }
    }
}

/// A call to place.
#[derive(Clone, Debug, Default)]
pub struct Outgoing {
    /// User part of the callee: a number with its `+`, or what a PBX dials.
    pub to: String,
    /// User part of the caller: a number with its `+`, or a BSUID.
    pub from: String,
    /// The caller's display name; `None`: what this kind of far end puts there.
    pub name: Option<String>,
    /// More headers for the INVITE, such as `x-wa-meta-cta-payload`.
    pub headers: Vec<(String, String)>,
    /// What is done in the call.
    pub plan: Plan,
}

/// What is done with calls that come in.
#[derive(Clone, Debug)]
pub struct Answering {
    /// A 180 is sent at once.
    pub ring: bool,
    /// A 183 with SDP is sent instead, and our sound with it.
    pub early_media: bool,
    /// How long it takes to the outcome.
    pub after: Duration,
    /// What comes then.
    pub outcome: Outcome,
    /// What is done in an answered call.
    pub plan: Plan,
}

/// How a call that rings goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is answered.
    Answer,
    /// It is refused.
    Refuse {
        /// 300–699.
        status: u16,
        /// The reason phrase, which Meta repeats in a Warning.
        reason: String,
    },
    /// It rings for ever.
    Ring,
}

impl Default for Answering {
    fn default() -> Answering {
        Answering {
            ring: true,
            early_media: false,
            after: Duration::from_millis(200),
            outcome: Outcome::Answer,
            plan: Plan::default(),
        }
    }
}
