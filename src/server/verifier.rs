//! Computes the hashes of passwords on a thread of its own, one at a time, so that no client waits for another's.
//!
//! Those who have the fewest wrong attempts to answer for, and the fewest others of their address before them, come
//! first. So whoever asks for much keeps itself waiting, and no others.

use super::error::Error;
use crate::command::auth::attempts::Asker;
use crate::command::auth::{Check, Done, Verdict};
use parking_lot::{Condvar, Mutex};
use std::net::IpAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// What is to be computed, and who waits for it.
#[derive(Default)]
pub(super) struct Verifier {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// What is being computed. Only the thread takes it away.
    current: Option<Job>,
    /// What comes after it, in the order in which it was asked for; at most [`JOBS`].
    jobs: Vec<Job>,
    ended: bool,
}

/// One user and password, asked for from one address.
struct Job {
    owner: Option<IpAddr>,
    /// Wrong attempts of its address, and its other jobs, when it was asked for: those with less come first.
    burden: u64,
    /// One for each connection that waits, and at most as many that have gone: the bound is that of connections.
    waiting: Vec<(Weak<Check>, Done)>,
}

/// Different users and passwords that may wait: about a second's work.
const JOBS: usize = 64;

impl Verifier {
    /// Has a check run; `done` is told, and the verdict set before. The same user and password are checked once for all
    /// who wait at one address. `None`, and nobody is told, if too many others wait who come first.
    pub(super) fn push(&self, check: Check, asker: Asker, done: Done) -> Option<Arc<Check>> {
        let check = Arc::new(check);
        let waits = (Arc::downgrade(&check), done);
        let displaced = {
            let mut work = self.work.lock();
            if work.ended {
                return None;
            }
            work.jobs.retain(|job| job.check().is_some());
            let (mut burden, owner) = (asker.owed, asker.owner);
            for job in work.all_mut().filter(|job| job.owner == owner) {
                if job.is_for(&check) {
                    job.add(waits);
                    return Some(check);
                }
                burden += 1;
            }
            let displaced = work.make_room(burden).ok()?;
            work.jobs.push(Job { owner, burden, waiting: vec![waits] });
            self.changed.notify_one();
            displaced
        };
        if let Some(job) = displaced {
            job.conclude(Verdict::Displaced);
        }
        Some(check)
    }

    /// Lets the thread end after what it is computing.
    pub(super) fn end(&self) {
        self.work.lock().ended = true;
        self.changed.notify_one();
    }

    /// Starts the thread.
    pub(super) fn start(self: &Arc<Verifier>) -> Result<JoinHandle<()>, Error> {
        let verifier = self.clone();
        let thread = std::thread::Builder::new().name("passwords".to_owned());
        let run = move || while verifier.run_one() {};
        thread.spawn(run).map_err(|source| Error::system("start the thread for passwords", source))
    }

    /// Waits for a job and does it. False once it is to end.
    fn run_one(&self) -> bool {
        let mut work = self.work.lock();
        let check = loop {
            if work.ended {
                return false;
            }
            match work.next() {
                Some(check) => break check,
                None => self.changed.wait(&mut work),
            }
        };
        drop(work);
        // Nobody may wait for ever, whatever happens here.
        let verdict = catch_unwind(AssertUnwindSafe(|| check.run())).unwrap_or(Verdict::Refused);
        let job = self.work.lock().current.take();
        if let Some(job) = job {
            job.conclude(verdict);
        }
        true
    }
}

impl Work {
    fn all_mut(&mut self) -> impl Iterator<Item = &mut Job> {
        self.current.iter_mut().chain(&mut self.jobs)
    }

    /// Makes the first job the current one, and says what is to be computed.
    fn next(&mut self) -> Option<Arc<Check>> {
        loop {
            let first = (0..self.jobs.len()).min_by_key(|&index| self.jobs[index].rank())?;
            let job = self.jobs.remove(first);
            if let Some(check) = job.check() {
                self.current = Some(job);
                return Some(check);
            }
        }
    }

    /// Has fewer than [`JOBS`] wait, if need be by taking away the last, to be told so. An error if that would be the
    /// newcomer.
    fn make_room(&mut self, burden: u64) -> Result<Option<Job>, ()> {
        if self.jobs.len() < JOBS {
            return Ok(None);
        }
        let last = (0..self.jobs.len()).max_by_key(|&index| self.jobs[index].rank()).ok_or(())?;
        match (false, burden) < self.jobs[last].rank() {
            true => Ok(Some(self.jobs.remove(last))),
            false => Err(()),
        }
    }
}

impl Job {
    /// Less comes first: who may have gone comes after all others.
    fn rank(&self) -> (bool, u64) {
        (self.checks().all(|check| check.may_be_in_vain()), self.burden)
    }

    fn checks(&self) -> impl Iterator<Item = Arc<Check>> {
        self.waiting.iter().filter_map(|(check, _)| check.upgrade())
    }

    /// What is to be computed, unless nobody waits for it.
    fn check(&self) -> Option<Arc<Check>> {
        self.checks().next()
    }

    fn is_for(&self, check: &Check) -> bool {
        self.check().is_some_and(|own| own.is_same(check))
    }

    /// Adds one who waits for the same.
    fn add(&mut self, waits: (Weak<Check>, Done)) {
        if self.waiting.len() == self.waiting.capacity() {
            self.waiting.retain(|(check, _)| check.strong_count() > 0);
        }
        self.waiting.push(waits);
    }

    /// Tells those who wait.
    fn conclude(self, verdict: Verdict) {
        for (check, done) in self.waiting {
            if let Some(check) = check.upgrade() {
                check.conclude(verdict);
            }
            done(verdict);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::auth::{Answer, Users};
    use std::net::Ipv4Addr;

    /// `ann` has the password "secret".
    fn users(name: &str) -> Arc<Users> {
        let hash =
            "$argon2i$v=19$m=1024,t=2,p=1$c2FsdHNhbHRzYWx0$Sco+PyWo9EHG/q2z71SS5BbVLkBzuEAHkIvicdoQX+A";
        let path = std::env::temp_dir().join(format!("memcarp-verifier-{}-{name}", std::process::id()));
        std::fs::write(&path, format!("ann:{hash}\n")).expect("written");
        let users = Users::read(&path).expect("a good file");
        let _ = std::fs::remove_file(path);
        Arc::new(users)
    }

    /// Who has done nothing wrong at an address.
    fn at(last: u8) -> Asker {
        Asker { owner: Some(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))), owed: 0 }
    }

    struct Test {
        verifier: Arc<Verifier>,
        users: Arc<Users>,
        /// Passwords in the order in which they were decided about, and how.
        decided: Arc<Mutex<Vec<(String, Verdict)>>>,
    }

    impl Test {
        fn new(name: &str) -> Test {
            Test { verifier: Arc::default(), users: users(name), decided: Arc::default() }
        }

        fn push(&self, asker: Asker, password: &str) -> Option<Arc<Check>> {
            let Answer::Unclear(check) = self.users.ask(b"ann", password.as_bytes()) else {
                panic!("not known yet")
            };
            let (decided, name) = (self.decided.clone(), password.to_owned());
            self.verifier.push(check, asker, Box::new(move |verdict| decided.lock().push((name, verdict))))
        }

        /// Passwords in the order in which they are computed, from now on.
        fn run(&self) -> String {
            let mut order = Vec::new();
            loop {
                let Some(check) = self.verifier.work.lock().next() else { return order.join(" ") };
                order.push(String::from_utf8(check.password().to_vec()).expect("text"));
                self.verifier.work.lock().current = None;
            }
        }
    }

    #[test]
    fn everybody_is_told_and_the_same_is_computed_once() {
        let test = Test::new("told");
        let waiting: Vec<_> =
            ["secret", "wrong", "secret"].iter().map(|password| test.push(at(1), password)).collect();
        assert_eq!(test.verifier.work.lock().jobs.len(), 2);
        assert!(test.verifier.run_one() && test.verifier.run_one());
        let verdicts: Vec<_> =
            waiting.iter().flatten().map(|check| check.verdict().expect("there is one")).collect();
        assert_eq!(verdicts, [Verdict::Accepted, Verdict::Refused, Verdict::Accepted]);
        assert_eq!(test.decided.lock().len(), 3);
    }

    #[test]
    fn the_thread_ends() {
        let test = Test::new("end");
        let thread = test.verifier.start().expect("a thread");
        test.verifier.end();
        thread.join().expect("it ends");
        assert!(test.push(at(1), "wrong").is_none());
    }

    #[test]
    fn addresses_have_their_turns_and_who_was_wrong_comes_last() {
        let test = Test::new("turns");
        let wrong = |last| Asker { owed: 1, ..at(last) };
        let _waiting = [
            (at(1), "1a"),
            (at(1), "1b"),
            (at(1), "1c"),
            (wrong(4), "4a"),
            (wrong(4), "4b"),
            (at(2), "2a"),
            (at(2), "2b"),
            (at(3), "3a"),
        ]
        .map(|(asker, password)| test.push(asker, password));
        assert_eq!(test.run(), "1a 2a 3a 1b 4a 2b 1c 4b");
    }

    #[test]
    fn what_nobody_waits_for_is_not_computed() {
        let test = Test::new("gone");
        let mut waiting: Vec<_> =
            ["a", "b", "b", "c"].iter().map(|password| test.push(at(1), password)).collect();
        waiting.drain(..2);
        assert_eq!(test.run(), "b c");
    }

    /// Who has ended its side may have gone, or wait for the answer.
    #[test]
    fn who_may_have_gone_comes_last() {
        let test = Test::new("ended");
        let waiting: Vec<_> =
            ["a", "b", "c", "c"].iter().map(|password| test.push(at(1), password)).collect();
        for number in [0, 3] {
            waiting[number].as_ref().expect("there is room").hears_the_end();
        }
        assert_eq!(test.run(), "b c a");
    }

    #[test]
    fn only_so_many_wait_and_the_last_make_way() {
        let test = Test::new("bound");
        let mut waiting: Vec<_> = (0..JOBS).map(|number| test.push(at(1), &number.to_string())).collect();
        assert!(waiting.iter().all(Option::is_some));
        assert!(test.push(at(1), "one more").is_none());
        assert!(test.push(at(1), "0").is_some(), "joins one who waits already");
        // Half of the room for whoever else comes.
        for number in 0..JOBS {
            let pushed = test.push(at(2), &format!("other {number}"));
            assert_eq!(pushed.is_some(), number < JOBS / 2, "{number}");
            waiting.push(pushed);
        }
        let displaced: Vec<_> = (JOBS / 2..JOBS).rev().map(|n| (n.to_string(), Verdict::Displaced)).collect();
        assert_eq!(*test.decided.lock(), displaced);
        assert_eq!(waiting[JOBS - 1].as_ref().and_then(|check| check.verdict()), Some(Verdict::Displaced));
        // Nobody has to make way while there is somebody who has gone.
        waiting[0] = None;
        assert!(test.push(at(3), "third").is_some());
        assert_eq!(test.decided.lock().len(), JOBS / 2);
        assert_eq!(test.verifier.work.lock().jobs.len(), JOBS);
    }
}
