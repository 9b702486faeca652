//! getopt_long's habits, which clap does not have: which option each argument means. Knows names, no meanings.
//!
//! Bundled flags (`-vv`), glued values (`-p11211`), a blank inside the argument (`"-m 1024"`), long options by
//! any unambiguous beginning (in full only if they have no letter, as memcarp's own), options after positional
//! arguments, and `-1` as a value. A command of clap's is the table of names; what it has no option for is passed
//! through as written, for clap to complain of.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Arg, Command};

/// One thing found on a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// An option and its value, if it has one.
    Option(clap::Id, Option<OsString>),
    /// An argument that is no option.
    Positional(OsString),
    /// An option that cannot be taken: unknown, ambiguous, without its value or with one too many.
    Wrong(OsString),
}

/// Reads `args`, which begin after the program's name.
pub fn read(command: &Command, args: impl IntoIterator<Item = OsString>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut args = args.into_iter();
    while let Some(arg) = args.next() {
        match arg.as_bytes() {
            b"--" => found.extend(args.by_ref().map(Found::Positional)),
            [b'-', b'-', ..] => found.push(long(command, &arg, &mut args)),
            [b'-', _, ..] => shorts(command, &arg, &mut args, &mut found),
            _ => found.push(Found::Positional(arg)),
        }
    }
    found
}

fn long(command: &Command, arg: &OsStr, args: &mut impl Iterator<Item = OsString>) -> Found {
    let written = &arg.as_bytes()[2..];
    let (name, value) = match written.iter().position(|&b| b == b'=') {
        Some(at) => (&written[..at], Some(OsStr::from_bytes(&written[at + 1..]).to_owned())),
        None => (written, None),
    };
    let Some(option) = by_beginning(command, name) else {
        return Found::Wrong(arg.to_owned());
    };
    match (takes(option), value) {
        (Takes::Nothing, Some(_)) => Found::Wrong(arg.to_owned()),
        (Takes::Value, None) => match args.next() {
            Some(value) => Found::Option(option.get_id().clone(), Some(value)),
            None => Found::Wrong(arg.to_owned()),
        },
        (_, value) => Found::Option(option.get_id().clone(), value),
    }
}

/// The option called `name`, or the only one whose name begins so. One without a letter is not memcached's, and must
/// not make a beginning ambiguous that is none with memcached.
fn by_beginning<'c>(command: &'c Command, name: &[u8]) -> Option<&'c Arg> {
    let long = |arg: &Arg| arg.get_long().unwrap_or_default().as_bytes().to_vec();
    if let Some(exact) = command.get_arguments().find(|arg| !name.is_empty() && long(arg) == name) {
        return Some(exact);
    }
    let lettered = command.get_arguments().filter(|arg| arg.get_short().is_some());
    let mut beginning = lettered.filter(|arg| !name.is_empty() && long(arg).starts_with(name));
    let only = beginning.next();
    if beginning.next().is_some() { None } else { only }
}

/// One argument of short options: flags up to the first that takes a value, whose value is the rest or the next.
fn shorts(command: &Command, arg: &OsStr, args: &mut impl Iterator<Item = OsString>, found: &mut Vec<Found>) {
    let mut rest = &arg.as_bytes()[1..];
    while let [letter, after @ ..] = rest {
        rest = after;
        let wrong = || Found::Wrong(OsString::from(format!("-{}", [*letter].escape_ascii())));
        let known = command.get_arguments().find(|option| option.get_short() == Some(char::from(*letter)));
        found.push(match known {
            Some(option) if takes(option) == Takes::Value => {
                let glued = Some(std::mem::take(&mut rest)).filter(|value| !value.is_empty());
                match glued.map(|value| OsStr::from_bytes(value).to_owned()).or_else(|| args.next()) {
                    Some(value) => Found::Option(option.get_id().clone(), Some(value)),
                    None => wrong(),
                }
            }
            Some(option) => Found::Option(option.get_id().clone(), None),
            None => wrong(),
        });
    }
}

#[derive(PartialEq, Eq)]
enum Takes {
    Nothing,
    /// `--name` or `--name=value`, never the next argument.
    Maybe,
    Value,
}

fn takes(option: &Arg) -> Takes {
    match option.get_num_args() {
        Some(range) if range.min_values() > 0 => Takes::Value,
        Some(range) if range.max_values() > 0 => Takes::Maybe,
        None if option.get_action().takes_values() => Takes::Value,
        _ => Takes::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ArgAction;
    use proptest::prelude::*;

    fn command() -> Command {
        let mut command = Command::new("test").args([
            Arg::new("port").short('p').long("port").action(ArgAction::Set),
            Arg::new("portal").short('l').long("portal").action(ArgAction::Set),
            Arg::new("memory").short('m').long("memory-limit").action(ArgAction::Set),
            Arg::new("memo").short('e').long("memory-file").action(ArgAction::Set),
            Arg::new("evictions").short('M').long("no-evictions").action(ArgAction::SetTrue),
            Arg::new("verbose").short('v').long("verbose").num_args(0..=1).require_equals(true),
        ]);
        command.build();
        command
    }

    /// What was found, one word each: `port=1`, `verbose`, `(positional)`, `!wrong`.
    fn line(args: &[&str]) -> String {
        let words = read(&command(), args.iter().map(OsString::from)).into_iter().map(|found| match found {
            Found::Option(id, Some(value)) => format!("{id}={}", value.display()),
            Found::Option(id, None) => id.to_string(),
            Found::Positional(arg) => format!("({})", arg.display()),
            Found::Wrong(arg) => format!("!{}", arg.display()),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn short_options() {
        assert_eq!(line(&["-p", "1", "-vv", "-M"]), "port=1 verbose verbose evictions");
        assert_eq!(line(&["-p11211"]), "port=11211");
        assert_eq!(line(&["-vvMp1"]), "verbose verbose evictions port=1");
        assert_eq!(line(&["-m 1024", "-p", "-1"]), "memory= 1024 port=-1");
        assert_eq!(line(&["-p", "-M"]), "port=-M", "the next argument is the value whatever it looks like");
        assert_eq!(line(&["-p="]), "port==", "short options know no equals sign");
        assert_eq!(line(&["-p", ""]), "port=");
    }

    #[test]
    fn long_options() {
        assert_eq!(line(&["--port=1", "--port", "2", "--port="]), "port=1 port=2 port=");
        assert_eq!(line(&["--no", "--verb"]), "evictions verbose");
        assert_eq!(line(&["--port=1"]), "port=1", "an exact name wins over longer ones");
        assert_eq!(line(&["--porta=1"]), "portal=1");
        assert_eq!(line(&["--memory-l", "5"]), "memory=5");
        assert_eq!(line(&["--verbose=2", "--verbose", "2"]), "verbose=2 verbose (2)");
        assert_eq!(line(&["--port=a=b"]), "port=a=b");
    }

    #[test]
    fn positional_arguments() {
        assert_eq!(line(&["a", "-M", "b"]), "(a) evictions (b)");
        assert_eq!(line(&["-M", "--", "-p", "--port"]), "evictions (-p) (--port)");
        assert_eq!(line(&["-", ""]), "(-) ()");
    }

    #[test]
    fn what_cannot_be_taken() {
        assert_eq!(line(&["--bogus=1", "-M"]), "!--bogus=1 evictions");
        assert_eq!(line(&["--memory=5"]), "!--memory=5", "ambiguous");
        assert_eq!(line(&["--no-evictions=1"]), "!--no-evictions=1");
        assert_eq!(line(&["-vxM"]), "verbose !-x evictions");
        assert_eq!(line(&["-vp"]), "verbose !-p");
        assert_eq!(line(&["--port"]), "!--port");
        assert_eq!(line(&["--=x"]), "!--=x");
    }

    proptest! {
        #[test]
        fn no_arguments_panic(args: Vec<Vec<u8>>) {
            let args = args.iter().map(|arg| OsStr::from_bytes(arg).to_owned());
            read(&command(), args);
        }
    }
}
