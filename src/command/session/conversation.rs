//! Conversations as `-vv` shows them on standard error, in memcached's form: commands and what they were answered.

use super::{Context, Input, Session, State};
use crate::command::output::{Mark, Output};
use std::sync::atomic::Ordering;
use tracing::trace;

/// Bytes of a line that are shown.
const SHOWN: usize = 1024;

/// Whether conversations are shown.
pub(super) fn is_shown(context: &Context<'_>) -> bool {
    context.engine.verbosity.load(Ordering::Relaxed) >= 2
}

/// Where a conversation was before a step of it.
pub(super) struct Before {
    /// Where in the input a command was to begin.
    command: Option<usize>,
    replies: Mark,
}

impl Before {
    /// Where it is now.
    pub(super) fn of(session: &Session, input: &Input<'_>, output: &Output) -> Before {
        let ready = matches!(session.state, State::Ready);
        Before { command: ready.then_some(input.at), replies: output.mark() }
    }

    /// Shows the step that has been made: a command, unless the rest of it has yet to come, and its reply. Of values
    /// nothing is shown.
    pub(super) fn show(self, input: &Input<'_>, output: &Output, context: &Context<'_>) {
        let fd = context.connection.fd;
        if let Some(start) = self.command.filter(|&start| input.at > start) {
            let (line, _) = first_line(&input.bytes[start..]);
            trace!("<{fd} {}", line[..line.len().min(SHOWN)].escape_ascii());
        }
        let mut replies = output.since(self.replies);
        while !replies.is_empty() {
            let (line, rest) = first_line(replies);
            let Some(found) = line.strip_prefix(b"VALUE ") else {
                trace!(">{fd} {}", line[..line.len().min(SHOWN)].escape_ascii());
                return;
            };
            let mut fields = found.split(|&byte| byte == b' ');
            trace!(">{fd} sending key {}", fields.next().unwrap_or_default().escape_ascii());
            let len = fields.nth(1).and_then(|len| std::str::from_utf8(len).ok()?.parse::<usize>().ok());
            // A long value is not among the bytes.
            let whole = len.and_then(|len| rest.get(len..)?.strip_prefix(b"\r\n"));
            replies = whole.or(rest.strip_prefix(b"\r\n")).unwrap_or_default();
        }
    }
}

/// A line without its end, and what follows.
fn first_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    let (line, rest) = match memchr::memchr(b'\n', bytes) {
        Some(end) => (&bytes[..end], &bytes[end + 1..]),
        None => (bytes, &[][..]),
    };
    (line.strip_suffix(b"\r").unwrap_or(line), rest)
}
