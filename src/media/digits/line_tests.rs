//! What is dialled on one side of a bad network, and what arrives on the other.

use std::time::{Duration, Instant};

use super::{Clocks, Key, Press, Reader, Stroke, Writer};
use crate::media::rtp::{Header, Seq, Ssrc, Timestamp};

/// A packet under way: when it arrives.
type UnderWay = (Instant, Header, [u8; 4]);

/// Numbers that look like chance and are the same each time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// A network: packets in a hundred that it loses, and by how much it delays them.
struct Network {
    chance: Chance,
    loss: u64,
    jitter_ms: u64,
}

impl Network {
    fn carry(&mut self, now: Instant, header: Header, payload: [u8; 4]) -> Option<UnderWay> {
        let delay = Duration::from_millis(self.chance.below(self.jitter_ms + 1));
        (self.chance.below(100) >= self.loss).then_some((now + delay, header, payload))
    }
}

fn clocks(timestamps: u32, events: u32) -> Clocks {
    Clocks { timestamps, events }
}

/// Dials on one clock, carries it over the network to a bridge that writes it anew on another clock, and over the network
/// again. Gives back what the far end reads.
fn dialled(
    digits: &str,
    held_ms: u64,
    gap_ms: u64,
    near: Clocks,
    far: Clocks,
    network: &mut Network,
) -> String {
    let start = Instant::now();
    let mut from = Writer::new(near);
    let (mut bridge, mut to, mut end) = (Reader::new(), Writer::new(far), Reader::new());
    let (mut wire, mut onward): (Vec<UnderWay>, Vec<UnderWay>) = (Vec::new(), Vec::new());
    let (mut seq, mut onward_seq) = (0u16, 0u16);
    let mut text = String::new();
    let header = |packet: &super::Packet, seq: &mut u16, ssrc| {
        *seq = seq.wrapping_add(1);
        Header {
            marker: packet.marker,
            payload_type: 101,
            seq: Seq(*seq),
            timestamp: packet.timestamp,
            ssrc: Ssrc(ssrc),
        }
    };
    let each = held_ms + gap_ms;
    let whole = digits.len() as u64 * each + 3_000;
    for ms in 0..whole {
        let now = start + Duration::from_millis(ms);
        if let Some(digit) = (ms % each == 0)
            .then(|| digits.chars().nth((ms / each) as usize))
            .flatten()
        {
            let key = Key::from_char(digit).unwrap();
            from.press(
                Press {
                    key,
                    duration: Duration::from_millis(held_ms),
                },
                now,
            );
        }
        let at = |clocks: Clocks| Timestamp((ms as u32).wrapping_mul(clocks.timestamps / 1_000));
        while let Some(packet) = from.next(at(near), now) {
            wire.extend(network.carry(now, header(&packet, &mut seq, 1), packet.payload));
        }
        for (_, header, payload) in wire.extract_if(.., |(at, ..)| *at <= now) {
            bridge
                .read(&header, &payload, near, now)
                .for_each(|s| pass_on(s, &mut to, now));
        }
        bridge
            .tick(now)
            .into_iter()
            .for_each(|s| pass_on(s, &mut to, now));
        while let Some(packet) = to.next(at(far), now) {
            onward.extend(network.carry(now, header(&packet, &mut onward_seq, 2), packet.payload));
        }
        let mut heard = |stroke| {
            if let Stroke::Up(press) = stroke {
                text.push_str(&press.key.to_string())
            }
        };
        for (_, header, payload) in onward.extract_if(.., |(at, ..)| *at <= now) {
            end.read(&header, &payload, far, now).for_each(&mut heard);
        }
        end.tick(now).into_iter().for_each(&mut heard);
    }
    text
}

fn pass_on(stroke: Stroke, to: &mut Writer, now: Instant) {
    match stroke {
        Stroke::Down(key) => assert!(to.down(key, now)),
        Stroke::Up(press) => to.up(press.duration),
    }
}

const DIGITS: &str = "0123456789*#ABCD11112233445566778899**##";

#[test]
fn digits_cross_the_bridge_once_and_in_order_at_all_speeds_under_loss_and_jitter() {
    for (seed, held, gap) in [
        (1, 40, 40),
        (2, 50, 45),
        (3, 70, 60),
        (4, 100, 100),
        (5, 250, 80),
    ] {
        for loss in [0, 1, 5] {
            let mut network = Network {
                chance: Chance(seed * 1_000 + loss),
                loss,
                jitter_ms: 15,
            };
            let (near, far) = (clocks(8_000, 8_000), clocks(48_000, 48_000));
            for (near, far) in [(near, far), (far, near), (clocks(48_000, 8_000), near)] {
                let heard = dialled(DIGITS, held, gap, near, far, &mut network);
                assert_eq!(
                    heard, DIGITS,
                    "{held} ms, gap {gap} ms, {loss} %, {near:?} to {far:?}"
                );
            }
        }
    }
}

#[test]
fn long_presses_are_one_digit_each_on_either_clock() {
    let mut network = Network {
        chance: Chance(7),
        loss: 5,
        jitter_ms: 20,
    };
    let (near, far) = (clocks(8_000, 8_000), clocks(48_000, 48_000));
    assert_eq!(dialled("1221", 9_000, 500, near, far, &mut network), "1221");
    assert_eq!(dialled("1221", 9_000, 500, far, near, &mut network), "1221");
}
