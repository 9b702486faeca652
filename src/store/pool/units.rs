//! Pieces of memory shorter than a block, all of one length: the memory of a block is had as a group of them, and
//! goes back when all of them are free. So nothing fragments but whole groups, and those in use are filled up first.

use super::cut::unit_len;
use super::{Block, Piece};
use std::collections::BTreeSet;

/// The groups of units.
#[derive(Debug)]
pub(super) struct Units {
    unit_len: usize,
    /// How many units a group has.
    of_group: usize,
    /// By number, the free units of a group. Invariant: the group of a number in `unused` has none.
    groups: Vec<Vec<Block>>,
    unused: Vec<u32>,
    /// Of all groups with free units how many, and the number: the fullest group first.
    by_free: BTreeSet<(usize, u32)>,
}

impl Units {
    pub fn new(block_len: usize) -> Units {
        let unit_len = unit_len(block_len);
        Units {
            unit_len,
            of_group: block_len / unit_len,
            groups: Vec::new(),
            unused: Vec::new(),
            by_free: BTreeSet::new(),
        }
    }

    /// A free unit, if there is one.
    pub fn take(&mut self) -> Option<Piece> {
        let (free, group) = self.by_free.pop_first()?;
        let memory = self.groups[group as usize].pop()?;
        if free > 1 {
            self.by_free.insert((free - 1, group));
        }
        Some(Piece { memory, group: Some(group) })
    }

    /// A unit of a new group; `None` if the system has no memory.
    pub fn add_group(&mut self) -> Option<Piece> {
        let units: Option<Vec<Block>> = (0..self.of_group).map(|_| Block::map(self.unit_len)).collect();
        let units = units?;
        let group = match self.unused.pop() {
            Some(group) => group,
            None => {
                self.groups.push(Vec::new());
                self.groups.len() as u32 - 1
            }
        };
        self.by_free.insert((units.len(), group));
        self.groups[group as usize] = units;
        self.take()
    }

    /// Takes a unit back, and answers all of its group if that makes a group to be given back: one that nobody uses
    /// is kept, unless memory is short.
    pub fn give_back(&mut self, unit: Block, group: u32, is_short: bool) -> Option<Vec<Block>> {
        let units = &mut self.groups[group as usize];
        self.by_free.remove(&(units.len(), group));
        units.push(unit);
        let is_free = |&(free, _): &(usize, u32)| free == self.of_group;
        if units.len() == self.of_group && (is_short || self.by_free.last().is_some_and(is_free)) {
            self.unused.push(group);
            return Some(std::mem::take(units));
        }
        self.by_free.insert((units.len(), group));
        None
    }

    /// Counts the groups, and panics where what is free is not as counted.
    pub fn check(&self) -> usize {
        let mut free = 0;
        for &(count, group) in &self.by_free {
            assert_eq!(self.groups[group as usize].len(), count);
            assert!(count > 0);
            free += count;
        }
        assert_eq!(self.groups.iter().map(Vec::len).sum::<usize>(), free);
        self.groups.len() - self.unused.len()
    }
}
