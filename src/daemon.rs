//! Composition: builds every part from a [`Config`], and owns the order in which they start and stop.
//!
//! ```text
//!   start:  media engine ─▶ sockets ─▶ bridge
//!   stop:   bridge (no new calls, then BYE on every leg) ─▶ sockets ─▶ media engine
//! ```

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::call::driver::{self, Order};
use crate::call::{Bridge, Setup, Watch};
use crate::config::{self, Config, restart_only_changes};
use crate::leg::Leg;
use crate::media::{self, Engine};
use crate::observe::CallLog;
use crate::peer::{Meta, Pbx, pbx};
use crate::policy::Numbers;
use crate::sdp::Keying;
use crate::sip::dialog::Pace;
use crate::sip::token::Tokens;
use crate::sip::transaction::Table;
use crate::sip::transport::tls::{self, ClientTls, Roots, TlsError};
use crate::sip::transport::{
    Clients, Listen, Names, Overrides, Protocol, StartError as ListenError, Transports,
    local_address_towards,
};

/// Events of the sockets that may wait for the bridge; beyond them streams are read no further.
const EVENTS: usize = 4096;

/// Why the daemon could not start, or take a new configuration over.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    /// The media engine.
    #[error("cannot start the media engine: {0}")]
    Media(io::Error),
    /// An address for media that cannot be bound, most often one of another host.
    #[error(
        "cannot receive media at {address}: {source}; set {key} to an address of this host (media.meta_public_address \
         is for that of a NAT)"
    )]
    MediaAddress {
        /// The key that has it.
        key: &'static str,
        /// The address.
        address: IpAddr,
        /// What the system said.
        source: io::Error,
    },
    /// A listener.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// A certificate or an authority.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The way to a PBX.
    #[error("cannot find our address towards the PBX {name}: {source}; set pbx.our_host")]
    OurHost {
        /// Its name.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// Who may vouch for the far ends of the TLS connections that we open.
#[derive(Clone, Debug)]
pub struct Trust {
    /// For Meta.
    pub meta: Roots,
    /// For the PBX.
    pub pbx: Roots,
}

impl Trust {
    /// What the configuration says: a file of authorities, or those of the system.
    pub fn of(config: &Config) -> Trust {
        let roots = |file: Option<&std::path::PathBuf>| match file {
            Some(file) => Roots {
                files: vec![file.clone()],
                ..Roots::only(Vec::new())
            },
            None => Roots::system(),
        };
        let tls_pbx = config
            .pbxs
            .iter()
            .find(|pbx| pbx.transport == Protocol::Tls);
        Trust {
            meta: roots(config.meta.ca_file.as_ref()),
            pbx: roots(tls_pbx.and_then(|pbx| pbx.ca_file.as_ref())),
        }
    }
}

/// Where the daemon listens: with port 0 in the configuration, only the system knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Addresses {
    /// For Meta, under TLS.
    pub meta: Option<SocketAddr>,
    /// For PBXs: datagrams.
    pub udp: Option<SocketAddr>,
    /// For PBXs: streams.
    pub tcp: Option<SocketAddr>,
    /// For PBXs: streams under TLS.
    pub tls: Option<SocketAddr>,
}

/// A running bridge.
pub struct Daemon {
    /// What it was started with: what keys that only a restart can change still say, whatever was reloaded since.
    started: Config,
    drain_time: Duration,
    addresses: Addresses,
    transports: Transports,
    orders: mpsc::Sender<Order>,
    signalling: JoinHandle<()>,
    engine: Engine,
}

impl Daemon {
    /// Starts everything, or nothing.
    pub async fn start(config: Config, trust: &Trust) -> Result<Daemon, DaemonError> {
        allow_files(config.calls.max.into(), config.media.sockets());
        media_addresses_are_ours(&config.media)?;
        let (heard, media) = mpsc::unbounded_channel();
        let engine = Engine::start(&config.media, move |event| {
            // It fails once signalling has stopped, and then nobody wants to know.
            let _ = heard.send(event);
        })
        .map_err(DaemonError::Media)?;
        let (events, transport) = mpsc::channel(EVENTS);
        let listens = listens(&config)?;
        let clients = clients(&config, trust)?;
        let (transports, bound) = Transports::start(
            config.sip.clone(),
            listens.clone(),
            clients,
            names(&config),
            events,
        )
        .await?;
        let addresses = addresses(&listens, &bound);
        let setup = setup(&config, &addresses).await?;
        let mut nonce_key = [0; 32];
        getrandom::fill(&mut nonce_key).map_err(DaemonError::Random)?;
        let bridge = Bridge::new(
            Arc::new(setup),
            Table::new(config.transactions.clone()),
            Box::new(engine.handle()),
            Tokens::system(),
            nonce_key,
            Instant::now(),
        );
        let watchers: Vec<Box<dyn Watch>> = vec![Box::new(CallLog)];
        let (orders, received) = mpsc::channel(8);
        let sources = driver::Sources {
            transport,
            media,
            orders: received,
        };
        let signalling = tokio::spawn(driver::run(bridge, transports.clone(), sources, watchers));
        tracing::info!(
            meta = addresses.meta.map(tracing::field::display),
            pbx_udp = addresses.udp.map(tracing::field::display),
            pbx_tcp = addresses.tcp.map(tracing::field::display),
            pbx_tls = addresses.tls.map(tracing::field::display),
            numbers = config.numbers.len(),
            pbxs = config.pbxs.len(),
            "listening"
        );
        if config.meta.digest.challenge.status().is_none() {
            tracing::warn!(
                "INVITEs are not challenged (meta.digest.challenge = \"off\"): any Meta address may call"
            );
        }
        Ok(Daemon {
            drain_time: config.calls.drain_time(),
            started: config,
            addresses,
            transports,
            orders,
            signalling,
            engine,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Takes a new configuration over for new calls and connections. What only a restart can change is named in the
    /// log and stays as it was.
    pub async fn reload(&mut self, config: Config, trust: &Trust) -> Result<(), DaemonError> {
        let server = server_tls(&config)?;
        let clients = clients(&config, trust)?;
        let setup = setup(&config, &self.addresses).await?;
        for key in restart_only_changes(&self.started, &config) {
            tracing::warn!(key, "takes effect at the next start only");
        }
        self.transports
            .reload_tls(Leg::Meta, Some(server.clone()), clients.meta);
        self.transports
            .reload_tls(Leg::Pbx, Some(server), clients.pbx);
        self.drain_time = config.calls.drain_time();
        // It fails only when signalling has ended, and then the daemon is about to.
        let _ = self.orders.send(Order::Reload(Arc::new(setup))).await;
        Ok(())
    }

    /// Takes no new calls from now on; those that are up end by themselves, or when this time, `calls.drain_time`, is over.
    pub async fn drain(&self) -> Duration {
        let until = Instant::now() + self.drain_time;
        let _ = self.orders.send(Order::Drain { until }).await;
        self.drain_time
    }

    /// Waits until a daemon that was told to drain has no call left.
    pub async fn drained(&mut self) {
        // It fails only if signalling panicked, and then there is no call either.
        let _ = (&mut self.signalling).await;
    }

    /// Ends all calls with BYE on both legs, then everything else.
    pub async fn stop(mut self) {
        if !self.signalling.is_finished() {
            let _ = self.orders.send(Order::Stop).await;
            self.drained().await;
        }
        self.transports.shutdown().await;
        drop(self.engine);
        tracing::info!("stopped");
    }
}

/// A call has so many sockets of media; beside them stand the connections of SIP and a few files. A shell allows 1024.
fn allow_files(calls: u64, sockets: u64) {
    let needed = sockets * calls + 1024;
    match rlimit::increase_nofile_limit(needed) {
        Ok(allowed) if allowed < needed => {
            tracing::warn!(
                allowed,
                needed,
                "too few open files are allowed for calls.max: raise the limit (ulimit -n)"
            );
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "the limit of open files cannot be raised"),
    }
}

fn server_tls(config: &Config) -> Result<Arc<ServerConfig>, TlsError> {
    let certificate = &config.certificate;
    tls::server_config_from(certificate.chain().to_vec(), certificate.key().clone_key())
}

/// Sockets for media are opened call by call: an address that is not ours must be found before the first one.
fn media_addresses_are_ours(media: &media::Settings) -> Result<(), DaemonError> {
    let ipv6 = media.meta_ipv6_address.map(IpAddr::from);
    for (key, address) in [
        ("media.meta_address", Some(media.meta_address)),
        ("media.meta_ipv6_address", ipv6),
        ("media.pbx_address", Some(media.pbx_address)),
    ] {
        let Some(address) = address else { continue };
        UdpSocket::bind((address, 0)).map_err(|source| DaemonError::MediaAddress {
            key,
            address,
            source,
        })?;
    }
    Ok(())
}

fn listens(config: &Config) -> Result<Vec<Listen>, TlsError> {
    let tls = server_tls(config)?;
    let listen = |leg, protocol, address: SocketAddr| Listen {
        leg,
        protocol,
        address,
        tls: (protocol == Protocol::Tls).then(|| tls.clone()),
    };
    let pbx = &config.pbx_listener;
    let mut listens = vec![listen(Leg::Meta, Protocol::Tls, config.meta.listen)];
    for (protocol, address) in [
        (Protocol::Udp, pbx.udp),
        (Protocol::Tcp, pbx.tcp),
        (Protocol::Tls, pbx.tls),
    ] {
        listens.extend(address.map(|address| listen(Leg::Pbx, protocol, address)));
    }
    Ok(listens)
}

fn addresses(listens: &[Listen], bound: &[SocketAddr]) -> Addresses {
    let mut addresses = Addresses::default();
    for (listen, address) in listens.iter().zip(bound) {
        let field = match (listen.leg, listen.protocol) {
            (Leg::Meta, _) => &mut addresses.meta,
            (Leg::Pbx, Protocol::Udp) => &mut addresses.udp,
            (Leg::Pbx, Protocol::Tcp) => &mut addresses.tcp,
            (Leg::Pbx, Protocol::Tls) => &mut addresses.tls,
        };
        *field = Some(*address);
    }
    addresses
}

fn clients(config: &Config, trust: &Trust) -> Result<Clients, TlsError> {
    let meta = ClientTls {
        config: tls::client_config(&trust.meta)?,
        server_name: Some(config.meta.domain.clone()),
    };
    let pbx = match config
        .pbxs
        .iter()
        .find(|pbx| pbx.transport == Protocol::Tls)
    {
        None => None,
        Some(pbx) => {
            let client = match pbx.verify {
                true => tls::client_config(&trust.pbx)?,
                false => tls::client_config_without_verification()?,
            };
            Some(ClientTls {
                config: client,
                server_name: Some(pbx.address.host.clone()),
            })
        }
    };
    Ok(Clients {
        meta: Some(meta),
        pbx,
    })
}

fn names(config: &Config) -> Names {
    let meta = &config.meta;
    let overrides = meta.address.map(|ip| {
        (
            meta.domain.to_ascii_lowercase(),
            SocketAddr::new(ip, meta.port),
        )
    });
    Names::system(Overrides::from_iter(overrides))
}

async fn setup(config: &Config, addresses: &Addresses) -> Result<Setup, DaemonError> {
    let port = |address: Option<SocketAddr>| address.map(|a| a.port());
    let our_ports = pbx::Ports {
        udp: port(addresses.udp),
        tcp: port(addresses.tcp),
        tls: port(addresses.tls),
    };
    let mut pbxs = Vec::new();
    for pbx in &config.pbxs {
        let our_host = our_host(pbx, addresses).await?;
        let profile = Pbx {
            name: pbx.name.clone(),
            hop: pbx::hop(&pbx.address.host, pbx.port(), pbx.transport),
            our_host,
            our_ports,
            keying: if pbx.srtp {
                Keying::Sdes
            } else {
                Keying::Plain
            },
            source: pbx.source,
            ack_when_keyed: pbx.ack_when_keyed,
            dialling: pbx.dialling.clone(),
            default_number: pbx.default_number.clone(),
        };
        pbxs.push((Arc::new(profile), pbx.allowed_sources()));
    }
    Ok(Setup {
        meta: Arc::new(Meta {
            domain: config.meta.domain.clone(),
            port: config.meta.port,
            our_port: port(addresses.meta).unwrap_or(config.meta.listen.port()),
            digest: config.meta.digest.clone(),
            realm: config.meta.realm.clone(),
            dtls_setup: config.meta.dtls_setup,
        }),
        meta_sources: config.meta.allowed_sources.clone(),
        pbxs,
        numbers: Numbers::new(config.numbers.iter().cloned()),
        pace: Pace::from(&config.transactions),
        max_calls: config.calls.max.into(),
        ring_timeout: config.calls.ring_timeout(),
        answer_timeout: config.calls.answer_timeout(),
    })
}

/// By which host a PBX reaches us: as configured, or where its listener is bound, or our address on the way to it.
async fn our_host(pbx: &config::Pbx, addresses: &Addresses) -> Result<String, DaemonError> {
    if let Some(host) = &pbx.our_host {
        return Ok(bracketed(host));
    }
    let listener = match pbx.transport {
        Protocol::Udp => addresses.udp,
        Protocol::Tcp => addresses.tcp,
        Protocol::Tls => addresses.tls,
    };
    if let Some(address) = listener.filter(|a| !a.ip().is_unspecified()) {
        return Ok(bracketed(&address.ip().to_string()));
    }
    let unreachable = |source| DaemonError::OurHost {
        name: pbx.name.clone(),
        source,
    };
    let mut found = tokio::net::lookup_host((pbx.address.host.as_str(), pbx.port()))
        .await
        .map_err(unreachable)?;
    let peer = found
        .next()
        .ok_or_else(|| unreachable(io::ErrorKind::NotFound.into()))?;
    let ip = local_address_towards(peer).map_err(unreachable)?;
    Ok(bracketed(&ip.to_string()))
}

fn bracketed(host: &str) -> String {
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        _ => host.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_for_media_that_another_host_has_is_named_with_its_key() {
        let here = media::Settings::default();
        assert!(media_addresses_are_ours(&here).is_ok());
        let elsewhere = media::Settings {
            // Reserved for documents (RFC 5737): no host has it.
            meta_address: IpAddr::from([192, 0, 2, 10]),
            ..here
        };
        let said = media_addresses_are_ours(&elsewhere)
            .unwrap_err()
            .to_string();
        assert!(
            said.contains("192.0.2.10") && said.contains("media.meta_address"),
            "{said}"
        );
    }
}
