//! A strict reader of Prometheus' text format: it is itself a test of the exposition.
//!
//! Beyond the grammar it demands what a well-behaved exporter does: HELP and TYPE for
//! every family, each family in one piece, no series twice, counters that are neither
//! negative nor NaN, histograms that are cumulative and complete, no timestamps.

mod openmetrics;

use std::collections::{BTreeMap, BTreeSet};

/// Labels by name.
pub type Labels = BTreeMap<String, String>;

/// One line with a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// Name as on the line (`…_bucket`, too).
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// Its value.
    pub value: f64,
}

/// What TYPE says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Only grows.
    Counter,
    /// Any value.
    Gauge,
    /// `_bucket`, `_sum`, `_count`.
    Histogram,
}

/// One answer of the daemon.
#[derive(Clone, Debug, Default)]
pub struct Exposition {
    families: BTreeMap<String, Kind>,
    samples: Vec<Sample>,
}

impl Exposition {
    /// Parses an answer.
    ///
    /// # Errors
    /// Names the line and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if !text.ends_with('\n') {
            return Err("the last line has no newline".into());
        }
        let mut this = Self::default();
        let mut reader = Reader::default();
        for (number, line) in text.lines().enumerate() {
            reader
                .line(line, &mut this)
                .map_err(|error| format!("line {}: {error}: {line:?}", number + 1))?;
        }
        this.check_histograms()?;
        Ok(this)
    }

    /// All series of a name.
    pub fn all(&self, name: &str) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(move |sample| sample.name == name)
    }

    /// All series of a name that have these labels (and perhaps others).
    pub fn select<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&'a str, &'a str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|&(key, value)| sample.labels.get(key).map_or("", String::as_str) == value)
        })
    }

    /// The value of the one series of a name that has these labels; `None` if there is
    /// none. Panics if there are several.
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut found = self.select(name, labels);
        let first = found.next()?;
        let second = found.next();
        assert_eq!(second, None, "{name}{labels:?} is not one series: {first:?} too");
        Some(first.value)
    }

    /// [`Exposition::get`] where there must be one.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.get(name, labels).unwrap_or_else(|| panic!("no series {name}{labels:?}"))
    }

    /// [`Exposition::value`] of what counts things.
    pub fn count(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        whole(self.value(name, labels))
    }

    /// The sum over the series of a name that have these labels; 0 if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.select(name, labels).map(|sample| sample.value).sum()
    }

    /// Every series that may only grow: counters, and the parts of histograms.
    pub fn growing(&self) -> impl Iterator<Item = &Sample> {
        self.samples.iter().filter(|sample| {
            let (_, kind) = family_of(&self.families, &sample.name).expect("parsed with a family");
            kind != Kind::Gauge
        })
    }

    fn check_histograms(&self) -> Result<(), String> {
        let histograms = self.families.iter().filter(|&(_, &kind)| kind == Kind::Histogram);
        for (family, _) in histograms {
            let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
            let name = format!("{family}_bucket");
            for sample in self.select(&name, &[]) {
                let mut labels = sample.labels.clone();
                let edge = labels.remove("le").ok_or(format!("{name} without le"))?;
                let edge = number(&edge).ok_or(format!("{name}: le={edge:?} is no number"))?;
                buckets.entry(labels).or_default().push((edge, sample.value));
            }
            for (labels, buckets) in buckets {
                self.check_histogram(family, &labels, &buckets)
                    .map_err(|error| format!("{family}{labels:?}: {error}"))?;
            }
        }
        Ok(())
    }

    fn check_histogram(
        &self,
        family: &str,
        labels: &Labels,
        buckets: &[(f64, f64)],
    ) -> Result<(), String> {
        let rising = buckets.windows(2).all(|pair| pair[0].0 < pair[1].0);
        let cumulative = buckets.windows(2).all(|pair| pair[0].1 <= pair[1].1);
        if !(rising && cumulative) {
            return Err(format!("buckets aren't cumulative: {buckets:?}"));
        }
        let part = |suffix: &str| {
            let name = format!("{family}{suffix}");
            let found = self.samples.iter().find(|s| s.name == name && s.labels == *labels);
            found.map(|sample| sample.value).ok_or(format!("no {name}"))
        };
        let (count, _sum) = (part("_count")?, part("_sum")?);
        match buckets.last() {
            Some(&(edge, value)) if edge == f64::INFINITY && same(value, count) => Ok(()),
            last => Err(format!("the last bucket is {last:?}, the count {count}")),
        }
    }
}

/// Checks over many scrapes that what may only grow does.
#[derive(Debug, Default)]
pub struct Monotone {
    last: BTreeMap<(String, Labels), f64>,
    /// How many pairs of values were compared.
    pub compared: u64,
}

impl Monotone {
    /// Takes the next scrape; panics if a counter went back.
    pub fn observe(&mut self, exposition: &Exposition) {
        for sample in exposition.growing() {
            let key = (sample.name.clone(), sample.labels.clone());
            if let Some(last) = self.last.insert(key, sample.value) {
                assert!(sample.value >= last, "went back from {last}: {sample:?}");
                self.compared += 1;
            }
        }
    }
}

/// A whole number below 2^53, which is exact; panics if it is none.
pub fn whole(value: f64) -> u64 {
    format!("{value}").parse().unwrap_or_else(|_| panic!("{value} is no count"))
}

/// Counts on the wire are whole numbers below 2^53: exactly comparable.
fn same(left: f64, right: f64) -> bool {
    left.total_cmp(&right).is_eq()
}

/// State between lines.
#[derive(Debug, Default)]
struct Reader {
    /// The family that samples may belong to now.
    current: Option<String>,
    helped: BTreeSet<String>,
    seen: BTreeSet<(String, Labels)>,
}

impl Reader {
    fn line(&mut self, line: &str, into: &mut Exposition) -> Result<(), String> {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("HELP without a text")?;
            if help.trim().is_empty() {
                return Err("HELP without a text".into());
            }
            if !self.helped.insert(name.to_owned()) {
                return Err("a family in two pieces".into());
            }
            self.current = None;
            return Ok(());
        }
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a type")?;
            let kind = match kind {
                "counter" => Kind::Counter,
                "gauge" => Kind::Gauge,
                "histogram" => Kind::Histogram,
                _ => return Err("an unknown type".into()),
            };
            if !self.helped.contains(name) {
                return Err("TYPE without HELP".into());
            }
            if into.families.insert(name.to_owned(), kind).is_some() {
                return Err("TYPE twice".into());
            }
            self.current = Some(name.to_owned());
            return Ok(());
        }
        self.sample(line, into)
    }

    fn sample(&mut self, line: &str, into: &mut Exposition) -> Result<(), String> {
        let sample = parse_sample(line)?;
        let (family, kind) =
            family_of(&into.families, &sample.name).ok_or("a sample without TYPE")?;
        if self.current.as_deref() != Some(family) {
            return Err("a sample outside its family".into());
        }
        if kind != Kind::Gauge && (sample.value.is_nan() || sample.value < 0.0) {
            return Err("a counter below zero".into());
        }
        if !self.seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err("a series twice".into());
        }
        into.samples.push(sample);
        Ok(())
    }
}

fn family_of<'a>(families: &BTreeMap<String, Kind>, name: &'a str) -> Option<(&'a str, Kind)> {
    // The plain name first: a counter may be called like a histogram's part.
    if let Some(&kind) = families.get(name).filter(|&&kind| kind != Kind::Histogram) {
        return Some((name, kind));
    }
    ["_bucket", "_sum", "_count"]
        .iter()
        .filter_map(|suffix| name.strip_suffix(suffix))
        .find(|family| families.get(*family) == Some(&Kind::Histogram))
        .map(|family| (family, Kind::Histogram))
}

fn parse_sample(line: &str) -> Result<Sample, String> {
    let name_end = line.find(['{', ' ']).ok_or("no value")?;
    let (name, rest) = line.split_at(name_end);
    if !is_name(name, true) {
        return Err("not a metric name".into());
    }
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(rest) => parse_labels(rest)?,
        None => (Labels::new(), rest),
    };
    let value = rest.strip_prefix(' ').ok_or("no blank before the value")?;
    let value = number(value).ok_or("not a number (or a timestamp behind it)")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

fn is_name(name: &str, colon: bool) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colon && c == ':');
    !name.is_empty() && name.chars().all(fits) && !name.starts_with(|c: char| c.is_ascii_digit())
}

fn number(word: &str) -> Option<f64> {
    match word {
        "+Inf" => Some(f64::INFINITY),
        "-Inf" => Some(f64::NEG_INFINITY),
        "NaN" => Some(f64::NAN),
        // Rust would take "inf" and "infinity", too.
        _ if word.contains(['i', 'I', 'n', 'N']) => None,
        _ => word.parse().ok(),
    }
}

/// Labels up to and including the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> Result<(Labels, &str), String> {
    let mut labels = Labels::new();
    loop {
        if let Some(after) = rest.strip_prefix('}') {
            return Ok((labels, after));
        }
        let (key, after) = rest.split_once("=\"").ok_or("a label without a value")?;
        if !is_name(key, false) {
            return Err(format!("not a label name: {key}"));
        }
        let (value, after) = parse_quoted(after)?;
        if labels.insert(key.to_owned(), value).is_some() {
            return Err(format!("label {key} twice"));
        }
        rest = match after.strip_prefix(',') {
            Some(after) => after,
            None if after.starts_with('}') => after,
            None => return Err("no comma between labels".into()),
        };
    }
}

/// A label's value up to its closing quote, unescaped, and what follows.
fn parse_quoted(text: &str) -> Result<(String, &str), String> {
    let mut value = String::new();
    let mut characters = text.char_indices();
    while let Some((position, character)) = characters.next() {
        match character {
            '"' => return Ok((value, &text[position + 1..])),
            '\\' => value.push(match characters.next() {
                Some((_, 'n')) => '\n',
                Some((_, escaped @ ('\\' | '"'))) => escaped,
                _ => return Err("an unknown escape".into()),
            }),
            other => value.push(other),
        }
    }
    Err("a label's value has no end".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# HELP a_total Text.
# TYPE a_total counter
a_total{id=\"/\",name=\"q\\\"\\\\\\n\"} 1.5
a_total{id=\"/x\",name=\"\"} 2
# HELP h Text.
# TYPE h histogram
h_bucket{le=\"0.1\"} 1
h_bucket{le=\"+Inf\"} 3
h_sum 4
h_count 3
";

    #[test]
    fn reads_values_and_escapes() {
        let read = Exposition::parse(GOOD).expect("good text");
        assert_eq!(read.get("a_total", &[("id", "/")]), Some(1.5));
        assert_eq!(read.get("a_total", &[("name", "q\"\\\n")]), Some(1.5));
        assert_eq!(read.get("a_total", &[("name", "")]), Some(2.0));
        assert_eq!(read.get("a_total", &[("id", "/y")]), None);
        assert!((read.sum("a_total", &[]) - 3.5).abs() < 1e-9);
        assert_eq!(read.growing().count(), 6);
    }

    #[test]
    fn refuses_what_is_wrong() {
        let cases = [
            ("h_count 3\n", "h_count 2\n", "histogram whose count differs"),
            ("h_bucket{le=\"0.1\"} 1", "h_bucket{le=\"0.1\"} 9", "buckets that fall"),
            ("h_sum 4\n", "", "histogram without a sum"),
            ("a_total{id=\"/x\",name=\"\"} 2", "a_total{id=\"/x\",name=\"\"} -2", "negative"),
            ("/x\",name=\"\"", "/\",name=\"q\\\"\\\\\\n\"", "a series twice"),
            ("name=\"\"} 2", "name=\"\"} 2 1700000000000", "a timestamp"),
            ("name=\"\"} 2", "name=\"\"} inf", "a foreign infinity"),
            ("name=\"\"} 2", "id=\"\"} 2", "a label twice"),
            ("\\n\"", "\\t\"", "an unknown escape"),
            ("# TYPE a_total counter\n", "", "no TYPE"),
            ("# HELP a_total Text.\n", "", "no HELP"),
            ("h_count 3\n", "h_count 3\na_total{id=\"/z\"} 1\n", "a family in two pieces"),
            ("h_count 3\n", "h_count 3", "no newline at the end"),
        ];
        for (good, bad, what) in cases {
            assert!(GOOD.contains(good), "{what}: the case changes nothing");
            let text = GOOD.replacen(good, bad, 1);
            assert!(Exposition::parse(&text).is_err(), "accepted: {what}");
        }
    }
}
