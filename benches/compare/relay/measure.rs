//! One measurement: a relay with so many calls, what it cost, what came out of it and how late.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use crate::generator::{self, Ends, Heard, Moment, SLOTS};
use crate::judge::{self, Came};
use crate::process::CORES;
use crate::speech::Speech;
use crate::under_test::{Place, Relay};

/// Packets may be lost, one in so many, and a relay still carries its calls.
const LOSS: f64 = 1e-4;
/// And nine in ten packets may come so late.
const P90: Duration = Duration::from_millis(20);
/// A slot that begins later than this makes one burst of several.
const LATE: Duration = Duration::from_millis(1);
/// More such slots than this share, and it was the generator that was measured.
const LATE_SHARE: f64 = 0.01;

/// What is measured, and for how long.
#[derive(Clone, Copy)]
pub struct Case {
    /// The relay.
    pub relay: Relay,
    /// Its threads for packets.
    pub workers: u16,
    /// Its calls.
    pub calls: usize,
    /// Packets each way in each call that do not count, and that do.
    pub packets: [u32; 2],
}

/// What came of it.
pub struct Measured {
    /// What was measured.
    pub case: Case,
    /// Packets sent to it.
    pub sent: u64,
    /// Packets that came out of it.
    pub carried: u64,
    /// Time on a processor of all its threads.
    pub cpu: Duration,
    /// Share of its cores that others used: other programs, and the kernel for nobody. Where the generator is on one of them,
    /// that is in it.
    pub others: f64,
    /// Share of the generator's slots that were late.
    pub late: f64,
    /// Delays to Meta, to the PBX and of all packets, each sorted.
    pub delays: [Vec<Duration>; 3],
    /// Why it is none.
    pub void: Option<String>,
}

impl Measured {
    /// Share of packets that did not come out.
    pub fn loss(&self) -> f64 {
        1.0 - self.carried as f64 / self.sent as f64
    }

    /// Seconds on a processor for a million packets.
    pub fn cpu_for_million(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.carried as f64
    }

    /// A quantile of the delays to Meta (0), to the PBX (1) or of all packets (2).
    pub fn delay(&self, which: usize, quantile: f64) -> Duration {
        let all = &self.delays[which];
        let at = (all.len() as f64 * quantile) as usize;
        all.get(at.min(all.len().saturating_sub(1)))
            .copied()
            .unwrap_or_default()
    }

    /// Whether it carries so many calls.
    pub fn fits(&self) -> bool {
        self.loss() <= LOSS && self.delay(2, 0.9) <= P90
    }
}

/// Measures once.
pub fn measure(case: Case) -> Measured {
    let place = Place::new();
    let ends = Ends::new(&place).expect("the addresses are ours alone");
    let cores = match case.workers {
        1 => CORES[1].to_owned(),
        _ => CORES.join(","),
    };
    let [warm, counted] = case.packets;
    let under_test = case.relay.start(&cores, case.workers, &place, case.calls);
    let mut speech = Speech::new(warm + counted, &under_test.calls);
    // What it has been told is done before anything is counted.
    sleep(Duration::from_millis(300));
    let (mut cpu, mut busy) = ([Duration::ZERO; 3], [(0, 0); 2]);
    let tell = |moment| match moment {
        Moment::Begin => (cpu[0], busy[0]) = (under_test.process.on_cpu(), in_use(&cores)),
        Moment::End => (cpu[1], busy[1]) = (under_test.process.on_cpu(), in_use(&cores)),
        Moment::Quiet => cpu[2] = under_test.process.on_cpu(),
    };
    let heard = generator::run(
        &ends,
        &under_test.calls,
        &place,
        &mut speech,
        case.packets,
        tell,
    );
    let dropped = dropped(&place);
    let calls = under_test.calls.clone();
    drop((under_test, ends));
    let came = judge::judge(&heard, &calls, warm);
    // In ticks of 10 ms, as /proc/stat has them.
    let [used, of] = [busy[1].0 - busy[0].0, busy[1].1 - busy[0].1].map(|ticks| ticks as f64);
    let own = (cpu[1] - cpu[0]).as_secs_f64() * 100.0;
    let late = late(&heard, warm);
    Measured {
        case,
        sent: 2 * case.calls as u64 * u64::from(counted),
        carried: came.delays[2].len() as u64,
        cpu: cpu[2] - cpu[0],
        others: ((used - own) / of).max(0.0),
        late,
        void: why_void(&came, late, dropped),
        delays: came.delays,
    }
}

/// The share of a core that a relay uses while it has no calls.
pub fn idle(relay: Relay, time: Duration) -> f64 {
    let place = Place::new();
    let under_test = relay.start(CORES[1], 1, &place, 0);
    sleep(Duration::from_secs(1));
    let before = under_test.process.on_cpu();
    sleep(time);
    (under_test.process.on_cpu() - before).as_secs_f64() / time.as_secs_f64()
}

fn why_void(came: &Came, late: f64, dropped: u64) -> Option<String> {
    if let Some(wrong) = &came.wrong {
        return Some(format!("{} wrong packets: one {wrong}", came.wrongs));
    }
    if dropped > 0 {
        return Some(format!("the generator lost {dropped} packets"));
    }
    let percent = late * 100.0;
    (late > LATE_SHARE).then(|| format!("the generator was late in {percent:.1} % of its slots"))
}

fn late(heard: &Heard, warm: u32) -> f64 {
    let counted = &heard.late[warm as usize * SLOTS..];
    let late = counted.iter().filter(|late| **late > LATE).count();
    late as f64 / counted.len() as f64
}

/// Ticks that these cores were in use, and all their ticks.
fn in_use(cores: &str) -> (u64, u64) {
    let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
    let mut sum = (0, 0);
    for core in cores.split(',') {
        let prefix = format!("cpu{core} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&prefix));
        let ticks = line.unwrap_or_default().split_ascii_whitespace();
        // user nice system idle iowait irq softirq steal; what guests use is in user as well.
        let ticks: Vec<u64> = ticks.take(8).filter_map(|tick| tick.parse().ok()).collect();
        let all: u64 = ticks.iter().sum();
        let idle: u64 = ticks.iter().skip(3).take(2).sum();
        sum = (sum.0 + all - idle, sum.1 + all);
    }
    sum
}

/// Datagrams that the far ends' sockets had no room for.
fn dropped(place: &Place) -> u64 {
    let table = fs::read_to_string("/proc/net/udp").unwrap_or_default();
    let here = place.ends.map(|end| match end.ip() {
        std::net::IpAddr::V4(ip) => {
            format!("{:08X}:{:04X}", u32::from(ip).swap_bytes(), end.port())
        }
        std::net::IpAddr::V6(_) => String::new(),
    });
    let ours = table
        .lines()
        .filter(|line| here.iter().any(|here| line.contains(here)));
    let drops = ours.filter_map(|line| line.split_ascii_whitespace().last()?.parse::<u64>().ok());
    drops.sum()
}
