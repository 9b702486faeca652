//! From the arguments to what is to be done. Starts nothing.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::{ArgMatches, Command};

use super::draft::Draft;
use super::error::{Error, FAILURE};
use super::getopt::{self, Found};
use super::options::Opt;
use super::value::Value;
use super::{Config, help, memcached_conf};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To serve, after saying these warnings.
    Serve(Box<Config>, Vec<String>),
    /// To print this and end.
    Print(String),
}

/// Reads the arguments, without the program's name. They win over files they name.
pub fn read(args: impl IntoIterator<Item = OsString>) -> Result<Invocation, Error> {
    let command = help::command();
    let flags = Written::read(&command, args);
    let own = match flags.own(&command) {
        Ok(own) => own,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            return Ok(Invocation::Print(error.to_string()));
        }
        Err(error) => return Err(refusal(&error)),
    };
    if own.get_flag("license") {
        return Ok(Invocation::Print(help::license()));
    }

    let mut draft = Draft::default();
    if let Some(file) = own.get_one::<PathBuf>("memcached-conf") {
        for (line, words) in memcached_conf::read(file)? {
            apply_line(&mut draft, &command, words)
                .map_err(|error| error.at(format_args!("{} line {line}", file.display())))?;
        }
        draft.next_source();
    }
    flags.apply(&mut draft)?;
    let (config, warnings) = draft.finish()?;
    Ok(Invocation::Serve(Box::new(config), warnings))
}

/// What one source of options says, in its order.
struct Written {
    memcached: Vec<(&'static Opt, Option<OsString>)>,
    /// memcarp's own options in the one form clap reads, and what nobody knows.
    others: Vec<OsString>,
}

impl Written {
    /// Sorts options by who reads them. Arguments that are no options are ignored, as memcached ignores them.
    fn read(command: &Command, args: impl IntoIterator<Item = OsString>) -> Written {
        let mut written = Written { memcached: Vec::new(), others: Vec::new() };
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
                Found::Positional(_) => {}
            }
        }
        written
    }

    /// memcarp's own options, or what is wrong with any of them.
    fn own(&self, command: &Command) -> Result<ArgMatches, clap::Error> {
        let args = std::iter::once(OsStr::new("memcarp")).chain(self.others.iter().map(OsString::as_os_str));
        command.clone().try_get_matches_from(args)
    }

    fn apply(&self, draft: &mut Draft) -> Result<(), Error> {
        self.memcached
            .iter()
            .try_for_each(|(option, value)| option.apply(draft, Value::new(value.as_deref())))
    }
}

fn apply_line(draft: &mut Draft, command: &Command, words: Vec<OsString>) -> Result<(), Error> {
    let written = Written::read(command, words);
    match written.others.first() {
        None => written.apply(draft),
        Some(other) => match written.own(command) {
            Err(error) if error.use_stderr() => Err(refusal(&error)),
            _ => Err(Error::new(FAILURE, format!("write {} on the command line, not here", other.display()))),
        },
    }
}

fn refusal(error: &clap::Error) -> Error {
    let message = error.to_string();
    Error::new(FAILURE, message.trim_start_matches("error: ").trim_end())
}
