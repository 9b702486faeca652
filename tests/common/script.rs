//! Conversations written down: reads `tests/transcripts/*.txt`, plays them, says where one goes wrong.
//! Knows no server; who answers is a [`Target`]. The form is described in `tests/transcripts/README.md`.

use std::collections::HashMap;

use super::pattern::{Bindings, Matched, Pattern};
use super::text;

/// Who answers: the dialect decides which marked lines are played.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// memcarp, and memcached 1.6.45 whose behaviour it follows.
    Current,
    /// memcached 1.6.18, as Debian 12 ships it.
    Debian,
}

/// What waiting for more bytes of a connection came to.
pub enum More {
    Came,
    Closed,
    /// Nothing, and nothing is to be expected.
    Nothing,
}

/// A server that a script can be played against.
pub trait Target {
    fn dialect(&self) -> Dialect;
    /// Unix time as the server sees it, in seconds.
    fn now(&self) -> u64;
    /// Moves the server's clock; false if it cannot be moved.
    fn advance(&mut self, seconds: u64) -> bool;
    /// Sends bytes on the named connection, opening it first if it is new.
    fn send(&mut self, connection: &str, bytes: &[u8]);
    /// Waits for more bytes on the named connection.
    fn more(&mut self, connection: &str) -> More;
    /// What the named connection has received and the script has not taken.
    fn received(&mut self, connection: &str) -> &mut Vec<u8>;
}

/// One file of conversation.
pub struct Script {
    pub name: String,
    /// Options to start the server with.
    pub options: Vec<String>,
    /// Options to start memcached with, after those.
    pub peer_options: Vec<String>,
    /// Played only by memcarp.
    pub no_peer: bool,
    /// The replies depend on how the bytes arrive: not played a byte at a time, or in memory.
    pub whole: bool,
    /// Needs a real server: options, several connections that wake each other.
    pub wire: bool,
    /// At the end a connection may not be able to answer any more, so nothing is asked of it.
    pub open_end: bool,
    steps: Vec<(usize, Step)>,
}

struct Step {
    only: Option<Dialect>,
    action: Action,
}

enum Action {
    Send(Pattern),
    Expect(Pattern),
    SkipLines,
    Advance(u64),
    Switch(String),
    Closed,
}

impl Script {
    pub fn parse(name: &str, source: &str) -> Script {
        let mut script = Script {
            name: name.into(),
            options: vec![],
            peer_options: vec![],
            no_peer: false,
            whole: false,
            wire: false,
            open_end: false,
            steps: vec![],
        };
        for (index, line) in source.lines().enumerate() {
            if let Err(problem) = script.parse_line(index + 1, line) {
                panic!("{name}:{}: {problem}: {line}", index + 1);
            }
        }
        script
    }

    /// Whether playing it needs a clock that can be moved.
    pub fn moves_clock(&self) -> bool {
        self.steps.iter().any(|(_, step)| matches!(step.action, Action::Advance(_)))
    }

    /// Plays the conversation to its end, and checks that nothing was said beyond it.
    pub fn play(&self, target: &mut dyn Target) -> Result<(), String> {
        let mut player =
            Player { target, connection: "main".into(), bindings: Bindings::default(), skip: false };
        let mut closed: HashMap<String, bool> = HashMap::new();
        closed.insert("main".into(), false);
        let dialect = player.target.dialect();
        let mine = |step: &Step| step.only.is_none_or(|only| only == dialect);
        let mut outgoing = Vec::new();
        for (line, step) in self.steps.iter().filter(|(_, step)| mine(step)) {
            // Lines sent in a row go out as one piece, as a pipelining client sends them.
            if !matches!(step.action, Action::Send(_)) && !outgoing.is_empty() {
                player.target.send(&player.connection, &outgoing);
                outgoing.clear();
            }
            match &step.action {
                Action::Send(pattern) => {
                    let now = player.target.now();
                    let bytes = pattern.render(&player.bindings, now);
                    outgoing.extend(bytes.map_err(|problem| format!("{}:{line}: {problem}", self.name))?);
                    Ok(())
                }
                Action::Expect(pattern) => player.expect(pattern),
                Action::SkipLines => {
                    player.skip = true;
                    Ok(())
                }
                Action::Advance(seconds) => match player.target.advance(*seconds) {
                    true => Ok(()),
                    false => Err("this target has no clock to move".into()),
                },
                Action::Switch(name) => {
                    player.connection = name.clone();
                    closed.entry(name.clone()).or_insert(false);
                    Ok(())
                }
                Action::Closed => {
                    closed.insert(player.connection.clone(), true);
                    player.expect_closed()
                }
            }
            .map_err(|problem| format!("{}:{line}: {problem}", self.name))?;
        }
        if !outgoing.is_empty() {
            player.target.send(&player.connection, &outgoing);
        }
        for (name, closed) in closed {
            player.connection = name;
            let end = match closed {
                true => player.expect_closed(),
                false if self.open_end => Ok(()),
                false => player.expect_end(),
            };
            end.map_err(|problem| format!("{} (at its end): {problem}", self.name))?;
        }
        Ok(())
    }

    fn parse_line(&mut self, number: usize, line: &str) -> Result<(), String> {
        let Some(kind) = line.chars().next() else { return Ok(()) };
        if kind == '#' {
            return Ok(());
        }
        let (mark, rest) = match line[kind.len_utf8()..].split_once(' ') {
            Some((mark, rest)) => (mark, rest),
            None => (&line[kind.len_utf8()..], ""),
        };
        if kind == '%' {
            return self.parse_header(rest);
        }
        let (mark, line_end) = match mark.strip_suffix('-') {
            Some(mark) => (mark, ""),
            None => (mark, "\\r\\n"),
        };
        let only = match mark {
            "" => None,
            "45" | "us" => Some(Dialect::Current),
            "18" => Some(Dialect::Debian),
            _ => return Err(format!("unknown mark \"{mark}\"")),
        };
        let action = match kind {
            '>' => Action::Send(Pattern::parse(&format!("{rest}{line_end}"))?),
            '<' if rest == "..." => Action::SkipLines,
            '<' => Action::Expect(Pattern::parse(&format!("{rest}{line_end}"))?),
            '+' => Action::Advance(rest.trim().parse().map_err(|_| "not a number of seconds")?),
            '@' => Action::Switch(rest.trim().into()),
            '!' if rest.trim() == "closed" => Action::Closed,
            _ => return Err("unknown kind of line".into()),
        };
        self.steps.push((number, Step { only, action }));
        Ok(())
    }

    fn parse_header(&mut self, rest: &str) -> Result<(), String> {
        let mut words = rest.split_whitespace();
        match words.next() {
            Some("start") => {
                self.options = words.map(str::to_owned).collect();
                self.wire = true;
            }
            Some("peer-start") => self.peer_options = words.map(str::to_owned).collect(),
            Some("no-peer") => self.no_peer = true,
            Some("open-end") => self.open_end = true,
            Some("whole") => self.whole = true,
            Some("wire") => self.wire = true,
            _ => return Err("unknown header".into()),
        }
        Ok(())
    }
}

struct Player<'a> {
    target: &'a mut dyn Target,
    connection: String,
    bindings: Bindings,
    /// Lines before the next expected one are passed over.
    skip: bool,
}

impl Player<'_> {
    fn expect(&mut self, pattern: &Pattern) -> Result<(), String> {
        let skip = std::mem::take(&mut self.skip);
        let mut passed_over = 0;
        loop {
            let received = self.target.received(&self.connection);
            match pattern.match_start(received, &self.bindings) {
                Matched::All { length, bindings } => {
                    received.drain(..length);
                    self.bindings = bindings;
                    return Ok(());
                }
                Matched::Never if skip && received.contains(&b'\n') => {
                    let end = received.iter().position(|&byte| byte == b'\n').unwrap_or_default();
                    received.drain(..=end);
                    passed_over += 1;
                }
                Matched::Never => return Err(format!("expected {pattern}, got {}", text(received))),
                Matched::SoFar => match self.target.more(&self.connection) {
                    More::Came => {}
                    More::Closed => return Err(self.missing(pattern, "it closed", passed_over)),
                    More::Nothing => return Err(self.missing(pattern, "nothing more came", passed_over)),
                },
            }
        }
    }

    fn missing(&mut self, pattern: &Pattern, why: &str, passed_over: usize) -> String {
        let received = text(self.target.received(&self.connection));
        format!("expected {pattern}, but {why}; got {received} (after {passed_over} lines passed over)")
    }

    fn expect_closed(&mut self) -> Result<(), String> {
        loop {
            match self.target.more(&self.connection) {
                More::Came => {}
                More::Closed => break,
                More::Nothing => return Err("expected it to be closed; it is open".into()),
            }
        }
        match self.target.received(&self.connection) {
            rest if rest.is_empty() => Ok(()),
            rest => Err(format!("expected nothing but the close, got {}", text(rest))),
        }
    }

    /// The connection is still good, and there is nothing to be read beyond what the script says.
    fn expect_end(&mut self) -> Result<(), String> {
        self.target.send(&self.connection, b"mn\r\n");
        self.expect(&Pattern::parse("MN\\r\\n").expect("a literal"))?;
        match self.target.received(&self.connection) {
            rest if rest.is_empty() => Ok(()),
            rest => Err(format!("unexpected: {}", text(rest))),
        }
    }
}
