//! All that says what is meant, and which of it wins: files, then the environment, then the command line.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::error::ErrorKind;

use super::command_line::{Written, refusal};
use super::draft::{Draft, Place};
use super::error::{Error, FAILURE};
use super::{Config, environment, file, help, memcached_conf, toml_file};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To serve, after saying these warnings.
    Serve(Box<Config>, Vec<String>),
    /// To check that it could be served so, after saying these warnings.
    Check(Box<Config>, Vec<String>),
    /// To print this and end.
    Print(String),
}

/// Arguments and environment, kept so that the files they name can be read again.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    args: Vec<OsString>,
    variables: Vec<(OsString, OsString)>,
    /// Where names of files begin; a process in the background has left it.
    directory: PathBuf,
}

impl Sources {
    /// The arguments without the program's name, and the environment.
    pub fn new(
        args: impl IntoIterator<Item = OsString>,
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Sources {
        Sources {
            args: args.into_iter().collect(),
            variables: variables.into_iter().collect(),
            directory: std::env::current_dir().unwrap_or_default(),
        }
    }

    /// What they mean.
    pub fn read(&self) -> Result<Invocation, Error> {
        let command = help::command();
        let flags = Written::read(&command, self.args.iter().cloned());
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
        if let Some(path) = self.file(&own, "memcached-conf") {
            let bytes = self.bytes(&path, "memcached-conf")?;
            for (line, words) in memcached_conf::lines(&bytes).map_err(|error| error.at(path.display()))? {
                let place = format!("{} line {line}", path.display());
                draft.stand(Some(Place::by_letter(&place)));
                let written = Written::read(&command, words);
                written.apply_without_own(&mut draft, &command).map_err(|error| error.at(place))?;
            }
            draft.next_source();
        }
        if let Some(path) = self.file(&own, "config") {
            toml_file::apply(&mut draft, &path, &self.bytes(&path, "config")?)?;
            draft.next_source();
        }
        environment::apply(&mut draft, &self.variables)?;
        draft.next_source();
        flags.apply(&mut draft)?;
        let (config, warnings) = draft.finish()?;
        let config = Box::new(config);
        Ok(match own.get_flag("check-config") {
            true => Invocation::Check(config, warnings),
            false => Invocation::Serve(config, warnings),
        })
    }

    /// What they mean now, if there is a file that may have changed.
    pub fn read_again(&self) -> Option<Result<(Config, Vec<String>), Error>> {
        let command = help::command();
        let own = Written::read(&command, self.args.iter().cloned()).own(&command).ok()?;
        let named = ["config", "memcached-conf"].map(|option| (option, self.file(&own, option)));
        let mut files = named.iter().filter_map(|(option, path)| Some((*option, path.as_ref()?))).peekable();
        files.peek()?;
        for (option, path) in files {
            if let Err(why) = file::may_be_read_again(&self.directory.join(path)) {
                return Some(Err(unreadable(path, option, &why)));
            }
        }
        match self.read() {
            Ok(Invocation::Serve(config, warnings)) => Some(Ok((*config, warnings))),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        }
    }

    /// The file one of memcarp's own options names, as written.
    fn file(&self, own: &ArgMatches, option: &str) -> Option<PathBuf> {
        let written = own.get_one::<PathBuf>(option).cloned();
        written.or_else(|| environment::value(&self.variables, option).map(PathBuf::from))
    }

    fn bytes(&self, path: &Path, option: &str) -> Result<Vec<u8>, Error> {
        file::read(&self.directory.join(path)).map_err(|why| unreadable(path, option, &why))
    }
}

fn unreadable(path: &Path, option: &str, why: &io::Error) -> Error {
    let message =
        format!("cannot read {}: {why}; name one that can be read: --{option}=FILE", path.display());
    Error::new(FAILURE, message)
}
