//! The fields of a line, and the numbers in them. Knows no command.

use super::NOREPLY;

/// The fields of a line: what stands between blanks (0x20 only), however many.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'b> {
    rest: &'b [u8],
}

impl<'b> Fields<'b> {
    /// The fields of `line`.
    pub fn new(line: &'b [u8]) -> Fields<'b> {
        Fields { rest: line }
    }

    /// The rest of the line, blanks included.
    pub fn rest(&self) -> &'b [u8] {
        self.rest
    }

    /// Whether there is no field left.
    pub fn is_empty(&self) -> bool {
        self.rest.iter().all(|&byte| byte == b' ')
    }

    /// The fields before a closing `noreply`, and whether there was one.
    pub fn without_noreply(self) -> (Fields<'b>, bool) {
        let line = self.rest.trim_ascii_end_blanks();
        match line.strip_suffix(NOREPLY) {
            Some(before) if before.is_empty() || before.ends_with(b" ") => (Fields::new(before), true),
            _ => (self, false),
        }
    }
}

impl<'b> Iterator for Fields<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let start = self.rest.iter().position(|&byte| byte != b' ')?;
        let rest = &self.rest[start..];
        let (field, rest) = rest.split_at(field_len(rest));
        self.rest = rest;
        Some(field)
    }
}

/// How many bytes stand before the first blank, or are there at all. Fields are short: eight bytes are looked at
/// together, without the preparations that a search of long texts makes.
#[inline]
pub(super) fn field_len(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::MAX / 255;
    let (words, rest) = bytes.as_chunks::<8>();
    for (at, word) in words.iter().enumerate() {
        // Zero where there is a blank; then the lowest byte that is zero is the lowest with its highest bit set.
        let word = u64::from_le_bytes(*word) ^ (ONES * b' ' as u64);
        let blanks = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if blanks != 0 {
            return at * 8 + blanks.trailing_zeros() as usize / 8;
        }
    }
    words.len() * 8 + rest.iter().position(|&byte| byte == b' ').unwrap_or(rest.len())
}

trait TrimBlanks {
    fn trim_ascii_end_blanks(&self) -> &[u8];
}

impl TrimBlanks for [u8] {
    /// Without blanks at the end; other white space stays, it may be part of a key.
    fn trim_ascii_end_blanks(&self) -> &[u8] {
        let end = self.iter().rposition(|&byte| byte != b' ').map_or(0, |last| last + 1);
        &self[..end]
    }
}

/// An unsigned number: decimal digits only, at most 2^64 - 1.
pub fn parse_u64(field: &[u8]) -> Option<u64> {
    if field.is_empty() || field.len() > 20 {
        return None;
    }
    field.iter().try_fold(0u64, |number, &byte| {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

/// Client flags: a number below 2^64, of which 32 bits are kept.
pub fn parse_u32(field: &[u8]) -> Option<u32> {
    parse_u64(field).map(|number| number as u32)
}

/// A signed number of up to 64 bits.
pub fn parse_i64(field: &[u8]) -> Option<i64> {
    match field.strip_prefix(b"-") {
        Some(digits) => parse_u64(digits).and_then(|number| 0i64.checked_sub_unsigned(number)),
        None => parse_u64(field).and_then(|number| i64::try_from(number).ok()),
    }
}

/// A signed number of up to 32 bits.
pub fn parse_i32(field: &[u8]) -> Option<i32> {
    parse_i64(field).and_then(|number| i32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_stand_between_blanks_only() {
        let fields: Vec<_> = Fields::new(b"  a\tb   c ").collect();
        assert_eq!(fields, [&b"a\tb"[..], b"c"]);
        assert_eq!(Fields::new(b"   ").next(), None);
    }

    #[test]
    fn a_field_ends_at_the_first_blank_wherever_that_is() {
        for len in 0..40 {
            // Bytes near a blank, below and above, and with the highest bit.
            let mut line: Vec<u8> =
                (0..40).map(|at| [0x21, 0x1f, 0xa0, 0x00, 0xff][(at + len) % 5]).collect();
            assert_eq!(field_len(&line[..len]), len);
            line[len] = b' ';
            line[39] = b' ';
            assert_eq!(field_len(&line), len);
            line[len..].fill(b' ');
            assert_eq!(field_len(&line), len);
        }
    }

    #[test]
    fn noreply_must_be_a_whole_field() {
        assert!(Fields::new(b" noreply  ").without_noreply().1);
        assert!(!Fields::new(b" anoreply").without_noreply().1);
        assert_eq!(Fields::new(b" 1 noreply").without_noreply().0.collect::<Vec<_>>(), [b"1"]);
    }

    #[test]
    fn numbers_are_decimal_and_bounded() {
        assert_eq!(parse_u64(b"18446744073709551615"), Some(u64::MAX));
        for bad in ["18446744073709551616", "", "+1", "-1", "1.5", "12a", " 1", "0x1"] {
            assert_eq!(parse_u64(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_u32(b"4294967296"), Some(0));
        assert_eq!(parse_i32(b"-2147483648"), Some(i32::MIN));
        assert_eq!(parse_i32(b"2147483648"), None);
        assert_eq!(parse_i64(b"-9223372036854775808"), Some(i64::MIN));
        assert_eq!(parse_i64(b"--1"), None);
    }
}
