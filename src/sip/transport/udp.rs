//! Datagrams: one socket for each listener, a task that reads it and one that writes it.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::{mpsc, watch};

use crate::leg::Leg;
use crate::sip::framing::Lost;
use crate::sip::message::Limits;

use super::pool::Outgoing;
use super::shared::{Shared, stopped};
use super::{Flow, Protocol, TransportEvent, arrive};

/// Most datagrams that wait for one socket.
const QUEUE: usize = 1024;
/// Room that the kernel is asked for: 500 INVITEs at once, while this task waits for its turn. The kernel counts some 2.3 kB
/// for one of a PBX, and twice as much for one of 3 kB.
pub(super) const KERNEL_BUFFER: usize = 2 << 20;
/// Most datagrams that are taken from the kernel before they are read: it keeps but so many octets, and drops what is more.
const TAKEN: usize = 1024;

/// The sending side of a listener.
pub(super) struct Port {
    pub(super) leg: Leg,
    pub(super) local: SocketAddr,
    queue: mpsc::Sender<(Outgoing, SocketAddr)>,
}

/// What the tasks of a listener need.
pub(super) struct Tasks {
    socket: Arc<UdpSocket>,
    queue: mpsc::Receiver<(Outgoing, SocketAddr)>,
    leg: Leg,
    local: SocketAddr,
}

/// Opens a listener.
pub(super) fn bind(leg: Leg, address: SocketAddr) -> io::Result<(Port, Tasks)> {
    let kind = socket2::Type::DGRAM;
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own, so that no address ever is a mapped one.
        socket.set_only_v6(true)?;
    }
    let _ = socket.set_recv_buffer_size(KERNEL_BUFFER);
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    tell_room(address, &socket);
    let socket = Arc::new(UdpSocket::from_std(socket.into())?);
    let local = socket.local_addr()?;
    let (sender, queue) = mpsc::channel(QUEUE);
    let port = Port {
        leg,
        local,
        queue: sender,
    };
    let tasks = Tasks {
        socket,
        queue,
        leg,
        local,
    };
    Ok((port, tasks))
}

/// A burst that finds no room is repeated by whoever sent it, half a second later and more.
fn tell_room(address: SocketAddr, socket: &socket2::Socket) {
    // Linux tells what it takes with its own needs, which is twice as much.
    let granted = socket.recv_buffer_size().unwrap_or(0) / 2;
    if granted < KERNEL_BUFFER {
        tracing::info!(
            %address,
            granted,
            wanted = KERNEL_BUFFER,
            "the kernel keeps fewer octets for this listener than a burst of calls may need: raise net.core.rmem_max"
        );
    }
}

impl Port {
    /// Queues a datagram; it comes back when too many wait.
    pub(super) fn send(&self, message: Outgoing, remote: SocketAddr) -> Option<Outgoing> {
        let refused = self.queue.try_send((message, remote)).err()?;
        Some(refused.into_inner().0)
    }
}

impl Tasks {
    /// Starts reading and writing.
    pub(super) fn start(self, shared: &Arc<Shared>) {
        let stop = shared.stop.subscribe();
        let socket = self.socket.clone();
        tokio::spawn(transmit(shared.clone(), socket, self.queue, stop));
        let flow = Flow {
            leg: self.leg,
            protocol: Protocol::Udp,
            local: self.local,
            remote: self.local,
            connection: None,
        };
        let stop = shared.stop.subscribe();
        tokio::spawn(receive(shared.clone(), self.socket, flow, stop));
    }
}

async fn receive(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    listener: Flow,
    mut stop: watch::Receiver<bool>,
) {
    let limits = shared.settings.limits();
    let mut buffer = vec![0; 65_536];
    let mut taken = VecDeque::new();
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stopped(&mut stop) => return,
        };
        match received {
            Ok((count, remote)) => taken.push_back((Box::from(&buffer[..count]), remote)),
            Err(error) => {
                tracing::debug!(%error, local = %listener.local, "could not receive");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // Reading a message takes longer than taking it: what comes meanwhile is taken first.
        while let Some((bytes, remote)) = next(&mut taken, &socket, &mut buffer) {
            let Some(event) = event(&bytes, Flow { remote, ..listener }, &limits) else {
                // Nothing else here lets others have their turn, however many keep-alives come.
                tokio::task::yield_now().await;
                continue;
            };
            // While the core is behind, the kernel's buffer fills and then drops: peers repeat.
            tokio::select! {
                sent = shared.events.send(event) => if sent.is_err() { return },
                () = stopped(&mut stop) => return,
            }
        }
    }
}

/// The datagram that was taken first. Where it was not the only one, all that have come are taken before it is read.
fn next(
    taken: &mut VecDeque<(Box<[u8]>, SocketAddr)>,
    socket: &UdpSocket,
    buffer: &mut [u8],
) -> Option<(Box<[u8]>, SocketAddr)> {
    while taken.len() < TAKEN
        && let Ok((count, remote)) = socket.try_recv_from(buffer)
    {
        taken.push_back((Box::from(&buffer[..count]), remote));
    }
    taken.pop_front()
}

/// What a datagram holds; `None` for nothing.
fn event(bytes: &[u8], flow: Flow, limits: &Limits) -> Option<TransportEvent> {
    // Keep-alives (RFC 5626 §4.4.2 leaves answering to STUN) and the empty datagrams of NAT openers.
    if bytes.iter().all(|b| b"\r\n\0 ".contains(b)) {
        return None;
    }
    Some(match bytes.len() > limits.max_message {
        true => arrive::lost(too_large(bytes, limits.max_message), flow, limits),
        false => arrive::event(bytes, flow, limits),
    })
}

fn too_large(bytes: &[u8], limit: usize) -> Lost {
    Lost {
        what: format!(
            "the message of {} octets is over sip.max_message ({limit})",
            bytes.len()
        ),
        status: 513,
        head: bytes[..bytes.len().min(limit)].to_vec(),
    }
}

async fn transmit(
    shared: Arc<Shared>,
    socket: Arc<UdpSocket>,
    mut queue: mpsc::Receiver<(Outgoing, SocketAddr)>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        let next = tokio::select! {
            biased;
            next = queue.recv() => next,
            () = stopped(&mut stop) => return,
        };
        let Some((message, remote)) = next else {
            return;
        };
        match socket.send_to(&message.bytes, remote).await {
            Ok(_) => shared.sent(&message),
            Err(error) => shared.fail(message, format!("sending to {remote} failed: {error}")),
        }
    }
}
