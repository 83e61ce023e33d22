//! Whose media is recorded, and what was recorded of calls that are over: so many octets in all, whoever calls.
//!
//! A tape counts from its beginning as if it were full. For a new one the finished ones make room, oldest first, then the
//! oldest of those that are written to.

use std::sync::Arc;
use std::time::Instant;

use super::Serial;
use crate::media::{Length, Recording, SessionId};
use crate::observe::trace::Settings;

/// What the media plane is asked for: to record a session, or no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::observe::trace) struct Ask {
    pub(in crate::observe::trace) session: SessionId,
    pub(in crate::observe::trace) length: Option<Length>,
}

/// Where the media of a call is.
#[derive(Clone, Debug)]
pub enum Tape {
    /// With its session, which goes on.
    Running(SessionId),
    /// Here.
    Over(Arc<Recording>),
}

/// All tapes.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    /// Oldest first.
    tapes: Vec<Entry>,
    asks: Vec<Ask>,
}

#[derive(Debug)]
struct Entry {
    serial: Serial,
    session: SessionId,
    octets: usize,
    recording: Option<Arc<Recording>>,
}

impl Shelf {
    /// A call begins.
    pub(super) fn begin(
        &mut self,
        serial: Serial,
        session: SessionId,
        base: Instant,
        settings: &Settings,
    ) {
        let octets = Length::octets(settings.media);
        let most = settings.most_media();
        if settings.media == 0 || octets > most {
            return;
        }
        self.make_room(most - octets);
        self.tapes.push(Entry {
            serial,
            session,
            octets,
            recording: None,
        });
        let length = Length {
            base,
            seconds: settings.media,
        };
        self.ask(session, Some(length));
    }

    /// A session is over, and this is what there is of it. What had to make room in the meantime is not wanted any more.
    pub(super) fn recorded(&mut self, session: SessionId, recording: &Arc<Recording>) {
        let is_it = |entry: &&mut Entry| entry.session == session && entry.recording.is_none();
        if let Some(entry) = self.tapes.iter_mut().find(is_it) {
            entry.octets = recording.octets();
            entry.recording = Some(recording.clone());
        }
    }

    /// A call is over: if nothing was recorded, nothing will be.
    pub(super) fn over(&mut self, serial: Serial) {
        self.tapes
            .retain(|entry| entry.serial != serial || entry.recording.is_some());
    }

    /// Nobody will ask for it any more.
    pub(super) fn forget(&mut self, serial: Serial) {
        while let Some(at) = self.tapes.iter().position(|e| e.serial == serial) {
            self.remove(at);
        }
    }

    /// From now on by these settings; without any media, what there is goes at once.
    pub(super) fn configure(&mut self, settings: &Settings) {
        let is_on = settings.media > 0 && settings.calls > 0;
        self.make_room(if is_on { settings.most_media() } else { 0 });
    }

    /// Where the media of a call is.
    pub(super) fn find(&self, serial: Serial) -> Option<Tape> {
        let entry = self.tapes.iter().find(|entry| entry.serial == serial)?;
        Some(match &entry.recording {
            Some(recording) => Tape::Over(recording.clone()),
            None => Tape::Running(entry.session),
        })
    }

    /// What is to be asked for since it was last taken.
    pub(super) fn take_asks(&mut self) -> Vec<Ask> {
        std::mem::take(&mut self.asks)
    }

    /// Octets that all of them may take.
    fn octets(&self) -> usize {
        self.tapes.iter().map(|entry| entry.octets).sum()
    }

    fn make_room(&mut self, most: usize) {
        while self.octets() > most {
            let over = self.tapes.iter().position(|e| e.recording.is_some());
            self.remove(over.unwrap_or(0));
        }
    }

    fn remove(&mut self, at: usize) {
        let entry = self.tapes.remove(at);
        if entry.recording.is_none() {
            self.ask(entry.session, None);
        }
    }

    fn ask(&mut self, session: SessionId, length: Option<Length>) {
        self.asks.push(Ask { session, length });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: usize = 1024 * 1024;

    /// Of a minute there is room for three calls.
    fn settings() -> Settings {
        let settings = Settings {
            media: 60,
            media_memory: 10,
            ..Settings::default()
        };
        let call = Length::octets(60);
        assert!((call * 3..call * 4).contains(&(10 * MB)), "{call}");
        settings
    }

    fn begin(shelf: &mut Shelf, number: u64) {
        shelf.begin(number, SessionId(number), Instant::now(), &settings());
    }

    fn end(shelf: &mut Shelf, number: u64, octets: usize) {
        shelf.recorded(SessionId(number), &Arc::new(Recording::of(octets)));
        shelf.over(number);
    }

    /// Each call that has media, and whether it is over.
    fn found(shelf: &Shelf, numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, bool)> {
        let found = numbers.filter_map(|number| Some((number, shelf.find(number)?)));
        found
            .map(|(number, tape)| (number, matches!(tape, Tape::Over(_))))
            .collect()
    }

    /// The sessions that are recorded no more.
    fn stopped(shelf: &mut Shelf) -> Vec<u64> {
        let asks = shelf.take_asks();
        let stopped = asks.iter().filter(|ask| ask.length.is_none());
        stopped.map(|ask| ask.session.0).collect()
    }

    #[test]
    fn for_a_new_call_those_that_are_over_make_room_and_then_the_oldest() {
        let mut shelf = Shelf::default();
        (1..=3).for_each(|number| begin(&mut shelf, number));
        assert_eq!(stopped(&mut shelf), [0; 0]);
        end(&mut shelf, 2, Length::octets(60));
        begin(&mut shelf, 4);
        let all_up = [(1, false), (3, false), (4, false)];
        assert_eq!(found(&shelf, 1..=9), all_up);
        assert_eq!(stopped(&mut shelf), [0; 0], "the second has ended already");
        begin(&mut shelf, 5);
        assert_eq!(found(&shelf, 1..=9), [(3, false), (4, false), (5, false)]);
        assert_eq!(stopped(&mut shelf), [1]);
        // What comes of it all the same finds no place.
        end(&mut shelf, 1, MB);
        assert_eq!(found(&shelf, 1..=1), []);
    }

    #[test]
    fn however_many_call_and_however_they_end_it_is_no_more_than_the_settings_say() {
        let mut shelf = Shelf::default();
        for number in 1..1_000 {
            begin(&mut shelf, number);
            if number % 3 > 0 {
                end(&mut shelf, number, (number as usize % 30) * 100_000);
            }
            assert!(shelf.octets() <= 10 * MB, "{number}: {}", shelf.octets());
            assert!(shelf.find(number).is_some(), "the newest is there");
        }
    }

    #[test]
    fn short_calls_take_no_more_room_than_they_need() {
        let mut shelf = Shelf::default();
        for number in 1..=30 {
            begin(&mut shelf, number);
            end(&mut shelf, number, 100_000);
        }
        assert_eq!(found(&shelf, 1..=30).len(), 30);
    }

    #[test]
    fn where_a_reload_wants_no_media_any_more_all_of_it_goes_at_once() {
        let mut shelf = Shelf::default();
        (1..=2).for_each(|number| begin(&mut shelf, number));
        end(&mut shelf, 1, MB);
        shelf.configure(&Settings {
            media: 30,
            ..settings()
        });
        assert_eq!(
            found(&shelf, 1..=2).len(),
            2,
            "a shorter time is for new calls"
        );
        shelf.configure(&Settings::default());
        assert_eq!(found(&shelf, 1..=2), []);
        assert_eq!(stopped(&mut shelf), [2]);
    }

    #[test]
    fn a_call_of_which_nothing_was_recorded_has_nothing() {
        let mut shelf = Shelf::default();
        begin(&mut shelf, 1);
        shelf.over(1);
        assert!(shelf.find(1).is_none());
    }

    #[test]
    fn nothing_is_asked_for_where_the_settings_say_nothing() {
        let mut shelf = Shelf::default();
        shelf.begin(1, SessionId(1), Instant::now(), &Settings::default());
        assert_eq!(shelf.take_asks(), []);
        assert!(shelf.find(1).is_none());
    }
}
