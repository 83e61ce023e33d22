//! More calls than fit: what completes, how soon the rest is told, whether calls that were up suffer, and what is left of it
//! afterwards.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Scale;
use super::limit;
use super::load::HOLD;
use super::report::Csv;
use super::subject::{Subject, Trial};
use super::tally::{Tally, milliseconds};
use super::voices::{Heard, Voices};
use super::world::Offer;

/// Offered, as multiples of the limit.
const FACTORS: [f64; 8] = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 3.0];
/// The same, to see only whether it works.
const FEW_FACTORS: [f64; 3] = [0.5, 1.0, 2.0];
/// Calls that are up before, and are to stay good.
const KEPT: usize = 50;
/// Calls of a burst.
const BURST: u64 = 500;
/// After the storm, before callers are asked again.
const REST: Duration = Duration::from_secs(5);

const COLUMNS: &str = "program,limit_per_s,factor,offered_per_s,offered,completed,completed_per_s,busy_503,busy_p50_ms,\
     busy_p99_ms,refused_otherwise,timed_out,broken,setup_p50_ms,setup_p99_ms,cpu_s,seconds,kept,kept_lost_before,\
     kept_p99_before_ms,kept_lost,kept_p50_ms,kept_p99_ms,after_completed_share,after_p50_ms,after_p99_ms,latest_start_ms";

/// Measures and prints; `limits` are those that were found already.
pub fn run(scale: Scale, limits: &BTreeMap<Subject, f64>) {
    let mut csv = Csv::new("overload.csv", COLUMNS);
    for subject in Subject::all() {
        let limit = limits.get(&subject).copied();
        let limit = limit.unwrap_or_else(|| limit::find(subject, None, scale.load()));
        println!(
            "{subject}: offered for {} s, as multiples of its limit of {limit:.0} calls/s; times in ms",
            scale.storm().as_secs()
        );
        println!(
            "{:>6} {:>10} {:>12} {:>8} {:>14} {:>9} {:>8} {:>16} {:>26} {:>20}",
            "×",
            "offered/s",
            "completed/s",
            "503/s",
            "503: p50, p99",
            "late",
            "else",
            "set-up p50, p99",
            "50 kept: lost %, p50, p99",
            "5 s after: p50, p99"
        );
        let factors = if scale.quick {
            &FEW_FACTORS[..]
        } else {
            &FACTORS
        };
        for factor in factors {
            storm(subject, limit, *factor, scale, &mut csv);
        }
        burst(subject);
    }
}

fn storm(subject: Subject, limit: f64, factor: f64, scale: Scale, csv: &mut Csv) {
    let mut trial = subject.start();
    assert!(trial.world.keep(KEPT, 20.0), "50 calls come up");
    let voices = Voices::of(&trial.world).expect("sockets");
    let (voices, before) = heard_while(&mut trial, voices, |trial| {
        trial.world.rest(Duration::from_secs(2));
    });
    let cpu = trial.process().cpu();
    let mut load = 0;
    let (_, during) = heard_while(&mut trial, voices, |trial| {
        let offer = Offer::of(factor * limit, scale.storm(), HOLD);
        load = trial.world.offer(offer);
    });
    let cpu = trial.process().cpu() - cpu;
    trial.world.rest(REST);
    let after = Offer::of(0.1 * limit, Duration::from_secs(3), HOLD);
    let after = trial.world.offer_and_settle(after);
    let (after_share, after_p50, after_p99) = (after.share(), after.setup.p50(), after.setup.p99());
    let kept = trial.world.kept().len();
    let tally = trial.world.settled(load);
    let seconds = scale.storm().as_secs_f64();
    print(factor, tally, &during, seconds, [after_p50, after_p99]);
    if kept < KEPT {
        println!(
            "       {} of the {KEPT} were ended by {subject}",
            KEPT - kept
        );
    }
    csv.row(&[
        &subject,
        &limit,
        &factor,
        &(factor * limit),
        &tally.offered,
        &tally.completed,
        &(tally.completed as f64 / seconds),
        &tally.busy(),
        &tally.refusal.p50(),
        &tally.refusal.p99(),
        &tally.refused_otherwise(),
        &tally.timed_out,
        &tally.broken,
        &tally.setup.p50(),
        &tally.setup.p99(),
        &cpu.as_secs_f64(),
        &seconds,
        &kept,
        &before.lost(),
        &before.delays.p99(),
        &during.lost(),
        &during.delays.p50(),
        &during.delays.p99(),
        &after_share,
        &after_p50,
        &after_p99,
        &milliseconds(tally.late),
    ]);
}

/// What the calls that are kept heard while something else was done.
fn heard_while(
    trial: &mut Trial,
    voices: Voices,
    what: impl FnOnce(&mut Trial),
) -> (Voices, Heard) {
    let conversation = voices.converse();
    what(trial);
    conversation.stop()
}

fn print(factor: f64, tally: &Tally, kept: &Heard, seconds: f64, after: [f64; 2]) {
    println!(
        "{factor:>6} {:>10.0} {:>12.0} {:>8.0} {:>14} {:>9} {:>8} {:>16} {:>26} {:>20}",
        tally.offered as f64 / seconds,
        tally.completed as f64 / seconds,
        tally.busy() as f64 / seconds,
        pair([tally.refusal.p50(), tally.refusal.p99()]),
        tally.timed_out,
        tally.refused_otherwise() + tally.broken,
        pair([tally.setup.p50(), tally.setup.p99()]),
        format!(
            "{:.3}, {}",
            100.0 * kept.lost(),
            pair([kept.delays.p50(), kept.delays.p99()])
        ),
        pair(after),
    );
}

fn pair([one, other]: [f64; 2]) -> String {
    format!("{one:.1}, {other:.1}")
}

/// So many at once on a program that has nothing else to do.
fn burst(subject: Subject) {
    let mut trial = subject.start();
    let tally = trial.world.offer_and_settle(Offer {
        rate: f64::INFINITY,
        calls: BURST,
        hold: Some(HOLD),
    });
    println!(
        "{BURST} at once: {} completed, {} refused with 503, {} otherwise, {} not answered in time; set-up p50 {:.0}, p99 {:.0}, most {:.0}\n",
        tally.completed,
        tally.busy(),
        tally.refused_otherwise() + tally.broken,
        tally.timed_out,
        tally.setup.p50(),
        tally.setup.p99(),
        tally.setup.permille(1_000),
    );
}
