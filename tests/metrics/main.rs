//! Metrics and the status page of a started server, as Prometheus, a browser and a probe see them.

#[path = "../common/mod.rs"]
mod common;
mod guarded;
mod http;
mod page;
mod prometheus;
mod samples;
mod served;
mod slow;
