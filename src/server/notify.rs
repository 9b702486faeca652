//! What the service manager is told: that the server serves, reads its files again, stops, and that it goes on.
//!
//! Without systemd, or another manager that set NOTIFY_SOCKET, nothing happens.

use super::shared::Server;
use sd_notify::NotifyState;
use std::sync::Arc;
use tracing::warn;

/// Clients are served.
pub(super) fn ready() {
    tell(&[NotifyState::Ready]);
}

/// Files are being read again; [`ready`] says when that is done.
pub(super) fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell(&[NotifyState::Reloading, now]),
        Err(_) => tell(&[NotifyState::Reloading]),
    }
}

/// The server has been told to stop.
pub(super) fn stopping() {
    tell(&[NotifyState::Stopping]);
}

/// Tells a service manager that has a watchdog, three times in its time, that every worker goes on. It restarts a
/// server of which it hears nothing, so a worker that hangs is not left so.
pub(super) async fn watchdog(server: Arc<Server>) {
    let Some(patience) = sd_notify::watchdog_enabled() else { return };
    let mut interval = tokio::time::interval(patience / 3);
    loop {
        interval.tick().await;
        if server.roll_call() {
            tell(&[NotifyState::Watchdog]);
        }
    }
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        warn!("could not tell the service manager at NOTIFY_SOCKET: {error}");
    }
}
