//! A bound on what long replies (`stats conns`, `stats detail dump`) hold together while nobody reads them. Knows no
//! reply.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes that the long replies of all connections hold.
#[derive(Debug, Default)]
pub struct LongReplies(Arc<AtomicUsize>);

/// Bytes of one long reply, until dropped.
#[derive(Debug)]
pub struct Held {
    bytes: usize,
    all: Arc<AtomicUsize>,
}

impl LongReplies {
    /// Replies up to this many bytes need not ask: every connection may hold as much.
    pub const SHORT: usize = 64 << 10;

    /// Most bytes of all long replies together. `stats conns` of 100,000 connections has about 20 MiB.
    pub const MOST: usize = 64 << 20;

    /// Counts a long reply; `None` if there are too many already.
    pub fn hold(&self, bytes: usize) -> Option<Held> {
        let fits = |held: usize| held.checked_add(bytes).filter(|&sum| sum <= LongReplies::MOST);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).ok()?;
        Some(Held { bytes, all: self.0.clone() })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::super::output::Output;
    use super::super::testing::Client;
    use super::*;
    use crate::config::Config;

    #[test]
    fn they_share_one_bound() {
        let replies = LongReplies::default();
        let first = replies.hold(LongReplies::MOST - 1);
        assert!(first.is_some() && replies.hold(2).is_none());
        assert!(replies.hold(1).is_some());
        drop(first);
        assert!(replies.hold(LongReplies::MOST).is_some());
    }

    #[test]
    fn a_long_reply_counts_until_it_has_been_written() {
        let mut client = Client::new(Config::default());
        client.say("stats detail on");
        for number in 0..2000 {
            client.say(&format!("get {number:0100}:x"));
        }
        let held = |client: &Client| client.engine.long_replies.0.load(Ordering::Relaxed);
        let mut output = Output::default();
        let mut ask = |client: &mut Client| {
            client.with_context(|context, _| {
                crate::command::Session::new().on_bytes(b"stats detail dump\r\n", &mut output, context);
            });
            output.pending()
        };
        let pending = ask(&mut client);
        assert!(pending > 2000 * 100 && held(&client) >= pending, "{pending}");
        output.advance(pending);
        assert_eq!(held(&client), 0);

        let all = client.engine.long_replies.hold(LongReplies::MOST);
        let mut output = Output::default();
        client.with_context(|context, _| {
            crate::command::Session::new().on_bytes(b"stats detail dump\r\n", &mut output, context);
        });
        assert_eq!(output.bytes(), b"SERVER_ERROR out of memory writing stats\r\n");
        drop(all);
    }
}
