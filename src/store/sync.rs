//! What threads share the budget by. `tests/interleavings.rs` compiles the budget with others of these names, which try
//! every order in which threads may meet.

pub(super) use parking_lot::Mutex;
pub(super) use std::sync::atomic::{AtomicUsize, Ordering};
