//! The words for the service manager.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sd_notify::NotifyState;

use super::pulse::{Pulse, beats};

/// How long the process may take to end when its last calls have been ended: their BYEs, the sockets, and some.
const STOP_MARGIN: Duration = Duration::from_secs(30);
/// How often the status is brought up to date where there is no watchdog.
const STATUS: Duration = Duration::from_secs(10);

type Tell = dyn Fn(&[NotifyState<'_>]) + Send + Sync;

/// Speaks to the service manager, or to nobody where there is none.
pub struct Voice {
    tell: Box<Tell>,
    known: Mutex<Known>,
}

/// What the status is made of.
#[derive(Debug, Default)]
struct Known {
    calls: usize,
    draining: bool,
    /// Why the last reload changed nothing.
    complaint: Option<String>,
}

impl Voice {
    /// To the manager that has started this process, if one has (`NOTIFY_SOCKET`).
    pub fn of_environment() -> Voice {
        Voice::to(|said| {
            if let Err(error) = sd_notify::notify(said) {
                tracing::warn!(%error, "the service manager cannot be told anything (NOTIFY_SOCKET)");
            }
        })
    }

    /// To whoever this is.
    pub fn to(tell: impl Fn(&[NotifyState<'_>]) + Send + Sync + 'static) -> Voice {
        Voice {
            tell: Box::new(tell),
            known: Mutex::default(),
        }
    }

    /// Feeds the watchdog, if the manager has one for this process, and keeps the status, as [`beats`] does.
    pub async fn beat(&self, pulse: Pulse) {
        // A quarter: what one beat finds stuck another may still find well, before the time is over.
        let every = sd_notify::watchdog_enabled().map_or(STATUS, |limit| limit / 4);
        beats(pulse, every.max(Duration::from_millis(1)), self).await;
    }

    /// It could not be started, for this reason, which the status has from then on.
    pub fn failed(&self, why: &str) {
        let status = format!("not started: {}", on_one_line(why));
        (self.tell)(&[NotifyState::Status(&status)]);
    }

    /// Everything listens.
    pub fn ready(&self) {
        let status = self.known().status();
        (self.tell)(&[NotifyState::Ready, NotifyState::Status(&status)]);
    }

    /// SIGHUP has come; [`Voice::reloaded`] follows.
    ///
    /// # Errors
    /// When the system's clock cannot be read.
    pub fn reloading(&self) -> io::Result<()> {
        (self.tell)(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?]);
        Ok(())
    }

    /// The reload is over, and the bridge is as ready as it was. The status keeps why a reload failed until one succeeds.
    pub fn reloaded(&self, outcome: Result<(), String>) {
        self.known().complaint = outcome.err().as_deref().map(on_one_line);
        self.ready();
    }

    /// No new calls from now on, and those that are up end within this time.
    pub fn draining(&self, calls: usize, time: Duration) {
        let status = {
            let mut known = self.known();
            known.calls = calls;
            known.draining = true;
            known.status()
        };
        let most = (time + STOP_MARGIN)
            .as_micros()
            .try_into()
            .unwrap_or(u32::MAX);
        (self.tell)(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(most),
            NotifyState::Status(&status),
        ]);
    }

    /// Whether no new calls are taken any more.
    pub(super) fn drains(&self) -> bool {
        self.known().draining
    }

    /// Every loop turns, and so many calls are up.
    pub fn alive(&self, calls: usize) {
        self.known().calls = calls;
        let status = self.known().status();
        (self.tell)(&[NotifyState::Watchdog, NotifyState::Status(&status)]);
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn status(&self) -> String {
        let doing = if self.draining { "draining" } else { "running" };
        let calls = match self.calls {
            1 => "1 call is up".to_owned(),
            calls => format!("{calls} calls are up"),
        };
        match &self.complaint {
            None => format!("{doing}: {calls}"),
            Some(why) => format!("{doing}: {calls}; the last reload changed nothing: {why}"),
        }
    }
}

/// A line break would begin another message to the manager.
fn on_one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn heard(say: impl FnOnce(&Voice)) -> Vec<String> {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let ear = heard.clone();
        let voice = Voice::to(move |said| {
            let mut heard = ear.lock().unwrap();
            heard.extend(said.iter().map(|state| state.to_string()));
        });
        say(&voice);
        std::mem::take(&mut heard.lock().unwrap())
    }

    #[test]
    fn a_reload_that_failed_leaves_the_bridge_ready_and_its_reason_in_the_status() {
        let said = heard(|voice| {
            voice.reloading().unwrap();
            voice.reloaded(Err("line 3\nREADY=0".into()));
            voice.alive(1);
            voice.reloaded(Ok(()));
        });
        assert_eq!(said[0], "RELOADING=1");
        assert!(said[1].starts_with("MONOTONIC_USEC="), "{said:?}");
        let complaint = "; the last reload changed nothing: line 3 READY=0";
        assert_eq!(
            said[2..],
            [
                "READY=1".to_owned(),
                format!("STATUS=running: 0 calls are up{complaint}"),
                "WATCHDOG=1".to_owned(),
                format!("STATUS=running: 1 call is up{complaint}"),
                "READY=1".to_owned(),
                "STATUS=running: 1 call is up".to_owned(),
            ]
        );
    }

    #[test]
    fn why_it_could_not_be_started_is_in_the_status() {
        let said = heard(|voice| voice.failed("x.toml:3:1: meta.key:\nREADY=1"));
        assert_eq!(said, ["STATUS=not started: x.toml:3:1: meta.key: READY=1"]);
    }

    #[test]
    fn the_unit_is_as_patient_as_calls_may_take_to_drain() {
        let unit = include_str!("../../systemd/wabridge.service");
        let patience = crate::call::Settings::default().drain_time() + STOP_MARGIN;
        let line = format!("TimeoutStopSec={}", patience.as_secs());
        assert!(unit.lines().any(|l| l == line), "{line}");
    }

    #[test]
    fn whoever_drains_asks_for_the_time_that_it_may_take() {
        let said = heard(|voice| {
            // The beats come seconds apart, and a third call has come since.
            voice.alive(2);
            voice.draining(3, Duration::from_secs(3600));
        });
        assert_eq!(
            said[2..],
            [
                "STOPPING=1",
                "EXTEND_TIMEOUT_USEC=3630000000",
                "STATUS=draining: 3 calls are up",
            ]
        );
    }
}
