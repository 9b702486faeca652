//! Putting items into memory: new ones, longer ones, and ones that need another place because what is said of them
//! changed.

use super::index::Location;
use super::record::{BodyPlace, Draft};
use super::segment::{Place, Room};
use super::shard::{Found, Reason, Shard};
use super::value::Unfinished;
use super::{
    Amend, Body, CasChange, Derivation, Expiry, Key, NewItem, NewValue, Now, Origin, class_of, memcached_size,
};

/// Where a change is to be made.
#[derive(Clone, Copy)]
pub(super) struct Target<'t> {
    pub hash: u64,
    pub key: Key<'t>,
    /// The item there is, at the time of the decision.
    pub found: Option<Found>,
    pub now: Now,
    /// Evicts something from another shard; false if there is nothing.
    pub others: &'t dyn Fn() -> bool,
}

/// The memory could not be had.
#[derive(Debug)]
pub(super) struct Refused;

/// What is said of an item beside key and value.
#[derive(Clone, Copy)]
struct Facts {
    client_flags: u32,
    expiry: Expiry,
    binary_key: bool,
    stale: bool,
    lease_granted: bool,
    fetched: bool,
    last_used: u32,
    cas: CasChange,
    /// It takes the place of an item about as long, and its writer cannot be told to go without: if there is no other
    /// memory, it goes beyond the limit.
    in_place: bool,
}

/// How often a store tries again when others take the memory it has made free.
const PATIENCE: usize = 10_000;

impl Shard {
    pub fn put(&mut self, target: Target<'_>, new: NewItem<'_>) -> Result<u64, Refused> {
        let facts = Facts {
            client_flags: new.client_flags,
            expiry: new.expiry,
            binary_key: new.binary_key,
            stale: new.stale,
            lease_granted: new.lease_granted,
            fetched: false,
            last_used: target.now.eighths(),
            cas: if new.cas == CasChange::Keep { CasChange::Next } else { new.cas },
            // A number that is counted on.
            in_place: target.found.is_some() && matches!(new.value, NewValue::Short(_)),
        };
        let size = memcached_size(target.key.as_bytes().len(), new.value.len(), new.client_flags != 0);
        let derivation = match new.origin {
            Origin::Own => None,
            Origin::Kept => self.inherited(target.found),
            Origin::Derived(derivation) => Some(derivation),
        };
        let made = match new.value {
            NewValue::Bytes(bytes) => self.store(target, facts, derivation, None, [bytes, &[]]),
            NewValue::Short(short) => self.store(target, facts, derivation, None, [short.as_bytes(), &[]]),
            NewValue::Received(incoming) => {
                let (body, end) = incoming.finish();
                self.store(target, facts, derivation, body, [&end, &[]])
            }
        };
        if made.is_err() {
            self.stats.classes[class_of(size)].out_of_memory += 1;
            if new.drop_old_if_refused
                && let Some(old) = self.lookup(target.hash, target.key.as_bytes())
            {
                self.discard(old, Reason::Changed);
            }
        }
        made
    }

    pub fn join(
        &mut self,
        target: Target<'_>,
        found: Found,
        more: NewValue<'_>,
        cas: CasChange,
        origin: Origin,
        front: bool,
    ) -> Result<u64, Refused> {
        let derivation = match (origin, self.named(found.location)) {
            (Origin::Derived(mut derivation), Some(named)) => {
                derivation.take_over(target.hash, named);
                Some(derivation)
            }
            (Origin::Derived(derivation), None) => Some(derivation),
            (Origin::Own | Origin::Kept, _) => self.inherited(Some(found)),
        };
        let item = self.item(found.location);
        let facts = Facts {
            client_flags: item.client_flags(),
            expiry: item.expiry(),
            binary_key: item.binary_key(),
            stale: false,
            lease_granted: false,
            fetched: false,
            last_used: target.now.eighths(),
            cas: if cas == CasChange::Keep { CasChange::Next } else { cas },
            in_place: false,
        };
        let len = item.value().len() + more.len();
        let class = class_of(memcached_size(target.key.as_bytes().len(), len, facts.client_flags != 0));
        let made = self.with_scratch(|shard, scratch| {
            let old_body = shard.copy_value(found, scratch);
            let (short, received);
            let (added_body, added) = match more {
                NewValue::Bytes(bytes) => (None, bytes),
                NewValue::Short(value) => {
                    short = value;
                    (None, short.as_bytes())
                }
                NewValue::Received(incoming) => {
                    let body;
                    (body, received) = incoming.finish();
                    (body, &received[..])
                }
            };
            let mut parts = [(old_body, &scratch[..]), (added_body, added)];
            if front {
                parts.reverse();
            }
            if len <= shard.inline_limit {
                return shard.store(target, facts, derivation, None, parts.map(|(_, end)| end));
            }
            let slices =
                parts.iter().flat_map(|(body, end)| body.iter().flat_map(Body::slices).chain([*end]));
            let (body, end) = shard.assemble(len, slices, target)?;
            // Making room may have moved the item, or evicted it.
            let found = shard.lookup(target.hash, target.key.as_bytes());
            shard.store(Target { found, ..target }, facts, derivation, body, [&end, &[]])
        });
        if made.is_err() {
            self.stats.classes[class].out_of_memory += 1;
        }
        made
    }

    pub fn amend(&mut self, target: Target<'_>, found: Found, amend: Amend) -> Result<u64, Refused> {
        match self.amend_in_place(found.location, amend) {
            true => Ok(0),
            false => self.rewrite(target, found, amend),
        }
    }

    /// Makes a change that needs no room in the record; false, and nothing is changed, if this is not one.
    fn amend_in_place(&mut self, location: Location, amend: Amend) -> bool {
        let (id, offset) = self.log.split(location);
        let look = self.look.as_mut().filter(|look| look.segment == id);
        let segment = self.log.at_mut(location);
        let record = segment.record_mut(offset);
        let mut header = super::record::Header::read(record);
        if amend.cas != CasChange::Keep || amend.stale.is_some_and(|stale| stale != header.stale()) {
            return false;
        }
        if let Some(expiry) = amend.expiry {
            if !header.set_expiry(record, expiry) {
                return false;
            }
            segment.deadlines.add(expiry, header.weight());
            if let Some(look) = look {
                look.left.add(expiry, header.weight());
            }
        }
        if let Some(granted) = amend.lease_granted {
            header.set_lease_granted(segment.record_mut(offset), granted);
        }
        true
    }

    fn rewrite(&mut self, target: Target<'_>, found: Found, amend: Amend) -> Result<u64, Refused> {
        let derivation = self.inherited(Some(found));
        let item = self.item(found.location);
        let (cas, cas_shown) = item.cas_known();
        let facts = Facts {
            client_flags: item.client_flags(),
            expiry: amend.expiry.unwrap_or(item.expiry()),
            binary_key: item.binary_key(),
            stale: amend.stale.unwrap_or(item.stale()),
            lease_granted: amend.lease_granted.unwrap_or(item.lease_granted()),
            fetched: item.fetched(),
            last_used: item.last_used(),
            cas: match amend.cas {
                CasChange::Keep if cas_shown => CasChange::Set(cas),
                CasChange::Keep => CasChange::Next,
                change => change,
            },
            in_place: true,
        };
        let keep = amend.cas == CasChange::Keep;
        self.with_scratch(|shard, scratch| {
            let body = shard.copy_value(found, scratch);
            let stored = shard.stats.total_items;
            let made = shard.store(target, facts, derivation, body, [scratch, &[]]);
            shard.stats.total_items = stored;
            made.map(|cas| if keep { 0 } else { cas })
        })
    }

    /// An item's value: its body by reference, if it has one, and the rest copied to `scratch`.
    fn copy_value(&mut self, found: Found, scratch: &mut Vec<u8>) -> Option<Body> {
        let item = self.item(found.location);
        let (body, copied) = item.value().parts();
        copied.into_iter().for_each(|bytes| scratch.extend_from_slice(bytes));
        body.cloned()
    }

    /// Stores a value given as its body, if it has one, and two slices. What is too long gets a body.
    fn store(
        &mut self,
        mut target: Target<'_>,
        facts: Facts,
        derivation: Option<Derivation>,
        body: Option<Body>,
        value: [&[u8]; 2],
    ) -> Result<u64, Refused> {
        if derivation.is_some() && self.no_evictions && self.pool.is_over() && !facts.in_place {
            return Err(Refused);
        }
        let len = value[0].len() + value[1].len();
        if len > self.inline_limit {
            debug_assert!(body.is_none(), "the end of a value is short");
            let (body, end) = self.assemble(len, value.into_iter(), target)?;
            target.found = self.lookup(target.hash, target.key.as_bytes());
            return self.store(target, facts, derivation, body, [&end, &[]]);
        }
        let key = target.key.as_bytes();
        let (previous, old_queue) = match target.found {
            Some(found) => (self.item(found.location).cas_known(), Some(self.queue_of(found.location))),
            None => ((0, false), None),
        };
        let queue = self.policy.admit(target.hash, old_queue);
        let sources = derivation.as_ref().map(Derivation::encode).unwrap_or_default();
        let mut draft = Draft {
            key,
            body: BodyPlace { number: 0, len: body.as_ref().map_or(0, Body::len) as u32 },
            value,
            rest_len: 0,
            client_flags: facts.client_flags,
            expiry: facts.expiry,
            binary_key: facts.binary_key,
            stale: facts.stale,
            lease_granted: facts.lease_granted,
            fetched: facts.fetched,
            uses: 0,
            last_used: facts.last_used,
            cas_shown: matches!(facts.cas, CasChange::NextShown | CasChange::Set(_)),
            cas: if let CasChange::Set(cas) = facts.cas { Some(cas) } else { None },
            sources: &sources,
            version: None,
        };
        let place = Place::new(queue, facts.expiry, target.now);
        if let Some(found) = target.found
            && let Some(cas) = self.replace(found, place, &mut draft, previous)
        {
            return Ok(shown(facts.cas, cas));
        }
        let len = draft.len();
        let room = match self.log.room(place, len) {
            Some(room) => room,
            None => {
                let no_longer = |found: Found| {
                    let old = self.log.header(found.location);
                    len <= old.len() + old.rest_len()
                };
                let in_place = facts.in_place || target.found.is_some_and(no_longer);
                let room = self.open_segment(place, target, in_place)?;
                // Making room may have moved the item that is replaced, or evicted it.
                target.found = self.lookup(target.hash, key);
                room
            }
        };
        if let Some(body) = body {
            draft.body = self.bodies.insert(body);
        }
        let (location, cas) = self.log.append(room, draft, previous.0);
        self.put_in_index(target, location).inspect_err(|_| {
            let header = self.log.header(location);
            self.kill(location, &header);
            self.bodies.remove(draft.body);
        })?;
        if let Some(derivation) = derivation {
            derivation.hand_over();
        }
        self.count_in(key.len(), draft.value_len(), draft.client_flags);
        self.stats.stored_bytes += len as u64;
        self.work_ahead(len, target);
        Ok(shown(facts.cas, cas))
    }

    /// Writes an item over the one it replaces, if they are as long, and answers its CAS value; `previous` is the one
    /// before, and whether a client may know it. The first time an item is replaced by one as long, its draft is only
    /// given what it takes the next time.
    fn replace(
        &mut self,
        found: Found,
        place: Place,
        draft: &mut Draft<'_>,
        previous: (u64, bool),
    ) -> Option<u64> {
        if draft.body.len > 0 || draft.cas.is_some() || !draft.sources.is_empty() {
            return None;
        }
        let old = self.log.header(found.location);
        let counts_alike =
            old.value_len() == draft.value_len() && (old.client_flags() == 0) == (draft.client_flags == 0);
        if !counts_alike || old.body().len > 0 || old.rest_len() > 0 || old.names_sources() {
            return None;
        }
        draft.version = Some(0);
        draft.uses = old.uses();
        let Some(cas) = self.log.replace(found.location, &old, place, *draft, previous.0) else {
            draft.uses = 0;
            return None;
        };
        if let (cas, true) = previous {
            self.log.forget_cas(cas);
        }
        let (id, _) = self.log.split(found.location);
        if let Some(look) = self.look.as_mut().filter(|look| look.segment == id) {
            look.left.add(draft.expiry, old.len());
        }
        self.stats.total_items += 1;
        self.stats.stored_bytes += old.len() as u64;
        Some(cas)
    }

    /// Makes an item the one of its key, and takes the one it replaces out of memory.
    fn put_in_index(&mut self, target: Target<'_>, location: Location) -> Result<(), Refused> {
        match target.found {
            Some(old) => {
                self.index.replace(old.slot, location);
                self.unlink(old.location, Reason::Changed);
                Ok(())
            }
            None if self.index.insert(target.hash, location) => Ok(()),
            None => Err(Refused),
        }
    }

    /// Opens a segment, with memory of the pool, or of what is evicted here or elsewhere, or else `beyond` the limit.
    /// What stores in place leave behind is compacted once it is a sixteenth, so that this does not add up.
    fn open_segment(&mut self, place: Place, target: Target<'_>, beyond: bool) -> Result<Room, Refused> {
        for _ in 0..PATIENCE {
            if let Some(block) = self.spare.take().or_else(|| self.pool.try_block()) {
                return Ok(self.log.open(place, block, target.now));
            }
            if self.make_room(target).is_err() {
                break;
            }
        }
        let block = if beyond { self.pool.block() } else { None };
        Ok(self.log.open(place, block.ok_or(Refused)?, target.now))
    }

    /// Evicts something: here, or in another shard if that is fairer or there is nothing here.
    fn make_room(&mut self, target: Target<'_>) -> Result<(), Refused> {
        self.report();
        let made = match self.pool.is_poor(self.number) {
            true => (target.others)() || self.evict_one(target.now),
            false => self.evict_one(target.now) || (target.others)(),
        };
        if made { Ok(()) } else { Err(Refused) }
    }

    /// A long value of these slices, with memory of the pool, or of what is evicted here or elsewhere.
    fn assemble<'s>(
        &mut self,
        len: usize,
        slices: impl Iterator<Item = &'s [u8]>,
        target: Target<'_>,
    ) -> Result<(Option<Body>, Vec<u8>), Refused> {
        let mut value = Unfinished::new(len, self.inline_limit, self.pool.clone());
        let mut patience = PATIENCE;
        for slice in slices {
            let make_room = || {
                patience -= 1;
                patience > 0 && self.make_room(target).is_ok()
            };
            if !value.put(slice, make_room) {
                return Err(Refused);
            }
        }
        Ok(value.finish())
    }

    /// What an item derived from this one's sources, as of its time, is to name.
    fn inherited(&self, found: Option<Found>) -> Option<Derivation> {
        let named = self.named(found?.location)?;
        Some(self.sources.inherit(named))
    }

    fn queue_of(&self, location: Location) -> u8 {
        self.log.segment_of(location).queue()
    }

    /// Runs `work` with an empty buffer whose memory is used again.
    fn with_scratch<R>(&mut self, work: impl FnOnce(&mut Shard, &mut Vec<u8>) -> R) -> R {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.clear();
        let result = work(self, &mut scratch);
        self.scratch = scratch;
        result
    }
}

/// What [`super::Updated`] says of a CAS value.
fn shown(change: CasChange, cas: u64) -> u64 {
    match change {
        CasChange::NextShown | CasChange::Set(_) => cas,
        CasChange::Keep | CasChange::Next => 0,
    }
}
