//! The differential test: generated conversations sent to memcarp and to Debian's memcached, replies compared byte for
//! byte after `common/compare.rs` has taken away what may differ. MEMCARP_PROPTEST_CASES sets how many.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};

use common::commands::{self, Batch, Request};
use common::compare;
use common::memory::Memory;
use common::script::Dialect;
use common::{Connection, Server, text};

/// How many conversations there have been.
static CONVERSATIONS: AtomicU32 = AtomicU32::new(0);

/// Changes what a server said.
type Tamper = fn(&mut Vec<u8>);

/// What memcached is started with: its background threads hold an item now and then, and then a shorter number is
/// stored without the padding it otherwise gets.
const PEER_OPTIONS: &[&str] = &["-o", "no_lru_maintainer,no_lru_crawler"];

#[test]
fn memcarp_answers_as_memcached_does() {
    if !common::peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    let ours = Server::memcarp(&[]);
    search_for_differences(cases(3000), || Side::new(ours.connect(), Dialect::Current));
}

/// The same without sockets: quicker, and with nothing but the commands to be wrong.
#[test]
fn memcarp_answers_in_memory_as_memcached_does() {
    if !common::peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    search_for_differences(cases(6000), || Side::new(engine(), Dialect::Current));
}

fn search_for_differences(cases: u32, ours: impl Fn() -> Side) {
    let theirs = Server::memcached(PEER_OPTIONS);
    let theirs = || Side::new(theirs.connect(), Dialect::Debian);
    if let Err(found) = search(cases, &ours, &theirs, |_| {}) {
        panic!("{}\n\nthe shortest conversation:\n{}", found.difference, show(&found.conversation));
    }
}

/// The search would find a server that is wrong, and says so in a few commands.
#[test]
fn a_planted_difference_is_found_and_made_small() {
    if !common::peers() {
        eprintln!("not asked for: set MEMCARP_PEERS=1");
        return;
    }
    let servers = [Server::memcached(PEER_OPTIONS), Server::memcached(PEER_OPTIONS)];
    let ours = || Side::new(servers[0].connect(), Dialect::Debian);
    let theirs = || Side::new(servers[1].connect(), Dialect::Debian);
    let same = search(100, &ours, &theirs, |_| {});
    same.expect("memcached answers as memcached does");

    // Each with the number of requests that it takes to show it.
    let plants: [(usize, Tamper); 3] = [
        (2, |reply| replace(reply, b"NOT_STORED", b"STORED")),
        (3, |reply| replace(reply, b" Z", b" W")),
        (1, |reply| replace(reply, b"invalid numeric delta argument", b"invalid numeric delta")),
    ];
    for (needed, plant) in plants {
        let Err(found) = search(2000, &ours, &theirs, plant) else {
            panic!("a planted difference was not found");
        };
        let count: usize = found.conversation.batches.iter().map(Vec::len).sum();
        assert!(count <= needed, "{}\ntoo long:\n{}", found.difference, show(&found.conversation));
    }
}

/// However a conversation is cut into pieces on its way, the replies are the same.
#[test]
fn replies_do_not_depend_on_how_the_bytes_arrive() {
    let strategy =
        (prop::collection::vec(commands::request(), 1..12), prop::collection::vec(any::<u16>(), 0..8));
    let mut runner = TestRunner::new(config(cases(400)));
    let outcome = runner.run(&strategy, |(requests, cuts)| {
        let sent = requests
            .iter()
            .flat_map(|request| request.render(0, &HashMap::new(), Dialect::Current))
            .collect::<Vec<u8>>();
        let whole = answer(&[&sent]);
        let check = |how: &str, pieces: &[&[u8]]| {
            let (mut names, mut other_names) = Default::default();
            compare::replies(&answer(pieces), &whole, &mut names, &mut other_names)
                .map_err(|difference| TestCaseError::fail(format!("{how}: {difference}\n{}", text(&sent))))
        };
        check("a byte at a time", &sent.chunks(1).collect::<Vec<_>>())?;
        check("in pieces", &pieces(&sent, &cuts))?;
        // Every place for one cut, where that is affordable.
        for cut in 1..sent.len().min(300) {
            let (head, tail) = sent.split_at(cut);
            check(&format!("cut after {cut} bytes"), &[head, tail])?;
        }
        Ok(())
    });
    if let Err(error) = outcome {
        panic!("{error}");
    }
}

/// One generated conversation: batches that are sent whole to memcached, and cut at `cuts` to memcarp.
#[derive(Clone, Debug)]
struct Conversation {
    batches: Vec<Batch>,
    cuts: Vec<u16>,
}

fn conversation() -> impl Strategy<Value = Conversation> {
    (prop::collection::vec(commands::batch(), 1..5), prop::collection::vec(any::<u16>(), 0..6))
        .prop_map(|(batches, cuts)| Conversation { batches, cuts })
}

/// What the search found: how the replies differ, and the shortest conversation that shows it.
#[derive(Debug)]
struct Found {
    difference: String,
    conversation: Conversation,
}

/// Plays generated conversations to both until their replies differ. `tamper` changes what the first one said.
fn search(
    cases: u32,
    ours: &dyn Fn() -> Side,
    theirs: &dyn Fn() -> Side,
    tamper: Tamper,
) -> Result<(), Found> {
    let check = |conversation: &Conversation| {
        // Keys are fresh in every conversation, so that what is left of earlier ones does not show.
        let number = CONVERSATIONS.fetch_add(1, Ordering::Relaxed);
        compare_replies(conversation, number, &mut ours(), &mut theirs(), tamper)
    };
    // The lowest CAS numbers, which conversations guess, are used up.
    for mut side in [ours(), theirs()] {
        side.link.send(&b"set first 0 0 1 noreply\r\nx\r\n".repeat(10));
        side.reply().expect("an answer");
    }
    let mut runner = TestRunner::new(config(cases));
    let found = runner.run(&conversation(), |conversation| check(&conversation).map_err(TestCaseError::fail));
    match found {
        Ok(()) => Ok(()),
        Err(TestError::Fail(reason, conversation)) => {
            let conversation = shortest(conversation, |shorter| check(shorter).is_err());
            let difference =
                check(&conversation).err().unwrap_or_else(|| format!("not every time: {reason}"));
            Err(Found { difference, conversation })
        }
        Err(TestError::Abort(reason)) => panic!("the search ended: {reason}"),
    }
}

fn compare_replies(
    conversation: &Conversation,
    number: u32,
    ours: &mut Side,
    theirs: &mut Side,
    tamper: Tamper,
) -> Result<(), String> {
    for batch in &conversation.batches {
        let mut our_bytes = Vec::new();
        let mut their_bytes = Vec::new();
        for request in batch {
            our_bytes.extend(request.render(number, &ours.cas, ours.dialect));
            their_bytes.extend(request.render(number, &theirs.cas, theirs.dialect));
        }
        for piece in pieces(&our_bytes, &conversation.cuts) {
            ours.link.send(piece);
        }
        theirs.link.send(&their_bytes);
        let mut said = ours.reply()?;
        tamper(&mut said);
        let expected = theirs.reply()?;
        if let Err(difference) = compare::replies(&said, &expected, &mut ours.names, &mut theirs.names) {
            return Err(format!("{difference}\nmemcarp:   {}\nmemcached: {}", text(&said), text(&expected)));
        }
        if ours.closed || theirs.closed {
            return if ours.closed && theirs.closed { Ok(()) } else { Err("only one of them closed".into()) };
        }
    }
    Ok(())
}

/// Takes away cuts, batches, requests and words, as long as what is left still fails.
fn shortest(mut conversation: Conversation, fails: impl Fn(&Conversation) -> bool) -> Conversation {
    loop {
        let mut shorter = Vec::new();
        if !conversation.cuts.is_empty() {
            shorter.push(Conversation { cuts: vec![], ..conversation.clone() });
        }
        for (index, batch) in conversation.batches.iter().enumerate() {
            let with = |batches: Vec<Batch>| {
                let mut changed = conversation.clone();
                changed.batches.splice(index..=index, batches);
                changed
            };
            shorter.push(with(vec![]));
            for place in 0..batch.len() {
                let mut rest = batch.clone();
                let request = rest.remove(place);
                shorter.push(with(vec![rest.clone()]));
                for simpler in request.simpler() {
                    rest.insert(place, simpler);
                    shorter.push(with(vec![rest.clone()]));
                    rest.remove(place);
                }
            }
        }
        let next = shorter.into_iter().filter(|shorter| !shorter.batches.is_empty()).find(&fails);
        match next {
            Some(shorter) => conversation = shorter,
            None => return conversation,
        }
    }
}

/// One server of the two, and what it has said of CAS numbers.
struct Side {
    link: Box<dyn Link>,
    dialect: Dialect,
    /// The CAS number seen last, by key.
    cas: HashMap<Vec<u8>, u64>,
    names: compare::Names,
    closed: bool,
}

/// How a server is spoken to.
trait Link {
    fn send(&mut self, bytes: &[u8]);
    /// Waits for more to be answered; false if it has closed.
    fn more(&mut self, deadline: Instant) -> Result<bool, String>;
    /// What has been answered, and not been taken from here.
    fn pending(&mut self) -> &mut Vec<u8>;
}

impl Link for Connection {
    fn send(&mut self, bytes: &[u8]) {
        Connection::send(self, bytes);
    }

    fn more(&mut self, deadline: Instant) -> Result<bool, String> {
        self.read_more(deadline)
    }

    fn pending(&mut self) -> &mut Vec<u8> {
        self.received()
    }
}

impl Link for Memory {
    fn send(&mut self, bytes: &[u8]) {
        Memory::send(self, "main", bytes);
    }

    fn more(&mut self, _deadline: Instant) -> Result<bool, String> {
        match self.is_closed("main") {
            true => Ok(false),
            false => Err(format!("no more is answered; so far: {}", text(self.received("main")))),
        }
    }

    fn pending(&mut self) -> &mut Vec<u8> {
        self.received("main")
    }
}

impl Side {
    fn new(link: impl Link + 'static, dialect: Dialect) -> Side {
        let names = compare::Names::default();
        Side { link: Box::new(link), dialect, cas: HashMap::new(), names, closed: false }
    }

    /// All that is answered to what was sent, up to the answer to a last request that nothing generated looks like.
    fn reply(&mut self) -> Result<Vec<u8>, String> {
        self.link.send(b"mg end-of-batch Oend-of-batch\r\n");
        let deadline = Instant::now() + Duration::from_secs(4);
        while !self.link.pending().ends_with(b"EN Oend-of-batch\r\n") {
            if !self.link.more(deadline)? {
                self.closed = true;
                break;
            }
        }
        let reply = std::mem::take(self.link.pending());
        compare::collect_cas(&reply, &mut self.cas);
        Ok(reply)
    }
}

/// What an engine in memory answers to pieces that arrive one after another.
fn answer(pieces: &[&[u8]]) -> Vec<u8> {
    let mut memory = engine();
    for piece in pieces {
        memory.send("main", piece);
    }
    std::mem::take(memory.received("main"))
}

fn engine() -> Memory {
    Memory::new(memcarp::config::Config { threads: 1, ..Default::default() })
}

/// `bytes` cut at places that `cuts` name in parts of 65536.
fn pieces<'b>(bytes: &'b [u8], cuts: &[u16]) -> Vec<&'b [u8]> {
    let mut places: Vec<usize> = cuts.iter().map(|&cut| usize::from(cut) * bytes.len() / 65536).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).filter(|piece| !piece.is_empty()).collect()
}

fn config(cases: u32) -> Config {
    // A seed of its own for each run, unless MEMCARP_PROPTEST_SEED asks for the one of another run.
    let seed = match std::env::var("MEMCARP_PROPTEST_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => RngSeed::Fixed(seed),
        None => RngSeed::Random,
    };
    Config { cases, failure_persistence: None, max_shrink_iters: 0, rng_seed: seed, ..Config::default() }
}

fn cases(default: u32) -> u32 {
    std::env::var("MEMCARP_PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(default)
}

fn show(conversation: &Conversation) -> String {
    let show_batch = |batch: &Batch| batch.iter().map(Request::to_string).collect::<Vec<_>>().join("\n");
    let batches: Vec<String> = conversation.batches.iter().map(show_batch).collect();
    format!("{}\n(cut at {:?})", batches.join("\n-- when that is answered --\n"), conversation.cuts)
}

fn replace(bytes: &mut Vec<u8>, from: &[u8], to: &[u8]) {
    while let Some(at) = bytes.windows(from.len()).position(|window| window == from) {
        bytes.splice(at..at + from.len(), to.iter().copied());
    }
}
