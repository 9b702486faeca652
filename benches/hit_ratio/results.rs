//! What came of each replay, kept in a file so that a run that was stopped goes on where it was.

use super::options::Group;
use super::replay::Outcome;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::Mutex;

/// One trace through one cache.
#[derive(Clone, Debug, PartialEq)]
pub struct Run {
    pub trace: String,
    pub group: Group,
    /// The size that was asked for, in MiB.
    pub mebibytes: usize,
    pub requests: u32,
    /// The server, policy or bound.
    pub cache: String,
    pub outcome: Outcome,
}

/// A file of results, if one was asked for.
pub struct Results {
    known: Vec<Run>,
    file: Option<Mutex<File>>,
}

impl Results {
    pub fn open(path: Option<&Path>) -> io::Result<Results> {
        let Some(path) = path else { return Ok(Results { known: Vec::new(), file: None }) };
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        let known = std::fs::read_to_string(path)?.lines().filter_map(parse).collect();
        Ok(Results { known, file: Some(Mutex::new(file)) })
    }

    /// What is known of this trace in this cache, or else what `replay` finds out.
    pub fn get(
        &self,
        (trace, group): (&str, Group),
        mebibytes: usize,
        requests: u32,
        cache: &str,
        replay: impl FnOnce() -> io::Result<Outcome>,
    ) -> io::Result<Run> {
        let is_it = |run: &&Run| {
            run.trace == trace && (run.mebibytes, run.requests) == (mebibytes, requests) && run.cache == cache
        };
        if let Some(run) = self.known.iter().find(is_it) {
            return Ok(Run { group, ..run.clone() });
        }
        let outcome = replay()?;
        let run =
            Run { trace: trace.to_owned(), group, mebibytes, requests, cache: cache.to_owned(), outcome };
        if let Some(file) = &self.file {
            let Outcome { gets, misses, resident } = outcome;
            let line = format!("{trace}\t{mebibytes}\t{requests}\t{cache}\t{gets}\t{misses}\t{resident}\n");
            file.lock().unwrap().write_all(line.as_bytes())?;
        }
        Ok(run)
    }
}

fn parse(line: &str) -> Option<Run> {
    let mut words = line.split('\t');
    let mut word = || words.next();
    Some(Run {
        trace: word()?.to_owned(),
        group: Group::Given,
        mebibytes: word()?.parse().ok()?,
        requests: word()?.parse().ok()?,
        cache: word()?.to_owned(),
        outcome: Outcome {
            gets: word()?.parse().ok()?,
            misses: word()?.parse().ok()?,
            resident: word()?.parse().ok()?,
        },
    })
}
