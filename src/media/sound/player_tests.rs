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

#[test]
fn packets_in_another_order_are_heard_in_theirs() {
    let mut packets = talk(30, 20);
    packets
        .iter_mut()
        .for_each(|p| p.comes += if p.seq % 5 == 0 { 25.0 } else { 0.0 });
    let heard = hear(packets);
    println!("{:?} {:?}", heard.stats, heard.delay(50));
    assert!(
        heard.share(Played::Mended) < 0.005,
        "{}",
        heard.share(Played::Mended)
    );
    assert!(
        heard.stats.lost <= 3 && heard.step() < 2_500,
        "{:?} {}",
        heard.stats,
        heard.step()
    );
    assert!(heard.delay(50).0 < 45.0);
}

#[test]
fn the_level_and_the_curve_of_a_tone_stay_through_jitter_of_80_ms() {
    let mut chance = Chance(7);
    let mut packets = talk(120, 20);
    packets
        .iter_mut()
        .for_each(|p| p.comes += chance.next() * 80.0);
    let heard = hear(packets);
    let levels = heard.levels();
    let (low, high) = levels[40..]
        .iter()
        .fold((f64::MAX, 0.0f64), |(l, h), x| (l.min(*x), h.max(*x)));
    println!(
        "{:?} {:?} {low} {high} step {} mended {}",
        heard.stats,
        heard.delay(100),
        heard.step(),
        heard.share(Played::Mended)
    );
    assert!(heard.share(Played::Mended) < 0.01);
    let (mean, most) = heard.delay(100);
    assert!(mean < 105.0 && most < 125.0, "{mean} {most}");
    assert_eq!(heard.share(Played::Nothing), 0.0);
}

#[test]
fn of_packets_lost_by_chance_only_their_own_time_is_made_up() {
    for (percent, bound) in [(1, 0.02), (5, 0.07), (10, 0.13)] {
        let mut chance = Chance(percent);
        let packets = talk(120, 20)
            .into_iter()
            .filter(|_| chance.next() > percent as f64 / 100.0);
        let heard = hear(packets.collect());
        let share = heard.stats.concealed as f64 / heard.sound.len() as f64;
        println!("{percent} {:?} {:?} {share}", heard.stats, heard.delay(0));
        assert!(
            share < bound && share > percent as f64 / 200.0,
            "{percent} %: {share}"
        );
        assert!(
            heard.delay(0).1 <= 45.0,
            "{percent} %: {:?}",
            heard.delay(0)
        );
        assert_eq!(heard.share(Played::Nothing), 0.0);
    }
}

#[test]
fn a_codec_that_repeats_itself_is_given_the_next_packet_when_much_is_lost() {
    let mut chance = Chance(3);
    let packets: Vec<_> = talk(120, 20)
        .into_iter()
        .filter(|_| chance.next() > 0.05)
        .collect();
    let decoder = Plain {
        repeats: true,
        ..Plain::default()
    };
    let mut player = Player::new(decoder, RATE, Settings::default());
    let heard = hear_by(&mut player, packets, 20, 10.0);
    println!("{:?} {:?}", heard.stats, heard.delay(0));
    assert!(
        heard.stats.recovered as f64 > heard.stats.concealed as f64 * 0.7,
        "{:?}",
        heard.stats
    );
    assert!(heard.delay(0).1 <= 65.0, "{:?}", heard.delay(0));
}

#[test]
fn clocks_that_differ_by_200_ppm_for_an_hour_are_neither_delay_nor_gap() {
    for (ppm, jitter) in [(200.0, 0.0), (-200.0, 0.0), (200.0, 8.0), (-200.0, 8.0)] {
        let mut chance = Chance(11);
        let mut packets = talk(3_600, 20);
        packets
            .iter_mut()
            .for_each(|p| p.comes = p.comes * (1.0 + ppm / 1e6) + chance.next() * jitter);
        let heard = hear(packets);
        let (mean, most) = heard.delay(500);
        println!(
            "{ppm} {jitter}: {mean:.1} {most:.1} {:?} {}",
            heard.stats,
            heard.step()
        );
        assert!(mean < 40.0 && most < 65.0, "{ppm} ppm: {mean} {most}");
        // The drift itself: 720 ms, which are 5760 samples, and as much again for what is waited and not.
        assert!(
            heard.stats.stretched.max(heard.stats.shrunk) < 40_000,
            "{ppm} ppm: {:?}",
            heard.stats
        );
        assert!(
            heard.share(Played::Mended) < 0.0005,
            "{ppm} ppm: {:?}",
            heard.stats
        );
        assert_eq!(heard.share(Played::Nothing), 0.0);
        assert!(heard.step() < 2_600);
    }
}

#[test]
fn after_a_stall_of_150_ms_all_is_heard_and_the_delay_goes_away_again() {
    let mut packets = talk(30, 20);
    packets.iter_mut().for_each(|p| {
        if (10_000.0..10_150.0).contains(&p.comes) {
            p.comes = 10_150.0
        }
    });
    let heard = hear(packets);
    println!(
        "{:?} {:?}",
        heard.stats,
        heard
            .delays
            .iter()
            .step_by(25)
            .map(|d| *d as i64)
            .collect::<Vec<_>>()
    );
    assert_eq!((heard.stats.lost, heard.stats.discarded), (0, 0));
    assert!(heard.delays[510] > 100.0, "kept: {}", heard.delays[510]);
    assert!(
        heard.delays[750] < 40.0,
        "gone 5 s later: {}",
        heard.delays[750]
    );
    assert_eq!(heard.share(Played::Nothing), 0.0);
}

#[test]
fn after_a_stall_of_three_seconds_the_newest_is_heard_at_once() {
    let mut packets = talk(30, 20);
    packets.iter_mut().for_each(|p| {
        if (10_000.0..13_000.0).contains(&p.comes) {
            p.comes = 13_000.0
        }
    });
    let heard = hear(packets);
    println!(
        "{:?} {:?}",
        heard.stats,
        heard
            .delays
            .iter()
            .step_by(25)
            .map(|d| *d as i64)
            .collect::<Vec<_>>()
    );
    assert!(heard.stats.discarded > 100);
    assert!(heard.delays[660] < 230.0, "{}", heard.delays[660]);
    assert!(heard.delays[1_000] < 60.0, "{}", heard.delays[1_000]);
    assert!(heard.played[520] == Played::Nothing && heard.played[660] == Played::Sound);
    assert!(heard.step() < 2_600, "{}", heard.step());
}

/// Talk of 2 s, then pauses and talk of 1 s in turn, with numbers that go on and timestamps that jump. `sign`: the pause
/// begins with a packet that says so.
fn with_pauses(sign: bool) -> Vec<Sent> {
    let mut packets = talk(60, 20);
    packets.retain(|p| p.comes < 2_000.0 || (p.comes as usize / 1000) % 2 == 0);
    let first = packets[0].seq;
    for (i, packet) in packets.iter_mut().enumerate() {
        packet.seq = first.wrapping_add(i as u16);
    }
    for i in 1..packets.len() {
        if sign && packets[i].comes - packets[i - 1].comes > 500.0 {
            packets[i - 1].payload = vec![0];
        }
    }
    packets
}

#[test]
fn a_pause_lasts_as_long_as_the_source_made_it_and_nothing_counts_as_lost() {
    let heard = hear(with_pauses(true));
    println!(
        "{:?} {:?} {}",
        heard.stats,
        heard.delay(0),
        heard.share(Played::Pause)
    );
    assert_eq!(
        (heard.stats.lost, heard.stats.late, heard.stats.discarded),
        (0, 0, 0)
    );
    assert!(
        (0.40..0.55).contains(&heard.share(Played::Pause)),
        "{}",
        heard.share(Played::Pause)
    );
    assert_eq!(heard.share(Played::Mended), 0.0);
    assert!(heard.delay(0).1 < 25.0);
    let sound = heard.share(Played::Sound) * heard.played.len() as f64 * 0.02;
    assert!((30.0..32.5).contains(&sound), "{sound} s of sound");
}

#[test]
fn a_source_that_just_stops_is_mended_for_200_ms_and_then_nothing() {
    let heard = hear(with_pauses(false));
    println!(
        "{:?} {:?} {}",
        heard.stats,
        heard.delay(0),
        heard.share(Played::Nothing)
    );
    assert_eq!((heard.stats.lost, heard.stats.discarded), (0, 0));
    assert!(
        (0.06..0.12).contains(&heard.share(Played::Mended)),
        "{}",
        heard.share(Played::Mended)
    );
    assert!(
        heard.step() < 2_600 && heard.delay(0).1 < 45.0,
        "{} {:?}",
        heard.step(),
        heard.delay(0)
    );
}

#[test]
fn packets_may_change_their_size_within_a_call() {
    let mut packets: Vec<Sent> = vec![];
    let (mut at, mut seq) = (0, 0u16);
    for ms in [20, 60, 10, 30, 40, 20, 50, 10] {
        for _ in 0..5_000 / ms {
            let samples = ms * 8;
            let comes = ((at + samples) / 8) as f64 + 0.5;
            packets.push(Sent {
                comes,
                seq,
                timestamp: at as u32,
                payload: sound(at, samples, tone),
            });
            (at, seq) = (at + samples, seq + 1);
        }
    }
    let heard = hear(packets);
    println!(
        "{:?} {:?} {}",
        heard.stats,
        heard.delay(0),
        heard.share(Played::Mended)
    );
    // A packet of 60 ms comes 40 ms later than one of 20 ms, and there is no knowing before.
    assert!(
        heard.share(Played::Mended) < 0.01 && heard.delay(0).1 <= 90.0,
        "{:?}",
        heard.delay(0)
    );
    assert_eq!(
        (heard.stats.lost, heard.stats.late, heard.stats.discarded),
        (0, 0, 0)
    );
}

#[test]
fn a_source_that_begins_anew_is_heard_after_one_packet() {
    for (seq, timestamp) in [(0u16, 900_000u32), (20_000, 0), (20_000, 3_000_000_000)] {
        let mut packets = talk(20, 20);
        packets
            .iter_mut()
            .filter(|p| p.comes > 10_000.0)
            .for_each(|p| {
                p.seq = p.seq.wrapping_add(seq);
                p.timestamp = p.timestamp.wrapping_add(timestamp);
            });
        let heard = hear(packets);
        println!(
            "{:?} {:?} step {}",
            heard.stats,
            heard.delay(0),
            heard.step()
        );
        assert!(
            heard.stats.discarded <= 2 && heard.stats.lost == 0,
            "{:?}",
            heard.stats
        );
        assert!(
            heard.share(Played::Mended) < 0.01,
            "{}",
            heard.share(Played::Mended)
        );
        assert_eq!(heard.share(Played::Nothing), 0.0);
        assert!(heard.delay(0).1 < 45.0 && heard.step() < 2_600);
    }
}

#[test]
fn what_comes_twice_or_from_long_ago_or_from_the_future_is_not_heard() {
    let mut packets = talk(60, 20);
    let copies: Vec<_> = packets.iter().filter(|p| p.seq % 3 == 0).cloned().collect();
    let twice = copies.len() as u64;
    packets.extend(copies.iter().cloned().map(|p| Sent {
        comes: p.comes + 7.0,
        ..p
    }));
    for (i, packet) in copies.iter().enumerate().skip(100).step_by(50) {
        let old = Sent {
            comes: packet.comes + 1.0,
            ..copies[i - 90].clone()
        };
        let future = Sent {
            seq: packet.seq.wrapping_add(900),
            timestamp: packet.timestamp.wrapping_add(144_000),
            ..old.clone()
        };
        packets.extend([old, future]);
    }
    let heard = hear(packets);
    println!("{:?} {:?}", heard.stats, heard.delay(0));
    assert_eq!(heard.stats.duplicate, twice);
    assert_eq!((heard.stats.lost, heard.stats.concealed), (0, 0));
    assert!(heard.delay(0).1 < 25.0);
}

#[test]
fn what_cannot_be_read_is_made_up() {
    let mut packets = talk(20, 20);
    packets
        .iter_mut()
        .filter(|p| p.seq % 50 == 0)
        .for_each(|p| p.payload = b"bad".to_vec());
    let heard = hear(packets);
    println!("{:?} {:?}", heard.stats, heard.delay(0));
    assert!(heard.stats.discarded >= 19 && heard.step() < 2_600 && heard.delay(0).1 < 45.0);
}

#[test]
fn the_delay_that_is_told_is_the_delay_that_is_heard() {
    // A click each second; it is heard once, so much later than its packet came.
    let mut chance = Chance(5);
    let mut packets = talk(60, 20);
    for (i, packet) in packets.iter_mut().enumerate() {
        let click = |at: usize| {
            if i % 50 == 0 && at % 160 < 8 {
                20_000
            } else {
                0
            }
        };
        packet.payload = sound(i * 160, 160, click);
        packet.comes += chance.next() * 30.0;
    }
    let start = packets.iter().map(|p| p.comes).fold(f64::MAX, f64::min) + 10.0;
    let heard = hear(packets);
    let clicks: Vec<_> = (1..heard.sound.len())
        .filter(|i| heard.sound[*i] > 5_000 && heard.sound[i - 1] < 5_000)
        .collect();
    println!("{} clicks {:?}", clicks.len(), heard.stats);
    assert!((55..=61).contains(&clicks.len()), "{}", clicks.len());
    for at in &clicks[20..] {
        let late = start + *at as f64 / 8.0
            - ((start + *at as f64 / 8.0 - 20.0) / 1000.0).floor() * 1000.0
            - 20.0;
        let told = heard.delays[at / 160];
        assert!((late - told).abs() < 25.0, "{late} heard, {told} told");
    }
}

proptest! {
    #[test]
    fn no_packets_make_it_panic_or_grow_and_it_always_recovers(
        packets in prop::collection::vec((any::<u16>(), any::<u32>(), 0usize..2_000, 0u64..300), 0..300),
        near: bool, ms in 1usize..100,
    ) {
        let mut player = player();
        let start = Instant::now();
        let (mut now, mut out) = (start, vec![0; ms * 8]);
        for (i, (seq, timestamp, octets, wait)) in packets.into_iter().enumerate() {
            let (seq, timestamp) = if near { (i as u16 + seq % 8, i as u32 * 160 + timestamp % 2_000) } else { (seq, timestamp) };
            player.insert(Seq(seq), Timestamp(timestamp), &vec![7; octets], now);
            now += Duration::from_millis(wait / 10);
            if wait % 3 == 0 {
                player.play(&mut out, now);
            }
        }
        let talk = talk(10, 20);
        let heard = hear_by(&mut player, talk, 20, 10.0);
        let last = &heard.played[400..];
        prop_assert!(last.iter().all(|played| *played == Played::Sound), "{last:?} {:?}", heard.stats);
        prop_assert!(heard.delay(400).1 < 300.0);
    }
}
