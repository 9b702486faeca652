//! Certificate files that change on disk: looked at now and then, and read again when they have stopped changing.

use crate::server::shared::Server;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::MissedTickBehavior;
use tracing::{debug, warn};

/// What tells one state of some files from another, without reading them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::server) struct Stamps(Vec<Option<Stamp>>);

/// Device, inode, length, and the second and nanosecond of the last change of content or permissions.
type Stamp = (u64, u64, u64, i64, i64);

/// How often the files are looked at. They are read when they look the same twice, so that a chain and a key that are
/// written one after the other are read together.
const EVERY: Duration = Duration::from_secs(1);

impl Stamps {
    /// As the files are now. Links are followed.
    pub(super) fn of<'p>(paths: impl Iterator<Item = &'p Path>) -> Stamps {
        Stamps(paths.map(stamp).collect())
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    let file = std::fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.len(), file.ctime(), file.ctime_nsec()))
}

/// Reads certificates again when their files change, for as long as the server runs. Files that cannot be used change
/// nothing, and are not tried again before they change.
pub(in crate::server) async fn watch(server: Arc<Server>) {
    let all: Vec<_> = server.tls.iter().chain(&server.metrics_tls).collect();
    let stamps = || all.iter().map(|tls| tls.stamps()).collect::<Vec<_>>();
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = stamps();
    loop {
        ticks.tick().await;
        let now = stamps();
        if now == seen && all.iter().zip(&now).any(|(tls, now)| tls.tried() != *now) {
            match server.refresh_certificates() {
                Ok(()) if server.engine.shows_debug() => {
                    debug!("certificates read again: their files have changed")
                }
                Ok(()) => {}
                Err(error) => warn!("{error}; the certificates stay as they were"),
            }
        }
        seen = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_content_or_another_file_is_another_stamp() {
        let directory = std::env::temp_dir().join(format!("memcarp-stamps-{}", std::process::id()));
        std::fs::create_dir_all(&directory).expect("a directory");
        let (path, other) = (directory.join("file"), directory.join("other"));
        let stamps = || Stamps::of([path.as_path()].into_iter());
        let none = stamps();
        std::fs::write(&path, "one").expect("written");
        let one = stamps();
        assert_ne!(one, none);
        assert_eq!(one, stamps());
        std::fs::write(&other, "two").expect("written");
        std::fs::rename(&other, &path).expect("moved");
        let two = stamps();
        assert_ne!(two, one);
        std::fs::write(&path, "three").expect("written");
        assert_ne!(stamps(), two);
        std::fs::remove_dir_all(directory).expect("removed");
    }
}
