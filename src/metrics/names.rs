//! Every exported name, once: what it is called, its type, its help, and the line of `stats` it repeats. Computes nothing.
//!
//! Names that begin with `memcached_` are those of Prometheus' memcached_exporter, so that dashboards made for it work
//! unchanged. It types five of them against Prometheus' conventions (counters that go down, or without `_total`); they
//! are gauges and untyped here, which no query notices.

/// A type, in the words of the text format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, until a restart or `stats reset`.
    Counter,
    /// The same with a fraction.
    FractionalCounter,
    /// Goes up and down.
    Gauge,
    /// Grows, but its name does not say so.
    Untyped,
    /// Counts of values up to bounds.
    Histogram,
}

use Kind::{Counter, FractionalCounter, Gauge, Histogram, Untyped};

/// A name, with what the text format says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Family {
    /// The name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// One line for the reader.
    pub help: &'static str,
}

/// Where a number stands that is exported as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// In `stats`.
    General(&'static str),
    /// In `stats settings`.
    Setting(&'static str),
    /// In `stats slabs`, of no class.
    Slabs(&'static str),
    /// In `stats memcarp`.
    Memcarp(&'static str),
}

/// Where a number of a size class stands that is exported as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassLine {
    /// In `stats items`.
    Item(&'static str),
    /// In `stats slabs`.
    Slab(&'static str),
}

use ClassLine::{Item, Slab};
use Line::{General, Memcarp, Setting, Slabs};

/// A command as `stats` counts it: the line, and the labels `command` and `status`.
pub type CommandLine = (&'static str, &'static str, &'static str);

const fn family(name: &'static str, kind: Kind, help: &'static str) -> Family {
    Family { name, kind, help }
}

/// Numbers of the server, one sample each. A line that `stats` leaves out counts as 0.
#[rustfmt::skip] // a table
pub const SERVER: &[(Line, Family)] = &[
    (General("accepting_conns"), family("memcached_accepting_connections", Gauge, "Whether connections are accepted: 1 or 0.")),
    (General("listen_disabled_num"), family("memcached_connections_listener_disabled_total", Counter, "Times accepting was stopped at the limit on connections.")),
    (General("rejected_connections"), family("memcached_connections_rejected_total", Counter, "Connections turned away at the limit.")),
    (General("total_connections"), family("memcached_connections_total", Counter, "Connections accepted.")),
    (General("conn_yields"), family("memcached_connections_yielded_total", Counter, "Times a connection gave way to others after its share of requests.")),
    (General("bytes"), family("memcached_current_bytes", Gauge, "Bytes of the items held, as memcached counts them.")),
    (General("curr_connections"), family("memcached_current_connections", Gauge, "Open client connections.")),
    (General("curr_items"), family("memcached_current_items", Gauge, "Items held.")),
    (General("direct_reclaims"), family("memcached_direct_reclaims_total", Counter, "Always 0: memcached's workers count evictions they make themselves.")),
    (General("store_no_memory"), family("memcached_item_no_memory_total", Counter, "Stores refused for want of memory.")),
    (General("store_too_large"), family("memcached_item_too_large_total", Counter, "Stores refused as larger than the item limit.")),
    (General("evictions"), family("memcached_items_evicted_total", Counter, "Live items thrown out for room.")),
    (General("reclaimed"), family("memcached_items_reclaimed_total", Counter, "Expired items whose memory a store came to use.")),
    (General("total_items"), family("memcached_items_total", Counter, "Items stored.")),
    (General("limit_maxbytes"), family("memcached_limit_bytes", Gauge, "Memory for items.")),
    (Setting("lru_crawler"), family("memcached_lru_crawler_enabled", Gauge, "Whether the crawler is on, as set: 1 or 0.")),
    (Setting("hot_max_factor"), family("memcached_lru_crawler_hot_max_factor", Gauge, "As set; memory is managed without it.")),
    (Setting("hot_lru_pct"), family("memcached_lru_crawler_hot_percent", Gauge, "As set; memory is managed without it.")),
    (General("crawler_items_checked"), family("memcached_lru_crawler_items_checked_total", Counter, "Items looked at in the background.")),
    (Setting("lru_maintainer_thread"), family("memcached_lru_crawler_maintainer_thread", Gauge, "Whether the LRU maintainer is on, as set: 1 or 0.")),
    (General("moves_to_cold"), family("memcached_lru_crawler_moves_to_cold_total", Counter, "Always 0: there are no hot, warm and cold lists.")),
    (General("moves_to_warm"), family("memcached_lru_crawler_moves_to_warm_total", Counter, "Always 0: there are no hot, warm and cold lists.")),
    (General("moves_within_lru"), family("memcached_lru_crawler_moves_within_lru_total", Counter, "Always 0: there are no hot, warm and cold lists.")),
    (General("crawler_reclaimed"), family("memcached_lru_crawler_reclaimed_total", Counter, "Expired items whose memory came back in the background.")),
    (Setting("lru_crawler_sleep"), family("memcached_lru_crawler_sleep", Gauge, "As set, in microseconds; memory is managed without it.")),
    (General("lru_crawler_starts"), family("memcached_lru_crawler_starts_total", Counter, "Crawls that were asked for.")),
    (Setting("lru_crawler_tocrawl"), family("memcached_lru_crawler_to_crawl", Gauge, "As set; memory is managed without it.")),
    (Setting("warm_max_factor"), family("memcached_lru_crawler_warm_max_factor", Gauge, "As set; memory is managed without it.")),
    (Setting("warm_lru_pct"), family("memcached_lru_crawler_warm_percent", Gauge, "As set; memory is managed without it.")),
    (Slabs("total_malloced"), family("memcached_malloced_bytes", Gauge, "Memory the items take, everything included.")),
    (Setting("maxconns"), family("memcached_max_connections", Gauge, "Most client connections.")),
    (General("rusage_system"), family("memcached_process_system_cpu_seconds_total", FractionalCounter, "Processor time the process spent in the kernel.")),
    (General("rusage_user"), family("memcached_process_user_cpu_seconds_total", FractionalCounter, "Processor time the process spent outside the kernel.")),
    (General("bytes_read"), family("memcached_read_bytes_total", Counter, "Bytes read from clients.")),
    (General("time"), family("memcached_time_seconds", Gauge, "The server's clock, in seconds since 1970.")),
    (General("uptime"), family("memcached_uptime_seconds", Gauge, "Seconds since the start.")),
    (General("bytes_written"), family("memcached_written_bytes_total", Counter, "Bytes written to clients.")),

    (Memcarp("expire_on_update_sources"), family("memcarp_expire_on_update_sources", Gauge, "Sources that live items name.")),
    (Memcarp("expire_on_update_dependents"), family("memcarp_expire_on_update_dependents", Gauge, "Namings of sources by live items.")),
    (Memcarp("expire_on_update_updates"), family("memcarp_expire_on_update_updates_total", Counter, "Updates of sources while live items named them.")),
    (Memcarp("expire_on_update_expired"), family("memcarp_expire_on_update_expired_total", Counter, "Lookups of items derived from data that has been replaced.")),
    (Memcarp("expire_on_update_refused"), family("memcarp_expire_on_update_refused_total", Counter, "Stores refused because a source was not the one the client computed from.")),
    (Memcarp("memory_limit_bytes"), family("memcarp_memory_limit_bytes", Gauge, "Memory for items.")),
    (Memcarp("memory_bytes"), family("memcarp_memory_used_bytes", Gauge, "Of the memory for items, what is taken, everything included.")),
    (Memcarp("index_bytes"), family("memcarp_memory_index_bytes", Gauge, "Of the memory taken, the index.")),
    (Memcarp("large_bytes"), family("memcarp_memory_large_values_bytes", Gauge, "Of the memory taken, values held beside the log.")),
    (Memcarp("live_bytes"), family("memcarp_memory_live_bytes", Gauge, "Of the memory taken, live items in the log with their headers.")),
    (Memcarp("stored_bytes"), family("memcarp_log_stored_bytes_total", Counter, "Bytes written to the log for clients.")),
    (Memcarp("carried_bytes"), family("memcarp_log_carried_bytes_total", Counter, "Bytes copied within the log, for items carried on.")),
    (Memcarp("stalled_kicks"), family("memcarp_stalled_kicks_total", Counter, "Connections closed because they did not read values that had left the store meanwhile.")),
    (Memcarp("connections_not_allowed"), family("memcarp_connections_not_allowed_total", Counter, "Connections closed because their addresses may not connect.")),
    (General("auth_cmds"), family("memcarp_auth_attempts_total", Counter, "Attempts of clients to say who they are.")),
    (General("auth_errors"), family("memcarp_auth_failures_total", Counter, "Of these, those that failed.")),
    (Memcarp("auth_limited"), family("memcarp_auth_limited_total", Counter, "Of the failures, attempts refused because the address had failed too often.")),
    (Memcarp("tls_handshake_errors"), family("memcarp_tls_handshake_failures_total", Counter, "TLS handshakes that failed, those of scrapers among them.")),
    (General("ssl_proto_errors"), family("memcarp_tls_protocol_failures_total", Counter, "Connections that broke the TLS protocol after the handshake.")),
];

/// Numbers of each size class that `stats items` and `stats slabs` show, with the label `slab`.
#[rustfmt::skip] // a table
pub const CLASSES: &[(ClassLine, Family)] = &[
    (Slab("chunk_size"), family("memcached_slab_chunk_size_bytes", Gauge, "Largest item of the size class.")),
    (Slab("free_chunks"), family("memcached_slab_chunks_free", Gauge, "Free chunks memcached would have; memory is not laid out by class.")),
    (Slab("free_chunks_end"), family("memcached_slab_chunks_free_end", Gauge, "Always 0.")),
    (Slab("chunks_per_page"), family("memcached_slab_chunks_per_page", Gauge, "Chunks of one of memcached's pages.")),
    (Slab("used_chunks"), family("memcached_slab_chunks_used", Gauge, "Chunks the items would take in memcached.")),
    (Item("number_cold"), family("memcached_slab_cold_items", Gauge, "Items: all are in one list.")),
    (Slab("total_chunks"), family("memcached_slab_current_chunks", Gauge, "Chunks memcached would have.")),
    (Item("number"), family("memcached_slab_current_items", Gauge, "Items held.")),
    (Slab("total_pages"), family("memcached_slab_current_pages", Gauge, "Pages memcached would have.")),
    (Item("age_hot"), family("memcached_slab_hot_age_seconds", Gauge, "Always 0: there are no hot, warm and cold lists.")),
    (Item("number_hot"), family("memcached_slab_hot_items", Gauge, "Always 0: there are no hot, warm and cold lists.")),
    (Item("age"), family("memcached_slab_items_age_seconds", Gauge, "Seconds since the least recently used item was used, roughly.")),
    (Item("crawler_reclaimed"), family("memcached_slab_items_crawler_reclaimed_total", Counter, "Expired items whose memory came back in the background.")),
    (Item("evicted_nonzero"), family("memcached_slab_items_evicted_nonzero_total", Counter, "Evicted items that had an expiry.")),
    (Item("evicted_time"), family("memcached_slab_items_evicted_time_seconds", Gauge, "Seconds the item last evicted had not been used.")),
    (Item("evicted"), family("memcached_slab_items_evicted_total", Counter, "Live items thrown out for room.")),
    (Item("evicted_unfetched"), family("memcached_slab_items_evicted_unfetched_total", Counter, "Evicted items that were never read.")),
    (Item("expired_unfetched"), family("memcached_slab_items_expired_unfetched_total", Counter, "Expired items that were never read.")),
    (Item("moves_to_cold"), family("memcached_slab_items_moves_to_cold", Untyped, "Always 0: there are no hot, warm and cold lists.")),
    (Item("moves_to_warm"), family("memcached_slab_items_moves_to_warm", Untyped, "Always 0: there are no hot, warm and cold lists.")),
    (Item("moves_within_lru"), family("memcached_slab_items_moves_within_lru", Untyped, "Always 0: there are no hot, warm and cold lists.")),
    (Item("outofmemory"), family("memcached_slab_items_outofmemory_total", Counter, "Stores refused for want of memory.")),
    (Item("reclaimed"), family("memcached_slab_items_reclaimed_total", Counter, "Expired items whose memory a store came to use.")),
    (Item("tailrepairs"), family("memcached_slab_items_tailrepairs_total", Counter, "Always 0: no reference can leak.")),
    (Item("mem_requested"), family("memcached_slab_mem_requested_bytes", Gauge, "Bytes of the items, as memcached counts them.")),
    (Item("number_temp"), family("memcached_slab_temporary_items", Gauge, "Always 0: items of short life are in the one list.")),
    (Item("age_warm"), family("memcached_slab_warm_age_seconds", Gauge, "Always 0: there are no hot, warm and cold lists.")),
    (Item("number_warm"), family("memcached_slab_warm_items", Gauge, "Always 0: there are no hot, warm and cold lists.")),
];

/// `stats` lines that are commands by outcome. Stores that compared nothing come in addition.
pub const COMMAND_LINES: &[CommandLine] = &[
    ("get_hits", "get", "hit"),
    ("get_misses", "get", "miss"),
    ("delete_hits", "delete", "hit"),
    ("delete_misses", "delete", "miss"),
    ("incr_hits", "incr", "hit"),
    ("incr_misses", "incr", "miss"),
    ("decr_hits", "decr", "hit"),
    ("decr_misses", "decr", "miss"),
    ("cas_hits", "cas", "hit"),
    ("cas_misses", "cas", "miss"),
    ("cas_badval", "cas", "badval"),
    ("touch_hits", "touch", "hit"),
    ("touch_misses", "touch", "miss"),
    ("cmd_flush", "flush", "hit"),
];

/// The same in `stats slabs`.
pub const CLASS_COMMAND_LINES: &[CommandLine] = &[
    ("get_hits", "get", "hit"),
    ("delete_hits", "delete", "hit"),
    ("incr_hits", "incr", "hit"),
    ("decr_hits", "decr", "hit"),
    ("cas_hits", "cas", "hit"),
    ("cas_badval", "cas", "badval"),
    ("touch_hits", "touch", "hit"),
];

/// `stats items` lines that are hits by list: the line, and the label `lru`.
pub const LRU_HIT_LINES: &[(&str, &str)] = &[
    ("hits_to_hot", "hot"),
    ("hits_to_warm", "warm"),
    ("hits_to_cold", "cold"),
    ("hits_to_temp", "temporary"),
];

macro_rules! families {
    ($($id:ident: $name:literal, $kind:ident, $help:literal;)*) => {
        $(#[doc = $help] pub const $id: Family = family($name, $kind, $help);)*

        /// The families that are more than one line of `stats`.
        pub const COMPUTED: &[Family] = &[$($id),*];
    };
}

families! {
    UP: "memcached_up", Gauge, "Always 1: a server that is down answers nothing.";
    VERSION: "memcached_version", Gauge, "1, with the version clients are told.";
    COMMANDS: "memcached_commands_total", Counter, "Commands by outcome.";
    SLAB_COMMANDS: "memcached_slab_commands_total", Counter, "Commands by outcome and size class.";
    SLAB_LRU_HITS: "memcached_slab_lru_hits_total", Counter, "Keys found, by the list their items were in.";
    PROCESS_CPU: "memcached_process_cpu_seconds_total", FractionalCounter, "Processor time of the process.";
    PROCESS_OPEN_FDS: "memcached_process_open_fds", Gauge, "Open file descriptors.";
    PROCESS_MAX_FDS: "memcached_process_max_fds", Gauge, "Most file descriptors.";
    PROCESS_RESIDENT: "memcached_process_resident_memory_bytes", Gauge, "Resident memory of the process.";
    PROCESS_VIRTUAL: "memcached_process_virtual_memory_bytes", Gauge, "Virtual memory of the process.";
    PROCESS_START: "memcached_process_start_time_seconds", Gauge, "When the process started, in seconds since 1970.";
    BUILD_INFO: "memcarp_build_info", Gauge, "1, with memcarp's own version and the memcached version it behaves as.";
    SETTINGS_INFO: "memcarp_settings_info", Gauge, "1, with how workers wait for clients (transport) and what goes first when memory is full (eviction).";
    COMMAND_DURATION: "memcarp_command_duration_seconds", Histogram, "Time to answer a command, from parsing to the queued reply, without network; commands of one batch share its time evenly.";
    EVICTED_AGE: "memcarp_evicted_item_age_seconds", Histogram, "Age of evicted items when they went, since they were written or last carried on.";
    EVICTED_IDLE: "memcarp_evicted_item_idle_seconds", Histogram, "Time evicted items had not been used when they went.";
    STORED_SIZE: "memcarp_stored_item_size_bytes", Histogram, "Sizes of items when stored, as memcached counts them.";
    STORED_TTL: "memcarp_stored_item_ttl_seconds", Histogram, "Time to live of items stored with an expiry.";
    LISTENER_CONNECTIONS: "memcarp_listener_connections", Gauge, "Open client connections by listener.";
    WORKER_BUSY: "memcarp_worker_busy_seconds_total", FractionalCounter, "Processor time of each worker; its rate is the fraction it is busy.";
    RESIDENT_RATIO: "memcarp_memory_resident_ratio", Gauge, "Resident memory of the process as a share of the memory for items.";
}

/// Every family.
pub fn all() -> impl Iterator<Item = Family> {
    let server = SERVER.iter().map(|(_, family)| *family);
    let classes = CLASSES.iter().map(|(_, family)| *family);
    server.chain(classes).chain(COMPUTED.iter().copied())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn every_name_is_there_once_and_says_its_type() {
        let mut names = HashSet::new();
        for Family { name, kind, help } in all() {
            assert!(names.insert(name), "{name} is there twice");
            assert_eq!(matches!(kind, Counter | FractionalCounter), name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.'), "{name}");
            assert!(name.starts_with("memcached_") || name.starts_with("memcarp_"), "{name}");
        }
        assert!(names.len() > 80);
    }
}
