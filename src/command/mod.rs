//! What each command means: requests meet the store here, and nowhere else. Knows no sockets.

mod admin;
pub mod auth;
mod classic;
pub mod connections;
pub mod counts;
mod dump;
pub mod engine;
mod meta;
mod meta_store;
pub mod output;
mod reply;
pub mod session;
mod storing;
pub mod watch;

pub use connections::{Address, CloseReason, Connection, Connections, State};
pub use counts::Counts;
pub use engine::{Engine, MEMCACHED_VERSION};
pub use output::Output;
pub use session::{Context, Progress, Session, Step};
