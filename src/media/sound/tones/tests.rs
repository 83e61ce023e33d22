//! Keys made and found again, over every kind of line.

use std::f32::consts::TAU;
use std::time::Duration;

use super::*;
use crate::media::sound::g711::Law;

/// Numbers that look like chance and are the same each time.
struct Chance(u32);

impl Chance {
    /// Between −1 and 1.
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        self.0.cast_signed() as f32 / 2f32.powi(31)
    }
}

/// What was found in a sound that is heard in frames of 20 ms, and the sound with the muted parts of it muted.
fn heard(rate: u32, sound: &[i16]) -> (Vec<Found>, Vec<i16>) {
    let (mut detector, mut all) = (Detector::new(rate), Vec::new());
    let mut left = sound.to_vec();
    for frame in left.chunks_mut(rate as usize / 50) {
        let muted = detector.hear(frame, |found| all.push(found));
        frame[muted].fill(0);
    }
    (all, left)
}

/// The event codes of the keys found in a sound.
pub(in crate::media) fn codes(rate: u32, sound: &[i16]) -> Vec<u8> {
    let began = |found: Found| {
        if let Found::Began { code, .. } = found {
            Some(code)
        } else {
            None
        }
    };
    heard(rate, sound).0.into_iter().filter_map(began).collect()
}

/// All sixteen keys as the generator sounds them, over silence.
fn all_keys(rate: u32, tone: u64) -> Vec<i16> {
    let mut generator = Generator::new(rate);
    for code in 0..16 {
        assert!(generator.press(code, Duration::from_millis(tone)));
    }
    let mut sound = Vec::new();
    while !generator.is_idle() {
        let mut frame = vec![0; rate as usize / 100];
        generator.write(&mut frame);
        sound.extend(frame);
    }
    sound.extend(vec![0; rate as usize / 10]);
    sound
}

/// All sixteen keys from another hand: each tone of its own level in dBm0, off its frequency by a factor.
fn foreign_keys(
    rate: u32,
    tone_ms: usize,
    pause_ms: usize,
    levels: [f32; 2],
    off: f32,
) -> Vec<i16> {
    let mut sound = vec![0; rate as usize / 10];
    let ms = rate as usize / 1000;
    for code in 0..16 {
        let place = KEYS.iter().flatten().position(|&key| key == code).unwrap();
        let sample = |i: usize| {
            let wave = |hertz: f32, level| {
                amplitude(level) * (i as f32 * hertz * off / rate as f32 * TAU).sin()
            };
            (wave(ROWS[place / 4], levels[0]) + wave(COLUMNS[place % 4], levels[1])) as i16
        };
        sound.extend((0..tone_ms * ms).map(sample));
        sound.extend(vec![0; pause_ms * ms]);
    }
    sound.extend(vec![0; rate as usize / 10]);
    sound
}

/// The sound with white noise so many dB below a key of two tones at −10 dBm0.
fn noisy(sound: &[i16], below: f32) -> Vec<i16> {
    let mut chance = Chance(3);
    // Noise even between −a and a has the power a²/3; two tones of amplitude t have t².
    let level = amplitude(-10.0) * 10f32.powf(-below / 20.0) * 3f32.sqrt();
    sound
        .iter()
        .map(|&s| (f32::from(s) + level * chance.next()) as i16)
        .collect()
}

fn every_key() -> Vec<u8> {
    (0..16).collect()
}

#[test]
fn every_key_is_found_once_from_40_ms_on_to_slow_presses() {
    for rate in [8000, 16_000] {
        for tone in [40, 41, 45, 50, 60, 80, 100, 250, 1000] {
            assert!(
                codes(rate, &all_keys(rate, tone)) == every_key(),
                "{tone} ms at {rate}"
            );
            for pause in [40, 53, 100] {
                let sound = foreign_keys(rate, tone as usize, pause, [-10.0, -10.0], 1.0);
                assert!(
                    codes(rate, &sound) == every_key(),
                    "{tone} ms, {pause} ms apart, at {rate}"
                );
            }
        }
    }
}

#[test]
fn a_key_pressed_again_is_found_again() {
    let mut generator = Generator::new(8000);
    (0..5).for_each(|_| assert!(generator.press(5, Duration::from_millis(50))));
    let mut sound = vec![0; 8000];
    generator.write(&mut sound);
    assert!(codes(8000, &sound) == [5; 5]);
}

#[test]
fn keys_are_found_through_noise_twist_either_law_and_tones_that_are_off() {
    for rate in [8000, 16_000] {
        for (levels, off) in [
            ([-10.0, -10.0], 1.0),
            ([-7.0, -13.0], 1.0),
            ([-13.0, -7.0], 1.0),
            ([-3.0, -3.0], 1.0),
            ([-30.0, -30.0], 1.0),
            ([-24.0, -30.0], 1.0),
            ([-10.0, -10.0], 1.015),
            ([-10.0, -10.0], 0.985),
        ] {
            let clean = foreign_keys(rate, 45, 45, levels, off);
            let through = |law: Law| {
                clean
                    .iter()
                    .map(|&s| law.sample(law.code(s)))
                    .collect::<Vec<_>>()
            };
            for (line, sound) in [
                ("clean", clean.clone()),
                ("A-law", through(Law::A)),
                ("µ-law", through(Law::Mu)),
            ] {
                assert!(
                    codes(rate, &sound) == every_key(),
                    "{line}, {levels:?} dBm0, off by {off}, at {rate}"
                );
            }
        }
        let sound = noisy(&foreign_keys(rate, 50, 50, [-10.0, -10.0], 1.0), 15.0);
        assert!(codes(rate, &sound) == every_key(), "in noise at {rate}");
    }
}

#[test]
fn tones_too_short_too_uneven_too_soft_or_too_far_off_are_no_keys() {
    let no_keys = [
        ("20 ms", foreign_keys(8000, 20, 60, [-10.0, -10.0], 1.0)),
        (
            "12 dB of twist",
            foreign_keys(8000, 60, 60, [-10.0, -22.0], 1.0),
        ),
        ("-45 dBm0", foreign_keys(8000, 60, 60, [-45.0, -45.0], 1.0)),
        (
            "4.5% off",
            foreign_keys(8000, 60, 60, [-10.0, -10.0], 1.045),
        ),
    ];
    for (what, sound) in no_keys {
        let found = codes(8000, &sound);
        assert!(found.is_empty(), "{} keys in tones of {what}", found.len());
    }
}

#[test]
fn a_break_of_10_ms_is_not_the_end_of_a_press() {
    for cut in 0..80 {
        let mut generator = Generator::new(8000);
        generator.press(9, Duration::from_millis(120));
        let mut sound = vec![0; 2400];
        generator.write(&mut sound);
        sound[400 + cut..480 + cut].fill(0);
        assert!(codes(8000, &sound) == [9], "{cut}");
    }
}

#[test]
fn begin_and_end_are_told_to_within_a_few_milliseconds() {
    for rate in [8000, 16_000] {
        let ms = u64::from(rate) / 1000;
        let sound = foreign_keys(rate, 100, 60, [-10.0, -10.0], 1.0);
        let mut at = 100 * ms;
        for pair in heard(rate, &sound).0.chunks(2) {
            let &[
                Found::Began { at: began, code },
                Found::Ended {
                    at: ended,
                    code: same,
                },
            ] = pair
            else {
                panic!("a key that began ends before the next");
            };
            assert!(code == same);
            assert!(began.abs_diff(at) <= 8 * ms, "began {began}, not {at}");
            assert!(
                ended.abs_diff(at + 100 * ms) <= 8 * ms,
                "ended {ended}, not {}",
                at + 100 * ms
            );
            at += 160 * ms;
        }
        assert_eq!(at, (100 + 16 * 160) * ms);
    }
}

#[test]
fn what_is_left_of_a_key_after_muting_is_too_short_to_be_one() {
    for rate in [8000, 16_000] {
        let ms = rate as usize / 1000;
        for shift in 0..20 {
            let mut sound = vec![0; shift * ms];
            sound.extend(foreign_keys(rate, 70, 70, [-10.0, -10.0], 1.0));
            let (_, left) = heard(rate, &sound);
            let loud = left.iter().filter(|s| s.abs() > 300).count();
            assert!(loud < 16 * 22 * ms, "{} ms a key", loud / 16 / ms);
            assert!(
                codes(rate, &left).is_empty(),
                "muted sound has no key in it"
            );
        }
    }
}

#[test]
fn noise_single_tones_and_chords_are_no_keys_and_are_not_muted() {
    let seconds = 20;
    let mut chance = Chance(9);
    let mut sounds: Vec<Vec<i16>> = vec![
        (0..8000 * seconds)
            .map(|_| (chance.next() * 12_000.0) as i16)
            .collect(),
    ];
    let chord = |parts: &[f32]| -> Vec<i16> {
        let wave = |i: usize| {
            parts
                .iter()
                .map(|hertz| (i as f32 * hertz / 8000.0 * TAU).sin())
                .sum::<f32>()
        };
        (0..8000).map(|i| (6000.0 * wave(i)) as i16).collect()
    };
    sounds.extend(ROWS.iter().chain(&COLUMNS).map(|&tone| chord(&[tone])));
    // Dial, ringing and busy tones, a major chord, two rows, a fax machine, a sum of three that has a key within.
    sounds.extend([
        chord(&[350.0, 440.0]),
        chord(&[440.0, 480.0]),
        chord(&[480.0, 620.0]),
        chord(&[523.0, 659.0, 784.0]),
        chord(&[697.0, 941.0]),
        chord(&[1100.0]),
        chord(&[697.0, 1209.0, 1477.0]),
    ]);
    for (i, sound) in sounds.iter().enumerate() {
        let (found, left) = heard(8000, sound);
        assert!(found.is_empty(), "sound {i}");
        assert!(left == *sound, "sound {i} was muted");
    }
}

/// Like a voice: pulses whose pitch glides, through three resonances that wander as those of vowels do.
fn voice(seconds: usize, seed: u32, pitch: f32) -> Vec<i16> {
    let mut chance = Chance(seed);
    let (mut phase, mut glide, mut breath) = (0.0, 1.0, 0.0);
    let mut resonances = [[500.0, 0.0, 0.0], [1200.0, 0.0, 0.0], [2500.0, 0.0, 0.0f32]];
    let mut aims = [500.0, 1200.0, 2500.0];
    let mut sound = Vec::new();
    for i in 0..seconds * 8000 {
        if i % 1600 == 0 {
            aims = [
                550.0 + 300.0 * chance.next(),
                1400.0 + 700.0 * chance.next(),
                2600.0 + 400.0 * chance.next(),
            ];
            glide = 1.0 + 0.3 * chance.next();
        }
        phase += pitch * glide / 8000.0;
        // The source falls off towards high frequencies, by 6 dB an octave.
        breath = 0.9 * breath + chance.next() * 0.02 + if phase >= 1.0 { 1.0 } else { 0.0 };
        let mut out = breath;
        phase = phase.fract();
        for ([hertz, one, two], aim) in resonances.iter_mut().zip(aims) {
            *hertz += (aim - *hertz) * 0.002;
            let r = 0.975;
            let value = out + 2.0 * r * (TAU * *hertz / 8000.0).cos() * *one - r * r * *two;
            (*two, *one) = (*one, value);
            out = value * 0.25;
        }
        sound.push(out);
    }
    let peak = sound.iter().fold(0f32, |peak, s| peak.max(s.abs()));
    sound.iter().map(|s| (s / peak * 16_000.0) as i16).collect()
}

#[test]
fn voices_are_no_keys() {
    for (seed, pitch) in [
        (1, 95.0),
        (2, 120.0),
        (3, 150.0),
        (4, 190.0),
        (5, 220.0),
        (6, 260.0),
        (7, 300.0),
    ] {
        let sound = voice(20, seed, pitch);
        let (found, left) = heard(8000, &sound);
        assert!(found.is_empty(), "{} at a pitch of {pitch} Hz", found.len());
        let muted = left
            .iter()
            .zip(&sound)
            .filter(|(left, said)| left != said)
            .count();
        assert!(muted < 800, "{muted} samples muted");
    }
}

#[test]
fn a_key_is_loud_but_not_too_loud_and_leaves_the_sound_after_it_alone() {
    let mut generator = Generator::new(8000);
    assert!(generator.is_idle());
    assert!(
        generator.press(10, Duration::ZERO),
        "too short is made 45 ms"
    );
    let mut sound = vec![77; 1600];
    generator.write(&mut sound);
    assert!(generator.is_idle());
    let peak = sound.iter().map(|s| s.abs()).max().unwrap();
    assert!((12_000..15_000).contains(&peak), "{peak}");
    assert_eq!(sound[0], 0);
    assert!(
        sound[..360]
            .windows(2)
            .all(|pair| (pair[0] - pair[1]).abs() < 14_000)
    );
    assert_eq!(sound[360..680], [0; 320], "the pause");
    assert_eq!(sound[680..], [77; 920]);
    generator.write(&mut sound);
    assert_eq!(sound[1000], 77);
}

#[test]
fn what_is_no_key_and_what_is_pressed_beyond_measure_is_refused() {
    let mut generator = Generator::new(8000);
    assert!(!generator.press(16, Duration::from_millis(100)));
    let taken = (0..1000)
        .filter(|_| generator.press(1, Duration::from_secs(1000)))
        .count();
    assert_eq!(taken, 64);
}

proptest::proptest! {
    #[test]
    fn any_sound_in_any_frames_is_heard_and_muted_within_itself(
        frames in proptest::collection::vec(proptest::collection::vec(proptest::num::i16::ANY, 0..700), 0..8),
    ) {
        for rate in [8000, 16_000] {
            let mut detector = Detector::new(rate);
            for frame in &frames {
                let muted = detector.hear(frame, |_| ());
                proptest::prop_assert!(muted.start <= muted.end && muted.end <= frame.len());
            }
        }
    }
}
