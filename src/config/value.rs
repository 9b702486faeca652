//! One value as written: blanks before it skipped, numbers read as memcached reads them. Knows no options.

use std::ffi::OsStr;
use std::ops::RangeInclusive;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use super::error::{Error, FAILURE, USAGE};

/// The end of a range that has no reason to end: what memcached's own `int` holds.
pub const MOST: i64 = i32::MAX as i64;

/// A value as it was written.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a> {
    raw: &'a [u8],
}

impl<'a> Value<'a> {
    /// Of an option without one, the empty value.
    pub fn new(raw: Option<&'a OsStr>) -> Value<'a> {
        Value { raw: raw.unwrap_or_default().as_bytes() }
    }

    /// The bytes between two separators of a larger value.
    pub fn of_bytes(raw: &'a [u8]) -> Value<'a> {
        Value { raw }
    }

    /// Every byte, blanks included.
    pub fn raw(self) -> &'a [u8] {
        self.raw
    }

    /// Without the blanks before it: `"-u nobody"` in one argument means `nobody`.
    pub fn bytes(self) -> &'a [u8] {
        self.raw.trim_ascii_start()
    }

    /// As text, for what is text.
    pub fn text(self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    /// As text that says something.
    pub fn name(self) -> Result<String, Error> {
        if self.bytes().is_empty() { Err(Error::new(USAGE, "write a name")) } else { Ok(self.text()) }
    }

    /// As a file's name.
    pub fn path(self) -> Result<PathBuf, Error> {
        match self.bytes() {
            b"" => Err(Error::new(USAGE, "write the name of a file")),
            bytes => Ok(PathBuf::from(OsStr::from_bytes(bytes))),
        }
    }

    /// As a whole number in `range`; anything else ends with `exit`.
    pub fn number<T: TryFrom<i64>>(self, range: RangeInclusive<i64>, exit: u8) -> Result<T, Error> {
        let number = whole(self.bytes()).map(|(number, _)| number).filter(|number| range.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            Error::new(exit, format!("write a number from {} to {}", range.start(), range.end()))
        })
    }

    /// As a fraction over `over` and at most `most`.
    pub fn fraction(self, over: f64, most: f64) -> Result<f64, Error> {
        let number = fraction(self.bytes()).filter(|&number| number > over && number <= most);
        number.ok_or_else(|| {
            Error::new(
                FAILURE,
                match most {
                    f64::MAX => format!("write a number over {over}"),
                    _ => format!("write a number over {over} and at most {most}"),
                },
            )
        })
    }

    /// As a number of bytes with an optional `k`, `m` or `g`.
    pub fn size(self) -> Option<u64> {
        let (number, after) = whole(self.bytes())?;
        let shift = match after.first().map(u8::to_ascii_lowercase) {
            Some(b'k') => 10,
            Some(b'm') => 20,
            Some(b'g') => 30,
            _ => 0,
        };
        Some(u64::try_from(number).ok()?.saturating_mul(1 << shift))
    }

    /// As a number of MiB, in bytes. A letter after it that is not `m` is another unit, so not what was meant.
    pub fn mebibytes(self) -> Result<usize, Error> {
        let number = whole(self.bytes()).filter(|(_, after)| match after.first() {
            Some(unit) => !b"kKgGtT".contains(unit),
            None => true,
        });
        let number = number.and_then(|(number, _)| usize::try_from(number).ok()).filter(|&number| number > 0);
        number
            .and_then(|number| number.checked_mul(1 << 20))
            .ok_or_else(|| Error::new(USAGE, "write a number of MiB: -m 1024 for 1 GiB"))
    }

    /// The part of a number of this kind that is read, if something follows it that says more than its unit: `10` of
    /// `10k`. Kinds are named as in `--help`.
    pub fn cut_short(self, kind: &str) -> Option<String> {
        let units: &[&str] = match kind {
            "NUM" | "PORT" | "LEVEL" | "FACTOR" | "RATIO" | "MODE" => &[],
            "MIB" => &["m", "mb", "mib"],
            "KIB" => &["k", "kb", "kib"],
            "SIZE" => &["b", "k", "kb", "kib", "m", "mb", "mib", "g", "gb", "gib"],
            "BYTES" => &["b"],
            "SECONDS" => &["s"],
            "MICROSECONDS" => &["us"],
            "PERCENT" => &["%"],
            _ => return None,
        };
        let bytes = self.bytes();
        let length = match kind {
            "FACTOR" | "RATIO" => fraction_length(bytes),
            "MODE" => octal_length(bytes),
            _ => bytes.len() - whole(bytes)?.1.len(),
        };
        let (number, after) = bytes.split_at(length);
        let after = String::from_utf8_lossy(after).trim_end().to_ascii_lowercase();
        let said = after.is_empty() || units.contains(&after.as_str());
        (!said).then(|| String::from_utf8_lossy(number).into_owned())
    }

    /// As an octal file mode.
    pub fn mode(self) -> Result<u32, Error> {
        let digits = &self.bytes()[..octal_length(self.bytes())];
        let mode = digits.iter().fold(None, |mode: Option<u32>, digit| {
            Some(mode.unwrap_or(0).saturating_mul(8).saturating_add(u32::from(digit - b'0')))
        });
        mode.filter(|&mode| mode <= 0o777)
            .ok_or_else(|| Error::new(USAGE, "write a file mode in octal, 700 or 770 for example"))
    }
}

/// C's `atoi`: a sign, digits, and whatever follows. None if there is no digit; too many of them saturate.
fn whole(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (sign, digits) = match bytes {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        _ => (1, bytes),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if count == 0 {
        return None;
    }
    let number = digits[..count]
        .iter()
        .fold(0i64, |number, digit| number.saturating_mul(10).saturating_add(sign * i64::from(digit - b'0')));
    Some((number, &digits[count..]))
}

fn octal_length(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|digit| (b'0'..=b'7').contains(digit)).count()
}

/// C's `atof` without its exponents and names: sign, digits, point, digits, and whatever follows.
fn fraction(bytes: &[u8]) -> Option<f64> {
    std::str::from_utf8(&bytes[..fraction_length(bytes)]).ok()?.parse().ok()
}

fn fraction_length(bytes: &[u8]) -> usize {
    let mut point = false;
    let number = bytes.iter().enumerate().take_while(|&(at, &byte)| match byte {
        b'+' | b'-' => at == 0,
        b'.' => !std::mem::replace(&mut point, true),
        _ => byte.is_ascii_digit(),
    });
    number.count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value<'_> {
        Value::of_bytes(text.as_bytes())
    }

    fn number(text: &str) -> Option<i64> {
        value(text).number(i64::MIN..=i64::MAX, 1).ok()
    }

    #[test]
    fn numbers_are_read_as_atoi_reads_them() {
        assert_eq!(number("1024"), Some(1024));
        assert_eq!(number("  1024"), Some(1024));
        assert_eq!(number("256M"), Some(256));
        assert_eq!(number("+64"), Some(64));
        assert_eq!(number("-1"), Some(-1));
        assert_eq!(number("007"), Some(7));
        assert_eq!(number("99999999999999999999"), Some(i64::MAX));
        assert_eq!(number("-99999999999999999999"), Some(i64::MIN));
        assert_eq!(number("abc"), None);
        assert_eq!(number(""), None);
        assert_eq!(number("-"), None);
        assert_eq!(number("--1"), None);
    }

    #[test]
    fn a_number_out_of_range_is_told_what_to_write() {
        let error = value("0").number::<u32>(1..=9, 7).unwrap_err();
        assert_eq!((error.exit(), error.to_string().as_str()), (7, "write a number from 1 to 9"));
    }

    #[test]
    fn fractions() {
        let read = |text| value(text).fraction(f64::MIN, f64::MAX).ok();
        assert_eq!(read("1.25"), Some(1.25));
        assert_eq!(read(" .5x"), Some(0.5));
        assert_eq!(read("-2."), Some(-2.0));
        assert_eq!(read("1.2.3"), Some(1.2));
        assert_eq!(read("nan"), None);
        assert_eq!(read("."), None);
        assert_eq!(read(""), None);
    }

    #[test]
    fn sizes_and_modes() {
        let size = |text| value(text).size();
        assert_eq!(size("1024"), Some(1024));
        assert_eq!(size("512k"), Some(512 << 10));
        assert_eq!(size(" 5M"), Some(5 << 20));
        assert_eq!(size("1g"), Some(1 << 30));
        assert_eq!(size("99999999999999999g"), Some(u64::MAX));
        assert_eq!(size("-1"), None);
        assert_eq!(size("m"), None);
        let mode = |text| value(text).mode().ok();
        assert_eq!(mode("700"), Some(0o700));
        assert_eq!(mode("0666"), Some(0o666));
        assert_eq!(mode("999"), None);
        assert_eq!(mode("1000"), None);
        assert_eq!(mode("777777777777777"), None);
    }

    #[test]
    fn memory_counts_mebibytes() {
        let memory = |text| value(text).mebibytes().ok();
        assert_eq!(memory("64"), Some(64 << 20));
        assert_eq!(memory("256M"), Some(256 << 20));
        assert_eq!(memory("1g"), None, "memcached takes this for 1 MiB");
        assert_eq!(memory("0"), None);
        assert_eq!(memory("-1"), None);
        assert_eq!(memory("99999999999999999999"), None);
    }
}
