//! Servers for the tests: one in this process that can be slow, silent or gone, and real ones.
#![allow(dead_code, unused_imports)] // Each test file uses its part.

mod fake;
mod namespace;
mod papers;
mod peer;
mod script;
mod wild;

pub use fake::{Chaos, Fake};
pub use namespace::Namespace;
pub use papers::Papers;
pub use peer::{Peer, file_in, peers_wanted, scratch};
pub use script::{Does, Script, opaque};
pub use wild::{Wild, builder, hit};

use memcarp_client::{Address, Member, Members};
use std::future::Future;
use std::time::Duration;

/// Far above anything a healthy run needs.
pub const GENEROUS: Duration = Duration::from_secs(20);

/// Waits for something to become true; fails the test if it does not.
pub async fn eventually<F: Future<Output = bool>>(what: &str, mut check: impl FnMut() -> F) {
    let deadline = tokio::time::Instant::now() + GENEROUS;
    while !check().await {
        assert!(tokio::time::Instant::now() < deadline, "never happened: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn member(name: &str, address: &Address) -> Member {
    Member::new(name).at(address.clone())
}

pub fn members(list: &[(&str, &Address)]) -> Members {
    Members::new(list.iter().map(|(name, address)| member(name, address)).collect()).unwrap()
}
