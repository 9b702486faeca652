//! What the features `metrics` and `tracing` report. Nothing without them.

use crate::error::{Error, ErrorKind};
use crate::events::Event;

/// What a request came to, for counting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Tally {
    Hit,
    Miss,
    Done,
    #[cfg(feature = "near-cache")]
    NearHit,
    Computed,
    Shared,
    Fallback,
}

impl Tally {
    #[cfg(feature = "metrics")]
    fn name(self) -> &'static str {
        match self {
            Tally::Hit => "hit",
            Tally::Miss => "miss",
            Tally::Done => "done",
            #[cfg(feature = "near-cache")]
            Tally::NearHit => "near_hit",
            Tally::Computed => "computed",
            Tally::Shared => "shared",
            Tally::Fallback => "fallback",
        }
    }
}

/// Counts a request: `memcarp_client_requests_total{outcome}`.
pub(crate) fn request(tally: Tally) {
    #[cfg(feature = "metrics")]
    metrics::counter!("memcarp_client_requests_total", "outcome" => tally.name()).increment(1);
    let _ = tally;
}

/// Counts a failure: `memcarp_client_errors_total{member, kind}`. This counts too where the caller is told of a
/// miss instead.
pub(crate) fn error(error: &Error) {
    #[cfg(feature = "metrics")]
    metrics::counter!(
        "memcarp_client_errors_total",
        "member" => error.member().unwrap_or("").to_owned(),
        "kind" => kind(error)
    )
    .increment(1);
    #[cfg(feature = "tracing")]
    tracing::debug!(member = error.member(), kind = kind(error), %error, "a request failed");
    let _ = (error, kind);
}

/// `memcarp_client_member_up{member}`, and a log line.
pub(crate) fn event(event: &Event) {
    #[cfg(feature = "metrics")]
    match event {
        Event::Down { member, .. } => {
            metrics::gauge!("memcarp_client_member_up", "member" => member.to_string()).set(0.0);
        }
        Event::Up { member } => {
            metrics::gauge!("memcarp_client_member_up", "member" => member.to_string()).set(1.0);
        }
        Event::Members { epoch } => metrics::gauge!("memcarp_client_members_epoch").set(*epoch as f64),
        Event::Emptied { .. } => {}
    }
    #[cfg(feature = "tracing")]
    match event {
        Event::Down { member, error } => tracing::warn!(%member, %error, "a member is down"),
        Event::Up { member } => tracing::info!(%member, "a member is back"),
        Event::Emptied { member } => tracing::warn!(%member, "a member missed too much and was emptied"),
        Event::Members { epoch } => tracing::info!(epoch, "the member list was replaced"),
    }
    let _ = event;
}

fn kind(error: &Error) -> &'static str {
    match error.kind() {
        ErrorKind::InvalidKey { .. } => "invalid_key",
        ErrorKind::ValueTooLarge { .. } => "value_too_large",
        ErrorKind::Invalid(_) => "invalid",
        ErrorKind::Unsupported(_) => "unsupported",
        ErrorKind::MemberDown => "member_down",
        ErrorKind::Unsettled => "unsettled",
        ErrorKind::Connect => "connect",
        ErrorKind::LoginRequired => "login_required",
        ErrorKind::Authentication(_) => "authentication",
        ErrorKind::ConnectionLost => "connection_lost",
        ErrorKind::Timeout => "timeout",
        ErrorKind::Overloaded => "overloaded",
        ErrorKind::Server(_) => "server",
        ErrorKind::Refused(_) => "refused",
        ErrorKind::Protocol(_) => "protocol",
        ErrorKind::SourceElsewhere(_) => "source_elsewhere",
        ErrorKind::Codec => "codec",
        ErrorKind::Members => "members",
        ErrorKind::Settings => "settings",
    }
}
