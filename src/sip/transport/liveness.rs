//! When a connection is closed because nothing comes, and when a keep-alive is due. No socket, no clock.

use std::time::{Duration, Instant};

use super::Settings;

/// How long a peer that must answer a keep-alive may take (RFC 5626 §4.4.1).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Watches the silence on one connection.
#[derive(Debug)]
pub(super) struct Liveness {
    idle: Duration,
    message: Duration,
    keepalive: Option<Duration>,
    must_answer: bool,
    /// Last time that anything was read, or a message of ours written. Keep-alives of ours do not count, or a
    /// connection that nobody needs would never end.
    used: Instant,
    /// Since when a message, or a new connection's first one, is being waited for.
    waiting: Option<Instant>,
    /// When the next keep-alive is due.
    ping: Option<Instant>,
    /// When a keep-alive went out that nothing has followed yet.
    unanswered: Option<Instant>,
}

/// What must be done now.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Send a keep-alive.
    Ping,
    /// Close, for this reason.
    Close(&'static str),
}

impl Liveness {
    /// For a connection that the peer opened: it must say something soon, and keep-alives are its business.
    pub(super) fn accepted(settings: &Settings, now: Instant) -> Liveness {
        Liveness {
            idle: Duration::from_secs(settings.idle_timeout.into()),
            message: Duration::from_secs(settings.message_timeout.into()),
            keepalive: None,
            must_answer: settings.keepalive_answer,
            used: now,
            waiting: Some(now),
            ping: None,
            unanswered: None,
        }
    }

    /// For a connection that we opened.
    pub(super) fn opened(settings: &Settings, now: Instant) -> Liveness {
        let keepalive =
            (settings.keepalive > 0).then(|| Duration::from_secs(settings.keepalive.into()));
        Liveness {
            keepalive,
            waiting: None,
            ping: keepalive.map(|interval| now + interval),
            ..Liveness::accepted(settings, now)
        }
    }

    /// Something was read; `whole`: it completed a message; `partial`: the beginning of another is left over.
    pub(super) fn heard(&mut self, whole: bool, partial: bool, now: Instant) {
        self.used = now;
        self.unanswered = None;
        if whole {
            self.waiting = None;
        }
        if partial {
            self.waiting.get_or_insert(now);
        }
    }

    /// A message of ours was written.
    pub(super) fn said(&mut self, now: Instant) {
        self.used = now;
    }

    /// When [`Liveness::due`] next has something to say.
    pub(super) fn deadline(&self) -> Instant {
        let times = [
            self.waiting.map(|since| since + self.message),
            self.ping,
            self.unanswered.map(|since| since + ANSWER_TIMEOUT),
        ];
        times
            .into_iter()
            .flatten()
            .fold(self.used + self.idle, Instant::min)
    }

    /// What is due at `now`, if anything.
    pub(super) fn due(&mut self, now: Instant) -> Option<Due> {
        let passed = |since: Option<Instant>, limit| since.is_some_and(|s| now >= s + limit);
        if passed(self.waiting, self.message) {
            return Some(Due::Close(
                "no whole message came within sip.message_timeout",
            ));
        }
        if passed(self.unanswered, ANSWER_TIMEOUT) {
            return Some(Due::Close("a keep-alive was not answered within 10 s"));
        }
        if now >= self.used + self.idle {
            return Some(Due::Close("nothing was sent for sip.idle_timeout"));
        }
        if self.ping.is_none_or(|at| now < at) {
            return None;
        }
        self.ping = self.keepalive.map(|interval| now + interval);
        if self.must_answer {
            self.unanswered.get_or_insert(now);
        }
        Some(Due::Ping)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// What happens on a connection that is left alone for `seconds`, and when.
    fn watch(mut liveness: Liveness, start: Instant, seconds: u32) -> Vec<(u64, Due)> {
        let mut log = Vec::new();
        while liveness.deadline() <= start + SECOND * seconds {
            let now = liveness.deadline();
            let due = liveness.due(now).unwrap();
            let last = due != Due::Ping;
            log.push(((now - start).as_secs(), due));
            if last {
                break;
            }
        }
        log
    }

    #[test]
    fn a_stranger_that_says_nothing_is_closed_after_the_message_timeout() {
        let now = Instant::now();
        let mut liveness = Liveness::accepted(&Settings::default(), now);
        // Keep-alives and single octets do not help.
        liveness.heard(false, true, now + SECOND * 29);
        let log = watch(liveness, now, 1000);
        let why = "no whole message came within sip.message_timeout";
        assert_eq!(log, [(30, Due::Close(why))]);
    }

    #[test]
    fn a_message_that_drips_is_timed_from_its_first_octet() {
        let now = Instant::now();
        let mut liveness = Liveness::accepted(&Settings::default(), now);
        liveness.heard(true, true, now + SECOND);
        for second in 2..31 {
            liveness.heard(false, true, now + SECOND * second);
            assert_eq!(liveness.due(now + SECOND * second), None, "{second}");
        }
        assert!(liveness.due(now + SECOND * 31).is_some());
    }

    #[test]
    fn our_keepalives_go_out_and_do_not_keep_an_unused_connection() {
        let now = Instant::now();
        let settings = Settings {
            idle_timeout: 100,
            ..Settings::default()
        };
        let log = watch(Liveness::opened(&settings, now), now, 1000);
        let why = "nothing was sent for sip.idle_timeout";
        assert_eq!(
            log,
            [
                (30, Due::Ping),
                (60, Due::Ping),
                (90, Due::Ping),
                (100, Due::Close(why))
            ]
        );
    }

    #[test]
    fn an_answer_is_demanded_only_where_it_is_set() {
        let now = Instant::now();
        let settings = Settings {
            keepalive_answer: true,
            ..Settings::default()
        };
        let log = watch(Liveness::opened(&settings, now), now, 1000);
        let why = "a keep-alive was not answered within 10 s";
        assert_eq!(log, [(30, Due::Ping), (40, Due::Close(why))]);
        let mut answered = Liveness::opened(&settings, now);
        assert_eq!(answered.due(now + SECOND * 30), Some(Due::Ping));
        answered.heard(false, false, now + SECOND * 31);
        assert_eq!(answered.due(now + SECOND * 41), None);
    }
}
