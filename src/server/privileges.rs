//! What the process may use and who it runs as: descriptors, core dumps, locked memory, user.

use super::error::Error;
use crate::config::Config;
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::prctl;
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::{Uid, User, geteuid, initgroups, setgid, setuid};
use std::ffi::CString;
use tracing::warn;

/// Descriptors beyond the clients': standard streams, listeners, those of the runtimes (up to four each), files.
fn reserved_descriptors(config: &Config) -> u64 {
    64 + 4 * config.threads as u64
}

/// Raises the limits that are too low for what was asked. A limit on descriptors that cannot be raised lowers `-c`.
pub(super) fn raise_limits(config: &mut Config) -> Result<(), Error> {
    raise_descriptors(config)?;
    if config.coredumps {
        raise_core_size();
    }
    Ok(())
}

/// Keeps memory from being swapped, if asked; a system that does not allow it gets a warning and a server.
pub(super) fn lock_memory(config: &Config) {
    if !config.lock_memory {
        return;
    }
    let _ = setrlimit(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY, RLIM_INFINITY);
    // Under a limit the lock would succeed now and allocations would fail later.
    let allowed = getrlimit(Resource::RLIMIT_MEMLOCK).map_or(0, |(soft, _)| soft);
    if allowed < (config.memory_limit as u64).saturating_mul(2) {
        warn!("-k: not locking memory: RLIMIT_MEMLOCK is {allowed} bytes; raise it with ulimit -l");
    } else if let Err(error) = mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE) {
        warn!("-k: failed to lock memory: {error}");
    }
}

/// The user to become: that of `-u`, for root. Anybody else is who they are already.
pub(super) fn user(config: &Config) -> Result<Option<User>, Error> {
    match &config.user {
        Some(name) if geteuid().is_root() => {
            let found = User::from_name(name).ok().flatten();
            found.map(Some).ok_or_else(|| Error::UnknownUser(name.clone()))
        }
        _ => Ok(None),
    }
}

/// Becomes that user.
pub(super) fn drop_root(config: &Config) -> Result<(), Error> {
    if !geteuid().is_root() {
        return Ok(());
    }
    let Some(user) = user(config)? else {
        warn!("running as root; give -u USER to run as somebody who may do less");
        return Ok(());
    };
    if user.uid == Uid::from_raw(0) {
        return Ok(());
    }
    let name = &user.name;
    let failed = |error| Error::system(format!("become the user {name}"), error);
    let c_name = CString::new(name.as_str()).map_err(|_| Error::UnknownUser(name.clone()))?;
    initgroups(&c_name, user.gid).map_err(failed)?;
    setgid(user.gid).map_err(failed)?;
    setuid(user.uid).map_err(failed)?;
    if config.coredumps {
        // A process that has changed its user leaves no core otherwise.
        let _ = prctl::set_dumpable(true);
    }
    Ok(())
}

fn raise_descriptors(config: &mut Config) -> Result<(), Error> {
    let failed = |error| Error::system("read the limit on open files", error);
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).map_err(failed)?;
    let reserved = reserved_descriptors(config);
    let needed = (config.conn_limit as u64).saturating_add(reserved);
    if soft >= needed {
        return Ok(());
    }
    let raised = setrlimit(Resource::RLIMIT_NOFILE, needed, hard.max(needed)).is_ok();
    if raised
        || (soft < hard
            && setrlimit(Resource::RLIMIT_NOFILE, hard.min(needed), hard).is_ok()
            && hard >= needed)
    {
        return Ok(());
    }
    let open = hard.max(soft);
    let fits = open.saturating_sub(reserved);
    if fits == 0 {
        let few =
            std::io::Error::other(format!("only {open} files may be open; raise the limit with ulimit -n"));
        return Err(Error::system("serve clients", few));
    }
    warn!(
        "-c {}: only {open} files may be open, so at most {fits} clients are served; raise the limit with ulimit -n",
        config.conn_limit,
    );
    config.conn_limit = fits as usize;
    Ok(())
}

fn raise_core_size() {
    let unlimited = setrlimit(Resource::RLIMIT_CORE, RLIM_INFINITY, RLIM_INFINITY);
    let raised = unlimited.or_else(|_| {
        let (_, hard) = getrlimit(Resource::RLIMIT_CORE)?;
        setrlimit(Resource::RLIMIT_CORE, hard, hard)
    });
    if let Err(error) = raised {
        warn!("-r: failed to raise the size of core dumps: {error}");
    }
}
