//! Whether two servers said the same: what may differ between memcarp and memcached 1.6.18, and nothing else.

use std::collections::HashMap;

use super::text;

/// CAS numbers of one server, named in the order in which they appeared: they are counted differently everywhere.
#[derive(Default)]
pub struct Names(HashMap<u64, usize>);

/// Lines that may stand for each other: (memcarp's, memcached 1.6.18's). The first follow memcached 1.6.45; the reasons
/// for all are in `tests/differences.md`.
const ACCEPTED: &[(&str, &str)] = &[
    // Too few words, lines too short.
    ("CLIENT_ERROR bad command line format", "ERROR"),
    // md says which; as ms and mg do.
    ("CLIENT_ERROR invalid flag", "CLIENT_ERROR invalid or duplicate flag"),
    ("CLIENT_ERROR duplicate flag", "CLIENT_ERROR invalid or duplicate flag"),
    ("CLIENT_ERROR bad token in command line format", "CLIENT_ERROR invalid or duplicate flag"),
    // A bad F.
    ("CLIENT_ERROR bad token in command line format", "CLIENT_ERROR bad command line format"),
    ("CLIENT_ERROR options flags are too long", "CLIENT_ERROR options flags too long"),
];

/// Compares all that was said in one exchange.
pub fn replies(
    ours: &[u8],
    theirs: &[u8],
    our_names: &mut Names,
    their_names: &mut Names,
) -> Result<(), String> {
    let mut our_lines = lines(ours);
    let mut their_lines = lines(theirs);
    loop {
        let (our_line, their_line) = match (our_lines.next(), their_lines.next()) {
            (None, None) => return Ok(()),
            (Some(ours), Some(theirs)) => (ours, theirs),
            (Some(ours), None) => return Err(format!("only memcarp said {}", text(ours))),
            (None, Some(theirs)) => return Err(format!("only memcached said {}", text(theirs))),
        };
        let our_form = normal_form(our_line, our_names);
        let their_form = normal_form(their_line, their_names);
        let accepted = ACCEPTED
            .iter()
            .any(|(ours, theirs)| ours.as_bytes() == our_form && theirs.as_bytes() == their_form);
        if our_form != their_form && !accepted && used_by_add(&our_form) != their_form {
            return Err(format!("memcarp said {}, memcached {}", text(our_line), text(their_line)));
        }
    }
}

/// What memcarp says as it would be if the item had not been hit: an add that finds something counts as a hit in memcarp.
fn used_by_add(form: &[u8]) -> Vec<u8> {
    let form = String::from_utf8_lossy(form);
    let words = form.split(' ').map(|word| match word {
        "h1" => "h0",
        "fetch=yes" => "fetch=no",
        word => word,
    });
    words.collect::<Vec<_>>().join(" ").into_bytes()
}

/// Remembers the CAS number of each key that was shown.
pub fn collect_cas(reply: &[u8], seen: &mut HashMap<Vec<u8>, u64>) {
    for line in lines(reply) {
        let words: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
        let number = |digits: &[u8]| std::str::from_utf8(digits).ok()?.parse::<u64>().ok();
        match words[0] {
            b"VALUE" if words.len() == 5 => {
                if let Some(cas) = number(words[4]) {
                    seen.insert(words[1].to_vec(), cas);
                }
            }
            b"HD" | b"VA" => {
                let flag = |letter| {
                    words[1..].iter().find(|word| word.first() == Some(&letter)).map(|word| &word[1..])
                };
                if let (Some(key), Some(cas)) = (flag(b'k'), flag(b'c').and_then(number)) {
                    seen.insert(key.to_vec(), cas);
                }
            }
            _ => {}
        }
    }
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|&byte| byte == b'\n').map(|line| line.strip_suffix(b"\r\n").unwrap_or(line))
}

/// A line without what depends on the server's numbers and on the moment.
fn normal_form(line: &[u8], names: &mut Names) -> Vec<u8> {
    let Ok(line) = std::str::from_utf8(line) else { return line.to_vec() };
    let words: Vec<&str> = line.split(' ').collect();
    let mut changed = words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
    match words[0] {
        "VALUE" if words.len() == 5 => changed[4] = names.name(words[4]),
        "HD" | "VA" | "EN" | "NF" | "NS" | "EX" => {
            let flags = if words[0] == "VA" { 2 } else { 1 };
            for (word, place) in words.iter().zip(&mut changed).skip(flags) {
                match word.split_at_checked(1) {
                    Some(("c", number)) => *place = format!("c{}", names.name(number)),
                    Some(("t", seconds)) => *place = format!("t{}", rounded(seconds)),
                    Some(("l", seconds)) => *place = format!("l{}", rounded(seconds)),
                    _ => {}
                }
            }
        }
        "ME" => {
            for (word, place) in words.iter().zip(&mut changed).skip(2) {
                match word.split_once('=') {
                    // 1.6.18 shows the remaining time with its sign turned.
                    Some(("exp", "-1")) => {}
                    Some(("exp", seconds)) => {
                        *place = format!("exp={}", rounded(seconds.trim_start_matches('-')))
                    }
                    Some(("la", seconds)) => *place = format!("la={}", rounded(seconds)),
                    Some(("cas", number)) => *place = format!("cas={}", names.name(number)),
                    Some(("cls", _)) => *place = "cls".into(),
                    _ => {}
                }
            }
        }
        _ => {}
    }
    changed.join(" ").into_bytes()
}

/// Seconds, with those rounded away that the test itself takes. The times that are set are hundreds.
fn rounded(seconds: &str) -> String {
    match seconds.parse::<i64>() {
        // A time that has passed, as memcached shows it: below zero, in 32 bits without a sign.
        Ok(seconds) if seconds > i64::from(u32::MAX) - 86_400 => "0".into(),
        Ok(seconds) if seconds >= 0 => ((seconds + 50) / 100 * 100).to_string(),
        _ => seconds.into(),
    }
}

impl Names {
    fn name(&mut self, number: &str) -> String {
        match number.parse::<u64>() {
            Ok(0) | Err(_) => number.into(),
            Ok(number) => {
                let next = self.0.len();
                format!("#{}", self.0.entry(number).or_insert(next))
            }
        }
    }
}
