//! The command as clap knows it: every option's name, `--help`, `--version` and `--license`. Sets nothing.

use std::fmt::Write;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command};

use super::MEMCACHED_VERSION;
use super::options::{Group, OPTIONS, Takes};
use super::suboptions::SUBOPTIONS;

/// memcarp's own version.
const MEMCARP_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Columns of a terminal.
const WIDTH: usize = 80;

/// memcarp's own commands: the first argument that is one of these starts no server.
pub const COMMANDS: [&str; 3] = ["route", "health", "hash-password"];

const LISTED: &[(Group, &str)] = &[
    (Group::Listening, "Listening"),
    (Group::Metrics, "Metrics and the status page"),
    (Group::Memory, "Memory"),
    (Group::Connections, "Connections"),
    (Group::Commands, "Users and commands"),
    (Group::Process, "Process"),
];

/// The command. memcached's options are in it for their names and help; their values are read elsewhere.
pub fn command() -> Command {
    let mut command = Command::new("memcached")
        .version(versions())
        .override_usage(usage())
        .help_template("{name} {version}\n\n{usage-heading} {usage}\n\n{all-args}{after-help}")
        .disable_help_flag(true)
        .disable_version_flag(true);
    for &(group, heading) in LISTED {
        command = command.args(memcached_options(group).map(|arg| arg.help_heading(heading)));
    }
    for group in [Group::NoEffect, Group::Refused] {
        command = command.args(memcached_options(group).map(|arg| arg.hide(true)));
    }
    let mut command = command.args(own_options()).after_help(after_help());
    command.build();
    command
}

fn usage() -> String {
    let commands = COMMANDS.map(|command| format!("\n       memcarp {command} --help"));
    format!("memcarp [OPTIONS]{}", commands.concat())
}

/// What `--license` prints.
pub fn license() -> String {
    format!(
        "memcached {}\n\nmemcarp is licensed under the Apache License 2.0 or, at your choice, under this one:\n\n{}",
        versions(),
        include_str!("../../LICENSE-MIT")
    )
}

/// Scripts take the first line, after the name, for the version of memcached.
fn versions() -> String {
    format!("{MEMCACHED_VERSION}\nmemcarp {MEMCARP_VERSION}")
}

fn memcached_options(group: Group) -> impl Iterator<Item = Arg> {
    OPTIONS.iter().filter(move |option| option.group == group).map(|option| {
        let arg = Arg::new(option.long).short(option.short).long(option.long).help(option.help);
        match option.takes {
            Takes::Flag(_) => arg.action(ArgAction::SetTrue),
            Takes::Maybe(value, _) => arg.value_name(value).num_args(0..=1).require_equals(true),
            Takes::Needs(value, _) => arg.value_name(value),
        }
    })
}

/// The long names of memcarp's own options, which a configuration file cannot say.
pub const OWN_OPTIONS: &[&str] = &["config", "memcached-conf", "check-config", "help", "version", "license"];

fn own_options() -> [Arg; 6] {
    [
        Arg::new("config")
            .long("config")
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .help("first read this, in TOML; again at SIGHUP"),
        Arg::new("memcached-conf")
            .long("memcached-conf")
            .value_name("FILE")
            .value_parser(ValueParser::path_buf())
            .help("first read this, like /etc/memcached.conf"),
        Arg::new("check-config")
            .long("check-config")
            .action(ArgAction::SetTrue)
            .help("check options and files, and end"),
        Arg::new("help").short('h').long("help").action(ArgAction::Help).help("print this"),
        Arg::new("version").short('V').long("version").action(ArgAction::Version).help("print the versions"),
        Arg::new("license").short('i').long("license").action(ArgAction::SetTrue).help("print the license"),
    ]
    .map(|arg| arg.help_heading("Configuration and help"))
}

fn after_help() -> String {
    let mut text = String::from("Further options (-o NAME[=VALUE],...):\n");
    let (effective, without): (Vec<_>, Vec<_>) =
        SUBOPTIONS.iter().partition(|option| !option.help.is_empty());
    for suboption in effective {
        let written = match suboption.takes {
            Takes::Needs(value, _) | Takes::Maybe(value, _) => format!("{}={value}", suboption.name),
            Takes::Flag(_) => suboption.name.to_owned(),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "  {written:24} {}", suboption.help);
    }
    let options = OPTIONS.iter().filter(|option| option.group == Group::NoEffect);
    let options = options.map(|option| format!("{} (--{})", option.written(), option.long));
    let named = |name: &str| without.iter().any(|suboption| suboption.name == name);
    let suboptions =
        without.iter().map(|suboption| suboption.name).filter_map(|name| match name.strip_prefix("no_") {
            Some(positive) if named(positive) => None,
            _ if named(&format!("no_{name}")) => Some(format!("[no_]{name}")),
            _ => Some(name.to_owned()),
        });
    text += "\nAccepted without effect, because they tune an engine memcarp does not have:\n";
    text += &wrapped(&options.collect::<Vec<_>>());
    text += "and after -o:\n";
    text += &wrapped(&suboptions.collect::<Vec<_>>());
    text += "
Environment:
  MEMCARP_NAME=VALUE        an option by its long name: MEMCARP_MEMORY_LIMIT=512
  MEMCACHED_PORT_FILENAME   file to write the ports in use to

The command line wins over the environment, that over --config, that over
--memcached-conf. Unlike memcached, memcarp listens on 127.0.0.1 only unless -l
says otherwise, and speaks the text protocol only. A number is read up to the
first other character: -m 256M is 256. Only -I knows the units k, m and g.";
    text
}

/// A list of words, separated by commas and indented, within WIDTH columns.
fn wrapped(words: &[impl AsRef<str>]) -> String {
    let mut text = String::new();
    let mut line = String::from(" ");
    for (at, word) in words.iter().enumerate() {
        let word = word.as_ref();
        if line.len() + word.len() + 2 > WIDTH {
            text += &line;
            text.push('\n');
            line = String::from(" ");
        }
        line.push(' ');
        line += word;
        if at + 1 < words.len() {
            line.push(',');
        }
    }
    text + &line + "\n"
}
