//! How speech sounds that came over a network, estimated from what the network did to it.
//!
//! ```text
//!   loss, jitter, round trip, codec ─▶ R = 93.2 − Id − Ie,eff (ITU-T G.107) ─▶ MOS, 1 to 4.5 (G.107 Annex B)
//! ```
//!
//! It is the E-model with everything but the network and the codec at its default values:
//!
//! - Id, the delay: `0.024·d + 0.11·(d − 177.3)` ms, the second term above 177.3 ms only (Cole and Rosenbluth, "Voice over
//!   IP performance monitoring", ACM CCR 31(2), 2001). `d` is one way: half the round trip, the jitter buffer,
//!   and what the codec takes. The jitter buffer is ours where there is one, else one of twice the jitter.
//! - Ie,eff, the loss: `Ie + (95 − Ie)·Ppl / (Ppl + Bpl)` for losses at random (G.107 §7.5).
//!
//! | codec | Ie | Bpl | delay | |
//! |---|---|---|---|---|
//! | G.711 | 0 | 25.1 | 20 ms | G.113 Appendix I, with concealment; 4.3 without. A packet of 20 ms |
//! | G.722 | 0 | 25.1 | 21.5 ms | as G.711, for on this scale, of narrowband, it is no worse; its filter takes 1.5 ms |
//! | Opus | 0 | 20 | 26.5 ms | G.113 has no values; those of the open `rtcscore` for Opus with forward error correction, which Meta's SDP asks for (`useinbandfec=1`). A frame of 20 ms, and 6.5 ms that it looks ahead (RFC 6716 §2) |
//!
//! So it compares paths and calls. It does not know echo, level or noise, or what a transcoder behind the PBX adds.

use std::time::Duration;

use super::{Codec, SideStats};

/// R of a call that the network leaves alone (G.107, all parameters at their defaults).
const UNTOUCHED: f64 = 93.2;
/// Milliseconds beyond which people begin to talk into each other's words.
const NOTICED_MS: f64 = 177.3;

/// What a codec does to speech, and how it takes losses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coding {
    /// Ie, the impairment without any loss.
    impairment: f64,
    /// Bpl, the robustness against losses, in percent.
    robustness: f64,
    /// A frame, and what it looks ahead, in milliseconds.
    pub(super) delay_ms: f64,
}

impl Coding {
    /// Of a codec whose decoder conceals losses; nothing is known to do otherwise, unless it says so.
    pub fn of(codec: Codec) -> Coding {
        let (robustness, delay_ms) = match codec {
            Codec::Pcma | Codec::Pcmu => (25.1, 20.0),
            Codec::G722 => (25.1, 21.5),
            Codec::Opus | Codec::TelephoneEvent { .. } => (20.0, 26.5),
        };
        Coding {
            impairment: 0.0,
            robustness,
            delay_ms,
        }
    }

    /// The same where a loss is heard as silence. Opus conceals by itself.
    pub fn unconcealed(codec: Codec) -> Coding {
        let concealed = Coding::of(codec);
        match codec {
            Codec::Pcma | Codec::Pcmu | Codec::G722 => Coding {
                robustness: 4.3,
                ..concealed
            },
            Codec::Opus | Codec::TelephoneEvent { .. } => concealed,
        }
    }
}

/// What a network did to a stream.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Path {
    /// What the stream is made of.
    pub coding: Coding,
    /// Part of the packets that never came, 0 to 1.
    pub loss: f64,
    /// Part of them that came in vain: too late for whoever plays them.
    pub late: f64,
    /// Interarrival jitter (RFC 3550 §6.4.1).
    pub jitter: Duration,
    /// How long the receiver holds sound back; `None`: not known, and twice the jitter is taken.
    pub buffer: Option<Duration>,
    /// There and back, without what the ends themselves take.
    pub round_trip: Duration,
}

/// What of a path costs most.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Impairment {
    /// Packets get lost.
    Loss,
    /// Packets come at uneven times, and who plays them has to wait.
    Jitter,
    /// The way is long.
    Delay,
}

impl Impairment {
    /// All of them.
    pub const ALL: [Impairment; 3] = [Impairment::Loss, Impairment::Jitter, Impairment::Delay];

    /// A word for it: it stays what it is.
    pub fn word(self) -> &'static str {
        match self {
            Impairment::Loss => "loss",
            Impairment::Jitter => "jitter",
            Impairment::Delay => "delay",
        }
    }
}

impl Path {
    /// The transmission rating factor R, 0 to 93.2.
    pub fn rating(&self) -> f64 {
        (UNTOUCHED - self.slow() - self.lossy()).max(0.0)
    }

    /// The mean opinion score that listeners would give, 1 to 4.5.
    pub fn mos(&self) -> f64 {
        opinion(self.rating())
    }

    /// The same of somebody who only listens, and does not notice the delay.
    pub fn listening_mos(&self) -> f64 {
        opinion((UNTOUCHED - self.lossy()).max(0.0))
    }

    /// What costs most.
    pub fn worst(&self) -> Impairment {
        if self.lossy() >= self.slow() {
            match self.late > self.loss {
                true => Impairment::Jitter,
                false => Impairment::Loss,
            }
        } else if self.held() >= self.round_trip / 2 {
            Impairment::Jitter
        } else {
            Impairment::Delay
        }
    }

    fn held(&self) -> Duration {
        self.buffer.unwrap_or(self.jitter.saturating_mul(2))
    }

    /// Id.
    fn slow(&self) -> f64 {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let delay = ms(self.round_trip) / 2.0 + ms(self.held()) + self.coding.delay_ms;
        0.024 * delay + 0.11 * (delay - NOTICED_MS).max(0.0)
    }

    /// Ie,eff.
    fn lossy(&self) -> f64 {
        let Coding {
            impairment,
            robustness,
            ..
        } = self.coding;
        let percent = (self.loss + self.late).clamp(0.0, 1.0) * 100.0;
        impairment + (95.0 - impairment) * percent / (percent + robustness)
    }
}

/// G.107 Annex B.
fn opinion(rating: f64) -> f64 {
    match rating {
        r if r <= 0.0 => 1.0,
        r if r >= 100.0 => 4.5,
        // For R below 6.5 the polynomial falls below the lowest score there is.
        r => (1.0 + 0.035 * r + r * (r - 60.0) * (100.0 - r) * 7e-6).max(1.0),
    }
}

impl SideStats {
    /// How what the peer sends sounds as it arrives here, over the whole call; `None` if nothing arrived. An unknown round
    /// trip counts as none.
    pub fn mos_in(&self) -> Option<f64> {
        let expected = self.received + self.lost;
        let path = Path {
            coding: Coding::of(self.codec_in.unwrap_or(Codec::Opus)),
            loss: self.lost as f64 / expected.max(1) as f64,
            late: self.discarded as f64 / expected.max(1) as f64,
            jitter: milliseconds(self.jitter_ms),
            buffer: self.buffered_mean_ms.map(milliseconds),
            round_trip: milliseconds(self.round_trip_ms.unwrap_or_default()),
        };
        (self.received > 0).then(|| path.mos())
    }

    /// How what we send sounds as the peer reports that it arrives there, over the whole call; `None` if it reports nothing.
    pub fn mos_out(&self) -> Option<f64> {
        let reported = self.reported.as_ref()?;
        let path = Path {
            coding: Coding::of(self.codec_out.unwrap_or(Codec::Opus)),
            loss: reported.lost as f64 / self.sent.max(1) as f64,
            late: 0.0,
            jitter: milliseconds(reported.jitter_ms),
            buffer: None,
            round_trip: milliseconds(self.round_trip_ms.unwrap_or_default()),
        };
        (self.sent > 0).then(|| path.mos())
    }
}

/// As long as a duration can be, or none where it is no time.
pub(super) fn milliseconds(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1000.0).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Reported;
    use proptest::prelude::*;

    fn path(percent: f64, jitter_ms: u64, round_trip_ms: u64) -> Path {
        Path {
            coding: Coding::of(Codec::Opus),
            loss: percent / 100.0,
            late: 0.0,
            jitter: Duration::from_millis(jitter_ms),
            buffer: None,
            round_trip: Duration::from_millis(round_trip_ms),
        }
    }

    #[track_caller]
    fn near(is: f64, wanted: f64) {
        assert!((is - wanted).abs() < 0.005, "{is} is not {wanted}");
    }

    #[test]
    fn the_scores_of_g_107_annex_b_are_met() {
        for (rating, score) in [
            (0.0, 1.0),
            (50.0, 2.575),
            (60.0, 3.10),
            (70.0, 3.597),
            (80.0, 4.024),
            (90.0, 4.339),
            (93.2, 4.409),
            (100.0, 4.5),
        ] {
            near(opinion(rating), score);
        }
    }

    #[test]
    fn a_path_that_does_nothing_costs_only_the_delay_of_the_codec() {
        near(path(0.0, 0, 0).rating(), 93.2 - 0.024 * 26.5);
        near(path(0.0, 0, 0).mos(), 4.396);
    }

    #[test]
    fn a_delay_hurts_more_once_it_is_noticed() {
        // One way: 73.5 + 26.5 = 100 ms, and 373.5 + 26.5 = 400 ms.
        near(path(0.0, 0, 147).rating(), 93.2 - 2.4);
        near(path(0.0, 0, 747).rating(), 93.2 - 9.6 - 0.11 * 222.7);
        near(path(0.0, 10, 107).rating(), 93.2 - 2.4);
    }

    #[test]
    fn a_jitter_buffer_costs_what_it_holds_back_whatever_the_jitter_is() {
        let with = |ms| Path {
            buffer: Some(Duration::from_millis(ms)),
            ..path(0.0, 50, 147)
        };
        near(with(0).rating(), path(0.0, 0, 147).rating());
        near(with(40).rating(), path(0.0, 20, 147).rating());
        assert_eq!(with(20).worst(), Impairment::Delay);
        assert_eq!(with(100).worst(), Impairment::Jitter);
    }

    #[test]
    fn what_came_too_late_to_be_played_counts_as_lost_and_the_buffer_as_it_was() {
        let side = SideStats {
            received: 990,
            lost: 10,
            discarded: 40,
            jitter_ms: 3.0,
            buffered_mean_ms: Some(40.0),
            round_trip_ms: Some(80.0),
            ..SideStats::default()
        };
        near(side.mos_in().unwrap(), path(5.0, 20, 80).mos());
    }

    #[test]
    fn as_much_loss_as_the_robustness_factor_costs_half_of_what_loss_can_cost() {
        let untouched = path(0.0, 0, 0).rating();
        near(untouched - path(20.0, 0, 0).rating(), 47.5);
        near(untouched - path(1.0, 0, 0).rating(), 95.0 / 21.0);
    }

    #[test]
    fn a_loss_costs_g_711_more_than_opus_only_where_nobody_conceals_it() {
        let with = |coding| Path {
            coding,
            ..path(5.0, 0, 0)
        };
        let concealed = with(Coding::of(Codec::Pcma));
        near(concealed.rating(), 93.2 - 0.024 * 20.0 - 95.0 * 5.0 / 30.1);
        let heard = with(Coding::unconcealed(Codec::Pcmu));
        near(heard.rating(), 93.2 - 0.024 * 20.0 - 95.0 * 5.0 / 9.3);
        assert!(heard.mos() < path(5.0, 0, 0).mos() && path(5.0, 0, 0).mos() < concealed.mos());
        let opus = Coding::of(Codec::Opus);
        assert_eq!(Coding::unconcealed(Codec::Opus), opus);
    }

    #[test]
    fn what_costs_most_is_named() {
        assert_eq!(path(5.0, 20, 100).worst(), Impairment::Loss);
        assert_eq!(path(0.1, 100, 100).worst(), Impairment::Jitter);
        assert_eq!(path(0.1, 10, 700).worst(), Impairment::Delay);
        let late = Path {
            late: 0.3,
            ..path(5.0, 180, 100)
        };
        assert_eq!(late.worst(), Impairment::Jitter, "it came, and too late");
        near(late.listening_mos(), path(35.0, 0, 0).listening_mos());
    }

    #[test]
    fn who_only_listens_minds_the_loss_and_not_the_delay() {
        near(path(0.0, 100, 900).listening_mos(), 4.409);
        assert!(path(5.0, 0, 0).listening_mos() > path(5.0, 0, 0).mos());
    }

    #[test]
    fn the_two_directions_of_a_leg_are_judged_apart() {
        let side = SideStats {
            received: 990,
            lost: 10,
            sent: 1000,
            round_trip_ms: Some(80.0),
            reported: Some(Reported {
                lost: 50,
                jitter_ms: 5.0,
            }),
            ..SideStats::default()
        };
        near(side.mos_in().unwrap(), path(1.0, 0, 80).mos());
        near(side.mos_out().unwrap(), path(5.0, 5, 80).mos());
        let silent = SideStats::default();
        assert_eq!((silent.mos_in(), silent.mos_out()), (None, None));
    }

    proptest! {
        #[test]
        fn whatever_was_measured_the_score_is_one_that_exists(
            received: u32, lost: u32, sent: u32, jitter_ms: f64, trip: f64, theirs: u32, jittered: f64,
        ) {
            let side = SideStats {
                received: received.into(),
                lost: lost.into(),
                sent: sent.into(),
                jitter_ms,
                round_trip_ms: Some(trip),
                reported: Some(Reported { lost: theirs.into(), jitter_ms: jittered }),
                ..SideStats::default()
            };
            for mos in [side.mos_in(), side.mos_out()].into_iter().flatten() {
                prop_assert!((1.0..=4.5).contains(&mos), "{mos}");
            }
        }
    }
}
