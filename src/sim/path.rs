//! A path that is slow and loses things: one direction of it, for STUN, DTLS and media alike.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Datagrams on the way; a path that long has lost the rest.
const MOST: usize = 10_000;

/// What a path is like, the same in each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// How long a datagram is on the way; a round trip takes twice this.
    pub delay: Duration,
    /// How many of a hundred datagrams are lost.
    pub loss: u8,
    /// Which ones: the same each time for the same seed.
    pub seed: u64,
}

/// One direction of one call's path. With nothing set everything comes out at once.
#[derive(Clone, Debug)]
pub struct Path {
    settings: Settings,
    /// State of SplitMix64 (Steele, Lea, Flood 2014): any value is good.
    random: u64,
    on_the_way: VecDeque<(Instant, SocketAddr, Vec<u8>)>,
}

impl Path {
    /// The path of the `nth` direction: each loses others.
    pub fn new(settings: Settings, nth: u64) -> Path {
        Path {
            settings,
            random: settings.seed ^ nth.wrapping_mul(0xd1b5_4a32_d192_ed03),
            on_the_way: VecDeque::new(),
        }
    }

    /// A datagram sets out, from or to `address`.
    pub fn push(&mut self, now: Instant, address: SocketAddr, datagram: Vec<u8>) {
        let lost = self.draw() % 100 < u64::from(self.settings.loss);
        if !lost && self.on_the_way.len() < MOST {
            self.on_the_way
                .push_back((now + self.settings.delay, address, datagram));
        }
    }

    /// The next datagram that has arrived, and when it did.
    pub fn pop(&mut self, now: Instant) -> Option<(Instant, SocketAddr, Vec<u8>)> {
        self.on_the_way.pop_front_if(|(at, ..)| *at <= now)
    }

    /// When [`Path::pop`] gives something next.
    pub fn deadline(&self) -> Option<Instant> {
        self.on_the_way.front().map(|(at, ..)| *at)
    }

    fn draw(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
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
}
