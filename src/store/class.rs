//! memcached's item sizes and size classes: only for statistics that tools join by class; memory is not laid out so.

/// One more than the highest class.
pub const CLASS_COUNT: usize = 64;

/// Classes are those of memcached's default settings: chunk sizes from 96 bytes, growing by 1.25, rounded up to 8.
static CHUNKS: [u32; CLASS_COUNT] = chunk_table();

const LARGEST_CHUNK: u32 = 512 << 10;

/// The first class of the largest chunks: none after it is used.
const LAST: usize = {
    let mut class = 0;
    while chunk_table()[class] < LARGEST_CHUNK {
        class += 1;
    }
    class
};

const fn chunk_table() -> [u32; CLASS_COUNT] {
    let mut table = [LARGEST_CHUNK; CLASS_COUNT];
    table[0] = 0;
    let mut size = 96;
    let mut class = 1;
    while class < CLASS_COUNT - 1 && size <= LARGEST_CHUNK * 4 / 5 {
        table[class] = size;
        size = (size * 5 / 4).next_multiple_of(8);
        class += 1;
    }
    table
}

/// An item's size in bytes as memcached counts it: a header of 48, 8 for the CAS value, the key and a NUL, 4 if the
/// client flags are not 0, the value and CR LF.
pub fn memcached_size(key_len: usize, value_len: usize, has_client_flags: bool) -> usize {
    48 + 8 + key_len + 1 + if has_client_flags { 4 } else { 0 } + value_len + 2
}

/// The class, from 1, whose chunks are the smallest that hold `size` bytes; the last one also holds longer items.
#[inline]
pub fn class_of(size: usize) -> usize {
    // Chunks are multiples of 8 bytes.
    match BY_EIGHTS.get(size.div_ceil(8)) {
        Some(&class) => class.into(),
        None => CHUNKS[..LAST].partition_point(|&chunk| (chunk as usize) < size),
    }
}

/// The classes of short items, by their size in multiples of 8 bytes, rounded up.
static BY_EIGHTS: [u8; 128] = {
    let mut table = [1; 128];
    let mut eights = 1;
    while eights < table.len() {
        let class = table[eights - 1];
        let fits = eights * 8 <= CHUNKS[class as usize] as usize;
        table[eights] = if fits { class } else { class + 1 };
        eights += 1;
    }
    table
};

/// The chunk size of a class in bytes.
pub fn chunk_size(class: usize) -> usize {
    CHUNKS[class] as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_memcacheds() {
        assert_eq!(
            (1..=10).map(chunk_size).collect::<Vec<_>>(),
            [96, 120, 152, 192, 240, 304, 384, 480, 600, 752]
        );
        assert_eq!(class_of(61), 1);
        assert_eq!(class_of(97), 2);
        assert_eq!(class_of(memcached_size(3, 66_560, false)), 31);
        assert_eq!(chunk_size(class_of(1 << 20)), 512 << 10);
        for size in 1..3000 {
            let class = class_of(size);
            assert!(chunk_size(class - 1) < size && size <= chunk_size(class), "{size}");
        }
    }
}
