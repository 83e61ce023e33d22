//! One thread of the engine: a loop over what happens at the sockets of its sessions, and their deadlines.
//!
//! ```text
//!   wait ▶ orders of signalling ▶ datagrams ▶ deadlines ▶ wait …
//! ```
//!
//! It sleeps until one of the three has something for it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tracing::{error, warn};

use super::io::{Backend, Event};
use super::outbox::Outbox;
use super::slot::{self, Opening, Slot};
use super::sockets::Bound;
use super::tape::{Length, Recording};
use super::totals::Totals;
use super::{Command, MediaEvent, SessionId, SessionStats};

/// How old the totals may be while sessions are up.
const TOTALS_AGE: Duration = Duration::from_secs(1);

/// Where sessions report to.
pub(crate) type Listener = Arc<dyn Fn(MediaEvent) + Send + Sync>;

/// Who wants to know what is written down of a session; dropped where nothing is.
pub(crate) type Reader = Box<dyn FnOnce(Recording) + Send>;

/// What signalling asks of a worker.
pub(crate) enum Order {
    Open(Box<Opening>),
    /// The PBX's side listens there.
    Face(SessionId, Box<Bound>),
    Command(SessionId, Command),
    Close(SessionId),
    /// Say what every session has carried so far. Whoever asked may have gone.
    Tell(mpsc::Sender<Vec<(SessionId, SessionStats)>>),
    /// Write down what it carries, or no more. The address is what Meta is told.
    Record(SessionId, Option<Length>, IpAddr),
    /// Hand out what is written down.
    Read(SessionId, Reader),
    Stop,
}

/// The state of one thread.
pub(crate) struct Worker {
    sockets: Box<dyn Backend>,
    orders: mpsc::Receiver<Order>,
    listener: Listener,
    /// Sessions on this worker, counted by whoever opens them.
    load: Arc<AtomicUsize>,
    /// Times that this thread has come round its loop: whoever watches over it looks here.
    turns: Arc<AtomicU64>,
    /// What its sessions have carried, for whoever asks.
    totals: Arc<Totals>,
    summed_up: Instant,
    slots: Vec<Option<Slot>>,
    free: Vec<usize>,
    index: HashMap<SessionId, usize>,
    deadlines: BinaryHeap<Reverse<(Instant, usize)>>,
    out: Outbox,
    stopping: bool,
}

impl Worker {
    /// A worker without sessions.
    pub(crate) fn new(
        sockets: Box<dyn Backend>,
        orders: mpsc::Receiver<Order>,
        listener: Listener,
        load: Arc<AtomicUsize>,
        turns: Arc<AtomicU64>,
        totals: Arc<Totals>,
    ) -> Worker {
        Worker {
            sockets,
            orders,
            listener,
            load,
            turns,
            totals,
            summed_up: Instant::now(),
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::new(),
            deadlines: BinaryHeap::new(),
            out: Outbox::new(),
            stopping: false,
        }
    }

    /// Runs until told to stop; then every session is closed.
    pub(crate) fn run(mut self) {
        if let Err(error) = self.sockets.begin() {
            error!(%error, "a media worker cannot use its sockets: it carries no sessions");
            self.stopping = true;
        }
        while !self.stopping {
            if let Err(error) = self.turn() {
                error!(%error, "a media worker cannot wait for its sockets: its sessions end");
                break;
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        for index in 0..self.slots.len() {
            self.end(index);
        }
    }

    fn turn(&mut self) -> io::Result<()> {
        self.sockets.wait(self.patience())?;
        // Before the packets, which may be the first of what has just been agreed.
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        // All that a wait has told of had come by then, so one reading of the clock does for it.
        let now = Instant::now();
        while let Some(event) = self.sockets.next() {
            self.happened(event, now);
        }
        let now = Instant::now();
        self.meet_deadlines(now);
        self.sum_up(now);
        Ok(())
    }

    /// How long there is nothing to do unless something comes.
    fn patience(&self) -> Option<Duration> {
        let due = self.deadlines.peek().map(|Reverse((due, _))| *due);
        let sum = (!self.index.is_empty()).then(|| self.summed_up + TOTALS_AGE);
        let next = due.into_iter().chain(sum).min();
        // In whole milliseconds, so that what is due within one of them is met in one turn: else each transcoded call would
        // wake the thread for itself.
        next.map(|next| {
            let left = next.saturating_duration_since(Instant::now());
            Duration::from_millis(left.as_micros().div_ceil(1000) as u64)
        })
    }

    /// Adds what its sessions have carried of late to the totals, if it is time to.
    fn sum_up(&mut self, now: Instant) {
        if now < self.summed_up + TOTALS_AGE {
            return;
        }
        self.summed_up = now;
        for slot in self.slots.iter_mut().flatten() {
            self.totals.add(&slot.session.stats(), &mut slot.told);
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Open(opening) => self.open(*opening),
            Order::Face(id, pbx) => self.face(id, *pbx),
            Order::Command(id, command) => {
                let Some(&index) = self.index.get(&id) else {
                    return;
                };
                let now = Instant::now();
                self.guarded(index, now, |slot, out, _| {
                    if let Err(error) = slot.session.command(command, now, out) {
                        warn!(session = id.0, %error, "the agreed SRTP key cannot be used");
                    }
                });
            }
            Order::Close(id) => {
                if let Some(&index) = self.index.get(&id) {
                    self.end(index);
                }
            }
            Order::Record(id, length, announced) => {
                let slot = self.index.get(&id).map(|&index| &mut self.slots[index]);
                if let Some(Some(slot)) = slot {
                    slot.record(length, announced, &*self.sockets);
                }
            }
            Order::Read(id, reader) => {
                if let Some(tape) = self.slot(id).and_then(|slot| slot.tape.as_ref()) {
                    reader(tape.read());
                }
            }
            Order::Tell(whom) => {
                let slots = self.slots.iter().flatten();
                let _ = whom.send(slots.map(|s| (s.id, s.session.stats())).collect());
            }
            Order::Stop => self.stopping = true,
        }
    }

    fn slot(&mut self, id: SessionId) -> Option<&mut Slot> {
        let index = *self.index.get(&id)?;
        self.slots.get_mut(index)?.as_mut()
    }

    fn open(&mut self, opening: Opening) {
        let id = opening.id;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        match Slot::open(opening, index, &mut *self.sockets) {
            Ok(slot) => {
                self.index.insert(id, index);
                self.slots[index] = Some(slot);
            }
            Err(error) => {
                error!(session = id.0, %error, "a media session could not be watched: it ends");
                self.free.push(index);
                self.gone(id, SessionStats::default());
            }
        }
    }

    fn face(&mut self, id: SessionId, pbx: Bound) {
        let Some(&index) = self.index.get(&id) else {
            return;
        };
        let slot = self.slots.get_mut(index).and_then(Option::as_mut);
        let faced = slot.map(|slot| slot.face(pbx, &mut *self.sockets));
        if let Some(Err(error)) = faced {
            error!(session = id.0, %error, "the new sockets of a media session could not be watched: it ends");
            self.end(index);
        }
    }

    fn happened(&mut self, event: Event, now: Instant) {
        match event {
            Event::Arrived(token, from) => {
                let (index, door) = slot::named_by(token);
                let (leg, socket) = door.of_side();
                self.guarded(index, now, |slot, out, sockets| {
                    let datagram = sockets.octets();
                    slot.session.datagram(leg, socket, from, datagram, now, out);
                });
            }
            Event::Unsent(token) => {
                let (index, door) = slot::named_by(token);
                if let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) {
                    slot.session.unsent(door.of_side().0);
                }
            }
        }
    }

    fn meet_deadlines(&mut self, now: Instant) {
        while let Some(&Reverse((due, index))) = self.deadlines.peek()
            && due <= now
        {
            self.deadlines.pop();
            let slot = self.slots.get_mut(index).and_then(Option::as_mut);
            if let Some(slot) = slot.filter(|slot| slot.wake == Some(due)) {
                slot.wake = None;
                let now = Instant::now();
                self.guarded(index, now, |slot, out, _| slot.session.tick(now, out));
            }
        }
    }

    /// Lets a session work, sends what it wants sent, and notes when it wants to work again. A panic ends that
    /// session alone.
    fn guarded(
        &mut self,
        index: usize,
        now: Instant,
        work: impl FnOnce(&mut Slot, &mut Outbox, &dyn Backend),
    ) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let (out, sockets) = (&mut self.out, &mut *self.sockets);
        out.lend(slot.tape.take(), now);
        let done = catch_unwind(AssertUnwindSafe(|| {
            work(slot, out, sockets);
            slot.post(out, sockets, &self.listener);
        }));
        slot.tape = out.give_back();
        if done.is_err() {
            error!(session = slot.id.0, "a media session panicked: it ends");
            self.out.clear();
            return self.end(index);
        }
        let due = slot.session.deadline();
        if let Some(due) = due.filter(|&due| slot.wake.is_none_or(|wake| due < wake)) {
            slot.wake = Some(due);
            self.deadlines.push(Reverse((due, index)));
        }
    }

    /// Ends a session: its last words, its sockets, its ports, the news.
    fn end(&mut self, index: usize) {
        let Some(mut slot) = self.slots.get_mut(index).and_then(Option::take) else {
            return;
        };
        self.index.remove(&slot.id);
        self.free.push(index);
        let (id, out, sockets) = (slot.id, &mut self.out, &mut *self.sockets);
        let now = Instant::now();
        out.lend(slot.tape.take(), now);
        let said = catch_unwind(AssertUnwindSafe(|| {
            slot.session.close(now, out);
            slot.post(out, sockets, &self.listener);
        }));
        let tape = out.give_back();
        if said.is_err() {
            error!(session = id.0, "a media session panicked at its end");
            self.out.clear();
        }
        let stats = slot.session.stats();
        self.totals.add(&stats, &mut slot.told);
        slot.close(&mut *self.sockets);
        if let Some(tape) = tape {
            let recording = Arc::new(tape.end());
            self.tell(id, MediaEvent::Recorded { id, recording });
        }
        self.gone(id, stats);
    }

    fn gone(&self, id: SessionId, stats: SessionStats) {
        self.load.fetch_sub(1, Ordering::Relaxed);
        let stats = Box::new(stats);
        self.tell(id, MediaEvent::Closed { id, stats });
    }

    fn tell(&self, id: SessionId, event: MediaEvent) {
        let told = catch_unwind(AssertUnwindSafe(|| (self.listener)(event)));
        if told.is_err() {
            error!(session = id.0, "whoever listens to media events panicked");
        }
    }
}
