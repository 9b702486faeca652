//! What a request costs beside other crates, in processor time of this process and in time on the clock.
//!
//! ```sh
//! cargo run --release [FILTER [REPEATS]]     # needs memcached in the PATH; SERVER names another program
//! ```
//!
//! Each line is the best of `REPEATS` runs (5 unless given), which alternate between the crates.

use std::future::Future;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const KEYS: usize = 1000;
const VALUE: [u8; 64] = [b'x'; 64];

fn key(number: usize) -> String {
    format!("user:profile:{:08}", number % KEYS)
}

struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Server {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let program = std::env::var("SERVER").unwrap_or("memcached".to_owned());
        let child = Command::new(program)
            .args(["-l", "127.0.0.1", "-t", "1", "-u", "root", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("a server");
        let address = format!("127.0.0.1:{port}");
        while std::net::TcpStream::connect(&address).is_err() {
            std::thread::sleep(Duration::from_millis(5));
        }
        Server { child, address }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor time of the threads of this process.
fn processor() -> Duration {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().filter_map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).ok()?;
        text.split(' ').next().unwrap().parse::<u64>().ok()
    });
    Duration::from_nanos(threads.sum())
}

/// Microseconds a key: processor, clock.
async fn measured<F: Future<Output = usize>>(run: impl AsyncFn() -> F) -> (f64, f64) {
    let (processor_before, began) = (processor(), Instant::now());
    let keys = run().await.await as f64;
    let each = |time: Duration| time.as_secs_f64() * 1e6 / keys;
    (each(processor() - processor_before), each(began.elapsed()))
}

async fn tasks<T: Future<Output = ()> + Send + 'static>(count: usize, task: impl Fn(usize) -> T) {
    let running: Vec<_> = (0..count).map(|number| tokio::spawn(task(number))).collect();
    for task in running {
        task.await.unwrap();
    }
}

mod ours {
    use super::*;
    use memcarp_client::{Client, Members};

    pub fn client(servers: &[Server]) -> Client {
        let list = servers.iter().map(|server| server.address.as_str()).collect::<Vec<_>>().join(",");
        Client::builder()
            .members(list.parse::<Members>().unwrap())
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap()
    }

    pub async fn fill(client: &Client) {
        for number in 0..KEYS {
            assert!(client.set(key(number), VALUE.as_slice()).await.unwrap().is_stored());
        }
    }

    pub async fn get(client: &Client, callers: usize, each: usize) -> usize {
        tasks(callers, |caller| {
            let client = client.clone();
            async move {
                for number in 0..each {
                    assert!(client.get(key(caller * 7 + number)).send().await.unwrap().is_some());
                }
            }
        })
        .await;
        callers * each
    }

    pub async fn set(client: &Client, each: usize) -> usize {
        let client = client.clone();
        tasks(1, |_| {
            let client = client.clone();
            async move {
                for number in 0..each {
                    assert!(client.set(key(number), VALUE.as_slice()).send().await.unwrap().is_stored());
                }
            }
        })
        .await;
        each
    }

    pub async fn many(client: &Client, rounds: usize) -> usize {
        tasks(1, |_| {
            let client = client.clone();
            async move {
                for round in 0..rounds {
                    let found = client.get_many((0..100).map(|number| key(round * 100 + number))).await;
                    assert_eq!(found.hits().count(), 100);
                }
            }
        })
        .await;
        rounds * 100
    }
}

mod async_memcached {
    use super::*;
    use ::async_memcached::{AsciiProtocol, Client};

    async fn client(server: &Server) -> Client {
        Client::new(format!("tcp://{}", server.address)).await.unwrap()
    }

    /// A connection for each caller: the crate has no other way to share.
    pub async fn get(server: &Server, callers: usize, each: usize) -> usize {
        let mut clients = Vec::new();
        for _ in 0..callers {
            clients.push(std::sync::Mutex::new(Some(client(server).await)));
        }
        tasks(callers, |caller| {
            let mut client = clients[caller].lock().unwrap().take().unwrap();
            async move {
                for number in 0..each {
                    assert!(client.get(key(caller * 7 + number)).await.unwrap().is_some());
                }
            }
        })
        .await;
        callers * each
    }

    pub async fn set(server: &Server, each: usize) -> usize {
        let client = std::sync::Mutex::new(Some(client(server).await));
        tasks(1, |_| {
            let mut client = client.lock().unwrap().take().unwrap();
            async move {
                for number in 0..each {
                    client.set(key(number), VALUE.as_slice(), None, None).await.unwrap();
                }
            }
        })
        .await;
        each
    }

    pub async fn many(server: &Server, rounds: usize) -> usize {
        let client = std::sync::Mutex::new(Some(client(server).await));
        tasks(1, |_| {
            let mut client = client.lock().unwrap().take().unwrap();
            async move {
                for round in 0..rounds {
                    let keys: Vec<String> = (0..100).map(|number| key(round * 100 + number)).collect();
                    assert_eq!(client.get_multi(&keys).await.unwrap().len(), 100);
                }
            }
        })
        .await;
        rounds * 100
    }
}

mod blocking {
    use super::*;
    use memcache::Client;

    pub fn client(servers: &[Server]) -> Client {
        let urls: Vec<String> =
            servers.iter().map(|server| format!("memcache://{}", server.address)).collect();
        Client::connect(urls).unwrap()
    }

    pub fn fill(client: &Client) {
        (0..KEYS).for_each(|number| client.set(&key(number), VALUE.as_slice(), 0).unwrap());
    }

    pub fn get(client: &Client, each: usize) -> usize {
        for number in 0..each {
            assert!(client.get::<Vec<u8>>(&key(number)).unwrap().is_some());
        }
        each
    }

    pub fn set(client: &Client, each: usize) -> usize {
        (0..each).for_each(|number| client.set(&key(number), VALUE.as_slice(), 0).unwrap());
        each
    }

    pub fn many(client: &Client, rounds: usize) -> usize {
        for round in 0..rounds {
            let keys: Vec<String> = (0..100).map(|number| key(round * 100 + number)).collect();
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            assert_eq!(client.gets::<Vec<u8>>(&keys).unwrap().len(), 100);
        }
        rounds * 100
    }
}

#[tokio::main(worker_threads = 1)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let repeats: usize = arguments.next().map_or(5, |text| text.parse().unwrap());
    let (one, ten) = ([Server::start()], std::array::from_fn::<_, 10, _>(|_| Server::start()));
    let (ours_one, ours_ten) = (ours::client(&one), ours::client(&ten));
    let (blocking_one, blocking_ten) = (blocking::client(&one), blocking::client(&ten));
    ours::fill(&ours_one).await;
    ours::fill(&ours_ten).await;
    blocking::fill(&blocking_ten);
    let mut best: Vec<(String, (f64, f64))> = Vec::new();
    for _ in 0..repeats {
        macro_rules! line {
            ($name:expr, $run:expr) => {
                if $name.contains(&filter) {
                    let got = measured(async || async { $run }).await;
                    match best.iter_mut().find(|(name, _)| name == $name) {
                        Some((_, (a, b))) => (*a, *b) = (a.min(got.0), b.min(got.1)),
                        None => best.push(($name.to_owned(), got)),
                    }
                }
            };
        }
        line!("one caller, get: memcarp-client", ours::get(&ours_one, 1, 10_000).await);
        line!("one caller, get: async-memcached", async_memcached::get(&one[0], 1, 10_000).await);
        line!("one caller, get: memcache", blocking::get(&blocking_one, 10_000));
        line!("one caller, set: memcarp-client", ours::set(&ours_one, 10_000).await);
        line!("one caller, set: async-memcached", async_memcached::set(&one[0], 10_000).await);
        line!("one caller, set: memcache", blocking::set(&blocking_one, 10_000));
        line!("64 callers, get: memcarp-client", ours::get(&ours_one, 64, 500).await);
        line!("64 callers, get: async-memcached", async_memcached::get(&one[0], 64, 500).await);
        line!("1000 callers, get: memcarp-client", ours::get(&ours_one, 1000, 50).await);
        line!("100 keys at once, one node: memcarp-client", ours::many(&ours_one, 500).await);
        line!("100 keys at once, one node: async-memcached", async_memcached::many(&one[0], 500).await);
        line!("100 keys at once, one node: memcache", blocking::many(&blocking_one, 500));
        line!("100 keys at once, ten nodes: memcarp-client", ours::many(&ours_ten, 500).await);
        line!("100 keys at once, ten nodes: memcache", blocking::many(&blocking_ten, 500));
    }
    println!("{:<48} {:>12} {:>12}", "microseconds a key", "processor", "clock");
    for (name, (processor, clock)) in best {
        println!("{name:<48} {processor:>12.2} {clock:>12.2}");
    }
}
