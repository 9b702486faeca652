//! What this project is made of, against the lists of `deny.toml`: licences, crates it does without, where crates come
//! from. Of the crates that everything goes through there is one version.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use toml::de::{DeTable, DeValue};

/// Crates of which two versions would be two pools, two runtimes or two ideas of a buffer.
const ONE_VERSION: &[&str] =
    &["ahash", "bytes", "dashmap", "hyper", "memcarp-client", "mio", "ring", "rustls", "socket2", "tokio"];

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file of this project")
}

/// What stands under a name in a table.
fn field<'t, 's>(table: &'t DeTable<'s>, name: &str) -> Option<&'t DeValue<'s>> {
    table.iter().find(|(key, _)| key.get_ref() == name).map(|(_, value)| value.get_ref())
}

/// The strings of a list of `deny.toml`, or of `crate` in a list of tables.
fn list(section: &str, name: &str) -> BTreeSet<String> {
    let text = read("deny.toml");
    let file = DeTable::parse(&text).expect("deny.toml is TOML");
    let Some(DeValue::Table(section)) = field(file.get_ref(), section) else { panic!("no {section}") };
    let Some(DeValue::Array(values)) = field(section, name) else { panic!("no {name}") };
    let string = |value: &DeValue<'_>| match value {
        DeValue::String(text) => Some(text.to_string()),
        _ => None,
    };
    let name = |value: &DeValue<'_>| match value {
        DeValue::Table(table) => field(table, "crate").and_then(string),
        value => string(value),
    };
    values.iter().map(|value| name(value.get_ref()).expect("a name")).collect()
}

/// Every package of the project and its licence, those of tests included.
fn packages() -> BTreeMap<String, String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--all-features", "--edges", "normal,build,dev", "--prefix", "none"])
        .args(["--format", "{p}\t{l}", "--locked"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).expect("cargo tells names");
    let lines = text.lines().filter_map(|line| line.split_once('\t'));
    lines
        .map(|(package, licence)| (package.to_owned(), licence.trim_end_matches(" (*)").to_owned()))
        .collect()
}

/// Whether a licence expression can be met by these licences alone. `AND` binds closer than `OR`.
fn is_met(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let expression = expression.trim();
    let mut depth = 0;
    let mut outside = String::new();
    for char in expression.chars() {
        depth += match char {
            '(' => 1,
            ')' => -1,
            _ => 0,
        };
        // What is in parentheses is no place to cut.
        outside.push(if depth > 0 && char == ' ' { '\0' } else { char });
    }
    let parts =
        |word: &str| -> Vec<String> { outside.split(word).map(|part| part.replace('\0', " ")).collect() };
    let either = parts(" OR ");
    if either.len() > 1 {
        return either.iter().any(|part| is_met(part, allowed));
    }
    let all = parts(" AND ");
    if all.len() > 1 {
        return all.iter().all(|part| is_met(part, allowed));
    }
    if let Some(inner) = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
        return is_met(inner, allowed);
    }
    // An old way to write OR.
    expression.split('/').any(|name| allowed.contains(name.trim()))
}

#[test]
fn licences_are_those_that_are_allowed() {
    let allowed = list("licenses", "allow");
    let packages = packages();
    assert!(packages.len() > 100, "{} packages", packages.len());
    let bad: Vec<_> = packages.iter().filter(|(_, licence)| !is_met(licence, &allowed)).collect();
    assert!(bad.is_empty(), "not among the licences of deny.toml: {bad:?}");
}

#[test]
fn crates_come_from_crates_io_and_are_pinned() {
    let sources = list("sources", "allow-registry");
    for lock in ["Cargo.lock", "fuzz/Cargo.lock"] {
        let text = read(lock);
        let packages: Vec<&str> = text.split("[[package]]").skip(1).collect();
        assert!(packages.len() > 50, "{lock}: {} packages", packages.len());
        for package in packages {
            let value = |name: &str| {
                let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "))?;
                Some(line.trim_matches('"'))
            };
            let name = value("name").expect("a package has a name");
            match value("source") {
                Some(source) => {
                    let registry = source.strip_prefix("registry+");
                    assert!(registry.is_some_and(|url| sources.contains(url)), "{name} comes from {source}");
                    assert!(value("checksum").is_some(), "{name} has no checksum");
                }
                None => assert!(name.starts_with("memcarp"), "{name} comes from somewhere on this machine"),
            }
        }
    }
}

#[test]
fn unwanted_crates_are_not_there_and_others_only_once() {
    let banned = list("bans", "deny");
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in packages().keys() {
        let mut words = package.split(' ');
        let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        assert!(!banned.contains(name), "{name} is in deny.toml's list of crates to do without");
        versions.entry(name.to_owned()).or_default().insert(version.to_owned());
    }
    for name in ONE_VERSION {
        let found = versions.get(*name).unwrap_or_else(|| panic!("{name} is no dependency any more"));
        assert_eq!(found.len(), 1, "{name}: {found:?}");
    }
}

#[test]
fn licence_expressions_are_understood() {
    let allowed = ["MIT", "Apache-2.0", "Unicode-3.0"].map(str::to_owned).into();
    for good in
        ["MIT", "MIT OR GPL-3.0", "GPL-3.0/MIT", "(MIT OR GPL-3.0) AND Unicode-3.0", "MIT AND Apache-2.0"]
    {
        assert!(is_met(good, &allowed), "{good}");
    }
    for bad in ["", "GPL-3.0", "MIT AND GPL-3.0", "(MIT OR Apache-2.0) AND GPL-3.0", "GPL-2.0 OR GPL-3.0"] {
        assert!(!is_met(bad, &allowed), "{bad}");
    }
}
