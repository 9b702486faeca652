//! Prometheus' text format, read back.

use std::collections::HashMap;

/// What an exposition says.
pub struct Samples {
    /// Types by name of the family.
    pub types: HashMap<String, String>,
    /// Values by name and labels, as written: `a{b="c"}`.
    values: HashMap<String, f64>,
}

impl Samples {
    /// Panics at what is not the format.
    pub fn read(text: &str) -> Samples {
        let mut samples = Samples { types: HashMap::new(), values: HashMap::new() };
        let mut helped = "";
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                helped = help.split_once(' ').expect("a name and help").0;
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, kind) = of.split_once(' ').expect("a name and a type");
                assert_eq!(name, helped, "help comes first");
                let before = samples.types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(before, None, "{name} is there twice");
            } else {
                assert!(line.starts_with(helped), "{line} is not of {helped}");
                let (sample, value) = line.rsplit_once(' ').expect("a sample and a value");
                let value = value.parse().unwrap_or_else(|_| panic!("{line}"));
                let before = samples.values.insert(sample.to_owned(), value);
                assert_eq!(before, None, "{sample} is there twice");
            }
        }
        samples
    }

    /// The value of a sample, as written.
    pub fn value(&self, sample: &str) -> f64 {
        *self.values.get(sample).unwrap_or_else(|| panic!("no {sample}"))
    }

    /// The samples of a name: labels as written, and values.
    pub fn of<'s>(&'s self, name: &'s str) -> impl Iterator<Item = (&'s str, f64)> {
        self.values.iter().filter_map(move |(sample, value)| {
            let labels = sample.strip_prefix(name)?;
            (labels.is_empty() || labels.starts_with('{')).then_some((labels, *value))
        })
    }

    /// All samples, by name and labels as written.
    pub fn all(&self) -> impl Iterator<Item = (&str, f64)> {
        self.values.iter().map(|(sample, value)| (sample.as_str(), *value))
    }
}

/// The names of labels as written.
pub fn label_names(labels: &str) -> Vec<&str> {
    let labels = labels.trim_start_matches('{').trim_end_matches('}');
    labels.split("\",").filter_map(|label| Some(label.split_once('=')?.0)).collect()
}
