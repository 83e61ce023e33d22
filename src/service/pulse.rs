//! Whether the loops that carry calls still turn.

use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::voice::Voice;
use crate::call::driver::Order;
use crate::media::Handle;

/// What does not turn any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stuck {
    /// The task of all signalling.
    #[error("the signalling does not answer")]
    Signalling,
    /// A thread of media, by its number.
    #[error("media worker {0} was woken and has not come round since")]
    Worker(usize),
    /// The task of all signalling, since it is over.
    #[error("the signalling has ended")]
    Ended,
}

/// Feels whether signalling and every media worker turn.
#[derive(Debug)]
pub struct Pulse {
    orders: mpsc::Sender<Order>,
    media: Handle,
    /// Of each worker, when it was woken last.
    turns: Vec<u64>,
}

impl Pulse {
    /// Of whoever takes these orders, and of the workers of this engine; they are woken now.
    pub fn new(orders: mpsc::Sender<Order>, media: Handle) -> Pulse {
        let turns = media.turns();
        media.wake();
        Pulse {
            orders,
            media,
            turns,
        }
    }

    /// The calls that are up, if signalling answers within `patience` and every worker has come round since the last
    /// beat, at which it was woken.
    pub async fn beat(&mut self, patience: Duration) -> Result<usize, Stuck> {
        if self.orders.is_closed() {
            return Err(Stuck::Ended);
        }
        let turns = self.media.turns();
        let stands = turns.iter().zip(&self.turns).position(|(a, b)| a == b);
        self.turns = turns;
        self.media.wake();
        if let Some(worker) = stands {
            return Err(Stuck::Worker(worker));
        }
        match calls(&self.orders, patience).await {
            Some(calls) => Ok(calls),
            None if self.orders.is_closed() => Err(Stuck::Ended),
            None => Err(Stuck::Signalling),
        }
    }
}

/// The calls that are up; `None` if signalling does not answer within `patience`.
pub async fn calls(orders: &mpsc::Sender<Order>, patience: Duration) -> Option<usize> {
    let (tell, told) = oneshot::channel();
    let asked = async {
        orders.send(Order::Beat(tell)).await.ok()?;
        told.await.ok()
    };
    timeout(patience, asked).await.ok()?
}

/// Tells the service manager at this interval that everything turns, or nothing and the log what does not. It ends only with
/// the signalling of a bridge that drains: what is left to do then takes less time than the manager waits for a beat.
pub async fn beats(mut pulse: Pulse, every: Duration, voice: &Voice) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first comes at once, when no worker can have come round yet.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        match pulse.beat(every).await {
            Ok(calls) => voice.alive(calls),
            Err(Stuck::Ended) if voice.drains() => return,
            Err(stuck) => tracing::error!(%stuck, "the watchdog is not fed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, mpsc as channel};

    use super::*;
    use crate::media::{Engine, Plane, Settings};

    /// Two workers whose listener waits for leave to go on, whoever answers for signalling, and the pulse of both.
    fn loops() -> (Engine, channel::Sender<()>, mpsc::Receiver<Order>, Pulse) {
        let settings = Settings {
            meta_address: [127, 86, 1, 1].into(),
            pbx_address: [127, 86, 1, 1].into(),
            workers: 2,
            ..Settings::default()
        };
        let (leave, wait) = channel::channel();
        let wait = Mutex::new(wait);
        let engine = Engine::start(&settings, move |_| {
            let _ = wait.lock().unwrap().recv();
        });
        let engine = engine.unwrap();
        let (orders, received) = mpsc::channel(8);
        let pulse = Pulse::new(orders, engine.handle());
        (engine, leave, received, pulse)
    }

    async fn signalling(mut orders: mpsc::Receiver<Order>) {
        while let Some(Order::Beat(tell)) = orders.recv().await {
            let _ = tell.send(7);
        }
    }

    /// What the manager has been told, without status texts.
    fn listening() -> (Voice, Arc<Mutex<Vec<String>>>) {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        let voice = Voice::to(move |said| {
            ear.lock()
                .unwrap()
                .extend(said.iter().map(|s| s.to_string()))
        });
        (voice, heard)
    }

    fn fed(heard: &Mutex<Vec<String>>) -> usize {
        let heard = heard.lock().unwrap();
        heard.iter().filter(|said| *said == "WATCHDOG=1").count()
    }

    /// Waits until this holds; the test's own limit is generous, for the machine may be busy.
    async fn until(what: &str, holds: impl Fn() -> bool) {
        let wait = async {
            while !holds() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(Duration::from_secs(20), wait).await.expect(what);
    }

    #[tokio::test]
    async fn the_watchdog_is_fed_until_one_media_worker_is_stuck_and_again_when_it_is_not() {
        let (mut engine, leave, orders, mut pulse) = loops();
        let handle = engine.handle();
        tokio::spawn(signalling(orders));
        let here = std::net::IpAddr::from([127, 86, 1, 1]).into();
        let (first, second) = (engine.open(here).unwrap().id, engine.open(here).unwrap().id);
        assert_ne!(first.0 % 2, second.0 % 2, "one session on each worker");
        let turns = handle.turns();
        handle.wake();
        until("both turn", || {
            handle
                .turns()
                .iter()
                .zip(&turns)
                .all(|(now, then)| now > then)
        })
        .await;
        assert_eq!(pulse.beat(Duration::from_secs(20)).await, Ok(7));

        // The end of a session is told to a listener that does not return.
        let worker = (second.0 % 2) as usize;
        engine.close(second);
        until("the worker has taken the order", || {
            let before = handle.turns();
            handle.wake();
            std::thread::sleep(Duration::from_millis(50));
            handle.turns()[worker] == before[worker]
        })
        .await;
        let (voice, heard) = listening();
        let every = Duration::from_millis(20);
        let turns = handle.turns();
        let _ = pulse.beat(Duration::from_secs(20)).await;
        until("the other one turns", || {
            handle.turns()[1 - worker] > turns[1 - worker]
        })
        .await;
        let beat = pulse.beat(Duration::from_secs(20)).await;
        assert_eq!(beat, Err(Stuck::Worker(worker)));
        let task = tokio::spawn(async move { beats(pulse, every, &voice).await });
        tokio::time::sleep(every * 10).await;
        assert_eq!(fed(&heard), 0);

        leave.send(()).unwrap();
        until("fed again", || fed(&heard) > 2).await;
        task.abort();
        // What ends with the engine must not wait either.
        drop(leave);
    }

    #[tokio::test]
    async fn a_bridge_that_has_drained_is_not_taken_for_stuck_while_it_puts_the_rest_away() {
        let (_engine, leave, orders, pulse) = loops();
        drop(orders);
        let (voice, heard) = listening();
        let every = Duration::from_millis(1);
        voice.draining(0, Duration::from_secs(3));
        let over = timeout(Duration::from_secs(20), beats(pulse, every, &voice)).await;
        assert!(over.is_ok(), "it goes on, and calls the bridge stuck");
        assert_eq!(fed(&heard), 0);
        drop(leave);
    }

    #[tokio::test]
    async fn signalling_that_does_not_answer_is_stuck() {
        let (_engine, leave, orders, mut pulse) = loops();
        let handle = pulse.media.clone();
        until("both turn", || {
            handle.turns().iter().all(|turns| *turns > 0)
        })
        .await;
        assert_eq!(
            pulse.beat(Duration::from_millis(1)).await,
            Err(Stuck::Signalling)
        );
        drop(orders);
        until("both turn", || {
            handle.turns().iter().all(|turns| *turns > 1)
        })
        .await;
        assert_eq!(
            pulse.beat(Duration::from_secs(20)).await,
            Err(Stuck::Ended),
            "nobody is there any more"
        );
        drop(leave);
    }
}
