//! The media of all calls of one far end, on a thread of its own: sockets, clock and pace for its [`Line`]s.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token, Waker};
use socket2::{Domain, Protocol, Socket, Type};

use super::agent::{CallId, Order, Ports};
use super::line::{Line, Owner};
use super::report::CallReport;

/// How often lines are asked for packets: a quarter of a frame.
const TICK: Duration = Duration::from_millis(5);
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
    Socket(SocketAddr, Socket),
    Order(CallId, Order, Instant),
    Finish(CallId, Box<CallReport>),
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

    /// Opens a socket on `address` for each call.
    pub fn ports(&self, address: IpAddr) -> Ports {
        let commands = self.commands.clone();
        Box::new(move || {
            let (socket, local) = open(address).ok()?;
            commands.give(Command::Socket(local, socket));
            Some(local)
        })
    }

    /// Passes an order on to a call's line.
    ///
    /// `at` is when there was reason for it: the thread may be behind.
    pub fn order(&self, call: CallId, order: Order, at: Instant) {
        self.commands.give(Command::Order(call, order, at));
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

fn open(address: IpAddr) -> io::Result<(Socket, SocketAddr)> {
    let wanted = SocketAddr::new(address, 0);
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
    waiting: HashMap<SocketAddr, Socket>,
    entries: HashMap<CallId, Entry>,
    tokens: HashMap<Token, CallId>,
    last_token: usize,
}

struct Entry {
    line: Line,
    socket: UdpSocket,
    token: Token,
}

impl<F: Fn(LineEvent)> Thread<F> {
    fn run(&mut self) {
        let mut events = Events::with_capacity(1024);
        let mut next = Instant::now();
        let mut watch = next;
        loop {
            let wait = (!self.entries.is_empty()).then(|| next - Instant::now().min(next));
            if self.poll.poll(&mut events, wait).is_err() {
                continue; // interrupted by a signal
            }
            for event in &events {
                if let Some(call) = self.tokens.get(&event.token()).copied() {
                    self.read(call);
                }
            }
            if self.obey().is_break() {
                return;
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

    fn read(&mut self, call: CallId) {
        let Some(entry) = self.entries.get_mut(&call) else {
            return;
        };
        let mut buffer = [0; 2048];
        let now = Instant::now();
        loop {
            match entry.socket.recv_from(&mut buffer) {
                Ok((len, from)) => {
                    let datagram = buffer.get(..len).unwrap_or_default();
                    entry.line.receive(datagram, from, now);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The peer's port is closed, says ICMP: it will be heard of by silence.
                Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {}
                Err(_) => return,
            }
        }
    }

    fn obey(&mut self) -> std::ops::ControlFlow<()> {
        while let Ok(command) = self.commands.try_recv() {
            let now = Instant::now();
            match command {
                Command::Socket(address, socket) => {
                    self.waiting.insert(address, socket);
                }
                Command::Order(call, Order::Open(address, plan), _) => {
                    let line = Line::new(self.owner.clone(), plan);
                    self.open(call, address, line);
                }
                Command::Order(call, order, at) => {
                    if let Some(entry) = self.entries.get_mut(&call) {
                        entry.line.order(order, at);
                    }
                }
                Command::Finish(call, report) => self.finish(call, report, now),
                Command::Stop => return std::ops::ControlFlow::Break(()),
            }
        }
        std::ops::ControlFlow::Continue(())
    }

    fn open(&mut self, call: CallId, address: SocketAddr, line: Line) {
        let Some(socket) = self.waiting.remove(&address) else {
            return;
        };
        let mut socket = UdpSocket::from_std(socket.into());
        self.last_token += 1;
        let token = Token(self.last_token);
        let registry = self.poll.registry();
        if registry
            .register(&mut socket, token, Interest::READABLE)
            .is_ok()
        {
            self.tokens.insert(token, call);
            let entry = Entry {
                line,
                socket,
                token,
            };
            self.entries.insert(call, entry);
            self.read(call); // what came before the socket was registered
        }
    }

    fn finish(&mut self, call: CallId, mut report: Box<CallReport>, now: Instant) {
        self.read(call);
        if let Some(mut entry) = self.entries.remove(&call) {
            self.tokens.remove(&entry.token);
            let _ = self.poll.registry().deregister(&mut entry.socket);
            entry.line.finish(&mut report, now);
        }
        (self.tell)(LineEvent::Finished(call, report));
    }

    fn send(&mut self, now: Instant) {
        let mut out = Vec::new();
        for entry in self.entries.values_mut() {
            if entry.line.deadline().is_none_or(|at| at > now) {
                continue;
            }
            while let Some(to) = entry.line.poll(now, &mut out) {
                // A full send buffer, or a peer that is gone: lost, as on any network.
                let _ = entry.socket.send_to(&out, to);
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
