//! What an operator writes: any command line and any file give a configuration that keeps its own limits, or an error
//! that says something, and the same each time.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memcarp::config::{Config, Invocation, Sources};
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::sync::LazyLock;

/// Stands between the arguments, one a line, and the file.
const SEPARATOR: &[u8] = b"---\n";

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("memcarp-fuzz-config-{}", std::process::id())));

fuzz_target!(|data: &[u8]| {
    let end = data.windows(SEPARATOR.len()).position(|window| window == SEPARATOR);
    let (written, file) = match end {
        Some(end) => (&data[..end], Some(&data[end + SEPARATOR.len()..])),
        None => (data, None),
    };
    let mut args: Vec<OsString> =
        written.split(|&byte| byte == b'\n').map(|arg| OsString::from_vec(arg.to_vec())).collect();
    if let Some(bytes) = file {
        std::fs::write(&*FILE, bytes).expect("a file for temporary use");
        // A table or an assignment makes it TOML, as far as it matters here.
        let option = if bytes.contains(&b'=') { "--config" } else { "--memcached-conf" };
        args.push(option.into());
        args.push(FILE.clone().into());
    }
    // Other files than this one are none of a fuzzer's business.
    let names_a_file = |arg: &OsString| {
        let text = arg.to_string_lossy();
        text.contains("conf") && !text.ends_with("-conf") && !text.ends_with("--config")
    };
    if args.iter().take(args.len().saturating_sub(1)).any(names_a_file) {
        return;
    }
    let sources = Sources::new(args, []);
    match (sources.read(), sources.read()) {
        (Ok(Invocation::Serve(one, said, _)), Ok(Invocation::Serve(other, also_said, _))) => {
            // What is not a number equals nothing, itself included; none may get this far.
            assert_eq!((&one, said), (&other, also_said));
            check(&one);
        }
        (Ok(Invocation::Check(one, ..)), Ok(Invocation::Check(..))) => check(&one),
        (Ok(Invocation::Print(text)), Ok(Invocation::Print(same))) => assert!(!text.is_empty() && text == same),
        (Err(error), Err(same)) => {
            assert_eq!(error.to_string(), same.to_string());
            assert!(!error.to_string().trim().is_empty());
            assert_ne!(error.exit(), 0);
        }
        (one, other) => panic!("the same words mean {one:?} and then {other:?}"),
    }
});

fn check(config: &Config) {
    assert!(config.memory_limit >= 2 * config.item_max, "{config:?}");
    assert!((1..=1 << 30).contains(&config.item_max), "{config:?}");
    assert!(config.threads >= 1 && config.conn_limit >= 1, "{config:?}");
    assert!(config.reqs_per_event >= 1 && config.unix_mask <= 0o7777, "{config:?}");
    let mut longest = 0;
    for key in [&b"thumb:42:small"[..], b"page:photo:42", &[b':'; 250], b"a"] {
        config.rules.for_each_source(key, |source| longest = longest.max(source.len()));
    }
    assert!(longest <= 250);
}
