//! Keeps a Contact of ours registered at a registrar (RFC 3261 §10.2).
//!
//! ```text
//!   Waiting ──due──▶ Asking ─┬─ 200 ───────────────▶ Waiting, until shortly before what was granted is over
//!      ▲                     ├─ 401, 407, 423 ─────▶ Asking, with credentials, or for longer
//!      └─────────────────────┴─ refused, lost ─────▶ Waiting, longer each time
//!   leave ──▶ Leaving: Expires 0 ── any answer, or none ──▶ Over
//! ```
//!
//! The same Call-ID and a rising CSeq join all of it, and go over to what takes the place of this registration.

mod bindings;
mod request;
#[cfg(test)]
mod tests;
mod waits;

use std::fmt;
use std::time::{Duration, Instant};

use super::SipUri;
use super::dialog::Identity;
use super::digest::client::Client;
use super::message::{Request, Response};
use super::token::Tokens;
use crate::secret::Secret;
use bindings::{granted, seconds};

/// How long the end may take: whoever stops us does not wait for a registrar that is gone.
const LEAVING: Duration = Duration::from_secs(3);
/// Longest registration that a registrar may insist on (423).
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// What is registered, as whom, and how that is proved.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// The Request-URI: the registrar's domain.
    pub registrar: SipUri,
    /// The address of record: To and From.
    pub address: SipUri,
    /// User part of our Contact.
    pub user: String,
    /// Whose password it is.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// For how long a registration is asked for.
    pub expires: Duration,
    /// How we name ourselves to the registrar.
    pub identity: Identity,
}

/// Leaves out the users, which may be telephone numbers.
impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Account")
            .field("registrar", &self.registrar.host)
            .field("expires", &self.expires)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

/// What happens to a registration.
#[derive(Debug)]
pub enum Event {
    /// A response to its request.
    Response(Response),
    /// Its request was not answered, or could not be sent; why.
    Lost(String),
    /// It is not wanted any more.
    Leave,
    /// [`Registration::deadline`] has come.
    Deadline,
}

/// What must be done for a registration.
#[derive(Debug)]
pub enum Action {
    /// Open a transaction with this REGISTER.
    Send(Request),
    /// Tell the operator.
    News(News),
}

/// What an operator may want to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum News {
    /// The registrar has our Contact, for so long.
    Registered {
        /// For how long.
        granted: Duration,
        /// Whether it had it before.
        refreshed: bool,
        /// Whether it lists it as we gave it; else there is a NAT between.
        listed: bool,
    },
    /// It has not, or not once more.
    Failed {
        /// Why, and what to do about it.
        why: String,
        /// When it is tried again.
        again: Duration,
        /// Whether the same was said just before.
        repeated: bool,
    },
    /// What was granted is over.
    Expired,
    /// It has our Contact no more, as was wanted.
    Left,
}

/// How a registration stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Since when the registrar has our Contact without a gap; `None`: it has not.
    pub since: Option<Instant>,
    /// When what was granted is over.
    pub until: Option<Instant>,
    /// Why the latest attempt failed, unless it did not.
    pub error: Option<String>,
}

/// One Contact at one registrar.
#[derive(Debug)]
pub struct Registration {
    account: Account,
    series: Series,
    /// For how long we ask: more than the account says once the registrar wants it so (423).
    expires: Duration,
    digest: Client,
    /// The header that the registrar wants credentials in, once it has asked.
    credentials: Option<&'static str>,
    bound: Option<Bound>,
    failures: u32,
    error: Option<String>,
    state: State,
}

/// What joins the requests that belong together (§10.2).
#[derive(Clone, Debug)]
pub struct Series {
    call_id: String,
    tag: String,
    cseq: u32,
}

/// The registrar has our Contact.
#[derive(Clone, Copy, Debug)]
struct Bound {
    since: Instant,
    until: Instant,
}

#[derive(Debug)]
enum State {
    Waiting {
        until: Instant,
    },
    Asking {
        /// Whether this attempt has been told already that it asks for too little (423).
        raised: bool,
    },
    Leaving {
        until: Instant,
        /// Whether what is under way asks for the end already.
        asked: bool,
    },
    Over,
}

impl Registration {
    /// One that asks at once; after another one at the same registrar, with that one's series.
    pub fn new(
        account: Account,
        series: Option<Series>,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Registration {
        Registration {
            expires: account.expires,
            account,
            series: series.unwrap_or_else(|| Series {
                call_id: tokens.call_id(),
                tag: tokens.tag(),
                cseq: 0,
            }),
            digest: Client::new(),
            credentials: None,
            bound: None,
            failures: 0,
            error: None,
            state: State::Waiting { until: now },
        }
    }

    /// What is registered.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// What its successor goes on with.
    pub fn series(&self) -> Series {
        self.series.clone()
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        Standing {
            since: self.bound.map(|bound| bound.since),
            until: self.bound.map(|bound| bound.until),
            error: self.error.clone(),
        }
    }

    /// Whether it is not wanted any more.
    pub fn is_leaving(&self) -> bool {
        matches!(self.state, State::Leaving { .. } | State::Over)
    }

    /// Whether nothing follows any more.
    pub fn is_over(&self) -> bool {
        matches!(self.state, State::Over)
    }

    /// When [`Event::Deadline`] is next due.
    pub fn deadline(&self) -> Option<Instant> {
        let state = match self.state {
            State::Waiting { until } | State::Leaving { until, .. } => Some(until),
            State::Asking { .. } | State::Over => None,
        };
        let bound = self.bound.map(|bound| bound.until);
        state.into_iter().chain(bound).min()
    }

    /// Takes one event; returns what must be done now, in order.
    #[must_use]
    pub fn handle(&mut self, event: Event, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        match event {
            Event::Response(response) => self.response(&response, tokens, now),
            Event::Lost(why) => self.lost(&why, tokens, now),
            Event::Leave => self.leave(tokens, now),
            Event::Deadline => self.tick(tokens, now),
        }
    }

    fn tick(&mut self, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.bound.take_if(|bound| bound.until <= now).is_some() {
            actions.push(Action::News(News::Expired));
        }
        match self.state {
            State::Waiting { until } if until <= now => {
                self.state = State::Asking { raised: false };
                actions.push(self.ask(self.expires, tokens));
            }
            State::Leaving { until, .. } if until <= now => actions.extend(self.end()),
            _ => {}
        }
        actions
    }

    fn leave(&mut self, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        let until = now + LEAVING;
        match (&self.state, self.bound) {
            (State::Waiting { .. }, Some(_)) => {
                self.state = State::Leaving { until, asked: true };
                vec![self.ask(Duration::ZERO, tokens)]
            }
            (State::Waiting { .. }, None) => self.end(),
            // §10.2: not before the registration that is under way has been answered.
            (State::Asking { .. }, _) => {
                let asked = false;
                self.state = State::Leaving { until, asked };
                Vec::new()
            }
            (State::Leaving { .. } | State::Over, _) => Vec::new(),
        }
    }

    fn end(&mut self) -> Vec<Action> {
        self.state = State::Over;
        // Where it never had our Contact there is nothing to tell.
        let had = self.bound.take();
        had.map(|_| Action::News(News::Left)).into_iter().collect()
    }

    fn response(&mut self, response: &Response, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        if response.is_provisional() {
            return Vec::new();
        }
        match self.state {
            State::Asking { raised } => self.judged(response, raised, tokens, now),
            State::Leaving { until, asked } => self.left(response, until, asked, tokens),
            State::Waiting { .. } | State::Over => Vec::new(),
        }
    }

    fn judged(
        &mut self,
        response: &Response,
        raised: bool,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Vec<Action> {
        match response.status {
            200..300 => self.registered(response, tokens, now),
            401 | 407 => match self.answer(response, self.expires, tokens) {
                Ok(again) => vec![again],
                Err(why) => {
                    let why = format!("{} {why}", told(response));
                    self.failed(why, waits::after_refusal(tokens.number()), now)
                }
            },
            423 => match self.longer(response).filter(|_| !raised) {
                Some(expires) => {
                    self.expires = expires;
                    self.state = State::Asking { raised: true };
                    vec![self.ask(expires, tokens)]
                }
                None => {
                    let why = format!("{} and no Min-Expires that we can meet", told(response));
                    self.failed(why, waits::after_refusal(tokens.number()), now)
                }
            },
            status => {
                let why = format!("{}{}", told(response), remedy(status));
                let retry_after = response.headers.get("Retry-After").and_then(seconds);
                self.failures = self.failures.saturating_add(1);
                let wait = match (retry_after, status) {
                    (Some(time), _) => waits::as_told(time),
                    (None, 408 | 480 | 500..600) => {
                        waits::after_failure(self.failures, tokens.number())
                    }
                    (None, _) => waits::after_refusal(tokens.number()),
                };
                self.failed(why, wait, now)
            }
        }
    }

    fn registered(
        &mut self,
        response: &Response,
        tokens: &mut Tokens,
        now: Instant,
    ) -> Vec<Action> {
        let ours = self.account.identity.contact(Some(&self.account.user));
        let granted = granted(response, &ours.uri, self.expires);
        if granted.time.is_zero() {
            let why = "it took our Contact for no time at all (expires=0)".to_owned();
            return self.failed(why, waits::after_refusal(tokens.number()), now);
        }
        self.digest.accepted();
        self.failures = 0;
        self.error = None;
        let before = self.bound.map(|bound| bound.since);
        self.bound = Some(Bound {
            since: before.unwrap_or(now),
            until: now + granted.time,
        });
        self.state = State::Waiting {
            until: now + waits::refresh(granted.time, tokens.number()),
        };
        vec![Action::News(News::Registered {
            granted: granted.time,
            refreshed: before.is_some(),
            listed: granted.listed,
        })]
    }

    fn lost(&mut self, why: &str, tokens: &mut Tokens, now: Instant) -> Vec<Action> {
        match self.state {
            State::Asking { .. } => {
                self.failures = self.failures.saturating_add(1);
                let wait = waits::after_failure(self.failures, tokens.number());
                self.failed(format!("it cannot be reached: {why}"), wait, now)
            }
            State::Leaving { .. } => self.end(),
            State::Waiting { .. } | State::Over => Vec::new(),
        }
    }

    fn failed(&mut self, why: String, wait: Duration, now: Instant) -> Vec<Action> {
        // Whatever it was, the next attempt begins with a challenge of its own.
        self.digest = Client::new();
        self.credentials = None;
        let repeated = self.error.as_ref() == Some(&why);
        self.error = Some(why.clone());
        self.state = State::Waiting { until: now + wait };
        vec![Action::News(News::Failed {
            why,
            again: wait,
            repeated,
        })]
    }

    /// The answer to what was under way when we began to leave, or to the end that we asked for.
    fn left(
        &mut self,
        response: &Response,
        until: Instant,
        asked: bool,
        tokens: &mut Tokens,
    ) -> Vec<Action> {
        let challenged = matches!(response.status, 401 | 407);
        if challenged && (asked || self.bound.is_some()) {
            let again = self.answer(response, Duration::ZERO, tokens);
            self.state = State::Leaving { until, asked: true };
            return again.map_or_else(|_| self.end(), |again| vec![again]);
        }
        if !asked && (response.is_success() || self.bound.is_some()) {
            self.state = State::Leaving { until, asked: true };
            return vec![self.ask(Duration::ZERO, tokens)];
        }
        self.end()
    }

    /// The time that a 423 wants, if we can ask for it.
    fn longer(&self, response: &Response) -> Option<Duration> {
        let least = seconds(response.headers.get("Min-Expires")?)?;
        (self.expires < least && least <= LONGEST).then_some(least)
    }
}

/// What the registrar said, fit for the log.
fn told(response: &Response) -> String {
    let reason: String = response
        .reason
        .chars()
        .filter(|c| !c.is_control())
        .take(128)
        .collect();
    format!("{} {}", response.status, reason.trim())
}

fn remedy(status: u16) -> &'static str {
    match status {
        403 => {
            ": it knows the user and refuses: is it allowed to register, from our address, and once more?"
        }
        404 => ": it does not know the user: compare username and domain with the PBX",
        300..400 => ": it sends us elsewhere: set address, or registrars, to where that is",
        _ => "",
    }
}
