//! A process under measurement, as the kernel sees it.

use std::fs;
use std::process::Child;
use std::time::Duration;

/// Ends with this value.
pub struct Process {
    child: Child,
}

/// What the kernel says of a process's memory, in kB.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Pages in memory: `VmRSS`.
    pub resident: i64,
    /// Those of them that no file stands behind, which is what calls cost: `RssAnon`.
    pub anonymous: i64,
}

impl Process {
    /// One that was started.
    pub fn of(child: Child) -> Process {
        Process { child }
    }

    /// By which the system knows it.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// How much memory it has now.
    pub fn memory(&self) -> Memory {
        let status = self.proc("status");
        let kilobytes = |key: &str| -> i64 {
            let line = status.lines().find_map(|line| line.strip_prefix(key));
            let value = line.and_then(|line| line.split_ascii_whitespace().next());
            value
                .and_then(|value| value.parse().ok())
                .expect("Linux tells it")
        };
        Memory {
            resident: kilobytes("VmRSS:"),
            anonymous: kilobytes("RssAnon:"),
        }
    }

    /// How long the threads that it has now have been on a processor, to the nanosecond.
    pub fn cpu_of_threads(&self) -> Duration {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("it runs");
        let on_cpu = |task: fs::DirEntry| -> u64 {
            let stat = fs::read_to_string(task.path().join("schedstat")).unwrap_or_default();
            let nanoseconds = stat.split_ascii_whitespace().next();
            nanoseconds.and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        Duration::from_nanos(tasks.flatten().map(on_cpu).sum())
    }

    /// How long it has been on a processor, threads that have ended included (Asterisk has one for each call): exact, but
    /// told in hundredths of a second.
    pub fn cpu(&self) -> Duration {
        cpu_in(&self.proc("stat"))
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).expect("it runs")
    }
}

/// The same of the bench itself.
pub fn own_cpu() -> Duration {
    cpu_in(&fs::read_to_string("/proc/self/stat").expect("Linux"))
}

/// `utime` and `stime`, the 14th and 15th field; the second one is a name in parentheses.
fn cpu_in(stat: &str) -> Duration {
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    let ticks = fields.split_ascii_whitespace().skip(11).take(2);
    let ticks: u64 = ticks.map(|n| n.parse::<u64>().expect("a number")).sum();
    Duration::from_millis(10 * ticks)
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
