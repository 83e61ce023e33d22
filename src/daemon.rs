//! Composition: builds every part from a [`Config`], and owns the order in which they start and stop.
//!
//! ```text
//!   start:  media engine ─▶ sockets ─▶ bridge
//!   stop:   bridge (no new calls, then BYE on every leg) ─▶ sockets ─▶ media engine
//! ```

mod facts;
mod listening;
mod media;
mod ourselves;
mod setup;
mod trust;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::call::driver::{self, Order};
use crate::call::{Bridge, Setup, Watch};
use crate::config::{self, Change, Config};
use crate::leg::Leg;
use crate::media::{Engine, MediaEvent};
use crate::observe::admin::{Door, DoorError, Listen as AdminListen, Server};
use crate::observe::trace::Traces;
use crate::observe::{CallLog, CallMetrics, Metrics, RecordWriter, SoundMetrics, View};
use crate::service::{self, Pulse};
use crate::sip::token::Tokens;
use crate::sip::transaction::Table;
use crate::sip::transport::tls::TlsError;
use crate::sip::transport::{StartError as ListenError, Transports};

pub use setup::without_pbxs as setup_without_pbxs;
pub use trust::Trust;
use trust::clients;

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
        "cannot receive media at {address}: {source}; set {key} to an address of this host ({public} is for that of a \
         NAT)"
    )]
    MediaAddress {
        /// The key that has it.
        key: String,
        /// The key that has the one of a NAT.
        public: String,
        /// The address.
        address: std::net::IpAddr,
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
    /// The file of call records.
    #[error("cannot write call records: {0}; see records.file")]
    Records(io::Error),
    /// The pages for operators.
    #[error(transparent)]
    Admin(#[from] DoorError),
    /// The system has no randomness to give.
    #[error("no randomness: {0}")]
    Random(getrandom::Error),
}

/// Where the daemon listens: with port 0 in the configuration, only the system knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// For Meta, under TLS.
    pub meta: Vec<SocketAddr>,
    /// For PBXs.
    pub pbx: config::Listener,
}

/// What a reload came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reloaded {
    /// What took effect, for new calls and connections.
    pub changed: Vec<Change>,
    /// What the file has changed since the start, and only a restart takes over.
    pub kept: Vec<Change>,
}

/// A running bridge.
pub struct Daemon {
    /// What is in force. What only a restart can change still says what it said at the start.
    config: Config,
    /// The same as signalling has it.
    setup: Arc<Setup>,
    addresses: Addresses,
    transports: Transports,
    orders: mpsc::Sender<Order>,
    signalling: JoinHandle<()>,
    engine: Engine,
    records: RecordWriter,
    view: Arc<View>,
    admin: Option<Server>,
}

impl Daemon {
    /// Starts everything, or nothing.
    pub async fn start(config: Config, trust: &Trust) -> Result<Daemon, DaemonError> {
        allow_files(files_needed(&config));
        media::are_ours(&media::addresses(&config), &[])?;
        let door = Door::open(&config.admin.listen).await?;
        let (records, record_writer) =
            RecordWriter::start(&config.records).map_err(DaemonError::Records)?;
        let (heard, media) = mpsc::unbounded_channel();
        let metrics = Arc::new(Metrics::new());
        let sound = SoundMetrics::new(&metrics);
        let engine = Engine::start(&config.media, move |event| {
            if let MediaEvent::Measured { leg, measured, .. } = &event {
                sound.measured(*leg, measured);
                // Signalling hears of what turns, not of every interval of every call.
                if measured.turn.is_none() {
                    return;
                }
            }
            // It fails once signalling has stopped, and then nobody wants to know.
            let _ = heard.send(event);
        })
        .map_err(DaemonError::Media)?;
        engine.handle().serve_pbxs_at(&media::of_pbxs(&config));
        let (events, transport) = mpsc::channel(EVENTS);
        let listens = listening::listens(&config)?;
        let clients = clients(&config, trust)?;
        let (transports, bound) = Transports::start(
            config.sip.clone(),
            listens.clone(),
            clients,
            listening::names(&config),
            events,
        )
        .await?;
        let addresses = listening::addresses(&listens, &bound);
        let setup = Arc::new(setup::of(&config, &addresses, None).await?);
        let mut nonce_key = [0; 32];
        getrandom::fill(&mut nonce_key).map_err(DaemonError::Random)?;
        let bridge = Bridge::new(
            setup.clone(),
            Table::new(config.transactions.clone()),
            Box::new(engine.handle()),
            Tokens::system(),
            nonce_key,
            Instant::now(),
        );
        let traces = Traces::new(config.trace.clone()).recorded_by(engine.handle());
        let watchers: Vec<Box<dyn Watch>> = vec![
            Box::new(CallLog),
            Box::new(records.counted(&metrics)),
            Box::new(CallMetrics::new(metrics.clone())),
            Box::new(traces.clone()),
        ];
        let (orders, received) = mpsc::channel(8);
        let sources = driver::Sources {
            transport,
            media,
            orders: received,
        };
        let signalling = tokio::spawn(driver::run(bridge, transports.clone(), sources, watchers));
        let facts = facts::of(&config, &addresses, door.as_ref().map(Door::listen));
        let view = Arc::new(View::new(
            &orders,
            engine.handle(),
            transports.clone(),
            record_writer.file_state(),
            metrics,
            traces,
            facts,
        ));
        let admin = door.map(|door| Server::start(door, view.clone()));
        tracing::info!(
            meta = listening::listed(&addresses.meta),
            pbx_udp = listening::listed(&addresses.pbx.udp),
            pbx_tcp = listening::listed(&addresses.pbx.tcp),
            pbx_tls = listening::listed(&addresses.pbx.tls),
            admin = admin
                .as_ref()
                .map(|admin| tracing::field::display(admin.listen())),
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
            config,
            setup,
            addresses,
            transports,
            orders,
            signalling,
            engine,
            records: record_writer,
            view,
            admin,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// By which one can feel that it lives.
    pub fn pulse(&self) -> Pulse {
        Pulse::new(self.orders.clone(), self.engine.handle())
    }

    /// Where its pages for operators are, unless they are off.
    pub fn admin(&self) -> Option<&AdminListen> {
        self.admin.as_ref().map(Server::listen)
    }

    /// What it is doing, and where it counts.
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Takes a new configuration over for new calls and connections. What only a restart can change stays as it was.
    ///
    /// # Errors
    ///
    /// When something that it needs cannot be had; then nothing has changed. Nor has it if this is dropped while it waits for a
    /// name server, which is all that may take long.
    pub async fn reload(&mut self, new: Config, trust: &Trust) -> Result<Reloaded, DaemonError> {
        let config = new.without_restart(&self.config);
        // Whatever can fail comes before the first change.
        media::are_ours(&media::addresses(&config), &media::addresses(&self.config))?;
        // Tickets that peers have of us are good until the certificate is another.
        let is_renewed = config.certificate != self.config.certificate;
        let server = is_renewed
            .then(|| listening::server_tls(&config))
            .transpose()?;
        let clients = clients(&config, trust)?;
        let setup = Arc::new(setup::of(&config, &self.addresses, Some(&self.setup)).await?);
        let was_at = self.admin().cloned();
        let door = self.new_door(&config).await?;
        if let Err(error) = self.records.reload(&config.records) {
            drop(door);
            self.restore_admin(was_at).await;
            return Err(DaemonError::Records(error));
        }
        if files_needed(&config) > files_needed(&self.config) {
            allow_files(files_needed(&config));
        }
        self.move_admin(door, &config);
        self.transports.replace_clients(clients);
        for (leg, server) in Leg::BOTH.into_iter().zip(server.iter().cycle()) {
            self.transports.renew_certificate(leg, server.clone());
        }
        let engine = self.engine.handle();
        engine.serve_pbxs_at(&media::of_pbxs(&config));
        // It fails only when signalling has ended, and then the daemon is about to.
        let _ = self.orders.send(Order::Reload(setup.clone())).await;
        let reloaded = Reloaded {
            changed: self.config.changes_to(&config),
            kept: config.changes_to(&new),
        };
        (self.config, self.setup) = (config, setup);
        Ok(reloaded)
    }

    /// Takes no new calls from now on; those that are up end by themselves, or when this time, `calls.drain_time`, is over.
    pub async fn drain(&self) -> Duration {
        let drain_time = self.config.calls.drain_time();
        let until = Instant::now() + drain_time;
        let _ = self.orders.send(Order::Drain { until }).await;
        drain_time
    }

    /// The calls that are up; `None` if signalling does not answer within a second.
    pub async fn calls(&self) -> Option<usize> {
        service::calls(&self.orders, Duration::from_secs(1)).await
    }

    /// Waits until a daemon that was told to drain has no call left.
    pub async fn drained(&mut self) {
        // It fails only if signalling panicked, and then there is no call either.
        let _ = (&mut self.signalling).await;
    }

    /// Another door for the pages for operators, if the new configuration wants one. The old one stays open beside it, unless
    /// both have the same port, which two addresses that overlap (127.0.0.1 and 0.0.0.0) cannot share.
    async fn new_door(&mut self, config: &Config) -> Result<Option<Door>, DoorError> {
        let wanted = &config.admin.listen;
        if *wanted == self.config.admin.listen {
            return Ok(None);
        }
        let beside = Door::open(wanted).await;
        let is_ours = self.admin().is_some_and(|old| old.port() == wanted.port());
        if beside.is_ok() || wanted.port().is_none() || !is_ours {
            return beside;
        }
        let was_at = self.admin().cloned();
        let Some(old) = self.admin.take() else {
            return beside;
        };
        old.stop().await;
        let door = Door::open(wanted).await;
        if door.is_err() {
            self.restore_admin(was_at).await;
        }
        door
    }

    /// Serves the pages for operators again where they were, if they are not.
    async fn restore_admin(&mut self, was_at: Option<AdminListen>) {
        let (None, Some(was_at)) = (&self.admin, was_at) else {
            return;
        };
        match Door::open(&was_at).await {
            Ok(door) => self.admin = door.map(|door| Server::start(door, self.view.clone())),
            Err(error) => tracing::error!(%error, "status and metrics are not served any more"),
        }
    }

    /// Serves the pages for operators where the new configuration says, with what it says.
    fn move_admin(&mut self, door: Option<Door>, config: &Config) {
        if config.admin.listen != self.config.admin.listen {
            self.admin = door.map(|door| Server::start(door, self.view.clone()));
        }
        self.view.traces().configure(config.trace.clone());
        let facts = facts::of(config, &self.addresses, self.admin());
        self.view.know(facts);
    }

    /// Ends all calls with BYE on both legs, then everything else.
    pub async fn stop(mut self) {
        if !self.signalling.is_finished() {
            let _ = self.orders.send(Order::Stop).await;
            self.drained().await;
        }
        self.transports.shutdown().await;
        drop(self.engine);
        self.records.stop();
        if let Some(admin) = self.admin {
            admin.stop().await;
        }
        tracing::info!("stopped");
    }
}

/// How many files the process must be allowed to open: a call has so many sockets of media; beside them stand the
/// connections of SIP and a few files.
pub fn files_needed(config: &Config) -> u64 {
    config.media.sockets() * u64::from(config.calls.max) + 1024
}

/// For each PBX the host by which it would reach a bridge with this configuration, or why that cannot be told.
pub async fn our_hosts(config: &Config) -> Vec<Result<String, String>> {
    let limit = config.sip.connect_timeout();
    let found = ourselves::towards_each(
        &config.pbxs,
        &config.pbx_listener,
        listening::names(config),
        limit,
    )
    .await;
    let host = |found: Result<ourselves::Ourselves, DaemonError>| match found {
        Ok(ourselves) => Ok(ourselves.host),
        Err(error) => Err(error.to_string()),
    };
    found.into_iter().map(host).collect()
}

/// A shell allows 1024.
fn allow_files(needed: u64) {
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
