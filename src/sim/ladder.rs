//! What went over the wire, call by call, for whoever wants to see it.

use std::collections::HashMap;
use std::time::Instant;

use crate::sip::Message;
use crate::sip::message::Common;

/// Most calls that are remembered at once, and most messages of each: a bridge gone mad must not fill our memory.
const MOST_CALLS: usize = 4096;
const MOST_RUNGS: usize = 64;

/// One message of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rung {
    /// When it came or went.
    pub at: Instant,
    /// Whether this end sent it.
    pub sent: bool,
    /// Its method; for a response its status and the method that it answers.
    pub what: String,
}

/// The messages of all calls that are not over, by Call-ID.
#[derive(Debug, Default)]
pub struct Ladders(HashMap<String, Vec<Rung>>);

impl Ladders {
    /// Notes a message.
    pub fn note(&mut self, message: &Message, sent: bool, at: Instant) {
        let (call_id, what) = match message {
            Message::Request(request) => (request.call_id(), request.method.to_string()),
            Message::Response(response) => {
                let method = response
                    .cseq()
                    .map(|cseq| format!(" {}", cseq.method))
                    .unwrap_or_default();
                (response.call_id(), format!("{}{method}", response.status))
            }
        };
        if self.0.len() >= MOST_CALLS && !self.0.contains_key(call_id) {
            return;
        }
        let rungs = self.0.entry(call_id.to_owned()).or_default();
        if rungs.len() < MOST_RUNGS {
            rungs.push(Rung { at, sent, what });
        }
    }

    /// The messages of a call, which is forgotten.
    pub fn take(&mut self, call_id: &str) -> Vec<Rung> {
        self.0.remove(call_id).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::tests::{request, response};

    #[test]
    fn a_call_is_told_by_its_methods_and_statuses_in_order() {
        let mut ladders = Ladders::default();
        let now = Instant::now();
        let invite = request("dialogs/uic-sdes-407/01-invite.sip");
        ladders.note(&invite.clone().into(), true, now);
        ladders.note(
            &response("dialogs/uic-sdes-407/02-407.sip").into(),
            false,
            now,
        );
        let rungs = ladders.take(invite.call_id());
        let told: Vec<_> = rungs.iter().map(|r| (r.sent, r.what.as_str())).collect();
        assert_eq!(told, [(true, "INVITE"), (false, "407 INVITE")]);
        assert!(ladders.take(invite.call_id()).is_empty());
    }
}
