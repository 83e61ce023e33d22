//! How a worker waits for datagrams and sends them: by io_uring, or by epoll where the kernel does not let us.
//!
//! ```text
//!   worker     wait ▶ next, next, next … ▶ send, send, send … ▶ wait
//!   epoll      one system call to wait, one for each datagram that comes, one for each that goes
//!   io_uring   one system call for all of it
//! ```
//!
//! Both keep what the other keeps: no socket waits for another, and what a closed socket had is nobody's.

mod epoll;
mod uring;
mod waker;

use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use waker::Waker;

/// What carries media between the workers and the sockets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Io {
    /// io_uring where the kernel allows it, epoll elsewhere.
    #[default]
    Auto,
    /// io_uring, of Linux 6.1 or later.
    Uring,
    /// epoll, which every Linux has.
    Epoll,
}

impl fmt::Display for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Io::Auto => "auto",
            Io::Uring => "io_uring",
            Io::Epoll => "epoll",
        })
    }
}

/// Names a socket to the worker that watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) u32);

/// What has happened at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A datagram has come from there; [`Backend::octets`] has it until the next event is asked for.
    Arrived(Token, SocketAddr),
    /// A datagram that was to go out there has not.
    Unsent(Token),
}

/// The sockets of one worker. Made on any thread, and then used on one alone.
pub(crate) trait Backend: Send {
    /// This is the thread that uses it.
    fn begin(&mut self) -> io::Result<()>;

    /// Watches a socket, under a token that no other has.
    fn watch(&mut self, token: Token, socket: UdpSocket) -> io::Result<()>;

    /// Closes the socket, if there is one. It is closed when this returns, and nothing of it is told any more.
    fn close(&mut self, token: Token);

    /// The socket of that name.
    fn socket(&self, token: Token) -> Option<&UdpSocket>;

    /// Sends what is to be sent; returns when something has happened, the waker has been used, or so much time is over. If the
    /// waker is used once this has returned, the next wait returns at once.
    fn wait(&mut self, patience: Option<Duration>) -> io::Result<()>;

    /// What has happened until the last [`Backend::wait`] returned, one after the other. A socket has at most a few before
    /// the others have had their turn; `None` is for now the end.
    fn next(&mut self) -> Option<Event>;

    /// The datagram that the last event told of.
    fn octets(&self) -> &[u8];

    /// Sends a datagram, at the next [`Backend::wait`] at the latest; `false` if it is clear already that it cannot be.
    fn send(&mut self, token: Token, to: SocketAddr, octets: &[u8]) -> bool;
}

/// A backend, and what ends its waits.
pub(crate) type Wakeable = (Box<dyn Backend>, Waker);

/// Backends for so many workers, each with what wakes it; and of which kind they are, which is never [`Io::Auto`].
///
/// # Errors
/// When the system gives no epoll descriptor, or no io_uring where nothing else will do; the text says what to set.
pub(crate) fn backends(wanted: Io, workers: usize) -> io::Result<(Io, Vec<Wakeable>)> {
    let by_uring = || each(workers, |waker| Ok(Box::new(uring::Uring::new(waker)?)));
    let by_epoll = || each(workers, |waker| Ok(Box::new(epoll::Epoll::new(waker)?)));
    match wanted {
        Io::Epoll => Ok((Io::Epoll, by_epoll()?)),
        Io::Uring => by_uring()
            .map(|backends| (Io::Uring, backends))
            .map_err(|error| {
                let what = format!(
                    "io_uring: {error}; set media.io = \"auto\", or see docs/operating.md for what forbids it"
                );
                io::Error::new(error.kind(), what)
            }),
        Io::Auto => match by_uring() {
            Ok(backends) => Ok((Io::Uring, backends)),
            Err(error) => {
                tracing::info!(%error, "media goes by epoll, for this system does not let us use io_uring");
                Ok((Io::Epoll, by_epoll()?))
            }
        },
    }
}

/// Which kind this system lets us use, of what is wanted.
///
/// # Errors
/// Where it is none.
pub fn usable(wanted: Io) -> io::Result<Io> {
    Ok(backends(wanted, 1)?.0)
}

fn each(
    workers: usize,
    backend: impl Fn(Waker) -> io::Result<Box<dyn Backend>>,
) -> io::Result<Vec<Wakeable>> {
    let one = |_| {
        let waker = Waker::new()?;
        Ok((backend(waker.clone())?, waker))
    };
    (0..workers).map(one).collect()
}

/// Sockets by their tokens.
#[derive(Default)]
struct Sockets(Vec<Option<UdpSocket>>);

impl Sockets {
    fn get(&self, token: Token) -> Option<&UdpSocket> {
        self.0.get(token.0 as usize)?.as_ref()
    }

    fn put(&mut self, token: Token, socket: UdpSocket) {
        let at = token.0 as usize;
        if self.0.len() <= at {
            self.0.resize_with(at + 1, || None);
        }
        self.0[at] = Some(socket);
    }

    fn take(&mut self, token: Token) -> Option<UdpSocket> {
        self.0.get_mut(token.0 as usize)?.take()
    }
}

#[cfg(test)]
mod tests;
