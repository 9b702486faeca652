//! `memcarp route`: which member of an array owns a key, and what a change of the list moves. Asks no server.

use std::ffi::{OsStr, OsString};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::ffi::OsStrExt;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use memcarp_client::{Carp, Scheme, movement, sample_keys};

use crate::config;

/// The first argument that asks for it.
pub const NAME: &str = "route";

/// How many keys a plan looks at.
const PLAN_KEYS: u64 = 1_000_000;

/// The most bytes a key has, and a line that is one.
const MOST_KEY_BYTES: usize = 250;
const MOST_LINE_BYTES: u64 = MOST_KEY_BYTES as u64 + 2;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code: 64 for wrong usage, 1 for a list that cannot be used.
    pub exit: u8,
    /// What is wrong, and what to write.
    pub message: String,
}

/// Answers the arguments behind `route`; keys may be read from `input`. An `out` that takes no more ends it without a
/// word.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    mut input: impl BufRead,
    out: &mut impl Write,
) -> Result<(), Refusal> {
    let args = std::iter::once(OsString::from("memcarp route")).chain(args);
    let asked = match command().try_get_matches_from(args) {
        Ok(asked) => asked,
        Err(error) if error.kind() == ErrorKind::DisplayHelp => {
            let _ = write!(out, "{error}");
            return Ok(());
        }
        Err(error) => {
            let message = error.to_string().trim_start_matches("error: ").trim_end().to_owned();
            return Err(Refusal { exit: 64, message });
        }
    };
    let json = asked.get_flag("json");
    if let Some(mut lists) = asked.get_many::<OsString>("plan") {
        let (Some(old), Some(new)) = (lists.next(), lists.next()) else { return Ok(()) };
        let movement = movement(&carp(old, &asked)?, &carp(new, &asked)?, sample_keys(PLAN_KEYS));
        let _ = match json {
            true => writeln!(out, "{}", movement.to_json()),
            false => writeln!(out, "{movement}"),
        };
        return Ok(());
    }
    let Some(list) = asked.get_one::<OsString>("members") else { return Ok(()) };
    let carp = carp(list, &asked)?;
    let runners_up = asked.get_one("runners-up").copied().unwrap_or(2);
    let mut answer = |key: &[u8]| {
        let explained = carp.explain(key, runners_up);
        match json {
            true => writeln!(out, "{}", explained.to_json()),
            false => writeln!(out, "{explained}"),
        }
    };
    for key in asked.get_many::<OsString>("key").unwrap_or_default() {
        let answered = match key.as_bytes() {
            b"-" => answer_lines(&mut input, &mut answer)?,
            key => answer(key),
        };
        if answered.is_err() {
            break;
        }
    }
    Ok(())
}

/// Answers a key a line; empty lines say nothing.
fn answer_lines(
    input: &mut impl BufRead,
    answer: &mut impl FnMut(&[u8]) -> io::Result<()>,
) -> Result<io::Result<()>, Refusal> {
    let wrong = |number: usize, why: String| {
        Err(Refusal { exit: 1, message: format!("line {number} of standard input {why}") })
    };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        match Read::take(&mut *input, MOST_LINE_BYTES).read_until(b'\n', &mut line) {
            Ok(0) => break,
            Ok(_) => {}
            Err(error) => return wrong(number, format!("cannot be read: {error}")),
        }
        let key = line.strip_suffix(b"\n").unwrap_or(&line);
        let key = key.strip_suffix(b"\r").unwrap_or(key);
        if key.len() > MOST_KEY_BYTES {
            return wrong(number, format!("is over {MOST_KEY_BYTES} bytes long; write one key a line"));
        }
        if !key.is_empty()
            && let Err(error) = answer(key)
        {
            return Ok(Err(error));
        }
    }
    Ok(Ok(()))
}

fn command() -> Command {
    let list = |name: &'static str| Arg::new(name).long(name).value_parser(ValueParser::os_string());
    Command::new("memcarp route")
        .about("Says which member owns each key: key, owner, score, runner-up, score, ..., separated by tabs.")
        .override_usage(
            "memcarp route --members LIST [--scheme NAME] [--json] KEY...\n       \
             memcarp route --plan OLD NEW [--scheme NAME] [--json]",
        )
        .after_help(
            "A LIST is a file (TOML with [[members]] tables, one NAME[=ADDRESS][*WEIGHT] a line, or the membership \
             table\nof the draft of 1998) or the members themselves: a,b*2,c=10.0.0.3:11211",
        )
        .args([
            list("members").value_name("LIST").required_unless_present("plan").help("who is in the array"),
            list("plan")
                .value_names(["OLD", "NEW"])
                .num_args(2)
                .conflicts_with_all(["members", "key", "runners-up"])
                .help("say how many keys of a million a change of the list moves"),
            Arg::new("scheme")
                .long("scheme")
                .value_name("NAME")
                .value_parser(|name: &str| name.parse::<Scheme>())
                .help("carp-v2 or carp-v1 [what the list says, or carp-v2]"),
            Arg::new("hash-tags")
                .long("hash-tags")
                .value_name("BOOL")
                .value_parser(value_parser!(bool))
                .hide_possible_values(true)
                .help("route by what is inside {...}, true or false [what list or scheme says]"),
            Arg::new("runners-up")
                .long("runners-up")
                .value_name("NUM")
                .value_parser(value_parser!(usize))
                .help("members to show after the owner [2]"),
            Arg::new("json").long("json").action(ArgAction::SetTrue).help("one JSON object a line"),
            Arg::new("key")
                .value_name("KEY")
                .num_args(1..)
                .required_unless_present("plan")
                .value_parser(ValueParser::os_string())
                .help("keys to route, - for one a line of standard input; -- before those that begin with -"),
        ])
}

/// The routing that a list and the options beside it mean.
fn carp(list: &OsStr, asked: &ArgMatches) -> Result<Carp, Refusal> {
    let carp = Carp::load_among(list, asked.get_one::<Scheme>("scheme").copied(), config::knows)
        .map_err(|error| Refusal { exit: 1, message: error.to_string() })?;
    Ok(match asked.get_one::<bool>("hash-tags") {
        Some(&on) => carp.hash_tags(on),
        None => carp,
    })
}
