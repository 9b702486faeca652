//! Bytes to replies, of both dialects, one at a time. Knows what shape to expect, not who asked.

use bytes::{Buf, Bytes, BytesMut};

/// A reply line longer than this is nonsense: a meta reply carries a key at most.
const MAX_LINE_BYTES: usize = 8 * 1024;

/// What claims to be longer is no item: servers allow a GiB at most, header included.
const LONGEST_ITEM_BYTES: u64 = 1 << 30;

/// Bytes of one `stats` answer; memcached's longest have some thousand lines.
const MAX_STATS_BYTES: usize = 4 << 20;

/// Values up to this size are copied out of the read buffer, so that a small one kept for long does not
/// keep the whole buffer.
const COPY_UP_TO: usize = 4096;

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) code: Code,
    pub(crate) value: Option<Bytes>,
    pub(crate) attributes: Attributes,
}

/// What a reply says. The classic protocol's words are mapped to the meta codes of the same meaning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Done: HD, VA, STORED, DELETED, TOUCHED, VALUE, a number.
    Done,
    /// A read found nothing: EN, END.
    Miss,
    /// A write found nothing: NF, NOT_FOUND.
    NotFound,
    /// NS, NOT_STORED.
    NotStored,
    /// EX, EXISTS.
    Exists,
    /// MN.
    Fence,
    /// SERVER_ERROR and its text.
    ServerError(String),
    /// CLIENT_ERROR and its text, or a bare ERROR.
    Refused(String),
    /// VERSION and other words.
    Text(String),
    Stats(Vec<(String, String)>),
    /// A value of this many bytes, which were dropped as they came.
    TooLong(u64),
}

/// The flags of a meta reply.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) flags: u32,
    pub(crate) cas: u64,
    /// Remaining seconds; negative for ever.
    pub(crate) ttl: Option<i64>,
    pub(crate) size: Option<u64>,
    pub(crate) hit_before: Option<bool>,
    pub(crate) idle_seconds: Option<u64>,
    pub(crate) opaque: Option<u32>,
    /// The key a classic value names.
    pub(crate) key: Option<Bytes>,
    /// W: the asker is to recompute the item.
    pub(crate) won: bool,
    /// X: the item has been marked stale.
    pub(crate) stale: bool,
    /// Z: somebody else has been told to recompute the item.
    pub(crate) claimed: bool,
}

/// The form of the reply that comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A meta reply: a line, after VA with a block.
    Meta,
    /// One classic line.
    Line,
    /// Classic VALUE blocks for one key, then END.
    Values,
    /// STAT lines, then END.
    Stats,
}

/// The stream cannot be read any further.
#[derive(Debug)]
pub(crate) struct Malformed(pub(crate) String);

/// Reads replies off the front of a buffer. A reply that is not yet whole is read again from its start, which costs one
/// header line; only of a value that is too long nothing is kept.
#[derive(Clone, Debug)]
pub(crate) struct ReplyParser {
    max_value_bytes: usize,
    too_long: Option<TooLong>,
}

/// A reply whose value is being dropped.
#[derive(Clone, Debug)]
struct TooLong {
    reply: Reply,
    /// Bytes of the value still to come.
    left: u64,
    /// What has to follow the value.
    end: &'static [u8],
}

impl ReplyParser {
    /// Values longer than `max_value_bytes` are dropped as they come, and refused.
    pub(crate) const fn new(max_value_bytes: usize) -> ReplyParser {
        ReplyParser { max_value_bytes, too_long: None }
    }

    /// Takes one reply off `input`, or leaves it untouched if it is not there as a whole yet and of no value that is too
    /// long.
    pub(crate) fn parse(&mut self, shape: Shape, input: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
        if self.too_long.is_some() {
            return self.drop_value(input);
        }
        let Some(end) = line_end(input, 0)? else { return Ok(None) };
        if let Some(error) = error_line(&input[..end.text]) {
            let _ = input.split_to(end.next);
            return Ok(Some(Reply::bare(error)));
        }
        match shape {
            Shape::Meta => self.meta(input, end),
            Shape::Line => {
                let reply = classic_line(&input[..end.text])?;
                let _ = input.split_to(end.next);
                Ok(Some(reply))
            }
            Shape::Values => self.values(input, end),
            Shape::Stats => stats(input),
        }
    }

    fn drop_value(&mut self, input: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
        let Some(TooLong { left, end, .. }) = &mut self.too_long else { return Ok(None) };
        let dropped = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
        input.advance(dropped);
        *left -= dropped as u64;
        if *left > 0 || input.len() < end.len() {
            return Ok(None);
        }
        if input.split_to(end.len()) != *end {
            return Err(Malformed("a value does not end where its length says".to_owned()));
        }
        Ok(self.too_long.take().map(|too_long| too_long.reply))
    }

    /// Begins to drop a value and the header line before it.
    fn refuse(
        &mut self,
        input: &mut BytesMut,
        header: LineEnd,
        length: u64,
        attributes: Attributes,
        end: &'static [u8],
    ) -> Result<Option<Reply>, Malformed> {
        if length > LONGEST_ITEM_BYTES {
            return Err(Malformed(format!("a value of {length} bytes")));
        }
        input.advance(header.next);
        let reply = Reply { attributes, ..Reply::bare(Code::TooLong(length)) };
        self.too_long = Some(TooLong { reply, left: length, end });
        self.drop_value(input)
    }

    fn meta(&mut self, input: &mut BytesMut, end: LineEnd) -> Result<Option<Reply>, Malformed> {
        let line = &input[..end.text];
        let mut words = line.split(|&b| b == b' ').filter(|word| !word.is_empty());
        let code = match words.next() {
            Some(b"VA") => {
                let length = words.next().and_then(number).ok_or_else(|| malformed(line))?;
                let attributes = attributes(words, line)?;
                if length > self.max_value_bytes as u64 {
                    return self.refuse(input, end, length, attributes, b"\r\n");
                }
                let value = self.block(input, end, length)?;
                return Ok(value.map(|value| Reply { code: Code::Done, value: Some(value), attributes }));
            }
            Some(b"HD" | b"OK") => Code::Done,
            Some(b"EN") => Code::Miss,
            Some(b"NF") => Code::NotFound,
            Some(b"NS") => Code::NotStored,
            Some(b"EX") => Code::Exists,
            Some(b"MN") => Code::Fence,
            _ => return Err(malformed(line)),
        };
        let attributes = attributes(words, line)?;
        let _ = input.split_to(end.next);
        Ok(Some(Reply { code, value: None, attributes }))
    }

    /// Takes a header line and the block after it.
    fn block(&self, input: &mut BytesMut, end: LineEnd, length: u64) -> Result<Option<Bytes>, Malformed> {
        let length = length as usize;
        let whole = end.next + length + 2;
        if input.len() < whole {
            input.reserve(whole - input.len());
            return Ok(None);
        }
        if &input[whole - 2..whole] != b"\r\n" {
            return Err(Malformed("a value does not end where its length says".to_owned()));
        }
        let mut taken = input.split_to(whole);
        if length <= COPY_UP_TO {
            return Ok(Some(Bytes::copy_from_slice(&taken[end.next..end.next + length])));
        }
        let mut value = taken.split_off(end.next);
        value.truncate(length);
        Ok(Some(value.freeze()))
    }

    fn values(&mut self, input: &mut BytesMut, end: LineEnd) -> Result<Option<Reply>, Malformed> {
        let line = &input[..end.text];
        if line == b"END" {
            let _ = input.split_to(end.next);
            return Ok(Some(Reply::bare(Code::Miss)));
        }
        let words: Vec<&[u8]> = line.split(|&b| b == b' ').filter(|word| !word.is_empty()).collect();
        let [b"VALUE", key, flags, length, rest @ ..] = words.as_slice() else {
            return Err(malformed(line));
        };
        let flags = number(flags).ok_or_else(|| malformed(line))?;
        let length = number(length).ok_or_else(|| malformed(line))?;
        let cas = match rest {
            [cas] => number(cas).ok_or_else(|| malformed(line))?,
            _ => 0,
        };
        let key = Some(Bytes::copy_from_slice(key));
        let attributes =
            Attributes { flags: flags as u32, cas, size: Some(length), key, ..Attributes::default() };
        if length > self.max_value_bytes as u64 {
            return self.refuse(input, end, length, attributes, b"\r\nEND\r\n");
        }
        // The whole reply is the block and an END after it; take both or neither.
        let after = end.next + length as usize + 2;
        if input.len() < after {
            return Ok(None);
        }
        let Some(last) = line_end(input, after)? else { return Ok(None) };
        if &input[after..last.text] != b"END" {
            return Err(Malformed("more than one value for one key".to_owned()));
        }
        let value = self.block(input, end, length)?;
        let _ = input.split_to(last.next - after);
        Ok(Some(Reply { code: Code::Done, value, attributes }))
    }
}

impl Reply {
    pub(crate) fn bare(code: Code) -> Reply {
        Reply { code, value: None, attributes: Attributes::default() }
    }

    /// Whether the server answers nobody who has not logged in.
    pub(crate) fn wants_login(&self) -> bool {
        matches!(&self.code, Code::Refused(text) if text == "unauthenticated")
    }
}

#[derive(Clone, Copy)]
struct LineEnd {
    /// Where the text ends.
    text: usize,
    /// Where the next line starts.
    next: usize,
}

fn line_end(input: &[u8], start: usize) -> Result<Option<LineEnd>, Malformed> {
    let window = &input[start..input.len().min(start + MAX_LINE_BYTES)];
    match window.iter().position(|&b| b == b'\n') {
        Some(at) => {
            let text = if at > 0 && window[at - 1] == b'\r' { at - 1 } else { at };
            Ok(Some(LineEnd { text: start + text, next: start + at + 1 }))
        }
        None if window.len() == MAX_LINE_BYTES => Err(Malformed("a line without end".to_owned())),
        None => Ok(None),
    }
}

fn error_line(line: &[u8]) -> Option<Code> {
    let text = |rest: &[u8]| String::from_utf8_lossy(rest).trim().to_owned();
    if let Some(rest) = line.strip_prefix(b"SERVER_ERROR") {
        return Some(Code::ServerError(text(rest)));
    }
    if let Some(rest) = line.strip_prefix(b"CLIENT_ERROR") {
        return Some(Code::Refused(text(rest)));
    }
    (line == b"ERROR" || line.starts_with(b"ERROR ")).then(|| Code::Refused(text(line)))
}

fn classic_line(line: &[u8]) -> Result<Reply, Malformed> {
    let code = match line {
        b"STORED" | b"DELETED" | b"TOUCHED" | b"OK" => Code::Done,
        b"NOT_STORED" => Code::NotStored,
        b"EXISTS" => Code::Exists,
        b"NOT_FOUND" => Code::NotFound,
        _ if !line.is_empty() && line.iter().all(|b| b.is_ascii_digit() || *b == b' ') => {
            let digits = Bytes::copy_from_slice(line.trim_ascii());
            return Ok(Reply { value: Some(digits), ..Reply::bare(Code::Done) });
        }
        _ if line.starts_with(b"VERSION ") || line == b"RESET" => {
            Code::Text(String::from_utf8_lossy(line).into_owned())
        }
        _ => return Err(malformed(line)),
    };
    Ok(Reply::bare(code))
}

fn stats(input: &mut BytesMut) -> Result<Option<Reply>, Malformed> {
    let mut entries = Vec::new();
    let mut start = 0;
    loop {
        let Some(end) = line_end(input, start)? else { return Ok(None) };
        let line = &input[start..end.text];
        start = end.next;
        if matches!(line, b"END" | b"RESET" | b"OK") {
            let _ = input.split_to(start);
            return Ok(Some(Reply::bare(Code::Stats(entries))));
        }
        let text = String::from_utf8_lossy(line.strip_prefix(b"STAT ").ok_or_else(|| malformed(line))?);
        let (name, value) = text.split_once(' ').unwrap_or((&text, ""));
        entries.push((name.to_owned(), value.to_owned()));
        if start > MAX_STATS_BYTES {
            return Err(Malformed("statistics without end".to_owned()));
        }
    }
}

fn attributes<'a>(words: impl Iterator<Item = &'a [u8]>, line: &[u8]) -> Result<Attributes, Malformed> {
    let mut found = Attributes::default();
    for word in words {
        let token = &word[1..];
        let need = || number(token).ok_or_else(|| malformed(line));
        match word[0] {
            b'f' => found.flags = need()? as u32,
            b'c' => found.cas = need()?,
            b't' => {
                found.ttl = Some(match token.strip_prefix(b"-") {
                    Some(_) => -1,
                    None => i64::try_from(need()?).map_err(|_| malformed(line))?,
                })
            }
            b's' => found.size = Some(need()?),
            b'h' => found.hit_before = Some(need()? != 0),
            b'l' => found.idle_seconds = Some(need()?),
            b'O' => found.opaque = Some(u32::try_from(need()?).map_err(|_| malformed(line))?),
            b'W' => found.won = true,
            b'X' => found.stale = true,
            b'Z' => found.claimed = true,
            _ => {} // A later version's flag.
        }
    }
    Ok(found)
}

fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0u64, |number, &digit| {
        let digit = digit.is_ascii_digit().then(|| u64::from(digit - b'0'))?;
        number.checked_mul(10)?.checked_add(digit)
    })
}

fn malformed(line: &[u8]) -> Malformed {
    Malformed(format!("\"{}\"", line[..line.len().min(80)].escape_ascii()))
}

#[cfg(test)]
#[path = "reply_tests.rs"]
mod tests;
