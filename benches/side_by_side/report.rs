//! The results for people: lines on the terminal, a table in markdown, a plot in SVG.

use crate::results::{Outcome, Ratio, Round, Side};
use std::fmt::Write;

/// Head of the lines of [`lines`].
pub const HEAD: &str = "case       server         ops/s  us/op (user + system)  busy      p50      p99    p99.9 us     MiB  B/conn";

/// A case as lines for the terminal.
pub fn lines(outcome: &Outcome) -> String {
    let mut text = String::new();
    for side in &outcome.sides {
        let connection = side.per_connection.map_or(String::new(), |bytes| format!("{bytes:.0}"));
        let _ = writeln!(
            text,
            "{:10} {:9} {:>10.0}  {:>6.2} ({:>5.2} + {:>5.2})   {:>5.2} {:>8.0} {:>8.0} {:>8.0}    {:>7.1}  {:>6}",
            outcome.case.name,
            side.name,
            side.median(|round| round.rate),
            side.median(Round::time),
            side.median(|round| round.user),
            side.median(|round| round.system),
            side.median(|round| round.busy),
            side.median(|round| round.p50),
            side.median(|round| round.p99),
            side.median(|round| round.p999),
            side.resident as f64 / f64::from(1 << 20),
            connection,
        );
    }
    if let Some([rate, time, p50, p99]) = ratios(outcome) {
        let _ = writeln!(
            text,
            "           ratio      ops/s {}   us/op {}   p50 {}   p99 {}",
            shown(rate),
            shown(time),
            shown(p50),
            shown(p99)
        );
    }
    text
}

/// All cases as a table in markdown.
pub fn markdown(outcomes: &[Outcome]) -> String {
    let mut text = "| case | server | ops/s | us/op | user + system | busy | p50 us | p99 us | p99.9 us | MiB | bytes a connection |\n\
        |---|---|---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for outcome in outcomes {
        for (at, side) in outcome.sides.iter().enumerate() {
            let about = if at == 0 {
                format!("`{}`: {}", outcome.case.name, outcome.case.about)
            } else {
                String::new()
            };
            let connection = side.per_connection.map_or(String::new(), |bytes| format!("{bytes:.0}"));
            let figure = |figure: fn(&Round) -> f64| side.median(figure);
            let _ = writeln!(
                text,
                "| {about} | {} | {} | {:.2} | {:.2} + {:.2} | {:.2} | {:.0} | {:.0} | {:.0} | {:.1} | {connection} |",
                side.name,
                thousands(figure(|round| round.rate)),
                figure(Round::time),
                figure(|round| round.user),
                figure(|round| round.system),
                figure(|round| round.busy),
                figure(|round| round.p50),
                figure(|round| round.p99),
                figure(|round| round.p999),
                side.resident as f64 / f64::from(1 << 20),
            );
        }
        if let Some([rate, time, p50, p99]) = ratios(outcome) {
            let _ = writeln!(
                text,
                "| | **ratio** | {} | {} | | | {} | {} | | | |",
                shown(rate),
                shown(time),
                shown(p50),
                shown(p99)
            );
        }
    }
    text
}

/// Throughput, processor time and p99 of every case as bars: memcarp's part of memcached's.
pub fn svg(outcomes: &[Outcome]) -> String {
    const ROW: f64 = 54.0;
    const LEFT: f64 = 290.0;
    const WIDTH: f64 = 900.0;
    let compared: Vec<_> = outcomes.iter().filter_map(|outcome| Some((outcome, ratios(outcome)?))).collect();
    // From a tenth to ten times, each doubling as wide as the other.
    let x = |ratio: f64| LEFT + (WIDTH - LEFT - 60.0) * (ratio.clamp(0.1, 10.0).log10() + 1.0) / 2.0;
    let height = ROW * compared.len() as f64 + 70.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{WIDTH}' height='{height}' font-family='sans-serif' font-size='12'>\n\
         <rect width='100%' height='100%' fill='white'/>\n\
         <text x='10' y='20' font-weight='bold'>memcarp beside memcached: ratios, with the least and the most of the rounds</text>\n"
    );
    for mark in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0] {
        let (at, colour) = (x(mark), if mark == 1.0 { "#000" } else { "#ccc" });
        let _ = writeln!(svg, "<path d='M{at:.1},48V{:.1}' stroke='{colour}'/>", height - 10.0);
        let _ = writeln!(svg, "<text x='{at:.1}' y='42' text-anchor='middle'>{mark}</text>");
    }
    for (row, (outcome, [rate, time, _, p99])) in compared.iter().enumerate() {
        let top = 56.0 + ROW * row as f64;
        let _ = writeln!(svg, "<text x='10' y='{:.1}'>{}</text>", top + 24.0, outcome.case.about);
        let bars = [("operations/s", rate, "#06c"), ("processor time", time, "#c60"), ("p99", p99, "#393")];
        for (bar, (name, ratio, colour)) in bars.into_iter().enumerate() {
            let y = top + 14.0 * bar as f64;
            let (from, to) = (x(1.0).min(x(ratio.median)), x(1.0).max(x(ratio.median)));
            let _ = writeln!(
                svg,
                "<rect x='{from:.1}' y='{y:.1}' width='{:.1}' height='10' fill='{colour}'/>\
                 <path d='M{:.1},{:.1}H{:.1}' stroke='#000'/>\
                 <text x='{:.1}' y='{:.1}' font-size='10'>{:.2} {name}</text>",
                to - from,
                x(ratio.least),
                y + 5.0,
                x(ratio.most),
                to.max(x(ratio.most)) + 4.0,
                y + 9.0,
                ratio.median,
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}

/// Throughput, processor time, p50 and p99.
fn ratios(outcome: &Outcome) -> Option<[Ratio; 4]> {
    Some([
        outcome.ratio(|round| round.rate)?,
        outcome.ratio(Round::time)?,
        outcome.ratio(|round| round.p50)?,
        outcome.ratio(|round| round.p99)?,
    ])
}

fn shown(ratio: Ratio) -> String {
    format!("{:.2} ({:.2}-{:.2})", ratio.median, ratio.least, ratio.most)
}

/// A number with its thousands apart.
fn thousands(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The sides of an outcome by name, for a line of progress.
pub fn progress(sides: &[&Side]) -> String {
    let of = |side: &Side| format!("{} {}/s", side.name, thousands(side.median(|round| round.rate)));
    sides.iter().copied().map(of).collect::<Vec<_>>().join(", ")
}
