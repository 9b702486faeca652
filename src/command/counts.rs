//! What one worker counts: plain integers written by one thread, read by whoever asks for their sum.

use super::distribution::{Distributed, Distribution};
use super::hotkeys::HotKeys;
use crate::protocol::Request;
use crate::store::CLASS_COUNT;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A count that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// One more. Only the owning worker calls this: it is a load and a store, not an atomic addition.
    pub fn increment(&self) {
        self.add(1);
    }

    /// `count` more. Only the owning worker calls this.
    pub fn add(&self, count: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    /// Another count from now on. Only the owning worker calls this.
    pub fn set(&self, count: u64) {
        self.0.store(count, Ordering::Relaxed);
    }

    /// The count now.
    pub fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counts {
    ($(#[$about:meta])* $name:ident, $totals:ident { $($(#[$doc:meta])* $field:ident,)* }) => {
        $(#[$about])*
        #[derive(Debug, Default)]
        pub struct $name { $($(#[$doc])* pub $field: Counter,)* }

        /// Sums of the counts of the same names over all workers.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        #[allow(missing_docs)]
        pub struct $totals { $(pub $field: u64,)* }

        impl $totals {
            /// Adds one worker's counts.
            pub fn add(&mut self, counts: &$name) {
                $(self.$field = self.$field.wrapping_add(counts.$field.value());)*
            }

            /// Takes away what had been counted when `earlier` was summed.
            pub fn since(&mut self, earlier: &$totals) {
                $(self.$field = self.$field.wrapping_sub(earlier.$field);)*
            }
        }
    };
}

counts! {
    /// Counts of commands that found no item, and of the connection's bytes.
    GeneralCounts, GeneralTotals {
        /// Keys asked for by a get.
        cmd_get,
        /// flush_all commands, refused ones too.
        cmd_flush,
        /// Touches by any command.
        cmd_touch,
        /// `me` commands.
        cmd_meta,
        /// Keys asked for and not found.
        get_misses,
        /// Keys asked for whose item had expired.
        get_expired,
        /// Keys asked for whose item had been flushed.
        get_flushed,
        /// Keys looked up whose item was derived from data that has been replaced.
        outdated,
        /// Stores refused because a source was not the one the client computed from.
        outdated_stores,
        /// Deletes of nothing.
        delete_misses,
        /// Increments of nothing.
        incr_misses,
        /// Decrements of nothing.
        decr_misses,
        /// Compare-and-swaps of nothing.
        cas_misses,
        /// Touches of nothing.
        touch_misses,
        /// Items stored.
        total_items,
        /// Stores refused as larger than the item limit.
        store_too_large,
        /// Stores refused for want of memory.
        store_no_memory,
        /// Attempts to authenticate.
        auth_cmds,
        /// Failed attempts to authenticate.
        auth_errors,
        /// Of these, those that were not looked at, as the address had failed too often.
        auth_limited,
        /// Connections closed as idle.
        idle_kicks,
        /// Connections closed because they did not read values that had left the store meanwhile.
        stalled_kicks,
        /// Bytes read from clients.
        bytes_read,
        /// Bytes written to clients.
        bytes_written,
        /// Times a connection gave way to others after its share of requests.
        conn_yields,
        /// Read buffers that could not be had.
        read_buf_oom,
    }
}

counts! {
    /// Counts of commands that found an item, by its size class.
    ClassCounts, ClassTotals {
        /// Keys asked for and found.
        get_hits,
        /// Stores tried with a good header.
        cmd_set,
        /// Deletes.
        delete_hits,
        /// Increments.
        incr_hits,
        /// Decrements.
        decr_hits,
        /// Compare-and-swaps that swapped.
        cas_hits,
        /// Compare-and-swaps that compared unequal.
        cas_badval,
        /// Touches.
        touch_hits,
    }
}

/// What a command is for, as far as its service time tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// A lookup, also one that touches.
    Get,
    /// A store of any kind.
    Set,
    /// A delete.
    Delete,
    /// Anything else.
    Other,
}

impl Service {
    /// All of them, in the order of [`Served`].
    pub const ALL: [Service; 4] = [Service::Get, Service::Set, Service::Delete, Service::Other];

    /// What a request is for.
    pub fn of(request: &Request<'_>) -> Service {
        match request {
            Request::Get(_) | Request::MetaGet(_) => Service::Get,
            Request::Store(_) | Request::MetaStore(_) => Service::Set,
            Request::Delete(_) | Request::MetaDelete(_) => Service::Delete,
            _ => Service::Other,
        }
    }

    /// Its name as a label.
    pub fn name(self) -> &'static str {
        match self {
            Service::Get => "get",
            Service::Set => "set",
            Service::Delete => "delete",
            Service::Other => "other",
        }
    }
}

/// How many commands were answered in a batch, by [`Service`].
pub type Served = [u32; 4];

/// Distributions one worker counts.
#[derive(Debug, Default)]
pub struct Distributions {
    /// Service times by [`Service`]: places in microseconds, up to 1 s; the sum in nanoseconds.
    pub service: [Distribution<0, 21>; 4],
    /// Sizes of items that were stored, as memcached counts them, in bytes: 64 bytes to 1 GiB.
    pub item_size: Distribution<6, 25>,
    /// How long items that were stored with an expiry are to live, in seconds: up to a year.
    pub item_ttl: Distribution<0, 26>,
}

/// Sums of the distributions of the same names over all workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct DistributionTotals {
    pub service: [Distributed<0, 21>; 4],
    pub item_size: Distributed<6, 25>,
    pub item_ttl: Distributed<0, 26>,
}

impl DistributionTotals {
    /// Adds one worker's counts.
    pub fn add(&mut self, counts: &Distributions) {
        for (total, counts) in self.service.iter_mut().zip(&counts.service) {
            total.add(counts);
        }
        self.item_size.add(&counts.item_size);
        self.item_ttl.add(&counts.item_ttl);
    }

    /// Takes away what had been counted when `earlier` was summed.
    pub fn since(&mut self, earlier: &DistributionTotals) {
        for (total, earlier) in self.service.iter_mut().zip(&earlier.service) {
            total.since(earlier);
        }
        self.item_size.since(&earlier.item_size);
        self.item_ttl.since(&earlier.item_ttl);
    }
}

impl Distributions {
    /// Takes note of a batch of commands that took `time` together. Commands are not timed one by one: each is taken
    /// to have lasted as long as the others of its batch.
    pub fn served(&self, served: &Served, time: Duration) {
        let commands: u32 = served.iter().sum();
        if commands == 0 {
            return;
        }
        let each = time.as_nanos() as u64 / u64::from(commands);
        for (service, &commands) in self.service.iter().zip(served) {
            if commands > 0 {
                service.record_times(each.div_ceil(1000), u64::from(commands), each * u64::from(commands));
            }
        }
    }
}

/// All one worker counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counts {
    /// Counts without a size class.
    pub general: GeneralCounts,
    /// Counts by size class.
    pub classes: Box<[ClassCounts; CLASS_COUNT]>,
    /// Counts by time, size and the like.
    pub distributions: Box<Distributions>,
    /// The keys asked for most.
    pub hot_keys: HotKeys,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            general: GeneralCounts::default(),
            classes: Box::new(std::array::from_fn(|_| ClassCounts::default())),
            distributions: Box::default(),
            hot_keys: HotKeys::default(),
        }
    }
}

/// The counts of all workers, added up.
#[derive(Clone, Debug)]
pub struct Totals {
    /// Counts without a size class.
    pub general: GeneralTotals,
    /// Counts by size class.
    pub classes: [ClassTotals; CLASS_COUNT],
    /// Counts by time, size and the like.
    pub distributions: DistributionTotals,
}

impl Default for Totals {
    fn default() -> Totals {
        Totals {
            general: GeneralTotals::default(),
            classes: [ClassTotals::default(); CLASS_COUNT],
            distributions: DistributionTotals::default(),
        }
    }
}

impl Totals {
    /// Adds one worker's counts.
    pub fn add(&mut self, counts: &Counts) {
        self.general.add(&counts.general);
        for (total, class) in self.classes.iter_mut().zip(counts.classes.iter()) {
            total.add(class);
        }
        self.distributions.add(&counts.distributions);
    }

    /// Takes away what had been counted when `earlier` was summed.
    pub fn since(&mut self, earlier: &Totals) {
        self.general.since(&earlier.general);
        for (total, class) in self.classes.iter_mut().zip(&earlier.classes) {
            total.since(class);
        }
        self.distributions.since(&earlier.distributions);
    }

    /// One count, added up over the classes.
    pub fn sum(&self, count: impl Fn(&ClassTotals) -> u64) -> u64 {
        self.classes.iter().map(count).sum()
    }
}
