//! The thread that does the store's work nobody asks for, and keeps the clock right.

use super::error::Error;
use super::shared::Server;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// Pause between two rounds.
const PAUSE: Duration = Duration::from_millis(50);

/// Slices of work after which others are let to a busy store for a moment.
const SLICES: usize = 64;
const BREATH: Duration = Duration::from_millis(1);

/// Starts the thread; it ends when `end` says so, or when its sender is gone.
pub(super) fn start(server: Arc<Server>, mut end: watch::Receiver<bool>) -> Result<JoinHandle<()>, Error> {
    let failed = |source| Error::system("start the maintenance thread", source);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().map_err(failed)?;
    std::thread::Builder::new()
        .name("maintenance".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    server.clock.follow_wall_clock();
                    let mut slices = 0;
                    while server.engine.store.maintain(server.clock.now()) && !*end.borrow() {
                        slices += 1;
                        match slices % SLICES {
                            0 => std::thread::sleep(BREATH),
                            _ => std::thread::yield_now(),
                        }
                    }
                    if server.engine.store.detached_excess() > 0 {
                        server.wake_workers();
                    }
                    if tokio::time::timeout(PAUSE, end.wait_for(|end| *end)).await.is_ok() {
                        return;
                    }
                }
            });
        })
        .map_err(failed)
}
