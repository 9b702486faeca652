//! Requests in the classic protocol, for servers without the meta commands. What it cannot say is refused,
//! except leases: a read that asks for one becomes a plain read, whose answer grants none.

use super::meta::Ending;
use super::reply::Shape;
use super::request::{Mode, Output, Request};
use crate::error::{Error, ErrorKind};
use crate::key::{Key, Ttl};

pub(super) fn encode(request: &Request, now: u64, out: &mut Output) -> Result<Shape, Error> {
    if let Some(key) = request.key()
        && key.is_binary()
    {
        return Err(unsupported("a key with blanks or control characters"));
    }
    match request {
        Request::Get(get) => {
            match get.touch {
                Some(ttl) => {
                    out.text(b"gats ");
                    out.signed(ttl.wire(now));
                    out.text(b" ");
                }
                None => out.text(b"gets "),
            }
            line(out, &get.key, &[]);
            Ok(Shape::Values)
        }
        Request::Store(store) => {
            if store.even_if_stale || store.vivify.is_some() || !store.sources.is_empty() {
                return Err(unsupported("stale values, sources, creating by append"));
            }
            let verb: &[u8] = match (store.mode, store.compare) {
                (Mode::Set, Some(_)) => b"cas ",
                (_, Some(_)) => return Err(unsupported("comparing in anything but set")),
                (Mode::Set, None) => b"set ",
                (Mode::Add, None) => b"add ",
                (Mode::Replace, None) => b"replace ",
                (Mode::Append, None) => b"append ",
                (Mode::Prepend, None) => b"prepend ",
            };
            out.text(verb);
            let length = store.value.len() as i64;
            match store.compare {
                Some(cas) => {
                    out.text(store.key.as_bytes());
                    for number in [i64::from(store.flags), store.ttl.wire(now), length] {
                        out.text(b" ");
                        out.signed(number);
                    }
                    out.text(b" ");
                    out.number(cas);
                    out.text(b"\r\n");
                }
                None => line(out, &store.key, &[i64::from(store.flags), store.ttl.wire(now), length]),
            }
            out.value(&store.value);
            out.text(b"\r\n");
            Ok(Shape::Line)
        }
        Request::Delete(delete) => {
            if delete.compare.is_some() || delete.stale.is_some() {
                return Err(unsupported("deleting by comparison or to a stale value"));
            }
            out.text(b"delete ");
            line(out, &delete.key, &[]);
            Ok(Shape::Line)
        }
        Request::Count(count) => {
            if count.compare.is_some() || count.initial.is_some() || count.touch.is_some() {
                return Err(unsupported("counters that are created, compared or touched"));
            }
            out.text(if count.decrement { b"decr " } else { b"incr " });
            out.text(count.key.as_bytes());
            out.text(b" ");
            out.number(count.delta);
            out.text(b"\r\n");
            Ok(Shape::Line)
        }
        Request::Touch { key, ttl } => {
            out.text(b"touch ");
            line(out, key, &[Ttl::wire(*ttl, now)]);
            Ok(Shape::Line)
        }
        Request::Version => {
            out.text(b"version\r\n");
            Ok(Shape::Line)
        }
        Request::Flush => {
            super::meta::encode(request, Ending::Plain, now, out);
            Ok(Shape::Line)
        }
        Request::Stats(_) => {
            super::meta::encode(request, Ending::Plain, now, out);
            Ok(Shape::Stats)
        }
    }
}

fn line(out: &mut Output, key: &Key, numbers: &[i64]) {
    out.text(key.as_bytes());
    for number in numbers {
        out.text(b" ");
        out.signed(*number);
    }
    out.text(b"\r\n");
}

fn unsupported(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported(format!("{what} (classic protocol)")))
}
