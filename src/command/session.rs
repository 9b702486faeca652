//! One connection's conversation: bytes in, replies out. Waits for nothing and knows no socket.

use super::admin::{self, Outcome};
use super::auth::MAX_TOKEN_LEN;
use super::classic::{self, Getting};
use super::connections::Connection;
use super::counts::Counts;
use super::dump::Dump;
use super::engine::Engine;
use super::meta;
use super::output::{Mark, Output};
use super::reply::put_error;
use super::storing::Storing;
use super::watch::Watcher;
use crate::protocol::{self, Admin, AdminVerb, Error, Fields, MAX_PARTIAL_LINE, Refusal, Request};
use crate::store::{Incoming, Key, NewValue, Now};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What a session needs from the worker that runs it, lent for one call.
pub struct Context<'a> {
    /// What all workers share.
    pub engine: &'a Engine,
    /// This worker's counts.
    pub counts: &'a Counts,
    /// The connection as the table shows it.
    pub connection: &'a Connection,
    /// The time of this batch.
    pub now: Now,
    /// Makes the function that wakes this connection when log lines wait for it (only `watch` calls it).
    pub waker: &'a dyn Fn() -> Box<dyn Fn() + Send + Sync>,
}

/// How far a call got.
#[derive(Debug)]
pub struct Progress {
    /// Bytes of the input that are done with; the rest is to be shown again, at the front, with what follows.
    pub consumed: usize,
    /// What is to happen next.
    pub step: Step,
}

/// What is to happen next.
#[derive(Debug)]
pub enum Step {
    /// Nothing whole is left: write the output, read more.
    Read,
    /// There is more to answer: write the output, let others have a turn, call again.
    Yield,
    /// The client watches from now on: write the output, then its lines as they come, until it closes.
    Watch,
    /// Write the output, then close.
    Close,
    /// Write the output, close, and end the server; gracefully if told so.
    Shutdown {
        /// `shutdown graceful`.
        graceful: bool,
    },
}

/// One connection's conversation.
#[derive(Default)]
pub struct Session {
    state: State,
    /// Whether the client has said who it is; stays false where nobody needs to.
    authenticated: bool,
}

/// What the conversation is in the middle of.
#[derive(Default)]
enum State {
    /// A command line comes next.
    #[default]
    Ready,
    /// Keys of a get come next, up to a line end.
    Getting(Getting),
    /// The rest of a line comes next, and is dropped.
    SkippingLine,
    /// A data block comes next, received apart from the input.
    Receiving(Box<Receiving>),
    /// This many bytes come next, and are dropped.
    Swallowing(usize),
    /// The store is being listed.
    Dumping(Box<Dump>),
    /// The client receives log lines; what it sends is dropped.
    Watching(Arc<Watcher>),
}

/// A store whose block is received into the memory it will live in. The line is read again when the block is there.
struct Receiving {
    line: Box<[u8]>,
    incoming: Incoming,
}

/// Whether a call goes on.
enum Flow {
    On,
    Stop(Step),
}

/// The input of one call, and how far it has been read.
struct Input<'b> {
    bytes: &'b [u8],
    at: usize,
    /// Commands answered in this call.
    requests: u32,
}

impl<'b> Input<'b> {
    fn rest(&self) -> &'b [u8] {
        &self.bytes[self.at..]
    }

    /// Takes up to `count` bytes.
    fn take(&mut self, count: usize) -> &'b [u8] {
        let taken = &self.rest()[..count.min(self.bytes.len() - self.at)];
        self.at += taken.len();
        taken
    }
}

impl Session {
    /// Longest input that [`Session::on_bytes`] may leave unconsumed: a buffer of this size never deadlocks.
    pub const INPUT_LIMIT: usize = 64 << 10;

    /// How much of an incomplete get line is waited for before its keys are answered as they come.
    const STREAM_KEYS_ABOVE: usize = Session::INPUT_LIMIT / 2;

    /// Most blanks before a get line that may be long.
    const MAX_INDENT: usize = 100;

    /// A conversation that has not begun.
    pub fn new() -> Session {
        Session::default()
    }

    /// Answers the whole requests at the front of `input`, at most the connection's share of requests (`-R`), and
    /// stops early when the output is full.
    pub fn on_bytes(&mut self, input: &[u8], output: &mut Output, context: &Context<'_>) -> Progress {
        let mut input = Input { bytes: input, at: 0, requests: 0 };
        loop {
            let flow = match &mut self.state {
                _ if output.is_full() => Flow::Stop(Step::Yield),
                State::Ready => self.on_line(&mut input, output, context),
                State::Getting(getting) => {
                    let getting = *getting;
                    self.on_keys(getting, None, &mut input, output, context)
                }
                State::SkippingLine => self.on_skipped_line(&mut input),
                State::Receiving(_) => self.on_block(&mut input, output, context),
                State::Swallowing(left) => {
                    *left -= input.take(*left).len();
                    if *left == 0 {
                        self.state = State::Ready;
                        Flow::On
                    } else {
                        Flow::Stop(Step::Read)
                    }
                }
                State::Dumping(dump) => {
                    if dump.advance(output, context) {
                        self.state = State::Ready;
                        Flow::On
                    } else {
                        Flow::Stop(Step::Yield)
                    }
                }
                State::Watching(_) => {
                    input.at = input.bytes.len();
                    Flow::Stop(Step::Watch)
                }
            };
            if let Flow::Stop(step) = flow {
                return Progress { consumed: input.at, step };
            }
        }
    }

    /// Where the next bytes of a long value go, if one is being received: read straight into it, then call
    /// [`Session::received`]. Only while no input is left unconsumed.
    pub fn space(&mut self) -> Option<&mut [u8]> {
        match &mut self.state {
            State::Receiving(receiving) if receiving.incoming.missing() > 0 => receiving.incoming.space(),
            _ => None,
        }
    }

    /// Says that `count` bytes have been read into [`Session::space`].
    pub fn received(&mut self, count: usize) {
        if let State::Receiving(receiving) = &mut self.state {
            receiving.incoming.filled(count);
        }
    }

    /// The log lines of a client that watches.
    pub fn watcher(&self) -> Option<&Arc<Watcher>> {
        match &self.state {
            State::Watching(watcher) => Some(watcher),
            _ => None,
        }
    }

    /// Whether there is nothing to remember between two commands: an idle session can be made anew.
    pub fn is_idle(&self) -> bool {
        matches!(self.state, State::Ready) && !self.authenticated
    }

    /// Whether the client has said who it is, or need not.
    fn may_command(&self, context: &Context<'_>) -> bool {
        self.authenticated || !context.engine.requires_users()
    }

    fn on_line(&mut self, input: &mut Input<'_>, output: &mut Output, context: &Context<'_>) -> Flow {
        let rest = input.rest();
        let Some(end) = memchr::memchr(b'\n', rest) else { return self.on_partial_line(input, context) };
        if input.requests >= context.engine.config.reqs_per_event {
            context.counts.general.conn_yields.increment();
            return Flow::Stop(Step::Yield);
        }
        let line = &rest[..end];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        input.requests += 1;
        if !self.may_command(context)
            && let Some(flow) = self.authenticate(line, end + 1, input, output, context)
        {
            return flow;
        }
        trace_line(line, context);
        let request = match protocol::parse(line) {
            Ok(request) => request,
            Err(Refusal::Close) => return Flow::Stop(Step::Close),
            Err(Refusal::Answer { error, swallow, silent }) => {
                if !silent {
                    put_error(error, output);
                }
                input.at += end + 1;
                if swallow > 0 {
                    self.state = State::Swallowing(swallow);
                }
                return Flow::On;
            }
        };
        if let Some(storing) = Storing::of(request) {
            return self.on_store(storing, line, end + 1, input, output, context);
        }
        if let Request::Get(get) = request {
            // The keys go on being keys when the output fills up half-way.
            input.at += line.len() - get.keys.rest().len();
            let getting = Getting { cas: get.cas, touch: get.touch };
            return self.on_keys(getting, Some(output.mark()), input, output, context);
        }
        input.at += end + 1;
        self.execute(request, input, output, context)
    }

    /// A line without its end is waited for, within bounds: a long one has to be a get, whose keys are answered as
    /// they come.
    fn on_partial_line(&mut self, input: &mut Input<'_>, context: &Context<'_>) -> Flow {
        let rest = input.rest();
        if rest.len() <= MAX_PARTIAL_LINE {
            return Flow::Stop(Step::Read);
        }
        let indent = rest.iter().take(Session::MAX_INDENT + 1).take_while(|&&byte| byte == b' ').count();
        let verb = &rest[indent..];
        let cas = verb.starts_with(b"gets ");
        if indent > Session::MAX_INDENT || !(cas || verb.starts_with(b"get ")) {
            return Flow::Stop(Step::Close);
        }
        if rest.len() >= Session::STREAM_KEYS_ABOVE && indent == 0 && self.may_command(context) {
            input.at += if cas { "gets".len() } else { "get".len() };
            self.state = State::Getting(Getting { cas, touch: None });
            return Flow::On;
        }
        if rest.len() >= Session::INPUT_LIMIT { Flow::Stop(Step::Close) } else { Flow::Stop(Step::Read) }
    }

    /// Answers keys up to the line end, or as far as they have come, or until the output is full. A key that is too
    /// long takes back what was answered since `start`, if nothing of it can have been written.
    fn on_keys(
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
        loop {
            let before = keys.rest().len();
            let Some(field) = keys.next() else { break };
            let may_go_on = line_end.is_none() && keys.rest().is_empty();
            if field.len() > protocol::MAX_KEY_LEN {
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

    fn on_skipped_line(&mut self, input: &mut Input<'_>) -> Flow {
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

    /// A short block is stored from the input once it is whole; a long one is received apart.
    fn on_store(
        &mut self,
        storing: Storing<'_>,
        line: &[u8],
        line_len: usize,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        if storing.is_too_large(context) {
            storing.refuse_too_large(output, context);
            input.at += line_len;
            self.state = State::Swallowing(storing.len() + 2);
            return Flow::On;
        }
        let len = storing.len();
        let after = &input.rest()[line_len..];
        let apart = len > context.engine.store.inline_limit() || line_len > MAX_PARTIAL_LINE;
        if apart {
            input.at += line_len;
            let incoming = context.engine.store.incoming(len);
            self.state = State::Receiving(Box::new(Receiving { line: line.into(), incoming }));
            return Flow::On;
        }
        if after.len() < len + 2 {
            input.requests -= 1;
            return Flow::Stop(Step::Read);
        }
        let (value, end) = after[..len + 2].split_at(len);
        if end == b"\r\n" {
            storing.store(NewValue::Bytes(value), output, context);
        } else {
            storing.refuse_bad_chunk(output, context);
        }
        input.at += line_len + len + 2;
        Flow::On
    }

    /// Takes what has come of a block that is received apart, and stores it when it is whole.
    fn on_block(&mut self, input: &mut Input<'_>, output: &mut Output, context: &Context<'_>) -> Flow {
        let State::Receiving(mut receiving) = std::mem::take(&mut self.state) else { return Flow::On };
        let request = protocol::parse(&receiving.line).ok().and_then(Storing::of);
        let storing = request.expect("the line was parsed when its block was announced");
        let incoming = &mut receiving.incoming;
        while incoming.missing() > 0 && !input.rest().is_empty() {
            let Some(space) = incoming.space() else {
                storing.refuse_no_memory(output, context);
                self.state = State::Swallowing(incoming.missing() + 2);
                return Flow::On;
            };
            let part = input.take(space.len());
            space[..part.len()].copy_from_slice(part);
            incoming.filled(part.len());
        }
        if incoming.missing() > 0 || input.rest().len() < 2 {
            self.state = State::Receiving(receiving);
            return Flow::Stop(Step::Read);
        }
        if input.take(2) == b"\r\n" {
            storing.store(NewValue::Received(receiving.incoming), output, context);
        } else {
            storing.refuse_bad_chunk(output, context);
        }
        Flow::On
    }

    fn execute(
        &mut self,
        request: Request<'_>,
        input: &Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        let start = output.mark();
        let mut noreply = false;
        match request {
            Request::Delete(delete) => {
                noreply = delete.noreply;
                classic::delete(&delete, output, context);
            }
            Request::Arithmetic(arithmetic) => {
                noreply = arithmetic.noreply;
                classic::arithmetic(&arithmetic, output, context);
            }
            Request::Touch(touch) => {
                noreply = touch.noreply;
                classic::touch(&touch, output, context);
            }
            Request::MetaGet(request) => meta::get(&request, output, context),
            Request::MetaDelete(request) => meta::delete(&request, output, context),
            Request::MetaArithmetic(request) => meta::arithmetic(&request, output, context),
            Request::MetaDebug(request) => meta::debug(&request, output, context),
            Request::MetaNoop => output.put(b"MN\r\n"),
            Request::Quit => return Flow::Stop(Step::Close),
            Request::Admin(request) => return self.administer(request, input, output, context),
            Request::Get(_) | Request::Store(_) | Request::MetaStore(_) => {
                unreachable!("answered where their keys and blocks are read")
            }
        }
        if noreply {
            output.truncate(start);
        }
        Flow::On
    }

    fn administer(
        &mut self,
        request: Admin<'_>,
        input: &Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        let alone = input.requests == 1 && output.is_empty();
        if let Some(name) = streamed(request)
            && !alone
        {
            output.put(b"ERROR cannot pipeline other commands before ");
            output.put(name);
            output.put(b"\r\n");
            return Flow::On;
        }
        let start = output.mark();
        let outcome = admin::execute(request, output, context);
        if request.noreply {
            output.truncate(start);
        }
        match outcome {
            Outcome::Answered => {}
            Outcome::Watch(watcher) => self.state = State::Watching(watcher),
            Outcome::Dump(dump) => self.state = State::Dumping(Box::new(dump)),
            Outcome::Shutdown { graceful } => return Flow::Stop(Step::Shutdown { graceful }),
        }
        Flow::On
    }

    /// Answers a line of a client that has not said who it is; `None` if nobody needs to.
    fn authenticate(
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
            return Some(Flow::Stop(Step::Read));
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

/// The name of a command whose answer goes on and on, and so may not stand behind others in a batch.
fn streamed(request: Admin<'_>) -> Option<&'static [u8]> {
    let mut arguments = request.arguments;
    match (request.verb, arguments.next()) {
        (AdminVerb::Watch, _) => Some(b"watch"),
        (AdminVerb::LruCrawler, Some(b"metadump")) => Some(b"metadump"),
        (AdminVerb::LruCrawler, Some(b"mgdump")) => Some(b"mgdump"),
        _ => None,
    }
}

/// `-vv` shows every command on standard error.
fn trace_line(line: &[u8], context: &Context<'_>) {
    if context.engine.verbosity.load(Ordering::Relaxed) >= 2 {
        eprintln!("<{} {}", context.connection.fd, line.escape_ascii());
    }
}
