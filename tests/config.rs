//! What command lines mean: from arguments to `Config`, in process.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use memcarp::config::{
    self, Config, Error, Eviction, Invocation, ListenTls, LogFormat, MetricsListen, Port, Protocol, Sources,
    Transport,
};
use memcarp::{hash_password, health, route};
use proptest::prelude::*;

fn try_read(args: &[&str]) -> Result<Invocation, Error> {
    Sources::new(args.iter().map(OsString::from), []).read()
}

fn read(args: &[&str]) -> Config {
    with_warnings(args).0
}

fn with_warnings(args: &[&str]) -> (Config, Vec<String>) {
    match try_read(args) {
        Ok(Invocation::Serve(config, warnings, _)) => {
            (*config, warnings.iter().map(|warning| warning.to_string()).collect())
        }
        other => panic!("{args:?} do not start a server: {other:?}"),
    }
}

/// The exit code and the message.
fn refused(args: &[&str]) -> (u8, String) {
    match try_read(args) {
        Err(error) => (error.exit(), error.to_string()),
        other => panic!("{args:?} are not refused: {other:?}"),
    }
}

fn hosts(config: &Config) -> Vec<&str> {
    config.listen.iter().map(|listen| listen.host.as_str()).collect()
}

#[test]
fn nothing_written_means_the_defaults() {
    assert_eq!(read(&[]), Config::default());
    assert_eq!(read(&["some", "words", "--", "-c", "0"]), Config::default());
    assert_eq!(read(&["-o", "modern", "-o", ""]), Config::default());
}

#[test]
fn the_transport_has_three_names() {
    assert_eq!(read(&[]).transport, Transport::Auto);
    assert_eq!(read(&["--transport", "auto"]).transport, Transport::Auto);
    assert_eq!(read(&["--transport=epoll"]).transport, Transport::Epoll);
    assert_eq!(read(&["--transport", "io_uring"]).transport, Transport::IoUring);
    let refused = try_read(&["--transport", "kqueue"]).expect_err("that is another system's");
    assert_eq!(refused.exit(), 64);
    assert_eq!(refused.to_string(), "--transport kqueue: write auto, epoll or io_uring");
}

#[test]
fn metrics_are_where_they_are_asked_for() {
    let at = |host: &str, port| MetricsListen::At { host: host.to_owned(), port };
    assert_eq!(read(&[]).metrics, MetricsListen::Default);
    assert_eq!(read(&["--metrics-listen", "off"]).metrics, MetricsListen::Off);
    assert_eq!(read(&["--metrics-listen=*:9151"]).metrics, at("*", 9151));
    assert_eq!(read(&["--metrics-listen", "off", "--metrics-listen", "[::1]:0"]).metrics, at("::1", 0));
    assert!(read(&[]).metrics_allow.is_empty());
    assert!(!read(&["--metrics-allow", "::1"]).metrics_allow.admit([127, 0, 0, 1].into()));
    assert_eq!(read(&["--eviction=clock"]).eviction, Eviction::Clock);
    assert_eq!(read(&["--eviction", "queues"]).eviction, Eviction::Queues);
    assert!(try_read(&["--eviction", "lru"]).is_err());
    assert_eq!(read(&["--log-format=json"]).log_format, LogFormat::Json);
    assert_eq!(read(&["--log-format", "json", "--log-format", "text"]).log_format, LogFormat::Text);
    assert!(try_read(&["--log-format", "xml"]).is_err());
    let refused = try_read(&["--metrics-listen", "9150"]).expect_err("that is a port only");
    assert_eq!(refused.exit(), 64);
    assert_eq!(
        refused.to_string(),
        "--metrics-listen 9150: write HOST:PORT, *:PORT for every address, or off"
    );
}

#[test]
fn networks_accumulate_and_a_listener_has_its_own() {
    let config = read(&["--allow", "10.0.0.0/8", "-l", "allow[127.0.0.1]:*", "--allow=192.168.0.0/16"]);
    assert!(config.allow.admit([10, 1, 2, 3].into()) && config.allow.admit([192, 168, 1, 1].into()));
    assert!(!config.allow.admit([127, 0, 0, 1].into()));
    assert!(config.listen[0].allow.admit([127, 0, 0, 1].into()));
    assert_eq!(
        refused(&["--allow", "10.1.2.3/8"]),
        (64, "--allow 10.1.2.3/8: 10.1.2.3/8 is an address within 10.0.0.0/8; write that, or the address alone".into())
    );
}

#[test]
fn metrics_have_settings_of_their_own() {
    let config = read(&["--metrics-ssl-chain-cert", "/c", "--metrics-auth-file=/u"]);
    let tls = config.metrics_tls.unwrap();
    assert_eq!((tls.chain_cert, tls.key, tls.verify_mode), ("/c".into(), "/c".into(), 0));
    assert_eq!((config.metrics_auth_file, config.tls), (Some("/u".into()), None));
    let tls = read(&["--metrics-ssl-chain-cert=/c", "--metrics-ssl-key=/k", "--metrics-ssl-ca-cert=/a"]);
    let tls = tls.metrics_tls.unwrap();
    assert_eq!((tls.key, tls.ca_cert, tls.verify_mode), ("/k".into(), Some("/a".into()), 2));
    assert_eq!(
        refused(&["--metrics-ssl-key", "/k"]),
        (64, "TLS for metrics needs a certificate; write --metrics-ssl-chain-cert FILE".into())
    );
}

/// Each option, long and short, changes what it is about and nothing else.
#[test]
fn every_option_sets_its_field() {
    type Change = fn(&mut Config);
    let table: &[(&str, &str, &str, Change)] = &[
        ("-p", "--port", "-1", |c| c.tcp_port = Port::Ephemeral),
        ("-p", "--port", "0", |c| c.tcp_port = Port::Off),
        ("-p", "--port", "65535", |c| c.tcp_port = Port::Fixed(65535)),
        ("-U", "--udp-port", "0", |_| ()),
        ("-s", "--unix-socket", "/run/x", |c| c.unix_socket = Some("/run/x".into())),
        ("-a", "--unix-mask", "0666", |c| c.unix_mask = 0o666),
        ("-P", "--pidfile", "/run/p", |c| c.pidfile = Some("/run/p".into())),
        ("-u", "--user", "nobody", |c| c.user = Some("nobody".into())),
        ("-m", "--memory-limit", "1024", |c| c.memory_limit = 1 << 30),
        ("-c", "--conn-limit", "16384", |c| c.conn_limit = 16384),
        ("-t", "--threads", "2", |c| c.threads = 2),
        ("-I", "--max-item-size", "5m", |c| c.item_max = 5 << 20),
        ("-R", "--max-reqs-per-event", "5", |c| c.reqs_per_event = 5),
        ("-b", "--listen-backlog", "7", |c| c.backlog = 7),
        ("-b", "--listen-backlog", "-1", |c| c.backlog = i32::MAX as u32),
        ("-B", "--protocol", "ascii", |c| c.protocol = Protocol::Ascii),
        ("-D", "--prefix-delimiter", "/x", |c| (c.prefix_delimiter, c.detail) = (b'/', true)),
        ("-D", "--prefix-delimiter", " ", |c| (c.prefix_delimiter, c.detail) = (b' ', true)),
        ("-Y", "--auth-file", "/a", |c| (c.auth_file, c.protocol) = (Some("/a".into()), Protocol::Ascii)),
        ("-e", "--memory-file", "/e", |c| c.memory_file = Some("/e".into())),
        ("-f", "--slab-growth-factor", "1.08", |c| c.inert.growth_factor = 1.08),
        ("-n", "--slab-min-size", "64", |c| c.inert.chunk_size = 64),
        ("-N", "--napi-ids", "4", |c| c.inert.napi_ids = 4),
        ("-o", "--extended", "no_maxconns_fast", |c| c.maxconns_fast = false),
        ("-o", "--extended", "idle_timeout=30", |c| c.idle_timeout = 30),
    ];
    for &(short, long, value, change) in table {
        let mut expected = Config::default();
        change(&mut expected);
        assert_eq!(read(&[short, value]), expected, "{short} {value}");
        assert_eq!(read(&[&format!("{short}{value}")]), expected, "{short}{value}");
        assert_eq!(read(&[long, value]), expected, "{long} {value}");
        assert_eq!(read(&[&format!("{long}={value}")]), expected, "{long}={value}");
    }
    let flags: &[(&str, &str, Change)] = &[
        ("-A", "--enable-shutdown", |c| c.shutdown_command = true),
        ("-C", "--disable-cas", |c| c.cas = false),
        ("-F", "--disable-flush-all", |c| c.flush = false),
        ("-L", "--enable-largepages", |_| ()),
        ("-M", "--disable-evictions", |c| c.evictions = false),
        ("-W", "--disable-watch", |c| c.watch = false),
        ("-X", "--disable-dumping", |c| c.dump = false),
        ("-d", "--daemon", |c| c.daemon = true),
        ("-k", "--lock-memory", |c| c.lock_memory = true),
        ("-r", "--enable-coredumps", |c| c.coredumps = true),
        ("-v", "--verbose", |c| c.verbosity = 1),
        ("-vvvv", "--verbose=3", |c| c.verbosity = 3),
    ];
    for &(short, long, change) in flags {
        let mut expected = Config::default();
        change(&mut expected);
        assert_eq!(read(&[short]), expected, "{short}");
        assert_eq!(read(&[long]), expected, "{long}");
    }
}

#[test]
fn command_lines_seen_in_the_wild() {
    let loki = read(&["-m 8192", "--extended=modern,track_sizes", "-I 5m", "-c 16384", "-v", "-u 11211"]);
    let expected = Config {
        memory_limit: 8 << 30,
        track_sizes: true,
        item_max: 5 << 20,
        conn_limit: 16384,
        verbosity: 1,
        user: Some("11211".into()),
        ..Config::default()
    };
    assert_eq!(loki, expected);

    assert_eq!(read(&["memcached", "-m", "256M"]).memory_limit, 256 << 20);
    assert_eq!(read(&["--conn-limit=1024", "--memory-limit=64", "--threads=4"]), Config::default());
    assert_eq!(hosts(&read(&["-l 127.0.0.1"])), ["127.0.0.1"]);

    let (mimir, warnings) = with_warnings(&["--extended=modern,ext_path=/data/file:9G,ext_wbuf_size=16"]);
    assert_eq!(mimir, Config::default());
    assert!(warnings[0].contains("ext_path has no effect"), "{warnings:?}");
}

#[test]
fn what_does_nothing_is_told() {
    let (_, warnings) = with_warnings(&["serve", "-p", "1", "now"]);
    assert_eq!(warnings, ["serve is no option, and ignored", "now is no option, and ignored"]);
    let (_, warnings) = with_warnings(&["-o", "ssl_chain_cert=/chain,ssl_key=/key"]);
    assert_eq!(warnings, ["ssl_chain_cert and ssl_key do nothing without -Z (enable-ssl)"]);
}

#[test]
fn the_names_of_commands_are_known() {
    assert_eq!(config::COMMANDS, [route::NAME, health::NAME, hash_password::NAME]);
}

#[test]
fn later_wins_but_addresses_accumulate() {
    let config =
        read(&["-p", "1", "-m64", "-l", "127.0.0.1,::1", "-p2", "--memory-limit=128", "-l", "*:5;[::1]:6"]);
    assert_eq!((config.tcp_port, config.memory_limit), (Port::Fixed(2), 128 << 20));
    assert_eq!(hosts(&config), ["127.0.0.1", "::1", "*", "::1"]);
    let ports: Vec<_> = config.listen.iter().map(|listen| listen.port).collect();
    assert_eq!(ports, [None, None, Some(5), Some(6)]);

    assert!(read(&["-o", "no_modern,maxconns_fast"]).maxconns_fast);
    assert!(!read(&["-o", "maxconns_fast", "-o", "no_modern"]).maxconns_fast);
}

#[test]
fn memcarps_own_options_make_no_beginning_ambiguous() {
    assert_eq!(read(&["--con=5"]).conn_limit, 5);
    assert!(refused(&["--check"]).1.contains("--check-config"));
}

#[test]
fn suboptions_of_the_engine_are_kept_for_stats() {
    let inert = read(&[
        "-o",
        "no_lru_crawler,lru_crawler_sleep=5,lru_crawler_tocrawl=6,hot_lru_pct=30,warm_lru_pct=50,hot_max_factor=0.5",
        "-o",
        "warm_max_factor=3,no_slab_reassign,slab_automove=2,slab_automove_ratio=0.5,slab_automove_window=5",
        "-o",
        "slab_chunk_max=256,hashpower=20,hash_algorithm=xxh3,tail_repair_time=10,worker_logbuf_size=5",
        "-o",
        "read_buf_mem_limit=2,temporary_ttl=5,drop_privileges,slab_sizes=96-192,no_chunked_items,sock_cookie_id=1,",
    ])
    .inert;
    let expected = config::Inert {
        slab_reassign: false,
        slab_automove: 2,
        slab_automove_ratio: 0.5,
        slab_automove_window: 5,
        slab_chunk_max: 256 << 10,
        lru_crawler: false,
        lru_crawler_sleep: 5,
        lru_crawler_tocrawl: 6,
        hot_lru_pct: 30,
        warm_lru_pct: 50,
        hot_max_factor: 0.5,
        warm_max_factor: 3.0,
        temporary_ttl: Some(5),
        hashpower: 20,
        hash_algorithm: "xxh3".into(),
        tail_repair_time: 10,
        worker_logbuf: 5 << 10,
        read_buf_mem_limit: 2 << 20,
        drop_privileges: true,
        ..config::Inert::default()
    };
    assert_eq!(inert, expected);

    let old = read(&["-o", "no_modern"]);
    assert!(!old.maxconns_fast && !old.inert.lru_segmented && !old.inert.lru_maintainer);
    assert_eq!(read(&["-o", "slab_automove=0,slab_automove"]).inert.slab_automove, 1);
}

#[test]
fn udp_gives_tcp_its_port() {
    let config = read(&["-U", "5"]);
    assert_eq!((config.tcp_port, config.udp_port), (Port::Fixed(5), 5));
    let config = read(&["-U", "5", "-p", "6"]);
    assert_eq!((config.tcp_port, config.udp_port), (Port::Fixed(6), 5));
    assert_eq!(read(&["-U", "0"]), Config::default());
}

#[test]
fn tls() {
    let ssl =
        "ssl_chain_cert=/c,ssl_key=/k,ssl_ca_cert=/a,ssl_verify_mode=2,ssl_min_version=3,ssl_wbuf_size=8";
    let config = read(&["-Z", "-o", ssl, "-l", "127.0.0.1:5,notls:127.0.0.1:6"]);
    let tls = config.tls.unwrap();
    assert_eq!((tls.chain_cert, tls.key), (PathBuf::from("/c"), PathBuf::from("/k")));
    assert_eq!(tls.ca_cert, Some("/a".into()));
    assert_eq!((tls.verify_mode, tls.min_version, tls.wbuf_size), (2, 3, 8 << 10));
    assert_eq!(config.listen[1].tls, ListenTls::Off);

    let names =
        ["-Z", "-o", ssl, "--ssl-allowed-names", "web.example.com, 10.0.0.7", "--ssl-allowed-names=a.b"];
    let names: Vec<_> =
        read(&names).tls.unwrap().allowed_names.iter().map(|name| name.to_str().into_owned()).collect();
    assert_eq!(names, ["web.example.com", "10.0.0.7", "a.b"]);
    assert_eq!(
        refused(&["-Z", "-o", "ssl_chain_cert=/c", "--ssl-allowed-names", "a.b"]),
        (64, "--ssl-allowed-names needs clients to show certificates; write -o ssl_verify_mode=2,ssl_ca_cert=FILE".into())
    );
    let (exit, said) = refused(&["--ssl-allowed-names", "*.b"]);
    assert_eq!((exit, said.contains("*.b is no name; write a DNS name")), (64, true), "{said}");

    let (exit, said) = refused(&["--ssl-allowed-names", "a.b"]);
    assert_eq!((exit, said.contains("write -Z")), (64, true), "{said}");

    assert_eq!(read(&["-o", ssl]).tls, None);
    assert_eq!(read(&["-Z", "-o", "ssl_chain_cert=/c"]).tls.unwrap().key, PathBuf::from("/c"));
    assert_eq!(refused(&["-Z"]).0, 64);
    assert_eq!(refused(&["-Z", "-p", "0", "-o", ssl]).0, 64);
    assert_eq!(refused(&["-l", "notls:127.0.0.1"]).0, 71);
}

#[test]
fn a_refusal_says_where_and_what_to_write() {
    let table: &[(&[&str], u8, &str)] = &[
        (&["-c", "0"], 1, "-c 0: write a number from 1 to 2147483647"),
        (
            &["--port=abc"],
            64,
            "-p abc: write a port from 1 to 65535, 0 for no TCP, or -1 for one the system chooses",
        ),
        (&["-m", "1g"], 64, "-m 1g: write a number of MiB: -m 1024 for 1 GiB"),
        (&["-D", ""], 1, "-D \"\": write the character that ends a prefix, -D : for example"),
        (
            &["-I", "33m"],
            64,
            "-m 64 is too little memory for two items of 34603008 bytes (-I): write -m 66 or more, or a smaller -I",
        ),
        (&["-o", "bogus"], 1, "-o bogus: Illegal suboption \"bogus\"; memcarp --help lists those there are"),
        (
            &["-o", "modern,hashpower=1"],
            1,
            "-o modern,hashpower=1: hashpower=1: write a number from 12 to 32",
        ),
        (&["-o", "idle_timeout"], 1, "-o idle_timeout: write idle_timeout=SECONDS"),
        (
            &["-B", "binary"],
            64,
            "-B binary: memcarp speaks only the text protocol; leave -B out, and have clients use that",
        ),
        (&["-Y", "/a", "-U", "5"], 64, "UDP (-U) and authentication (-Y) exclude each other; write -U 0"),
    ];
    for &(args, exit, message) in table {
        assert_eq!(refused(args), (exit, message.to_owned()), "{args:?}");
    }
    let (exit, message) = refused(&["--prt", "5"]);
    assert_eq!(exit, 1);
    assert!(message.starts_with("unexpected argument '--prt' found"), "{message}");
    assert!(message.contains("'--port'"), "{message}");
    let (exit, message) = refused(&["-vp"]);
    assert_eq!(exit, 1);
    assert!(message.starts_with("a value is required for '--port <PORT>'"), "{message}");
}

/// A file in a directory of its own, both gone at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let directory = std::env::temp_dir().join(format!("memcarp-config-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("memcached.conf"), text).unwrap();
        File(directory)
    }

    fn option(&self) -> String {
        format!("--memcached-conf={}", self.0.join("memcached.conf").display())
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[test]
fn options_win_over_debians_file() {
    let file = File::new(
        "layers",
        "-d\nlogfile /var/log/x\n-m 128\n-vv\n-l 127.0.0.1\n-l ::1 # both\n-u memcache\n",
    );
    let config = read(&[&file.option()]);
    let from_file = Config {
        memory_limit: 128 << 20,
        verbosity: 2,
        user: Some("memcache".into()),
        listen: config.listen.clone(),
        ..Config::default()
    };
    assert_eq!(config, from_file);
    assert_eq!(hosts(&config), ["127.0.0.1", "::1"]);

    let config = read(&["-m", "64", "-l", "*", &file.option(), "-l", "127.0.0.2"]);
    assert_eq!(config.memory_limit, 64 << 20);
    assert_eq!(hosts(&config), ["*", "127.0.0.2"]);
}

#[test]
fn what_is_wrong_in_a_file_is_named_by_its_line() {
    for (name, line, exit, message) in [
        ("value", "-c 0", 1, "-c 0: write a number from 1 to 2147483647"),
        ("unknown", "--bogus", 1, "unexpected argument '--bogus' found"),
        ("nested", "--memcached-conf=x", 1, "write --memcached-conf=x on the command line, not here"),
        ("print", "-V", 1, "write --version on the command line, not here"),
    ] {
        let file = File::new(name, &format!("# first\n{line}\n"));
        let (code, said) = refused(&[&file.option()]);
        assert_eq!(code, exit, "{said}");
        assert!(said.contains(&format!("memcached.conf line 2: {message}")), "{said}");
    }
    let (code, said) = refused(&["--memcached-conf", "/nonexistent/memcached.conf"]);
    assert_eq!(code, 1);
    assert!(said.starts_with("cannot read /nonexistent/memcached.conf: No such file"), "{said}");
}

/// Pieces of command lines, and any bytes.
fn argument() -> impl Strategy<Value = OsString> {
    let value = prop_oneof![
        "-?[0-9]{0,20}[kmgKMG]?".boxed(),
        "[a-z_]{1,10}(=[0-9.]{0,4})?(,[a-z_]{1,12}=?[0-9]{0,3}){0,3}".boxed(),
        "((notls|mtls|tag|proto)[\\[:_])?[a-z0-9:.\\[\\]*,;]{0,12}".boxed(),
        "(hot_lru_pct|slab_sizes|slab_chunk_max|hashpower|ext_path|ssl_key|temporary_ttl)=[0-9:x.-]{0,5}"
            .boxed(),
        ".{0,6}".boxed(),
    ];
    let short =
        (0..128u8, value.clone()).prop_map(|(letter, value)| format!("-{}{value}", char::from(letter)));
    let long = ("[a-z-]{0,8}", proptest::option::of(value.clone()));
    let long = long.prop_map(|(name, value)| match value {
        Some(value) => format!("--{name}={value}"),
        None => format!("--{name}"),
    });
    prop_oneof![
        value.prop_map(OsString::from),
        short.prop_map(OsString::from),
        long.prop_map(OsString::from),
        proptest::collection::vec(any::<u8>(), 0..8).prop_map(|bytes| OsStr::from_bytes(&bytes).to_owned()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_argument_vector_panics(args in proptest::collection::vec(argument(), 0..6)) {
        match Sources::new(args, []).read() {
            Ok(Invocation::Serve(config, ..)) => {
                prop_assert!(config.item_max <= config.memory_limit / 2);
                prop_assert!(config.conn_limit > 0 && config.threads > 0 && config.reqs_per_event > 0);
            }
            Ok(Invocation::Check(..)) => prop_assert!(false, "the option is too long to be found by chance"),
            Ok(Invocation::Print(text)) => prop_assert!(text.starts_with("memcached 1.6.45\n")),
            Err(error) => {
                prop_assert!([1, 64, 71].contains(&error.exit()));
                prop_assert!(!error.to_string().is_empty());
            }
        }
    }

    /// An option clap and getopt disagree about would be dropped without a word.
    #[test]
    fn an_unknown_option_is_never_ignored(name in "[a-z-]{0,12}", value in proptest::option::of(".{0,5}")) {
        let arg = match value {
            Some(value) => format!("--{name}zz={value}"),
            None => format!("--{name}zz"),
        };
        prop_assert_eq!(refused(&[&arg]).0, 1);
    }
}

/// memcached says that it failed to listen, and no server listens twice on one address.
#[test]
fn an_address_that_stands_twice_is_refused() {
    let said = |address: &str| {
        format!("-l {address} is there twice; leave one out, or give it another port with -l HOST:PORT")
    };
    for (args, address) in [
        (&["-l", "127.0.0.1,127.0.0.1"][..], "127.0.0.1:11211"),
        (&["-l", "127.0.0.1", "-l", "notls:127.0.0.1:5", "-p", "5"], "127.0.0.1:5"),
        (&["-l", "::1", "-l", "tag[a]:[0::1]:11211"], "[::1]:11211"),
        (&["-l", "*:7;allow[10.0.0.0/8]:*:7"], "*:7"),
        (&["-l", "localhost,LOCALHOST"], "localhost:11211"),
    ] {
        let args = [args, &["-Z", "-o", "ssl_chain_cert=/c"]].concat();
        assert_eq!(refused(&args), (71, said(address)), "{args:?}");
    }
    for args in [
        &["-l", "127.0.0.1,127.0.0.1:5,127.0.0.2,[::1]"][..],
        // Ports that the system chooses are different ones.
        &["-p", "-1", "-l", "127.0.0.1,127.0.0.1"],
        &["-l", "127.0.0.1:0,127.0.0.1:0"],
        // Nothing is listened on.
        &["-p", "0", "-l", "127.0.0.1,127.0.0.1", "-s", "/s"],
    ] {
        read(args);
    }
}
