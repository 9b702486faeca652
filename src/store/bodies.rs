//! The bodies of one shard's long values, by the numbers that their records hold.

use super::pool::Pool;
use super::record::BodyPlace;
use super::value::Body;
use slab::Slab;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Bodies {
    pool: Arc<Pool>,
    bodies: Slab<Body>,
    /// Of all of them.
    bytes: usize,
    /// Bytes charged for the table.
    charged: usize,
}

impl Bodies {
    pub fn new(pool: Arc<Pool>) -> Bodies {
        Bodies { pool, bodies: Slab::new(), bytes: 0, charged: 0 }
    }

    /// Bytes of all bodies.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    pub fn insert(&mut self, body: Body) -> BodyPlace {
        let len = body.len();
        self.bytes += len;
        body.attach();
        if self.bodies.len() == self.bodies.capacity() {
            // An eighth more, not twice as many: the memory counts.
            self.bodies.reserve_exact(self.bodies.len() / 8 + 16);
            let bytes = self.bodies.capacity() * size_of::<(usize, Body)>();
            self.pool.charge(bytes - self.charged);
            self.charged = bytes;
        }
        BodyPlace { number: self.bodies.insert(body) as u32, len: len as u32 }
    }

    /// The body at this place, if it is one's.
    pub fn get(&self, place: BodyPlace) -> Option<&Body> {
        (place.len > 0).then(|| &self.bodies[place.number as usize])
    }

    pub fn remove(&mut self, place: BodyPlace) {
        if place.len > 0 {
            self.bytes -= place.len as usize;
            self.bodies.remove(place.number as usize).detach();
        }
    }

    /// Counts all, and panics where a count is wrong; answers the bytes charged for table and bodies.
    pub fn check(&self) -> usize {
        assert_eq!(self.bodies.iter().map(|(_, body)| body.len()).sum::<usize>(), self.bytes);
        self.charged + self.bodies.iter().map(|(_, body)| body.charged()).sum::<usize>()
    }

    pub fn len(&self) -> usize {
        self.bodies.len()
    }
}

impl Drop for Bodies {
    fn drop(&mut self) {
        self.pool.discharge(self.charged);
    }
}
