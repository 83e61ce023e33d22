//! The bridge's own time to answer an authenticated INVITE of Meta: in the machine alone, and through the daemon.
//!
//!     cargo bench --bench setup [-- machine | daemon | storm [calls a second …]]
//!
//! Docs: docs/performance.md. Nothing here passes or fails by time.

// Each bench uses its own part of them.
#[allow(dead_code)]
#[path = "../far_ends/mod.rs"]
mod far_ends;
mod machine;
mod storm;
mod times;
mod whole;

fn main() {
    println!("{}\n", far_ends::describe_machine());
    if far_ends::wants("machine") {
        machine::run();
    }
    if far_ends::wants("daemon") {
        whole::run();
    }
    if far_ends::wants("storm") {
        storm::run();
    }
}
