//! The `wabridge` program: arguments in, exit code out.

fn main() {}
