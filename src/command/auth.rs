//! Who may come in: users and passwords (`-Y`), and the one command that says them.

use std::io;
use std::path::Path;

/// Longest user and password in bytes, the blank between them included.
pub(super) const MAX_TOKEN_LEN: usize = 16 << 10;

/// The users, each with a password.
#[derive(Debug, Default)]
pub struct Users {
    users: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Users {
    /// Reads a file of `user:password` lines. Empty lines are passed over; a line without a colon is an error that
    /// names it.
    pub fn read(path: &Path) -> io::Result<Users> {
        let text = std::fs::read(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{error}; give -Y a file of user:password lines"))
        })?;
        let mut users = Vec::new();
        for (number, line) in text.split(|&byte| byte == b'\n').enumerate() {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                continue;
            }
            let colon = line.iter().position(|&byte| byte == b':').ok_or_else(|| {
                let message =
                    format!("{} line {}: write user:password on each line", path.display(), number + 1);
                io::Error::new(io::ErrorKind::InvalidData, message)
            })?;
            users.push((line[..colon].to_vec(), line[colon + 1..].to_vec()));
        }
        if users.is_empty() {
            let message = format!("{}: no user; write user:password on each line", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(Users { users })
    }

    /// Whether this user has this password. Takes as long whether or not it has, and looks at every user.
    pub fn accept(&self, user: &[u8], password: &[u8]) -> bool {
        self.users.iter().fold(false, |found, (known, secret)| {
            found | (same_bytes(known, user) & same_bytes(secret, password))
        })
    }
}

/// Compares without stopping at the first difference.
fn same_bytes(known: &[u8], given: &[u8]) -> bool {
    let mut difference = known.len() ^ given.len();
    for (index, &byte) in given.iter().enumerate() {
        let other = known.get(index).copied().unwrap_or(!byte);
        difference |= usize::from(std::hint::black_box(byte ^ other));
    }
    difference == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_comes_in_with_the_right_password_only() {
        let users =
            Users { users: vec![(b"ann".to_vec(), b"a:b c".to_vec()), (b"bob".to_vec(), b"".to_vec())] };
        assert!(users.accept(b"ann", b"a:b c"));
        assert!(users.accept(b"bob", b""));
        for (user, password) in [("ann", "a:b"), ("ann", ""), ("bob", "a:b c"), ("", ""), ("ann", "a:b c ")] {
            assert!(!users.accept(user.as_bytes(), password.as_bytes()), "{user} {password}");
        }
    }
}
