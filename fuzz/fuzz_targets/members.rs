//! Lists of members as clients read them: any text is a list that can be routed over or an error that says something,
//! and a table that was read is read back as the same from what it writes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use memcarp_client::{Carp, Members, MembershipTable};

/// Ranking is quick, but a text of this length can name thousands.
const MOST_MEMBERS: usize = 64;

fuzz_target!(|text: &str| {
    if let Ok(table) = text.parse::<MembershipTable>() {
        let written = table.to_string();
        let again: MembershipTable = written.parse().unwrap_or_else(|error| panic!("{error}: {written:?}"));
        assert_eq!(again, table, "{written:?}");
        assert_eq!(table.members().is_ok(), again.members().is_ok());
    }
    match Carp::from_toml(text) {
        Ok(carp) => route(&carp),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    match Members::from_text(text) {
        Ok(members) => {
            if let Ok(carp) = Carp::new(members) {
                route(&carp);
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});

fn route(carp: &Carp) {
    if carp.members().len() > MOST_MEMBERS {
        return;
    }
    for member in carp.members().iter() {
        assert!(!member.name().is_empty() && member.weight() > 0.0, "{member:?}");
        let _ = member.address();
    }
    for key in [&b"a"[..], b"{tag}x", b"photo:42", b"", b"{}"] {
        let ranked = carp.rank(key);
        assert_eq!(ranked.len(), carp.members().len());
        assert_eq!(ranked[0].member.name(), carp.owner(key).name());
    }
}
