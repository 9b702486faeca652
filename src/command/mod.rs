//! What each command means: requests meet the store here, and nowhere else. Knows no sockets.

mod admin;
pub mod auth;
mod classic;
pub mod connections;
pub mod counts;
mod derive;
mod detail;
pub mod distribution;
mod dump;
pub mod engine;
pub mod hotkeys;
pub mod log;
pub mod long_replies;
mod meta;
mod meta_store;
mod note;
pub mod output;
mod reply;
mod report;
pub mod session;
mod stats;
mod storing;
#[cfg(test)]
mod testing;
pub mod tuning;
pub mod watch;

pub use connections::{Address, CloseReason, Connection, Connections, State};
pub use counts::Counts;
pub use engine::{Engine, MEMCACHED_VERSION};
pub use output::Output;
pub use report::Report;
pub use session::{Context, Progress, Session, Step};
