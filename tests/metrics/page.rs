//! The status page: whole without a script, nothing from elsewhere, live in a browser; and what it keeps to itself.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::common::{Connection, fresh_directory, peers, wait_for};
use crate::http::{ask, get, start};

/// Enough lookups of one key for a sample of one in 128.
fn ask_often(client: &mut Connection, key: &str) {
    client.send(format!("mg {key}\r\n").repeat(5000) + "mn\r\n");
    client.read_until(b"MN\r\n");
}

#[test]
fn it_is_whole_without_a_script_and_asks_nobody_else() {
    let (server, address) = start(&["-m", "32"]);
    let mut client = server.connect();
    assert_eq!(client.ask("set a<b 0 0 1\r\n1"), "STORED");
    ask_often(&mut client, "a<b");
    let answer = get(address, "/");
    assert_eq!(answer.status, 200);
    let page = &answer.body;
    for part in [
        "<title>memcarp</title>",
        "<h2>Hot keys</h2><table>",
        "<code>a&lt;b</code>",
        "100.0\u{a0}%",
        "100.0\u{a0}% since the start",
        "<dt>Memory</dt>",
        "of 32.0\u{a0}MiB",
        "<dt>maxbytes</dt><dd>33554432</dd>",
        "<figcaption>Hit ratio",
        "reload to renew",
        "href=\"/metrics\"",
    ] {
        assert!(page.contains(part), "no {part} in {page}");
    }
    assert!(!page.contains("a<b"), "a key became markup");
    // Nothing is loaded: no address of another place stands in it at all.
    for foreign in ["http:", "https:", "//", "src=", "@import", "url("] {
        let found = page.replace("// Shows the page anew", "");
        assert!(!found.contains(foreign), "{foreign} in the page");
    }
    let nonce = page.split_once("<style nonce=\"").expect("a style").1.split('"').next().expect("its name");
    assert!(answer.head.contains(&format!("script-src 'nonce-{nonce}'")), "{}", answer.head);
    assert!(answer.head.contains("default-src 'none'"));
    assert!(!get(address, "/").body.contains(nonce), "a name was used twice");
}

#[test]
fn keys_are_shown_to_those_who_may_see_them() {
    let shown = |options: &[&str], host: &str| {
        let (server, address) = start(options);
        let mut client = server.connect();
        if options.contains(&"-Y") {
            assert_eq!(client.ask("set auth 0 0 10\r\nuser word1"), "STORED");
        }
        ask_often(&mut client, "secret");
        let answer = ask(address, &format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n"));
        assert_eq!(answer.status, 200);
        answer.body.contains("secret")
    };
    assert!(shown(&[], "127.0.0.1:9150"));
    assert!(shown(&[], "localhost"));
    assert!(!shown(&[], "rebound.example:9150"));
    assert!(!shown(&["-X"], "127.0.0.1:9150"));
    let directory = fresh_directory();
    let users = directory.join("users");
    std::fs::write(&users, "user:word1\n").expect("our own directory");
    assert!(!shown(&["-Y", users.to_str().expect("a plain name")], "127.0.0.1:9150"));
    std::fs::remove_dir_all(directory).expect("our own directory");
}

#[test]
fn hot_keys_of_all_workers_are_told() {
    let (server, _) = start(&["-t", "2"]);
    for _ in 0..4 {
        ask_often(&mut server.connect(), "hot");
    }
    let mut client = server.connect();
    client.send("stats hotkeys\r\n");
    let answer = String::from_utf8(client.read_until(b"END\r\n")).expect("text");
    assert!(answer.contains("STAT 1:key hot\r\nSTAT 1:share 1.0000\r\nSTAT 1:error 0.0000\r\n"), "{answer}");
}

/// The page in headless Chromium: drawn, and renewed by its script.
#[test]
fn a_browser_shows_it_live_and_asks_nobody_else() {
    if !peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    let (server, address) = start(&[]);
    let mut client = server.connect();
    assert_eq!(client.ask("set hot 0 0 1\r\n1"), "STORED");
    ask_often(&mut client, "hot");
    // Everything the browser asks anybody for goes through here; only the server itself is reached.
    let proxy = Proxy::start(address, None);
    let directory = fresh_directory();
    let picture = directory.join("page.png");
    // Where to look at it afterwards.
    let keep = std::env::var_os("MEMCARP_SCREENSHOT").map(PathBuf::from);
    let dom = browse(&directory, &proxy, &format!("http://{address}/"), &picture);
    assert!(
        dom.contains("<b id=\"state\" class=\"\">live</b>") || dom.contains("<b id=\"state\">live</b>"),
        "{dom}"
    );
    assert!(dom.contains("<code>hot</code>"));
    let bytes = std::fs::read(&picture).expect("a screenshot");
    assert!(bytes.starts_with(b"\x89PNG") && bytes.len() > 20_000, "{} bytes", bytes.len());
    assert_eq!(proxy.foreign.load(Ordering::Relaxed), 0, "the page asked somebody else");
    assert!(proxy.pages.load(Ordering::Relaxed) > 2, "the script did not renew the page");
    if let Some(keep) = keep {
        std::fs::copy(&picture, keep).expect("a place for the screenshot");
    }

    // A page that does ask somebody else would be found out.
    let planted = "HTTP/1.0 200 OK\r\ncontent-type: text/html\r\n\r\n<img src=\"http://elsewhere.invalid/\">";
    let proxy = Proxy::start(address, Some(planted));
    browse(&directory, &proxy, &format!("http://{address}/"), &picture);
    assert_ne!(proxy.foreign.load(Ordering::Relaxed), 0, "the test sees nothing");
    std::fs::remove_dir_all(directory).expect("our own directory");
}

/// Loads a page, lets its script run for a while of the browser's own time, and returns what became of the document.
fn browse(directory: &Path, proxy: &Proxy, url: &str, picture: &Path) -> String {
    let run = |what: &[&str]| {
        let mut child = Command::new("chromium")
            .args(["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"])
            .args(["--no-first-run", "--disable-background-networking", "--disable-component-update"])
            .args([
                "--disable-sync",
                "--disable-extensions",
                "--disable-default-apps",
                "--window-size=1100,1500",
            ])
            .arg("--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
            .arg(format!("--proxy-server=http://{}", proxy.address))
            .arg("--proxy-bypass-list=<-loopback>")
            .arg(format!("--user-data-dir={}", directory.join("profile").display()))
            .arg("--virtual-time-budget=7000")
            .args(what)
            .arg(url)
            .env("HOME", directory)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("Debian's package chromium");
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut stdout = child.stdout.take().expect("piped");
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = stdout.read_to_end(&mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        while child.try_wait().expect("our own child").is_none() {
            if Instant::now() > deadline {
                let _ = child.kill();
                let _ = child.wait();
                panic!("the browser takes too long");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        reader.join().expect("it only reads")
    };
    run(&[&format!("--screenshot={}", picture.display())]);
    run(&["--dump-dom"])
}

/// An HTTP proxy that passes on requests for one address and counts all others.
struct Proxy {
    address: SocketAddr,
    pages: Arc<AtomicUsize>,
    foreign: Arc<AtomicUsize>,
    end: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Proxy {
    fn start(target: SocketAddr, planted: Option<&'static str>) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("some port is free");
        let address = listener.local_addr().expect("bound");
        let (pages, foreign) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let end = Arc::new(AtomicBool::new(false));
        let (counted, strangers, ended) = (pages.clone(), foreign.clone(), end.clone());
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !ended.load(Ordering::Relaxed)) {
                let Ok(stream) = stream else { continue };
                let (counted, strangers) = (counted.clone(), strangers.clone());
                std::thread::spawn(move || pass_on(stream, target, planted, &counted, &strangers));
            }
        });
        Proxy { address, pages, foreign, end, thread: Some(thread) }
    }
}

fn pass_on(
    mut stream: TcpStream,
    target: SocketAddr,
    planted: Option<&str>,
    pages: &AtomicUsize,
    foreign: &AtomicUsize,
) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(20)));
    let (mut request, mut part) = (Vec::new(), [0; 4096]);
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < 16 << 10 {
        match stream.read(&mut part) {
            Ok(count) if count > 0 => request.extend_from_slice(&part[..count]),
            _ => return,
        }
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let own = format!("GET http://{target}/ ");
    if !request.starts_with(&own) {
        let line = request.lines().next().unwrap_or_default();
        let place = line.split(' ').nth(1).unwrap_or_default().trim_start_matches("http://");
        let host = place.split([':', '/']).next().unwrap_or_default();
        // What Chromium asks its makers by itself, whatever it shows.
        const ITS_OWN: &[&str] = &["update.googleapis.com", "clients2.google.com", "accounts.google.com"];
        if !ITS_OWN.contains(&host) {
            eprintln!("asked for: {line}");
            foreign.fetch_add(1, Ordering::Relaxed);
        }
        return;
    }
    pages.fetch_add(1, Ordering::Relaxed);
    let answer = match planted {
        Some(planted) => planted.to_owned(),
        None => {
            let answer = get(target, "/");
            format!("{}\r\n\r\n{}", answer.head, answer.body)
        }
    };
    let _ = stream.write_all(answer.as_bytes());
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[test]
fn a_health_check_tells_a_server_that_answers() {
    let (server, address) = start(&[]);
    let health = |address: &str| {
        let output = Command::new(env!("CARGO_BIN_EXE_memcarp")).args(["health", address]).output();
        let output = output.expect("memcarp was built");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(health(&server.address.to_string()), (Some(0), String::new()));
    assert_eq!(health(&format!("http://{address}")), (Some(0), String::new()));
    // A server of another kind, and none.
    let (code, message) = health(&address.to_string());
    assert_eq!(code, Some(1));
    assert!(message.starts_with(&format!("memcarp health: {address}: it ")), "{message}");
    let nobody = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    assert_eq!(health(&nobody.expect("some port is free").to_string()).0, Some(1));
    assert_eq!(health("/no/such/socket").0, Some(1));
    assert_eq!(health("-x").0, Some(64));
    // What to do is said.
    assert!(health("nonsense").1.contains("write HOST:PORT"), "{:?}", health("nonsense"));
    assert_eq!(health(&format!("https://{address}")).0, Some(1), "it speaks no TLS");
    let tls = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let tls_address = tls.local_addr().expect("bound").to_string();
    let alert = std::thread::spawn(move || {
        let (mut stream, _) = tls.accept().expect("somebody comes");
        stream.read_exact(&mut [0; "version\r\n".len()]).expect("a request");
        stream.write_all(b"\x15\x03\x03\0\x02\x02\x32").expect("it is read");
    });
    let (code, message) = health(&tls_address);
    assert!(code == Some(1) && message.contains("write tls://HOST:PORT"), "{message}");
    alert.join().expect("the server that speaks TLS");
    // A full backlog answers to nobody.
    let silent = TcpListener::bind("127.0.0.1:0").expect("some port is free");
    let (code, message) = health(&silent.local_addr().expect("bound").to_string());
    assert!(code == Some(1) && message.contains("no answer within"), "{message}");
    drop(server);
    wait_for("the server to be gone", || (health(&format!("http://{address}")).0 == Some(1)).then_some(()));
}
