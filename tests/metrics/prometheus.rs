//! Prometheus itself, where MEMCARP_PEERS asks for it: its linter has nothing to say, and it scrapes and answers.

use std::io::Write;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::common::{fresh_directory, peers};
use crate::http::{get, start};

#[test]
fn promtool_has_nothing_to_say() {
    if !peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    let (server, address) = start(&["-o", "temporary_ttl=61"]);
    assert_eq!(server.connect().ask("set a 0 0 1\r\n1"), "STORED");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's package prometheus");
    let metrics = get(address, "/metrics").body;
    promtool.stdin.take().expect("piped").write_all(metrics.as_bytes()).expect("it reads");
    let output = promtool.wait_with_output().expect("our own child");
    let said = [output.stdout, output.stderr].concat();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&said).as_ref()), (Some(0), ""));
}

/// The query of memcached's dashboards.
const HIT_RATIO: &str = "sum(rate(memcached_commands_total{command=\"get\",status=\"hit\"}[10s])) \
    / sum(rate(memcached_commands_total{command=\"get\"}[10s]))";

#[test]
fn prometheus_answers_the_hit_ratio() {
    if !peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    let (server, address) = start(&[]);
    let prometheus = Prometheus::scrape(address);
    let mut client = server.connect();
    assert_eq!(client.ask("set a 0 0 1\r\n1"), "STORED");
    // Rates need two scrapes with something between them: three hits to one miss, until they are seen.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        client.send("mg a\r\nmg a\r\nmg a\r\nmg b\r\nmn\r\n");
        client.read_until(b"MN\r\n");
        let answer = prometheus.query(HIT_RATIO);
        // A scrape may fall between the four.
        if answer.as_deref().and_then(sample).is_some_and(|ratio| (ratio - 0.75).abs() < 0.01) {
            break;
        }
        assert!(Instant::now() < deadline, "{answer:?}\n{}", prometheus.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(prometheus.query("up").as_deref().and_then(sample), Some(1.0));
    assert_eq!(prometheus.query("memcached_up").as_deref().and_then(sample), Some(1.0));
    let quantile =
        "histogram_quantile(0.99, sum by (le) (rate(memcarp_command_duration_seconds_bucket[10s])))";
    let quantile = prometheus.query(quantile).as_deref().and_then(sample);
    assert!(quantile.is_some_and(|seconds| seconds > 0.0 && seconds < 1.0), "{quantile:?}");
}

/// The value of the only sample of an answer, if there is one.
fn sample(answer: &str) -> Option<f64> {
    let value = answer.split_once("\"value\":[")?.1.split(']').next()?;
    value.split_once(",\"")?.1.trim_end_matches('"').parse().ok()
}

struct Prometheus {
    child: Child,
    directory: std::path::PathBuf,
    address: SocketAddr,
}

impl Prometheus {
    fn scrape(target: SocketAddr) -> Prometheus {
        // It takes no port 0; between the question and its start somebody else may take the port, so it tries again.
        for _ in 0..5 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
            let mut prometheus = Prometheus::launch(target, free.expect("some port is free"));
            let deadline = Instant::now() + Duration::from_secs(60);
            while prometheus.child.try_wait().expect("our own child").is_none() {
                let address = prometheus.address;
                if std::net::TcpStream::connect(address).is_ok() && get(address, "/-/ready").status == 200 {
                    return prometheus;
                }
                assert!(Instant::now() < deadline, "{}", prometheus.log());
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        panic!("Prometheus does not start");
    }

    fn launch(target: SocketAddr, address: SocketAddr) -> Prometheus {
        let directory = fresh_directory();
        let config = format!(
            "global: {{ scrape_interval: 1s }}\n\
             scrape_configs: [{{ job_name: memcached, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        std::fs::write(directory.join("prometheus.yml"), config).expect("our own directory");
        let log = std::fs::File::create(directory.join("prometheus.log")).expect("our own directory");
        let child = Command::new("prometheus")
            .args(["--config.file=prometheus.yml", "--storage.tsdb.path=data"])
            .arg(format!("--web.listen-address={address}"))
            .current_dir(&directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("Debian's package prometheus");
        Prometheus { child, directory, address }
    }

    /// The answer to an instant query, if it is one.
    fn query(&self, query: &str) -> Option<String> {
        let mut encoded = String::new();
        for byte in query.bytes() {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' => encoded.push(char::from(byte)),
                _ => encoded.push_str(&format!("%{byte:02X}")),
            }
        }
        let request = format!("GET /api/v1/query?query={encoded} HTTP/1.0\r\nHost: a\r\n\r\n");
        let answer = crate::http::ask(self.address, &request);
        (answer.status == 200).then_some(answer.body)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("prometheus.log")).unwrap_or_default()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}
