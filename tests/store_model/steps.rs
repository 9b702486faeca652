//! The random operations of the model test, and the values they store.

use memcarp::store::CasChange;
use proptest::prelude::*;

/// Keys are numbers below this.
pub const KEYS: u8 = 40;

#[derive(Clone, Debug)]
pub enum Step {
    Read {
        key: u8,
        used: bool,
        look_at_cas: bool,
        lease: bool,
    },
    Put {
        key: u8,
        value: Payload,
        client_flags: u32,
        ttl: Option<u32>,
        bits: u8,
        cas: CasChange,
    },
    Join {
        key: u8,
        value: Payload,
        front: bool,
        cas: CasChange,
    },
    Amend {
        key: u8,
        ttl: Option<Option<u32>>,
        stale: Option<bool>,
        lease: Option<bool>,
        cas: CasChange,
    },
    /// Values of one length, one after the other: the later ones are written over the earlier.
    Overwrite {
        key: u8,
        times: u8,
    },
    Delete {
        key: u8,
    },
    Wait {
        millis: u64,
    },
    Flush {
        delay: u32,
    },
    Maintain,
    Scan {
        at_once: usize,
    },
    HoldBack {
        key: u8,
    },
    Abandon {
        len: usize,
        received: usize,
    },
}

/// A value and the way it is handed over.
#[derive(Clone, Debug)]
pub enum Payload {
    Bytes(Vec<u8>),
    Short(Vec<u8>),
    Received(Vec<u8>),
}

impl Payload {
    pub fn bytes(&self) -> &[u8] {
        match self {
            Payload::Bytes(bytes) | Payload::Short(bytes) | Payload::Received(bytes) => bytes,
        }
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    let filled = |lens: std::ops::Range<usize>| {
        (any::<u8>(), lens)
            .prop_map(|(seed, len)| (0..len).map(|at| seed.wrapping_add((at / 7) as u8)).collect())
    };
    prop_oneof![
        4 => filled(0..200).prop_map(Payload::Bytes),
        4 => filled(40..41).prop_map(Payload::Bytes),
        2 => filled(0..2000).prop_map(Payload::Bytes),
        1 => filled(0..24).prop_map(Payload::Short),
        1 => filled(0..3000).prop_map(Payload::Received),
        2 => filled(2000..70_000).prop_map(Payload::Received),
    ]
}

fn cas_change() -> impl Strategy<Value = CasChange> {
    prop_oneof![
        4 => Just(CasChange::Next),
        2 => Just(CasChange::NextShown),
        1 => (1u64..1 << 40).prop_map(CasChange::Set),
        1 => Just(CasChange::Set(u64::MAX)),
    ]
}

fn ttl() -> impl Strategy<Value = Option<u32>> {
    prop_oneof![3 => Just(None), 3 => (0u32..5).prop_map(Some), 1 => (5u32..100_000).prop_map(Some)]
}

pub fn step() -> impl Strategy<Value = Step> {
    let key = || 0..KEYS;
    prop_oneof![
        6 => (key(), any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(key, used, look_at_cas, lease)| Step::Read { key, used, look_at_cas, lease }),
        8 => (key(), payload(), prop_oneof![Just(0), any::<u32>()], ttl(), any::<u8>(), cas_change()).prop_map(
            |(key, value, client_flags, ttl, bits, cas)| Step::Put { key, value, client_flags, ttl, bits, cas }
        ),
        3 => (key(), payload(), any::<bool>(), cas_change())
            .prop_map(|(key, value, front, cas)| Step::Join { key, value, front, cas }),
        3 => (key(), proptest::option::of(ttl()), any::<Option<bool>>(), any::<Option<bool>>(), cas_change())
            .prop_map(|(key, ttl, stale, lease, cas)| Step::Amend { key, ttl, stale, lease, cas }),
        2 => key().prop_map(|key| Step::Amend {
            key, ttl: Some(Some(7)), stale: None, lease: None, cas: CasChange::Keep
        }),
        2 => (key(), 2u8..5).prop_map(|(key, times)| Step::Overwrite { key, times }),
        2 => key().prop_map(|key| Step::Delete { key }),
        2 => (0u64..3000).prop_map(|millis| Step::Wait { millis }),
        1 => (0u32..3).prop_map(|delay| Step::Flush { delay }),
        2 => Just(Step::Maintain),
        1 => (1usize..20).prop_map(|at_once| Step::Scan { at_once }),
        1 => key().prop_map(|key| Step::HoldBack { key }),
        1 => (1usize..200_000, 0usize..200_000).prop_map(|(len, received)| Step::Abandon { len, received }),
    ]
}
