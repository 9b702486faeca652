//! The configuration file and the environment: from what they say to `Config`, in process.

use std::ffi::OsString;
use std::path::PathBuf;

use memcarp::config::{Config, Error, Invocation, Port, Protocol, Rule, Rules, Sources, Warning};

/// A directory with `memcarp.toml`, gone at the end.
struct File(PathBuf);

impl File {
    fn new(name: &str, text: impl AsRef<[u8]>) -> File {
        let directory = std::env::temp_dir().join(format!("memcarp-toml-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("memcarp.toml"), text).unwrap();
        File(directory)
    }

    fn path(&self) -> String {
        self.0.join("memcarp.toml").display().to_string()
    }

    fn read(&self, args: &[&str], variables: &[(&str, &str)]) -> Result<Invocation, Error> {
        let path = self.path();
        read(&[&["--config", path.as_str()], args].concat(), variables)
    }

    /// The exit code and the message, without the directory.
    fn refused(&self, args: &[&str]) -> (u8, String) {
        let error = self.read(args, &[]).unwrap_err();
        (error.exit(), error.to_string().replace(&format!("{}/", self.0.display()), ""))
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read(args: &[&str], variables: &[(&str, &str)]) -> Result<Invocation, Error> {
    let variables = variables.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
    Sources::new(args.iter().map(OsString::from), variables).read()
}

fn config(invocation: Result<Invocation, Error>) -> Config {
    match invocation {
        Ok(Invocation::Serve(config, ..)) => *config,
        other => panic!("starts no server: {other:?}"),
    }
}

fn of_text(name: &str, text: &str) -> Config {
    config(File::new(name, text).read(&[], &[]))
}

fn refused(name: &str, text: &str) -> (u8, String) {
    File::new(name, text).refused(&[])
}

fn hosts(config: &Config) -> Vec<&str> {
    config.listen.iter().map(|listen| listen.host.as_str()).collect()
}

#[test]
fn every_form_of_value() {
    let said = of_text(
        "forms",
        "memory-limit = 1_024\nmax-item-size = \"4m\"\nport = -1\nunix-mask = 0o770\ndisable-evictions = true\n\
         verbose = 2\nuser = \"nobody\"\nprotocol = \"ascii\"\nslab-growth-factor = 1.1\nidle_timeout = 0x1e\n\
         maxconns_fast = false\nssl_chain_cert = '/c'\nenable-sasl = false\nhot_lru_pct = 30\n",
    );
    let mut expected = Config {
        memory_limit: 1 << 30,
        item_max: 4 << 20,
        tcp_port: Port::Ephemeral,
        unix_mask: 0o770,
        evictions: false,
        verbosity: 2,
        user: Some("nobody".into()),
        protocol: Protocol::Ascii,
        idle_timeout: 30,
        maxconns_fast: false,
        ..Config::default()
    };
    expected.inert.growth_factor = 1.1;
    expected.inert.hot_lru_pct = 30;
    assert_eq!(said, expected);

    assert_eq!(of_text("empty", "# nothing\n"), Config::default());
    assert_eq!(of_text("bytes", "max-item-size = 524288\n").item_max, 512 << 10);
    assert_eq!(of_text("mode", "unix-mask = \"660\"\n").unix_mask, 0o660);
    assert_eq!(of_text("verbose", "verbose = true\n").verbosity, 1);
    let lists = of_text(
        "lists",
        "listen = [\"127.0.0.1\", \"[::1]:5,*\"]\nextended = [\"no_modern\", \"track_sizes\"]\n",
    );
    assert_eq!(hosts(&lists), ["127.0.0.1", "::1", "*"]);
    assert!(lists.track_sizes && !lists.inert.lru_maintainer);
    assert_eq!(hosts(&of_text("one", "listen = \"127.0.0.1,::1\"\n")), ["127.0.0.1", "::1"]);
    // As they follow each other in the file, not in the alphabet.
    assert!(of_text("order", "no_modern = true\nmaxconns_fast = true\n").maxconns_fast);
    assert!(!of_text("order2", "maxconns_fast = true\nno_modern = true\n").maxconns_fast);
}

#[test]
fn what_stands_nearer_wins() {
    let file = File::new(
        "layers",
        "threads = 2\nmemory-limit = 128\nconn-limit = 5\nlisten = [\"::1\", \"*\"]\nverbose = 2\nenable-shutdown = true\n",
    );
    std::fs::write(file.0.join("memcached.conf"), "-t 3\n-R 7\n-M\n-m 99\n-vv\n").unwrap();
    let conf = file.0.join("memcached.conf").display().to_string();

    let said = config(file.read(
        &["--memcached-conf", &conf, "-c", "7", "-v"],
        &[("MEMCARP_CONN_LIMIT", "6"), ("MEMCARP_MEMORY_LIMIT", "256"), ("MEMCARP_ENABLE_SHUTDOWN", "no")],
    ));
    assert_eq!(said.reqs_per_event, 7, "said in memcached's file alone");
    assert!(!said.evictions, "said in memcached's file alone");
    assert_eq!(said.threads, 2, "memcarp's file wins over memcached's");
    assert_eq!(hosts(&said), ["::1", "*"]);
    assert_eq!(said.memory_limit, 256 << 20, "the environment wins over files");
    assert!(!said.shutdown_command, "the environment wins over files");
    assert_eq!(said.conn_limit, 7, "the command line wins over all");
    assert_eq!(said.verbosity, 1, "each source counts its own -v");

    let said = config(file.read(&["-l", "127.0.0.2"], &[("MEMCARP_LISTEN", "127.0.0.1,::1")]));
    assert_eq!(hosts(&said), ["127.0.0.2"]);
}

#[test]
fn the_environment_alone() {
    let file = File::new("env", "threads = 2\n");
    let path = file.path();
    let said = config(read(
        &[],
        &[("MEMCARP_CONFIG", &path), ("MEMCARP_IDLE_TIMEOUT", "30"), ("MEMCARP_LISTEN", "127.0.0.1, ::1")],
    ));
    assert_eq!((said.threads, said.idle_timeout, hosts(&said)), (2, 30, vec!["127.0.0.1", "::1"]));
    let said = config(read(&[], &[("MEMCARP_CONFIG", ""), ("MEMCARP_USER", ""), ("MEMCARP_VERBOSE", "2")]));
    assert_eq!(said, Config { verbosity: 2, ..Config::default() });

    // What Kubernetes says of a service called memcarp is not for the server.
    let service = [
        ("MEMCARP_PORT", "tcp://10.0.0.1:11211"),
        ("MEMCARP_PORT_11211_TCP_PORT", "11211"),
        ("MEMCARP_SERVICE_HOST", "10.0.0.1"),
        ("MEMCARP_SERVICE_PORT", "11211"),
    ];
    match read(&[], &service) {
        Ok(Invocation::Serve(config, warnings, _)) => {
            assert_eq!((*config, warnings), (Config::default(), Vec::new()));
        }
        other => panic!("{other:?}"),
    }
    match read(&[], &[("MEMCARP_MEMORY_LIMT", "1")]) {
        Ok(Invocation::Serve(_, warnings, _)) => {
            let said = "MEMCARP_MEMORY_LIMT says nothing; write MEMCARP_MEMORY_LIMIT";
            assert_eq!(warnings, [Warning::Mistake(said.to_owned())]);
        }
        other => panic!("{other:?}"),
    }
    match read(&[], &[("MEMCARP_CONN_LIMIT", "10k")]) {
        Ok(Invocation::Serve(config, warnings, _)) => {
            assert_eq!(config.conn_limit, 10);
            let said = "MEMCARP_CONN_LIMIT: conn-limit = 10k is read as 10, as memcached reads it";
            assert!(warnings[0].to_string().starts_with(said), "{warnings:?}");
        }
        other => panic!("{other:?}"),
    }
    for (name, value, exit, message) in [
        ("MEMCARP_CONN_LIMIT", "0", 1, "MEMCARP_CONN_LIMIT=0: write a number from 1 to 2147483647"),
        ("MEMCARP_ENABLE_SHUTDOWN", "maybe", 1, "MEMCARP_ENABLE_SHUTDOWN=maybe: write 1 or 0, true or false"),
        (
            "MEMCARP_MAX_ITEM_SIZE",
            "33m",
            64,
            "MEMCARP_MAX_ITEM_SIZE: -m 64 is too little memory for two items of 34603008 bytes (-I): \
             write -m 66 or more, or a smaller -I (-m is memory-limit, -I is max-item-size)",
        ),
    ] {
        let error = read(&[], &[(name, value)]).unwrap_err();
        assert_eq!((error.exit(), error.to_string()), (exit, message.to_owned()));
    }
}

/// Text, exit code of the same mistake on the command line, and the message behind `memcarp.toml line `.
#[test]
fn what_is_wrong_is_named_by_file_and_line_and_says_what_to_write() {
    let table = [
        ("threads = 2\nconn-limit = 0", 1, "2: conn-limit = 0: write a number from 1 to 2147483647"),
        ("memory_limit = 64", 1, "1: there is no option memory_limit; write memory-limit"),
        ("[[expire-on-update]]", 1, "1: there is no option expire-on-update; write [[expire_on_update]]"),
        ("\n[photos]\na = 1", 1, "2: there is no option photos; memcarp --help lists those there are"),
        ("memcached-conf = \"x\"", 1, "1: write --memcached-conf on the command line, not here"),
        (
            "memory-limit = \"64\"",
            64,
            "1: memory-limit = \"64\": write a number without quotation marks, as in memory-limit = 10",
        ),
        ("memory-limit = 2e3", 64, "1: memory-limit = 2e3: write a whole number, as in memory-limit = 10"),
        ("idle_timeout = 1.5", 64, "1: idle_timeout = 1.5: write a whole number, as in idle_timeout = 10"),
        (
            "conn-limit = true",
            1,
            "1: conn-limit = true: write a number without quotation marks, as in conn-limit = 10",
        ),
        (
            "enable-shutdown = 1",
            1,
            "1: enable-shutdown = 1: write enable-shutdown = true or enable-shutdown = false",
        ),
        ("user = 11211", 64, "1: user = 11211: write the value in quotation marks"),
        ("user = [\"a\"]", 64, "1: user = [\"a\"]: write one value in quotation marks, not a list"),
        ("listen = [\n  \"::1\",\n  5,\n]", 64, "3: listen = 5: write it in quotation marks"),
        (
            "listen = [\n  \"::1\",\n  \"a:x\",\n]",
            71,
            "3: listen = \"a:x\": not an address; write HOST, HOST:PORT, [IPV6]:PORT or *, with a port from 0 to 65535",
        ),
        (
            "listen = []",
            71,
            "1: listen = []: no address; write -l 127.0.0.1, or -l '*' for every address (-l is listen)",
        ),
        (
            "max-item-size = \"x\"",
            64,
            "1: max-item-size = \"x\": write a size from 1k to 1g, -I 4m for example (-I is max-item-size)",
        ),
        (
            "max-item-size = 1.5",
            64,
            "1: max-item-size = 1.5: write a size in quotation marks, as in max-item-size = \"4m\"",
        ),
        (
            "unix-mask = true",
            64,
            "1: unix-mask = true: write a file mode in octal, \"700\" or \"770\" for example",
        ),
        (
            "verbose = \"2\"",
            64,
            "1: verbose = \"2\": write a number without quotation marks, or true or false",
        ),
        (
            "enable-sasl = true",
            64,
            "1: enable-sasl = true: memcarp has no SASL; write -Y FILE to ask for users and passwords (-Y is auth-file)",
        ),
        (
            "extended = \"bogus\"",
            1,
            "1: extended = \"bogus\": Illegal suboption \"bogus\"; memcarp --help lists those there are",
        ),
        ("threads = 99999999999999999999", 1, "1: threads = 99999999999999999999: write a smaller number"),
        ("threads = 2\nthreads = 3", 1, "2: duplicate key"),
        ("threads 2", 1, "1: key with no value, expected `=`"),
        (
            "# big\nmax-item-size = \"33m\"\nthreads = 2\nmemory-limit = 64",
            64,
            "2 and memcarp.toml line 4: -m 64 is too little memory for two items of 34603008 bytes (-I): \
             write -m 66 or more, or a smaller -I (-m is memory-limit, -I is max-item-size)",
        ),
        (
            "udp-port = 5\nauth-file = \"/a\"",
            64,
            "1 and memcarp.toml line 2: UDP (-U) and authentication (-Y) exclude each other; write -U 0 \
             (-U is udp-port, -Y is auth-file)",
        ),
        (
            "enable-ssl = true",
            64,
            "1: TLS (-Z) needs a certificate; write -o ssl_chain_cert=FILE,ssl_key=FILE (-Z is enable-ssl, -o is extended)",
        ),
    ];
    for (text, exit, message) in table {
        assert_eq!(refused("wrong", text), (exit, format!("memcarp.toml line {message}")), "{text}");
    }
}

#[test]
fn rules() {
    let said = of_text(
        "rules",
        "[[expire_on_update]]\nsource = \"photo:{id}\"\nderived = [\"thumb:{id}:{size}\", \"page:photo:{id}\"]\n\n\
         [[expire_on_update]]\nderived = [\"home:{x}\"]\nsource = \"tag:home\"\n",
    );
    let mut expected = Rules::default();
    expected.add(Rule::new("photo:{id}", &["thumb:{id}:{size}".into(), "page:photo:{id}".into()]).unwrap());
    expected.add(Rule::new("tag:home", &["home:{x}".into()]).unwrap());
    assert_eq!(said, Config { rules: expected, ..Config::default() });

    let rule = "threads = 2\n[[expire_on_update]]\nsource = \"photo:{id}\"\nderived = [\n  \"page:{id}\",\n  \"thumb:{id}\",\n]\n";
    assert_eq!(of_text("good", rule).rules.len(), 1);
    for (from, to, message) in [
        (
            "thumb:{id}",
            "thumb:{size}",
            "6: `thumb:{size}`: write {id} in it too: the source `photo:{id}` needs it",
        ),
        ("thumb:{id}", "photo:{id}", "3: `photo:{id}`: it is its own source; nothing would come of it"),
        ("thumb:{id}", "thumb:{id", "6: `thumb:{id`: a { without }; placeholders are written {name}"),
        (
            "photo:{id}",
            "photo:{}",
            "3: `photo:{}`: name placeholders with letters, digits and _ only, as in {id}",
        ),
        ("\"thumb:{id}\"", "5", "6: write templates in quotation marks"),
        ("source", "sauce", "3: a rule has no sauce; it has source and derived"),
        ("source = \"photo:{id}\"", "", "2: the rule needs a source: write source = \"photo:{id}\""),
        ("source = \"photo:{id}\"", "source = 5", "3: write source = \"...\", one template"),
        (
            "[[expire_on_update]]",
            "[expire_on_update]",
            "2: write each rule as [[expire_on_update]] with source = \"...\" and derived = [\"...\"]",
        ),
        (
            "derived = [\n  \"page:{id}\",\n  \"thumb:{id}\",\n]",
            "",
            "2: the rule needs derived templates: write derived = [\"thumb:{id}\"]",
        ),
        (
            "derived = [\n  \"page:{id}\",\n  \"thumb:{id}\",\n]",
            "derived = []",
            "3: `photo:{id}`: the rule has no `derived` templates; write derived = [\"...\"]",
        ),
        (
            "derived = [\n  \"page:{id}\",\n  \"thumb:{id}\",\n]",
            "derived = \"a\"",
            "4: write derived = [\"...\"], a list of templates",
        ),
    ] {
        let (exit, said) = refused("bad-rule", &rule.replacen(from, to, 1));
        assert_eq!(said, format!("memcarp.toml line {message}"));
        assert!([1, 64].contains(&exit));
    }
}

#[test]
fn files_that_cannot_be_read() {
    let error = read(&["--config", "/nonexistent/memcarp.toml"], &[]).unwrap_err();
    assert_eq!(error.exit(), 1);
    assert!(error.to_string().starts_with("cannot read /nonexistent/memcarp.toml: No such file"), "{error}");
    assert!(error.to_string().ends_with("; name one that can be read: --config=FILE"), "{error}");
    let latin = File::new("latin", b"# one\nuser = \"caf\xe9\"\n");
    assert_eq!(latin.refused(&[]), (1, "memcarp.toml line 2: write it in UTF-8".into()));
    let long = File::new("long", "#".repeat((16 << 20) + 1));
    assert!(long.refused(&[]).1.contains("it is over 16 MiB long"));
}

#[test]
fn the_sample_is_valid_and_shows_the_defaults() {
    let sample = include_str!("../config/memcarp.toml");
    assert_eq!(of_text("sample", sample), Config::default());

    let shown: Vec<(usize, &str)> = sample
        .lines()
        .enumerate()
        .filter_map(|(at, line)| line.strip_prefix('#').map(|shown| (at, shown)))
        .filter(|(_, shown)| shown.starts_with(|c: char| c.is_ascii_lowercase() || c == '['))
        .collect();
    let all: String = shown.iter().map(|(_, line)| format!("{line}\n")).collect();
    let with_all = of_text("all", &all);
    assert_eq!(with_all.rules.len(), 1);

    // Options without a default are shown by an example.
    let examples = "listen unix-socket metrics-listen auth-file prefix-delimiter user pidfile memory-file enable-ssl ssl_chain_cert \
        ssl_key ssl_ca_cert ssl_verify_mode ssl-allowed-names allow metrics-allow metrics-auth-file \
        metrics-ssl-chain-cert metrics-ssl-key metrics-ssl-ca-cert source derived \
        name address weight";
    for (at, line) in shown.iter().filter(|(_, line)| line.contains(" = ")) {
        let name = line.split(' ').next().unwrap();
        if !examples.split_whitespace().any(|other| name == other) {
            assert_eq!(of_text("one", line), Config::default(), "line {}", at + 1);
        }
    }
    let Ok(Invocation::Print(help)) = read(&["--help"], &[]) else { panic!("no help") };
    let (options, suboptions) = help.split_once("Further options").unwrap();
    let suboptions = suboptions.split("Accepted without effect").next().unwrap();
    let options = options.lines().filter(|line| line.trim_start().starts_with('-'));
    let names = options
        .filter_map(|line| line.split_once("--"))
        .map(|(_, rest)| rest)
        .chain(suboptions.lines().filter_map(|line| line.strip_prefix("  ")))
        .map(|rest| rest.split([' ', '=', '[']).next().unwrap());
    // Not served, written otherwise here, or memcarp's own.
    let not_shown = "udp-port protocol extended no_maxconns_fast no_modern \
        config memcached-conf check-config help license version";
    let mut count = 0;
    for name in names {
        let has = shown.iter().any(|(_, line)| line.starts_with(&format!("{name} = ")));
        let left_out = not_shown.split_whitespace().any(|other| name == other);
        assert!(has != left_out, "{name} is {} the sample", if has { "in" } else { "not in" });
        count += 1;
    }
    assert!(count > 40, "{count} names");
}

#[test]
fn templates_that_no_key_is_like_are_refused_or_named() {
    let rule = |derived: &str| {
        format!("[[expire_on_update]]\nsource = \"s:{{id}}\"\nderived = [\n  \"{derived}\",\n]\n")
    };
    let long = format!("{}{{id}}", "x".repeat(250));
    let (exit, said) = refused("long-rule", &rule(&long));
    let message = "what is like it has 251 bytes or more, and keys at most 250; shorten it";
    assert_eq!((exit, said), (64, format!("memcarp.toml line 4: `{long}`: {message}")));
    // A key in base64 may have any bytes.
    let file = File::new("blank-rule", rule("thumb: {id}"));
    let Ok(Invocation::Serve(config, warnings, _)) = file.read(&[], &[]) else {
        panic!("it starts no server")
    };
    assert_eq!((config.rules.len(), warnings.len()), (1, 1));
    let said =
        "line 1: only keys sent in base64 are like `thumb: {id}`; leave its blanks out, unless that is meant";
    assert!(matches!(&warnings[0], Warning::Advice(warning) if warning.ends_with(said)), "{warnings:?}");
}

#[test]
fn a_check_is_an_invocation_of_its_own() {
    let file = File::new("check", "threads = 65\n");
    match file.read(&["--check-config"], &[]) {
        Ok(Invocation::Check(config, warnings, _)) => assert_eq!((config.threads, warnings.len()), (65, 1)),
        other => panic!("{other:?}"),
    }
}

#[test]
fn changes_that_wait_for_the_next_start_have_names() {
    let before = of_text("before", "threads = 2\nverbose = 1\n");
    assert!(before.fixed_changes(&before).is_empty());
    let after = of_text(
        "after",
        "threads = 3\nverbose = 2\nauth-file = \"/a\"\nhashpower = 20\nenable-shutdown = true\n\
         [[expire_on_update]]\nsource = \"a\"\nderived = [\"b:{x}\"]\n",
    );
    assert_eq!(before.fixed_changes(&after), ["threads", "enable-shutdown", "auth-file"]);
}

#[test]
fn an_address_that_stands_twice_is_named_with_its_places() {
    let said = "-l 127.0.0.1:11211 is there twice; leave one out, or give it another port with -l HOST:PORT \
                (-l is listen)";
    let tables = "[[listeners]]\naddress = \"127.0.0.1\"\n[[listeners]]\naddress = \"127.0.0.1:11211\"\n";
    for (text, place) in [
        (tables, "memcarp.toml line 1 and memcarp.toml line 3"),
        ("port = 11211\nlisten = [\"127.0.0.1\", \"127.0.0.1\"]\n", "memcarp.toml line 2"),
    ] {
        assert_eq!(refused("twice", text), (71, format!("{place}: {said}")), "{text}");
    }
}

/// memcached passes over -l and -p without a word.
#[test]
fn tcp_that_a_unix_socket_takes_the_place_of_is_named_unless_the_socket_stands_nearer() {
    let warnings = |text: &str, args: &[&str], variables: &[(&str, &str)]| {
        let file = File::new("beside", text);
        let Ok(Invocation::Serve(_, warnings, _)) = file.read(args, variables) else { panic!("{text}") };
        let said = warnings.into_iter().map(|warning| match warning {
            Warning::Mistake(said) => said.replace(&format!("{}/", file.0.display()), ""),
            Warning::Advice(said) => panic!("{said}"),
        });
        said.collect::<Vec<_>>()
    };
    let said = "does nothing beside -s: a UNIX socket takes the place of TCP; leave one of them out";
    assert_eq!(
        warnings("listen = \"::1\"\nport = 5\nunix-socket = \"/s\"\n", &[], &[]),
        [
            format!(
                "memcarp.toml line 1 and memcarp.toml line 3: -l {said} (-l is listen, -s is unix-socket)"
            ),
            format!("memcarp.toml line 2 and memcarp.toml line 3: -p {said} (-p is port, -s is unix-socket)"),
        ]
    );
    let socket = "[[listeners]]\nunix = \"/s\"\n";
    let names = "(-l is listen, -s is unix-socket)";
    assert_eq!(warnings(socket, &["-l", "::1"], &[]), [format!("memcarp.toml line 1: -l {said} {names}")]);
    // Whoever says -s beside a file of defaults has it take their place.
    let defaults = "port = 11211\nlisten = \"*\"\n";
    assert!(warnings(defaults, &["-s", "/s"], &[]).is_empty());
    assert!(warnings(defaults, &[], &[("MEMCARP_UNIX_SOCKET", "/s")]).is_empty());
    let both = [format!("-l {said}"), format!("-p {said}")];
    assert_eq!(warnings("", &["-p", "-1", "-s", "/s", "-l", "::1"], &[]), both);
    assert!(warnings("", &["-p", "0", "-s", "/s"], &[]).is_empty(), "no TCP is what there is");
}
