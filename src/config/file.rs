//! Reads files that the configuration names whole, within bounds. Knows no form of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The most bytes a file may have.
const MOST_BYTES: u64 = 16 << 20;

/// The file's bytes. Waits for them, if it is a pipe.
pub fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(io::Error::other("it is over 16 MiB long"));
    }
    Ok(bytes)
}

/// Whether a server that is running may read it again: what is no file may be waited for without end, and nobody is
/// accepted meanwhile.
pub fn may_be_read_again(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.is_file() {
        true => Ok(()),
        false => Err(io::Error::other("only regular files are read again")),
    }
}
