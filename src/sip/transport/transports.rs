//! All sockets of SIP together, behind one handle that never blocks its owner.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::leg::Leg;

use super::gate::Gate;
use super::pool::{Outgoing, Pool, Queued};
use super::tls::ClientTls;
use super::{ConnectionId, Flow, Hop, Names, Protocol, Settings, Target, TransportEvent, tcp, udp};

/// How long [`Transports::shutdown`] waits for messages on their way.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(3);

/// A socket to listen on.
#[derive(Clone, Debug)]
pub struct Listen {
    /// Who comes in there.
    pub leg: Leg,
    /// By which protocol.
    pub protocol: Protocol,
    /// The address; port 0 takes any free one.
    pub address: SocketAddr,
    /// Certificate and key, for TLS. One set serves all listeners of a leg.
    pub tls: Option<Arc<ServerConfig>>,
}

/// How each leg opens TLS connections; `None`: it does not.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    /// Towards Meta. Its `server_name` is Meta's domain, whatever address is connected to.
    pub meta: Option<ClientTls>,
    /// Towards the PBX.
    pub pbx: Option<ClientTls>,
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

/// What the tasks of all sockets have in common.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) names: Names,
    pub(super) pool: Pool,
    pub(super) gate: Arc<Gate>,
    pub(super) events: mpsc::Sender<TransportEvent>,
    /// Becomes true at the end. Every task holds a receiver, so the last one gone closes it.
    pub(super) stop: watch::Sender<bool>,
    ports: Vec<udp::Port>,
    /// Addresses that streams of a leg are opened from, where its listeners name one.
    sources: Vec<(Leg, IpAddr)>,
    servers: RwLock<HashMap<Leg, Arc<ServerConfig>>>,
    clients: RwLock<Clients>,
    ids: AtomicU64,
}

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
        let sources = listens
            .iter()
            .map(|listen| (listen.leg, listen.address.ip()));
        let shared = Arc::new(Shared {
            names,
            pool: Pool::new(settings.max_connections),
            gate: Gate::new(&settings),
            events,
            stop: watch::Sender::new(false),
            ports,
            // A loopback listener sits behind a proxy; what we open goes out by the routing table.
            sources: sources
                .filter(|(_, ip)| !ip.is_unspecified() && !ip.is_loopback())
                .collect(),
            servers: RwLock::new(
                listens
                    .into_iter()
                    .filter_map(|listen| Some((listen.leg, listen.tls?)))
                    .collect(),
            ),
            clients: RwLock::new(clients),
            ids: AtomicU64::new(1),
            settings,
        });
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
            again: false,
        });
    }

    /// Closes a connection once what was queued for it has been sent. Datagram flows have nothing to close.
    pub fn close(&self, flow: Flow) {
        if let Some(id) = flow.connection {
            self.0.pool.close(id);
        }
    }

    /// New certificates for the connections that come; those that are open stay as they are. `None` changes nothing.
    pub fn reload_tls(
        &self,
        leg: Leg,
        server: Option<Arc<ServerConfig>>,
        client: Option<ClientTls>,
    ) {
        if let Some(server) = server {
            let mut servers = self
                .0
                .servers
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            servers.insert(leg, server);
        }
        if let Some(client) = client {
            let mut clients = self
                .0
                .clients
                .write()
                .unwrap_or_else(PoisonError::into_inner);
            match leg {
                Leg::Meta => clients.meta = Some(client),
                Leg::Pbx => clients.pbx = Some(client),
            }
        }
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

/// Returns when the transports shall end, or nobody is left to tell.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

impl Shared {
    fn send(self: &Arc<Self>, message: Outgoing) {
        match &message.target {
            Target::Hop(hop) => {
                let hop = hop.clone();
                self.send_to_hop(&hop, message);
            }
            Target::Flow(flow) if flow.protocol == Protocol::Udp => {
                let flow = *flow;
                let port = self.ports.iter();
                let port = port
                    .filter(|p| p.leg == flow.leg)
                    .find(|p| p.local == flow.local);
                self.send_datagram(port, message, flow.remote);
            }
            Target::Flow(flow) => match self.pool.queue_on(flow.connection, message) {
                Queued::Waits | Queued::MustOpen => {}
                Queued::Full(message) => {
                    self.fail(message, "the peer does not read what is sent to it".into());
                }
                Queued::Gone(message) => self.send_elsewhere(message, "the connection is gone"),
            },
        }
    }

    /// What lost its connection gets one more chance, on a fresh one.
    pub(super) fn send_elsewhere(self: &Arc<Self>, mut message: Outgoing, reason: &str) {
        let hop = match &message.target {
            _ if message.again || *self.stop.borrow() => None,
            Target::Hop(hop) => Some(hop.clone()),
            // Meta's connections come from ephemeral ports, and its sent-by is never connected to.
            Target::Flow(flow) if flow.leg == Leg::Meta => None,
            // §18.2.2: the address that the request came from.
            Target::Flow(flow) => Some(Hop {
                leg: flow.leg,
                protocol: flow.protocol,
                host: flow.remote.ip().to_string(),
                port: flow.remote.port(),
            }),
        };
        message.again = true;
        match hop {
            Some(hop) => self.send_to_hop(&hop, message),
            None => self.fail(message, reason.to_owned()),
        }
    }

    fn send_to_hop(self: &Arc<Self>, hop: &Hop, message: Outgoing) {
        if hop.protocol == Protocol::Udp
            && let Some(address) = self.names.at_once(&hop.host, hop.port)
        {
            return self.send_datagram(self.port_towards(hop.leg, address), message, address);
        }
        match self.pool.queue(hop, message) {
            Queued::Waits => {}
            Queued::Full(message) | Queued::Gone(message) => {
                self.fail(message, "too many messages wait for connections".into());
            }
            Queued::MustOpen => {
                let stop = self.stop.subscribe();
                match hop.protocol {
                    Protocol::Udp => tokio::spawn(self.clone().look_up(hop.clone(), stop)),
                    _ => tokio::spawn(tcp::open(self.clone(), hop.clone(), stop)),
                };
            }
        }
    }

    /// Finds the address of a hop by UDP and sends it what has waited.
    async fn look_up(self: Arc<Self>, hop: Hop, mut stop: watch::Receiver<bool>) {
        let limit = self.settings.connect_timeout();
        let addresses = tokio::select! {
            addresses = self.names.lookup(&hop.host, hop.port, limit) => addresses,
            () = stopped(&mut stop) => return,
        };
        // A datagram cannot be tried at each address: the first that a socket of ours can reach.
        let found = addresses.and_then(|addresses| {
            let reachable = |a: &SocketAddr| self.port_towards(hop.leg, *a).is_some();
            let none = || format!("no UDP listener reaches an address of {}", hop.host);
            addresses.into_iter().find(reachable).ok_or_else(none)
        });
        for message in self.pool.give_up(&hop) {
            match &found {
                Ok(address) => {
                    let port = self.port_towards(hop.leg, *address);
                    self.send_datagram(port, message, *address);
                }
                Err(reason) => self.fail(message, reason.clone()),
            }
        }
    }

    fn port_towards(&self, leg: Leg, address: SocketAddr) -> Option<&udp::Port> {
        self.ports
            .iter()
            .find(|port| port.leg == leg && port.local.is_ipv4() == address.is_ipv4())
    }

    fn send_datagram(&self, port: Option<&udp::Port>, message: Outgoing, to: SocketAddr) {
        let Some(port) = port else {
            return self.fail(
                message,
                format!("there is no UDP listener that reaches {to}"),
            );
        };
        if let Some(message) = port.send(message, to) {
            self.fail(message, "too many datagrams wait".into());
        }
    }

    /// Tells the core that a message could not be sent.
    pub(super) fn fail(&self, message: Outgoing, reason: String) {
        let event = TransportEvent::Failed {
            client: message.client,
            target: message.target,
            reason,
        };
        if let Err(mpsc::error::TrySendError::Full(event)) = self.events.try_send(event) {
            tracing::warn!(?event, "the core is behind: it is not told of a failure");
        }
    }

    /// The address that a stream to `peer` is opened from; `None` leaves it to the routing table.
    pub(super) fn source_towards(&self, leg: Leg, peer: SocketAddr) -> Option<IpAddr> {
        self.sources
            .iter()
            .find(|(whose, ip)| *whose == leg && ip.is_ipv4() == peer.is_ipv4())
            .map(|(_, ip)| *ip)
    }

    pub(super) fn server_tls(&self, leg: Leg) -> Option<Arc<ServerConfig>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(&leg).cloned()
    }

    pub(super) fn client_tls(&self, leg: Leg) -> Option<ClientTls> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        match leg {
            Leg::Meta => clients.meta.clone(),
            Leg::Pbx => clients.pbx.clone(),
        }
    }

    pub(super) fn next_id(&self) -> ConnectionId {
        ConnectionId(self.ids.fetch_add(1, Ordering::Relaxed))
    }
}
