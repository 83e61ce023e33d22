//! The worker threads and the door to them.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::error;

use super::common::{Announced, Common};
use super::io::{Waker, backends};
use super::pools::Pools;
use super::rtcp::WallClock;
use super::session::Session;
use super::settings::Settings;
use super::side::Lot;
use super::slot::Opening;
use super::sockets::{Bound, Pool};
use super::tape::{Length, Recording};
use super::totals::{Count, Totals};
use super::worker::{Order, Worker};
use crate::leg::Leg;

use super::{
    Command, Facing, LocalPorts, MediaEvent, OpenError, Opened, Plane, PortUse, SessionId,
    SessionStats, dtls,
};

/// Why a worker takes no orders.
const STOPPED: &str = "the media engine has stopped";

/// The running media plane. Dropping it closes every session and waits for its threads, so never drop it from within
/// the function that it tells its events to.
pub struct Engine {
    handle: Handle,
    threads: Vec<JoinHandle<()>>,
}

/// A door to a running [`Engine`], one for whoever needs it.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

struct Shared {
    workers: Vec<Remote>,
    pools: Pools,
    announced_to_meta: IpAddr,
    common: Arc<Common>,
    opened: AtomicU64,
}

/// A worker as seen from other threads.
struct Remote {
    orders: mpsc::Sender<Order>,
    waker: Waker,
    load: Arc<AtomicUsize>,
    turns: Arc<AtomicU64>,
    totals: Arc<Totals>,
}

impl Engine {
    /// Starts the worker threads. `listener` is called on them, so it must hand on what it hears and return.
    ///
    /// # Errors
    /// When the system gives no thread or not what `io` asks for, or the DTLS library no certificate.
    pub fn start(
        settings: &Settings,
        listener: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> io::Result<Engine> {
        let listener = Arc::new(listener);
        let certificate = dtls::Certificate::generate().map_err(io::Error::other)?;
        let pools = Pools::new(settings);
        let announced = [
            Some(settings.announced_to_meta()),
            settings.meta_ipv6_address.map(IpAddr::from),
        ];
        let announced = announced.into_iter().flatten().collect();
        let address = |pool: &Arc<Pool>| SocketAddr::new(pool.address(), 0);
        let common = Common {
            timing: settings.timing(),
            manner: settings.manner(),
            ice: settings.ice(),
            dtls: dtls::Context::new(&certificate, &settings.dtls()).map_err(io::Error::other)?,
            meta: pools.metas().map(address).collect(),
            announced: Announced::new(announced),
        };
        let (mut workers, mut pending) = (Vec::new(), Vec::new());
        let (io, backends) = backends(settings.io, settings.worker_count())?;
        for (sockets, waker) in backends {
            let (orders, inbox) = mpsc::channel();
            let (load, turns) = (Arc::default(), Arc::default());
            let totals: Arc<Totals> = Arc::default();
            workers.push(Remote {
                orders,
                waker,
                load: Arc::clone(&load),
                turns: Arc::clone(&turns),
                totals: Arc::clone(&totals),
            });
            pending.push(Worker::new(
                sockets,
                inbox,
                listener.clone(),
                load,
                turns,
                totals,
            ));
        }
        tracing::info!(%io, workers = workers.len(), "media is carried");
        let shared = Shared {
            workers,
            pools,
            announced_to_meta: settings.announced_to_meta(),
            common: Arc::new(common),
            opened: AtomicU64::new(0),
        };
        // Built before the threads are, so that a thread that cannot be had stops those that could.
        let mut engine = Engine {
            handle: Handle(Arc::new(shared)),
            threads: Vec::new(),
        };
        for (number, worker) in pending.into_iter().enumerate() {
            let thread = std::thread::Builder::new().name(format!("media-{number}"));
            engine.threads.push(thread.spawn(move || worker.run())?);
        }
        Ok(engine)
    }

    /// A door of one's own.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }
}

impl Handle {
    /// How often each worker has come round its loop.
    pub fn turns(&self) -> Vec<u64> {
        let workers = self.0.workers.iter();
        workers
            .map(|worker| worker.turns.load(Ordering::Relaxed))
            .collect()
    }

    /// Has every worker come round once more, if it can.
    pub fn wake(&self) {
        self.0.workers.iter().for_each(Remote::wake);
    }
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Handle({} workers)", self.0.workers.len())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for worker in &self.handle.0.workers {
            worker.order(Order::Stop);
        }
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                error!("a media worker had panicked");
            }
        }
    }
}

impl Plane for Engine {
    fn open(&mut self, pbx: Facing) -> Result<Opened, OpenError> {
        self.handle.open(pbx)
    }

    fn face(&mut self, id: SessionId, pbx: Facing) -> Result<LocalPorts, OpenError> {
        self.handle.face(id, pbx)
    }

    fn command(&mut self, id: SessionId, command: Command) {
        self.handle.command(id, command);
    }

    fn close(&mut self, id: SessionId) {
        self.handle.close(id);
    }
}

impl Plane for Handle {
    fn open(&mut self, facing: Facing) -> Result<Opened, OpenError> {
        let shared = &*self.0;
        let meta = shared.pools.meta.bind(false)?;
        let meta_ipv6 = shared.pools.meta_ipv6.as_ref();
        let meta_ipv6 = meta_ipv6.map(|pool| pool.bind(false)).transpose()?;
        let pbx = shared.pools.of_pbx(facing.address).bind(true)?;
        let mut at_meta = local_ports(shared.announced_to_meta, &meta);
        at_meta.other_family = meta_ipv6.as_ref().map(Bound::address);
        let at_pbx = local_ports(facing.announced, &pbx);
        let failed = |reason: String| OpenError::Socket {
            address: shared.announced_to_meta,
            reason,
        };
        let lots = Lot::draw().and_then(|meta| Ok((meta, Lot::draw()?)));
        let (meta_lot, pbx_lot) =
            lots.map_err(|error| failed(format!("no random numbers: {error}")))?;
        let now = Instant::now();
        let wall = WallClock::new(
            now,
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .unwrap_or_default(),
        );
        let session = Session::new(shared.common.clone(), meta_lot, pbx_lot, wall, now);

        let least = shared
            .workers
            .iter()
            .enumerate()
            .min_by_key(|(_, w)| w.load.load(Ordering::Relaxed));
        let (number, worker) = least.ok_or_else(|| failed("no worker thread".into()))?;
        let id = shared.next_id(number);
        worker.load.fetch_add(1, Ordering::Relaxed);
        if !worker.order(Order::Open(Box::new(Opening {
            id,
            session,
            meta,
            meta_ipv6,
            pbx,
        }))) {
            return Err(failed(STOPPED.into()));
        }
        Ok(Opened {
            id,
            meta: at_meta,
            pbx: at_pbx,
            fingerprint: shared.common.dtls.fingerprint(),
        })
    }

    fn face(&mut self, id: SessionId, facing: Facing) -> Result<LocalPorts, OpenError> {
        let shared = &*self.0;
        let pbx = shared.pools.of_pbx(facing.address).bind(true)?;
        let at_pbx = local_ports(facing.announced, &pbx);
        let worker = shared.worker(id);
        match worker.is_some_and(|worker| worker.order(Order::Face(id, Box::new(pbx)))) {
            true => Ok(at_pbx),
            false => Err(OpenError::Socket {
                address: facing.address,
                reason: STOPPED.into(),
            }),
        }
    }

    fn command(&mut self, id: SessionId, command: Command) {
        self.0
            .worker(id)
            .map(|worker| worker.order(Order::Command(id, command)));
    }

    fn close(&mut self, id: SessionId) {
        self.0
            .worker(id)
            .map(|worker| worker.order(Order::Close(id)));
    }
}

impl Handle {
    /// What all sessions have carried on one side since the start. Of those that are up it is a second old at most.
    pub fn carried(&self, leg: Leg, count: Count) -> u64 {
        let sums = self
            .0
            .workers
            .iter()
            .map(|worker| worker.totals.get(leg, count));
        sums.sum()
    }

    /// From now on what a session carries is written down, in clear and as it crosses the wires of both legs: the newest of
    /// it. `None`: it is not, and what there was is forgotten. What there is at the end is told as [`MediaEvent::Recorded`].
    pub fn record(&self, id: SessionId, length: Option<Length>) {
        let order = Order::Record(id, length, self.0.announced_to_meta);
        self.0.worker(id).map(|worker| worker.order(order));
    }

    /// What is written down of a session so far is handed to `reader`, on the session's thread: it must return at once. It
    /// is dropped where there is nothing, or the session is over.
    pub fn read(&self, id: SessionId, reader: impl FnOnce(Recording) + Send + 'static) {
        let order = Order::Read(id, Box::new(reader));
        self.0.worker(id).map(|worker| worker.order(order));
    }

    /// What each session that is up has carried so far. The workers are asked, between two turns of theirs, and waited for
    /// no longer than that in all: the sessions of one that is stuck are left out.
    pub fn sessions(&self, patience: Duration) -> HashMap<SessionId, SessionStats> {
        let until = Instant::now() + patience;
        let (tell, told) = mpsc::channel();
        for worker in &self.0.workers {
            worker.order(Order::Tell(tell.clone()));
        }
        // Only the workers can still say something, so the last of them ends it.
        drop(tell);
        let mut all = HashMap::new();
        while let Ok(some) = told.recv_timeout(until.saturating_duration_since(Instant::now())) {
            all.extend(some);
        }
        all
    }

    /// Which addresses PBXs have from now on, those of calls that are up aside: their ports are counted.
    pub fn serve_pbxs_at(&self, addresses: &[IpAddr]) {
        self.0.pools.want(addresses);
    }

    /// How much of the port range is in use, for each local address.
    pub fn port_use(&self) -> Vec<(IpAddr, PortUse)> {
        self.0.pools.usage()
    }

    /// An address that has too few free ports for one more call, if no PBX has one where there are enough.
    pub fn exhausted(&self) -> Option<IpAddr> {
        self.0.pools.exhausted()
    }
}

impl Shared {
    /// An id that tells on which worker its session lives, so that nobody has to look it up.
    fn next_id(&self, worker: usize) -> SessionId {
        let count = self.opened.fetch_add(1, Ordering::Relaxed);
        SessionId(count * self.workers.len() as u64 + worker as u64)
    }

    fn worker(&self, id: SessionId) -> Option<&Remote> {
        let number = id.0.checked_rem(self.workers.len() as u64)?;
        self.workers.get(number as usize)
    }
}

impl Remote {
    /// Queues an order; `false` if the worker has ended.
    fn order(&self, order: Order) -> bool {
        if self.orders.send(order).is_err() {
            return false;
        }
        self.wake();
        true
    }

    fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            error!(%error, "a media worker cannot be woken: it obeys when its next packet comes");
        }
    }
}

fn local_ports(announced: IpAddr, bound: &Bound) -> LocalPorts {
    LocalPorts {
        rtp: SocketAddr::new(announced, bound.port),
        rtcp: bound
            .rtcp
            .as_ref()
            .map(|_| SocketAddr::new(announced, bound.port + 1)),
        other_family: None,
    }
}
