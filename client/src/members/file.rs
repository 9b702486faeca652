//! The TOML form of a member list. Knows only the text.

use super::{Member, Members, MembersError, WEIGHTS};
use crate::route::{Carp, Scheme};
use toml::de::{DeTable, DeValue};

impl Members {
    /// Reads the `[[members]]` tables of a TOML file (`[[member]]` will do too): `name`, `address` (the name if absent),
    /// `weight` (1 if absent). A file that asks for another routing than the default is an error: as a list alone it
    /// would lead keys to other members than [`Carp::from_toml`] does.
    pub fn from_toml(text: &str) -> Result<Members, MembersError> {
        let file = File::read(text, |_| false)?;
        let default = Scheme::default();
        if file.scheme != default || file.hash_tags.is_some_and(|on| on != default.tags_by_default()) {
            return Err(MembersError::new(
                "scheme and hash_tags say more than a list of members holds: read it with Carp::from_toml, and give \
                 that to Builder::routing",
            ));
        }
        Ok(file.members)
    }
}

impl Carp {
    /// Reads a whole routing from TOML: `scheme`, `hash_tags` and the `[[members]]` tables.
    pub fn from_toml(text: &str) -> Result<Carp, MembersError> {
        Carp::from_toml_among(text, |_| false)
    }

    /// The same from a file that says other things too, a server's configuration for one: top-level keys that
    /// `is_other` knows are passed over.
    pub fn from_toml_among(text: &str, is_other: impl Fn(&str) -> bool) -> Result<Carp, MembersError> {
        let file = File::read(text, is_other)?;
        let carp = Carp::with_scheme(file.members, file.scheme)?;
        Ok(match file.hash_tags {
            Some(on) => carp.hash_tags(on),
            None => carp,
        })
    }
}

struct File {
    scheme: Scheme,
    hash_tags: Option<bool>,
    members: Members,
}

impl File {
    fn read(text: &str, is_other: impl Fn(&str) -> bool) -> Result<File, MembersError> {
        let at = |offset: usize, why: String| {
            let line = text[..offset.min(text.len())].matches('\n').count() + 1;
            MembersError::new(why).at(line)
        };
        let root = DeTable::parse(text)
            .map_err(|error| at(error.span().map_or(0, |span| span.start), error.message().to_owned()))?;
        let mut file = File { scheme: Scheme::default(), hash_tags: None, members: Members::default() };
        let (mut list, mut name_starts) = (Vec::new(), Vec::new());
        for (key, value) in root.get_ref() {
            let wrong = |why: &str| at(key.span().start, format!("{} {why}", key.get_ref()));
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("scheme", DeValue::String(name)) => {
                    file.scheme =
                        name.parse().map_err(|why: MembersError| at(key.span().start, why.to_string()))?;
                }
                ("scheme", _) => return Err(wrong("is a string such as \"carp-v2\"")),
                ("hash_tags", DeValue::Boolean(on)) => file.hash_tags = Some(*on),
                ("hash_tags", _) => return Err(wrong("is true or false")),
                ("member" | "members", DeValue::Array(tables)) => {
                    for table in tables {
                        let start = table.span().start;
                        let DeValue::Table(fields) = table.get_ref() else {
                            return Err(at(start, "write each member as [[members]]".to_owned()));
                        };
                        let (member, name_start) =
                            member(start, fields).map_err(|(start, why)| at(start, why))?;
                        list.push(member);
                        name_starts.push(name_start);
                    }
                }
                (other, _) if is_other(other) => {}
                _ => return Err(wrong("is not known here; there are scheme, hash_tags and [[members]]")),
            }
        }
        file.members =
            Members::checked(list).map_err(|(which, why)| at(name_starts[which], why.to_string()))?;
        Ok(file)
    }
}

/// A member, and where its name begins; or what is wrong, and where.
fn member(start: usize, fields: &DeTable<'_>) -> Result<(Member, usize), (usize, String)> {
    let (mut name, mut name_start) = (None, start);
    let (mut weight, mut weight_start) = (1.0, start);
    let mut address = None;
    for (key, value) in fields {
        let start = key.span().start;
        let wrong = |why: String| (start, why);
        match (key.get_ref().as_ref(), value.get_ref()) {
            ("name", DeValue::String(text)) => (name, name_start) = (Some(text.to_string()), start),
            ("address", DeValue::String(text)) => {
                address = Some(text.parse().map_err(|why: MembersError| wrong(why.to_string()))?);
            }
            ("weight", DeValue::Integer(number)) => {
                (weight, weight_start) = (parse(number.as_str()).map_err(wrong)?, start);
            }
            ("weight", DeValue::Float(number)) => {
                (weight, weight_start) = (parse(number.as_str()).map_err(wrong)?, start);
            }
            ("name" | "address" | "weight", _) => {
                return Err(wrong(format!("{} has the wrong type", key.get_ref())));
            }
            (other, _) => {
                return Err(wrong(format!(
                    "{other} is not known here; a member has name, address and weight"
                )));
            }
        }
    }
    let name = name.ok_or_else(|| (start, "a member needs a name".to_owned()))?;
    let member = Member::new(name).with_weight(weight);
    let place = if WEIGHTS.contains(&weight) { name_start } else { weight_start };
    member.validate().map_err(|why| (place, why.to_string()))?;
    let member = match address {
        Some(address) => member.at(address),
        None => member,
    };
    Ok((member, name_start))
}

fn parse(number: &str) -> Result<f64, String> {
    number.parse().map_err(|_| format!("{number} is no weight"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "scheme = \"carp-v1\"\n\n[[member]]\nname = \"a\"\naddress = \"10.0.0.1:1\"\nweight = 2\n\n\
        [[member]]\nname = \"b:11211\"\n";

    #[test]
    fn a_file_is_read() {
        let carp = Carp::from_toml(FILE).unwrap();
        assert_eq!(carp.scheme(), Scheme::CarpV1);
        assert_eq!(carp.members()[0].weight(), 2.0);
        assert_eq!(carp.members()[1].address().unwrap().to_string(), "b:11211");
        let list = FILE.replace("carp-v1", "carp-v2");
        assert_eq!(Members::from_text(&list).unwrap(), *carp.members());
        assert_eq!(Members::from_toml(&list.replace("[[member]]", "[[members]]")).unwrap(), *carp.members());
        // Both at once are one list, in which a name may not stand twice.
        assert_eq!(Members::from_toml(&list.replacen("[[member]]", "[[members]]", 1)).unwrap().len(), 2);
        let twice = "[[member]]\nname = \"a\"\n[[members]]\nname = \"a\"\n";
        assert!(Members::from_toml(twice).unwrap_err().to_string().contains("two members"));
    }

    #[test]
    fn a_list_does_not_lose_the_routing_that_its_file_asks_for() {
        let list = FILE.replace("scheme = \"carp-v1\"\n", "");
        assert_eq!(Members::from_text(&list).unwrap().len(), 2);
        for routing in ["scheme = \"carp-v1\"\n", "hash_tags = false\n"] {
            let file = format!("{routing}{list}");
            assert!(Carp::from_toml(&file).is_ok());
            let error = Members::from_text(&file).unwrap_err().to_string();
            assert!(error.contains("read it with Carp::from_toml"), "{error}");
        }
    }

    #[test]
    fn the_sample_file_is_valid() {
        let sample = include_str!("../../config/members.toml");
        assert_eq!(Carp::from_toml(sample).unwrap().members().len(), 3);
    }

    #[test]
    fn a_file_may_say_other_things_that_are_known() {
        let text = format!("memory-limit = 64\n{FILE}\n[tls]\nkey = \"/k\"\n");
        let known = |name: &str| ["memory-limit", "tls"].contains(&name);
        let carp = Carp::from_toml_among(&text, known).unwrap();
        assert_eq!((carp.scheme(), carp.members().len()), (Scheme::CarpV1, 2));
        let error = Carp::from_toml_among(&text, |name| name == "tls").unwrap_err();
        assert!(error.to_string().starts_with("line 1: memory-limit is not known"), "{error}");
        assert_eq!(error.line(), Some(1));
    }

    #[test]
    fn errors_name_the_line() {
        for (from, to, words) in [
            ("scheme", "schema", "line 1: schema is not known"),
            ("carp-v1", "carp-v9", "line 1: no routing scheme is called \"carp-v9\"; write carp-v2"),
            ("weight = 2", "weight = 0", "line 6: member a: the weight 0 is not"),
            ("name = \"b:11211\"", "name = \"a\"", "line 9: two members are called a"),
            ("weight", "wieght", "line 6: wieght is not known"),
            ("weight = 2", "weight = \"2\"", "line 6: weight has the wrong type"),
            ("name = \"a\"", "", "line 3: a member needs a name"),
            ("name = \"b:11211\"", "", "line 8: a member needs a name"),
            ("10.0.0.1:1", "10.0.0.1:x", "line 5: "),
            ("name = \"a\"", "name = \"\"", "line 4: \"\" is no name for a member"),
            ("[[member]]", "[[member", "line 3"),
        ] {
            let error = Members::from_toml(&FILE.replacen(from, to, 1)).unwrap_err().to_string();
            assert!(error.starts_with(words), "{error}");
        }
    }
}
