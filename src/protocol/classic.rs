//! The classic commands' lines: get, set and their relatives.

use super::{Error, Fields, MAX_KEY_LEN, MAX_VALUE_LEN, NOREPLY, Refusal, Request};
use super::{parse_i32, parse_i64, parse_u32, parse_u64};

/// get, gets, gat, gats.
#[derive(Clone, Copy, Debug)]
pub struct Get<'b> {
    /// The keys, at least one; lengths are not checked yet.
    pub keys: Fields<'b>,
    /// Whether CAS values are shown.
    pub cas: bool,
    /// The new expiry, for gat and gats.
    pub touch: Option<i32>,
}

/// set, add, replace, append, prepend, cas.
#[derive(Clone, Copy, Debug)]
pub struct Store<'b> {
    /// Which one.
    pub verb: StoreVerb,
    /// The key, of good length.
    pub key: &'b [u8],
    /// The client's own 32 bits.
    pub client_flags: u32,
    /// As written: 0, seconds, a Unix time, or negative.
    pub exptime: i64,
    /// Length of the data block in bytes, without its CR LF.
    pub len: usize,
    /// The CAS value to compare with; 0 unless cas.
    pub unique: u64,
    /// Not to be answered.
    pub noreply: bool,
}

/// Which store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum StoreVerb {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
    Cas,
}

impl StoreVerb {
    /// Its name, as in log lines.
    pub fn name(self) -> &'static str {
        match self {
            StoreVerb::Set => "set",
            StoreVerb::Add => "add",
            StoreVerb::Replace => "replace",
            StoreVerb::Append => "append",
            StoreVerb::Prepend => "prepend",
            StoreVerb::Cas => "cas",
        }
    }
}

/// delete.
#[derive(Clone, Copy, Debug)]
pub struct Delete<'b> {
    /// The key, of good length.
    pub key: &'b [u8],
    /// Not to be answered.
    pub noreply: bool,
}

/// incr, decr.
#[derive(Clone, Copy, Debug)]
pub struct Arithmetic<'b> {
    /// The key, of good length.
    pub key: &'b [u8],
    /// By how much.
    pub delta: u64,
    /// Up, or down.
    pub increment: bool,
    /// Not to be answered.
    pub noreply: bool,
}

/// touch.
#[derive(Clone, Copy, Debug)]
pub struct Touch<'b> {
    /// The key, of good length.
    pub key: &'b [u8],
    /// As written: 0, seconds, a Unix time, or negative.
    pub exptime: i32,
    /// Not to be answered.
    pub noreply: bool,
}

pub(super) fn get(keys: Fields<'_>, cas: bool) -> Result<Request<'_>, Refusal> {
    if keys.is_empty() {
        return Err(Refusal::of(Error::BadFormat));
    }
    Ok(Request::Get(Get { keys, cas, touch: None }))
}

pub(super) fn get_and_touch(mut fields: Fields<'_>, cas: bool) -> Result<Request<'_>, Refusal> {
    let exptime = fields.next();
    if fields.is_empty() {
        return Err(Refusal::of(Error::BadFormat));
    }
    let exptime = exptime.and_then(parse_i32).ok_or(Refusal::of(Error::BadExptime))?;
    Ok(Request::Get(Get { keys: fields, cas, touch: Some(exptime) }))
}

/// The length is looked at first: as long as it is good, the data block is swallowed with whatever else is wrong,
/// and `noreply` is honoured.
pub(super) fn store(mut fields: Fields<'_>, verb: StoreVerb) -> Result<Request<'_>, Refusal> {
    let (Some(key), Some(flags), Some(exptime), Some(len)) =
        (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err(Refusal::of(Error::BadFormat));
    };
    let len = match parse_u64(len) {
        Some(len) if len <= MAX_VALUE_LEN => len as usize,
        _ => return Err(Refusal::of(Error::BadFormat)),
    };
    let unique = if verb == StoreVerb::Cas { fields.next() } else { Some(&b"0"[..]) };
    let noreply = fields.last() == Some(NOREPLY);
    let malformed = Refusal::Answer { error: Error::BadFormat, swallow: len + 2, silent: noreply };
    match (parse_u32(flags), parse_i64(exptime), unique.and_then(parse_u64)) {
        (Some(client_flags), Some(exptime), Some(unique)) if key.len() <= MAX_KEY_LEN => {
            Ok(Request::Store(Store { verb, key, client_flags, exptime, len, unique, noreply }))
        }
        _ => Err(malformed),
    }
}

/// One more field may follow the key: the number that old clients send there means nothing.
pub(super) fn delete(fields: Fields<'_>) -> Result<Request<'_>, Refusal> {
    let (mut arguments, mut noreply) = fields.without_noreply();
    if arguments.clone().next().is_none() {
        (arguments, noreply) = (fields, noreply);
    }
    let key = arguments.next().ok_or(Refusal::of(Error::BadFormat))?;
    let refused = |error| Err(Refusal::Answer { error, swallow: 0, silent: noreply });
    if key.len() > MAX_KEY_LEN {
        return refused(Error::BadFormat);
    }
    if arguments.nth(1).is_some() {
        return refused(Error::DeleteUsage);
    }
    Ok(Request::Delete(Delete { key, noreply }))
}

pub(super) fn arithmetic(mut fields: Fields<'_>, increment: bool) -> Result<Request<'_>, Refusal> {
    let (key, delta, noreply) = key_and_argument(&mut fields)?;
    match parse_u64(delta) {
        Some(delta) => Ok(Request::Arithmetic(Arithmetic { key, delta, increment, noreply })),
        None => Err(Refusal::Answer { error: Error::BadDelta, swallow: 0, silent: noreply }),
    }
}

pub(super) fn touch(mut fields: Fields<'_>) -> Result<Request<'_>, Refusal> {
    let (key, exptime, noreply) = key_and_argument(&mut fields)?;
    match parse_i32(exptime) {
        Some(exptime) => Ok(Request::Touch(Touch { key, exptime, noreply })),
        None => Err(Refusal::Answer { error: Error::BadExptime, swallow: 0, silent: noreply }),
    }
}

/// A key, one argument, and whether the last field is `noreply` (it may be the argument itself).
fn key_and_argument<'b>(fields: &mut Fields<'b>) -> Result<(&'b [u8], &'b [u8], bool), Refusal> {
    let (_, noreply) = fields.without_noreply();
    let (Some(key), Some(argument)) = (fields.next(), fields.next()) else {
        return Err(Refusal::of(Error::BadFormat));
    };
    if key.len() > MAX_KEY_LEN {
        return Err(Refusal::Answer { error: Error::BadFormat, swallow: 0, silent: noreply });
    }
    Ok((key, argument, noreply))
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn refused(line: &str) -> Refusal {
        parse(line.as_bytes()).expect_err(line)
    }

    fn swallowing(error: Error, swallow: usize) -> Refusal {
        Refusal::Answer { error, swallow, silent: false }
    }

    #[test]
    fn a_store_reads_every_field() {
        let Ok(Request::Store(store)) = parse(b"cas key 5 -1 3 77 noreply") else { panic!() };
        assert_eq!((store.verb, store.key, store.client_flags), (StoreVerb::Cas, &b"key"[..], 5));
        assert_eq!((store.exptime, store.len, store.unique, store.noreply), (-1, 3, 77, true));
    }

    #[test]
    fn a_bad_length_swallows_nothing_and_other_faults_the_block() {
        for line in ["set a 0 0 -1", "set a 0 0 x noreply", "set a 0 0 2147483646", "set a 0 0"] {
            assert_eq!(refused(line), Refusal::of(Error::BadFormat), "{line}");
        }
        let long = format!("set {} 0 0 5", "k".repeat(251));
        for line in ["set a -1 0 5", "set a 0 x 5", "cas a 0 0 5", "cas a 0 0 5 x", &long] {
            assert_eq!(refused(line), swallowing(Error::BadFormat, 7), "{line}");
        }
    }

    #[test]
    fn noreply_can_be_a_key_to_delete() {
        let Ok(Request::Delete(delete)) = parse(b"delete noreply") else { panic!() };
        assert_eq!((delete.key, delete.noreply), (&b"noreply"[..], true));
        let Ok(Request::Delete(delete)) = parse(b"delete a 0 noreply") else { panic!() };
        assert_eq!((delete.key, delete.noreply), (&b"a"[..], true));
        assert_eq!(refused("delete a b c"), Refusal::of(Error::DeleteUsage));
    }

    #[test]
    fn incr_noreply_fails_in_silence() {
        let silent = Refusal::Answer { error: Error::BadDelta, swallow: 0, silent: true };
        assert_eq!(refused("incr x noreply"), silent);
    }
}
