//! One call: two legs, the media between them, and what each leg is told of the other.
//!
//! ```text
//!   Ringing ── callee's 2xx ──▶ Talking ── BYE, silence, no ACK, stop ──▶ Closing ──▶ gone
//!      └────── refusal, CANCEL, BYE, ring timeout, fault ────────────────────▲
//! ```
//!
//! Closing lasts until every transaction of the call has ended and its media session is closed. Here are the states
//! and what they own; what happens in them is told in [`ringing`], [`attempts`], [`talking`], [`info`], [`reinvite`],
//! [`refresh`], [`transfer`], [`target`], [`referrer`] and [`teardown`], with [`client`] and [`pbx_leg`] for what those share;
//! what others are shown, in [`view`].

mod attempts;
mod client;
mod info;
mod pbx_leg;
mod referrer;
mod refresh;
mod reinvite;
mod ringing;
mod talking;
mod target;
mod teardown;
mod transfer;
mod turn;
mod view;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use attempts::{Attempts, Way};
pub use turn::{Action, Event, Purpose};

use super::summary::{Codecs, Direction, EndedBy, Told, Transfers};
use crate::leg::Leg;
use crate::media::{Opened, SessionId, SessionStats, SideSpec};
use crate::number::User;
use crate::peer::meta::Authenticator;
use crate::peer::{Meta, Pbx, Refusal, meta};
use crate::policy::Number;
use crate::sdp::{self, Keying};
use crate::sip::dialog::{ClientInvite, Dialog, ServerInvite};
use crate::sip::digest;
use crate::sip::message::Request;
use crate::sip::token::Tokens;
use crate::sip::transaction::ServerId;
use crate::sip::transport::{Flow, Hop, Target};
use attempts::Abandoned;
use info::Infos;
use referrer::Former;
use refresh::Own;
use reinvite::PbxSession;
use teardown::reason_of;
use transfer::Transfer;
use turn::Turn;

/// How long a call may take to close: longer than any transaction of it (64·T1) by some.
const CLOSING: Duration = Duration::from_secs(40);

/// The parties and rules of one call, fixed when it began: a reload does not touch it.
#[derive(Debug)]
pub struct Parties {
    /// Who called whom.
    pub direction: Direction,
    /// The rules of Meta's side.
    pub meta: Arc<Meta>,
    /// The PBX.
    pub pbx: Arc<Pbx>,
    /// The business number.
    pub number: Number,
    /// The WhatsApp user.
    pub user: Option<User>,
    /// Where the PBX's leg is: the address that is called, or that called us.
    pub pbx_hop: Hop,
}

/// What a call begins with.
#[derive(Debug)]
pub struct Beginning {
    /// Who and how.
    pub parties: Parties,
    /// The INVITE that came in.
    pub caller: ServerInvite,
    /// Where it came in.
    pub caller_flow: Flow,
    /// Its SDP, which the callee's leg must come to terms with.
    pub offer: sdp::RemoteOffer,
    /// Our end towards the caller.
    pub caller_local: sdp::Local,
    /// The INVITE that goes out.
    pub callee: ClientInvite,
    /// The SDP in it.
    pub our_offer: sdp::Offer,
    /// The media session, which listens already.
    pub media: Opened,
    /// How long the callee may go without any response, if that is limited.
    pub patience: Option<Duration>,
    /// What else may be tried; `None` towards Meta.
    pub attempts: Option<Attempts>,
    /// When the callee's phone has rung enough.
    pub ring_until: Instant,
    /// How long a phone at the PBX may ring that the call is transferred to.
    pub ring_timeout: Duration,
}

/// One call across the bridge.
#[derive(Debug)]
pub struct Call {
    parties: Parties,
    caller: ServerInvite,
    caller_flow: Flow,
    callee: ClientInvite,
    /// Whether anything has been heard of that INVITE.
    heard: bool,
    /// Whether it has told already whether the PBX is alive.
    judged: bool,
    /// INVITEs before it, which were given up.
    abandoned: Vec<Abandoned>,
    /// Whether it has been said what became of the call.
    summarised: bool,
    auth: Authenticator,
    /// What the PBX was answered that asked us for a password.
    pbx_auth: digest::client::Client,
    session: SessionId,
    state: State,
    /// A BYE to the caller that waits for its ACK (RFC 3261 §15).
    held: Option<Box<(Request, Target)>>,
    /// The latest BYE to each leg, as long as it has given no credentials, and where it went.
    unproven: Vec<(Leg, Request, Target)>,
    /// A BYE that went out on the PBX's own connection, and its Contact, should that connection be gone.
    detour: Option<Box<(Request, Hop)>>,
    /// What the PBX is to be told of the user's digits.
    infos: Infos,
    /// The latest refresh of the PBX's session.
    own: Option<Box<Own>>,
    /// Whether the PBX's leg is reached by the connection that it called us by.
    pbx_by_flow: bool,
    /// The latest transfers that the PBX has asked for; only the last of them can be under way.
    transfers: VecDeque<Transfer>,
    /// How many it has asked for in its present dialog, and names for all of them.
    referrals: u32,
    referral: u32,
    /// How long a phone at the PBX may ring.
    ring_timeout: Duration,
    /// Client transactions that have not ended.
    pending: usize,
    began: Instant,
    answered: Option<Instant>,
    /// How long our ACK waited for keys, if it did.
    ack_waited: Option<Duration>,
    /// When the caller was first told that the callee's phone rings.
    rang: Option<Instant>,
    /// What the caller was told last.
    status: u16,
    /// The callee's final status.
    callee_status: Option<u16>,
    /// What Meta has said of the call.
    told: Told,
    codecs: Codecs,
    transferred: Transfers,
    /// How Meta's leg is keyed, once that is agreed.
    keying: Option<Keying>,
    media: Option<SessionStats>,
}

#[derive(Debug)]
enum State {
    Ringing(Box<Ringing>),
    Talking(Box<Talking>),
    Closing(Closing),
}

#[derive(Debug)]
struct Ringing {
    offer: sdp::RemoteOffer,
    caller_local: sdp::Local,
    our_offer: sdp::Offer,
    /// What is agreed with the PBX, once it is.
    pbx_side: Option<SideSpec>,
    /// Our answer to the caller, once an early or final answer of the callee has settled it.
    answer: Option<String>,
    /// When the phone has rung enough.
    until: Instant,
    /// When the present address is given up, if nothing at all is heard of it.
    try_until: Option<Instant>,
    attempts: Option<Attempts>,
}

#[derive(Debug)]
struct Talking {
    caller: Dialog,
    callee: Dialog,
    meta_started: bool,
    /// The PBX's 200 waits for our ACK until Meta's leg has keys, or until then.
    ack_by: Option<Instant>,
    /// What the PBX may change, if it may.
    pbx: Option<Box<PbxSession>>,
    /// Legs that it had before a transfer, and has not hung up yet.
    former: Vec<Former>,
}

impl Talking {
    /// The dialog with a leg; and what the PBX may change, if it may.
    fn leg(&mut self, leg: Leg, direction: Direction) -> (&mut Dialog, Option<&mut PbxSession>) {
        let dialog = direction.of(leg, &mut self.caller, &mut self.callee);
        (dialog, self.pbx.as_deref_mut())
    }
}

#[derive(Debug)]
struct Closing {
    ended: Instant,
    /// When what is left of the call is forgotten.
    until: Instant,
    ended_by: EndedBy,
    why: String,
}

impl Call {
    /// Begins a call: the caller hears 100, the callee is invited.
    pub fn begin(beginning: Beginning, tokens: &mut Tokens, now: Instant) -> (Call, Vec<Action>) {
        let Beginning {
            parties,
            caller,
            caller_flow,
            offer,
            caller_local,
            callee,
            our_offer,
            media,
            patience,
            attempts,
            ring_until,
            ring_timeout,
        } = beginning;
        let pbx_by_flow =
            parties.direction.caller() == Leg::Pbx && caller_flow.protocol.is_reliable();
        let mut turn = Turn {
            now,
            tokens,
            actions: Vec::new(),
        };
        turn.respond(caller.id, caller.trying());
        if let Some(dialog) = Dialog::from_request(&caller.request, caller.tag()) {
            // A caller may say BYE before it is answered (§15), so its early dialog is known from the start.
            turn.actions.push(Action::Dialog(
                dialog.id().clone(),
                parties.direction.caller(),
            ));
        }
        let ringing = Ringing {
            offer,
            caller_local,
            our_offer,
            pbx_side: None,
            answer: None,
            until: ring_until,
            try_until: patience.map(|patience| now + patience),
            attempts,
        };
        let told = Told {
            wacid: meta::wacid(&caller.request.headers).map(str::to_owned),
            ..Told::default()
        };
        let mut call = Call {
            parties,
            caller,
            caller_flow,
            callee,
            heard: false,
            judged: false,
            abandoned: Vec::new(),
            summarised: false,
            auth: Authenticator::default(),
            pbx_auth: digest::client::Client::new(),
            session: media.id,
            state: State::Ringing(Box::new(ringing)),
            held: None,
            unproven: Vec::new(),
            detour: None,
            infos: Infos::default(),
            own: None,
            pbx_by_flow,
            transfers: VecDeque::new(),
            referrals: 0,
            referral: 0,
            ring_timeout,
            pending: 0,
            began: now,
            answered: None,
            ack_waited: None,
            rang: None,
            status: 100,
            callee_status: None,
            told,
            codecs: Codecs::default(),
            transferred: Transfers::default(),
            keying: None,
            media: None,
        };
        let invite = call.callee.request().clone();
        call.open(
            invite,
            call.first_hop(call.callee_leg()),
            Purpose::Invite(0),
            &mut turn,
        );
        (call, turn.actions)
    }

    /// Takes one event; returns what must be done now, in order.
    #[must_use]
    pub fn handle(&mut self, event: Event, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        let mut turn = Turn {
            now,
            tokens,
            actions: Vec::new(),
        };
        match event {
            Event::Response(purpose, response) => self.response(purpose, response, &mut turn),
            Event::Lost(purpose, why) => self.lost(purpose, why, &mut turn),
            Event::Cancelled(cancel) => self.caller_gave_up(reason_of(&cancel), &mut turn),
            Event::Ack(leg, ack) => self.ack(leg, &ack, &mut turn),
            Event::Request(leg, server, request) => self.request(leg, server, &request, &mut turn),
            Event::AnswerSent => self.start_meta(&mut turn),
            Event::Silent(leg) => self.silent(leg, &mut turn),
            Event::Keyed(leg) => self.keyed(leg, &mut turn),
            Event::Pressed(leg, press) => self.pressed(leg, press, &mut turn),
            Event::Faced(faced) => self.faced(faced, &mut turn),
            Event::MediaFailed(leg, why) => self.media_failed(leg, &why, &mut turn),
            Event::MediaClosed(stats) => self.media_closed(*stats, &mut turn),
            Event::Stop => self.stop(&mut turn),
            Event::GiveUp => self.give_up(&mut turn),
            Event::Deadline => self.tick(&mut turn),
        }
        turn.actions
    }

    /// When [`Event::Deadline`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Ringing(ringing) => {
                let try_until = self.patience_ends();
                Some(try_until.map_or(ringing.until, |at| at.min(ringing.until)))
            }
            State::Talking(talking) => talking
                .ack_by
                .into_iter()
                .chain(self.caller.deadline())
                .chain(talking.pbx.as_ref().and_then(|pbx| pbx.deadline()))
                .chain(self.transfer_due())
                .min(),
            State::Closing(_) if self.held.is_some() => self.caller.deadline(),
            State::Closing(closing) => Some(closing.until),
        }
    }

    /// Names the media session.
    pub fn session(&self) -> SessionId {
        self.session
    }

    /// The transaction of the caller's INVITE.
    pub fn server(&self) -> ServerId {
        self.caller.id
    }

    fn caller_leg(&self) -> Leg {
        self.parties.direction.caller()
    }

    fn callee_leg(&self) -> Leg {
        self.parties.direction.callee()
    }

    fn tick(&mut self, turn: &mut Turn<'_>) {
        match &self.state {
            State::Ringing(ringing) if turn.now >= ringing.until => {
                let refusal = Refusal::new(
                    480,
                    19,
                    format!("{} did not answer in time", self.callee_leg()),
                );
                self.end(EndedBy::Bridge, &refusal, turn);
            }
            State::Ringing(_) if self.patience_ends().is_some_and(|at| turn.now >= at) => {
                self.gives_up_waiting(turn)
            }
            State::Talking(talking) => {
                if talking.ack_by.is_some_and(|by| turn.now >= by) {
                    self.acknowledge(turn);
                }
                self.repeat_our_200(turn);
                self.repeat_to_pbx(turn);
                self.keep_session(turn);
                self.tick_transfer(turn);
            }
            State::Closing(_) if self.held.is_some() => self.repeat_our_200(turn),
            _ => {}
        }
    }
}
