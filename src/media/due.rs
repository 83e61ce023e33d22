//! The earliest of several deadlines. A session is asked for it after each packet, so it is a plain loop: adapters of iterators
//! over so few took a third of a packet's instructions.

use std::time::Instant;

/// The first of them to come, if there is any.
pub(crate) fn earliest<const OF: usize>(deadlines: [Option<Instant>; OF]) -> Option<Instant> {
    let mut earliest = None;
    for due in deadlines {
        match (due, earliest) {
            (Some(due), Some(first)) if due >= first => {}
            (Some(_), _) => earliest = due,
            (None, _) => {}
        }
    }
    earliest
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_never_due_is_not_the_earliest() {
        let (soon, later) = (Instant::now(), Instant::now() + Duration::from_secs(1));
        assert_eq!(earliest([None, Some(later), Some(soon), None]), Some(soon));
        assert_eq!(earliest([Some(soon), Some(later)]), Some(soon));
        assert_eq!(earliest([None, None]), None);
    }
}
