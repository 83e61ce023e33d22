//! The highest rate of calls that a program carries: 99.9 % of them complete, and one in a hundred takes a second at most.

use std::time::Duration;

use super::load::carry;
use super::subject::Subject;

/// How much faster each step of the search is.
const STEP: f64 = 1.15;
/// Where nothing is known yet: calls a second that any program carries.
const EASY: f64 = 25.0;

/// Looks for it, with loads of this length, each on a program of its own: one that was overloaded may be late for long.
/// `near` is where it was found before.
pub fn find(subject: Subject, near: Option<f64>, time: Duration) -> f64 {
    // What it would carry with nothing lost to queues; the search begins a little below.
    let guess = || 0.8 * carry(&mut subject.start(), EASY, time).per_cpu_second();
    let mut rate = near.unwrap_or_else(guess);
    let mut fits = try_at(subject, rate, time);
    let first = fits;
    while fits == first {
        rate = if fits { rate * STEP } else { rate / STEP };
        fits = try_at(subject, rate, time);
    }
    // One is known to fit, and a step faster not to; half of that step is near enough.
    let fitting = if fits { rate } else { rate / STEP };
    let between = fitting * STEP.sqrt();
    match try_at(subject, between, time) {
        true => between,
        false => fitting,
    }
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
