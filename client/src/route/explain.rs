//! Where a key goes, written for people and scripts. Knows no command line.

use super::Carp;
use std::fmt;

/// Where one key goes and who comes after. `Display` is one line of tab-separated fields: the key, its
/// owner, then each runner-up, every member followed by its score.
#[derive(Clone, Debug, PartialEq)]
pub struct Explanation {
    /// The key, with bytes outside printable ASCII escaped as in Rust's `b"..."`.
    pub key: String,
    /// Name and score of each member, the owner first.
    pub ranking: Vec<(String, f64)>,
}

impl Carp {
    /// Explains where `key` goes, with at most `runners_up` members after the owner.
    ///
    /// ```
    /// # use memcarp_client::{Carp, Members};
    /// let carp = Carp::new("a,b,c".parse::<Members>()?)?;
    /// let line = carp.explain(b"user:1", 1).to_string();
    /// assert_eq!(line.split('\t').count(), 5); // key, owner, score, runner-up, score
    /// # Ok::<(), memcarp_client::MembersError>(())
    /// ```
    pub fn explain(&self, key: &[u8], runners_up: usize) -> Explanation {
        let ranking = self
            .rank(key)
            .into_iter()
            .take(runners_up.saturating_add(1))
            .map(|ranked| (ranked.member.name().to_owned(), ranked.score))
            .collect();
        Explanation { key: key.escape_ascii().to_string(), ranking }
    }
}

impl Explanation {
    /// The same as one JSON object: `{"key":...,"owner":...,"ranking":[{"member":...,"score":...}]}`.
    pub fn to_json(&self) -> String {
        let ranking: Vec<String> = self
            .ranking
            .iter()
            .map(|(name, score)| format!("{{\"member\":{},\"score\":{score}}}", quote(name)))
            .collect();
        format!(
            "{{\"key\":{},\"owner\":{},\"ranking\":[{}]}}",
            quote(&self.key),
            quote(&self.ranking[0].0),
            ranking.join(",")
        )
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.key)?;
        self.ranking.iter().try_for_each(|(name, score)| write!(f, "\t{name}\t{score:.6}"))
    }
}

/// A JSON string literal.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if (c as u32) < 0x20 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use crate::{Carp, Members};

    #[test]
    fn lines_and_json_show_the_ranking() {
        let carp = Carp::new("a,b*2".parse::<Members>().unwrap()).unwrap();
        let explained = carp.explain(b"k\"\n", 9);
        assert_eq!(explained.ranking.len(), 2);
        assert!(explained.to_string().starts_with("k\\\"\\n\t"), "{explained}");
        let json = explained.to_json();
        assert!(json.starts_with(r#"{"key":"k\\\"\\n","owner":""#), "{json}");
        assert!(explained.ranking[0].1 > explained.ranking[1].1);
    }
}
