//! What has come in and waits for the bridge, and in which order it is served.
//!
//! ```text
//!   new calls: INVITEs of no dialog, without credentials ─▶ in the order they came
//!   those that come while too much waits: refused ────────▶ before any of those, in the order it came
//!   everything else ──────────────────────────────────────▶ the same
//! ```
//!
//! So a storm of new calls delays no ACK, BYE or response. An INVITE with credentials is half done: its call was let in when
//! it was challenged. That of a stranger is no call: it waits for none, and counts as none. What one dialog's messages are to
//! each other does not change; only a new INVITE can be overtaken, and neither its CANCEL nor a copy of it overtakes it.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::time::{Duration, Instant};

use super::event::Event;
use super::overload::{Overload, Turn};
use crate::sip::message::{Common, Message, Method, Request};
use crate::sip::transport::Arrival;

/// Most that waits here. Beyond it streams are read no further, and the kernel keeps datagrams for as long as it can.
const MOST: usize = 4096;
/// Most new calls that wait, however late they may be: a burst of 500, and some more. Whoever comes then is refused.
const MOST_NEW: usize = 640;

/// What waits for the bridge.
#[derive(Debug)]
pub struct Intake {
    due: VecDeque<Event>,
    new: VecDeque<Arrival>,
    /// How many of `new` have a Call-ID of this hash.
    call_ids: HashMap<u64, usize>,
    hasher: RandomState,
    overload: Overload,
    turn: Option<Turn>,
}

impl Intake {
    /// Nothing waits; new calls may wait for so long, zero: for ever.
    pub fn new(limit: Duration) -> Intake {
        Intake {
            due: VecDeque::new(),
            new: VecDeque::new(),
            call_ids: HashMap::new(),
            hasher: RandomState::new(),
            overload: Overload::new(limit),
            turn: None,
        }
    }

    /// From now on new calls may wait for so long.
    pub fn configure(&mut self, limit: Duration) {
        self.overload.configure(limit);
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.due.is_empty() && self.new.is_empty()
    }

    /// Whether there is room for more.
    pub fn has_room(&self) -> bool {
        self.due.len() + self.new.len() < MOST
    }

    /// Something has come in; who is a stranger is turned away for that, however busy the bridge is.
    pub fn push(&mut self, event: Event, is_stranger: impl FnOnce(&Arrival) -> bool) {
        let Event::Arrived(arrival) = event else {
            return self.due.push_back(event);
        };
        let waits = match is_new_call(&arrival.message) {
            true => !is_stranger(&arrival),
            false => self.cancels_what_waits(&arrival),
        };
        if !waits {
            self.due.push_back(Event::Arrived(arrival));
        } else if self.is_too_many(&arrival) {
            // He is told now, not when it would have been his turn; who waits already keeps his place.
            self.due.push_back(Event::Excess(arrival));
        } else {
            *self.call_ids.entry(self.hash(&arrival)).or_default() += 1;
            self.new.push_back(arrival);
        }
    }

    /// What is served next: [`Event::Excess`] is a new call that is refused.
    pub fn pop(&mut self, now: Instant) -> Option<Event> {
        self.look(now);
        let due = self.due.pop_front();
        due.or_else(|| self.take_new().map(Event::Arrived))
    }

    /// Sees how long the new call that came first has waited, and whether the bridge is late.
    pub fn look(&mut self, now: Instant) {
        self.turn = self.overload.look(self.waited(now), now).or(self.turn);
    }

    /// How long the new call that came first of those that wait has waited.
    fn waited(&self, now: Instant) -> Duration {
        let oldest = self.new.front();
        oldest.map_or(Duration::ZERO, |new| now.saturating_duration_since(new.at))
    }

    /// Whether it would have to wait for too many others. What goes with a call that waits would not, its CANCEL and a copy of
    /// it, which UDP brings: it must not be refused, and then its call be made.
    fn is_too_many(&self, arrival: &Arrival) -> bool {
        let is_full = self.new.len() >= MOST_NEW || self.overload.refuses(self.waited(arrival.at));
        is_full && !self.cancels_what_waits(arrival) && !self.is_copy(arrival)
    }

    /// When [`Intake::look`] is next due, though nothing comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.overload.deadline()
    }

    /// Whether new calls are refused from now on, or not any more: told once.
    pub fn take_turn(&mut self) -> Option<Turn> {
        self.turn.take()
    }

    fn take_new(&mut self) -> Option<Arrival> {
        let arrival = self.new.pop_front()?;
        let hash = self.hash(&arrival);
        if let Some(count) = self.call_ids.get_mut(&hash) {
            *count -= 1;
            if *count == 0 {
                self.call_ids.remove(&hash);
            }
        }
        Some(arrival)
    }

    /// It must not be answered 481 and its INVITE then ring a phone.
    fn cancels_what_waits(&self, arrival: &Arrival) -> bool {
        let is_cancel =
            matches!(&arrival.message, Message::Request(r) if r.method == Method::CANCEL);
        is_cancel && self.has_its_call(arrival)
    }

    /// Whether the same octets wait already.
    fn is_copy(&self, arrival: &Arrival) -> bool {
        let has_come = || self.new.iter().any(|new| new.octets == arrival.octets);
        self.has_its_call(arrival) && has_come()
    }

    /// Whether a new call of the same Call-ID waits.
    fn has_its_call(&self, arrival: &Arrival) -> bool {
        !self.new.is_empty() && self.call_ids.contains_key(&self.hash(arrival))
    }

    fn hash(&self, arrival: &Arrival) -> u64 {
        let call_id = arrival.message.headers().get("Call-ID");
        self.hasher.hash_one(call_id.unwrap_or_default())
    }
}

/// Whether a message would begin a call of which nothing is known yet.
fn is_new_call(message: &Message) -> bool {
    let has_credentials = |request: &Request| {
        let mut proofs = ["Proxy-Authorization", "Authorization"].into_iter();
        proofs.any(|name| request.headers.get(name).is_some())
    };
    match message {
        Message::Request(request) => {
            request.method == Method::INVITE
                && request.to_tag().is_none()
                && !has_credentials(request)
        }
        Message::Response(_) => false,
    }
}

#[cfg(test)]
mod tests;
