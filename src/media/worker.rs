//! One thread of the engine: an epoll loop over the sockets of its sessions, and their deadlines.
//!
//! ```text
//!   poll ▶ orders of signalling ▶ datagrams (so many a socket and turn) ▶ deadlines ▶ poll …
//! ```
//!
//! It sleeps until one of the three has something for it.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use tracing::{error, warn};

use super::outbox::Outbox;
use super::slot::{self, Opening, Slot};
use super::sockets::Bound;
use super::tape::{Length, Recording};
use super::totals::Totals;
use super::{Command, MediaEvent, SessionId, SessionStats};

/// Wakes a worker that has orders waiting.
pub(crate) const WAKE: Token = Token(usize::MAX);
/// Datagrams taken from one socket before the others have their turn.
const TURN: usize = 32;
/// Readiness reports taken from the system at once.
const EVENTS: usize = 1024;
/// Largest UDP datagram.
const DATAGRAM: usize = 65_535;

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
    poll: Poll,
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
    /// Sockets that had more to give when their turn ended.
    unfinished: Vec<Token>,
    /// Those of the last turn, while this one goes through them.
    continued: Vec<Token>,
    buffer: Box<[u8]>,
    out: Outbox,
    stopping: bool,
}

impl Worker {
    /// A worker without sessions.
    pub(crate) fn new(
        poll: Poll,
        orders: mpsc::Receiver<Order>,
        listener: Listener,
        load: Arc<AtomicUsize>,
        turns: Arc<AtomicU64>,
        totals: Arc<Totals>,
    ) -> Worker {
        Worker {
            poll,
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
            unfinished: Vec::with_capacity(EVENTS),
            continued: Vec::with_capacity(EVENTS),
            buffer: vec![0; DATAGRAM].into(),
            out: Outbox::new(),
            stopping: false,
        }
    }

    /// Runs until told to stop; then every session is closed.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        while !self.stopping {
            if let Err(error) = self.turn(&mut events) {
                error!(%error, "a media worker cannot wait for its sockets: its sessions end");
                break;
            }
            self.turns.fetch_add(1, Ordering::Relaxed);
        }
        for index in 0..self.slots.len() {
            self.end(index);
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        match self.poll.poll(events, self.patience()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        // Before the packets, which may be the first of what has just been agreed. A packet of a session that ends here
        // finds its slot empty, or no packet in the socket of the slot's next session.
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        // What is left over once more is for the next turn.
        std::mem::swap(&mut self.unfinished, &mut self.continued);
        while let Some(token) = self.continued.pop() {
            self.drain(token);
        }
        for event in events.iter().filter(|event| event.token() != WAKE) {
            self.drain(event.token());
        }
        let now = Instant::now();
        self.meet_deadlines(now);
        self.sum_up(now);
        Ok(())
    }

    /// How long there is nothing to do unless something comes.
    fn patience(&self) -> Option<Duration> {
        if !self.unfinished.is_empty() {
            return Some(Duration::ZERO);
        }
        let due = self.deadlines.peek().map(|Reverse((due, _))| *due);
        let sum = (!self.index.is_empty()).then(|| self.summed_up + TOTALS_AGE);
        let next = due.into_iter().chain(sum).min();
        next.map(|next| next.saturating_duration_since(Instant::now()))
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
                self.guarded(index, |slot, out, _, now| {
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
                if let Some(slot) = self.slot(id) {
                    slot.record(length, announced);
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
        match Slot::new(opening, index, self.poll.registry()) {
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
        let faced = slot.map(|slot| slot.face(pbx, index, self.poll.registry()));
        if let Some(Err(error)) = faced {
            error!(session = id.0, %error, "the new sockets of a media session could not be watched: it ends");
            self.end(index);
        }
    }

    /// Takes what a socket holds, but no more than its turn.
    fn drain(&mut self, token: Token) {
        let (index, door) = slot::named_by(token);
        let (leg, socket) = door.of_side();
        let mut buffer = std::mem::take(&mut self.buffer);
        let mut emptied = false;
        self.guarded(index, |slot, out, listener, now| {
            for _ in 0..TURN {
                match slot
                    .socket(door)
                    .map(|socket| socket.recv_from(&mut buffer))
                {
                    Some(Ok((length, from))) => {
                        slot.session
                            .datagram(leg, socket, from, &buffer[..length], now, out);
                        slot.post(out, listener);
                    }
                    // An error that an earlier packet of ours caused; the next call tells of the next datagram.
                    Some(Err(error)) if error.kind() != ErrorKind::WouldBlock => {}
                    Some(Err(_)) | None => {
                        emptied = true;
                        break;
                    }
                }
            }
        });
        self.buffer = buffer;
        let more = !emptied && self.slots.get(index).is_some_and(Option::is_some);
        if more && !self.unfinished.contains(&token) {
            self.unfinished.push(token);
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
                self.guarded(index, |slot, out, _, now| slot.session.tick(now, out));
            }
        }
    }

    /// Lets a session work, sends what it wants sent, and notes when it wants to work again. A panic ends that
    /// session alone.
    fn guarded(
        &mut self,
        index: usize,
        work: impl FnOnce(&mut Slot, &mut Outbox, &Listener, Instant),
    ) {
        let Some(slot) = self.slots.get_mut(index).and_then(Option::as_mut) else {
            return;
        };
        let (out, listener) = (&mut self.out, &self.listener);
        let now = Instant::now();
        out.lend(slot.tape.take(), now);
        let done = catch_unwind(AssertUnwindSafe(|| {
            work(slot, out, listener, now);
            slot.post(out, listener);
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
        let (id, out, listener) = (slot.id, &mut self.out, &self.listener);
        let now = Instant::now();
        out.lend(slot.tape.take(), now);
        let said = catch_unwind(AssertUnwindSafe(|| {
            slot.session.close(now, out);
            slot.post(out, listener);
        }));
        let tape = out.give_back();
        if said.is_err() {
            error!(session = id.0, "a media session panicked at its end");
            self.out.clear();
        }
        let stats = slot.session.stats();
        self.totals.add(&stats, &mut slot.told);
        drop(slot);
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
