//! The load: calls begin by the clock, whatever has become of those before (an open loop), and one thread plays Meta and the
//! PBX in all of them.
//!
//! ```text
//!   Asked ──401, 407──▶ Proven ──200──▶ Up ──after its time──▶ Ending ──200──▶ completed
//!     └─── other final ───┴──▶ refused  └── kept
//!     └─── out of patience ─┴──▶ GivenUp (a 200 is acknowledged and ended all the same)
//! ```

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls_pki_types::CertificateDer;

use super::caller::Caller;
use super::meta::Meta;
use super::pbx::{Heard, Pbx, T1};
use super::tally::Tally;
use super::wire::Read;
use crate::far_ends::daemon::own_address;

/// A caller who has waited so long for the 200 gives up.
pub const PATIENCE: Duration = Duration::from_secs(4);
/// Datagrams that are taken before the clock is looked at again.
const AT_ONCE: usize = 16;

const META: Token = Token(0);
const PBX: Token = Token(1);

/// Where a program under test is reached.
pub struct Place {
    /// By Meta, under TLS.
    pub meta: SocketAddr,
    /// By the PBX.
    pub pbx: SocketAddr,
    /// Its certificate, which vouches for itself.
    pub certificate: CertificateDer<'static>,
}

/// What is to be offered.
#[derive(Clone, Copy)]
pub struct Offer {
    /// Calls begun in a second.
    pub rate: f64,
    /// All of them.
    pub calls: u64,
    /// How long a call is up; for ever, if not set.
    pub hold: Option<Duration>,
}

impl Offer {
    /// Calls at this rate for that long.
    pub fn of(rate: f64, time: Duration, hold: Duration) -> Offer {
        Offer {
            rate,
            calls: (rate * time.as_secs_f64()).round().max(1.0) as u64,
            hold: Some(hold),
        }
    }
}

/// A call that is kept, for media.
pub struct Kept {
    number: u64,
    /// Where Meta's media goes.
    pub meta: SocketAddr,
    /// Where the PBX's media goes.
    pub pbx: SocketAddr,
    /// The payload number that the PBX was offered for Opus.
    pub opus: u8,
    /// With which keys Meta hears it: the value of `a=crypto`.
    pub crypto: String,
}

/// Both far ends of a program, and the calls between them.
pub struct World {
    poll: Poll,
    meta: Meta,
    pbx: Pbx,
    caller: Caller,
    /// Where Meta sends and gets media, for all calls.
    pub metas_media: UdpSocket,
    /// Where the PBX does.
    pub pbxs_media: UdpSocket,
    calls: HashMap<u64, Call>,
    kept: Vec<Kept>,
    timers: BinaryHeap<Reverse<(Instant, u64, Timer)>>,
    schedule: Option<Schedule>,
    tallies: Vec<Tally>,
    last: u64,
    /// A message that is being written.
    out: Vec<u8>,
}

struct Call {
    /// Which tally it belongs to.
    load: usize,
    hold: Option<Duration>,
    state: State,
    /// When the last INVITE was sent.
    invited: Instant,
    /// Where requests in the dialog go, and the To that they have.
    dialog: Option<Box<(String, String)>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Asked,
    Proven,
    Up,
    Ending,
    GivenUp,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Timer {
    GiveUp,
    HangUp,
    /// The PBX repeats its 200; the next pause.
    Repeat(Duration),
}

struct Schedule {
    offer: Offer,
    load: usize,
    began: Instant,
    begun: u64,
}

impl Schedule {
    fn next(&self) -> Option<Instant> {
        let after = Duration::from_secs_f64(self.begun as f64 / self.offer.rate);
        (self.begun < self.offer.calls).then(|| self.began + after)
    }
}

impl World {
    /// Connects to a program.
    pub fn of(place: &Place) -> io::Result<World> {
        let metas_media = UdpSocket::bind((own_address(2), 3480))?;
        let pbxs_media = UdpSocket::bind((own_address(3), 16_000))?;
        let poll = Poll::new()?;
        let mut meta = Meta::connect(place.meta, &place.certificate)?;
        let mut pbx = Pbx::new(place.pbx, pbxs_media.local_addr()?)?;
        meta.register(poll.registry(), META)?;
        pbx.register(poll.registry(), PBX)?;
        Ok(World {
            caller: Caller::new(metas_media.local_addr()?),
            poll,
            meta,
            pbx,
            metas_media,
            pbxs_media,
            calls: HashMap::new(),
            kept: Vec::new(),
            timers: BinaryHeap::new(),
            schedule: None,
            tallies: Vec::new(),
            last: 0,
            out: Vec::new(),
        })
    }

    /// Offers these calls; returns when the last has begun.
    pub fn offer(&mut self, offer: Offer) -> usize {
        let load = self.tallies.len();
        self.tallies.push(Tally::default());
        self.schedule = Some(Schedule {
            offer,
            load,
            began: Instant::now(),
            begun: 0,
        });
        while self.schedule.is_some() {
            self.turn(None);
        }
        load
    }

    /// Waits until no call of a load is under way, and gives what became of them.
    pub fn settled(&mut self, load: usize) -> &Tally {
        let patience = Instant::now() + PATIENCE + PATIENCE;
        while self.tallies[load].under_way > 0 && Instant::now() < patience {
            self.turn(Some(patience));
        }
        &self.tallies[load]
    }

    /// Both, one after the other.
    pub fn offer_and_settle(&mut self, offer: Offer) -> &Tally {
        let load = self.offer(offer);
        self.settled(load)
    }

    /// What has become of a load so far.
    pub fn tally(&self, load: usize) -> &Tally {
        &self.tallies[load]
    }

    /// Lets time pass.
    pub fn rest(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.turn(Some(until));
        }
    }

    /// Brings calls up that are kept until there are so many, at this rate; says whether all of them came up.
    pub fn keep(&mut self, calls: usize, rate: f64) -> bool {
        let more = calls.saturating_sub(self.kept.len()) as u64;
        let (calls, hold) = (more, None);
        more == self.offer_and_settle(Offer { rate, calls, hold }).kept
    }

    /// The calls that are kept.
    pub fn kept(&self) -> &[Kept] {
        &self.kept
    }

    /// Ends those kept, at this rate; says whether all of them ended at both ends.
    pub fn hang_up_kept(&mut self, rate: f64) -> bool {
        let began = Instant::now();
        for (at, kept) in std::mem::take(&mut self.kept).into_iter().enumerate() {
            let due = began + Duration::from_secs_f64(at as f64 / rate);
            self.timers.push(Reverse((due, kept.number, Timer::HangUp)));
            if let Some(call) = self.calls.get(&kept.number) {
                let tally = &mut self.tallies[call.load];
                tally.kept -= 1;
                tally.under_way += 1;
            }
        }
        let patience = Instant::now() + 10 * PATIENCE;
        while !self.calls.is_empty() && Instant::now() < patience {
            self.turn(Some(patience));
        }
        self.calls.is_empty() && self.pbx.up() == 0
    }

    /// Does what is due, and what has come; waits for it, but not beyond `until`.
    fn turn(&mut self, until: Option<Instant>) {
        self.clock();
        self.meta.flush();
        if self.meta.is_readable() {
            for message in self.meta.take() {
                self.meta_hears(&message);
            }
        }
        self.pbx_takes();
        self.meta.flush();
        self.poll(until);
    }

    fn poll(&mut self, until: Option<Instant>) {
        let starts = self.schedule.as_ref().and_then(Schedule::next);
        let timer = self.timers.peek().map(|Reverse((due, ..))| *due);
        let due = [until, starts, timer].into_iter().flatten().min();
        let wait = match self.meta.is_readable() || self.pbx.is_readable() {
            true => Some(Duration::ZERO),
            false => due.map(|due| due.saturating_duration_since(Instant::now())),
        };
        let mut events = Events::with_capacity(8);
        match self.poll.poll(&mut events, wait) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => panic!("epoll: {error}"),
            _ => {}
        }
        for event in events.iter().filter(|event| event.is_readable()) {
            match event.token() {
                META => self.meta.wake(),
                _ => self.pbx.wake(),
            }
        }
    }

    fn pbx_takes(&mut self) {
        for _ in 0..AT_ONCE {
            if !self.pbx.is_readable() {
                break;
            }
            if let Some(Heard::Invited(number)) = self.pbx.take() {
                self.after(T1, number, Timer::Repeat(T1));
            }
        }
    }

    /// Begins calls, and does whatever else is due by the clock.
    fn clock(&mut self) {
        let now = Instant::now();
        while let Some(Reverse((due, number, timer))) = self.timers.peek().copied() {
            if due > now {
                break;
            }
            self.timers.pop();
            match timer {
                Timer::GiveUp => self.give_up(number),
                Timer::HangUp => self.hang_up(number),
                Timer::Repeat(pause) => {
                    if let Some(next) = self.pbx.again(number, pause) {
                        self.after(next, number, Timer::Repeat(next));
                    }
                }
            }
        }
        self.begin_due(now);
    }

    fn begin_due(&mut self, now: Instant) {
        while let Some(schedule) = &mut self.schedule {
            let Some(due) = schedule.next() else {
                self.schedule = None;
                return;
            };
            if due > now {
                return;
            }
            schedule.begun += 1;
            let (load, hold) = (schedule.load, schedule.offer.hold);
            let tally = &mut self.tallies[load];
            tally.late = tally.late.max(now - due);
            self.begin(load, hold);
        }
    }

    fn begin(&mut self, load: usize, hold: Option<Duration>) {
        self.last += 1;
        let number = self.last;
        let tally = &mut self.tallies[load];
        tally.offered += 1;
        tally.under_way += 1;
        let call = Call {
            load,
            hold,
            state: State::Asked,
            invited: Instant::now(),
            dialog: None,
        };
        self.calls.insert(number, call);
        self.after(PATIENCE, number, Timer::GiveUp);
        self.say(|caller, out| caller.invite(number, out));
    }

    fn meta_hears(&mut self, message: &[u8]) {
        let message = Read::of(message).expect("it speaks SIP");
        let Some(status) = message.status() else {
            self.meta_is_asked(message);
            return;
        };
        let Some(number) = message.number_at_meta() else {
            return;
        };
        match (message.method(), status) {
            (_, ..200) => {}
            ("INVITE", _) => self.invite_is_answered(number, status, message),
            ("BYE", _) => self.bye_is_answered(number, status),
            _ => {}
        }
    }

    /// Whatever the program asks is granted. A BYE is the one thing that it should not ask.
    fn meta_is_asked(&mut self, request: Read) {
        if request.method() == "ACK" {
            return;
        }
        let mut text = String::from("SIP/2.0 200 OK\r\n");
        for name in ["Via", "From", "To", "Call-ID", "CSeq"] {
            for value in request.all(name) {
                text.push_str(&format!("{name}: {value}\r\n"));
            }
        }
        text.push_str("Content-Length: 0\r\n\r\n");
        self.meta.send(text.as_bytes());
        let number = request
            .number_at_meta()
            .filter(|_| request.method() == "BYE");
        if let Some(call) = number.and_then(|number| self.calls.remove(&number)) {
            let tally = &mut self.tallies[call.load];
            tally.broken += 1;
            match (call.hold, call.state) {
                (None, State::Up) => {
                    tally.kept -= 1;
                    self.kept.retain(|kept| Some(kept.number) != number);
                }
                (_, State::GivenUp) => {}
                _ => tally.under_way -= 1,
            }
        }
    }

    fn invite_is_answered(&mut self, number: u64, status: u16, message: Read) {
        let now = Instant::now();
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        match (status, call.state) {
            (401 | 407, State::Asked) => {
                call.state = State::Proven;
                call.invited = now;
                self.say(|caller, out| caller.prove(number, message, out));
            }
            (200..300, State::Proven) => {
                call.state = State::Up;
                let (target, to) = (message.target().to_owned(), message.header("To").to_owned());
                call.dialog = Some(Box::new((target, to)));
                let (load, hold, took) = (call.load, call.hold, now - call.invited);
                self.tallies[load].setup.add(took);
                self.acknowledge(number);
                match hold {
                    Some(hold) => self.after(hold, number, Timer::HangUp),
                    None => self.is_kept(number, message),
                }
            }
            // Repeated: our ACK was late.
            (200..300, State::Up | State::Ending) => self.acknowledge(number),
            (200..300, State::GivenUp) => {
                let (target, to) = (message.target().to_owned(), message.header("To").to_owned());
                call.dialog = Some(Box::new((target, to)));
                self.acknowledge(number);
                self.hang_up(number);
            }
            (300.., _) => self.is_refused(number, status, message, now),
            _ => {}
        }
    }

    fn is_kept(&mut self, number: u64, message: Read) {
        let tally = &mut self.tallies[self.calls[&number].load];
        tally.kept += 1;
        tally.under_way -= 1;
        let offered = self.pbx.offered(number).expect("it was offered media");
        self.kept.push(Kept {
            number,
            meta: message.media().expect("a 200 describes media"),
            pbx: offered.media,
            opus: offered.opus,
            crypto: message.line("a=crypto:").unwrap_or_default().to_owned(),
        });
    }

    fn is_refused(&mut self, number: u64, status: u16, message: Read, now: Instant) {
        let Some(call) = self.calls.remove(&number) else {
            return;
        };
        let invite = if call.state == State::Asked { 1 } else { 2 };
        self.say(|caller, out| caller.refusal_is_heard(number, invite, message, out));
        if call.state == State::GivenUp {
            return;
        }
        let tally = &mut self.tallies[call.load];
        *tally.refused.entry(status).or_default() += 1;
        tally.under_way -= 1;
        if status == 503 {
            tally.refusal.add(now - call.invited);
        }
    }

    fn give_up(&mut self, number: u64) {
        let Some(call) = self.calls.get_mut(&number) else {
            return;
        };
        let was = std::mem::replace(&mut call.state, State::GivenUp);
        match was {
            State::Asked => {}
            State::Proven => self.say(|caller, out| caller.cancel(number, out)),
            _ => {
                call.state = was;
                return;
            }
        }
        let tally = &mut self.tallies[self.calls[&number].load];
        tally.timed_out += 1;
        tally.under_way -= 1;
    }

    fn acknowledge(&mut self, number: u64) {
        self.in_dialog(number, Caller::ack);
    }

    fn hang_up(&mut self, number: u64) {
        self.in_dialog(number, Caller::bye);
        if let Some(call) = self.calls.get_mut(&number)
            && call.state == State::Up
        {
            call.state = State::Ending;
        }
    }

    fn bye_is_answered(&mut self, number: u64, status: u16) {
        if let Some(call) = self.calls.remove(&number)
            && call.state == State::Ending
        {
            let tally = &mut self.tallies[call.load];
            tally.under_way -= 1;
            match status {
                200 => tally.completed += 1,
                // It has forgotten the call.
                _ => tally.broken += 1,
            }
        }
    }

    fn in_dialog(&mut self, number: u64, what: fn(&Caller, u64, &str, &str, &mut Vec<u8>)) {
        let Some(call) = self.calls.get(&number) else {
            return;
        };
        if let Some(dialog) = &call.dialog {
            let (target, to) = &**dialog;
            self.out.clear();
            what(&self.caller, number, target, to, &mut self.out);
            self.meta.send(&self.out);
        }
    }

    fn say(&mut self, what: impl FnOnce(&mut Caller, &mut Vec<u8>)) {
        self.out.clear();
        what(&mut self.caller, &mut self.out);
        self.meta.send(&self.out);
    }

    fn after(&mut self, time: Duration, number: u64, timer: Timer) {
        self.timers
            .push(Reverse((Instant::now() + time, number, timer)));
    }
}
