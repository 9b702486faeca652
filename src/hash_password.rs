//! `memcarp hash-password`: makes of a password a line for a file of users. Knows no server.

use std::ffi::OsString;
use std::io::{BufRead, Write};

use crate::command::auth::hash;

/// The first argument that asks for it.
pub const NAME: &str = "hash-password";

const USAGE: &str = "usage: memcarp hash-password USER

Reads a password, one line, from standard input and prints USER:HASH, a line for the
file of -Y (--auth-file) or --metrics-auth-file:
  memcarp hash-password alice >> /etc/memcarp.users";

/// Longest password that is read.
const MOST_BYTES: u64 = 1 << 10;

/// Why there is no hash.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The exit code: 64 for wrong usage, 1 for the rest.
    pub exit: u8,
    /// What is wrong.
    pub message: String,
}

/// Makes the line for the user that the arguments behind `hash-password` name.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    input: impl BufRead,
    out: &mut impl Write,
) -> Result<(), Refusal> {
    let wrong = |exit, message: &str| Err(Refusal { exit, message: message.to_owned() });
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let user = match &args[..] {
        [help] if help == "-h" || help == "--help" => {
            let _ = writeln!(out, "{USAGE}");
            return Ok(());
        }
        [user] if !user.starts_with('-') => user,
        _ => return wrong(64, USAGE),
    };
    if user.is_empty() || user.contains(|c: char| c == ':' || c.is_whitespace() || c.is_control()) {
        return wrong(64, "write a name without colons and blanks");
    }
    let mut line = Vec::new();
    if let Err(error) = input.take(MOST_BYTES).read_until(b'\n', &mut line) {
        return wrong(1, &error.to_string());
    }
    let password = line.strip_suffix(b"\n").unwrap_or(&line);
    let password = password.strip_suffix(b"\r").unwrap_or(password);
    if password.is_empty() || line.len() as u64 == MOST_BYTES {
        return wrong(1, "give a password of 1 to 1000 bytes on standard input");
    }
    match hash::hash(password) {
        Some(hash) => {
            let _ = writeln!(out, "{user}:{hash}");
            Ok(())
        }
        None => wrong(1, "the system has no random numbers"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(args: &[&str], input: &str) -> Result<String, Refusal> {
        let mut out = Vec::new();
        run(args.iter().map(OsString::from), input.as_bytes(), &mut out)?;
        Ok(String::from_utf8(out).expect("text"))
    }

    #[test]
    fn a_line_is_for_its_user() {
        for password in ["secret", "secret\n", "secret\r\nmore\n"] {
            let line = hash(&["ann"], password).expect("a hash");
            assert!(line.starts_with("ann:$argon2id$v=19$m=7168,t=5,p=1$") && line.ends_with('\n'), "{line}");
        }
        assert!(hash(&["--help"], "").expect("help").starts_with("usage: "));
    }

    #[test]
    fn what_is_no_password_is_told() {
        for args in [&[][..], &["a", "b"], &["-x"], &["a:b"], &["a b"], &[""]] {
            assert_eq!(hash(args, "secret").expect_err("refused").exit, 64, "{args:?}");
        }
        for input in ["", "\n", &"x".repeat(2000)] {
            assert_eq!(hash(&["ann"], input).expect_err("refused").exit, 1, "{}", input.len());
        }
    }
}
