//! The extended reports of one side (RFC 3611): what the peer asks for in its SDP is written; whatever it sends is read.

use std::time::{Duration, Instant};

use super::Codec;
use super::buffered::Waiting;
use super::quality::{Coding, Path, milliseconds};
use super::reception::Reception;
use super::rtcp::WallClock;
use super::rtp::Ssrc;
use super::xr::{self, Block, Buffer, Concealment, Delay, Voip, Wanted};

/// What is known of the peer's extended reports, and what it wants of ours.
#[derive(Debug, Default)]
pub(crate) struct Extended {
    wanted: Wanted,
    /// The peer's last reference time, and when it came.
    reference: Option<(Ssrc, u32, Instant)>,
    /// How our stream sounds at the peer.
    voip: Option<Voip>,
}

/// What is so on our side when a report is written.
pub(crate) struct Side<'a> {
    pub(crate) ssrc: Ssrc,
    pub(crate) wall: &'a WallClock,
    pub(crate) reception: Option<&'a mut Reception>,
    pub(crate) codec: Codec,
    /// What the peer is sent.
    pub(crate) sent: Codec,
    pub(crate) round_trip: Option<Duration>,
    /// Our jitter buffer, where there is one, and what share of the packets came in vain.
    pub(crate) waiting: Option<Waiting>,
    pub(crate) discarded: f64,
}

impl Extended {
    /// The peer's SDP asks for these blocks.
    pub(crate) fn want(&mut self, wanted: Wanted) {
        self.wanted = wanted;
    }

    /// Reads a block of the peer; gives back the round trip, if it tells one.
    pub(crate) fn read(
        &mut self,
        from: Ssrc,
        block: &Block,
        ours: Ssrc,
        wall: &WallClock,
        now: Instant,
    ) -> Option<Duration> {
        match block {
            Block::ReferenceTime(ntp) => self.reference = Some((from, ntp.middle(), now)),
            Block::Delay(delay) if delay.receiver == ours => {
                return delay.round_trip(wall.ntp(now));
            }
            Block::Voip(voip) if voip.source == ours => self.voip = Some(*voip),
            // What the peer counted of ours is in its report blocks, too.
            Block::Delay(_) | Block::Summary(_) | Block::Voip(_) => {}
        }
        None
    }

    /// Part of what we sent that the peer got and could not play.
    pub(crate) fn discarded(&self) -> f64 {
        self.voip
            .map_or(0.0, |voip| f64::from(voip.discarded) / 256.0)
    }

    /// How losses of what we send in this codec are heard there.
    pub(crate) fn coding(&self, codec: Codec) -> Coding {
        match self.voip.map(|voip| voip.concealment) {
            Some(Concealment::Disabled) => Coding::unconcealed(codec),
            _ => Coding::of(codec),
        }
    }

    /// Appends what the peer wants to a report.
    pub(crate) fn write(&self, mut side: Side<'_>, now: Instant, out: &mut Vec<u8>) {
        let wanted = self.wanted;
        let time = wanted
            .round_trip
            .then(|| Block::ReferenceTime(side.wall.ntp(now)));
        let answer = |(receiver, last, came): (Ssrc, u32, Instant)| {
            Block::Delay(Delay {
                receiver,
                last,
                since: now.saturating_duration_since(came),
            })
        };
        let answer = self.reference.filter(|_| wanted.is_any()).map(answer);
        let (mut summary, mut voip) = (None, None);
        let ssrc = side.ssrc;
        if let Some(reception) = side.reception.as_deref_mut() {
            summary = wanted.summary.then(|| Block::Summary(reception.summary()));
        }
        if let Some(reception) = side.reception.as_deref().filter(|_| wanted.voip) {
            voip = Some(Block::Voip(metrics(reception, &side)));
        }
        let blocks = [time, answer, summary, voip];
        xr::write(ssrc, blocks.iter().flatten(), out);
    }
}

/// How a source sounds as it comes here. What is passed on we do not play, and discard nothing of it.
fn metrics(reception: &Reception, side: &Side<'_>) -> Voip {
    let share = |share: f64| (share * 256.0).min(255.0) as u8;
    let ms = |time: Duration| u16::try_from(time.as_millis()).unwrap_or(u16::MAX);
    let (pattern, frame) = reception.pattern();
    let lasting = |packets: f64| (packets * frame.as_secs_f64() * 1000.0).min(65_535.0) as u16;
    let lost = reception.loss();
    let path = Path {
        coding: Coding::of(side.codec),
        loss: lost,
        late: side.discarded,
        jitter: reception.jitter(),
        buffer: side.waiting.map(|waiting| waiting.delay),
        round_trip: side.round_trip.unwrap_or_default(),
    };
    let sending = milliseconds(Coding::of(side.sent).delay_ms);
    let tenths = |mos: f64| (mos * 10.0).round() as u8;
    Voip {
        source: reception.ssrc(),
        lost: share(lost),
        discarded: share(side.discarded),
        burst_density: share(pattern.burst_density),
        gap_density: share(pattern.gap_density),
        burst_duration: lasting(pattern.burst),
        gap_duration: lasting(pattern.gap),
        round_trip: side.round_trip.map_or(0, ms),
        end_system: side.waiting.map_or(0, |w| ms(w.delay + sending)),
        rating: path.rating().round() as u8,
        listening: tenths(path.listening_mos()),
        conversation: tenths(path.mos()),
        concealment: match side.waiting {
            Some(_) => Concealment::Enhanced,
            None => Concealment::Unspecified,
        },
        buffer: side.waiting.map(|waiting| Buffer {
            adapts: true,
            now: ms(waiting.delay),
            most: ms(waiting.most),
            most_ever: ms(waiting.most),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::rtcp::{self, Entry, Ntp};
    use crate::media::rtp::{Seq, Timestamp};

    const US: Ssrc = Ssrc(0xa);
    const PEER: Ssrc = Ssrc(0xb);
    const ALL: Wanted = Wanted {
        round_trip: true,
        summary: true,
        voip: true,
    };

    fn wall(start: Instant) -> WallClock {
        WallClock::new(start, Duration::from_secs(1_700_000_000))
    }

    /// G.711 of the peer, 200 packets of 20 ms, of which three in a row are lost.
    fn heard(start: Instant) -> Reception {
        let mut reception = Reception::starting_with(PEER, Seq(1), 8_000, start);
        for nth in (0..200_u16).filter(|nth| !(100..103).contains(nth)) {
            let at = start + Duration::from_millis(20) * u32::from(nth);
            let timestamp = Some(Timestamp(160 * u32::from(nth)));
            reception.received(Seq(1 + nth), timestamp, at);
        }
        reception
    }

    /// A side that passes G.711 on as it comes.
    fn side(wall: &WallClock) -> Side<'_> {
        Side {
            ssrc: US,
            wall,
            reception: None,
            codec: Codec::Pcma,
            sent: Codec::Pcma,
            round_trip: Some(Duration::from_millis(84)),
            waiting: None,
            discarded: 0.0,
        }
    }

    fn written(extended: &Extended, start: Instant, after: Duration) -> Vec<Block> {
        let (wall, mut reception) = (wall(start), heard(start));
        let side = Side {
            reception: Some(&mut reception),
            ..side(&wall)
        };
        let mut out = Vec::new();
        extended.write(side, start + after, &mut out);
        if out.is_empty() {
            return Vec::new();
        }
        let block = |entry| match entry {
            Entry::Extended { from: US, block } => block,
            other => panic!("{other:?}"),
        };
        rtcp::read(&out).unwrap().map(block).collect()
    }

    #[test]
    fn a_peer_that_asks_for_nothing_is_sent_nothing() {
        let start = Instant::now();
        let mut extended = Extended::default();
        let time = Block::ReferenceTime(Ntp(1 << 32));
        extended.read(PEER, &time, US, &wall(start), start);
        assert_eq!(written(&extended, start, Duration::ZERO), []);
    }

    #[test]
    fn who_only_listens_learns_the_round_trip_from_the_answer_to_its_time() {
        let start = Instant::now();
        let mut ours = Extended::default();
        ours.want(ALL);
        let Some(Block::ReferenceTime(sent)) =
            written(&ours, start, Duration::ZERO).first().copied()
        else {
            panic!("no reference time");
        };
        let mut theirs = Extended::default();
        theirs.want(ALL);
        let at = start + Duration::from_millis(40);
        theirs.read(US, &Block::ReferenceTime(sent), PEER, &wall(start), at);
        let after = Duration::from_millis(540);
        let answers = written(&theirs, start, after).into_iter();
        let mut answers = answers.filter(|block| matches!(block, Block::Delay(_)));
        let answer = answers.next().unwrap();
        let back = start + Duration::from_millis(580);
        let trip = ours.read(PEER, &answer, US, &wall(start), back).unwrap();
        let apart = trip.abs_diff(Duration::from_millis(80));
        assert!(apart < Duration::from_micros(50), "{trip:?}");
        let other = ours.read(PEER, &answer, Ssrc(7), &wall(start), back);
        assert_eq!(other, None, "the answer to somebody else");
    }

    #[test]
    fn voip_metrics_tell_how_the_peer_sounds_here() {
        let start = Instant::now();
        let mut extended = Extended::default();
        extended.want(Wanted {
            voip: true,
            ..Wanted::default()
        });
        let blocks = written(&extended, start, Duration::from_secs(4));
        let [Block::Voip(voip)] = blocks.as_slice() else {
            panic!("{blocks:?}");
        };
        assert_eq!((voip.source, voip.lost, voip.discarded), (PEER, 3, 0));
        assert_eq!((voip.burst_density, voip.burst_duration), (255, 60));
        assert_eq!((voip.gap_density, voip.round_trip), (0, 84));
        assert_eq!((voip.listening, voip.conversation), (43, 42));
        assert_eq!(voip.rating, 86);
    }

    #[test]
    fn where_sound_waits_in_a_jitter_buffer_voip_metrics_tell_what_that_does() {
        let start = Instant::now();
        let (wall, reception) = (wall(start), heard(start));
        let passed_on = metrics(&reception, &side(&wall));
        let waiting = |ms| Side {
            waiting: Some(Waiting {
                delay: Duration::from_millis(ms),
                most: Duration::from_millis(200),
            }),
            ..side(&wall)
        };
        let played = metrics(&reception, &waiting(60));
        let buffer = Buffer {
            adapts: true,
            now: 60,
            most: 200,
            most_ever: 200,
        };
        assert_eq!((passed_on.buffer, played.buffer), (None, Some(buffer)));
        assert_eq!((passed_on.end_system, played.end_system), (0, 80));
        assert_eq!(played.concealment, Concealment::Enhanced);
        assert!(metrics(&reception, &waiting(180)).rating < played.rating);
        let late = Side {
            discarded: 0.125,
            ..waiting(60)
        };
        let late = metrics(&reception, &late);
        assert_eq!((late.discarded, late.lost), (32, played.lost));
        assert!(late.listening < played.listening);
    }

    #[test]
    fn what_the_peer_discards_and_does_not_conceal_counts_against_what_we_send() {
        let start = Instant::now();
        let mut extended = Extended::default();
        assert_eq!(extended.coding(Codec::Pcmu), Coding::of(Codec::Pcmu));
        let mut voip = metrics(&heard(start), &side(&wall(start)));
        (voip.discarded, voip.concealment) = (64, Concealment::Disabled);
        extended.read(PEER, &Block::Voip(voip), US, &wall(start), start);
        assert_eq!(extended.discarded(), 0.0, "it is of another stream");
        voip.source = US;
        extended.read(PEER, &Block::Voip(voip), US, &wall(start), start);
        assert_eq!(extended.discarded(), 0.25);
        let unconcealed = Coding::unconcealed(Codec::Pcmu);
        assert_eq!(extended.coding(Codec::Pcmu), unconcealed);
    }
}
