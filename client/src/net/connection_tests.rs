//! How a connection writes, against a stream that counts.

use super::*;
use crate::key::Key;
use crate::net::ProtocolChoice;
use crate::protocol::{Code, Delete};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWriteExt, BufReader, DuplexStream, ReadBuf};

struct Counting {
    stream: DuplexStream,
    writes: Arc<AtomicUsize>,
}

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, into)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.writes.fetch_add(1, Ordering::Relaxed);
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl Transport for Counting {}

fn work(number: usize) -> (Work, oneshot::Receiver<Result<Reply, Error>>) {
    let (reply, receiver) = oneshot::channel();
    let key = Key::from(format!("key:{number}"));
    (Work::One { request: Request::Delete(Delete { key, compare: None, stale: None }), reply }, receiver)
}

fn config() -> NetConfig {
    NetConfig {
        connect_timeout: Duration::from_secs(20),
        unresponsive_after: Duration::from_secs(20),
        queue: 1024,
        max_value_bytes: 1 << 20,
        protocol: ProtocolChoice::Meta,
        credentials: None,
        #[cfg(feature = "tls")]
        tls: None,
    }
}

/// Both are there when the connection looks: an answer to nobody, and the next request.
#[tokio::test]
async fn what_comes_while_nothing_is_asked_is_not_the_next_answer() {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let (sender, mut receiver) = mpsc::channel(1);
    let (first, answer) = work(0);
    let stream = Box::new(Counting { stream: near, writes: Arc::default() });
    let connection = Connection::new(stream, Dialect::Classic, &config());
    let served = tokio::spawn(async move { (connection.run(first, &mut receiver).await, receiver) });
    far.write_all(b"DELETED\r\n").await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().code, Code::Done);
    tokio::task::yield_now().await; // It waits for more.
    let (second, _answer) = work(1);
    far.write_all(b"DELETED\r\n").await.unwrap();
    assert!(sender.try_send(second).is_ok());
    let (result, mut receiver) = served.await.unwrap();
    assert!(result.is_ok(), "nobody was in line");
    assert!(receiver.try_recv().is_ok(), "the next connection has it to send");
}

/// On one worker thread, which runs the connection after each caller that wakes it.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn callers_that_ask_together_are_written_together() {
    let (near, far) = tokio::io::duplex(1 << 16);
    let writes = Arc::new(AtomicUsize::new(0));
    let stream = Box::new(Counting { stream: near, writes: writes.clone() });
    let config = config();
    tokio::spawn(async move {
        let (read, mut write) = tokio::io::split(far);
        let mut lines = BufReader::new(read).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let opaque = line.rsplit(' ').next().unwrap();
            write.write_all(format!("HD {opaque}\r\n").as_bytes()).await.unwrap();
        }
    });
    let callers = tokio::spawn(async move {
        let (sender, mut receiver) = mpsc::channel(1024);
        let (first, answer) = work(0);
        let connection = Connection::new(stream, Dialect::Meta, &config);
        tokio::spawn(async move { connection.run(first, &mut receiver).await });
        assert_eq!(answer.await.unwrap().unwrap().code, Code::Done);
        let callers: Vec<_> = (0..100)
            .map(|_| {
                let sender = sender.clone();
                tokio::spawn(async move {
                    for number in 0..20 {
                        let (work, answer) = work(number);
                        assert!(sender.send(work).await.is_ok());
                        assert_eq!(answer.await.unwrap().unwrap().code, Code::Done);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    });
    callers.await.unwrap();
    let writes = writes.load(Ordering::Relaxed);
    println!("{writes} writes for 2001 requests");
    assert!(writes <= 200, "{writes} writes for 2001 requests");
}
