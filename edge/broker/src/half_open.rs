//! Connections that have not introduced themselves yet, counted by where they come from.
//!
//! Whoever opens connections and says nothing holds a place in each until the deadline. One source
//! address has a share of the places for that and no more, so it cannot keep the others out.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use picket_model::limits::MqttLimits;

/// One address may hold one in so many of all places.
const SHARE: usize = 4;

/// How many half-open connections each source has.
#[derive(Debug)]
pub(crate) struct HalfOpen {
    by_source: Mutex<HashMap<IpAddr, usize>>,
    per_source_max: usize,
}

/// A connection's place among the half-open ones, given back when dropped.
#[derive(Debug)]
pub(crate) struct HalfOpenPlace {
    all: Arc<HalfOpen>,
    source: IpAddr,
}

impl HalfOpen {
    pub(crate) fn new(limits: &MqttLimits) -> Self {
        let share = limits.connections_max / SHARE;
        let per_source_max = limits.half_open_per_source_max.min(share).max(1);
        Self { by_source: Mutex::default(), per_source_max }
    }

    /// A place, if the source has one left.
    pub(crate) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<HalfOpenPlace> {
        let source = source(address);
        let mut by_source = self.lock();
        let n = by_source.entry(source).or_default();
        if *n >= self.per_source_max {
            return None;
        }
        *n += 1;
        Some(HalfOpenPlace { all: Arc::clone(self), source })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
        // A poisoned lock still guards whole values: critical sections here do not panic half-way.
        self.by_source.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HalfOpenPlace {
    fn drop(&mut self) {
        let mut by_source = self.all.lock();
        if let Some(n) = by_source.get_mut(&self.source) {
            *n -= 1;
            if *n == 0 {
                by_source.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or the 64 bits of an IPv6 address that name a
/// network. The other 64 are the host's own to choose.
fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_open(connections_max: usize, half_open_per_source_max: usize) -> Arc<HalfOpen> {
        let limits =
            MqttLimits { connections_max, half_open_per_source_max, ..MqttLimits::default() };
        Arc::new(HalfOpen::new(&limits))
    }

    /// How many of the addresses get a place, all at once.
    fn check(half_open: &Arc<HalfOpen>, addresses: &[&str], expected: usize) {
        let places: Vec<_> =
            addresses.iter().filter_map(|it| half_open.enter(it.parse().unwrap())).collect();
        assert_eq!(places.len(), expected, "{addresses:?}");
        drop(places);
        assert!(half_open.lock().is_empty(), "nothing is left behind");
    }

    #[test]
    fn a_source_has_its_share_and_gives_it_back() {
        let two = half_open(100, 2);
        for _ in 0..3 {
            check(&two, &["10.0.0.1"; 5], 2);
            check(&two, &["10.0.0.1", "10.0.0.1", "10.0.0.1", "10.0.0.2"], 3);
            check(&two, &["10.0.0.1", "::ffff:10.0.0.1", "10.0.0.1"], 2);
            check(&two, &["2001:db8::1", "2001:db8::2", "2001:db8::ffff:0:0:3"], 2);
            check(&two, &["2001:db8::1", "2001:db8:0:1::1", "2001:db8:0:2::1"], 3);
        }
    }

    #[test]
    fn one_source_never_has_all_places_but_always_one() {
        check(&half_open(8, 100), &["10.0.0.1"; 9], 2);
        check(&half_open(1, 100), &["10.0.0.1"; 9], 1);
        check(&half_open(100, 0), &["10.0.0.1"; 9], 1);
    }
}
