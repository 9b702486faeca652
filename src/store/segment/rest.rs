//! Records that are cut: of the last record of a segment as much is there as fits, and the rest at the beginning of the
//! segment that was opened then. So nothing is lost at the ends of segments. The two are one item: wherever its segment
//! is given up first, all of it is carried on or goes.

use super::{FIRST, Log, Segment};
use crate::store::index::Location;
use crate::store::record::{self, Draft, Header, REST_HEADER};

/// Where a record goes.
#[derive(Clone, Copy, Debug)]
pub(in crate::store) struct Room {
    pub(super) id: u32,
    /// The segment just closed, where it may begin.
    pub(super) before: Option<u32>,
}

impl Room {
    pub(super) fn of(id: u32) -> Room {
        Room { id, before: None }
    }
}

impl Segment {
    /// The record whose rest is at its beginning.
    pub fn rest_of(&self) -> Option<Location> {
        self.rest_of
    }

    fn left(&self) -> usize {
        self.block.bytes().len() - self.end
    }

    fn rest(&self, len: usize) -> &[u8] {
        &self.block.bytes()[FIRST + REST_HEADER..][..len]
    }
}

impl Log {
    /// The segment that a record written to this room begins in.
    pub(super) fn begins_in(&self, room: Room, draft: &Draft<'_>) -> u32 {
        let Some(before) = room.before else { return room.id };
        let place_of = |id: u32| self.segment(id).map(|segment| segment.place);
        let is_cut = self.segment(before).is_some_and(|segment| { *draft }.cut(segment.left()).is_some());
        if is_cut && place_of(before) == place_of(room.id) { before } else { room.id }
    }

    /// Cuts the draft of a record that is about to be appended to segment `id`, and writes the rest to `rest_in`.
    pub(super) fn append_rest(&mut self, id: u32, rest_in: u32, draft: &mut Draft<'_>) {
        let segment = self.segment(id).expect("a segment just closed is there");
        let location = self.location(id, segment.end);
        let Some(parts) = draft.cut(segment.left()) else { return };
        let len = REST_HEADER + parts[0].len() + parts[1].len();
        let segment = self.segment_mut(rest_in).expect("an open segment is there");
        debug_assert_eq!(segment.end, FIRST, "it was opened for this record");
        segment.end += len;
        let to = segment.record_mut(FIRST);
        record::begin_rest(to, len);
        let (first, second) = to[REST_HEADER..].split_at_mut(parts[0].len());
        first.copy_from_slice(parts[0]);
        second.copy_from_slice(parts[1]);
        segment.rest_of = Some(location);
        segment.live_bytes += len;
        segment.live_items += 1;
        self.live_bytes += len;
        self.segments[id as usize].as_mut().expect("it was there").rest_in = Some(rest_in);
    }

    /// Makes the rest of a cut record a dead one.
    pub(super) fn kill_rest(&mut self, id: u32, header: &Header) {
        let len = REST_HEADER + header.rest_len();
        let segment = self.segment_mut(id).expect("the rest of a live record is there");
        segment.rest_of = None;
        segment.live_bytes -= len;
        segment.live_items -= 1;
        self.live_bytes -= len;
    }

    /// Where the live item begins of which this was found at an offset of a segment: a record, or the rest of one.
    pub fn item_at(&self, id: u32, offset: usize, found: &record::Found) -> Option<Location> {
        match found {
            record::Found::Live(_) => Some(self.location(id, offset)),
            record::Found::Dead { .. } => self.segment(id)?.rest_of().filter(|_| offset == FIRST),
        }
    }

    /// What of the value of a record in this segment is in another; empty unless it is cut.
    pub fn rest(&self, segment: &Segment, header: &Header) -> &[u8] {
        let of = self.rest_in(segment).filter(|_| header.rest_len() > 0);
        of.map_or(&[], |of| of.rest(header.rest_len()))
    }

    /// The segment with the rest of the last record of this one, if that is cut.
    pub fn rest_in(&self, segment: &Segment) -> Option<&Segment> {
        segment.rest_in.and_then(|id| self.segment(id))
    }

    /// The segment of a cut record, and the rest of its value.
    pub(super) fn cut_mut(&mut self, id: u32, header: &Header) -> (&mut Segment, &[u8]) {
        let rest_in = self.segment(id).and_then(|segment| segment.rest_in).expect("a cut record has a rest");
        let both = self.segments.get_disjoint_mut([id as usize, rest_in as usize]);
        let [segment, of] = both.expect("a record is cut between two segments");
        let of = of.as_ref().expect("the rest of a live record is there");
        (segment.as_mut().expect("a location is in a segment"), of.rest(header.rest_len()))
    }

    /// Whether the segment with the rest of a record in this segment is doomed.
    #[inline]
    pub fn is_rest_doomed(&self, segment: &Segment, header: &Header) -> bool {
        header.rest_len() > 0 && self.rest_in(segment).is_some_and(Segment::is_doomed)
    }
}
