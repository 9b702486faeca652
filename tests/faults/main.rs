//! What goes wrong on machines: panics, no descriptors, no memory, a process that stands still, logs that cannot be
//! written, servers killed under load; and what the process may do on a machine at all.

#[allow(dead_code, reason = "this binary uses its own part of it")]
#[path = "../server/client.rs"]
mod client;
mod killed;
mod privileges;
mod process;
#[allow(dead_code, reason = "this binary uses its own part of it")]
#[path = "../server/started.rs"]
mod started;
