//! The tables of the configuration file: each key is an option, and what is wrong is named with its line.

use std::ffi::OsString;

use memcarp::config::{Config, ListenTls, MetricsListen, Sources};

/// What a file says: the configuration, or the message without the file's name.
fn read(text: &str, options: &[&str]) -> Result<Config, String> {
    let name = format!("memcarp-tables-{}-{:?}.toml", std::process::id(), std::thread::current().id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, text).unwrap();
    let args = [OsString::from("--config"), path.clone().into_os_string()];
    let read = Sources::new(args.into_iter().chain(options.iter().map(OsString::from)), []).read();
    std::fs::remove_file(&path).unwrap();
    match read {
        Ok(memcarp::config::Invocation::Serve(config, ..)) => Ok(*config),
        Ok(other) => panic!("starts no server: {other:?}"),
        Err(error) => Err(error.to_string().replace(&format!("{} ", path.display()), "")),
    }
}

/// The same by the options' long names.
fn says(tables: &str, options: &str) {
    assert_eq!(read(tables, &[]).unwrap(), read(options, &[]).unwrap(), "{tables}");
}

#[test]
fn keys_are_options() {
    says("[auth]\nfile = \"/u\"\n", "auth-file = \"/u\"\n");
    says("[metrics]\nlisten = \"*:1\"\n", "metrics-listen = \"*:1\"\n");
    says(
        "[tls]\ncertificate = \"/c\"\nkey = \"/k\"\nkey-format = \"der\"\nclient-authorities = \"/a\"\n\
         client-certificates = \"required\"\nmin-version = \"1.3\"\nsession-cache = true\n",
        "enable-ssl = true\nssl_chain_cert = \"/c\"\nssl_key = \"/k\"\nssl_keyformat = 2\nssl_ca_cert = \"/a\"\n\
         ssl_verify_mode = 2\nssl_min_version = 3\nssl_session_cache = true\n",
    );
    // Numbers are understood, too.
    says(
        "[tls]\ncertificate = \"/c\"\nclient-certificates = 3\n",
        "enable-ssl = true\nssl_chain_cert = \"/c\"\nssl_verify_mode = 3\n",
    );
    says(
        "[[listeners]]\naddress = \"*:1\"\ntls = \"mutual\"\ntag = \"web\"\n[[listeners]]\naddress = \"::1\"\n\
         [tls]\ncertificate = \"/c\"\n",
        "enable-ssl = true\nssl_chain_cert = \"/c\"\nlisten = [\"mtls:tag[web]:*:1\", \"::1\"]\n",
    );
    says(
        "[[listeners]]\naddress = \"*:1\"\nallow = [\"10.0.0.0/8\", \"fd00::/8\"]\n\
         [[listeners]]\naddress = \"::1\"\nallow = \"::1, ::2\"\n",
        "listen = [\"allow[10.0.0.0/8+fd00::/8]:*:1\", \"allow[::1+::2]:::1\"]\n",
    );
    says("[[listeners]]\nunix = \"/s\"\nmode = \"770\"\n", "unix-socket = \"/s\"\nunix-mask = \"770\"\n");
}

#[test]
fn the_members_of_a_fleet_change_nothing_here() {
    says(
        "port = 1\nscheme = \"carp-v1\"\nhash_tags = true\n[[members]]\nname = \"a\"\n\
         [[members]]\nname = \"b\"\naddress = \"10.0.0.2\"\nweight = 2\n[auth]\nfile = \"/u\"\n",
        "port = 1\nauth-file = \"/u\"\n",
    );
}

#[test]
fn the_command_line_wins_over_tables() {
    let text = "[[listeners]]\naddress = \"*:1\"\n[metrics]\nlisten = \"off\"\n";
    let config = read(text, &["-l", "127.0.0.2", "--metrics-listen", ":2"]).unwrap();
    assert_eq!(config.listen.iter().map(|listen| listen.host.as_str()).collect::<Vec<_>>(), ["127.0.0.2"]);
    assert_eq!(config.metrics, MetricsListen::At { host: "*".into(), port: 2 });
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, message) in [
        ("[tls]\ncertifcate = \"/c\"\n", "line 2: [tls] has no certifcate; write certificate"),
        ("[auth]\nusers = \"/c\"\n", "line 2: [auth] has no users; it has file"),
        ("[metrics]\nlisten = 9150\n", "line 2: metrics.listen = 9150: write the value in quotation marks"),
        ("[metrics]\nlisten = \"9150\"\n", "line 2: metrics.listen = \"9150\": write HOST:PORT"),
        ("\n[tls]\nmin-version = \"1.1\"\n", "line 3: tls.min-version = \"1.1\": write \"1.2\" or \"1.3\""),
        ("[tls]\nkey-format = 7\n", "line 2: tls.key-format = 7: write a number from 1 to 2"),
        ("tls = true\n", "line 1: write tls as a table, [tls]"),
        ("[[tls]]\n", "line 1: write tls as a table, [tls]"),
        ("\n[tls]\nkey = \"/k\"\n", "line 2: TLS (-Z) needs a certificate"),
        (
            "auth-file = \"/u\"\n[auth]\nfile = \"/u\"\n",
            "line 3: auth.file and auth-file say the same; write one of",
        ),
        ("enable-ssl = false\n[tls]\n", "line 2: [tls] and enable-ssl say the same; write one of them"),
        ("listen = [\"*\"]\n[[listeners]]\naddress = \"*\"\n", "line 2: listeners and listen say the same"),
        ("[listeners]\naddress = \"*\"\n", "line 1: write each listener as [[listeners]]"),
        ("[[listeners]]\nport = 5\n", "line 2: write port in quotation marks"),
        ("[[listeners]]\nport = \"5\"\n", "line 2: a listener has no port; it has address"),
        ("[[listeners]]\n", "line 1: the listener needs address"),
        ("[[listeners]]\naddress = \"a:b\"\n", "line 2: not an address; write HOST"),
        (
            "[[listeners]]\naddress = \"*\"\n\n[[listeners]]\ntag = \"a\"\naddress = \"b:c\"\n",
            "line 6: not an address; write HOST",
        ),
        (
            "listeners = [\n  {address = \"*\"},\n  {address = \"b:c\"},\n]\n",
            "line 3: not an address; write HOST",
        ),
        (
            "[[listeners]]\naddress = \"a, b\"\n",
            "line 2: a listener has one address; write [[listeners]] once",
        ),
        ("[[listeners]]\naddress = \"*\"\ntag = \"123456789\"\n", "line 3: a tag has 1 to 8 characters"),
        ("[[listeners]]\nunix = \"/s\"\nmode = \"999\"\n", "line 3: write a file mode in octal"),
        ("[[listeners]]\nmode = \"700\"\nunix = \"\"\n", "line 3: write the name of a file"),
        (
            "[[listeners]]\naddress = \"*\"\nmode = \"700\"\n",
            "line 1: a listener has an address, and may have tls",
        ),
        ("[[listeners]]\naddress = \"*\"\nallow = [1]\n", "line 3: write allow in quotation marks"),
        ("[[listeners]]\naddress = \"*\"\nallow = []\n", "line 3: no network; write 10.0.0.0/8"),
        ("[[listeners]]\naddress = \"*\"\ntls = \"yes\"\n", "line 3: write tls = \"off\""),
        (
            "[[listeners]]\naddress = \"*\"\n[[listeners]]\naddress = \"a\"\ntls = \"on\"\n",
            "line 5: tls is for servers that have a certificate; write [tls] with certificate = \"FILE\" and key",
        ),
        (
            "listen = [\"*\",\n  \"btls:a\"]\n",
            "line 1: -l a: notls:, btls: and mtls: need -Z (-l is listen, -Z is enable-ssl)",
        ),
        (
            "[[listeners]]\naddress = \"*\"\n\n[[listeners]]\nunix = \"/s\"\n",
            "line 5: a UNIX socket takes the place of TCP; let it be the only listener",
        ),
        ("[metrix]\n", "line 1: there is no table metrix; write [metrics]"),
        ("[[member]]\nname = \"a\"\nwieght = 2\n", "line 3: wieght is not known here; a member has name"),
        ("[[members]]\nname = \"a\"\n[[members]]\nname = \"a\"\n", "line 4: two members are called a"),
        (
            "[[members]]\nname = \"a\"\n[[members]]\nname = \"b\"\nweight = 0\n",
            "line 5: member b: the weight 0 is not between 1e-9 and 1e9",
        ),
        ("[[members]]\nname = \"a\"\n[[members]]\nweight = 1\n", "line 3: a member needs a name"),
        ("\n[[members]]\n[[members]]\nname = \"a\"\n", "line 2: a member needs a name"),
        (
            "port = 1\nscheme = \"carp-v9\"\n[[members]]\nname = \"a\"\n",
            "line 2: no routing scheme is called \"carp-v9\"; write carp-v2",
        ),
        ("port = 1\nscheme = \"carp-v1\"\n", "line 2: a list without members routes nothing"),
        ("[[membrs]]\n", "line 1: there is no table membrs; write [[members]]"),
        ("[cache]\n", "line 1: there is no option cache; memcarp --help lists those there are"),
    ] {
        let refused = read(text, &[]).expect_err(text);
        assert!(refused.starts_with(message), "{text}: {refused}");
    }
}

#[test]
fn tls_without_a_certificate_ends_as_other_mistakes_in_the_file_do() {
    let path = std::env::temp_dir().join(format!("memcarp-tables-tls-{}.toml", std::process::id()));
    std::fs::write(&path, "[[listeners]]\naddress = \"*\"\ntls = \"on\"\n").unwrap();
    let read = Sources::new([OsString::from("--config"), path.clone().into_os_string()], []).read();
    std::fs::remove_file(&path).unwrap();
    assert_eq!(read.expect_err("there is no certificate").exit(), 64);
}

#[test]
fn the_sample_shows_every_key() {
    let sample = include_str!("../config/memcarp.toml");
    let text = |indent: &str| -> String {
        let lines = sample.lines().filter_map(|line| line.strip_prefix(indent));
        lines.filter(|line| !line.starts_with(' ')).flat_map(|line| [line, "\n"]).collect()
    };
    let config = read(&text("#   "), &[]).unwrap();
    let tls = config.tls.expect("[tls] turns it on");
    assert_eq!((config.listen.len(), config.listen[0].tls), (2, ListenTls::Basic));
    assert_eq!((tls.keyformat, tls.min_version, tls.verify_mode, tls.session_cache), (1, 2, 2, false));
    assert!(tls.ca_cert.is_some() && config.auth_file.is_some());
    assert!(read(&text("#     "), &[]).unwrap().unix_socket.is_some());
    // The keys that are refused with the names of all there are.
    for table in ["tls", "auth", "metrics"] {
        let refused = read(&format!("[{table}]\nnothing-like-it = 1\n"), &[]).unwrap_err();
        let (_, names) = refused.split_once("; it has ").unwrap();
        for name in names.split(", ") {
            assert!(text("#   ").contains(&format!("\n{name} = ")), "[{table}] {name}");
        }
    }
}
