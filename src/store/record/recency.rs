//! When an item was last used, in two bytes.

/// Eighths of a second before or after the second in which the segment was opened, in 16 bits: exact up to 255 s, the
/// second exact up to 4095 s, then in ever larger steps up to three months. Bit 15 says before, bits 11 to 14 are an
/// exponent, the rest a mantissa. What is not exact is too early, so that no second is mistaken for the next.
pub(super) fn encode(at: u32, opened: u32) -> u16 {
    let opened = opened & !7;
    let distance = at.abs_diff(opened);
    let exponent_of = |distance: u32| (32 - distance.leading_zeros()).saturating_sub(11);
    let (sign, distance) = match (at < opened, exponent_of(distance)) {
        (true, exponent @ 2..) => (0x8000, distance.saturating_add((1 << (exponent - 1)) - 1)),
        (before, _) => (u16::from(before) << 15, distance),
    };
    let exponent = exponent_of(distance);
    let code = match exponent {
        0 => distance as u16,
        1..=15 => (exponent as u16) << 11 | (distance >> (exponent - 1)) as u16 & 0x7ff,
        _ => 0x7fff,
    };
    sign | code
}

/// The eighths of a second that stands for, given when the segment was opened.
pub(super) fn decode(code: u16, opened: u32) -> u32 {
    let opened = opened & !7;
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
    fn last_use_is_exact_for_minutes_its_second_for_an_hour_and_close_for_months() {
        for opened in (0..8).map(|phase| 400_000_000 + phase) {
            for distance in (0..8 * 4088).chain([40_000, 800_000, 60_000_000]) {
                for at in [opened + distance, opened - distance] {
                    let back = decode(encode(at, opened), opened);
                    match distance {
                        0..2040 => assert_eq!(back, at),
                        2040..32_704 => assert_eq!(back / 8, at / 8, "{at} came back as {back}"),
                        _ => assert!(back <= at && at - back <= distance / 1000, "{at} came back as {back}"),
                    }
                }
            }
        }
    }
}
