//! What a server answers to the client: whatever comes, and however it is cut, the parser gives the same replies, then
//! refuses or waits; it never panics and takes no more than it has shown.
#![no_main]

#[allow(dead_code, unreachable_pub)]
#[path = "../../client/src/protocol/reply.rs"]
mod reply;

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use reply::{Reply, ReplyParser, Shape};

const LONGEST: usize = 1 << 20;

fuzz_target!(|data: &[u8]| {
    // The first byte says which replies are expected, the second how they are cut.
    let [shape, cut, bytes @ ..] = data else { return };
    let shape = [Shape::Meta, Shape::Line, Shape::Values, Shape::Stats][usize::from(shape % 4)];
    let whole = read(shape, bytes, bytes.len().max(1));
    let pieces = read(shape, bytes, usize::from(cut % 32) + 1);
    assert_eq!(whole, pieces, "{shape:?} in pieces of {}", cut % 32 + 1);
});

/// The replies, and whether the stream can be read on.
fn read(shape: Shape, bytes: &[u8], piece: usize) -> (Vec<Reply>, bool) {
    let mut input = BytesMut::new();
    let mut replies = Vec::new();
    let mut parser = ReplyParser::new(LONGEST);
    for piece in bytes.chunks(piece) {
        input.extend_from_slice(piece);
        loop {
            let before = input.len();
            match parser.parse(shape, &mut input) {
                Ok(Some(reply)) => {
                    assert!(input.len() < before, "a reply took no bytes");
                    if let Some(value) = &reply.value {
                        assert!(value.len() < before);
                    }
                    replies.push(reply);
                }
                Ok(None) => {
                    // A value that is too long is dropped as it comes, until only what has to follow it is missing.
                    assert!(input.len() == before || input.len() < 7, "half a reply was taken");
                    break;
                }
                Err(_) => return (replies, false),
            }
        }
    }
    (replies, true)
}
