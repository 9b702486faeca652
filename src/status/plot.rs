//! Small plots as SVG. Knows no meaning of what it draws.

use super::escaped;
use std::fmt::Write;

/// One plot: its title, what is said of its last value, and one or two lines.
pub struct Plot<'p> {
    /// What it shows.
    pub title: &'p str,
    /// The last value in words.
    pub now: String,
    /// The highest value its height is for; grows to what is there.
    pub top: f64,
    /// The highest value in words, for the top's label.
    pub top_label: fn(f64) -> String,
    /// The lines, each with its name if there are several. What is `None` is not drawn.
    pub lines: Vec<(&'p str, Vec<Option<f64>>)>,
}

const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 64.0;

impl Plot<'_> {
    /// Appends it, `places` wide: with fewer values they stand at the right.
    pub fn put(&self, page: &mut String, places: usize) {
        let highest = self.lines.iter().flat_map(|(_, values)| values.iter().flatten().copied());
        let top = highest.fold(self.top, f64::max);
        // Writing to a String does not fail.
        let _ = write!(
            page,
            "<figure><figcaption>{} <b>{}</b></figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
             aria-label=\"{}: {}\" preserveAspectRatio=\"none\">",
            escaped(self.title),
            escaped(&self.now),
            escaped(self.title),
            escaped(&self.now),
        );
        for (number, (_, values)) in self.lines.iter().enumerate() {
            for part in parts(values, top, places) {
                let _ = write!(page, "<polyline class=\"l{number}\" points=\"{part}\"/>");
            }
        }
        page.push_str("</svg><p class=\"legend\">");
        for (number, (name, _)) in self.lines.iter().enumerate().filter(|(_, (name, _))| !name.is_empty()) {
            let _ = write!(page, "<span class=\"k{number}\">{}</span> ", escaped(name));
        }
        let _ =
            write!(page, "<span class=\"top\">top {}</span></p></figure>", escaped(&(self.top_label)(top)));
    }
}

/// The points of each unbroken part of a line.
fn parts(values: &[Option<f64>], top: f64, places: usize) -> Vec<String> {
    let step = WIDTH / places.saturating_sub(1).max(1) as f64;
    let first = places.saturating_sub(values.len());
    let mut parts = vec![String::new()];
    for (at, value) in (first..).zip(values) {
        let part = parts.last_mut().expect("there is one from the start");
        match value {
            Some(value) => {
                let share = if top > 0.0 { (value / top).clamp(0.0, 1.0) } else { 0.0 };
                let (x, y) = (at as f64 * step, (HEIGHT - 1.0) - share * (HEIGHT - 2.0));
                let _ = write!(part, "{}{x:.1},{y:.1}", if part.is_empty() { "" } else { " " });
            }
            None if part.is_empty() => {}
            None => parts.push(String::new()),
        }
    }
    parts.retain(|part| !part.is_empty());
    for part in parts.iter_mut().filter(|part| !part.contains(' ')) {
        // A line of one point is not drawn, one between two points in the same place is.
        *part = format!("{part} {part}");
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_breaks_where_there_is_nothing_and_ends_at_the_right() {
        let values = [Some(0.0), Some(1.0), None, Some(0.5)];
        assert_eq!(parts(&values, 1.0, 4), ["0.0,63.0 100.0,1.0", "300.0,32.0 300.0,32.0"]);
        assert_eq!(parts(&values[..2], 1.0, 4), ["200.0,63.0 300.0,1.0"]);
        assert_eq!(parts(&[None], 0.0, 0), Vec::<String>::new());
    }
}
