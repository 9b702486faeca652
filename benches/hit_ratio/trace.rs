//! Requests of a trace, from a file or made up. Knows no cache.

use std::io::{self, BufReader, Read};
use std::path::Path;

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// A get, followed by a set of the same if it misses.
    Get,
    Set,
    Delete,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Seconds since the trace began.
    pub time: u32,
    pub key: u32,
    pub value_len: u32,
    /// Seconds; 0 is none.
    pub ttl: u32,
    pub key_len: u8,
    pub op: Op,
}

const BYTES: usize = 18;

/// Reads the requests of a file: 18 bytes each, little endian: time, key, value length and TTL of 4 bytes, key
/// length and operation (0 get, 1 set, 2 delete) of 1.
pub fn read_file(path: &Path) -> io::Result<impl Iterator<Item = Request>> {
    let mut file = BufReader::with_capacity(1 << 20, std::fs::File::open(path)?);
    Ok(std::iter::from_fn(move || {
        let mut bytes = [0; BYTES];
        file.read_exact(&mut bytes).ok()?;
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        Some(Request {
            time: word(0),
            key: word(4),
            value_len: word(8),
            ttl: word(12),
            key_len: bytes[16],
            op: match bytes[17] {
                0 => Op::Get,
                1 => Op::Set,
                _ => Op::Delete,
            },
        })
    }))
}

/// How many requests a file has.
pub fn file_len(path: &Path) -> io::Result<u32> {
    Ok((std::fs::metadata(path)?.len() / BYTES as u64).min(u64::from(u32::MAX)) as u32)
}

impl Request {
    /// The bytes of the file format.
    pub fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        for (at, word) in [self.time, self.key, self.value_len, self.ttl].into_iter().enumerate() {
            bytes[at * 4..at * 4 + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes[16] = self.key_len;
        bytes[17] = match self.op {
            Op::Get => 0,
            Op::Set => 1,
            Op::Delete => 2,
        };
        bytes
    }

    /// The key itself, of its length if that leaves room for the number: written to the front of `to`.
    pub fn write_key<'b>(&self, to: &'b mut [u8; 250]) -> &'b [u8] {
        let mut len = 0;
        let mut rest = self.key;
        while rest > 0 || len == 0 {
            // Letters and digits, 5 bits each.
            to[len] = b"0123456789abcdefghijklmnopqrstuv"[rest as usize & 31];
            rest >>= 5;
            len += 1;
        }
        let wanted = usize::from(self.key_len).clamp(len, 250);
        to[len..wanted].fill(b'-');
        &to[..wanted]
    }
}
