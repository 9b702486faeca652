//! The server process over real sockets: limits, who may connect, fairness, backpressure, files, signals, memory of idle connections.

mod allow;
mod client;
mod connections;
mod full;
mod limit;
mod logging;
mod login;
mod memory;
mod named;
mod notify;
mod process;
mod reloading;
mod restart;
mod started;
mod stopping;
mod tls;
mod transports;
mod watching;
