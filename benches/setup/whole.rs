//! The whole daemon, over TLS and UDP on loopback, media sockets and threads included.

use std::time::Duration;

use crate::far_ends::daemon::Daemon;
use crate::far_ends::ends::FarEnds;
use crate::times::{Times, us};

/// Calls measured at each load, after as many tenths unmeasured.
const CALLS: usize = 1_000;

/// Measures and prints.
pub fn run() {
    println!(
        "Through the daemon over TLS and UDP on loopback, {CALLS} calls one after another, in µs"
    );
    println!(
        "{:>10} {:>24} {:>20} {:>8} {:>8} {:>8} {:>8} {:>16}",
        "calls up",
        "INVITE → PBX's INVITE",
        "200 → Meta's 200",
        "sum",
        "p90",
        "p99",
        "most",
        "CPU, whole call"
    );
    let daemon = Daemon::start();
    let mut ends = FarEnds::of(&daemon);
    let mut up = Vec::new();
    for load in [0, 100, 1_000] {
        while up.len() < load {
            up.push(ends.call().0);
        }
        for _ in 0..CALLS / 10 {
            let (call, _) = ends.call();
            ends.hang_up(&call);
        }
        measure(&daemon, &mut ends, load);
    }
}

fn measure(daemon: &Daemon, ends: &mut FarEnds, load: usize) {
    let mut times = [Times::default(), Times::default(), Times::default()];
    let before = daemon.cpu();
    for _ in 0..CALLS {
        let (call, took) = ends.call();
        for (times, time) in
            times
                .iter_mut()
                .zip([took.invite, took.answer, took.invite + took.answer])
        {
            times.add(time);
        }
        ends.hang_up(&call);
    }
    let cpu: Duration = (daemon.cpu() - before) / CALLS as u32;
    let [invite, answer, sum] = times;
    println!(
        "{load:>10} {:>24.0} {:>20.0} {:>8.0} {:>8.0} {:>8.0} {:>8.0} {:>16.0}",
        us(invite.median()),
        us(answer.median()),
        us(sum.median()),
        us(sum.percentile(90)),
        us(sum.percentile(99)),
        us(sum.percentile(100)),
        us(cpu),
    );
}
