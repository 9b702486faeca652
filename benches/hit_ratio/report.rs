//! Tables and a plot of what came of the replays.

use super::options::Group;
use super::results::Run;
use std::fmt::Write;

/// Prints a line for each trace and size: the misses of each cache, and for each but the first how many they are beside
/// its; then the geometric means of these ratios.
pub fn print(rows: &[Vec<Run>]) {
    let Some(first) = rows.first() else { return };
    let mut heading = format!("{:14} {:>5}", "trace", "MiB");
    for run in first {
        let _ = write!(heading, " {:>10} {:>9}", run.cache, "resident");
    }
    for run in &first[1..] {
        let _ = write!(heading, " {:>16}", format!("{} / {}", short(&run.cache), short(&first[0].cache)));
    }
    for group in Group::ALL {
        let rows: Vec<_> = rows.iter().filter(|row| row[0].group == group).collect();
        if rows.is_empty() {
            continue;
        }
        println!("\n{}\n{heading}", group.name());
        for row in &rows {
            print!("{:14} {:>5}", row[0].trace, row[0].mebibytes);
            for run in *row {
                print!(
                    " {:10.5} {:9.1}",
                    run.outcome.miss_ratio(),
                    run.outcome.resident as f64 / f64::from(1 << 20)
                );
            }
            for run in &row[1..] {
                print!(" {:16.3}", ratio(run, &row[0]));
            }
            println!();
        }
        let mut sizes: Vec<usize> = rows.iter().map(|row| row[0].mebibytes).collect();
        sizes.sort_unstable();
        sizes.dedup();
        for at in 1..first.len() {
            print!("{}, geometric mean:", rows[0][at].cache);
            let mean_of = |is_in: &dyn Fn(usize) -> bool| {
                let ratios =
                    rows.iter().filter(|row| is_in(row[0].mebibytes)).map(|row| ratio(&row[at], &row[0]));
                let (sum, worst, count) = ratios.fold((0.0, 0f64, 0), |(sum, worst, count), ratio| {
                    (sum + ratio.ln(), worst.max(ratio), count + 1)
                });
                ((sum / f64::from(count)).exp(), worst)
            };
            for &size in &sizes {
                print!(" {:.3} at {size} MiB,", mean_of(&|other| other == size).0);
            }
            let (mean, worst) = mean_of(&|_| true);
            println!(" {mean:.3} of all, worst {worst:.3}");
        }
    }
}

fn short(name: &str) -> &str {
    name.get(..7).unwrap_or(name)
}

fn ratio(run: &Run, base: &Run) -> f64 {
    run.outcome.misses as f64 / base.outcome.misses.max(1) as f64
}

const WIDTH: f64 = 210.0;
const HEIGHT: f64 = 150.0;
const COLUMNS: usize = 4;
const COLOURS: [&str; 5] = ["#c33", "#06c", "#393", "#939", "#777"];

/// A small plot for each trace, miss ratio against resident memory, with a line for each cache.
pub fn svg(rows: &[Vec<Run>]) -> String {
    let mut plots: Vec<(&Run, Vec<&Vec<Run>>)> = Vec::new();
    for row in rows {
        match plots.iter_mut().find(|(first, _)| (&first.trace, first.group) == (&row[0].trace, row[0].group))
        {
            Some((_, of_trace)) => of_trace.push(row),
            None => plots.push((&row[0], vec![row])),
        }
    }
    let height = HEIGHT * plots.len().div_ceil(COLUMNS) as f64 + 30.0;
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{}' height='{height}' font-family='sans-serif' \
         font-size='10'>\n<rect width='100%' height='100%' fill='white'/>\n",
        WIDTH * COLUMNS as f64
    );
    for (at, (first, rows)) in plots.iter().enumerate() {
        let left = (at % COLUMNS) as f64 * WIDTH + 32.0;
        let top = (at / COLUMNS) as f64 * HEIGHT + 24.0;
        let title = match first.group {
            Group::HeldOut => format!("{} (held out)", first.trace),
            _ => first.trace.clone(),
        };
        plot(&mut svg, &title, rows, left, top);
    }
    let caches = rows.first().map(|row| row.iter().map(|run| run.cache.as_str())).into_iter().flatten();
    for (at, (cache, colour)) in caches.zip(COLOURS).enumerate() {
        let _ = writeln!(
            svg,
            "<text x='{}' y='{}' fill='{colour}'>{cache}: miss ratio by resident MiB</text>",
            32.0 + at as f64 * 200.0,
            height - 10.0
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn plot(svg: &mut String, title: &str, rows: &[&Vec<Run>], left: f64, top: f64) {
    let (width, height) = (WIDTH - 48.0, HEIGHT - 52.0);
    let point = |run: &Run| (run.outcome.resident as f64 / f64::from(1 << 20), run.outcome.miss_ratio());
    let all = || rows.iter().flat_map(|row| row.iter()).map(point).filter(|point| point.0 > 0.0);
    let most = all().map(|point| point.1).fold(0.01, f64::max);
    let (low, high) =
        all().fold((f64::MAX, 0f64), |(low, high), point| (low.min(point.0), high.max(point.0)));
    let x = |mebibytes: f64| {
        left + width * if high > low { (mebibytes / low).ln() / (high / low).ln() } else { 0.5 }
    };
    let y = |ratio: f64| top + height * (1.0 - ratio / most);
    let (bottom, right) = (top + height, left + width);
    let _ = writeln!(svg, "<text x='{left}' y='{}' font-weight='bold'>{title}</text>", top - 8.0);
    let _ = writeln!(svg, "<path d='M{left},{top}V{bottom}H{right}' stroke='#888' fill='none'/>");
    let _ = writeln!(svg, "<text x='{}' y='{}' text-anchor='end'>{most:.2}</text>", left - 4.0, top + 8.0);
    for mebibytes in [low, high] {
        let _ = writeln!(
            svg,
            "<text x='{:.0}' y='{}' text-anchor='middle'>{mebibytes:.0}</text>",
            x(mebibytes),
            bottom + 13.0
        );
    }
    for (at, colour) in (0..rows[0].len()).zip(COLOURS) {
        let points = rows.iter().filter_map(|row| row.get(at)).map(point);
        let places: Vec<String> = points
            .filter(|point| point.0 > 0.0)
            .map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1)))
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points='{}' stroke='{colour}' fill='none' stroke-width='1.5'/>",
            places.join(" ")
        );
        for place in places {
            let (x, y) = place.split_once(',').expect("it was just written so");
            let _ = writeln!(svg, "<circle cx='{x}' cy='{y}' r='2' fill='{colour}'/>");
        }
    }
}
