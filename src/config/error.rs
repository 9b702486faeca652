//! What an operator wrote that cannot be meant: where it stands, what to write instead, and the exit code.

use std::fmt;

use super::options::OPTIONS;

/// The exit code of a value memcached's own checks refuse.
pub const FAILURE: u8 = 1;
/// The exit code of wrong usage (`EX_USAGE`), also of what only memcarp refuses.
pub const USAGE: u8 = 64;
/// The exit code of what the system will not give (`EX_OSERR`), such as an address to listen on.
pub const OS: u8 = 71;

/// Something to know of a configuration that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// What was written says nothing, or something else than it seems to: a check fails.
    Mistake(String),
    /// It says what it seems to, and may well be meant.
    Advice(String),
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Warning::Mistake(message) | Warning::Advice(message)) = self;
        f.write_str(message)
    }
}

/// A configuration that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    exit: u8,
    message: String,
}

impl Error {
    /// An error that ends the process with `exit`. `message` says what to write instead.
    pub fn new(exit: u8, message: impl Into<String>) -> Error {
        Error { exit, message: message.into() }
    }

    /// Says first where it stands: `-c 0`, or a file and line.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        self.message = format!("{place}: {}", self.message);
        self
    }

    /// Adds the long names of the options it names by their letters, for whoever wrote long names.
    #[must_use]
    pub(super) fn in_long_names(mut self) -> Error {
        let words = || self.message.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
        let named = OPTIONS
            .iter()
            .filter(|option| option.short.is_some() && words().any(|word| word == option.written()));
        let names: Vec<String> =
            named.map(|option| format!("{} is {}", option.written(), option.long)).collect();
        if !names.is_empty() {
            self.message = format!("{} ({})", self.message, names.join(", "));
        }
        self
    }

    /// The status the process ends with: memcached's for what memcached refuses too.
    pub fn exit(&self) -> u8 {
        self.exit
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
