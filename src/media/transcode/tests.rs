//! A transcoder in virtual time, fed with tones.

use super::*;
use crate::media::digits::Key;
use crate::media::settings::Settings;
use crate::media::sound::Decode;
use crate::media::sound::tones::{Detector, tests::codes};

const MS: Duration = Duration::from_millis(1);

/// A source of one codec that says a tone, and a transcoder that hears it.
struct Line {
    transcoder: Transcoder,
    source: Encoder,
    sink: Decoder,
    from: Codec,
    now: Instant,
    seq: u16,
    /// Packets that came out: when they were due, header, payload.
    sent: Vec<(Instant, Header, Vec<u8>)>,
    /// All that was heard.
    heard: Vec<i16>,
}

fn task(from: Codec, to: Codec, ptime: u64) -> Task {
    Task {
        from,
        to,
        ptime: MS * ptime as u32,
        finds_tones: false,
        makes_tones: false,
    }
}

fn line(task: Task) -> Line {
    let manner = Settings::default().manner();
    let rate = task.from.sample_rate().min(task.to.sample_rate());
    Line {
        transcoder: Transcoder::new(task, Ssrc(1), &manner).unwrap(),
        source: Encoder::new(task.from, rate, &manner.opus).unwrap(),
        sink: Decoder::new(task.to, rate).unwrap(),
        from: task.from,
        now: Instant::now(),
        seq: 0,
        sent: Vec::new(),
        heard: Vec::new(),
    }
}

impl Line {
    fn rate(&self) -> u32 {
        self.source.rate()
    }

    /// A packet of `ms` of 400 Hz, of the source whose numbers go on.
    fn packet(&mut self, ssrc: u32, ms: u32) -> &mut Self {
        let samples: Vec<i16> = (0..self.rate() / 1000 * ms)
            .map(|n| {
                let turns = 400.0 * f64::from(n) / f64::from(self.rate());
                (8_000.0 * (std::f64::consts::TAU * turns).sin()) as i16
            })
            .collect();
        let mut payload = Vec::new();
        self.source.encode(&samples, &mut payload).unwrap();
        let header = Header {
            marker: false,
            payload_type: 0,
            seq: Seq(self.seq),
            timestamp: Timestamp(u32::from(self.seq) * (ms * self.from.clock_rate() / 1000)),
            ssrc: Ssrc(ssrc),
        };
        self.seq = self.seq.wrapping_add(1);
        let heard = Heard {
            header,
            codec: self.from,
            payload: &payload,
        };
        self.transcoder.hear(&heard, self.now);
        self
    }

    fn wait(&mut self, ms: u32) -> &mut Self {
        let until = self.now + MS * ms;
        while let Some(due) = self.transcoder.deadline().filter(|due| *due <= until) {
            self.now = self.now.max(due);
            self.take();
        }
        self.now = until;
        self
    }

    fn take(&mut self) {
        while let Some((due, heard)) = self.transcoder.next(self.now) {
            self.sink.decode(heard.payload, &mut self.heard).unwrap();
            self.sent.push((due, heard.header, heard.payload.to_vec()));
        }
    }

    fn talk(&mut self, packets: u32, ms: u32) -> &mut Self {
        for _ in 0..packets {
            self.packet(1, ms).wait(ms);
        }
        self
    }

    /// Root of the mean square of what was heard last.
    fn level(&self, ms: u32) -> f64 {
        let count = (self.rate() / 1000 * ms) as usize;
        let last = &self.heard[self.heard.len() - count..];
        let square: f64 = last.iter().map(|s| f64::from(*s).powi(2)).sum();
        (square / count as f64).sqrt()
    }
}

#[test]
fn every_pair_of_codecs_carries_a_tone_at_its_level_and_at_a_steady_pace() {
    let codecs = [Codec::Opus, Codec::G722, Codec::Pcma, Codec::Pcmu];
    for from in codecs {
        for to in codecs {
            let mut line = line(task(from, to, 20));
            line.talk(50, 20);
            assert_eq!(line.sent.len(), 50, "{from} to {to}");
            for pair in line.sent.windows(2) {
                let [(then, before, _), (at, after, _)] = pair else {
                    unreachable!()
                };
                assert_eq!(*at - *then, MS * 20);
                assert_eq!(after.seq, before.seq.next());
                let step = after.timestamp.since(before.timestamp);
                assert_eq!(step, to.clock_rate() as i32 / 50, "{from} to {to}");
            }
            let level = 20.0 * (line.level(400) / (8_000.0 / 2f64.sqrt())).log10();
            assert!(level.abs() < 1.0, "{from} to {to}: {level} dB");
        }
    }
}

#[test]
fn packets_are_as_long_as_is_wanted_whatever_comes() {
    for (comes, wanted, to, length) in [
        (30, 20, Codec::Opus, 20),
        (10, 20, Codec::Opus, 20),
        (60, 20, Codec::Opus, 20),
        (20, 30, Codec::Pcma, 30),
        (20, 60, Codec::Pcmu, 60),
        (20, 10, Codec::Pcmu, 10),
        // Opus has no frames of 30 and 50 ms.
        (20, 30, Codec::Opus, 20),
        (20, 50, Codec::Opus, 40),
    ] {
        let from = if to == Codec::Opus {
            Codec::Pcma
        } else {
            Codec::Opus
        };
        let mut line = line(task(from, to, wanted));
        line.talk(600 / comes, comes);
        let decoder = Decoder::new(to, line.rate()).unwrap();
        let samples = line.rate() as usize / 1000 * length as usize;
        assert!(
            line.sent
                .iter()
                .all(|(.., payload)| decoder.samples(payload) == Some(samples)),
            "{wanted} ms of {to}"
        );
        assert_eq!(
            line.sent.len(),
            600 / length as usize,
            "{wanted} ms of {to}"
        );
        assert!(
            line.level(100) > 4_000.0,
            "{comes} ms to {wanted} ms of {to}"
        );
    }
}

#[test]
fn a_line_that_falls_silent_is_not_dead() {
    let mut line = line(task(Codec::Pcma, Codec::Opus, 20));
    line.talk(50, 20).wait(5_000);
    assert_eq!(line.sent.len(), 300, "it goes on");
    let level = line.level(1_000);
    assert!((1.0..60.0).contains(&level), "softly: {level}");
    line.talk(50, 20);
    assert!(line.level(400) > 4_000.0, "and speaks again");
}

#[test]
fn of_a_long_silence_the_noise_is_made_once_and_said_again_as_softly_in_the_same_stream() {
    let mut line = line(task(Codec::Pcma, Codec::Opus, 20));
    line.talk(50, 20).wait(60_000);
    assert_eq!(line.sent.len(), 3_050);
    for pair in line.sent.windows(2) {
        assert_eq!(pair[1].1.seq, pair[0].1.seq.next());
        assert_eq!(pair[1].1.timestamp.since(pair[0].1.timestamp), 960);
        assert_eq!(pair[1].0 - pair[0].0, MS * 20);
    }
    let said = |nth: usize| line.sent[nth].2.as_slice();
    assert!((500..3_050).all(|nth| said(nth) == said(nth - 150)));
    let levels = line.heard[5 * 8_000..].chunks_exact(400);
    for part in levels {
        let square: f64 = part.iter().map(|s| f64::from(*s).powi(2)).sum();
        let level = (square / part.len() as f64).sqrt();
        assert!((1.0..60.0).contains(&level), "{level}");
    }
    line.talk(50, 20);
    assert!(line.level(400) > 4_000.0, "and speaks again");
}

#[test]
fn a_key_is_heard_in_a_long_silence() {
    let makes = Task {
        makes_tones: true,
        ..task(Codec::Opus, Codec::Pcmu, 20)
    };
    let mut line = line(makes);
    line.talk(10, 20).wait(10_000);
    let press = Press {
        key: Key::from_char('5').unwrap(),
        duration: MS * 100,
    };
    assert!(line.transcoder.sound(press));
    let before = line.heard.len();
    line.wait(500);
    assert_eq!(codes(8_000, &line.heard[before..]), [5]);
}

#[test]
fn what_a_worker_was_too_late_for_is_left_out_and_not_sent_in_a_burst() {
    let mut line = line(task(Codec::Pcma, Codec::Opus, 20));
    line.talk(10, 20);
    let sent = line.sent.len();
    line.now += MS * 3_000;
    line.take();
    assert!(line.sent.len() <= sent + 1, "{}", line.sent.len() - sent);
    line.talk(10, 20);
    let [(_, before, _), (_, after, _)] = [&line.sent[sent - 1], &line.sent[sent]];
    let gap = after.timestamp.since(before.timestamp);
    assert!((2_900 * 48..3_100 * 48).contains(&gap), "{gap}");
}

#[test]
fn packets_lost_on_the_way_are_made_up_and_counted() {
    let mut line = line(task(Codec::Pcma, Codec::Opus, 20));
    for n in 0..100 {
        match n % 10 {
            9 => line.seq += 1,
            _ => {
                line.packet(1, 20);
            }
        }
        line.wait(20);
    }
    assert_eq!(line.sent.len(), 100);
    let mended = line.transcoder.buffered().mended.as_millis();
    assert!((180..=260).contains(&mended), "{mended} ms of 200");
}

#[test]
fn another_source_is_taken_on_at_once() {
    let mut line = line(task(Codec::Pcma, Codec::Opus, 20));
    line.talk(20, 20);
    line.seq = 40_000;
    for _ in 0..20 {
        line.packet(2, 20).wait(20);
    }
    assert!(line.level(200) > 4_000.0);
    assert_eq!(line.sent.len(), 40);
}

#[test]
fn keys_are_found_in_sound_and_taken_out_of_it() {
    let finds = Task {
        finds_tones: true,
        ..task(Codec::Pcma, Codec::Opus, 20)
    };
    let mut line = line(finds);
    let mut tones = Generator::new(8_000);
    let mut strokes = Vec::new();
    line.talk(25, 20);
    for code in [1, 11] {
        assert!(tones.press(code, MS * 80));
    }
    for _ in 0..25 {
        let mut samples = vec![0; 160];
        tones.write(&mut samples);
        let mut payload = Vec::new();
        line.source.encode(&samples, &mut payload).unwrap();
        let header = Header {
            marker: false,
            payload_type: 8,
            seq: Seq(line.seq),
            timestamp: Timestamp(u32::from(line.seq) * 160),
            ssrc: Ssrc(1),
        };
        line.seq += 1;
        let heard = Heard {
            header,
            codec: Codec::Pcma,
            payload: &payload,
        };
        line.transcoder.hear(&heard, line.now);
        line.wait(20);
        strokes.extend(line.transcoder.strokes());
    }
    let ups: Vec<_> = strokes
        .iter()
        .filter_map(|stroke| match stroke {
            Stroke::Up(press) => Some((press.key.to_string(), press.duration.as_millis())),
            Stroke::Down(_) => None,
        })
        .collect();
    let keys: Vec<&str> = ups.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["1", "#"], "{ups:?}");
    assert!(ups.iter().all(|(_, ms)| (70..=100).contains(ms)), "{ups:?}");
    assert_eq!(strokes.len(), 4, "each went down before it came up");
    // What is left of them presses no key a second time.
    let (mut again, mut found) = (Detector::new(8_000), 0);
    again.hear(&line.heard, |_| found += 1);
    assert_eq!(found, 0);
}

#[test]
fn keys_are_heard_where_tones_are_wanted_and_nowhere_else() {
    let press = Press {
        key: Key::from_char('7').unwrap(),
        duration: MS * 100,
    };
    let mut plain = line(task(Codec::Opus, Codec::Pcmu, 20));
    assert!(!plain.transcoder.sound(press));
    let makes = Task {
        makes_tones: true,
        ..task(Codec::Opus, Codec::Pcmu, 20)
    };
    let mut line = line(makes);
    line.talk(10, 20);
    assert!(line.transcoder.sound(press));
    line.talk(20, 20);
    assert_eq!(codes(8_000, &line.heard), [7]);
}
