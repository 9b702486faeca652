//! A server that says whatever the test has it say.

use memcarp_client::Address;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a scripted server does about a request.
pub enum Does {
    Says(String),
    /// Says this and closes the connection.
    Closes(String),
}

pub struct Script {
    pub address: Address,
    task: JoinHandle<()>,
}

impl Script {
    /// `answer` is given each request line, data blocks left out, and the number of lines before it. It need not
    /// care about `mn`, with which a connection begins.
    pub async fn start(answer: impl Fn(&str, usize) -> Does + Send + 'static) -> Script {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let task = tokio::spawn(async move {
            let mut lines = 0;
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut input = Vec::new();
                'connection: loop {
                    match stream.read_buf(&mut input).await {
                        Ok(0) | Err(_) => break,
                        Ok(_) => {}
                    }
                    while let Some((line, used)) = request(&input) {
                        input.drain(..used);
                        let does = match line.as_str() {
                            "mn" => Does::Says("MN\r\n".to_owned()),
                            line => {
                                lines += 1;
                                answer(line, lines - 1)
                            }
                        };
                        let (Does::Says(text) | Does::Closes(text)) = &does;
                        let written = stream.write_all(text.as_bytes()).await;
                        if written.is_err() || matches!(does, Does::Closes(_)) {
                            break 'connection;
                        }
                    }
                }
            }
        });
        Script { address: Address::Tcp { host: "127.0.0.1".to_owned(), port }, task }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The opaque of a request line, as a reply has to repeat it.
pub fn opaque(line: &str) -> String {
    line.split(' ').rev().find(|word| word.starts_with('O')).map_or(String::new(), |word| format!(" {word}"))
}

fn request(input: &[u8]) -> Option<(String, usize)> {
    let end = input.iter().position(|&b| b == b'\n')?;
    let line = String::from_utf8_lossy(&input[..end]).trim_end().to_owned();
    let words: Vec<&str> = line.split(' ').collect();
    let block = match words[0] {
        "ms" => words[2].parse::<usize>().unwrap() + 2,
        "set" => words[4].parse::<usize>().unwrap() + 2,
        _ => 0,
    };
    (input.len() > end + block).then_some((line, end + 1 + block))
}
