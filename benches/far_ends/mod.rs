//! What the benches bring along: the daemon as a process of its own, and a Meta and a PBX beside it that answer at once
//! and take no time that is counted.

pub mod daemon;
pub mod ends;
pub mod media;
pub mod messages;
pub mod process;

use std::fs;

/// Whether a part of a bench is asked for: by its name on the command line, or by naming none.
pub fn wants(part: &str) -> bool {
    let mut named = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .peekable();
    named.peek().is_none() || named.any(|one| one == part)
}

/// On what the figures that follow were measured.
pub fn describe_machine() -> String {
    let read = |file: &str| fs::read_to_string(file).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let model = cpus
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown processor", |model| {
            model.trim_start_matches(['\t', ' ', ':'])
        });
    let cores = std::thread::available_parallelism().map_or(1, |n| n.get());
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    let load: Vec<&str> = load.split(' ').take(2).collect();
    format!(
        "{cores} × {model}, Linux {}, load average before: {} (1 min), {} (5 min)",
        kernel.trim(),
        load.first().unwrap_or(&"?"),
        load.get(1).unwrap_or(&"?"),
    )
}
