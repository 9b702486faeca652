//! A memcached client that spreads keys over many nodes by CARP.

mod batch;
mod builder;
mod call;
mod client;
mod codec;
mod compute;
mod discovery;
mod error;
mod events;
mod fleet;
mod flight;
mod health;
mod join;
mod journal;
mod key;
mod members;
#[cfg(feature = "near-cache")]
mod near;
mod net;
mod node;
mod observe;
pub mod op;
mod protocol;
mod route;
pub mod spec;
#[cfg(feature = "tls")]
mod tls;
mod value;

pub use batch::{Batch, Failure, Found};
pub use builder::Builder;
pub use call::Call;
pub use client::Client;
pub use compute::{Compute, ComputeError, Computed, Fresh, Origin};
pub use discovery::{Discovery, Following};
pub use error::{Error, ErrorKind, SourceElsewhere};
pub use events::Event;
pub use health::HealthPolicy;
pub use key::{Key, MAX_KEY_BYTES, Ttl};
pub use members::{Address, DEFAULT_PORT, Member, Members, MembersError, MembershipTable, TableMember};
#[cfg(feature = "near-cache")]
pub use near::NearCachePolicy;
pub use net::ProtocolChoice;
pub use op::{Counted, Deleted, Operation, Outcome, Stored, Touched};
pub use route::{Carp, Explanation, Movement, Ranked, Scheme, hash_tag, movement, sample_keys};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use value::{Details, Item, Value};
