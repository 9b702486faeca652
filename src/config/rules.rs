//! Expire-on-update by rule: templates that say, from an item's key alone, which keys it is derived from.
//!
//! A template is text with placeholders: `thumb:{id}:{size}`. A placeholder stands for one or more bytes, up to the
//! first place where the text behind it occurs; the last one for all the rest. A placeholder named twice must stand
//! for the same bytes both times.

use std::fmt;

/// Longest key in bytes; a rule that would name a longer source names none.
const MAX_KEY_LEN: usize = 250;

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rules {
    rules: Vec<Rule>,
}

/// Whoever stores a key like one of `derived` names the key that `source` makes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    source: Template,
    derived: Vec<Template>,
}

/// What is wrong with a template, and what to write instead.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleError {
    /// The template.
    pub template: String,
    message: String,
}

impl fmt::Display for RuleError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "`{}`: {}", self.template, self.message)
    }
}

impl std::error::Error for RuleError {}

impl Rules {
    /// Adds a rule.
    pub fn add(&mut self, rule: Rule) {
        self.rules.push(rule);
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// Calls `name` with every source of this key. A key may be derived from several, and from one twice.
    pub fn for_each_source(&self, key: &[u8], mut name: impl FnMut(&[u8])) {
        let mut source = [0; MAX_KEY_LEN];
        for rule in &self.rules {
            for derived in &rule.derived {
                if let Some(captures) = derived.captures(key)
                    && let Some(len) = rule.source.fill(&captures, &mut source)
                {
                    name(&source[..len]);
                }
            }
        }
    }
}

impl Rule {
    /// Checks the templates of one rule.
    pub fn new(source: &str, derived: &[String]) -> Result<Rule, RuleError> {
        let source = Template::new(source)?;
        let derived: Vec<Template> =
            derived.iter().map(|text| Template::new(text)).collect::<Result<_, _>>()?;
        if derived.is_empty() {
            return Err(source.error("the rule has no `derived` templates; write derived = [\"...\"]"));
        }
        for template in &derived {
            for name in source.names() {
                if !template.names().any(|other| other == name) {
                    let message =
                        format!("write {{{name}}} in it too: the source `{}` needs it", source.text);
                    return Err(template.error(&message));
                }
            }
            if template.text == source.text {
                return Err(template.error("it is its own source; nothing would come of it"));
            }
        }
        Ok(Rule { source, derived })
    }

    /// A template that no key written as text is like, but keys sent in base64 may be.
    pub fn for_base64_only(&self) -> Option<&str> {
        let mut templates = std::iter::once(&self.source).chain(&self.derived);
        templates.find(|template| template.has_blanks()).map(|template| template.text.as_str())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Placeholder(String),
}

/// What the placeholders of a template stand for in one key.
type Captures<'t, 'k> = Vec<(&'t str, &'k [u8])>;

impl Template {
    fn new(text: &str) -> Result<Template, RuleError> {
        let mut template = Template { text: text.to_owned(), parts: Vec::new() };
        let mut rest = text;
        while !rest.is_empty() {
            let Some(after) = rest.strip_prefix('{') else {
                let end = rest.find('{').unwrap_or(rest.len());
                if rest[..end].contains('}') {
                    return Err(template.error("a } without {; placeholders are written {name}"));
                }
                template.parts.push(Part::Literal(rest.as_bytes()[..end].to_vec()));
                rest = &rest[end..];
                continue;
            };
            let Some(end) = after.find('}') else {
                return Err(template.error("a { without }; placeholders are written {name}"));
            };
            let name = &after[..end];
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
                return Err(template.error("name placeholders with letters, digits and _ only, as in {id}"));
            }
            if let Some(Part::Placeholder(before)) = template.parts.last() {
                let message = format!(
                    "write something between {{{before}}} and {{{name}}}: where one ends and the other begins \
                     could not be told"
                );
                return Err(template.error(&message));
            }
            template.parts.push(Part::Placeholder(name.to_owned()));
            rest = &after[end + 1..];
        }
        if template.parts.is_empty() {
            return Err(template.error("an empty template matches nothing"));
        }
        let least = template.least_len();
        if least > MAX_KEY_LEN {
            let message = format!(
                "what is like it has {least} bytes or more, and keys at most {MAX_KEY_LEN}; shorten it"
            );
            return Err(template.error(&message));
        }
        Ok(template)
    }

    /// The length of the shortest key that is like it, in bytes. There is such a key: the one with each placeholder
    /// replaced by a byte that no literal has.
    fn least_len(&self) -> usize {
        let least = |part: &Part| match part {
            Part::Literal(literal) => literal.len(),
            Part::Placeholder(_) => 1,
        };
        self.parts.iter().map(least).sum()
    }

    /// Whether its text has what ends a key in a line of text.
    fn has_blanks(&self) -> bool {
        let blank = |part: &Part| matches!(part, Part::Literal(literal) if literal.iter().any(|byte| b" \n".contains(byte)));
        self.parts.iter().any(blank)
    }

    fn error(&self, message: &str) -> RuleError {
        RuleError { template: self.text.clone(), message: message.to_owned() }
    }

    fn names(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Placeholder(name) => Some(name.as_str()),
            Part::Literal(_) => None,
        })
    }

    fn captures<'k>(&self, key: &'k [u8]) -> Option<Captures<'_, 'k>> {
        let mut captures: Captures<'_, 'k> = Vec::new();
        let mut rest = key;
        let mut parts = self.parts.iter();
        while let Some(part) = parts.next() {
            match part {
                Part::Literal(literal) => rest = rest.strip_prefix(literal.as_slice())?,
                Part::Placeholder(name) => {
                    let end = match parts.clone().next() {
                        Some(Part::Literal(next)) => 1 + memchr::memmem::find(rest.get(1..)?, next)?,
                        _ => rest.len(),
                    };
                    let (value, after) = rest.split_at(end);
                    let same = |(other, known): &(&str, &[u8])| *other != name.as_str() || *known == value;
                    if value.is_empty() || !captures.iter().all(same) {
                        return None;
                    }
                    captures.push((name, value));
                    rest = after;
                }
            }
        }
        rest.is_empty().then_some(captures)
    }

    /// Writes the template with its placeholders filled in; `None` if that is too long for a key.
    fn fill(&self, captures: &Captures<'_, '_>, into: &mut [u8; MAX_KEY_LEN]) -> Option<usize> {
        let mut len = 0;
        for part in &self.parts {
            let bytes = match part {
                Part::Literal(literal) => literal.as_slice(),
                Part::Placeholder(name) => captures.iter().find(|(other, _)| other == name)?.1,
            };
            into.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
            len += bytes.len();
        }
        Some(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(rules: &[(&str, &[&str])], key: &str) -> Vec<String> {
        let mut all = Rules::default();
        for (source, derived) in rules {
            let derived: Vec<String> = derived.iter().map(|text| text.to_string()).collect();
            all.add(Rule::new(source, &derived).unwrap());
        }
        let mut found = Vec::new();
        all.for_each_source(key.as_bytes(), |source| {
            found.push(String::from_utf8_lossy(source).into_owned())
        });
        found
    }

    fn error(source: &str, derived: &str) -> String {
        Rule::new(source, &[derived.to_owned()]).unwrap_err().to_string()
    }

    const PHOTOS: (&str, &[&str]) = ("photo:{id}", &["thumb:{id}:{size}", "page:photo:{id}"]);

    #[test]
    fn a_derived_key_names_its_source() {
        assert_eq!(sources(&[PHOTOS], "thumb:42:small"), ["photo:42"]);
        assert_eq!(sources(&[PHOTOS], "page:photo:42"), ["photo:42"]);
        for other in ["thumb:42", "thumb::small", "thumb:42:", "photo:42", "xthumb:42:small", ""] {
            assert!(sources(&[PHOTOS], other).is_empty(), "{other}");
        }
    }

    #[test]
    fn a_placeholder_ends_at_the_first_place_it_can() {
        assert_eq!(sources(&[("s:{a}", &["d:{a}:{b}"])], "d:1:2:3"), ["s:1"]);
        assert_eq!(sources(&[("s:{a}", &["{a}.x"])], ".x.x"), ["s:.x"]);
    }

    #[test]
    fn a_name_twice_means_the_same_twice() {
        let rule: (&str, &[&str]) = ("s:{a}", &["{a}-{a}"]);
        assert_eq!(sources(&[rule], "x-x"), ["s:x"]);
        assert!(sources(&[rule], "x-y").is_empty());
    }

    #[test]
    fn all_rules_that_match_apply() {
        let users: (&str, &[&str]) = ("user:{u}", &["page:{kind}:{u}"]);
        assert_eq!(sources(&[PHOTOS, users], "page:photo:7"), ["photo:7", "user:7"]);
        assert_eq!(sources(&[("tag:home", &["home:{x}"])], "home:1"), ["tag:home"]);
    }

    #[test]
    fn faulty_templates_say_what_to_write() {
        assert!(error("photo:{id}", "thumb:{size}").contains("write {id} in it too"));
        assert!(error("photo:{id}", "thumb:{id}{size}").contains("between {id} and {size}"));
        assert!(error("photo:{id", "thumb:{id}").contains("a { without }"));
        assert!(error("photo:id}", "thumb:{id}").contains("a } without {"));
        assert!(error("photo:{}", "thumb:{id}").contains("name placeholders"));
        assert!(error("", "thumb:{id}").contains("empty"));
        assert!(error("a:{id}", "a:{id}").contains("its own source"));
        let long = "x".repeat(250);
        assert!(
            error("s:{id}", &format!("{long}{{id}}")).contains("has 251 bytes or more, and keys at most 250")
        );
        assert!(error(&format!("{{id}}{long}"), "d:{id}").contains("shorten it"));
        assert!(Rule::new("s:{id}", &[format!("{}{{id}}", &long[1..])]).is_ok());
        assert!(Rule::new("a", &[]).unwrap_err().to_string().contains("no `derived`"));
    }

    #[test]
    fn a_source_too_long_for_a_key_is_none() {
        let rule: (&str, &[&str]) = ("a-very-long-prefix:{id}", &["d:{id}"]);
        assert!(sources(&[rule], &format!("d:{}", "x".repeat(240))).is_empty());
    }
}
