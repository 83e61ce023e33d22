//! Whether a call costs the same however many are up, and what the daemon costs when nobody calls.

use std::time::{Duration, Instant};

use super::Scale;
use super::load::carry;
use super::report::Csv;
use super::subject::{Subject, Trial};

/// Calls up; the last step is as many as the limit of open files allows.
const STEPS: [usize; 3] = [0, 10, 1_000];
/// Most of them.
const MOST: usize = 10_000;
/// Sockets of a call: one towards Meta, RTP and RTCP towards the PBX.
const SOCKETS: usize = 3;
/// Calls beyond those that are up, and files that are no sockets of calls.
const ROOM: usize = 500;
/// New calls a second while those are up.
const RATE: f64 = 200.0;
/// Calls come up and end at this rate.
const RAISING: f64 = 300.0;
/// How long nothing is done to see what that costs.
const IDLE: Duration = Duration::from_secs(20);

/// Measures and prints.
pub fn run(scale: Scale) {
    let most = most();
    let mut trial = Subject::Ours.start_for((most + ROOM) as u32);
    let mut csv = Csv::new(
        "scale.csv",
        "calls_up,idle_cores,offered_per_s,completed,cpu_us_per_call,setup_p50_ms,setup_p99_ms",
    );
    println!("wabridge with calls up that carry no media, {RATE} more a second");
    if most < MOST {
        println!("{most} at most: the system allows too few open files for more (ulimit -Hn)");
    }
    println!(
        "{:>10} {:>18} {:>22} {:>18} {:>12}",
        "calls up", "idle, % of a core", "CPU, whole call, µs", "set-up p50, ms", "p99, ms"
    );
    for calls in STEPS.into_iter().chain([most]) {
        if !trial.world.keep(calls, RAISING) {
            println!("only {} came up", trial.world.kept().len());
        }
        measure(&mut trial, scale, &mut csv);
    }
    println!();
}

/// How many calls can be up here.
fn most() -> usize {
    let files = rlimit::Resource::NOFILE.get_hard().unwrap_or(1_024) as usize;
    MOST.min((files.saturating_sub(2 * ROOM) / SOCKETS).saturating_sub(ROOM) / 500 * 500)
}

fn measure(trial: &mut Trial, scale: Scale, csv: &mut Csv) {
    let idle = idle(trial);
    let began = Instant::now();
    let carried = carry(trial, RATE, scale.load());
    carried.complain_unless_all_went_well();
    let elapsed = began.elapsed().as_secs_f64();
    // What calls that are up cost by themselves is not a new call's.
    let own = carried.cpu.as_secs_f64() - idle * elapsed;
    let (tally, each) = (carried.tally, own / carried.tally.completed as f64 * 1e6);
    let (completed, p50, p99) = (tally.completed, tally.setup.p50(), tally.setup.p99());
    let up = trial.world.kept().len();
    println!(
        "{up:>10} {:>18.2} {each:>22.0} {p50:>18.2} {p99:>12.2}",
        100.0 * idle
    );
    csv.row(&[&up, &idle, &RATE, &completed, &each, &p50, &p99]);
}

/// How much of a processor it uses with nothing new to do.
fn idle(trial: &mut Trial) -> f64 {
    trial.world.rest(Duration::from_secs(2));
    let (cpu, began) = (trial.process().cpu_of_threads(), Instant::now());
    trial.world.rest(IDLE);
    (trial.process().cpu_of_threads() - cpu).as_secs_f64() / began.elapsed().as_secs_f64()
}
