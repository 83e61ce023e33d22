//! The highest rate of calls that a program carries: 99.9 % of them complete, and one in a hundred takes a second at most.

use std::time::Duration;

use super::load::carry;
use super::subject::Subject;

/// How much faster each step of the search is.
const STEP: f64 = 1.5;
/// How often the last step is halved: 5 % of the limit are left then.
const HALVES: u32 = 3;
/// Where nothing is known yet: calls a second that any program carries.
const EASY: f64 = 50.0;

/// Looks for it, with loads of this length, each on a program of its own: one that was overloaded may be late for long.
/// `near` is where it was found before.
pub fn find(subject: Subject, near: Option<f64>, time: Duration) -> f64 {
    // A call costs less where there are more of them, so that this is a little below.
    let guess = || carry(&mut subject.start(), EASY, time).per_cpu_second();
    let mut rate = near.unwrap_or_else(guess);
    let first = try_at(subject, rate, time);
    let mut fits = first;
    while fits == first {
        rate = if fits { rate * STEP } else { rate / STEP };
        fits = try_at(subject, rate, time);
    }
    // One is known to fit, and a step faster not to.
    let mut fitting = if fits { rate } else { rate / STEP };
    for half in 1..=HALVES {
        let faster = fitting * STEP.powf(0.5_f64.powi(half as i32));
        if try_at(subject, faster, time) {
            fitting = faster;
        }
    }
    fitting
}

/// Whether the program carries this rate.
fn try_at(subject: Subject, rate: f64, time: Duration) -> bool {
    let mut trial = subject.start();
    let carried = carry(&mut trial, rate, time);
    println!(
        "    {subject:>10} {rate:>7.0}/s: {:.2} % completed, set-up p99 {:.1} ms, CPU {:.2}, generator {:.0} % busy{}",
        100.0 * carried.tally.share(),
        carried.tally.setup.p99(),
        carried.cpu.as_secs_f64() / time.as_secs_f64(),
        100.0 * carried.generator,
        if carried.is_void() {
            " (its limit)"
        } else {
            ""
        },
    );
    carried.fits()
}
