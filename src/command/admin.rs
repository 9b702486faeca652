//! The commands that look after the server. Knows no sockets: what a reply cannot do is handed back as an [`Outcome`].

use super::dump::Dump;
use super::engine::MEMCACHED_VERSION;
use super::output::Output;
use super::session::Context;
use super::watch::{Classes, Watcher};
use super::{stats, tuning};
use crate::protocol::{Admin, AdminVerb, Fields, parse_i32, parse_u64};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What is left to do once a command has been carried out.
pub(super) enum Outcome {
    /// Nothing: the reply is in the output.
    Answered,
    /// `OK` is in the output; log lines follow from now on.
    Watch(Arc<Watcher>),
    /// The reply is long: [`Dump::advance`] writes it, piece by piece.
    Dump(Dump),
    /// No reply: the server ends.
    Shutdown {
        /// `shutdown graceful`.
        graceful: bool,
    },
}

/// Smallest memory limit in MiB that can be set while running, as in memcached.
const MIN_MEMLIMIT: u64 = 8;

/// Seconds up to which a delay counts from now; longer ones are Unix times.
const MAX_DELAY: i32 = 60 * 60 * 24 * 30;

/// Carries out a command. The reply is written even if the command asks for none.
pub(super) fn execute(admin: Admin<'_>, output: &mut Output, context: &Context<'_>) -> Outcome {
    let mut arguments = admin.arguments;
    let reply = match admin.verb {
        AdminVerb::Version => {
            output.put(b"VERSION ");
            MEMCACHED_VERSION
        }
        AdminVerb::Verbosity => verbosity(arguments, context),
        AdminVerb::FlushAll => flush_all(arguments, context),
        AdminVerb::Stats => return stats::execute(arguments, output, context),
        AdminVerb::Shutdown => match shutdown(arguments, context) {
            Ok(graceful) => return Outcome::Shutdown { graceful },
            Err(refusal) => refusal,
        },
        AdminVerb::CacheMemlimit => cache_memlimit(arguments, context),
        AdminVerb::LruCrawler => {
            let dump = match arguments.clone().next() {
                Some(b"metadump") => {
                    tuning::dump_classes(arguments.nth(1), "ERROR metadump not allowed", context)
                        .map(Dump::metadump)
                }
                Some(b"mgdump") => {
                    tuning::dump_classes(arguments.nth(1), "ERROR key dump not allowed", context)
                        .map(Dump::mgdump)
                }
                _ => Err(tuning::lru_crawler(arguments, context)),
            };
            match dump {
                Ok(dump) => return Outcome::Dump(dump),
                Err(reply) => reply,
            }
        }
        AdminVerb::Lru => tuning::lru(arguments, context),
        AdminVerb::Slabs => tuning::slabs(arguments, context),
        AdminVerb::Watch => match watch(arguments, context) {
            Ok(watcher) => {
                output.put(b"OK\r\n");
                return Outcome::Watch(watcher);
            }
            Err(refusal) => refusal,
        },
        AdminVerb::RefreshCerts => match context.engine.refresh_certificates() {
            Ok(()) => "OK",
            Err(error) => {
                output.put(error.as_bytes());
                ""
            }
        },
    };
    output.put(reply.as_bytes());
    output.put(b"\r\n");
    Outcome::Answered
}

/// A word where the number belongs is a malformed line, and several are no command at all.
fn verbosity(mut arguments: Fields<'_>, context: &Context<'_>) -> &'static str {
    let Some(level) = arguments.next() else { return "ERROR" };
    match parse_u64(level) {
        Some(level) => {
            context.engine.verbosity.store(level.min(2) as u8, Ordering::Relaxed);
            "OK"
        }
        None if arguments.nth(1).is_some() => "ERROR",
        None => "CLIENT_ERROR bad command line format",
    }
}

fn flush_all(mut arguments: Fields<'_>, context: &Context<'_>) -> &'static str {
    context.counts.general.cmd_flush.increment();
    let engine = context.engine;
    if !engine.config.flush {
        return "CLIENT_ERROR flush_all not allowed";
    }
    let delay = match arguments.next().map(parse_i32) {
        None => 0,
        Some(Some(delay)) => delay,
        Some(None) => return "CLIENT_ERROR invalid exptime argument",
    };
    let now = context.now;
    let seconds = match delay {
        ..=0 => 0,
        1..=MAX_DELAY => delay as u32,
        _ => u32::try_from(u64::from(delay.unsigned_abs()).saturating_sub(now.unix())).unwrap_or(u32::MAX),
    };
    engine.store.flush(now.plus_seconds(seconds), now);
    engine.oldest_live.store(engine.uptime(now).saturating_add(seconds), Ordering::Relaxed);
    "OK"
}

fn shutdown(mut arguments: Fields<'_>, context: &Context<'_>) -> Result<bool, &'static str> {
    if !context.engine.config.shutdown_command {
        return Err("SERVER_ERROR: shutdown not enabled");
    }
    match arguments.next() {
        None => Ok(false),
        Some(b"graceful") => Ok(true),
        Some(_) => Err("CLIENT_ERROR invalid shutdown mode"),
    }
}

fn cache_memlimit(mut arguments: Fields<'_>, context: &Context<'_>) -> &'static str {
    let Some(mebibytes) = arguments.next().and_then(parse_u64) else { return "ERROR" };
    if mebibytes < MIN_MEMLIMIT {
        return "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m";
    }
    match usize::try_from(mebibytes).ok().and_then(|mebibytes| mebibytes.checked_mul(1 << 20)) {
        Some(bytes) if bytes <= isize::MAX as usize => {
            context.engine.store.set_limit(bytes);
            "OK"
        }
        _ => "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
    }
}

fn watch(arguments: Fields<'_>, context: &Context<'_>) -> Result<Arc<Watcher>, &'static str> {
    let engine = context.engine;
    if !engine.config.watch {
        return Err("CLIENT_ERROR watch commands not allowed");
    }
    let mut classes: Option<Classes> = None;
    for name in arguments {
        let class = Classes::named(name).ok_or("ERROR")?;
        classes = Some(classes.unwrap_or_default().with(class));
    }
    engine
        .watch(classes.unwrap_or(Classes::FETCHERS), (context.waker)())
        .ok_or("WATCHER_TOO_MANY log watcher limit reached")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Client, START};
    use super::super::{MEMCACHED_VERSION, Step};
    use super::*;
    use crate::config::Config;

    fn check(config: Config, conversation: &[(&str, &str)]) {
        let mut client = Client::new(config);
        for (line, answer) in conversation {
            assert_eq!(client.say(line), format!("{answer}|"), "{line}");
        }
    }

    #[test]
    fn version_verbosity_and_limit() {
        check(
            Config::default(),
            &[
                ("version", &format!("VERSION {MEMCACHED_VERSION}")),
                ("verbosity", "ERROR"),
                ("verbosity 9", "OK"),
                ("verbosity 0 1 2", "OK"),
                ("verbosity foo bar my", "ERROR"),
                ("verbosity -1", "CLIENT_ERROR bad command line format"),
                ("cache_memlimit", "ERROR"),
                ("cache_memlimit x", "ERROR"),
                ("cache_memlimit 7", "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m"),
                (
                    "cache_memlimit 18446744073709551615",
                    "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust",
                ),
                ("cache_memlimit 128", "OK"),
                ("refresh_certs", "Error TLS not enabled"),
            ],
        );
        let mut client = Client::new(Config::default());
        client.say("verbosity 9");
        client.say("cache_memlimit 128");
        let settings = client.say("stats settings");
        assert!(settings.contains("|STAT verbosity 2|") && settings.starts_with("STAT maxbytes 134217728|"));
    }

    #[test]
    fn what_is_switched_off_is_refused() {
        let config = Config { flush: false, dump: false, watch: false, ..Config::default() };
        check(
            config,
            &[
                ("flush_all x", "CLIENT_ERROR flush_all not allowed"),
                ("watch foo", "CLIENT_ERROR watch commands not allowed"),
                ("lru_crawler metadump foo", "ERROR metadump not allowed"),
                ("lru_crawler mgdump foo", "ERROR key dump not allowed"),
                ("lru_crawler metadump", "ERROR"),
                ("stats cachedump", "CLIENT_ERROR stats cachedump not allowed"),
                ("stats detail on", "CLIENT_ERROR stats detail not allowed"),
                ("shutdown foo", "SERVER_ERROR: shutdown not enabled"),
            ],
        );
    }

    #[test]
    fn flushes_come_at_their_time() {
        let mut client = Client::new(Config::default());
        assert_eq!(client.say("flush_all x"), "CLIENT_ERROR invalid exptime argument|");
        client.say("set a 0 0 1\r\n1");
        assert_eq!(client.say("flush_all"), "OK|");
        assert_eq!(client.say("get a"), "END|");
        for (delay, at) in [("5".to_owned(), 5), ((START + 20).to_string(), 15)] {
            client.say("set a 0 0 1\r\n1");
            assert_eq!(client.say(&format!("flush_all {delay}")), "OK|");
            client.pass(at - 1);
            assert_eq!(client.say("get a"), "VALUE a 0 1|1|END|", "{delay}");
            client.pass(1);
            assert_eq!(client.say("get a"), "END|", "{delay}");
        }
        for past in ["-5", "2592001"] {
            client.say("set a 0 0 1\r\n1");
            assert_eq!(client.say(&format!("flush_all {past} 1 2 3")), "OK|");
            assert_eq!(client.say("get a"), "END|", "{past}");
        }
        assert_eq!(client.engine.totals().general.cmd_flush, 6);
    }

    #[test]
    fn shutdown_ends_the_server() {
        let mut client = Client::new(Config { shutdown_command: true, ..Config::default() });
        assert_eq!(client.say("shutdown foo"), "CLIENT_ERROR invalid shutdown mode|");
        assert!(matches!(client.steps("shutdown"), (_, Step::Shutdown { graceful: false })));
        let mut client = Client::new(Config { shutdown_command: true, ..Config::default() });
        assert!(matches!(client.steps("shutdown graceful"), (_, Step::Shutdown { graceful: true })));
    }

    #[test]
    fn watchers_are_limited_and_choose_their_classes() {
        let mut client = Client::new(Config::default());
        assert_eq!(client.say("watch fetchers foo"), "ERROR|");
        for _ in 0..super::super::watch::MAX_WATCHERS {
            client.session = Default::default();
            assert!(
                matches!(client.steps("watch mutations proxyreqs"), (text, Step::Watch) if text == "OK|")
            );
        }
        client.session = Default::default();
        assert_eq!(client.say("watch"), "WATCHER_TOO_MANY log watcher limit reached|");
        assert!(
            client.engine.watch.wants(Classes::MUTATIONS) && !client.engine.watch.wants(Classes::FETCHERS)
        );
    }

    #[test]
    fn certificates_are_read_anew_by_whoever_serves_them() {
        let mut client = Client::new(Config::default());
        client.engine.on_refresh_certificates(Box::new(|| Err("no such file".to_owned())));
        assert_eq!(client.say("refresh_certs"), "no such file|");
    }
}
