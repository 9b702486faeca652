//! What the command line asks for.

use super::families::{CHOSEN_WITH, Family, HELD_OUT};
use super::trace::{self, Request};
use memcarp::store::Eviction;
use std::io;
use std::path::PathBuf;

pub const USAGE: &str = "\
How often the store misses, on made-up traces and given ones.

cargo bench --bench hit_ratio -- [OPTION]...
      --server           through servers: memcached, then memcarp with as much resident memory
      --memory M,M...    cache sizes in MiB [64]
      --requests N       so many requests of each trace, of which the first fifth only warms [10000000]
      --quick            a million requests of each trace
      --only NAME,...    only these of the made-up traces; --list names them
      --trace FILE       this file instead, 18 bytes a request (see trace.rs); may be repeated
      --eviction P,P...  policies to compare: ranked, queues, clock [ranked]
      --bounds           also what no cache can do without: `first` misses each key once and whenever it was deleted or
                         ended, `foresight` knows what comes next and evicts by that and by length
      --jobs N           so many traces at a time [as many as there are processors; half with --server]
      --results FILE     append each result to this file, and take from it what it has already
      --plot FILE        an SVG of the miss ratios against memory
      --memcached PATH   [/usr/bin/memcached]
      --save DIR         write the made-up traces to files, and end
      --list             name the made-up traces, and end
      --help             this

Traces are the same every time. The families in the first group were looked at when the policy was chosen, those in
the second were not; their means are told apart.";

/// Where requests come from, and what the policy's choice owes to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Group {
    ChosenWith,
    HeldOut,
    Given,
}

impl Group {
    pub const ALL: [Group; 3] = [Group::ChosenWith, Group::HeldOut, Group::Given];

    pub fn name(self) -> &'static str {
        match self {
            Group::ChosenWith => "chosen with",
            Group::HeldOut => "held out",
            Group::Given => "given",
        }
    }
}

#[derive(Clone, Debug)]
pub enum Source {
    Family(Family, Group),
    File(PathBuf),
}

impl Source {
    pub fn name(&self) -> String {
        match self {
            Source::Family(family, _) => family.name.to_owned(),
            Source::File(path) => path.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
        }
    }

    pub fn group(&self) -> Group {
        match self {
            Source::Family(_, group) => *group,
            Source::File(_) => Group::Given,
        }
    }

    pub fn requests(&self, count: u32) -> io::Result<Box<dyn Iterator<Item = Request> + '_>> {
        Ok(match self {
            Source::Family(family, _) => Box::new(family.requests(count)),
            Source::File(path) => Box::new(trace::read_file(path)?.take(count as usize)),
        })
    }

    /// How many of the wanted requests there are.
    pub fn count(&self, wanted: u32) -> io::Result<u32> {
        match self {
            Source::Family(..) => Ok(wanted),
            Source::File(path) => Ok(wanted.min(trace::file_len(path)?)),
        }
    }
}

#[derive(Debug)]
pub struct Options {
    pub through_servers: bool,
    pub memories: Vec<usize>,
    pub count: u32,
    pub sources: Vec<Source>,
    pub evictions: Vec<Eviction>,
    pub bounds: bool,
    pub jobs: Option<usize>,
    pub results: Option<PathBuf>,
    pub plot: Option<PathBuf>,
    pub memcached: PathBuf,
    pub save: Option<PathBuf>,
    pub list: bool,
    pub help: bool,
}

impl Options {
    /// `None` if they make no sense.
    pub fn parse(mut args: impl Iterator<Item = String>) -> Option<Options> {
        let mut options = Options {
            through_servers: false,
            memories: vec![64],
            count: 10_000_000,
            sources: Vec::new(),
            evictions: vec![Eviction::default()],
            bounds: false,
            jobs: None,
            results: None,
            plot: None,
            memcached: "/usr/bin/memcached".into(),
            save: None,
            list: false,
            help: false,
        };
        let mut only: Option<Vec<String>> = None;
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--bench" => {}
                "--server" => options.through_servers = true,
                "--memory" => options.memories = list(&args.next()?)?,
                "--requests" => options.count = args.next()?.parse().ok()?,
                "--quick" => options.count = 1_000_000,
                "--only" => only = Some(list(&args.next()?)?),
                "--trace" => options.sources.push(Source::File(args.next()?.into())),
                "--eviction" => options.evictions = list(&args.next()?)?,
                "--bounds" => options.bounds = true,
                "--jobs" => options.jobs = Some(args.next()?.parse().ok().filter(|&jobs| jobs > 0)?),
                "--results" => options.results = Some(args.next()?.into()),
                "--plot" => options.plot = Some(args.next()?.into()),
                "--memcached" => options.memcached = args.next()?.into(),
                "--save" => options.save = Some(args.next()?.into()),
                "--list" => options.list = true,
                "--help" | "-h" => options.help = true,
                _ => return None,
            }
        }
        if options.sources.is_empty() || only.is_some() {
            let families = CHOSEN_WITH
                .map(|family| Source::Family(family, Group::ChosenWith))
                .into_iter()
                .chain(HELD_OUT.map(|family| Source::Family(family, Group::HeldOut)));
            let is_wanted = |source: &Source| only.as_ref().is_none_or(|only| only.contains(&source.name()));
            options.sources.extend(families.filter(is_wanted));
        }
        (!options.sources.is_empty()).then_some(options)
    }
}

fn list<T: std::str::FromStr>(words: &str) -> Option<Vec<T>> {
    words.split(',').map(|word| word.parse().ok()).collect()
}
