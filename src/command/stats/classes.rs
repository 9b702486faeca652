//! `stats items` and `stats slabs`: counts by size class. Readers join the two by class, so both show the same classes:
//! those that have items, or have counted anything. Memory is not laid out by class; pages are as memcached would need.

use super::Lines;
use crate::command::counts::{ClassTotals, Totals};
use crate::command::engine::Engine;
use crate::store::{CLASS_COUNT, ClassStats, Now, Stats, chunk_size};

/// Bytes of one of memcached's pages.
const PAGE: usize = 1 << 20;

pub(in crate::command) fn put_items(mut lines: Lines<'_>, engine: &Engine, now: Now) {
    let maintainer = engine.config.inert.lru_maintainer;
    let temporary = engine.tuning.lock().temporary_ttl.is_some();
    let (store, totals) = (engine.store_stats(now), engine.totals());
    for class in shown(&store, &totals) {
        let (stats, counts) = (&store.classes[class], &totals.classes[class]);
        let mut add = |name: &str, value: u64| lines.add(format_args!("items:{class}:{name}"), value);
        add("number", stats.items);
        if maintainer {
            add("number_hot", 0);
            add("number_warm", 0);
            add("number_cold", stats.items);
            if temporary {
                add("number_temp", 0);
            }
            add("age_hot", 0);
            add("age_warm", 0);
        }
        add("age", stats.age);
        add("mem_requested", stats.bytes);
        add("evicted", stats.evicted);
        add("evicted_nonzero", stats.evicted_nonzero);
        add("evicted_time", stats.evicted_time);
        add("outofmemory", stats.out_of_memory);
        add("tailrepairs", 0);
        add("reclaimed", stats.reclaimed);
        add("expired_unfetched", stats.expired_unfetched);
        add("evicted_unfetched", stats.evicted_unfetched);
        if maintainer {
            add("evicted_active", stats.evicted_active);
        }
        add("crawler_reclaimed", stats.crawler_reclaimed);
        add("crawler_items_checked", stats.crawler_items_checked);
        add("lrutail_reflocked", 0);
        if maintainer {
            add("moves_to_cold", 0);
            add("moves_to_warm", 0);
            add("moves_within_lru", 0);
            add("direct_reclaims", 0);
            add("hits_to_hot", 0);
            add("hits_to_warm", 0);
            add("hits_to_cold", counts.get_hits);
            add("hits_to_temp", 0);
        }
    }
}

pub(in crate::command) fn put_slabs(mut lines: Lines<'_>, engine: &Engine, now: Now) {
    let (store, totals) = (engine.store_stats(now), engine.totals());
    let mut active = 0;
    for class in shown(&store, &totals) {
        active += 1;
        let chunks = Chunks::of(class, &store.classes[class]);
        let counts = &totals.classes[class];
        let mut add = |name: &str, value: u64| lines.add(format_args!("{class}:{name}"), value);
        add("chunk_size", chunk_size(class) as u64);
        add("chunks_per_page", chunks.per_page);
        add("total_pages", chunks.pages);
        add("total_chunks", chunks.pages * chunks.per_page);
        add("used_chunks", chunks.used);
        add("free_chunks", chunks.pages * chunks.per_page - chunks.used);
        add("free_chunks_end", 0);
        add("get_hits", counts.get_hits);
        add("cmd_set", counts.cmd_set);
        add("delete_hits", counts.delete_hits);
        add("incr_hits", counts.incr_hits);
        add("decr_hits", counts.decr_hits);
        add("cas_hits", counts.cas_hits);
        add("cas_badval", counts.cas_badval);
        add("touch_hits", counts.touch_hits);
    }
    lines.add("active_slabs", active);
    lines.add("total_malloced", store.memory_bytes);
}

/// The pages of one class, of which an empty class has one.
struct Chunks {
    per_page: u64,
    pages: u64,
    used: u64,
}

impl Chunks {
    fn of(class: usize, stats: &ClassStats) -> Chunks {
        let size = chunk_size(class) as u64;
        let per_page = PAGE as u64 / size;
        // Items of the last class may take several chunks each.
        let used = stats.items.max(stats.bytes.div_ceil(size));
        Chunks { per_page, pages: used.div_ceil(per_page).max(1), used }
    }
}

fn shown<'s>(store: &'s Stats, totals: &'s Totals) -> impl Iterator<Item = usize> + 's {
    (1..CLASS_COUNT).filter(|&class| {
        let stats = &store.classes[class];
        let seen = stats.items | stats.evicted | stats.expired_unfetched | stats.reclaimed;
        let seen = seen | stats.crawler_reclaimed | stats.out_of_memory;
        seen > 0 || totals.classes[class] != ClassTotals::default()
    })
}

#[cfg(test)]
mod tests {
    use crate::command::testing::Client;
    use crate::config::{Config, Inert};

    #[test]
    fn items_and_slabs_show_the_same_classes() {
        let mut client = Client::new(Config::default());
        client.say("set a 0 0 1\r\n1");
        client.say(&format!("set b 0 0 1000\r\n{}", "x".repeat(1000)));
        client.say("get a");
        client.say("delete b");
        let slabs = client.say("stats slabs").replace("STAT ", "");
        let (slabs, malloced) = slabs.split_once("total_malloced ").expect("the last line");
        assert_ne!(malloced, "0|END|");
        assert_eq!(
            slabs,
            "1:chunk_size 96|1:chunks_per_page 10922|1:total_pages 1|1:total_chunks 10922|1:used_chunks 1|\
             1:free_chunks 10921|1:free_chunks_end 0|1:get_hits 1|1:cmd_set 1|1:delete_hits 0|1:incr_hits 0|\
             1:decr_hits 0|1:cas_hits 0|1:cas_badval 0|1:touch_hits 0|\
             12:chunk_size 1184|12:chunks_per_page 885|12:total_pages 1|12:total_chunks 885|12:used_chunks 0|\
             12:free_chunks 885|12:free_chunks_end 0|12:get_hits 0|12:cmd_set 1|12:delete_hits 1|12:incr_hits 0|\
             12:decr_hits 0|12:cas_hits 0|12:cas_badval 0|12:touch_hits 0|active_slabs 2|"
        );
        let items = client.say("stats items").replace("STAT items:", "");
        assert!(
            items.starts_with(
                "1:number 1|1:number_hot 0|1:number_warm 0|1:number_cold 1|1:age_hot 0|1:age_warm 0|1:age 0|\
                 1:mem_requested 61|1:evicted 0|1:evicted_nonzero 0|1:evicted_time 0|1:outofmemory 0|1:tailrepairs 0|\
                 1:reclaimed 0|1:expired_unfetched 0|1:evicted_unfetched 0|1:evicted_active 0|1:crawler_reclaimed 0|\
                 1:crawler_items_checked 0|1:lrutail_reflocked 0|1:moves_to_cold 0|1:moves_to_warm 0|\
                 1:moves_within_lru 0|1:direct_reclaims 0|1:hits_to_hot 0|1:hits_to_warm 0|1:hits_to_cold 1|\
                 1:hits_to_temp 0|12:number 0|"
            ),
            "{items}"
        );
    }

    #[test]
    fn the_largest_class_takes_several_chunks_an_item() {
        let mut client = Client::new(Config::default());
        client.say(&format!("set big 0 0 1000000\r\n{}", "x".repeat(1_000_000)));
        let slabs = client.say("stats slabs");
        assert!(slabs.contains(":chunk_size 524288|"), "{slabs}");
        assert!(slabs.contains(":used_chunks 2|") && slabs.contains(":free_chunks 0|"), "{slabs}");
    }

    #[test]
    fn without_a_maintainer_there_are_no_lists() {
        let inert = Inert { lru_maintainer: false, ..Inert::default() };
        let mut client = Client::new(Config { inert, ..Config::default() });
        client.say("set a 0 0 1\r\n1");
        assert_eq!(
            client.say("stats items").replace("STAT items:1:", ""),
            "number 1|age 0|mem_requested 61|evicted 0|evicted_nonzero 0|evicted_time 0|outofmemory 0|tailrepairs 0|\
             reclaimed 0|expired_unfetched 0|evicted_unfetched 0|crawler_reclaimed 0|crawler_items_checked 0|\
             lrutail_reflocked 0|END|"
        );
    }
}
