//! Sources that pause, begin anew, hold, send nonsense, or speak Opus.

use std::time::Duration;

use proptest::prelude::*;

use super::fixtures::*;
use crate::media::rtp::{Seq, Timestamp};
use crate::media::sound::{Decode, Played, Player, Settings, Unreadable};

/// Talk of 2 s, then pauses and talk of 1 s in turn, with numbers that go on and timestamps that jump. `sign`: the pause
/// begins with a packet that says so.
fn with_pauses(sign: bool) -> Vec<Sent> {
    let mut packets = talk(60, 20);
    packets.retain(|p| p.comes < 2_000.0 || (p.comes as usize / 1000).is_multiple_of(2));
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
    assert!(heard.stats.discarded >= 19 && heard.step() < 2_600 && heard.delay(0).1 < 45.0);
}

/// Opus as Meta's clients send it, at 8000 samples a second here.
struct Opus(opus::Decoder);

impl Decode for Opus {
    fn rate(&self) -> u32 {
        RATE
    }

    fn samples(&self, payload: &[u8]) -> Option<usize> {
        self.0.get_nb_samples(payload).ok()
    }

    fn decode(&mut self, payload: &[u8], out: &mut Vec<i16>) -> Result<(), Unreadable> {
        let mut sound = [0; 960];
        let samples = self
            .0
            .decode(payload, &mut sound, false)
            .map_err(|_| Unreadable)?;
        out.extend(&sound[..samples]);
        Ok(())
    }

    fn conceal(&mut self, samples: usize, next: Option<&[u8]>, out: &mut Vec<i16>) {
        let mut sound = vec![0; samples.next_multiple_of(20)];
        let filled = self
            .0
            .decode(next.unwrap_or_default(), &mut sound, next.is_some());
        out.extend(sound.iter().take(filled.unwrap_or(0).min(samples)));
    }

    fn repeats(&self) -> bool {
        true
    }
}

/// A voice of 3 s and a silence of 3 s in turn, in Opus with DTX and FEC, of which 5 % are lost.
fn opus_with_pauses() -> Vec<Sent> {
    let mut encoder =
        opus::Encoder::new(RATE, opus::Channels::Mono, opus::Application::Voip).unwrap();
    encoder.set_dtx(true).unwrap();
    encoder.set_inband_fec(true).unwrap();
    encoder.set_packet_loss_perc(10).unwrap();
    let mut chance = Chance(4);
    let mut packets: Vec<Sent> = vec![];
    for i in 0..3_000 {
        let wave = |at| if (i / 150) % 2 == 0 { tone(at) } else { 0 };
        let frame: Vec<i16> = (i * 160..i * 160 + 160).map(wave).collect();
        let payload = encoder.encode_vec(&frame, 400).unwrap();
        let comes = (i + 1) as f64 * 20.0 + chance.next() * 5.0;
        // What has two octets or less need not be sent; the first of them tells of the pause.
        if payload.len() > 2 || packets.last().is_some_and(|p| p.payload.len() > 2) {
            packets.push(Sent {
                comes,
                seq: packets.len() as u16,
                timestamp: i as u32 * 960,
                payload,
            });
        }
    }
    packets.retain(|_| chance.next() > 0.05);
    packets
}

#[test]
fn opus_with_pauses_and_loss_is_heard_in_its_time() {
    let decoder = Opus(opus::Decoder::new(RATE, opus::Channels::Mono).unwrap());
    let mut player = Player::new(decoder, 48_000, Settings::default());
    let heard = hear_by(&mut player, opus_with_pauses(), 20, 10.0);
    let loud = heard
        .levels()
        .iter()
        .filter(|level| **level > 2_000.0)
        .count() as f64;
    let share = loud / heard.levels().len() as f64;
    // As much as when each packet is decoded as it comes: Opus takes 150 ms to believe in a tone.
    assert!((0.44..0.53).contains(&share), "{share} is loud");
    assert!(heard.share(Played::Pause) > 0.3 && heard.share(Played::Nothing) < 0.05);
    assert!(heard.stats.recovered > 160 * 20, "{:?}", heard.stats);
    assert!(heard.delay(0).1 < 70.0, "{:?}", heard.delay(0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn no_packets_make_it_panic_or_grow_and_it_always_recovers(
        packets in prop::collection::vec((any::<u16>(), any::<u32>(), 0usize..2_000, 0u64..300), 0..300),
        near: bool, ms in 1usize..100,
    ) {
        let mut player = player();
        let (mut now, mut out) = (at(0.0), vec![0; ms * 8]);
        for (i, (seq, timestamp, octets, wait)) in packets.into_iter().enumerate() {
            let (seq, timestamp) = if near { (i as u16 + seq % 8, i as u32 * 160 + timestamp % 2_000) } else { (seq, timestamp) };
            player.insert(Seq(seq), Timestamp(timestamp), &vec![7; octets], now);
            now += Duration::from_millis(wait / 10);
            if wait % 3 == 0 {
                player.play(&mut out, now);
            }
        }
        let mut talk = talk(10, 20);
        talk.iter_mut().for_each(|p| p.comes += 10_000.0);
        let heard = hear_by(&mut player, talk, 20, 10.0);
        let last = &heard.played[400..];
        prop_assert!(last.iter().all(|played| *played == Played::Sound), "{last:?} {:?}", heard.stats);
        prop_assert!(heard.delay(400).1 < 300.0);
    }
}

#[test]
fn a_source_whose_timestamps_stand_still_while_it_holds_is_heard_at_once_when_it_comes_back() {
    let mut packets = talk(60, 20);
    packets
        .iter_mut()
        .for_each(|p| p.comes += if p.comes < 20_000.0 { 0.0 } else { 10_000.0 });
    let heard = hear(packets);
    assert!(heard.delay(1_500).1 < 25.0, "{:?}", heard.delay(1_500));
    assert_eq!(
        (heard.stats.lost, heard.stats.late, heard.stats.discarded),
        (0, 0, 0)
    );
    assert_eq!(heard.stats.concealed, 1_600, "200 ms before the silence");
}

#[test]
fn another_source_is_heard_from_its_first_packet_on() {
    let mut player = player();
    hear_by(&mut player, talk(10, 20), 20, 10.0);
    player.reset();
    let mut packets = talk(10, 20);
    for packet in &mut packets {
        packet.comes += 12_000.0;
        packet.seq = packet.seq.wrapping_add(9_999);
        packet.timestamp = packet.timestamp.wrapping_add(123_456_789);
    }
    let heard = hear_by(&mut player, packets, 20, 10.0);
    assert_eq!((heard.stats.discarded, heard.stats.lost), (0, 0));
    assert_eq!((heard.played[1], heard.stats.packets), (Played::Sound, 998));
    assert!(heard.delay(1).1 < 25.0, "{:?}", heard.delay(1));
}

/// Plays speech in which a key is pressed for 100 ms, 10 s after its beginning: events have the numbers of five packets,
/// and of two more that repeat the end. `beside`: the source goes on speaking, in packets between those.
fn digit(beside: bool) -> Heard {
    let mut packets = talk(20, 20);
    let (first, mut events) = (500, Vec::new());
    for (nth, packet) in packets.iter_mut().enumerate().skip(first) {
        let before = if beside { (nth + 1 - first).min(7) } else { 2 };
        packet.seq = packet.seq.wrapping_add(before as u16);
    }
    for nth in 0..7 {
        let seq = packets[first - 1]
            .seq
            .wrapping_add(1 + nth as u16 * if beside { 2 } else { 1 });
        let comes = packets[first + nth.min(4)].comes;
        events.push((comes - 0.25, seq));
    }
    if !beside {
        packets.drain(first..first + 5);
    }
    hear_with(&mut player(), packets, events, 20, 10.0)
}

#[test]
fn a_digit_in_speech_is_no_loss_and_the_sound_after_it_goes_on_in_time() {
    for beside in [false, true] {
        let heard = digit(beside);
        assert_eq!(
            (heard.stats.concealed, heard.stats.lost, heard.stats.late),
            (0, 0, 0),
            "{beside}: {:?}",
            heard.stats
        );
        assert!(heard.delay(0).1 <= 25.0, "{beside}: {:?}", heard.delay(0));
        let pauses = heard.played.iter().filter(|p| **p == Played::Pause).count();
        let expected = if beside { 0..=0 } else { 4..=6 };
        assert!(expected.contains(&pauses), "{beside}: {pauses}");
        assert_eq!(heard.played.last(), Some(&Played::Sound));
    }
}

#[test]
fn a_key_that_is_held_for_ten_seconds_is_a_silence_and_no_loss() {
    let mut packets = talk(20, 20);
    packets.drain(400..900);
    let events = (400..900).map(|nth| ((nth + 1) as f64 * 20.0 + 0.5, 65_500u16.wrapping_add(nth)));
    let heard = hear_with(&mut player(), packets, events.collect(), 20, 10.0);
    assert_eq!((heard.stats.lost, heard.stats.discarded), (0, 0));
    assert_eq!(heard.stats.concealed, 0, "{:?}", heard.stats);
    assert_eq!(heard.played[700], Played::Nothing);
    assert!(heard.delay(920).1 <= 25.0);
}

#[test]
fn what_is_lost_beside_a_digit_is_made_up_as_ever() {
    let mut packets = talk(20, 20);
    for packet in packets.iter_mut().skip(500) {
        packet.seq = packet.seq.wrapping_add(1);
    }
    let event = (packets[500].comes - 0.25, packets[499].seq.wrapping_add(1));
    packets.remove(510);
    let heard = hear_with(&mut player(), packets, vec![event], 20, 10.0);
    assert_eq!((heard.stats.lost, heard.stats.concealed), (1, 160));
}
