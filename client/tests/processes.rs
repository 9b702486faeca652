//! Computed once over real processes: this test starts itself ten times.

mod support;

use memcarp_client::{Address, Client};
use std::convert::Infallible;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::{Fake, Peer, members, peers_wanted};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

const PROCESSES: usize = 10;
const CALLERS: usize = 100;
/// Where the server is, for a started copy of this test.
const ADDRESS: &str = "MEMCARP_CLIENT_TEST_ADDRESS";
const KEY: &str = "MEMCARP_CLIENT_TEST_KEY";

/// One of the processes: a hundred callers want one value. Whoever is to compute it says so and waits for a line.
/// Does nothing unless it has been started by the tests below.
#[tokio::test]
async fn a_process_of_many() {
    let (Ok(address), Ok(key)) = (std::env::var(ADDRESS), std::env::var(KEY)) else { return };
    let address: Address = address.parse().unwrap();
    let client = Client::builder().members(members(&[("only", &address)])).timeout(support::GENEROUS).build();
    let client = client.unwrap();
    let computed = Arc::new(AtomicUsize::new(0));
    let callers: Vec<_> = (0..CALLERS)
        .map(|_| {
            let (client, computed, key) = (client.clone(), computed.clone(), key.clone());
            tokio::spawn(async move {
                let compute = || async {
                    computed.fetch_add(1, Ordering::SeqCst);
                    println!("says: computing");
                    let read = || std::io::stdin().read_line(&mut String::new());
                    tokio::task::spawn_blocking(read).await.unwrap().unwrap();
                    Ok::<_, Infallible>(format!("the value of {key}"))
                };
                let value = client
                    .get_or_compute(&key, Duration::from_secs(60), compute)
                    .lease(Duration::from_secs(2))
                    .await
                    .unwrap()
                    .value;
                assert_eq!(value, format!("the value of {key}"));
            })
        })
        .collect();
    tokio::task::yield_now().await; // On this single thread every caller has asked now.
    println!("says: asking");
    for caller in callers {
        caller.await.unwrap();
    }
    println!("says: done, {} computed", computed.load(Ordering::SeqCst));
}

struct Process {
    child: Child,
    says: Lines<BufReader<ChildStdout>>,
    stdin: ChildStdin,
}

impl Process {
    fn start(address: &Address, key: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_process_of_many", "--nocapture"])
            .env(ADDRESS, address.to_string())
            .env(KEY, key)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let says = BufReader::new(child.stdout.take().unwrap()).lines();
        let stdin = child.stdin.take().unwrap();
        Process { child, says, stdin }
    }

    /// What it says next.
    async fn says(&mut self) -> String {
        loop {
            let line = tokio::time::timeout(support::GENEROUS, self.says.next_line()).await;
            let line = line.expect("it says nothing").unwrap().expect("it has ended without a word");
            if let Some((_, word)) = line.split_once("says: ") {
                return word.to_owned();
            }
        }
    }
}

async fn all_asking(address: &Address, key: &str) -> Vec<Process> {
    let mut processes: Vec<_> = (0..PROCESSES).map(|_| Process::start(address, key)).collect();
    for process in &mut processes {
        assert_eq!(process.says().await, "asking");
    }
    processes
}

/// Waits for one of them to say that it computes.
async fn computing(processes: &mut [Process]) -> usize {
    let says = processes.iter_mut().enumerate().map(|(number, process)| {
        Box::pin(async move {
            assert_eq!(process.says().await, "computing");
            number
        })
    });
    let mut says: Vec<_> = says.collect();
    std::future::poll_fn(|cx| {
        says.iter_mut()
            .map(|says| says.as_mut().poll(cx))
            .find(|poll| poll.is_ready())
            .unwrap_or(std::task::Poll::Pending)
    })
    .await
}

/// All get the value; how many times it was computed.
async fn all_done(processes: Vec<Process>) -> usize {
    let mut computed = 0;
    for mut process in processes {
        let said = process.says().await;
        let number = said.strip_prefix("done, ").and_then(|rest| rest.strip_suffix(" computed"));
        computed += number.unwrap_or_else(|| panic!("{said}")).parse::<usize>().unwrap();
        assert!(process.child.wait().await.unwrap().success());
    }
    computed
}

async fn everything(address: &Address) {
    // A thousand callers on ten processes.
    let mut processes = all_asking(address, "hot").await;
    let first = computing(&mut processes).await;
    processes[first].stdin.write_all(b"go\n").await.unwrap();
    assert_eq!(all_done(processes).await, 1, "computed more than once");

    // The one that computes is killed, and its lease with it: one of the others takes over.
    let mut processes = all_asking(address, "killed").await;
    let first = computing(&mut processes).await;
    processes.remove(first).child.kill().await.unwrap();
    let second = computing(&mut processes).await;
    processes[second].stdin.write_all(b"go\n").await.unwrap();
    assert_eq!(all_done(processes).await, 1, "computed more than once after the first was killed");
}

#[tokio::test]
async fn ten_processes_and_a_server_in_this_one() {
    everything(&Fake::start().await.address).await;
}

#[tokio::test]
async fn ten_processes_and_real_servers() {
    if peers_wanted() {
        everything(&Peer::memcached(&[]).address).await;
        everything(&Peer::memcarp(&[]).address).await;
    }
}
