//! The thread that writes records, and how it is reached.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{
    Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError, channel, sync_channel,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use super::journal::Journal;
use super::{COMPLAINTS, Records, Settings};
use crate::number::Written;

/// Records that may wait for the disk: some 20 MB, and a quarter of an hour of a busy bridge.
pub(super) const WAITING: usize = 16_384;
/// Octets that are written at once.
const BATCH: usize = 64 * 1024;
/// Longest time between writing a record and having it on the disk; and between two attempts where it fails.
const SECOND: Duration = Duration::from_secs(1);
/// How long the thread sleeps if nobody wakes it.
const IDLE: Duration = Duration::from_secs(3600);
/// How long a stop waits for a disk that takes nothing, or does not come back at all.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What the thread is handed.
#[derive(Debug)]
enum Order {
    Line(String),
    /// Look at what is shared.
    Wake,
}

#[derive(Debug, Default)]
struct Shared {
    settings: Mutex<Arc<Settings>>,
    waiting: AtomicUsize,
    trouble: AtomicBool,
    stopping: AtomicBool,
}

impl Shared {
    fn settings(&self) -> MutexGuard<'_, Arc<Settings>> {
        // What it holds is whole at any time: nothing can panic while it is replaced.
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where lines are left for the writer.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    lines: SyncSender<Order>,
    shared: Arc<Shared>,
}

impl Desk {
    /// How records are to be written; `None` if they are not.
    pub(super) fn wanted(&self) -> Option<Written> {
        let settings = self.shared.settings();
        settings.file.is_some().then_some(settings.numbers)
    }

    /// Leaves a line; `false` if there is no room for it. Never waits.
    pub(super) fn put(&self, line: String) -> bool {
        self.shared.waiting.fetch_add(1, Ordering::Relaxed);
        let put = self.lines.try_send(Order::Line(line));
        if put.is_err() {
            self.shared.waiting.fetch_sub(1, Ordering::Relaxed);
        }
        put.is_ok()
    }

    fn wake(&self) {
        match self.lines.try_send(Order::Wake) {
            // With so much to do it does not sleep.
            Ok(()) | Err(TrySendError::Full(_)) => {}
            Err(TrySendError::Disconnected(_)) => tracing::error!("nobody writes call records"),
        }
    }
}

/// Tells whether the file cannot be written.
#[derive(Clone, Debug)]
pub struct FileState(Arc<Shared>);

impl FileState {
    /// Whether it cannot just now.
    pub fn is_failing(&self) -> bool {
        self.0.trouble.load(Ordering::Relaxed)
    }
}

/// The thread that writes.
#[derive(Debug)]
pub struct Writer {
    desk: Desk,
    done: Receiver<()>,
}

impl Writer {
    /// Starts the thread, which sleeps while no file is set.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened, or there is no thread to be had.
    pub fn start(settings: &Settings) -> io::Result<(Records, Writer)> {
        let (lines, orders) = sync_channel(WAITING);
        let (done_here, done) = channel();
        let desk = Desk {
            lines,
            shared: Arc::default(),
        };
        let writer = Writer { desk, done };
        writer.reload(settings)?;
        let scribe = Scribe::new(orders, writer.desk.shared.clone());
        thread::Builder::new()
            .name("records".into())
            .spawn(move || scribe.run(&done_here))?;
        Ok((Records::new(writer.desk.clone()), writer))
    }

    /// Takes other settings over.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened; then everything stays as it was.
    pub fn reload(&self, settings: &Settings) -> io::Result<()> {
        if let Some(file) = &settings.file {
            Journal::open(file)?;
        }
        *self.desk.shared.settings() = Arc::new(settings.clone());
        self.desk.wake();
        Ok(())
    }

    /// Tells whether the file cannot be written, as long as anybody wants to know.
    pub fn file_state(&self) -> FileState {
        FileState(self.desk.shared.clone())
    }

    /// Returns when everything that was left is written and on the disk, or some seconds have passed.
    pub fn stop(self) {
        self.desk.shared.stopping.store(true, Ordering::Relaxed);
        self.desk.wake();
        // The thread gives up by itself; a disk that hangs may keep it from doing so.
        if let Err(RecvTimeoutError::Timeout) = self.done.recv_timeout(LAST_WORDS + SECOND) {
            let lost = self.desk.shared.waiting.load(Ordering::Relaxed);
            tracing::error!(lost, "call records are lost: the disk does not answer");
        }
    }
}

/// The thread's own.
struct Scribe {
    orders: Receiver<Order>,
    shared: Arc<Shared>,
    settings: Arc<Settings>,
    journal: Option<Journal>,
    /// Lines that are to be written next, and how many they are.
    batch: Vec<u8>,
    lines: usize,
    /// When what is written must be on the disk.
    sync_by: Option<Instant>,
    trouble: Option<Trouble>,
    give_up: Option<Instant>,
}

/// The file cannot be written.
struct Trouble {
    again: Instant,
    complained: Instant,
}

impl Scribe {
    fn new(orders: Receiver<Order>, shared: Arc<Shared>) -> Scribe {
        let settings = shared.settings().clone();
        Scribe {
            orders,
            shared,
            settings,
            journal: None,
            batch: Vec::with_capacity(BATCH),
            lines: 0,
            sync_by: None,
            trouble: None,
            give_up: None,
        }
    }

    fn run(mut self, done: &Sender<()>) {
        while self.turn() {}
        // It fails when nobody waits for the end.
        let _ = done.send(());
    }

    /// One round; `false` when all is done.
    fn turn(&mut self) -> bool {
        let woken = match self.trouble.is_some() {
            // The queue is left alone, so that it fills up and no more; a stop is noticed soon.
            true => {
                thread::sleep(SECOND / 10);
                true
            }
            false => self.wait(),
        };
        self.look_around();
        if self.trouble.is_none() {
            self.collect();
        }
        let now = Instant::now();
        if self
            .trouble
            .as_ref()
            .is_none_or(|trouble| now >= trouble.again)
        {
            let outcome = self.write().and_then(|()| self.sync(now));
            self.note(outcome, now);
        }
        let finished = !woken || self.shared.stopping.load(Ordering::Relaxed);
        !(finished && self.is_done(now))
    }

    /// Waits for a line or a reason to look; `false` if nobody can send any more.
    fn wait(&mut self) -> bool {
        let now = Instant::now();
        let until = self
            .sync_by
            .map_or(IDLE, |by| by.saturating_duration_since(now));
        let until = match self.shared.stopping.load(Ordering::Relaxed) {
            true => Duration::ZERO,
            false => until,
        };
        match self.orders.recv_timeout(until) {
            Ok(order) => self.take(order),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return false,
        }
        true
    }

    fn collect(&mut self) {
        while self.batch.len() < BATCH {
            match self.orders.try_recv() {
                Ok(order) => self.take(order),
                Err(_) => break,
            }
        }
    }

    fn take(&mut self, order: Order) {
        if let Order::Line(line) = order {
            self.batch.extend_from_slice(line.as_bytes());
            self.lines += 1;
        }
    }

    /// Follows the settings: another file is begun when the old one is on the disk.
    fn look_around(&mut self) {
        let settings = self.shared.settings().clone();
        if Arc::ptr_eq(&settings, &self.settings) {
            return;
        }
        self.settings = settings;
        let moves = |journal: &Journal| self.settings.file.as_deref() != Some(journal.path());
        if let Some(mut journal) = self.journal.take_if(|journal| moves(journal))
            && let Err(error) = journal.sync()
        {
            tracing::error!(%error, "call records may be lost");
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(path) = self.settings.file.as_deref() else {
            // Records are not wanted any more.
            self.forget_batch();
            return Ok(());
        };
        if self.batch.is_empty() {
            return Ok(());
        }
        let journal = self.journal.get_or_insert_with(|| Journal::at(path));
        journal.append(&self.batch, self.settings.rotation())?;
        self.forget_batch();
        self.sync_by.get_or_insert_with(|| Instant::now() + SECOND);
        Ok(())
    }

    fn forget_batch(&mut self) {
        self.shared.waiting.fetch_sub(self.lines, Ordering::Relaxed);
        self.batch.clear();
        self.lines = 0;
    }

    fn sync(&mut self, now: Instant) -> io::Result<()> {
        let stopping = self.shared.stopping.load(Ordering::Relaxed);
        if !self.sync_by.is_some_and(|by| stopping || now >= by) {
            return Ok(());
        }
        self.sync_by = None;
        self.journal.as_mut().map_or(Ok(()), Journal::sync)
    }

    fn note(&mut self, outcome: io::Result<()>, now: Instant) {
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        match (outcome, &mut self.trouble) {
            (Ok(()), None) => {}
            (Ok(()), Some(_)) => {
                self.trouble = None;
                tracing::warn!(waiting, "call records are written again");
            }
            (Err(error), None) => {
                complain(&error, waiting, &self.settings);
                self.trouble = Some(Trouble {
                    again: now + SECOND,
                    complained: now,
                });
            }
            (Err(error), Some(trouble)) => {
                trouble.again = now + SECOND;
                if now - trouble.complained >= COMPLAINTS {
                    trouble.complained = now;
                    complain(&error, waiting, &self.settings);
                }
            }
        }
        let trouble = self.trouble.is_some();
        self.shared.trouble.store(trouble, Ordering::Relaxed);
    }

    /// Whether a stop has nothing more to wait for.
    fn is_done(&mut self, now: Instant) -> bool {
        let waiting = self.shared.waiting.load(Ordering::Relaxed);
        if waiting == 0 && self.sync_by.is_none() {
            return true;
        }
        let given_up = now >= *self.give_up.get_or_insert(now + LAST_WORDS);
        if given_up {
            tracing::error!(
                lost = waiting,
                "call records are lost: they could not be written in time"
            );
        }
        given_up
    }
}

fn complain(error: &io::Error, waiting: usize, settings: &Settings) {
    let file = settings
        .file
        .as_ref()
        .map(|file| tracing::field::display(file.display()));
    tracing::error!(
        %error,
        file,
        waiting,
        "call records cannot be written: they wait, and calls go on; make room, or mend the file"
    );
}
