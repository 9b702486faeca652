//! A memcached client that spreads keys over many nodes by CARP.

mod members;
mod route;
pub mod spec;

pub use members::{Address, Member, Members, MembersError, MembershipTable, TableMember};
pub use route::{Carp, Explanation, Movement, Ranked, Scheme, hash_tag, movement, sample_keys};
