//! What a client may say before it has said who it is.

use super::{Context, Flow, Input, Session, State, Step};
use crate::command::auth::MAX_TOKEN_LEN;
use crate::command::output::Output;
use crate::command::reply::put_error;
use crate::protocol::{self, Error, Fields, MAX_PARTIAL_LINE};

impl Session {
    /// Answers a line of a client that has not said who it is; `None` if nobody needs to.
    pub(super) fn authenticate(
        &mut self,
        line: &[u8],
        line_len: usize,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Option<Flow> {
        let users = context.engine.users()?;
        if line.len() < 6 {
            return Some(Flow::Stop(Step::Close));
        }
        let mut fields = Fields::new(line);
        let is_set = fields.next() == Some(b"set");
        let len = fields.nth(3).and_then(protocol::parse_u64);
        let Some(len) = len.filter(|_| is_set && line.starts_with(b"set ")) else {
            put_error(Error::Unauthenticated, output);
            input.at += line_len;
            return Some(Flow::On);
        };
        if len > MAX_TOKEN_LEN as u64 {
            put_error(Error::AuthenticationTooLong, output);
            input.at += line_len;
            self.state = State::Swallowing(usize::try_from(len).unwrap_or(usize::MAX).saturating_add(2));
            return Some(Flow::On);
        }
        let len = len as usize;
        let Some(block) = input.rest().get(line_len..line_len + len + 2) else {
            // Both together have to fit in the input.
            let step = if line_len > MAX_PARTIAL_LINE { Step::Close } else { Step::Read };
            return Some(Flow::Stop(step));
        };
        input.at += line_len + len + 2;
        context.counts.general.auth_cmds.increment();
        let (token, end) = block.split_at(len);
        let blank = memchr::memchr(b' ', token);
        let refusal = match blank {
            _ if end != b"\r\n" => Some(Error::BadTermination),
            None => Some(Error::BadAuthenticationToken),
            Some(blank) if users.accept(&token[..blank], &token[blank + 1..]) => None,
            Some(_) => Some(Error::AuthenticationFailure),
        };
        match refusal {
            None => {
                self.authenticated = true;
                output.put(b"STORED\r\n");
            }
            Some(error) => {
                context.counts.general.auth_errors.increment();
                put_error(error, output);
            }
        }
        Some(Flow::On)
    }
}
