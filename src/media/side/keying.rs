//! How a side comes to its keys where SDP did not bring them: it feeds its path, and does what that wants.

use std::net::SocketAddr;
use std::time::Instant;

use super::Side;
use crate::media::agreed::Agreed;
use crate::media::demux::Kind;
use crate::media::outbox::{News, Outbox, Socket};
use crate::media::path::Step;

impl Side {
    /// Started and agreed, whichever came last: where there is a path to be found, it is looked for from now on.
    pub(super) fn look_for_path(&mut self, now: Instant) {
        if let (Some(_), Some(agreed)) = (self.started, &mut self.agreed) {
            agreed.begin(&self.common, now);
        }
    }

    /// Whether anything is agreed with the peer.
    pub(crate) fn has_agreed(&self) -> bool {
        self.agreed.is_some()
    }

    /// Whether it was started.
    pub(crate) fn has_started(&self) -> bool {
        self.started.is_some()
    }

    /// Whether it cannot be sent to yet, but may be soon: not agreed, not started, no keys.
    pub(crate) fn is_awaited(&self) -> bool {
        let agreed = self.agreed.as_ref();
        let ready = self.started.is_some() && agreed.is_some_and(Agreed::is_keyed);
        !ready && !self.has_failed()
    }

    /// Whether there is no path to it, or none any more.
    pub(crate) fn has_failed(&self) -> bool {
        self.agreed.as_ref().is_some_and(Agreed::has_failed)
    }

    /// Hands a datagram of STUN or DTLS to the path.
    pub(super) fn walk_with(
        &mut self,
        kind: Kind,
        from: SocketAddr,
        datagram: &[u8],
        now: Instant,
        out: &mut Outbox,
    ) {
        let Some(path) = self.agreed.as_mut().and_then(Agreed::path) else {
            self.stats.unusable += 1;
            return;
        };
        match path.handle(kind, datagram, from, now) {
            Some(steps) => self.walk(steps, now, out),
            None => self.stats.strangers += 1,
        }
    }

    /// Does what the path to the peer has due.
    pub(crate) fn tick_path(&mut self, now: Instant, out: &mut Outbox) {
        if let Some(path) = self.agreed.as_mut().and_then(Agreed::path) {
            let steps = path.tick(now);
            self.walk(steps, now, out);
        }
    }

    /// Does what the path wants done.
    fn walk(&mut self, steps: Vec<Step>, now: Instant, out: &mut Outbox) {
        for step in steps {
            let Some(agreed) = &mut self.agreed else {
                return;
            };
            let failed = match step {
                Step::Send { to, datagram } => {
                    out.send(self.leg, Socket::Rtp, to, &datagram);
                    continue;
                }
                Step::Keys { remote, keys } => match agreed.key(remote, &keys) {
                    Ok(()) => {
                        self.heard = Some(now);
                        let took = self.started.map(|at| now.saturating_duration_since(at));
                        self.stats.keyed_after = self.stats.keyed_after.or(took);
                        out.tell(self.leg, News::Keyed);
                        continue;
                    }
                    Err(error) => error.to_string(),
                },
                Step::Failed(why) => why,
            };
            agreed.fail();
            out.tell(self.leg, News::Failed(failed));
        }
    }
}
