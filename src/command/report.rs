//! All that `stats`, `stats settings`, `stats items`, `stats slabs` and `stats memcarp` say, to be looked up by name.
//!
//! What else tells of the server (metrics, the status page) reads it here, and so cannot disagree with `stats`.

use super::engine::Engine;
use super::output::Output;
use super::stats::{Lines, general};
use super::stats::{classes, memcarp, settings};
use crate::store::{CLASS_COUNT, Now};
use std::collections::HashMap;

/// What the statistics say at one moment.
#[derive(Debug)]
pub struct Report {
    general: HashMap<String, String>,
    settings: HashMap<String, String>,
    /// Names as `stats items` has them: `items:1:number`.
    items: HashMap<String, String>,
    /// Names as `stats slabs` has them: `1:used_chunks`.
    slabs: HashMap<String, String>,
    memcarp: HashMap<String, String>,
}

impl Report {
    /// What they say now.
    pub fn of(engine: &Engine, now: Now) -> Report {
        Report {
            general: collect(|lines| general(lines, engine, now)),
            settings: collect(|lines| settings::put(lines, engine)),
            items: collect(|lines| classes::put_items(lines, engine, now)),
            slabs: collect(|lines| classes::put_slabs(lines, engine, now)),
            memcarp: collect(|lines| memcarp::put(lines, engine, now)),
        }
    }

    /// A line of `stats`.
    pub fn general(&self, name: &str) -> Option<&str> {
        self.general.get(name).map(String::as_str)
    }

    /// A line of `stats settings`.
    pub fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// All of `stats settings`, in the order of their names.
    pub fn settings(&self) -> Vec<(&str, &str)> {
        let mut settings: Vec<_> =
            self.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        settings.sort_unstable();
        settings
    }

    /// A line of `stats memcarp`.
    pub fn memcarp(&self, name: &str) -> Option<&str> {
        self.memcarp.get(name).map(String::as_str)
    }

    /// The size classes that `stats items` and `stats slabs` show.
    pub fn classes(&self) -> impl Iterator<Item = usize> {
        (1..CLASS_COUNT).filter(|class| self.slab(*class, "chunk_size").is_some())
    }

    /// A class's line of `stats items`.
    pub fn item(&self, class: usize, name: &str) -> Option<u64> {
        self.items.get(&format!("items:{class}:{name}"))?.parse().ok()
    }

    /// A class's line of `stats slabs`.
    pub fn slab(&self, class: usize, name: &str) -> Option<u64> {
        self.slabs.get(&format!("{class}:{name}"))?.parse().ok()
    }

    /// A line of `stats slabs` that is of no class.
    pub fn slabs(&self, name: &str) -> Option<&str> {
        self.slabs.get(name).map(String::as_str)
    }
}

fn collect(put: impl FnOnce(Lines<'_>)) -> HashMap<String, String> {
    let mut output = Output::default();
    put(Lines::new(&mut output));
    let text = String::from_utf8_lossy(output.bytes());
    let words = text.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    words.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::Client;
    use super::*;
    use crate::config::Config;

    #[test]
    fn it_says_what_stats_says() {
        let mut client = Client::new(Config::default());
        client.say("set a 0 0 1\r\n1");
        client.say("get a b");
        let now = client.now();
        let report = Report::of(&client.engine, now);
        let mut shown = 0;
        for (command, place) in [
            ("stats", &report.general),
            ("stats settings", &report.settings),
            ("stats items", &report.items),
            ("stats slabs", &report.slabs),
            ("stats memcarp", &report.memcarp),
        ] {
            for line in client.say(command).split('|').filter_map(|line| line.strip_prefix("STAT ")) {
                let (name, value) = line.split_once(' ').expect("a name and a value");
                // Looking takes processor time.
                if !name.starts_with("rusage") {
                    assert_eq!(place.get(name).map(String::as_str), Some(value), "{name}");
                }
                shown += 1;
            }
        }
        assert!(shown > 200, "{shown}");
        assert_eq!(report.classes().collect::<Vec<_>>(), [1]);
        assert_eq!((report.item(1, "number"), report.slab(1, "get_hits")), (Some(1), Some(1)));
    }
}
