//! What clients did and saw, with times, and what no such history may contain. Knows no server.
//!
//! An operation takes effect at some moment between its invocation and its return. What is called a violation here
//! is one whatever those moments are.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::register::{self, Step};

/// From invocation to return, in nanoseconds of one clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub invoked: u64,
    pub returned: u64,
}

/// One command on one key.
#[derive(Clone, Debug)]
pub struct Op {
    pub key: String,
    pub span: Span,
    pub step: Step,
    /// It says that the data behind the key has changed.
    pub updates: bool,
}

/// A dependent that was stored, known by a name that its value begins with.
#[derive(Clone, Debug)]
pub struct Stored {
    pub name: String,
    pub key: String,
    pub span: Span,
    pub claims: Vec<Claim>,
    /// Dependents that it was derived from, found there by their CAS values: their claims are its own.
    pub through: Vec<String>,
}

/// An update of `source` that was invoked at `since` or later outdates whoever claims this.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Claim {
    pub source: String,
    pub since: u64,
}

#[derive(Debug, Default)]
pub struct History {
    pub ops: Vec<Op>,
    pub stored: Vec<Stored>,
}

/// How much of the history said anything.
#[derive(Debug, Default)]
pub struct Weight {
    /// Reads that returned a dependent with sources.
    pub reads: usize,
    /// Stores of dependents with sources.
    pub stores: usize,
    /// Pairs of a read or store and a source that was updated at some time.
    pub claims: usize,
}

impl History {
    pub fn absorb(&mut self, other: History) {
        self.ops.extend(other.ops);
        self.stored.extend(other.stored);
    }

    /// No read returns a dependent that was outdated when the read began; no store that compared succeeds when a
    /// source had changed before it began.
    pub fn check_sources(&self) -> Result<Weight, String> {
        let updates = Updates::of(&self.ops);
        let names: HashMap<&str, &Stored> =
            self.stored.iter().map(|stored| (stored.name.as_str(), stored)).collect();
        let mut known = HashMap::new();
        let mut weight = Weight::default();
        for stored in &self.stored {
            let claims = claims(stored, &names, &mut known);
            weight.stores += usize::from(!claims.is_empty());
            for claim in claims {
                weight.claims += usize::from(updates.any(claim));
                if let Some(update) = updates.between(claim, stored.span.invoked) {
                    return Err(format!(
                        "{stored:?}\nwas stored, though {} had been updated: {update:?}, which is after {}",
                        claim.source, claim.since
                    ));
                }
            }
        }
        for op in &self.ops {
            let Step::Read(Some((value, _))) = &op.step else { continue };
            for name in value.split('+') {
                let Some(stored) = names.get(name) else { continue };
                let claims = claims(stored, &names, &mut known);
                weight.reads += usize::from(!claims.is_empty());
                for claim in claims.iter().filter(|claim| claim.source != op.key) {
                    weight.claims += usize::from(updates.any(claim));
                    if let Some(update) = updates.between(claim, op.span.invoked) {
                        return Err(format!(
                            "{op:?}\nreturned {stored:?}\nthough {} had been updated: {update:?}, which is \
                             after {}",
                            claim.source, claim.since
                        ));
                    }
                }
            }
        }
        Ok(weight)
    }

    /// The commands on each key can be put in an order in which each answers what it did. Items may be lost at any
    /// time, except those of `lasting` keys.
    pub fn check_keys(&self, lasting: impl Fn(&str) -> bool) -> Result<(), String> {
        let mut keys: BTreeMap<&str, Vec<&Op>> = BTreeMap::new();
        for op in &self.ops {
            keys.entry(&op.key).or_default().push(op);
        }
        keys.into_iter().try_for_each(|(key, ops)| {
            register::check(&ops, !lasting(key)).map_err(|error| format!("key {key}: {error}"))
        })
    }
}

/// All that a dependent claims, what it claims through others included.
fn claims<'k>(
    stored: &Stored,
    names: &HashMap<&str, &Stored>,
    known: &'k mut HashMap<String, Vec<Claim>>,
) -> &'k [Claim] {
    if !known.contains_key(&stored.name) {
        let mut all: HashSet<Claim> = stored.claims.iter().cloned().collect();
        for other in stored.through.iter().filter_map(|name| names.get(name.as_str())) {
            // What names itself is not outdated by its own making.
            let taken = claims(other, names, known).iter().filter(|claim| claim.source != other.key);
            all.extend(taken.cloned());
        }
        known.insert(stored.name.clone(), all.into_iter().collect());
    }
    &known[&stored.name]
}

/// The updates of each key: by invocation, each with the earliest return of it and those invoked later.
struct Updates(HashMap<String, Vec<(Span, Span)>>);

impl Updates {
    fn of(ops: &[Op]) -> Updates {
        let mut keys: HashMap<String, Vec<(Span, Span)>> = HashMap::new();
        for op in ops.iter().filter(|op| op.updates) {
            keys.entry(op.key.clone()).or_default().push((op.span, op.span));
        }
        for spans in keys.values_mut() {
            spans.sort_by_key(|(span, _)| span.invoked);
            let mut first: Option<Span> = None;
            for (span, earliest) in spans.iter_mut().rev() {
                let known = *first.get_or_insert(*span);
                first = Some(if span.returned < known.returned { *span } else { known });
                *earliest = first.unwrap_or(*span);
            }
        }
        Updates(keys)
    }

    fn any(&self, claim: &Claim) -> bool {
        self.0.contains_key(&claim.source)
    }

    /// An update that outdates whoever claims this, and that has returned by `until`.
    fn between(&self, claim: &Claim, until: u64) -> Option<Span> {
        let spans = self.0.get(&claim.source)?;
        let at = spans.partition_point(|(span, _)| span.invoked < claim.since);
        spans.get(at).map(|&(_, earliest)| earliest).filter(|earliest| earliest.returned <= until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn op(key: &str, invoked: u64, returned: u64, step: Step) -> Op {
        let updates = matches!(step, Step::Put(_) | Step::Delete(_));
        Op { key: key.to_owned(), span: Span { invoked, returned }, step, updates }
    }

    fn stored(name: &str, key: &str, times: (u64, u64), claims: &[(&str, u64)], through: &[&str]) -> Stored {
        let claims =
            claims.iter().map(|&(source, since)| Claim { source: source.to_owned(), since }).collect();
        let span = Span { invoked: times.0, returned: times.1 };
        let through = through.iter().map(|name| (*name).to_owned()).collect();
        Stored { name: name.to_owned(), key: key.to_owned(), span, claims, through }
    }

    fn read(key: &str, invoked: u64, value: &str) -> Op {
        op(key, invoked, invoked + 1, Step::Read(Some((value.to_owned(), None))))
    }

    fn update(key: &str, invoked: u64, returned: u64) -> Op {
        op(key, invoked, returned, Step::Delete(false))
    }

    #[test]
    fn a_dependent_stored_before_an_update_and_read_after_it_is_found() {
        let stored = vec![stored("t1", "thumb", (10, 20), &[("photo", 20)], &[])];
        let history = |ops| History { ops, stored: stored.clone() };
        let bad = history(vec![update("photo", 20, 30), read("thumb", 30, "t1")]);
        assert!(bad.check_sources().unwrap_err().contains("returned"));
        let added_to = history(vec![update("photo", 20, 30), read("thumb", 30, "x+t1")]);
        added_to.check_sources().unwrap_err();
        // The update may have come before the store, or the read before the update.
        history(vec![update("photo", 19, 30), read("thumb", 30, "t1")]).check_sources().unwrap();
        history(vec![update("photo", 20, 31), read("thumb", 30, "t1")]).check_sources().unwrap();
        history(vec![update("other", 20, 30), read("thumb", 30, "t1")]).check_sources().unwrap();
    }

    #[test]
    fn an_update_behind_a_slow_one_is_found() {
        let stored = vec![stored("t1", "thumb", (10, 20), &[("photo", 20)], &[])];
        let ops = vec![update("photo", 20, 90), update("photo", 25, 30), read("thumb", 30, "t1")];
        History { ops, stored }.check_sources().unwrap_err();
    }

    #[test]
    fn a_store_of_a_stale_source_that_succeeds_is_found() {
        let stored = |invoked| vec![stored("t1", "thumb", (invoked, invoked + 9), &[("photo", 5)], &[])];
        let ops = vec![update("photo", 6, 8)];
        let bad = History { ops: ops.clone(), stored: stored(8) };
        assert!(bad.check_sources().unwrap_err().contains("was stored, though photo had been updated"));
        History { ops, stored: stored(7) }.check_sources().unwrap();
    }

    #[test]
    fn a_chain_is_followed_but_not_through_what_names_itself() {
        let thumb = stored("t1", "thumb", (10, 20), &[("photo", 5), ("thumb", 5)], &[]);
        let page = stored("p1", "page", (30, 40), &[("thumb", 25)], &["t1"]);
        let history = |ops| History { ops, stored: vec![thumb.clone(), page.clone()] };
        let bad = history(vec![update("photo", 50, 60), read("page", 60, "p1")]);
        bad.check_sources().unwrap_err();
        let of_thumb = op("thumb", 10, 20, Step::Put("t1".to_owned()));
        history(vec![of_thumb, read("page", 60, "p1")]).check_sources().unwrap();
        history(vec![update("thumb", 26, 60), read("page", 60, "p1")]).check_sources().unwrap_err();
    }
}
