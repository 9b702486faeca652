//! The part of a key that routes it. Knows nothing of members.

use std::ops::Range;

/// The inside of the first `{...}` of `key`, or the whole key if there is none or it is empty.
///
/// The tag runs from the first `{` to the first `}` after it, as in Redis Cluster: `{{a}}` routes by
/// `{a`, and `a{}b{c}` by the whole key.
#[inline]
pub fn hash_tag(key: &[u8]) -> &[u8] {
    if !has_open_brace(key) {
        return key;
    }
    tag_range(key).map_or(key, |range| &key[range])
}

/// Looks at eight bytes at a time, some of them twice at the end: most keys have no brace, and this is on every lookup's
/// way.
#[inline]
fn has_open_brace(key: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // Not zero if one of the eight bytes is a brace.
    let braces = |word: &[u8; 8]| {
        let difference = u64::from_le_bytes(*word) ^ (ONES * b'{' as u64);
        difference.wrapping_sub(ONES) & !difference & (ONES << 7)
    };
    match key.last_chunk() {
        Some(last) => key.as_chunks().0.iter().fold(braces(last), |found, word| found | braces(word)) != 0,
        None => key.contains(&b'{'),
    }
}

fn tag_range(key: &[u8]) -> Option<Range<usize>> {
    let open = key.iter().position(|&b| b == b'{')?;
    let length = key[open + 1..].iter().position(|&b| b == b'}')?;
    (length > 0).then_some(open + 1..open + 1 + length)
}

#[cfg(test)]
mod tests {
    use super::hash_tag;

    #[test]
    fn the_first_nonempty_tag_routes() {
        for (key, tag) in [
            ("photo:{42}", "42"),
            ("{42}:thumb:{7}", "42"),
            ("plain", "plain"),
            ("a{}b", "a{}b"),
            ("a{}b{c}", "a{}b{c}"),
            ("{{a}}", "{a"),
            ("open{brace", "open{brace"),
            ("}{x", "}{x"),
            ("}{x}", "x"),
            ("", ""),
            ("12345678901{3}", "3"),
            ("12345678{0}", "0"),
            ("1234567{9}90", "9"),
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }
}
