//! What not every server can be asked, and what its refusal means. Knows no connections.

use super::Node;
use crate::error::{Error, ErrorKind};
use crate::protocol::{Code, Reply, Request};
use std::time::Duration;
use tokio::time::Instant;

/// A member that does not know sources is asked again after this long: it may have been replaced by one that does.
const ASK_AGAIN: Duration = Duration::from_secs(60);

/// What a request asks for that only some servers know.
pub(super) enum Unusual {
    Sources,
    Stats(String),
}

impl Unusual {
    pub(super) fn of(request: &Request) -> Option<Unusual> {
        match request {
            Request::Store(store) if !store.sources.is_empty() => Some(Unusual::Sources),
            Request::Stats(which) if !which.is_empty() => Some(Unusual::Stats(which.clone())),
            _ => None,
        }
    }

    /// Whether a server that refuses in these words does not know it.
    fn is_unknown_to_who_says(&self, refusal: &str) -> bool {
        match self {
            // memcached takes a source for a flag it does not know, for one given twice, or for a number.
            Unusual::Sources => ["flag", "delta", "bad token"].iter().any(|word| refusal.contains(word)),
            Unusual::Stats(_) => refusal == "ERROR",
        }
    }
}

impl Node {
    /// Refuses what the member is known not to know.
    pub(crate) fn check(&self, request: &Request) -> Result<(), Error> {
        match Unusual::of(request) {
            Some(Unusual::Sources)
                if self.state().knows_no_sources.is_some_and(|seen| seen.elapsed() < ASK_AGAIN) =>
            {
                Err(unsupported(&Unusual::Sources).at(&self.name))
            }
            _ => Ok(()),
        }
    }

    /// Makes an error of a reply that is none of the outcomes there are.
    pub(super) fn judge(&self, reply: Reply, asked: Option<&Unusual>) -> Result<Reply, Error> {
        let error = match reply.code {
            Code::ServerError(text) => ErrorKind::Server(text).into(),
            Code::Refused(text) => match asked.filter(|asked| asked.is_unknown_to_who_says(&text)) {
                Some(asked) => {
                    if let Unusual::Sources = asked {
                        self.state().knows_no_sources = Some(Instant::now());
                    }
                    unsupported(asked)
                }
                None => ErrorKind::Refused(text).into(),
            },
            Code::TooLong(bytes) => {
                ErrorKind::ValueTooLarge { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }.into()
            }
            _ => return Ok(reply),
        };
        Err(error.at(&self.name))
    }
}

fn unsupported(asked: &Unusual) -> Error {
    Error::new(ErrorKind::Unsupported(match asked {
        Unusual::Sources => "derived_from, which needs the expire-on-update of memcarp".to_owned(),
        Unusual::Stats(which) => format!("stats {which}"),
    }))
}
