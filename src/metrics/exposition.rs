//! Samples to Prometheus' text format 0.0.4. Knows no names and no server.
//!
//! The `metrics` recorder and its Prometheus exporter describe and render whole counters and gauges: a fresh recorder
//! for each scrape, because a counter of theirs cannot go down, as `stats reset` makes ours. Three things they cannot
//! take are written here: counters with a fraction (theirs are integers), untyped samples, and histograms whose
//! values were counted elsewhere (theirs take single values). Families come out in the order of their names.

use super::names::{Family, Kind};
use metrics::{Key, Label, Metadata, Recorder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusRecorder};
use std::collections::BTreeMap;
use std::fmt::{Display, Write};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Label names with their values.
pub type Labels<'a> = &'a [(&'static str, &'a str)];

/// Samples on their way out.
pub struct Exposition {
    recorder: PrometheusRecorder,
    /// By name, what the recorder cannot take.
    own: BTreeMap<&'static str, String>,
}

static METADATA: Metadata<'static> = Metadata::new("memcarp", metrics::Level::INFO, None);

impl Default for Exposition {
    fn default() -> Exposition {
        Exposition { recorder: PrometheusBuilder::new().build_recorder(), own: BTreeMap::new() }
    }
}

impl Exposition {
    /// A sample.
    pub fn add(&mut self, family: &Family, labels: Labels<'_>, value: f64) {
        match family.kind {
            Kind::Counter => self.count(family, labels, value as u64),
            Kind::Gauge => {
                self.recorder.describe_gauge(family.name.into(), None, family.help.into());
                self.recorder.register_gauge(&key(family, labels), &METADATA).set(value);
            }
            _ => write_sample(self.own(family), family.name, labels, value),
        }
    }

    /// A sample of a counter of whole numbers.
    pub fn count(&mut self, family: &Family, labels: Labels<'_>, value: u64) {
        self.recorder.describe_counter(family.name.into(), None, family.help.into());
        self.recorder.register_counter(&key(family, labels), &METADATA).absolute(value);
    }

    /// A histogram: each bound with how many values are above the bound before and up to it, how many are above all,
    /// and the sum of all.
    pub fn histogram(
        &mut self,
        family: &Family,
        labels: Labels<'_>,
        places: impl IntoIterator<Item = (f64, u64)>,
        above: u64,
        sum: f64,
    ) {
        let own = self.own(family);
        let bucket = format!("{}_bucket", family.name);
        let mut count = 0;
        let mut up_to = |bound: &str, values: u64| {
            count += values;
            write_sample(own, &bucket, &[labels, &[("le", bound)]].concat(), count);
        };
        for (bound, values) in places {
            up_to(&bound.to_string(), values);
        }
        up_to("+Inf", above);
        write_sample(own, &format!("{}_sum", family.name), labels, sum);
        write_sample(own, &format!("{}_count", family.name), labels, count);
    }

    /// The text.
    pub fn render(self) -> String {
        let rendered = self.recorder.handle().render();
        let mut families: BTreeMap<&str, String> = self.own;
        for text in rendered.split("\n\n").filter(|text| !text.is_empty()) {
            let name = text.split(' ').nth(2).unwrap_or_default();
            families.insert(name, in_order(text));
        }
        families.into_values().collect()
    }

    fn own(&mut self, family: &Family) -> &mut String {
        self.own.entry(family.name).or_insert_with(|| {
            let kind = match family.kind {
                Kind::Counter | Kind::FractionalCounter => "counter",
                Kind::Gauge => "gauge",
                Kind::Untyped => "untyped",
                Kind::Histogram => "histogram",
            };
            format!("# HELP {0} {1}\n# TYPE {0} {kind}\n", family.name, family.help)
        })
    }
}

fn key(family: &Family, labels: Labels<'_>) -> Key {
    let labels: Vec<Label> =
        labels.iter().map(|(name, value)| Label::new(*name, (*value).to_owned())).collect();
    Key::from_parts(family.name, labels)
}

fn write_sample(text: &mut String, name: &str, labels: Labels<'_>, value: impl Display) {
    text.push_str(name);
    for (at, (label, value)) in labels.iter().enumerate() {
        let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
        // Writing to a String does not fail.
        let _ = write!(text, "{}{label}=\"{value}\"", if at == 0 { '{' } else { ',' });
    }
    let _ = writeln!(text, "{} {value}", if labels.is_empty() { "" } else { "}" });
}

/// A family's text with its samples sorted: the exporter keeps them in no order.
fn in_order(text: &str) -> String {
    let (mut samples, mut sorted): (Vec<&str>, Vec<&str>) =
        text.lines().partition(|line| !line.starts_with('#'));
    samples.sort_unstable();
    sorted.append(&mut samples);
    sorted.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn family(name: &'static str, kind: Kind) -> Family {
        Family { name, kind, help: "Help." }
    }

    #[test]
    fn families_are_described_and_in_order() {
        let mut exposition = Exposition::default();
        exposition.add(&family("b_total", Kind::Counter), &[("c", "y")], 7.0);
        exposition.add(&family("b_total", Kind::Counter), &[("c", "x")], 0.0);
        exposition.add(&family("c_seconds_total", Kind::FractionalCounter), &[], 1.25);
        exposition.add(&family("a", Kind::Gauge), &[("path", "a\"b\\c\nd")], 0.5);
        exposition.add(&family("d", Kind::Untyped), &[("path", "a\"b\\c\nd")], 3.0);
        assert_eq!(
            exposition.render(),
            "# HELP a Help.\n# TYPE a gauge\na{path=\"a\\\"b\\\\c\\nd\"} 0.5\n\
             # HELP b_total Help.\n# TYPE b_total counter\nb_total{c=\"x\"} 0\nb_total{c=\"y\"} 7\n\
             # HELP c_seconds_total Help.\n# TYPE c_seconds_total counter\nc_seconds_total 1.25\n\
             # HELP d Help.\n# TYPE d untyped\nd{path=\"a\\\"b\\\\c\\nd\"} 3\n"
        );
    }

    #[test]
    fn a_histogram_counts_up_to_each_bound() {
        let mut exposition = Exposition::default();
        let seconds = family("t_seconds", Kind::Histogram);
        exposition.histogram(&seconds, &[("c", "x")], [(0.000001, 2), (0.5, 3)], 4, 12.5);
        exposition.histogram(&seconds, &[("c", "y")], [(1.0, 0)], 0, 0.0);
        assert_eq!(
            exposition.render(),
            "# HELP t_seconds Help.\n# TYPE t_seconds histogram\n\
             t_seconds_bucket{c=\"x\",le=\"0.000001\"} 2\nt_seconds_bucket{c=\"x\",le=\"0.5\"} 5\n\
             t_seconds_bucket{c=\"x\",le=\"+Inf\"} 9\nt_seconds_sum{c=\"x\"} 12.5\nt_seconds_count{c=\"x\"} 9\n\
             t_seconds_bucket{c=\"y\",le=\"1\"} 0\nt_seconds_bucket{c=\"y\",le=\"+Inf\"} 0\n\
             t_seconds_sum{c=\"y\"} 0\nt_seconds_count{c=\"y\"} 0\n"
        );
    }

    #[test]
    fn large_numbers_are_written_in_full() {
        let mut exposition = Exposition::default();
        exposition.count(&family("n_total", Kind::Counter), &[], u64::MAX);
        exposition.add(&family("m", Kind::Gauge), &[], (1u64 << 50) as f64);
        assert!(exposition.render().ends_with(&format!(
            "m {}\n# HELP n_total Help.\n# TYPE n_total counter\nn_total {}\n",
            1u64 << 50,
            u64::MAX
        )));
    }
}
