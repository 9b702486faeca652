//! What threads share the budget and the table of sources by. `tests/interleavings` compiles these with others of these
//! names, which try every order in which threads may meet.

pub(super) use parking_lot::{Mutex, RwLock};
pub(super) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
