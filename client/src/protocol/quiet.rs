//! Which requests of a quiet batch got which reply. Knows only opaques and the order of the stream.

use super::reply::{Code, Reply};

/// Gathers the replies to requests numbered from `first` on, up to the fence behind them.
///
/// A quiet request answers only with what is not the usual: a hit, a failure. Errors carry no opaque, so an error
/// belongs to one of the silent requests between the two numbered replies around it; if there is more than
/// one, all of them are taken to have failed rather than any to have succeeded.
#[derive(Debug)]
pub(crate) struct QuietReplies {
    replies: Vec<Option<Reply>>,
    first: u32,
    /// The first request that can still answer.
    next: usize,
    /// An error seen since `next`, not yet given to anybody.
    error: Option<Reply>,
    errors: usize,
}

impl QuietReplies {
    pub(crate) fn new(first: u32, requests: usize) -> QuietReplies {
        QuietReplies { replies: vec![None; requests], first, next: 0, error: None, errors: 0 }
    }

    /// Takes the next reply of the stream; true at the fence. An opaque that was not sent, or out of order, or more
    /// errors than requests, is an error: the stream is not what it should be.
    pub(crate) fn take(&mut self, reply: Reply) -> Result<bool, String> {
        match (&reply.code, reply.attributes.opaque) {
            (Code::Fence, _) => {
                self.settle(self.replies.len());
                Ok(true)
            }
            (Code::ServerError(_) | Code::Refused(_), None) => {
                self.error.get_or_insert(reply);
                self.errors += 1;
                if self.errors > self.replies.len() {
                    return Err("more errors than requests".to_owned());
                }
                Ok(false)
            }
            (_, Some(opaque)) => {
                let number = opaque.wrapping_sub(self.first) as usize;
                if number < self.next || number >= self.replies.len() {
                    return Err(format!("opaque {opaque} is not expected here"));
                }
                self.settle(number);
                self.replies[number] = Some(reply);
                self.next = number + 1;
                Ok(false)
            }
            (code, None) => Err(format!("{code:?} without an opaque")),
        }
    }

    /// By request: its reply, or none if it kept silent.
    pub(crate) fn into_replies(self) -> Vec<Option<Reply>> {
        self.replies
    }

    fn settle(&mut self, until: usize) {
        if let Some(error) = self.error.take() {
            self.replies[self.next..until].fill(Some(error));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Attributes;

    fn numbered(opaque: u32) -> Reply {
        Reply {
            attributes: Attributes { opaque: Some(opaque), ..Attributes::default() },
            ..Reply::bare(Code::Done)
        }
    }

    #[test]
    fn silence_is_kept_apart_from_answers() {
        let mut quiet = QuietReplies::new(0, 4);
        assert!(!quiet.take(numbered(1)).unwrap());
        assert!(!quiet.take(numbered(3)).unwrap());
        assert!(quiet.take(Reply::bare(Code::Fence)).unwrap());
        let answered: Vec<bool> = quiet.into_replies().iter().map(Option::is_some).collect();
        assert_eq!(answered, [false, true, false, true]);
    }

    #[test]
    fn an_error_fails_every_request_it_may_belong_to_and_no_other() {
        let error = || Reply::bare(Code::ServerError("out of memory".to_owned()));
        let mut quiet = QuietReplies::new(0, 6);
        quiet.take(numbered(1)).unwrap();
        quiet.take(error()).unwrap();
        quiet.take(numbered(4)).unwrap();
        quiet.take(Reply::bare(Code::Fence)).unwrap();
        let failed: Vec<bool> = quiet
            .into_replies()
            .iter()
            .map(|r| r.as_ref().is_some_and(|r| matches!(r.code, Code::ServerError(_))))
            .collect();
        assert_eq!(failed, [false, false, true, true, false, false]);
    }

    #[test]
    fn a_strange_opaque_is_noticed() {
        assert!(QuietReplies::new(0, 2).take(numbered(2)).is_err());
        assert!(QuietReplies::new(7, 2).take(numbered(1)).is_err());
        assert!(QuietReplies::new(u32::MAX, 2).take(numbered(0)).is_ok());
        let mut quiet = QuietReplies::new(0, 3);
        quiet.take(numbered(1)).unwrap();
        assert!(quiet.take(numbered(1)).is_err());
        let mut quiet = QuietReplies::new(0, 1);
        assert!(!quiet.take(Reply::bare(Code::ServerError(String::new()))).unwrap());
        assert!(quiet.take(Reply::bare(Code::ServerError(String::new()))).is_err());
    }
}
