//! Instructions a command costs in user space, counted by valgrind: the same on every run, whatever else the machine
//! does. `cargo bench --bench instructions` shows them beside the committed ones, and fails if one has grown by more
//! than the allowance. After a change that is worth it, `-- --update` writes the table anew.

mod hot_path;

use hot_path::{Case, Server};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

/// Commands of a run that are counted, at least.
const COMMANDS: u64 = 32_000;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["--run", name] => run(name),
        ["--update"] => return compare(true),
        [] => return compare(false),
        _ => {
            println!("cargo bench --bench instructions [-- --update]");
            return ExitCode::from(64);
        }
    }
    ExitCode::SUCCESS
}

/// What valgrind looks at.
fn run(name: &str) {
    let case = hot_path::cases().into_iter().find(|case| case.name == name).expect("a case");
    let mut server = Server::new(case.timed);
    // From the second time on an item is replaced where it lies.
    for batch in case.batches.iter().chain(&case.batches) {
        server.batch(batch);
    }
    counted(&mut server, &case);
}

/// How often each batch of a case is counted.
fn rounds(case: &Case) -> u64 {
    COMMANDS.div_ceil(case.operations * case.batches.len() as u64)
}

/// Valgrind counts while this runs; it knows it by its name.
#[inline(never)]
fn counted(server: &mut Server, case: &Case) {
    for _ in 0..rounds(case) {
        case.batches.iter().for_each(|batch| _ = server.batch(batch));
    }
}

fn compare(update: bool) -> ExitCode {
    let committed = committed();
    let mut table = "# Instructions a command in user space; see main.rs. Written by: \
        cargo bench --bench instructions -- --update\n"
        .to_owned();
    let mut grown = 0;
    println!("{:24} {:>12} {:>12}", "a command", "instructions", "committed");
    for case in hot_path::cases() {
        let count = instructions(&case);
        let before = committed.iter().find(|(name, _)| *name == case.name).map(|(_, count)| *count);
        let more = before.map_or(f64::INFINITY, |before| (count / before - 1.0) * 100.0);
        let too_much = more > allowance(&case);
        let verdict = if too_much { "  more than allowed" } else { "" };
        grown += usize::from(too_much);
        println!("{:24} {count:12.0} {:12.0} {more:+6.1} %{verdict}", case.name, before.unwrap_or(f64::NAN));
        let _ = writeln!(table, "{}\t{count:.0}", case.name);
    }
    if update {
        std::fs::write(path(), table).expect("the table can be written");
    } else if grown > 0 {
        println!(
            "{grown} of the counts grew by more than allowed. Find out why (valgrind --tool=callgrind shows where);\n\
             if it is worth it, run `cargo bench --bench instructions -- --update` with the settings of tests/run,\n\
             and give the reason in the commit."
        );
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// How much a count may grow before it is a failure, in percent. Hashes differ between runs, and with them the slots
/// of the index that keys meet: 1 to 2 percent. Where keys come and go the index also grows and shrinks, how often
/// depends on the hashes.
fn allowance(case: &Case) -> f64 {
    if case.name == "set and delete" { 40.0 } else { 5.0 }
}

/// Instructions a command.
fn instructions(case: &Case) -> f64 {
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null", "--collect-atstart=no"])
        .arg("--toggle-collect=instructions::counted*")
        .arg(std::env::current_exe().expect("this program"))
        .args(["--run", case.name])
        .output()
        .expect("valgrind is installed");
    let said = String::from_utf8_lossy(&output.stderr);
    let count = said.lines().find_map(|line| line.split_once("Collected :"));
    let count: Option<u64> = count.and_then(|(_, count)| count.trim().parse().ok());
    let count = count.filter(|&count| count > 0 && output.status.success());
    let count = count.unwrap_or_else(|| panic!("valgrind says:\n{said}"));
    count as f64 / (case.operations * case.batches.len() as u64 * rounds(case)) as f64
}

fn committed() -> Vec<(String, f64)> {
    let table = std::fs::read_to_string(path()).unwrap_or_default();
    let lines = table.lines().filter_map(|line| line.split_once('\t'));
    lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/instructions/counts.tsv")
}
