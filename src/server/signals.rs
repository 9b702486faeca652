//! Signals: which of them stop the server, and what is said about it. Knows nothing of how it stops.

use super::error::Error;
use super::{Running, log};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals the server obeys, installed. SIGPIPE is ignored by Rust's own start.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    graceful: Signal,
    reload: Signal,
}

impl Signals {
    /// From now on signals are received rather than deadly.
    pub(super) fn install(running: &Running) -> Result<Signals, Error> {
        let _inside = running.runtime.enter();
        let receive = |kind| signal(kind).map_err(|source| Error::system("receive signals", source));
        Ok(Signals {
            terminate: receive(SignalKind::terminate())?,
            interrupt: receive(SignalKind::interrupt())?,
            graceful: receive(SignalKind::user_defined1())?,
            reload: receive(SignalKind::hangup())?,
        })
    }

    /// Waits for a signal that stops the server.
    pub(super) async fn stop(&mut self, mut reload: impl FnMut()) {
        loop {
            let said = tokio::select! {
                _ = self.terminate.recv() => "Signal handled: Terminated.",
                _ = self.interrupt.recv() => "Signal handled: Interrupt.",
                _ = self.graceful.recv() => "Gracefully stopping",
                _ = self.reload.recv() => {
                    reload();
                    // However many more have come: clients are accepted in between.
                    tokio::task::yield_now().await;
                    continue;
                }
            };
            return log(format_args!("{said}"));
        }
    }
}
