//! A connection that has been given up while the server may still carry out what it was sent there.

use super::transport::Transport;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What a server takes in of one connection without reading it, at least. If it has not even acknowledged as little as
/// this, it is out of reach.
const SURELY_TAKEN_IN: usize = 32 << 10;

/// Until the server has come to the end of what it was sent, whatever follows may be overtaken by it: it may stand
/// still and go on much later, and a connection that is reset loses nothing that has been received. A server closes its
/// side after it has read to the end.
pub(super) struct Unended {
    stream: Box<dyn Transport>,
    has_shut: bool,
    /// What its owner does not touch before the end.
    _hold: Hold,
}

/// Dropped when the end has come.
pub(crate) type Hold = Box<dyn Send>;

impl Unended {
    /// `unanswered` is the number of bytes sent that the server owes answers to. What it does not acknowledge for
    /// `patience` is given up, so that it never arrives.
    pub(super) fn new(
        stream: Box<dyn Transport>,
        hold: Hold,
        unanswered: usize,
        patience: Duration,
    ) -> Unended {
        // Else it may acknowledge nothing because it has no room.
        if unanswered <= SURELY_TAKEN_IN {
            stream.forget_unacknowledged(patience);
        }
        stream.ask_after(patience);
        Unended { stream, has_shut: false, _hold: hold }
    }

    /// Waits for the end. May be dropped and called again.
    pub(super) async fn ended(&mut self) {
        poll_fn(|cx| self.poll(cx)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.has_shut {
            match Pin::new(&mut self.stream).poll_shutdown(cx) {
                Poll::Ready(Ok(())) => self.has_shut = true,
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => {}
            }
        }
        let mut answers = [0; 4096];
        loop {
            let mut answers = ReadBuf::new(&mut answers);
            match ready!(Pin::new(&mut self.stream).poll_read(cx, &mut answers)) {
                Ok(()) if !answers.filled().is_empty() => {}
                Ok(()) | Err(_) => return Poll::Ready(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::sync::{Arc, Mutex};
    use tokio::net::{TcpListener, TcpStream};

    /// What the system has been told of a connection.
    #[derive(Default)]
    struct Told {
        unacknowledged: Option<Duration>,
        asks: bool,
    }

    struct Watched(TcpStream, Arc<Mutex<Told>>);

    impl AsyncRead for Watched {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            to: &mut ReadBuf<'_>,
        ) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_read(cx, to)
        }
    }

    impl AsyncWrite for Watched {
        fn poll_write(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            bytes: &[u8],
        ) -> Poll<std::io::Result<usize>> {
            Pin::new(&mut self.0).poll_write(cx, bytes)
        }

        fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            Pin::new(&mut self.0).poll_flush(cx)
        }

        fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
            let mut told = self.1.lock().unwrap();
            let socket = SockRef::from(&self.0);
            told.asks = socket.keepalive().unwrap();
            #[cfg(target_os = "linux")]
            (told.unacknowledged = socket.tcp_user_timeout().unwrap());
            drop(told);
            Pin::new(&mut self.0).poll_shutdown(cx)
        }
    }

    impl Transport for Watched {
        fn forget_unacknowledged(&self, after: Duration) {
            self.0.forget_unacknowledged(after);
        }

        fn ask_after(&self, every: Duration) {
            self.0.ask_after(every);
        }
    }

    /// A host that has vanished acknowledges nothing; one that vanished after it had, says nothing.
    #[tokio::test]
    async fn the_system_finds_out_that_the_other_side_has_gone() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (unanswered, patience) in [(SURELY_TAKEN_IN, 1500), (SURELY_TAKEN_IN + 1, 0)] {
            let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
            let (far, _) = listener.accept().await.unwrap();
            let told = Arc::<Mutex<Told>>::default();
            let stream = Box::new(Watched(near, told.clone()));
            let mut unended = Unended::new(stream, Box::new(()), unanswered, Duration::from_millis(1500));
            drop(far);
            unended.ended().await;
            let told = told.lock().unwrap();
            assert!(told.asks);
            if cfg!(target_os = "linux") {
                let told = told.unacknowledged.unwrap_or_default();
                assert_eq!(told, Duration::from_millis(patience));
            }
        }
    }
}
