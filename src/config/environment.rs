//! Options in the environment: `MEMCARP_MEMORY_LIMIT=1024`. Reads no environment itself.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::draft::{Draft, Place};
use super::error::{Error, FAILURE};
use super::setting::{Kind, Setting, similar};

/// The environment's variables.
pub type Variables = [(OsString, OsString)];

const PREFIX: &str = "MEMCARP_";

/// The variable of an option.
pub fn variable(long: &str) -> String {
    format!("{PREFIX}{}", long.to_ascii_uppercase().replace('-', "_"))
}

/// The value of an option's variable; one that is empty counts as not there.
pub fn value<'v>(variables: &'v Variables, long: &str) -> Option<&'v OsStr> {
    let name = variable(long);
    let found = variables.iter().find(|(other, _)| *other == *name)?;
    // Kubernetes and Docker tell every container of a service called memcarp where it is, under the port option's name.
    let service = long == "port"
        && [&b"tcp://"[..], b"udp://"].iter().any(|scheme| found.1.as_bytes().starts_with(scheme));
    (!found.1.is_empty() && !service).then_some(&found.1)
}

/// Sets what the variables say, and warns of one that was probably meant to say something.
pub fn apply(draft: &mut Draft, variables: &Variables) -> Result<(), Error> {
    for setting in Setting::all() {
        let Some(value) = value(variables, setting.name) else { continue };
        let name = variable(setting.name);
        draft.stand(Some(Place::by_name(&name)));
        let done = match setting.kind() {
            Kind::Switch => truth(value).and_then(|on| setting.switch(draft, on)),
            _ => setting.write(draft, value.as_bytes()),
        };
        done.map_err(|error| error.in_long_names().at(format_args!("{name}={}", value.display())))?;
    }
    draft.stand(None);
    for (name, _) in variables {
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
        let written = rest.to_ascii_lowercase().replace('_', "-");
        if let Some(other) = similar(&written).map(variable).filter(|other| *name != **other) {
            draft.doubt(format_args!("{PREFIX}{rest} says nothing; write {other}"));
        }
    }
    Ok(())
}

fn truth(value: &OsStr) -> Result<bool, Error> {
    match value.to_ascii_lowercase().as_bytes() {
        b"1" | b"true" | b"yes" | b"on" => Ok(true),
        b"0" | b"false" | b"no" | b"off" => Ok(false),
        _ => Err(Error::new(FAILURE, "write 1 or 0, true or false")),
    }
}
