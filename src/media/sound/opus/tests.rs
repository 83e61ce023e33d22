//! Voices put into Opus and read again, with packets lost, cut or made up on the way.

use super::*;

/// 20 ms after 20 ms of something like a voice: a buzz at 140 Hz that swells and sinks.
pub(crate) fn voice(rate: u32, frame: usize) -> Vec<i16> {
    let length = rate as usize / 50;
    let sample = |i: usize| {
        let t = (frame * length + i) as f32 / rate as f32;
        let swell = 0.5 - 0.5 * (t * 3.0 * std::f32::consts::TAU).cos();
        let tone = |n: f32| (t * 140.0 * n * std::f32::consts::TAU).sin() / n;
        (6000.0 * swell * (1..=9).map(|n| tone(n as f32)).sum::<f32>()) as i16
    };
    (0..length).map(sample).collect()
}

fn encoder(rate: u32, settings: OpusSettings) -> OpusEncoder {
    OpusEncoder::new(rate, &settings).unwrap()
}

fn energy(sound: &[i16]) -> f64 {
    sound.iter().map(|&s| f64::from(s).powi(2)).sum()
}

#[test]
fn a_second_of_voice_is_20_kbit_and_sounds_as_loud_after_it() {
    for rate in [8000, 16_000] {
        let mut encoder = encoder(rate, OpusSettings::default());
        let mut decoder = OpusDecoder::new(rate).unwrap();
        let (mut bytes, mut heard, mut said) = (0, Vec::new(), Vec::new());
        for frame in 0..100 {
            let mut payload = Vec::new();
            encoder.encode(&voice(rate, frame), &mut payload).unwrap();
            assert_eq!(decoder.samples(&payload), Some(rate as usize / 50));
            decoder.decode(&payload, &mut heard).unwrap();
            said.extend(voice(rate, frame));
            bytes += payload.len();
        }
        assert_eq!(heard.len(), said.len());
        assert!(
            (3500..=6500).contains(&bytes),
            "{bytes} octets in two seconds at {rate}"
        );
        let louder = energy(&heard) / energy(&said);
        assert!((0.7..1.4).contains(&louder), "{louder} at {rate}");
    }
}

#[test]
fn a_lost_packet_is_read_from_the_copy_in_the_next_one() {
    // Late in the encoder's life a loss is mended with and without the packet after it: the copy must be nearer to
    // what was said than libopus's guess.
    let mut encoder = encoder(
        16_000,
        OpusSettings {
            expected_loss: 20,
            ..OpusSettings::default()
        },
    );
    let mut packets = Vec::new();
    for frame in 0..60 {
        let mut payload = Vec::new();
        encoder.encode(&voice(16_000, frame), &mut payload).unwrap();
        packets.push(payload);
    }
    let (mut with, mut without) = (0.0, 0.0);
    for lost in 20..50 {
        let play = |next: Option<&[u8]>, lose: bool| {
            let mut decoder = OpusDecoder::new(16_000).unwrap();
            let mut out = Vec::new();
            for payload in &packets[..lost] {
                decoder.decode(payload, &mut out).unwrap();
            }
            out.clear();
            if lose {
                decoder.conceal(320, next, &mut out)
            } else {
                decoder.decode(&packets[lost], &mut out).unwrap()
            }
            assert_eq!(out.len(), 320);
            out
        };
        let whole = play(None, false);
        let off = |out: Vec<i16>| -> f64 {
            out.iter()
                .zip(&whole)
                .map(|(&a, &b)| (f64::from(a) - f64::from(b)).powi(2))
                .sum()
        };
        with += off(play(Some(&packets[lost + 1]), true));
        without += off(play(None, true));
    }
    assert!(
        with < without * 0.7,
        "{with} with the copy, {without} without"
    );
}

/// Whether a packet of 20 ms, mono, has a copy of the one before: it is SILK (RFC 6716 §3.1), and its second bit is set
/// (§4.2.3).
pub(crate) fn has_copy(payload: &[u8]) -> bool {
    matches!(payload, [toc, flags, ..] if toc >> 3 < 12 && flags & 0x40 != 0)
}

#[test]
fn copies_are_made_when_more_gets_lost_and_there_was_no_room_for_them_before() {
    let of = |least, likely| {
        let settings = OpusSettings {
            expected_loss: least,
            ..OpusSettings::default()
        };
        let mut encoder = encoder(16_000, settings);
        let mut copies = 0;
        for frame in 0..100 {
            encoder.expect_loss(likely);
            let mut payload = Vec::new();
            encoder.encode(&voice(16_000, frame), &mut payload).unwrap();
            copies += usize::from(has_copy(&payload));
        }
        copies
    };
    assert_eq!(of(5, 0), 0, "wideband at 20 kbit/s has no room");
    assert!(of(5, 12) > 50);
    assert_eq!(of(12, 0), of(5, 12), "never less than what is set");
    assert_eq!(of(0, 30), 0, "nor any where none is wanted");
}

#[test]
fn any_gap_is_filled_exactly_whatever_comes_next() {
    let mut decoder = OpusDecoder::new(16_000).unwrap();
    let mut payload = Vec::new();
    encoder(16_000, OpusSettings::default())
        .encode(&voice(16_000, 3), &mut payload)
        .unwrap();
    for samples in [0, 1, 39, 40, 160, 320, 333, 960, 1920, 1921, 16_000] {
        for next in [
            None,
            Some(payload.as_slice()),
            Some(&[]),
            Some(&[0xff, 0x3f, 1]),
            Some(&[3]),
        ] {
            let mut out = vec![1];
            decoder.conceal(samples, next, &mut out);
            assert_eq!(out.len(), samples + 1);
        }
    }
}

#[test]
fn silence_need_not_be_sent_with_dtx() {
    let mut encoder = encoder(
        16_000,
        OpusSettings {
            dtx: true,
            ..OpusSettings::default()
        },
    );
    let (mut payload, mut left_out) = (Vec::new(), 0);
    for _ in 0..100 {
        payload.clear();
        encoder.encode(&[0; 320], &mut payload).unwrap();
        assert_eq!(encoder.in_dtx(), payload.len() <= 2);
        left_out += usize::from(encoder.in_dtx());
    }
    assert!(left_out > 70, "{left_out} of 100 packets");
    for frame in 0..10 {
        encoder.encode(&voice(16_000, frame), &mut payload).unwrap();
    }
    assert!(!encoder.in_dtx(), "a voice is sent");
}

#[test]
fn all_frame_lengths_that_meta_may_agree_to_are_one_payload_each() {
    let mut encoder = encoder(16_000, OpusSettings::default());
    let mut decoder = OpusDecoder::new(16_000).unwrap();
    for ms in [10, 20, 40, 60] {
        let (mut payload, mut out) = (vec![9], Vec::new());
        encoder.encode(&vec![100; ms * 16], &mut payload).unwrap();
        decoder.decode(&payload[1..], &mut out).unwrap();
        assert_eq!(out.len(), ms * 16);
    }
    let mut payload = vec![9];
    let error = encoder
        .encode(&[0; 480], &mut payload)
        .unwrap_err()
        .to_string();
    assert_eq!(
        error,
        "opus/48000/2 cannot put 480 samples at 16000 Hz into one packet; give it 10, 20, 40 or 60 ms"
    );
    assert_eq!(payload, [9]);
}

#[test]
fn a_stereo_packet_of_music_at_full_band_is_heard_as_mono() {
    let mut stereo = opus::Encoder::new(48_000, Channels::Stereo, Application::Audio).unwrap();
    let sound: Vec<i16> = (0..1920)
        .flat_map(|i| [((i * 37) % 4000) as i16 - 2000; 2])
        .collect();
    let payload = stereo.encode_vec(&sound, 1275).unwrap();
    let mut out = Vec::new();
    OpusDecoder::new(8000)
        .unwrap()
        .decode(&payload, &mut out)
        .unwrap();
    assert_eq!(out.len(), 320);
    assert!(energy(&out) > 0.0);
}

#[test]
fn a_setting_out_of_range_is_named() {
    let broken = [
        (
            OpusSettings {
                complexity: 11,
                ..OpusSettings::default()
            },
            "complexity = 11 is out of range; set 0 to 10",
        ),
        (
            OpusSettings {
                bit_rate: 5999,
                ..OpusSettings::default()
            },
            "bit_rate = 5999 is out of range; set 6000 to 64000",
        ),
        (
            OpusSettings {
                expected_loss: 101,
                ..OpusSettings::default()
            },
            "expected_loss = 101 is out of range; set 0 to 100",
        ),
    ];
    for (settings, message) in broken {
        assert_eq!(
            OpusEncoder::new(16_000, &settings).unwrap_err().to_string(),
            message
        );
    }
}

#[test]
fn settings_are_read_from_toml_and_unknown_keys_refused() {
    let settings: OpusSettings = toml::from_str("complexity = 9\ndtx = true").unwrap();
    assert_eq!(
        settings,
        OpusSettings {
            complexity: 9,
            dtx: true,
            ..OpusSettings::default()
        }
    );
    assert!(toml::from_str::<OpusSettings>("complexty = 9").is_err());
}

proptest::proptest! {
    #[test]
    fn no_payload_makes_more_than_120_ms_or_a_panic(
        payloads in proptest::collection::vec(proptest::collection::vec(proptest::num::u8::ANY, 0..200), 1..6),
    ) {
        for rate in [8000, 16_000] {
            let mut decoder = OpusDecoder::new(rate).unwrap();
            for payload in &payloads {
                let (samples, mut out) = (decoder.samples(payload), Vec::new());
                let read = decoder.decode(payload, &mut out);
                proptest::prop_assert!(out.len() <= rate as usize * 12 / 100);
                proptest::prop_assert_eq!(out.len(), if read.is_ok() { samples.unwrap() } else { 0 });
                decoder.conceal(rate as usize / 50, Some(payload), &mut out);
            }
        }
    }
}
