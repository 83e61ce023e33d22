//! When to register again: before the registrar forgets us, and not too soon after it refused.

use std::time::Duration;

/// Shortest time between two registrations, whatever a registrar grants.
const SHORTEST: Duration = Duration::from_secs(5);
/// Longest time: a registrar that grants years may be replaced within them.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The wait after the first failure.
const FIRST: Duration = Duration::from_secs(10);
/// The wait after many failures, and after a refusal that only an operator can mend.
const LAST: Duration = Duration::from_secs(600);
/// The longest Retry-After that is obeyed.
const PATIENCE: Duration = Duration::from_secs(3600);

/// How long after a 200 the registration is refreshed. What is left then is enough for one that gets lost (32 s) and
/// another; `random` spreads bridges that were started together.
pub fn refresh(granted: Duration, random: u64) -> Duration {
    let granted = granted.clamp(SHORTEST, LONGEST);
    let margin = (granted / 10).max((granted / 2).min(Duration::from_secs(60)));
    let latest = granted - margin;
    latest - share(latest / 10, random)
}

/// How long to wait after a failure: doubled with each in a row, and by chance up to half of it less (RFC 5626 §4.5).
pub fn after_failure(failures: u32, random: u64) -> Duration {
    let doubled = FIRST * 2u32.saturating_pow(failures.saturating_sub(1).min(16));
    let wait = doubled.min(LAST);
    wait - share(wait / 2, random)
}

/// How long to wait after a refusal that time alone does not mend.
pub fn after_refusal(random: u64) -> Duration {
    LAST - share(LAST / 10, random)
}

/// How long to wait where the registrar has said so.
pub fn as_told(retry_after: Duration) -> Duration {
    retry_after.clamp(SHORTEST, PATIENCE)
}

/// Some of `most`, by chance.
fn share(most: Duration, random: u64) -> Duration {
    most.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secs(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_refresh_leaves_time_for_one_that_gets_lost() {
        for (granted, earliest, latest) in [
            (3600, 2916, 3240),
            (300, 216, 240),
            (120, 54, 60),
            (60, 27, 30),
            (0, 2, 3),
            (u64::from(u32::MAX), 69_984, 77_760),
        ] {
            assert!(refresh(secs(granted), 0) <= secs(latest), "{granted}");
            let soonest = refresh(secs(granted), u64::MAX);
            assert!(soonest >= secs(earliest), "{granted}: {soonest:?}");
        }
    }

    #[test]
    fn failures_in_a_row_are_waited_for_longer_and_longer() {
        let waits: Vec<_> = [1, 2, 3, 7, 8, u32::MAX]
            .map(|failures| after_failure(failures, 0).as_secs())
            .into();
        assert_eq!(waits, [10, 20, 40, 600, 600, 600]);
        assert!(after_failure(1, u64::MAX) >= secs(5));
        assert!(after_refusal(u64::MAX) >= secs(540));
        assert_eq!(as_told(secs(0)), SHORTEST);
        assert_eq!(as_told(secs(86_400)), PATIENCE);
    }
}
