//! The floor of what waits by epoll: a loop over one socket for each side of each call that receives, and sends to the far
//! end on the other side. It knows nothing of RTP.

use std::net::SocketAddr;

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};

use crate::served::{Far, bind};

/// Carries so many calls until the process ends; `ready` is told the ports of each.
pub fn run(far: &Far, calls: usize, ready: impl FnOnce(&[[SocketAddr; 2]])) {
    let poll = Poll::new().expect("epoll");
    let mut sockets = Vec::new();
    let mut ports = Vec::new();
    for call in 0..calls {
        let pair = bind(far);
        ports.push([0, 1].map(|side: usize| pair[side].local_addr().expect("bound")));
        let mut pair = pair.map(UdpSocket::from_std);
        for (side, socket) in pair.iter_mut().enumerate() {
            let token = Token(2 * call + side);
            let registered = poll.registry().register(socket, token, Interest::READABLE);
            registered.expect("epoll takes it");
        }
        sockets.push(pair);
    }
    ready(&ports);
    relay(poll, &sockets, far.ends);
}

fn relay(mut poll: Poll, sockets: &[[UdpSocket; 2]], far: [SocketAddr; 2]) {
    let mut events = Events::with_capacity(1_024);
    let mut buffer = [0; 2_000];
    loop {
        poll.poll(&mut events, None).expect("epoll");
        for event in &events {
            let (call, side) = (event.token().0 / 2, event.token().0 % 2);
            let [from, to] = [&sockets[call][side], &sockets[call][1 - side]];
            while let Ok((length, _)) = from.recv_from(&mut buffer) {
                // What the kernel cannot take is missed at the far end.
                let _ = to.send_to(&buffer[..length], far[1 - side]);
            }
        }
    }
}
