//! `memcarp route`, as a program.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

fn memcarp(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memcarp")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn lines(args: &[&str]) -> Vec<String> {
    let output = memcarp(&[&["route"], args].concat());
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stderr.is_empty());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn refused(args: &[&str]) -> (Option<i32>, String) {
    let output = memcarp(&[&["route"], args].concat());
    assert!(output.stdout.is_empty());
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

/// A file in the temporary directory, gone at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = std::env::temp_dir().join(format!("memcarp-route-{}-{name}", std::process::id()));
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn name(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

#[test]
fn a_line_for_every_key() {
    let said = lines(&["--members", "a,b,c,d", "user:1", "photo:{42}", "thumb:{42}:small"]);
    let fields: Vec<Vec<&str>> = said.iter().map(|line| line.split('\t').collect()).collect();
    assert_eq!(
        fields.iter().map(|line| line[0]).collect::<Vec<_>>(),
        ["user:1", "photo:{42}", "thumb:{42}:small"]
    );
    for line in &fields {
        assert_eq!(line.len(), 7, "key, owner and two runners-up with their scores");
        let score = |at: usize| line[at].parse::<f64>().unwrap();
        assert!(score(2) >= score(4) && score(4) >= score(6), "{line:?}");
    }
    assert_eq!(fields[1][1..], fields[2][1..], "keys with one tag go one way");
    let whole = lines(&["--members", "a,b,c,d", "--hash-tags", "false", "photo:{42}"]);
    assert_ne!(whole[0], said[1]);

    assert_eq!(lines(&["--members", "d,c,b,a", "user:1"])[0], said[0], "the order of the list means nothing");
    assert!(lines(&["--members", "a", "--", "--json"])[0].starts_with("--json\ta\t"));
    assert_eq!(lines(&["--members", "a,b,c", "--runners-up", "0", "k"])[0].split('\t').count(), 3);
}

/// A list of members, keys in hexadecimal, and the rankings the client crate publishes for them.
type Vectors = (String, Vec<(String, String)>);

fn rows(text: &str) -> Vec<Vec<String>> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split('\t').map(str::to_owned).collect()).collect()
}

fn carp_v1() -> Vectors {
    let rows = rows(include_str!("../client/tests/data/carp-v1.tsv"));
    let set = rows[0][1].clone();
    let of = |kind: &'static str| rows.iter().filter(move |row| row[0] == kind).filter(|row| row[1] == set);
    let members: Vec<String> = of("member").map(|row| format!("{}*{}", row[2], row[3])).collect();
    (members.join(","), of("key").map(|row| (row[2].clone(), row[6].clone())).collect())
}

fn carp_v2() -> Vectors {
    let rows = rows(include_str!("../client/tests/data/carp-v2.tsv"));
    let first = rows.iter().filter(|row| row[0] == rows[0][0]);
    (rows[0][1].clone(), first.map(|row| (row[2].clone(), row[5].clone())).collect())
}

#[test]
fn the_published_vectors_come_out() {
    for (scheme, (list, vectors)) in [("carp-v1", carp_v1()), ("carp-v2", carp_v2())] {
        let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        let (keys, rankings): (Vec<String>, Vec<String>) = vectors
            .into_iter()
            .filter_map(|(key, ranking)| {
                let key = String::from_utf8(key.as_bytes().chunks(2).map(byte).collect()).ok()?;
                // No argument has a zero byte; an escaped tab or line end would not count as one.
                (!key.contains(|c: char| c.is_control())).then_some((key, ranking))
            })
            .unzip();
        let options = ["--members", &list, "--scheme", scheme, "--hash-tags=false", "--runners-up=99", "--"];
        let said = lines(&[&options[..], &keys.iter().map(String::as_str).collect::<Vec<_>>()].concat());
        let names = said.iter().map(|line| line.split('\t').skip(1).step_by(2).collect::<Vec<_>>().join(","));
        assert_eq!(names.collect::<Vec<_>>(), rankings, "{scheme}");
        assert!(rankings.len() > 5, "{scheme}");
    }
}

#[test]
fn lists_are_files_too() {
    let file = File::new(
        "members.toml",
        "scheme = \"carp-v1\"\n[[member]]\nname = \"a\"\nweight = 2\n[[member]]\nname = \"b\"\n",
    );
    let from_file = lines(&["--members", file.name(), "photo:{42}"]);
    assert_eq!(from_file, lines(&["--members", "a*2,b", "--scheme", "carp-v1", "photo:{42}"]));
    let other = lines(&["--members", file.name(), "--scheme", "carp-v2", "photo:{42}"]);
    assert_eq!(other, lines(&["--members", "a*2,b", "photo:{42}"]));
}

#[test]
fn the_file_of_a_server_has_the_list_too() {
    let text = "memory-limit = 64\nidle_timeout = 9\nscheme = \"carp-v1\"\n[tls]\nkey = \"/k\"\n[[listeners]]\naddress = \"*\"\n\
        [[expire_on_update]]\nsource = \"a\"\n[[members]]\nname = \"a\"\nweight = 2\n[[members]]\nname = \"b\"\n";
    let file = File::new("fleet.toml", text);
    let from_file = lines(&["--members", file.name(), "photo:{42}"]);
    assert_eq!(from_file, lines(&["--members", "a*2,b", "--scheme", "carp-v1", "photo:{42}"]));
    let file = File::new("typo.toml", &text.replace("scheme", "schema"));
    let (code, said) = refused(&["--members", file.name(), "k"]);
    assert_eq!(code, Some(1));
    assert!(said.contains("typo.toml: line 3: schema is not known here"), "{said}");
}

/// What `memcarp route` with these options makes of `input`.
fn fed(args: &[&str], input: &[u8]) -> Output {
    let mut process = Command::new(env!("CARGO_BIN_EXE_memcarp"))
        .arg("route")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses a line does not read the rest.
    let _ = process.stdin.take().unwrap().write_all(input);
    process.wait_with_output().unwrap()
}

#[test]
fn keys_come_from_standard_input_too() {
    let list = ["--members", "a,b,c"];
    let read = |keys: &[&str], input: &str| {
        let output = fed(&[&list[..], keys].concat(), input.as_bytes());
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let said = |keys: &[&str]| lines(&[&list[..], keys].concat());
    let longest = "k".repeat(250);
    assert_eq!(read(&["-"], &format!("x\r\n\ny z\n{longest}")), said(&["x", "y z", &longest]));
    assert_eq!(read(&["x", "-", "z"], "y\n"), said(&["x", "y", "z"]), "in its place among others");
    assert_eq!(read(&["--json", "-"], "x\n"), said(&["--json", "x"]));
    assert!(read(&["-"], "").is_empty());

    // No key is so long, and no line is waited for without end.
    for end in ["\n", "", "\nz\n"] {
        let output = fed(&[&list[..], &["-"]].concat(), format!("x\n{longest}k{end}").as_bytes());
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        let words = "memcarp route: line 2 of standard input is over 250 bytes long; write one key a line";
        assert_eq!(stderr.trim_end(), words);
        assert_eq!(
            output.stdout.iter().filter(|&&byte| byte == b'\n').count(),
            1,
            "the line before it is answered"
        );
    }
    let output = fed(&[&list[..], &["-"]].concat(), b"\xff\n");
    assert!(output.status.success(), "a key may have any bytes");
}

#[test]
fn json() {
    let said = lines(&["--members", "a", "--json", "x\"y", "z"]);
    assert_eq!(said.len(), 2);
    assert!(
        said[0].starts_with(r#"{"key":"x\\\"y","owner":"a","ranking":[{"member":"a","score":"#),
        "{}",
        said[0]
    );
}

#[test]
fn a_plan_says_what_moves() {
    let said = lines(&["--plan", "a,b,c", "a,b,c,d"]);
    let moved: u64 = said[0].split(' ').next().unwrap().parse().unwrap();
    assert!(said[0].ends_with(" %), 0 of them between members that do not change"), "{}", said[0]);
    assert!(said[0].contains(" of 1000000 keys move ("), "{}", said[0]);
    // A quarter; a thousandth more or less is over two standard deviations.
    assert!((248_000..252_000).contains(&moved), "{moved}");
    assert_eq!(said.len(), 5);
    let json = lines(&["--plan", "a,b,c", "a,b,c,d", "--json"]);
    assert!(
        json[0].starts_with(&format!("{{\"keys\":1000000,\"moved\":{moved},\"needless\":0,\"members\":[")),
        "{}",
        json[0]
    );
}

#[test]
fn refusals() {
    for (args, exit, words) in [
        (&["key"][..], 64, "--members"),
        (&["--members", "a"], 64, "<KEY>"),
        (&["--members", "a", "--bogus", "k"], 64, "unexpected argument '--bogus'"),
        (&["--plan", "a"], 64, "--plan"),
        (&["--plan", "a", "b", "k"], 64, "cannot be used with"),
        (&["--members", "a", "--scheme", "carp-v3", "k"], 64, "write carp-v2 or carp-v1"),
        (&["--members", "a,a", "k"], 1, "a,a: two members are called a"),
        (&["--members", "", "k"], 1, "a list without members routes nothing"),
        (
            &["--members", "/nonexistent/members.toml", "k"],
            1,
            "cannot read /nonexistent/members.toml: No such file",
        ),
        (&["--members", "./nonexistent", "k"], 1, "cannot read ./nonexistent: No such file"),
        (&["--members", "a*1.5,b", "--scheme", "carp-v1", "k"], 1, "whole load factors"),
    ] {
        let (code, said) = refused(args);
        assert_eq!(code, Some(exit), "{args:?}: {said}");
        assert!(said.starts_with("memcarp route: ") && said.contains(words), "{args:?}: {said}");
    }
    assert!(lines(&["--help"])[0].starts_with("Says which member owns each key"));
}

/// memcached ignores arguments that are no options, and so must memcarp.
#[test]
fn only_the_first_argument_names_it() {
    for args in [["-V", "route"], ["routes", "-V"], ["Route", "-V"], ["rout", "-V"]] {
        assert!(memcarp(&args).stdout.starts_with(b"memcached "), "{args:?}");
    }
}
