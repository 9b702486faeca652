//! Computes the hashes of passwords on a thread of its own, one at a time, so that no client waits for another's.

use super::error::Error;
use crate::command::auth::{Check, Done};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

/// What is to be computed, and who waits for it.
#[derive(Default)]
pub(super) struct Verifier {
    work: Mutex<Work>,
    changed: Condvar,
}

#[derive(Default)]
struct Work {
    /// The first is being computed. Only the thread takes any away.
    jobs: VecDeque<Job>,
    ended: bool,
}

struct Job {
    check: Arc<Check>,
    /// One for each connection that waits, so no more than there are connections.
    waiting: Vec<Done>,
}

/// Different users and passwords that may wait: about a second's work, and at most a MiB of passwords.
const JOBS: usize = 64;

impl Verifier {
    /// Has a check run; `done` is told. The same user and password are checked once for all who wait. False, and nobody
    /// is told, if too many others wait.
    pub(super) fn push(&self, check: Check, done: Done) -> bool {
        let mut work = self.work.lock();
        if work.ended {
            return false;
        }
        if let Some(job) = work.jobs.iter_mut().find(|job| job.check.is_same(&check)) {
            job.waiting.push(done);
            return true;
        }
        if work.jobs.len() == JOBS {
            return false;
        }
        work.jobs.push_back(Job { check: Arc::new(check), waiting: vec![done] });
        self.changed.notify_one();
        true
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
            match work.jobs.front() {
                _ if work.ended => return false,
                Some(job) => break job.check.clone(),
                None => self.changed.wait(&mut work),
            }
        };
        drop(work);
        // Nobody may wait for ever, whatever happens here.
        let accepted = catch_unwind(AssertUnwindSafe(|| check.run())).unwrap_or(false);
        let job = self.work.lock().jobs.pop_front();
        for done in job.into_iter().flat_map(|job| job.waiting) {
            done(accepted);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::auth::{Answer, Users};
    use std::sync::mpsc::{Receiver, channel};

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

    fn push(verifier: &Verifier, users: &Arc<Users>, password: &str) -> Option<Receiver<bool>> {
        let Answer::Unclear(check) = users.ask(b"ann", password.as_bytes()) else { panic!("not known yet") };
        let (sender, told) = channel();
        verifier
            .push(check, Box::new(move |accepted| sender.send(accepted).expect("waited for")))
            .then_some(told)
    }

    #[test]
    fn everybody_is_told_and_the_same_is_computed_once() {
        let (verifier, users) = (Arc::new(Verifier::default()), users("told"));
        let waiting: Vec<_> = ["secret", "wrong", "secret"]
            .iter()
            .map(|password| push(&verifier, &users, password).expect("there is room"))
            .collect();
        assert_eq!(verifier.work.lock().jobs.len(), 2);
        let thread = verifier.start().expect("a thread");
        let told: Vec<_> = waiting.iter().map(|told| told.recv().expect("told")).collect();
        assert_eq!(told, [true, false, true]);
        verifier.end();
        thread.join().expect("it ends");
        assert!(push(&verifier, &users, "wrong").is_none());
    }

    #[test]
    fn only_so_many_wait() {
        let (verifier, users) = (Verifier::default(), users("bound"));
        for number in 0..JOBS {
            assert!(push(&verifier, &users, &number.to_string()).is_some());
        }
        assert!(push(&verifier, &users, "one more").is_none());
        assert!(push(&verifier, &users, "0").is_some(), "joins one who waits already");
    }
}
