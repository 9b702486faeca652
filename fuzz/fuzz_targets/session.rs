//! One connection against an engine in memory: whatever arrives, and however it is cut, nothing panics, nothing hangs,
//! and the replies are those to the same bytes in one piece.
#![no_main]

#[allow(dead_code)]
#[path = "../../tests/common"]
mod common {
    pub mod compare;
    pub mod memory;

    pub fn text(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string()
    }
}

use common::memory::Memory;
use libfuzzer_sys::fuzz_target;
use memcarp::config::Config;

fuzz_target!(|data: &[u8]| {
    // The first byte says how the rest is cut.
    let Some((&cut, bytes)) = data.split_first() else { return };
    let whole = answer(bytes, bytes.len().max(1));
    let pieces = answer(bytes, usize::from(cut % 64) + 1);
    // What a server says of itself, and the order in which it lists keys, differ from one to another; a dump and
    // watch refuse to follow other commands that came with them; a long line is looked at as it arrives.
    let has = |words: &[u8]| bytes.windows(words.len()).any(|window| window == words);
    let long_line = bytes.split(|&byte| byte == b'\n').any(|line| line.len() > 2000);
    if long_line || has(b"stats") || has(b"dump") || has(b"watch") {
        return;
    }
    let same = common::compare::replies(&pieces, &whole, &mut Default::default(), &mut Default::default());
    if let Err(difference) = same {
        panic!("in pieces of {}: {difference}\n{}", cut % 64 + 1, common::text(bytes));
    }
});

fn answer(bytes: &[u8], piece: usize) -> Vec<u8> {
    let config = Config { threads: 1, memory_limit: 8 << 20, ..Config::default() };
    let mut memory = Memory::new(config);
    for piece in bytes.chunks(piece) {
        memory.send("main", piece);
    }
    memory.advance(2);
    std::mem::take(memory.received("main"))
}
