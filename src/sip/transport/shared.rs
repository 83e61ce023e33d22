//! What the tasks of all sockets have in common, and which way a message takes.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Instant;

use rustls::ServerConfig;
use tokio::sync::{mpsc, watch};

use crate::leg::Leg;

use crate::sip::message::Common;
use crate::sip::seldom::Seldom;
use crate::sip::{Limits, Message};

use super::gate::Gate;
use super::local::{listener_towards, may_face};
use super::pool::{Outgoing, Pool, Queued};
use super::tally::Tally;
use super::tls::ClientTls;
use super::{
    Clients, ConnectionId, Hop, Listen, Names, Protocol, Settings, Target, TransportEvent, tcp, udp,
};

/// What the tasks of all sockets have in common.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) names: Names,
    pub(super) pool: Pool,
    pub(super) gate: Arc<Gate>,
    pub(super) tally: Arc<Tally>,
    pub(super) events: mpsc::Sender<TransportEvent>,
    /// Becomes true at the end. Every task holds a receiver, so the last one gone closes it.
    pub(super) stop: watch::Sender<bool>,
    ports: Vec<udp::Port>,
    /// What each leg listens on, and may open streams from.
    sources: Vec<(Leg, SocketAddr)>,
    servers: RwLock<HashMap<Leg, Arc<ServerConfig>>>,
    clients: RwLock<Clients>,
    ids: AtomicU64,
    /// Peers whose TLS handshake failed.
    clumsy: Mutex<Seldom<IpAddr>>,
}

/// Most peers whose failed handshakes the log names in a minute: anybody may come to Meta's listener.
const MOST_NAMED: usize = 64;

/// Returns when the transports shall end, or nobody is left to tell.
pub(super) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The port in the topmost Via of a response of ours, which its peer listens on.
fn sent_by_port(response: &[u8], protocol: Protocol) -> Option<u16> {
    match Message::parse(response, &Limits::default()) {
        Ok(Message::Response(response)) => {
            Some(response.via()?.port.unwrap_or(protocol.default_port()))
        }
        _ => None,
    }
}

impl Shared {
    pub(super) fn new(
        settings: Settings,
        listens: &[Listen],
        clients: Clients,
        names: Names,
        events: mpsc::Sender<TransportEvent>,
        ports: Vec<udp::Port>,
    ) -> Shared {
        let sources = listens.iter().map(|l| (l.leg, l.address));
        let servers = listens.iter().filter_map(|l| Some((l.leg, l.tls.clone()?)));
        Shared {
            names,
            pool: Pool::new(settings.max_connections),
            gate: Gate::new(&settings),
            tally: Arc::default(),
            events,
            stop: watch::Sender::new(false),
            ports,
            sources: sources.collect(),
            servers: RwLock::new(servers.collect()),
            clients: RwLock::new(clients),
            ids: AtomicU64::new(1),
            clumsy: Mutex::new(Seldom::new(MOST_NAMED)),
            settings,
        }
    }

    pub(super) fn send(self: &Arc<Self>, message: Outgoing) {
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
            // §18.2.2: the address that the request came from, at the port that its Via names; a request of ours
            // has no such Via, and the port of a client's connection listens to nobody.
            Target::Flow(flow) => sent_by_port(&message.bytes, flow.protocol).map(|port| Hop {
                leg: flow.leg,
                protocol: flow.protocol,
                host: flow.remote.ip().to_string(),
                port,
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
        let ours = || self.ports.iter().filter(|port| port.leg == leg);
        let listeners: Vec<_> = ours().map(|port| port.local).collect();
        let chosen = listener_towards(&listeners, address)?;
        ours().find(|port| port.local == chosen)
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

    /// Tells the core that a message is on the wire: of those that go back on a flow, whose owner may wait for it.
    pub(super) fn sent(&self, message: &Outgoing) {
        if let (Some(client), Target::Flow(_)) = (message.client, &message.target)
            && self
                .events
                .try_send(TransportEvent::Sent { client })
                .is_err()
        {
            tracing::warn!("the core is behind: it is not told that a message was sent");
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

    /// The address that a stream to `peer` is opened from: the one we listen on, by which the peer may know us. `None`
    /// leaves it to the routing table, as when the listener is on loopback, behind a proxy, and the peer is not.
    pub(super) fn source_towards(&self, leg: Leg, peer: SocketAddr) -> Option<IpAddr> {
        let ours = self.sources.iter().filter(|(whose, _)| *whose == leg);
        let ours = ours.filter(|(_, address)| may_face(address.ip(), peer));
        let ours: Vec<_> = ours.map(|(_, address)| *address).collect();
        let chosen = listener_towards(&ours, peer)?.ip();
        (!chosen.is_unspecified()).then_some(chosen)
    }

    pub(super) fn renew_certificate(&self, leg: Leg, server: Arc<ServerConfig>) {
        let mut servers = self.servers.write().unwrap_or_else(PoisonError::into_inner);
        servers.insert(leg, server);
    }

    pub(super) fn replace_clients(&self, new: Clients) {
        let mut clients = self.clients.write().unwrap_or_else(PoisonError::into_inner);
        *clients = new;
    }

    pub(super) fn server_tls(&self, leg: Leg) -> Option<Arc<ServerConfig>> {
        let servers = self.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(&leg).cloned()
    }

    /// By which rules a connection to this address of `hop` is secured; the error is for the operator.
    pub(super) fn client_tls(&self, hop: &Hop, address: IpAddr) -> Result<ClientTls, String> {
        let clients = self.clients.read().unwrap_or_else(PoisonError::into_inner);
        match hop.leg {
            Leg::Meta => clients.meta.clone(),
            Leg::Pbx if clients.pbxs.is_empty() => None,
            Leg::Pbx => return clients.pbxs.towards(&hop.host, address).cloned(),
        }
        .ok_or_else(|| format!("TLS towards {} is not configured", hop.leg))
    }

    /// A peer's TLS handshake failed: if the log shall say so, how many have failed unsaid since it last did. A host of IPv6
    /// has a network of addresses to come from.
    pub(super) fn failed_handshake_of(&self, peer: IpAddr) -> Option<u64> {
        let peer = match peer.to_canonical() {
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
            v4 => v4,
        };
        let mut clumsy = self.clumsy.lock().unwrap_or_else(PoisonError::into_inner);
        clumsy.tell(peer, Instant::now())
    }

    pub(super) fn next_id(&self) -> ConnectionId {
        ConnectionId(self.ids.fetch_add(1, Ordering::Relaxed))
    }
}
