//! Why the server could not start or go on, in words for the operator, with the exit code scripts expect.

use std::io;
use std::path::Path;

/// Why the server could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing says where to listen.
    #[error("nothing to listen on: TCP is off (-p 0) and there is no UNIX socket; give -p PORT or -s FILE")]
    NothingToListenOn,
    /// No address of a listener could be bound.
    #[error("cannot listen on {address}: {source}; {advice}")]
    Listen {
        /// The address as written or resolved.
        address: String,
        /// What the system said.
        source: io::Error,
        /// What to do about it.
        advice: &'static str,
    },
    /// `-u` names nobody.
    #[error("can't find the user {0} to switch to; name one that exists with -u USER")]
    UnknownUser(String),
    /// A file of users cannot be read.
    #[error("{option} {path}: {source}")]
    AuthFile {
        /// The option that names it.
        option: &'static str,
        /// Its name.
        path: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// What TLS (`-Z`) needs cannot be had.
    #[error("TLS: {what}: {source}")]
    Tls {
        /// The file or option.
        what: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The file that keeps the items over a restart (`-e`) cannot be used.
    #[error("-e {path}: {source}")]
    MemoryFile {
        /// Its name.
        path: String,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The system refused something that cannot be done without.
    #[error("cannot {action}: {source}")]
    System {
        /// What was to be done.
        action: String,
        /// What the system said.
        source: io::Error,
    },
    /// The server in the background ended before it served; it has said why itself.
    #[error("the server in the background did not start (exit code {0})")]
    Daemon(i32),
}

impl Error {
    /// For a system call that failed.
    pub(super) fn system(action: impl Into<String>, source: impl Into<io::Error>) -> Error {
        Error::System { action: action.into(), source: source.into() }
    }

    /// For a file of users.
    pub(super) fn auth_file(option: &'static str, path: &Path, source: io::Error) -> Error {
        Error::AuthFile { option, path: path.display().to_string(), source }
    }

    /// For a file of TLS's that cannot be read.
    pub(super) fn tls_unreadable(file: &Path, error: &io::Error) -> Error {
        let advice = "name a file that is there and that the server's user may read";
        Error::tls(file, io::Error::new(error.kind(), format!("{error}; {advice}")))
    }

    /// For a file of TLS's.
    pub(super) fn tls(file: &Path, source: io::Error) -> Error {
        Error::Tls { what: file.display().to_string(), source }
    }

    /// The file that it is about, if it is one that the configuration names.
    pub fn file(&self) -> Option<&Path> {
        match self {
            Error::AuthFile { path, .. } | Error::Tls { what: path, .. } | Error::MemoryFile { path, .. } => {
                Some(Path::new(path))
            }
            _ => None,
        }
    }

    /// The process's exit code, as in sysexits.h and memcached.
    pub fn exit_code(&self) -> i32 {
        match self {
            Error::AuthFile { .. } | Error::MemoryFile { .. } => 1,
            Error::NothingToListenOn | Error::Tls { .. } => 64,
            Error::UnknownUser(_) => 67,
            Error::Listen { .. } | Error::System { .. } => 71,
            Error::Daemon(code) => *code,
        }
    }
}
