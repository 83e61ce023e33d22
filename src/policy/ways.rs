//! The addresses of a PBX, and in which order a call tries them.

use crate::sip::token::Tokens;
use crate::sip::transport::Hop;

/// One address of a PBX. Priority and weight mean what they mean in RFC 2782.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it is.
    pub hop: Hop,
    /// Lower ones are tried first.
    pub priority: u16,
    /// Its share of the calls among those of its priority; with 0 it comes after the others.
    pub weight: u16,
}

impl Way {
    /// The only address of a PBX.
    pub fn only(hop: Hop) -> Way {
        Way {
            hop,
            priority: 1,
            weight: 1,
        }
    }
}

/// The addresses as one call tries them: first those that answer, and of these the lowest priority; among equals by
/// lot. Those that do not answer come last all the same: a call is not refused because of an OPTIONS.
pub fn in_order(ways: &[Way], is_up: impl Fn(&Hop) -> bool, tokens: &mut Tokens) -> Vec<Hop> {
    let mut left: Vec<((bool, u16), &Way)> = ways
        .iter()
        .map(|way| ((!is_up(&way.hop), way.priority), way))
        .collect();
    left.sort_by_key(|(rank, _)| *rank);
    let mut order = Vec::with_capacity(left.len());
    while let Some((best, _)) = left.first() {
        let equals = left.iter().take_while(|(rank, _)| rank == best);
        let weights: Vec<u16> = equals.map(|(_, way)| way.weight).collect();
        let (_, drawn) = left.remove(draw(&weights, tokens));
        order.push(drawn.hop.clone());
    }
    order
}

/// Draws one of these weights: its place. One of 0 comes last; RFC 2782 gives it "a very small chance".
fn draw(weights: &[u16], tokens: &mut Tokens) -> usize {
    let sum: u64 = weights.iter().copied().map(u64::from).sum();
    if weights.len() < 2 || sum == 0 {
        return 0;
    }
    let lot = tokens.number() % sum;
    let mut running = 0;
    let drawn = weights.iter().position(|weight| {
        running += u64::from(*weight);
        running > lot
    });
    drawn.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leg::Leg;
    use crate::sip::transport::Protocol;

    fn hop(host: &str) -> Hop {
        Hop {
            leg: Leg::Pbx,
            protocol: Protocol::Udp,
            host: host.into(),
            port: 5060,
        }
    }

    fn way(host: &str, priority: u16, weight: u16) -> Way {
        Way {
            hop: hop(host),
            priority,
            weight,
        }
    }

    fn order(ways: &[Way], down: &[&str], tokens: &mut Tokens) -> Vec<String> {
        let order = in_order(ways, |hop| !down.contains(&hop.host.as_str()), tokens);
        order.into_iter().map(|hop| hop.host).collect()
    }

    #[test]
    fn the_lower_priority_is_tried_first_and_what_is_down_last() {
        let ways = [way("c", 3, 1), way("a", 1, 1), way("b", 2, 1)];
        let mut tokens = Tokens::seeded(1);
        assert_eq!(order(&ways, &[], &mut tokens), ["a", "b", "c"]);
        assert_eq!(order(&ways, &["a"], &mut tokens), ["b", "c", "a"]);
        assert_eq!(order(&ways, &["a", "b", "c"], &mut tokens), ["a", "b", "c"]);
        assert!(order(&[], &[], &mut tokens).is_empty());
    }

    #[test]
    fn equals_share_the_calls_by_weight() {
        let ways = [way("last", 1, 0), way("a", 1, 30), way("b", 1, 10)];
        let mut tokens = Tokens::seeded(7);
        let mut first = [0; 2];
        for _ in 0..4000 {
            let order = order(&ways, &[], &mut tokens);
            assert_eq!((order.len(), order[2].as_str()), (3, "last"));
            first[usize::from(order[0] == "b")] += 1;
        }
        assert!((2800..3200).contains(&first[0]), "{first:?}");
        assert!((800..1200).contains(&first[1]), "{first:?}");
    }

    #[test]
    fn a_single_address_costs_no_lot() {
        let (mut one, mut other) = (Tokens::seeded(3), Tokens::seeded(3));
        let _ = order(&[way("a", 1, 1)], &[], &mut one);
        assert_eq!(one.number(), other.number());
    }
}
