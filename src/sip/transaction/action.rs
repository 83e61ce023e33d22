//! What the table asks its user to do, and the names that both use.

use crate::sip::transport::{Flow, Target};
use crate::sip::{Message, Request, Response};

/// Names a transaction that we opened; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub(crate) u64);

/// Names a transaction that a peer opened; never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ServerId(pub(in crate::sip) u64);

/// What must be done, in order.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Put a message on the wire.
    Send {
        /// The message.
        message: Message,
        /// Where it goes.
        target: Target,
        /// Whom to tell, by [`Table::failed`](super::Table::failed), when it cannot be sent.
        client: Option<ClientId>,
    },
    /// A new request, never ACK or CANCEL. Whoever gets it answers it by [`Table::respond`](super::Table::respond), an INVITE with 100 first.
    Request {
        /// Its transaction.
        server: ServerId,
        /// The request.
        request: Request,
        /// Where it came in.
        flow: Flow,
    },
    /// A CANCEL for an INVITE without a final response. The CANCEL has been answered; the INVITE now wants a 487.
    Cancelled {
        /// The INVITE's transaction.
        server: ServerId,
        /// The CANCEL, which may carry a Reason (RFC 3326).
        cancel: Request,
    },
    /// An ACK that acknowledges no refusal of ours: if anything, a dialog's 2xx.
    Ack {
        /// The ACK.
        request: Request,
        /// Where it came in.
        flow: Flow,
    },
    /// A response. A repeated 2xx to an INVITE, and a 2xx from another branch of a fork, come as they arrive
    /// (RFC 6026 §7.2): the dialog acknowledges each.
    Response {
        /// The transaction that it answers.
        client: ClientId,
        /// The response.
        response: Response,
        /// Where it came in.
        flow: Flow,
    },
    /// Nobody answered in time (Timers B and F); equal to a 408 (§8.1.3.1). The transaction is over.
    TimedOut {
        /// The transaction.
        client: ClientId,
    },
    /// The request could not be sent; equal to a 503 (§8.1.3.1). The transaction is over.
    Failed {
        /// The transaction.
        client: ClientId,
        /// What the transport said.
        reason: String,
    },
}

/// Nobody is told when a response cannot be sent: the peer repeats its request.
pub(super) fn reply(response: Response, target: &Target) -> Action {
    Action::Send {
        message: Message::Response(response),
        target: target.clone(),
        client: None,
    }
}
