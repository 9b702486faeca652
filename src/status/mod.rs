//! The page an operator opens: how the server does now and did in the last minutes. Knows no sockets.
//!
//! It is one page with nothing from elsewhere, whole without its script, which only fetches it again now and then.

pub mod history;
mod plot;

use crate::command::hotkeys::{Hottest, ONE_IN};
use crate::command::{Engine, MEMCACHED_VERSION, Report};
use crate::metrics::process::Process;
use crate::store::Now;
use history::{History, Moment};
use plot::Plot;
use std::fmt::Write;

const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("live.js");

/// What the page is made of.
pub struct Status<'s> {
    /// The server.
    pub engine: &'s Engine,
    /// The process.
    pub process: &'s Process,
    /// The last minutes.
    pub history: &'s History,
    /// Whether whoever asks may see keys.
    pub shows_keys: bool,
    /// What the page's policy calls its own style and script.
    pub nonce: &'s str,
    /// The time now.
    pub now: Now,
}

impl Status<'_> {
    /// The page, in HTML.
    pub fn page(&self) -> String {
        let report = Report::of(self.engine, self.now);
        let mut page = String::with_capacity(32 << 10);
        let nonce = self.nonce;
        let uptime = duration(number(report.general("uptime")) as u64);
        // Writing to a String does not fail.
        let _ = write!(
            page,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>memcarp</title>\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <link rel=\"icon\" href=\"data:,\"><style nonce=\"{nonce}\">{STYLE}</style></head><body>\
             <header><h1>memcarp {}</h1><p class=\"dim\">behaves as memcached {MEMCACHED_VERSION}; \
             up for <span id=\"since\">{uptime}</span>; {}; process {}; \
             <b id=\"state\">reload to renew</b></p></header>\n<main>",
            env!("CARGO_PKG_VERSION"),
            escaped(&self.listeners()),
            std::process::id(),
        );
        self.put_tiles(&mut page, &report);
        self.put_plots(&mut page);
        self.put_derived(&mut page, &report);
        self.put_hot_keys(&mut page);
        put_settings(&mut page, &report);
        let _ = write!(
            page,
            "</main>\n<footer><a href=\"/metrics\">/metrics</a> for Prometheus, <a href=\"/healthz\">/healthz</a>, \
             <a href=\"/readyz\">/readyz</a></footer><script nonce=\"{nonce}\">{SCRIPT}</script></body></html>\n"
        );
        page
    }

    fn listeners(&self) -> String {
        let listeners = self.engine.connections.listeners();
        let addresses: Vec<_> = listeners.iter().map(|(_, address)| address.to_string()).collect();
        format!("listens on {}", addresses.join(", "))
    }

    fn whole(&self) -> Option<Moment> {
        self.history.whole(self.engine.config.threads)
    }

    fn put_tiles(&self, page: &mut String, report: &Report) {
        let general = |name: &str| number(report.general(name));
        let (hits, misses) = (general("get_hits"), general("get_misses"));
        let whole = self.whole();
        let lately = format!("in the last {}", duration(self.history.seconds()));
        page.push_str("<dl class=\"tiles\">");
        let since_start = match hits + misses {
            0.0 => "no gets yet".to_owned(),
            gets => format!("{} since the start", percent(hits / gets)),
        };
        let ratio = whole.and_then(|whole| whole.hit_ratio).map_or("–".to_owned(), percent);
        put_tile(page, "Hit ratio", &ratio, &format!("{lately}; {since_start}"));
        let operations = whole.map_or(0.0, |whole| whole.gets + whole.sets + whole.others);
        put_tile(page, "Operations", &format!("{}/s", short(operations)), &lately);
        let (used, limit) = (number(report.memcarp("memory_bytes")), general("limit_maxbytes"));
        let resident = format!("of {}; process {}", bytes(limit), bytes(self.process.resident_bytes as f64));
        put_tile(page, "Memory", &bytes(used), &resident);
        let items = format!("{} stored since the start", short(general("total_items")));
        put_tile(page, "Items", &short(general("curr_items")), &items);
        let evictions = whole.map_or(0.0, |whole| whole.evictions);
        let idle = self.evicted_idle();
        put_tile(page, "Evictions", &format!("{}/s", short(evictions)), &idle);
        let connections = short(general("curr_connections"));
        let turned_away = general("rejected_connections");
        let most = format!("of {}; {} turned away", short(general("max_connections")), short(turned_away));
        put_tile(page, "Connections", &connections, &most);
        let busy = whole.map_or("–".to_owned(), |whole| percent(whole.busy));
        put_tile(page, "Workers busy", &busy, &format!("{} of them; {lately}", self.engine.config.threads));
        page.push_str("</dl>");
    }

    /// How long evicted items had not been used, which says whether there is too little memory.
    fn evicted_idle(&self) -> String {
        let store = self.engine.store_stats(self.now);
        match store.evicted_idle.iter().sum::<u64>() {
            0 => "none since the start".to_owned(),
            count => format!("unused for {} on average", duration(store.evicted_idle_sum / count)),
        }
    }

    fn put_plots(&self, page: &mut String) {
        let moments = self.history.moments(self.engine.config.threads);
        let last = moments.last();
        let of = |value: fn(&Moment) -> f64| moments.iter().map(|moment| Some(value(moment))).collect();
        let per_second = |value: fn(&Moment) -> f64| format!("{}/s", short(last.map_or(0.0, value)));
        let limit = self.engine.store.limit() as f64;
        let ratio = last.and_then(|last| last.hit_ratio).map_or("–".to_owned(), percent);
        let plots = [
            Plot {
                title: "Hit ratio",
                now: ratio,
                top: 1.0,
                top_label: percent,
                lines: vec![("", moments.iter().map(|moment| moment.hit_ratio).collect())],
            },
            Plot {
                title: "Operations",
                now: per_second(|moment| moment.gets + moment.sets + moment.others),
                top: 1.0,
                top_label: short,
                lines: vec![("gets", of(|moment| moment.gets)), ("stores", of(|moment| moment.sets))],
            },
            Plot {
                title: "Memory",
                now: bytes(last.map_or(0.0, |last| last.memory)),
                top: limit,
                top_label: bytes,
                lines: vec![("items", of(|moment| moment.memory)), ("process", of(|moment| moment.resident))],
            },
            Plot {
                title: "Evictions",
                now: per_second(|moment| moment.evictions),
                top: 1.0,
                top_label: short,
                lines: vec![("", of(|moment| moment.evictions))],
            },
            Plot {
                title: "Connections",
                now: short(last.map_or(0.0, |last| last.connections)),
                top: 1.0,
                top_label: short,
                lines: vec![("", of(|moment| moment.connections))],
            },
            Plot {
                title: "Traffic",
                now: format!("{}/s", bytes(last.map_or(0.0, |last| last.read + last.written))),
                top: 1.0,
                top_label: bytes,
                lines: vec![("in", of(|moment| moment.read)), ("out", of(|moment| moment.written))],
            },
        ];
        let _ = write!(page, "<h2>The last {}</h2><div class=\"plots\">", duration(self.history.seconds()));
        for plot in plots {
            plot.put(page, moments.len().max(30));
        }
        page.push_str("</div>");
    }

    fn put_derived(&self, page: &mut String, report: &Report) {
        let of = |name: &str| short(number(report.memcarp(&format!("expire_on_update_{name}"))));
        let _ = write!(
            page,
            "<h2>Expire on update</h2><p>{} sources, named {} times by live items. Since the start: {} updates of \
             sources, {} lookups of what was derived from replaced data, {} stores refused.</p>",
            of("sources"),
            of("dependents"),
            of("updates"),
            of("expired"),
            of("refused"),
        );
    }

    fn put_hot_keys(&self, page: &mut String) {
        page.push_str("<h2>Hot keys</h2>");
        if !self.shows_keys {
            page.push_str(
                "<p class=\"dim\">Not shown: keys may not be listed (-X), clients have to say who they are (-Y), or \
                 this page was asked for under a name rather than an address. <code>stats hotkeys</code> tells \
                 those who may know.</p>",
            );
            return;
        }
        let Hottest { counted, keys } = self.engine.hottest();
        if keys.is_empty() {
            let _ = write!(page, "<p class=\"dim\">None yet: one lookup in {ONE_IN} is counted.</p>");
            return;
        }
        page.push_str("<table><tr><th>key</th><th class=\"num\">share of lookups</th></tr>");
        for hot in keys.iter().take(10) {
            let key = hot.key.escape_ascii().to_string();
            let _ = write!(
                page,
                "<tr><td><code>{}</code></td><td class=\"num\">{}</td></tr>",
                escaped(&key),
                percent(hot.share)
            );
        }
        let _ = write!(
            page,
            "</table><p class=\"dim\">Of the last lookups, {} were counted.</p>",
            short(counted as f64)
        );
    }
}

fn put_tile(page: &mut String, name: &str, value: &str, more: &str) {
    let _ = write!(
        page,
        "<div><dt>{}</dt><dd>{}<small>{}</small></dd></div>",
        escaped(name),
        escaped(value),
        escaped(more)
    );
}

fn put_settings(page: &mut String, report: &Report) {
    page.push_str(
        "<h2>Settings</h2><details><summary>as <code>stats settings</code> and <code>stats memcarp</code> say</summary>\
         <dl class=\"settings\">",
    );
    let own = ["eviction", "transport"].map(|name| (name, report.memcarp(name).unwrap_or_default()));
    for (name, value) in own.into_iter().chain(report.settings()) {
        let _ = write!(page, "<div><dt>{}</dt><dd>{}</dd></div>", escaped(name), escaped(value));
    }
    page.push_str("</dl></details>");
}

/// Text as it may stand in an element or an attribute.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn number(value: Option<&str>) -> f64 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0.0)
}

fn percent(share: f64) -> String {
    format!("{:.1}\u{a0}%", share * 100.0)
}

/// A number in three or four digits: `0.50`, `950`, `2610`, `12.3 k`, `4.56 M`.
fn short(value: f64) -> String {
    if (999.5..9999.5).contains(&value) {
        return format!("{value:.0}");
    }
    scaled(value, 1000.0, ["", "\u{a0}k", "\u{a0}M", "\u{a0}G", "\u{a0}T"])
}

fn bytes(value: f64) -> String {
    scaled(value, 1024.0, ["\u{a0}B", "\u{a0}KiB", "\u{a0}MiB", "\u{a0}GiB", "\u{a0}TiB"])
}

fn scaled(value: f64, base: f64, units: [&str; 5]) -> String {
    let mut value = value;
    let mut unit = 0;
    while value >= base * 0.9995 && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    let decimals = match value {
        _ if value.fract() == 0.0 && unit == 0 => 0,
        value if value < 9.995 => 2,
        value if value < 99.95 => 1,
        _ => 0,
    };
    format!("{value:.decimals$}{}", units[unit])
}

/// `45 s`, `5 min`, `3 h 20 min`, `12 d 4 h`.
fn duration(seconds: u64) -> String {
    let two = |one: u64, unit: &str, rest: u64, small: &str| match rest {
        0 => format!("{one} {unit}"),
        rest => format!("{one} {unit} {rest} {small}"),
    };
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7200 => two(seconds / 60, "min", seconds % 60, "s"),
        7200..172_800 => two(seconds / 3600, "h", seconds % 3600 / 60, "min"),
        _ => two(seconds / 86_400, "d", seconds % 86_400 / 3600, "h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let plain = |text: String| text.replace('\u{a0}', " ");
        let of =
            |values: &[f64]| values.iter().map(|value| plain(short(*value))).collect::<Vec<_>>().join(", ");
        assert_eq!(of(&[0.0, 0.5, 7.0, 12.0, 999.4, 999.9]), "0, 0.50, 7, 12, 999, 1000");
        assert_eq!(of(&[1024.0, 2610.0, 2879.6, 9999.6, 12_345.0]), "1024, 2610, 2880, 10.0 k, 12.3 k");
        assert_eq!(of(&[123_456.0, 123_456.5, 4_560_000.0]), "123 k, 123 k, 4.56 M");
        assert_eq!([1536.0, 67_108_864.0].map(|value| plain(bytes(value))), ["1.50 KiB", "64.0 MiB"]);
        let times = [5, 300, 301, 7320, 200_000].map(duration);
        assert_eq!(times, ["5 s", "5 min", "5 min 1 s", "2 h 2 min", "2 d 7 h"]);
        assert_eq!(percent(0.1234), "12.3\u{a0}%");
    }

    #[test]
    fn text_cannot_become_markup() {
        assert_eq!(escaped("<a href='x' id=\"y\">&"), "&lt;a href=&#39;x&#39; id=&quot;y&quot;&gt;&amp;");
    }
}
