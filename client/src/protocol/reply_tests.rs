//! Requests and replies as conversations, both dialects, whole and in pieces.

use super::*;
use crate::key::{Key, Ttl};
use crate::protocol::{Count, Delete, Dialect, Get, Mode, Output, Request, Source, Store};
use std::time::Duration;

/// Bytes that a value may have.
const LONGEST: usize = 1 << 20;

fn one(shape: Shape, text: &str) -> Reply {
    let mut whole = BytesMut::from(text.as_bytes());
    let mut parser = ReplyParser::new(LONGEST);
    let reply = parser.parse(shape, &mut whole).unwrap().unwrap();
    assert!(whole.is_empty(), "left over: {whole:?}");
    // The same a byte at a time: nothing until the last byte, then the same reply.
    let mut slow = BytesMut::new();
    for (place, byte) in text.bytes().enumerate() {
        slow.extend_from_slice(&[byte]);
        let got = parser.parse(shape, &mut slow).unwrap();
        assert_eq!(got.is_some(), place + 1 == text.len(), "{text:?} after {place}");
        if let Some(got) = got {
            assert_eq!(got, reply);
        }
    }
    reply
}

fn fails(shape: Shape, text: &str) -> bool {
    ReplyParser::new(LONGEST).parse(shape, &mut BytesMut::from(text.as_bytes())).is_err()
}

/// Nothing of it is kept, and what follows is read as if it had not been there.
#[test]
fn a_value_that_is_too_long_is_dropped_as_it_comes() {
    let value = "x".repeat(LONGEST + 1);
    for (shape, head, tail) in [
        (Shape::Meta, format!("VA {} c3 O9\r\n", value.len()), "\r\n"),
        (Shape::Values, format!("VALUE k 0 {} 3\r\n", value.len()), "\r\nEND\r\n"),
    ] {
        let text = format!("{head}{value}{tail}EN\r\n");
        for piece in [1, 1000, text.len()] {
            let (mut parser, mut input) = (ReplyParser::new(LONGEST), BytesMut::new());
            let mut replies = Vec::new();
            for piece in text.as_bytes().chunks(piece) {
                input.extend_from_slice(piece);
                while replies.is_empty()
                    && let Some(reply) = parser.parse(shape, &mut input).unwrap()
                {
                    replies.push(reply);
                }
                assert!(piece.len() > 1000 || input.len() < 1000 + head.len());
            }
            assert_eq!(replies[0].code, Code::TooLong(value.len() as u64));
            assert_eq!((replies[0].attributes.cas, &replies[0].value), (3, &None));
            assert_eq!(input, b"EN\r\n"[..]);
        }
        let mut wrong = BytesMut::from(format!("{head}{value}{tail}").replace(tail, "\r.......").as_bytes());
        assert!(ReplyParser::new(LONGEST).parse(shape, &mut wrong).is_err());
    }
    assert!(fails(Shape::Meta, "VA 1073741825\r\n"), "no item is as long");
}

#[test]
fn meta_replies() {
    let hit = one(Shape::Meta, "VA 3 f5 c17 s3 t-1 h1 l9 O4 W X Z\r\nbar\r\n");
    assert_eq!(hit.value.as_deref(), Some(&b"bar"[..]));
    assert_eq!(
        hit.attributes,
        Attributes {
            flags: 5,
            cas: 17,
            ttl: Some(-1),
            size: Some(3),
            hit_before: Some(true),
            idle_seconds: Some(9),
            opaque: Some(4),
            won: true,
            stale: true,
            claimed: true,
            key: None,
        }
    );
    for (text, code) in [
        ("HD c5\r\n", Code::Done),
        ("EN\r\n", Code::Miss),
        ("NF O3\r\n", Code::NotFound),
        ("NS\r\n", Code::NotStored),
        ("EX\r\n", Code::Exists),
        ("MN\r\n", Code::Fence),
        (
            "SERVER_ERROR out of memory storing object\r\n",
            Code::ServerError("out of memory storing object".into()),
        ),
        ("CLIENT_ERROR bad data chunk\r\n", Code::Refused("bad data chunk".into())),
        ("ERROR\r\n", Code::Refused("ERROR".into())),
    ] {
        assert_eq!(one(Shape::Meta, text).code, code);
    }
    assert_eq!(one(Shape::Meta, "VA 4\r\n\r\n\r\n\r\n").value.as_deref(), Some(&b"\r\n\r\n"[..]));
    assert_eq!(one(Shape::Meta, "VA 0 Z\r\n\r\n").value.as_deref(), Some(&b""[..]));
    assert_eq!(one(Shape::Meta, "HD q_new ?x\r\n").code, Code::Done, "later flags are skipped");
}

#[test]
fn classic_replies() {
    let hit = one(Shape::Values, "VALUE foo 7 5 99\r\nEND\r\n\r\nEND\r\n");
    assert_eq!(
        (hit.value.as_deref(), hit.attributes.flags, hit.attributes.cas),
        (Some(&b"END\r\n"[..]), 7, 99)
    );
    assert_eq!(one(Shape::Values, "END\r\n").code, Code::Miss);
    assert_eq!(one(Shape::Line, "42\r\n").value.as_deref(), Some(&b"42"[..]));
    assert_eq!(one(Shape::Line, "NOT_STORED\r\n").code, Code::NotStored);
    assert_eq!(one(Shape::Line, "VERSION 1.6\r\n").code, Code::Text("VERSION 1.6".into()));
    let stats = one(Shape::Stats, "STAT pid 1\r\nSTAT empty\r\nSTAT text a b\r\nEND\r\n");
    assert_eq!(
        stats.code,
        Code::Stats(vec![
            ("pid".into(), "1".into()),
            ("empty".into(), String::new()),
            ("text".into(), "a b".into())
        ])
    );
}

#[test]
fn nonsense_is_an_error_not_a_panic() {
    for text in [
        "\r\n",
        " \r\n",
        "HELLO\r\n",
        "VA\r\n",
        "VA x\r\n",
        "VA 99999999999999999999\r\n",
        "VA 3\r\nbarXX",
        "HD cX\r\n",
        "HD c\r\n",
        "VA 2000000000\r\n",
        "HD O5000000000\r\n",
        "STORED\r\n",
    ] {
        assert!(fails(Shape::Meta, text), "{text:?}");
    }
    assert!(fails(Shape::Meta, &"x".repeat(MAX_LINE_BYTES)));
    assert!(fails(Shape::Values, "VALUE foo 0 1\r\na\r\nVALUE foo 0 1\r\nb\r\n"));
    assert!(fails(Shape::Line, "HD\r\n"));
    assert!(fails(Shape::Stats, "STAT a 1\r\nSTAX\r\n"));
}

/// Random bytes and mutilated replies: any result is fine, a panic or endless loop is not.
#[test]
fn any_bytes_are_survived() {
    let mut seed = 1u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let words: [&[u8]; 14] = [
        b"VA ", b"HD", b"VALUE ", b"END", b"STAT ", b" ", b"\r\n", b"\n", b"3", b"k", b" c1", b" O", b"-",
        b"\xff",
    ];
    for _ in 0..20_000 {
        let mut input = BytesMut::new();
        for _ in 0..random() % 12 {
            input.extend_from_slice(words[random() as usize % words.len()]);
        }
        for shape in [Shape::Meta, Shape::Line, Shape::Values, Shape::Stats] {
            let mut input = input.clone();
            let mut parser = ReplyParser::new(LONGEST);
            for _ in 0..20 {
                let before = input.len();
                match parser.parse(shape, &mut input) {
                    Ok(Some(_)) => assert!(input.len() < before),
                    _ => break,
                }
            }
        }
    }
}

fn written(dialect: Dialect, request: Request) -> String {
    let mut out = Output::default();
    match dialect.encode(&request, 7, 1_000_000, &mut out) {
        Ok(_) => String::from_utf8(out.drained()).unwrap(),
        Err(error) => {
            assert!(out.is_empty(), "a refused request wrote something");
            error.to_string()
        }
    }
}

fn get(key: impl Into<Key>) -> Get {
    Get::new(key.into())
}

fn store(key: impl Into<Key>) -> Store {
    Store::new(key.into(), Mode::Set, Bytes::from_static(b"bar"), 0)
}

#[test]
fn requests_in_both_dialects() {
    let minute = Ttl::After(Duration::from_secs(60));
    let delete = |compare, stale| Request::Delete(Delete { key: "k".into(), compare, stale });
    let count =
        Count { key: "n".into(), decrement: false, delta: 1, initial: None, touch: None, compare: None };
    let sources = vec![
        Source { key: "photo:{42}".into(), cas: Some(17) },
        Source { key: "tag:home".into(), cas: None },
    ];
    for (request, meta, classic) in [
        (Request::Get(get("k")), "mg k v f c s O7\r\n", "gets k\r\n"),
        (Request::Get(Get { touch: Some(minute), ..get("k") }), "mg k v f c s T60 O7\r\n", "gats 60 k\r\n"),
        (
            Request::Get(Get { vivify: Some(minute), refresh_below: Some(5), ..get("k") }),
            "mg k v f c s N60 R5 O7\r\n",
            "gets k\r\n",
        ),
        (
            Request::Get(Get { details: true, no_value: true, no_bump: true, ..get("k") }),
            "mg k f c s t h l u O7\r\n",
            "gets k\r\n",
        ),
        (Request::Get(get("a b")), "mg YSBi b v f c s O7\r\n", "not supported"),
        (Request::Store(Box::new(store("k"))), "ms k 3 c O7\r\nbar\r\n", "set k 0 0 3\r\nbar\r\n"),
        (
            Request::Store(Box::new(Store { flags: 9, ttl: minute, compare: Some(4), ..store("k") })),
            "ms k 3 c F9 T60 C4 O7\r\nbar\r\n",
            "cas k 9 60 3 4\r\nbar\r\n",
        ),
        (
            Request::Store(Box::new(Store { mode: Mode::Add, ..store("k") })),
            "ms k 3 c ME O7\r\nbar\r\n",
            "add k 0 0 3\r\nbar\r\n",
        ),
        (
            Request::Store(Box::new(Store { mode: Mode::Append, vivify: Some(minute), ..store("k") })),
            "ms k 3 c MA N60 O7\r\nbar\r\n",
            "not supported",
        ),
        (
            Request::Store(Box::new(Store { sources: sources.clone(), ..store("thumb:{42}") })),
            "ms thumb:{42} 3 c Dphoto:{42} U17 Dtag:home O7\r\nbar\r\n",
            "not supported",
        ),
        (
            Request::Store(Box::new(Store { sources: sources[1..].to_vec(), ..store("a b") })),
            "ms YSBi 3 b c DdGFnOmhvbWU= O7\r\nbar\r\n",
            "not supported",
        ),
        (
            Request::Store(Box::new(Store { even_if_stale: true, compare: Some(1), ..store("k") })),
            "ms k 3 c C1 I O7\r\nbar\r\n",
            "not supported",
        ),
        (delete(None, None), "md k O7\r\n", "delete k\r\n"),
        (delete(Some(3), None), "md k C3 O7\r\n", "not supported"),
        (delete(None, Some(Some(minute))), "md k I T60 O7\r\n", "not supported"),
        (Request::Count(count.clone()), "ma n v c O7\r\n", "incr n 1\r\n"),
        (
            Request::Count(Count { decrement: true, delta: 7, ..count.clone() }),
            "ma n v c MD D7 O7\r\n",
            "decr n 7\r\n",
        ),
        (
            Request::Count(Count { initial: Some((5, minute)), touch: Some(minute), ..count }),
            "ma n v c N60 J5 T60 O7\r\n",
            "not supported",
        ),
        (Request::Touch { key: "k".into(), ttl: minute }, "mg k T60 O7\r\n", "touch k 60\r\n"),
        (Request::Flush, "flush_all\r\n", "flush_all\r\n"),
        (Request::Stats("items".into()), "stats items\r\n", "stats items\r\n"),
    ] {
        assert_eq!(written(Dialect::Meta, request.clone()), meta);
        let got = written(Dialect::Classic, request);
        assert!(got.starts_with(classic), "{got}");
    }
}
