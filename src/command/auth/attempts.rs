//! How many wrong attempts to log in an address may make: a bucket of tokens for each, in a table of fixed size.

use crate::store::Now;
use ahash::RandomState;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};

/// The attempts left to each address. Addresses that fall on one place share its bucket; which do is nobody's choice,
/// as places are drawn anew by each process.
#[derive(Debug)]
pub struct Attempts {
    places: RandomState,
    /// When each bucket is full again, in milliseconds of the store's clock.
    full: Box<[AtomicU64]>,
}

/// Who wants a password checked, as far as it says who is to come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The address by which attempts are counted; those who come through UNIX sockets have none.
    pub owner: Option<IpAddr>,
    /// Wrong attempts that are not forgotten yet, in seconds until they are: 0 to 60.
    pub owed: u64,
}

/// Tokens in a full bucket: wrong attempts that may follow one another at once.
pub const BURST: u64 = 16;

/// Milliseconds until a token comes back: in the long run there is one wrong attempt a second.
const REFILL: u64 = 1000;

/// Milliseconds of refilling that may be owed: checks that run at the same time can take more than there is.
const MOST: u64 = 60 * REFILL;

/// Buckets, 8 bytes each.
const BUCKETS: usize = 1 << 13;

impl Default for Attempts {
    fn default() -> Attempts {
        Attempts { places: RandomState::new(), full: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl Attempts {
    /// Whether this address has a token left.
    pub fn may_try(&self, address: IpAddr, now: Now) -> bool {
        self.bucket(address).load(Ordering::Relaxed) <= now.millis() + (BURST - 1) * REFILL
    }

    /// Who somebody at this address is.
    pub fn asker(&self, address: Option<IpAddr>, now: Now) -> Asker {
        let full = address.map_or(0, |address| self.bucket(address).load(Ordering::Relaxed));
        Asker { owner: address.map(owner), owed: full.saturating_sub(now.millis()).div_ceil(REFILL) }
    }

    /// Takes a token for a wrong attempt.
    pub fn failed(&self, address: IpAddr, now: Now) {
        let now = now.millis();
        let _ = self.bucket(address).fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full| {
            Some((full.max(now) + REFILL).min(now + MOST))
        });
    }

    fn bucket(&self, address: IpAddr) -> &AtomicU64 {
        &self.full[self.places.hash_one(owner(address)) as usize % BUCKETS]
    }
}

/// Whoever has one address of IPv6 has its /64.
fn owner(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        address => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: u64) -> Now {
        Now::new(Now::EARLIEST + second * 1000, 1_700_000_000)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    /// Wrong attempts at once until there is no token left.
    fn exhaust(attempts: &Attempts, address: IpAddr, now: Now) -> u64 {
        let mut made = 0;
        while attempts.may_try(address, now) {
            attempts.failed(address, now);
            made += 1;
        }
        made
    }

    #[test]
    fn some_at_once_then_one_a_second() {
        let (attempts, ann) = (Attempts::default(), address("10.0.0.1"));
        assert_eq!(attempts.asker(Some(ann), at(0)), Asker { owner: Some(ann), owed: 0 });
        assert_eq!(exhaust(&attempts, ann, at(0)), BURST);
        assert_eq!(attempts.asker(Some(ann), at(0)).owed, BURST);
        assert_eq!(exhaust(&attempts, ann, at(1)), 1);
        assert_eq!(exhaust(&attempts, ann, at(4)), 3);
        assert_eq!(exhaust(&attempts, ann, at(1000)), BURST);
    }

    #[test]
    fn others_are_left_alone_and_a_network_of_one_owner_is_one() {
        let attempts = Attempts::default();
        exhaust(&attempts, address("10.0.0.1"), at(0));
        assert!(!attempts.may_try(address("::ffff:10.0.0.1"), at(0)));
        exhaust(&attempts, address("2001:db8::1"), at(0));
        assert!(!attempts.may_try(address("2001:db8::ffff:1"), at(0)));
        let others = (1..=200).filter(|&last| attempts.may_try(IpAddr::from([10, 0, 1, last]), at(0)));
        assert!(others.count() > 190, "a few may share a bucket");
    }

    #[test]
    fn what_was_taken_too_much_is_owed_but_not_for_ever() {
        let (attempts, ann) = (Attempts::default(), address("10.0.0.1"));
        for _ in 0..10 * BURST {
            attempts.failed(ann, at(0));
        }
        assert!(!attempts.may_try(ann, at(44)));
        assert!(attempts.may_try(ann, at(45)));
    }
}
