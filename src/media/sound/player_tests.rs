//! The player in virtual time: a source, a way, our clock, and what is heard.

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::player::{Played, Player, Settings, Stats};
use super::{Decode, Unreadable};
use crate::media::rtp::{Seq, Timestamp};

const RATE: u32 = 8_000;

/// A codec that is plain samples. What is missing it makes up by going back and forth over the last 10 ms.
#[derive(Default)]
struct Plain {
    last: Vec<i16>,
    made: Option<usize>,
    repeats: bool,
}

impl Plain {
    fn made_up(&self, i: usize) -> i16 {
        let length = self.last.len().max(1);
        let (turn, at) = (i / length, i % length);
        let at = if turn % 2 == 0 { length - 1 - at } else { at };
        self.last.get(at).copied().unwrap_or(0)
    }
}

impl Decode for Plain {
    fn rate(&self) -> u32 {
        RATE
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        match payload.len() {
            0 => None,
            1 | 2 => Some(RATE as usize / 50),
            octets => Some(octets / 2),
        }
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable> {
        if payload == b"bad" {
            return Err(Unreadable);
        }
        let before = out.len();
        if payload.len() <= 2 {
            out.resize(before + RATE as usize / 50, 0);
        }
        let (samples, _) = payload.as_chunks::<2>();
        out.extend(
            samples
                .iter()
                .take(if payload.len() <= 2 { 0 } else { samples.len() })
                .map(|s| i16::from_le_bytes(*s)),
        );
        if let Some(made) = self.made.take() {
            for (i, sample) in out[before..].iter_mut().take(80).enumerate() {
                let old = f32::from(self.made_up(made + i)) * (1.0 - i as f32 / 80.0);
                *sample = (old + f32::from(*sample) * i as f32 / 80.0) as i16;
            }
        }
        self.last = out[out.len().saturating_sub(80).max(before)..].to_vec();
        Ok(())
    }

    fn conceal(&mut self, samples: usize, _next: Option<&[u8]>, out: &mut Vec<i16>) {
        let made = self.made.unwrap_or(0);
        out.extend((made..made + samples).map(|i| self.made_up(i)));
        self.made = Some(made + samples);
    }

    fn repeats(&self) -> bool {
        self.repeats
    }
}

/// A packet on its way: when it comes, in ms, and what it is.
#[derive(Clone, Debug)]
struct Sent {
    comes: f64,
    seq: u16,
    timestamp: u32,
    payload: Vec<u8>,
}

/// Numbers by chance, the same each time.
struct Chance(u64);

impl Chance {
    /// From 0 to 1.
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

fn tone(i: usize) -> i16 {
    (8_000.0 * (i as f64 * 300.0 * std::f64::consts::TAU / f64::from(RATE)).sin()) as i16
}

fn sound(from: usize, samples: usize, wave: impl Fn(usize) -> i16) -> Vec<u8> {
    (from..from + samples)
        .flat_map(|i| wave(i).to_le_bytes())
        .collect()
}

/// `seconds` of a tone in packets of `ms`, that come as soon as they are whole.
fn talk(seconds: usize, ms: usize) -> Vec<Sent> {
    let samples = RATE as usize * ms / 1000;
    (0..seconds * 1000 / ms)
        .map(|i| Sent {
            comes: ((i + 1) * ms) as f64 + 0.5,
            seq: 65_500u16.wrapping_add(i as u16),
            timestamp: (u32::MAX - 1_000).wrapping_add((i * samples) as u32),
            payload: sound(i * samples, samples, tone),
        })
        .collect()
}

/// What was heard.
struct Heard {
    sound: Vec<i16>,
    played: Vec<Played>,
    /// Delay in ms at each play.
    delays: Vec<f64>,
    stats: Stats,
}

impl Heard {
    fn share(&self, kind: Played) -> f64 {
        self.played.iter().filter(|played| **played == kind).count() as f64
            / self.played.len() as f64
    }

    /// Mean and greatest delay in ms from the `from`th play on.
    fn delay(&self, from: usize) -> (f64, f64) {
        let delays = &self.delays[from..];
        (
            delays.iter().sum::<f64>() / delays.len() as f64,
            delays.iter().copied().fold(0.0, f64::max),
        )
    }

    /// The greatest step from one sample to the next.
    fn step(&self) -> i32 {
        self.sound
            .windows(2)
            .map(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs())
            .max()
            .unwrap_or(0)
    }

    /// Root mean square of each 50 ms.
    fn levels(&self) -> Vec<f64> {
        let power = |part: &[i16]| {
            part.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / part.len() as f64
        };
        self.sound
            .chunks_exact(400)
            .map(|part| power(part).sqrt())
            .collect()
    }
}

/// Plays every `ms`, from `phase` ms on, what the packets bring, until the last has come.
fn hear_by(player: &mut Player<Plain>, mut packets: Vec<Sent>, ms: usize, phase: f64) -> Heard {
    packets.sort_by(|a, b| a.comes.total_cmp(&b.comes));
    let start = Instant::now();
    let at = |time: f64| start + Duration::from_secs_f64(time / 1000.0);
    let end = packets.last().map_or(0.0, |packet| packet.comes);
    let mut heard = Heard {
        sound: vec![],
        played: vec![],
        delays: vec![],
        stats: Stats::default(),
    };
    let mut packets = packets.into_iter().peekable();
    let mut out = vec![0; RATE as usize * ms / 1000];
    let mut time = packets.peek().map_or(0.0, |first| first.comes) + phase;
    while time <= end {
        while let Some(packet) = packets.next_if(|packet| packet.comes <= time) {
            player.insert(
                Seq(packet.seq),
                Timestamp(packet.timestamp),
                &packet.payload,
                at(packet.comes),
            );
        }
        heard.played.push(player.play(&mut out, at(time)));
        heard.sound.extend(&out);
        heard
            .delays
            .push(player.stats().delay.as_secs_f64() * 1000.0);
        time += ms as f64;
    }
    heard.stats = player.stats();
    heard
}

fn hear(packets: Vec<Sent>) -> Heard {
    hear_by(&mut player(), packets, 20, 10.0)
}

fn player() -> Player<Plain> {
    Player::new(Plain::default(), RATE, Settings::default())
}

#[test]
fn in_a_quiet_network_sound_waits_for_our_clock_and_no_longer() {
    for phase in [1.0, 5.0, 10.0, 15.0, 19.0] {
        let heard = hear_by(&mut player(), talk(60, 20), 20, phase);
        let (mean, most) = heard.delay(0);
        println!("phase {phase}: {mean:.1} {most:.1} {:?}", heard.stats);
        assert!(mean <= 23.0 && most <= 25.0, "phase {phase}: {mean} {most}");
        assert_eq!(heard.stats.concealed, 0);
    }
}
