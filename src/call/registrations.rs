//! Our registrations at the PBXs that want their trunks registered: one at each registrar, each with its own state.
//!
//! ```text
//!   set-up ──▶ Desk ── what is wanted differs from what there is ──▶ leave, then the next Registration
//! ```

use std::collections::HashMap;
use std::time::Instant;

use super::setup::Setup;
use crate::sip::message::{Request, Response};
use crate::sip::register::{Account, Action, Event, News, Registration, Standing};
use crate::sip::token::Tokens;
use crate::sip::transaction::ClientId;
use crate::sip::transport::Hop;

/// All registrations that there are, or that are about to be gone.
#[derive(Debug, Default)]
pub struct Registrations {
    desks: Vec<Desk>,
    clients: HashMap<ClientId, Place>,
}

/// One registrar of one PBX.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Name of the PBX.
    pub pbx: String,
    /// Its address.
    pub registrar: Hop,
}

/// A REGISTER that wants a client transaction, which [`Registrations::bind`] is then told of.
#[derive(Debug)]
pub struct Asks {
    /// Whom it asks.
    pub place: Place,
    /// What is sent.
    pub request: Request,
}

/// What is registered at one place, and what is to be registered there next.
#[derive(Debug)]
struct Desk {
    place: Place,
    registration: Registration,
    /// What takes its place once it has left; `None`: nothing, or itself as long as it stays.
    next: Option<Account>,
}

impl Registrations {
    /// Follows a set-up: what it still wants stays as it is, what it wants otherwise leaves first.
    pub fn configure(&mut self, setup: &Setup, tokens: &mut Tokens, now: Instant) -> Vec<Asks> {
        let mut wanted = wanted(setup);
        let mut asks = Vec::new();
        for desk in &mut self.desks {
            let at = wanted.iter().position(|(place, _)| *place == desk.place);
            let account = at.map(|at| wanted.swap_remove(at).1);
            match account {
                Some(account) if account == *desk.registration.account() && desk.stays() => {}
                next => {
                    desk.next = next;
                    asks.extend(desk.handle(Event::Leave, tokens, now));
                }
            }
        }
        for (place, account) in wanted {
            self.desks.push(Desk {
                place,
                registration: Registration::new(account, None, tokens, now),
                next: None,
            });
        }
        self.go_on(tokens, now);
        asks
    }

    /// Takes every registration away.
    pub fn stop(&mut self, tokens: &mut Tokens, now: Instant) -> Vec<Asks> {
        let mut asks = Vec::new();
        for desk in &mut self.desks {
            desk.next = None;
            asks.extend(desk.handle(Event::Leave, tokens, now));
        }
        self.go_on(tokens, now);
        asks
    }

    /// When [`Registrations::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        self.desks
            .iter()
            .filter_map(|desk| desk.registration.deadline())
            .min()
    }

    /// Time has passed.
    pub fn tick(&mut self, tokens: &mut Tokens, now: Instant) -> Vec<Asks> {
        let mut asks = Vec::new();
        for desk in &mut self.desks {
            if desk.registration.deadline().is_some_and(|due| due <= now) {
                asks.extend(desk.handle(Event::Deadline, tokens, now));
            }
        }
        self.go_on(tokens, now);
        asks
    }

    /// The transaction of a REGISTER has been opened.
    pub fn bind(&mut self, client: ClientId, place: Place) {
        self.clients.insert(client, place);
    }

    /// A response in a transaction.
    pub fn answered(
        &mut self,
        client: ClientId,
        response: Response,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Vec<Asks> {
        match response.is_provisional() {
            true => Vec::new(),
            false => self.tell(client, Event::Response(response), tokens, now),
        }
    }

    /// A transaction ended without a final response.
    pub fn lost(
        &mut self,
        client: ClientId,
        why: String,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Vec<Asks> {
        self.tell(client, Event::Lost(why), tokens, now)
    }

    /// Every registration that is wanted, and how it stands.
    pub fn standings(&self) -> impl Iterator<Item = (&Place, Standing)> {
        self.desks
            .iter()
            .filter(|desk| desk.stays() || desk.next.is_some())
            .map(|desk| (&desk.place, desk.registration.standing()))
    }

    /// Whether nothing is registered any more, or about to be.
    pub fn is_empty(&self) -> bool {
        self.desks.is_empty()
    }

    fn tell(
        &mut self,
        client: ClientId,
        event: Event,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Vec<Asks> {
        let Some(place) = self.clients.remove(&client) else {
            return Vec::new();
        };
        let desk = self.desks.iter_mut().find(|desk| desk.place == place);
        let asks = desk.map_or_else(Vec::new, |desk| desk.handle(event, tokens, now));
        self.go_on(tokens, now);
        asks
    }

    /// Where one registration has left, the next one begins. What the old one still has under way is not its own.
    fn go_on(&mut self, tokens: &mut Tokens, now: Instant) {
        let clients = &mut self.clients;
        self.desks.retain_mut(|desk| {
            if !desk.registration.is_over() {
                return true;
            }
            clients.retain(|_, place| *place != desk.place);
            let Some(account) = desk.next.take() else {
                return false;
            };
            let series = desk.registration.series();
            desk.registration = Registration::new(account, Some(series), tokens, now);
            true
        });
    }
}

impl Desk {
    fn stays(&self) -> bool {
        !self.registration.is_leaving()
    }

    fn handle(&mut self, event: Event, tokens: &mut Tokens, now: Instant) -> Vec<Asks> {
        let mut asks = Vec::new();
        for action in self.registration.handle(event, tokens, now) {
            match action {
                Action::Send(request) => asks.push(Asks {
                    place: self.place.clone(),
                    request,
                }),
                Action::News(news) => self.log(&news),
            }
        }
        asks
    }

    fn log(&self, news: &News) {
        let (pbx, registrar) = (&self.place.pbx, &self.place.registrar);
        match news {
            News::Registered {
                refreshed: true, ..
            } => tracing::debug!(pbx, %registrar, "registered anew"),
            News::Registered {
                granted, listed, ..
            } => {
                tracing::info!(pbx, %registrar, granted_s = granted.as_secs(), "registered at the PBX");
                if !listed {
                    tracing::info!(
                        pbx,
                        %registrar,
                        "the PBX does not list our Contact as we gave it: if its calls do not arrive, set pbx.our_host to \
                         the address by which it reaches us"
                    );
                }
            }
            News::Failed {
                why,
                again,
                repeated: false,
            } => {
                tracing::warn!(pbx, %registrar, why, again_s = again.as_secs(), "cannot register at the PBX")
            }
            News::Failed { why, again, .. } => {
                tracing::debug!(pbx, %registrar, why, again_s = again.as_secs(), "still cannot register at the PBX")
            }
            News::Expired => {
                tracing::warn!(pbx, %registrar, "the registration is over: the PBX does not find us any more")
            }
            News::Left => tracing::info!(pbx, %registrar, "not registered any more"),
        }
    }
}

/// What a set-up wants to be registered, and where.
fn wanted(setup: &Setup) -> Vec<(Place, Account)> {
    let mut wanted = Vec::new();
    for (pbx, _) in &setup.pbxs {
        for registrar in pbx
            .register
            .iter()
            .flat_map(|register| &register.registrars)
        {
            let place = Place {
                pbx: pbx.name.clone(),
                registrar: registrar.clone(),
            };
            let is_new = !wanted.iter().any(|(earlier, _)| *earlier == place);
            if let Some(account) = pbx.account(registrar).filter(|_| is_new) {
                wanted.push((place, account));
            }
        }
    }
    wanted
}
