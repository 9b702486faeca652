//! `stats settings`: what was asked for at start, and what commands have changed since. In memcached's order.

use super::session::Context;
use super::stats::Lines;
use crate::config::{Listen, Port, Protocol};
use std::fmt::{Display, Formatter};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

pub(super) fn put(mut lines: Lines<'_>, context: &Context<'_>) {
    let engine = context.engine;
    let config = &engine.config;
    let inert = &config.inert;
    let tuning = engine.tuning.lock().clone();

    lines.add("maxbytes", engine.store.limit());
    lines.add("maxconns", config.conn_limit);
    match config.tcp_port {
        Port::Off => lines.add("tcpport", 0),
        Port::Ephemeral => lines.add("tcpport", -1),
        Port::Fixed(port) => lines.add("tcpport", port),
    }
    lines.add("udpport", config.udp_port);
    lines.add("inter", Inter(&config.listen));
    lines.add("verbosity", engine.verbosity.load(Relaxed));
    lines.add("oldest", engine.oldest_live.load(Relaxed));
    lines.add("evictions", if config.evictions { "on" } else { "off" });
    lines.add("domain_socket", Text(config.unix_socket.as_deref(), "NULL"));
    lines.add("umask", format_args!("{:o}", config.unix_mask));
    lines.add("shutdown_command", yes(config.shutdown_command));
    lines.add("growth_factor", format_args!("{:.2}", inert.growth_factor));
    lines.add("chunk_size", inert.chunk_size);
    lines.add("num_threads", config.threads);
    lines.add("num_threads_per_udp", config.threads);
    lines.add("stat_key_prefix", char::from(config.prefix_delimiter));
    lines.add("detail_enabled", yes(engine.detail.is_on()));
    lines.add("reqs_per_event", config.reqs_per_event);
    lines.add("cas_enabled", yes(config.cas));
    lines.add("tcp_backlog", config.backlog);
    let protocol = match config.protocol {
        Protocol::Auto if config.auth_file.is_none() => "auto-negotiate",
        Protocol::Auto | Protocol::Ascii => "ascii",
    };
    lines.add("binding_protocol", protocol);
    lines.add("auth_enabled_sasl", "no");
    lines.add("auth_enabled_ascii", Text(config.auth_file.as_deref(), "no"));
    lines.add("item_size_max", config.item_max);
    lines.add("maxconns_fast", yes(config.maxconns_fast));
    lines.add("hashpower_init", inert.hashpower);
    lines.add("slab_reassign", yes(inert.slab_reassign));
    lines.add("slab_automove", tuning.automove);
    lines.add("slab_automove_ratio", format_args!("{:.2}", tuning.automove_ratio));
    lines.add("slab_automove_window", tuning.automove_window);
    lines.add("slab_chunk_max", inert.slab_chunk_max);
    lines.add("lru_crawler", yes(tuning.crawler));
    lines.add("lru_crawler_sleep", tuning.crawler_sleep);
    lines.add("lru_crawler_tocrawl", tuning.crawler_tocrawl);
    lines.add("tail_repair_time", inert.tail_repair_time);
    lines.add("flush_enabled", yes(config.flush));
    lines.add("dump_enabled", yes(config.dump));
    lines.add("hash_algorithm", &inert.hash_algorithm);
    lines.add("lru_maintainer_thread", yes(inert.lru_maintainer));
    lines.add("lru_segmented", yes(tuning.segmented));
    lines.add("hot_lru_pct", tuning.hot_pct);
    lines.add("warm_lru_pct", tuning.warm_pct);
    lines.add("hot_max_factor", format_args!("{:.2}", tuning.hot_factor));
    lines.add("warm_max_factor", format_args!("{:.2}", tuning.warm_factor));
    lines.add("temp_lru", yes(tuning.temporary_ttl.is_some()));
    lines.add("temporary_ttl", tuning.temporary_ttl.unwrap_or(61));
    lines.add("idle_timeout", config.idle_timeout);
    lines.add("watcher_logbuf_size", config.watcher_logbuf);
    lines.add("worker_logbuf_size", inert.worker_logbuf);
    lines.add("read_buf_mem_limit", inert.read_buf_mem_limit);
    lines.add("track_sizes", yes(config.track_sizes));
    lines.add("inline_ascii_response", "no");
    if inert.drop_privileges {
        lines.add("drop_privileges", "yes");
    }
    put_disk(&mut lines, tuning.automove_freeratio);
    put_tls(&mut lines, context);
    lines.add("num_napi_ids", inert.napi_ids);
    lines.add("memory_file", Text(config.memory_file.as_deref(), "(null)"));
    lines.add("client_flags_size", 4);
}

/// memcached's storage on disk, which is not there: its defaults.
fn put_disk(lines: &mut Lines<'_>, automove_freeratio: f64) {
    lines.add("ext_item_size", 512);
    lines.add("ext_item_age", u32::MAX);
    lines.add("ext_low_ttl", 0);
    lines.add("ext_recache_rate", 2000);
    lines.add("ext_wbuf_size", 4 << 20);
    lines.add("ext_compact_under", 0);
    lines.add("ext_drop_under", 0);
    lines.add("ext_max_sleep", 1_000_000);
    lines.add("ext_max_frag", "0.80");
    lines.add("slab_automove_freeratio", format_args!("{automove_freeratio:.3}"));
    lines.add("ext_drop_unread", "no");
}

fn put_tls(lines: &mut Lines<'_>, context: &Context<'_>) {
    let tls = context.engine.config.tls.as_ref();
    lines.add("ssl_enabled", yes(tls.is_some()));
    lines.add("ssl_chain_cert", Text(tls.map(|tls| tls.chain_cert.as_path()), "(null)"));
    lines.add("ssl_key", Text(tls.map(|tls| tls.key.as_path()), "(null)"));
    lines.add("ssl_verify_mode", tls.map_or(0, |tls| tls.verify_mode));
    lines.add("ssl_keyformat", tls.map_or(1, |tls| tls.keyformat));
    lines.add("ssl_ciphers", tls.and_then(|tls| tls.ciphers.as_deref()).unwrap_or("NULL"));
    lines.add("ssl_ca_cert", Text(tls.and_then(|tls| tls.ca_cert.as_deref()), "NULL"));
    lines.add("ssl_wbuf_size", tls.map_or(16 << 10, |tls| tls.wbuf_size));
    lines.add("ssl_session_cache", yes(tls.is_some_and(|tls| tls.session_cache)));
    lines.add("ssl_kernel_tls", yes(tls.is_some_and(|tls| tls.kernel_tls)));
    let version = match tls.map_or(2, |tls| tls.min_version) {
        0 => "tlsv1.0",
        1 => "tlsv1.1",
        2 => "tlsv1.2",
        _ => "tlsv1.3",
    };
    lines.add("ssl_min_version", version);
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "no" }
}

/// A path, or the word for none.
struct Text<'c>(Option<&'c Path>, &'static str);

impl Display for Text<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Some(path) => path.display().fmt(out),
            None => out.write_str(self.1),
        }
    }
}

/// The listen addresses as they were written.
struct Inter<'c>(&'c [Listen]);

impl Display for Inter<'_> {
    fn fmt(&self, out: &mut Formatter<'_>) -> std::fmt::Result {
        if self.0.is_empty() {
            return out.write_str("NULL");
        }
        for (index, listen) in self.0.iter().enumerate() {
            if index > 0 {
                out.write_str(",")?;
            }
            out.write_str(&listen.host)?;
            if let Some(port) = listen.port {
                write!(out, ":{port}")?;
            }
        }
        Ok(())
    }
}
