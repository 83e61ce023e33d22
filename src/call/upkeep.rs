//! Requests that the bridge sends on its own account: they belong to no call, and what becomes of one comes back by its
//! [`Errand`].
//!
//! ```text
//!   Upkeep ── Action::Request ──▶ Bridge ──▶ transaction table
//!      ▲────── answered, lost ──────┘
//! ```
//!
//! So far there is one errand: OPTIONS, which finds out which addresses of the PBXs are alive. What calls find out about
//! them counts as well.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::bridge::Bridge;
use super::event;
use super::setup::Setup;
use crate::peer::{Fresh, Pbx};
use crate::policy::Health;
use crate::policy::health::{Change, Due};
use crate::policy::ways::in_order;
use crate::sip::message::{Request, Response};
use crate::sip::token::Tokens;
use crate::sip::transaction::ClientId;
use crate::sip::transport::{Hop, Target};

/// What a request of the bridge's own is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Errand {
    /// To see whether a PBX is alive at one of its addresses.
    Options(Place),
}

/// One address of one PBX.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Name of the PBX.
    pub pbx: String,
    /// The address.
    pub hop: Hop,
}

/// A request of the bridge's own.
#[derive(Debug)]
pub struct Sending {
    /// What for.
    pub errand: Errand,
    /// What is sent.
    pub request: Request,
    /// Where to.
    pub target: Target,
}

/// What must be done.
#[derive(Debug)]
pub enum Action {
    /// Open a client transaction, and [`Upkeep::bind`] it.
    Request(Box<Sending>),
    /// Nobody waits for the answer in this transaction any more.
    Abandon(ClientId),
}

impl Bridge {
    /// Lets the upkeep do one thing, and does what it asks for.
    pub(super) fn keep_up(
        &mut self,
        now: Instant,
        out: &mut Vec<event::Action>,
        step: impl FnOnce(&mut Upkeep, &mut Turn<'_>),
    ) {
        let mut turn = Turn::new(&mut self.tokens, now);
        step(&mut self.upkeep, &mut turn);
        for action in turn.actions {
            match action {
                Action::Request(sending) => {
                    let Sending {
                        errand,
                        request,
                        target,
                    } = *sending;
                    let (client, actions) = self.table.request(request, target, now);
                    self.upkeep.bind(client, errand);
                    self.transactions(actions, now, out);
                }
                Action::Abandon(client) => self.table.abandon(client),
            }
        }
    }
}

/// Tokens, time and the actions so far.
pub struct Turn<'a> {
    /// Now.
    pub now: Instant,
    /// Where tags and branches come from.
    pub tokens: &'a mut Tokens,
    /// What must be done so far, in order.
    pub actions: Vec<Action>,
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
}

/// Everything that the bridge does unasked.
#[derive(Debug, Default)]
pub struct Upkeep {
    addresses: Vec<Watched>,
    clients: HashMap<ClientId, Errand>,
    stopped: bool,
}

#[derive(Debug)]
struct Watched {
    pbx: Arc<Pbx>,
    hop: Hop,
    health: Health,
    asked: Option<ClientId>,
}

impl Upkeep {
    /// Follows a set-up: addresses that it still has keep what is known of them.
    pub fn configure(&mut self, setup: &Setup, turn: &mut Turn<'_>) {
        let mut before = std::mem::take(&mut self.addresses);
        for (pbx, _) in &setup.pbxs {
            for way in &pbx.ways {
                let known = before
                    .iter()
                    .position(|old| old.pbx.name == pbx.name && old.hop == way.hop);
                let lot = match pbx.health.interval.is_zero() {
                    true => 0,
                    false => turn.tokens.number(),
                };
                let watched = match known.map(|at| before.swap_remove(at)) {
                    None => Watched {
                        pbx: pbx.clone(),
                        hop: way.hop.clone(),
                        health: Health::new(pbx.health, lot, turn.now),
                        asked: None,
                    },
                    Some(mut old) => {
                        old.pbx = pbx.clone();
                        old.health.configure(pbx.health, lot, turn.now);
                        old
                    }
                };
                self.addresses.push(watched);
            }
        }
        for gone in before {
            self.abandon(gone.asked, turn);
        }
    }

    /// Nothing is begun any more, and no answer is waited for.
    pub fn stop(&mut self, turn: &mut Turn<'_>) {
        self.stopped = true;
        let clients: Vec<_> = self.clients.drain().map(|(client, _)| client).collect();
        turn.actions
            .extend(clients.into_iter().map(Action::Abandon));
    }

    /// When [`Upkeep::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        if self.stopped {
            return None;
        }
        self.addresses
            .iter()
            .filter_map(|a| a.health.deadline())
            .min()
    }

    /// Time has passed.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        if self.stopped {
            return;
        }
        for at in 0..self.addresses.len() {
            let watched = &mut self.addresses[at];
            match watched.health.tick(turn.now) {
                Some(Due::Ask) => watched.ask(turn),
                Some(Due::Unanswered) => {
                    let asked = watched.asked.take();
                    watched.told(Err("no answer to OPTIONS"), turn);
                    self.abandon(asked, turn);
                }
                Some(Due::Rested) => watched.changed(Change::Up, ""),
                None => {}
            }
        }
    }

    /// The transaction of an errand has been opened.
    pub fn bind(&mut self, client: ClientId, errand: Errand) {
        let Errand::Options(place) = &errand;
        if let Some(watched) = self.at(place) {
            watched.asked = Some(client);
        }
        self.clients.insert(client, errand);
    }

    /// A response in a transaction.
    pub fn answered(&mut self, client: ClientId, response: &Response, turn: &mut Turn<'_>) {
        if response.is_provisional() {
            return;
        }
        match self.clients.remove(&client) {
            None => {}
            // Whoever refuses OPTIONS is alive; only 503 says that it serves nobody now (RFC 3261 §21.5.4).
            Some(Errand::Options(place)) if response.status == 503 => {
                self.options_over(&place, Err("503 to OPTIONS"), turn)
            }
            Some(Errand::Options(place)) => self.options_over(&place, Ok(()), turn),
        }
    }

    /// A transaction ended without a final response.
    pub fn lost(&mut self, client: ClientId, why: &str, turn: &mut Turn<'_>) {
        match self.clients.remove(&client) {
            None => {}
            Some(Errand::Options(place)) => self.options_over(&place, Err(why), turn),
        }
    }

    fn options_over(&mut self, place: &Place, fate: Result<(), &str>, turn: &mut Turn<'_>) {
        if let Some(watched) = self.at(place) {
            watched.asked = None;
            watched.told(fate, turn);
        }
    }

    /// What a call has found out about an address.
    pub fn seen(&mut self, place: &Place, fate: Result<(), String>, now: Instant) {
        if let Some(watched) = self.at(place)
            && let Some(change) = watched.health.seen(fate.is_ok(), now)
        {
            watched.changed(change, &fate.err().unwrap_or_default());
        }
    }

    /// The addresses of these PBXs in the order in which a new call tries them: one PBX after the other, but whatever does not
    /// answer last.
    pub fn ways<'p>(
        &self,
        pbxs: impl Iterator<Item = &'p Arc<Pbx>>,
        tokens: &mut Tokens,
    ) -> Vec<(Arc<Pbx>, Hop)> {
        let mut ways = Vec::new();
        for pbx in pbxs {
            let hops = in_order(&pbx.ways, |hop| self.is_up(pbx, hop), tokens);
            ways.extend(hops.into_iter().map(|hop| (pbx.clone(), hop)));
        }
        ways.sort_by_key(|(pbx, hop)| !self.is_up(pbx, hop));
        ways
    }

    fn is_up(&self, pbx: &Pbx, hop: &Hop) -> bool {
        let of_it = |a: &&Watched| a.pbx.name == pbx.name && a.hop == *hop;
        let found = self.addresses.iter().find(of_it);
        found.is_none_or(|a| a.health.is_up())
    }

    /// Every address of every PBX, and whether it is taken to be alive.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &Hop, bool)> {
        let all = self.addresses.iter();
        all.map(|a| (a.pbx.name.as_str(), &a.hop, a.health.is_up()))
    }

    /// Whether no answer is waited for.
    pub fn is_idle(&self) -> bool {
        self.clients.is_empty()
    }

    fn at(&mut self, place: &Place) -> Option<&mut Watched> {
        self.addresses
            .iter_mut()
            .find(|a| a.pbx.name == place.pbx && a.hop == place.hop)
    }

    fn abandon(&mut self, client: Option<ClientId>, turn: &mut Turn<'_>) {
        if let Some(client) = client {
            self.clients.remove(&client);
            turn.actions.push(Action::Abandon(client));
        }
    }
}

impl Watched {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        let errand = Errand::Options(Place {
            pbx: self.pbx.name.clone(),
            hop: self.hop.clone(),
        });
        let request = self.pbx.options(&self.hop, Fresh::draw(turn.tokens));
        turn.actions.push(Action::Request(Box::new(Sending {
            errand,
            request,
            target: Target::Hop(self.hop.clone()),
        })));
    }

    /// What became of a question.
    fn told(&mut self, fate: Result<(), &str>, turn: &mut Turn<'_>) {
        let lot = turn.tokens.number();
        if let Some(change) = self.health.told(fate.is_ok(), lot, turn.now) {
            self.changed(change, fate.err().unwrap_or_default());
        }
    }

    /// Only what changes is logged.
    fn changed(&self, change: Change, why: &str) {
        let (pbx, address) = (&self.pbx.name, &self.hop);
        match change {
            Change::Up => tracing::info!(pbx, %address, "the PBX answers here again"),
            Change::Down if self.health.is_asked() => tracing::warn!(
                pbx,
                %address,
                why,
                "the PBX does not answer here any more, and calls try its other addresses first: see that it runs and \
                 that its firewall lets us in; if it ignores OPTIONS, set options_interval to 0"
            ),
            Change::Down => tracing::warn!(
                pbx,
                %address,
                why,
                "the PBX takes no calls here, and they try its other addresses first for a while: see that it runs and \
                 that its firewall lets us in"
            ),
        }
    }
}
