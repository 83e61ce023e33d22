//! Runs a [`Bridge`]: one task that waits for what happens, and does what the machine asks for.

use std::sync::Arc;
use std::time::Instant;

use tokio::sync::mpsc;
use tokio::time::sleep_until;

use super::bridge::Bridge;
use super::event::{Action, Event, Receipt};
use super::live::CallId;
use super::setup::Setup;
use super::summary::Summary;
use crate::media::{MediaEvent, SideStats};
use crate::number::{Masked, without_numbers};
use crate::sip::transaction::ClientId;
use crate::sip::transport::{TransportEvent, Transports};

/// What the daemon tells the driver.
#[derive(Debug)]
pub enum Order {
    /// New calls follow this set-up.
    Reload(Arc<Setup>),
    /// End all calls; [`run`] returns when none is left.
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

/// Runs a bridge until it has been told to stop and no call is left, or nobody can tell it anything any more.
pub async fn run(mut bridge: Bridge, transports: Transports, mut sources: Sources) {
    let mut stopping = false;
    while !(stopping && bridge.calls() == 0) {
        let Some(event) = next(bridge.deadline(), &mut sources).await else {
            break;
        };
        stopping |= matches!(event, Event::Stop);
        for action in bridge.handle(event, Instant::now()) {
            perform(action, &transports);
        }
    }
    let stats = bridge.stats();
    tracing::info!(
        calls = stats.calls,
        refused = stats.refused,
        malformed = stats.malformed,
        strangers_meta = stats.strangers_meta,
        strangers_pbx = stats.strangers_pbx,
        left = bridge.calls(),
        "signalling has stopped"
    );
}

async fn next(deadline: Option<Instant>, sources: &mut Sources) -> Option<Event> {
    let wake = async {
        match deadline {
            Some(at) => sleep_until(at.into()).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        event = sources.transport.recv() => event.map(of_transport),
        event = sources.media.recv() => event.map(Event::Media),
        order = sources.orders.recv() => match order? {
            Order::Reload(setup) => Some(Event::Reload(setup)),
            Order::Stop => Some(Event::Stop),
        },
        () = wake => Some(Event::Deadline),
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

fn perform(action: Action, transports: &Transports) {
    match action {
        Action::Send {
            message,
            target,
            receipt,
        } => {
            transports.send(message.to_bytes(), target, receipt.map(number));
        }
        Action::Close(flow) => transports.close(flow),
        Action::Ended(summary) => log(&summary),
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

fn log(summary: &Summary) {
    let user = summary
        .user
        .as_ref()
        .map_or_else(|| "withheld".to_owned(), ToString::to_string);
    tracing::info!(
        direction = %summary.direction,
        number = %summary.number,
        user,
        meta_leg = %Masked(summary.call_id_of(crate::leg::Leg::Meta)),
        pbx_leg = %Masked(summary.call_id_of(crate::leg::Leg::Pbx)),
        status = summary.status,
        ended_by = %summary.ended_by,
        why = without_numbers(&summary.why),
        talked_s = (summary.talked().as_secs_f64() * 1000.0).round() / 1000.0,
        keying = summary.keying.map(tracing::field::display),
        keyed_ms = summary.media.meta.keyed_after.map(|after| after.as_millis()),
        kept = summary.media.meta.kept,
        not_kept = summary.media.meta.not_kept,
        meta = %carried(&summary.media.meta),
        pbx = %carried(&summary.media.pbx),
        "call ended"
    );
}

fn carried(side: &SideStats) -> String {
    format!(
        "in {} lost {} out {} jitter {:.1} ms",
        side.received, side.lost, side.sent, side.jitter_ms
    )
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
