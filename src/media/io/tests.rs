//! What a worker relies on, by each backend.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use super::*;

/// Long enough for any machine; nothing waits for it when all is well.
const PATIENCE: Duration = Duration::from_secs(10);
const KINDS: [Io; 2] = [Io::Uring, Io::Epoll];
const FIRST: Token = Token(0);
const SECOND: Token = Token(5);

/// A loopback address that a second run of these tests, at the same time, does not use.
fn local() -> IpAddr {
    let [.., middle, low] = std::process::id().to_be_bytes();
    IpAddr::from([127, 64 | middle & 63, low, 19])
}

fn bound(address: impl Into<IpAddr>) -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind((address.into(), 0)).unwrap();
    socket.set_nonblocking(true).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A peer, which waits for what it is sent.
fn peer(address: impl Into<IpAddr>) -> (UdpSocket, SocketAddr) {
    let (socket, address) = bound(address);
    socket.set_nonblocking(false).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    (socket, address)
}

/// The next datagram. The end of a ring, which the kernel takes apart when it has time, interrupts the thread that made it.
fn receive(peer: &UdpSocket, buffer: &mut [u8]) -> (usize, SocketAddr) {
    loop {
        match peer.recv_from(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            received => return received.unwrap(),
        }
    }
}

/// A backend of this kind, in use on this thread.
fn backend(io: Io) -> (Box<dyn Backend>, Waker) {
    let (kind, mut all) = backends(io, 1).expect("tests need io_uring, of Linux 6.1 or later");
    assert_eq!(kind, io);
    let (mut backend, waker) = all.remove(0);
    backend.begin().unwrap();
    (backend, waker)
}

/// The next so many datagrams.
fn arrived(backend: &mut dyn Backend, count: usize) -> Vec<(Token, SocketAddr, Vec<u8>)> {
    let until = Instant::now() + PATIENCE;
    let mut arrived = Vec::new();
    while arrived.len() < count && Instant::now() < until {
        backend.wait(Some(PATIENCE)).unwrap();
        while let Some(event) = backend.next() {
            match event {
                Event::Arrived(token, from) => {
                    arrived.push((token, from, backend.octets().to_vec()));
                }
                Event::Unsent(token) => panic!("{token:?} could not send"),
            }
        }
    }
    arrived
}

#[test]
fn datagrams_come_and_go_on_either_version_of_ip() {
    for io in KINDS {
        for address in [local(), Ipv6Addr::LOCALHOST.into()] {
            let (mut backend, _waker) = backend(io);
            let ((socket, ours), (peer, theirs)) = (bound(address), peer(address));
            backend.watch(FIRST, socket).unwrap();
            assert_eq!(
                backend.socket(FIRST).unwrap().local_addr().unwrap(),
                ours,
                "{io}"
            );
            peer.send_to(b"there", ours).unwrap();
            let came = arrived(&mut *backend, 1);
            assert_eq!(came, [(FIRST, theirs, b"there".to_vec())], "{io}");
            assert!(backend.send(FIRST, theirs, b"and back"));
            backend.wait(Some(Duration::ZERO)).unwrap();
            let mut buffer = [0; 100];
            let (length, from) = receive(&peer, &mut buffer);
            assert_eq!((&buffer[..length], from), (&b"and back"[..], ours), "{io}");
        }
    }
}

#[test]
fn a_burst_comes_whole_and_in_order_and_goes_out_so() {
    // More than there are buffers and slots.
    const BURST: u16 = 700;
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let ((socket, ours), (peer, theirs)) = (bound(local()), peer(local()));
        let sockets = [
            socket2::SockRef::from(&socket),
            socket2::SockRef::from(&peer),
        ];
        for socket in sockets {
            socket.set_recv_buffer_size(4 << 20).unwrap();
        }
        backend.watch(FIRST, socket).unwrap();
        // Half of it before the backend has looked at all.
        for number in 0..BURST {
            peer.send_to(&number.to_be_bytes(), ours).unwrap();
        }
        let came = arrived(&mut *backend, BURST.into());
        let numbers = came.iter().map(|(_, _, octets)| octets.as_slice());
        assert!(numbers.eq((0..BURST).map(u16::to_be_bytes)), "{io}");
        for number in 0..BURST {
            assert!(
                backend.send(FIRST, theirs, &number.to_be_bytes()),
                "{io} {number}"
            );
        }
        backend.wait(Some(Duration::ZERO)).unwrap();
        let mut buffer = [0; 2];
        for number in 0..BURST {
            assert_eq!(receive(&peer, &mut buffer).0, 2, "{io} {number}");
            assert_eq!(buffer, number.to_be_bytes(), "{io}");
        }
    }
}

#[test]
fn a_socket_that_is_flooded_does_not_keep_another_waiting() {
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let ((flooded, at), (quiet, other)) = (bound(local()), bound(local()));
        let (peer, _) = peer(local());
        backend.watch(FIRST, flooded).unwrap();
        backend.watch(SECOND, quiet).unwrap();
        for _ in 0..200 {
            peer.send_to(&[0; 20], at).unwrap();
        }
        peer.send_to(b"waiting", other).unwrap();
        let before = arrived(&mut *backend, 201)
            .iter()
            .position(|(token, ..)| *token == SECOND)
            .unwrap();
        // io_uring takes 32 of one socket before it looks at the next (Linux 6.0 and later).
        let most = if io == Io::Epoll { 1 } else { 64 };
        assert!(before <= most, "{io}: {before} before it");
    }
}

#[test]
fn a_closed_socket_is_free_at_once_and_what_it_had_is_nobodys() {
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let (peer, _) = peer(local());
        let (socket, mut ours) = bound(local());
        backend.watch(FIRST, socket).unwrap();
        for round in 0..300u16 {
            // It is there, but nobody has been told of it when its socket closes.
            peer.send_to(b"for the one before", ours).unwrap();
            backend.wait(Some(PATIENCE)).unwrap();
            backend.close(FIRST);
            assert!(backend.socket(FIRST).is_none());
            // Its port is free, and its token another's.
            let again =
                UdpSocket::bind(ours).unwrap_or_else(|error| panic!("{io} {round}: {error}"));
            drop(again);
            let (socket, address) = bound(local());
            backend.watch(FIRST, socket).unwrap();
            peer.send_to(&round.to_be_bytes(), address).unwrap();
            ours = address;
            let came = arrived(&mut *backend, 1);
            assert_eq!(came.len(), 1, "{io}");
            assert_eq!(came[0].2, round.to_be_bytes(), "{io}");
        }
    }
}

#[test]
fn a_socket_closes_at_once_however_much_there_is_to_do_at_others() {
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let (peer, _) = peer(local());
        let (leaves, ours) = bound(local());
        backend.watch(FIRST, leaves).unwrap();
        for number in 10..110 {
            let (socket, address) = bound(local());
            backend.watch(Token(number), socket).unwrap();
            backend.wait(Some(Duration::ZERO)).unwrap();
            peer.send_to(b"busy", address).unwrap();
            peer.send_to(b"busy", ours).unwrap();
        }
        backend.close(FIRST);
        UdpSocket::bind(ours).unwrap_or_else(|error| panic!("{io}: {error}"));
        // Nothing is told of it any more, and all of the others.
        let came = arrived(&mut *backend, 100);
        assert_eq!(came.len(), 100, "{io}");
        assert!(came.iter().all(|(token, ..)| *token != FIRST), "{io}");
    }
}

#[test]
fn a_token_serves_again_after_a_socket_that_had_more_than_there_is_room_for() {
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let (peer, _) = peer(local());
        let (flooded, at) = bound(local());
        socket2::SockRef::from(&flooded)
            .set_recv_buffer_size(4 << 20)
            .unwrap();
        backend.watch(FIRST, flooded).unwrap();
        for _ in 0..700 {
            peer.send_to(&[0; 20], at).unwrap();
        }
        backend.wait(Some(PATIENCE)).unwrap();
        // Some of them are read, so that room is made and more asked for.
        assert!(
            matches!(backend.next(), Some(Event::Arrived(FIRST, _))),
            "{io}"
        );
        while backend.next().is_some() {}
        backend.close(FIRST);
        let (socket, ours) = bound(local());
        backend.watch(FIRST, socket).unwrap();
        peer.send_to(b"next", ours).unwrap();
        let came = arrived(&mut *backend, 1);
        assert_eq!(came.len(), 1, "{io}");
        assert_eq!(came[0].2, b"next", "{io}");
        backend.close(FIRST);
        UdpSocket::bind(ours).unwrap_or_else(|error| panic!("{io}: {error}"));
    }
}

#[test]
fn what_cannot_be_sent_is_told_and_the_rest_goes_on() {
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let ((socket, _), (peer, theirs)) = (bound(local()), peer(local()));
        backend.watch(FIRST, socket).unwrap();
        // Nobody has allowed this socket to send to everybody.
        let everybody = SocketAddr::from((Ipv4Addr::BROADCAST, 9));
        let refused = usize::from(!backend.send(FIRST, everybody, b"you"));
        assert!(backend.send(FIRST, theirs, b"me"), "{io}");
        assert!(
            !backend.send(SECOND, theirs, b"nobody"),
            "{io}: no such socket"
        );
        backend.wait(Some(Duration::ZERO)).unwrap();
        let mut told = refused;
        while let Some(event) = backend.next() {
            assert_eq!(event, Event::Unsent(FIRST), "{io}");
            told += 1;
        }
        assert_eq!(told, 1, "{io}");
        let mut buffer = [0; 2];
        assert_eq!(receive(&peer, &mut buffer).0, 2, "{io}");
    }
}

#[test]
fn the_largest_datagram_goes_out_after_those_before_it() {
    let large = vec![7; 60_000];
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let ((socket, ours), (peer, theirs)) = (bound(local()), peer(local()));
        backend.watch(FIRST, socket).unwrap();
        assert!(backend.send(FIRST, theirs, b"first"), "{io}");
        assert!(backend.send(FIRST, theirs, &large), "{io}");
        backend.wait(Some(Duration::ZERO)).unwrap();
        let mut buffer = vec![0; 65_535];
        assert_eq!(receive(&peer, &mut buffer).0, 5, "{io}");
        assert_eq!(receive(&peer, &mut buffer).0, large.len(), "{io}");
        // One that comes is of no use to anybody, and hurts nobody.
        peer.send_to(&large, ours).unwrap();
        peer.send_to(b"next", ours).unwrap();
        let until = Instant::now() + PATIENCE;
        let mut came = arrived(&mut *backend, 1);
        while came.iter().all(|(.., octets)| octets != b"next") && Instant::now() < until {
            came.extend(arrived(&mut *backend, 1));
        }
        let others = came.iter().filter(|(.., octets)| octets != b"next");
        assert!(
            others
                .clone()
                .all(|(.., octets)| octets.is_empty() || *octets == large),
            "{io}: whole or not at all"
        );
    }
}

#[test]
fn a_wait_ends_when_it_is_over_and_when_another_thread_wants_it_to() {
    for io in KINDS {
        let (mut backend, waker) = backend(io);
        backend.wait(Some(Duration::from_millis(1))).unwrap();
        // More often than any one wake-up is taken back.
        for _ in 0..3 {
            let waker = waker.clone();
            let other = std::thread::spawn(move || waker.wake().unwrap());
            backend.wait(None).unwrap();
            assert_eq!(backend.next(), None, "{io}");
            other.join().unwrap();
        }
    }
}

/// Waits, and must not have to.
fn returns_at_once(backend: &mut dyn Backend, why: &str) {
    let began = Instant::now();
    backend.wait(Some(PATIENCE)).unwrap();
    assert!(began.elapsed() < PATIENCE / 2, "{why}");
}

#[test]
fn a_waker_that_is_used_once_the_wait_is_over_ends_the_next_one() {
    for io in KINDS {
        let (mut backend, waker) = backend(io);
        for times in 1..4 {
            waker.wake().unwrap();
            returns_at_once(&mut *backend, &format!("{io}: it was used"));
            // Whoever waits looks for orders now, and has not looked at the sockets yet.
            (0..times).for_each(|_| waker.wake().unwrap());
            while backend.next().is_some() {}
            let why = format!("{io}: it was used {times} times after the wait");
            returns_at_once(&mut *backend, &why);
        }
        let (socket, _) = bound(local());
        backend.watch(FIRST, socket).unwrap();
        waker.wake().unwrap();
        backend.close(FIRST);
        let why = format!("{io}: it was used before a socket was closed");
        returns_at_once(&mut *backend, &why);
    }
}

#[test]
fn what_has_been_sent_is_not_waited_for() {
    for io in KINDS {
        let (mut backend, _waker) = backend(io);
        let ((socket, ours), (peer, theirs)) = (bound(local()), peer(local()));
        backend.watch(FIRST, socket).unwrap();
        // More than there are slots, so that some are gone before the wait.
        for _ in 0..700 {
            backend.send(FIRST, theirs, b"there");
        }
        peer.send_to(b"and back", ours).unwrap();
        returns_at_once(&mut *backend, &format!("{io}: a datagram has come"));
        assert!(
            matches!(backend.next(), Some(Event::Arrived(FIRST, _))),
            "{io}"
        );
    }
}

#[test]
fn a_backend_that_goes_lets_go_of_its_sockets() {
    for io in KINDS {
        let addresses: Vec<SocketAddr> = {
            let (mut backend, _waker) = backend(io);
            let sockets = (0..20).map(|number| {
                let (socket, address) = bound(local());
                backend.watch(Token(number), socket).unwrap();
                address
            });
            sockets.collect()
        };
        for address in addresses {
            let until = Instant::now() + PATIENCE;
            // The kernel takes a ring apart when it has time.
            while UdpSocket::bind(address).is_err() {
                assert!(Instant::now() < until, "{io}: {address} is still in use");
                std::thread::yield_now();
            }
        }
    }
}
