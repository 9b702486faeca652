//! Requests to bytes and bytes to replies. Synchronous; knows no sockets, no time and no members.

mod base64;
mod classic;
mod meta;
mod quiet;
mod reply;
mod request;

pub(crate) use quiet::QuietReplies;
pub(crate) use reply::{Attributes, Code, Reply, ReplyParser};

use reply::Shape;
pub(crate) use request::{Count, Delete, Get, Mode, Output, Request, Source, Store};

use crate::error::Error;
use crate::key::Key;
use meta::Ending;

/// The two text protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    Meta,
    Classic,
}

impl Dialect {
    /// Appends the request and says what its reply looks like. Writes nothing if it fails.
    /// `now` is Unix seconds. In the meta protocol the reply will carry `opaque`.
    pub(crate) fn encode(
        self,
        request: &Request,
        opaque: u32,
        now: u64,
        out: &mut Output,
    ) -> Result<Expected, Error> {
        let shape = match self {
            Dialect::Meta => {
                let shape = match request {
                    Request::Get(_) | Request::Store(_) | Request::Delete(_) => Shape::Meta,
                    Request::Count(_) | Request::Touch { .. } => Shape::Meta,
                    Request::Flush | Request::Version => Shape::Line,
                    Request::Stats(_) => Shape::Stats,
                };
                let ending = if shape == Shape::Meta { Ending::Opaque(opaque) } else { Ending::Plain };
                meta::encode(request, ending, now, out);
                shape
            }
            Dialect::Classic => classic::encode(request, now, out)?,
        };
        Ok(Expected {
            shape,
            has_block: request.has_block(),
            opaque: (shape == Shape::Meta).then_some(opaque),
            key: request.key().filter(|_| shape == Shape::Values).cloned(),
        })
    }

    /// Appends a request whose usual reply (a miss for reads, success for writes) is left out.
    /// Only for the meta protocol.
    pub(crate) fn encode_quiet(request: &Request, opaque: u32, now: u64, out: &mut Output) {
        meta::encode(request, Ending::Quiet(opaque), now, out);
    }
}

/// What the reply to a request must look like.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    pub(crate) shape: Shape,
    /// Whether the request had a data block.
    has_block: bool,
    opaque: Option<u32>,
    /// The key that a classic value must name.
    key: Option<Key>,
}

impl Expected {
    pub(crate) fn meta(has_block: bool) -> Expected {
        Expected { shape: Shape::Meta, has_block, opaque: None, key: None }
    }

    /// Why nothing that follows `reply` can be trusted, if that is so.
    pub(crate) fn leaves_in_doubt(&self, reply: &Reply) -> Option<&'static str> {
        match &reply.code {
            // It may have been refused before its data was seen, which then would be read as requests.
            Code::Refused(_) if self.has_block => {
                Some("a store was refused, and what follows it is in doubt")
            }
            // What answered before knew the meta protocol; whatever this is may know the other.
            Code::Refused(text) if self.shape == Shape::Meta && text == "ERROR" => {
                Some("the server knows the meta protocol no longer")
            }
            _ => None,
        }
    }

    /// Whether `reply` can be the reply to this request. Errors name nothing; and servers of the first meta
    /// protocol give a miss without its opaque.
    pub(crate) fn is_answered_by(&self, reply: &Reply) -> bool {
        let opaque_fits = match (self.opaque, reply.attributes.opaque) {
            (Some(sent), Some(got)) => sent == got,
            (Some(_), None) => matches!(reply.code, Code::Miss | Code::ServerError(_) | Code::Refused(_)),
            (None, _) => true,
        };
        let key_fits = match (&self.key, &reply.attributes.key) {
            (Some(asked), Some(got)) => asked.as_bytes() == got,
            _ => true,
        };
        opaque_fits && key_fits
    }
}
