//! Sockets over io_uring, for one thread. This crate holds all unsafe code of the project, and nothing else.
//!
//! A [`Ring`] owns its sockets from [`Ring::add`] to [`Ring::close`] and beyond, until the kernel is done with them. It
//! receives into buffers that all sockets share ([`Received`]), so that one that waits holds none, and sends what it
//! is given ([`Payload`]) without copying it.
//!
//! # What its safety rests on
//!
//! 1. Memory given to the kernel stays where it is, unchanged, until the kernel has said that it is done: what is sent
//!    is owned by the ring from [`Ring::send`] to its [`Completion::Sent`]; a buffer for receiving belongs to the kernel
//!    from the moment it is given back until the completion that names it. A ring that is dropped cancels everything and
//!    waits for the last completion; if it should not come, that memory is leaked.
//! 2. An operation's number is not used again before its last completion, and a socket stays open as long as it has an
//!    operation, so nothing can be taken for something else.

mod buffers;
mod ring;

pub use buffers::Received;
pub use ring::{Arrival, Completion, Payload, Ring, Socket};
