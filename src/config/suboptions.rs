//! The table of what may follow `-o`. Most of it tunes memcached's own engine and does nothing here.

use super::draft::{Draft, set};
use super::error::{Error, FAILURE, USAGE};
use super::options::Takes::{self, Flag, Maybe, Needs};
use super::value::{MOST, Value};

/// One name that may follow `-o`.
pub struct Suboption {
    /// As written.
    pub name: &'static str,
    /// One line of `--help`; empty for one that has no effect.
    pub help: &'static str,
    /// Whether a value follows, and what is set.
    pub takes: Takes,
}

/// Every suboption of memcached 1.6.45.
#[rustfmt::skip] // a table
pub const SUBOPTIONS: &[Suboption] = &[
    sub("no_maxconns_fast", "have connections over -c wait, not turned away",
        Flag(|d, on| d.config.maxconns_fast = !on)),
    sub("maxconns_fast", "turn them away (the default)",
        Flag(|d, on| d.config.maxconns_fast = on)),
    sub("no_modern", "the defaults of memcached 1.4: no_maxconns_fast",
        Flag(no_modern)),
    sub("idle_timeout", "close TCP connections idle so long; 0 is never [0]",
        Needs("SECONDS", |d, v| set(&mut d.config.idle_timeout, v.number(0..=MOST, USAGE)))),
    sub("track_sizes", "keep the histogram of stats sizes",
        Flag(|d, on| d.config.track_sizes = on)),
    sub("watcher_logbuf_size", "KiB that may wait for one watcher [256]",
        Needs("KIB", |d, v| set(&mut d.config.watcher_logbuf, kib(v)))),
    sub("ssl_chain_cert", "certificate chain, in PEM",
        Needs("FILE", |d, v| set(&mut d.ssl.chain_cert, v.path().map(Some)))),
    sub("ssl_key", "private key, if it is not in that file",
        Needs("FILE", |d, v| set(&mut d.ssl.key, v.path().map(Some)))),
    sub("ssl_keyformat", "form of the key: 1 PEM, 2 DER [1]",
        Needs("NUM", |d, v| set(&mut d.ssl.keyformat, v.number(1..=2, USAGE)))),
    sub("ssl_ca_cert", "authorities of client certificates, in PEM",
        Needs("FILE", |d, v| set(&mut d.ssl.ca_cert, v.path().map(Some)))),
    sub("ssl_verify_mode", "client certificates: 0 no, 1 may, 2 and 3 must [0]",
        Needs("NUM", |d, v| set(&mut d.ssl.verify_mode, v.number(0..=3, FAILURE)))),
    sub("ssl_min_version", "lowest version: 2 is TLS 1.2, 3 is TLS 1.3 [2]",
        Needs("NUM", |d, v| set(&mut d.ssl.min_version, v.number(0..=3, FAILURE)))),
    sub("ssl_session_cache", "let TLS sessions be resumed",
        Flag(|d, on| d.ssl.session_cache = on)),

    sub("modern", "", Flag(|_, _| ())),
    sub("ssl_ciphers", "", Needs("LIST", |d, v| set(&mut d.ssl.ciphers, v.name().map(Some)))),
    sub("ssl_wbuf_size", "", Needs("KIB", |d, v| set(&mut d.ssl.wbuf_size, kib(v)))),
    sub("ssl_kernel_tls", "", Flag(|d, on| d.ssl.kernel_tls = on)),
    sub("lru_crawler", "", Flag(|d, on| d.config.inert.lru_crawler = on)),
    sub("no_lru_crawler", "", Flag(|d, on| d.config.inert.lru_crawler = !on)),
    sub("lru_crawler_sleep", "", Needs("MICROSECONDS", |d, v| {
        set(&mut d.config.inert.lru_crawler_sleep, v.number(0..=1_000_000, FAILURE))
    })),
    sub("lru_crawler_tocrawl", "", Needs("NUM", |d, v| {
        set(&mut d.config.inert.lru_crawler_tocrawl, v.number(0..=i64::from(u32::MAX), FAILURE))
    })),
    sub("lru_maintainer", "", Flag(|d, on| d.config.inert.lru_maintainer = on)),
    sub("no_lru_maintainer", "", Flag(|d, on| d.config.inert.lru_maintainer = !on)),
    sub("hot_lru_pct", "", Needs("PERCENT", |d, v| {
        set(&mut d.config.inert.hot_lru_pct, v.number(1..=79, FAILURE))
    })),
    sub("warm_lru_pct", "", Needs("PERCENT", |d, v| {
        set(&mut d.config.inert.warm_lru_pct, v.number(1..=79, FAILURE))
    })),
    sub("hot_max_factor", "", Needs("FACTOR", |d, v| {
        set(&mut d.config.inert.hot_max_factor, v.fraction(0.0, f64::MAX))
    })),
    sub("warm_max_factor", "", Needs("FACTOR", |d, v| {
        set(&mut d.config.inert.warm_max_factor, v.fraction(0.0, f64::MAX))
    })),
    sub("temporary_ttl", "", Needs("SECONDS", |d, v| {
        set(&mut d.config.inert.temporary_ttl, v.number(0..=MOST, USAGE).map(Some))
    })),
    sub("slab_reassign", "", Flag(|d, on| d.config.inert.slab_reassign = on)),
    sub("no_slab_reassign", "", Flag(|d, on| d.config.inert.slab_reassign = !on)),
    sub("slab_automove", "", Maybe("NUM", slab_automove)),
    sub("no_slab_automove", "", Flag(|d, on| d.config.inert.slab_automove = u32::from(!on))),
    sub("slab_automove_ratio", "", Needs("RATIO", |d, v| {
        set(&mut d.config.inert.slab_automove_ratio, v.fraction(0.0, 1.0))
    })),
    sub("slab_automove_window", "", Needs("SECONDS", |d, v| {
        set(&mut d.config.inert.slab_automove_window, v.number(3..=MOST, FAILURE))
    })),
    sub("slab_automove_freeratio", "", Needs("RATIO", |_, v| v.fraction(0.0, 1.0).map(drop))),
    sub("slab_chunk_max", "", Needs("KIB", slab_chunk_max)),
    sub("slab_sizes", "", Needs("A-B-C", |_, v| slab_sizes(v))),
    sub("no_chunked_items", "", Flag(|_, _| ())),
    sub("hashpower", "", Needs("NUM", |d, v| set(&mut d.config.inert.hashpower, v.number(12..=32, FAILURE)))),
    sub("no_hashexpand", "", Flag(|_, _| ())),
    sub("hash_algorithm", "", Needs("NAME", hash_algorithm)),
    sub("tail_repair_time", "", Needs("SECONDS", |d, v| {
        set(&mut d.config.inert.tail_repair_time, v.number(10..=MOST, FAILURE))
    })),
    sub("worker_logbuf_size", "", Needs("KIB", |d, v| set(&mut d.config.inert.worker_logbuf, kib(v)))),
    sub("read_buf_mem_limit", "", Needs("MIB", read_buf_mem_limit)),
    sub("resp_obj_mem_limit", "", Maybe("MIB", |_, _| Ok(()))),
    sub("inline_ascii_resp", "", Flag(|_, _| ())),
    sub("no_inline_ascii_resp", "", Flag(|_, _| ())),
    sub("drop_privileges", "", Flag(|d, on| d.config.inert.drop_privileges = on)),
    sub("no_drop_privileges", "", Flag(|d, on| d.config.inert.drop_privileges = !on)),
    sub("sock_cookie_id", "", Needs("NUM", any_number)),
    sub("ext_path", "", Needs("FILE:SIZE", ext_path)),
    sub("ext_page_size", "", Needs("MIB", any_number)),
    sub("ext_wbuf_size", "", Needs("MIB", any_number)),
    sub("ext_threads", "", Needs("NUM", any_number)),
    sub("ext_item_size", "", Needs("BYTES", any_number)),
    sub("ext_item_age", "", Needs("SECONDS", any_number)),
    sub("ext_low_ttl", "", Needs("SECONDS", any_number)),
    sub("ext_recache_rate", "", Needs("NUM", any_number)),
    sub("ext_compact_under", "", Needs("NUM", any_number)),
    sub("ext_drop_under", "", Needs("NUM", any_number)),
    sub("ext_max_sleep", "", Needs("MICROSECONDS", any_number)),
    sub("ext_max_frag", "", Needs("RATIO", |_, v| v.fraction(0.0, f64::MAX).map(drop))),
    sub("ext_drop_unread", "", Flag(|_, _| ())),
];

const fn sub(name: &'static str, help: &'static str, takes: Takes) -> Suboption {
    Suboption { name, help, takes }
}

/// Reads one `-o` value: names separated by commas, some with `=VALUE`. Later ones win.
pub fn read(draft: &mut Draft, list: Value<'_>) -> Result<(), Error> {
    let list = list.bytes();
    let mut written: Vec<&[u8]> = list.split(|&byte| byte == b',').collect();
    if written.last() == Some(&b"".as_slice()) {
        written.pop();
    }
    for one in written {
        let alone = one.len() == list.len();
        let place = String::from_utf8_lossy(one);
        apply(draft, one).map_err(|error| if alone { error } else { error.at(place) })?;
    }
    Ok(())
}

fn apply(draft: &mut Draft, one: &[u8]) -> Result<(), Error> {
    let (name, value) = match one.iter().position(|&byte| byte == b'=') {
        Some(at) => (&one[..at], Some(&one[at + 1..])),
        None => (one, None),
    };
    let known = SUBOPTIONS.iter().find(|suboption| suboption.name.as_bytes() == name);
    let suboption = known.ok_or_else(|| illegal(name))?;
    draft.settled(suboption.name);
    match (suboption.takes, value) {
        (Flag(set), _) => {
            set(draft, true);
            Ok(())
        }
        (Needs(value, _), None) => Err(Error::new(FAILURE, format!("write {}={value}", suboption.name))),
        (takes, value) => {
            let written = String::from_utf8_lossy(one);
            takes.write(draft, Value::of_bytes(value.unwrap_or_default()), format_args!("-o {written}"))
        }
    }
}

fn illegal(name: &[u8]) -> Error {
    let name = String::from_utf8_lossy(name);
    let also = match &*name {
        "" => "; write names separated by single commas",
        name if name.starts_with("proxy_") => "; the proxy is not part of memcarp",
        _ => "; memcarp --help lists those there are",
    };
    Error::new(FAILURE, format!("Illegal suboption \"{name}\"{also}"))
}

fn kib(value: Value<'_>) -> Result<usize, Error> {
    value.number(0..=1 << 20, FAILURE).map(|kib: usize| kib << 10)
}

fn any_number(_: &mut Draft, value: Value<'_>) -> Result<(), Error> {
    value.number(0..=MOST, FAILURE).map(|_: u32| ())
}

/// The defaults of memcached 1.4.
fn no_modern(draft: &mut Draft, on: bool) {
    if !on {
        return;
    }
    draft.config.maxconns_fast = false;
    let inert = &mut draft.config.inert;
    inert.slab_reassign = false;
    inert.slab_automove = 0;
    inert.lru_crawler = false;
    inert.lru_maintainer = false;
    inert.lru_segmented = false;
    inert.hash_algorithm = "jenkins".to_owned();
}

fn slab_automove(draft: &mut Draft, value: Value<'_>) -> Result<(), Error> {
    let level = match value.raw() {
        b"" => Ok(1),
        _ => value.number(0..=2, FAILURE),
    };
    set(&mut draft.config.inert.slab_automove, level)
}

fn slab_chunk_max(draft: &mut Draft, value: Value<'_>) -> Result<(), Error> {
    let kib = value.number(1..=1 << 20, FAILURE);
    set(&mut draft.config.inert.slab_chunk_max, kib.map(|kib: u32| kib << 10))
}

/// Sizes that grow by at least 8 from memcached's smallest chunk.
fn slab_sizes(value: Value<'_>) -> Result<(), Error> {
    let mut least = 48;
    for size in value.bytes().split(|&byte| byte == b'-') {
        let size: Result<i64, Error> = Value::of_bytes(size).number(least..=MOST, USAGE);
        least = size.map_err(|error| error.at("sizes grow by 8 at least, as in 96-192-384"))? + 8;
    }
    Ok(())
}

fn read_buf_mem_limit(draft: &mut Draft, value: Value<'_>) -> Result<(), Error> {
    let mib = value.number(0..=1 << 24, FAILURE);
    set(&mut draft.config.inert.read_buf_mem_limit, mib.map(|mib: usize| mib << 20))
}

fn hash_algorithm(draft: &mut Draft, value: Value<'_>) -> Result<(), Error> {
    let name = value.text();
    if !["jenkins", "murmur3", "xxh3"].contains(&name.as_str()) {
        return Err(Error::new(FAILURE, "write jenkins, murmur3 or xxh3"));
    }
    draft.config.inert.hash_algorithm = name;
    Ok(())
}

fn ext_path(draft: &mut Draft, value: Value<'_>) -> Result<(), Error> {
    if !value.bytes().contains(&b':') {
        return Err(Error::new(FAILURE, "write FILE:SIZE, /data/file:5G for example"));
    }
    draft.advise("-o ext_path has no effect: items are kept in memory only (-m)");
    Ok(())
}
