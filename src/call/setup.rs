//! What a bridge is told of its surroundings; a reload gives it another.

use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::peer::{Meta, Pbx};
use crate::policy::Numbers;
use crate::policy::rules::Rule;
use crate::sip::dialog::Pace;

/// All that signalling needs of a configuration.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Meta's side.
    pub meta: Arc<Meta>,
    /// Where Meta may call from.
    pub meta_sources: Vec<IpNet>,
    /// The telephone systems, and where each may call from.
    pub pbxs: Vec<(Arc<Pbx>, Vec<IpNet>)>,
    /// Our numbers.
    pub numbers: Numbers,
    /// Where calls go otherwise than their numbers say.
    pub routes: Vec<Rule>,
    /// How fast our 2xx is repeated.
    pub pace: Pace,
    /// Calls at once.
    pub max_calls: usize,
    /// How long new calls may wait for the bridge before it refuses some; zero: for ever.
    pub overload_delay: Duration,
    /// How long a phone at the PBX may ring.
    pub ring_timeout: Duration,
    /// How long a WhatsApp user may ring. Meta ends it earlier with 480; when is not documented.
    pub answer_timeout: Duration,
}

impl Setup {
    /// The PBX of that name.
    pub fn pbx(&self, name: &str) -> Option<&Arc<Pbx>> {
        self.pbxs
            .iter()
            .map(|(pbx, _)| pbx)
            .find(|pbx| pbx.name == name)
    }
}

impl Setup {
    /// Where each PBX may call from, by its name.
    pub(super) fn pbx_sources(&self) -> Vec<(String, Vec<IpNet>)> {
        self.pbxs
            .iter()
            .map(|(pbx, sources)| (pbx.name.clone(), sources.clone()))
            .collect()
    }
}
