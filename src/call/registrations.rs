//! Our registrations at the PBXs that want their trunks registered: one at each registrar, each with its own state.
//!
//! ```text
//!   set-up ──▶ Desk ── what is wanted differs from what there is ──▶ leave, then the next Registration
//! ```

use std::time::Instant;

use super::errands::{Errand, Place, Turn};
use super::setup::Setup;
use crate::number::without_numbers;
use crate::sip::message::Response;
use crate::sip::register::{Account, Action, Event, News, Registration, Standing};
use crate::sip::transaction::ClientId;

/// All registrations that there are, or that are about to be gone.
#[derive(Debug, Default)]
pub struct Registrations {
    desks: Vec<Desk>,
    stopped: bool,
}

/// What is registered at one place, and what is to be registered there next.
#[derive(Debug)]
struct Desk {
    place: Place,
    registration: Registration,
    /// The transaction of its REGISTER.
    asked: Option<ClientId>,
    /// What takes its place once it has left; `None`: nothing, or itself as long as it stays.
    next: Option<Account>,
}

impl Registrations {
    /// Follows a set-up: what it still wants stays as it is, what it wants otherwise leaves first.
    pub fn configure(&mut self, setup: &Setup, turn: &mut Turn<'_>) {
        if self.stopped {
            return;
        }
        let mut wanted = wanted(setup);
        for desk in &mut self.desks {
            let at = wanted.iter().position(|(place, _)| *place == desk.place);
            let account = at.map(|at| wanted.swap_remove(at).1);
            match account {
                Some(account) if account == *desk.registration.account() && desk.stays() => {}
                next => {
                    desk.next = next;
                    desk.handle(Event::Leave, turn);
                }
            }
        }
        for (place, account) in wanted {
            self.desks.push(Desk {
                place,
                registration: Registration::new(account, None, turn.tokens, turn.now),
                asked: None,
                next: None,
            });
        }
        self.go_on(turn);
    }

    /// Takes every registration away, and registers nothing any more.
    pub fn stop(&mut self, turn: &mut Turn<'_>) {
        self.stopped = true;
        for desk in &mut self.desks {
            desk.next = None;
            desk.handle(Event::Leave, turn);
        }
        self.go_on(turn);
    }

    /// When [`Registrations::tick`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        self.desks
            .iter()
            .filter_map(|desk| desk.registration.deadline())
            .min()
    }

    /// Time has passed.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        for desk in &mut self.desks {
            let due = desk.registration.deadline();
            if due.is_some_and(|due| due <= turn.now) {
                desk.handle(Event::Deadline, turn);
            }
        }
        self.go_on(turn);
    }

    /// The transaction of a REGISTER has been opened.
    pub fn bind(&mut self, client: ClientId, place: &Place) {
        if let Some(desk) = self.at(place) {
            desk.asked = Some(client);
        }
    }

    /// The final response to a REGISTER.
    pub fn answered(&mut self, place: &Place, response: Response, turn: &mut Turn<'_>) {
        self.tell(place, Event::Response(response), turn);
    }

    /// A REGISTER got no final response.
    pub fn lost(&mut self, place: &Place, why: String, turn: &mut Turn<'_>) {
        self.tell(place, Event::Lost(why), turn);
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

    fn at(&mut self, place: &Place) -> Option<&mut Desk> {
        self.desks.iter_mut().find(|desk| desk.place == *place)
    }

    fn tell(&mut self, place: &Place, event: Event, turn: &mut Turn<'_>) {
        if let Some(desk) = self.at(place) {
            desk.asked = None;
            desk.handle(event, turn);
        }
        self.go_on(turn);
    }

    /// Where one registration has left, the next one begins. What the old one still has under way is not its own.
    fn go_on(&mut self, turn: &mut Turn<'_>) {
        self.desks.retain_mut(|desk| {
            if !desk.registration.is_over() {
                return true;
            }
            turn.abandon(desk.asked.take());
            let Some(account) = desk.next.take() else {
                return false;
            };
            let series = desk.registration.series();
            desk.registration = Registration::new(account, Some(series), turn.tokens, turn.now);
            true
        });
    }
}

impl Desk {
    fn stays(&self) -> bool {
        !self.registration.is_leaving()
    }

    fn handle(&mut self, event: Event, turn: &mut Turn<'_>) {
        for action in self.registration.handle(event, turn.tokens, turn.now) {
            match action {
                Action::Send(request) => {
                    turn.request(Errand::Register(self.place.clone()), request)
                }
                Action::News(news) => self.log(&news),
            }
        }
    }

    fn log(&self, news: &News) {
        let (pbx, registrar) = (&self.place.pbx, &self.place.hop);
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
                let why = without_numbers(why);
                tracing::warn!(pbx, %registrar, why, again_s = again.as_secs(), "cannot register at the PBX")
            }
            News::Failed { why, again, .. } => {
                let why = without_numbers(why);
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
                hop: registrar.clone(),
            };
            let is_new = !wanted.iter().any(|(earlier, _)| *earlier == place);
            if let Some(account) = pbx.account(registrar).filter(|_| is_new) {
                wanted.push((place, account));
            }
        }
    }
    wanted
}
