//! How often the store misses, on traces made up and given, alone or beside memcached at equal resident memory.

mod bounds;
mod families;
mod jobs;
mod options;
mod replay;
mod report;
mod results;
mod server;
mod trace;

use jobs::Progress;
use options::{Options, Source, USAGE};
use results::{Results, Run};
use server::Server;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use trace::Request;

/// Bytes that a replay takes beside the cache: names of keys, how popular they are, and values.
const BESIDE: usize = 150 << 20;

fn main() -> io::Result<()> {
    let Some(options) = Options::parse(std::env::args().skip(1)) else {
        eprintln!("{USAGE}");
        std::process::exit(64);
    };
    if options.help {
        println!("{USAGE}");
        return Ok(());
    }
    if options.list {
        for source in &options.sources {
            println!("{:14} {}", source.name(), source.group().name());
        }
        return Ok(());
    }
    if let Some(directory) = &options.save {
        return save(directory, &options);
    }
    let results = Results::open(options.results.as_deref())?;
    let mut all = Vec::new();
    for source in &options.sources {
        let count = source.count(options.count)?;
        for &mebibytes in &options.memories {
            let progress = Progress::new(format!("{} {mebibytes} MiB", source.name()), count);
            all.push((progress, (source, mebibytes, count)));
        }
    }
    let rows = jobs::run(&all, threads(&options), |&(source, mebibytes, count), progress| {
        let job = Job { source, mebibytes, count, progress, results: &results };
        let mut row = if options.through_servers { job.servers(&options)? } else { job.policies(&options)? };
        if options.bounds {
            let limit = row[0].outcome.resident;
            row.extend(job.bounds(limit)?);
        }
        Ok(row)
    });
    let rows = rows.into_iter().collect::<io::Result<Vec<_>>>()?;
    report::print(&rows);
    if let Some(path) = &options.plot {
        std::fs::write(path, report::svg(&rows))?;
    }
    Ok(())
}

/// How many traces at a time: as many as there are processors for, if the system has the memory.
fn threads(options: &Options) -> usize {
    if let Some(jobs) = options.jobs {
        return jobs;
    }
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let processors = if options.through_servers { processors / 2 } else { processors };
    let information = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = information.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let kibibytes = available.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<usize>().ok());
    // Bounds are found with all requests in memory, and two more words for each.
    let beside = BESIDE + if options.bounds { options.count as usize * 40 } else { 0 };
    let each = (options.memories.iter().max().copied().unwrap_or(0) << 20) * 5 / 4 + beside;
    let by_memory = kibibytes.map_or(usize::MAX, |kibibytes| (kibibytes << 10) / each);
    processors.min(by_memory).max(1)
}

/// One trace at one size.
struct Job<'j> {
    source: &'j Source,
    mebibytes: usize,
    count: u32,
    progress: &'j Progress,
    results: &'j Results,
}

impl Job<'_> {
    /// Through memcached, and through memcarp with what it takes to be as large in memory as memcached was.
    fn servers(&self, options: &Options) -> io::Result<Vec<Run>> {
        let theirs = self.run("memcached", || {
            Server::start(&options.memcached, self.mebibytes)?.replay(self.requests()?, self.count)
        })?;
        let ours = self.run("memcarp", || {
            let memcarp = Path::new(env!("CARGO_BIN_EXE_memcarp"));
            let base = Server::start(memcarp, self.mebibytes)?.resident()?;
            let mebibytes = (theirs.outcome.resident.saturating_sub(base) >> 20).max(8);
            Server::start(memcarp, mebibytes)?.replay(self.requests()?, self.count)
        })?;
        Ok(vec![theirs, ours])
    }

    fn policies(&self, options: &Options) -> io::Result<Vec<Run>> {
        let policy = |&eviction| {
            self.run(memcarp::store::Eviction::name(eviction), || {
                Ok(replay::replay(self.requests()?, self.count, self.mebibytes << 20, eviction))
            })
        };
        options.evictions.iter().map(policy).collect()
    }

    fn bounds(&self, limit: usize) -> io::Result<[Run; 2]> {
        let requests = || Ok::<_, io::Error>(self.requests()?.collect::<Vec<_>>());
        Ok([
            self.run("first", || Ok(bounds::first(&requests()?)))?,
            self.run("foresight", || Ok(bounds::foresight(&requests()?, limit)))?,
        ])
    }

    fn requests(&self) -> io::Result<impl Iterator<Item = Request>> {
        Ok(self.progress.of(self.source.requests(self.count)?))
    }

    fn run(&self, cache: &str, replay: impl FnOnce() -> io::Result<replay::Outcome>) -> io::Result<Run> {
        let name = self.source.name();
        self.results.get((&name, self.source.group()), self.mebibytes, self.count, cache, replay)
    }
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
