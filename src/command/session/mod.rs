//! One connection's conversation: bytes in, replies out. Waits for nothing and knows no socket.

mod blocks;
mod conversation;
mod keys;
mod login;

use crate::command::admin::{self, Outcome};
use crate::command::auth::Check;
use crate::command::classic::{self, Getting};
use crate::command::connections::Connection;
use crate::command::counts::{Counts, Served, Service};
use crate::command::dump::Dump;
use crate::command::engine::Engine;
use crate::command::meta;
use crate::command::output::Output;
use crate::command::reply::put_error;
use crate::command::storing::Storing;
use crate::command::watch::Watcher;
use crate::protocol::{self, Admin, AdminVerb, Refusal, Request};
use crate::store::{Incoming, Now};
use conversation::Before;
use std::sync::Arc;

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
    /// Makes the function that wakes this connection when log lines or a verdict wait for it.
    pub waker: &'a dyn Fn() -> Box<dyn Fn() + Send + Sync>,
}

/// How far a call got.
#[derive(Debug)]
pub struct Progress {
    /// Bytes of the input that are done with; the rest is to be shown again, at the front, with what follows.
    pub consumed: usize,
    /// What is to happen next.
    pub step: Step,
    /// The commands that were answered.
    pub served: Served,
}

/// What is to happen next.
#[derive(Debug)]
pub enum Step {
    /// Nothing whole is left: write the output, read more.
    Read,
    /// There is more to answer: write the output, let others have a turn, call again.
    Yield,
    /// A password is being checked: write the output, and call again, with the same input or more, when woken.
    Wait,
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
    /// A password is being checked.
    Verifying(Arc<Check>),
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
    /// The same by what they are for; lines that are no commands are not among them.
    served: Served,
}

impl<'b> Input<'b> {
    fn rest(&self) -> &'b [u8] {
        &self.bytes[self.at..]
    }

    fn served(&mut self, service: Service) {
        self.served[service as usize] += 1;
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

    /// A conversation that has not begun.
    pub fn new() -> Session {
        Session::default()
    }

    /// Answers the whole requests at the front of `input`, at most the connection's share of requests (`-R`), and
    /// stops early when the output is full.
    pub fn on_bytes(&mut self, input: &[u8], output: &mut Output, context: &Context<'_>) -> Progress {
        let mut input = Input { bytes: input, at: 0, requests: 0, served: [0; 4] };
        let shown = conversation::is_shown(context);
        loop {
            let before = shown.then(|| Before::of(self, &input, output));
            let flow = match &mut self.state {
                _ if output.is_full() => Flow::Stop(Step::Yield),
                State::Ready => self.on_line(&mut input, output, context),
                State::Getting(getting) => {
                    let getting = *getting;
                    let line_end = memchr::memchr(b'\n', input.rest());
                    self.on_keys(getting, None, line_end, &mut input, output, context)
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
                State::Verifying(check) => match check.verdict() {
                    None => Flow::Stop(Step::Wait),
                    Some(verdict) => {
                        let check = check.clone();
                        self.state = State::Ready;
                        self.conclude(&check, verdict, output, context);
                        Flow::On
                    }
                },
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
            if let Some(before) = before {
                before.show(&input, output, context);
            }
            if let Flow::Stop(step) = flow {
                return Progress { consumed: input.at, step, served: input.served };
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

    /// Whether a long value is being received. Takes no memory for it, as [`Session::space`] does.
    pub fn receives_value(&self) -> bool {
        matches!(&self.state, State::Receiving(receiving) if receiving.incoming.missing() > 0)
    }

    /// Says that `count` bytes have been read into [`Session::space`].
    pub fn received(&mut self, count: usize) {
        if let State::Receiving(receiving) = &mut self.state {
            receiving.incoming.filled(count);
        }
    }

    /// Says that the client sends nothing more. What it has sent is answered all the same.
    pub fn hears_the_end(&self) {
        if let State::Verifying(check) = &self.state {
            check.hears_the_end();
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
        #[cfg(debug_assertions)]
        panic_if_asked(line);
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
        input.served(Service::of(&request));
        if let Request::Get(get) = request {
            // The keys go on being keys when the output fills up half-way.
            let before_keys = line.len() - get.keys.rest().len();
            input.at += before_keys;
            let getting = Getting { cas: get.cas, touch: get.touch };
            let start = Some(output.mark());
            return self.on_keys(getting, start, Some(end - before_keys), input, output, context);
        }
        input.at += end + 1;
        self.execute(request, input, output, context)
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
        if !output.hold_since(start, &context.engine.long_replies) {
            output.put(b"SERVER_ERROR out of memory writing stats\r\n");
        }
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

/// A mistake for tests to make: in builds with debug assertions only, and where `MEMCARP_TEST_PANIC` names this line.
#[cfg(debug_assertions)]
fn panic_if_asked(line: &[u8]) {
    static ASKED: std::sync::LazyLock<Option<std::ffi::OsString>> =
        std::sync::LazyLock::new(|| std::env::var_os("MEMCARP_TEST_PANIC"));
    if let Some(asked) = &*ASKED
        && asked.as_encoded_bytes() == line
    {
        panic!("as asked by MEMCARP_TEST_PANIC");
    }
}
