//! Readiness by epoll, and a system call for each datagram.
//!
//! Level-triggered: a socket that had more than the one datagram of this turn is reported again in the next. So nobody
//! has to ask it until it says no, which would be a third more system calls where a socket holds one datagram, as it
//! nearly always does.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::{Backend, Event, Sockets, Token, Waker};

/// Sockets that are reported at once.
const EVENTS: usize = 256;
/// Largest UDP datagram.
const DATAGRAM: usize = 65_535;
/// The name of the waker, which no token has.
const WAKE: u64 = u64::MAX;

/// Sockets watched by epoll.
pub(super) struct Epoll {
    epoll: OwnedFd,
    waker: Waker,
    sockets: Sockets,
    /// What was reported, and how much of it has been told.
    ready: Vec<Token>,
    told: usize,
    buffer: Box<[u8]>,
    length: usize,
}

impl Epoll {
    /// No sockets yet.
    pub(super) fn new(waker: Waker) -> io::Result<Epoll> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&epoll, &waker, EventData::new_u64(WAKE), EventFlags::IN)?;
        Ok(Epoll {
            epoll,
            waker,
            sockets: Sockets::default(),
            ready: Vec::with_capacity(EVENTS),
            told: 0,
            buffer: vec![0; DATAGRAM].into(),
            length: 0,
        })
    }
}

impl Backend for Epoll {
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn watch(&mut self, token: Token, socket: UdpSocket) -> io::Result<()> {
        let data = EventData::new_u64(token.0.into());
        epoll::add(&self.epoll, &socket, data, EventFlags::IN)?;
        self.sockets.put(token, socket);
        Ok(())
    }

    fn close(&mut self, token: Token) {
        // Nobody else holds it, so that closing it takes it from epoll as well (epoll(7), Q6).
        self.sockets.take(token);
    }

    fn socket(&self, token: Token) -> Option<&UdpSocket> {
        self.sockets.get(token)
    }

    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()> {
        let patience = patience.map(|patience| Timespec {
            tv_sec: patience.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: patience.subsec_nanos().into(),
        });
        self.ready.clear();
        self.told = 0;
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        match epoll::wait(&self.epoll, &mut events, patience.as_ref()) {
            Ok((ready, _)) => {
                for event in ready.iter() {
                    match u32::try_from(event.data.u64()) {
                        Ok(token) => self.ready.push(Token(token)),
                        // Before anybody looks for what it was used for: using it once more is heard again.
                        Err(_) => self.waker.reset(),
                    }
                }
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    fn next(&mut self) -> Option<Event> {
        loop {
            let token = *self.ready.get(self.told)?;
            self.told += 1;
            let Some(socket) = self.sockets.get(token) else {
                continue;
            };
            // An error is one that an earlier packet of ours caused; the next call tells of the next datagram.
            if let Ok((length, from)) = socket.recv_from(&mut self.buffer) {
                self.length = length;
                return Some(Event::Arrived(token, from));
            }
        }
    }

    fn octets(&self) -> &[u8] {
        self.buffer.get(..self.length).unwrap_or_default()
    }

    fn send(&mut self, token: Token, to: SocketAddr, octets: &[u8]) -> bool {
        let Some(socket) = self.sockets.get(token) else {
            return false;
        };
        loop {
            match socket.send_to(octets, to) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                sent => return sent.is_ok(),
            }
        }
    }
}
