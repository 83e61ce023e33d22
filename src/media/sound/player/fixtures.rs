//! The player in virtual time: a source, its way to us, our clock, and what is heard.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use crate::media::rtp::{Seq, Timestamp};
use crate::media::sound::{Decode, Played, Player, Settings, Stats, Unreadable};

pub(super) const RATE: u32 = 8_000;

/// When virtual time begins.
static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// So many ms later.
pub(super) fn at(time: f64) -> Instant {
    *START + Duration::from_secs_f64(time / 1000.0)
}

/// A codec that is plain samples. What is missing it makes up by going back and forth over the last 10 ms.
#[derive(Default)]
pub(super) struct Plain {
    pub(super) last: Vec<i16>,
    pub(super) made: Option<usize>,
    pub(super) repeats: bool,
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
pub(super) struct Sent {
    pub(super) comes: f64,
    pub(super) seq: u16,
    pub(super) timestamp: u32,
    pub(super) payload: Vec<u8>,
}

/// Numbers by chance, the same each time.
pub(super) struct Chance(pub(super) u64);

impl Chance {
    /// From 0 to 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }
}

/// 300 Hz: three periods are 80 samples, so that all packets of 10 ms, or 20, … are the same.
pub(super) fn tone(i: usize) -> i16 {
    let turn = (i % 80) as f64 * 3.0 / 80.0 * std::f64::consts::TAU;
    (8_000.0 * turn.sin()) as i16
}

pub(super) fn sound(from: usize, samples: usize, wave: impl Fn(usize) -> i16) -> Vec<u8> {
    (from..from + samples)
        .flat_map(|i| wave(i).to_le_bytes())
        .collect()
}

/// `seconds` of a tone in packets of `ms`, that come as soon as they are whole.
pub(super) fn talk(seconds: usize, ms: usize) -> Vec<Sent> {
    let samples = RATE as usize * ms / 1000;
    let payload = sound(0, samples, tone);
    (0..seconds * 1000 / ms)
        .map(|i| Sent {
            comes: ((i + 1) * ms) as f64 + 0.5,
            seq: 65_500u16.wrapping_add(i as u16),
            timestamp: (u32::MAX - 1_000).wrapping_add((i * samples) as u32),
            payload: payload.clone(),
        })
        .collect()
}

/// What was heard.
pub(super) struct Heard {
    pub(super) sound: Vec<i16>,
    pub(super) played: Vec<Played>,
    /// Delay in ms at each play.
    pub(super) delays: Vec<f64>,
    pub(super) stats: Stats,
}

impl Heard {
    pub(super) fn share(&self, kind: Played) -> f64 {
        self.played.iter().filter(|played| **played == kind).count() as f64
            / self.played.len() as f64
    }

    /// Mean and greatest delay in ms from the `from`th play on.
    pub(super) fn delay(&self, from: usize) -> (f64, f64) {
        let delays = &self.delays[from..];
        (
            delays.iter().sum::<f64>() / delays.len() as f64,
            delays.iter().copied().fold(0.0, f64::max),
        )
    }

    /// The greatest step from one sample to the next.
    pub(super) fn step(&self) -> i32 {
        self.sound
            .windows(2)
            .map(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs())
            .max()
            .unwrap_or(0)
    }

    /// Root mean square of each 50 ms.
    pub(super) fn levels(&self) -> Vec<f64> {
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
pub(super) fn hear_by<D: Decode>(
    player: &mut Player<D>,
    packets: Vec<Sent>,
    ms: usize,
    phase: f64,
) -> Heard {
    hear_with(player, packets, vec![], ms, phase)
}

/// The same where packets that are no sound come between: when, and with what number.
pub(super) fn hear_with<D: Decode>(
    player: &mut Player<D>,
    mut packets: Vec<Sent>,
    events: Vec<(f64, u16)>,
    ms: usize,
    phase: f64,
) -> Heard {
    packets.sort_by(|a, b| a.comes.total_cmp(&b.comes));
    let end = packets.last().map_or(0.0, |packet| packet.comes);
    let mut heard = Heard {
        sound: vec![],
        played: vec![],
        delays: vec![],
        stats: Stats::default(),
    };
    let mut packets = packets.into_iter().peekable();
    let mut events = events.into_iter().peekable();
    let mut out = vec![0; RATE as usize * ms / 1000];
    let mut time = packets.peek().map_or(0.0, |first| first.comes) + phase;
    while time <= end {
        while let Some((_, seq)) = events.next_if(|(comes, _)| *comes <= time) {
            player.skip(Seq(seq));
        }
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

pub(super) fn hear(packets: Vec<Sent>) -> Heard {
    hear_by(&mut player(), packets, 20, 10.0)
}

pub(super) fn player() -> Player<Plain> {
    Player::new(Plain::default(), RATE, Settings::default())
}
