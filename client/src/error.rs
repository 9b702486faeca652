//! What can go wrong, at which member, and whether trying again can help.

use crate::members::MembersError;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// A request that got no outcome. A miss, a refused `add`, a lost compare-and-swap are outcomes, not errors.
///
/// Errors are cheap to clone: one cause may fail many requests.
#[derive(Clone)]
pub struct Error {
    kind: ErrorKind,
    member: Option<Arc<str>>,
    cause: Option<Arc<dyn StdError + Send + Sync>>,
}

/// The sort of an [`Error`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The key is empty or too long.
    InvalidKey {
        /// Its length.
        bytes: usize,
    },
    /// The value is longer than the client was told to send or take:
    /// [`Builder::max_value_bytes`](crate::Builder::max_value_bytes). It was not sent, or not kept.
    ValueTooLarge {
        /// Its length in bytes; as it was stored if a server sent it, unless only what was compressed is too long.
        bytes: usize,
    },
    /// The request contradicts itself, or a limit of the protocol: in which way. Nothing was sent.
    Invalid(String),
    /// The server, or the classic protocol it was met with, cannot do this: what it cannot do. Nothing was carried out.
    Unsupported(String),
    /// The member is known to be down, and nothing was sent. The cause is the failure that brought it down, or why no
    /// connection could be made since. A member that refuses who the client is has errors of that kind instead.
    MemberDown,
    /// The member may still carry out an earlier change of the key, sent on a connection that was given up, and nothing
    /// was sent. Lasts until that connection ends at the member's side.
    Unsettled,
    /// No connection could be made; the cause says why.
    Connect,
    /// The member wants a login, and the client has no credentials: see
    /// [`Builder::credentials`](crate::Builder::credentials). Nothing was carried out.
    LoginRequired,
    /// The member refused the credentials: its answer to the login. Nothing was carried out.
    Authentication(String),
    /// The connection broke before the answer. The request may have been carried out.
    ConnectionLost,
    /// The deadline passed before the answer. The request may have been carried out.
    Timeout,
    /// Too many requests wait for this member already, and nothing was sent.
    Overloaded,
    /// The server could not carry it out: its `SERVER_ERROR`.
    Server(String),
    /// The server did not accept the request: its `CLIENT_ERROR` or `ERROR`.
    Refused(String),
    /// The server's answer makes no sense; the connection was given up.
    Protocol(String),
    /// An item was to be derived from a source that another member owns, where no update of the source could
    /// expire it. Give both keys the same `{tag}`.
    SourceElsewhere(Box<SourceElsewhere>),
    /// The value could not be turned into or out of its stored form; the cause says why.
    Codec,
    /// The member list cannot be used; the cause says why.
    Members,
    /// The client cannot be made with these settings; the cause says why.
    Settings,
}

/// The two nodes of an [`ErrorKind::SourceElsewhere`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceElsewhere {
    /// The item's key.
    pub key: String,
    /// The member that owns the item.
    pub member: String,
    /// The source's key.
    pub source: String,
    /// The member that owns the source.
    pub source_member: String,
}

impl Error {
    pub(crate) fn new(kind: ErrorKind) -> Error {
        Error { kind, member: None, cause: None }
    }

    pub(crate) fn caused(kind: ErrorKind, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Error {
        Error { kind, member: None, cause: Some(Arc::from(cause.into())) }
    }

    pub(crate) fn at(mut self, member: &Arc<str>) -> Error {
        self.member.get_or_insert_with(|| member.clone());
        self
    }

    /// What sort of error it is.
    pub fn kind(&self) -> &ErrorKind {
        &self.kind
    }

    /// The name of the member it happened at, if it got as far as one.
    pub fn member(&self) -> Option<&str> {
        self.member.as_deref()
    }

    /// Whether the same request may succeed a little later. Says nothing about whether it is safe to repeat: see
    /// [`may_have_happened`](Error::may_have_happened).
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::MemberDown
                | ErrorKind::Unsettled
                | ErrorKind::Connect
                | ErrorKind::ConnectionLost
                | ErrorKind::Timeout
                | ErrorKind::Overloaded
                | ErrorKind::Server(_)
        )
    }

    /// Whether the request may have been carried out although its answer is missing.
    pub fn may_have_happened(&self) -> bool {
        matches!(self.kind, ErrorKind::ConnectionLost | ErrorKind::Timeout | ErrorKind::Protocol(_))
    }

    /// Whether the member, not the request, is to blame.
    pub(crate) fn is_member_fault(&self) -> bool {
        matches!(
            self.kind,
            ErrorKind::MemberDown
                | ErrorKind::Unsettled
                | ErrorKind::Connect
                | ErrorKind::LoginRequired
                | ErrorKind::Authentication(_)
                | ErrorKind::ConnectionLost
                | ErrorKind::Timeout
                | ErrorKind::Overloaded
                | ErrorKind::Protocol(_)
        )
    }

    /// Whether the member surely has not carried out the request.
    pub(crate) fn was_not_sent(&self) -> bool {
        self.is_about_login()
            || matches!(self.kind, ErrorKind::MemberDown | ErrorKind::Unsettled | ErrorKind::Connect)
    }

    /// Whether it is about who the client is: no credentials, or wrong ones.
    pub(crate) fn is_about_login(&self) -> bool {
        matches!(self.kind, ErrorKind::LoginRequired | ErrorKind::Authentication(_))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(member) = &self.member {
            write!(f, "{member}: ")?;
        }
        match &self.kind {
            ErrorKind::InvalidKey { bytes } => {
                write!(
                    f,
                    "a key has 1 to 250 bytes (186 if it or another of the request holds blanks), not {bytes}"
                )
            }
            ErrorKind::ValueTooLarge { bytes } => {
                write!(f, "a value of {bytes} bytes is over max_value_bytes")
            }
            ErrorKind::Invalid(why) => write!(f, "cannot be asked: {why}"),
            ErrorKind::Unsupported(what) => write!(f, "not supported by this server: {what}"),
            ErrorKind::MemberDown => f.write_str("is down, nothing was sent"),
            ErrorKind::Unsettled => {
                f.write_str("may still carry out an earlier change of the key, nothing was sent")
            }
            ErrorKind::Connect => f.write_str("cannot connect"),
            ErrorKind::LoginRequired => f.write_str("wants a login; give the client credentials"),
            ErrorKind::Authentication(answer) => write!(f, "refused the credentials: {answer}"),
            ErrorKind::ConnectionLost => f.write_str("the connection was lost before the answer"),
            ErrorKind::Timeout => f.write_str("no answer before the deadline"),
            ErrorKind::Overloaded => f.write_str("too many requests wait already"),
            ErrorKind::Server(text) => write!(f, "could not carry out the request: {text}"),
            ErrorKind::Refused(text) => write!(f, "did not accept the request: {text}"),
            ErrorKind::Protocol(what) => write!(f, "answered nonsense: {what}"),
            ErrorKind::SourceElsewhere(e) => write!(
                f,
                "{} is owned by {}, but its source {} by {}; give both keys the same {{tag}}",
                e.key, e.member, e.source, e.source_member
            ),
            ErrorKind::Codec => f.write_str("the value could not be converted"),
            ErrorKind::Members => f.write_str("the member list cannot be used"),
            ErrorKind::Settings => f.write_str("the settings cannot be used"),
        }?;
        match &self.cause {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}

/// The same sentence: it is what a `main` that returns the error prints.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.cause.as_deref().map(|cause| cause as _)
    }
}

impl From<MembersError> for Error {
    fn from(error: MembersError) -> Error {
        Error::caused(ErrorKind::Members, error)
    }
}

/// For [`Client::new`](crate::Client::new) with members that need no conversion.
impl From<Infallible> for Error {
    fn from(never: Infallible) -> Error {
        match never {}
    }
}

impl From<ErrorKind> for Error {
    fn from(kind: ErrorKind) -> Error {
        Error::new(kind)
    }
}
