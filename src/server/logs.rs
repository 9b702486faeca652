//! What is logged, and how it is written to standard error. Knows nothing of what happens.
//!
//! Levels by importance: a warning needs somebody, info tells what was done to the server; neither shows a key or a
//! value of a client. Debug (`-v`) tells of connections that failed, trace (`-vv`) shows the conversations. The last two
//! are asked for by whoever logs, from [`verbosity`](crate::command::Engine): it changes while the server runs.

use crate::config::LogFormat;
use nix::sys::stat::fstat;
use std::fmt;
use std::io::{Write, stderr, stdout};
use tracing::{Event, Level, Metadata, Subscriber, error, info};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, layer};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::{LookupSpan, Registry};

/// Has what is logged from now on written to standard error. A stderr that is gone stops nobody.
pub(super) fn start(format: LogFormat) {
    if format == LogFormat::Json {
        std::panic::set_hook(Box::new(|panic| error!("{panic}")));
    }
    // A second server in the same process keeps the first one's.
    let _ = tracing::subscriber::set_global_default(subscriber(format, BoxMakeWriter::new(stderr)));
}

/// Says a line on standard output, in this format. One that is gone stops nobody.
pub(super) fn announce(format: LogFormat, line: fmt::Arguments<'_>) {
    match format {
        LogFormat::Text => drop(writeln!(stdout(), "{line}")),
        LogFormat::Json => {
            let stdout = subscriber(format, BoxMakeWriter::new(stdout));
            tracing::subscriber::with_default(stdout, || info!("{line}"));
        }
    }
}

fn subscriber(format: LogFormat, to: BoxMakeWriter) -> impl Subscriber + Send + Sync {
    let ours = filter_fn(|metadata: &Metadata<'_>| metadata.target().starts_with("memcarp"));
    let written = match format {
        LogFormat::Text => {
            let text = Text { timestamps: !is_journal() };
            layer().event_format(text).with_ansi(false).with_writer(to).log_internal_errors(false).boxed()
        }
        LogFormat::Json => layer()
            .json()
            .flatten_event(true)
            .with_current_span(false)
            .with_span_list(false)
            .with_target(false)
            .with_writer(to)
            .log_internal_errors(false)
            .boxed(),
    };
    Registry::default().with(written.with_filter(ours))
}

/// Whether standard error goes to journald, which notes the time itself.
fn is_journal() -> bool {
    let here = fstat(stderr()).map(|file| format!("{}:{}", file.st_dev, file.st_ino));
    std::env::var("JOURNAL_STREAM").is_ok_and(|stream| here == Ok(stream))
}

/// One line: the time, how important it is, and what happened. Conversations have memcached's form, `<30 get a`.
struct Text {
    timestamps: bool,
}

impl<S, N> FormatEvent<S, N> for Text
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut line: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let level = *event.metadata().level();
        if level != Level::TRACE {
            if self.timestamps {
                SystemTime.format_time(&mut line)?;
                line.write_char(' ')?;
            }
            write!(line, "{level} ")?;
        }
        context.format_fields(line.by_ref(), event)?;
        writeln!(line)
    }
}
