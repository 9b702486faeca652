//! How often the store misses, on traces made up and given, alone or beside memcached at equal resident memory.

mod families;
mod replay;
mod report;
mod server;
mod trace;

use families::{FAMILIES, Family};
use memcarp::store::Eviction;
use replay::Outcome;
use report::Line;
use server::Server;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use trace::Request;

const USAGE: &str = "\
cargo bench --bench hit_ratio -- [OPTION]...
  quick              a million requests of each trace, not ten
  --requests N       so many requests of each trace
  --memory M,M...    cache sizes in MiB (64)
  --only NAME,...    only these of the made-up traces
  --trace FILE       this file, in the format of trace.rs, instead of them; may be repeated
  --eviction P,P...  policies to compare, in this process (the default one)
  --server           through servers: memcached, then memcarp with as much resident memory
  --memcached PATH   (/usr/bin/memcached)
  --plot FILE        an SVG of the miss ratios (with --server)
  --save DIR         write the made-up traces to files, and end";

/// Where the requests come from.
enum Source {
    Family(Family),
    File(PathBuf),
}

struct Options {
    count: u32,
    memories: Vec<usize>,
    sources: Vec<Source>,
    evictions: Vec<Eviction>,
    through_servers: bool,
    memcached: PathBuf,
    plot: Option<PathBuf>,
    save: Option<PathBuf>,
}

fn main() -> io::Result<()> {
    let Some(options) = options() else {
        println!("{USAGE}");
        std::process::exit(64);
    };
    if let Some(directory) = &options.save {
        return save(directory, &options);
    }
    if options.through_servers { compare_servers(&options) } else { compare_policies(&options) }
}

fn options() -> Option<Options> {
    let mut options = Options {
        count: 10_000_000,
        memories: vec![64],
        sources: Vec::new(),
        evictions: vec![Eviction::default()],
        through_servers: false,
        memcached: "/usr/bin/memcached".into(),
        plot: None,
        save: None,
    };
    let mut only: Vec<String> = Vec::new();
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        match arg.as_str() {
            "--bench" => {}
            "quick" => options.count = 1_000_000,
            "--requests" => options.count = args.next()?.parse().ok()?,
            "--memory" => {
                options.memories = args.next()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            }
            "--only" => only = args.next()?.split(',').map(str::to_owned).collect(),
            "--trace" => options.sources.push(Source::File(args.next()?.into())),
            "--eviction" => {
                options.evictions = args.next()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
            }
            "--server" => options.through_servers = true,
            "--memcached" => options.memcached = args.next()?.into(),
            "--plot" => options.plot = Some(args.next()?.into()),
            "--save" => options.save = Some(args.next()?.into()),
            _ => return None,
        }
    }
    if options.sources.is_empty() {
        let wanted = FAMILIES
            .into_iter()
            .filter(|family| only.is_empty() || only.iter().any(|name| name == family.name));
        options.sources = wanted.map(Source::Family).collect();
    }
    Some(options)
}

impl Source {
    fn name(&self) -> String {
        match self {
            Source::Family(family) => family.name.to_owned(),
            Source::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    fn requests(&self, count: u32) -> io::Result<Box<dyn Iterator<Item = Request> + '_>> {
        Ok(match self {
            Source::Family(family) => Box::new(family.requests(count)),
            Source::File(path) => Box::new(trace::read_file(path)?),
        })
    }

    /// How many of the wanted requests there are.
    fn count(&self, wanted: u32) -> io::Result<u32> {
        match self {
            Source::Family(_) => Ok(wanted),
            Source::File(path) => Ok(wanted.min(trace::file_len(path)?)),
        }
    }
}

fn compare_policies(options: &Options) -> io::Result<()> {
    println!("trace           MiB  policy    misses  copied/stored  live  items    ghosts");
    for source in &options.sources {
        let count = source.count(options.count)?;
        for &memory in &options.memories {
            for &eviction in &options.evictions {
                let (outcome, stats) = replay::replay(source.requests(count)?, count, memory << 20, eviction);
                println!(
                    "{:14} {memory:4}  {:7} {:8.5} {:14.2}  {:4.2}  {:8} {:8}",
                    source.name(),
                    eviction.name(),
                    outcome.miss_ratio(),
                    stats.carried_bytes as f64 / stats.stored_bytes as f64,
                    stats.live_bytes as f64 / stats.segment_bytes as f64,
                    stats.sum(|class| class.items),
                    stats.ghosts,
                );
            }
        }
    }
    Ok(())
}

/// Runs memcached with each size, then memcarp with what it takes to be as large in memory as memcached was.
fn compare_servers(options: &Options) -> io::Result<()> {
    let memcarp = Path::new(env!("CARGO_BIN_EXE_memcarp"));
    let mut plots = Vec::new();
    let (mut log_sum, mut worst, mut runs) = (0.0, 0.0f64, 0);
    println!("trace           memcached: -m, resident, misses    memcarp: -m, resident, misses   ratio");
    for source in &options.sources {
        let count = source.count(options.count)?;
        let mut lines =
            ["memcached", "memcarp"].map(|name| Line { name: name.to_owned(), points: Vec::new() });
        for &memory in &options.memories {
            let server = Server::start(&options.memcached, memory, &[])?;
            let theirs = server.replay(source.requests(count)?, count)?;
            drop(server);
            let base = Server::start(memcarp, memory, &[])?.resident()?;
            let ours_memory = (theirs.resident.saturating_sub(base) >> 20).max(8);
            let server = Server::start(memcarp, ours_memory, &[])?;
            let ours = server.replay(source.requests(count)?, count)?;
            let ratio = ours.misses as f64 / theirs.misses.max(1) as f64;
            let mebibytes = |outcome: &Outcome| outcome.resident as f64 / f64::from(1 << 20);
            println!(
                "{:14} {memory:10} {:10.1} {:9.5} {ours_memory:16} {:9.1} {:9.5}   {ratio:5.3}",
                source.name(),
                mebibytes(&theirs),
                theirs.miss_ratio(),
                mebibytes(&ours),
                ours.miss_ratio(),
            );
            lines[0].points.push((mebibytes(&theirs), theirs.miss_ratio()));
            lines[1].points.push((mebibytes(&ours), ours.miss_ratio()));
            log_sum += ratio.ln();
            worst = worst.max(ratio);
            runs += 1;
        }
        plots.push((source.name(), lines.into()));
    }
    println!("geometric mean {:.3}, worst {worst:.3}", (log_sum / f64::from(runs)).exp());
    if let Some(path) = &options.plot {
        std::fs::write(path, report::svg(&plots))?;
    }
    Ok(())
}

fn save(directory: &Path, options: &Options) -> io::Result<()> {
    std::fs::create_dir_all(directory)?;
    for source in &options.sources {
        let mut file = BufWriter::new(std::fs::File::create(directory.join(source.name() + ".trace"))?);
        for request in source.requests(options.count)? {
            file.write_all(&request.to_bytes())?;
        }
        file.flush()?;
        println!("{}: {} requests", source.name(), options.count);
    }
    Ok(())
}
