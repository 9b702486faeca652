//! Generated requests with something wrong: one thing, or everything.

use proptest::prelude::*;

use super::commands::{BASE64, NUMERIC, Request, Word, key, line, text, with_block};

/// Requests with one thing wrong.
pub fn nearly() -> impl Strategy<Value = Request> {
    let fields = prop::sample::select(vec![
        ["-1", "0", "3"],
        ["x", "0", "3"],
        ["0", "x", "3"],
        ["0", "1.5", "3"],
        ["18446744073709551616", "0", "3"],
    ]);
    let refused = fields.prop_map(|[flags, exptime, length]| {
        let words = vec![text("set"), Word::Key(0), text(flags), text(exptime), text(length)];
        Request { block_for_both: false, ..with_block(words, b"abc".to_vec()) }
    });
    let long_key = prop::sample::select(vec!["set", "add", "append", "cas"]).prop_map(|verb| {
        let mut words = vec![text(verb), Word::LongKey, text("0"), text("0"), text("3")];
        if verb == "cas" {
            words.push(text("1"));
        }
        Request { block_for_both: false, ..with_block(words, b"abc".to_vec()) }
    });
    let no_length = prop::sample::select(vec!["-1", "x", "1x", "2147483646", "99999999999999999999"])
        .prop_map(|length| line(vec![text("set"), Word::Key(0), text("0"), text("0"), text(length)]));
    let wrong_length =
        (prop::sample::select(vec!["set", "append", "add"]), 0..6_usize).prop_map(|(verb, more)| {
            let words = vec![text(verb), Word::Key(BASE64), text("0"), text("0"), text("3")];
            // Longer than said: what is left over is a line of its own.
            with_block(words, format!("abc{}", "wxyz..".get(..more).unwrap_or_default()).into_bytes())
        });
    let words = prop::sample::select(vec![
        vec!["get"],
        vec!["gets"],
        vec!["set"],
        vec!["set", "a", "0", "0"],
        vec!["incr", "a"],
        vec!["touch", "a"],
        vec!["delete"],
        vec!["mg"],
        vec!["ms"],
        vec!["md"],
        vec!["ma"],
        vec!["me"],
        vec!["ms", "a"],
        vec!["ms", "a", "x"],
        vec!["ms", "a", "-1"],
        vec!["ms", "a", "S3"],
        vec!["mg", "a", "v", "v"],
        vec!["mg", "a", "z"],
        vec!["mg", "a", "Tx"],
        vec!["mg", "a", "N"],
        vec!["mg", "%%%", "b"],
        vec!["md", "a", "q", "q"],
        vec!["md", "a", "Cx"],
        vec!["ma", "a", "Mx"],
        vec!["ma", "a", "Dx"],
        vec!["touch", "a", "x"],
        vec!["gat", "x", "a"],
        vec!["flush_all", "x"],
        vec!["verbosity"],
        vec!["verbosity", "x"],
        vec!["cache_memlimit", "x"],
    ])
    .prop_map(|words| line(words.into_iter().map(text).collect()));
    let long_lines = prop::sample::select(vec!["delete", "mg", "md", "me"])
        .prop_map(|verb| line(vec![text(verb), Word::LongKey]));
    let bad_meta_sets = prop::sample::select(vec!["z", "Tx", "Fx", "MZ", "MAA", "k k"]).prop_map(|flag| {
        let mut request = line(vec![text("ms"), Word::Key(NUMERIC), text("3"), text(flag)]);
        request.block = Some(b"abc".to_vec());
        request
    });
    prop_oneof![2 => refused, 1 => long_key, 2 => no_length, 2 => wrong_length, 6 => words, 1 => long_lines, 2 => bad_meta_sets]
}

/// Lines that are no requests at all, and ones that end the conversation.
pub fn hostile() -> impl Strategy<Value = Request> {
    let bytes = prop::collection::vec(any::<u8>(), 2..40).prop_map(|mut bytes| {
        // One line, not a command, no blank before it, and no NUL, at which 1.6.18 stops reading.
        for byte in &mut bytes {
            if matches!(*byte, b'\n' | b'\r' | 0) {
                *byte = b'.';
            }
        }
        bytes[0] = b'~';
        line(vec![Word::Bytes(bytes)])
    });
    let odd =
        prop::sample::select(vec!["", "x", " ", "GET a", "mz", "\t\t", "get\ta", "bogus 1 2 3", "mn\t"])
            .prop_map(|words| line(vec![text(words)]));
    let bare =
        (key(), Just("\n")).prop_map(|(key, end)| Request { end, ..line(vec![text("get"), Word::Key(key)]) });
    let blanks = key().prop_map(|key| line(vec![text("get  "), Word::Key(key), text(""), text("")]));
    let end = Just("quit").prop_map(|words| line(vec![text(words)]));
    prop_oneof![6 => bytes, 6 => odd, 3 => bare, 2 => blanks, 1 => end]
}
