//! What each command means: requests meet the store here, and nowhere else. Knows no sockets.

pub mod connections;
pub mod counts;
pub mod engine;
pub mod output;
pub mod session;
pub mod watch;

pub use connections::{Address, Connection, Connections, State};
pub use counts::Counts;
pub use engine::{Engine, MEMCACHED_VERSION};
pub use output::Output;
pub use session::{Context, Progress, Session, Step};
