//! A server whose every connection is the test's own doing.

use super::{GENEROUS, members, opaque};
use memcarp_client::{Address, Builder, Client};
use std::future::Future;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

pub struct Wild {
    pub address: Address,
    task: JoinHandle<()>,
}

impl Wild {
    /// `serve` is given each connection and the number of those before it.
    pub async fn start<F, Fut>(serve: F) -> Wild
    where
        F: Fn(Peer, usize) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut served = Vec::new();
            while let Ok((stream, _)) = listener.accept().await {
                stream.set_nodelay(true).unwrap();
                let number = served.len();
                served.push(Stopped(tokio::spawn(serve(Peer(BufReader::new(stream)), number))));
            }
        });
        Wild { address: Address::Tcp { host: "127.0.0.1".to_owned(), port }, task }
    }
}

impl Drop for Wild {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Stopped(JoinHandle<()>);

impl Drop for Stopped {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The client's end of a connection, as the server sees it.
pub struct Peer<S = TcpStream>(BufReader<S>);

impl Peer {
    /// The same under TLS, once the client has agreed to it.
    pub async fn secured(self, acceptor: &TlsAcceptor) -> Peer<TlsStream<TcpStream>> {
        Peer(BufReader::new(acceptor.accept(self.0.into_inner()).await.unwrap()))
    }

    /// Waits for the client to begin, says something and resets the connection.
    pub async fn reset_after(mut self, bytes: &[u8]) {
        self.0.fill_buf().await.unwrap();
        self.0.write_all(bytes).await.unwrap();
        self.0.get_ref().set_zero_linger().unwrap();
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Peer<S> {
    /// The next request line, its data block read and dropped; none at the end.
    pub async fn line(&mut self) -> Option<String> {
        let line = self.head().await?;
        let words: Vec<&str> = line.split(' ').collect();
        let block = match words[0] {
            "ms" => words[2].parse::<usize>().unwrap() + 2,
            "set" => words[4].parse::<usize>().unwrap() + 2,
            _ => 0,
        };
        self.skip(block).await?;
        Some(line)
    }

    /// The next request line, its data block left unread.
    pub async fn head(&mut self) -> Option<String> {
        let mut line = String::new();
        if self.0.read_line(&mut line).await.ok()? == 0 {
            return None;
        }
        Some(line.trim_end().to_owned())
    }

    /// Reads that many bytes and drops them.
    pub async fn skip(&mut self, bytes: usize) -> Option<()> {
        self.0.read_exact(&mut vec![0; bytes]).await.ok().map(drop)
    }

    /// Says something; whether anybody listens is seen by the next `line`.
    pub async fn say(&mut self, text: &str) {
        let _ = self.0.write_all(text.as_bytes()).await;
        let _ = self.0.flush().await; // Under TLS it may not have gone out yet.
    }

    /// Answers `mn`, with which a connection begins.
    pub async fn greet(&mut self) {
        assert_eq!(self.line().await.as_deref(), Some("mn"));
        self.say("MN\r\n").await;
    }
}

/// A patient client of one member alone.
pub fn builder(address: &Address) -> Builder {
    Client::builder().members(members(&[("only", address)])).timeout(GENEROUS).unresponsive_after(GENEROUS)
}

/// A hit that answers this line of a meta get with its key.
pub fn hit(line: &str) -> String {
    let key = line.split(' ').nth(1).unwrap();
    format!("VA {0} s{0}{1}\r\n{key}\r\n", key.len(), opaque(line))
}
