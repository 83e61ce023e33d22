//! The two far ends of a call, for the demo, the tests and anybody without a Meta account.
//!
//! ```text
//!   meta, pbx   how Meta and a PBX behave (Manners): the shape of messages, what they refuse
//!      ▼
//!   agent       places and takes calls, ends them; what the bridge does wrong becomes a complaint
//!      ▼ Order
//!   line        one call's media: SRTP, order of packets, silence; `lines` has them all on a thread
//!      ├── relay   ICE and DTLS, where Meta's keys come from there: answers checks, shakes hands
//!      ├── path    what is lost or late on the way
//!      ▼
//!   phone  ── what it says:  Recording (a tone that begins with a count, a file), Keypad (digits), or an echo ──▶ RTP, RTCP
//!          ◀─ what it hears: Ear: decodes, looks for the other's tone and its count, collects digits; Recorder keeps it
//! ```
//!
//! `run` puts them on real sockets. Nothing here knows the bridge above `sip`, `sdp` and `media`: a simulator that
//! shared our reading of Meta's rules would share our mistakes.

pub mod agent;
pub mod body;
pub mod count;
mod dialog;
pub mod digits;
mod driver;
pub mod ear;
pub mod ladder;
pub mod line;
pub mod lines;
pub mod meta;
pub mod path;
pub mod pbx;
pub mod phone;
pub mod recorder;
pub mod relay;
pub mod report;
pub mod run;
pub mod speech;
pub mod tone;
pub mod wav;
mod words;

pub use agent::{Agent, Answering, CallId, Outcome, Outgoing, Plan};
pub use ladder::Rung;
pub use report::{CallReport, Direction, EndedBy, Heard};

#[cfg(test)]
mod tests {
    //! Meta's samples, read.

    use crate::sip::{Limits, Message, Request, Response};

    fn read(file: &str) -> Message {
        let bytes = std::fs::read(format!("tests/data/meta/{file}")).unwrap();
        Message::parse(&bytes, &Limits::default()).unwrap()
    }

    pub(super) fn request(file: &str) -> Request {
        match read(file) {
            Message::Request(request) => request,
            Message::Response(_) => panic!("{file} is a response"),
        }
    }

    pub(super) fn response(file: &str) -> Response {
        match read(file) {
            Message::Response(response) => response,
            Message::Request(_) => panic!("{file} is a request"),
        }
    }
}
