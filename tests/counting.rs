//! What counts as what: each rule of memcached's counters, one command at a time, over a session in memory.

use memcarp::command::{Address, Connection, Context, Counts, Engine, Output, Session, Step};
use memcarp::config::Config;
use memcarp::store::Now;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The counters of `stats` that commands move.
const COUNTERS: &str = "cmd_get cmd_set cmd_flush cmd_touch cmd_meta get_hits get_misses get_expired get_flushed \
    delete_misses delete_hits incr_misses incr_hits decr_misses decr_hits cas_misses cas_hits cas_badval touch_hits \
    touch_misses store_too_large store_no_memory auth_cmds auth_errors total_items evictions";

/// The counters of `stats slabs`, which are the same by size class.
const CLASS_COUNTERS: &str =
    "get_hits cmd_set delete_hits incr_hits decr_hits cas_hits cas_badval touch_hits";

struct Client {
    engine: Engine,
    counts: Arc<Counts>,
    connection: Connection,
    session: Session,
}

impl Client {
    fn new(config: Config) -> Client {
        let engine = Engine::new(Arc::new(config));
        let counts = engine.add_worker();
        let address = Address::Unix("test".into());
        let connection = Connection::new(7, address.clone(), Arc::new(address), 10);
        Client { engine, counts, connection, session: Session::new() }
    }

    /// Sends a line (its end is added) and gives back the answer.
    fn say(&mut self, line: &str) -> String {
        let bytes = format!("{line}\r\n").into_bytes();
        let mut input = &bytes[..];
        let context = Context {
            engine: &self.engine,
            counts: &self.counts,
            connection: &self.connection,
            now: Now::new(Now::EARLIEST, 1_700_000_000),
            waker: &|| Box::new(|| {}),
        };
        let mut answer = Vec::new();
        loop {
            let mut output = Output::default();
            let progress = self.session.on_bytes(input, &mut output, &context);
            input = &input[progress.consumed..];
            answer.extend_from_slice(output.bytes());
            if !matches!(progress.step, Step::Yield) {
                return String::from_utf8(answer).expect("short values are text");
            }
        }
    }

    fn counters(&mut self) -> BTreeMap<String, u64> {
        let answer = self.say("stats");
        let values: BTreeMap<_, _> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect();
        let number = |name: &str| values[name].parse().expect("counters are numbers");
        COUNTERS.split_whitespace().map(|name| (name.to_owned(), number(name))).collect()
    }

    /// Says a line and gives back the counters it moved, in the order of [`COUNTERS`]: `name` for one, `name+n` for more.
    fn counted(&mut self, line: &str) -> String {
        let before = self.counters();
        self.say(line);
        let after = self.counters();
        let moved = COUNTERS.split_whitespace().filter_map(|name| match after[name] - before[name] {
            0 => None,
            1 => Some(name.to_owned()),
            count => Some(format!("{name}+{count}")),
        });
        moved.collect::<Vec<_>>().join(" ")
    }

    /// The CAS value of a key.
    fn cas(&mut self, key: &str) -> String {
        let answer = self.say(&format!("mg {key} c u"));
        answer.trim_end().strip_prefix("HD c").expect("the key is there").to_owned()
    }
}

/// Each case on its own server with `a` (a word), `n` (a number), `e` (expired) and `f` (flushed).
fn check(cases: &[(&str, &str)]) {
    for (line, expected) in cases {
        let mut client = Client::new(Config { item_max: 4096, ..Config::default() });
        client.say("set f 0 0 1\r\nf");
        client.say("flush_all");
        for setup in ["set a 0 0 4\r\nword", "set n 0 0 1\r\n5", "set e 0 -1 1\r\n5"] {
            assert_eq!(client.say(setup), "STORED\r\n");
        }
        let line = match line.split_once("<cas of ") {
            None => (*line).to_owned(),
            Some((head, tail)) => {
                let (key, tail) = tail.split_once('>').expect("a closing bracket");
                format!("{head}{}{tail}", client.cas(key))
            }
        };
        assert_eq!(client.counted(&line), *expected, "{line:.60}");
    }
}

#[test]
fn each_key_of_a_get_counts() {
    check(&[
        ("get a", "cmd_get get_hits"),
        ("get a a no", "cmd_get+3 get_hits+2 get_misses"),
        ("gets a no", "cmd_get+2 get_hits get_misses"),
        ("get e", "cmd_get get_misses get_expired"),
        ("get f", "cmd_get get_misses get_flushed"),
        ("mg a", "cmd_get get_hits"),
        ("mg a v C12345", "cmd_get get_hits"),
        ("mg a k u q", "cmd_get get_hits"),
        ("mg no v", "cmd_get get_misses"),
        ("mg no v q", "cmd_get get_misses"),
        ("mg e v", "cmd_get get_misses get_expired"),
    ]);
}

#[test]
fn touching_reads_count_as_touches_and_not_as_gets() {
    check(&[
        ("touch a 100", "cmd_touch touch_hits"),
        ("touch no 100", "cmd_touch touch_misses"),
        ("touch e 100", "cmd_touch get_expired touch_misses"),
        ("gat 100 a", "cmd_touch touch_hits"),
        ("gats 100 a a no", "cmd_touch+3 touch_hits+2 touch_misses"),
        ("gat 100 e", "cmd_touch get_expired touch_misses"),
        ("mg a T100 v", "cmd_touch touch_hits"),
    ]);
}

#[test]
fn a_meta_get_that_finds_nothing_to_touch_counts_as_a_get() {
    check(&[("mg no T100 v", "cmd_get get_misses"), ("mg e T100 v", "cmd_get get_misses get_expired")]);
}

#[test]
fn making_an_item_on_a_miss_counts_as_a_hit() {
    check(&[
        ("mg no N30 v", "cmd_get get_hits total_items"),
        ("mg no N30 T60", "cmd_get get_hits total_items"),
        ("mg a N30 v", "cmd_get get_hits"),
    ]);
}

#[test]
fn every_store_that_was_tried_counts() {
    check(&[
        ("set a 0 0 1\r\n1", "cmd_set total_items"),
        ("set a 0 0 1 noreply\r\n1", "cmd_set total_items"),
        ("add a 0 0 1\r\n1", "cmd_set"),
        ("add no 0 0 1\r\n1", "cmd_set total_items"),
        ("replace no 0 0 1\r\n1", "cmd_set"),
        ("append no 0 0 1\r\n1", "cmd_set"),
        ("append a 0 0 1\r\n1", "cmd_set total_items"),
        ("prepend a 0 0 1\r\n1", "cmd_set total_items"),
        ("ms a 1\r\n1", "cmd_set total_items"),
        ("ms a 1 ME\r\n1", "cmd_set"),
        ("ms no 1 MR\r\n1", "cmd_set"),
        ("ms no 1 MA N30\r\n1", "cmd_set total_items"),
    ]);
}

#[test]
fn a_store_counts_once_its_header_is_good() {
    check(&[
        ("set a 0 0 1\r\n123", "cmd_set"),
        ("ms a 1\r\n123", "cmd_set"),
        ("set a x 0 1\r\n1", ""),
        ("set a 0 0 x", ""),
        ("ms a 1 !\r\n1", ""),
    ]);
}

#[test]
fn a_store_that_is_too_large_counts_only_as_that() {
    let value = "x".repeat(5000);
    check(&[
        (&format!("set a 0 0 5000\r\n{value}"), "store_too_large"),
        (&format!("add no 0 0 5000\r\n{value}"), "store_too_large"),
        (&format!("ms a 5000\r\n{value}"), "store_too_large"),
    ]);
}

#[test]
fn compare_and_swap_counts_beside_the_store() {
    check(&[
        ("cas no 0 0 1 5\r\n1", "cmd_set cas_misses"),
        ("cas a 0 0 1 0\r\n1", "cmd_set cas_badval"),
        ("cas a 0 0 1 <cas of a>\r\n1", "cmd_set cas_hits total_items"),
        ("ms no 1 C5\r\n1", "cmd_set cas_misses"),
        ("ms a 1 C1\r\n1", "cmd_set cas_badval"),
        ("ms a 1 C<cas of a>\r\n1", "cmd_set cas_hits total_items"),
    ]);
}

#[test]
fn counting_counts_by_direction() {
    check(&[
        ("incr n 1", "incr_hits"),
        ("decr n 1", "decr_hits"),
        ("incr no 1", "incr_misses"),
        ("decr no 1", "decr_misses"),
        ("incr a 1", ""),
        ("incr n x", ""),
        ("incr e 1", "get_expired incr_misses"),
        ("ma n", "incr_hits"),
        ("ma n MD", "decr_hits"),
        ("ma no", "incr_misses"),
        ("ma no MD", "decr_misses"),
        ("ma no N0 J5", "total_items"),
        ("ma n N0 J5", "incr_hits"),
        ("ma n C12345", ""),
    ]);
}

#[test]
fn deletes_count_what_is_deleted_and_invalidation_counts_nothing() {
    check(&[
        ("delete a", "delete_hits"),
        ("delete no", "delete_misses"),
        ("delete e", "get_expired delete_misses"),
        ("md a", "delete_hits"),
        ("md a q", "delete_hits"),
        ("md no q", "delete_misses"),
        ("md a C12345", "delete_misses"),
        ("md a I T30", ""),
    ]);
}

#[test]
fn only_the_meta_debug_command_counts_as_meta() {
    check(&[("me a", "cmd_meta"), ("me no", "cmd_meta"), ("mn", "")]);
}

#[test]
fn flushes_count_even_if_refused() {
    check(&[("flush_all", "cmd_flush"), ("flush_all 100", "cmd_flush"), ("flush_all x", "cmd_flush")]);
    let mut client = Client::new(Config { flush: false, ..Config::default() });
    assert_eq!(client.counted("flush_all"), "cmd_flush");
}

#[test]
fn what_is_no_command_counts_nothing() {
    let long = "k".repeat(251);
    check(&[
        ("bogus", ""),
        ("get", ""),
        (&format!("get {long}"), ""),
        (&format!("mg {long} v"), ""),
        (&format!("set {long} 0 0 1\r\n1"), ""),
        ("mg a ! v", ""),
        ("touch a x", ""),
        ("version", ""),
        ("stats items", ""),
        ("verbosity 0", ""),
    ]);
}

#[test]
fn refusals_for_want_of_memory_count() {
    let config = Config { evictions: false, memory_limit: 8 << 20, threads: 1, ..Config::default() };
    let mut client = Client::new(config);
    let value = "x".repeat(100_000);
    for number in 0..200 {
        client.say(&format!("set {number} 0 0 100000\r\n{value}"));
    }
    assert_eq!(client.counted(&format!("set large 0 0 100000\r\n{value}")), "store_no_memory");
    let value = "x".repeat(1000);
    for number in 0..10_000 {
        client.say(&format!("set {number} 0 0 1000 noreply\r\n{value}"));
    }
    assert_eq!(client.counted(&format!("set small 0 0 1000\r\n{value}")), "store_no_memory");
    assert_eq!(client.counted(&format!("ms small 1000\r\n{value}")), "store_no_memory");
    assert_eq!(client.counters()["evictions"], 0);
}

/// What is in `stats` is the sum of what is in `stats slabs`, and a hit counts in the class of the item it found.
#[test]
fn classes_add_up() {
    let mut client = Client::new(Config::default());
    let long = "x".repeat(500);
    for line in [
        "set a 0 0 1\r\n1",
        &format!("set b 0 0 500\r\n{long}"),
        "get a b",
        "gat 0 b",
        "touch a 0",
        "incr a 1",
        "decr a 1",
        "cas b 0 0 1 0\r\n1",
        "delete b",
    ] {
        client.say(line);
    }
    let slabs = client.say("stats slabs");
    let total = client.counters();
    for counter in CLASS_COUNTERS.split_whitespace() {
        let by_class = slabs.lines().filter_map(|line| line.split_once(&format!(":{counter} ")));
        let sum: u64 = by_class.map(|(_, value)| value.parse::<u64>().expect("a number")).sum();
        assert_eq!(sum, total[counter], "{counter}");
    }
    assert!(slabs.contains("STAT 1:get_hits 1\r\n") && slabs.contains("STAT 1:touch_hits 1\r\n"), "{slabs}");
    assert!(slabs.contains("STAT 9:get_hits 1\r\n") && slabs.contains("STAT 9:delete_hits 1\r\n"), "{slabs}");
}
