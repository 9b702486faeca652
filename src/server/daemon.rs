//! Running in the background (`-d`): the process starts itself once more, detached, and waits until that one serves.

use super::error::Error;
use crate::config::Config;
use nix::unistd::{chdir, dup2_stderr, dup2_stdout, getppid, setsid};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Tells the second process, by the first one's id, that it is the one to serve. An id because the variable may be
/// inherited by somebody else's child.
const PARENT_VARIABLE: &str = "MEMCARP_DAEMON_OF";

/// What the second process says on its stdout when it serves.
const SERVING: &[u8] = b"serving\n";

/// Whether this is the second process.
pub(super) fn is_child() -> bool {
    std::env::var(PARENT_VARIABLE).is_ok_and(|parent| parent == getppid().to_string())
}

/// In the first process: starts the second and waits until it serves, or returns its failure.
pub(super) fn launch() -> Result<(), Error> {
    let failed = |source| Error::system("start in the background", source);
    let mut arguments = std::env::args_os();
    let name = arguments.next().unwrap_or_default();
    let mut child = Command::new(program(Path::new(&name)).map_err(failed)?)
        .arg0(&name)
        .args(arguments)
        .env(PARENT_VARIABLE, std::process::id().to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    let mut said = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        stdout.take(SERVING.len() as u64).read_to_end(&mut said).map_err(failed)?;
    }
    if said == SERVING {
        return Ok(());
    }
    let status = child.wait().map_err(failed)?;
    Err(Error::Daemon(status.code().or(status.signal().map(|signal| 128 + signal)).unwrap_or(71)))
}

/// Files that are read again later are named from the root on: the directory their names begin in will be left.
pub(super) fn keep_names(config: &mut Config) {
    let files = [&mut config.auth_file, &mut config.metrics_auth_file];
    let mut names: Vec<&mut PathBuf> = files.into_iter().flatten().collect();
    for tls in [&mut config.tls, &mut config.metrics_tls].into_iter().flatten() {
        names.extend([&mut tls.chain_cert, &mut tls.key]);
        names.extend(&mut tls.ca_cert);
    }
    for name in names {
        if let Ok(absolute) = std::path::absolute(&*name) {
            *name = absolute;
        }
    }
}

/// In the second process, once it serves: leaves the session and directory it was started in, lets the first process
/// go, and closes its standard streams; stderr stays with `verbose`, the directory with `coredumps`.
pub(super) fn settle(verbose: bool, coredumps: bool) -> Result<(), Error> {
    let failed = |errno| Error::system("detach from the terminal", errno);
    setsid().map_err(failed)?;
    if !coredumps {
        chdir("/").map_err(failed)?;
    }
    let null = OpenOptions::new().read(true).write(true).open("/dev/null");
    let null: File = null.map_err(|source| Error::system("open /dev/null", source))?;
    let mut stdout = std::io::stdout();
    let _ = stdout.write_all(SERVING).and_then(|()| stdout.flush());
    dup2_stdout(&null).map_err(failed)?;
    if !verbose {
        dup2_stderr(&null).map_err(failed)?;
    }
    Ok(())
}

/// The file this process was started from, by the name it was started by: tools find processes by that name, which
/// may be a link's.
fn program(name: &Path) -> std::io::Result<PathBuf> {
    let this = std::env::current_exe()?;
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = Vec::new();
    if name.components().count() > 1 {
        candidates.push(name.to_owned());
    } else {
        candidates.extend(std::env::split_paths(&path).map(|directory| directory.join(name)));
    }
    let same = |candidate: &PathBuf| candidate.canonicalize().is_ok_and(|file| file == this);
    Ok(candidates.into_iter().find(same).unwrap_or(this))
}
