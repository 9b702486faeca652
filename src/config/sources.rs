//! All that says what is meant, and which of it wins: files, then the environment, then the command line.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::error::ErrorKind;

use super::command_line::{Written, refusal};
use super::draft::{Draft, NamedFiles, Place};
use super::error::{Error, FAILURE, Warning};
use super::{Config, environment, file, help, memcached_conf, toml_file};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// To serve, after saying these warnings.
    Serve(Box<Config>, Vec<Warning>, NamedFiles),
    /// To check that it could be served so, after saying these warnings.
    Check(Box<Config>, Vec<Warning>, NamedFiles),
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
        flags.refuse_commands()?;
        flags.apply(&mut draft)?;
        let (config, warnings, files) = draft.finish()?;
        let config = Box::new(config);
        Ok(match own.get_flag("check-config") {
            true => Invocation::Check(config, warnings, files),
            false => Invocation::Serve(config, warnings, files),
        })
    }

    /// What they mean now, if there is a file that may have changed.
    pub fn read_again(&self) -> Option<Result<(Config, Vec<Warning>), Error>> {
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
            Ok(Invocation::Serve(config, warnings, _)) => Some(Ok((*config, warnings))),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Invocation, Error> {
        Sources::new(args.iter().map(OsString::from), []).read()
    }

    fn warnings(args: &[&str]) -> Vec<Warning> {
        match read(args) {
            Ok(Invocation::Serve(_, warnings, _)) => warnings,
            other => panic!("{args:?} do not start a server: {other:?}"),
        }
    }

    /// Told, because memcached takes it without a word; and a check fails. What is said of the unit that is meant is not.
    #[test]
    fn a_number_that_is_cut_short_is_told() {
        let read_as = |number| format!(" is read as {number}, as memcached reads it; write the number alone");
        for (args, written, number) in [
            (&["-c", "10k"][..], "-c 10k", "10"),
            (&["--conn-limit=10k"], "-c 10k", "10"),
            (&["-c10,000"], "-c 10,000", "10"),
            (&["-t", "2.5"], "-t 2.5", "2"),
            (&["-p", "11211/tcp"], "-p 11211/tcp", "11211"),
            (&["-b", "-1x"], "-b -1x", "-1"),
            (&["-R 5 6"], "-R 5 6", "5"),
            (&["-m", "256x"], "-m 256x", "256"),
            (&["-I", "2mx"], "-I 2mx", "2"),
            (&["-a", "708"], "-a 708", "70"),
            (&["-f", "1.25.5x"], "-f 1.25.5x", "1.25"),
            (&["--verbose=2x"], "-v=2x", "2"),
            (&["-o", "modern,idle_timeout=10m"], "-o idle_timeout=10m", "10"),
        ] {
            assert_eq!(
                warnings(args),
                [Warning::Mistake(format!("{written}{}", read_as(number)))],
                "{args:?}"
            );
        }
        for args in [
            &["-c", "10 "][..],
            &["-m", "256M"],
            &["-m", "256MiB"],
            &["-I", "2mb"],
            &["-n", "64b"],
            &["-o", "idle_timeout=10s,lru_crawler_sleep=10us,hot_lru_pct=20%,watcher_logbuf_size=16k"],
            &["-v", "-a", "0770", "-b", "-1"],
        ] {
            assert!(warnings(args).is_empty(), "{args:?}");
        }
    }

    /// Whatever else is no option is passed over, as memcached passes it over.
    #[test]
    fn a_command_that_is_misspelt_or_comes_late_starts_no_server() {
        for (args, command) in [
            (&["helth"][..], "health"),
            (&["routes"], "route"),
            (&["hash_password", "alice"], "hash-password"),
            (&["-v", "health"], "health"),
        ] {
            let word = args.iter().find(|arg| !arg.starts_with('-')).unwrap();
            let said =
                format!("{word} starts no server; write memcarp {command} --help, the command's name first");
            let error = read(args).expect_err("it starts no server");
            assert_eq!((error.exit(), error.to_string()), (64, said));
        }
        for word in ["memcached", "start", "root", "serve"] {
            assert_eq!(warnings(&[word]), [Warning::Mistake(format!("{word} is no option, and ignored"))]);
        }
    }
}
