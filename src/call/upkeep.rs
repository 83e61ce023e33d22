//! Which addresses of the PBXs are alive: OPTIONS finds out, and what calls find out about them counts as well.

use std::sync::Arc;
use std::time::Instant;

use super::errands::{Errand, Place, Turn};
use super::setup::Setup;
use crate::number::without_numbers;
use crate::peer::{Fresh, Pbx};
use crate::policy::Health;
use crate::policy::health::{Change, Due};
use crate::policy::ways::in_order;
use crate::sip::message::Response;
use crate::sip::token::Tokens;
use crate::sip::transaction::ClientId;
use crate::sip::transport::Hop;

/// Every address of every PBX.
#[derive(Debug, Default)]
pub struct Upkeep {
    addresses: Vec<Watched>,
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
            turn.abandon(gone.asked);
        }
    }

    /// Nothing is begun any more, and no answer is waited for.
    pub fn stop(&mut self, turn: &mut Turn<'_>) {
        self.stopped = true;
        for watched in &mut self.addresses {
            turn.abandon(watched.asked.take());
        }
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
                    turn.abandon(asked);
                }
                Some(Due::Rested) => tracing::info!(
                    pbx = watched.pbx.name,
                    address = %watched.hop,
                    "the PBX is called here again after a rest: whether it answers, only a call can tell"
                ),
                None => {}
            }
        }
    }

    /// The transaction of OPTIONS to this address has been opened.
    pub fn bind(&mut self, client: ClientId, place: &Place) {
        if let Some(watched) = self.at(place) {
            watched.asked = Some(client);
        }
    }

    /// The final response to OPTIONS. Whoever refuses it is alive; only 503 says that it serves nobody now (RFC 3261
    /// §21.5.4).
    pub fn answered(&mut self, place: &Place, response: &Response, turn: &mut Turn<'_>) {
        let fate = match response.status {
            503 => Err("503 to OPTIONS"),
            _ => Ok(()),
        };
        self.options_over(place, fate, turn);
    }

    /// OPTIONS got no final response.
    pub fn lost(&mut self, place: &Place, why: &str, turn: &mut Turn<'_>) {
        self.options_over(place, Err(why), turn);
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

    /// Whether an address is taken to be alive.
    pub fn is_up(&self, pbx: &Pbx, hop: &Hop) -> bool {
        let of_it = |a: &&Watched| a.pbx.name == pbx.name && a.hop == *hop;
        let found = self.addresses.iter().find(of_it);
        found.is_none_or(|a| a.health.is_up())
    }

    /// Every address of every PBX, and whether it is taken to be alive.
    pub fn addresses(&self) -> impl Iterator<Item = (&str, &Hop, bool)> {
        let all = self.addresses.iter();
        all.map(|a| (a.pbx.name.as_str(), &a.hop, a.health.is_up()))
    }

    fn at(&mut self, place: &Place) -> Option<&mut Watched> {
        self.addresses
            .iter_mut()
            .find(|a| a.pbx.name == place.pbx && a.hop == place.hop)
    }
}

impl Watched {
    fn ask(&mut self, turn: &mut Turn<'_>) {
        // A reload may ask anew while an answer is waited for.
        turn.abandon(self.asked.take());
        let errand = Errand::Options(Place {
            pbx: self.pbx.name.clone(),
            hop: self.hop.clone(),
        });
        let request = self.pbx.options(&self.hop, Fresh::draw(turn.tokens));
        turn.request(errand, request);
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
        let (pbx, address, why) = (&self.pbx.name, &self.hop, without_numbers(why));
        match change {
            Change::Up => tracing::info!(pbx, %address, "the PBX answers here again"),
            Change::Down if self.health.is_asked() => tracing::warn!(
                pbx,
                %address,
                why,
                "the PBX does not answer here any more, and calls try other addresses first, where there are any: see that it \
                 runs and that its firewall lets us in; if it ignores OPTIONS, set options_interval to 0"
            ),
            Change::Down => tracing::warn!(
                pbx,
                %address,
                why,
                "the PBX takes no calls here, and for a while they try other addresses first, where there are any: see that it \
                 runs and that its firewall lets us in"
            ),
        }
    }
}
