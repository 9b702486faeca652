//! What a connection needs while it works and gives back when it waits: one desk serves many connections in turn.

use crate::command::{Output, Session};

/// Buffers and conversation of a connection that is being served.
pub(super) struct Desk {
    pub(super) session: Session,
    pub(super) input: Input,
    pub(super) output: Output,
}

/// What a connection keeps while it waits in the middle of something.
pub(super) struct Kept {
    session: Session,
    input: Box<[u8]>,
}

impl Kept {
    /// Whether it is a long value that is waited for.
    pub(super) fn receives_value(&self) -> bool {
        self.session.receives_value()
    }
}

/// A worker's desks that nobody uses.
#[derive(Default)]
pub(super) struct Desks {
    /// Boxed because a connection keeps its desk in one word.
    #[expect(clippy::vec_box)]
    free: Vec<Box<Desk>>,
}

/// Unused desks a worker keeps; more are given back to the system.
const SPARE_DESKS: usize = 8;

/// Longest unfinished input that is copied aside so that its desk can serve others.
const KEPT_INPUT: usize = 4 << 10;

impl Desks {
    /// A desk with what the connection kept on it.
    pub(super) fn take(&mut self, kept: Option<Box<Kept>>) -> Box<Desk> {
        let mut desk = self.free.pop().unwrap_or_else(|| {
            Box::new(Desk { session: Session::new(), input: Input::new(), output: Output::default() })
        });
        if let Some(kept) = kept {
            desk.session = kept.session;
            desk.input.put(&kept.input);
        }
        desk
    }

    /// Takes a desk back, whatever is on it.
    pub(super) fn give_back(&mut self, mut desk: Box<Desk>) {
        if self.free.len() < SPARE_DESKS {
            desk.session = Session::new();
            desk.input.clear();
            if !desk.output.is_empty() {
                desk.output = Output::default();
            }
            self.free.push(desk);
        }
    }

    /// Takes back the desk of a connection that is going to wait for input, if what it has to keep fits elsewhere.
    pub(super) fn clear(&mut self, mut desk: Box<Desk>) -> Cleared {
        if !desk.output.is_empty() || desk.input.len() > KEPT_INPUT {
            return Cleared::Needed(desk);
        }
        let kept = (!desk.session.is_idle() || !desk.input.is_empty()).then(|| {
            Box::new(Kept { session: std::mem::take(&mut desk.session), input: desk.input.bytes().into() })
        });
        self.give_back(desk);
        Cleared::Away(kept)
    }
}

/// What became of a desk whose connection waits.
pub(super) enum Cleared {
    /// It is still needed.
    Needed(Box<Desk>),
    /// It serves others; this is to be kept meanwhile.
    Away(Option<Box<Kept>>),
}

/// Bytes received and not consumed yet.
///
/// Invariant: `start <= end <= buffer.len()`; the bytes are `buffer[start..end]`.
pub(super) struct Input {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Input {
        Input { buffer: vec![0; Session::INPUT_LIMIT].into_boxed_slice(), start: 0, end: 0 }
    }

    /// What has not been consumed.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// How much has not been consumed.
    pub(super) fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether all has been consumed.
    pub(super) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Where the next bytes go; empty only if the whole buffer is full of unconsumed bytes.
    pub(super) fn space(&mut self) -> &mut [u8] {
        if self.start > 0 {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        &mut self.buffer[self.end..]
    }

    /// Says that `count` bytes have been written to the front of [`Input::space`].
    pub(super) fn filled(&mut self, count: usize) {
        self.end += count;
    }

    /// Forgets the first `count` bytes.
    pub(super) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.is_empty() {
            self.clear();
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.space()[..bytes.len()].copy_from_slice(bytes);
        self.filled(bytes.len());
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        self.start = 0;
        self.end = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unconsumed_input_moves_to_the_front_and_the_rest_is_free_again() {
        let mut input = Input::new();
        let whole = input.space().len();
        input.put(b"get a\r\nget");
        input.consume(7);
        assert_eq!(input.bytes(), b"get");
        assert_eq!(input.space().len(), whole - 3);
        input.put(b" b\r\n");
        assert_eq!(input.bytes(), b"get b\r\n");
    }

    #[test]
    fn a_connection_that_waits_keeps_its_input_and_not_its_desk() {
        let mut desks = Desks::default();
        let mut desk = desks.take(None);
        desk.input.put(b"get a");
        let Cleared::Away(kept) = desks.clear(desk) else { panic!("the desk was kept") };
        assert_eq!(desks.free.len(), 1);
        assert!(desks.free[0].input.is_empty());
        assert_eq!(desks.take(kept).input.bytes(), b"get a");
    }

    #[test]
    fn a_connection_keeps_its_desk_while_replies_wait() {
        let mut desks = Desks::default();
        let mut desk = desks.take(None);
        desk.output.put(b"END\r\n");
        assert!(matches!(desks.clear(desk), Cleared::Needed(_)));
    }

    #[test]
    fn spare_desks_are_bounded() {
        let mut desks = Desks::default();
        let all: Vec<_> = (0..SPARE_DESKS + 3).map(|_| desks.take(None)).collect();
        for desk in all {
            desks.give_back(desk);
        }
        assert_eq!(desks.free.len(), SPARE_DESKS);
    }
}
