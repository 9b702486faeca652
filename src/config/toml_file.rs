//! The configuration file (`--config`), in TOML: options by their long names, and the tables. Starts nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

use memcarp_client::Carp;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::draft::{Draft, Place};
use super::error::{Error, FAILURE, USAGE};
use super::help::OWN_OPTIONS;
use super::rules::{Rule, Rules};
use super::setting::{Kind, Setting};
use super::tables::{self, ROUTING, Table};

/// The name of the rules' tables.
const RULES: &str = "expire_on_update";

/// Sets what the file says, in its order. An error names file and line.
pub fn apply(draft: &mut Draft, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let line = line(bytes, error.valid_up_to());
        Error::new(FAILURE, "write it in UTF-8").at(format_args!("{} line {line}", path.display()))
    })?;
    let mut file = File { path, text, said: BTreeMap::new() };
    let root = DeTable::parse(text).map_err(|error| {
        let message = error.message().replace('\n', ", ");
        file.wrong(FAILURE, error.span().map_or(0, |span| span.start), message)
    })?;
    let mut entries: Vec<_> = root.get_ref().iter().collect();
    entries.sort_by_key(|(key, _)| key.span().start);
    let mut routing = None;
    for (key, value) in entries {
        match key.get_ref().as_ref() {
            RULES => draft.config.rules = file.rules(draft, value)?,
            name if ROUTING.contains(&name) => routing = routing.or(Some(key.span().start)),
            name if name.replace('-', "_") == RULES => {
                let message = format!("there is no option {name}; write [[{RULES}]]");
                return Err(file.wrong(FAILURE, key.span().start, message));
            }
            name => match Table::named(name) {
                Some(table) => file.table(draft, table, key.span().start, value)?,
                None => file.top_level(draft, name, key.span().start, value)?,
            },
        }
    }
    routing.map_or(Ok(()), |start| file.check_routing(start))
}

/// Whether a top-level key of this name may stand in the file, what clients read aside.
pub fn knows(name: &str) -> bool {
    name == RULES || Table::named(name).is_some() || Setting::named(name).is_ok()
}

/// A file being read.
pub struct File<'f> {
    path: &'f Path,
    text: &'f str,
    /// The options that have been set, each by the name it was set by.
    said: BTreeMap<&'static str, String>,
}

/// A value with its place.
pub type Value<'f> = Spanned<DeValue<'f>>;

impl File<'_> {
    fn top_level(
        &mut self,
        draft: &mut Draft,
        name: &str,
        start: usize,
        value: &Value<'_>,
    ) -> Result<(), Error> {
        if OWN_OPTIONS.contains(&name) {
            let message = format!("write --{name} on the command line, not here");
            return Err(self.wrong(FAILURE, start, message));
        }
        if let Some(why) = tables::missing(name) {
            return Err(self.wrong(FAILURE, start, why));
        }
        let setting = Setting::named(name).map_err(|error| error.at(self.place(start)))?;
        self.option(draft, setting, name, start, value)
    }

    /// Sets an option, which the file calls `name`.
    pub fn option(
        &mut self,
        draft: &mut Draft,
        setting: Setting,
        name: &str,
        start: usize,
        value: &Value<'_>,
    ) -> Result<(), Error> {
        self.stand(draft, setting, name, start)?;
        let place = self.place(start);
        let done = match (setting.kind(), value.get_ref()) {
            (Kind::Switch | Kind::SwitchOrNumber, DeValue::Boolean(on)) => setting.switch(draft, *on),
            (Kind::Texts, DeValue::Array(list)) => return self.texts(draft, setting, name, list, &place),
            (kind, plain) => match written(kind, plain) {
                Ok(plain) => setting.write(draft, plain.as_bytes()),
                Err(fix) => {
                    let exit = setting.wrong_exit(self.slice(value.span()).as_bytes());
                    Err(Error::new(exit, fix.replace("{name}", name)))
                }
            },
        };
        done.map_err(|error| self.entry_error(error, name, value, &place))
    }

    /// Takes note that an option is set here, which may happen once, and by which name.
    pub fn stand(
        &mut self,
        draft: &mut Draft,
        setting: Setting,
        name: &str,
        start: usize,
    ) -> Result<(), Error> {
        if let Some(before) = self.said.insert(setting.name, name.to_owned()) {
            let message = format!("{name} and {before} say the same; write one of them");
            return Err(self.wrong(FAILURE, start, message));
        }
        draft.stand(Some(Place::by_name(&self.place(start))));
        Ok(())
    }

    fn texts(
        &self,
        draft: &mut Draft,
        setting: Setting,
        name: &str,
        list: &DeArray<'_>,
        place: &str,
    ) -> Result<(), Error> {
        if list.is_empty() {
            let done = setting.write(draft, b"");
            return done.map_err(|error| error.in_long_names().at(format_args!("{place}: {name} = []")));
        }
        for item in list {
            let done = match item.get_ref() {
                DeValue::String(text) => setting.write(draft, text.as_bytes()),
                _ => Err(Error::new(USAGE, "write it in quotation marks")),
            };
            done.map_err(|error| self.entry_error(error, name, item, &self.place(item.span().start)))?;
        }
        Ok(())
    }

    /// `FILE line 3: memory-limit = 0: write ...`.
    pub fn entry_error(&self, error: Error, name: &str, value: &Value<'_>, place: &str) -> Error {
        let written = self.slice(value.span()).lines().next().unwrap_or_default();
        let shown: String = written.chars().take(60).collect();
        let more = if shown.len() < self.slice(value.span()).len() { "..." } else { "" };
        error.in_long_names().at(format_args!("{place}: {name} = {shown}{more}"))
    }

    /// Checks what clients and `memcarp route` read from the file of a whole fleet. The server does not use it.
    fn check_routing(&self, start: usize) -> Result<(), Error> {
        Carp::from_toml_among(self.text, |_| true).map(drop).map_err(|error| match error.line() {
            Some(_) => Error::new(USAGE, format!("{} {error}", self.path.display())),
            None => self.wrong(USAGE, start, error.to_string()),
        })
    }

    fn rules(&self, draft: &mut Draft, value: &Value<'_>) -> Result<Rules, Error> {
        let whole = "write each rule as [[expire_on_update]] with source = \"...\" and derived = [\"...\"]";
        let DeValue::Array(tables) = value.get_ref() else {
            return Err(self.wrong(USAGE, value.span().start, whole));
        };
        let mut rules = Rules::default();
        for table in tables {
            let DeValue::Table(fields) = table.get_ref() else {
                return Err(self.wrong(USAGE, table.span().start, whole));
            };
            let rule = self.rule(table.span().start, fields)?;
            if let Some(template) = rule.for_base64_only() {
                draft.advise(format!(
                    "{}: only keys sent in base64 are like `{template}`; leave its blanks out, unless that is meant",
                    self.place(table.span().start)
                ));
            }
            rules.add(rule);
        }
        Ok(rules)
    }

    fn rule(&self, start: usize, fields: &DeTable<'_>) -> Result<Rule, Error> {
        let (mut source, mut derived) = (None, None);
        for (key, value) in fields {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("source", DeValue::String(text)) => source = Some((text.as_ref(), value.span().start)),
                ("derived", DeValue::Array(list)) => derived = Some(self.templates(list)?),
                ("source", _) => {
                    return Err(self.wrong(USAGE, key.span().start, "write source = \"...\", one template"));
                }
                ("derived", _) => {
                    return Err(self.wrong(
                        USAGE,
                        key.span().start,
                        "write derived = [\"...\"], a list of templates",
                    ));
                }
                (other, _) => {
                    let message = format!("a rule has no {other}; it has source and derived");
                    return Err(self.wrong(FAILURE, key.span().start, message));
                }
            }
        }
        let missing = |what: &str| self.wrong(USAGE, start, format!("the rule needs {what}"));
        let (source, source_start) =
            source.ok_or_else(|| missing("a source: write source = \"photo:{id}\""))?;
        let derived =
            derived.ok_or_else(|| missing("derived templates: write derived = [\"thumb:{id}\"]"))?;
        let templates: Vec<String> = derived.iter().map(|(text, _)| text.clone()).collect();
        Rule::new(source, &templates).map_err(|error| {
            let of_derived = derived.iter().find(|(text, _)| *text == error.template && *text != source);
            self.wrong(USAGE, of_derived.map_or(source_start, |(_, start)| *start), error.to_string())
        })
    }

    fn templates(&self, list: &DeArray<'_>) -> Result<Vec<(String, usize)>, Error> {
        let templates = list.iter().map(|item| match item.get_ref() {
            DeValue::String(text) => Ok((text.to_string(), item.span().start)),
            _ => Err(self.wrong(USAGE, item.span().start, "write templates in quotation marks")),
        });
        templates.collect()
    }

    /// What is wrong at a byte of the file.
    pub fn wrong(&self, exit: u8, start: usize, message: impl Into<String>) -> Error {
        Error::new(exit, message).at(self.place(start))
    }

    /// `FILE line 3`.
    pub fn place(&self, start: usize) -> String {
        format!("{} line {}", self.path.display(), line(self.text.as_bytes(), start))
    }

    fn slice(&self, span: Range<usize>) -> &str {
        self.text.get(span).unwrap_or_default()
    }
}

fn line(text: &[u8], start: usize) -> usize {
    1 + text[..start.min(text.len())].iter().filter(|&&byte| byte == b'\n').count()
}

/// A value as the command line would have it, or what to write instead.
fn written(kind: Kind, value: &DeValue<'_>) -> Result<String, &'static str> {
    match (kind, value) {
        (Kind::Octal, DeValue::Integer(number)) if [8, 10].contains(&number.radix()) => {
            Ok(number.as_str().to_owned())
        }
        (Kind::Number | Kind::Fraction | Kind::SwitchOrNumber | Kind::Size, DeValue::Integer(number)) => {
            let number = i64::from_str_radix(number.as_str(), number.radix());
            number.map(|number| number.to_string()).map_err(|_| "write a smaller number")
        }
        (Kind::Fraction, DeValue::Float(number)) => Ok(number.as_str().to_owned()),
        (Kind::Octal | Kind::Size | Kind::Text | Kind::Texts, DeValue::String(text)) => Ok(text.to_string()),
        (Kind::Switch, _) => Err("write {name} = true or {name} = false"),
        (Kind::SwitchOrNumber, _) => Err("write a number without quotation marks, or true or false"),
        // Read up to the dot, or to the e, it would be another number.
        (Kind::Number, DeValue::Float(_)) => Err("write a whole number, as in {name} = 10"),
        (Kind::Number | Kind::Fraction, _) => {
            Err("write a number without quotation marks, as in {name} = 10")
        }
        (Kind::Octal, _) => Err("write a file mode in octal, \"700\" or \"770\" for example"),
        (Kind::Size, _) => Err("write a size in quotation marks, as in {name} = \"4m\""),
        (Kind::Text, DeValue::Array(_)) => Err("write one value in quotation marks, not a list"),
        (Kind::Text, _) => Err("write the value in quotation marks"),
        (Kind::Texts, _) => Err("write the value in quotation marks, or a list of such"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z_\\[\\]\"={}' ,.0-9\\n-]{0,40}|.{0,40})") {
            let _ = apply(&mut Draft::default(), Path::new("f"), text.as_bytes());
        }

        #[test]
        fn no_value_panics(which in 0usize..200, value in "(true|[0-9a-fox_.+-]{0,6}|\"[^\"\\\\\\n]{0,8}\"|\\[\"a\", [0-9]\\]|\\{a=1\\})") {
            let setting = Setting::all().nth(which % Setting::all().count()).unwrap();
            let text = format!("{} = {value}", setting.name);
            if let Err(error) = apply(&mut Draft::default(), Path::new("f"), text.as_bytes()) {
                prop_assert!(error.to_string().starts_with("f line 1: "), "{}", error);
            }
        }
    }
}
