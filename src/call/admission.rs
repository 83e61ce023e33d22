//! Whose requests are heard: those from allowed addresses, and those of calls that began when others were allowed.

use std::collections::HashSet;
use std::net::IpAddr;

use super::live::CallId;
use super::setup::Setup;
use crate::policy::Sources;
use crate::policy::sources::Refusal;
use crate::sip::message::{Common, Method, Request};
use crate::sip::transport::Flow;

/// The addresses that may send requests, now and before the latest reloads.
#[derive(Debug)]
pub struct Admission {
    now: Sources,
    /// What was allowed before a reload, and the last call that began under it: each list once, [`MOST_BEFORE`] at most.
    before: Vec<(Sources, CallId)>,
    /// Strange addresses that the log has named.
    named: HashSet<IpAddr>,
}

/// Most strange addresses that the log names: forged ones must fill neither it nor our memory.
const MOST_NAMED: usize = 256;

/// Most former lists that are kept apart: each request of a call looks through them.
const MOST_BEFORE: usize = 8;

impl Admission {
    /// The addresses of a set-up.
    pub fn new(setup: &Setup) -> Admission {
        Admission {
            now: sources(setup),
            before: Vec::new(),
            named: HashSet::new(),
        }
    }

    /// Whether a request may come from there; `None` stands for one that cannot be read.
    pub fn admit(&mut self, request: Option<&Request>, flow: Flow) -> Result<(), Refusal> {
        let source = flow.remote.ip();
        // A call that is up stays as it began, so its parties must be heard until it ends.
        let known = request.is_some_and(belongs_to_a_call)
            && self
                .before
                .iter_mut()
                .any(|(before, _)| before.admit(source, flow.leg, flow.protocol).is_ok());
        if known {
            return Ok(());
        }
        self.now
            .admit(source, flow.leg, flow.protocol)
            .inspect_err(|_| self.name(flow))
    }

    /// Whether a request that belongs to no call would not be heard.
    pub fn is_stranger(&self, flow: Flow) -> bool {
        let source = flow.remote.ip();
        self.now.admit(source, flow.leg, flow.protocol).is_err()
    }

    /// An operator who forgot an address looks for it in the log; once is enough to be found.
    fn name(&mut self, flow: Flow) {
        let address = flow.remote.ip().to_canonical();
        if self.named.len() < MOST_NAMED && self.named.insert(address) {
            tracing::info!(leg = ?flow.leg, %address, "refused: this source is not in allowed_sources");
        }
    }

    /// Takes a new set-up in place of the old one; `last` is the newest of the calls that are up.
    pub fn reload(&mut self, old: &Setup, new: &Setup, last: Option<CallId>) {
        let (old, new) = (sources(old), sources(new));
        if let Some(last) = last.filter(|_| old != new) {
            self.keep(old, last);
        }
        self.now = new;
        self.named.clear();
    }

    /// Where there are too many lists, the two oldest become one, until the last call of either is over.
    fn keep(&mut self, old: Sources, last: CallId) {
        self.before.retain(|(before, _)| *before != old);
        self.before.push((old, last));
        if self.before.len() > MOST_BEFORE {
            let (oldest, its_last) = self.before.remove(0);
            let (next, last) = &mut self.before[0];
            next.join(oldest);
            *last = its_last.max(*last);
        }
    }

    /// Name of the PBX that sends from there.
    pub fn pbx_at(&self, flow: Flow) -> Option<&str> {
        self.now.pbx_at(flow.remote.ip())
    }

    /// Forgets what was allowed to calls that are over; `oldest` is the oldest that is up.
    pub fn ended(&mut self, oldest: impl FnOnce() -> Option<CallId>) {
        if !self.before.is_empty() {
            let oldest = oldest();
            self.before
                .retain(|(_, last)| oldest.is_some_and(|oldest| oldest <= *last));
        }
    }
}

fn sources(setup: &Setup) -> Sources {
    Sources::new(setup.meta_sources.clone(), setup.pbx_sources())
}

fn belongs_to_a_call(request: &Request) -> bool {
    request.method == Method::CANCEL || request.to_tag().is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(last: u8) -> Sources {
        let network = format!("192.0.2.{last}/32").parse().unwrap();
        Sources::new(Vec::new(), vec![("main".to_owned(), vec![network])])
    }

    #[test]
    fn a_call_that_lasts_through_many_reloads_keeps_its_addresses_and_few_lists() {
        let mut admission = Admission {
            now: list(0),
            before: Vec::new(),
            named: HashSet::new(),
        };
        for round in 1..=100 {
            admission.keep(list(1), CallId(round));
            admission.keep(list(2), CallId(round));
        }
        assert_eq!(admission.before.len(), 2, "each list once");
        for last in 3..=100 {
            admission.keep(list(last), CallId(100 + u64::from(last)));
        }
        assert_eq!(admission.before.len(), MOST_BEFORE);
        let heard = |admission: &Admission, last: u8| {
            let mut before = admission.before.iter();
            let source = [192, 0, 2, last].into();
            before.any(|(list, _)| list.pbx_at(source).is_some())
        };
        assert!((1..=100).all(|last| heard(&admission, last)));
        // Those of the latest lists that were joined are the first whose calls end.
        let oldest = CallId(201 - MOST_BEFORE as u64 + 1);
        admission.ended(|| Some(oldest));
        assert!(!heard(&admission, 1) && heard(&admission, 100));
        admission.ended(|| None);
        assert!(admission.before.is_empty());
    }
}
