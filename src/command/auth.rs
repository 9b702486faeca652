//! Who may come in: users with passwords or with hashes of such (`-Y`), and what they are asked. Waits for nobody.

pub mod attempts;
pub mod failed_logins;
pub mod hash;

use crate::config::file;
use hash::Hash;
use ring::hmac;
use ring::rand::SystemRandom;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use subtle::{Choice, ConstantTimeEq};

/// Longest user and password in bytes, the blank between them included.
pub(super) const MAX_TOKEN_LEN: usize = 16 << 10;

/// The users.
#[derive(Debug)]
pub struct Users {
    /// Drawn when they were read: tags mean nothing to others.
    key: hmac::Key,
    users: Vec<User>,
}

#[derive(Debug)]
struct User {
    name: Vec<u8>,
    /// What stands for the password, if it is not known itself.
    hash: Option<Hash>,
    /// That of the user with the right password, as soon as it is known: from the start, or, where there is a hash,
    /// from the first time on that somebody has shown the password.
    tag: OnceLock<Tag>,
}

/// User and password together, made unreadable and of one length.
type Tag = [u8; 32];

/// Whether a user has a password.
pub enum Answer {
    /// It does.
    Yes,
    /// It does not.
    No,
    /// It takes milliseconds to find out.
    Unclear(Check),
}

/// A user and a password that a hash has to be computed for. Whoever waits for the verdict keeps it until then: what
/// nobody keeps is not computed.
pub struct Check {
    users: Arc<Users>,
    user: Vec<u8>,
    password: Vec<u8>,
    tag: Tag,
    verdict: OnceLock<Verdict>,
    /// See [`Check::hears_the_end`].
    may_have_gone: AtomicBool,
}

/// What came of a [`Check`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user has this password.
    Accepted,
    /// The user has not, or there is no such user.
    Refused,
    /// It was not computed: others came first.
    Displaced,
}

/// Is told what came of a [`Check`], also if nobody waits for it any more.
pub type Done = Box<dyn FnOnce(Verdict) + Send>;

impl Users {
    /// Reads a file of `user:password` and `user:hash` lines. Empty lines are passed over; one that says something
    /// else is an error that names it.
    pub fn read(path: &Path) -> io::Result<Users> {
        let text = file::read(path).map_err(|error| {
            io::Error::new(error.kind(), format!("{error}; give a file of user:password lines"))
        })?;
        let wrong = |message: String| {
            io::Error::new(io::ErrorKind::InvalidData, format!("{}{message}", path.display()))
        };
        let mut users = Users::nobody().map_err(|error| wrong(format!(": {error}")))?;
        for (number, line) in (1..).zip(text.split(|&byte| byte == b'\n')) {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                users.add(line).map_err(|why| wrong(format!(" line {number}: {why}")))?;
            }
        }
        match users.users.is_empty() {
            true => Err(wrong(": no user; write user:password on each line".to_owned())),
            false => Ok(users),
        }
    }

    /// How many there are, at least one.
    pub fn count(&self) -> usize {
        self.users.len()
    }

    fn nobody() -> Result<Users, &'static str> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new());
        Ok(Users { key: key.map_err(|_| "the system has no random numbers")?, users: Vec::new() })
    }

    fn add(&mut self, line: &[u8]) -> Result<(), &'static str> {
        let colon = memchr::memchr(b':', line).ok_or("write user:password on each line")?;
        let (name, password) = (&line[..colon], &line[colon + 1..]);
        let (hash, tag) = match Hash::is_meant(password) {
            true => (Some(Hash::read(password)?), OnceLock::new()),
            false => (None, OnceLock::from(self.tag(name, password))),
        };
        self.users.push(User { name: name.to_vec(), hash, tag });
        Ok(())
    }

    /// Whether this user has this password. Takes as long whichever user and password it is, as long as their lengths
    /// are the same.
    pub fn ask(self: &Arc<Users>, user: &[u8], password: &[u8]) -> Answer {
        let tag = self.tag(user, password);
        if self.knows(&tag) {
            return Answer::Yes;
        }
        // Also for a user who is not there, or is without a hash: how long it takes tells nobody who is.
        match self.users.iter().any(|user| user.hash.is_some()) {
            true => Answer::Unclear(Check {
                users: self.clone(),
                user: user.to_vec(),
                password: password.to_vec(),
                tag,
                verdict: OnceLock::new(),
                may_have_gone: AtomicBool::new(false),
            }),
            false => Answer::No,
        }
    }

    fn knows(&self, tag: &Tag) -> bool {
        let same = |user: &User| user.tag.get().map_or(Choice::from(0), |known| known.ct_eq(tag));
        self.users.iter().fold(Choice::from(0), |found, user| found | same(user)).into()
    }

    fn tag(&self, user: &[u8], password: &[u8]) -> Tag {
        let mut signing = hmac::Context::with_key(&self.key);
        signing.update(&user.len().to_le_bytes());
        signing.update(user);
        signing.update(password);
        let mut tag = Tag::default();
        tag.copy_from_slice(signing.sign().as_ref());
        tag
    }
}

impl Check {
    /// The user's name.
    pub fn user(&self) -> &[u8] {
        &self.user
    }

    /// The password that is to be checked.
    pub fn password(&self) -> &[u8] {
        &self.password
    }

    /// Whether it is the same user with the same password, asked of the same users.
    pub fn is_same(&self, other: &Check) -> bool {
        self.tag.ct_eq(&other.tag).into()
    }

    /// Whether it was asked of these users.
    pub fn is_of(&self, users: &Arc<Users>) -> bool {
        Arc::ptr_eq(&self.users, users)
    }

    /// What came of it, once that is known.
    pub fn verdict(&self) -> Option<Verdict> {
        self.verdict.get().copied()
    }

    /// Sets the verdict; only the first call counts.
    pub fn conclude(&self, verdict: Verdict) {
        let _ = self.verdict.set(verdict);
    }

    /// The client sends nothing more. It may still read the answer, or have gone: nobody can tell the one from the other
    /// before there is an answer.
    pub fn hears_the_end(&self) {
        self.may_have_gone.store(true, Ordering::Relaxed);
    }

    /// Whether the client may have gone.
    pub fn may_be_in_vain(&self) -> bool {
        self.may_have_gone.load(Ordering::Relaxed)
    }

    /// Finds out, which takes milliseconds of computing. A password that is right is known from then on.
    pub fn run(&self) -> Verdict {
        if self.users.knows(&self.tag) {
            return Verdict::Accepted;
        }
        let hashed = || self.users.users.iter().filter_map(|user| Some((user, user.hash.as_ref()?)));
        let mut own = hashed().filter(|(user, _)| user.name == self.user).peekable();
        if own.peek().is_none() {
            // Somebody else's, so that it takes as long.
            if let Some((_, hash)) = hashed().next() {
                let _ = hash.is_of(&self.password);
            }
            return Verdict::Refused;
        }
        match own.find(|(_, hash)| hash.is_of(&self.password)) {
            Some((user, _)) => {
                let _ = user.tag.set(self.tag);
                Verdict::Accepted
            }
            None => Verdict::Refused,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn users(lines: &[&str]) -> Arc<Users> {
        let mut users = Users::nobody().expect("random numbers");
        for line in lines {
            users.add(line.as_bytes()).expect("a good line");
        }
        Arc::new(users)
    }

    fn hashed(user: &str, password: &str) -> String {
        format!("{user}:{}", hash::hash(password.as_bytes()).expect("random numbers"))
    }

    #[test]
    fn a_user_comes_in_with_the_right_password_only() {
        let users = users(&["ann:a:b c", "bob:"]);
        let is_in = |user: &str, password: &str| match users.ask(user.as_bytes(), password.as_bytes()) {
            Answer::Yes => true,
            Answer::No => false,
            Answer::Unclear(_) => panic!("there is no hash"),
        };
        assert!(is_in("ann", "a:b c"));
        assert!(is_in("bob", ""));
        for (user, password) in [("ann", "a:b"), ("ann", ""), ("bob", "a:b c"), ("", ""), ("ann", "a:b c ")] {
            assert!(!is_in(user, password), "{user} {password}");
        }
    }

    /// The hash is computed for whoever is wrong, and for whoever is right once.
    #[test]
    fn a_hash_is_computed_until_somebody_has_the_password() {
        let users = users(&[&hashed("ann", "secret"), &hashed("ann", "other"), "bob:plain"]);
        let check = |user: &str, password: &str| match users.ask(user.as_bytes(), password.as_bytes()) {
            Answer::Unclear(check) => Some(check.run() == Verdict::Accepted),
            Answer::Yes => None,
            Answer::No => panic!("{user} is refused for nothing"),
        };
        assert_eq!(check("bob", "plain"), None);
        for (user, password) in [("ann", "Secret"), ("bob", "secret"), ("eve", "secret"), ("", "")] {
            assert_eq!(check(user, password), Some(false), "{user} {password}");
        }
        assert_eq!(check("ann", "secret"), Some(true));
        assert_eq!(check("ann", "secret"), None);
        assert_eq!(check("ann", "other"), Some(true));
        assert_eq!(check("ann", "other"), None);
        assert_eq!(check("ann", "wrong"), Some(false));
    }

    #[test]
    fn a_wrong_line_says_what_to_write() {
        let mut users = Users::nobody().expect("random numbers");
        assert_eq!(users.add(b"ann"), Err("write user:password on each line"));
        assert_eq!(
            users.add(b"ann:$2y$05$abcdefghijklmnopqrstuv"),
            Err("this is no argon2 hash; memcarp hash-password makes them")
        );
        assert!(users.users.is_empty());
    }
}
