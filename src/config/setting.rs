//! Options and suboptions by their long names alike, for sources that say `name = value`. Knows no files.

use super::draft::Draft;
use super::error::{Error, FAILURE, USAGE};
use super::options::{Group, OPTIONS, Takes};
use super::suboptions::SUBOPTIONS;
use super::value::Value;

/// One option or suboption.
#[derive(Clone, Copy)]
pub struct Setting {
    /// `memory-limit`, `idle_timeout`.
    pub name: &'static str,
    takes: Takes,
    refused: bool,
}

/// How a value is written where values have types.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// true or false.
    Switch,
    /// true, false, or a number.
    SwitchOrNumber,
    /// A whole number.
    Number,
    /// A number.
    Fraction,
    /// Octal digits, as a number or as text.
    Octal,
    /// A number, or text with a unit.
    Size,
    /// Text.
    Text,
    /// Text, or a list of texts.
    Texts,
}

impl Setting {
    /// Every option, then every suboption.
    pub fn all() -> impl Iterator<Item = Setting> {
        let options = OPTIONS.iter().map(|option| Setting {
            name: option.long,
            takes: option.takes,
            refused: option.group == Group::Refused,
        });
        let suboptions = SUBOPTIONS.iter();
        options.chain(suboptions.map(|sub| Setting { name: sub.name, takes: sub.takes, refused: false }))
    }

    /// The one of this name, or what is wrong with the name.
    pub fn named(name: &str) -> Result<Setting, Error> {
        Setting::all().find(|setting| setting.name == name).ok_or_else(|| {
            let message = match similar(name) {
                Some(other) => format!("there is no option {name}; write {other}"),
                None => format!("there is no option {name}; memcarp --help lists those there are"),
            };
            Error::new(FAILURE, message)
        })
    }

    /// How its value is written.
    pub fn kind(&self) -> Kind {
        match self.takes {
            Takes::Flag(_) => Kind::Switch,
            Takes::Maybe(..) => Kind::SwitchOrNumber,
            Takes::Needs(value, _) => match value {
                "PORT" | "NUM" | "MIB" | "KIB" | "BYTES" | "SECONDS" | "MICROSECONDS" | "PERCENT" => {
                    Kind::Number
                }
                "FACTOR" | "RATIO" => Kind::Fraction,
                "MODE" => Kind::Octal,
                "SIZE" => Kind::Size,
                "ADDRESSES" | "NAMES" | "NETWORKS" | "OPTIONS" => Kind::Texts,
                _ => Kind::Text,
            },
        }
    }

    /// Says it, or takes it back.
    pub fn switch(&self, draft: &mut Draft, on: bool) -> Result<(), Error> {
        draft.settled(self.name);
        match self.takes {
            Takes::Flag(set) => {
                set(draft, on);
                Ok(())
            }
            Takes::Maybe(..) if !on && self.refused => Ok(()),
            Takes::Maybe(_, set) | Takes::Needs(_, set) => {
                set(draft, Value::of_bytes(if on { b"" } else { b"0" }))
            }
        }
    }

    /// Gives it a value.
    pub fn write(&self, draft: &mut Draft, value: &[u8]) -> Result<(), Error> {
        draft.settled(self.name);
        let written = String::from_utf8_lossy(value);
        self.takes.write(draft, Value::of_bytes(value), format_args!("{} = {written}", self.name))
    }

    /// The exit code of a value of a wrong type: what the command line gives for the same text, if it refuses it.
    pub fn wrong_exit(&self, value: &[u8]) -> u8 {
        self.write(&mut Draft::default(), value).err().map_or(USAGE, |error| error.exit())
    }
}

/// The option most like this name, if one is so like it that it may have been meant.
pub fn similar(written: &str) -> Option<&'static str> {
    nearest(written, Setting::all().map(|setting| setting.name))
}

/// The one of `names` most like this one, if it is so like it that it may have been meant.
pub fn nearest(written: &str, names: impl Iterator<Item = &'static str>) -> Option<&'static str> {
    let alike = |name: &'static str| (distance(written.as_bytes(), name.as_bytes()), name);
    let (steps, name) = names.map(alike).min()?;
    (steps <= 1 + name.len() / 6).then_some(name)
}

/// How many letters must be added, left out or changed to make one of the other. Long names are like no other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    if from.len() > 64 {
        return from.len();
    }
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (at, letter) in from.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], at + 1);
        for (place, other) in to.iter().enumerate() {
            let changed = diagonal + usize::from(letter != other);
            diagonal = row[place + 1];
            row[place + 1] = changed.min(diagonal + 1).min(row[place] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_however_they_are_spelt() {
        let mut names: Vec<String> = Setting::all().map(|setting| setting.name.replace('-', "_")).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        assert_eq!(similar("memory_limit"), Some("memory-limit"));
        assert_eq!(similar("memory-limt"), Some("memory-limit"));
        assert_eq!(similar("idle-timeout"), Some("idle_timeout"));
        assert_eq!(similar("usr"), Some("user"));
        assert_eq!(similar("peers"), None);
        assert_eq!(similar("daemon-of"), None);
        assert_eq!(similar(""), None);
        assert_eq!(similar(&"x".repeat(10_000)), None);
    }

    #[test]
    fn distances() {
        for (from, to, steps) in [("", "", 0), ("a", "", 1), ("", "ab", 2), ("kitten", "sitting", 3)] {
            assert_eq!(distance(from.as_bytes(), to.as_bytes()), steps, "{from} {to}");
        }
    }
}
