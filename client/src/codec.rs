//! Compression of values, if the feature is on. The highest client flag says that a value is compressed.

use crate::error::Error;
use bytes::Bytes;

/// Set on values this crate has compressed.
#[cfg(feature = "compression")]
const COMPRESSED: u32 = 1 << 31;

/// A compressed value says how long it will be; more is not believed. LZ4 packs 255 bytes into one at best.
#[cfg(feature = "compression")]
const BEST_RATIO: usize = 255;

/// Compresses `value` if it is longer than `above` and gets shorter by it.
pub(crate) fn encode(value: Bytes, flags: u32, above: Option<usize>) -> Result<(Bytes, u32), Error> {
    #[cfg(feature = "compression")]
    if flags & COMPRESSED != 0 {
        let why = "with the feature \"compression\", the highest client flag says that a value is compressed";
        return Err(Error::caused(crate::error::ErrorKind::Codec, why));
    }
    #[cfg(feature = "compression")]
    if above.is_some_and(|above| value.len() > above) {
        let packed = lz4_flex::compress_prepend_size(&value);
        if packed.len() < value.len() {
            return Ok((packed.into(), flags | COMPRESSED));
        }
    }
    let _ = above;
    Ok((value, flags))
}

/// Gives the value as it was, unless it was longer than `max_bytes`.
pub(crate) fn decode(value: Bytes, flags: u32, max_bytes: usize) -> Result<(Bytes, u32), Error> {
    #[cfg(feature = "compression")]
    if flags & COMPRESSED != 0 && !value.is_empty() {
        use crate::error::ErrorKind;
        let (size, packed) = lz4_flex::block::uncompressed_size(&value)
            .map_err(|error| Error::caused(ErrorKind::Codec, error))?;
        if size > packed.len().saturating_mul(BEST_RATIO) {
            return Err(Error::caused(ErrorKind::Codec, format!("a compressed value claims {size} bytes")));
        }
        if size > max_bytes {
            return Err(Error::new(ErrorKind::ValueTooLarge { bytes: size }));
        }
        let plain =
            lz4_flex::decompress(packed, size).map_err(|error| Error::caused(ErrorKind::Codec, error))?;
        return Ok((plain.into(), flags & !COMPRESSED));
    }
    let _ = max_bytes;
    Ok((value, flags))
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;

    #[test]
    fn long_values_shrink_and_come_back_and_short_or_dense_ones_stay() {
        let text = Bytes::from("cache ".repeat(1000));
        let (packed, flags) = encode(text.clone(), 5, Some(1000)).unwrap();
        assert!(packed.len() < 200 && flags == 5 | COMPRESSED);
        assert_eq!(decode(packed.clone(), flags, 1 << 24).unwrap(), (text.clone(), 5));
        assert_eq!(encode(text.clone(), 5, None).unwrap(), (text.clone(), 5));
        assert_eq!(encode(text.clone(), 5, Some(6000)).unwrap(), (text.clone(), 5));
        assert!(encode(text, COMPRESSED, None).is_err(), "it would be taken for compressed");
        // What shrinks best is believed, what claims more is given no memory.
        let zeros = Bytes::from(vec![0; 1 << 24]);
        let (tight, flags) = encode(zeros.clone(), 0, Some(0)).unwrap();
        assert_eq!(decode(tight, flags, 1 << 24).unwrap().0, zeros);
        assert!(decode(Bytes::from_static(b"\0\0\0\x40ab"), COMPRESSED, 1 << 24).is_err());
        let mut mutilated = packed.to_vec();
        mutilated[3] = 0xff;
        assert!(decode(mutilated.into(), COMPRESSED, 1 << 24).is_err());
        assert!(decode(Bytes::from_static(b"ab"), COMPRESSED, 1 << 24).is_err());
    }
}
