//! The part of a key that routes it. Knows nothing of members.

use std::ops::Range;

/// The inside of the first `{...}` of `key`, or the whole key if there is none or it is empty.
///
/// The tag runs from the first `{` to the first `}` after it, as in Redis Cluster: `{{a}}` routes by
/// `{a`, and `a{}b{c}` by the whole key.
pub fn hash_tag(key: &[u8]) -> &[u8] {
    tag_range(key).map_or(key, |range| &key[range])
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
        ] {
            assert_eq!(hash_tag(key.as_bytes()), tag.as_bytes(), "{key}");
        }
    }
}
