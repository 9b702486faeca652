//! What the system tells of this process and its threads. Knows nothing of memcarp.

use nix::sys::resource::{Resource, getrlimit};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What the system tells of this process now. What it does not tell is 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Virtual memory.
    pub virtual_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// Most descriptors.
    pub max_fds: u64,
    /// Processor time in nanoseconds of the threads whose name is the one asked for and a number, by that number.
    pub threads: Vec<(u32, u64)>,
}

/// Bytes of a page in `/proc/self/statm`.
fn page_bytes() -> u64 {
    nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().map_or(4096, |bytes| bytes as u64)
}

impl Process {
    /// Asks now. `thread` is what the names of the threads of interest begin with.
    pub fn now(thread: &str) -> Process {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let mut pages = statm.split_whitespace().map(|pages| pages.parse().unwrap_or(0));
        let mut bytes = || pages.next().unwrap_or(0) * page_bytes();
        let (virtual_bytes, resident_bytes) = (bytes(), bytes());
        Process {
            resident_bytes,
            virtual_bytes,
            open_fds: open_fds(),
            max_fds: getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(soft, _)| soft),
            threads: threads(thread),
        }
    }
}

/// Newer kernels say the number as the directory's size; older ones say 0, and the entries have to be counted.
fn open_fds() -> u64 {
    match fs::metadata("/proc/self/fd").map_or(0, |directory| directory.size()) {
        0 => fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64),
        count => count,
    }
}

fn threads(name: &str) -> Vec<(u32, u64)> {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else { return Vec::new() };
    let mut threads: Vec<_> = tasks.flatten().filter_map(|task| thread(&task.path(), name)).collect();
    threads.sort_unstable();
    threads
}

fn thread(task: &Path, name: &str) -> Option<(u32, u64)> {
    let comm = fs::read_to_string(task.join("comm")).ok()?;
    let number = comm.trim().strip_prefix(name)?.trim().parse().ok()?;
    let schedstat = fs::read_to_string(task.join("schedstat")).ok()?;
    Some((number, schedstat.split_whitespace().next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_knows_this_process() {
        let process = Process::now("nobody");
        assert!(process.resident_bytes > 100_000 && process.virtual_bytes > process.resident_bytes);
        assert!(process.open_fds > 2 && process.max_fds > process.open_fds, "{process:?}");
        assert!(process.threads.is_empty());
        let find = || Process::now("searched").threads.iter().map(|(number, _)| *number).collect::<Vec<_>>();
        let found = std::thread::Builder::new().name("searched 7".to_owned()).spawn(find).unwrap();
        assert_eq!(found.join().unwrap(), [7]);
    }
}
