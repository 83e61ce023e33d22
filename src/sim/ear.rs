//! What a phone hears: the other's tone in decoded sound, digits, and what a strict client would complain about.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::count::Counting;
use super::digits::Digits;
use super::phone::Payloads;
use super::recorder::{Recorded, Recorder};
use super::tone;
use crate::media::rtcp::{self, Reception};
use crate::media::rtp::{Packet, Seq, Ssrc};
use crate::media::sound::{Decode, Decoder, SoundError};

/// The sound that is looked at together, in milliseconds.
const FRAME_MS: u32 = 20;

/// Sources told apart; a bridge should show one.
const MOST_SOURCES: usize = 64;

/// What is to be found in what is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListensFor {
    /// A tone of so many Hz, in most of it.
    Tone(u32),
    /// Anything that is no silence.
    Sound,
}

/// What was heard, as the demo prints it.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Heard {
    /// What was listened for was found: a tone in most of the sound, and either in no less than 100 ms of it.
    pub ok: bool,
    /// RTP packets received.
    pub packets: u64,
    /// RTP packets missing, by sequence numbers.
    pub lost: u64,
    /// From [`Ear::answered`] to what was listened for, in milliseconds.
    pub first_audio_ms: Option<u64>,
    /// Which 20 ms of the other's voice were heard first: 0 are the first that it sent. `None`: not told, because too little
    /// was heard of the count that a voice begins with.
    pub first_packet: Option<u64>,
    /// Different sources of RTP.
    pub ssrcs: usize,
    /// How many milliseconds of sound the packets held: each length that there was.
    pub ptimes: BTreeSet<u16>,
    /// Digits received, each once, in their order; the demo prints them beside those that were sent.
    #[serde(skip)]
    pub digits: String,
}

/// What a strict Meta client looks at besides the sound (§8).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// When the first RTP or RTCP packet came: before the 200 it is an error.
    pub first_packet: Option<Instant>,
    /// When the first RTP packet came.
    pub first_rtp: Option<Instant>,
    /// All sources of RTP in the order they appeared, at most 64: more than one garbles the sound.
    pub ssrcs: Vec<Ssrc>,
    /// Longest time without any packet, since the call was answered and up to now.
    pub longest_gap: Duration,
    /// Longest time without RTP.
    pub longest_rtp_gap: Duration,
    /// Longest time without RTCP.
    pub longest_rtcp_gap: Duration,
    /// RTCP packets received.
    pub reports: u64,
    /// Packets that were no RTP, no RTCP, no sound as agreed, or had a payload number nobody agreed to.
    pub unusable: u64,
}

/// Listens to one direction of one call.
pub struct Ear {
    listens_for: ListensFor,
    payloads: Payloads,
    decoder: Decoder,
    /// What was decoded last.
    samples: Vec<i16>,
    /// The newest packet that was decoded; late ones are counted and not played.
    played: Option<(Ssrc, Seq)>,
    sources: Vec<Reception>,
    packets: u64,
    ptimes: BTreeSet<u16>,
    digits: Digits,
    answered: Instant,
    /// When what is listened for was found first, and when anything was heard that was no silence.
    first_audio: Option<Instant>,
    first_sound: Option<Instant>,
    count: Counting,
    /// Frames of 20 ms decoded, and those in which was found what is listened for.
    frames: u64,
    found: u64,
    recorder: Option<Recorder>,
    any: Gap,
    rtp: Gap,
    rtcp: Gap,
    reports: u64,
    unusable: u64,
}

impl Ear {
    /// An ear, answered now.
    ///
    /// # Errors
    /// When the codec cannot be had.
    pub fn new(
        listens_for: ListensFor,
        payloads: Payloads,
        now: Instant,
    ) -> Result<Ear, SoundError> {
        let codec = payloads.sound.codec;
        Ok(Ear {
            listens_for,
            payloads,
            decoder: Decoder::new(codec, codec.sample_rate())?,
            samples: Vec::new(),
            played: None,
            sources: Vec::new(),
            packets: 0,
            ptimes: BTreeSet::new(),
            digits: Digits::default(),
            answered: now,
            first_audio: None,
            first_sound: None,
            count: Counting::new(codec),
            frames: 0,
            found: 0,
            recorder: None,
            any: Gap::starting(now),
            rtp: Gap::starting(now),
            rtcp: Gap::starting(now),
            reports: 0,
            unusable: 0,
        })
    }

    /// From now on everything is kept for [`Ear::recorded`].
    pub fn record(&mut self) {
        self.recorder.get_or_insert_default();
    }

    /// What was kept, on a real time line. `None`: nothing was, or it was not asked for.
    pub fn recorded(&self) -> Option<Recorded> {
        let recorder = self.recorder.as_ref()?;
        recorder.recorded(self.payloads.sound.codec)
    }

    /// Whether what is listened for has been found.
    pub fn hears(&self) -> bool {
        self.first_audio.is_some()
    }

    /// The call is answered: sound, the time to it and the gaps count from here, not what rang before.
    pub fn answered(&mut self, now: Instant) {
        self.answered = now;
        self.first_audio = None;
        self.first_sound = None;
        self.count = Counting::new(self.payloads.sound.codec);
        (self.frames, self.found) = (0, 0);
        for gap in [&mut self.any, &mut self.rtp, &mut self.rtcp] {
            gap.restart(now);
        }
    }

    /// Takes an RTP packet; `true` if it carried sound.
    pub fn rtp(&mut self, packet: &Packet<'_>, now: Instant) -> bool {
        self.packets += 1;
        self.any.packet(now);
        self.rtp.packet(now);
        let is_audio = packet.payload_type() == self.payloads.sound.number;
        self.count(packet, is_audio, now);
        if is_audio {
            if let Some(recorder) = &mut self.recorder {
                recorder.take(packet, now);
            }
            self.listen(packet, now);
        } else if self
            .payloads
            .events
            .is_some_and(|events| events.number == packet.payload_type())
        {
            self.digits
                .received(packet.ssrc(), packet.timestamp(), packet.payload());
        } else {
            self.unusable += 1;
        }
        is_audio
    }

    /// Takes an RTCP packet.
    pub fn rtcp(&mut self, bytes: &[u8], now: Instant) {
        let Ok(entries) = rtcp::read(bytes) else {
            return self.unusable(now);
        };
        self.any.packet(now);
        self.rtcp.packet(now);
        self.reports += 1;
        for entry in entries {
            if let rtcp::Entry::Sent { from, sent } = entry
                && let Some(source) = self.sources.iter_mut().find(|source| source.ssrc() == from)
            {
                source.sender_report(sent.ntp, now);
            }
        }
    }

    /// Counts a packet that is neither RTP nor RTCP.
    pub fn unusable(&mut self, now: Instant) {
        self.any.packet(now);
        self.unusable += 1;
    }

    /// The report block about the source heard last.
    pub fn block(&mut self, now: Instant) -> Option<rtcp::Block> {
        let (ssrc, _) = self.played?;
        self.sources
            .iter_mut()
            .find(|source| source.ssrc() == ssrc)
            .map(|source| source.report(now))
    }

    /// What has been heard so far.
    pub fn heard(&self) -> Heard {
        const LEAST_FRAMES: u64 = 5;
        // Both voices count alike: it is the other's if its tone is there.
        let first_packet = self.first_audio.and_then(|_| self.count.first_note());
        // The first frame of a voice fades in: what it was is told by those that follow.
        let first_audio = match first_packet {
            Some(_) => self.first_sound,
            None => self.first_audio,
        };
        let since =
            |first: Instant| first.saturating_duration_since(self.answered).as_millis() as u64;
        let mostly = match self.listens_for {
            ListensFor::Tone(_) => self.found * 2 > self.frames,
            ListensFor::Sound => true,
        };
        Heard {
            ok: self.found >= LEAST_FRAMES && mostly,
            packets: self.packets,
            lost: self.sources.iter().map(Reception::lost).sum(),
            first_audio_ms: first_audio.map(since),
            first_packet,
            ssrcs: self.sources.len(),
            ptimes: self.ptimes.clone(),
            digits: self.digits.text().to_owned(),
        }
    }

    /// What a strict client would look at, as of `now`.
    pub fn facts(&self, now: Instant) -> Facts {
        Facts {
            first_packet: self.any.first,
            first_rtp: self.rtp.first,
            ssrcs: self.sources.iter().map(Reception::ssrc).collect(),
            longest_gap: self.any.longest(now),
            longest_rtp_gap: self.rtp.longest(now),
            longest_rtcp_gap: self.rtcp.longest(now),
            reports: self.reports,
            unusable: self.unusable,
        }
    }

    fn count(&mut self, packet: &Packet<'_>, is_audio: bool, now: Instant) {
        let (ssrc, seq) = (packet.ssrc(), packet.seq());
        let timestamp = is_audio.then(|| packet.timestamp());
        let clock = self.payloads.sound.codec.clock_rate();
        if let Some(source) = self.sources.iter_mut().find(|source| source.ssrc() == ssrc) {
            source.received(seq, timestamp, now);
        } else if self.sources.len() < MOST_SOURCES {
            let mut source = Reception::starting_with(ssrc, seq, clock, now);
            source.received(seq, timestamp, now);
            self.sources.push(source);
        }
    }

    fn listen(&mut self, packet: &Packet<'_>, now: Instant) {
        let (ssrc, seq) = (packet.ssrc(), packet.seq());
        let late = self
            .played
            .is_some_and(|(source, last)| source == ssrc && seq.since(last) <= 0);
        if late {
            return;
        }
        self.played = Some((ssrc, seq));
        let mut samples = std::mem::take(&mut self.samples);
        samples.clear();
        match self.decoder.decode(packet.payload(), &mut samples) {
            Ok(()) => self.judge(&samples, packet, now),
            Err(_) => self.unusable += 1,
        }
        self.samples = samples;
    }

    /// Looks for everything that may be in decoded sound.
    fn judge(&mut self, samples: &[i16], packet: &Packet<'_>, now: Instant) {
        let codec = self.payloads.sound.codec;
        let rate = codec.sample_rate();
        let ptime = samples.len() * 1000 / rate.max(1) as usize;
        self.ptimes.insert(ptime as u16);
        let frame = (FRAME_MS * rate / 1000) as usize;
        for (nth, frame) in samples.chunks(frame).enumerate() {
            self.frames += 1;
            let later = nth as u32 * FRAME_MS * (codec.clock_rate() / 1000);
            self.count.hear(frame, packet.timestamp().plus(later));
            let is_sound = !tone::is_silence(frame);
            if is_sound {
                self.first_sound.get_or_insert(now);
            }
            let found = match self.listens_for {
                ListensFor::Tone(hz) => tone::is_heard(frame, hz, rate),
                ListensFor::Sound => is_sound,
            };
            if found {
                self.found += 1;
                self.first_audio.get_or_insert(now);
            }
        }
    }
}

/// Longest time between packets of one kind.
struct Gap {
    first: Option<Instant>,
    last: Instant,
    longest: Duration,
}

impl Gap {
    fn starting(now: Instant) -> Gap {
        Gap {
            first: None,
            last: now,
            longest: Duration::ZERO,
        }
    }

    fn restart(&mut self, now: Instant) {
        self.last = now;
        self.longest = Duration::ZERO;
    }

    fn packet(&mut self, now: Instant) {
        self.longest = self.longest(now);
        self.last = now;
        self.first.get_or_insert(now);
    }

    fn longest(&self, now: Instant) -> Duration {
        self.longest.max(now.saturating_duration_since(self.last))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtp::{Header, Timestamp};
    use crate::sim::speech::{Format, Recording};
    use crate::sim::tone::{PBX_HZ, USER_HZ};
    use proptest::prelude::*;
    use std::sync::Arc;

    const FRAME_TIME: Duration = Duration::from_millis(20);

    /// An ear and what is said to it.
    struct Room {
        ear: Ear,
        now: Instant,
        nth: u16,
    }

    impl Room {
        fn listening_for(hz: u32) -> Room {
            let now = Instant::now();
            Room {
                ear: Ear::new(ListensFor::Tone(hz), Payloads::META, now).unwrap(),
                now,
                nth: 65_500,
            }
        }

        fn packet(&mut self, ssrc: Ssrc, payload_type: u8, payload: &[u8]) {
            let header = Header {
                marker: false,
                payload_type,
                seq: Seq(self.nth),
                timestamp: Timestamp(u32::from(self.nth) * 960),
                ssrc,
            };
            let mut bytes = Vec::new();
            header.write(payload, &mut bytes);
            self.ear.rtp(&Packet::parse(&bytes).unwrap(), self.now);
            self.nth = self.nth.wrapping_add(1);
            self.now += FRAME_TIME;
        }

        fn says(&mut self, recording: &Arc<Recording>, frames: usize) {
            (0..frames).for_each(|nth| self.packet(Ssrc(1), 111, recording.packet(nth)));
        }
    }

    #[test]
    fn the_tone_of_the_other_is_heard() {
        let mut room = Room::listening_for(PBX_HZ);
        room.says(&Recording::tone(PBX_HZ, Format::OPUS).unwrap(), 100);
        let heard = room.ear.heard();
        let expected = Heard {
            ok: true,
            packets: 100,
            ssrcs: 1,
            ptimes: BTreeSet::from([20]),
            first_audio_ms: heard.first_audio_ms,
            first_packet: Some(0),
            ..Heard::default()
        };
        assert_eq!(heard, expected);
        assert_eq!(heard.first_audio_ms, Some(0));
    }

    #[test]
    fn neither_silence_nor_our_own_tone_come_back_is_heard() {
        for recording in [
            Recording::silence(Format::OPUS).unwrap(),
            Recording::tone(USER_HZ, Format::OPUS).unwrap(),
        ] {
            let mut room = Room::listening_for(PBX_HZ);
            room.says(&recording, 100);
            let heard = room.ear.heard();
            assert!(!heard.ok && heard.first_audio_ms.is_none(), "{heard:?}");
            assert_eq!(heard.packets, 100);
        }
    }

    #[test]
    fn a_tone_that_comes_late_or_goes_away_for_most_of_the_call_is_not_ok() {
        let (tone, silence) = (
            Recording::tone(PBX_HZ, Format::OPUS).unwrap(),
            Recording::silence(Format::OPUS).unwrap(),
        );
        let mut room = Room::listening_for(PBX_HZ);
        room.ear.answered(room.now);
        room.says(&silence, 60);
        room.says(&tone, 40);
        let heard = room.ear.heard();
        assert!(!heard.ok, "{heard:?}");
        assert!(
            (1_200..1_260).contains(&heard.first_audio_ms.unwrap()),
            "{heard:?}"
        );
        room.says(&tone, 40);
        assert!(room.ear.heard().ok, "now it is most of it");
    }

    #[test]
    fn what_rang_before_the_answer_is_not_held_against_the_call() {
        let mut room = Room::listening_for(PBX_HZ);
        room.says(&Recording::silence(Format::OPUS).unwrap(), 200);
        room.ear.answered(room.now);
        room.says(&Recording::tone(PBX_HZ, Format::OPUS).unwrap(), 50);
        assert!(room.ear.heard().ok);
    }

    #[test]
    fn losses_and_sources_are_told_across_the_wrap() {
        let tone = Recording::tone(PBX_HZ, Format::OPUS).unwrap();
        let mut room = Room::listening_for(PBX_HZ);
        room.says(&tone, 50);
        room.nth = room.nth.wrapping_add(3);
        room.says(&tone, 50);
        room.packet(Ssrc(2), 111, tone.packet(0));
        let heard = room.ear.heard();
        assert_eq!((heard.ok, heard.lost, heard.ssrcs), (true, 3, 2));
        assert_eq!(room.ear.facts(room.now).ssrcs, [Ssrc(1), Ssrc(2)]);
    }

    #[test]
    fn gaps_are_counted_from_the_answer_and_up_to_now() {
        let tone = Recording::tone(PBX_HZ, Format::OPUS).unwrap();
        let mut room = Room::listening_for(PBX_HZ);
        let secs = Duration::from_secs;
        room.now += secs(50);
        room.ear.answered(room.now);
        room.now += secs(2);
        let first = room.now;
        room.says(&tone, 1);
        room.ear.rtcp(&[0x80, 201, 0, 1, 0, 0, 0, 1], room.now);
        room.now += secs(3);
        let facts = room.ear.facts(room.now);
        assert_eq!(
            (facts.first_packet, facts.first_rtp),
            (Some(first), Some(first))
        );
        assert_eq!(
            (facts.longest_gap, facts.longest_rtcp_gap),
            (secs(3), secs(3))
        );
        assert_eq!(facts.longest_rtp_gap, secs(3) + FRAME_TIME);
        assert_eq!((facts.reports, facts.unusable), (1, 0));
    }

    #[test]
    fn unknown_payloads_empty_packets_and_noise_are_counted() {
        let mut room = Room::listening_for(PBX_HZ);
        room.packet(Ssrc(1), 0, &[0xff; 160]);
        room.packet(Ssrc(1), 111, &[]);
        room.ear.rtcp(b"noise", room.now);
        assert_eq!(room.ear.facts(room.now).unusable, 3);
    }

    proptest! {
        #[test]
        fn no_payload_makes_listening_panic(payloads: Vec<(bool, Vec<u8>)>) {
            let mut room = Room::listening_for(PBX_HZ);
            for (audio, payload) in payloads {
                room.packet(Ssrc(1), if audio { 111 } else { 126 }, &payload);
            }
            prop_assert!(room.ear.heard().digits.len() <= room.ear.heard().packets as usize);
        }
    }
}
