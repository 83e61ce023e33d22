//! Streams: accepting them, opening them, and TLS on either side.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls_pki_types::ServerName;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::leg::Leg;
use crate::sip::seldom::Seldom;

use super::connection::{Connection, Origin, Stream};
use super::gate::Place;
use super::pool::Handle;
use super::shared::{Shared, stopped};
use super::tally::Opener;
use super::tls::{ClientTls, explain};
use super::{Flow, Hop, Protocol};

/// How long a peer may take for its side of a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// After this long no further address of a hop is tried: what waits for it would come too late.
const OPENING_TIMEOUT: Duration = Duration::from_secs(12);
/// Rest after a failed accept: out of file descriptors, only time helps.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// Opens a listener.
pub(super) fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let kind = socket2::Type::STREAM;
    let socket = socket2::Socket::new(socket2::Domain::for_address(address), kind, None)?;
    if address.is_ipv6() {
        // IPv4 has listeners of its own, so that no address ever is a mapped one.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Takes what comes to a listener, until the end.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    leg: Leg,
    protocol: Protocol,
    mut stop: watch::Receiver<bool>,
) {
    let mut failing = Seldom::new(1);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopped(&mut stop) => return,
        };
        match accepted {
            Ok((socket, remote)) => {
                if let Some(place) = shared.gate.enter(leg, remote.ip()) {
                    let stop = stop.clone();
                    let welcome = welcome(shared.clone(), socket, remote, (leg, protocol), place);
                    tokio::spawn(until_stopped(welcome, stop));
                }
            }
            Err(error) => {
                // Ten times a second, for as long as nothing closes.
                if let Some(more) = failing.tell((), Instant::now()) {
                    tracing::warn!(?leg, %error, more, "could not accept a connection");
                }
                tokio::time::sleep(ACCEPT_REST).await;
            }
        }
    }
}

/// Runs the opening of a connection; once it is open, its own task watches for the end.
async fn until_stopped(
    opening: impl Future<Output = Option<Connection>>,
    mut stop: watch::Receiver<bool>,
) {
    let connection = tokio::select! {
        connection = opening => connection,
        () = stopped(&mut stop) => return,
    };
    drop(stop);
    if let Some(connection) = connection {
        connection.run().await;
    }
}

async fn welcome(
    shared: Arc<Shared>,
    socket: TcpStream,
    remote: SocketAddr,
    (leg, protocol): (Leg, Protocol),
    place: Place,
) -> Option<Connection> {
    let _ = socket.set_nodelay(true);
    let local = socket.local_addr().ok()?;
    let stream: Box<dyn Stream> = match protocol {
        Protocol::Tls => {
            let acceptor = TlsAcceptor::from(shared.server_tls(leg)?);
            let why = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(socket)).await {
                Ok(Ok(stream)) => Ok(stream),
                Ok(Err(error)) => Err(explain(&error, "us")),
                Err(_) => Err("the peer did not finish the TLS handshake".to_owned()),
            };
            match why {
                Ok(stream) => Box::new(stream),
                Err(reason) => {
                    shared.tally.handshake_failed(leg, Opener::Peer);
                    // Where Meta's calls do not come in, this line says why.
                    if let Some(more) = shared.failed_handshake_of(remote.ip()) {
                        tracing::info!(?leg, %remote, reason, more, "TLS handshake of a peer failed");
                    }
                    return None;
                }
            }
        }
        Protocol::Tcp | Protocol::Udp => Box::new(socket),
    };
    let id = shared.next_id();
    let flow = Flow {
        leg,
        protocol,
        local,
        remote,
        connection: Some(id),
    };
    let (handle, orders) = Handle::new(id);
    shared.pool.accepted(handle);
    tracing::debug!(?leg, %remote, "connection accepted");
    let origin = Origin::Accepted { _place: place };
    Some(Connection::new(shared, stream, flow, origin, orders))
}

/// Opens a connection to a hop, for all that waits for it, and carries it.
pub(super) async fn open(shared: Arc<Shared>, hop: Hop, stop: watch::Receiver<bool>) {
    let opening = async {
        match connect(&shared, &hop).await {
            Ok((stream, local, remote)) => {
                let id = shared.next_id();
                let flow = Flow {
                    leg: hop.leg,
                    protocol: hop.protocol,
                    local,
                    remote,
                    connection: Some(id),
                };
                let (handle, orders) = Handle::new(id);
                shared.pool.opened(&hop, handle);
                tracing::debug!(leg = ?hop.leg, host = hop.host, %remote, "connection opened");
                let origin = Origin::Opened(hop.clone());
                let shared = shared.clone();
                Some(Connection::new(shared, stream, flow, origin, orders))
            }
            Err(reason) => {
                shared.tally.is_unreachable(hop.leg);
                for message in shared.pool.give_up(&hop) {
                    shared.fail(message, reason.clone());
                }
                None
            }
        }
    };
    until_stopped(opening, stop).await;
}

type Connected = (Box<dyn Stream>, SocketAddr, SocketAddr);

/// Tries the addresses of a hop in order; the error tells what each of them said.
async fn connect(shared: &Shared, hop: &Hop) -> Result<Connected, String> {
    let limit = shared.settings.connect_timeout();
    let addresses = shared.names.lookup(&hop.host, hop.port, limit).await?;
    let started = Instant::now();
    let mut reasons = Vec::new();
    for address in addresses {
        if started.elapsed() > OPENING_TIMEOUT {
            reasons.push("the other addresses were not tried, time is up".to_owned());
            break;
        }
        match connect_to(shared, hop, address, limit).await {
            Ok(connected) => return Ok(connected),
            Err(reason) => reasons.push(format!("{address}: {reason}")),
        }
    }
    let name = format!("{} {}:{}", hop.protocol.name(), hop.host, hop.port);
    Err(format!("cannot reach {name}: {}", reasons.join("; ")))
}

async fn connect_to(
    shared: &Shared,
    hop: &Hop,
    address: SocketAddr,
    limit: Duration,
) -> Result<Connected, String> {
    let connecting = async {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        if let Some(source) = shared.source_towards(hop.leg, address) {
            socket.bind(SocketAddr::new(source, 0))?;
        }
        let stream = socket.connect(address).await?;
        let _ = stream.set_nodelay(true);
        io::Result::Ok((stream.local_addr()?, stream))
    };
    let (local, stream) = match timeout(limit, connecting).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(format!("no answer within {} s", limit.as_secs())),
    };
    if hop.protocol != Protocol::Tls {
        return Ok((Box::new(stream), local, address));
    }
    let tls = shared.client_tls(hop, address.ip())?;
    let stream = secure(stream, &tls, &hop.host, limit)
        .await
        .inspect_err(|_| shared.tally.handshake_failed(hop.leg, Opener::Us))?;
    Ok((stream, local, address))
}

async fn secure(
    stream: TcpStream,
    tls: &ClientTls,
    host: &str,
    limit: Duration,
) -> Result<Box<dyn Stream>, String> {
    let name = tls.server_name.as_deref().unwrap_or(host);
    let verified = ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name} is no name that a certificate could cover"))?;
    let connector = TlsConnector::from(tls.config.clone());
    match timeout(limit, connector.connect(verified, stream)).await {
        Ok(Ok(stream)) => Ok(Box::new(stream)),
        Ok(Err(error)) => Err(explain(&error, name)),
        Err(_) => Err(format!("no TLS handshake within {} s", limit.as_secs())),
    }
}
