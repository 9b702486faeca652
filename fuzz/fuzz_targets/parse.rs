//! The parser alone: any line gives a request or a refusal, and what a request says keeps the limits of the protocol.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memcarp::protocol::{self, MetaKey, Refusal, Request};

fuzz_target!(|line: &[u8]| {
    // Lines come without their end.
    if line.contains(&b'\n') {
        return;
    }
    match protocol::parse(line) {
        Ok(Request::Store(store)) => {
            assert!((1..=protocol::MAX_KEY_LEN).contains(&store.key.len()));
            assert!(store.len as u64 <= protocol::MAX_VALUE_LEN);
        }
        Ok(Request::MetaStore(store)) => {
            check_key(&store.meta.key);
            assert!(store.len as u64 <= protocol::MAX_VALUE_LEN);
            // 18, and 16 sources with what each is compared with.
            assert!(store.meta.flags.iter().count() <= 18 + 2 * 16);
        }
        Ok(Request::MetaGet(meta)) => check_key(&meta.key),
        Ok(_) => {}
        Err(Refusal::Answer { swallow, .. }) => assert!(swallow as u64 <= protocol::MAX_VALUE_LEN + 2),
        Err(Refusal::Close) => {}
    }
});

fn check_key(key: &MetaKey<'_>) {
    assert!((1..=protocol::MAX_KEY_LEN).contains(&key.written.len()));
    let mut scratch = [0; MetaKey::MAX_DECODED];
    assert!(key.bytes(&mut scratch).len() <= protocol::MAX_KEY_LEN);
}
