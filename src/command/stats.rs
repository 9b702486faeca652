//! `stats` and its sub-commands: which there are, and what `stats` alone answers.

pub(super) mod classes;
pub(super) mod memcarp;
pub(super) mod settings;

use super::admin::Outcome;
use super::dump::Dump;
use super::engine::{Engine, MEMCACHED_VERSION};
use super::output::Output;
use super::session::Context;
use crate::protocol::{Fields, parse_u64};
use crate::store::{CLASS_COUNT, Now};
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use std::fmt::Display;
use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

/// `STAT` lines on their way out.
pub(super) struct Lines<'o>(&'o mut Output);

impl Lines<'_> {
    pub fn new(output: &mut Output) -> Lines<'_> {
        Lines(output)
    }

    /// One more line.
    pub fn add(&mut self, name: impl Display, value: impl Display) {
        // Writing to memory does not fail.
        let _ = write!(self.0.bytes(), "STAT {name} {value}\r\n");
    }
}

/// `stats`. Sub-commands are known by their whole name.
pub(super) fn execute(mut arguments: Fields<'_>, output: &mut Output, context: &Context<'_>) -> Outcome {
    let Context { engine, now, .. } = *context;
    let end = match arguments.next() {
        None => {
            general(Lines::new(output), engine, now);
            "END"
        }
        Some(b"settings") => {
            settings::put(Lines::new(output), engine);
            "END"
        }
        Some(b"items") => {
            classes::put_items(Lines::new(output), engine, now);
            "END"
        }
        Some(b"slabs") => {
            classes::put_slabs(Lines::new(output), engine, now);
            "END"
        }
        Some(b"conns") => {
            connections(Lines::new(output), context);
            "END"
        }
        Some(b"memcarp") => {
            memcarp::put(Lines::new(output), engine, now);
            "END"
        }
        Some(b"hotkeys") if !engine.config.dump => "CLIENT_ERROR stats hotkeys not allowed",
        Some(b"hotkeys") => {
            memcarp::put_hot_keys(Lines::new(output), engine);
            "END"
        }
        Some(b"sizes") if context.engine.config.track_sizes => return Outcome::Dump(Dump::sizes()),
        Some(b"sizes") => {
            Lines::new(output).add("sizes_status", "disabled");
            "END"
        }
        Some(b"detail") => detail(arguments.next(), output, context),
        Some(b"cachedump") => match cachedump(arguments, context) {
            Ok(dump) => return Outcome::Dump(dump),
            Err(refusal) => refusal,
        },
        Some(b"reset") => {
            context.engine.reset(context.now);
            "RESET"
        }
        Some(_) => "ERROR",
    };
    output.put(end.as_bytes());
    output.put(b"\r\n");
    Outcome::Answered
}

fn detail(verb: Option<&[u8]>, output: &mut Output, context: &Context<'_>) -> &'static str {
    let engine = context.engine;
    match verb {
        Some(b"on" | b"off" | b"dump") if !engine.config.dump => "CLIENT_ERROR stats detail not allowed",
        Some(b"on") => {
            engine.detail.set_on(true);
            "OK"
        }
        Some(b"off") => {
            engine.detail.set_on(false);
            "OK"
        }
        Some(b"dump") => {
            engine.detail.put_dump(output.bytes());
            "END"
        }
        _ => "CLIENT_ERROR usage: stats detail on|off|dump",
    }
}

fn cachedump(mut arguments: Fields<'_>, context: &Context<'_>) -> Result<Dump, &'static str> {
    if !context.engine.config.dump {
        return Err("CLIENT_ERROR stats cachedump not allowed");
    }
    let (Some(class), Some(limit)) = (arguments.next(), arguments.next()) else {
        return Err("CLIENT_ERROR bad command line");
    };
    match (parse_u64(class), parse_u64(limit)) {
        (Some(class), Some(_)) if class >= CLASS_COUNT as u64 => Err("CLIENT_ERROR Illegal slab id"),
        (Some(class), Some(limit)) => Ok(Dump::cachedump(class as usize, limit as usize)),
        _ => Err("CLIENT_ERROR bad command line format"),
    }
}

/// All keys of memcached, in its order, because readers fail when one is missing. What only its engine has is 0.
pub(super) fn general(mut lines: Lines<'_>, engine: &Engine, now: Now) {
    let config = &engine.config;
    let totals = engine.totals();
    let counts = &totals.general;
    let store = engine.store_stats(now);
    let tuning = engine.tuning.lock().clone();
    let connections = &engine.connections;
    let open = connections.open_count();
    let maintainer = config.inert.lru_maintainer;

    lines.add("pid", std::process::id());
    lines.add("uptime", engine.uptime(now));
    lines.add("time", now.unix());
    lines.add("version", MEMCACHED_VERSION);
    lines.add("libevent", concat!("memcarp-", env!("CARGO_PKG_VERSION")));
    lines.add("pointer_size", usize::BITS);
    // The call fails only for a wrong argument.
    let usage = getrusage(UsageWho::RUSAGE_SELF).ok();
    lines.add("rusage_user", Seconds(usage.map(|usage| usage.user_time())));
    lines.add("rusage_system", Seconds(usage.map(|usage| usage.system_time())));
    lines.add("max_connections", config.conn_limit);
    lines.add("curr_connections", open);
    lines.add("total_connections", connections.total.load(Relaxed));
    if config.maxconns_fast {
        lines.add("rejected_connections", connections.rejected.load(Relaxed));
    }
    lines.add("connection_structures", open + connections.listeners().len());
    for name in [
        "response_obj_oom",
        "response_obj_count",
        "response_obj_bytes",
        "read_buf_count",
        "read_buf_bytes",
        "read_buf_bytes_free",
    ] {
        lines.add(name, 0);
    }
    lines.add("read_buf_oom", counts.read_buf_oom);
    lines.add("reserved_fds", 0);
    lines.add("cmd_get", counts.cmd_get);
    lines.add("cmd_set", totals.sum(|class| class.cmd_set));
    lines.add("cmd_flush", counts.cmd_flush);
    lines.add("cmd_touch", counts.cmd_touch);
    lines.add("cmd_meta", counts.cmd_meta);
    lines.add("get_hits", totals.sum(|class| class.get_hits));
    lines.add("get_misses", counts.get_misses);
    lines.add("get_expired", counts.get_expired);
    lines.add("get_flushed", counts.get_flushed);
    lines.add("delete_misses", counts.delete_misses);
    lines.add("delete_hits", totals.sum(|class| class.delete_hits));
    lines.add("incr_misses", counts.incr_misses);
    lines.add("incr_hits", totals.sum(|class| class.incr_hits));
    lines.add("decr_misses", counts.decr_misses);
    lines.add("decr_hits", totals.sum(|class| class.decr_hits));
    lines.add("cas_misses", counts.cas_misses);
    lines.add("cas_hits", totals.sum(|class| class.cas_hits));
    lines.add("cas_badval", totals.sum(|class| class.cas_badval));
    lines.add("touch_hits", totals.sum(|class| class.touch_hits));
    lines.add("touch_misses", counts.touch_misses);
    lines.add("store_too_large", counts.store_too_large);
    lines.add("store_no_memory", counts.store_no_memory);
    lines.add("auth_cmds", counts.auth_cmds);
    lines.add("auth_errors", counts.auth_errors);
    if config.idle_timeout > 0 {
        lines.add("idle_kicks", counts.idle_kicks);
    }
    lines.add("bytes_read", counts.bytes_read);
    lines.add("bytes_written", counts.bytes_written);
    lines.add("limit_maxbytes", engine.store.limit());
    lines.add("accepting_conns", connections.accepting.load(Relaxed));
    lines.add("listen_disabled_num", connections.listen_disabled.load(Relaxed));
    lines.add("time_in_listen_disabled_us", connections.listen_disabled_micros.load(Relaxed));
    lines.add("threads", config.threads);
    lines.add("conn_yields", counts.conn_yields);
    lines.add("hash_power_level", store.index_slots.max(1 << 16).ilog2());
    lines.add("hash_bytes", store.index_bytes);
    lines.add("hash_is_expanding", 0);
    if config.inert.slab_reassign {
        for name in ["rescues", "chunk_rescues", "inline_reclaim", "busy_items", "busy_deletes", "busy_nomem"]
        {
            lines.add(format_args!("slab_reassign_{name}"), 0);
        }
        lines.add("slab_reassign_last_busy_status", "none");
        lines.add("slab_reassign_running", 0);
        lines.add("slabs_moved", 0);
    }
    if tuning.crawler {
        lines.add("lru_crawler_running", 0);
        lines.add("lru_crawler_starts", tuning.crawls);
    }
    if maintainer {
        lines.add("lru_maintainer_juggles", 0);
    }
    lines.add("malloc_fails", 0);
    lines.add("log_worker_dropped", 0);
    lines.add("log_worker_written", engine.watch.written.load(Relaxed));
    lines.add("log_watcher_skipped", engine.watch.skipped.load(Relaxed));
    lines.add("log_watcher_sent", engine.watch.sent.load(Relaxed));
    lines.add("log_watchers", engine.watch.count());
    if let Some(tls) = &config.tls {
        if tls.session_cache {
            lines.add("ssl_new_sessions", engine.tls.new_sessions.load(Relaxed));
        }
        lines.add("ssl_handshake_errors", engine.tls.handshake_errors.load(Relaxed));
        lines.add("ssl_proto_errors", engine.tls.protocol_errors.load(Relaxed));
        let refreshed = engine.tls.refreshed.load(Relaxed);
        lines.add("time_since_server_cert_refresh", now.seconds().saturating_sub(refreshed));
    }
    lines.add("unexpected_napi_ids", 0);
    lines.add("round_robin_fallback", 0);
    lines.add("bytes", store.sum(|class| class.bytes));
    lines.add("curr_items", store.sum(|class| class.items));
    lines.add("total_items", counts.total_items);
    lines.add("slab_global_page_pool", 0);
    lines.add("expired_unfetched", store.sum(|class| class.expired_unfetched));
    lines.add("evicted_unfetched", store.sum(|class| class.evicted_unfetched));
    if maintainer {
        lines.add("evicted_active", store.sum(|class| class.evicted_active));
    }
    lines.add("evictions", store.sum(|class| class.evicted));
    lines.add("reclaimed", store.sum(|class| class.reclaimed));
    lines.add("crawler_reclaimed", store.sum(|class| class.crawler_reclaimed));
    lines.add("crawler_items_checked", store.sum(|class| class.crawler_items_checked));
    lines.add("lrutail_reflocked", 0);
    if maintainer {
        for name in
            ["moves_to_cold", "moves_to_warm", "moves_within_lru", "direct_reclaims", "lru_bumps_dropped"]
        {
            lines.add(name, 0);
        }
    }
}

fn connections(mut lines: Lines<'_>, context: &Context<'_>) {
    let Context { engine, now, .. } = *context;
    for (fd, address) in engine.connections.listeners() {
        lines.add(format_args!("{fd}:addr"), address);
        lines.add(format_args!("{fd}:state"), "conn_listening");
        lines.add(format_args!("{fd}:secs_since_last_cmd"), engine.uptime(now));
    }
    for connection in engine.connections.open() {
        let fd = connection.fd;
        lines.add(format_args!("{fd}:addr"), &connection.peer);
        lines.add(format_args!("{fd}:listen_addr"), &connection.listener);
        lines.add(format_args!("{fd}:state"), connection.state().name());
        let idle = now.seconds().saturating_sub(connection.last_command());
        lines.add(format_args!("{fd}:secs_since_last_cmd"), idle);
    }
}

/// Processor time as seconds with six decimals.
struct Seconds(Option<TimeVal>);

impl Display for Seconds {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (seconds, micros) = self.0.map_or((0, 0), |time| (time.tv_sec(), time.tv_usec()));
        write!(out, "{seconds}.{micros:06}")
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Client, START};
    use super::super::{Address, Connection};
    use super::*;
    use crate::config::{Config, Inert};
    use std::sync::Arc;

    const KEYS: &str = "pid uptime time version libevent pointer_size rusage_user rusage_system max_connections \
        curr_connections total_connections rejected_connections connection_structures response_obj_oom \
        response_obj_count response_obj_bytes read_buf_count read_buf_bytes read_buf_bytes_free read_buf_oom \
        reserved_fds cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
        delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval \
        touch_hits touch_misses store_too_large store_no_memory auth_cmds auth_errors bytes_read bytes_written \
        limit_maxbytes accepting_conns listen_disabled_num time_in_listen_disabled_us threads conn_yields \
        hash_power_level hash_bytes hash_is_expanding slab_reassign_rescues slab_reassign_chunk_rescues \
        slab_reassign_inline_reclaim slab_reassign_busy_items slab_reassign_busy_deletes slab_reassign_busy_nomem \
        slab_reassign_last_busy_status slab_reassign_running slabs_moved lru_crawler_running lru_crawler_starts \
        lru_maintainer_juggles malloc_fails log_worker_dropped log_worker_written log_watcher_skipped \
        log_watcher_sent log_watchers unexpected_napi_ids round_robin_fallback bytes curr_items total_items \
        slab_global_page_pool expired_unfetched evicted_unfetched evicted_active evictions reclaimed \
        crawler_reclaimed crawler_items_checked lrutail_reflocked moves_to_cold moves_to_warm moves_within_lru \
        direct_reclaims lru_bumps_dropped";

    /// Names and values of the lines of an answer.
    fn lines(answer: &str) -> Vec<(&str, &str)> {
        let answer = answer.strip_suffix("END|").expect("a whole answer");
        answer
            .split_terminator('|')
            .map(|line| {
                line.strip_prefix("STAT ").and_then(|line| line.split_once(' ')).expect("a STAT line")
            })
            .collect()
    }

    fn names(answer: &str) -> Vec<String> {
        lines(answer).iter().map(|(name, _)| (*name).to_owned()).collect()
    }

    #[test]
    fn every_key_is_there_in_memcacheds_order() {
        let mut client = Client::new(Config::default());
        assert_eq!(names(&client.say("stats")).join(" "), KEYS);
        let inert = Inert { lru_crawler: false, lru_maintainer: false, ..Inert::default() };
        let mut client = Client::new(Config { inert, ..Config::default() });
        assert_eq!(names(&client.say("stats")).len(), 84, "what memcached's own test of its keys expects");
        let inert = Inert { slab_reassign: false, ..Inert::default() };
        let mut client =
            Client::new(Config { inert, idle_timeout: 5, maxconns_fast: false, ..Config::default() });
        let answer = client.say("stats");
        assert!(answer.contains("|STAT auth_errors 0|STAT idle_kicks 0|STAT bytes_read "));
        assert!(!answer.contains("rejected_connections") && !answer.contains("slab_reassign"));
    }

    #[test]
    fn values_are_numbers_that_can_be_believed() {
        let mut client = Client::new(Config::default());
        client.pass(75);
        let answer = client.say("stats");
        for (name, value) in lines(&answer) {
            let expected = match name {
                "pid" => std::process::id().to_string(),
                "uptime" => "75".to_owned(),
                "time" => (START + 75).to_string(),
                "version" => MEMCACHED_VERSION.to_owned(),
                "libevent" => format!("memcarp-{}", env!("CARGO_PKG_VERSION")),
                "pointer_size" => usize::BITS.to_string(),
                "limit_maxbytes" => (64 << 20).to_string(),
                "slab_reassign_last_busy_status" => "none".to_owned(),
                "rusage_user" | "rusage_system" => {
                    let (seconds, micros) = value.split_once('.').expect(name);
                    assert!(seconds.parse::<u32>().is_ok() && micros.len() == 6, "{name} {value}");
                    value.to_owned()
                }
                _ => value.parse::<u64>().expect(name).to_string(),
            };
            assert_eq!(value, expected, "{name}");
        }
    }

    #[test]
    fn processor_time_has_six_decimals() {
        assert_eq!(Seconds(Some(TimeVal::new(3, 42))).to_string(), "3.000042");
        assert_eq!(Seconds(None).to_string(), "0.000000");
    }

    #[test]
    fn sub_commands_are_known_by_their_whole_name() {
        let mut client = Client::new(Config::default());
        for unknown in ["se", "r", "noreply", "sizes_enable", "foo", "itemss"] {
            assert_eq!(client.say(&format!("stats {unknown}")), "ERROR|");
        }
        assert_eq!(client.say("stats items"), "END|");
        assert_eq!(client.say("stats slabs"), "STAT active_slabs 0|STAT total_malloced 0|END|");
        assert_eq!(client.say("stats sizes"), "STAT sizes_status disabled|END|");
        assert!(
            client.say("stats memcarp").contains(&format!("STAT version {}|", env!("CARGO_PKG_VERSION")))
        );
    }

    #[test]
    fn connections_are_listed_with_what_they_do() {
        let mut client = Client::new(Config::default());
        let listener = Arc::new(Address::Tcp("[::1]:11211".parse().unwrap()));
        client.engine.connections.add_listener(9, listener.clone());
        let peer = Address::Tcp("[::1]:5678".parse().unwrap());
        client.engine.connections.add(Arc::new(Connection::new(31, peer, listener, 10)));
        client.pass(7);
        assert_eq!(
            client.say("stats conns"),
            "STAT 9:addr tcp6:[::1]:11211|STAT 9:state conn_listening|STAT 9:secs_since_last_cmd 7|\
             STAT 31:addr tcp6:[::1]:5678|STAT 31:listen_addr tcp6:[::1]:11211|STAT 31:state conn_read|\
             STAT 31:secs_since_last_cmd 7|END|"
        );
    }

    #[test]
    fn prefixes_are_counted_while_detail_is_on() {
        let mut client = Client::new(Config::default());
        let usage = "CLIENT_ERROR usage: stats detail on|off|dump|";
        assert_eq!(client.say("stats detail"), usage);
        assert_eq!(client.say("stats detail foo"), usage);
        assert_eq!(client.say("stats detail on"), "OK|");
        client.engine.detail.record_set(b"a:b");
        assert_eq!(client.say("stats detail dump"), "PREFIX a get 0 hit 0 set 1 del 0|END|");
        assert_eq!(client.say("stats detail off"), "OK|");
        assert!(!client.engine.detail.is_on());
    }

    #[test]
    fn a_reset_zeroes_counters_and_leaves_gauges() {
        let mut client = Client::new(Config::default());
        client.say("set a:b 0 0 1\r\n1");
        client.say("get a:b miss");
        client.engine.detail.record_set(b"a:b");
        client.engine.connections.total.fetch_add(3, Relaxed);
        let value = |client: &mut Client, name: &str| {
            let answer = client.say("stats");
            let found = lines(&answer).into_iter().find(|(other, _)| *other == name).expect("a known name").1;
            found.parse::<u64>().expect("a number")
        };
        let counters = ["cmd_get", "cmd_set", "get_hits", "get_misses", "total_items", "total_connections"];
        for name in counters {
            assert!(value(&mut client, name) > 0, "{name}");
        }
        assert_eq!(client.say("stats reset"), "RESET|");
        for name in counters {
            assert_eq!(value(&mut client, name), 0, "{name}");
        }
        assert_eq!((value(&mut client, "curr_items"), value(&mut client, "bytes")), (1, 63));
        assert_eq!(client.say("stats detail dump"), "END|");
        client.say("get a:b");
        assert_eq!(value(&mut client, "get_hits"), 1);
    }
}
