//! `stats memcarp`: what memcached has no name for. Names may be added; those that are here stay.

use super::Lines;
use crate::command::dump::put_encoded;
use crate::command::engine::Engine;
use crate::command::hotkeys::ONE_IN;
use crate::store::Now;
use std::sync::atomic::Ordering::Relaxed;

pub(in crate::command) fn put(mut lines: Lines<'_>, engine: &Engine, now: Now) {
    let store = engine.store_stats(now);
    lines.add("version", env!("CARGO_PKG_VERSION"));
    lines.add("transport", engine.transport());
    lines.add("eviction", engine.eviction());
    lines.add("memory_limit_bytes", engine.store.limit());
    lines.add("memory_bytes", store.memory_bytes);
    lines.add("index_slots", store.index_slots);
    lines.add("index_bytes", store.index_bytes);
    lines.add("segments", store.segments);
    lines.add("segment_bytes", store.segment_bytes);
    lines.add("live_bytes", store.live_bytes);
    lines.add("large_bytes", store.large_bytes);
    lines.add("stored_bytes", store.stored_bytes);
    lines.add("carried_bytes", store.carried_bytes);
    put_histogram(&mut lines, "evicted_age_seconds_below", &store.evicted_age);
    put_histogram(&mut lines, "evicted_idle_seconds_below", &store.evicted_idle);
    lines.add("detail_dropped", engine.detail.dropped());
    let totals = engine.totals().general;
    lines.add("expire_on_update_sources", store.sources);
    lines.add("expire_on_update_dependents", store.source_namings);
    lines.add("expire_on_update_updates", store.source_updates);
    lines.add("expire_on_update_expired", totals.outdated);
    lines.add("expire_on_update_refused", totals.outdated_stores);
    // Beside what stats says, that of the metrics' port too, and without -Z.
    lines.add("tls_handshake_errors", engine.tls.handshake_errors.load(Relaxed));
    lines.add("auth_limited", totals.auth_limited);
    lines.add("stalled_kicks", totals.stalled_kicks);
    lines.add("connections_not_allowed", engine.connections.not_allowed.load(Relaxed));
}

/// `stats hotkeys`: the keys asked for most lately, each with its share of all lookups and by how much that may be too
/// high. Keys are written as `lru_crawler metadump` writes them.
pub(in crate::command) fn put_hot_keys(mut lines: Lines<'_>, engine: &Engine) {
    let hottest = engine.hottest();
    lines.add("sampled", hottest.counted);
    lines.add("sampled_one_in", ONE_IN);
    let mut encoded = Vec::new();
    for (rank, hot) in (1..).zip(&hottest.keys) {
        encoded.clear();
        put_encoded(&hot.key, &mut encoded);
        lines.add(format_args!("{rank}:key"), String::from_utf8_lossy(&encoded));
        lines.add(format_args!("{rank}:share"), format_args!("{:.4}", hot.share));
        lines.add(format_args!("{rank}:error"), format_args!("{:.4}", hot.error));
    }
}

/// Counts of seconds by their bit length: `name:2^length`, for lengths that occurred.
fn put_histogram(lines: &mut Lines<'_>, name: &str, counts: &[u64]) {
    for (length, &count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
        lines.add(format_args!("{name}:{}", 1u64 << length), count);
    }
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Client;
    use crate::config::Config;

    #[test]
    fn hot_keys_are_told_unless_keys_may_not_be_listed() {
        let mut client = Client::new(Config::default());
        assert_eq!(client.say("stats hotkeys"), "STAT sampled 0|STAT sampled_one_in 128|END|");
        for _ in 0..2000 {
            client.say("get a%b");
        }
        let answer = client.say("stats hotkeys");
        assert!(
            answer.contains("|STAT 1:key a%25b|STAT 1:share 1.0000|STAT 1:error 0.0000|END|"),
            "{answer}"
        );
        assert!(!answer.starts_with("STAT sampled 0|"), "{answer}");
        client.say("stats reset");
        assert_eq!(client.say("stats hotkeys"), "STAT sampled 0|STAT sampled_one_in 128|END|");
        let mut client = Client::new(Config { dump: false, ..Config::default() });
        assert_eq!(client.say("stats hotkeys"), "CLIENT_ERROR stats hotkeys not allowed|");
    }

    #[test]
    fn tells_its_own_version_and_memory() {
        let mut client = Client::new(Config { memory_limit: 8 << 20, threads: 1, ..Config::default() });
        let answer = client.say("stats memcarp");
        assert!(answer.starts_with(&format!(
            "STAT version {}|STAT transport epoll|STAT eviction ranked|STAT memory_limit_bytes 8388608|STAT memory_bytes ",
            env!("CARGO_PKG_VERSION")
        )));
        assert!(!answer.contains("evicted_age"), "{answer}");
        let value = "x".repeat(1000);
        for number in 0..12_000 {
            client.say(&format!("set {number} 0 0 1000 noreply\r\n{value}"));
        }
        let answer = client.say("stats memcarp");
        assert!(answer.contains("|STAT evicted_age_seconds_below:1 "), "{answer}");
        assert!(answer.contains("|STAT evicted_idle_seconds_below:1 "), "{answer}");
        client.say("stats reset");
        let answer = client.say("stats memcarp");
        assert!(answer.contains("|STAT stored_bytes 0|") && !answer.contains("evicted_"), "{answer}");
        assert!(!answer.contains("|STAT live_bytes 0|"), "{answer}");
    }
}
