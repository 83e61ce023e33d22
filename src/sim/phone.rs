//! A voice at one end of a call: it says a tone and digits, or echoes, and listens.
//!
//! It holds no socket and reads no clock: whoever drives it hands it what came in ([`Phone::handle`]), and sends what
//! [`Phone::poll`] gives at [`Phone::deadline`]. It speaks plain RTP; SRTP is put around it outside.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::digits::Keypad;
use super::ear::{Ear, Facts, Heard, ListensFor};
use super::recorder::Recorded;
use super::speech::{Format, Recording};
use crate::media::demux::Kind;
use crate::media::rtcp::{Report, Sent, WallClock};
use crate::media::rtp::{Header, Packet, Seq, Ssrc, Timestamp};
use crate::media::sound::SoundError;
use crate::media::{Codec, Payload};

/// Half of what RFC 3550 §6.2 suggests, so that even short calls carry reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(2_500);

/// How late a driver may be; beyond, frames are left out rather than sent in one burst.
const MOST_BEHIND: Duration = Duration::from_millis(200);

/// From one packet to the next of a voice that pauses.
const PAUSE: Duration = Duration::from_millis(200);

/// Echoes that wait to be fetched.
const MOST_ECHOES: usize = 50;

/// The payload numbers of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payloads {
    /// The sound.
    pub sound: Payload,
    /// `telephone-event`, if it was agreed.
    pub events: Option<Events>,
}

/// How telephone-event was agreed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Events {
    /// Payload number.
    pub number: u8,
    /// Clock rate in Hz, in which durations count; timestamps are those of the sound.
    pub rate: u32,
}

impl Payloads {
    /// The numbers in Meta's own offers (§7).
    pub const META: Payloads = Payloads {
        sound: Payload {
            number: 111,
            codec: Codec::Opus,
        },
        events: Some(Events {
            number: 126,
            rate: 8_000,
        }),
    };
}

/// What a phone does with its mouth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Plays its recording, a packet as often as one takes to say.
    Talk,
    /// Plays a packet of it every 200 ms, as Opus with DTX goes on between words (RFC 7587 §3.1.3): for more calls than
    /// a small machine has voices for.
    Pause,
    /// Sends every received payload of sound back at once, and nothing else.
    Echo,
    /// Sends digits and reports only.
    Mute,
}

/// How a phone is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Our source; the first sequence number and timestamp are made from it.
    pub ssrc: Ssrc,
    /// What we do.
    pub mode: Mode,
    /// What we say in [`Mode::Talk`], in the codec of `send`.
    pub says: Arc<Recording>,
    /// What is to be found in what we hear: the other's tone, or our own where we are echoed.
    pub listens_for: ListensFor,
    /// Whether what we hear is kept for [`Phone::recorded`].
    pub records: bool,
    /// By how many parts of a million our clock is fast.
    pub drift_ppm: i32,
    /// Payload numbers that the other side expects.
    pub send: Payloads,
    /// Payload numbers that the other side uses.
    pub receive: Payloads,
}

/// One end of one call.
pub struct Phone {
    setup: Setup,
    ear: Ear,
    keypad: Option<Keypad>,
    echoes: VecDeque<(Timestamp, Vec<u8>)>,
    /// What is added to a received timestamp to make it ours, and the source it holds for.
    echo_shift: Option<(Ssrc, u32)>,
    seq: Seq,
    /// Of the next frame.
    timestamp: Timestamp,
    /// Of the digit that is being pressed.
    pressed_at: Timestamp,
    nth_frame: usize,
    /// How long a frame takes by the clock of everybody else.
    frame_time: Duration,
    /// When the first frame went out.
    began: Option<Instant>,
    clock: WallClock,
    /// While we may send: when the next frame and the next report are due.
    due: Option<Due>,
    packets: u32,
    octets: u32,
}

#[derive(Clone, Copy)]
struct Due {
    frame: Instant,
    report: Instant,
}

impl Phone {
    /// A phone that listens, and is silent until [`Phone::start`].
    ///
    /// # Errors
    /// When the codec cannot be had.
    pub fn new(setup: Setup, now: Instant) -> Result<Phone, SoundError> {
        let (seq, timestamp) = beginning(setup.ssrc);
        let format = setup.says.format;
        let keypad = |events: Events| Keypad::new(events.rate, format.ptime);
        let mut ear = Ear::new(setup.listens_for, setup.receive, now)?;
        if setup.records {
            ear.record();
        }
        Ok(Phone {
            ear,
            keypad: setup.send.events.map(keypad),
            frame_time: format
                .time()
                .mul_f64(1.0 - f64::from(setup.drift_ppm) / 1e6),
            began: None,
            echoes: VecDeque::new(),
            echo_shift: None,
            seq,
            timestamp,
            pressed_at: timestamp,
            nth_frame: 0,
            // Only differences matter to whoever reads our reports.
            clock: WallClock::new(now, Duration::ZERO),
            due: None,
            packets: 0,
            octets: 0,
            setup,
        })
    }

    /// From now on we send: the first frame is due at once.
    pub fn start(&mut self, now: Instant) {
        if self.due.is_none() {
            self.due = Some(Due {
                frame: now,
                report: now + REPORT_INTERVAL / 5,
            });
        }
    }

    /// From now on we do something else: fall silent, talk again, echo.
    pub fn set_mode(&mut self, mode: Mode) {
        self.setup.mode = mode;
        self.echoes.clear();
        self.echo_shift = None;
    }

    /// From now on we send as another source with numbers of its own, as a PBX does that transfers the call.
    pub fn change_source(&mut self, ssrc: Ssrc) {
        self.setup.ssrc = ssrc;
        (self.seq, self.timestamp) = beginning(ssrc);
        (self.packets, self.octets) = (0, 0);
        self.echo_shift = None;
    }

    /// From now on we send nothing at all, as a phone whose network is gone; we go on listening.
    pub fn stop(&mut self) {
        self.due = None;
        self.echoes.clear();
    }

    /// The call is answered: what is heard first, and gaps, count from here.
    pub fn answered(&mut self, now: Instant) {
        self.ear.answered(now);
    }

    /// Presses digits, one after another, in place of sound. `false` if no telephone-event was agreed.
    pub fn dial(&mut self, digits: &str) -> bool {
        self.keypad
            .as_mut()
            .map(|keypad| keypad.dial(digits))
            .is_some()
    }

    /// Whether all digits have been sent.
    pub fn has_dialled(&self) -> bool {
        self.keypad.as_ref().is_none_or(Keypad::is_done)
    }

    /// Takes a datagram that came in, opened if it was protected.
    pub fn handle(&mut self, datagram: &[u8], now: Instant) {
        match (Kind::of(datagram), Packet::parse(datagram)) {
            (Kind::Rtp, Ok(packet)) => {
                if self.ear.rtp(&packet, now) && self.setup.mode == Mode::Echo && self.due.is_some()
                {
                    self.echo(&packet);
                }
            }
            (Kind::Rtcp, _) => self.ear.rtcp(datagram, now),
            _ => self.ear.unusable(now),
        }
    }

    /// When [`Phone::poll`] has something to send next.
    pub fn deadline(&self) -> Option<Instant> {
        let due = self.due?;
        match self.setup.mode {
            // An echo is due as soon as it is there, and its frame was due long ago.
            Mode::Echo if self.echoes.is_empty() => Some(due.report),
            _ => Some(due.frame.min(due.report)),
        }
    }

    /// Makes `out` the next packet that is due, if there is one: call it until there is none.
    pub fn poll(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Kind> {
        let due = self.due.as_mut()?;
        if due.report <= now {
            due.report = now + REPORT_INTERVAL;
            self.write_report(now, out);
            return Some(Kind::Rtcp);
        }
        if self.setup.mode == Mode::Echo {
            let (timestamp, payload) = self.echoes.pop_front()?;
            let number = self.setup.send.sound.number;
            self.write(number, timestamp, false, &payload, out);
            return Some(Kind::Rtp);
        }
        while let Some(nth) = self.take_frame(now) {
            if self.write_frame(nth, out) {
                return Some(Kind::Rtp);
            }
        }
        None
    }

    /// What has been heard so far.
    pub fn heard(&self) -> Heard {
        self.ear.heard()
    }

    /// Whether what we listen for has been heard.
    pub fn hears(&self) -> bool {
        self.ear.hears()
    }

    /// What was kept of what has been heard.
    pub fn recorded(&self) -> Option<Recorded> {
        self.ear.recorded()
    }

    /// When the first frame went out; our recording is said from then on.
    pub fn began(&self) -> Option<Instant> {
        self.began
    }

    /// What a strict client would look at, as of `now`.
    pub fn facts(&self, now: Instant) -> Facts {
        self.ear.facts(now)
    }

    /// RTP packets sent so far.
    pub fn sent(&self) -> u32 {
        self.packets
    }

    /// The next frame that is due, counted from the beginning.
    fn take_frame(&mut self, now: Instant) -> Option<usize> {
        let due = self.due.as_mut().filter(|due| due.frame <= now)?;
        if self.began.is_none() {
            due.frame = now; // a voice begins with its first frame, whenever that is
            self.began = Some(now);
        }
        let behind = now - due.frame;
        let skipped = match behind > MOST_BEHIND {
            true => (behind.as_nanos() / self.frame_time.as_nanos().max(1)) as u32,
            false => 0,
        };
        due.frame += self.frame_time * (skipped + 1);
        let units = self.format().units().wrapping_mul(skipped + 1);
        self.timestamp = self.timestamp.plus(units);
        self.nth_frame += skipped as usize + 1;
        Some(self.nth_frame - 1)
    }

    fn format(&self) -> Format {
        self.setup.says.format
    }

    /// A digit if one is pressed, else sound if we talk.
    fn write_frame(&mut self, nth: usize, out: &mut Vec<u8>) -> bool {
        let timestamp = self.timestamp.plus(self.format().units().wrapping_neg());
        if let (Some(press), Some(events)) = (
            self.keypad.as_mut().and_then(Keypad::next_frame),
            self.setup.send.events,
        ) {
            if press.first {
                self.pressed_at = timestamp;
            }
            self.write(
                events.number,
                self.pressed_at,
                press.first,
                &press.payload,
                out,
            );
            return true;
        }
        let speaks = match self.setup.mode {
            Mode::Talk => true,
            Mode::Pause => {
                let frames = PAUSE.as_millis() / u128::from(self.format().ptime).max(1);
                (nth as u128).is_multiple_of(frames.max(1))
            }
            Mode::Echo | Mode::Mute => false,
        };
        if speaks {
            let says = Arc::clone(&self.setup.says);
            // The marker begins a talk spurt, and without DTX there is but one (RFC 3551 §4.1, RFC 7587 §4.2).
            let (number, first) = (self.setup.send.sound.number, self.packets == 0);
            self.write(number, timestamp, first, says.packet(nth), out);
            return true;
        }
        false
    }

    fn write(
        &mut self,
        payload_type: u8,
        timestamp: Timestamp,
        marker: bool,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) {
        let header = Header {
            marker,
            payload_type,
            seq: self.seq,
            timestamp,
            ssrc: self.setup.ssrc,
        };
        header.write(payload, out);
        self.seq = self.seq.next();
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
    }

    fn write_report(&mut self, now: Instant, out: &mut Vec<u8>) {
        let sent = Sent {
            ntp: self.clock.ntp(now),
            timestamp: self.timestamp,
            packets: self.packets,
            octets: self.octets,
        };
        let block = self.ear.block(now);
        let report = Report {
            ssrc: self.setup.ssrc,
            sent: (self.packets > 0).then_some(sent),
            blocks: block.as_slice(),
            cname: "wabridge-sim",
            bye: false,
        };
        report.write(out);
    }

    /// Puts the payload in line, with a timestamp that keeps its distance from the one before.
    fn echo(&mut self, packet: &Packet<'_>) {
        let (ssrc, theirs) = (packet.ssrc(), packet.timestamp());
        let shift = match self.echo_shift {
            Some((source, shift)) if source == ssrc => shift,
            _ => self.timestamp.plus(self.format().units()).since(theirs) as u32,
        };
        self.echo_shift = Some((ssrc, shift));
        self.timestamp = theirs.plus(shift);
        if self.echoes.len() < MOST_ECHOES {
            self.echoes
                .push_back((self.timestamp, packet.payload().to_vec()));
        }
    }
}

/// The first sequence number and timestamp of a source: of no pattern, but the same in each run of a test.
fn beginning(ssrc: Ssrc) -> (Seq, Timestamp) {
    let mixed = ssrc.0.wrapping_mul(0x9e37_79b9);
    // In the lower half, so that an early loss cannot hide a wrap from SRTP (RFC 3711 §3.3.1).
    (Seq((mixed >> 17) as u16), Timestamp(mixed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtcp::{self, Entry};
    use crate::sim::tone::{PBX_HZ, USER_HZ};
    use proptest::prelude::*;
    use std::sync::LazyLock;

    const FRAME_TIME: Duration = Duration::from_millis(20);

    static USER_TONE: LazyLock<Arc<Recording>> =
        LazyLock::new(|| Recording::tone(USER_HZ, Format::OPUS).unwrap());
    static PBX_TONE: LazyLock<Arc<Recording>> =
        LazyLock::new(|| Recording::tone(PBX_HZ, Format::OPUS).unwrap());

    fn phone(
        ssrc: u32,
        mode: Mode,
        says: &Arc<Recording>,
        listens_for: u32,
        now: Instant,
    ) -> Phone {
        let setup = Setup {
            ssrc: Ssrc(ssrc),
            mode,
            says: Arc::clone(says),
            listens_for: ListensFor::Tone(listens_for),
            records: false,
            drift_ppm: 0,
            send: Payloads::META,
            receive: Payloads::META,
        };
        Phone::new(setup, now).unwrap()
    }

    /// Two phones on a wire of `DELAY`, and what went over it from the user.
    struct Wire {
        user: Phone,
        pbx: Phone,
        now: Instant,
        from_user: Vec<Vec<u8>>,
    }

    const DELAY: Duration = Duration::from_millis(5);

    impl Wire {
        fn new(user: (Mode, u32), pbx: (Mode, u32)) -> Wire {
            let now = Instant::now();
            let mut wire = Wire {
                user: phone(1, user.0, &USER_TONE, user.1, now),
                pbx: phone(2, pbx.0, &PBX_TONE, pbx.1, now),
                now,
                from_user: Vec::new(),
            };
            wire.user.start(now);
            wire.pbx.start(now);
            wire
        }

        /// Both talk so; the user's clock is fast, and what it hears is recorded.
        fn speaking(format: Format, drift_ppm: i32) -> Wire {
            let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Talk, USER_HZ));
            let now = wire.now;
            let phone = |of: &Phone, hz, drift_ppm, records| {
                let payloads = Payloads {
                    sound: Payload {
                        number: 96,
                        codec: format.codec,
                    },
                    ..Payloads::META
                };
                let setup = Setup {
                    says: Recording::tone(hz, format).unwrap(),
                    send: payloads,
                    receive: payloads,
                    drift_ppm,
                    records,
                    ..of.setup.clone()
                };
                let mut phone = Phone::new(setup, now).unwrap();
                phone.start(now);
                phone
            };
            wire.user = phone(&wire.user, USER_HZ, drift_ppm, true);
            wire.pbx = phone(&wire.pbx, PBX_HZ, 0, false);
            wire
        }

        fn runs_for(&mut self, time: Duration) {
            let end = self.now + time;
            let mut out = Vec::new();
            while let Some(due) = [self.user.deadline(), self.pbx.deadline()]
                .into_iter()
                .flatten()
                .min()
            {
                if due > end {
                    break;
                }
                self.now = self.now.max(due);
                while self.user.poll(self.now, &mut out).is_some() {
                    self.from_user.push(out.clone());
                    self.pbx.handle(&out, self.now + DELAY);
                }
                while self.pbx.poll(self.now, &mut out).is_some() {
                    self.user.handle(&out, self.now + DELAY);
                }
            }
            self.now = end;
        }
    }

    #[test]
    fn two_phones_hear_each_other() {
        let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Talk, USER_HZ));
        wire.runs_for(Duration::from_secs(3));
        for phone in [&wire.user, &wire.pbx] {
            let heard = phone.heard();
            assert!(heard.ok, "{heard:?}");
            assert_eq!((heard.packets, heard.lost, heard.ssrcs), (151, 0, 1));
            assert!(heard.first_audio_ms.unwrap() <= 45, "{heard:?}");
            let facts = phone.facts(wire.now);
            assert!(facts.longest_gap <= FRAME_TIME, "{facts:?}");
            assert_eq!((facts.reports, facts.unusable), (2, 0));
        }
    }

    #[test]
    fn an_echo_is_heard_by_whoever_listens_for_himself_and_by_nobody_else() {
        for (listens_for, ok) in [(USER_HZ, true), (PBX_HZ, false)] {
            let mut wire = Wire::new((Mode::Talk, listens_for), (Mode::Echo, USER_HZ));
            wire.runs_for(Duration::from_secs(2));
            let heard = wire.user.heard();
            assert_eq!(heard.ok, ok, "{heard:?}");
            assert!(heard.packets >= 99 && heard.lost == 0, "{heard:?}");
        }
    }

    #[test]
    fn digits_are_heard_once_each_in_their_order_and_the_talk_goes_on() {
        let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Talk, USER_HZ));
        assert!(wire.user.dial("1122*0#"));
        assert!(!wire.user.has_dialled());
        wire.runs_for(Duration::from_secs(4));
        let heard = wire.pbx.heard();
        assert_eq!(
            (heard.digits.as_str(), heard.ok, heard.lost),
            ("1122*0#", true, 0)
        );
        assert!(wire.user.has_dialled());
    }

    #[test]
    fn digits_share_source_sequence_and_clock_with_the_sound() {
        let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Mute, USER_HZ));
        wire.runs_for(Duration::from_millis(100));
        wire.user.dial("7");
        wire.runs_for(Duration::from_millis(400));
        let rtp = wire
            .from_user
            .iter()
            .filter(|bytes| Kind::of(bytes) == Kind::Rtp);
        let headers: Vec<_> = rtp
            .map(|bytes| Packet::parse(bytes).unwrap().header())
            .collect();
        for pair in headers.windows(2) {
            assert_eq!(
                (pair[1].seq.since(pair[0].seq), pair[1].ssrc),
                (1, pair[0].ssrc)
            );
        }
        let first = headers
            .iter()
            .position(|header| header.payload_type == 126)
            .unwrap();
        let digit: Vec<_> = headers
            .iter()
            .filter(|header| header.payload_type == 126)
            .collect();
        assert_eq!(digit.len(), 7);
        assert!(
            digit
                .iter()
                .all(|header| header.timestamp == headers[first].timestamp)
        );
        assert_eq!(digit.iter().filter(|header| header.marker).count(), 1);
        assert_eq!(
            headers[first].timestamp.since(headers[first - 1].timestamp),
            960
        );
        assert_eq!(
            headers[first + 7]
                .timestamp
                .since(headers[first - 1].timestamp),
            8 * 960
        );
    }

    #[test]
    fn a_mute_phone_still_reports_and_a_stopped_one_does_not() {
        let mut wire = Wire::new((Mode::Mute, PBX_HZ), (Mode::Talk, USER_HZ));
        wire.runs_for(Duration::from_secs(6));
        assert_eq!(wire.user.sent(), 0);
        let reports: Vec<Entry> = wire
            .from_user
            .iter()
            .flat_map(|bytes| rtcp::read(bytes).unwrap())
            .collect();
        assert_eq!(
            reports.len(),
            3,
            "a receiver report each 2.5 s, about the one source it hears"
        );
        assert!(
            reports.iter().all(
                |entry| matches!(entry, Entry::Heard { block, .. } if block.source == Ssrc(2))
            )
        );
        wire.user.stop();
        wire.runs_for(Duration::from_secs(6));
        assert_eq!(wire.from_user.len(), 3);
        assert!(wire.pbx.facts(wire.now).longest_gap > Duration::from_secs(5));
    }

    #[test]
    fn a_phone_that_falls_silent_and_talks_again_is_heard_without_loss() {
        let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Echo, USER_HZ));
        wire.runs_for(Duration::from_secs(1));
        for mode in [Mode::Mute, Mode::Talk] {
            wire.pbx.set_mode(mode);
            wire.runs_for(Duration::from_secs(2));
        }
        let heard = wire.user.heard();
        assert_eq!(
            (heard.ok, heard.lost, heard.ssrcs),
            (true, 0, 1),
            "{heard:?}"
        );
        assert!(wire.user.facts(wire.now).longest_rtp_gap >= Duration::from_secs(2));
    }

    #[test]
    fn a_transfer_shows_as_a_second_source_without_loss() {
        let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Talk, USER_HZ));
        wire.runs_for(Duration::from_secs(1));
        wire.pbx.change_source(Ssrc(77));
        wire.runs_for(Duration::from_secs(1));
        let heard = wire.user.heard();
        assert_eq!(
            (heard.ok, heard.lost, heard.ssrcs),
            (true, 0, 2),
            "{heard:?}"
        );
    }

    #[test]
    fn a_driver_that_was_asleep_causes_no_burst() {
        for asleep_before in [true, false] {
            let mut wire = Wire::new((Mode::Talk, PBX_HZ), (Mode::Mute, USER_HZ));
            if !asleep_before {
                wire.runs_for(Duration::from_millis(90));
            }
            let late = wire.now + Duration::from_secs(5);
            let (mut out, mut sent) = (Vec::new(), Vec::new());
            while wire.user.poll(late, &mut out).is_some() {
                sent.push(out.clone());
            }
            assert_eq!(sent.len(), 2, "one report and one frame");
            let next = wire.user.deadline().unwrap();
            assert!(late < next && next <= late + FRAME_TIME);
            let begins = sent[1].ends_with(USER_TONE.packet(0));
            assert_eq!(begins, asleep_before, "what is sent first is the beginning");
        }
    }

    #[test]
    fn two_phones_hear_each_other_and_their_digits_in_every_codec_and_packet_length() {
        for codec in [Codec::Pcmu, Codec::Pcma, Codec::G722, Codec::Opus] {
            for ptime in [10, 20, 40, 60] {
                let format = Format {
                    codec,
                    ptime,
                    ..Format::OPUS
                };
                let mut wire = Wire::speaking(format, 0);
                assert!(wire.user.dial("15#"));
                wire.runs_for(Duration::from_secs(3));
                let heard = wire.pbx.heard();
                assert!(heard.ok, "{format:?}: {heard:?}");
                assert_eq!((heard.digits.as_str(), heard.lost), ("15#", 0));
                let heard = wire.user.heard();
                assert!(heard.ok, "{format:?}: {heard:?}");
                assert_eq!(heard.first_packet, Some(0), "{format:?}");
                assert_eq!(heard.packets, 3_000 / u64::from(ptime) + 1);
                assert!(heard.ptimes.iter().eq(&[ptime]), "{format:?}: {heard:?}");
            }
        }
    }

    #[test]
    fn a_fast_clock_sends_more_in_the_same_time_and_a_slow_one_less() {
        for (drift_ppm, packets) in [(50_000, 158), (0, 151), (-50_000, 143)] {
            let mut wire = Wire::speaking(Format::OPUS, drift_ppm);
            wire.runs_for(Duration::from_secs(3));
            assert_eq!(wire.pbx.heard().packets, packets, "{drift_ppm} ppm");
        }
    }

    #[test]
    fn what_a_phone_hears_is_recorded_from_when_it_came() {
        let format = Format {
            codec: Codec::Pcma,
            ptime: 30,
            ..Format::OPUS
        };
        let mut wire = Wire::speaking(format, 0);
        wire.runs_for(Duration::from_secs(1));
        let recorded = wire.user.recorded().unwrap();
        assert_eq!(recorded.from, wire.pbx.began().unwrap() + DELAY);
        assert_eq!(recorded.wav.samples.len(), 34 * 240);
        assert_eq!(wire.pbx.recorded(), None, "nobody asked for it");
    }

    #[test]
    fn without_telephone_event_no_digit_is_promised() {
        let now = Instant::now();
        let mut phone = phone(1, Mode::Talk, &USER_TONE, PBX_HZ, now);
        phone.keypad = None;
        assert!(!phone.dial("1"));
        assert!(phone.has_dialled());
    }

    proptest! {
        #[test]
        fn no_datagram_makes_a_phone_panic(mut datagrams: Vec<Vec<u8>>, payload_type in prop::sample::select(&[111u8, 126, 200])) {
            let now = Instant::now();
            let mut phone = phone(1, Mode::Echo, &USER_TONE, PBX_HZ, now);
            phone.start(now);
            for bytes in &mut datagrams {
                if let [first, second, ..] = bytes.as_mut_slice() {
                    (*first, *second) = (*first & 0x3f | 0x80, payload_type);
                }
                phone.handle(bytes, now);
            }
            prop_assert!(phone.echoes.len() <= MOST_ECHOES);
        }
    }
}
