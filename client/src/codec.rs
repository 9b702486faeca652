//! Compression of values, if the feature is on. The highest client flag says that a value is compressed.

use crate::error::Error;
use bytes::Bytes;

/// Set on values this crate has compressed.
#[cfg(feature = "compression")]
const COMPRESSED: u32 = 1 << 31;

/// A compressed value says how long it will be; more than this is not believed.
#[cfg(feature = "compression")]
const MAX_DECOMPRESSED: usize = 1 << 30;

/// Compresses `value` if it is longer than `above` and gets shorter by it.
pub(crate) fn encode(value: Bytes, flags: u32, above: Option<usize>) -> (Bytes, u32) {
    #[cfg(feature = "compression")]
    if above.is_some_and(|above| value.len() > above) && flags & COMPRESSED == 0 {
        let packed = lz4_flex::compress_prepend_size(&value);
        if packed.len() < value.len() {
            return (packed.into(), flags | COMPRESSED);
        }
    }
    let _ = above;
    (value, flags)
}

pub(crate) fn decode(value: Bytes, flags: u32) -> Result<(Bytes, u32), Error> {
    #[cfg(feature = "compression")]
    if flags & COMPRESSED != 0 && !value.is_empty() {
        use crate::error::ErrorKind;
        let (size, packed) = lz4_flex::block::uncompressed_size(&value)
            .map_err(|error| Error::caused(ErrorKind::Codec, error))?;
        if size > MAX_DECOMPRESSED {
            return Err(Error::caused(ErrorKind::Codec, format!("a compressed value claims {size} bytes")));
        }
        let plain =
            lz4_flex::decompress(packed, size).map_err(|error| Error::caused(ErrorKind::Codec, error))?;
        return Ok((plain.into(), flags & !COMPRESSED));
    }
    Ok((value, flags))
}

#[cfg(all(test, feature = "compression"))]
mod tests {
    use super::*;

    #[test]
    fn long_values_shrink_and_come_back_and_short_or_dense_ones_stay() {
        let text = Bytes::from("cache ".repeat(1000));
        let (packed, flags) = encode(text.clone(), 5, Some(1000));
        assert!(packed.len() < 200 && flags == 5 | COMPRESSED);
        assert_eq!(decode(packed.clone(), flags).unwrap(), (text.clone(), 5));
        assert_eq!(encode(text.clone(), 5, None), (text.clone(), 5));
        assert_eq!(encode(text.clone(), 5, Some(6000)), (text, 5));
        let mut mutilated = packed.to_vec();
        mutilated[3] = 0xff;
        assert!(decode(mutilated.into(), COMPRESSED).is_err());
        assert!(decode(Bytes::from_static(b"ab"), COMPRESSED).is_err());
    }
}
