//! When an item was last used, in two bytes.

/// Seconds before or after the segment was opened, in 16 bits: exact up to 4095 s, then in ever larger steps up to
/// two years. Bit 15 says before, bits 11 to 14 are an exponent, the rest a mantissa.
pub(super) fn encode(at: u32, opened: u32) -> u16 {
    let distance = at.abs_diff(opened);
    let sign = u16::from(at < opened) << 15;
    let exponent = (32 - distance.leading_zeros()).saturating_sub(11);
    let code = match exponent {
        0 => distance as u16,
        1..=15 => (exponent as u16) << 11 | (distance >> (exponent - 1)) as u16 & 0x7ff,
        _ => 0x7fff,
    };
    sign | code
}

/// The second that stands for, given when the segment was opened.
pub(super) fn decode(code: u16, opened: u32) -> u32 {
    let mantissa = u32::from(code & 0x7ff);
    let distance = match u32::from(code >> 11 & 0xf) {
        0 => mantissa,
        exponent => (mantissa | 0x800) << (exponent - 1),
    };
    if code & 0x8000 == 0 { opened.saturating_add(distance) } else { opened.saturating_sub(distance) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_use_is_exact_for_an_hour_and_close_for_a_year() {
        let opened = 40_000_000;
        for seconds in (0..4096).chain([5000, 100_000, 31_000_000]) {
            for at in [opened + seconds, opened - seconds] {
                let back = decode(encode(at, opened), opened);
                let tolerance = if seconds < 4096 { 0 } else { seconds / 2048 };
                assert!(back.abs_diff(at) <= tolerance, "{at} came back as {back}");
            }
        }
    }
}
