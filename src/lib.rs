//! memcarp: a memcached-compatible cache server. This page is its architecture.
//!
//! **A thin I/O shell around a synchronous core.** Bytes become a [`protocol::Request`]; a [`command::Session`] carries
//! it out against the [`store::Store`] and appends the reply; only [`server`] waits.
//!
//! ```text
//!  main ── config                  An arrow is a `use crate::` that may exist.
//!    │        │ │                  protocol and store meet only in command.
//!  server ────┘ │                  Only server waits, reads the clock, owns sockets.
//!    │   │      │                  protocol, store and config use nothing of ours.
//!    │ metrics, status
//!    │   │      │                  Who may use one may use what is below it.
//!  command ─────┘
//!    │    │
//! protocol store
//! ```
//!
//! | layer | purpose | knows nothing of |
//! |---|---|---|
//! | `main.rs` | command line to [`config::Config`] to [`server::run`] to exit code | everything else |
//! | [`route`] | `memcarp route`, by the client crate's routing | servers, this one included |
//! | [`health`] | `memcarp health`: whether a server answers | how it does |
//! | [`hash_password`] | `memcarp hash-password`, for files of users | servers |
//! | [`config`] | what was written, resolved once into what is meant | sockets, the store |
//! | [`server`] | listeners, workers, the connection loop, signals, shutdown | what any command means |
//! | [`metrics`] | every exported name, and what `stats` says rendered for Prometheus | sockets, what is counted when |
//! | [`status`] | the page for people, with the last minutes | sockets |
//! | [`command`] | what each command means | sockets |
//! | [`protocol`] | a command line to a request | the store, sockets, time |
//! | [`store`] | shards, memory, eviction, expiry, CAS values, counts | the protocol, tokio |
//!
//! # One `mg foo v t`
//!
//! A worker reads what has come into a buffer and lends it to the connection's [`command::Session`]. The session finds
//! the line, [`protocol::parse`] makes of it a request that borrows from the line and allocates nothing, and
//! `command/meta.rs` asks the store to [`read`](store::Store::read) the key: the shard's lock is taken, the item found,
//! its expiry checked, and a closure writes `VA ...` and the value straight into the
//! [`Output`](command::Output). The session goes on with the next request in the buffer; the worker writes once, when
//! no whole request is left or the output is full.
//!
//! # One `ms foo 3 T60`
//!
//! A session that sees a line whose data block is not there yet asks for more; a block too long for the buffer is
//! received straight into the memory it will live in. Then [`update`](store::Store::update) shows the closure what
//! stands under the key, and carries out what the closure decides under the same lock. That is the only way to
//! write, so every read-modify-write is one step.
//!
//! # Who waits
//!
//! Each worker is a thread with its own connections, which never leave it, and waits for their sockets itself. A
//! connection is a place in its worker's table; buffers and session are on a desk that it borrows while it has
//! something to do, so an idle one costs about 200 bytes of resident memory. (A task of an asynchronous runtime, with
//! a socket registered there, takes 890.) One read and one write serve a batch of requests, and a connection
//! that has had its share goes to the end of the line. What happens seldom (accepting, signals, draining) is
//! asynchronous code on the main thread; one more thread does the store's maintenance.
//!
//! With `--transport io_uring` a worker has a ring beside its poll: received bytes come in buffers that its connections
//! share, outputs go to the kernel whole and come back when they have been sent, and one system call does that for all
//! who are ready. The poll stays, watched by the ring, for orders and for TLS. All unsafe code is in `memcarp-uring`.
//!
//! When the server is told to stop it closes the listeners, then the receiving side of every connection: the system
//! still hands out what has arrived, then the end, so each connection answers what it was sent and closes by itself.
//!
//! # Rules that hold everywhere
//!
//! - No lock is held while anything waits, and no reply is written before its effect.
//! - Time is an argument ([`store::Now`]), read once a batch in [`server`]; tests move it.
//! - Every buffer, queue and loop has a bound. Peers cause errors, never panics.
//! - Each count has one home: a worker's [`Counts`](command::Counts) or a shard, added up when somebody asks.

pub mod command;
pub mod config;
pub mod hash_password;
pub mod health;
pub mod metrics;
pub mod protocol;
pub mod route;
pub mod server;
pub mod status;
pub mod store;
