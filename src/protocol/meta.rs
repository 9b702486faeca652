//! The meta commands' lines: a key, flags of one letter each, and their arguments.

use super::{Error, Fields, MAX_KEY_LEN, MAX_VALUE_LEN, Refusal, Request, parse_i32, parse_u32, parse_u64};

/// Most flags on one line.
const MAX_FLAGS: usize = 18;

/// Most sources of one item.
const MAX_SOURCES: usize = 16;

/// Longest opaque token in bytes, without its `O`.
const MAX_OPAQUE_LEN: usize = 31;

/// A key with flags: mg, md, me, and what the others have in common.
#[derive(Clone, Copy, Debug)]
pub struct Meta<'b> {
    /// The key.
    pub key: MetaKey<'b>,
    /// The flags.
    pub flags: Flags<'b>,
}

/// ms.
#[derive(Clone, Copy, Debug)]
pub struct MetaStore<'b> {
    /// The key and the flags.
    pub meta: Meta<'b>,
    /// Length of the data block in bytes, without its CR LF.
    pub len: usize,
    /// What the store is to be.
    pub mode: Mode,
}

/// ma.
#[derive(Clone, Copy, Debug)]
pub struct MetaArithmetic<'b> {
    /// The key and the flags.
    pub meta: Meta<'b>,
    /// Up, or down.
    pub increment: bool,
}

impl<'b> MetaStore<'b> {
    /// What the item is derived from (`D`), in the order written.
    pub fn sources(&self) -> impl Iterator<Item = Source<'b>> + use<'b> {
        let base64 = self.meta.key.base64;
        let mut flags = self.meta.flags.iter().peekable();
        std::iter::from_fn(move || {
            let source = flags.find(|flag| flag.letter == b'D')?;
            let cas = flags.next_if(|flag| flag.letter == b'U').and_then(|flag| parse_u64(flag.argument));
            Some(Source { key: MetaKey { written: source.argument, base64 }, cas })
        })
    }
}

/// One key that an item is derived from.
#[derive(Clone, Copy, Debug)]
pub struct Source<'b> {
    /// The key, in base64 if the item's own is.
    pub key: MetaKey<'b>,
    /// `U`: store only if the source is in the cache with this CAS value.
    pub cas: Option<u64>,
}

/// `M` of ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// A key as written: plain, or in base64.
#[derive(Clone, Copy, Debug)]
pub struct MetaKey<'b> {
    /// As written, at most [`MAX_KEY_LEN`] bytes.
    pub written: &'b [u8],
    /// Whether that is base64 (flag `b`), well-formed then.
    pub base64: bool,
}

impl<'b> MetaKey<'b> {
    /// Longest decoded key in bytes.
    pub const MAX_DECODED: usize = MAX_KEY_LEN / 4 * 3;

    /// The key's own bytes, decoded into `scratch` if need be.
    pub fn bytes<'s>(&self, scratch: &'s mut [u8; MetaKey::MAX_DECODED]) -> &'s [u8]
    where
        'b: 's,
    {
        if !self.base64 {
            return self.written;
        }
        base64_simd::STANDARD
            .decode(self.written, base64_simd::Out::from_slice(scratch))
            .map_or(&[], |decoded| decoded)
    }
}

/// One flag: its letter and what follows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flag<'b> {
    /// The letter.
    pub letter: u8,
    /// The argument, empty if there is none.
    pub argument: &'b [u8],
}

/// The flags of a meta command: each letter at most once, arguments checked.
#[derive(Clone, Copy, Debug)]
pub struct Flags<'b> {
    fields: Fields<'b>,
    /// One bit a letter, from `A`.
    present: u64,
    ttl: i32,
    vivify: i32,
    recache: i32,
    compare: u64,
    explicit: u64,
    client_flags: u32,
    initial: u64,
    delta: u64,
    mode: &'b [u8],
}

impl<'b> Flags<'b> {
    /// Whether this letter is there.
    pub fn has(&self, letter: u8) -> bool {
        self.present & bit(letter) != 0
    }

    /// The flags in the order they were written.
    pub fn iter(&self) -> impl Iterator<Item = Flag<'b>> + use<'b> {
        self.fields.map(|field| Flag { letter: field[0], argument: &field[1..] })
    }

    /// `T`: the new TTL, as an exptime.
    pub fn ttl(&self) -> Option<i32> {
        self.has(b'T').then_some(self.ttl)
    }

    /// `N`: create on a miss, with this TTL.
    pub fn vivify(&self) -> Option<i32> {
        self.has(b'N').then_some(self.vivify)
    }

    /// `R`: one client is to renew an item with less than this TTL left.
    pub fn recache(&self) -> Option<i32> {
        self.has(b'R').then_some(self.recache)
    }

    /// `C`: compare with this CAS value.
    pub fn compare(&self) -> Option<u64> {
        self.has(b'C').then_some(self.compare)
    }

    /// `E`: store with this CAS value.
    pub fn explicit_cas(&self) -> Option<u64> {
        self.has(b'E').then_some(self.explicit)
    }

    /// `F`: the client's own 32 bits; 0 if not said.
    pub fn client_flags(&self) -> u32 {
        self.client_flags
    }

    /// `J`: the number a counter starts at; 0 if not said.
    pub fn initial(&self) -> u64 {
        self.initial
    }

    /// `D`: by how much to count; 1 if not said.
    pub fn delta(&self) -> u64 {
        if self.has(b'D') { self.delta } else { 1 }
    }

    /// Every command knows every flag, but `D` and `U` name sources only to one that stores; there they are counted
    /// apart, and only there they may be repeated.
    fn parse(fields: Fields<'b>, names_sources: bool) -> Result<Flags<'b>, Error> {
        let mut flags = Flags {
            fields,
            present: 0,
            ttl: 0,
            vivify: 0,
            recache: 0,
            compare: 0,
            explicit: 0,
            client_flags: 0,
            initial: 0,
            delta: 0,
            mode: &[],
        };
        let (mut sources, mut compared, mut after_source) = (0, 0, false);
        for (position, field) in fields.enumerate() {
            let (letter, argument) = (field[0], &field[1..]);
            let taken = match letter {
                b'D' if names_sources => {
                    flags.present |= bit(b'D');
                    sources += 1;
                    source_key(argument)
                }
                b'U' if names_sources && after_source => {
                    compared += 1;
                    parse_u64(argument).map(drop).ok_or(Error::BadToken)
                }
                _ => flags.take(letter, argument),
            };
            // Their number is looked at before any of them.
            let count = if taken.is_err() { fields.count() } else { position + 1 };
            if count - sources - compared > MAX_FLAGS || sources > MAX_SOURCES {
                return Err(Error::TooManyFlags);
            }
            taken?;
            after_source = letter == b'D';
        }
        Ok(flags)
    }

    fn take(&mut self, letter: u8, argument: &'b [u8]) -> Result<(), Error> {
        if !letter.is_ascii_alphabetic() {
            return Err(Error::InvalidFlag);
        }
        if self.has(letter) {
            return Err(Error::DuplicateFlag);
        }
        self.present |= bit(letter);
        fn number<T>(number: Option<T>) -> Result<T, Error> {
            number.ok_or(Error::BadToken)
        }
        match letter {
            b'T' => self.ttl = number(parse_i32(argument))?,
            b'N' => self.vivify = number(parse_i32(argument))?,
            b'R' => self.recache = number(parse_i32(argument))?,
            b'C' => self.compare = number(parse_u64(argument))?,
            b'E' => self.explicit = number(parse_u64(argument))?,
            b'F' => self.client_flags = number(parse_u32(argument))?,
            b'J' => self.initial = number(parse_u64(argument))?,
            b'D' => self.delta = number(parse_u64(argument))?,
            b'M' => self.mode = argument,
            b'O' if argument.len() > MAX_OPAQUE_LEN => return Err(Error::OpaqueTooLong),
            // P and L are left to proxies; S is what a store's length once looked like.
            b'O' | b'P' | b'L' | b'S' | b'I' => {}
            b'b' | b'c' | b'f' | b'h' | b'k' | b'l' | b'q' | b's' | b't' | b'u' | b'v' | b'x' => {}
            _ => return Err(Error::InvalidFlag),
        }
        Ok(())
    }

    /// The first letter of the mode, if there is one; it has to stand alone.
    fn mode(&self) -> Result<Option<u8>, Error> {
        match (self.has(b'M'), self.mode) {
            (false, _) => Ok(None),
            (true, [letter]) => Ok(Some(*letter)),
            (true, _) => Err(Error::ModeLength),
        }
    }
}

/// A source has to be a key.
fn source_key(argument: &[u8]) -> Result<(), Error> {
    match argument.len() {
        0 => Err(Error::BadToken),
        1..=MAX_KEY_LEN => Ok(()),
        _ => Err(Error::BadFormat),
    }
}

fn bit(letter: u8) -> u64 {
    1 << (letter.wrapping_sub(b'A') & 63)
}

pub(super) fn get(fields: Fields<'_>) -> Result<Meta<'_>, Refusal> {
    keyed(fields).map_err(Refusal::of)
}

pub(super) fn delete(fields: Fields<'_>) -> Result<Meta<'_>, Refusal> {
    keyed(fields).map_err(Refusal::of)
}

pub(super) fn debug(fields: Fields<'_>) -> Result<Meta<'_>, Refusal> {
    keyed(fields).map_err(Refusal::of)
}

/// The length is looked at first: as long as it is good, the data block is swallowed with whatever else is wrong.
pub(super) fn store(mut fields: Fields<'_>) -> Result<Request<'_>, Refusal> {
    let (Some(key), Some(len)) = (fields.next(), fields.next()) else {
        return Err(Refusal::of(Error::BadFormat));
    };
    let len = match parse_u64(len) {
        Some(len) if len <= MAX_VALUE_LEN => len as usize,
        _ => return Err(Refusal::of(Error::BadFormat)),
    };
    let parsed = meta(key, fields, true).and_then(|meta| {
        let mode = match meta.flags.mode()? {
            None | Some(b'S') => Mode::Set,
            Some(b'E') => Mode::Add,
            Some(b'A') => Mode::Append,
            Some(b'P') => Mode::Prepend,
            Some(b'R') => Mode::Replace,
            Some(_) => return Err(Error::BadStoreMode),
        };
        Ok(Request::MetaStore(MetaStore { meta, len, mode }))
    });
    parsed.map_err(|error| Refusal::Answer { error, swallow: len + 2, silent: false })
}

/// Whatever is wrong with a flag has one name here.
pub(super) fn arithmetic(fields: Fields<'_>) -> Result<Request<'_>, Refusal> {
    let meta = keyed(fields).map_err(|error| match error {
        Error::BadFormat => error,
        _ => Error::InvalidOrDuplicateFlag,
    });
    let parsed = meta.and_then(|meta| {
        let increment = match meta.flags.mode()? {
            None | Some(b'I' | b'+') => true,
            Some(b'D' | b'-') => false,
            Some(_) => return Err(Error::BadArithmeticMode),
        };
        Ok(Request::MetaArithmetic(MetaArithmetic { meta, increment }))
    });
    parsed.map_err(Refusal::of)
}

fn keyed(mut fields: Fields<'_>) -> Result<Meta<'_>, Error> {
    let key = fields.next().ok_or(Error::BadFormat)?;
    meta(key, fields, false)
}

fn meta<'b>(written: &'b [u8], fields: Fields<'b>, names_sources: bool) -> Result<Meta<'b>, Error> {
    if written.len() > MAX_KEY_LEN {
        return Err(Error::BadFormat);
    }
    let flags = Flags::parse(fields, names_sources)?;
    let base64 = flags.has(b'b');
    let sources = flags.iter().filter(|flag| names_sources && flag.letter == b'D');
    let mut encoded = std::iter::once(written).chain(sources.map(|flag| flag.argument));
    if base64 && encoded.any(|key| base64_simd::STANDARD.check(key).is_err()) {
        return Err(Error::BadBase64);
    }
    Ok(Meta { key: MetaKey { written, base64 }, flags })
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    fn get_of(line: &str) -> Meta<'_> {
        match parse(line.as_bytes()) {
            Ok(Request::MetaGet(meta)) => meta,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn error_of(line: &str) -> Error {
        match parse(line.as_bytes()) {
            Err(Refusal::Answer { error, .. }) => error,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_keep_their_order_and_arguments() {
        let meta = get_of("mg key t v T30 Oabc");
        assert_eq!(meta.flags.ttl(), Some(30));
        let letters: Vec<u8> = meta.flags.iter().map(|flag| flag.letter).collect();
        assert_eq!(letters, b"tvTO");
    }

    #[test]
    fn faulty_flags_have_their_own_errors() {
        assert_eq!(error_of("mg k v v"), Error::DuplicateFlag);
        assert_eq!(error_of("mg k !"), Error::InvalidFlag);
        assert_eq!(error_of("mg k y"), Error::InvalidFlag);
        assert_eq!(error_of("mg k Tx"), Error::BadToken);
        assert_eq!(error_of("mg k T"), Error::BadToken);
        assert_eq!(error_of("mg %%% b"), Error::BadBase64);
        assert_eq!(error_of(&format!("mg k O{}", "o".repeat(32))), Error::OpaqueTooLong);
        assert_eq!(error_of(&format!("mg {} v", "k".repeat(251))), Error::BadFormat);
        assert_eq!(error_of("ma k k k"), Error::InvalidOrDuplicateFlag);
        assert_eq!(error_of("ma k MX"), Error::BadArithmeticMode);
        assert_eq!(error_of("ms k 1 MX"), Error::BadStoreMode);
        assert_eq!(error_of("ms k 1 M"), Error::ModeLength);
        get_of("mg k b q k s t v c f h l u O1 T1 N1 R1 E1 C1".replace("k b", "aaaa b").as_str());
        assert_eq!(error_of("mg aaaa b q k s t v c f h l u O1 T1 N1 R1 E1 C1 I x"), Error::TooManyFlags);
    }

    #[test]
    fn a_base64_key_is_decoded() {
        let meta = get_of("mg Zm9vYg== b");
        assert_eq!(meta.key.bytes(&mut [0; MetaKey::MAX_DECODED]), b"foob");
        let longest = base64_simd::STANDARD.encode_to_string([7; MetaKey::MAX_DECODED]);
        let line = format!("mg {longest} b");
        assert_eq!(get_of(&line).key.bytes(&mut [0; MetaKey::MAX_DECODED]).len(), MetaKey::MAX_DECODED);
    }

    fn store_of(line: &str) -> MetaStore<'_> {
        match parse(line.as_bytes()) {
            Ok(Request::MetaStore(store)) => store,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn an_ms_names_sources_each_with_the_cas_value_behind_it() {
        let store = store_of("ms thumb 3 T60 Dphoto U17 Dtag Duser U5 c");
        let sources: Vec<_> = store.sources().map(|source| (source.key.written, source.cas)).collect();
        assert_eq!(sources, [(&b"photo"[..], Some(17)), (b"tag", None), (b"user", Some(5))]);
        assert!(store.meta.flags.has(b'c'));
        assert_eq!(store_of("ms thumb 3 T60").sources().count(), 0);
        let sixteen = " Dsource U1".repeat(16);
        assert_eq!(store_of(&format!("ms k 1{sixteen} T1")).sources().count(), 16);
    }

    #[test]
    fn faulty_sources_are_refused() {
        assert_eq!(error_of("ms k 1 U5"), Error::InvalidFlag);
        assert_eq!(error_of("ms k 1 Da T1 U5"), Error::InvalidFlag);
        assert_eq!(error_of("ms k 1 Da U5 U6"), Error::InvalidFlag);
        assert_eq!(error_of("ms k 1 Da Ux"), Error::BadToken);
        assert_eq!(error_of("ms k 1 D"), Error::BadToken);
        assert_eq!(error_of("ms YQ== 1 b D%"), Error::BadBase64);
        assert_eq!(error_of(&format!("ms k 1{}", " Da".repeat(17))), Error::TooManyFlags);
        assert_eq!(error_of(&format!("ms k 1 D{}", "s".repeat(251))), Error::BadFormat);
    }

    #[test]
    fn an_ms_without_a_good_length_swallows_nothing() {
        for line in ["ms k", "ms k S5", "ms k -1"] {
            assert_eq!(parse(line.as_bytes()).unwrap_err(), Refusal::of(Error::BadFormat));
        }
        let swallowing = Refusal::Answer { error: Error::InvalidFlag, swallow: 7, silent: false };
        assert_eq!(parse(b"ms k 5 !").unwrap_err(), swallowing);
    }
}
