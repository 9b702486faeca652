//! The tables of the configuration file: options that belong together, under short names. Each key is an option.

use toml::de::{DeTable, DeValue};

use super::draft::{Draft, Place};
use super::error::{Error, FAILURE, USAGE};
use super::listen;
use super::setting::{Setting, nearest, similar};
use super::toml_file::{File, Value};

/// A table.
pub struct Table {
    /// `tls` of `[tls]`.
    pub name: &'static str,
    /// The option that the table turns on by being there.
    turns_on: Option<&'static str>,
    keys: &'static [Key],
}

/// A key of a table.
struct Key {
    name: &'static str,
    /// The option it says.
    option: &'static str,
    /// Words that may be said in place of the option's numbers.
    words: &'static [(&'static str, &'static str)],
}

/// Every table of options, but for the lists of tables.
const TABLES: &[Table] = &[
    Table {
        name: "tls",
        turns_on: Some("enable-ssl"),
        keys: &[
            key("certificate", "ssl_chain_cert"),
            key("key", "ssl_key"),
            Key { name: "key-format", option: "ssl_keyformat", words: &[("pem", "1"), ("der", "2")] },
            key("client-authorities", "ssl_ca_cert"),
            Key {
                name: "client-certificates",
                option: "ssl_verify_mode",
                words: &[("no", "0"), ("optional", "1"), ("required", "2")],
            },
            key("allowed-names", "ssl-allowed-names"),
            Key { name: "min-version", option: "ssl_min_version", words: &[("1.2", "2"), ("1.3", "3")] },
            key("session-cache", "ssl_session_cache"),
        ],
    },
    Table { name: "auth", turns_on: None, keys: &[key("file", "auth-file")] },
    Table {
        name: "metrics",
        turns_on: None,
        keys: &[
            key("listen", "metrics-listen"),
            key("allow", "metrics-allow"),
            key("auth-file", "metrics-auth-file"),
            key("certificate", "metrics-ssl-chain-cert"),
            key("key", "metrics-ssl-key"),
            key("client-authorities", "metrics-ssl-ca-cert"),
        ],
    },
    Table { name: LISTENERS, turns_on: None, keys: &[] },
];

/// The list of tables that say where to listen.
const LISTENERS: &str = "listeners";
/// The list of tables that say who is in the fleet.
const MEMBERS: &str = "members";
/// Every key that says how clients route: what the client crate reads.
pub const ROUTING: [&str; 4] = ["scheme", "hash_tags", "member", MEMBERS];

const fn key(name: &'static str, option: &'static str) -> Key {
    Key { name, option, words: &[] }
}

/// What to do instead of a table that is not there.
pub fn missing(name: &str) -> Option<String> {
    let table = nearest(name, TABLES.iter().map(|table| table.name).chain([MEMBERS]))?;
    let written =
        if [LISTENERS, MEMBERS].contains(&table) { format!("[[{table}]]") } else { format!("[{table}]") };
    similar(name).is_none().then(|| format!("there is no table {name}; write {written}"))
}

impl Table {
    /// The table of this name.
    pub fn named(name: &str) -> Option<&'static Table> {
        TABLES.iter().find(|table| table.name == name)
    }
}

impl File<'_> {
    /// Sets what a table says.
    pub fn table(
        &mut self,
        draft: &mut Draft,
        table: &Table,
        start: usize,
        value: &Value<'_>,
    ) -> Result<(), Error> {
        let name = table.name;
        if name == LISTENERS {
            return self.listeners(draft, start, value);
        }
        let DeValue::Table(fields) = value.get_ref() else {
            return Err(self.wrong(USAGE, start, format!("write {name} as a table, [{name}]")));
        };
        if let Some(option) = table.turns_on {
            let setting = Setting::named(option)?;
            self.stand(draft, setting, &format!("[{name}]"), start)?;
            setting.switch(draft, true)?;
        }
        for (written, value) in fields {
            let start = written.span().start;
            let Some(key) = table.keys.iter().find(|key| key.name == written.get_ref()) else {
                return Err(self.unknown_key(written.get_ref(), name, table.keys, start));
            };
            let setting = Setting::named(key.option)?;
            let shown = format!("{name}.{}", key.name);
            match value.get_ref() {
                DeValue::String(word) if !key.words.is_empty() => {
                    let Some((_, number)) = key.words.iter().find(|(other, _)| other == word) else {
                        let words: Vec<_> = key.words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
                        let error = Error::new(USAGE, format!("write {}", words.join(" or ")));
                        return Err(self.entry_error(error, &shown, value, &self.place(start)));
                    };
                    self.stand(draft, setting, &shown, start)?;
                    setting.write(draft, number.as_bytes())?;
                }
                _ => self.option(draft, setting, &shown, start, value)?,
            }
        }
        Ok(())
    }

    fn unknown_key(&self, written: &str, table: &str, keys: &[Key], start: usize) -> Error {
        let message = match nearest(written, keys.iter().map(|key| key.name)) {
            Some(other) => format!("[{table}] has no {written}; write {other}"),
            None => {
                let names: Vec<_> = keys.iter().map(|key| key.name).collect();
                format!("[{table}] has no {written}; it has {}", names.join(", "))
            }
        };
        self.wrong(FAILURE, start, message)
    }

    /// `[[listeners]]`: each is an address of `-l`, or the UNIX socket of `-s`.
    fn listeners(&mut self, draft: &mut Draft, start: usize, value: &Value<'_>) -> Result<(), Error> {
        let whole = "write each listener as [[listeners]] with address = \"HOST:PORT\" or unix = \"/PATH\"";
        let DeValue::Array(tables) = value.get_ref() else {
            return Err(self.wrong(USAGE, start, whole));
        };
        let (listen, unix) = (Setting::named("listen")?, Setting::named("unix-socket")?);
        for (at, table) in tables.iter().enumerate() {
            let start = table.span().start;
            let DeValue::Table(fields) = table.get_ref() else {
                return Err(self.wrong(USAGE, start, whole));
            };
            match self.listener(start, fields)? {
                Listener::Tcp { address, start: address_start, tls_start } => {
                    if at == 0 {
                        self.stand(draft, listen, LISTENERS, start)?;
                    }
                    draft.stand(Some(Place::in_table(&self.place(tls_start.unwrap_or(start)))));
                    self.said_at(listen.write(draft, address.as_bytes()), address_start)?;
                }
                Listener::Unix { start, .. } if tables.len() > 1 => {
                    let message = "a UNIX socket takes the place of TCP; let it be the only listener";
                    return Err(self.wrong(USAGE, start, message));
                }
                Listener::Unix { path, start: path_start, mode } => {
                    self.stand(draft, unix, LISTENERS, start)?;
                    if let Some((mode, start)) = mode {
                        self.said_at(Setting::named("unix-mask")?.write(draft, mode.as_bytes()), start)?;
                    }
                    self.said_at(unix.write(draft, path.as_bytes()), path_start)?;
                }
            }
        }
        Ok(())
    }

    fn said_at(&self, done: Result<(), Error>, start: usize) -> Result<(), Error> {
        done.map_err(|error| error.in_long_names().at(self.place(start)))
    }

    fn listener(&self, start: usize, fields: &DeTable<'_>) -> Result<Listener, Error> {
        let (mut address, mut unix, mut mode, mut prefix, mut tls_start) = (None, None, None, "", None);
        let (mut allow, mut tag) = (String::new(), String::new());
        for (key, value) in fields {
            let start = key.span().start;
            let text = match (key.get_ref().as_ref(), value.get_ref()) {
                (_, DeValue::String(text)) => Some(text.to_string()),
                ("allow", DeValue::Array(list)) => {
                    let networks = list.iter().map(|network| network.get_ref().as_str());
                    networks.collect::<Option<Vec<_>>>().map(|networks| networks.join(","))
                }
                _ => None,
            };
            let text = text.ok_or_else(|| {
                self.wrong(USAGE, start, format!("write {} in quotation marks", key.get_ref()))
            })?;
            match (key.get_ref().as_ref(), text.as_str()) {
                ("address", text) if text.contains([',', ';']) => {
                    let message = "a listener has one address; write [[listeners]] once for each";
                    return Err(self.wrong(USAGE, start, message));
                }
                ("address", text) => address = Some((text.to_owned(), start)),
                ("unix", text) => unix = Some((text.to_owned(), start)),
                ("mode", text) => mode = Some((text.to_owned(), start)),
                ("tag", text) => tag = self.prefix(format!("tag[{text}]:"), start)?,
                ("allow", text) => {
                    allow = self.prefix(format!("allow[{}]:", text.replace(',', "+")), start)?;
                }
                ("tls", word) => {
                    tls_start = Some(start);
                    prefix = match word {
                        "off" => "notls:",
                        "on" => "btls:",
                        "mutual" => "mtls:",
                        _ => {
                            let message = "write tls = \"off\", \"on\" or \"mutual\"";
                            return Err(self.wrong(USAGE, start, message));
                        }
                    };
                }
                (other, _) => {
                    let message = format!(
                        "a listener has no {other}; it has address, tls, allow and tag, or unix and mode"
                    );
                    return Err(self.wrong(FAILURE, start, message));
                }
            }
        }
        match (address, unix) {
            (Some((address, start)), None) if mode.is_none() => {
                Ok(Listener::Tcp { address: format!("{prefix}{allow}{tag}{address}"), start, tls_start })
            }
            (None, Some((path, start))) if tls_start.is_none() && allow.is_empty() && tag.is_empty() => {
                Ok(Listener::Unix { path, start, mode })
            }
            (None, None) => Err(self.wrong(
                USAGE,
                start,
                "the listener needs address = \"HOST:PORT\" or unix = \"/PATH\"",
            )),
            _ => {
                let message = "a listener has an address, and may have tls, allow and tag; or it has unix, and \
                               may have mode";
                Err(self.wrong(USAGE, start, message))
            }
        }
    }

    /// A prefix of `-l`, if it is one.
    fn prefix(&self, prefix: String, start: usize) -> Result<String, Error> {
        self.said_at(listen::read(&format!("{prefix}*")).map(drop), start)?;
        Ok(prefix)
    }
}

/// What one of `[[listeners]]` says, and where in the file.
enum Listener {
    /// An entry of `-l`.
    Tcp { address: String, start: usize, tls_start: Option<usize> },
    /// `-s` and `-a`.
    Unix { path: String, start: usize, mode: Option<(String, usize)> },
}
