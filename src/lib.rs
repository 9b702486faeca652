//! memcarp: a memcached-compatible cache server.

pub mod command;
pub mod config;
pub mod protocol;
pub mod server;
pub mod store;
