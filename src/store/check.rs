//! Recounting everything from scratch, for tests.

use super::index::Location;
use super::record;
use super::segment::{FIRST, Segment};
use super::shard::Shard;
use super::sources::Named;
use super::{CLASS_COUNT, class_of, memcached_size};

impl Shard {
    /// Recounts items, bytes and index, panics where a count is wrong, and answers the bytes charged to the pool.
    pub fn check(&self) -> usize {
        self.index.check();
        let mut items = [0u64; CLASS_COUNT];
        let mut bytes = [0u64; CLASS_COUNT];
        let mut count = |key: usize, value: usize, client_flags: u32| {
            let size = memcached_size(key, value, client_flags != 0);
            items[class_of(size)] += 1;
            bytes[class_of(size)] += size as u64;
        };
        let (mut live_items, mut live_bytes, mut segments, mut bodies, mut indexed) = (0, 0, 0, 0, 0);
        for id in self.log.ids() {
            let Some(segment) = self.log.segment(id) else { continue };
            segments += 1;
            let (mut segment_items, mut segment_bytes, mut weight) = (0, 0, segment.end());
            for (offset, found) in self.log.records(id, FIRST) {
                let record::Found::Live(header) = found else { continue };
                if let Some(body) = self.bodies.get(header.body()) {
                    bodies += 1;
                    assert_eq!(body.len(), header.body().len as usize);
                }
                weight += header.body().len as usize;
                if header.rest_len() > 0 {
                    let rest_of = self.log.rest_in(segment).and_then(Segment::rest_of);
                    assert_eq!(rest_of, Some(self.log.location(id, offset)), "a cut record has its rest");
                }
                segment_items += 1;
                segment_bytes += header.len();
                let key = header.key(segment.record(offset));
                count(key.len(), header.value_len(), header.client_flags());
                indexed += usize::from(self.check_indexed(key, self.log.location(id, offset), segment));
            }
            live_items += segment_items;
            if let Some(location) = segment.rest_of() {
                let of = self.log.rest_in(self.log.segment_of(location));
                assert!(of.is_some_and(|of| std::ptr::eq(of, segment)), "a rest is of a record cut there");
                segment_items += 1;
                segment_bytes += record::REST_HEADER + self.log.header(location).rest_len();
            }
            assert_eq!((segment.live_items, segment.live_bytes), (segment_items, segment_bytes));
            assert_eq!(segment.weight(), weight);
            live_bytes += segment_bytes;
        }
        assert_eq!((self.log.live_items, self.log.live_bytes), (live_items, live_bytes));
        assert_eq!(self.log.segment_count(), segments);
        assert_eq!(self.bodies.len(), bodies, "each body is one item's");
        assert_eq!(self.index.len(), indexed);
        for class in 0..CLASS_COUNT {
            let counted = &self.stats.classes[class];
            assert_eq!((counted.items, counted.bytes), (items[class], bytes[class]), "class {class}");
        }
        let blocks = segments + usize::from(self.spare.is_some());
        blocks * self.pool.block_len() + self.index.bytes() + self.bodies.check() + self.policy.bytes()
    }

    /// Shows what every item names.
    pub fn each_named(&self, show: &mut dyn FnMut(Named<'_>)) {
        let logged = self.log.ids().flat_map(|id| self.log.records(id, FIRST).map(move |found| (id, found)));
        let named = logged.filter_map(|(id, (offset, found))| match found {
            record::Found::Live(_) => self.named(self.log.location(id, offset)),
            record::Found::Dead { .. } => None,
        });
        named.for_each(show);
    }

    /// Whether the index has the item of this key and location: it must unless that is one of a doomed segment.
    fn check_indexed(&self, key: &[u8], location: Location, segment: &Segment) -> bool {
        let found = self.lookup(self.hasher.hash_one(key), key);
        let is_indexed = found.is_some_and(|found| found.location == location);
        assert!(is_indexed || segment.is_doomed(), "the index shows the latest item of a key");
        is_indexed
    }
}
