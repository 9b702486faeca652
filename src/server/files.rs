//! Small files that tell others about the server: its process id and its ports.

use crate::command::Address;
use std::io;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tracing::warn;

/// Names the file that the ports are written to.
const PORTS_VARIABLE: &str = "MEMCACHED_PORT_FILENAME";

/// The process id file (`-P`), removed when dropped.
#[derive(Debug)]
pub(super) struct PidFile {
    path: PathBuf,
}

impl PidFile {
    /// Writes it; a server that cannot serves all the same, and says so.
    pub(super) fn write(path: &Path) -> Option<PidFile> {
        let id = std::process::id();
        let written = std::path::absolute(path).and_then(|path| {
            replace(&path, ".tmp", format!("{id}\n").as_bytes())?;
            Ok(PidFile { path })
        });
        written
            .map_err(|error| warn!("could not write the pid file {}: {error}; the user it runs as has to be able to write there (-P, -u)", path.display()))
            .ok()
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        let is_ours = std::fs::metadata(&self.path).is_ok_and(|found| found.is_file())
            && std::fs::read_to_string(&self.path)
                .is_ok_and(|text| text.trim().parse() == Ok(std::process::id()));
        if is_ours {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Writes the ports the server listens on, if the environment names a file for them.
pub(super) fn write_ports(addresses: &[Arc<Address>]) {
    let Some(path) = std::env::var_os(PORTS_VARIABLE).map(PathBuf::from) else { return };
    let text = ports(addresses);
    if text.is_empty() {
        return;
    }
    if let Err(error) = replace(&path, ".lck", text.as_bytes()) {
        warn!("could not write the ports to {}: {error}", path.display());
    }
}

/// As memcached writes them: a line for each TCP listener.
fn ports(addresses: &[Arc<Address>]) -> String {
    let mut text = String::new();
    for address in addresses {
        if let Address::Tcp(address) = &**address {
            let family = if address.is_ipv6() { "INET6" } else { "INET" };
            text.push_str(&format!("TCP {family}: {}\n", address.port()));
        }
    }
    text
}

/// Writes a file beside `path` and moves it there, so that nobody reads half of it. A device, as `/dev/null`, is written
/// to and stays.
fn replace(path: &Path, suffix: &str, content: &[u8]) -> io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|found| found.file_type().is_char_device()) {
        return std::fs::write(path, content);
    }
    let mut beside = path.as_os_str().to_owned();
    beside.push(suffix);
    std::fs::write(&beside, content)?;
    std::fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_by_family() {
        let addresses =
            ["127.0.0.1:5", "[::1]:6"].map(|text| Arc::new(Address::Tcp(text.parse().expect("an address"))));
        assert_eq!(ports(&addresses), "TCP INET: 5\nTCP INET6: 6\n");
        assert_eq!(ports(&[Arc::new(Address::Unix("/x".into()))]), "");
    }

    /// As root, who alone can make one.
    #[test]
    fn a_device_is_not_replaced() {
        use nix::sys::stat::{Mode, SFlag, makedev, mknod};
        let path = std::env::temp_dir().join(format!("memcarp-null-{}", std::process::id()));
        if mknod(&path, SFlag::S_IFCHR, Mode::S_IRUSR | Mode::S_IWUSR, makedev(1, 3)).is_err() {
            return;
        }
        drop(PidFile::write(&path));
        let left = std::fs::symlink_metadata(&path).map(|found| found.file_type().is_char_device());
        std::fs::remove_file(&path).expect("it is there");
        assert!(left.expect("it is there"));
    }
}
