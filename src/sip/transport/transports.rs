//! All sockets of SIP together, behind one handle that never blocks its owner.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::leg::Leg;

use super::pool::Outgoing;
use super::shared::Shared;
use super::tally::Tally;
use super::tls::{ByHost, ClientTls};
use super::{Flow, Names, Protocol, Settings, Target, TransportEvent, tcp, udp};

/// How long [`Transports::shutdown`] waits for messages on their way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// A socket to listen on.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Who comes in there.
    pub leg: Leg,
    /// By which protocol.
    pub protocol: Protocol,
    /// The address; port 0 takes any free one. Datagram flows of an unspecified address have it as `local`: see
    /// [`local_address_towards`](super::local_address_towards).
    pub address: SocketAddr,
    /// Certificate and key, for TLS. One set serves all listeners of a leg.
    pub tls: Option<Arc<ServerConfig>>,
}

/// How each leg opens TLS connections.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Towards Meta; `None`: not at all. Its `server_name` is Meta's domain, whatever address is connected to.
    pub meta: Option<ClientTls>,
    /// Towards PBXs, each by its own rules.
    pub pbxs: ByHost,
}

/// A listener could not be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen for {leg} on {} {address}: {source}", .protocol.name())]
pub struct StartError {
    /// Whose listener.
    pub leg: Leg,
    /// Its protocol.
    pub protocol: Protocol,
    /// Its address.
    pub address: SocketAddr,
    /// What the system said.
    pub source: io::Error,
}

/// The sockets of both legs. Clones are handles to the same sockets.
#[derive(Clone)]
pub struct Transports(Arc<Shared>);

enum Listener {
    Datagrams(udp::Tasks),
    Streams(TcpListener, Leg, Protocol),
}

impl Transports {
    /// Opens all listeners, or none; returns the addresses they got, in the order of `listens`.
    ///
    /// Events wait in `events`: while it is full, streams are read no further and the kernel drops datagrams. A
    /// `Failed` that finds it full is logged and dropped; the transaction it belongs to then runs into its timer.
    pub async fn start(
        settings: Settings,
        listens: Vec<Listen>,
        clients: Clients,
        names: Names,
        events: mpsc::Sender<TransportEvent>,
    ) -> Result<(Transports, Vec<SocketAddr>), StartError> {
        let mut ports = Vec::new();
        let mut listeners = Vec::new();
        let mut bound = Vec::new();
        for listen in &listens {
            let (local, listener) = open(listen, &mut ports).map_err(|source| StartError {
                leg: listen.leg,
                protocol: listen.protocol,
                address: listen.address,
                source,
            })?;
            bound.push(local);
            listeners.push(listener);
        }
        let shared = Arc::new(Shared::new(
            settings, &listens, clients, names, events, ports,
        ));
        for listener in listeners {
            match listener {
                Listener::Datagrams(tasks) => tasks.start(&shared),
                Listener::Streams(socket, leg, protocol) => {
                    let stop = shared.stop.subscribe();
                    tokio::spawn(tcp::accept(shared.clone(), socket, leg, protocol, stop));
                }
            }
        }
        Ok((Transports(shared), bound))
    }

    /// Sends a message, in the end: never waits. What cannot be sent comes back as `Failed` with `client`.
    pub fn send(&self, bytes: Vec<u8>, target: Target, client: Option<u64>) {
        self.0.send(Outgoing {
            bytes,
            target,
            client,
            since: Instant::now(),
            again: false,
        });
    }

    /// Closes a connection once what was queued for it has been sent. Datagram flows have nothing to close.
    pub fn close(&self, flow: Flow) {
        if let Some(id) = flow.connection {
            self.0.pool.close(id);
        }
    }

    /// A new certificate for the connections that come in on a leg; those that are open stay as they are.
    pub fn renew_certificate(&self, leg: Leg, server: Arc<ServerConfig>) {
        self.0.renew_certificate(leg, server);
    }

    /// New rules for the connections that are opened from now on, all of them at once.
    pub fn replace_clients(&self, clients: Clients) {
        self.0.replace_clients(clients);
    }

    /// How many connections are open, and how many attempts failed.
    pub fn tally(&self) -> &Tally {
        &self.0.tally
    }

    /// How many tasks run: one for each listener's direction, each connection and each that is being opened.
    pub fn tasks(&self) -> usize {
        self.0.stop.receiver_count()
    }

    /// Sends what is queued on open connections, closes them and all listeners.
    pub async fn shutdown(self) {
        self.0.stop.send_replace(true);
        let _ = tokio::time::timeout(SHUTDOWN_TIMEOUT, self.0.stop.closed()).await;
    }
}

fn open(listen: &Listen, ports: &mut Vec<udp::Port>) -> io::Result<(SocketAddr, Listener)> {
    if listen.protocol == Protocol::Udp {
        let (port, tasks) = udp::bind(listen.leg, listen.address)?;
        let local = port.local;
        ports.push(port);
        return Ok((local, Listener::Datagrams(tasks)));
    }
    if listen.protocol == Protocol::Tls && listen.tls.is_none() {
        return Err(io::Error::other("no certificate is configured for it"));
    }
    let socket = tcp::bind(listen.address)?;
    let local = socket.local_addr()?;
    Ok((
        local,
        Listener::Streams(socket, listen.leg, listen.protocol),
    ))
}
