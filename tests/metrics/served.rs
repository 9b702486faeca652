//! What is served: every name, equal to `stats`; and how it is served.

use std::collections::HashMap;
use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

use crate::common::{Connection, Server, wait_for};
use crate::http::{ask, get, start};
use crate::samples::{Samples, label_names};

/// Names, types, labels and sources of memcached_exporter.
const EXPORTER: &str = include_str!("exporter.txt");

/// What the exporter types against Prometheus' conventions.
const TYPED_OTHERWISE: &[(&str, &str)] = &[
    ("memcached_uptime_seconds", "gauge"),
    ("memcached_slab_items_evicted_time_seconds", "gauge"),
    ("memcached_slab_items_moves_to_cold", "untyped"),
    ("memcached_slab_items_moves_to_warm", "untyped"),
    ("memcached_slab_items_moves_within_lru", "untyped"),
];

struct Exported {
    name: &'static str,
    kind: &'static str,
    labels: Vec<&'static str>,
    source: &'static str,
}

fn exported() -> Vec<Exported> {
    let lines = EXPORTER.lines().filter(|line| !line.starts_with('#'));
    let exported: Vec<_> = lines
        .map(|line| {
            let fields: Vec<_> = line.split(' ').collect();
            let &[name, kind, labels, source] = &fields[..] else { panic!("{line}") };
            let labels = if labels == "-" { Vec::new() } else { labels.split(',').collect() };
            let other = TYPED_OTHERWISE.iter().find(|(other, _)| *other == name);
            Exported { name, kind: other.map_or(kind, |(_, kind)| kind), labels, source }
        })
        .collect();
    assert_eq!(exported.len(), 76);
    exported
}

/// The lines of one of the statistics.
fn stats(client: &mut Connection, page: &str) -> HashMap<String, String> {
    client.send(format!("{page}\r\n"));
    let answer = String::from_utf8(client.read_until(b"END\r\n")).expect("text");
    let lines = answer.lines().filter_map(|line| line.strip_prefix("STAT ")?.split_once(' '));
    lines.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

fn number(value: &str) -> f64 {
    match value {
        "yes" => 1.0,
        "no" => 0.0,
        value => value.parse().unwrap_or_else(|_| panic!("{value}")),
    }
}

/// Every command with every outcome, each a different number of times, in two size classes.
fn work(client: &mut Connection) {
    let mut commands = String::new();
    for (times, command) in [
        (2, "set a 0 600 1\r\n1"),
        (1, "set n 0 0 1\r\n1"),
        (3, "get a"),
        (4, "get no"),
        (5, "incr n 1"),
        (6, "incr no 1"),
        (7, "decr n 1"),
        (8, "decr no 1"),
        (9, "touch a 600"),
        (10, "touch no 0"),
        (11, "cas a 0 0 1 1\r\n1"),
        (12, "cas no 0 0 1 1\r\n1"),
        (13, "delete no"),
        (2, "ms c 1\r\n1"),
        (1, "delete c"),
        (1, "ms c 2 E77\r\n11"),
        (1, "cas c 0 0 1 77\r\n1"),
        (2, "mg c v"),
        (1, "verbosity 0"),
    ] {
        commands.push_str(&format!("{command}\r\n").repeat(times));
    }
    let long = "x".repeat(700);
    commands.push_str(&format!("set long 0 0 700\r\n{long}\r\nget long\r\n"));
    client.send(commands);
    client.send("mn\r\n");
    client.read_until(b"MN\r\n");
}

#[test]
fn every_name_of_the_exporter_is_there_with_its_type_and_labels() {
    let (server, address) = start(&["-o", "temporary_ttl=61"]);
    work(&mut server.connect());
    let samples = Samples::read(&get(address, "/metrics").body);
    for Exported { name, kind, labels, .. } in exported() {
        assert_eq!(samples.types.get(name).map(String::as_str), Some(kind), "{name}");
        let mut count = 0;
        for (written, _) in samples.of(name) {
            let mut names = label_names(written);
            let mut expected = labels.clone();
            names.sort_unstable();
            expected.sort_unstable();
            assert_eq!(names, expected, "{name}{written}");
            count += 1;
        }
        assert!(count > 0, "{name} has no sample");
    }
    let known: Vec<_> = exported().iter().map(|exported| exported.name).collect();
    for name in samples.types.keys().filter(|name| name.starts_with("memcached_")) {
        assert!(known.contains(&name.as_str()), "{name} is not the exporter's");
    }
}

#[test]
fn every_value_is_the_one_stats_says() {
    let (server, address) = start(&["-o", "temporary_ttl=61"]);
    let mut client = server.connect();
    work(&mut client);
    let samples = Samples::read(&get(address, "/metrics").body);
    let pages: HashMap<_, _> = ["stats", "stats settings", "stats items", "stats slabs"]
        .map(|page| (page.trim_start_matches("stats "), stats(&mut client, page)))
        .into();
    let (slabs, general) = (&pages["slabs"], &pages["stats"]);
    let mut compared = 0;
    for Exported { name, source, .. } in exported() {
        let Some((page, line)) = source.split_once(':') else { continue };
        for (labels, value) in samples.of(name) {
            let slab = labels.trim_start_matches("{slab=\"").trim_end_matches("\"}");
            let line = match page {
                "items" => format!("items:{slab}:{line}"),
                "slabs" if !slab.is_empty() => format!("{slab}:{line}"),
                _ => line.to_owned(),
            };
            let said = number(pages[page].get(&line).unwrap_or_else(|| panic!("no {line}")));
            match line.as_str() {
                // Time goes on, and asking takes bytes and processor time.
                "time" | "uptime" | "rusage_user" | "rusage_system" | "bytes_read" | "bytes_written" => {
                    assert!(value <= said && said < value + 5000.0, "{line}: {value} {said}");
                }
                _ => assert_eq!(value, said, "{name} {labels}"),
            }
            compared += 1;
        }
    }
    assert!(compared > 70, "{compared}");

    let commands = |of: &HashMap<String, String>, prefix: &str, command: &str, status: &str| {
        let line = |name: &str| of.get(&format!("{prefix}{name}")).map_or(0.0, |value| number(value));
        match (command, status) {
            ("set", _) => line("cmd_set") - line("cas_hits") - line("cas_misses") - line("cas_badval"),
            ("flush", _) => line("cmd_flush"),
            (command, "miss") => line(&format!("{command}_misses")),
            (command, "hit") => line(&format!("{command}_hits")),
            (command, status) => line(&format!("{command}_{status}")),
        }
    };
    let mut nonzero = 0;
    for (labels, value) in samples.of("memcached_commands_total") {
        let (command, status) = (label(labels, "command"), label(labels, "status"));
        assert_eq!(value, commands(general, "", command, status), "{labels}");
        nonzero += usize::from(value > 0.0);
    }
    assert_eq!(nonzero, 14, "all but flush");
    for (labels, value) in samples.of("memcached_slab_commands_total") {
        let prefix = format!("{}:", label(labels, "slab"));
        let said = commands(slabs, &prefix, label(labels, "command"), label(labels, "status"));
        assert_eq!(value, said, "{labels}");
    }
    assert_eq!(samples.value("memcached_slab_lru_hits_total{slab=\"1\",lru=\"cold\"}"), 5.0);
    assert_eq!(samples.value("memcached_up"), 1.0);
    assert_eq!(samples.value("memcached_version{version=\"1.6.45\"}"), 1.0);
}

fn label<'l>(labels: &'l str, name: &str) -> &'l str {
    let value = labels.split_once(&format!("{name}=\"")).expect(name).1;
    value.split('"').next().unwrap_or_default()
}

#[test]
fn every_outcome_is_counted_from_the_start() {
    let (_server, address) = start(&[]);
    let samples = Samples::read(&get(address, "/metrics").body);
    let mut outcomes: Vec<_> = samples
        .of("memcached_commands_total")
        .map(|(labels, value)| (label(labels, "command"), label(labels, "status"), value))
        .collect();
    outcomes.sort_by(|one, other| one.partial_cmp(other).expect("numbers"));
    let expected = "cas badval,cas hit,cas miss,decr hit,decr miss,delete hit,delete miss,flush hit,get hit,\
        get miss,incr hit,incr miss,set hit,touch hit,touch miss";
    let expected: Vec<_> =
        expected.split(',').map(|words| words.split_once(' ').expect("two words")).collect();
    assert_eq!(
        outcomes,
        expected.iter().map(|(command, status)| (*command, *status, 0.0)).collect::<Vec<_>>()
    );
}

#[test]
fn what_is_in_use_is_said() {
    let (_server, address) = start(&["--eviction", "clock"]);
    let samples = Samples::read(&get(address, "/metrics").body);
    assert_eq!(samples.value("memcarp_settings_info{transport=\"epoll\",eviction=\"clock\"}"), 1.0);
    let page = get(address, "/").body;
    for setting in ["<dt>transport</dt><dd>epoll</dd>", "<dt>eviction</dt><dd>clock</dd>"] {
        assert!(page.contains(setting), "no {setting} in {page}");
    }
}

#[test]
fn a_reset_is_seen() {
    let (server, address) = start(&[]);
    let mut client = server.connect();
    work(&mut client);
    let count = || {
        let samples = Samples::read(&get(address, "/metrics").body);
        let stored = samples.value("memcarp_stored_item_size_bytes_count");
        let gets = samples.value("memcarp_command_duration_seconds_count{command=\"get\"}");
        (samples.value("memcached_items_total"), stored, gets)
    };
    assert!(count().0 > 0.0);
    assert_eq!(client.ask("stats reset"), "RESET");
    assert_eq!(count(), (0.0, 0.0, 0.0));
}

#[test]
fn histograms_count_what_was_done() {
    let (server, address) = start(&["-m", "4", "-I", "1m", "-t", "1"]);
    let mut client = server.connect();
    work(&mut client);
    let value = "x".repeat(1000);
    let flood: String =
        (0..8000).map(|number| format!("set f{number} 0 0 1000 noreply\r\n{value}\r\n")).collect();
    client.send(flood);
    client.send("mn\r\n");
    client.read_until(b"MN\r\n");
    let samples = Samples::read(&get(address, "/metrics").body);
    let count = |name: &str| samples.value(&format!("{name}_count"));
    let commands = |command: &str| {
        samples.value(&format!("memcarp_command_duration_seconds_count{{command=\"{command}\"}}"))
    };
    // As `work` has them: sets, gets, deletes, and all the rest.
    assert_eq!(commands("set"), 8000.0 + 2.0 + 1.0 + 11.0 + 12.0 + 2.0 + 1.0 + 1.0 + 1.0);
    assert_eq!(commands("get"), 3.0 + 4.0 + 2.0 + 1.0);
    assert_eq!(commands("delete"), 13.0 + 1.0);
    assert_eq!(commands("other"), 5.0 + 6.0 + 7.0 + 8.0 + 9.0 + 10.0 + 1.0 + 2.0);
    // The touch gave it no new one.
    assert_eq!(count("memcarp_stored_item_ttl_seconds"), 2.0);
    assert_eq!(samples.value("memcarp_stored_item_ttl_seconds_sum"), 1200.0);
    assert_eq!(samples.value("memcarp_stored_item_ttl_seconds_bucket{le=\"512\"}"), 0.0);
    assert_eq!(samples.value("memcarp_stored_item_ttl_seconds_bucket{le=\"1024\"}"), 2.0);
    assert_eq!(count("memcarp_stored_item_size_bytes"), samples.value("memcached_items_total"));
    let evicted = samples.value("memcached_items_evicted_total");
    assert!(evicted > 1000.0, "{evicted}");
    assert_eq!(count("memcarp_evicted_item_age_seconds"), evicted);
    assert_eq!(count("memcarp_evicted_item_idle_seconds"), evicted);
    assert!(samples.value("memcarp_worker_busy_seconds_total{worker=\"0\"}") > 0.0);
    let listener = format!("memcarp_listener_connections{{listener=\"tcp:{}\"}}", server.address);
    assert_eq!(samples.value(&listener), 1.0);
    assert_buckets_grow(&samples);
}

/// Buckets grow up to the count, and the last one is above all.
fn assert_buckets_grow(samples: &Samples) {
    let mut histograms: HashMap<String, Vec<(f64, f64)>> = HashMap::new();
    for (sample, value) in samples.all() {
        let Some((name, labels)) = sample.split_once("_bucket{") else { continue };
        let (others, bound) = labels.rsplit_once("le=\"").expect("a bound");
        let bound = match bound.trim_end_matches("\"}") {
            "+Inf" => f64::INFINITY,
            bound => bound.parse().expect("a number"),
        };
        let others = others.trim_end_matches(',');
        let key =
            if others.is_empty() { format!("{name}_count") } else { format!("{name}_count{{{others}}}") };
        histograms.entry(key).or_default().push((bound, value));
    }
    assert_eq!(histograms.len(), 8);
    for (count, mut buckets) in histograms {
        buckets.sort_by(|one, other| one.0.total_cmp(&other.0));
        assert!(buckets.is_sorted_by(|one, other| one.1 <= other.1), "{count}: {buckets:?}");
        assert!(
            buckets.len() > 20 && buckets.last() == Some(&(f64::INFINITY, samples.value(&count))),
            "{count}"
        );
    }
}

#[test]
fn only_what_is_there_is_answered() {
    let (server, address) = start(&[]);
    let metrics = get(address, "/metrics");
    assert_eq!(metrics.status, 200);
    assert!(
        metrics.head.contains("content-type: text/plain; version=0.0.4; charset=utf-8\r\n"),
        "{}",
        metrics.head
    );
    let modern = ask(address, "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(modern.head.ends_with("connection: close") || modern.head.contains("connection: close\r\n"));
    assert_eq!((get(address, "/healthz").status, get(address, "/readyz").status), (200, 200));
    assert_eq!(get(address, "/metric").status, 404);
    let head = ask(address, "HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((head.status, head.body.as_str()), (200, ""));
    let post = ask(address, "POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(post.status, 405);
    assert!(post.head.contains("allow: GET, HEAD\r\n"));
    let long = format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100_000));
    assert!(matches!(ask(address, &long[..20_000]).status, 414 | 431));

    // Whoever says nothing, or does not read, is in nobody's way.
    let silent: Vec<_> = (0..10).map(|_| TcpStream::connect(address).expect("a listening server")).collect();
    assert_eq!(get(address, "/healthz").body, "ok\n");
    assert_eq!(server.connect().ask("mn"), "MN");
    drop(silent);
}

#[test]
fn a_taken_default_port_is_told_and_done_without() {
    // Whoever has it, it is taken.
    let _taken = TcpListener::bind("127.0.0.1:9150");
    let server = DefaultMetrics::start();
    for said in ["no metrics: cannot listen on 127.0.0.1:9150", "memcarp serves on"] {
        wait_for(said, || server.log().contains(said).then_some(()));
    }
}

#[test]
fn a_taken_port_that_was_asked_for_is_an_error() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let address = taken.local_addr().expect("bound").to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_memcarp"))
        .args(["-p", "-1", "-u", "root", "--metrics-listen", &address])
        .output()
        .expect("memcarp was built");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(71), "{stderr}");
    assert!(stderr.contains(&format!("cannot listen on {address}")), "{stderr}");
    assert!(stderr.contains("--metrics-listen"), "{stderr}");
}

#[test]
fn off_is_off() {
    let server = Server::memcarp(&["-v"]);
    assert_eq!(server.connect().ask("mn"), "MN");
    assert!(!server.log().contains("Metrics"), "{}", server.log());
}

/// A server started without a word about metrics.
struct DefaultMetrics(std::process::Child, std::path::PathBuf);

impl DefaultMetrics {
    fn start() -> DefaultMetrics {
        let directory = crate::common::fresh_directory();
        let log = std::fs::File::create(directory.join("log")).expect("our own directory");
        let mut command = Command::new(env!("CARGO_BIN_EXE_memcarp"));
        command.args(["-p", "-1", "-u", "root"]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        DefaultMetrics(command.spawn().expect("memcarp was built"), directory)
    }

    fn log(&self) -> String {
        let mut text = String::new();
        let file = std::fs::File::open(self.1.join("log"));
        file.and_then(|mut file| file.read_to_string(&mut text)).expect("our own file");
        text
    }
}

impl Drop for DefaultMetrics {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}
