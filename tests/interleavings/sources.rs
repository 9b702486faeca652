//! What threads may do with the table of sources at the same time: a photo is updated while a page, or a thumbnail of
//! the page, is made from it. Whatever was made from the old photo has to be outdated in the end.

use super::both;
use super::pool::Pool;
use super::sources::{Derivation, Named, Sources};
use super::sync::Mutex;
use std::sync::Arc;

const PHOTO: u64 = 1;
const PAGE: u64 = 2;
const THUMB: u64 = 3;
const OTHER: u64 = 4;

/// Sources that an item remembers one by one.
const REMEMBERED: usize = 2;

/// The table, and the shards of the photo and the page.
struct World {
    sources: Arc<Sources>,
    /// Whether the photo has been updated.
    photo: Mutex<bool>,
    /// What the page carries.
    page: Mutex<Vec<u8>>,
}

impl World {
    /// A world in which the page was made from the photo; more is done to it by `prepare`.
    fn new(prepare: impl FnOnce(&mut Derivation)) -> Arc<World> {
        let sources = Arc::new(Sources::new(Arc::new(Pool::new(1 << 20, 8192, 1)), false, REMEMBERED));
        let mut page = sources.derivation();
        page.name(PHOTO, None);
        prepare(&mut page);
        Arc::new(World { sources, photo: Mutex::new(false), page: Mutex::new(stored(page)) })
    }

    /// A command that updates the photo.
    fn update(&self) {
        let mut photo = self.photo.lock();
        *photo = true;
        self.sources.update(PHOTO);
    }

    fn is_current(&self, own: u64, item: &[u8]) -> bool {
        self.sources.is_current(own, Named::at(item))
    }

    /// A command that makes an item from the photo, and whether from the new one.
    fn derive_from_photo(&self) -> (Vec<u8>, bool) {
        let mut item = self.sources.derivation();
        let photo = self.photo.lock();
        item.name(PHOTO, None);
        let is_new = *photo;
        drop(photo);
        (stored(item), is_new)
    }

    /// A command that makes an item from the page, if that is current.
    fn derive_from_page(&self, mut item: Derivation) -> Option<Vec<u8>> {
        let page = self.page.lock();
        self.is_current(PAGE, &page).then(|| {
            item.name(PAGE, Some(Named::at(&page)));
            stored(item)
        })
    }
}

fn stored(derivation: Derivation) -> Vec<u8> {
    let item = derivation.encode();
    derivation.hand_over();
    item
}

pub fn an_item_made_from_what_is_updated_meanwhile_is_outdated() {
    let world = World::new(|_| {});
    let ((item, is_new), ()) = both(&world, World::derive_from_photo, World::update);
    assert!(is_new || !world.is_current(PAGE, &item));
    assert!(!world.is_current(PAGE, &world.page.lock()));
}

/// The first item that names the photo, so that the table does not know it before.
pub fn the_first_to_name_what_is_updated_meanwhile_is_outdated() {
    let world = World::new(|_| {});
    world.sources.release(Named::at(&world.page.lock()));
    let ((item, is_new), ()) = both(&world, World::derive_from_photo, World::update);
    assert_eq!(world.is_current(PAGE, &item), is_new);
}

pub fn an_item_made_from_an_item_is_outdated_with_it() {
    let world = World::new(|_| {});
    let make = |world: &World| world.derive_from_page(world.sources.derivation());
    let (thumb, ()) = both(&world, make, World::update);
    assert!(thumb.is_none_or(|thumb| !world.is_current(THUMB, &thumb)));
}

/// The item depends on everything from the moment on at which it takes over what the page was made from.
pub fn an_item_that_begins_to_depend_on_everything_is_outdated() {
    let world = World::new(|_| {});
    let mut item = world.sources.derivation();
    item.name(OTHER, None);
    let make = move |world: &World| world.derive_from_page(item);
    let (thumb, ()) = both(&world, make, World::update);
    assert!(thumb.is_none_or(|thumb| !world.is_current(THUMB, &thumb)));
}

pub fn an_item_made_from_one_that_depends_on_everything_is_outdated_with_it() {
    let world = World::new(|page| {
        page.name(OTHER, None);
        page.name(THUMB, None);
    });
    let make = |world: &World| world.derive_from_page(world.sources.derivation());
    let (thumb, ()) = both(&world, make, World::update);
    assert!(thumb.is_none_or(|thumb| !world.is_current(THUMB, &thumb)));
}

pub fn a_source_named_and_let_go_at_the_same_time_is_known_by_who_names_it() {
    let world = World::new(|_| {});
    let make = |world: &World| {
        let mut item = world.sources.derivation();
        item.name(PHOTO, None);
        stored(item)
    };
    let release = |world: &World| world.sources.release(Named::at(&world.page.lock()));
    let (item, ()) = both(&world, make, release);
    assert!(world.is_current(THUMB, &item));
    world.sources.check(|see| see(Named::at(&item)));
    world.sources.release(Named::at(&item));
    world.sources.check(|_| {});
    assert_eq!(world.sources.len(), 0);
}
