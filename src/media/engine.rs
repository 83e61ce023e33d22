//! The worker threads and the door to them.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mio::{Poll, Waker};
use tracing::error;

use super::common::{Announced, Common};
use super::rtcp::WallClock;
use super::session::Session;
use super::settings::Settings;
use super::side::Lot;
use super::slot::Opening;
use super::sockets::{Bound, Pool};
use super::totals::{Count, Totals};
use super::worker::{Order, WAKE, Worker};
use crate::leg::Leg;

use super::{Command, LocalPorts, MediaEvent, OpenError, Opened, Plane, PortUse, SessionId, dtls};

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
    meta: Arc<Pool>,
    /// On the other version of IP.
    meta_ipv6: Option<Arc<Pool>>,
    pbx: Arc<Pool>,
    announced_to_meta: IpAddr,
    announced_to_pbx: IpAddr,
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
    /// When the system gives no thread or no epoll descriptor, or the DTLS library no certificate.
    pub fn start(
        settings: &Settings,
        listener: impl Fn(MediaEvent) + Send + Sync + 'static,
    ) -> io::Result<Engine> {
        let listener = Arc::new(listener);
        let certificate = dtls::Certificate::generate().map_err(io::Error::other)?;
        let rest = Duration::from_secs(settings.port_rest.into());
        let pool = |address| Pool::new(address, settings.ports, rest);
        let meta = pool(settings.meta_address);
        let meta_ipv6 = settings.meta_ipv6_address.map(|ipv6| pool(ipv6.into()));
        let for_meta = [Some(&meta), meta_ipv6.as_ref()].into_iter().flatten();
        let pbx = for_meta
            .clone()
            .find(|pool| pool.address() == settings.pbx_address)
            .map_or_else(|| pool(settings.pbx_address), Arc::clone);
        let announced = [
            Some(settings.announced_to_meta()),
            settings.meta_ipv6_address.map(IpAddr::from),
        ];
        let announced = announced.into_iter().flatten().collect();
        let address = |pool: &Arc<Pool>| SocketAddr::new(pool.address(), 0);
        let common = Common {
            timing: settings.timing(),
            ice: settings.ice(),
            dtls: dtls::Context::new(&certificate, &settings.dtls()).map_err(io::Error::other)?,
            meta: for_meta.map(address).collect(),
            announced: Announced::new(announced),
        };
        let (mut workers, mut pending) = (Vec::new(), Vec::new());
        for _ in 0..settings.worker_count() {
            let poll = Poll::new()?;
            let (orders, inbox) = mpsc::channel();
            let (load, turns) = (Arc::default(), Arc::default());
            let totals: Arc<Totals> = Arc::default();
            workers.push(Remote {
                orders,
                waker: Waker::new(poll.registry(), WAKE)?,
                load: Arc::clone(&load),
                turns: Arc::clone(&turns),
                totals: Arc::clone(&totals),
            });
            pending.push(Worker::new(
                poll,
                inbox,
                listener.clone(),
                load,
                turns,
                totals,
            ));
        }
        let shared = Shared {
            workers,
            meta,
            meta_ipv6,
            pbx,
            announced_to_meta: settings.announced_to_meta(),
            announced_to_pbx: settings.pbx_address,
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
    fn open(&mut self) -> Result<Opened, OpenError> {
        self.handle.open()
    }

    fn command(&mut self, id: SessionId, command: Command) {
        self.handle.command(id, command);
    }

    fn close(&mut self, id: SessionId) {
        self.handle.close(id);
    }
}

impl Plane for Handle {
    fn open(&mut self) -> Result<Opened, OpenError> {
        let shared = &*self.0;
        let meta = shared.meta.bind(false)?;
        let meta_ipv6 = shared.meta_ipv6.as_ref();
        let meta_ipv6 = meta_ipv6.map(|pool| pool.bind(false)).transpose()?;
        let pbx = shared.pbx.bind(true)?;
        let mut at_meta = local_ports(shared.announced_to_meta, &meta);
        at_meta.other_family = meta_ipv6.as_ref().map(Bound::address);
        let at_pbx = local_ports(shared.announced_to_pbx, &pbx);
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
            return Err(failed("the media engine has stopped".into()));
        }
        Ok(Opened {
            id,
            meta: at_meta,
            pbx: at_pbx,
            fingerprint: shared.common.dtls.fingerprint(),
        })
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

    /// How much of the port range is in use, for each local address.
    pub fn port_use(&self) -> Vec<(IpAddr, PortUse)> {
        let pools = self.0.pools();
        let usage = |(pool, _): (&Arc<Pool>, usize)| (pool.address(), pool.usage());
        pools.into_iter().map(usage).collect()
    }

    /// An address that has too few free ports for one more call.
    pub fn exhausted(&self) -> Option<IpAddr> {
        let mut pools = self.0.pools().into_iter();
        let scarce = pools.find(|(pool, needed)| pool.usage().free() < *needed);
        scarce.map(|(pool, _)| pool.address())
    }
}

impl Shared {
    /// The ranges that there are, and how many pairs of each a call takes.
    fn pools(&self) -> Vec<(&Arc<Pool>, usize)> {
        let mut pools: Vec<(&Arc<Pool>, usize)> = Vec::new();
        let taken = [Some(&self.meta), self.meta_ipv6.as_ref(), Some(&self.pbx)];
        for pool in taken.into_iter().flatten() {
            match pools.iter_mut().find(|(known, _)| Arc::ptr_eq(known, pool)) {
                Some((_, needed)) => *needed += 1,
                None => pools.push((pool, 1)),
            }
        }
        pools
    }

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
