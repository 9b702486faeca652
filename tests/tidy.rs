//! Rules of the house that the compiler does not know: which part may use which, and how long a file may be.
//! The picture of the parts is in the documentation of the crate (`src/lib.rs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Longest source file, in lines.
const MAX_LINES: usize = 500;

/// Files that may be longer, how much at most, and why.
const LONGER: &[(&str, usize, &str)] =
    &[("src/store/index.rs", 650, "one table, its growth and its removals, which share one layout")];

/// What each part may use of ours (`crate::…`), and why the rest is not for it.
const MAY_USE: &[(&str, &[&str], &str)] = &[
    ("protocol", &[], "the protocol is bytes in, requests out: no store, no sockets, no time"),
    ("store", &[], "the store keeps items: it knows no protocol, so that either can change alone"),
    ("config", &[], "what the operator asked for is plain data, which everybody else reads"),
    (
        "command",
        &["protocol", "store", "config"],
        "commands are where the protocol meets the store, without sockets",
    ),
];

/// Crates that a part does without, and why.
const DOES_WITHOUT: &[(&str, &[&str], &str)] = &[
    ("protocol", &["tokio", "mio", "socket2", "parking_lot", "std::time", "std::net"], "it never waits"),
    (
        "store",
        &["tokio", "mio", "socket2", "std::net", "metrics"],
        "it is called, it never waits for anybody",
    ),
    ("command", &["tokio", "mio", "socket2"], "a test drives it without a socket"),
];

#[test]
fn the_parts_use_only_what_they_may() {
    let mut broken = Vec::new();
    for (part, allowed, why) in MAY_USE {
        for (file, number, line) in lines_of(part) {
            for used in used_parts(&line) {
                if used != *part && !allowed.contains(&used.as_str()) {
                    broken.push(format!(
                        "{file}:{number}: {part} uses {used}, which it must not ({why}): {line}"
                    ));
                }
            }
        }
    }
    for (part, without, why) in DOES_WITHOUT {
        for (file, number, line) in lines_of(part) {
            for name in *without {
                if names_crate(&line, name) {
                    broken.push(format!(
                        "{file}:{number}: {part} uses {name}, and is to do without ({why}): {line}"
                    ));
                }
            }
        }
    }
    assert!(broken.is_empty(), "the parts are mixed up:\n{}", broken.join("\n"));
}

/// The store and the protocol know of each other only in `command`, and in what feeds them both.
#[test]
fn protocol_and_store_meet_in_commands_only() {
    let mut broken = Vec::new();
    for path in sources(&root().join("src")) {
        let name = relative(&path);
        let part = name.trim_start_matches("src/").split(['/', '.']).next().unwrap_or_default().to_owned();
        if part == "command" || part == "lib" {
            continue;
        }
        let used: BTreeSet<String> =
            source_lines(&path).iter().flat_map(|(_, line)| used_parts(line)).collect();
        if used.contains("protocol") && used.contains("store") {
            broken.push(format!(
                "{name} uses both the protocol and the store: what it does with them belongs in command"
            ));
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The client is a package of its own, with nothing of the server in it.
#[test]
fn the_client_knows_nothing_of_the_server() {
    let manifest = fs::read_to_string(root().join("client/Cargo.toml")).expect("the client's manifest");
    let server = manifest.lines().any(|line| line.starts_with("memcarp ") || line.starts_with("memcarp."));
    assert!(!server, "client/Cargo.toml depends on the server");
}

#[test]
fn files_are_short_enough_to_read_in_one_sitting() {
    let mut broken = Vec::new();
    for directory in [
        "src",
        "client/src",
        "uring/src",
        "tests",
        "client/tests",
        "uring/tests",
        "fuzz",
        "benches",
        "examples",
    ] {
        for path in sources(&root().join(directory)) {
            let name = relative(&path);
            let text = fs::read_to_string(&path).expect("a readable source");
            // A file's own tests stand last and are read apart.
            let count = text.lines().take_while(|line| *line != "#[cfg(test)]").count();
            let limit =
                LONGER.iter().find(|(file, ..)| *file == name).map_or(MAX_LINES, |(_, lines, _)| *lines);
            if count > limit {
                broken.push(format!(
                    "{name} has {count} lines, {limit} are the most: it holds more than one idea"
                ));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Every file begins by saying what it is.
#[test]
fn files_say_what_they_are() {
    let mut broken = Vec::new();
    for directory in ["src", "client/src", "uring/src", "tests", "client/tests", "uring/tests"] {
        for path in sources(&root().join(directory)) {
            let text = fs::read_to_string(&path).expect("a readable source");
            if !text.starts_with("//!") && !text.starts_with("#![") {
                broken
                    .push(format!("{} does not begin with a //! line that says what it is", relative(&path)));
            }
        }
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// The parts of the crate that a line names, as `crate::part` or in `crate::{part, …}`.
fn used_parts(line: &str) -> Vec<String> {
    let mut parts = Vec::new();
    for (at, _) in line.match_indices("crate::") {
        let rest = &line[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            // Only the heads of a group: what stands at its own level.
            Some(group) => group.split(',').collect::<Vec<_>>(),
            None => vec![rest],
        };
        for name in names {
            let end = name.trim_start().find(|char: char| !char.is_alphanumeric() && char != '_');
            let head = &name.trim_start()[..end.unwrap_or(name.trim_start().len())];
            if root().join("src").join(head).is_dir() || root().join(format!("src/{head}.rs")).is_file() {
                parts.push(head.to_owned());
            }
        }
    }
    parts
}

fn names_crate(line: &str, name: &str) -> bool {
    line.match_indices(name).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let bounded = before.is_none_or(|char| !char.is_alphanumeric() && char != '_' && char != ':');
        bounded && line[at + name.len()..].starts_with("::")
    })
}

/// The lines of one part's files: name, number, text.
fn lines_of(part: &str) -> Vec<(String, usize, String)> {
    let mut files = sources(&root().join("src").join(part));
    let single = root().join(format!("src/{part}.rs"));
    if single.is_file() {
        files.push(single);
    }
    assert!(!files.is_empty(), "there is no part called {part}");
    let of = |path: &PathBuf| {
        let name = relative(path);
        source_lines(path).into_iter().map(move |(number, line)| (name.clone(), number, line))
    };
    files.iter().flat_map(of).collect()
}

/// A file's lines of code, before its tests; comments are not code.
fn source_lines(path: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(path).expect("a readable source");
    let code = text.lines().take_while(|line| line.trim() != "#[cfg(test)]");
    let numbered = code.enumerate().map(|(index, line)| (index + 1, line.trim().to_owned()));
    numbered.filter(|(_, line)| !line.starts_with("//")).collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = fs::read_dir(directory) else { return found };
    for entry in entries {
        let path = entry.expect("a readable directory").path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn relative(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).to_string_lossy().into_owned()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
