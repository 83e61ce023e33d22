//! Signalling, overload and memory side by side: wabridge and Asterisk 22 as B2BUA on the same calls.
//!
//!     cargo bench --bench compare_calls [-- rate | overload | memory | scale | all] [--quick]
//!
//! The far ends are one thread on one processor, the program under test has another. Raw data goes to target/compare.
//! Docs: docs/performance.md. Nothing here passes or fails by time.

mod asterisk;
mod caller;
// Each bench uses its own part of them.
#[allow(dead_code)]
#[path = "../../far_ends/mod.rs"]
mod far_ends;
mod form;
mod limit;
mod load;
mod memory;
mod meta;
mod overload;
mod pbx;
mod rate;
mod report;
mod scale;
mod subject;
mod tally;
mod voices;
mod wire;
mod world;

use std::collections::BTreeMap;
use std::process::Command;
use std::time::Duration;

/// How thoroughly to measure.
#[derive(Clone, Copy)]
pub struct Scale {
    /// Only to see whether it works, and roughly what comes of it.
    quick: bool,
}

impl Scale {
    /// Times that each thing is measured.
    fn rounds(self) -> usize {
        if self.quick { 1 } else { 3 }
    }

    /// How long calls are offered at a rate. In a shorter time a program can be a second late at the end of it, and so seem
    /// to carry more than it does.
    fn load(self) -> Duration {
        Duration::from_secs(if self.quick { 4 } else { 15 })
    }

    /// How long more of them are than fit: longer than callers have patience, or all of them would be served, late.
    fn storm(self) -> Duration {
        Duration::from_secs(if self.quick { 8 } else { 15 })
    }
}

fn main() {
    println!("{}\n", far_ends::describe_machine());
    let mut parts: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let quick = parts.iter().any(|part| part == "--quick");
    parts.retain(|part| part != "--quick" && part != "all");
    let wants = |part: &str| parts.is_empty() || parts.iter().any(|one| one == part);
    let scale = Scale { quick };
    leave_the_programs_their_core();
    let mut limits = BTreeMap::new();
    if wants("rate") {
        limits = rate::run(scale);
    }
    if wants("overload") {
        overload::run(scale, &limits);
    }
    if wants("memory") {
        memory::run(scale);
    }
    if wants("scale") {
        scale::run(scale);
    }
}

/// From here on this process has the processor beside that of the program under test.
fn leave_the_programs_their_core() {
    let (core, own) = ((subject::CORE + 1).to_string(), std::process::id());
    let pinned = Command::new("taskset")
        .args(["-pc", &core, &own.to_string()])
        .output();
    if !pinned.is_ok_and(|output| output.status.success()) {
        println!("there is no second processor for the far ends: times say little\n");
    }
}
