//! What is counted and measured, for Prometheus.
//!
//! ```text
//!   signalling ─ Watch ─▶ calls ──▶ counters, histograms ─┐
//!   media workers ─ MediaEvent ─▶ sound ──▶ histograms    │
//!   records, reloads … ─ counter(), gauge() ─▶ the same   ├─▶ text (OpenMetrics), at each scrape
//!   what is so at this moment ─ set just before the text ─┘
//! ```
//!
//! [`table`] is what there is; a new metric is a row there, and [`Metrics::counter`] where it is counted.

mod calls;
mod sound;
pub mod table;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::registry::Registry;

pub use calls::CallMetrics;
pub(super) use calls::expect_calls;
/// A number that only grows. Clones count together.
pub use prometheus_client::metrics::counter::Counter;
/// Values, counted by size. Clones count together.
pub use prometheus_client::metrics::histogram::Histogram;
pub use sound::SoundMetrics;
use table::{ALL, Kind, PREFIX, Row};

/// A number that goes up and down. Clones are the same number.
pub type Gauge = prometheus_client::metrics::gauge::Gauge<f64, AtomicU64>;

/// Label names with their values.
type Labels = Vec<(&'static str, String)>;

/// Every metric of [`table`], with what has been counted so far.
pub struct Metrics {
    registry: Registry,
    families: HashMap<&'static str, Counted>,
}

enum Counted {
    Counters(Family<Labels, Counter>),
    Gauges(Family<Labels, Gauge>),
    Histograms(Family<Labels, Histogram, Bounds>),
}

#[derive(Clone, Copy, Debug)]
struct Bounds(&'static [f64]);

impl MetricConstructor<Histogram> for Bounds {
    fn new_metric(&self) -> Histogram {
        Histogram::new(self.0.iter().copied())
    }
}

impl Metrics {
    /// Nothing counted yet.
    pub fn new() -> Metrics {
        let mut registry = Registry::with_prefix(PREFIX);
        let mut families = HashMap::new();
        for row in ALL {
            // The library puts a full stop after it.
            let help = row.help.trim_end_matches('.');
            let counted = match row.kind {
                Kind::Counter => {
                    let family = Family::default();
                    registry.register(row.name, help, family.clone());
                    Counted::Counters(family)
                }
                Kind::Gauge => {
                    let family = Family::default();
                    registry.register(row.name, help, family.clone());
                    Counted::Gauges(family)
                }
                Kind::Histogram(bounds) => {
                    let family = Family::new_with_constructor(Bounds(bounds));
                    registry.register(row.name, help, family.clone());
                    Counted::Histograms(family)
                }
            };
            families.insert(row.name, counted);
        }
        Metrics { registry, families }
    }

    /// The counter of a row with these values for its labels, at 0 from now on if nobody has asked for it before. What is
    /// counted often is asked for once and kept.
    pub fn counter(&self, row: &Row, values: &[&str]) -> Counter {
        match self.families.get(row.name) {
            Some(Counted::Counters(family)) => family.get_or_create_owned(&labels(row, values)),
            _ => unregistered(row),
        }
    }

    /// Brings a counter to a sum that somebody else has counted.
    pub fn advance(&self, row: &Row, values: &[&str], sum: u64) {
        let counter = self.counter(row, values);
        counter.inner().fetch_max(sum, Ordering::Relaxed);
    }

    /// The gauge of a row with these values for its labels.
    pub fn gauge(&self, row: &Row, values: &[&str]) -> Gauge {
        match self.families.get(row.name) {
            Some(Counted::Gauges(family)) => family.get_or_create_owned(&labels(row, values)),
            _ => unregistered(row),
        }
    }

    /// The histogram of a row with these values for its labels.
    pub fn histogram(&self, row: &Row, values: &[&str]) -> Histogram {
        match self.families.get(row.name) {
            Some(Counted::Histograms(family)) => family.get_or_create_owned(&labels(row, values)),
            _ => {
                debug_assert!(false, "{row:?} is no histogram of the table");
                Histogram::new([])
            }
        }
    }

    /// Forgets every value of a gauge: its labels may have others now.
    pub fn forget(&self, row: &Row) {
        if let Some(Counted::Gauges(family)) = self.families.get(row.name) {
            family.clear();
        }
    }

    /// All of it as OpenMetrics text.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

/// Counts for nobody to see: whoever asked for a row of another kind has a bug, which must not stop a call.
fn unregistered<M: Default>(row: &Row) -> M {
    debug_assert!(false, "{row:?} is of another kind, or not in the table");
    M::default()
}

fn labels(row: &Row, values: &[&str]) -> Labels {
    debug_assert_eq!(row.labels.len(), values.len(), "{row:?}");
    let values = values.iter().map(|value| (*value).to_owned());
    row.labels.iter().copied().zip(values).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_by_several_is_one_sum() {
        let metrics = Metrics::new();
        for _ in 0..2 {
            metrics.counter(&table::RELOADS, &["ok"]).inc();
        }
        metrics.gauge(&table::READY, &[]).set(1.0);
        let text = metrics.text().unwrap();
        assert!(
            text.contains("\nwabridge_reloads_total{result=\"ok\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("\nwabridge_ready{} 1.0\n"), "{text}");
        assert!(text.ends_with("# EOF\n"), "{text}");
    }
}
