//! A plot of miss ratios against memory, as SVG.

use std::fmt::Write;

/// One line of the plot: resident MiB and miss ratio of each run.
pub struct Line {
    pub name: String,
    pub points: Vec<(f64, f64)>,
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 200.0;
const COLUMNS: usize = 3;
const COLOURS: [&str; 4] = ["#c33", "#06c", "#393", "#939"];

/// A small plot for each trace.
pub fn svg(plots: &[(String, Vec<Line>)]) -> String {
    let rows = plots.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64 + 30.0);
    let mut svg = format!(
        "<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{height}' font-family='sans-serif' font-size='11'>\n\
         <rect width='100%' height='100%' fill='white'/>\n"
    );
    for (at, (name, lines)) in plots.iter().enumerate() {
        let (left, top) = ((at % COLUMNS) as f64 * WIDTH + 40.0, (at / COLUMNS) as f64 * HEIGHT + 25.0);
        let (inner_width, inner_height) = (WIDTH - 60.0, HEIGHT - 60.0);
        let all = || lines.iter().flat_map(|line| &line.points);
        let most = all().map(|point| point.1).fold(0.01, f64::max);
        let (low, high) =
            all().fold((f64::MAX, 0f64), |(low, high), point| (low.min(point.0), high.max(point.0)));
        let x = |mebibytes: f64| {
            left + inner_width * if high > low { (mebibytes / low).ln() / (high / low).ln() } else { 0.5 }
        };
        let y = |ratio: f64| top + inner_height * (1.0 - ratio / most);
        let _ = writeln!(svg, "<text x='{left}' y='{}' font-weight='bold'>{name}</text>", top - 8.0);
        let _ = writeln!(
            svg,
            "<path d='M{left},{top}V{}H{}' stroke='#888' fill='none'/>",
            top + inner_height,
            left + inner_width
        );
        let _ =
            writeln!(svg, "<text x='{}' y='{}' text-anchor='end'>{most:.2}</text>", left - 4.0, top + 8.0);
        for mebibytes in [low, high] {
            let (x, y) = (x(mebibytes), top + inner_height + 14.0);
            let _ = writeln!(svg, "<text x='{x}' y='{y}' text-anchor='middle'>{mebibytes:.0} MiB</text>");
        }
        for (line, colour) in lines.iter().zip(COLOURS) {
            let points: Vec<String> =
                line.points.iter().map(|point| format!("{:.1},{:.1}", x(point.0), y(point.1))).collect();
            let points = points.join(" ");
            let _ =
                writeln!(svg, "<polyline points='{points}' stroke='{colour}' fill='none' stroke-width='2'/>");
            for point in &line.points {
                let (x, y) = (x(point.0), y(point.1));
                let _ = writeln!(svg, "<circle cx='{x:.1}' cy='{y:.1}' r='3' fill='{colour}'/>");
            }
        }
    }
    if let Some((_, lines)) = plots.first() {
        for (at, (line, colour)) in lines.iter().zip(COLOURS).enumerate() {
            let (x, y) = (40.0 + at as f64 * 200.0, height - 10.0);
            let _ = writeln!(
                svg,
                "<text x='{x}' y='{y}' fill='{colour}'>{}: miss ratio by resident memory</text>",
                line.name
            );
        }
    }
    svg.push_str("</svg>\n");
    svg
}
