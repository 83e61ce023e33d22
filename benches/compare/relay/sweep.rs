//! All relays at more and more calls, in turns, each until it no longer carries them.

use crate::far_ends;
use crate::measure::{Case, Measured, measure};
use crate::report::Raw;
use crate::under_test::{ALL, Relay};

/// How much is measured.
pub struct Plan {
    /// Packets each way in each call that do not count, and that do.
    pub packets: [u32; 2],
    /// Measurements of each kind, in turns.
    pub rounds: usize,
    /// What is measured.
    pub relays: Vec<Relay>,
    /// Calls at once.
    pub calls: Vec<usize>,
    /// The same for Asterisk, which carries fewer.
    pub fewer: Vec<usize>,
    /// Seconds without calls.
    pub idle: u64,
    /// Calls for each worker where the cores are compared.
    pub for_each_core: usize,
}

impl Plan {
    /// What is published.
    pub fn full() -> Plan {
        Plan {
            packets: [50, 350],
            rounds: 3,
            relays: ALL.into(),
            calls: vec![
                50, 100, 200, 300, 400, 450, 500, 600, 700, 800, 900, 1_000, 1_100, 1_200, 1_500,
            ],
            fewer: vec![25, 50, 80, 100, 110, 120, 140, 170],
            idle: 10,
            for_each_core: 300,
        }
    }

    /// What proves that everything works.
    pub fn quick() -> Plan {
        Plan {
            packets: [10, 100],
            rounds: 1,
            calls: vec![50, 200],
            fewer: vec![25, 50],
            idle: 2,
            for_each_core: 50,
            ..Plan::full()
        }
    }

    /// Takes `calls=…`, `rounds=…` or `relays=…`; whether it was one of them.
    pub fn take(&mut self, word: &str) -> bool {
        let Some((key, value)) = word.split_once('=') else {
            return false;
        };
        let numbers = || {
            value
                .split(',')
                .map(|number| number.parse().expect("numbers"))
                .collect()
        };
        match key {
            "calls" => {
                let most = self.fewer.iter().max().copied().unwrap_or_default();
                self.calls = numbers();
                self.fewer = numbers();
                // It cannot even set up many more.
                self.fewer.retain(|calls| *calls <= most);
            }
            "rounds" => self.rounds = value.parse().expect("a number"),
            "relays" => {
                let asked =
                    |relay: &Relay| value.split(',').any(|name| relay.name().starts_with(name));
                self.relays.retain(asked);
            }
            _ => return false,
        }
        true
    }
}

/// The measurements of a relay with so many calls.
pub struct Step {
    /// The relay.
    pub relay: Relay,
    /// Its calls.
    pub calls: usize,
    /// In the order they were made, without void ones.
    pub rounds: Vec<Measured>,
    /// Why one was void.
    pub void: Option<String>,
}

impl Step {
    /// The median of a figure; `None` if every round was void.
    pub fn median(&self, figure: impl Fn(&Measured) -> f64) -> Option<f64> {
        median(self.rounds.iter().map(figure).collect())
    }

    /// Whether the calls are carried: in most rounds.
    pub fn fits(&self) -> bool {
        let fit = self
            .rounds
            .iter()
            .filter(|measured| measured.fits())
            .count();
        2 * fit > self.rounds.len()
    }
}

/// The middle one.
pub fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_unstable_by(f64::total_cmp);
    all.get(all.len() / 2).copied()
}

/// Measures, and writes each measurement down when it is made.
pub fn run(plan: &Plan, raw: &mut Raw) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut all = [&plan.calls[..], &plan.fewer].concat();
    all.sort_unstable();
    all.dedup();
    for calls in all {
        let measured = plan.relays.iter().filter(|relay| {
            let own = match relay {
                Relay::Asterisk => &plan.fewer,
                _ => &plan.calls,
            };
            own.contains(&calls) && carries_more(&steps, **relay)
        });
        let relays: Vec<Relay> = measured.copied().collect();
        let first = steps.len();
        steps.extend(relays.iter().map(|relay| Step {
            relay: *relay,
            calls,
            rounds: Vec::new(),
            void: None,
        }));
        for round in 1..=plan.rounds {
            for step in &mut steps[first..] {
                take(step, plan, round, raw);
            }
        }
    }
    steps
}

/// Twice in a row too many is enough to know.
fn carries_more(steps: &[Step], relay: Relay) -> bool {
    let own: Vec<&Step> = steps.iter().filter(|step| step.relay == relay).collect();
    own.len() < 2 || own[own.len() - 2..].iter().any(|step| step.fits())
}

fn take(step: &mut Step, plan: &Plan, round: usize, raw: &mut Raw) {
    let measured = measure(Case {
        relay: step.relay,
        workers: 1,
        calls: step.calls,
        packets: plan.packets,
    });
    raw.write("sweep", round, &measured);
    match &measured.void {
        Some(why) => step.void = Some(why.clone()),
        None => step.rounds.push(measured),
    }
}

/// Ours with a worker on one core, and with twice the calls and a worker on each of both: for each number of workers the
/// seconds on a processor for a million packets.
pub fn cores(plan: &Plan, raw: &mut Raw) -> Vec<(Relay, [Option<f64>; 2])> {
    let relays = plan.relays.iter();
    let ours = relays.filter(|relay| matches!(relay, Relay::Ours(_)));
    let compare = |relay: &Relay| {
        let mut each = [Vec::new(), Vec::new()];
        for round in 1..=plan.rounds {
            for (workers, each) in [1, 2].into_iter().zip(&mut each) {
                let measured = measure(Case {
                    relay: *relay,
                    workers,
                    calls: plan.for_each_core * usize::from(workers),
                    packets: plan.packets,
                });
                raw.write("cores", round, &measured);
                if measured.void.is_none() {
                    each.push(measured.cpu_for_million());
                }
            }
        }
        (*relay, each.map(median))
    };
    ours.map(compare).collect()
}

/// The share of a core that each takes without calls; ours is the whole daemon, with all its listeners.
pub fn idle(plan: &Plan) -> Vec<(String, f64)> {
    let time = std::time::Duration::from_secs(plan.idle);
    let daemon = {
        let daemon = far_ends::daemon::Daemon::start();
        std::thread::sleep(std::time::Duration::from_secs(1));
        let before = daemon.cpu();
        std::thread::sleep(time);
        (daemon.cpu() - before).as_secs_f64() / time.as_secs_f64()
    };
    let others = [Relay::Rtpengine, Relay::Asterisk];
    let others = others.map(|relay| (relay.name(), crate::measure::idle(relay, time)));
    [("wabridge, the whole daemon".to_owned(), daemon)]
        .into_iter()
        .chain(others)
        .collect()
}
