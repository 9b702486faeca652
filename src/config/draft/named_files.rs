//! Where the files are named that a configuration needs. Looks at none of them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::Place;
use super::settle::at_places;
use crate::config::Config;
use crate::config::error::{Error, FAILURE};

/// Where the files are named, for whoever finds one that cannot be used. Those named on the command line are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamedFiles {
    /// Names from the root on: a process in the background leaves the directory that others begin in.
    named: Vec<(PathBuf, Place)>,
}

impl NamedFiles {
    /// Those of a configuration, whose options stand at these places.
    pub(super) fn of(config: &Config, places: &BTreeMap<&'static str, Place>) -> NamedFiles {
        let mut named = Vec::new();
        let mut note = |option: &str, file: Option<&PathBuf>| {
            if let (Some(file), Some(place)) = (file, places.get(option)) {
                named.push((absolute(file), place.clone()));
            }
        };
        for (tls, [chain_cert, key, ca_cert]) in [
            (&config.tls, ["ssl_chain_cert", "ssl_key", "ssl_ca_cert"]),
            (&config.metrics_tls, ["metrics-ssl-chain-cert", "metrics-ssl-key", "metrics-ssl-ca-cert"]),
        ] {
            note(chain_cert, tls.as_ref().map(|tls| &tls.chain_cert));
            note(key, tls.as_ref().map(|tls| &tls.key));
            note(ca_cert, tls.as_ref().and_then(|tls| tls.ca_cert.as_ref()));
        }
        note("auth-file", config.auth_file.as_ref());
        note("metrics-auth-file", config.metrics_auth_file.as_ref());
        note("memory-file", config.memory_file.as_ref());
        NamedFiles { named }
    }

    /// What is wrong with a file, with the places that name it.
    pub fn tell(&self, file: &Path, message: String) -> String {
        let file = absolute(file);
        let places = self.named.iter().filter(|(named, _)| *named == file).map(|(_, place)| place);
        at_places(Error::new(FAILURE, message), places.collect()).to_string()
    }
}

fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}
