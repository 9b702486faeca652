//! memcarp: a memcached-compatible cache server.

pub mod store;
