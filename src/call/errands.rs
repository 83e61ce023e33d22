//! Requests that the bridge sends on its own account: they belong to no call, and what becomes of one comes back to
//! whoever wanted it by its [`Errand`].
//!
//! ```text
//!   Upkeep, Registrations ── Action::Request ──▶ Bridge ──▶ transaction table
//!             ▲──────────── answered, lost ────────┘
//! ```

use std::collections::HashMap;
use std::time::Instant;

use super::bridge::Bridge;
use super::event;
use super::registrations::Registrations;
use super::setup::Setup;
use super::upkeep::Upkeep;
use crate::sip::message::{Request, Response};
use crate::sip::token::Tokens;
use crate::sip::transaction::ClientId;
use crate::sip::transport::{Hop, Target};

/// What a request of the bridge's own is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Errand {
    /// To see whether a PBX is alive at one of its addresses.
    Options(Place),
    /// To be registered, or not any more.
    Register(Place),
}

/// One address of one PBX, or one of its registrars.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the PBX.
    pub pbx: String,
    /// The address.
    pub hop: Hop,
}

/// What must be done.
#[derive(Debug)]
pub enum Action {
    /// Open a client transaction for it, to the errand's place.
    Request(Errand, Box<Request>),
    /// Nobody waits for the answer in this transaction any more.
    Abandon(ClientId),
}

/// Tokens, time and the actions so far.
pub struct Turn<'a> {
    /// Now.
    pub now: Instant,
    /// Where tags and branches come from.
    pub tokens: &'a mut Tokens,
    /// What must be done so far, in order.
    actions: Vec<Action>,
}

impl Turn<'_> {
    /// A turn without actions so far.
    pub fn new(tokens: &mut Tokens, now: Instant) -> Turn<'_> {
        Turn {
            now,
            tokens,
            actions: Vec::new(),
        }
    }

    /// Sends a request.
    pub fn request(&mut self, errand: Errand, request: Request) {
        self.actions
            .push(Action::Request(errand, Box::new(request)));
    }

    /// Gives a transaction up, if there is one.
    pub fn abandon(&mut self, client: Option<ClientId>) {
        self.actions.extend(client.map(Action::Abandon));
    }
}

/// Everything that the bridge does unasked.
#[derive(Debug, Default)]
pub struct Errands {
    /// Which addresses of the PBXs are alive.
    pub upkeep: Upkeep,
    /// What is registered at them.
    pub registrations: Registrations,
    under_way: HashMap<ClientId, Errand>,
}

impl Errands {
    /// Follows a set-up.
    pub fn configure(&mut self, setup: &Setup, turn: &mut Turn<'_>) {
        self.registrations.configure(setup, turn);
        self.upkeep.configure(setup, turn);
    }

    /// When [`Errands::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let both = [self.registrations.deadline(), self.upkeep.deadline()];
        both.into_iter().flatten().min()
    }

    /// Time has passed.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        self.registrations.tick(turn);
        self.upkeep.tick(turn);
    }

    /// Whether nothing is registered, and no answer waited for.
    pub fn is_empty(&self) -> bool {
        self.registrations.is_empty() && self.under_way.is_empty()
    }

    /// The transaction of an errand has been opened.
    fn bind(&mut self, client: ClientId, errand: Errand) {
        match &errand {
            Errand::Options(place) => self.upkeep.bind(client, place),
            Errand::Register(place) => self.registrations.bind(client, place),
        }
        self.under_way.insert(client, errand);
    }

    fn answered(&mut self, client: ClientId, response: Response, turn: &mut Turn<'_>) {
        if response.is_provisional() {
            return;
        }
        match self.under_way.remove(&client) {
            None => {}
            Some(Errand::Options(place)) => self.upkeep.answered(&place, &response, turn),
            Some(Errand::Register(place)) => self.registrations.answered(&place, response, turn),
        }
    }

    fn lost(&mut self, client: ClientId, why: String, turn: &mut Turn<'_>) {
        match self.under_way.remove(&client) {
            None => {}
            Some(Errand::Options(place)) => self.upkeep.lost(&place, &why, turn),
            Some(Errand::Register(place)) => self.registrations.lost(&place, why, turn),
        }
    }
}

impl Bridge {
    /// Does one thing on the bridge's own account, and what follows from it.
    pub(super) fn run_errands(
        &mut self,
        now: Instant,
        out: &mut Vec<event::Action>,
        step: impl FnOnce(&mut Errands, &mut Turn<'_>),
    ) {
        let mut turn = Turn::new(&mut self.tokens, now);
        step(&mut self.errands, &mut turn);
        for action in turn.actions {
            match action {
                Action::Request(errand, request) => {
                    let (Errand::Options(place) | Errand::Register(place)) = &errand;
                    let target = Target::Hop(place.hop.clone());
                    let (client, actions) = self.table.request(*request, target, now);
                    self.errands.bind(client, errand);
                    self.transactions(actions, now, out);
                }
                Action::Abandon(client) => {
                    self.errands.under_way.remove(&client);
                    self.table.abandon(client);
                }
            }
        }
    }

    /// The answer to a request that no call sent.
    pub(super) fn errand_answered(
        &mut self,
        client: ClientId,
        response: Response,
        now: Instant,
        out: &mut Vec<event::Action>,
    ) {
        self.run_errands(now, out, |errands, turn| {
            errands.answered(client, response, turn)
        });
    }

    /// A request that no call sent gets no answer.
    pub(super) fn errand_lost(
        &mut self,
        client: ClientId,
        why: String,
        now: Instant,
        out: &mut Vec<event::Action>,
    ) {
        self.run_errands(now, out, |errands, turn| errands.lost(client, why, turn));
    }

    /// Nobody is to call a bridge that takes no calls any more.
    pub(super) fn unregister(&mut self, now: Instant, out: &mut Vec<event::Action>) {
        self.run_errands(now, out, |errands, turn| errands.registrations.stop(turn));
    }
}
