//! The media engine over real loopback sockets, through its public door, by epoll.

use wabridge::media::Io;

#[path = "media_engine/all.rs"]
mod all;

/// What carries the packets in all tests.
const IO: Io = Io::Epoll;
