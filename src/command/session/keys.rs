//! The lines of gets: of any length, their keys answered as they come.

use super::{Context, Flow, Input, Session, State, Step};
use crate::command::classic::{self, Getting};
use crate::command::output::{Mark, Output};
use crate::command::reply::put_error;
use crate::protocol::{self, Error, Fields, MAX_PARTIAL_LINE};
use crate::store::Key;

/// How much of an incomplete get line is waited for before its keys are answered as they come.
const STREAM_KEYS_ABOVE: usize = Session::INPUT_LIMIT / 2;

/// Most blanks before a get line that may be long.
const MAX_INDENT: usize = 100;

impl Session {
    /// A line without its end is waited for, within bounds: a long one has to be a get, whose keys are answered as
    /// they come.
    pub(super) fn on_partial_line(&mut self, input: &mut Input<'_>, context: &Context<'_>) -> Flow {
        let rest = input.rest();
        if rest.len() <= MAX_PARTIAL_LINE {
            return Flow::Stop(Step::Read);
        }
        let indent = rest.iter().take(MAX_INDENT + 1).take_while(|&&byte| byte == b' ').count();
        let verb = &rest[indent..];
        let cas = verb.starts_with(b"gets ");
        if indent > MAX_INDENT || !(cas || verb.starts_with(b"get ")) {
            return Flow::Stop(Step::Close);
        }
        if rest.len() >= STREAM_KEYS_ABOVE && indent == 0 && self.may_command(context) {
            input.at += if cas { "gets".len() } else { "get".len() };
            self.state = State::Getting(Getting { cas, touch: None });
            return Flow::On;
        }
        if rest.len() >= Session::INPUT_LIMIT { Flow::Stop(Step::Close) } else { Flow::Stop(Step::Read) }
    }

    /// Answers keys up to the line end, or as far as they have come, or until the output is full. A key that is too
    /// long takes back what was answered since `start`, if nothing of it can have been written.
    pub(super) fn on_keys(
        &mut self,
        getting: Getting,
        start: Option<Mark>,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        let rest = input.rest();
        let line_end = memchr::memchr(b'\n', rest);
        let line = &rest[..line_end.unwrap_or(rest.len())];
        let line = if line_end.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let mut keys = Fields::new(line);
        let mut prefetched = 0;
        loop {
            if prefetched == 0 {
                prefetched = prefetch(keys, context);
            }
            prefetched -= 1;
            let before = keys.rest().len();
            let Some(field) = keys.next() else { break };
            let may_go_on = line_end.is_none() && keys.rest().is_empty();
            let ends_in_half_a_line_end = may_go_on && field.ends_with(b"\r");
            if field.len() - usize::from(ends_in_half_a_line_end) > protocol::MAX_KEY_LEN {
                if let Some(start) = start {
                    output.truncate(start);
                }
                put_error(Error::BadFormat, output);
                self.state = State::SkippingLine;
                return Flow::On;
            }
            if may_go_on || output.is_full() {
                input.at += line.len() - before;
                self.state = State::Getting(getting);
                return Flow::Stop(if may_go_on { Step::Read } else { Step::Yield });
            }
            if let Some(key) = Key::new(field) {
                classic::get(key, getting, output, context);
            }
        }
        match line_end {
            Some(end) => {
                output.put(b"END\r\n");
                input.at += end + 1;
                self.state = State::Ready;
                Flow::On
            }
            None => {
                input.at = input.bytes.len();
                self.state = State::Getting(getting);
                Flow::Stop(Step::Read)
            }
        }
    }

    pub(super) fn on_skipped_line(&mut self, input: &mut Input<'_>) -> Flow {
        match memchr::memchr(b'\n', input.rest()) {
            Some(end) => {
                input.at += end + 1;
                self.state = State::Ready;
                Flow::On
            }
            None => {
                input.at = input.bytes.len();
                Flow::Stop(Step::Read)
            }
        }
    }
}

/// Has the store fetch what the next keys need while they are not needed yet, if that is worth it; answers for how
/// many it has been seen to, at least 1.
fn prefetch(keys: Fields<'_>, context: &Context<'_>) -> usize {
    const KEYS: usize = 32;
    if !context.engine.store.is_larger_than_cache() {
        return KEYS;
    }
    let mut keys = keys.filter_map(Key::new);
    let (Some(first), Some(second)) = (keys.next(), keys.next()) else { return 1 };
    let mut next = [first; KEYS];
    next[1] = second;
    let mut count = 2;
    for (slot, key) in next[2..].iter_mut().zip(keys) {
        *slot = key;
        count += 1;
    }
    context.engine.store.prefetch(&next[..count]);
    count
}
