//! Whether what happened to one key could have happened one after the other. Knows no server.

use super::history::Op;
use std::collections::HashSet;

/// A command and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// What was there: the value, and the CAS value if it was asked for.
    Read(Option<(String, Option<u64>)>),
    Put(String),
    /// Whether it was stored, as for the next four.
    Add(String, bool),
    Replace(String, bool),
    Append(String, bool),
    Prepend(String, bool),
    /// Stored, or not because the CAS value was another, or because nothing was there.
    Cas(String, u64, Compared),
    /// Whether something was there, as for the next two.
    Delete(bool),
    /// Served as stale from then on, with another CAS value.
    MarkStale(bool),
    Touch(bool),
    /// By how much, and the number after it.
    Count(i64, Option<u64>),
    /// It could not be counted, because it is no number.
    NoNumber,
    /// The item had this CAS value at some time.
    Had(u64),
    /// A step, and the CAS value the item had after it.
    Showing(Box<Step>, u64),
    /// Two steps, one right after the other.
    Both(Box<Step>, Box<Step>),
    /// One of two steps, whichever was possible.
    Either(Box<Step>, Box<Step>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    Stored,
    Exists,
    NotFound,
}

/// The value, and its CAS value if somebody has seen it since it was given.
type State = Option<(String, Option<u64>)>;

/// The state and which of the commands under way have taken effect, by their slots.
type Moment = (State, u64);

/// Goes through invocations and returns in order of time and keeps all that may be the case at each: what the state
/// is, and which commands under way have taken effect. A command must have by the time it returns. If items may be
/// lost, nothing may be there at any time.
pub fn check(ops: &[&Op], may_lose: bool) -> Result<(), String> {
    let mut events: Vec<(u64, bool, usize)> = Vec::with_capacity(ops.len() * 2);
    for (number, op) in ops.iter().enumerate() {
        events.push((op.span.invoked, false, number));
        events.push((op.span.returned, true, number));
    }
    events.sort_unstable();
    let mut under_way: [Option<&Op>; 64] = [None; 64];
    let mut slots = vec![0; ops.len()];
    let mut moments: HashSet<Moment> = HashSet::from([(None, 0)]);
    for (at, (_, returns, number)) in events.iter().enumerate() {
        if !returns {
            let free = under_way.iter().position(Option::is_none).expect("fewer than 64 clients");
            slots[*number] = free;
            under_way[free] = Some(ops[*number]);
            continue;
        }
        let bit = 1 << slots[*number];
        let mut all = moments.clone();
        let mut ahead: Vec<Moment> = moments.into_iter().collect();
        while let Some((state, done)) = ahead.pop() {
            let mut reach = |moment: Moment| {
                if all.insert(moment.clone()) {
                    ahead.push(moment);
                }
            };
            if may_lose && state.is_some() {
                reach((None, done));
            }
            for (slot, op) in under_way.iter().enumerate() {
                if let Some(op) = op
                    && done & 1 << slot == 0
                    && let Some(after) = after(&state, &op.step)
                {
                    reach((after, done | 1 << slot));
                }
            }
        }
        moments =
            all.into_iter().filter(|(_, done)| done & bit != 0).map(|(s, done)| (s, done & !bit)).collect();
        under_way[slots[*number]] = None;
        if moments.is_empty() {
            let before = events[..at].iter().rev().filter(|(_, returns, _)| *returns).take(12);
            let before: Vec<String> = before.map(|&(_, _, number)| format!("{:?}", ops[number])).collect();
            return Err(format!(
                "{:?} cannot have happened\nunder way: {:?}\nbefore it, latest first:\n{}",
                ops[*number],
                under_way.iter().flatten().collect::<Vec<_>>(),
                before.join("\n")
            ));
        }
    }
    Ok(())
}

/// The state after a step that begins in this one; `None` if it could not have come out as it did.
fn after(state: &State, step: &Step) -> Option<State> {
    let unseen = |value: &str| Some((value.to_owned(), None));
    let same = |possible: bool| possible.then(|| state.clone());
    match (step, state) {
        (Step::Read(None), _) => same(state.is_none()),
        (Step::Read(Some((seen, cas))), Some((value, known))) => {
            let possible =
                seen.trim_end() == value.trim_end() && (cas.is_none() || known.is_none() || cas == known);
            possible.then(|| Some((value.clone(), known.or(*cas))))
        }
        (Step::Put(value), _) | (Step::Add(value, true), None) | (Step::Replace(value, true), Some(_)) => {
            Some(unseen(value))
        }
        (Step::Add(_, false) | Step::Touch(true), _) => same(state.is_some()),
        (Step::Replace(_, false) | Step::Append(_, false) | Step::Prepend(_, false), _) => {
            same(state.is_none())
        }
        (Step::Append(more, true), Some((value, _))) => Some(unseen(&format!("{value}{more}"))),
        (Step::Prepend(more, true), Some((value, _))) => Some(unseen(&format!("{more}{value}"))),
        (Step::Cas(value, cas, Compared::Stored), Some((_, Some(known)))) if cas == known => {
            Some(unseen(value))
        }
        (Step::Cas(_, cas, Compared::Exists), Some((_, known))) => same(Some(*cas) != *known),
        (Step::Cas(_, _, Compared::NotFound) | Step::Touch(false), _) => same(state.is_none()),
        (Step::Delete(hit), _) if *hit == state.is_some() => Some(None),
        (Step::MarkStale(true), Some((value, _))) => Some(unseen(value)),
        (Step::MarkStale(false) | Step::Count(_, None), None) => Some(None),
        (Step::Count(delta, Some(result)), Some((value, _))) => {
            let old: u64 = value.trim_end().parse().ok()?;
            let new = match delta {
                0.. => old.wrapping_add(*delta as u64),
                _ => old.saturating_sub(delta.unsigned_abs()),
            };
            // A shorter number keeps the length of the longer one before it.
            (new == *result).then(|| unseen(&format!("{new:<width$}", width = value.len())))
        }
        (Step::NoNumber, Some((value, _))) => same(value.trim_end().parse::<u64>().is_err()),
        (Step::Had(cas), Some((_, known))) => same(Some(*cas) == *known),
        (Step::Showing(step, cas), _) => match after(state, step)? {
            Some((value, known)) if known.is_none_or(|known| known == *cas) => {
                Some(Some((value, Some(*cas))))
            }
            _ => None,
        },
        (Step::Both(one, other), _) => after(&after(state, one)?, other),
        (Step::Either(one, other), _) => after(state, one).or_else(|| after(state, other)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::Span;
    use super::*;

    fn run(steps: &[(u64, u64, Step)], may_lose: bool) -> Result<(), String> {
        let ops: Vec<Op> = steps
            .iter()
            .map(|(invoked, returned, step)| Op {
                key: "key".to_owned(),
                span: Span { invoked: *invoked, returned: *returned },
                step: step.clone(),
                updates: false,
            })
            .collect();
        check(&ops.iter().collect::<Vec<_>>(), may_lose)
    }

    fn put(value: &str) -> Step {
        Step::Put(value.to_owned())
    }

    fn read(value: &str) -> Step {
        Step::Read(Some((value.to_owned(), None)))
    }

    fn read_cas(value: &str, cas: u64) -> Step {
        Step::Read(Some((value.to_owned(), Some(cas))))
    }

    #[test]
    fn a_read_of_an_older_value_is_found() {
        run(&[(0, 1, put("a")), (2, 3, put("b")), (4, 5, read("a"))], false).unwrap_err();
        run(&[(0, 1, put("a")), (2, 5, put("b")), (4, 6, read("a"))], false).unwrap();
        run(&[(0, 1, put("a")), (2, 3, Step::Delete(true)), (4, 5, read("a"))], true).unwrap_err();
    }

    #[test]
    fn two_reads_at_the_same_time_as_a_write_agree_on_when_it_was() {
        let both = |first, second| [(0, 1, put("a")), (2, 9, put("b")), (3, 4, first), (5, 6, second)];
        run(&both(read("a"), read("b")), false).unwrap();
        run(&both(read("b"), read("a")), false).unwrap_err();
    }

    #[test]
    fn a_loss_is_found_where_nothing_may_be_lost() {
        let lost = [(0, 1, put("a")), (2, 3, Step::Read(None))];
        run(&lost, false).unwrap_err();
        run(&lost, true).unwrap();
        run(&[(0, 1, put("a")), (2, 3, Step::Read(None)), (4, 5, read("a"))], true).unwrap_err();
    }

    #[test]
    fn a_store_that_compared_and_should_not_have_been_is_found() {
        let history = |step| [(0, 1, put("a")), (2, 3, read_cas("a", 7)), (4, 5, put("b")), (6, 7, step)];
        let cas = |compared| Step::Cas("c".to_owned(), 7, compared);
        run(&history(cas(Compared::Stored)), false).unwrap_err();
        run(&history(cas(Compared::Exists)), false).unwrap();
        run(&history(cas(Compared::NotFound)), false).unwrap_err();
        run(&history(Step::Had(7)), false).unwrap_err();
        run(&[(0, 1, put("a")), (2, 3, read_cas("a", 7)), (6, 7, Step::Had(7))], false).unwrap();
    }

    #[test]
    fn a_cas_value_that_a_store_showed_is_the_items() {
        let showing = |value, cas| Step::Showing(Box::new(put(value)), cas);
        let history = |read| [(0, 1, showing("a", 7)), (2, 3, read)];
        run(&history(read_cas("a", 7)), false).unwrap();
        run(&history(read_cas("a", 8)), false).unwrap_err();
        run(&history(Step::Cas("b".to_owned(), 7, Compared::Stored)), false).unwrap();
        run(&history(Step::Cas("b".to_owned(), 7, Compared::Exists)), false).unwrap_err();
        run(&[(0, 1, showing("a", 7)), (2, 3, showing("a", 7)), (4, 5, Step::Had(8))], false).unwrap_err();
    }

    #[test]
    fn what_makes_an_item_or_changes_one_does_either() {
        let join = || {
            let more = "b".to_owned();
            Step::Either(Box::new(Step::Append(more.clone(), true)), Box::new(Step::Add(more, true)))
        };
        run(&[(0, 1, put("a")), (2, 3, join()), (4, 5, read("ab"))], false).unwrap();
        run(&[(2, 3, join()), (4, 5, read("b"))], false).unwrap();
        run(&[(0, 1, put("a")), (2, 3, join()), (4, 5, read("b"))], false).unwrap_err();
        run(&[(0, 1, put("5")), (2, 3, Step::NoNumber)], false).unwrap_err();
        run(&[(0, 1, put("x")), (2, 3, Step::NoNumber)], false).unwrap();
    }

    #[test]
    fn a_lease_given_twice_is_found() {
        let lease = |cas| Step::Showing(Box::new(Step::Add(String::new(), true)), cas);
        run(&[(0, 3, lease(7)), (1, 2, lease(8))], false).unwrap_err();
        run(&[(0, 1, lease(7)), (2, 3, Step::Delete(true)), (4, 5, lease(8))], false).unwrap();
        run(&[(0, 1, lease(7)), (2, 3, read_cas("", 7))], false).unwrap();
    }

    #[test]
    fn a_lost_count_is_found() {
        let count = |result| Step::Count(1, Some(result));
        run(&[(0, 1, put("5")), (2, 9, count(7)), (3, 8, count(6))], false).unwrap();
        run(&[(0, 1, put("5")), (2, 9, count(6)), (3, 8, count(6))], false).unwrap_err();
    }
}
