//! How a connection writes, against a stream that counts.

use super::*;
use crate::key::Key;
use crate::net::shared::{Shared, Turn, outcome};
use crate::net::{Hold, ProtocolChoice};
use crate::protocol::{Code, Delete};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, DuplexStream, ReadBuf};

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

/// Nothing is to be held for it.
struct Nobody;

impl Owner for Nobody {
    fn failed(&self, error: &Error) {
        panic!("{error}");
    }

    fn hold(&self, keys: Vec<Key>) -> Hold {
        panic!("{keys:?}");
    }
}

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
    let served = tokio::spawn(async move {
        (Arc::<Shared>::default().serve(connection, first, &mut receiver).await, receiver)
    });
    far.write_all(b"DELETED\r\n").await.unwrap();
    assert_eq!(answer.await.unwrap().unwrap().code, Code::Done);
    tokio::task::yield_now().await; // It waits for more.
    let (second, _answer) = work(1);
    far.write_all(b"DELETED\r\n").await.unwrap();
    assert!(sender.try_send(second).is_ok());
    let (result, mut receiver) = served.await.unwrap();
    let (connection, error) = result.unwrap();
    assert!(connection.end(error, &Nobody).failure.is_none(), "nobody was in line");
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
        tokio::spawn(async move { Arc::<Shared>::default().serve(connection, first, &mut receiver).await });
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

/// A connection that has answered once, so that the next caller is alone on it; and the server's end.
async fn idle()
-> (Arc<Shared>, mpsc::Sender<Work>, DuplexStream, tokio::task::JoinHandle<Option<(Connection, Error)>>) {
    let (near, mut far) = tokio::io::duplex(1 << 16);
    let (sender, mut receiver) = mpsc::channel(8);
    let stream = Box::new(Counting { stream: near, writes: Arc::default() });
    let connection = Connection::new(stream, Dialect::Classic, &config());
    let shared = Arc::<Shared>::default();
    let (first, answer) = work(0);
    let serving = shared.clone();
    let task = tokio::spawn(async move { serving.serve(connection, first, &mut receiver).await });
    tell(&mut far, "delete key:0").await;
    assert_eq!(answer.await.unwrap().unwrap().code, Code::Done);
    (shared, sender, far, task)
}

/// Reads a request and says it is done.
async fn tell(far: &mut DuplexStream, request: &str) {
    let mut line = vec![0; request.len() + 2];
    far.read_exact(&mut line).await.unwrap();
    assert_eq!(line, format!("{request}\r\n").as_bytes());
    far.write_all(b"DELETED\r\n").await.unwrap();
}

type Answer = oneshot::Receiver<Result<Reply, Error>>;

fn alone(shared: &Arc<Shared>, queue: &mpsc::Sender<Work>, number: usize) -> (Turn, Answer) {
    let (work, answer) = work(number);
    (shared.free(queue).expect("nobody else is there").take(work), answer)
}

#[tokio::test]
async fn a_caller_that_is_alone_writes_and_reads_without_the_task() {
    let (shared, queue, mut far, task) = idle().await;
    let (turn, answer) = alone(&shared, &queue, 1);
    assert!(shared.free(&queue).is_none(), "one is there");
    let mut waits = Box::pin(outcome(Some(turn), answer));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(waits.as_mut().poll(&mut context).is_pending());
    // On one thread the task has had no turn.
    tell(&mut far, "delete key:1").await;
    let Poll::Ready(Ok(Ok(reply))) = waits.as_mut().poll(&mut context) else { panic!("it reads no answer") };
    assert_eq!(reply.code, Code::Done);
    assert!(!task.is_finished());
}

#[tokio::test]
async fn what_a_caller_leaves_behind_is_read_before_the_next_answer() {
    for polled in [false, true] {
        let (shared, queue, mut far, _task) = idle().await;
        let (turn, answer) = alone(&shared, &queue, 1);
        let mut waits = Box::pin(outcome(Some(turn), answer));
        if polled {
            let mut context = Context::from_waker(std::task::Waker::noop());
            assert!(waits.as_mut().poll(&mut context).is_pending());
        }
        drop(waits);
        assert!(shared.free(&queue).is_none(), "an answer is owed");
        let (next, answer) = work(2);
        queue.send(next).await.ok().unwrap();
        tell(&mut far, "delete key:1").await;
        let mut line = [0; 14];
        far.read_exact(&mut line).await.unwrap();
        assert_eq!(&line, b"delete key:2\r\n");
        far.write_all(b"NOT_FOUND\r\n").await.unwrap();
        assert_eq!(answer.await.unwrap().unwrap().code, Code::NotFound);
    }
}

#[tokio::test]
async fn a_caller_in_its_turn_is_told_when_somebody_else_comes() {
    let (shared, queue, mut far, _task) = idle().await;
    let (turn, answer) = alone(&shared, &queue, 1);
    let first = tokio::spawn(outcome(Some(turn), answer));
    tokio::task::yield_now().await;
    let (second, answer) = work(2);
    queue.send(second).await.ok().unwrap();
    tokio::task::yield_now().await; // The task reads from now on.
    tell(&mut far, "delete key:1").await;
    assert_eq!(first.await.unwrap().unwrap().unwrap().code, Code::Done);
    tell(&mut far, "delete key:2").await;
    assert_eq!(answer.await.unwrap().unwrap().code, Code::Done);
}

#[tokio::test]
async fn a_caller_in_its_turn_learns_why_the_connection_ended() {
    let (shared, queue, far, task) = idle().await;
    let (turn, answer) = alone(&shared, &queue, 1);
    let mut waits = Box::pin(outcome(Some(turn), answer));
    assert!(waits.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    drop(far); // The task does not hear of it.
    assert!(tokio::time::timeout(Duration::ZERO, &mut waits).await.is_err());
    let (connection, error) = task.await.unwrap().unwrap();
    let ended = connection.end(error, &Nobody);
    assert!(ended.failure.is_some() && ended.rest.is_none());
    let error = waits.await.unwrap().unwrap_err();
    assert_eq!(*error.kind(), ErrorKind::ConnectionLost);
}

/// Gives the task turns until the next caller could be alone.
async fn becomes_free(shared: &Arc<Shared>, queue: &mpsc::Sender<Work>) -> bool {
    for _ in 0..1000 {
        if shared.free(queue).is_some() {
            return true;
        }
        tokio::task::yield_now().await;
    }
    false
}

/// Half of its answer has come and been read. Nobody else asks for anything: only the caller can wake the task.
#[tokio::test]
async fn the_task_reads_on_where_a_caller_in_its_turn_goes_away() {
    for times_out in [false, true] {
        let (shared, queue, mut far, task) = idle().await;
        let (turn, answer) = alone(&shared, &queue, 1);
        let mut waits = Box::pin(outcome(Some(turn), answer));
        let mut context = Context::from_waker(std::task::Waker::noop());
        assert!(waits.as_mut().poll(&mut context).is_pending());
        far.write_all(b"DELE").await.unwrap();
        if times_out {
            assert!(tokio::time::timeout(Duration::ZERO, waits).await.is_err());
        } else {
            assert!(waits.as_mut().poll(&mut context).is_pending());
            drop(waits);
        }
        tokio::task::yield_now().await;
        assert!(shared.free(&queue).is_none(), "half an answer is owed");
        far.read_exact(&mut [0; 14]).await.unwrap();
        far.write_all(b"TED\r\n").await.unwrap();
        assert!(becomes_free(&shared, &queue).await, "nobody reads");
        let (turn, answer) = alone(&shared, &queue, 2);
        let next = tokio::spawn(outcome(Some(turn), answer));
        tell(&mut far, "delete key:2").await;
        assert_eq!(next.await.unwrap().unwrap().unwrap().code, Code::Done);
        assert!(!task.is_finished());
    }
}
