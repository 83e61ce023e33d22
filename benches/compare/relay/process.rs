//! A program under test: a process of its own on a core of its own, and what it has cost the processor.

use std::fs;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The core of the generator, and the one of what is under test.
pub const CORES: [&str; 2] = ["0", "1"];

/// A running program; ends with this value.
pub struct Process(pub Child);

impl Process {
    /// Starts `program` with these arguments on these cores, as taskset names them. What it complains of is in `log`.
    pub fn start(
        cores: &str,
        program: &Path,
        arguments: &[String],
        log: &Path,
    ) -> io::Result<Process> {
        let log = fs::File::create(log)?;
        // Before all else of its core where that is allowed, as the generator is of its own. Each of these becomes the next, and
        // so do the shells before some programs.
        let mut command = Command::new("taskset");
        command
            .args(["-c", cores, "nice", "-n", "-19"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log);
        Ok(Process(command.spawn()?))
    }

    /// How long it and what it has started have been on a processor.
    pub fn on_cpu(&self) -> Duration {
        Duration::from_nanos(nanoseconds(self.0.id()))
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.0.try_wait(), Ok(None))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn nanoseconds(process: u32) -> u64 {
    let Ok(tasks) = fs::read_dir(format!("/proc/{process}/task")) else {
        return 0;
    };
    let of_task = |task: fs::DirEntry| {
        let read = |file: &str| fs::read_to_string(task.path().join(file)).unwrap_or_default();
        let stat = read("schedstat");
        let own: u64 = first_number(&stat);
        let children = read("children");
        let children = children
            .split_ascii_whitespace()
            .filter_map(|child| child.parse().ok());
        own + children.map(nanoseconds).sum::<u64>()
    };
    tasks.flatten().map(of_task).sum()
}

fn first_number(text: &str) -> u64 {
    let word = text.split_ascii_whitespace().next();
    word.and_then(|word| word.parse().ok()).unwrap_or(0)
}
