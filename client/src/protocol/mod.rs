//! Requests to bytes and bytes to replies. Synchronous; knows no sockets, no time and no members.

mod base64;
mod classic;
mod meta;
mod quiet;
mod reply;
mod request;

pub(crate) use quiet::QuietReplies;
pub(crate) use reply::{Attributes, Code, Reply, ReplyParser, Shape};
pub(crate) use request::{Count, Delete, Get, Mode, Output, Request, Source, Store};

use crate::error::Error;

/// The two text protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Meta,
    Classic,
}

impl Dialect {
    /// Appends the request and says what its reply looks like. Writes nothing if it fails.
    /// `now` is Unix seconds.
    pub(crate) fn encode(self, request: &Request, now: u64, out: &mut Output) -> Result<Shape, Error> {
        match self {
            Dialect::Meta => {
                meta::encode(request, None, now, out);
                Ok(match request {
                    Request::Get(_) | Request::Store(_) | Request::Delete(_) | Request::Count(_) => {
                        Shape::Meta
                    }
                    Request::Touch { .. } => Shape::Meta,
                    Request::Flush { .. } | Request::Version => Shape::Line,
                    Request::Stats(_) => Shape::Stats,
                })
            }
            Dialect::Classic => classic::encode(request, now, out),
        }
    }

    /// Appends a request whose usual reply (a miss for reads, success for writes) is left out.
    /// Only for the meta protocol.
    pub(crate) fn encode_quiet(request: &Request, opaque: u32, now: u64, out: &mut Output) {
        meta::encode(request, Some(opaque), now, out);
    }
}
