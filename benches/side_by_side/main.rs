//! memcarp beside memcached: both at once on the same processors, loaded in turn, in short rounds.

mod case;
mod load;
mod report;
mod results;
mod server;
mod tls;

use case::{Case, Deck};
use load::{Load, Sent};
use results::{Outcome, Round, Side};
use server::{Processors, Program, Server};
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use tls::Authority;

const USAGE: &str = "\
cargo bench --bench side_by_side -- [OPTION]... [CASE]...
  CASE               only these (--list names them)
  --list             the cases
  --quick            three short rounds each, in less than a minute
  --rounds N         rounds a case (5)
  --seconds S        of a round (1.5)
  --memcached PATH   another memcached than the one on the PATH (or the variable MEMCACHED)
  --memcarp PATH     another memcarp than the one built with this
  --flag OPTION      one more option for memcarp, may be repeated (or words in MEMCARP_FLAGS)
  --save NAME        add the results to benches/RESULTS.md under this name";

struct Options {
    cases: Vec<Case>,
    rounds: usize,
    length: Duration,
    memcached: Program,
    memcarp: Program,
    save: Option<String>,
}

fn main() -> io::Result<()> {
    let Some(options) = options() else {
        println!("{USAGE}");
        std::process::exit(64);
    };
    let directory =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("side_by_side-{}", std::process::id()));
    fs::create_dir_all(&directory)?;
    let result = compare(&options, &directory);
    fs::remove_dir_all(&directory)?;
    let outcomes = result?;

    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap_or(Path::new("."));
    let table = report::markdown(&outcomes);
    fs::write(target.join("side_by_side.md"), &table)?;
    fs::write(target.join("side_by_side.svg"), report::svg(&outcomes))?;
    println!("table and plot: {}", target.join("side_by_side.{md,svg}").display());
    if let Some(name) = &options.save {
        save(name, &options, &table)?;
    }
    Ok(())
}

fn options() -> Option<Options> {
    let program = |name: &str, path: PathBuf| Program { name: name.to_owned(), path, flags: Vec::new() };
    let memcached = std::env::var_os("MEMCACHED").unwrap_or("memcached".into());
    let mut options = Options {
        cases: Vec::new(),
        rounds: 5,
        length: Duration::from_millis(1500),
        memcached: program("memcached", memcached.into()),
        memcarp: program("memcarp", env!("CARGO_BIN_EXE_memcarp").into()),
        save: None,
    };
    options.memcarp.flags = vec!["--metrics-listen".into(), "127.0.0.1:0".into()];
    let more = std::env::var("MEMCARP_FLAGS").unwrap_or_default();
    options.memcarp.flags.extend(more.split_whitespace().map(str::to_owned));
    let cases = case::cases();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "--list" => {
                cases.iter().for_each(|case| println!("{:10} {}", case.name, case.about));
                std::process::exit(0);
            }
            "--quick" => (options.rounds, options.length) = (3, Duration::from_millis(300)),
            "--rounds" => options.rounds = args.next()?.parse().ok().filter(|&rounds| rounds > 0)?,
            "--seconds" => options.length = Duration::try_from_secs_f64(args.next()?.parse().ok()?).ok()?,
            "--memcached" => options.memcached.path = args.next()?.into(),
            "--memcarp" => options.memcarp.path = args.next()?.into(),
            "--flag" => options.memcarp.flags.push(args.next()?),
            "--save" => options.save = Some(args.next()?),
            name => options.cases.push(cases.iter().find(|case| case.name == name)?.clone()),
        }
    }
    if options.cases.is_empty() {
        options.cases = cases;
    }
    Some(options)
}

fn compare(options: &Options, directory: &Path) -> io::Result<Vec<Outcome>> {
    let authority = Authority::new(directory)?;
    println!("{}", report::HEAD);
    let mut outcomes = Vec::new();
    for (at, case) in options.cases.iter().enumerate() {
        let progress =
            |what: &str| eprint!("\r[{}/{}] {}: {what}\x1b[K", at + 1, options.cases.len(), case.name);
        let outcome = run(case, options, &authority, directory, &progress)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", case.name)))?;
        eprint!("\r\x1b[K");
        print!("{}", report::lines(&outcome));
        outcomes.push(outcome);
    }
    Ok(outcomes)
}

/// A server under load, and what was sent to it since it started.
struct Loaded {
    server: Server,
    sent: Sent,
    side: Side,
}

fn run(
    case: &Case,
    options: &Options,
    authority: &Authority,
    directory: &Path,
    progress: &dyn Fn(&str),
) -> io::Result<Outcome> {
    progress("filling");
    let deck = case.deck();
    let authority = case.tls.then_some(authority);
    let processors = Processors::part(case.threads);
    processors.take_load()?;
    let mut all = Vec::new();
    for program in [&options.memcached, &options.memcarp] {
        if case.tls && !program.has_tls() {
            progress("this memcached was built without TLS");
            continue;
        }
        let server = Server::start(program, case, &processors, authority, directory)?;
        all.push(fill(case, program, server, &deck, authority)?);
    }
    let mut rate = None;
    if case.half_load {
        let peer = &mut all[0];
        let mut load = Load::new(peer.server.address, &deck, authority)?;
        rate = Some(load::maximum(&mut load, case, &mut peer.sent)? / 2.0);
    }
    for round in 0..options.rounds {
        for turn in 0..all.len() {
            // Who begins alternates, too.
            let at = (turn + round) % all.len();
            let loaded = &mut all[at];
            loaded.round(case, &deck, authority, options.length, rate)?;
        }
        let sides: Vec<&Side> = all.iter().map(|loaded| &loaded.side).collect();
        progress(&format!("round {}/{}: {}", round + 1, options.rounds, report::progress(&sides)));
    }
    let finish = |loaded: Loaded| loaded.finish(&deck, authority);
    Ok(Outcome { case: case.clone(), sides: all.into_iter().map(finish).collect::<io::Result<_>>()? })
}

/// Stores what the case asks for, and sees what connections cost.
fn fill(
    case: &Case,
    program: &Program,
    server: Server,
    deck: &Deck,
    authority: Option<&Authority>,
) -> io::Result<Loaded> {
    let mut sent = Sent::nothing();
    let mut load = Load::new(server.address, deck, authority)?;
    load.fill(&mut sent)?;
    // A few connections take what the server keeps ready for all.
    load.connect(case.connections.min(50), &mut sent)?;
    let before = server.resident()?;
    load.connect(case.connections, &mut sent)?;
    let more = case.connections.saturating_sub(50);
    let grown = server.resident()?.saturating_sub(before) as f64;
    let per_connection = (more > 0).then(|| grown / more as f64);
    let side = Side { name: program.name.clone(), rounds: Vec::new(), resident: 0, per_connection };
    Ok(Loaded { server, sent, side })
}

impl Loaded {
    fn round(
        &mut self,
        case: &Case,
        deck: &Deck,
        authority: Option<&Authority>,
        length: Duration,
        rate: Option<f64>,
    ) -> io::Result<()> {
        let mut load = Load::new(self.server.address, deck, authority)?;
        load.connect(case.connections, &mut self.sent)?;
        let before = self.server.time()?;
        let seen = load.run(length, rate, &mut self.sent)?;
        let time = self.server.time()?.since(before);
        self.side.rounds.push(Round::new(&seen, time));
        self.side.resident = self.server.resident()?;
        Ok(())
    }

    /// The server has to have counted what was sent.
    fn finish(mut self, deck: &Deck, authority: Option<&Authority>) -> io::Result<Side> {
        let mut load = Load::new(self.server.address, deck, authority)?;
        load.connect(1, &mut self.sent)?;
        let counted = load.counted()?;
        if counted != (self.sent.gets, self.sent.sets) {
            let (gets, sets) = (self.sent.gets, self.sent.sets);
            let text =
                format!("{} counted {counted:?} gets and sets, {:?} were sent", self.side.name, (gets, sets));
            return Err(io::Error::other(text));
        }
        Ok(self.side)
    }
}

/// Adds a section to the kept results.
fn save(name: &str, options: &Options, table: &str) -> io::Result<()> {
    let said = |program: &str, args: &[&str]| {
        let output =
            Command::new(program).args(args).output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    };
    let processor = fs::read_to_string("/proc/cpuinfo")?;
    let processor = processor.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("?");
    let processors = server::processor_count();
    let text = format!(
        "\n## {name}\n\n{}. {processors} x {}, Linux {}, {}.\nmemcarp {} ({}), flags `{}`; {}. {} rounds of {} s.\n\n{table}",
        said("date", &["-I"]),
        processor.trim_start_matches([' ', '\t', ':']),
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
        env!("CARGO_PKG_VERSION"),
        said("git", &["describe", "--always", "--dirty"]),
        options.memcarp.flags.join(" "),
        options.memcached.version(),
        options.rounds,
        options.length.as_secs_f64(),
    );
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/RESULTS.md");
    fs::OpenOptions::new().append(true).create(true).open(path)?.write_all(text.as_bytes())
}
