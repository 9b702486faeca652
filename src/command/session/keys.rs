//! The lines of gets: of any length, their keys answered as they come.

use super::{Context, Flow, Input, Session, State, Step};
use crate::command::classic::{self, Getting};
use crate::command::output::{Mark, Output};
use crate::command::reply::put_error;
use crate::protocol::{self, Error, Fields, MAX_PARTIAL_LINE, MAX_PARTIAL_SOURCES};
use crate::store::{Hash, Key};
use memchr::memmem;
use smallvec::SmallVec;

/// How much of an incomplete get line is waited for before its keys are answered as they come.
const STREAM_KEYS_ABOVE: usize = Session::INPUT_LIMIT / 2;

/// Most blanks before a get line that may be long.
const MAX_INDENT: usize = 100;

impl Session {
    /// A line without its end is waited for, within bounds: a long one has to be a get, whose keys are answered as
    /// they come, or a store that names many sources.
    pub(super) fn on_partial_line(&mut self, input: &mut Input<'_>, context: &Context<'_>) -> Flow {
        let rest = input.rest();
        if rest.len() <= MAX_PARTIAL_LINE {
            return Flow::Stop(Step::Read);
        }
        if rest.len() <= MAX_PARTIAL_SOURCES
            && rest.starts_with(b"ms ")
            && memmem::find(&rest[..MAX_PARTIAL_LINE], b" D").is_some()
        {
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

    /// Answers keys up to the line end, if that has come, or as far as they have come, or until the output is full. A
    /// key that is too long takes back what was answered since `start`, if nothing of it can have been written.
    pub(super) fn on_keys(
        &mut self,
        getting: Getting,
        start: Option<Mark>,
        line_end: Option<usize>,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        let rest = input.rest();
        let line = &rest[..line_end.unwrap_or(rest.len())];
        let line = if line_end.is_some() { line.strip_suffix(b"\r").unwrap_or(line) } else { line };
        let mut keys = Fields::new(line);
        let mut ahead = Ahead::new(context);
        loop {
            let from_here = keys;
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
                input.at += line.len() - from_here.rest().len();
                self.state = State::Getting(getting);
                return Flow::Stop(if may_go_on { Step::Read } else { Step::Yield });
            }
            if let Some(key) = Key::new(field) {
                let hash = ahead.hash(key, from_here, context);
                classic::get(key, hash, getting, output, context);
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

/// Keys looked ahead at.
const AHEAD: usize = 32;

/// The hashes of the next keys of a line. From a store larger than the cache, what their lookups need is fetched for
/// several at once.
struct Ahead {
    is_worth_it: bool,
    hashes: SmallVec<[Hash; AHEAD]>,
    at: usize,
}

impl Ahead {
    fn new(context: &Context<'_>) -> Ahead {
        let is_worth_it = context.engine.store.is_larger_than_cache();
        Ahead { is_worth_it, hashes: SmallVec::new(), at: 0 }
    }

    /// The hash of `key`, with which `fields` begin. To be asked for each key of the line in turn.
    fn hash(&mut self, key: Key<'_>, fields: Fields<'_>, context: &Context<'_>) -> Hash {
        let store = &context.engine.store;
        if !self.is_worth_it {
            return store.hash(key);
        }
        if self.at == self.hashes.len() {
            self.at = 0;
            self.hashes.clear();
            self.hashes.extend(fields.filter_map(Key::new).map(|key| store.hash(key)).take(AHEAD));
            if self.hashes.len() > 1 {
                store.prefetch(&self.hashes);
            }
        }
        self.at += 1;
        self.hashes[self.at - 1]
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::Client;
    use super::*;
    use crate::config::Config;

    /// What comes of the beginning of a line.
    fn begun(client: &mut Client, line: &[u8]) -> Step {
        client.with_context(|context, session| session.on_bytes(line, &mut Output::default(), context).step)
    }

    #[test]
    fn a_store_may_name_its_most_and_longest_sources_wherever_its_line_is_cut() {
        let sources: String = (0..16).map(|number| format!(" D{number:0>249}")).collect();
        let line = format!("ms {} 1{sources}", "k".repeat(250));
        for cut in [1, 2000, 2048, 2049, 3000, line.len()] {
            let mut client = Client::new(Config::default());
            assert!(matches!(begun(&mut client, &line.as_bytes()[..cut]), Step::Read), "cut at {cut}");
            assert_eq!(client.say(&format!("{line}\r\nx")), "HD|");
        }
        // Other stores are no longer than with memcached, and these have a bound as well.
        for line in [format!("ms k 1 {}", "T0 ".repeat(700)), line.repeat(2)] {
            assert!(matches!(begun(&mut Client::new(Config::default()), line.as_bytes()), Step::Close));
        }
    }

    #[test]
    fn a_get_of_many_keys_is_answered_alike_from_a_store_larger_than_the_cache() {
        let mut client = Client::new(Config { item_max: 2 << 20, ..Config::default() });
        let keys: Vec<String> = (0..100).map(|number| format!("key{number}")).collect();
        for key in keys.iter().step_by(3) {
            client.say(&format!("set {key} 0 0 6\r\n{key:<6}"));
        }
        // Twice in a line, and with blanks to spare.
        let line = format!("get  {}   {} ", keys.join(" "), keys.join("  "));
        let small = client.say(&line);
        assert!(small.contains("VALUE key99 0 6|key99 |VALUE key0 0 6|key0  |"), "{small}");
        let long = "x".repeat(1 << 20);
        for number in 0..40 {
            client.say(&format!("set long{number} 0 0 {}\r\n{long}", long.len()));
        }
        assert!(client.engine.store.is_larger_than_cache());
        assert_eq!(client.say(&line), small);
    }
}
