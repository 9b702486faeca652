//! What one worker counts: plain integers written by one thread, read by whoever asks for their sum.

use crate::store::CLASS_COUNT;
use std::sync::atomic::{AtomicU64, Ordering};

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
        /// Connections closed as idle.
        idle_kicks,
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

/// All one worker counts.
#[derive(Debug)]
#[repr(align(128))]
pub struct Counts {
    /// Counts without a size class.
    pub general: GeneralCounts,
    /// Counts by size class.
    pub classes: Box<[ClassCounts; CLASS_COUNT]>,
}

impl Default for Counts {
    fn default() -> Counts {
        Counts {
            general: GeneralCounts::default(),
            classes: Box::new(std::array::from_fn(|_| ClassCounts::default())),
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
}

impl Default for Totals {
    fn default() -> Totals {
        Totals { general: GeneralTotals::default(), classes: [ClassTotals::default(); CLASS_COUNT] }
    }
}

impl Totals {
    /// Adds one worker's counts.
    pub fn add(&mut self, counts: &Counts) {
        self.general.add(&counts.general);
        for (total, class) in self.classes.iter_mut().zip(counts.classes.iter()) {
            total.add(class);
        }
    }

    /// Takes away what had been counted when `earlier` was summed.
    pub fn since(&mut self, earlier: &Totals) {
        self.general.since(&earlier.general);
        for (total, class) in self.classes.iter_mut().zip(&earlier.classes) {
            total.since(class);
        }
    }

    /// One count, added up over the classes.
    pub fn sum(&self, count: impl Fn(&ClassTotals) -> u64) -> u64 {
        self.classes.iter().map(count).sum()
    }
}
