//! Expire-on-update, rule by rule, over sessions in memory.

#[path = "common/memory.rs"]
#[allow(dead_code)]
mod memory;

use memcarp::config::{Config, Rule, Rules};
use memory::Memory;

/// A server in memory with one client.
struct Server(Memory);

impl Default for Server {
    fn default() -> Server {
        Server::new(Config::default())
    }
}

impl Server {
    fn new(config: Config) -> Server {
        Server(Memory::new(config))
    }

    fn ask(&mut self, bytes: &str) -> String {
        self.0.send("client", bytes.as_bytes());
        String::from_utf8(std::mem::take(self.0.received("client"))).expect("replies are text here")
    }

    fn cas(&mut self, key: &str) -> String {
        let reply = self.ask(&format!("mg {key} c\r\n"));
        reply.trim_end().strip_prefix("HD c").expect("the key is there").to_owned()
    }

    fn stat(&mut self, name: &str) -> String {
        let all = self.ask("stats\r\n") + &self.ask("stats memcarp\r\n");
        let prefix = format!("STAT {name} ");
        let line = all.lines().find_map(|line| line.strip_prefix(&prefix));
        line.unwrap_or_else(|| panic!("no {name} in the stats")).to_owned()
    }

    /// Lets the background work until it has nothing left to do.
    fn maintain(&mut self) {
        while self.0.engine().store.maintain(self.0.now()) {}
    }
}

/// Every command that says "the data behind this key changed" outdates what was derived from the key.
#[test]
fn each_update_outdates_what_was_derived() {
    let updates = [
        "set photo 0 0 3\r\nnew\r\n",
        "replace photo 0 0 3\r\nnew\r\n",
        "append photo 0 0 1\r\n+\r\n",
        "prepend photo 0 0 1\r\n+\r\n",
        "incr photo 1\r\n",
        "decr photo 1\r\n",
        "ms photo 3\r\nnew\r\n",
        "ms photo 3 MR\r\nnew\r\n",
        "ms photo 1 MA\r\n+\r\n",
        "ms photo 1 MP\r\n+\r\n",
        "ma photo\r\n",
        "md photo\r\n",
        "md photo I\r\n",
        "md photo x\r\n",
        "delete photo\r\n",
        "set photo 0 0 3 noreply\r\nnew\r\n",
        "ms photo 3 q\r\nnew\r\n",
        "set photo 0 0 2000000\r\n",
    ];
    for update in updates {
        let mut server = Server::default();
        server.ask("set photo 0 0 2\r\n17\r\n");
        assert_eq!(server.ask("ms thumb 5 Dphoto\r\nsmall\r\n"), "HD\r\n");
        assert_eq!(server.ask("mg thumb v\r\n"), "VA 5\r\nsmall\r\n");
        server.ask(update);
        if update.contains("2000000") {
            server.ask(&format!("{}\r\n", "x".repeat(2_000_000)));
        }
        assert_eq!(server.ask("mg thumb v\r\n"), "EN\r\n", "{update}");
    }
}

/// Deleting what is not there is an update too.
#[test]
fn a_delete_that_misses_outdates() {
    for delete in ["delete tag\r\n", "md tag\r\n", "md tag q\r\n"] {
        let mut server = Server::default();
        server.ask("ms page 1 Dtag\r\np\r\n");
        server.ask(delete);
        assert_eq!(server.ask("get page\r\n"), "END\r\n", "{delete}");
    }
}

#[test]
fn filling_the_cache_and_looking_at_it_outdate_nothing() {
    let harmless = [
        "add photo 0 0 1\r\nx\r\n",
        "ms photo 1 ME\r\nx\r\n",
        "touch photo 100\r\n",
        "gat 100 photo\r\n",
        "mg photo v T100 N100 R10\r\n",
        "get photo\r\n",
        "me photo\r\n",
        "replace photo 0 0 1\r\nx\r\n",
        "md photo C77\r\n",
        "cas photo 0 0 1 77\r\nx\r\n",
        "incr photo 1\r\n",
    ];
    for step in harmless {
        let mut server = Server::default();
        server.ask("ms thumb 5 Dphoto\r\nsmall\r\n");
        if step.starts_with("md") || step.starts_with("cas") {
            server.ask("add photo 0 0 1\r\nx\r\n");
        }
        server.ask(step);
        assert_eq!(server.ask("mg thumb v\r\n"), "VA 5\r\nsmall\r\n", "{step}");
    }
}

#[test]
fn an_outdated_item_is_absent_for_every_command() {
    let commands = [
        ("get thumb\r\n", "END\r\n"),
        ("gat 0 thumb\r\n", "END\r\n"),
        ("mg thumb\r\n", "EN\r\n"),
        ("me thumb\r\n", "EN\r\n"),
        ("ma thumb\r\n", "NF\r\n"),
        ("incr thumb 1\r\n", "NOT_FOUND\r\n"),
        ("touch thumb 0\r\n", "NOT_FOUND\r\n"),
        ("delete thumb\r\n", "NOT_FOUND\r\n"),
        ("append thumb 0 0 1\r\nx\r\n", "NOT_STORED\r\n"),
        ("add thumb 0 0 1\r\nx\r\n", "STORED\r\n"),
        ("lru_crawler metadump all\r\n", "OK\r\nEND\r\n"),
    ];
    for (command, reply) in commands {
        let mut server = Server::default();
        server.ask("ms thumb 2 Dtag\r\n17\r\n");
        server.ask("delete tag\r\n");
        assert_eq!(server.ask(command), reply, "{command}");
    }
}

#[test]
fn a_store_computed_from_an_older_source_is_refused() {
    let mut server = Server::default();
    server.ask("set photo 0 0 3\r\nold\r\n");
    let cas = server.cas("photo");
    server.ask("set photo 0 0 3\r\nnew\r\n");
    assert_eq!(server.ask(&format!("ms thumb 1 k O7 Dphoto U{cas}\r\nt\r\n")), "EX kthumb O7\r\n");
    assert_eq!(server.ask("mg thumb\r\n"), "EN\r\n");
    let cas = server.cas("photo");
    assert_eq!(server.ask(&format!("ms thumb 1 Dphoto U{cas}\r\nt\r\n")), "HD\r\n");
    server.ask("delete photo\r\n");
    assert_eq!(server.ask(&format!("ms thumb 1 Dphoto U{cas}\r\nt\r\n")), "EX\r\n");
    assert_eq!(server.stat("expire_on_update_refused"), "2");
}

#[test]
fn chains_cycles_and_oneself() {
    let mut server = Server::default();
    server.ask("set photo 0 0 1\r\nx\r\n");
    for number in 1..500 {
        let source = if number == 1 { "photo".to_owned() } else { format!("level{}", number - 1) };
        assert_eq!(server.ask(&format!("ms level{number} 1 D{source}\r\nx\r\n")), "HD\r\n");
    }
    assert_eq!(server.ask("mg level499 v\r\n"), "VA 1\r\nx\r\n");
    server.ask("set photo 0 0 1\r\ny\r\n");
    for number in 1..500 {
        assert_eq!(server.ask(&format!("mg level{number}\r\n")), "EN\r\n", "level {number}");
    }
    assert_eq!(server.ask("ms self 1 Dself\r\nx\r\n"), "HD\r\n");
    assert_eq!(server.ask("mg self v\r\n"), "VA 1\r\nx\r\n");
    server.ask("ms a 1 Db\r\nx\r\n");
    server.ask("ms b 1 Da\r\nx\r\n");
    assert_eq!(server.ask("mg b\r\n"), "HD\r\n");
    assert_eq!(server.ask("mg a\r\n"), "EN\r\n");
}

/// The source of a source may be gone from the cache: what was taken over from it still holds.
#[test]
fn a_chain_holds_when_its_middle_is_gone() {
    let mut server = Server::new(Config { memory_limit: 1 << 20, item_max: 1 << 19, ..Config::default() });
    server.ask("ms thumb 1 T1 Dphoto\r\nx\r\n");
    server.ask("ms page 1 Dthumb\r\nx\r\n");
    server.0.advance(5);
    assert_eq!(server.ask("mg thumb\r\n"), "EN\r\n");
    assert_eq!(server.ask("mg page\r\n"), "HD\r\n");
    server.ask("md photo\r\n");
    assert_eq!(server.ask("mg page\r\n"), "EN\r\n");
}

#[test]
fn what_keeps_an_items_sources_and_what_drops_them() {
    for (keeper, value) in [
        ("touch thumb 100\r\n", "17"),
        ("append thumb 0 0 1\r\n0\r\n", "170"),
        ("incr thumb 1\r\n", "18"),
        ("mg thumb T100\r\n", "17"),
        ("md thumb I\r\n", "17"),
    ] {
        let mut server = Server::default();
        server.ask("ms thumb 2 Dphoto\r\n17\r\n");
        server.ask(keeper);
        let length = value.len();
        assert!(server.ask("mg thumb v\r\n").contains(value), "{keeper} {length}");
        server.ask("delete photo\r\n");
        assert_eq!(server.ask("mg thumb\r\n"), "EN\r\n", "{keeper}");
    }
    for dropper in ["set thumb 0 0 1\r\nx\r\n", "ms thumb 1\r\nx\r\n"] {
        let mut server = Server::default();
        server.ask("ms thumb 2 Dphoto\r\n17\r\n");
        server.ask(dropper);
        server.ask("delete photo\r\n");
        assert_eq!(server.ask("mg thumb\r\n"), "HD\r\n", "{dropper}");
    }
}

/// What is added to an item may be derived from more: then the whole item is.
#[test]
fn what_is_added_brings_its_sources() {
    for mode in ["MA", "MP"] {
        for source in ["photo", "comment"] {
            let mut server = Server::default();
            server.ask("ms other 1 Dcomment\r\nx\r\n");
            server.ask("ms page 2 Dphoto\r\n17\r\n");
            server.ask("set comment 0 0 1\r\nx\r\n");
            assert_eq!(server.ask(&format!("ms page 1 {mode} Dcomment\r\n0\r\n")), "HD\r\n");
            assert_eq!(
                server.ask("mg page s\r\n"),
                "HD s3\r\n",
                "an earlier update of comment does not count"
            );
            assert!(server.ask("me page\r\n").contains(" src=2"));
            server.ask(&format!("delete {source}\r\n"));
            assert_eq!(server.ask("mg page\r\n"), "EN\r\n", "{mode} {source}");
            server.0.engine().store.check();
        }
    }
    let mut server = Server::default();
    server.ask("set page 0 0 1\r\nx\r\nms page 1 MA Dcomment\r\n0\r\ndelete comment\r\n");
    assert_eq!(server.ask("mg page\r\n"), "EN\r\n", "an item without sources gets one");
}

/// The data has changed, though the cache has no room for it and held nothing of it.
#[test]
fn a_set_too_large_outdates_what_was_derived() {
    for (store, outdates) in
        [("set photo 0 0 2000000", true), ("ms photo 2000000", true), ("ms photo 2000000 ME", false)]
    {
        let mut server = Server::default();
        server.ask("ms thumb 1 Dphoto\r\nx\r\n");
        server.ask(&format!("{store}\r\n{}\r\n", "x".repeat(2_000_000)));
        let expected = if outdates { "EN\r\n" } else { "HD\r\n" };
        assert_eq!(server.ask("mg thumb\r\n"), expected, "{store}");
    }
}

/// Without evictions the bookkeeping stops growing where the memory ends.
#[test]
fn sources_are_refused_when_memory_is_full() {
    let limit = 4 << 20;
    let config = Config { memory_limit: limit, item_max: 1 << 19, evictions: false, ..Config::default() };
    let mut server = Server::new(config);
    let mut refused = 0;
    for number in 0..40_000 {
        let sources: String = (0..16).map(|source| format!(" D{number}.{source}")).collect();
        let reply = server.ask(&format!("ms item{number} 1{sources}\r\nx\r\n"));
        refused += usize::from(reply.starts_with("SERVER_ERROR out of memory"));
    }
    assert!(refused > 0);
    let memory: usize = server.stat("memory_bytes").parse().unwrap();
    assert!(memory <= limit + limit / 100, "{memory}: more than one growth of the table too many");
    server.0.engine().store.check();
}

#[test]
fn sources_in_base64_and_how_many_are_shown() {
    let mut server = Server::default();
    assert_eq!(server.ask("ms dGh1bWI= 1 b DcGhvdG8= Dqq8=\r\nx\r\n"), "HD\r\n");
    assert!(server.ask("me thumb\r\n").trim_end().ends_with(" src=2"));
    server.ask("delete photo\r\n");
    assert_eq!(server.ask("mg thumb\r\n"), "EN\r\n");
    assert!(!server.ask("set plain 0 0 1\r\nx\r\nme plain\r\n").contains("src="));
}

#[test]
fn large_values_have_sources_too() {
    let mut server = Server::default();
    let value = "x".repeat(300_000);
    assert_eq!(server.ask(&format!("ms thumb 300000 Dphoto\r\n{value}\r\n")), "HD\r\n");
    assert_eq!(server.ask("mg thumb s\r\n"), "HD s300000\r\n");
    server.ask("delete photo\r\n");
    assert_eq!(server.ask("mg thumb s\r\n"), "EN\r\n");
    assert_eq!(server.stat("expire_on_update_sources"), "0");
}

/// Many dependents of few sources, most of them evicted: the table shrinks with them and is empty after the last.
#[test]
fn the_bookkeeping_goes_with_the_items() {
    let mut server = Server::new(Config { memory_limit: 4 << 20, item_max: 1 << 19, ..Config::default() });
    let value = "x".repeat(100);
    for number in 0..100_000 {
        server.ask(&format!("ms item{number} 100 Dtag{} Down{number} q\r\n{value}\r\n", number % 10));
    }
    let (items, sources) = (server.stat("curr_items"), server.stat("expire_on_update_sources"));
    let (items, sources): (usize, usize) = (items.parse().unwrap(), sources.parse().unwrap());
    assert!(items < 50_000, "nothing was evicted");
    assert_eq!(sources, items + 10);
    server.0.engine().store.check();
    server.ask("flush_all\r\n");
    server.maintain();
    assert_eq!(server.stat("expire_on_update_sources"), "0");
    assert_eq!(server.stat("expire_on_update_dependents"), "0");
    server.0.engine().store.check();
}

/// Outdated items give their memory back though nobody asks for them, small ones and large.
#[test]
fn what_is_outdated_goes_without_being_asked_for() {
    let mut server = Server::default();
    for number in 0..3000 {
        server.ask(&format!("ms item{number} 1 Dtag q\r\nx\r\n"));
    }
    let value = "x".repeat(100_000);
    for number in 0..200 {
        server.ask(&format!("ms large{number} 100000 Dtag q\r\n{value}\r\n"));
    }
    server.ask("ms other 1 Dnothing q\r\nx\r\n");
    server.ask("delete tag\r\n");
    let mut seconds = 0;
    while server.stat("expire_on_update_dependents") != "1" {
        assert!(seconds < 200, "{} are left", server.stat("expire_on_update_dependents"));
        server.0.advance(1);
        seconds += 1;
    }
    assert_eq!(server.stat("curr_items"), "1");
    assert_eq!(server.ask("mg other v\r\n"), "VA 1\r\nx\r\n");
    server.0.engine().store.check();
}

#[test]
fn rules_name_sources_for_clients_that_cannot() {
    let mut server = Server::default();
    let mut rules = Rules::default();
    rules.add(Rule::new("photo:{id}", &["thumb:{id}:{size}".to_owned()]).unwrap());
    server.0.engine().set_rules(rules);
    let stores = [
        "set thumb:1:s 0 0 1\r\nx\r\n",
        "add thumb:1:s 0 0 1\r\nx\r\n",
        "ms thumb:1:s 1\r\nx\r\n",
        "ms dGh1bWI6MTpz 1 b\r\nx\r\n",
        "ma thumb:1:s N0 J5\r\n",
        "mg thumb:1:s N60\r\n",
    ];
    for store in stores {
        server.ask(store);
        assert!(server.ask("mg thumb:1:s\r\n").starts_with("HD"), "{store}");
        server.ask("delete photo:2\r\n");
        assert!(server.ask("mg thumb:1:s\r\n").starts_with("HD"), "{store}");
        server.ask("delete photo:1\r\n");
        assert_eq!(server.ask("mg thumb:1:s\r\n"), "EN\r\n", "{store}");
    }
}

#[test]
fn an_outdated_item_counts_as_expired() {
    let mut server = Server::default();
    server.ask("ms thumb 1 Dphoto\r\nx\r\ndelete photo\r\n");
    server.ask("get thumb\r\n");
    assert_eq!(server.stat("get_expired"), "1");
    assert_eq!(server.stat("get_misses"), "1");
    assert_eq!(server.stat("expire_on_update_expired"), "1");
    assert_eq!(server.stat("expire_on_update_updates"), "1");
}
