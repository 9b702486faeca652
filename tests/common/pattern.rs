//! One line of a transcript: literal bytes with escapes, and holes in braces for what cannot be known beforehand.
//! Knows neither scripts nor servers.

use std::collections::HashMap;
use std::fmt;

/// Numbers that earlier holes have caught, by name.
pub type Bindings = HashMap<String, u64>;

/// A parsed line.
pub struct Pattern {
    source: String,
    pieces: Vec<Piece>,
}

enum Piece {
    Literal(Vec<u8>),
    /// `{#}`: any number, a sign allowed.
    Number,
    /// `{*}`: anything up to what follows, within the line.
    Anything,
    /// `{name}`: a number; the same one wherever the name stands.
    Named(String),
    /// `{>name}`: a number greater than the named one.
    Greater(String),
    /// `{~60}`: a number of seconds that was 60 a moment ago.
    About(i64),
    /// `{now+60}`: Unix time, moved; only in what is sent.
    Time(i64),
}

/// How the start of some bytes compares with a pattern.
pub enum Matched {
    /// All of it is there, in this many bytes.
    All { length: usize, bindings: Bindings },
    /// It may still come.
    SoFar,
    /// More bytes cannot make it match.
    Never,
}

impl Pattern {
    pub fn parse(source: &str) -> Result<Pattern, String> {
        let mut pieces = Vec::new();
        let mut literal = Vec::new();
        let mut chars = source.chars();
        while let Some(char) = chars.next() {
            match char {
                '\\' => literal.extend(escaped(&mut chars)?),
                '{' => {
                    let hole: String = chars.by_ref().take_while(|&char| char != '}').collect();
                    match parse_hole(&hole)? {
                        Piece::Literal(bytes) => literal.extend(bytes),
                        piece => {
                            if !literal.is_empty() {
                                pieces.push(Piece::Literal(std::mem::take(&mut literal)));
                            }
                            pieces.push(piece);
                        }
                    }
                }
                char => literal.extend(char.encode_utf8(&mut [0; 4]).bytes()),
            }
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(literal));
        }
        Ok(Pattern { source: source.into(), pieces })
    }

    /// The bytes to send, with the holes filled.
    pub fn render(&self, bindings: &Bindings, now: u64) -> Result<Vec<u8>, String> {
        let mut bytes = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => bytes.extend(literal),
                Piece::Named(name) => {
                    let number =
                        bindings.get(name).ok_or_else(|| format!("no number is called {name} yet"))?;
                    bytes.extend(number.to_string().bytes());
                }
                Piece::Time(offset) => bytes.extend((now as i64 + offset).to_string().bytes()),
                _ => return Err("this hole cannot be sent".into()),
            }
        }
        Ok(bytes)
    }

    pub fn match_start(&self, bytes: &[u8], known: &Bindings) -> Matched {
        let mut bindings = known.clone();
        let mut at = 0;
        for (index, piece) in self.pieces.iter().enumerate() {
            let rest = &bytes[at..];
            if let Piece::Literal(literal) = piece {
                let common = literal.len().min(rest.len());
                if literal[..common] != rest[..common] {
                    return Matched::Never;
                }
                if common < literal.len() {
                    return Matched::SoFar;
                }
                at += common;
            } else if let Piece::Anything = piece {
                let Some(Piece::Literal(next)) = self.pieces.get(index + 1) else { return Matched::Never };
                let line = rest.iter().position(|&byte| byte == b'\n').map_or(rest, |end| &rest[..=end]);
                match line.windows(next.len()).position(|window| window == next) {
                    Some(length) => at += length,
                    None if line.len() == rest.len() && !line.ends_with(b"\n") => return Matched::SoFar,
                    None => return Matched::Never,
                }
            } else {
                let digits = rest.iter().enumerate();
                let length = digits
                    .take_while(|(index, byte)| byte.is_ascii_digit() || (*index == 0 && **byte == b'-'))
                    .count();
                if length == rest.len() {
                    return Matched::SoFar;
                }
                let number = std::str::from_utf8(&rest[..length]).unwrap_or_default();
                if number.is_empty() || !piece.accepts(number, &mut bindings) {
                    return Matched::Never;
                }
                at += length;
            }
        }
        Matched::All { length: at, bindings }
    }
}

impl Piece {
    fn accepts(&self, number: &str, bindings: &mut Bindings) -> bool {
        let unsigned = number.parse::<u64>();
        match self {
            Piece::Number => true,
            Piece::Named(name) => {
                unsigned.is_ok_and(|value| *bindings.entry(name.clone()).or_insert(value) == value)
            }
            Piece::Greater(name) => {
                unsigned.is_ok_and(|value| bindings.get(name).is_some_and(|known| value > *known))
            }
            Piece::About(seconds) => {
                number.parse::<i64>().is_ok_and(|value| (seconds - 3..=seconds + 1).contains(&value))
            }
            Piece::Literal(_) | Piece::Anything | Piece::Time(_) => false,
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.source)
    }
}

fn escaped(chars: &mut std::str::Chars<'_>) -> Result<Vec<u8>, String> {
    let byte = match chars.next() {
        Some('r') => b'\r',
        Some('n') => b'\n',
        Some('t') => b'\t',
        Some('0') => 0,
        Some('s') => b' ',
        Some(char @ ('\\' | '{' | '}')) => char as u8,
        Some('x') => {
            let digits: String = chars.by_ref().take(2).collect();
            u8::from_str_radix(&digits, 16).map_err(|_| format!("\\x{digits} is no byte"))?
        }
        other => return Err(format!("unknown escape {other:?}")),
    };
    Ok(vec![byte])
}

fn parse_hole(hole: &str) -> Result<Piece, String> {
    if let Some((count, unit)) = hole.split_once(' ') {
        // `{250 a}`: repetition is not a hole at all.
        let count: usize = count.parse().map_err(|_| format!("{{{hole}}} repeats how often?"))?;
        return Ok(Piece::Literal(unit.repeat(count).into_bytes()));
    }
    let number = |digits: &str| digits.parse::<i64>().map_err(|_| format!("{{{hole}}} has no number"));
    Ok(match hole {
        "#" => Piece::Number,
        "*" => Piece::Anything,
        "now" => Piece::Time(0),
        _ if hole.starts_with("now+") || hole.starts_with("now-") => Piece::Time(number(&hole[3..])?),
        _ if hole.starts_with('~') => Piece::About(number(&hole[1..])?),
        _ if hole.starts_with('>') => Piece::Greater(hole[1..].into()),
        _ if !hole.is_empty() && hole.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
            Piece::Named(hole.into())
        }
        _ => return Err(format!("unknown hole {{{hole}}}")),
    })
}
