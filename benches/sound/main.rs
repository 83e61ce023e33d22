//! What transcoding costs: processor time for a call at different complexities of Opus, delay that the bridge adds, and
//! memory.
//!
//!     cargo bench --bench sound [-- cost | delay | through | memory]
//!
//! Docs: docs/performance.md. Nothing here passes or fails by time.

mod cost;
mod delay;
// Each bench uses its own part of them.
#[allow(dead_code)]
#[path = "../far_ends/mod.rs"]
mod far_ends;
mod memory;
mod speech;
mod through;

fn main() {
    println!("{}\n", far_ends::describe_machine());
    if far_ends::wants("cost") {
        cost::run();
    }
    if far_ends::wants("delay") {
        delay::run();
    }
    if far_ends::wants("through") {
        through::run();
    }
    if far_ends::wants("memory") {
        memory::run();
    }
}

/// The value that so many of a hundred do not exceed.
fn percentile(sorted: &[f64], percent: usize) -> f64 {
    sorted[(sorted.len() - 1) * percent / 100]
}
