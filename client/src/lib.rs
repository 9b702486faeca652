//! A memcached client that spreads keys over many nodes by CARP: every client computes a key's node from the
//! key and the member list alone. No directory is asked, no proxy is passed, and a change of the list moves only the
//! keys it has to.
//!
//! It speaks to memcached and to memcarp; what only memcarp can do says so.
//!
#![doc = concat!("```no_run\n", include_str!("../examples/quickstart.rs"), "```")]
//!
//! # What to expect
//!
//! - **Requests** are made by methods of [`Client`], take options in between, and are sent when awaited:
//!   `client.set("k", "v").ttl(minute).await?`. What may happen is an outcome ([`Stored`], [`Deleted`], `None` for a
//!   miss); an [`Error`] is a request that got no outcome, says at which [`member`](Error::member), and whether
//!   [trying again can help](Error::is_retryable).
//! - **Cancellation** is safe everywhere. Dropping a future or letting it time out never shows its answer to anybody else.
//! - **A client** is cheap to clone, `Send` and `Sync`; keys and values are [`Bytes`](bytes::Bytes), or whatever converts
//!   into them. Connections are closed when the last clone is dropped, after what is under way.
//! - **Many at once**: [`Client::get_many`] and [`Client::batch`] scatter over the owners and gather in order, each
//!   operation with its own result.
//! - **Stampedes**: [`Client::get_or_compute`] has one caller compute, over all processes, by leases on the server.
//! - **Derived values** ([`op::Store::derived_from`]) end the moment their source changes, on a memcarp server.
//! - **Members** come from code, from lists and tables ([`Members::from_text`]), from TOML, or from DNS, followed while
//!   the client runs ([`Client::follow`]).
//!
//! # When a member fails
//!
//! After three timeouts in a row, or one refused connection, a member is *down* ([`HealthPolicy`]). Reads of its keys
//! are misses, at once; writes are errors that name it. One task per process probes it with a real write and
//! read, at growing, jittered intervals. What it has missed meanwhile (a delete, a set, an increment that did not
//! reach it, or whose outcome nobody knows) is remembered and deleted there before the key is read again, so
//! **no value returns that was replaced while its member was away**, as far as this process has replaced it. If more was
//! missed than is remembered, the member is emptied. If most members look down, the fault is taken to be on
//! this side, and requests are sent all the same.
//!
//! A server that stands still (is stopped, or swapped out) with a change in its receive buffer carries it out when it goes
//! on, maybe after a newer change of the same key on another connection. So a connection that is given up is kept, out
//! of use, until the server has come to its end. Up to then reads of keys that were under way there are misses
//! ([`ErrorKind::Unsettled`] where that must be known); afterwards they are deleted once more. This is the work of the
//! runtime that made the connection: one that ends earlier takes with it what it knew of changes without an answer.
//!
//! A member that is down keeps its keys: who owns a key is decided by the list alone, never by health, or else clients
//! that see different failures would write to different places. [`Builder::fallback`] lets the next member in a key's
//! ranking stand in, with a short time to live.
//!
//! # Where a key goes
//!
//! [`Carp`] is the routing by itself, a published function: [`spec`] defines it to the bit, with vectors, for
//! clients in other languages. Keys with the same `{tag}` in them share a member.
//!
//! # Features
//!
//! None is on by default; then the crate needs tokio (without macros), bytes and one hash function.
//!
//! | feature | adds |
//! |---|---|
//! | `tls` | TLS 1.2 and 1.3 by rustls with ring, client certificates |
//! | `toml` | member lists from TOML files |
//! | `srv` | member lists from DNS SRV records (A and AAAA need no feature) |
//! | `near-cache` | short-lived copies of hot items in the process |
//! | `serde` | `Value::json`, `Item::json` |
//! | `compression` | LZ4 for long values |
//! | `metrics` | counters and gauges through the `metrics` crate, see below |
//! | `tracing` | a line for each member going down (`WARN`), coming back (`INFO`) or emptied (`WARN`), for each new member list (`INFO`), and for each failed request (`DEBUG`) |
//!
//! With `metrics`, whatever recorder is installed sees:
//!
//! | name | labels | |
//! |---|---|---|
//! | `memcarp_client_requests_total` | `outcome`: `hit`, `miss`, `done` (anything but a read), `near_hit`, `computed`, `shared` (computed for another caller), `fallback` (sent to a stand-in) | counter |
//! | `memcarp_client_errors_total` | `member` (empty if it got as far as none), `kind`: an [`ErrorKind`] as `connection_lost` | counter; counts too where the caller is told of a miss |
//! | `memcarp_client_member_up` | `member` | gauge: 0 once it goes down, 1 when it is back |
//! | `memcarp_client_members_epoch` | | gauge: [`Client::epoch`], once the list changes |

#![cfg_attr(docsrs, feature(doc_cfg))]

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
mod many;
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

pub use batch::Batch;
pub use builder::Builder;
pub use call::Call;
pub use client::Client;
pub use compute::{Compute, ComputeError, Computed, Fresh, Origin};
pub use discovery::{Discovery, Following};
pub use error::{Error, ErrorKind, SourceElsewhere};
pub use events::Event;
pub use health::HealthPolicy;
pub use key::{Key, MAX_KEY_BYTES, Ttl};
pub use many::{Failure, Found, GetMany};
pub use members::{Address, DEFAULT_PORT, Member, Members, MembersError, MembershipTable, TableMember};
#[cfg(feature = "near-cache")]
pub use near::NearCachePolicy;
pub use net::ProtocolChoice;
pub use op::{Counted, Deleted, Operation, Outcome, Stored, Touched};
pub use route::{Carp, Explanation, Movement, Ranked, Scheme, Share, hash_tag, movement, sample_keys};
#[cfg(feature = "tls")]
pub use tls::Tls;
pub use value::{Details, Item, Value};
