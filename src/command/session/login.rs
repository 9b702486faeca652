//! What a client may say before it has said who it is.

use super::{Context, Flow, Input, Session, State, Step};
use crate::command::auth::{Answer, MAX_TOKEN_LEN, Users, Verdict};
use crate::command::connections::Address;
use crate::command::output::Output;
use crate::command::reply::put_error;
use crate::protocol::{self, Error, Fields, MAX_PARTIAL_LINE};
use std::net::IpAddr;
use std::sync::Arc;

impl Session {
    /// Answers a line of a client that has not said who it is; `None` if nobody needs to.
    pub(super) fn authenticate(
        &mut self,
        line: &[u8],
        line_len: usize,
        input: &mut Input<'_>,
        output: &mut Output,
        context: &Context<'_>,
    ) -> Option<Flow> {
        let users = context.engine.users()?;
        if line.len() < 6 {
            return Some(Flow::Stop(Step::Close));
        }
        let mut fields = Fields::new(line);
        let is_set = fields.next() == Some(b"set");
        let len = fields.nth(3).and_then(protocol::parse_u64);
        let Some(len) = len.filter(|_| is_set && line.starts_with(b"set ")) else {
            put_error(Error::Unauthenticated, output);
            input.at += line_len;
            return Some(Flow::On);
        };
        if len > MAX_TOKEN_LEN as u64 {
            put_error(Error::AuthenticationTooLong, output);
            input.at += line_len;
            self.state = State::Swallowing(usize::try_from(len).unwrap_or(usize::MAX).saturating_add(2));
            return Some(Flow::On);
        }
        let len = len as usize;
        let Some(block) = input.rest().get(line_len..line_len + len + 2) else {
            // Both together have to fit in the input.
            let step = if line_len > MAX_PARTIAL_LINE { Step::Close } else { Step::Read };
            return Some(Flow::Stop(step));
        };
        input.at += line_len + len + 2;
        context.counts.general.auth_cmds.increment();
        let (token, end) = block.split_at(len);
        match memchr::memchr(b' ', token) {
            _ if end != b"\r\n" => refuse(Error::BadTermination, output, context),
            None => refuse(Error::BadAuthenticationToken, output, context),
            Some(blank) => {
                return Some(self.log_in(&users, &token[..blank], &token[blank + 1..], output, context));
            }
        }
        Some(Flow::On)
    }

    fn log_in(
        &mut self,
        users: &Arc<Users>,
        user: &[u8],
        password: &[u8],
        output: &mut Output,
        context: &Context<'_>,
    ) -> Flow {
        let attempts = &context.engine.attempts;
        if address(context).is_some_and(|address| !attempts.may_try(address, context.now)) {
            // Not even looked at: nothing can be learned by trying fast.
            context.counts.general.auth_limited.increment();
            refuse(Error::AuthenticationFailure, output, context);
            return Flow::Stop(Step::Close);
        }
        match users.ask(user, password) {
            Answer::Yes => self.conclude(true, output, context),
            Answer::No => self.conclude(false, output, context),
            Answer::Unclear(check) => {
                let verdict = Arc::new(Verdict::default());
                let (told, wake) = (verdict.clone(), (context.waker)());
                let done = Box::new(move |accepted| {
                    told.set(accepted);
                    wake();
                });
                if context.engine.verify(check, done) {
                    self.state = State::Verifying(verdict);
                } else {
                    refuse(Error::AuthenticationBusy, output, context);
                }
            }
        }
        Flow::On
    }

    /// The client has turned out to be who it says, or not.
    pub(super) fn conclude(&mut self, accepted: bool, output: &mut Output, context: &Context<'_>) {
        if accepted {
            self.authenticated = true;
            output.put(b"STORED\r\n");
            return;
        }
        if let Some(address) = address(context) {
            context.engine.attempts.failed(address, context.now);
        }
        refuse(Error::AuthenticationFailure, output, context);
    }
}

fn refuse(error: Error, output: &mut Output, context: &Context<'_>) {
    context.counts.general.auth_errors.increment();
    put_error(error, output);
}

/// What attempts are counted by. Who comes through a UNIX socket has been let in by its permissions.
fn address(context: &Context<'_>) -> Option<IpAddr> {
    match &context.connection.peer {
        Address::Tcp(address) => Some(address.ip()),
        Address::Unix(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::command::Step;
    use crate::command::auth::attempts::BURST;
    use crate::command::auth::{Check, Done, Users, hash};
    use crate::command::testing::Client;
    use crate::config::Config;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    fn client(lines: &str) -> Client {
        let name = lines.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let path = std::env::temp_dir().join(format!("memcarp-login-{}-{name}", std::process::id()));
        std::fs::write(&path, lines).expect("written");
        let client = Client::new(Config::default());
        client.engine.set_users(Some(Users::read(&path).expect("a good file")));
        let _ = std::fs::remove_file(path);
        client
    }

    fn log_in(password: &str) -> String {
        format!("set a 0 0 {}\r\nann {password}", 4 + password.len())
    }

    const FAILURE: &str = "CLIENT_ERROR authentication failure|";

    #[test]
    fn who_fails_too_often_is_not_listened_to_for_a_while() {
        let mut client = client("ann:secret\n");
        for _ in 0..BURST {
            assert!(matches!(client.steps(&log_in("wrong")), (answer, Step::Read) if answer == FAILURE));
        }
        for password in ["wrong", "secret"] {
            assert!(matches!(client.steps(&log_in(password)), (answer, Step::Close) if answer == FAILURE));
        }
        client.pass(1);
        assert_eq!(client.say(&log_in("secret")), "STORED|");
        let stats = client.say("stats");
        assert!(
            stats.contains(&format!("|STAT auth_cmds {}|STAT auth_errors {}|", BURST + 3, BURST + 2)),
            "{stats}"
        );
        assert!(client.say("stats memcarp").contains("|STAT auth_limited 2|"));
    }

    #[test]
    fn who_succeeds_may_come_as_often_as_it_likes() {
        let mut client = client("ann:secret\n");
        for _ in 0..10 * BURST {
            client.session = Default::default();
            assert_eq!(client.say(&log_in("secret")), "STORED|");
        }
    }

    #[test]
    fn a_hash_is_as_good_as_a_password() {
        let mut client = client(&format!("ann:{}\n", hash::hash(b"secret").expect("random numbers")));
        assert_eq!(client.say(&log_in("wrong")), FAILURE);
        assert_eq!(client.say(&log_in("secret")), "STORED|");
        assert_eq!(client.say("get a"), "END|");
    }

    /// What a client sends meanwhile waits with it, and is carried out as its own.
    #[test]
    fn a_client_waits_for_its_verdict() {
        let mut client = client(&format!("ann:{}\n", hash::hash(b"secret").expect("random numbers")));
        let waiting: Arc<parking_lot::Mutex<Vec<(Check, Done)>>> = Arc::default();
        let pushed = waiting.clone();
        client.engine.on_verify(Box::new(move |check, done| {
            pushed.lock().push((check, done));
            true
        }));
        for (password, then) in [
            ("wrong", "CLIENT_ERROR authentication failure|CLIENT_ERROR unauthenticated|"),
            ("secret", "STORED|END|"),
        ] {
            let (answer, step) = client.steps(&log_in(password));
            assert!(matches!(step, Step::Wait) && answer.is_empty(), "{answer}");
            assert!(matches!(client.steps("get abc"), (answer, Step::Wait) if answer.is_empty()));
            let woken = client.woken.load(Ordering::Relaxed);
            let (check, done) = waiting.lock().pop().expect("pushed");
            done(check.run());
            assert_eq!(client.woken.load(Ordering::Relaxed), woken + 1);
            assert_eq!(client.say("get abc"), then);
        }
    }

    #[test]
    fn a_client_is_told_when_too_many_wait() {
        let mut client = client(&format!("ann:{}\n", hash::hash(b"secret").expect("random numbers")));
        client.engine.on_verify(Box::new(|_, _| false));
        assert_eq!(client.say(&log_in("secret")), "SERVER_ERROR too many clients are logging in, try again|");
        assert_eq!(client.say("get abc"), "CLIENT_ERROR unauthenticated|");
    }
}
