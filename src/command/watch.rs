//! Log lines for clients that sent `watch`: formatted once, queued for each watcher within a bound.

use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Most watchers at a time, as in memcached.
pub const MAX_WATCHERS: usize = 20;

/// Classes of log lines, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Classes(u32);

impl Classes {
    /// Every get of a key.
    pub const FETCHERS: Classes = Classes(1);
    /// Every store of an item.
    pub const MUTATIONS: Classes = Classes(2);
    /// Items thrown out for room.
    pub const EVICTIONS: Classes = Classes(4);
    /// Connections opened and closed.
    pub const CONNEVENTS: Classes = Classes(8);
    /// Items deleted.
    pub const DELETIONS: Classes = Classes(16);

    /// The class of this name, if there is one. Those that tell of nothing here are accepted and stay silent: the
    /// events of memcached's crawler and pages, the proxy's, and raw commands, of which memcached tells nothing either.
    pub fn named(name: &[u8]) -> Option<Classes> {
        Some(match name {
            b"fetchers" => Classes::FETCHERS,
            b"mutations" => Classes::MUTATIONS,
            b"evictions" => Classes::EVICTIONS,
            b"connevents" => Classes::CONNEVENTS,
            b"deletions" => Classes::DELETIONS,
            b"sysevents" | b"rawcmds" | b"proxyreqs" | b"proxyevents" | b"proxyuser" => Classes(0),
            _ => return None,
        })
    }

    /// Both.
    pub fn with(self, other: Classes) -> Classes {
        Classes(self.0 | other.0)
    }

    /// Whether any class is in both.
    pub fn overlaps(self, other: Classes) -> bool {
        self.0 & other.0 != 0
    }
}

/// One client that watches: a bounded queue of log lines, emptied by its connection.
pub struct Watcher {
    classes: Classes,
    limit: usize,
    queue: Mutex<Queue>,
    wake: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct Queue {
    lines: Vec<u8>,
    skipped: u64,
}

impl Watcher {
    /// Moves the queued lines to the end of `into`, and says how many bytes there were.
    pub fn take_lines(&self, into: &mut Vec<u8>) -> usize {
        let mut queue = self.queue.lock();
        let count = queue.lines.len();
        into.append(&mut queue.lines);
        count
    }

    /// False if the line was dropped because the queue is full.
    fn offer(&self, line: &[u8]) -> bool {
        let mut queue = self.queue.lock();
        if queue.lines.len() + line.len() > self.limit {
            queue.skipped += 1;
            return false;
        }
        let was_empty = queue.lines.is_empty();
        if queue.skipped > 0 {
            let note = format!("skipped={}\n", queue.skipped);
            queue.skipped = 0;
            queue.lines.extend_from_slice(note.as_bytes());
        }
        queue.lines.extend_from_slice(line);
        drop(queue);
        if was_empty {
            (self.wake)();
        }
        true
    }
}

/// All watchers.
#[derive(Default)]
pub struct WatchHub {
    /// Union of the watchers' classes, read without a lock before a line is formatted.
    wanted: AtomicU32,
    watchers: Mutex<Vec<Arc<Watcher>>>,
    next_id: AtomicU64,
    /// Lines written, whoever received them.
    pub written: AtomicU64,
    /// Lines queued for watchers.
    pub sent: AtomicU64,
    /// Lines dropped because a watcher's queue was full.
    pub skipped: AtomicU64,
}

impl WatchHub {
    /// Whether anybody watches any of these classes: ask before formatting a line.
    pub fn wants(&self, classes: Classes) -> bool {
        classes.overlaps(Classes(self.wanted.load(Ordering::Relaxed)))
    }

    /// Adds a watcher whose queue holds `limit` bytes; `wake` is called when its queue stops being empty, under no
    /// lock of this hub's queue. `None` if there are [`MAX_WATCHERS`] already.
    pub fn add(
        &self,
        classes: Classes,
        limit: usize,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Option<Arc<Watcher>> {
        let mut watchers = self.watchers.lock();
        if watchers.len() >= MAX_WATCHERS {
            return None;
        }
        let watcher = Arc::new(Watcher { classes, limit, queue: Mutex::default(), wake });
        watchers.push(watcher.clone());
        self.update_wanted(&watchers);
        Some(watcher)
    }

    /// Removes a watcher.
    pub fn remove(&self, watcher: &Arc<Watcher>) {
        let mut watchers = self.watchers.lock();
        watchers.retain(|other| !Arc::ptr_eq(other, watcher));
        self.update_wanted(&watchers);
    }

    /// How many watch.
    pub fn count(&self) -> usize {
        self.watchers.lock().len()
    }

    /// Queues a line for those who watch the class. `event` is everything after `ts=... gid=... `, without LF.
    pub fn log(&self, class: Classes, unix_micros: u128, event: std::fmt::Arguments<'_>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed) + 1;
        self.written.fetch_add(1, Ordering::Relaxed);
        let line =
            format!("ts={}.{:06} gid={id} {event}\n", unix_micros / 1_000_000, unix_micros % 1_000_000);
        for watcher in self.watchers.lock().iter().filter(|watcher| watcher.classes.overlaps(class)) {
            let counter = if watcher.offer(line.as_bytes()) { &self.sent } else { &self.skipped };
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn update_wanted(&self, watchers: &[Arc<Watcher>]) {
        let union = watchers.iter().fold(Classes::default(), |all, watcher| all.with(watcher.classes));
        self.wanted.store(union.0, Ordering::Relaxed);
    }
}
