//! Who is in the array: names, addresses, weights, and the texts they are read from.
//! Knows nothing of routing, sockets or health.

#[cfg(feature = "toml")]
mod file;
mod table;

pub use table::{MembershipTable, TableMember};

use std::collections::HashSet;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::str::FromStr;

/// The port of an address that names none.
pub const DEFAULT_PORT: u16 = 11211;

/// Weights outside this range are refused: beyond it a share is not one key in a billion.
const WEIGHTS: std::ops::RangeInclusive<f64> = 1e-9..=1e9;

/// Where a member listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A host name or IP address, looked up each time a connection is made.
    Tcp {
        /// The name or address, an IPv6 address without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket: written as `/path` or `unix:path`.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = MembersError;

    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port`, a bare IPv6 address, `/path` or `unix:path`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || MembersError::new(format!("{text:?} is no address; write host:port or /path/of/socket"));
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.is_empty() { Err(bad()) } else { Ok(Address::Unix(path.into())) };
        }
        if text.starts_with('/') {
            return Ok(Address::Unix(text.into()));
        }
        let (host, port) = if let Some(rest) = text.strip_prefix('[') {
            let (host, after) = rest.split_once(']').ok_or_else(bad)?;
            (host, after.strip_prefix(':').or(after.is_empty().then_some("")).ok_or_else(bad)?)
        } else if text.matches(':').count() > 1 {
            (text, "")
        } else {
            text.split_once(':').unwrap_or((text, ""))
        };
        if host.is_empty() || host.contains(char::is_whitespace) {
            return Err(bad());
        }
        let port = if port.is_empty() { DEFAULT_PORT } else { port.parse().map_err(|_| bad())? };
        Ok(Address::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One node of the array.
///
/// Its **name** is its identity: it alone, with the weight, decides which keys the member owns, so a node
/// that moves to another address keeps its keys.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    name: String,
    address: Option<Address>,
    weight: f64,
}

impl Member {
    /// A member of weight 1 whose name is also its address.
    pub fn new(name: impl Into<String>) -> Member {
        Member { name: name.into(), address: None, weight: 1.0 }
    }

    /// Gives it an address other than its name.
    pub fn at(mut self, address: Address) -> Member {
        self.address = Some(address);
        self
    }

    /// Gives it a share of the keys in proportion to `weight`.
    pub fn with_weight(mut self, weight: f64) -> Member {
        self.weight = weight;
        self
    }

    /// Its identity.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its weight; 1 unless given.
    pub fn weight(&self) -> f64 {
        self.weight
    }

    /// Where it listens. Fails if none was given and its name is no address.
    pub fn address(&self) -> Result<Address, MembersError> {
        match &self.address {
            Some(address) => Ok(address.clone()),
            None => self.name.parse(),
        }
    }

    fn validate(&self) -> Result<(), MembersError> {
        if self.name.is_empty() || self.name.contains(char::is_control) {
            return Err(MembersError::new(format!("{:?} is no name for a member", self.name)));
        }
        if !WEIGHTS.contains(&self.weight) {
            return Err(MembersError::new(format!(
                "member {}: the weight {} is not between 1e-9 and 1e9; take a member out by leaving it out",
                self.name, self.weight
            )));
        }
        Ok(())
    }
}

impl FromStr for Member {
    type Err = MembersError;

    /// Reads `[name=]address[*weight]`.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let text = text.trim();
        let (text, weight) = match text.rsplit_once('*') {
            Some((rest, weight)) => (
                rest.trim(),
                weight
                    .trim()
                    .parse()
                    .map_err(|_| MembersError::new(format!("{weight:?} is no weight, in {text:?}")))?,
            ),
            None => (text, 1.0),
        };
        let member = match text.split_once('=') {
            Some((name, address)) => Member::new(name.trim()).at(address.trim().parse()?),
            None => Member::new(text),
        };
        Ok(member.with_weight(weight))
    }
}

/// A checked list of members: names are unique, weights are sane. Reads as a slice.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Members(Vec<Member>);

impl Members {
    /// Checks the list. It may be empty (a lookup that found nothing); routing needs one at least.
    pub fn new(list: Vec<Member>) -> Result<Members, MembersError> {
        Members::checked(list).map_err(|(_, why)| why)
    }

    /// The same; what is wrong comes with the place in the list that it is wrong at.
    fn checked(list: Vec<Member>) -> Result<Members, (usize, MembersError)> {
        let mut names = HashSet::new();
        for (at, member) in list.iter().enumerate() {
            member.validate().map_err(|why| (at, why))?;
            if !names.insert(member.name()) {
                return Err((at, MembersError::new(format!("two members are called {}", member.name()))));
            }
        }
        Ok(Members(list))
    }

    /// Reads whichever of the known texts this is: a membership table of the 1998 draft, a TOML file
    /// (feature `toml`), or a list such as `a,b*2,c=10.0.0.3:11211`.
    pub fn from_text(text: &str) -> Result<Members, MembersError> {
        if text.trim_start().starts_with(table::HEADER) {
            return text.parse::<MembershipTable>()?.members();
        }
        if text.contains("[[") {
            #[cfg(feature = "toml")]
            return Members::from_toml(text);
            #[cfg(not(feature = "toml"))]
            return Err(MembersError::new("reading a TOML member list needs the feature \"toml\""));
        }
        text.parse()
    }
}

impl Deref for Members {
    type Target = [Member];

    fn deref(&self) -> &[Member] {
        &self.0
    }
}

impl FromStr for Members {
    type Err = MembersError;

    /// Reads members separated by commas or line ends: `[name=]address[*weight]`, `#` starts a comment.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.lines().any(|line| line.trim_start().starts_with("[[")) {
            return Err(MembersError::new(
                "this is TOML, not a list of members: read it with Carp::from_toml (feature \"toml\"), and give it \
                 to Builder::routing",
            ));
        }
        let list = text
            .lines()
            .map(|line| line.split_once('#').map_or(line, |(before, _)| before))
            .flat_map(|line| line.split(','))
            .filter(|entry| !entry.trim().is_empty())
            .map(Member::from_str)
            .collect::<Result<_, _>>()?;
        Members::new(list)
    }
}

/// Reads the text as [`Members::from_str`] does.
impl TryFrom<&str> for Members {
    type Error = MembersError;

    fn try_from(text: &str) -> Result<Members, MembersError> {
        text.parse()
    }
}

/// Reads the text as [`Members::from_str`] does.
impl TryFrom<String> for Members {
    type Error = MembersError;

    fn try_from(text: String) -> Result<Members, MembersError> {
        text.parse()
    }
}

/// Checks the list as [`Members::new`] does.
impl TryFrom<Vec<Member>> for Members {
    type Error = MembersError;

    fn try_from(list: Vec<Member>) -> Result<Members, MembersError> {
        Members::new(list)
    }
}

/// What is wrong with a member list, in words for whoever wrote it.
#[derive(Clone, PartialEq, Eq)]
pub struct MembersError {
    message: String,
    line: Option<usize>,
}

impl MembersError {
    pub(crate) fn new(message: impl Into<String>) -> MembersError {
        MembersError { message: message.into(), line: None }
    }

    #[cfg(feature = "toml")]
    pub(crate) fn at(self, line: usize) -> MembersError {
        MembersError { line: Some(line), ..self }
    }

    /// The line of a TOML file that is wrong, from 1; the text of the error begins with it.
    pub fn line(&self) -> Option<usize> {
        self.line
    }
}

/// The same words: they are what a `main` that returns the error prints.
impl fmt::Debug for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for MembersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            Some(line) => write!(f, "line {line}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for MembersError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_and_written_back() {
        for (text, written) in [
            ("cache", "cache:11211"),
            ("cache:1", "cache:1"),
            ("10.0.0.1:11212", "10.0.0.1:11212"),
            ("::1", "[::1]:11211"),
            ("[::1]", "[::1]:11211"),
            ("[fe80::2]:9", "[fe80::2]:9"),
            ("/run/m.sock", "/run/m.sock"),
            ("unix:m.sock", "m.sock"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), written);
        }
        for text in ["", ":1", "a:b", "a:70000", "[::1", "[::1]x", "unix:", "a b"] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_read() {
        let members: Members = "a, b*2.5\nc=10.0.0.3:1*4 # the new one\n\n".parse().unwrap();
        let seen: Vec<_> =
            members.iter().map(|m| (m.name(), m.address().unwrap().to_string(), m.weight())).collect();
        assert_eq!(
            seen,
            [
                ("a", "a:11211".to_owned(), 1.0),
                ("b", "b:11211".to_owned(), 2.5),
                ("c", "10.0.0.3:1".to_owned(), 4.0)
            ]
        );
    }

    #[test]
    fn toml_in_place_of_a_list_is_told_from_a_bad_address() {
        for text in [
            "[[members]]\nname = \"a\"\n",
            "# The array.\nscheme = \"carp-v2\"\n\n  [[member]]\nname = \"a\"\naddress = \"10.0.0.1\"\n",
        ] {
            let error = text.parse::<Members>().unwrap_err().to_string();
            assert!(error.contains("Carp::from_toml") && error.contains("Builder::routing"), "{error}");
        }
        assert_eq!("[::1]:1, a # not [[b]]".parse::<Members>().unwrap().len(), 2);
    }

    #[test]
    fn nonsense_is_refused_in_words() {
        for (text, words) in [
            ("a,a", "two members are called a"),
            ("a*0", "leaving it out"),
            ("a*-1", "weight"),
            ("a*NaN", "weight"),
            ("a*x", "is no weight"),
            ("=b", "is no name"),
            ("a=b:c", "is no address"),
        ] {
            let error = text.parse::<Members>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
