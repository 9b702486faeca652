//! The log of one shard: records appended to open segments, and what is counted of each segment. Knows no index.

mod cas;
mod place;
mod rest;

use super::Now;
use super::deadlines::Deadlines;
use super::index::Location;
use super::pool::{Block, Pool};
use super::record::{self, Draft, Found, Header};
use std::collections::VecDeque;
use std::sync::Arc;

pub(super) use cas::CasSpace;
pub(super) use place::Place;
pub(super) use rest::Room;

use place::GROUPS;

/// Queues of segments; the eviction policy says what each is for.
pub(super) const QUEUES: usize = 2;

/// Where in a segment the first record begins: not at 0, so that no location is 0.
pub(super) const FIRST: usize = 8;

/// Seconds that outdated items nobody asks for may take up memory, about, unless it is needed.
const OUTDATED_INTERVAL: u32 = 60;

#[derive(Debug)]
pub(super) struct Segment {
    block: Block,
    /// Higher than that of any segment opened before.
    pub sequence: u64,
    /// Where the next record begins.
    end: usize,
    pub live_bytes: usize,
    pub live_items: usize,
    /// Of the bodies of its live items.
    body_bytes: usize,
    /// When it was opened, in eighths of a second of the store's clock.
    pub opened: u32,
    place: Place,
    open: bool,
    pub deadlines: Deadlines,
    /// Not worth looking for expired items before.
    pub next_look: u32,
    /// Whether items in it have named sources.
    names_sources: bool,
    /// How many updates of sources there had been when it was last searched.
    pub updates_seen: u64,
    /// All its items are over, and may have left the index already.
    doomed: bool,
    /// Where the rest of its last record is, if that is cut and live.
    rest_in: Option<u32>,
    /// The record whose rest is at its beginning, if that is live; it counts among the live items.
    rest_of: Option<Location>,
}

/// An item as the log has it.
pub(super) struct LogItem<'l> {
    /// When its segment was opened.
    pub opened: u32,
    /// The CAS value it has if none is stored.
    pub implied_cas: u64,
    pub record: &'l mut [u8],
    /// What of its value is in another segment, if its record is cut.
    pub rest: &'l [u8],
}

impl Segment {
    pub fn end(&self) -> usize {
        self.end
    }

    pub fn queue(&self) -> u8 {
        self.place.queue
    }

    pub fn is_open(&self) -> bool {
        self.open
    }

    pub fn is_doomed(&self) -> bool {
        self.doomed
    }

    /// Bytes of its memory, as far as it has been written, and of the bodies of its items.
    pub fn weight(&self) -> usize {
        self.end + self.body_bytes
    }

    /// Bytes of its memory that no live item takes; of an open one, as far as it has been written.
    pub fn dead_bytes(&self) -> usize {
        let end = if self.open { self.end } else { self.block.bytes().len() };
        end - FIRST - self.live_bytes
    }

    pub fn record(&self, offset: usize) -> &[u8] {
        &self.block.bytes()[offset..self.end]
    }

    pub fn record_mut(&mut self, offset: usize) -> &mut [u8] {
        &mut self.block.bytes_mut()[offset..self.end]
    }

    /// Whether every item in it has ended.
    pub fn is_over(&self, now: Now) -> bool {
        self.deadlines.latest <= now.seconds()
    }

    /// Whether a large part of its items ends at one time that has come.
    pub fn crowd_is_over(&self, now: Now) -> bool {
        self.deadlines.crowd <= now.seconds()
            && self.deadlines.crowd_lead * 8 > (self.live_bytes + self.body_bytes) as u64
    }

    /// Whether items in it have ended, or may be outdated after so many updates of sources, and it is time to look
    /// for them.
    pub fn is_worth_a_look(&self, now: Now, updates: u64) -> bool {
        let outdated = self.names_sources
            && self.updates_seen != updates
            && (self.opened / 8).saturating_add(OUTDATED_INTERVAL) <= now.seconds();
        (outdated || self.deadlines.earliest <= now.seconds()) && self.next_look <= now.seconds()
    }

    /// Seconds between two looks for expired items among others.
    pub fn look_interval(&self) -> u32 {
        let interval = self.place.look_interval();
        if self.names_sources { interval.min(OUTDATED_INTERVAL) } else { interval }
    }
}

#[derive(Debug)]
pub(super) struct Log {
    pool: Arc<Pool>,
    cas_space: CasSpace,
    segments: Vec<Option<Segment>>,
    free_ids: Vec<u32>,
    open: [[Option<u32>; GROUPS]; QUEUES],
    /// All segments of a queue, in the order they were opened; what others were compacted into is where they were.
    queues: [VecDeque<u32>; QUEUES],
    /// The segment that others are compacted into.
    compacted: Option<u32>,
    next_sequence: u64,
    offset_bits: u32,
    /// No lower than any CAS value that an item no longer there may have shown to a client.
    cas_floor: u64,
    /// The same of items in doomed segments, which the index may have lost already; 0 if there are none.
    doomed_floor: u64,
    pub live_bytes: usize,
    pub live_items: usize,
}

impl Log {
    pub fn new(pool: Arc<Pool>, cas_space: CasSpace) -> Log {
        let offset_bits = pool.block_len().trailing_zeros();
        Log {
            pool,
            cas_space,
            segments: Vec::new(),
            free_ids: Vec::new(),
            open: [[None; GROUPS]; QUEUES],
            queues: Default::default(),
            compacted: None,
            next_sequence: 1,
            offset_bits,
            cas_floor: 0,
            doomed_floor: 0,
            live_bytes: 0,
            live_items: 0,
        }
    }

    pub fn segment_count(&self) -> usize {
        self.segments.len() - self.free_ids.len()
    }

    pub fn segment(&self, id: u32) -> Option<&Segment> {
        self.segments.get(id as usize)?.as_ref()
    }

    pub fn segment_mut(&mut self, id: u32) -> Option<&mut Segment> {
        self.segments.get_mut(id as usize)?.as_mut()
    }

    pub fn ids(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.segments.len() as u32
    }

    pub fn queue(&self, queue: u8) -> &VecDeque<u32> {
        &self.queues[usize::from(queue)]
    }

    /// The segment and the offset in it of a location.
    #[inline]
    pub fn split(&self, location: Location) -> (u32, usize) {
        ((location.0 >> self.offset_bits) as u32, location.0 as usize & ((1 << self.offset_bits) - 1))
    }

    pub fn location(&self, segment: u32, offset: usize) -> Location {
        Location(u64::from(segment) << self.offset_bits | offset as u64)
    }

    /// The segment of a location.
    #[inline]
    pub fn segment_of(&self, location: Location) -> &Segment {
        let (id, _) = self.split(location);
        self.segments[id as usize].as_ref().expect("a location is in a segment")
    }

    /// The segment of a location, and the bytes from there on.
    #[inline]
    pub fn at(&self, location: Location) -> (&Segment, &[u8]) {
        let (_, offset) = self.split(location);
        let segment = self.segment_of(location);
        (segment, segment.record(offset))
    }

    #[inline]
    pub fn at_mut(&mut self, location: Location) -> &mut Segment {
        let (id, _) = self.split(location);
        self.segments[id as usize].as_mut().expect("a location is in a segment")
    }

    #[inline]
    pub fn item_mut(&mut self, location: Location, header: &Header) -> LogItem<'_> {
        let (id, offset) = self.split(location);
        let cas_space = self.cas_space;
        let (segment, rest) = match header.rest_len() {
            0 => (self.at_mut(location), &[][..]),
            _ => self.cut_mut(id, header),
        };
        let implied_cas = implied_cas(cas_space, segment.sequence, offset, header);
        LogItem { opened: segment.opened, implied_cas, record: segment.record_mut(offset), rest }
    }

    /// The CAS value an item at this location has if none is stored with it.
    pub fn implied_cas(&self, location: Location, header: &Header) -> u64 {
        let (_, offset) = self.split(location);
        implied_cas(self.cas_space, self.segment_of(location).sequence, offset, header)
    }

    /// The open segment of this place, if a record of `len` bytes, or a little more, fits.
    pub fn room(&self, place: Place, len: usize) -> Option<Room> {
        self.open_at(place).filter(|&id| self.fits(id, len)).map(Room::of)
    }

    fn fits(&self, id: u32, len: usize) -> bool {
        self.segment(id).is_some_and(|segment| segment.end + len + 8 <= self.pool.block_len())
    }

    fn open_at(&self, place: Place) -> Option<u32> {
        self.open[usize::from(place.queue)][place.group()]
    }

    /// Opens a new segment for this place and closes the one that was open, but for the next record.
    pub fn open(&mut self, place: Place, block: Block, now: Now) -> Room {
        let before = self.open_at(place);
        if let Some(id) = before {
            self.close_segment(id);
        }
        let id = self.add(place, block, now.eighths());
        self.open[usize::from(place.queue)][place.group()] = Some(id);
        self.queues[usize::from(place.queue)].push_back(id);
        Room { id, before }
    }

    /// The segment that others are compacted into, if a record of `len` bytes, or a little more, fits.
    pub fn room_compacted(&self, len: usize) -> Option<Room> {
        self.compacted.filter(|&id| self.fits(id, len)).map(Room::of)
    }

    /// Opens a segment to compact this one and others into, at its place in the queue.
    pub fn open_compacted(&mut self, id: u32, block: Block) -> Room {
        let before = self.compacted;
        if let Some(id) = before {
            self.close_segment(id);
        }
        let segment = self.segment(id).expect("a segment being compacted is there");
        let (place, opened) = (segment.place, segment.opened);
        let at = self.position(id);
        let new = self.add(place, block, opened);
        self.queues[usize::from(place.queue)].insert(at, new);
        self.compacted = Some(new);
        Room { id: new, before }
    }

    /// Whether a segment can be compacted into the open compacted one without mixing items of very different age.
    pub fn is_near_compacted(&self, id: u32) -> bool {
        let (Some(other), Some(segment)) = (self.compacted, self.segment(id)) else { return false };
        let is_near = |to: &Segment| to.place == segment.place && to.end * 8 < self.pool.block_len() * 7;
        self.segment(other).is_some_and(is_near)
            && self.position(id).abs_diff(self.position(other)) <= self.queue(segment.queue()).len() / 16
    }

    /// Where in its queue a segment is.
    fn position(&self, id: u32) -> usize {
        let queue = self.segment(id).map_or(0, |segment| segment.queue());
        self.queue(queue).iter().position(|&other| other == id).unwrap_or(0)
    }

    fn add(&mut self, place: Place, block: Block, opened: u32) -> u32 {
        let id = match self.free_ids.pop() {
            Some(id) => id,
            None => {
                self.segments.push(None);
                self.segments.len() as u32 - 1
            }
        };
        self.segments[id as usize] = Some(Segment {
            block,
            sequence: self.next_sequence,
            end: FIRST,
            live_bytes: 0,
            live_items: 0,
            body_bytes: 0,
            opened,
            place,
            open: true,
            deadlines: Deadlines::NONE,
            next_look: 0,
            names_sources: false,
            updates_seen: 0,
            doomed: false,
            rest_in: None,
            rest_of: None,
        });
        self.next_sequence += 1;
        id
    }

    /// Closes a segment if it is open.
    pub fn close_segment(&mut self, id: u32) {
        let Some(segment) = self.segment_mut(id).filter(|segment| segment.open) else { return };
        segment.open = false;
        let place = segment.place;
        if self.compacted == Some(id) {
            self.compacted = None;
        } else {
            self.open[usize::from(place.queue)][place.group()] = None;
        }
    }

    /// Closes a segment all of whose items are over, and remembers that the index may lose them before the log does.
    pub fn doom(&mut self, id: u32) {
        self.close_segment(id);
        self.doomed_floor = self.cas_ceiling();
        if let Some(segment) = self.segment_mut(id) {
            segment.doomed = true;
        }
    }

    /// To be called when no segment is doomed any more.
    pub fn end_dooms(&mut self) {
        self.doomed_floor = 0;
    }

    /// Closes all open segments, and answers the sequence number that what is written from now on has at least.
    pub fn close_all(&mut self) -> u64 {
        for id in self.open.into_iter().flatten().flatten().chain(self.compacted) {
            self.close_segment(id);
        }
        self.next_sequence
    }

    /// Appends a record where there is room for it. Its location gives the item its CAS value if that is above
    /// `previous`, the value this key had before; otherwise one is stored with it.
    pub fn append(&mut self, room: Room, mut draft: Draft<'_>, previous: u64) -> (Location, u64) {
        let id = self.begins_in(room, &draft);
        let segment = self.segment(id).expect("an open segment is there");
        let offset = segment.end;
        let implied = self.cas_space.at(segment.sequence, offset);
        if draft.cas.is_none() && implied <= previous.max(self.floor()) {
            draft.cas = Some(self.fresh_cas());
        }
        if id != room.id {
            self.append_rest(id, room.id, &mut draft);
        }
        let segment = self.segments[id as usize].as_mut().expect("an open segment is there");
        let len = draft.len();
        segment.end += len;
        let opened = segment.opened;
        draft.write(segment.record_mut(offset), opened);
        segment.deadlines.add(draft.expiry, len + (draft.rest_len + draft.body.len) as usize);
        segment.body_bytes += draft.body.len as usize;
        segment.names_sources |= !draft.sources.is_empty();
        segment.live_bytes += len;
        segment.live_items += 1;
        self.live_bytes += len;
        self.live_items += 1;
        (self.location(id, offset), draft.cas.unwrap_or(implied))
    }

    /// Writes a record over one of the same key and length, if it belongs to the same place and one more version can
    /// be told from `previous`, the CAS value before. Answers the CAS value.
    pub fn replace(
        &mut self,
        location: Location,
        old: &Header,
        place: Place,
        mut draft: Draft<'_>,
        previous: u64,
    ) -> Option<u64> {
        let version = old.version()?.checked_add(1).filter(|&version| usize::from(version) < old.len())?;
        draft.version = Some(version);
        let (id, offset) = self.split(location);
        let segment = self.segment(id)?;
        let is_same_place = segment.place == place;
        let cas = self.cas_space.at(segment.sequence, offset + usize::from(version));
        if draft.cas.is_some() || draft.len() != old.len() || !is_same_place || cas <= previous {
            return None;
        }
        let segment = self.segment_mut(id)?;
        let opened = segment.opened;
        segment.deadlines.add(draft.expiry, old.len());
        draft.write(segment.record_mut(offset), opened);
        Some(cas)
    }

    /// Appends a record moved from elsewhere: its CAS value may change to the one its location gives it only if no
    /// client has seen it, and only upwards.
    pub fn append_moved(&mut self, room: Room, mut draft: Draft<'_>, cas: u64) -> Location {
        let id = self.begins_in(room, &draft);
        let segment = self.segment(id).expect("an open segment is there");
        if draft.cas_shown || self.cas_space.at(segment.sequence, segment.end) <= cas.max(self.floor()) {
            draft.cas = Some(cas);
        }
        self.append(room, draft, 0).0
    }

    /// Makes a live record a dead one, and its rest. Answers the segments, no longer open, that it leaves without live
    /// items.
    pub fn kill(&mut self, location: Location, header: &Header) -> [Option<u32>; 2] {
        let len = header.len();
        let (id, offset) = self.split(location);
        self.live_bytes -= len;
        self.live_items -= 1;
        let segment = self.at_mut(location);
        record::kill(segment.record_mut(offset), len);
        segment.live_bytes -= len;
        segment.live_items -= 1;
        segment.body_bytes -= header.body().len as usize;
        let rest_in = segment.rest_in.take_if(|_| header.rest_len() > 0);
        if let Some(id) = rest_in {
            self.kill_rest(id, header);
        }
        let is_empty =
            |id: &u32| self.segment(*id).is_some_and(|segment| segment.live_items == 0 && !segment.open);
        [Some(id).filter(is_empty), rest_in.filter(is_empty)]
    }

    /// Takes a segment without live items away, and answers its memory.
    pub fn remove(&mut self, id: u32) -> Option<Block> {
        self.close_segment(id);
        let segment = self.segments.get_mut(id as usize)?.take()?;
        debug_assert_eq!((segment.live_items, segment.live_bytes, segment.body_bytes), (0, 0, 0));
        let queue = &mut self.queues[usize::from(segment.place.queue)];
        if let Some(at) = queue.iter().position(|&other| other == id) {
            queue.remove(at);
        }
        self.free_ids.push(id);
        Some(segment.block)
    }

    /// The records of a segment from an offset on, each with its own offset.
    pub fn records(&self, id: u32, mut offset: usize) -> impl Iterator<Item = (usize, Found)> + '_ {
        std::iter::from_fn(move || {
            let segment = self.segment(id)?;
            if offset >= segment.end {
                return None;
            }
            let found = record::find(segment.record(offset));
            let at = offset;
            offset += found.len();
            Some((at, found))
        })
    }

    /// The header of the live record at a location.
    #[inline]
    pub fn header(&self, location: Location) -> Header {
        Header::read(self.at(location).1)
    }
}

/// A CAS value from a place: each time the item is replaced where it lies gives it another one of those between its
/// offset and the next item's.
#[inline]
fn implied_cas(cas_space: CasSpace, sequence: u64, offset: usize, header: &Header) -> u64 {
    cas_space.at(sequence, offset + usize::from(header.version().unwrap_or(0)))
}
