//! A routing from what somebody writes who means one: the name of a file, or the members themselves.

use super::{Carp, Scheme};
use crate::members::{Members, MembersError};
use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The most bytes a file may have.
const MOST_BYTES: u64 = 16 << 20;

impl Carp {
    /// Routes over `list`: the name of a file of any form [`Members::from_text`] reads, or a list such as `a,b*2,c`.
    ///
    /// What begins with `./` or `../`, or ends with `.toml`, `.txt` or `.conf`, is a file's name whether there is such a
    /// file or not. A TOML file may name the scheme and whether hash tags count; `scheme`, if given, comes first.
    pub fn load(list: impl AsRef<OsStr>, scheme: Option<Scheme>) -> Result<Carp, MembersError> {
        load(list.as_ref(), scheme, |_| false)
    }

    /// The same where a TOML file may say other things too: see [`Carp::from_toml_among`].
    #[cfg(feature = "toml")]
    pub fn load_among(
        list: impl AsRef<OsStr>,
        scheme: Option<Scheme>,
        is_other: impl Fn(&str) -> bool,
    ) -> Result<Carp, MembersError> {
        load(list.as_ref(), scheme, is_other)
    }
}

fn load(list: &OsStr, scheme: Option<Scheme>, is_other: impl Fn(&str) -> bool) -> Result<Carp, MembersError> {
    let path = Path::new(list);
    let text = match is_file_name(path) {
        true => read(path)?,
        false => list.to_str().map(str::to_owned).ok_or_else(|| unreadable(path, "it is not UTF-8"))?,
    };
    carp(&text, scheme, is_other).map_err(|error| match list.is_empty() {
        true => error,
        false => MembersError::new(format!("{}: {error}", path.display())),
    })
}

/// No list is such a name, and what it would say of a file that is not there would help nobody.
fn is_file_name(path: &Path) -> bool {
    let ends_so =
        path.extension().is_some_and(|end| ["toml", "txt", "conf"].iter().any(|other| end == *other));
    ends_so || path.starts_with(".") || path.starts_with("..") || path.is_file()
}

fn read(path: &Path) -> Result<String, MembersError> {
    let mut text = String::new();
    let file = File::open(path).map_err(|error| unreadable(path, error))?;
    file.take(MOST_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(path, error))?;
    match text.len() as u64 > MOST_BYTES {
        true => Err(unreadable(path, "it is over 16 MiB long")),
        false => Ok(text),
    }
}

fn unreadable(path: &Path, why: impl fmt::Display) -> MembersError {
    MembersError::new(format!("cannot read {}: {why}", path.display()))
}

#[cfg_attr(not(feature = "toml"), expect(unused_variables, reason = "only TOML says other things"))]
fn carp(text: &str, scheme: Option<Scheme>, is_other: impl Fn(&str) -> bool) -> Result<Carp, MembersError> {
    #[cfg(feature = "toml")]
    if text.contains("[[") {
        let carp = Carp::from_toml_among(text, is_other)?;
        return match scheme {
            Some(scheme) if scheme != carp.scheme => Carp::with_scheme(carp.members, scheme),
            _ => Ok(carp),
        };
    }
    Carp::with_scheme(Members::from_text(text)?, scheme.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_files_are_loaded() {
        let carp = Carp::load("a,b*2", None).unwrap();
        assert_eq!((carp.members().len(), carp.scheme()), (2, Scheme::CarpV2));
        assert_eq!(Carp::load("a,b*2", Some(Scheme::CarpV1)).unwrap().scheme(), Scheme::CarpV1);
        for name in ["none.toml", "none.txt", "none.conf", "./none", "../none"] {
            let error = Carp::load(name, None).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot read {name}: No such file")), "{error}");
        }
        assert_eq!(Carp::load("a,a", None).unwrap_err().to_string(), "a,a: two members are called a");
        assert_eq!(Carp::load("", None).unwrap_err().to_string(), "a list without members routes nothing");
        let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/config/members.toml");
        assert_eq!(Carp::load(sample, None).unwrap().members().len(), 3);
        let error = Carp::load(concat!(env!("CARGO_MANIFEST_DIR"), "/src/lib.rs"), None).unwrap_err();
        assert!(error.to_string().contains("src/lib.rs: "), "{error}");
    }
}
