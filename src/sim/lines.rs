//! The media of all calls of one far end, on a thread of its own: sockets, clock and pace for its [`Line`]s.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::sync::oneshot;

use super::agent::{CallId, Order, Ports};
use super::body::Listening;
use super::line::{Line, Owner};
use super::path::Path;
use super::report::CallReport;

/// How often lines are asked for packets where there are many: a quarter of a frame.
const TICK: Duration = Duration::from_millis(5);
/// So many are asked just when a packet is due, but no sooner again than this.
const FEW: usize = 8;
const SHORTEST: Duration = Duration::from_micros(200);
/// How often they are asked whether they have heard nothing for too long.
const WATCH: Duration = Duration::from_millis(500);
/// Room for a second of packets, so that a busy machine loses none.
const RECEIVE_BUFFER: usize = 256 * 1024;
const WAKER: Token = Token(0);

/// What lines tell.
#[derive(Debug)]
pub enum LineEvent {
    /// The app hangs up, for this reason.
    Silent(CallId, String),
    /// The report of a call, with what was heard.
    Finished(CallId, Box<CallReport>),
}

enum Command {
    Sockets(SocketAddr, Vec<Socket>),
    Order(CallId, Order, Instant),
    Finish(CallId, Box<CallReport>),
    Hearing(oneshot::Sender<usize>),
    Stop,
}

/// Handle to the thread.
pub struct Lines {
    commands: Commands,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Commands {
    sender: Sender<Command>,
    waker: Arc<Waker>,
}

impl Commands {
    fn give(&self, command: Command) {
        // Nobody is there to take it only when the far end shuts down.
        if self.sender.send(command).is_ok() {
            let _ = self.waker.wake();
        }
    }
}

impl Lines {
    /// Starts the thread. `tell` is called on it.
    ///
    /// # Errors
    /// When the system has no more handles or threads.
    pub fn start(owner: Owner, tell: impl Fn(LineEvent) + Send + 'static) -> io::Result<Lines> {
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (sender, commands) = channel();
        let mut thread = Thread {
            owner,
            poll,
            commands,
            tell,
            waiting: HashMap::new(),
            entries: HashMap::new(),
            tokens: HashMap::new(),
            last_token: 0,
        };
        let thread = std::thread::Builder::new()
            .name("sim-media".to_owned())
            .spawn(move || thread.run())?;
        Ok(Lines {
            commands: Commands { sender, waker },
            thread: Some(thread),
        })
    }

    /// Opens a socket on `main` for each call, and another on `ipv6` if that is given.
    pub fn ports(&self, main: IpAddr, ipv6: Option<Ipv6Addr>) -> Ports {
        let commands = self.commands.clone();
        Box::new(move || {
            let (socket, main) = open(SocketAddr::new(main, 0)).ok()?;
            let mut sockets = vec![socket];
            let mut listening = Listening { main, ipv6: None };
            if let Some(ipv6) = ipv6 {
                // Meta has the same port on both; a port taken by somebody else is no reason to fail.
                let wanted = |port| SocketAddr::new(ipv6.into(), port);
                let (socket, local) = open(wanted(main.port()))
                    .or_else(|_| open(wanted(0)))
                    .ok()?;
                sockets.push(socket);
                listening.ipv6 = Some(local);
            }
            commands.give(Command::Sockets(main, sockets));
            Some(listening)
        })
    }

    /// Passes an order on to a call's line.
    ///
    /// `at` is when there was reason for it: the thread may be behind.
    pub fn order(&self, call: CallId, order: Order, at: Instant) {
        self.commands.give(Command::Order(call, order, at));
    }

    /// Tells in how many calls the other's voice has been heard.
    pub fn hearing(&self, tell: oneshot::Sender<usize>) {
        self.commands.give(Command::Hearing(tell));
    }

    /// Ends a line; its report comes back as [`LineEvent::Finished`].
    pub fn finish(&self, call: CallId, report: Box<CallReport>) {
        self.commands.give(Command::Finish(call, report));
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.commands.give(Command::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn open(wanted: SocketAddr) -> io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(wanted),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    let _ = socket.set_recv_buffer_size(RECEIVE_BUFFER);
    socket.bind(&wanted.into())?;
    let local = socket.local_addr()?.as_socket();
    Ok((socket, local.ok_or(io::ErrorKind::InvalidInput)?))
}

struct Thread<F> {
    owner: Owner,
    poll: Poll,
    commands: Receiver<Command>,
    tell: F,
    /// Sockets that no call has claimed yet.
    waiting: HashMap<SocketAddr, Vec<Socket>>,
    entries: HashMap<CallId, Entry>,
    tokens: HashMap<Token, CallId>,
    last_token: usize,
}

struct Entry {
    line: Line,
    /// One of each family at most.
    sockets: Vec<(Token, UdpSocket)>,
    inward: Path,
    outward: Path,
}

impl Entry {
    /// Takes in what has arrived, and sends what is due.
    fn run(&mut self, now: Instant) {
        while let Some((at, from, datagram)) = self.inward.pop(now) {
            self.line.receive(&datagram, from, at);
        }
        let mut out = Vec::new();
        while let Some(to) = self.line.poll(now, &mut out) {
            self.outward.push(now, to, std::mem::take(&mut out));
        }
        while let Some((_, to, datagram)) = self.outward.pop(now) {
            let mut sockets = self.sockets.iter();
            let fits = |local: SocketAddr| local.is_ipv4() == to.is_ipv4();
            let socket = sockets.find(|(_, socket)| socket.local_addr().is_ok_and(fits));
            if let Some((_, socket)) = socket {
                // A full send buffer, or a peer that is gone: lost, as on any network.
                let _ = socket.send_to(&datagram, to);
            }
        }
    }

    fn deadline(&self) -> Option<Instant> {
        let paths = [self.inward.deadline(), self.outward.deadline()];
        let all = paths.into_iter().chain([self.line.deadline()]);
        all.flatten().min()
    }
}

impl<F: Fn(LineEvent)> Thread<F> {
    fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        let mut next = Instant::now();
        let mut watch = next;
        loop {
            if let Some(due) = self.due() {
                next = next.min(due.max(Instant::now() + SHORTEST));
            }
            let wait = (!self.entries.is_empty()).then(|| next - Instant::now().min(next));
            if self.poll.poll(&mut events, wait).is_err() {
                continue; // interrupted by a signal
            }
            // Before the packets, which may be the first after an answer.
            if self.obey().is_break() {
                return;
            }
            for event in &events {
                if let Some(call) = self.tokens.get(&event.token()).copied() {
                    self.read(call);
                }
            }
            let now = Instant::now();
            if now >= next {
                next = now + TICK;
                self.send(now);
            }
            if now >= watch {
                watch = now + WATCH;
                self.watch(now);
            }
        }
    }

    /// When the next packet is due, where that is worth to be asked.
    fn due(&self) -> Option<Instant> {
        let few = self.entries.len() <= FEW;
        let all = self.entries.values().filter(|_| few);
        all.filter_map(Entry::deadline).min()
    }

    fn read(&mut self, call: CallId) {
        let Some(entry) = self.entries.get_mut(&call) else {
            return;
        };
        let mut buffer = [0; 2048];
        let now = Instant::now();
        for (_, socket) in &entry.sockets {
            loop {
                match socket.recv_from(&mut buffer) {
                    Ok((len, from)) => {
                        let datagram = buffer.get(..len).unwrap_or_default();
                        entry.inward.push(now, from, datagram.to_vec());
                    }
                    // The peer's port is closed, says ICMP: it will be heard of by silence.
                    Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                    // There is no more, or never will be.
                    Err(_) => break,
                }
            }
        }
        entry.run(now); // a check is answered at once
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            let now = Instant::now();
            match command {
                Command::Sockets(address, sockets) => {
                    self.waiting.insert(address, sockets);
                }
                Command::Order(call, Order::Open(listening, plan), _) => {
                    let line = Line::new(self.owner.clone(), plan);
                    self.open(call, listening.main, line);
                }
                Command::Order(call, order, at) => {
                    if let Some(entry) = self.entries.get_mut(&call) {
                        entry.line.order(order, at);
                        entry.run(now);
                    }
                }
                Command::Finish(call, report) => self.finish(call, report, now),
                Command::Hearing(tell) => {
                    let hearing = self.entries.values().filter(|entry| entry.line.hears());
                    // Whoever asked may have lost interest.
                    let _ = tell.send(hearing.count());
                }
                Command::Stop => return std::ops::ControlFlow::Break(()),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn open(&mut self, call: CallId, address: SocketAddr, line: Line) {
        let path = self.owner.path();
        let mut entry = Entry {
            line,
            sockets: Vec::new(),
            inward: Path::new(path.inward(), 2 * call.0),
            outward: Path::new(path, 2 * call.0 + 1),
        };
        let registry = self.poll.registry();
        for socket in self.waiting.remove(&address).unwrap_or_default() {
            let mut socket = UdpSocket::from_std(socket.into());
            self.last_token += 1;
            let token = Token(self.last_token);
            let interest = Interest::READABLE;
            if registry.register(&mut socket, token, interest).is_ok() {
                self.tokens.insert(token, call);
                entry.sockets.push((token, socket));
            }
        }
        self.entries.insert(call, entry);
        self.read(call); // what came before the sockets were registered
    }

    fn finish(&mut self, call: CallId, mut report: Box<CallReport>, now: Instant) {
        self.read(call);
        if let Some(mut entry) = self.entries.remove(&call) {
            for (token, socket) in &mut entry.sockets {
                self.tokens.remove(token);
                let _ = self.poll.registry().deregister(socket);
            }
            entry.line.finish(&mut report, now);
        }
        (self.tell)(LineEvent::Finished(call, report));
    }

    fn send(&mut self, now: Instant) {
        for entry in self.entries.values_mut() {
            if entry.deadline().is_some_and(|at| at <= now) {
                entry.run(now);
            }
        }
    }

    fn watch(&mut self, now: Instant) {
        for (call, entry) in &mut self.entries {
            if let Some(why) = entry.line.silent(now) {
                (self.tell)(LineEvent::Silent(*call, why));
            }
        }
    }
}
