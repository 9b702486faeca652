//! A cache server of some meta commands, which does to the stream what networks and hosts do.

use memcarp_client::Address;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// How replies are sent.
#[derive(Clone, Copy, Default)]
pub struct Chaos {
    /// Replies are cut into pieces of 1 to this many bytes, a pause after each. 0: sent whole.
    pub piece: u64,
    /// One piece in so many is followed by a pause of about a millisecond.
    pub pause: u64,
}

#[derive(Default)]
struct Store {
    items: HashMap<Vec<u8>, Entry>,
    cas: u64,
}

#[derive(Default, Clone)]
struct Entry {
    value: Vec<u8>,
    flags: u32,
    cas: u64,
    expires: Option<Instant>,
    stale: bool,
    claimed: bool,
}

/// The server. It stops when dropped; what it stored outlives its connections, as after a network cut.
pub struct Fake {
    pub address: Address,
    store: Arc<Mutex<Store>>,
    state: Arc<State>,
    chaos: Chaos,
    task: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    /// Reads nothing and answers nothing while set, as a stopped process.
    silent: AtomicBool,
    /// Connections made so far.
    made: AtomicU64,
    /// Connections before this one carry out nothing of what they read.
    stalled: AtomicU64,
    requests: AtomicU64,
    connections: Mutex<Vec<JoinHandle<()>>>,
    /// Every request line without its opaque, in order.
    lines: Mutex<Vec<String>>,
}

impl Fake {
    pub async fn start() -> Fake {
        Fake::with(Chaos::default()).await
    }

    pub async fn with(chaos: Chaos) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut fake = Fake {
            address: Address::Tcp { host: "127.0.0.1".to_owned(), port },
            store: Arc::default(),
            state: Arc::default(),
            chaos,
            task: None,
        };
        fake.serve(listener);
        fake
    }

    fn serve(&mut self, listener: TcpListener) {
        let (store, state, chaos) = (self.store.clone(), self.state.clone(), self.chaos);
        self.task = Some(tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let served = tokio::spawn(connection(stream, store.clone(), state.clone(), chaos));
                state.connections.lock().unwrap().push(served);
            }
        }));
    }

    /// Cuts every connection and refuses new ones. Items stay.
    pub fn cut(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        self.state.connections.lock().unwrap().drain(..).for_each(|c| c.abort());
    }

    /// Listens again, at the same address.
    pub async fn restore(&mut self) {
        let Address::Tcp { port, .. } = self.address else { unreachable!() };
        let deadline = Instant::now() + super::GENEROUS;
        let listener = loop {
            match TcpListener::bind(("127.0.0.1", port)).await {
                Ok(listener) => break listener,
                Err(error) => assert!(Instant::now() < deadline, "cannot listen again: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        self.serve(listener);
    }

    pub fn silence(&self, silent: bool) {
        self.state.silent.store(silent, Ordering::SeqCst);
    }

    /// Has the connections there are carry out nothing, for now, of what comes, as the threads of a server that has
    /// stood still and goes on with others.
    pub fn stall(&self) {
        self.state.stalled.store(self.state.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }

    pub fn go_on(&self) {
        self.state.stalled.store(0, Ordering::SeqCst);
    }

    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    pub fn lines(&self) -> Vec<String> {
        self.state.lines.lock().unwrap().clone()
    }

    /// Looks at an item without a request.
    pub fn peek(&self, key: &str) -> Option<Vec<u8>> {
        self.store.lock().unwrap().items.get(key.as_bytes()).map(|entry| entry.value.clone())
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn connection(mut stream: TcpStream, store: Arc<Mutex<Store>>, state: Arc<State>, chaos: Chaos) {
    let number = state.made.fetch_add(1, Ordering::SeqCst);
    let mut input = Vec::new();
    let mut dice = 0x9e37_79b9_7f4a_7c15 ^ Arc::as_ptr(&store) as u64;
    let mut roll = move |sides: u64| {
        dice ^= dice << 13;
        dice ^= dice >> 7;
        dice ^= dice << 17;
        dice % sides.max(1)
    };
    loop {
        let mut output = Vec::new();
        while let Some((line, block, used)) = request(&input) {
            state.requests.fetch_add(1, Ordering::SeqCst);
            let opaque = super::opaque(&line);
            state.lines.lock().unwrap().push(line.trim_end_matches(&opaque).to_owned());
            answer(&mut store.lock().unwrap(), &line, &block, &mut output);
            input.drain(..used);
        }
        if chaos.piece == 0 {
            if stream.write_all(&output).await.is_err() {
                return;
            }
        } else {
            let mut rest = &output[..];
            while !rest.is_empty() {
                let (piece, after) = rest.split_at((1 + roll(chaos.piece) as usize).min(rest.len()));
                if stream.write_all(piece).await.is_err() {
                    return;
                }
                rest = after;
                match roll(chaos.pause) {
                    0 => tokio::time::sleep(Duration::from_millis(1)).await,
                    _ => tokio::task::yield_now().await,
                }
            }
        }
        match stream.read_buf(&mut input).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
        while state.silent.load(Ordering::SeqCst) || number < state.stalled.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// One whole request at the front of `input`: its line, its data block, its length.
fn request(input: &[u8]) -> Option<(String, Vec<u8>, usize)> {
    let end = input.iter().position(|&b| b == b'\n')?;
    let line = String::from_utf8_lossy(&input[..end]).trim_end().to_owned();
    if !line.starts_with("ms ") {
        return Some((line, Vec::new(), end + 1));
    }
    let length: usize = line.split(' ').nth(2).unwrap().parse().unwrap();
    let whole = end + 1 + length + 2;
    (input.len() >= whole).then(|| (line, input[end + 1..whole - 2].to_vec(), whole))
}

fn answer(store: &mut Store, line: &str, block: &[u8], out: &mut Vec<u8>) {
    let words: Vec<&str> = line.split(' ').collect();
    match words[0] {
        "mn" => return out.extend_from_slice(b"MN\r\n"),
        "version" => return out.extend_from_slice(b"VERSION 1.6.0-fake\r\n"),
        "flush_all" => {
            store.items.clear();
            return out.extend_from_slice(b"OK\r\n");
        }
        "mg" | "ms" | "md" | "ma" => {}
        _ => return out.extend_from_slice(b"ERROR\r\n"),
    }
    let key = words[1].as_bytes().to_vec();
    let flags = &words[if words[0] == "ms" { 3 } else { 2 }..];
    let flag = |name: char| flags.iter().find_map(|flag| flag.strip_prefix(name));
    let seconds = |name: char| flag(name).map(|text| text.parse::<i64>().unwrap());
    let expiry = |ttl: Option<i64>| match ttl {
        None | Some(0) => None,
        Some(seconds) => Some(Instant::now() + Duration::from_secs(seconds.max(0) as u64)),
    };
    let now = Instant::now();
    if store.items.get(&key).is_some_and(|entry| entry.expires.is_some_and(|at| at <= now)) {
        store.items.remove(&key);
    }
    let quiet = flag('q').is_some();
    let compare = flag('C').map(|text| text.parse::<u64>().unwrap());
    let found = store.items.get(&key).cloned();
    let next_cas = store.cas + 1;
    let mut code = "HD".to_owned();
    let mut value = None;
    let (mut won, mut claimed, mut stale) = (false, false, false);
    let mut entry = found.clone().unwrap_or_default();
    match words[0] {
        "mg" if found.is_none() => match seconds('N') {
            Some(ttl) => {
                store.cas = next_cas;
                entry =
                    Entry { cas: next_cas, expires: expiry(Some(ttl)), claimed: true, ..Entry::default() };
                store.items.insert(key, entry.clone());
                won = true;
                value = Some(Vec::new());
            }
            None => code = "EN".to_owned(),
        },
        "mg" => {
            let entry = store.items.get_mut(&key).unwrap();
            let left = entry.expires.map(|at| (at - now).as_secs() as i64);
            let due = seconds('R').is_some_and(|below| left.is_some_and(|left| left < below));
            stale = entry.stale;
            if (entry.stale || due) && !entry.claimed {
                (won, entry.claimed) = (true, true);
            } else {
                claimed = entry.claimed;
            }
            if let Some(ttl) = seconds('T') {
                entry.expires = expiry(Some(ttl));
            }
            value = flag('v').map(|_| entry.value.clone());
        }
        "ms" => {
            let mode = flag('M').unwrap_or("S");
            if compare.is_some() && found.is_none() {
                code = "NF".to_owned();
            } else if compare.is_some_and(|cas| cas != entry.cas) {
                code = "EX".to_owned();
            } else if (mode == "E") == found.is_some() && mode != "S" {
                code = "NS".to_owned();
            } else {
                store.cas = next_cas;
                let joined = match mode {
                    "A" => [entry.value, block.to_vec()].concat(),
                    "P" => [block.to_vec(), entry.value].concat(),
                    _ => block.to_vec(),
                };
                entry = Entry {
                    value: joined,
                    flags: flag('F').map_or(0, |text| text.parse().unwrap()),
                    cas: next_cas,
                    expires: expiry(seconds('T')),
                    ..Entry::default()
                };
                store.items.insert(key, entry.clone());
            }
        }
        "md" if found.is_none() => code = "NF".to_owned(),
        "md" if compare.is_some_and(|cas| cas != entry.cas) => code = "EX".to_owned(),
        "md" if flag('I').is_some() => {
            store.cas = next_cas;
            (entry.stale, entry.claimed, entry.cas) = (true, false, next_cas);
            store.items.insert(key, entry.clone());
        }
        "md" => drop(store.items.remove(&key)),
        _ => {
            let initial = seconds('N').map(|ttl| (flag('J').unwrap_or("0").to_owned(), ttl));
            let delta: u64 = flag('D').map_or(1, |text| text.parse().unwrap());
            match (found, initial) {
                (None, None) => code = "NF".to_owned(),
                (None, Some((initial, ttl))) => {
                    store.cas = next_cas;
                    entry =
                        Entry { value: initial.into(), cas: next_cas, expires: expiry(Some(ttl)), ..entry };
                    store.items.insert(key, entry.clone());
                    value = Some(entry.value.clone());
                }
                (Some(_), _) => match String::from_utf8_lossy(&entry.value).parse::<u64>() {
                    Ok(number) => {
                        let down = flags.contains(&"MD");
                        let number =
                            if down { number.saturating_sub(delta) } else { number.wrapping_add(delta) };
                        store.cas = next_cas;
                        (entry.value, entry.cas) = (number.to_string().into(), next_cas);
                        store.items.insert(key, entry.clone());
                        value = Some(entry.value.clone());
                    }
                    Err(_) => {
                        let text = b"CLIENT_ERROR cannot increment or decrement non-numeric value\r\n";
                        return out.extend_from_slice(text);
                    }
                },
            }
        }
    }
    if quiet && code == if words[0] == "mg" { "EN" } else { "HD" } {
        return;
    }
    let size = entry.value.len();
    if let Some(value) = &value {
        code = format!("VA {}", value.len());
    }
    out.extend_from_slice(code.as_bytes());
    let missing = matches!(code.as_str(), "EN" | "NF" | "NS" | "EX");
    for flag in flags {
        let text = match &flag[..1] {
            "O" => format!(" {flag}"),
            _ if missing => continue,
            "f" => format!(" f{}", entry.flags),
            "c" => format!(" c{}", entry.cas),
            "s" => format!(" s{size}"),
            "t" => format!(" t{}", entry.expires.map_or(-1, |at| (at - now).as_secs() as i64)),
            "h" => " h0".to_owned(),
            "l" => " l0".to_owned(),
            _ => continue,
        };
        out.extend_from_slice(text.as_bytes());
    }
    for (set, text) in [(won, " W"), (stale, " X"), (claimed, " Z")] {
        if set {
            out.extend_from_slice(text.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
    if let Some(value) = value {
        out.extend_from_slice(&value);
        out.extend_from_slice(b"\r\n");
    }
}
