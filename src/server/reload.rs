//! What SIGHUP does: files are read again; what changed and can change while the server runs does, the rest is named.

use super::log;
use super::shared::Server;
use crate::config::{Config, Sources, Warning};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tracing::warn;

/// What is needed to read files again.
pub(super) struct Reload {
    sources: Sources,
    /// What the server was started with, as it was asked for.
    started: Config,
    verbosity: u8,
    server: Arc<Server>,
}

impl Reload {
    pub(super) fn new(sources: Sources, started: Config, server: Arc<Server>) -> Reload {
        Reload { sources, verbosity: started.verbosity, started, server }
    }

    /// Reads the files again. One that cannot be used changes nothing.
    pub(super) fn run(&mut self) {
        match self.sources.read_again() {
            Some(Ok((config, warnings))) => self.take_over(config, &warnings),
            Some(Err(error)) => warn!("{error}; the configuration stays as it was"),
            None => {}
        }
        self.server.reload();
    }

    fn take_over(&mut self, config: Config, warnings: &[Warning]) {
        for warning in warnings {
            warn!("{warning}");
        }
        let later = self.started.fixed_changes(&config);
        // The verbosity command may have changed it meanwhile, which a file that stays the same does not undo.
        if std::mem::replace(&mut self.verbosity, config.verbosity) != config.verbosity {
            self.server.engine.verbosity.store(config.verbosity.min(2), Ordering::Relaxed);
        }
        *self.server.allow.write() = config.allow;
        *self.server.metrics_allow.write() = config.metrics_allow;
        let rules = config.rules.len();
        self.server.engine.set_rules(config.rules);
        let rules = format!("{rules} expire_on_update {}", if rules == 1 { "rule" } else { "rules" });
        match later.is_empty() {
            true => log(format_args!("configuration read again: {rules}")),
            false => log(format_args!(
                "configuration read again: {rules}; changed at the next start only: {}",
                later.join(", ")
            )),
        }
    }
}
