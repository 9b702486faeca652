//! Commands that look after the server.

use super::dump::Dump;
use super::output::Output;
use super::reply::put_error;
use super::session::Context;
use super::watch::Watcher;
use crate::protocol::{Admin, AdminVerb, Error};
use std::sync::Arc;

/// What a command that looks after the server leads to.
pub(super) enum Outcome {
    Answered,
    #[expect(dead_code)]
    Watch(Arc<Watcher>),
    #[expect(dead_code)]
    Dump(Dump),
    #[expect(dead_code)]
    Shutdown {
        graceful: bool,
    },
}

pub(super) fn execute(admin: Admin<'_>, output: &mut Output, context: &Context<'_>) -> Outcome {
    match admin.verb {
        AdminVerb::Version => output.put(b"VERSION 1.6.45\r\n"),
        AdminVerb::FlushAll => {
            context.engine.store.flush(context.now, context.now);
            output.put(b"OK\r\n");
        }
        _ => put_error(Error::Unknown, output),
    }
    Outcome::Answered
}
