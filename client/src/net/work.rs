//! What a connection is asked, and who waits for which part of the stream. Knows neither streams nor time.

use crate::error::Error;
use crate::key::Key;
use crate::protocol::{Expected, QuietReplies, Reply, Request};
use std::collections::VecDeque;
use tokio::sync::oneshot;

/// Something to be sent, and where its outcome goes.
pub(crate) enum Work {
    One {
        request: Request,
        reply: oneshot::Sender<Result<Reply, Error>>,
    },
    /// Sent in one go and answered together, in order. Quiet ones that kept silent have no reply.
    Many {
        requests: Vec<Request>,
        quiet: bool,
        reply: oneshot::Sender<ManyReplies>,
    },
}

/// By request: the reply, nothing if it was quiet and went as usual, or why there is none.
pub(crate) type ManyReplies = Vec<Result<Option<Reply>, Error>>;

impl Work {
    /// Whether nobody waits for it any longer.
    pub(crate) fn is_abandoned(&self) -> bool {
        match self {
            Work::One { reply, .. } => reply.is_closed(),
            Work::Many { reply, .. } => reply.is_closed(),
        }
    }

    pub(crate) fn fail(self, error: &Error) {
        match self {
            Work::One { reply, .. } => drop(reply.send(Err(error.clone()))),
            Work::Many { requests, reply, .. } => {
                drop(reply.send(requests.iter().map(|_| Err(error.clone())).collect()));
            }
        }
    }
}

/// A place in the line. `late`: keys that get an old item if this is carried out later than what is sent elsewhere.
pub(super) enum Waiting {
    One {
        expected: Expected,
        late: Option<Key>,
        reply: oneshot::Sender<Result<Reply, Error>>,
    },
    Many {
        expected: VecDeque<(usize, Expected)>,
        late: Vec<Key>,
        results: ManyReplies,
        reply: oneshot::Sender<ManyReplies>,
    },
    Quiet {
        expected: Expected,
        replies: Box<QuietReplies>,
        late: Vec<Key>,
        count: usize,
        reply: oneshot::Sender<ManyReplies>,
    },
}

impl Waiting {
    pub(super) fn late(&self) -> &[Key] {
        match self {
            Waiting::One { late, .. } => late.as_slice(),
            Waiting::Many { late, .. } | Waiting::Quiet { late, .. } => late,
        }
    }

    pub(super) fn expected(&self) -> &Expected {
        match self {
            Waiting::One { expected, .. } | Waiting::Quiet { expected, .. } => expected,
            Waiting::Many { expected, .. } => &expected.front().expect("an emptied group leaves the line").1,
        }
    }

    pub(super) fn fail(self, error: &Error) {
        match self {
            Waiting::One { reply, .. } => drop(reply.send(Err(error.clone()))),
            Waiting::Many { expected, mut results, reply, .. } => {
                for (number, _) in expected {
                    results[number] = Err(error.clone());
                }
                drop(reply.send(results));
            }
            Waiting::Quiet { count, reply, .. } => {
                drop(reply.send((0..count).map(|_| Err(error.clone())).collect()));
            }
        }
    }
}
