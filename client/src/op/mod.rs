//! The operations as values: what [`Client`](crate::Client)'s methods build, and what a batch is made of.
//! Knows the outcome of each, not how it is sent.

use crate::error::{Error, ErrorKind};
use crate::key::Key;
use crate::protocol::{Code, Reply, Request};
use crate::value::Item;

/// Something a member can be asked, and what comes of it. The operations of this crate and no others.
pub trait Operation: sealed::Sealed + Sized + Send {
    /// What comes of it, apart from errors.
    type Outcome: Send;

    #[doc(hidden)]
    fn into_request(self) -> Result<AnyRequest, Error>;

    /// `None` is the usual answer, which a quiet batch leaves out. No value comes of it that has more than
    /// `max_value_bytes`.
    #[doc(hidden)]
    fn outcome(key: Key, reply: Option<AnyReply>, max_value_bytes: usize) -> Result<Self::Outcome, Error>;

    /// What to say instead of an error if the member cannot be asked.
    #[doc(hidden)]
    fn when_unreachable() -> Option<Self::Outcome> {
        None
    }
}

/// Keeps the protocol's types out of the public interface.
pub(crate) mod sealed {
    use super::{Reply, Request};

    pub trait Sealed {}

    pub struct AnyRequest(pub(crate) Request);

    pub struct AnyReply(pub(crate) Reply);
}

use sealed::{AnyReply, AnyRequest};

/// Declares an operation's options once, for the operation and for the call that carries it.
macro_rules! options {
    ($op:ident { $( $(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*) |$inner:ident| $body:expr; )* }) => {
        impl $op {
            $( $(#[$doc])* pub fn $name(mut self, $($arg: $ty),*) -> Self {
                let $inner = &mut self.0;
                $body;
                self
            } )*
        }

        impl Call<'_, $op> {
            $( $(#[$doc])* pub fn $name(self, $($arg: $ty),*) -> Self {
                self.map(|op| op.$name($($arg),*))
            } )*
        }
    };
}

mod change;
mod get;
mod store;

pub use change::{Count, Counted, Delete, Deleted, Touch, Touched};
pub use get::Get;
pub(crate) use get::is_placeholder;
pub(crate) use store::check_sources;
pub use store::{DerivedFrom, MAX_SOURCES, Store, Stored};

/// Servers take a comparison with 0 for none at all.
pub(crate) fn check_version(compare: Option<u64>) -> Result<(), Error> {
    match compare {
        Some(0) => Err(Error::new(ErrorKind::Invalid("comparing with 0, which is no version".to_owned()))),
        _ => Ok(()),
    }
}

pub(crate) fn unexpected(code: &Code) -> Error {
    Error::new(ErrorKind::Protocol(format!("{code:?} answers nothing that was asked")))
}

/// Any of the operations, as a batch holds them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Op {
    /// A [`Get`].
    Get(Get),
    /// A [`Store`].
    Store(Store),
    /// A [`Delete`].
    Delete(Delete),
    /// A [`Count`].
    Count(Count),
    /// A [`Touch`].
    Touch(Touch),
}

/// What came of an operation in a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Of a [`Get`].
    Get(Option<Item>),
    /// Of a [`Store`].
    Store(Stored),
    /// Of a [`Delete`].
    Delete(Deleted),
    /// Of a [`Count`].
    Count(Counted),
    /// Of a [`Touch`].
    Touch(Touched),
}

macro_rules! any_op {
    ($($name:ident),*) => {
        $( impl From<$name> for Op {
            fn from(op: $name) -> Op {
                Op::$name(op)
            }
        } )*

        impl Op {
            pub(crate) fn into_request(self) -> Result<Request, Error> {
                match self {
                    $( Op::$name(op) => Operation::into_request(op).map(|request| request.0), )*
                }
            }

            pub(crate) fn kind(&self) -> OpKind {
                match self {
                    $( Op::$name(_) => OpKind::$name, )*
                }
            }
        }

        /// Which operation a reply belongs to, after the operation itself has been sent.
        #[derive(Clone, Copy)]
        pub(crate) enum OpKind { $( $name ),* }

        impl OpKind {
            pub(crate) fn outcome(self, key: Key, reply: Option<Reply>, limit: usize) -> Result<Outcome, Error> {
                match self {
                    $( OpKind::$name => {
                        <$name as Operation>::outcome(key, reply.map(AnyReply), limit).map(Outcome::$name)
                    } )*
                }
            }
        }
    };
}

any_op!(Get, Store, Delete, Count, Touch);
