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
