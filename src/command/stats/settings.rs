//! `stats settings`: what was asked for at start, and what commands have changed since. In memcached's order.

use super::Lines;
use crate::command::engine::Engine;
use crate::config::{Listen, Port, Protocol};
use std::fmt::{Display, Formatter};
use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

pub(in crate::command) fn put(mut lines: Lines<'_>, engine: &Engine) {
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
    put_tls(&mut lines, engine);
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

fn put_tls(lines: &mut Lines<'_>, engine: &Engine) {
    let tls = engine.config.tls.as_ref();
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::testing::Client;
    use crate::config::{Config, Tls};

    #[test]
    fn defaults_are_memcacheds() {
        assert_eq!(
            Client::new(Config::default()).say("stats settings").replace("STAT ", "").replace('|', "\n"),
            "maxbytes 67108864\nmaxconns 1024\ntcpport 11211\nudpport 0\ninter NULL\nverbosity 0\noldest 0\n\
             evictions on\ndomain_socket NULL\numask 700\nshutdown_command no\ngrowth_factor 1.25\nchunk_size 48\n\
             num_threads 4\nnum_threads_per_udp 4\nstat_key_prefix :\ndetail_enabled no\nreqs_per_event 20\n\
             cas_enabled yes\ntcp_backlog 1024\nbinding_protocol auto-negotiate\nauth_enabled_sasl no\n\
             auth_enabled_ascii no\nitem_size_max 1048576\nmaxconns_fast yes\nhashpower_init 0\nslab_reassign yes\n\
             slab_automove 1\nslab_automove_ratio 0.80\nslab_automove_window 10\nslab_chunk_max 524288\n\
             lru_crawler yes\nlru_crawler_sleep 100\nlru_crawler_tocrawl 0\ntail_repair_time 0\nflush_enabled yes\n\
             dump_enabled yes\nhash_algorithm murmur3\nlru_maintainer_thread yes\nlru_segmented yes\nhot_lru_pct 20\n\
             warm_lru_pct 40\nhot_max_factor 0.20\nwarm_max_factor 2.00\ntemp_lru no\ntemporary_ttl 61\n\
             idle_timeout 0\nwatcher_logbuf_size 262144\nworker_logbuf_size 65536\nread_buf_mem_limit 0\n\
             track_sizes no\ninline_ascii_response no\next_item_size 512\next_item_age 4294967295\next_low_ttl 0\n\
             ext_recache_rate 2000\next_wbuf_size 4194304\next_compact_under 0\next_drop_under 0\n\
             ext_max_sleep 1000000\next_max_frag 0.80\nslab_automove_freeratio 0.010\next_drop_unread no\n\
             ssl_enabled no\nssl_chain_cert (null)\nssl_key (null)\nssl_verify_mode 0\nssl_keyformat 1\n\
             ssl_ciphers NULL\nssl_ca_cert NULL\nssl_wbuf_size 16384\nssl_session_cache no\nssl_kernel_tls no\n\
             ssl_min_version tlsv1.2\nnum_napi_ids 0\nmemory_file (null)\nclient_flags_size 4\nEND\n"
        );
    }

    #[test]
    fn what_was_asked_for_is_shown() {
        let listen = |host: &str, port| Listen { host: host.to_owned(), port, ..Listen::default() };
        let tls = Tls {
            chain_cert: "/c".into(),
            key: "/k".into(),
            ca_cert: Some("/a".into()),
            allowed_names: Vec::new(),
            verify_mode: 2,
            keyformat: 1,
            ciphers: None,
            min_version: 3,
            session_cache: true,
            kernel_tls: false,
            wbuf_size: 1024,
        };
        let config = Config {
            tcp_port: Port::Ephemeral,
            listen: vec![listen("127.0.0.1", None), listen("[::1]", Some(5))],
            auth_file: Some("/users".into()),
            evictions: false,
            tls: Some(tls),
            ..Config::default()
        };
        let mut client = Client::new(config);
        let settings = client.say("stats settings");
        for line in [
            "tcpport -1",
            "inter 127.0.0.1,[::1]:5",
            "evictions off",
            "binding_protocol ascii",
            "auth_enabled_ascii /users",
            "ssl_enabled yes",
            "ssl_chain_cert /c",
            "ssl_ca_cert /a",
            "ssl_verify_mode 2",
            "ssl_wbuf_size 1024",
            "ssl_min_version tlsv1.3",
        ] {
            assert!(settings.contains(&format!("|STAT {line}|")), "{line}");
        }
        client.pass(4);
        let stats = client.say("stats");
        assert!(stats.contains(
            "|STAT log_watchers 0|STAT ssl_new_sessions 0|STAT ssl_handshake_errors 0|STAT ssl_proto_errors 0|\
             STAT time_since_server_cert_refresh 14|STAT unexpected_napi_ids 0|"
        ));
    }
}
