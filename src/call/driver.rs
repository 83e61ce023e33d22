//! Runs a [`Bridge`]: one task that waits for what happens, and does what the machine asks for.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use super::bridge::Bridge;
use super::event::{Action, Event, Receipt};
use super::intake::Intake;
use super::live::CallId;
use super::overload::Turn;
use super::setup::Setup;
use super::snapshot::Snapshot;
use super::watch::{At, Watch};
use crate::media::MediaEvent;
use crate::sip::seldom::Seldom;
use crate::sip::transaction::ClientId;
use crate::sip::transport::{TransportEvent, Transports};

/// What the daemon tells the driver.
#[derive(Debug)]
pub enum Order {
    /// New calls follow this set-up.
    Reload(Arc<Setup>),
    /// Say what the bridge is doing. Whoever asked may have gone.
    Snapshot(oneshot::Sender<Snapshot>),
    /// Take no new calls, and end those that are still up then; [`run`] returns as soon as none is left.
    Drain {
        /// When they end.
        until: Instant,
    },
    /// Say how many calls are up, as a sign of life.
    Beat(oneshot::Sender<usize>),
    /// End all calls; [`run`] returns when none is left, or the far ends have had their time to answer.
    Stop,
}

/// Where events come from.
pub struct Sources {
    /// From the sockets of SIP.
    pub transport: mpsc::Receiver<TransportEvent>,
    /// From the media engine. Unbounded, for its threads must not wait; a session has a few events in its life.
    pub media: mpsc::UnboundedReceiver<MediaEvent>,
    /// From the daemon.
    pub orders: mpsc::Receiver<Order>,
}

/// How many events are handled before the tasks that read the sockets have their turn: what waits there has no place in
/// the order in which the bridge serves, and nobody knows how late it is.
const TURNS: usize = 4;

/// Runs a bridge until it has been told to stop and no call or registration is left, or nobody can tell it anything any
/// more; those who watch are told of all of it.
pub async fn run(
    mut bridge: Bridge,
    transports: Transports,
    mut sources: Sources,
    mut watchers: Vec<Box<dyn Watch>>,
) {
    let mut intake = Intake::new(bridge.overload_delay());
    let mut lateness = Lateness::default();
    for turn in 1_usize.. {
        if bridge.is_done() {
            break;
        }
        let event = match next(&mut bridge, &mut intake, &mut sources).await {
            Some(Next::Event(event)) => event,
            Some(Next::Asked(whom)) => {
                let _ = whom.send(bridge.snapshot(Instant::now()));
                continue;
            }
            None => break,
        };
        let at = At {
            now: Instant::now(),
            wall: SystemTime::now(),
        };
        if let Some(turn) = intake.take_turn() {
            lateness.turns(turn, at.now);
            tell(&mut watchers, |watcher| watcher.overloaded(turn));
        }
        lateness.count(&event);
        if let Event::Reload(setup) = &event {
            intake.configure(setup.overload_delay);
        }
        tell(&mut watchers, |watcher| shown(watcher, &event, at));
        for action in bridge.handle(event, at.now) {
            perform(action, &transports, &mut watchers, at);
        }
        let took = at.now.elapsed();
        tell(&mut watchers, |watcher| watcher.turned(took));
        if turn % TURNS == 0 && !intake.is_empty() {
            tokio::task::yield_now().await;
        }
    }
    let stats = bridge.stats();
    tracing::info!(
        calls = stats.calls,
        refused = stats.refused,
        malformed = stats.malformed(),
        strangers_meta = stats.strangers_meta,
        strangers_pbx = stats.strangers_pbx,
        "signalling has stopped"
    );
}

/// What comes next.
#[expect(
    clippy::large_enum_variant,
    reason = "it is handed over once, and nearly always an event"
)]
enum Next {
    /// Something for the bridge.
    Event(Event),
    /// Somebody wants to know what it is doing.
    Asked(oneshot::Sender<Snapshot>),
}

/// `None`: nothing can come any more. The bridge is only asked; it goes from thread to thread, as one reference can.
async fn next(bridge: &mut Bridge, intake: &mut Intake, sources: &mut Sources) -> Option<Next> {
    loop {
        while intake.has_room()
            && let Ok(event) = sources.transport.try_recv()
        {
            take(event, bridge, intake);
        }
        let deadlines = [bridge.deadline(), intake.deadline()];
        let deadline = deadlines.into_iter().flatten().min();
        let wake = async {
            match deadline {
                Some(at) => sleep_until(at.into()).await,
                None => std::future::pending().await,
            }
        };
        let event = tokio::select! {
            event = sources.transport.recv(), if intake.is_empty() => {
                take(event?, bridge, intake);
                None
            }
            () = std::future::ready(()), if !intake.is_empty() => None,
            event = sources.media.recv() => Some(Event::Media(event?)),
            order = sources.orders.recv() => match order? {
                Order::Reload(setup) => Some(Event::Reload(setup)),
                Order::Beat(tell) => {
                    // Whoever asked may have lost patience.
                    let _ = tell.send(bridge.calls());
                    None
                }
                Order::Drain { until } => Some(Event::Drain { until }),
                Order::Snapshot(whom) => return Some(Next::Asked(whom)),
                Order::Stop => Some(Event::Stop),
            },
            () = wake => {
                intake.look(Instant::now());
                Some(Event::Deadline)
            }
        };
        if let Some(event) = event.or_else(|| intake.pop(Instant::now())) {
            return Some(Next::Event(event));
        }
    }
}

fn take(event: TransportEvent, bridge: &Bridge, intake: &mut Intake) {
    intake.push(of_transport(event), |arrival| {
        bridge.is_stranger(arrival.flow)
    });
}

/// Tells the log when new calls begin to be refused because the bridge is late, and when that is over.
#[derive(Debug)]
struct Lateness {
    begins: Seldom<()>,
    told: bool,
    refused: u64,
}

impl Default for Lateness {
    fn default() -> Lateness {
        Lateness {
            begins: Seldom::new(1),
            told: false,
            refused: 0,
        }
    }
}

impl Lateness {
    fn count(&mut self, event: &Event) {
        self.refused += u64::from(matches!(event, Event::Excess(_)));
    }

    /// The end is told only of what was begun: a machine at its limit comes and goes.
    fn turns(&mut self, turn: Turn, now: Instant) {
        match turn {
            Turn::Late => {
                self.refused = 0;
                let begins = self.begins.tell((), now);
                self.told = begins.is_some();
                if let Some(more) = begins {
                    tracing::warn!(
                        more,
                        "more calls come in than this machine can do: new ones get 503 while one waits for longer than \
                         calls.overload_delay"
                    );
                }
            }
            Turn::KeepsUp(lasted) if self.told => {
                let lasted_s = lasted.as_secs();
                tracing::info!(
                    refused = self.refused,
                    lasted_s,
                    "new calls are taken as ever again"
                );
            }
            Turn::KeepsUp(_) => {}
        }
    }
}

fn of_transport(event: TransportEvent) -> Event {
    match event {
        TransportEvent::Arrived(arrival) => Event::Arrived(arrival),
        TransportEvent::Malformed { malformed, flow } => Event::Malformed {
            malformed: Box::new(malformed),
            flow,
        },
        TransportEvent::Sent { client } => Event::Sent(receipt(client)),
        TransportEvent::Failed {
            client: Some(client),
            reason,
            ..
        } => Event::Unsent(receipt(client), reason),
        TransportEvent::Failed {
            client: None,
            target,
            reason,
        } => {
            tracing::debug!(%target, reason, "a message could not be sent");
            Event::Deadline
        }
        // Whoever needs the connection again opens another, or is told that it cannot be.
        TransportEvent::Closed { .. } => Event::Deadline,
    }
}

fn tell(watchers: &mut [Box<dyn Watch>], mut of: impl FnMut(&mut dyn Watch)) {
    for watcher in watchers {
        of(watcher.as_mut());
    }
}

fn shown(watcher: &mut dyn Watch, event: &Event, at: At) {
    match event {
        Event::Arrived(arrival) | Event::Excess(arrival) => watcher.received(arrival, at),
        Event::Malformed { malformed, flow } => watcher.unreadable(malformed, *flow, at),
        Event::Media(MediaEvent::Recorded { id, recording }) => watcher.recorded(*id, recording),
        _ => {}
    }
}

fn perform(action: Action, transports: &Transports, watchers: &mut [Box<dyn Watch>], at: At) {
    match action {
        Action::Send {
            message,
            target,
            receipt,
        } => {
            let octets = message.to_bytes();
            tell(watchers, |watcher| {
                watcher.sent(&message, &octets, &target, at)
            });
            transports.send(octets, target, receipt.map(number));
        }
        Action::Close(flow) => transports.close(flow),
        Action::Note(note) => tell(watchers, |watcher| watcher.noted(&note, at)),
    }
}

/// A receipt as the number that the transports hand back: the lowest bit tells its kind.
fn number(receipt: Receipt) -> u64 {
    match receipt {
        Receipt::Client(ClientId(id)) => id << 1,
        Receipt::Answer(CallId(id)) => id << 1 | 1,
    }
}

fn receipt(number: u64) -> Receipt {
    match number & 1 {
        0 => Receipt::Client(ClientId(number >> 1)),
        _ => Receipt::Answer(CallId(number >> 1)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn receipts_come_back_as_they_went() {
        for given in [Receipt::Client(ClientId(7)), Receipt::Answer(CallId(7))] {
            assert_eq!(receipt(number(given)), given);
        }
    }
}
