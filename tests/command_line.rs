//! The binary as scripts start it: exit codes, the forms of what it prints, and the files it reads and writes.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn memcarp(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_memcarp")).args(args).stdin(Stdio::null()).output().unwrap()
}

fn stdout(args: &[&str]) -> String {
    let output = memcarp(args);
    assert_eq!(output.status.code(), Some(0), "{args:?}");
    assert!(output.stderr.is_empty(), "{args:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn versions_in_the_forms_scripts_read() {
    let expected = format!("memcached 1.6.45\nmemcarp {}\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&["-V"]), expected);
    assert_eq!(stdout(&["--version"]), expected);
    assert_eq!(stdout(&["-V", "-h"]), expected, "the first of them counts");
    for args in [["-h"], ["--help"], ["-i"], ["--license"]] {
        assert!(stdout(&args).starts_with(&expected), "{args:?}");
    }
}

#[test]
fn help_names_every_option() {
    let help = stdout(&["-h"]);
    // memcached's own, as its -h prints them; -S is refused, so not offered.
    let options = "-p --port -U --udp-port -s --unix-socket -a --unix-mask -A --enable-shutdown -l --listen -d --daemon \
        -r --enable-coredumps -u --user -m --memory-limit -M --disable-evictions -c --conn-limit -k --lock-memory \
        -v --verbose -h --help -i --license -V --version -P --pidfile -f --slab-growth-factor -n --slab-min-size \
        -L --enable-largepages -D -t --threads -R --max-reqs-per-event -C --disable-cas -b --listen-backlog \
        -B --protocol -I --max-item-size -F --disable-flush-all -X --disable-dumping -W --disable-watch \
        -Y --auth-file -e --memory-file -Z --enable-ssl -o --extended -N --napi-ids --memcached-conf \
        MEMCACHED_PORT_FILENAME 127.0.0.1";
    let words: Vec<_> = help.split([' ', ',', '(', ')', '[', ']', '=', '\n']).collect();
    for option in options.split_whitespace() {
        assert!(words.contains(&option), "{option} is missing in:\n{help}");
    }
    for suboption in ["idle_timeout", "ssl_chain_cert", "hot_lru_pct", "slab_chunk_max", "ext_path"] {
        assert!(words.contains(&suboption), "{suboption} is missing in:\n{help}");
    }
    let widest = help.lines().map(|line| line.chars().count()).max();
    assert!(widest <= Some(80), "{widest:?} columns");
    assert!(help.lines().count() <= 110, "{} lines", help.lines().count());
}

#[test]
fn output_that_nobody_takes_is_no_panic() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_memcarp")).arg("-h").stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Command lines that start no server, with the status they end with.
const REFUSED: &[(i32, &str)] = &[
    (1, "-c 0"),
    (1, "-c -5"),
    (1, "-c abc"),
    (1, "-t 0"),
    (1, "-t -1"),
    (1, "-R 0"),
    (1, "-R x"),
    (1, "-f 1"),
    (1, "-f 0.5"),
    (1, "-f abc"),
    (1, "-n 0"),
    (1, "-n abc"),
    (1, "-N 0"),
    (64, "-N 5"),
    (64, "-N 3 -t 2"),
    (64, "-p 99999"),
    (64, "-p 65536"),
    (64, "-B foo"),
    (64, "-B AUTO"),
    (64, "-I 1000"),
    (64, "-I 1023"),
    (64, "-I 1024"),
    (64, "-I 33m"),
    (64, "-I 1500k"),
    (64, "-I abc"),
    (64, "-m 4096 -I 1025m"),
    (64, "-m 0"),
    (64, "-m 1"),
    (64, "-m 1g"),
    (64, "-m abc"),
    (1, "-D"),
    (1, "--bogus"),
    (1, "-q"),
    (1, "-1"),
    (1, "-vE"),
    (1, "--disable"),
    (1, "--li 127.0.0.1"),
    (1, "--port"),
    (1, "-p"),
    (1, "-u"),
    (1, "-o"),
    (1, "--enable-shutdown=1"),
    (1, "words -vvc0"),
    (1, "-o bogus"),
    (1, "-o MODERN"),
    (1, "-o ,modern"),
    (1, "-o modern,,track_sizes"),
    (1, "-o idle_timeout"),
    (1, "-o temporary_ttl"),
    (1, "-o watcher_logbuf_size"),
    (1, "-o watcher_logbuf_size=x"),
    (1, "-o watcher_logbuf_size=-1"),
    (1, "-o worker_logbuf_size=x"),
    (1, "-o lru_crawler_sleep"),
    (1, "-o lru_crawler_sleep=-1"),
    (1, "-o lru_crawler_sleep=1000001"),
    (1, "-o lru_crawler_tocrawl=x"),
    (1, "-o lru_crawler_tocrawl=-1"),
    (1, "-o hot_lru_pct=0"),
    (1, "-o hot_lru_pct=80"),
    (64, "-o hot_lru_pct=50"),
    (1, "-o warm_lru_pct=x"),
    (64, "-o warm_lru_pct=61"),
    (64, "-o hot_lru_pct=40,warm_lru_pct=41"),
    (1, "-o hot_max_factor=0"),
    (1, "-o warm_max_factor=-1"),
    (1, "-o slab_automove=3"),
    (1, "-o slab_automove=-1"),
    (1, "-o slab_automove_ratio=0"),
    (1, "-o slab_automove_ratio=2"),
    (1, "-o slab_automove_window=2"),
    (64, "-o slab_chunk_max=100"),
    (64, "-o slab_sizes=abc"),
    (64, "-o slab_sizes=300-200"),
    (64, "-o slab_sizes=100-104"),
    (64, "-o slab_sizes=10-200"),
    (64, "-o slab_sizes="),
    (1, "-o hashpower"),
    (1, "-o hashpower=11"),
    (1, "-o hashpower=33"),
    (1, "-o hash_algorithm=md5"),
    (1, "-o tail_repair_time=9"),
    (1, "-o read_buf_mem_limit=x"),
    (1, "-o ssl_verify_mode=4"),
    (1, "-o ssl_verify_mode=x"),
    (1, "-o ssl_min_version=4"),
    (1, "-o ssl_min_version=-1"),
    (1, "-o ssl_wbuf_size=x"),
    (1, "-o ext_path"),
    (1, "-o ext_path=/nonexistent/e"),
    (1, "-o ext_item_size=x"),
    (1, "-o proxy_config=/x"),
    (1, "-o relaxed_privileges"),
    (64, "-o no_lru_maintainer,temporary_ttl=5"),
    (71, "-l 127.0.0.1:abc"),
    (71, "-l localhost:"),
    (71, "-l 127.0.0.1,127.0.0.1"),
    (71, "-l 127.0.0.1:12:13"),
    (71, "-l [::1"),
    (71, "-l tag[]:127.0.0.1"),
    (71, "-l tag[123456789]:127.0.0.1"),
    (71, "-l notls:127.0.0.1"),
    (64, "-Z"),
    (64, "-Z -p 0 -o ssl_chain_cert=/nonexistent/c,ssl_key=/nonexistent/k"),
    (64, "-Y /dev/null -U 12345"),
    (0, "-h"),
    (0, "-i"),
    (0, "-V -c 0"),
];

/// What only memcarp refuses: memcached takes the number for another, or for none.
const REFUSED_BY_MEMCARP: &[(i32, &str)] = &[
    (64, "-p abc"),
    (64, "-p -2"),
    (64, "-U 99999"),
    (64, "-b x"),
    (64, "-a 999"),
    (64, "-I 1.5m"),
    (64, "-m -1"),
    (64, "-m 2g"),
    (64, "-B binary"),
    (64, "-S"),
    (1, "-R -1"),
    (1, "-n -1"),
    (1, "-o lru_crawler_sleep=x"),
    (64, "-o idle_timeout=x"),
    (1, "-o slab_chunk_max=x"),
    (1, "-o slab_sizes"),
    (71, "-l 127.0.0.1:99999"),
    (71, "-l ,"),
    (71, "-l proto[binary]:127.0.0.1"),
];

#[test]
fn refusals_end_with_their_status_and_say_why() {
    for &(status, args) in REFUSED.iter().chain(REFUSED_BY_MEMCARP) {
        let output = memcarp(&args.split(' ').collect::<Vec<_>>());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(status), "{args}: {stderr}");
        if status != 0 {
            assert!(output.stdout.is_empty(), "{args}");
            assert!(stderr.starts_with("memcarp: "), "{args}: {stderr}");
        }
    }
}

/// With `MEMCARP_PEERS=1`: the installed memcached ends with the same status.
#[test]
fn memcached_ends_with_the_same_status() {
    if std::env::var_os("MEMCARP_PEERS").is_none() {
        return;
    }
    for &(status, args) in REFUSED {
        let mut memcached = Command::new("memcached")
            .args(["-u", "root"])
            .args(args.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("memcached is installed");
        // One that starts after all would run for ever.
        let deadline = Instant::now() + Duration::from_secs(10);
        let code = loop {
            match memcached.try_wait().unwrap() {
                Some(ended) => break ended.code(),
                None if Instant::now() > deadline => {
                    memcached.kill().unwrap();
                    memcached.wait().unwrap();
                    panic!("memcached {args} started a server");
                }
                None => std::thread::yield_now(),
            }
        };
        assert_eq!(code, Some(status), "memcached {args}");
    }
}

/// A server on a UNIX socket in a directory of its own, both gone at the end.
struct Server {
    process: Child,
    directory: PathBuf,
}

impl Server {
    /// Starts it with `-s` and with `-Y` for these users, and waits until it serves.
    fn with_users(name: &str, users: &str) -> Server {
        let directory = std::env::temp_dir().join(format!("memcarp-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("users"), users).unwrap();
        let mut process = Command::new(env!("CARGO_BIN_EXE_memcarp"))
            .args(["-u", "root", "-s", "socket", "-Y", "users", "--metrics-listen", "off"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        assert!(line.starts_with("memcarp serves on "), "{line}");
        Server { process, directory }
    }

    /// What the server answers to `request` until it closes.
    fn ask(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.directory.join("socket")).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut reply = String::new();
        stream.read_to_string(&mut reply).unwrap();
        reply
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([name, &self.process.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

#[test]
fn a_file_of_users_keeps_others_out_and_is_read_again_at_hangup() {
    let mut server = Server::with_users("users", "alice:secret\n");
    assert_eq!(server.ask("get a b\r\nshutdown\r\nquit\r\n"), "CLIENT_ERROR unauthenticated\r\n".repeat(2));
    let alice = "set auth 0 0 12\r\nalice secret\r\nget a\r\nquit\r\n";
    let carol = "set auth 0 0 10\r\ncarol word\r\nget a\r\nquit\r\n";
    assert_eq!(server.ask(alice), "STORED\r\nEND\r\n");
    assert!(server.ask(carol).starts_with("CLIENT_ERROR authentication failure\r\n"));

    std::fs::write(server.directory.join("users"), "carol:word\n").unwrap();
    server.signal("-HUP");
    let deadline = Instant::now() + Duration::from_secs(10);
    while server.ask(carol) != "STORED\r\nEND\r\n" {
        assert!(Instant::now() < deadline, "the file is not read again");
    }
    assert!(server.ask(alice).starts_with("CLIENT_ERROR authentication failure\r\n"));
    let mut stderr = BufReader::new(server.process.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.ends_with(" INFO -Y users read again: 1 user\n"), "{said}");

    // What cannot be read changes nothing.
    std::fs::write(server.directory.join("users"), "no colon\n").unwrap();
    server.signal("-HUP");
    said.clear();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains("users line 1") && said.ends_with("the users stay as they were\n"), "{said}");
    assert_eq!(server.ask(carol), "STORED\r\nEND\r\n");
}

#[test]
fn what_cannot_be_protected_is_not_served() {
    let output = memcarp(&["-s", "/nonexistent/socket", "-Y", "/nonexistent/users"]);
    assert_eq!(output.status.code(), Some(1));
    let output = memcarp(&["-p", "-1", "-Z", "-o", "ssl_chain_cert=/nonexistent/c,ssl_key=/nonexistent/k"]);
    assert_eq!(output.status.code(), Some(64));
}
