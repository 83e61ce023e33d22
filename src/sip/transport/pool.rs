//! One connection for each next hop, and every connection by its id. Decides, does no input or output.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Notify, mpsc};

use super::{ConnectionId, Hop, Target};

/// Most messages that wait for one connection. All calls with Meta share one, and while it is being opened a burst of
/// them waits; a few kB each, so this bounds memory all the same.
const QUEUE: usize = 4096;
/// How long a message may wait; a little less than a transaction does (64 × T1, RFC 3261 §17.1.1.2).
const LIFETIME: Duration = Duration::from_secs(30);

/// A message on its way out.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) bytes: Vec<u8>,
    pub(super) target: Target,
    pub(super) client: Option<u64>,
    /// When it was handed over.
    pub(super) since: Instant,
    /// Whether a connection was lost under it before: then it is not tried a third time.
    pub(super) again: bool,
}

impl Outgoing {
    /// Whether nobody waits for it any more: an INVITE that goes out after its caller has given up would ring a
    /// phone for nobody.
    pub(super) fn is_stale(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.since) >= LIFETIME
    }
}

/// What a connection is told to do, in order.
#[derive(Debug)]
pub(super) enum Order {
    Send(Outgoing),
    Close,
}

/// How others reach the task of a connection.
#[derive(Clone, Debug)]
pub(super) struct Handle {
    id: ConnectionId,
    orders: mpsc::Sender<Order>,
    abort: Arc<Notify>,
}

/// The other end of a [`Handle`].
pub(super) struct Orders {
    pub(super) queue: mpsc::Receiver<Order>,
    /// Says that the connection must end now, whatever is queued.
    pub(super) abort: Arc<Notify>,
}

impl Handle {
    pub(super) fn new(id: ConnectionId) -> (Handle, Orders) {
        let (orders, queue) = mpsc::channel(QUEUE);
        let abort = Arc::new(Notify::new());
        let other = Orders {
            queue,
            abort: abort.clone(),
        };
        (Handle { id, orders, abort }, other)
    }

    fn send(&self, message: Outgoing) -> Queued {
        match self.orders.try_reserve() {
            Ok(place) => {
                place.send(Order::Send(message));
                Queued::Waits
            }
            Err(TrySendError::Full(())) => Queued::Full(message),
            Err(TrySendError::Closed(())) => Queued::Gone(message),
        }
    }
}

/// What became of a message.
#[derive(Debug)]
pub(super) enum Queued {
    /// It waits for its connection.
    Waits,
    /// It waits, and the connection must be opened by the caller.
    MustOpen,
    /// Not taken: too many wait already.
    Full(Outgoing),
    /// Not taken: the connection is closed.
    Gone(Outgoing),
}

/// The way to a hop.
#[derive(Debug)]
enum Road {
    Opening(Vec<Outgoing>),
    Open(Handle),
}

#[derive(Debug)]
pub(super) struct Pool {
    /// Most hops with a connection, open or opening.
    most: usize,
    roads: Mutex<Roads>,
}

#[derive(Debug, Default)]
struct Roads {
    hops: HashMap<Hop, Road>,
    connections: HashMap<ConnectionId, Handle>,
}

impl Pool {
    pub(super) fn new(most: usize) -> Pool {
        Pool {
            most,
            roads: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Roads> {
        self.roads.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a message for a hop; never answers `Gone`. After `MustOpen` the caller owes [`Pool::opened`] or [`Pool::give_up`].
    pub(super) fn queue(&self, hop: &Hop, message: Outgoing) -> Queued {
        let mut roads = self.lock();
        let all_taken = roads.hops.len() >= self.most;
        let message = match roads.hops.get_mut(hop) {
            Some(Road::Opening(waiting)) if waiting.len() < QUEUE => {
                waiting.push(message);
                return Queued::Waits;
            }
            Some(Road::Opening(_)) => return Queued::Full(message),
            Some(Road::Open(handle)) => match handle.send(message) {
                Queued::Gone(message) => message,
                taken_or_full => return taken_or_full,
            },
            None if all_taken => return Queued::Full(message),
            None => message,
        };
        let road = Road::Opening(vec![message]);
        roads.hops.insert(hop.clone(), road);
        Queued::MustOpen
    }

    /// Queues a message on one connection.
    pub(super) fn queue_on(&self, id: Option<ConnectionId>, message: Outgoing) -> Queued {
        let roads = self.lock();
        match id.and_then(|id| roads.connections.get(&id)) {
            Some(handle) => handle.send(message),
            None => Queued::Gone(message),
        }
    }

    /// A peer has opened a connection.
    pub(super) fn accepted(&self, handle: Handle) {
        self.lock().connections.insert(handle.id, handle);
    }

    /// The connection to `hop` is up; what waited goes out on it.
    pub(super) fn opened(&self, hop: &Hop, handle: Handle) {
        let mut roads = self.lock();
        let road = roads.hops.insert(hop.clone(), Road::Open(handle.clone()));
        if let Some(Road::Opening(waiting)) = road {
            for message in waiting {
                // No more than QUEUE waited, and nobody else knows this connection yet: all find a place.
                let _ = handle.send(message);
            }
        }
        roads.connections.insert(handle.id, handle);
    }

    /// There will be no connection to `hop`, or none is needed: returns what waited for it.
    pub(super) fn give_up(&self, hop: &Hop) -> Vec<Outgoing> {
        match self.lock().hops.remove(hop) {
            Some(Road::Opening(waiting)) => waiting,
            Some(Road::Open(_)) | None => Vec::new(),
        }
    }

    /// A connection has ended.
    pub(super) fn closed(&self, id: ConnectionId, hop: Option<&Hop>) {
        let mut roads = self.lock();
        roads.connections.remove(&id);
        // By now the hop may have a newer connection.
        let Some(hop) = hop else { return };
        if matches!(roads.hops.get(hop), Some(Road::Open(handle)) if handle.id == id) {
            roads.hops.remove(hop);
        }
    }

    /// Ends a connection once what is queued has been sent.
    pub(super) fn close(&self, id: ConnectionId) {
        if let Some(handle) = self.lock().connections.get(&id)
            && handle.orders.try_send(Order::Close).is_err()
        {
            // A full queue means a peer that does not read.
            handle.abort.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::Leg;
    use crate::sip::transport::Protocol;

    fn hop() -> Hop {
        Hop {
            leg: Leg::Meta,
            protocol: Protocol::Tls,
            host: "wa.meta.vc".into(),
            port: 5061,
        }
    }

    fn message(number: u64) -> Outgoing {
        Outgoing {
            bytes: Vec::new(),
            target: Target::Hop(hop()),
            client: Some(number),
            since: Instant::now(),
            again: false,
        }
    }

    fn sent(orders: &mut Orders) -> Vec<u64> {
        std::iter::from_fn(|| orders.queue.try_recv().ok())
            .filter_map(|order| match order {
                Order::Send(message) => message.client,
                Order::Close => None,
            })
            .collect()
    }

    #[test]
    fn messages_wait_for_one_connection_and_go_out_in_order() {
        let pool = Pool::new(10);
        assert!(matches!(pool.queue(&hop(), message(1)), Queued::MustOpen));
        assert!(matches!(pool.queue(&hop(), message(2)), Queued::Waits));
        let (handle, mut orders) = Handle::new(ConnectionId(1));
        pool.opened(&hop(), handle);
        assert!(matches!(pool.queue(&hop(), message(3)), Queued::Waits));
        assert!(matches!(
            pool.queue_on(Some(ConnectionId(1)), message(4)),
            Queued::Waits
        ));
        assert_eq!(sent(&mut orders), [1, 2, 3, 4]);
    }

    #[test]
    fn a_dead_connection_is_replaced_and_its_end_does_not_touch_the_new_one() {
        let pool = Pool::new(10);
        pool.queue(&hop(), message(1));
        let (old, orders) = Handle::new(ConnectionId(1));
        pool.opened(&hop(), old);
        drop(orders);
        assert!(matches!(pool.queue(&hop(), message(2)), Queued::MustOpen));
        let (new, mut orders) = Handle::new(ConnectionId(2));
        pool.opened(&hop(), new);
        pool.closed(ConnectionId(1), Some(&hop()));
        assert!(matches!(pool.queue(&hop(), message(3)), Queued::Waits));
        assert_eq!(sent(&mut orders), [2, 3]);
        let gone = pool.queue_on(Some(ConnectionId(1)), message(4));
        assert!(matches!(gone, Queued::Gone(_)));
    }

    #[test]
    fn a_message_that_its_transaction_has_given_up_is_stale() {
        let message = message(1);
        assert!(!message.is_stale(message.since + LIFETIME / 2));
        assert!(message.is_stale(message.since + LIFETIME));
    }

    #[test]
    fn neither_messages_nor_hops_pile_up_without_bound() {
        let pool = Pool::new(1);
        for number in 0..QUEUE as u64 {
            assert!(!matches!(
                pool.queue(&hop(), message(number)),
                Queued::Full(_)
            ));
        }
        assert!(matches!(pool.queue(&hop(), message(0)), Queued::Full(_)));
        let other = Hop { port: 1, ..hop() };
        assert!(matches!(pool.queue(&other, message(0)), Queued::Full(_)));
        assert_eq!(pool.give_up(&hop()).len(), QUEUE);
        assert!(matches!(pool.queue(&other, message(0)), Queued::MustOpen));
    }
}
