//! Hashes that stand for passwords: argon2, in the form of the PHC (`$argon2id$v=19$m=7168,t=5,p=1$salt$hash`).

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};

/// A password's hash.
#[derive(Debug)]
pub(super) struct Hash(PasswordHash);

/// Most memory of one computation, in KiB.
const MOST_KIB: u32 = 64 << 10;
/// Most passes over it.
const MOST_PASSES: u32 = 64;

/// What a new hash costs to compute: of OWASP's equally strong choices that with the least memory, as a cache has other
/// use for it.
const KIB: u32 = 7 << 10;
const PASSES: u32 = 5;

impl Hash {
    /// Whether this is no password but stands for one: `$name$...`, as hashes of passwords are written everywhere.
    pub(super) fn is_meant(text: &[u8]) -> bool {
        let Some(rest) = text.strip_prefix(b"$") else { return false };
        let name = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        (1..=16).contains(&name) && rest.get(name) == Some(&b'$')
    }

    /// Reads a hash, or says what to write instead.
    pub(super) fn read(text: &[u8]) -> Result<Hash, &'static str> {
        const WRITE: &str = "this is no argon2 hash; memcarp hash-password makes them";
        let text = std::str::from_utf8(text).map_err(|_| WRITE)?;
        let hash = PasswordHash::new(text).map_err(|_| WRITE)?;
        if Algorithm::try_from(hash.algorithm.as_str()).is_err() || hash.salt.is_none() || hash.hash.is_none()
        {
            return Err(WRITE);
        }
        let params = Params::try_from(&hash).map_err(|_| WRITE)?;
        if params.m_cost() > MOST_KIB || params.t_cost() > MOST_PASSES {
            return Err("this hash costs too much to compute: at most m=65536 and t=64");
        }
        Ok(Hash(hash))
    }

    /// Whether it is this password's. Takes milliseconds of computing, and as much memory as it says.
    pub(super) fn is_of(&self, password: &[u8]) -> bool {
        Argon2::default().verify_password(password, &self.0).is_ok()
    }
}

/// A new hash of this password, with a salt of its own; `None` if the system gives no random numbers.
pub fn hash(password: &[u8]) -> Option<String> {
    let params = Params::new(KIB, PASSES, 1, None).ok()?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password).ok().map(|hash: PasswordHash| hash.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_of_its_password_only() {
        let written = hash(b"secret").expect("random numbers");
        assert!(written.starts_with("$argon2id$v=19$m=7168,t=5,p=1$"), "{written}");
        assert_ne!(hash(b"secret").expect("random numbers"), written, "each has its own salt");
        let hash = Hash::read(written.as_bytes()).expect("just written");
        assert!(hash.is_of(b"secret"));
        assert!(!hash.is_of(b"Secret") && !hash.is_of(b""));
    }

    /// `echo -n secret | argon2 saltsaltsalt -id -e` and its kin, of Debian's argon2.
    #[test]
    fn hashes_of_others_are_read() {
        for written in [HASH_ID, HASH_I] {
            assert!(Hash::is_meant(written.as_bytes()));
            assert!(Hash::read(written.as_bytes()).expect("argon2").is_of(b"secret"), "{written}");
        }
    }

    #[test]
    fn what_is_meant_as_a_hash_and_is_none_is_told() {
        for other in ["$2y$05$abc", "$6$salt$x", "$y$j9T$a$b", "$apr1$x", "$argon2id$", "$scrypt$ln=1$a$b"] {
            assert!(Hash::is_meant(other.as_bytes()), "{other}");
            assert!(Hash::read(other.as_bytes()).is_err(), "{other}");
        }
        for password in ["", "$", "$$", "$ecret", "pa$$word", "$a b$c", "a$argon2id$"] {
            assert!(!Hash::is_meant(password.as_bytes()), "{password}");
        }
        let dear = HASH_ID.replace("m=4096", "m=65537");
        assert!(Hash::read(dear.as_bytes()).expect_err("dear").contains("costs too much"));
    }

    const HASH_ID: &str =
        "$argon2id$v=19$m=4096,t=3,p=1$c2FsdHNhbHRzYWx0$qK0QQkoE8dNvg6G2f8VIyFoUO/hZRiQ/S78TX9j+dGo";
    const HASH_I: &str =
        "$argon2i$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$Sco+PyWo9EHG/q2z71SS5BbVLkBzuEAHkIvicdoQX+A";
}
