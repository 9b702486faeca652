//! From a key to its ranked members, by the member list alone. Knows no sockets and no health.
//!
//! The two functions are specified in [`crate::spec`], with vectors, so that a client in another
//! language can reproduce them.

mod carp_v1;
mod carp_v2;
mod explain;
mod load;
mod plan;
mod tag;

pub use explain::Explanation;
pub use plan::{Movement, Share, movement, sample_keys};
pub use tag::hash_tag;

use crate::members::{Member, Members, MembersError};
use std::fmt;
use std::str::FromStr;

/// A published, versioned routing function.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// The function of the Internet Draft of 1998, bit for bit. Uneven by design (see
    /// [`crate::spec`]); there for arrays that already use it.
    CarpV1,
    /// The default: CARP's structure with a 64-bit score and weights by `-w / ln u`. Even, exact in
    /// its weights, and a change of the list moves only the keys that have to move.
    #[default]
    CarpV2,
}

impl Scheme {
    /// The name used in files and on command lines: `carp-v1` or `carp-v2`.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::CarpV1 => "carp-v1",
            Scheme::CarpV2 => "carp-v2",
        }
    }

    /// Whether keys are routed by the inside of their first `{...}` unless told otherwise.
    /// The draft has no such rule, so `carp-v1` hashes the whole key.
    pub(crate) fn tags_by_default(self) -> bool {
        self == Scheme::CarpV2
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Scheme {
    type Err = MembersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "carp-v1" => Ok(Scheme::CarpV1),
            "carp-v2" => Ok(Scheme::CarpV2),
            _ => Err(MembersError::new(format!(
                "no routing scheme is called {text:?}; write carp-v2 or carp-v1"
            ))),
        }
    }
}

/// The routing function of one member list: key in, ranked members out.
///
/// It is a value: two `Carp`s made from the same members (in any order) answer alike, in any process
/// and on any machine.
///
/// ```
/// use memcarp_client::{Carp, Members};
/// let carp = Carp::new("cache-a, cache-b, cache-c".parse::<Members>()?)?;
/// assert_eq!(carp.owner(b"user:1").name(), carp.owner(b"user:1").name());
/// // Keys that share a tag share a member.
/// assert_eq!(carp.owner(b"photo:{42}").name(), carp.owner(b"thumb:{42}:small").name());
/// # Ok::<(), memcarp_client::MembersError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Carp {
    members: Members,
    scheme: Scheme,
    hash_tags: bool,
    table: Table,
}

#[derive(Clone, Debug)]
enum Table {
    V1(carp_v1::Table),
    V2(carp_v2::Table),
}

/// A member with the score a key gave it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ranked<'a> {
    /// The member.
    pub member: &'a Member,
    /// Its place in [`Carp::members`].
    pub index: usize,
    /// Higher wins. Comparable only within one key and scheme.
    pub score: f64,
}

impl Carp {
    /// Routes over `members` by the default scheme, hash tags on.
    pub fn new(members: Members) -> Result<Carp, MembersError> {
        Carp::with_scheme(members, Scheme::default())
    }

    /// Routes over `members` by `scheme`. Fails for what the scheme cannot express: no members at
    /// all, or under `carp-v1` a weight that is not a whole number.
    pub fn with_scheme(members: Members, scheme: Scheme) -> Result<Carp, MembersError> {
        if members.is_empty() {
            return Err(MembersError::new("a list without members routes nothing"));
        }
        let table = match scheme {
            Scheme::CarpV1 => Table::V1(carp_v1::Table::new(&members)?),
            Scheme::CarpV2 => Table::V2(carp_v2::Table::new(&members)),
        };
        Ok(Carp { members, scheme, hash_tags: scheme.tags_by_default(), table })
    }

    /// Turns routing by the inside of `{...}` on or off. Every client of an array must agree.
    pub fn hash_tags(mut self, on: bool) -> Carp {
        self.hash_tags = on;
        self
    }

    /// The member that owns `key`.
    pub fn owner(&self, key: &[u8]) -> &Member {
        &self.members[self.owner_index(key)]
    }

    /// The owner's place in [`Carp::members`].
    pub fn owner_index(&self, key: &[u8]) -> usize {
        if self.members.len() == 1 {
            return 0;
        }
        let routed = self.routed_part(key);
        match &self.table {
            Table::V1(table) => table.owner(routed),
            Table::V2(table) => table.owner(routed),
        }
    }

    /// All members, the owner first, then the ones that would own the key if those before them left.
    pub fn rank(&self, key: &[u8]) -> Vec<Ranked<'_>> {
        let routed = self.routed_part(key);
        let order = match &self.table {
            Table::V1(table) => table.rank(routed),
            Table::V2(table) => table.rank(routed),
        };
        order
            .into_iter()
            .map(|(index, score)| Ranked { member: &self.members[index], index, score })
            .collect()
    }

    /// The members routed over, in the order they were given.
    pub fn members(&self) -> &Members {
        &self.members
    }

    /// The scheme in use.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether keys are routed by the inside of their `{...}`.
    pub fn has_hash_tags(&self) -> bool {
        self.hash_tags
    }

    /// The same scheme over another list.
    pub fn with_members(&self, members: Members) -> Result<Carp, MembersError> {
        Ok(Carp::with_scheme(members, self.scheme)?.hash_tags(self.hash_tags))
    }

    fn routed_part<'k>(&self, key: &'k [u8]) -> &'k [u8] {
        if self.hash_tags { hash_tag(key) } else { key }
    }
}
