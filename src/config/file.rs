//! Reads a file of options whole. Knows no form of it.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes a file may have.
const MOST_BYTES: u64 = 1 << 20;

/// The file's bytes.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("it is over 1 MiB long"));
    }
    Ok(bytes)
}
