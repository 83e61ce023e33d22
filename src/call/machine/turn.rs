//! What happens to a call, and what it wants done.

use std::time::Instant;

use crate::call::errands::Place;
use crate::call::watch::Mark;
use crate::leg::Leg;
use crate::media::{Command, Facing, LocalPorts, OpenError, Press, SessionStats};
use crate::sip::dialog::DialogId;
use crate::sip::message::{Request, Response};
use crate::sip::token::Tokens;
use crate::sip::transaction::ServerId;
use crate::sip::transport::Target;

/// What happens to a call.
#[derive(Debug)]
pub enum Event {
    /// A response in a client transaction of the call.
    Response(Purpose, Response),
    /// A client transaction ended without a final response; why.
    Lost(Purpose, String),
    /// The caller cancelled; its CANCEL.
    Cancelled(Request),
    /// An ACK came in the dialog with a leg.
    Ack(Leg, Request),
    /// Another request came in the dialog with a leg.
    Request(Leg, ServerId, Request),
    /// Our 200 to the caller is on the wire.
    AnswerSent,
    /// Nothing comes from a leg any more.
    Silent(Leg),
    /// The packets of a leg have keys.
    Keyed(Leg),
    /// Where the PBX's side of the media session listens now, as [`Action::Face`] wanted, or why it does not.
    Faced(Result<LocalPorts, OpenError>),
    /// A key was pressed on a leg, and the other is not told of it in its stream.
    Pressed(Leg, Press),
    /// No media can be sent to a leg; why.
    MediaFailed(Leg, String),
    /// The media session is closed.
    MediaClosed(Box<SessionStats>),
    /// The bridge stops.
    Stop,
    /// The bridge is about to be gone: what is left of the call is forgotten.
    GiveUp,
    /// [`Call::deadline`](super::Call::deadline) has come.
    Deadline,
}

/// What a client transaction of a call is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// An INVITE to the callee: how many were given up before it.
    Invite(usize),
    /// A BYE to a leg.
    Bye(Leg),
    /// An INFO to the PBX; how often it had left before, giving its place to another.
    Info(u32),
    /// A refresh of the PBX's session.
    Refresh,
    /// An INVITE to whom the PBX transfers the call; which of them.
    Transfer(u32),
    /// What a PBX that transfers the call is told of that.
    Notify,
    /// A CANCEL, or a BYE that has credentials: whatever it is answered, nothing follows.
    Errand,
}

/// What must be done for a call.
#[derive(Debug)]
pub enum Action {
    /// Open a client transaction.
    Request {
        /// What is sent.
        request: Request,
        /// Where to.
        target: Target,
        /// What for.
        purpose: Purpose,
    },
    /// Repeat the request of a client transaction no more.
    Abandon(Purpose),
    /// Send an ACK, which has no transaction.
    Ack(Request, Target),
    /// Respond in a server transaction; `tell` asks for [`Event::AnswerSent`].
    Respond {
        /// The transaction.
        server: ServerId,
        /// The response.
        response: Response,
        /// Whether the call waits for it to be on the wire.
        tell: bool,
    },
    /// Tell whoever watches.
    Mark(Mark),
    /// An address of the PBX took the INVITE in, or why it did not.
    Seen(Place, Result<(), String>),
    /// Tell the media session something.
    Media(Command),
    /// Have the PBX's side of the media session listen at this address: [`Event::Faced`] says where.
    Face(Facing),
    /// Close the media session.
    CloseMedia,
    /// Requests in this dialog are for this call and leg.
    Dialog(DialogId, Leg),
}

/// Tokens, time and the actions so far: what every step of the machine needs.
pub struct Turn<'a> {
    /// Now.
    pub now: Instant,
    /// Where tags and branches come from.
    pub tokens: &'a mut Tokens,
    /// What must be done so far, in order.
    pub actions: Vec<Action>,
}

impl Turn<'_> {
    /// Respond in a server transaction.
    pub fn respond(&mut self, server: ServerId, response: Response) {
        self.actions.push(Action::Respond {
            server,
            response,
            tell: false,
        });
    }

    /// The same, and say when it is on the wire.
    pub fn respond_and_tell(&mut self, server: ServerId, response: Response) {
        self.actions.push(Action::Respond {
            server,
            response,
            tell: true,
        });
    }

    /// Tell whoever watches.
    pub fn mark(&mut self, mark: Mark) {
        self.actions.push(Action::Mark(mark));
    }

    /// Tell the media session something.
    pub fn media(&mut self, command: Command) {
        self.actions.push(Action::Media(command));
    }
}
