//! A store whose data block is on its way: what both dialects do with it.

use super::log::StoreStatus;
use super::output::Output;
use super::reply::put_error;
use super::session::Context;
use super::{classic, meta_store};
use crate::protocol::{Error, MetaKey, MetaStore, Mode, Request, Store, StoreVerb};
use crate::store::{Change, Key, NewValue, memcached_size};

/// A command with a data block.
pub(super) enum Storing<'b> {
    Classic(Store<'b>),
    Meta(MetaStore<'b>),
}

impl<'b> Storing<'b> {
    /// The command, if it has a data block.
    pub fn of(request: Request<'b>) -> Option<Storing<'b>> {
        match request {
            Request::Store(store) => Some(Storing::Classic(store)),
            Request::MetaStore(store) => Some(Storing::Meta(store)),
            _ => None,
        }
    }

    /// Length of the data block in bytes, without its CR LF.
    pub fn len(&self) -> usize {
        match self {
            Storing::Classic(store) => store.len,
            Storing::Meta(store) => store.len,
        }
    }

    /// Whether the item would be larger than items may be.
    pub fn is_too_large(&self, context: &Context<'_>) -> bool {
        let has_flags = match self {
            Storing::Classic(store) => store.client_flags != 0,
            Storing::Meta(store) => store.meta.flags.client_flags() != 0,
        };
        let mut scratch = [0; MetaKey::MAX_DECODED];
        let key_len = self.key(&mut scratch).len();
        memcached_size(key_len, self.len(), has_flags) > context.engine.store.item_limit()
    }

    /// Answers a store that is too large. What a set or ms meant to replace goes: its writer holds it for outdated.
    pub fn refuse_too_large(&self, output: &mut Output, context: &Context<'_>) {
        context.counts.general.store_too_large.increment();
        self.note(StoreStatus::TooLarge, context);
        self.refuse(Error::TooLarge, output);
        self.drop_old(context);
    }

    /// Answers a store whose value could not be received for want of memory.
    pub fn refuse_no_memory(&self, output: &mut Output, context: &Context<'_>) {
        context.counts.general.store_no_memory.increment();
        self.note(StoreStatus::NoMemory, context);
        self.refuse(Error::NoMemory, output);
        self.drop_old(context);
    }

    /// Answers a store whose data block does not end in CR LF.
    pub fn refuse_bad_chunk(&self, output: &mut Output, context: &Context<'_>) {
        match self {
            Storing::Classic(store) => classic::note_bad_chunk(store, context),
            Storing::Meta(store) => meta_store::note_bad_chunk(store, context),
        }
        self.refuse(Error::BadChunk, output);
    }

    /// Stores the value and answers.
    pub fn store(&self, value: NewValue<'_>, output: &mut Output, context: &Context<'_>) {
        match self {
            Storing::Classic(store) => {
                let mark = output.mark();
                classic::store(store, value, output, context);
                if store.noreply {
                    output.truncate(mark);
                }
            }
            Storing::Meta(store) => meta_store::store(store, value, output, context),
        }
    }

    fn note(&self, status: StoreStatus, context: &Context<'_>) {
        match self {
            Storing::Classic(store) => classic::note_stored(store, status, context),
            Storing::Meta(store) => meta_store::note_stored(store, status, context),
        }
    }

    fn refuse(&self, error: Error, output: &mut Output) {
        if !matches!(self, Storing::Classic(Store { noreply: true, .. })) {
            put_error(error, output);
        }
    }

    fn drop_old(&self, context: &Context<'_>) {
        let replaces = match self {
            Storing::Classic(store) => store.verb == StoreVerb::Set,
            Storing::Meta(_) => true,
        };
        let updates = match self {
            Storing::Classic(store) => store.verb == StoreVerb::Set,
            Storing::Meta(store) => store.mode == Mode::Set,
        };
        let mut scratch = [0; MetaKey::MAX_DECODED];
        if replaces && let Some(key) = Key::new(self.key(&mut scratch)) {
            context.engine.store.update(key, context.now, |lookup| match lookup {
                Err(_) if !updates => (Change::Keep, ()),
                // If there is nothing to drop, what was derived from it is still outdated.
                _ => (Change::Delete, ()),
            });
        }
    }

    fn key<'s>(&'s self, scratch: &'s mut [u8; MetaKey::MAX_DECODED]) -> &'s [u8] {
        match self {
            Storing::Classic(store) => store.key,
            Storing::Meta(store) => store.meta.key.bytes(scratch),
        }
    }
}
