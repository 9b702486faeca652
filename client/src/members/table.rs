//! The Proxy Array Membership Table of the 1998 draft, read and written. Knows only the text.

use super::{Address, Member, Members, MembersError};
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub(super) const HEADER: &str = "Proxy Array Information/";

/// A table as it is published: who is in the array, and for how long the answer holds.
///
/// ```
/// use memcarp_client::MembershipTable;
/// let text = "Proxy Array Information/1.0\nArrayEnabled: 1\nConfigID: 7\nArrayName: photos\nListTTL: 300\n\n\
///     a 10.0.0.1 11211 http://10.0.0.1/array memcarp 86400 UP 3 4096\n";
/// let table: MembershipTable = text.parse()?;
/// assert_eq!(table.members()?[0].weight(), 3.0);
/// # Ok::<(), memcarp_client::MembersError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MembershipTable {
    /// `ArrayEnabled`: whether the array is to be used at all.
    pub enabled: bool,
    /// `ConfigID`: equal in independently published copies of one configuration.
    pub config_id: String,
    /// `ArrayName`.
    pub name: String,
    /// `ListTTL`: after it the table must be read again. The draft says minutes in one place and
    /// seconds in another; seconds is what was deployed and what is read here.
    pub ttl: Duration,
    /// The lines of the table.
    pub entries: Vec<TableMember>,
}

/// One line of a [`MembershipTable`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TableMember {
    /// The member's identity.
    pub name: String,
    /// Its IP address, as written.
    pub address: String,
    /// Its port.
    pub port: u16,
    /// Where it publishes its own copy of the table.
    pub table_url: String,
    /// Its software.
    pub agent: String,
    /// How long it has been in its state.
    pub state_time: Duration,
    /// Its state as the publisher sees it. It does not change the routing: who answers for a member
    /// that is down is each client's own decision.
    pub up: bool,
    /// Its load factor. Zero takes it out of the array.
    pub load: u32,
    /// Its cache size in megabytes.
    pub cache_megabytes: u64,
}

impl MembershipTable {
    /// The members to route over: every line with a load factor above zero.
    pub fn members(&self) -> Result<Members, MembersError> {
        let list = self.entries.iter().filter(|entry| entry.load > 0).map(|entry| {
            let address = Address::Tcp { host: entry.address.clone(), port: entry.port };
            Member::new(&entry.name).at(address).with_weight(f64::from(entry.load))
        });
        Members::new(list.collect())
    }
}

impl FromStr for MembershipTable {
    type Err = MembersError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
        let version = lines
            .find(|(_, line)| !line.is_empty())
            .and_then(|(_, line)| line.strip_prefix(HEADER))
            .ok_or_else(|| MembersError::new(format!("a membership table begins with {HEADER}1.0")))?;
        if version.trim() != "1.0" {
            return Err(MembersError::new(format!(
                "this table has version {}, and only 1.0 can be read",
                version.trim()
            )));
        }
        let mut table = MembershipTable {
            enabled: true,
            config_id: String::new(),
            name: String::new(),
            ttl: Duration::ZERO,
            entries: Vec::new(),
        };
        for (number, line) in lines.by_ref().take_while(|(_, line)| !line.is_empty()) {
            table.header(line).map_err(|why| at(number, &why))?;
        }
        for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
            table.entries.push(entry(line).map_err(|why| at(number, &why))?);
        }
        Ok(table)
    }
}

impl MembershipTable {
    fn header(&mut self, line: &str) -> Result<(), String> {
        let (field, value) = line.split_once(':').ok_or("a header line reads Name: value")?;
        let value = value.trim();
        match field.trim().to_ascii_lowercase().as_str() {
            "arrayenabled" => {
                self.enabled = match value {
                    "0" => false,
                    "1" => true,
                    _ => return Err("ArrayEnabled is 0 or 1".to_owned()),
                }
            }
            "configid" => self.config_id = value.to_owned(),
            "arrayname" => self.name = value.to_owned(),
            "listttl" => self.ttl = Duration::from_secs(number(value, "ListTTL")?),
            _ => {} // Headers of a later draft are no error.
        }
        Ok(())
    }
}

fn entry(line: &str) -> Result<TableMember, String> {
    let fields: Vec<&str> = line.split_ascii_whitespace().collect();
    // The agent may hold spaces, so it is what lies between four fields and four.
    let ([name, address, port, table_url], [agent @ .., state_time, state, load, size]) =
        fields.split_first_chunk::<4>().filter(|(_, rest)| rest.len() >= 5).ok_or(
            "a member has nine fields: name, IP, port, URL, agent, seconds, UP or DOWN, load factor, size",
        )?
    else {
        return Err("a member has nine fields".to_owned());
    };
    Ok(TableMember {
        name: (*name).to_owned(),
        address: (*address).to_owned(),
        port: number(port, "the port")?,
        table_url: (*table_url).to_owned(),
        agent: agent.join(" "),
        state_time: Duration::from_secs(number(state_time, "the state time")?),
        up: match *state {
            "UP" => true,
            "DOWN" => false,
            _ => return Err(format!("the state is UP or DOWN, not {state:?}")),
        },
        load: number(load, "the load factor")?,
        cache_megabytes: number(size, "the cache size")?,
    })
}

fn number<N: FromStr>(text: &str, what: &str) -> Result<N, String> {
    text.parse().map_err(|_| format!("{what} is a number, not {text:?}"))
}

fn at(line: usize, why: &str) -> MembersError {
    MembersError::new(format!("line {line}: {why}"))
}

impl fmt::Display for MembershipTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{HEADER}1.0\r\nArrayEnabled: {}\r\n", u8::from(self.enabled))?;
        write!(f, "ConfigID: {}\r\nArrayName: {}\r\n", self.config_id, self.name)?;
        write!(f, "ListTTL: {}\r\n\r\n", self.ttl.as_secs())?;
        self.entries.iter().try_for_each(|e| {
            write!(
                f,
                "{} {} {} {} {} {} {} {} {}\r\n",
                e.name,
                e.address,
                e.port,
                e.table_url,
                e.agent,
                e.state_time.as_secs(),
                if e.up { "UP" } else { "DOWN" },
                e.load,
                e.cache_megabytes
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "Proxy Array Information/1.0\r\nArrayEnabled: 1\r\nConfigID: 0x1f\r\n\
        ArrayName: photos\r\nListTTL: 300\r\n\r\n\
        a 10.0.0.1 11211 http://10.0.0.1/array memcarp 86400 UP 3 4096\r\n\
        b 10.0.0.2 11212 http://10.0.0.2/array Some Agent (x y)/1 5 DOWN 1 1024\r\n\
        c 10.0.0.3 11211 http://10.0.0.3/array memcarp 5 UP 0 1024\r\n";

    #[test]
    fn a_table_is_read_and_written_back() {
        let table: MembershipTable = TABLE.parse().unwrap();
        assert_eq!(table.to_string(), TABLE);
        assert_eq!(table.entries[1].agent, "Some Agent (x y)/1");
        assert!(!table.entries[1].up);
        let members = table.members().unwrap();
        let names: Vec<_> = members.iter().map(|m| (m.name(), m.weight())).collect();
        assert_eq!(names, [("a", 3.0), ("b", 1.0)]);
        assert_eq!(Members::from_text(TABLE).unwrap(), members);
    }

    #[test]
    fn errors_name_the_line() {
        for (from, to, words) in [
            ("n/1.0", "n/2.0", "version 2.0"),
            ("11212", "x", "line 8: the port is a number"),
            ("DOWN", "AWAY", "line 8: the state"),
            (" UP 3 4096", "", "line 7: a member has nine fields"),
            ("Enabled: 1", "Enabled: yes", "line 2: ArrayEnabled"),
            ("Proxy", "Prox", "begins with"),
        ] {
            let error = TABLE.replacen(from, to, 1).parse::<MembershipTable>().unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
