//! The port ranges of all our addresses: one for each address, however many peers have it.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::ports::PortUse;
use super::settings::{PortRange, Settings};
use super::sockets::Pool;

/// Meta's addresses stay as they are; those of PBXs come and go with the configuration.
pub(crate) struct Pools {
    range: PortRange,
    rest: Duration,
    /// For Meta: of each version of IP at most one.
    pub(crate) meta: Arc<Pool>,
    pub(crate) meta_ipv6: Option<Arc<Pool>>,
    pbxs: Mutex<Pbxs>,
}

#[derive(Default)]
struct Pbxs {
    /// Of the PBXs that are configured.
    wanted: Vec<IpAddr>,
    /// Those and what calls still have; Meta's not among them.
    pools: Vec<Arc<Pool>>,
}

impl Pools {
    /// Those of Meta's side; no PBX is known yet.
    pub(crate) fn new(settings: &Settings) -> Pools {
        let range = settings.ports;
        let rest = Duration::from_secs(settings.port_rest.into());
        let pool = |address| Pool::new(address, range, rest);
        Pools {
            range,
            rest,
            meta: pool(settings.meta_address),
            meta_ipv6: settings.meta_ipv6_address.map(|ipv6| pool(ipv6.into())),
            pbxs: Mutex::default(),
        }
    }

    /// Those of Meta's side.
    pub(crate) fn metas(&self) -> impl Iterator<Item = &Arc<Pool>> + Clone {
        [Some(&self.meta), self.meta_ipv6.as_ref()]
            .into_iter()
            .flatten()
    }

    /// From now on PBXs have these addresses. One that is not among them any more goes when its ports have rested.
    pub(crate) fn want(&self, addresses: &[IpAddr]) {
        let mut pbxs = self.pbxs();
        pbxs.wanted.clear();
        for address in addresses {
            if !pbxs.wanted.contains(address) {
                pbxs.wanted.push(*address);
            }
        }
        let Pbxs { wanted, pools } = &mut *pbxs;
        pools.retain(|pool| wanted.contains(&pool.address()) || !pool.is_idle());
        for address in wanted.clone() {
            self.pool(address, &mut pbxs);
        }
    }

    /// The range of an address that a PBX has, or had when the call came in.
    pub(crate) fn of_pbx(&self, address: IpAddr) -> Arc<Pool> {
        self.pool(address, &mut self.pbxs())
    }

    fn pool(&self, address: IpAddr, pbxs: &mut Pbxs) -> Arc<Pool> {
        let known = self
            .metas()
            .chain(&pbxs.pools)
            .find(|pool| pool.address() == address);
        if let Some(pool) = known {
            return Arc::clone(pool);
        }
        let pool = Pool::new(address, self.range, self.rest);
        pbxs.pools.push(Arc::clone(&pool));
        pool
    }

    /// How much of each range is in use.
    pub(crate) fn usage(&self) -> Vec<(IpAddr, PortUse)> {
        let pbxs = self.pbxs();
        let all = self.metas().chain(&pbxs.pools);
        all.map(|pool| (pool.address(), pool.usage())).collect()
    }

    /// An address that has too few free ports for one more call, if that is so whichever PBX the call is with.
    pub(crate) fn exhausted(&self) -> Option<IpAddr> {
        let wanted = self.pbxs().wanted.clone();
        let lacks = |pbx: &IpAddr| self.scarce(&self.of_pbx(*pbx));
        let scarce: Option<Vec<IpAddr>> = wanted.iter().map(lacks).collect();
        scarce?.first().copied()
    }

    /// What a call with a PBX that has this range lacks ports of.
    fn scarce(&self, pbx: &Arc<Pool>) -> Option<IpAddr> {
        let taken = || self.metas().chain([pbx]);
        let needed = |pool: &Arc<Pool>| taken().filter(|other| Arc::ptr_eq(other, pool)).count();
        let scarce = taken().find(|pool| pool.usage().free() < needed(pool));
        scarce.map(|pool| pool.address())
    }

    /// It is whole after every statement, so a panic elsewhere leaves nothing half done.
    fn pbxs(&self) -> MutexGuard<'_, Pbxs> {
        self.pbxs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Loopback addresses of these tests.
    fn at(last: u8) -> IpAddr {
        IpAddr::from([127, 22, 200, last])
    }

    fn pools(pairs: u16) -> Pools {
        Pools::new(&Settings {
            meta_address: at(1),
            ports: PortRange::new(20_000, 20_000 + 2 * pairs - 1).unwrap(),
            ..Settings::default()
        })
    }

    fn addresses(pools: &Pools) -> Vec<IpAddr> {
        pools.usage().iter().map(|(address, _)| *address).collect()
    }

    #[test]
    fn pbxs_and_meta_at_one_address_share_its_ports() {
        let pools = pools(1);
        pools.want(&[at(1), at(2), at(2)]);
        assert_eq!(addresses(&pools), [at(1), at(2)]);
        assert!(Arc::ptr_eq(&pools.of_pbx(at(1)), &pools.meta));
        assert!(Arc::ptr_eq(&pools.of_pbx(at(2)), &pools.of_pbx(at(2))));
    }

    #[test]
    fn an_address_that_no_pbx_has_any_more_goes_when_its_calls_have() {
        let pools = pools(1);
        pools.want(&[at(2), at(3)]);
        let call = pools.of_pbx(at(2)).bind(true).unwrap();
        pools.want(&[at(4)]);
        assert_eq!(addresses(&pools), [at(1), at(2), at(4)]);
        assert!(pools.of_pbx(at(2)).bind(true).is_err(), "it is the same");
        drop(call);
        pools.want(&[at(4)]);
        assert_eq!(addresses(&pools), [at(1), at(2), at(4)], "its port rests");
    }

    #[test]
    fn there_are_ports_as_long_as_one_pbx_can_have_a_call() {
        let pools = pools(1);
        assert_eq!(pools.exhausted(), None, "nobody wants any");
        pools.want(&[at(1)]);
        assert_eq!(pools.exhausted(), Some(at(1)), "a call takes two pairs");
        pools.want(&[at(2), at(3)]);
        assert_eq!(pools.exhausted(), None);
        let first = pools.of_pbx(at(2)).bind(true).unwrap();
        assert_eq!(pools.exhausted(), None);
        let second = pools.of_pbx(at(3)).bind(true).unwrap();
        assert_eq!(pools.exhausted(), Some(at(2)));
        drop((first, second));
        let _metas = pools.meta.bind(false).unwrap();
        assert_eq!(pools.exhausted(), Some(at(1)));
    }
}
