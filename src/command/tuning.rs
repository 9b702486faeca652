//! `lru_crawler`, `lru` and `slabs`: the commands of memcached's own engine. They are checked and answered as memcached
//! does, and what they set can be read back; memory is managed without them.

use super::session::Context;
use crate::config::Inert;
use crate::protocol::{Fields, parse_i64, parse_u64};
use crate::store::CLASS_COUNT;

/// What these commands have set.
#[derive(Clone, Debug)]
pub struct Tuning {
    /// `lru_crawler enable` and `disable`.
    pub crawler: bool,
    /// `lru_crawler sleep`, in microseconds.
    pub crawler_sleep: u32,
    /// `lru_crawler tocrawl`.
    pub crawler_tocrawl: u32,
    /// Crawls that were asked for.
    pub crawls: u64,
    /// `lru mode`.
    pub segmented: bool,
    /// `lru tune`, its first number.
    pub hot_pct: u32,
    /// `lru tune`, its second number.
    pub warm_pct: u32,
    /// `lru tune`, its third number.
    pub hot_factor: f64,
    /// `lru tune`, its fourth number.
    pub warm_factor: f64,
    /// `lru temp_ttl`; `None` is off.
    pub temporary_ttl: Option<u32>,
    /// `slabs automove`.
    pub automove: u32,
    /// `slabs automove ratio`.
    pub automove_ratio: f64,
    /// `slabs automove freeratio`.
    pub automove_freeratio: f64,
    /// `slabs automove window`.
    pub automove_window: u32,
}

impl Tuning {
    /// As asked for at start.
    pub fn new(inert: &Inert) -> Tuning {
        Tuning {
            crawler: inert.lru_crawler,
            crawler_sleep: inert.lru_crawler_sleep,
            crawler_tocrawl: inert.lru_crawler_tocrawl,
            crawls: 0,
            segmented: inert.lru_segmented,
            hot_pct: inert.hot_lru_pct,
            warm_pct: inert.warm_lru_pct,
            hot_factor: inert.hot_max_factor,
            warm_factor: inert.warm_max_factor,
            temporary_ttl: inert.temporary_ttl,
            automove: inert.slab_automove,
            automove_ratio: inert.slab_automove_ratio,
            automove_freeratio: 0.01,
            automove_window: inert.slab_automove_window,
        }
    }
}

const ERROR: &str = "ERROR";
const BAD_FORMAT: &str = "CLIENT_ERROR bad command line format";
const BAD_CLASS: &str = "BADCLASS invalid class id";
const CRAWLER_OFF: &str = "CLIENT_ERROR lru crawler disabled";

/// Size classes, as bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClassSet(u64);

impl ClassSet {
    /// `all`, `hash`, or numbers with commas between them; `None` if there is anything else.
    pub fn parse(field: &[u8]) -> Option<ClassSet> {
        if field == b"all" || field == b"hash" {
            return Some(ClassSet(u64::MAX));
        }
        let mut set = 0;
        for number in field.split(|&byte| byte == b',') {
            let class = parse_u64(number).filter(|&class| class >= 1 && class < CLASS_COUNT as u64)?;
            set |= 1 << class;
        }
        Some(ClassSet(set))
    }

    /// Whether the class is one of them.
    pub fn contains(self, class: usize) -> bool {
        self.0 >> class & 1 == 1
    }
}

/// What a dump asks for, or what to answer instead.
pub(super) fn dump_classes(
    field: Option<&[u8]>,
    refused: &'static str,
    context: &Context<'_>,
) -> Result<ClassSet, &'static str> {
    let field = field.ok_or(ERROR)?;
    if !context.engine.config.dump {
        return Err(refused);
    }
    if !context.engine.tuning.lock().crawler {
        return Err(CRAWLER_OFF);
    }
    ClassSet::parse(field).ok_or(BAD_CLASS)
}

/// `lru_crawler`, apart from its dumps.
pub(super) fn lru_crawler(mut arguments: Fields<'_>, context: &Context<'_>) -> &'static str {
    let mut tuning = context.engine.tuning.lock();
    match (arguments.next(), arguments.next()) {
        (Some(b"enable"), _) if tuning.crawler => "ERROR failed to start lru crawler thread",
        (Some(b"enable"), _) => {
            tuning.crawler = true;
            "OK"
        }
        (Some(b"disable"), _) => {
            tuning.crawler = false;
            "OK"
        }
        (Some(b"sleep"), Some(micros)) => match parse_number(micros) {
            None => BAD_FORMAT,
            Some(1_000_001..) => "CLIENT_ERROR sleep must be one second or less",
            Some(micros) => {
                tuning.crawler_sleep = micros;
                "OK"
            }
        },
        (Some(b"tocrawl"), Some(count)) => match parse_number(count) {
            None => BAD_FORMAT,
            Some(count) => {
                tuning.crawler_tocrawl = count;
                "OK"
            }
        },
        (Some(b"crawl"), Some(_)) if !tuning.crawler => CRAWLER_OFF,
        (Some(b"crawl"), Some(classes)) if ClassSet::parse(classes).is_none() => BAD_CLASS,
        (Some(b"crawl"), Some(_)) => {
            tuning.crawls += 1;
            "OK"
        }
        _ => ERROR,
    }
}

/// `lru`.
pub(super) fn lru(mut arguments: Fields<'_>, context: &Context<'_>) -> &'static str {
    let mut tuning = context.engine.tuning.lock();
    let verb = arguments.next();
    let mut next = || arguments.next();
    match verb {
        Some(b"mode") if context.engine.config.inert.lru_maintainer => {
            tuning.segmented = match next() {
                Some(b"flat") => false,
                Some(b"segmented") => true,
                _ => return ERROR,
            };
            "OK"
        }
        Some(b"tune") => {
            let percents = (next().and_then(parse_number), next().and_then(parse_number));
            let factors = (next().and_then(parse_fraction), next().and_then(parse_fraction));
            match (percents, factors) {
                ((Some(hot), Some(warm)), (Some(hot_factor), Some(warm_factor))) => {
                    if hot.saturating_add(warm) > 80 {
                        return "ERROR hot and warm pcts must not exceed 80";
                    }
                    if hot_factor <= 0.0 || warm_factor <= 0.0 {
                        return "ERROR hot/warm age factors must be greater than 0";
                    }
                    (tuning.hot_pct, tuning.warm_pct) = (hot, warm);
                    (tuning.hot_factor, tuning.warm_factor) = (hot_factor, warm_factor);
                    "OK"
                }
                _ => ERROR,
            }
        }
        Some(b"temp_ttl") => match next().and_then(parse_i64) {
            Some(ttl) => {
                tuning.temporary_ttl = u32::try_from(ttl).ok();
                "OK"
            }
            None => ERROR,
        },
        _ => ERROR,
    }
}

/// `slabs`.
pub(super) fn slabs(mut arguments: Fields<'_>, context: &Context<'_>) -> &'static str {
    match (arguments.next(), arguments.next(), arguments.next()) {
        (Some(b"reassign"), Some(source), Some(target)) => reassign(source, target, context),
        (Some(b"automove"), Some(b"ratio"), Some(value)) => match parse_fraction(value) {
            Some(ratio) => {
                context.engine.tuning.lock().automove_ratio = ratio;
                "OK"
            }
            None => ERROR,
        },
        (Some(b"automove"), Some(b"freeratio"), Some(value)) => match parse_fraction(value) {
            Some(ratio) => {
                context.engine.tuning.lock().automove_freeratio = ratio;
                "OK"
            }
            None => ERROR,
        },
        (Some(b"automove"), Some(b"window"), Some(value)) => match parse_number(value) {
            Some(window @ 3..=1800) => {
                context.engine.tuning.lock().automove_window = window;
                "OK"
            }
            Some(_) => "CLIENT_ERROR automove window too low or too high",
            None => BAD_FORMAT,
        },
        (Some(b"automove"), Some(b"ratio" | b"freeratio" | b"window"), None) => ERROR,
        (Some(b"automove"), Some(level), _) => match parse_number(level) {
            Some(level @ 0..=2) => {
                context.engine.tuning.lock().automove = level;
                "OK"
            }
            Some(_) => ERROR,
            None => BAD_FORMAT,
        },
        _ => ERROR,
    }
}

/// No class has pages of its own here, so none has one to spare.
fn reassign(source: &[u8], target: &[u8], context: &Context<'_>) -> &'static str {
    if !context.engine.config.inert.slab_reassign {
        return "CLIENT_ERROR slab reassignment disabled";
    }
    // A source below 0 stands for any class; 0 is the pool of free pages.
    let classes = 0..CLASS_COUNT as i64;
    match (parse_i64(source), parse_i64(target)) {
        (Some(source), Some(target)) if source == target => "SAME src and dst class are identical",
        (Some(-1), Some(target)) if classes.contains(&target) => "NOSPARE source class has no spare pages",
        (Some(source), Some(target)) if classes.contains(&source) && classes.contains(&target) => {
            "NOSPARE source class has no spare pages"
        }
        (Some(_), Some(_)) => "BADCLASS invalid src or dst class id",
        _ => BAD_FORMAT,
    }
}

fn parse_number(field: &[u8]) -> Option<u32> {
    parse_u64(field).and_then(|number| u32::try_from(number).ok())
}

fn parse_fraction(field: &[u8]) -> Option<f64> {
    std::str::from_utf8(field).ok()?.parse().ok().filter(|number: &f64| number.is_finite())
}

#[cfg(test)]
mod tests {
    use super::super::testing::Client;
    use crate::config::{Config, Inert};

    fn check(config: Config, conversation: &[(&str, &str)]) -> Client {
        let mut client = Client::new(config);
        for (line, answer) in conversation {
            assert_eq!(client.say(line), format!("{answer}|"), "{line}");
        }
        client
    }

    const BAD: &str = "CLIENT_ERROR bad command line format";

    #[test]
    fn the_crawler_answers_as_memcacheds() {
        let mut client = check(
            Config::default(),
            &[
                ("lru_crawler", "ERROR"),
                ("lru_crawler foo", "ERROR"),
                ("lru_crawler enable", "ERROR failed to start lru crawler thread"),
                ("lru_crawler sleep", "ERROR"),
                ("lru_crawler sleep abc", BAD),
                ("lru_crawler sleep 1000001", "CLIENT_ERROR sleep must be one second or less"),
                ("lru_crawler sleep 250", "OK"),
                ("lru_crawler tocrawl abc", BAD),
                ("lru_crawler tocrawl 77", "OK"),
                ("lru_crawler crawl", "ERROR"),
                ("lru_crawler crawl 1,2", "OK"),
                ("lru_crawler crawl all", "OK"),
                ("lru_crawler crawl 0", "BADCLASS invalid class id"),
                ("lru_crawler crawl 1,64", "BADCLASS invalid class id"),
                ("lru_crawler crawl x", "BADCLASS invalid class id"),
                ("lru_crawler metadump", "ERROR"),
                ("lru_crawler metadump x", "BADCLASS invalid class id"),
            ],
        );
        assert!(client.say("stats").contains("|STAT lru_crawler_starts 2|"));
        assert!(
            client
                .say("stats settings")
                .contains("|STAT lru_crawler yes|STAT lru_crawler_sleep 250|STAT lru_crawler_tocrawl 77|")
        );
        for (line, answer) in [
            ("lru_crawler disable", "OK"),
            ("lru_crawler disable", "OK"),
            ("lru_crawler crawl all", "CLIENT_ERROR lru crawler disabled"),
            ("lru_crawler metadump all", "CLIENT_ERROR lru crawler disabled"),
        ] {
            assert_eq!(client.say(line), format!("{answer}|"), "{line}");
        }
        assert!(client.say("stats settings").contains("|STAT lru_crawler no|"));
        assert_eq!(client.say("lru_crawler enable noreply"), "");
        assert_eq!(client.say("lru_crawler crawl all"), "OK|");
    }

    #[test]
    fn lru_settings_are_checked_and_shown() {
        let mut client = check(
            Config::default(),
            &[
                ("lru", "ERROR"),
                ("lru mode", "ERROR"),
                ("lru mode x", "ERROR"),
                ("lru mode flat", "OK"),
                ("lru tune 10 20 0.1", "ERROR"),
                ("lru tune a 20 0.1 2", "ERROR"),
                ("lru tune 50 50 0.1 2.0", "ERROR hot and warm pcts must not exceed 80"),
                ("lru tune 10 20 0 2", "ERROR hot/warm age factors must be greater than 0"),
                ("lru tune 10 30 0.5 2.5", "OK"),
                ("lru temp_ttl", "ERROR"),
                ("lru temp_ttl x", "ERROR"),
                ("lru temp_ttl 50", "OK"),
            ],
        );
        assert!(client.say("stats settings").contains(
            "|STAT lru_segmented no|STAT hot_lru_pct 10|STAT warm_lru_pct 30|STAT hot_max_factor 0.50|\
             STAT warm_max_factor 2.50|STAT temp_lru yes|STAT temporary_ttl 50|"
        ));
        assert_eq!(client.say("lru temp_ttl -1"), "OK|");
        assert!(client.say("stats settings").contains("|STAT temp_lru no|"));
        let inert = Inert { lru_maintainer: false, ..Inert::default() };
        check(Config { inert, ..Config::default() }, &[("lru mode flat", "ERROR")]);
    }

    #[test]
    fn slab_settings_are_checked_and_shown() {
        let spare = "NOSPARE source class has no spare pages";
        let class = "BADCLASS invalid src or dst class id";
        let mut client = check(
            Config::default(),
            &[
                ("slabs", "ERROR"),
                ("slabs foo", "ERROR"),
                ("slabs reassign 1", "ERROR"),
                ("slabs reassign 1 1", "SAME src and dst class are identical"),
                ("slabs reassign 1 2", spare),
                ("slabs reassign 0 5", spare),
                ("slabs reassign -1 5", spare),
                ("slabs reassign -5 5", class),
                ("slabs reassign 1 70", class),
                ("slabs reassign a b", BAD),
                ("slabs automove", "ERROR"),
                ("slabs automove 3", "ERROR"),
                ("slabs automove -1", BAD),
                ("slabs automove 2", "OK"),
                ("slabs automove ratio", "ERROR"),
                ("slabs automove ratio x", "ERROR"),
                ("slabs automove ratio 0.5", "OK"),
                ("slabs automove freeratio 0.25", "OK"),
                ("slabs automove window 2", "CLIENT_ERROR automove window too low or too high"),
                ("slabs automove window x", BAD),
                ("slabs automove window 70", "OK"),
            ],
        );
        let settings = client.say("stats settings");
        assert!(
            settings.contains(
                "|STAT slab_automove 2|STAT slab_automove_ratio 0.50|STAT slab_automove_window 70|"
            )
        );
        assert!(settings.contains("|STAT slab_automove_freeratio 0.250|"));
        let inert = Inert { slab_reassign: false, ..Inert::default() };
        let config = Config { inert, ..Config::default() };
        check(config, &[("slabs reassign 1 2", "CLIENT_ERROR slab reassignment disabled")]);
    }
}
