//! The text protocol: one command line to a [`Request`]. Knows no store, no sockets and no time.
//!
//! A request borrows from its line and allocates nothing. What is wrong with a line becomes a [`Refusal`], which says
//! what to answer and how many bytes of a data block to swallow so that the stream stays in step.

mod classic;
mod fields;
mod meta;

pub use classic::{Arithmetic, Delete, Get, Store, StoreVerb, Touch};
pub use fields::{Fields, parse_i32, parse_i64, parse_u32, parse_u64};
pub use meta::{Flag, Flags, Meta, MetaArithmetic, MetaKey, MetaStore, Mode, Source};

/// Longest key in bytes, as written in a command.
pub const MAX_KEY_LEN: usize = 250;

/// Longest line that may be incomplete, in bytes: more without a line end closes the connection, unless it is a get.
pub const MAX_PARTIAL_LINE: usize = 2048;

/// The same for a store that names sources, whose names alone can be twice as long.
pub const MAX_PARTIAL_SOURCES: usize = 8192;

/// Longest value a store may announce, in bytes; beyond it the number itself is refused.
pub const MAX_VALUE_LEN: u64 = (i32::MAX - 2) as u64;

/// The last field that asks for silence.
pub const NOREPLY: &[u8] = b"noreply";

/// One command, as its line says.
#[derive(Clone, Copy, Debug)]
pub enum Request<'b> {
    /// get, gets, gat, gats.
    Get(Get<'b>),
    /// set, add, replace, append, prepend, cas.
    Store(Store<'b>),
    /// delete.
    Delete(Delete<'b>),
    /// incr, decr.
    Arithmetic(Arithmetic<'b>),
    /// touch.
    Touch(Touch<'b>),
    /// mg.
    MetaGet(Meta<'b>),
    /// ms.
    MetaStore(MetaStore<'b>),
    /// md.
    MetaDelete(Meta<'b>),
    /// ma.
    MetaArithmetic(MetaArithmetic<'b>),
    /// me.
    MetaDebug(Meta<'b>),
    /// mn.
    MetaNoop,
    /// quit.
    Quit,
    /// Everything that looks after the server rather than items.
    Admin(Admin<'b>),
}

/// A command that looks after the server.
#[derive(Clone, Copy, Debug)]
pub struct Admin<'b> {
    /// Which one.
    pub verb: AdminVerb,
    /// What follows it on the line, without a closing `noreply`.
    pub arguments: Fields<'b>,
    /// Whether the line ends in `noreply`.
    pub noreply: bool,
}

/// The commands that look after the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AdminVerb {
    Version,
    Verbosity,
    FlushAll,
    Stats,
    Shutdown,
    CacheMemlimit,
    LruCrawler,
    Lru,
    Slabs,
    Watch,
    RefreshCerts,
}

/// Why a line is not a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// To be answered, after which the stream goes on.
    Answer {
        /// The error.
        error: Error,
        /// Bytes that follow the line and belong to it.
        swallow: usize,
        /// Not to be answered after all.
        silent: bool,
    },
    /// Not memcached's protocol at all: the connection is closed without a word.
    Close,
}

impl Refusal {
    /// An error without a data block.
    pub fn of(error: Error) -> Refusal {
        Refusal::Answer { error, swallow: 0, silent: false }
    }
}

/// What is wrong with a command; each is one line on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)]
pub enum Error {
    #[error("ERROR")]
    Unknown,
    #[error("CLIENT_ERROR bad command line format")]
    BadFormat,
    #[error("CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]")]
    DeleteUsage,
    #[error("CLIENT_ERROR bad data chunk")]
    BadChunk,
    #[error("CLIENT_ERROR invalid exptime argument")]
    BadExptime,
    #[error("CLIENT_ERROR invalid numeric delta argument")]
    BadDelta,
    #[error("CLIENT_ERROR cannot increment or decrement non-numeric value")]
    NotANumber,
    #[error("CLIENT_ERROR duplicate flag")]
    DuplicateFlag,
    #[error("CLIENT_ERROR invalid flag")]
    InvalidFlag,
    #[error("CLIENT_ERROR invalid or duplicate flag")]
    InvalidOrDuplicateFlag,
    #[error("CLIENT_ERROR options flags are too long")]
    TooManyFlags,
    #[error("CLIENT_ERROR bad token in command line format")]
    BadToken,
    #[error("CLIENT_ERROR opaque token too long")]
    OpaqueTooLong,
    #[error("CLIENT_ERROR error decoding key")]
    BadBase64,
    #[error("CLIENT_ERROR incorrect length for M token")]
    ModeLength,
    #[error("CLIENT_ERROR invalid mode for ms M token")]
    BadStoreMode,
    #[error("CLIENT_ERROR invalid mode for ma M token")]
    BadArithmeticMode,
    #[error("SERVER_ERROR object too large for cache")]
    TooLarge,
    #[error("SERVER_ERROR out of memory storing object")]
    NoMemory,
    #[error("SERVER_ERROR out of memory in incr")]
    NoMemoryArithmetic,
    #[error("CLIENT_ERROR unauthenticated")]
    Unauthenticated,
    #[error("CLIENT_ERROR authentication failure")]
    AuthenticationFailure,
    #[error("CLIENT_ERROR bad authentication token format")]
    BadAuthenticationToken,
    #[error("CLIENT_ERROR bad command line termination")]
    BadTermination,
    #[error("CLIENT_ERROR auth token too long")]
    AuthenticationTooLong,
    #[error("SERVER_ERROR too many clients are logging in, try again")]
    AuthenticationBusy,
}

/// Reads one command line, given without its line end.
pub fn parse(line: &[u8]) -> Result<Request<'_>, Refusal> {
    if line.len() < 2 {
        return Err(Refusal::of(Error::BadFormat));
    }
    // A leading blank makes the first field empty, which is no command.
    let (verb, rest) = line.split_at(fields::field_len(line));
    let fields = Fields::new(rest);
    match verb {
        b"get" => classic::get(fields, false),
        b"mg" => meta::get(fields).map(Request::MetaGet),
        b"set" => classic::store(fields, StoreVerb::Set),
        b"ms" => meta::store(fields),
        b"gets" => classic::get(fields, true),
        b"add" => classic::store(fields, StoreVerb::Add),
        b"cas" => classic::store(fields, StoreVerb::Cas),
        b"replace" => classic::store(fields, StoreVerb::Replace),
        b"append" => classic::store(fields, StoreVerb::Append),
        b"prepend" => classic::store(fields, StoreVerb::Prepend),
        b"delete" => classic::delete(fields),
        b"incr" => classic::arithmetic(fields, true),
        b"decr" => classic::arithmetic(fields, false),
        b"touch" => classic::touch(fields),
        b"gat" => classic::get_and_touch(fields, false),
        b"gats" => classic::get_and_touch(fields, true),
        b"md" => meta::delete(fields).map(Request::MetaDelete),
        b"ma" => meta::arithmetic(fields),
        b"me" => meta::debug(fields).map(Request::MetaDebug),
        b"mn" => Ok(Request::MetaNoop),
        b"quit" => Ok(Request::Quit),
        // Asked for what cannot be left out, these and watch take `noreply` for an argument.
        b"version" => {
            Ok(Request::Admin(Admin { verb: AdminVerb::Version, arguments: fields, noreply: false }))
        }
        b"stats" => Ok(Request::Admin(Admin { verb: AdminVerb::Stats, arguments: fields, noreply: false })),
        b"verbosity" => Ok(Request::admin(AdminVerb::Verbosity, fields)),
        b"flush_all" => Ok(Request::admin(AdminVerb::FlushAll, fields)),
        b"shutdown" => Ok(Request::admin(AdminVerb::Shutdown, fields)),
        b"cache_memlimit" => Ok(Request::admin(AdminVerb::CacheMemlimit, fields)),
        b"lru_crawler" => Ok(Request::admin(AdminVerb::LruCrawler, fields)),
        b"lru" => Ok(Request::admin(AdminVerb::Lru, fields)),
        b"slabs" => Ok(Request::admin(AdminVerb::Slabs, fields)),
        b"watch" => Ok(Request::Admin(Admin { verb: AdminVerb::Watch, arguments: fields, noreply: false })),
        b"refresh_certs" => Ok(Request::admin(AdminVerb::RefreshCerts, fields)),
        _ => Err(unknown(line)),
    }
}

impl<'b> Request<'b> {
    fn admin(verb: AdminVerb, arguments: Fields<'b>) -> Request<'b> {
        let (arguments, noreply) = arguments.without_noreply();
        Request::Admin(Admin { verb, arguments, noreply })
    }
}

/// A browser, or a probe that takes this for a web server, is shown the door.
fn unknown(line: &[u8]) -> Refusal {
    match Fields::new(line).last() {
        Some(last) if last.starts_with(b"HTTP/") => Refusal::Close,
        last => Refusal::Answer { error: Error::Unknown, swallow: 0, silent: last == Some(NOREPLY) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(line: &str) -> Refusal {
        parse(line.as_bytes()).expect_err(line)
    }

    #[test]
    fn short_lines_are_malformed_and_other_words_unknown() {
        for line in ["", "x", " "] {
            assert_eq!(refused(line), Refusal::of(Error::BadFormat));
        }
        assert_eq!(refused("xx"), Refusal::of(Error::Unknown));
        assert_eq!(refused(" get a"), Refusal::of(Error::Unknown));
        assert_eq!(refused("GET a"), Refusal::of(Error::Unknown));
    }

    #[test]
    fn an_unknown_command_may_ask_for_silence_and_a_browser_is_closed() {
        let silent = Refusal::Answer { error: Error::Unknown, swallow: 0, silent: true };
        assert_eq!(refused("foo bar noreply"), silent);
        assert_eq!(refused("GET / HTTP/1.1"), Refusal::Close);
        assert!(parse(b"get / HTTP/1.1").is_ok());
    }

    #[test]
    fn noreply_is_the_last_field_or_nothing() {
        let Ok(Request::Admin(admin)) = parse(b"flush_all 10 noreply ") else { panic!() };
        assert!(admin.noreply);
        assert_eq!(admin.arguments.collect::<Vec<_>>(), [b"10"]);
        let Ok(Request::Admin(admin)) = parse(b"flush_all noreply 10") else { panic!() };
        assert!(!admin.noreply);
    }
}
