//! The media engine over real loopback sockets, through its public door, by io_uring, which takes Linux 6.1 and a sandbox
//! that allows it.

use wabridge::media::Io;

#[path = "media_engine/all.rs"]
mod all;

/// What carries the packets in all tests.
const IO: Io = Io::Uring;
