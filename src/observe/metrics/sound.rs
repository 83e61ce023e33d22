//! How calls sound while they are up: what the media engine measures of every few seconds, counted by size.

use super::{Histogram, Metrics, table};
use crate::leg::Leg;
use crate::media::{Measured, Way};

/// Counts intervals. It is told of them by the media workers, at most as often as calls have directions.
pub struct SoundMetrics {
    directions: [[Direction; Way::BOTH.len()]; Leg::BOTH.len()],
}

/// Of one direction of one leg.
struct Direction {
    mos: Histogram,
    loss: Histogram,
    jitter: Histogram,
    round_trip: Histogram,
    /// Our own, for what comes.
    buffer: Histogram,
}

impl SoundMetrics {
    /// Counts there; all of it is there from now on.
    pub fn new(metrics: &Metrics) -> SoundMetrics {
        let direction = |leg: Leg, way: Way| {
            let labels = [leg.word(), way.word()];
            Direction {
                mos: metrics.histogram(&table::INTERVAL_MOS, &labels),
                loss: metrics.histogram(&table::INTERVAL_LOSS_RATIO, &labels),
                jitter: metrics.histogram(&table::INTERVAL_JITTER_SECONDS, &labels),
                round_trip: metrics.histogram(&table::INTERVAL_ROUND_TRIP_SECONDS, &labels),
                buffer: metrics.histogram(&table::INTERVAL_BUFFER_SECONDS, &labels[..1]),
            }
        };
        SoundMetrics {
            directions: Leg::BOTH.map(|leg| Way::BOTH.map(|way| direction(leg, way))),
        }
    }

    /// An interval of a leg is over.
    pub fn measured(&self, leg: Leg, measured: &Measured) {
        let direction = &self.directions[leg as usize][measured.way as usize];
        let interval = &measured.interval;
        direction.mos.observe(interval.mos);
        direction.loss.observe(interval.loss);
        direction.jitter.observe(interval.jitter_ms / 1000.0);
        if let Some(round_trip_ms) = interval.round_trip_ms {
            direction.round_trip.observe(round_trip_ms / 1000.0);
        }
        if let Some(buffered_ms) = interval.buffered_ms {
            direction.buffer.observe(buffered_ms / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media::Interval;

    #[test]
    fn an_interval_is_counted_with_its_leg_and_direction_and_all_others_are_there_at_0() {
        let metrics = Metrics::new();
        let sound = SoundMetrics::new(&metrics);
        let out = Measured {
            way: Way::Out,
            interval: Interval {
                mos: 2.9,
                loss: 0.125,
                jitter_ms: 4.0,
                buffered_ms: None,
                round_trip_ms: None,
            },
            turn: None,
        };
        sound.measured(Leg::Pbx, &out);
        let mut played = out;
        (played.way, played.interval.buffered_ms) = (Way::In, Some(31.25));
        sound.measured(Leg::Pbx, &played);
        let text = metrics.text().unwrap();
        for line in [
            "mos_sum{leg=\"pbx\",way=\"out\"} 2.9",
            "mos_bucket{le=\"2.6\",leg=\"pbx\",way=\"out\"} 0",
            "mos_bucket{le=\"3.1\",leg=\"pbx\",way=\"out\"} 1",
            "mos_count{leg=\"meta\",way=\"in\"} 0",
            "loss_ratio_sum{leg=\"pbx\",way=\"out\"} 0.125",
            "jitter_seconds_sum{leg=\"pbx\",way=\"out\"} 0.004",
            "round_trip_seconds_count{leg=\"pbx\",way=\"out\"} 0",
            "buffer_seconds_sum{leg=\"pbx\"} 0.03125",
            "buffer_seconds_count{leg=\"meta\"} 0",
        ] {
            let line = format!("\nwabridge_media_interval_{line}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }
}
