//! The server as Prometheus sees it. Knows no sockets; every name is in [`names`].
//!
//! Nothing is kept for Prometheus while the server works: what workers and shards count in plain integers anyway is
//! read when somebody asks, as `stats` reads it.

pub mod exposition;
pub mod names;
pub mod process;

use crate::command::counts::Service;
use crate::command::{Engine, MEMCACHED_VERSION, Report};
use crate::store::Now;
use exposition::{Exposition, Labels};
use names::{ClassLine, Kind, Line};
use process::Process;
use std::sync::Arc;

/// All that is exported, in the text format.
pub fn render(engine: &Engine, process: &Process, now: Now) -> String {
    let mut exposition = Exposition::default();
    let report = Report::of(engine, now);
    add_server(&mut exposition, &report);
    add_classes(&mut exposition, &report);
    add_process(&mut exposition, process, &report, now);
    add_connections(&mut exposition, engine);
    add_histograms(&mut exposition, engine, now);
    exposition.render()
}

fn add_server(exposition: &mut Exposition, report: &Report) {
    exposition.add(&names::UP, &[], 1.0);
    exposition.add(&names::VERSION, &[("version", MEMCACHED_VERSION)], 1.0);
    let own_version = env!("CARGO_PKG_VERSION");
    let build = [("version", own_version), ("memcached_version", MEMCACHED_VERSION)];
    exposition.add(&names::BUILD_INFO, &build, 1.0);
    let settings = ["transport", "eviction"].map(|name| (name, report.memcarp(name).unwrap_or_default()));
    exposition.add(&names::SETTINGS_INFO, &settings, 1.0);
    for (line, family) in names::SERVER {
        let value = match *line {
            Line::General(name) => report.general(name),
            Line::Setting(name) => report.setting(name),
            Line::Slabs(name) => report.slabs(name),
            Line::Memcarp(name) => report.memcarp(name),
        };
        match family.kind {
            Kind::Counter => exposition.count(family, &[], whole(value)),
            _ => exposition.add(family, &[], number(value)),
        }
    }
    for (name, command, status) in names::COMMAND_LINES {
        let labels = [("command", *command), ("status", *status)];
        exposition.count(&names::COMMANDS, &labels, whole(report.general(name)));
    }
    let general = |name| whole(report.general(name));
    let compared = general("cas_hits") + general("cas_misses") + general("cas_badval");
    let labels = [("command", "set"), ("status", "hit")];
    exposition.count(&names::COMMANDS, &labels, general("cmd_set").saturating_sub(compared));
}

fn add_classes(exposition: &mut Exposition, report: &Report) {
    for class in report.classes() {
        let slab = class.to_string();
        for (line, family) in names::CLASSES {
            let value = match *line {
                ClassLine::Item(name) => report.item(class, name),
                ClassLine::Slab(name) => report.slab(class, name),
            };
            // Without lists, and without a list for items of short life, there is no line.
            if let Some(value) = value {
                match family.kind {
                    Kind::Counter => exposition.count(family, &[("slab", &slab)], value),
                    _ => exposition.add(family, &[("slab", &slab)], value as f64),
                }
            }
        }
        let count = |name| report.slab(class, name).unwrap_or(0);
        let mut add = |command, status, value| {
            let labels = [("slab", slab.as_str()), ("command", command), ("status", status)];
            exposition.count(&names::SLAB_COMMANDS, &labels, value);
        };
        for (name, command, status) in names::CLASS_COMMAND_LINES {
            add(command, status, count(name));
        }
        let compared = count("cas_hits") + count("cas_badval");
        add("set", "hit", count("cmd_set").saturating_sub(compared));
        for (name, lru) in names::LRU_HIT_LINES {
            if let Some(hits) = report.item(class, name) {
                exposition.count(&names::SLAB_LRU_HITS, &[("slab", &slab), ("lru", lru)], hits);
            }
        }
    }
}

fn add_process(exposition: &mut Exposition, process: &Process, report: &Report, now: Now) {
    let cpu = number(report.general("rusage_user")) + number(report.general("rusage_system"));
    exposition.add(&names::PROCESS_CPU, &[], (cpu * 1e6).round() / 1e6);
    exposition.add(&names::PROCESS_OPEN_FDS, &[], process.open_fds as f64);
    exposition.add(&names::PROCESS_MAX_FDS, &[], process.max_fds as f64);
    exposition.add(&names::PROCESS_RESIDENT, &[], process.resident_bytes as f64);
    exposition.add(&names::PROCESS_VIRTUAL, &[], process.virtual_bytes as f64);
    exposition.add(&names::PROCESS_START, &[], now.unix() as f64 - number(report.general("uptime")));
    let limit = number(report.memcarp("memory_limit_bytes"));
    if limit > 0.0 {
        exposition.add(&names::RESIDENT_RATIO, &[], process.resident_bytes as f64 / limit);
    }
    for (worker, nanos) in &process.threads {
        let seconds = *nanos as f64 / 1e9;
        exposition.add(&names::WORKER_BUSY, &[("worker", &worker.to_string())], seconds);
    }
}

fn add_connections(exposition: &mut Exposition, engine: &Engine) {
    let connections = &engine.connections;
    let mut listeners: Vec<_> =
        connections.listeners().into_iter().map(|(_, address)| (address, 0u64)).collect();
    connections.for_each_open(|connection| {
        if let Some((_, count)) =
            listeners.iter_mut().find(|(address, _)| Arc::ptr_eq(address, &connection.listener))
        {
            *count += 1;
        }
    });
    for (address, count) in listeners {
        exposition.add(&names::LISTENER_CONNECTIONS, &[("listener", &address.to_string())], count as f64);
    }
}

fn add_histograms(exposition: &mut Exposition, engine: &Engine, now: Now) {
    let totals = engine.totals().distributions;
    for (service, times) in Service::ALL.into_iter().zip(&totals.service) {
        let labels: Labels<'_> = &[("command", service.name())];
        let places = times.places().map(|(micros, count)| (micros as f64 / 1e6, count));
        let sum = times.sum() as f64 / 1e9;
        exposition.histogram(&names::COMMAND_DURATION, labels, places, times.above(), sum);
    }
    let sizes = &totals.item_size;
    let places = sizes.places().map(|(bytes, count)| (bytes as f64, count));
    exposition.histogram(&names::STORED_SIZE, &[], places, sizes.above(), sizes.sum() as f64);
    let ttls = &totals.item_ttl;
    let places = ttls.places().map(|(seconds, count)| (seconds as f64, count));
    exposition.histogram(&names::STORED_TTL, &[], places, ttls.above(), ttls.sum() as f64);
    let store = engine.store_stats(now);
    // The store counts whole seconds by their bit length: 0; 1; 2 and 3; and so on.
    for (family, counts, sum) in [
        (&names::EVICTED_AGE, &store.evicted_age, store.evicted_age_sum),
        (&names::EVICTED_IDLE, &store.evicted_idle, store.evicted_idle_sum),
    ] {
        let (places, above) = counts.split_at(LONGEST_AGE_BITS);
        let places = places.iter().enumerate().map(|(bits, &count)| ((1u64 << bits) as f64, count));
        exposition.histogram(family, &[], places, above.iter().sum(), sum as f64);
    }
}

/// Ages of 2^25 seconds (a year) and more share a place.
const LONGEST_AGE_BITS: usize = 26;

/// A number of `stats`, or what its words say; 0 if the line is not there.
fn number(value: Option<&str>) -> f64 {
    match value {
        Some("yes" | "on") => 1.0,
        value => value.and_then(|value| value.parse().ok()).unwrap_or(0.0),
    }
}

fn whole(value: Option<&str>) -> u64 {
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}
