//! The floor of what waits by epoll: a loop over one socket for each side of each call that receives, and sends to the far
//! end on the other side. It knows nothing of RTP. Level-triggered, so that no socket has to be asked until it has nothing.

use std::mem::MaybeUninit;
use std::net::{SocketAddr, UdpSocket};

use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};

use crate::served::{Far, bind_all};

/// Sockets that are reported at once.
const EVENTS: usize = 256;

/// Carries so many calls until the process ends; `ready` is told the ports of each.
pub fn run(far: &Far, calls: usize, ready: impl FnOnce(&[[SocketAddr; 2]])) {
    let (pairs, ports) = bind_all(far, calls);
    let epoll = epoll::create(CreateFlags::CLOEXEC).expect("epoll");
    let sockets: Vec<UdpSocket> = pairs.into_iter().flatten().collect();
    for (number, socket) in sockets.iter().enumerate() {
        let data = EventData::new_u64(number as u64);
        epoll::add(&epoll, socket, data, EventFlags::IN).expect("epoll takes it");
    }
    ready(&ports);
    let mut buffer = [0; 2_000];
    loop {
        let mut events = [const { MaybeUninit::uninit() }; EVENTS];
        let (came, _) = epoll::wait(&epoll, &mut events, None).expect("epoll");
        for event in came {
            let number = event.data.u64() as usize;
            let Ok((length, _)) = sockets[number].recv_from(&mut buffer) else {
                continue;
            };
            // What the kernel cannot take is missed at the far end.
            let _ = sockets[number ^ 1].send_to(&buffer[..length], far.ends[(number ^ 1) % 2]);
        }
    }
}
