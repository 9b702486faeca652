//! Options as a command line has them, sorted by who reads them. Reads no files.

use std::ffi::{OsStr, OsString};

use clap::{ArgMatches, Command};

use super::draft::Draft;
use super::error::{Error, FAILURE, USAGE};
use super::getopt::{self, Found};
use super::help::COMMANDS;
use super::options::Opt;
use super::setting::nearest;
use super::value::Value;

/// What one source of options says, in its order.
pub struct Written {
    memcached: Vec<(&'static Opt, Option<OsString>)>,
    /// memcarp's own options in the one form clap reads, and what nobody knows.
    others: Vec<OsString>,
    ignored: Vec<OsString>,
}

impl Written {
    /// Sorts options by who reads them. Arguments that are no options are ignored, as memcached ignores them,
    /// and named in a warning.
    pub fn read(command: &Command, args: impl IntoIterator<Item = OsString>) -> Written {
        let mut written = Written { memcached: Vec::new(), others: Vec::new(), ignored: Vec::new() };
        for found in getopt::read(command, args) {
            match found {
                Found::Option(id, value) => match (Opt::named(id.as_str()), value) {
                    (Some(option), value) => written.memcached.push((option, value)),
                    (None, value) => {
                        let mut arg = OsString::from(format!("--{id}"));
                        if let Some(value) = value {
                            arg.push("=");
                            arg.push(value);
                        }
                        written.others.push(arg);
                    }
                },
                Found::Wrong(arg) => written.others.push(arg),
                Found::Positional(arg) => written.ignored.push(arg),
            }
        }
        written
    }

    /// memcarp's own options, or what is wrong with any of them.
    pub fn own(&self, command: &Command) -> Result<ArgMatches, clap::Error> {
        let args = std::iter::once(OsStr::new("memcarp")).chain(self.others.iter().map(OsString::as_os_str));
        command.clone().try_get_matches_from(args)
    }

    /// Refuses an argument that is no option and was probably to be one of memcarp's own commands, which nobody
    /// who starts memcached writes.
    pub fn refuse_commands(&self) -> Result<(), Error> {
        let meant = |arg: &OsString| Some((arg.clone(), nearest(arg.to_str()?, COMMANDS.into_iter())?));
        match self.ignored.iter().find_map(meant) {
            Some((arg, command)) => Err(Error::new(
                USAGE,
                format!(
                    "{} starts no server; write memcarp {command} --help, the command's name first",
                    arg.display()
                ),
            )),
            None => Ok(()),
        }
    }

    /// Sets memcached's options.
    pub fn apply(&self, draft: &mut Draft) -> Result<(), Error> {
        for arg in &self.ignored {
            draft.doubt(format_args!("{} is no option, and ignored", arg.display()));
        }
        self.memcached
            .iter()
            .try_for_each(|(option, value)| option.apply(draft, Value::new(value.as_deref())))
    }

    /// The same in a file, where memcarp's own options have no place.
    pub fn apply_without_own(&self, draft: &mut Draft, command: &Command) -> Result<(), Error> {
        match self.others.first() {
            None => self.apply(draft),
            Some(other) => match self.own(command) {
                Err(error) if error.use_stderr() => Err(refusal(&error)),
                _ => Err(Error::new(
                    FAILURE,
                    format!("write {} on the command line, not here", other.display()),
                )),
            },
        }
    }
}

/// What clap says of options it does not know.
pub fn refusal(error: &clap::Error) -> Error {
    let message = error.to_string();
    Error::new(FAILURE, message.trim_start_matches("error: ").trim_end())
}
