//! What a client may say before it has said who it is.

use super::{Context, Flow, Input, Session, State, Step};
use crate::command::auth::{Answer, Check, MAX_TOKEN_LEN, Users, Verdict};
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
        self.ask(users, user, password, output, context);
        Flow::On
    }

    fn ask(
        &mut self,
        users: &Arc<Users>,
        user: &[u8],
        password: &[u8],
        output: &mut Output,
        context: &Context<'_>,
    ) {
        match users.ask(user, password) {
            Answer::Yes => self.let_in(output),
            Answer::No => {
                if let Some(address) = address(context) {
                    context.engine.attempts.failed(address, context.now);
                }
                refuse(Error::AuthenticationFailure, output, context);
            }
            Answer::Unclear(check) => {
                match context.engine.verify(check, address(context), context.now, (context.waker)()) {
                    Some(check) => self.state = State::Verifying(check),
                    None => refuse(Error::AuthenticationBusy, output, context),
                }
            }
        }
    }

    /// What came of a check. It says nothing of users who have taken the place of those that were asked: these are asked
    /// again.
    pub(super) fn conclude(
        &mut self,
        check: &Check,
        verdict: Verdict,
        output: &mut Output,
        context: &Context<'_>,
    ) {
        match context.engine.users() {
            Some(users) if !check.is_of(&users) => {
                self.ask(&users, check.user(), check.password(), output, context);
            }
            _ => match verdict {
                Verdict::Accepted => self.let_in(output),
                Verdict::Refused => refuse(Error::AuthenticationFailure, output, context),
                Verdict::Displaced => refuse(Error::AuthenticationBusy, output, context),
            },
        }
    }

    fn let_in(&mut self, output: &mut Output) {
        self.authenticated = true;
        output.put(b"STORED\r\n");
    }
}

fn refuse(error: Error, output: &mut Output, context: &Context<'_>) {
    context.counts.general.auth_errors.increment();
    if matches!(error, Error::AuthenticationFailure) {
        let connection = context.connection;
        context.engine.note_failed_login(format_args!("<{} {}", connection.fd, connection.peer), context.now);
    }
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
    use crate::command::auth::{Check, Done, Users, Verdict, hash};
    use crate::command::testing::Client;
    use crate::config::Config;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;

    fn read(lines: &str) -> Users {
        let name = lines.bytes().fold(0u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(u64::from(byte)));
        let path = std::env::temp_dir().join(format!("memcarp-login-{}-{name}", std::process::id()));
        std::fs::write(&path, lines).expect("written");
        let users = Users::read(&path).expect("a good file");
        let _ = std::fs::remove_file(path);
        users
    }

    fn client(lines: &str) -> Client {
        let client = Client::new(Config::default());
        client.engine.set_users(Some(read(lines)));
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
        let mut client = client(&hashed("ann", "secret"));
        assert_eq!(client.say(&log_in("wrong")), FAILURE);
        assert_eq!(client.say(&log_in("secret")), "STORED|");
        assert_eq!(client.say("get a"), "END|");
    }

    /// What waits to be checked.
    type Waiting = Arc<parking_lot::Mutex<Vec<(Arc<Check>, Done)>>>;

    /// A client of users with these lines, whose passwords are checked when the test has it done.
    fn waiting_client(lines: &str) -> (Client, Waiting) {
        let client = client(lines);
        let waiting = Waiting::default();
        let pushed = waiting.clone();
        client.engine.on_verify(Box::new(move |check, _, done| {
            let check = Arc::new(check);
            pushed.lock().push((check.clone(), done));
            Some(check)
        }));
        (client, waiting)
    }

    fn verify(waiting: &Waiting) {
        let (check, done) = waiting.lock().pop().expect("pushed");
        let verdict = check.run();
        check.conclude(verdict);
        done(verdict);
    }

    fn hashed(user: &str, password: &str) -> String {
        format!("{user}:{}\n", hash::hash(password.as_bytes()).expect("random numbers"))
    }

    /// What a client sends meanwhile waits with it, and is carried out as its own.
    #[test]
    fn a_client_waits_for_its_verdict() {
        let (mut client, waiting) = waiting_client(&hashed("ann", "secret"));
        for (password, then) in [
            ("wrong", "CLIENT_ERROR authentication failure|CLIENT_ERROR unauthenticated|"),
            ("secret", "STORED|END|"),
        ] {
            let (answer, step) = client.steps(&log_in(password));
            assert!(matches!(step, Step::Wait) && answer.is_empty(), "{answer}");
            assert!(matches!(client.steps("get abc"), (answer, Step::Wait) if answer.is_empty()));
            let woken = client.woken.load(Ordering::Relaxed);
            verify(&waiting);
            assert_eq!(client.woken.load(Ordering::Relaxed), woken + 1);
            assert_eq!(client.say("get abc"), then);
        }
    }

    /// Users who are replaced while a password is checked are not those that count.
    #[test]
    fn a_verdict_is_of_the_users_in_force() {
        let (mut client, waiting) = waiting_client(&hashed("ann", "secret"));
        let mut log_in_while = |before: &str, after: &str| {
            client.session = Default::default();
            client.engine.set_users(Some(read(before)));
            assert!(matches!(client.steps(&log_in("secret")), (_, Step::Wait)));
            client.engine.set_users(Some(read(after)));
            verify(&waiting);
            let (mut answer, step) = client.steps("get abc");
            if matches!(step, Step::Wait) {
                assert_eq!(answer, "");
                verify(&waiting);
                answer = client.say("get abc");
            }
            answer
        };
        let refused = format!("{FAILURE}CLIENT_ERROR unauthenticated|");
        let (right, wrong) = (hashed("ann", "secret"), hashed("ann", "other"));
        assert_eq!(log_in_while(&right, &right), "STORED|END|");
        assert_eq!(log_in_while(&wrong, &right), "STORED|END|");
        assert_eq!(log_in_while(&wrong, "ann:secret\n"), "STORED|END|");
        for after in [&wrong, &hashed("bob", "secret"), "ann:other\n"] {
            assert_eq!(log_in_while(&right, after), refused);
        }
    }

    #[test]
    fn wrong_passwords_count_even_if_nobody_waits_for_the_answer() {
        let (mut client, waiting) = waiting_client(&hashed("ann", "secret"));
        for _ in 0..BURST {
            assert!(matches!(client.steps(&log_in("wrong")), (_, Step::Wait)));
            client.session = Default::default();
            verify(&waiting);
        }
        assert!(matches!(client.steps(&log_in("wrong")), (answer, Step::Close) if answer == FAILURE));
    }

    #[test]
    fn a_client_is_told_when_too_many_wait() {
        const BUSY: &str = "SERVER_ERROR too many clients are logging in, try again|";
        let (mut client, waiting) = waiting_client(&hashed("ann", "secret"));
        assert!(matches!(client.steps(&log_in("secret")), (_, Step::Wait)));
        let (check, done) = waiting.lock().pop().expect("pushed");
        check.conclude(Verdict::Displaced);
        done(Verdict::Displaced);
        assert_eq!(client.say("get abc"), format!("{BUSY}CLIENT_ERROR unauthenticated|"));

        let mut client = self::client(&hashed("ann", "secret"));
        client.engine.on_verify(Box::new(|_, _, _| None));
        assert_eq!(client.say(&log_in("secret")), BUSY);
        assert_eq!(client.say("get abc"), "CLIENT_ERROR unauthenticated|");
    }
}
