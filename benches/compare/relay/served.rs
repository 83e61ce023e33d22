//! What this program is when it is under test itself: a floor, or our engine, in a process of its own.
//!
//! ```text
//!   compare_relay serve KIND WORKERS CALLS RELAY META PBX      ─▶ a line for each call: port at Meta's side, at the PBX's
//!                                                              ─▶ "ready"; ends with its standard input
//! ```

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, UdpSocket};

use crate::{floor_epoll, floor_uring, ours};

/// Where everybody is.
#[derive(Clone, Copy)]
pub struct Far {
    /// The address of what is under test.
    pub relay: IpAddr,
    /// Meta's media, and the PBX's.
    pub ends: [SocketAddr; 2],
}

/// Does what the arguments after `serve` say.
pub fn run(arguments: &[String]) {
    let [kind, workers, calls, relay, meta, pbx] = arguments else {
        panic!("serve KIND WORKERS CALLS RELAY META PBX");
    };
    let far = Far {
        relay: relay.parse().expect("an address"),
        ends: [meta, pbx].map(|end| end.parse().expect("an address and a port")),
    };
    let calls = calls.parse().expect("a number of calls");
    let workers = workers.parse().expect("a number of threads");
    std::thread::spawn(end_with_parent);
    match kind.as_str() {
        "floor-epoll" => floor_epoll::run(&far, calls, ready),
        "floor-uring" => floor_uring::run(&far, calls, ready),
        io => ours::run(&far, calls, workers, io, ready),
    }
}

/// Two sockets for each call, and their ports.
pub fn bind_all(far: &Far, calls: usize) -> (Vec<[UdpSocket; 2]>, Vec<[SocketAddr; 2]>) {
    let pairs: Vec<[UdpSocket; 2]> = (0..calls).map(|_| bind(far)).collect();
    let address = |socket: &UdpSocket| socket.local_addr().expect("bound");
    let ports = pairs.iter().map(|pair| pair.each_ref().map(address));
    let ports = ports.collect();
    (pairs, ports)
}

/// Two sockets on free ports, for both sides of a call.
fn bind(far: &Far) -> [UdpSocket; 2] {
    [0, 1].map(|_| {
        let socket = UdpSocket::bind((far.relay, 0)).expect("a free port");
        socket.set_nonblocking(true).expect("a socket");
        socket
    })
}

fn ready(ports: &[[SocketAddr; 2]]) {
    let mut out = io::stdout().lock();
    for [meta, pbx] in ports {
        writeln!(out, "{meta} {pbx}").expect("the generator reads");
    }
    writeln!(out, "ready").expect("the generator reads");
}

/// Nothing is left behind, however the generator ends.
fn end_with_parent() {
    let _ = io::stdin().read_to_end(&mut Vec::new());
    std::process::exit(0);
}
