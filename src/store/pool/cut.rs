//! How the memory of a store is cut: into shards, their segments or blocks, and the units of long values.

use nix::unistd::{SysconfVar, sysconf};

/// A shard has at least this much memory: with less, more shards cost hits.
const SHARD_BYTES: usize = 16 << 20;
/// Four for each of 64 workers. What is done for all shards one after the other, maintenance and counting, stays short.
const MAX_SHARDS: usize = 256;
/// A shard has about this many segments, at most a third more or fewer, since they are powers of two long. With fewer,
/// too much is given up at once, and those kept open and ready are more of the memory; with more, long values have to
/// be cut into pieces that are too short.
const SEGMENTS: usize = 512;
const MIN_SEGMENT: usize = 16 << 10;
const MAX_SEGMENT: usize = 1 << 20;
/// Longest unit, unless the system's pages are longer.
const MAX_UNIT: usize = 16 << 10;
/// Longest value that is in the log as a whole: it is copied with a shard locked.
const MAX_INLINE: usize = 16 << 10;

/// How many shards, a power of two, share so much memory and so many workers.
pub(in crate::store) fn shards(limit: usize, workers: usize) -> usize {
    let by_memory = (limit / SHARD_BYTES).max(1);
    (workers * 4).min(by_memory).clamp(1, MAX_SHARDS).next_power_of_two()
}

/// Bytes of a segment, or of any block of memory, a power of two.
pub(in crate::store) fn block_len(limit: usize, shards: usize) -> usize {
    // Some pages at least, of whatever size the system's are.
    let least = MIN_SEGMENT.max(4 * page_len());
    let ideal = (limit / shards / SEGMENTS).max(1);
    (ideal - ideal / 4).next_power_of_two().clamp(least, MAX_SEGMENT)
}

/// Bytes of a unit, given those of a block: whole pages, some to a block, so that few are free in blocks that are in
/// use; but not more, because each costs something beside its bytes.
pub(super) fn unit_len(block_len: usize) -> usize {
    (block_len / 4).clamp(page_len(), MAX_UNIT.max(page_len()))
}

/// The longest value that has no body: a value in the log costs less beside its bytes than one in units, and nothing at
/// the end of a segment, where it is cut.
pub(in crate::store) fn inline_limit(block_len: usize) -> usize {
    (block_len / 2).min(MAX_INLINE).max(unit_len(block_len))
}

/// Bytes the system gives at a time.
pub(in crate::store) fn page_len() -> usize {
    let page = sysconf(SysconfVar::PAGE_SIZE).ok().flatten();
    page.map_or(4 << 10, |page| page as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_has_its_segments_at_any_limit() {
        for mebibytes in (64..4000).step_by(3) {
            for workers in [1, 2, 4, 7, 32] {
                let limit = mebibytes << 20;
                let shards = shards(limit, workers);
                let block_len = block_len(limit, shards);
                let segments = limit / shards / block_len;
                let wanted = SEGMENTS * 2 / 3..=SEGMENTS * 4 / 3;
                let is_bounded = block_len == MIN_SEGMENT || block_len == MAX_SEGMENT;
                assert!(wanted.contains(&segments) || is_bounded, "{mebibytes} MiB: {segments}");
                assert!(limit / shards >= SHARD_BYTES / 2, "{mebibytes} MiB: {shards} shards");
                assert!(block_len.is_multiple_of(unit_len(block_len)));
            }
        }
    }
}
