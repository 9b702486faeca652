//! What an item is derived from (expire-on-update): what its command names, and what the rules say of its key.

use super::session::Context;
use crate::protocol::{MetaKey, Source};
use crate::store::{Derivation, Key, Origin};

/// A source is not in the cache with the CAS value that the client computed from.
pub(super) struct SourceChanged;

/// Where an item of this key comes from, if it is stored now.
pub(super) fn origin<'e>(
    key: Key<'_>,
    named: impl Iterator<Item = Source<'e>>,
    context: &Context<'e>,
) -> Result<Origin, SourceChanged> {
    let store = &context.engine.store;
    let mut derivation: Option<Derivation> = None;
    for source in named {
        let mut scratch = [0; MetaKey::MAX_DECODED];
        let Some(source_key) = Key::new(source.key.bytes(&mut scratch)) else { continue };
        let derivation = derivation.get_or_insert_with(|| store.derivation());
        if !store.name_source(derivation, source_key, source.cas, context.now) {
            context.counts.general.outdated_stores.increment();
            return Err(SourceChanged);
        }
    }
    if let Some(rules) = context.engine.rules() {
        rules.for_each_source(key.as_bytes(), |source| {
            if let Some(source) = Key::new(source) {
                let derivation = derivation.get_or_insert_with(|| store.derivation());
                store.name_source(derivation, source, None, context.now);
            }
        });
    }
    Ok(derivation.map_or(Origin::Own, Origin::Derived))
}

/// The same for a command that names no sources.
pub(super) fn origin_by_rules<'e>(key: Key<'_>, context: &Context<'e>) -> Origin {
    origin(key, std::iter::empty(), context).unwrap_or(Origin::Own)
}
