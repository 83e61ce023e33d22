//! How many connections may be open to us at once.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use crate::leg::Leg;

use super::Settings;

/// Counts the connections that peers opened.
#[derive(Debug)]
pub(super) struct Gate {
    most: usize,
    most_per_address: usize,
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    legs: HashMap<Leg, usize>,
    addresses: HashMap<(Leg, IpAddr), usize>,
    refused: u64,
}

/// One connection's place; free again when this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    gate: Arc<Gate>,
    leg: Leg,
    address: IpAddr,
}

impl Gate {
    pub(super) fn new(settings: &Settings) -> Arc<Gate> {
        Arc::new(Gate {
            most: settings.max_connections,
            most_per_address: settings.max_connections_per_address,
            counts: Mutex::default(),
        })
    }

    /// A place for a connection from `address`; `None` when there are too many.
    pub(super) fn enter(self: &Arc<Self>, leg: Leg, address: IpAddr) -> Option<Place> {
        let address = network(address);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let all = counts.legs.get(&leg).copied().unwrap_or(0);
        let same = counts.addresses.get(&(leg, address)).copied().unwrap_or(0);
        if all >= self.most || same >= self.most_per_address {
            counts.refused += 1;
            // At 1, 2, 4, 8…: a flood must not fill the log too.
            if counts.refused.is_power_of_two() {
                tracing::warn!(
                    ?leg, from = %address, open = all, open_from_there = same, refused = counts.refused,
                    "too many connections: refused (sip.max_connections, sip.max_connections_per_address)"
                );
            }
            return None;
        }
        *counts.legs.entry(leg).or_default() += 1;
        *counts.addresses.entry((leg, address)).or_default() += 1;
        Some(Place {
            gate: self.clone(),
            leg,
            address,
        })
    }
}

/// An IPv6 host has a whole /64 to call from.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64).into(),
        v4 => v4,
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self
            .gate
            .counts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.legs.get_mut(&self.leg) {
            *count -= 1;
        }
        let key = (self.leg, self.address);
        if let Some(count) = counts.addresses.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.addresses.remove(&key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_stranger_cannot_take_all_places_and_a_place_is_given_back() {
        let gate = Gate::new(&Settings {
            max_connections: 3,
            max_connections_per_address: 2,
            ..Settings::default()
        });
        let enter = |leg, address: &str| gate.enter(leg, address.parse().unwrap());
        let first = enter(Leg::Meta, "2001:db8::1");
        let _second = enter(Leg::Meta, "2001:db8::2").unwrap();
        assert!(
            enter(Leg::Meta, "2001:db8::3").is_none(),
            "the same network"
        );
        let _third = enter(Leg::Meta, "192.0.2.1").unwrap();
        assert!(enter(Leg::Meta, "192.0.2.2").is_none(), "all places");
        let _other = enter(Leg::Pbx, "192.0.2.2").unwrap();
        drop(first);
        assert!(enter(Leg::Meta, "2001:db8::3").is_some());
        assert_eq!(gate.counts.lock().unwrap().addresses.len(), 3);
    }
}
