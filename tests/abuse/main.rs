//! What clients can do to a server that they mean no good: each has a bound in memory, and meanwhile the others are
//! served. `bound` has the formula of the README, in bytes.

mod bound;
#[allow(dead_code, reason = "this binary uses its own part of it")]
#[path = "../server/client.rs"]
mod client;
mod many;
mod readers;
mod senders;
#[allow(dead_code, reason = "this binary uses its own part of it")]
#[path = "../server/started.rs"]
mod started;
mod storms;
