//! Runs jobs on some threads, and says on the terminal how far they are.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

/// How far a job is.
#[derive(Debug, Default)]
pub struct Progress {
    name: String,
    requests: u32,
    done: AtomicU32,
}

impl Progress {
    pub fn new(name: String, requests: u32) -> Progress {
        Progress { name, requests, done: AtomicU32::new(0) }
    }

    /// Counts the requests that go by.
    pub fn of<'p, T>(&'p self, requests: impl Iterator<Item = T> + 'p) -> impl Iterator<Item = T> + 'p {
        self.done.store(0, Ordering::Relaxed);
        requests.inspect(|_| {
            self.done.fetch_add(1, Ordering::Relaxed);
        })
    }
}

/// Runs every job, `threads` of them at a time in their order, and answers what came of each.
pub fn run<J: Sync, R: Send>(
    jobs: &[(Progress, J)],
    threads: usize,
    work: impl Fn(&J, &Progress) -> R + Sync,
) -> Vec<R> {
    let next = AtomicUsize::new(0);
    let results = Mutex::new(Vec::new());
    let running = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let Some((progress, job)) = jobs.get(at) else { break };
                    running.lock().unwrap().push(progress);
                    let result = work(job, progress);
                    running.lock().unwrap().retain(|other| !std::ptr::eq(*other, progress));
                    results.lock().unwrap().push((at, result));
                }
            });
        }
        let is_shown = std::io::stderr().is_terminal();
        let mut ticks = 0;
        loop {
            let finished = results.lock().unwrap().len();
            if is_shown || ticks % 150 == 149 {
                show(finished, jobs.len(), &running.lock().unwrap(), is_shown);
            }
            if finished == jobs.len() {
                break;
            }
            std::thread::sleep(Duration::from_millis(200));
            ticks += 1;
        }
        if is_shown {
            eprint!("\r\x1b[K");
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|&(at, _)| at);
    results.into_iter().map(|(_, result)| result).collect()
}

/// On a terminal one line that changes, elsewhere a line twice a minute.
fn show(finished: usize, all: usize, running: &[&Progress], in_place: bool) {
    let mut line = format!("{finished} of {all} done");
    for progress in running {
        let percent =
            u64::from(progress.done.load(Ordering::Relaxed)) * 100 / u64::from(progress.requests.max(1));
        line += &format!(", {} {percent} %", progress.name);
    }
    if in_place {
        eprint!("\r\x1b[K{line}");
        let _ = std::io::stderr().flush();
    } else {
        eprintln!("{line}");
    }
}
