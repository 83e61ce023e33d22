//! Session timers (RFC 4028): whether both ends of a dialog still know of it.
//!
//! ```text
//!   begin ──half the interval──▶ we refresh, if that is ours to do ──2xx──▶ begin anew
//!     └──all but a third of it, 32 s at most, without a refresh of either ──▶ BYE
//! ```

use std::time::{Duration, Instant};

use crate::sip::Headers;
use crate::sip::grammar::{Params, split};
use crate::sip::message::{Request, Response};

/// The shortest interval that there may be, and ours as well (§4).
pub const MIN: Duration = Duration::from_secs(90);

/// How long a refresh that was refused waits before it is tried again.
const PAUSE: Duration = Duration::from_secs(5);

/// Who keeps the session alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// We do.
    Us,
    /// The peer does.
    Peer,
}

/// What a request and its 2xx have settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// After so long without a refresh the session is over.
    pub length: Duration,
    /// Whose refreshes those are.
    pub refresher: Refresher,
}

/// A session interval that is too short for us: 422, with our minimum (§8.1).
#[derive(Debug, PartialEq, Eq)]
pub struct TooSmall;

impl Interval {
    /// What our 2xx grants to a request of the peer's (§9, table 2); `None`: no timer.
    pub fn granted_to(request: &Request) -> Result<Option<Interval>, TooSmall> {
        let Some((length, refresher)) = asked(&request.headers) else {
            return Ok(None);
        };
        let supports = ["Supported", "Require"].iter().any(|name| {
            let mut tags = request.headers.list(name);
            tags.any(|tag| tag.eq_ignore_ascii_case("timer"))
        });
        match (length < MIN, supports) {
            (true, true) => return Err(TooSmall),
            // Somebody in between has asked for it, against the RFC, and would understand no 422.
            (true, false) => return Ok(None),
            _ => {}
        }
        // A peer that knows nothing of timers cannot refresh.
        let ours = !supports || refresher.is_some_and(|it| it == Role::Uas);
        Ok(Some(Interval {
            length,
            refresher: if ours { Refresher::Us } else { Refresher::Peer },
        }))
    }

    /// What the peer's 2xx to a request of ours says (§7.2).
    pub fn granted_by(response: &Response) -> Option<Interval> {
        let (length, refresher) = asked(&response.headers)?;
        Some(Interval {
            length: length.max(MIN),
            refresher: match refresher {
                Some(Role::Uas) => Refresher::Peer,
                Some(Role::Uac) | None => Refresher::Us,
            },
        })
    }

    /// The headers of our 2xx that grant it: a peer that must refresh must know that it has to (§9).
    pub fn in_response(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Session-Expires", self.written(Role::Uac))];
        if self.refresher == Refresher::Peer {
            headers.push(("Require", "timer".to_owned()));
        }
        headers
    }

    /// The value of Session-Expires in a refresh of ours.
    pub fn in_request(&self) -> String {
        self.written(Role::Uas)
    }

    /// `peers`: the role of the peer in the transaction.
    fn written(&self, peers: Role) -> String {
        let role = match (self.refresher, peers) {
            (Refresher::Peer, Role::Uac) | (Refresher::Us, Role::Uas) => "uac",
            _ => "uas",
        };
        format!("{};refresher={role}", self.length.as_secs())
    }
}

/// A side of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Uac,
    Uas,
}

/// Session-Expires, if it can be read.
fn asked(headers: &Headers) -> Option<(Duration, Option<Role>)> {
    let parts = split(headers.get("Session-Expires")?, ';')?;
    let (seconds, params) = parts.split_first()?;
    let length = Duration::from_secs(seconds.trim().parse::<u32>().ok()?.into());
    let params = Params::parse(params.iter().copied())?;
    let role = match params.value("refresher").map(str::to_ascii_lowercase) {
        Some(role) if role == "uac" => Some(Role::Uac),
        Some(role) if role == "uas" => Some(Role::Uas),
        _ => None,
    };
    Some((length, role))
}

/// The least interval that a 422 asks for (§6); never less than ours.
pub fn least(response: &Response) -> Duration {
    let seconds = response.headers.get("Min-SE").and_then(|value| {
        let seconds = value.split(';').next()?;
        seconds.trim().parse::<u32>().ok()
    });
    seconds.map_or(MIN, |seconds| Duration::from_secs(seconds.into()).max(MIN))
}

/// The timer of a session that has one.
#[derive(Clone, Copy, Debug)]
pub struct SessionTimer {
    interval: Interval,
    /// When we refresh, if we are to and have not begun to.
    refresh: Option<Instant>,
    /// When the session is over.
    over: Instant,
    /// Whether the peer has wanted it longer already.
    lengthened: bool,
}

impl SessionTimer {
    /// Begins with the 2xx.
    pub fn begin(interval: Interval, now: Instant) -> SessionTimer {
        let Interval { length, refresher } = interval;
        // §10: whoever ends the session does it a little before the other end would.
        let margin = (length / 3).min(Duration::from_secs(32));
        SessionTimer {
            interval,
            refresh: (refresher == Refresher::Us).then(|| now + length / 2),
            over: now + length.saturating_sub(margin),
            lengthened: false,
        }
    }

    /// What was settled.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// The peer takes no refresh of a shorter interval than this. Whether it is to be tried at once: not if ours is as long
    /// already, nor a second time, for whoever wants a little more each time would never be done.
    pub fn lengthen(&mut self, least: Duration) -> bool {
        let grows = least > self.interval.length;
        self.interval.length = self.interval.length.max(least);
        grows && !std::mem::replace(&mut self.lengthened, true)
    }

    /// When something is next to be done.
    pub fn deadline(&self) -> Instant {
        self.refresh
            .map_or(self.over, |refresh| refresh.min(self.over))
    }

    /// Whether nobody has refreshed the session in time.
    pub fn is_over(&self, now: Instant) -> bool {
        now >= self.over
    }

    /// Whether it is time for a refresh of ours: true once.
    pub fn takes_refresh(&mut self, now: Instant) -> bool {
        self.refresh.take_if(|at| *at <= now).is_some()
    }

    /// A refresh of ours has failed for now: another one follows as long as there is time.
    pub fn tries_again(&mut self, after: Option<Duration>, now: Instant) {
        self.refresh = Some(now + after.unwrap_or(PAUSE));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sip::{Method, SipUri};

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::new(Method::UPDATE, SipUri::new(None, "a"));
        for (name, value) in headers {
            request.headers.push(name, *value);
        }
        request
    }

    fn response(headers: &[(&str, &str)]) -> Response {
        Response {
            status: 200,
            reason: "OK".into(),
            headers: request(headers).headers,
            body: Vec::new(),
        }
    }

    const SUPPORTED: (&str, &str) = ("Supported", "replaces, TIMER");

    #[test]
    fn whoever_asks_for_a_timer_refreshes_unless_it_wants_us_to_or_cannot() {
        for (expires, supports, refresher, said) in [
            ("1800", true, Refresher::Peer, "1800;refresher=uac"),
            (
                "90;refresher=uac",
                true,
                Refresher::Peer,
                "90;refresher=uac",
            ),
            (
                "90 ; Refresher=UAS",
                true,
                Refresher::Us,
                "90;refresher=uas",
            ),
            ("1800", false, Refresher::Us, "1800;refresher=uas"),
        ] {
            let mut headers = vec![("Session-Expires", expires)];
            headers.extend(supports.then_some(SUPPORTED));
            let granted = Interval::granted_to(&request(&headers)).unwrap().unwrap();
            assert_eq!(granted.refresher, refresher, "{expires}");
            let told = granted.in_response();
            assert_eq!(told[0], ("Session-Expires", said.to_owned()));
            assert_eq!(told.len() == 2, refresher == Refresher::Peer);
        }
    }

    #[test]
    fn less_than_90_seconds_are_too_small_for_whoever_would_understand() {
        let short = ("Session-Expires", "89");
        assert_eq!(
            Interval::granted_to(&request(&[short, SUPPORTED])),
            Err(TooSmall)
        );
        assert_eq!(Interval::granted_to(&request(&[short])), Ok(None));
        assert_eq!(Interval::granted_to(&request(&[SUPPORTED])), Ok(None));
        let unreadable = [("x", "soon"), SUPPORTED];
        assert_eq!(Interval::granted_to(&request(&unreadable)), Ok(None));
        let endless = [("Session-Expires", "99999999999999999999"), SUPPORTED];
        assert_eq!(Interval::granted_to(&request(&endless)), Ok(None));
    }

    #[test]
    fn the_2xx_of_the_peer_says_who_refreshes() {
        for (expires, length, refresher) in [
            ("120;refresher=uac", 120, Refresher::Us),
            ("120;refresher=uas", 120, Refresher::Peer),
            ("30", 90, Refresher::Us),
        ] {
            let granted = Interval::granted_by(&response(&[("Session-Expires", expires)]));
            let length = Duration::from_secs(length);
            assert_eq!(granted, Some(Interval { length, refresher }), "{expires}");
        }
        assert_eq!(Interval::granted_by(&response(&[])), None);
        let wants = |value| least(&response(&[("Min-SE", value)])).as_secs();
        assert_eq!((wants("300"), wants("1"), wants("?")), (300, 90, 90));
    }

    #[test]
    fn we_refresh_after_half_the_interval_and_give_up_a_third_or_32_seconds_before_its_end() {
        let start = Instant::now();
        for (length, over) in [(90, 60), (1800, 1768)] {
            let length = Duration::from_secs(length);
            let over = start + Duration::from_secs(over);
            let refresher = Refresher::Us;
            let mut timer = SessionTimer::begin(Interval { length, refresher }, start);
            let half = start + length / 2;
            assert_eq!(timer.deadline(), half);
            assert!(!timer.takes_refresh(half - PAUSE) && timer.takes_refresh(half));
            assert!(!timer.takes_refresh(half), "once");
            assert_eq!(timer.deadline(), over);
            timer.tries_again(None, half);
            assert_eq!(timer.deadline(), half + PAUSE);
            assert!(!timer.is_over(over - PAUSE) && timer.is_over(over));
            let refresher = Refresher::Peer;
            let timer = SessionTimer::begin(Interval { length, refresher }, start);
            assert_eq!(timer.deadline(), over);
        }
        let longest = Duration::from_secs(u32::MAX.into());
        let refresher = Refresher::Us;
        let interval = Interval {
            length: longest,
            refresher,
        };
        assert!(SessionTimer::begin(interval, start).deadline() > start);
    }
}
