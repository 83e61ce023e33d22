//! A path that is slow, uneven and loses things: one direction of it, for STUN, DTLS and media alike.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Datagrams on the way; a path that long has lost the rest.
const MOST: usize = 10_000;

/// What a path is like, the same in each direction unless it says otherwise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How long a datagram is on the way at least; a round trip takes twice this.
    pub delay: Duration,
    /// By how much more one may be on the way than another: any time up to this is as likely as any other.
    pub jitter: Duration,
    /// Whether a datagram may overtake those before it; otherwise it waits for them.
    pub reorder: bool,
    /// How many of a hundred datagrams are lost.
    pub loss: u8,
    /// How many are lost in a row on average; up to 1, each is lost or not whatever became of the one before.
    pub burst: u8,
    /// By how many parts of a million the far end's own clock is fast: its voice comes so much more often.
    pub drift_ppm: i32,
    /// Which ones are lost or late: the same each time for the same seed.
    pub seed: u64,
    /// Whether what comes from the bridge is spared all of it.
    pub outward_only: bool,
}

impl Settings {
    /// For what comes from the bridge.
    pub fn inward(self) -> Settings {
        match self.outward_only {
            true => Settings::default(),
            false => self,
        }
    }
}

/// One direction of one call's path. With nothing set everything comes out at once.
#[derive(Clone, Debug)]
pub struct Path {
    settings: Settings,
    /// State of SplitMix64 (Steele, Lea, Flood 2014): any value is good.
    random: u64,
    /// Whether a burst of losses is under way: the bad state of Gilbert's model (1960).
    is_bad: bool,
    /// In the order in which they arrive.
    on_the_way: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
}

impl Path {
    /// The path of the `nth` direction: each loses others.
    pub fn new(settings: Settings, nth: u64) -> Path {
        Path {
            settings,
            random: settings.seed ^ nth.wrapping_mul(0xd1b5_4a32_d192_ed03),
            is_bad: false,
            on_the_way: VecDeque::new(),
        }
    }

    /// A datagram sets out, from or to `address`.
    pub fn push(&mut self, now: Instant, address: SocketAddr, datagram: Vec<u8>) {
        let lost = self.loses();
        let mut arrives = now + self.settings.delay + self.late();
        if lost || self.on_the_way.len() >= MOST {
            return;
        }
        if !self.settings.reorder
            && let Some((before, ..)) = self.on_the_way.back()
        {
            arrives = arrives.max(*before);
        }
        let place = self.on_the_way.partition_point(|(at, ..)| *at <= arrives);
        self.on_the_way.insert(place, (arrives, address, datagram));
    }

    /// The next datagram that has arrived, and when it did.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, SocketAddr, Vec<u8>)> {
        self.on_the_way.pop_front_if(|(at, ..)| *at <= now)
    }

    /// When [`Path::pop`] gives something next.
    pub fn deadline(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(at, ..)| *at)
    }

    fn loses(&mut self) -> bool {
        let Settings { loss, burst, .. } = self.settings;
        let drawn = self.draw();
        if burst <= 1 || loss >= 100 {
            return drawn % 100 < u64::from(loss);
        }
        // A burst ends with each datagram by 1 in `burst`; how often one must begin follows from the share of losses.
        let ends = 1.0 / f64::from(burst);
        let begins = ends * f64::from(loss) / f64::from(100 - loss);
        let changes = if self.is_bad { ends } else { begins };
        self.is_bad ^= share(drawn) < changes;
        self.is_bad
    }

    fn late(&mut self) -> Duration {
        match self.settings.jitter {
            Duration::ZERO => Duration::ZERO,
            most => most.mul_f64(share(self.draw())),
        }
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What was drawn, as a number from 0 up to 1.
fn share(drawn: u64) -> f64 {
    (drawn >> 11) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> SocketAddr {
        "127.0.0.1:1".parse().unwrap()
    }

    /// Which of a thousand datagrams get through.
    fn through(settings: Settings, nth: u64) -> Vec<u16> {
        let mut path = Path::new(settings, nth);
        let now = Instant::now();
        (0..1000u16).for_each(|n| path.push(now, here(), n.to_be_bytes().to_vec()));
        let all = std::iter::from_fn(|| path.pop(now));
        all.map(|(_, _, bytes)| u16::from_be_bytes([bytes[0], bytes[1]]))
            .collect()
    }

    #[test]
    fn a_clear_path_carries_everything_at_once_and_in_order() {
        let all: Vec<u16> = (0..1000).collect();
        assert_eq!(through(Settings::default(), 1), all);
    }

    #[test]
    fn the_same_share_is_lost_each_time_and_other_datagrams_in_the_other_direction() {
        let lossy = Settings {
            loss: 20,
            seed: 7,
            ..Settings::default()
        };
        let carried = through(lossy, 1);
        assert!((750..850).contains(&carried.len()), "{}", carried.len());
        assert_eq!(carried, through(lossy, 1));
        assert_ne!(carried, through(lossy, 2));
        let dead = Settings { loss: 100, ..lossy };
        assert!(through(dead, 1).is_empty());
    }

    #[test]
    fn what_is_on_the_way_arrives_after_the_delay() {
        let delay = Duration::from_millis(80);
        let slow = Settings {
            delay,
            ..Settings::default()
        };
        let mut path = Path::new(slow, 1);
        let start = Instant::now();
        path.push(start, here(), vec![1]);
        assert_eq!(path.deadline(), Some(start + delay));
        assert_eq!(path.pop(start + delay / 2), None);
        let late = start + 3 * delay;
        assert_eq!(path.pop(late), Some((start + delay, here(), vec![1])));
    }

    #[test]
    fn losses_in_bursts_are_as_many_and_come_in_a_row() {
        let bursty = Settings {
            loss: 10,
            burst: 5,
            seed: 3,
            ..Settings::default()
        };
        let mut path = Path::new(bursty, 1);
        let lost: Vec<bool> = (0..100_000).map(|_| path.loses()).collect();
        let losses = lost.iter().filter(|lost| **lost).count();
        let bursts = lost.windows(2).filter(|pair| !pair[0] && pair[1]).count();
        assert!((9_000..11_000).contains(&losses), "{losses}");
        let mean = losses as f64 / bursts as f64;
        assert!((4.5..5.5).contains(&mean), "{mean}");
        let dead = Settings {
            loss: 100,
            ..bursty
        };
        assert!(through(dead, 1).is_empty());
    }

    /// In which order a hundred datagrams arrive that are sent each 20 ms, and how long each was on the way.
    fn arrivals(settings: Settings) -> Vec<(u8, Duration)> {
        let mut path = Path::new(settings, 1);
        let start = Instant::now();
        let sent = |n: u8| start + Duration::from_millis(20) * n.into();
        (0..100).for_each(|n| path.push(sent(n), here(), vec![n]));
        let all = std::iter::from_fn(|| path.pop(start + Duration::from_secs(60)));
        all.map(|(at, _, bytes)| (bytes[0], at - sent(bytes[0])))
            .collect()
    }

    #[test]
    fn an_uneven_path_delays_within_its_bounds_and_overtakes_only_where_it_may() {
        let [delay, jitter] = [30, 80].map(Duration::from_millis);
        let uneven = Settings {
            delay,
            jitter,
            ..Settings::default()
        };
        for reorder in [false, true] {
            let arrived = arrivals(Settings { reorder, ..uneven });
            assert_eq!(arrived.len(), 100);
            let most = arrived.iter().map(|(_, took)| *took).max().unwrap();
            let least = arrived.iter().map(|(_, took)| *took).min().unwrap();
            assert!(
                least >= delay && most <= delay + jitter,
                "{least:?}, {most:?}"
            );
            assert!(most - least > jitter / 2, "{least:?}, {most:?}");
            let in_order = arrived.is_sorted_by_key(|(n, _)| *n);
            assert_eq!(in_order, !reorder);
        }
    }
}
