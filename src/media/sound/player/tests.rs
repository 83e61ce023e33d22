//! How long sound waits, and what is heard, on ways that are quick, slow, uneven or lose packets.

use super::fixtures::*;
use crate::media::sound::{Played, Player, Settings};

#[test]
fn in_a_quiet_network_sound_waits_for_our_clock_and_no_longer() {
    for phase in [1.0, 5.0, 10.0, 15.0, 19.0] {
        let heard = hear_by(&mut player(), talk(60, 20), 20, phase);
        let (mean, most) = heard.delay(0);
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
    assert!(low > 5_300.0 && high < 6_000.0, "{low} to {high}, not 5657");
    assert!(heard.step() < 2_500, "{}", heard.step());
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
    assert!(
        heard.stats.recovered as f64 > heard.stats.concealed as f64 * 0.7,
        "{:?}",
        heard.stats
    );
    assert!(heard.delay(0).1 <= 65.0, "{:?}", heard.delay(0));
}

#[test]
fn clocks_that_differ_by_200_ppm_for_an_hour_are_neither_delay_nor_gap() {
    for (ppm, jitter) in [(200.0, 8.0), (-200.0, 0.0)] {
        let mut chance = Chance(11);
        let mut packets = talk(3_600, 20);
        packets
            .iter_mut()
            .for_each(|p| p.comes = p.comes * (1.0 + ppm / 1e6) + chance.next() * jitter);
        let mut heard = hear(packets);
        let (mean, most) = heard.delay(500);
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
        heard.sound.truncate(600 * RATE as usize);
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
    assert!(heard.stats.discarded > 100);
    assert!(heard.delays[660] < 230.0, "{}", heard.delays[660]);
    assert!(heard.delays[1_000] < 60.0, "{}", heard.delays[1_000]);
    assert!(heard.played[520] == Played::Nothing && heard.played[660] == Played::Sound);
    assert!(heard.step() < 2_600, "{}", heard.step());
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
    assert!((55..=61).contains(&clicks.len()), "{}", clicks.len());
    for at in &clicks[20..] {
        let late = start + *at as f64 / 8.0
            - ((start + *at as f64 / 8.0 - 20.0) / 1000.0).floor() * 1000.0
            - 20.0;
        let told = heard.delays[at / 160];
        assert!((late - told).abs() < 25.0, "{late} heard, {told} told");
    }
}

#[test]
fn packets_and_plays_of_any_size_go_together() {
    for packet in [10, 20, 30, 40, 60] {
        for ms in [10, 20, 30, 60] {
            let heard = hear_by(&mut player(), talk(30, packet), ms, 4.0);
            let (mean, most) = heard.delay(2_000 / ms);
            // What is played at once must be there at once.
            assert!(
                most <= (2 * ms.max(packet)) as f64,
                "{packet} by {ms}: {mean} {most}"
            );
            assert!(
                heard.stats.concealed < 800,
                "{packet} by {ms}: {:?}",
                heard.stats
            );
            assert_eq!(
                (heard.stats.lost, heard.stats.late, heard.stats.discarded),
                (0, 0, 0)
            );
        }
    }
}

#[test]
fn packets_that_come_in_bunches_of_five_are_heard_evenly() {
    let mut packets = talk(60, 20);
    packets
        .iter_mut()
        .for_each(|p| p.comes = (p.comes / 100.0).ceil() * 100.0);
    let heard = hear(packets);
    let (mean, most) = heard.delay(100);
    assert!(mean <= 105.0 && most <= 110.0, "{mean} {most}");
    assert!(
        heard.stats.concealed < 1_600 && heard.stats.lost == 0,
        "{:?}",
        heard.stats
    );
}

#[test]
fn a_way_that_becomes_longer_or_shorter_by_300_ms_is_followed() {
    for (before, after) in [(0.0, 300.0), (300.0, 0.0)] {
        let mut packets = talk(60, 20);
        packets
            .iter_mut()
            .for_each(|p| p.comes += if p.comes < 20_000.0 { before } else { after });
        let heard = hear(packets);
        let later = heard.played.len() - 1_000;
        assert!(heard.delay(later).1 < 30.0, "{:?}", heard.delay(later));
        assert!(heard.stats.concealed < 8_000, "{:?}", heard.stats);
        assert!(
            heard.played[later..]
                .iter()
                .all(|played| *played == Played::Sound)
        );
        assert!(heard.step() < 2_600, "{}", heard.step());
    }
}

#[test]
fn speech_like_sound_has_no_clicks_where_it_is_stretched() {
    // A buzz that swells and sinks, with a hiss between, through jitter that makes the delay rise and fall.
    let mut hiss = Chance(9);
    let mut curve = vec![0i16; 90 * 8_000];
    let (mut smooth, mut turn) = (0.0, 0.0);
    for (i, sample) in curve.iter_mut().enumerate() {
        let time = i as f64 / 8_000.0;
        smooth = smooth * 0.7 + (hiss.next() - 0.5) * 2_000.0;
        turn += (130.0 + 20.0 * (time * 2.0).sin()) / 8_000.0 * std::f64::consts::TAU;
        let buzz: f64 = (1..8)
            .map(|n| (turn * f64::from(n)).sin() / f64::from(n))
            .sum();
        *sample = (buzz * 4_000.0 * (time * 9.0).sin().max(0.0) + smooth) as i16;
    }
    let mut chance = Chance(1);
    let mut packets = talk(90, 20);
    for (i, packet) in packets.iter_mut().enumerate() {
        packet.payload = sound(i * 160, 160, |at| curve[at]);
        packet.comes += if (i / 750) % 2 == 0 {
            chance.next() * 60.0
        } else {
            0.0
        };
    }
    let heard = hear(packets);
    let source = curve
        .windows(2)
        .map(|pair| (i32::from(pair[0]) - i32::from(pair[1])).abs())
        .max()
        .unwrap_or(0);
    let level = |sound: &[i16]| {
        (sound.iter().map(|s| f64::from(*s).powi(2)).sum::<f64>() / sound.len() as f64).sqrt()
    };
    let change = 20.0 * (level(&heard.sound) / level(&curve)).log10();
    assert!(
        heard.stats.stretched > 400 && heard.stats.shrunk > 400,
        "{:?}",
        heard.stats
    );
    assert!(
        heard.step() <= source * 5 / 4,
        "{} of {source}",
        heard.step()
    );
    assert!(change.abs() < 0.5, "{change} dB");
}

/// A voice for 12 s that pauses half a second every `seconds`; its 50th packet is late, and one is waited for from then on.
fn heard_with_pauses_every(seconds: usize) -> Heard {
    let mut packets = talk(12, 20);
    for (i, packet) in packets.iter_mut().enumerate() {
        if i * 20 % (seconds * 1000) >= seconds * 1000 - 500 {
            packet.payload.fill(0);
        }
    }
    packets[50].comes += 15.0;
    hear(packets)
}

#[test]
fn what_is_a_little_too_much_is_taken_out_where_the_voice_pauses() {
    let heard = heard_with_pauses_every(4);
    let at = |second: f64| heard.delays[(second * 50.0) as usize];
    assert!(at(2.0) >= 20.0, "{:?}", heard.delays);
    assert_eq!(at(3.4), at(2.0), "not out of the voice");
    assert!(at(4.5) <= 15.0, "{:?}", heard.delays);
    assert_eq!(heard.stats.shrunk / 8, 15, "ms");
}

#[test]
fn a_voice_that_never_pauses_is_not_late_for_ever() {
    let heard = heard_with_pauses_every(20);
    let at = |second: f64| heard.delays[(second * 50.0) as usize];
    assert_eq!(at(5.0), at(2.0), "{:?}", heard.delays);
    assert!(at(11.0) <= 15.0, "{:?}", heard.delays);
    assert!(heard.step() < 2_500, "{}", heard.step());
}
