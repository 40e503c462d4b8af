//! A strict reader of OpenMetrics 1.0, into the same form as the text format's.
//!
//! It demands what a server may rely on: an end mark, metadata before samples, families
//! in one piece, names with the suffixes of their type and no name that two families
//! could claim.

use std::collections::BTreeSet;

use super::{Exposition, Kind, number, parse_sample};

const END: &str = "# EOF\n";

/// Suffixes that a type gives its samples' names.
fn suffixes(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Counter => &["_total", "_created"],
        Kind::Gauge => &[""],
        Kind::Histogram => &["_bucket", "_sum", "_count", "_created"],
    }
}

/// Where a reader is.
#[derive(Default)]
struct Reader {
    /// Name, type once told, and whether it has a HELP, of the family at hand.
    family: Option<(String, Option<Kind>, bool)>,
    names: BTreeSet<String>,
    /// Names that families' samples may have: no two may share one.
    claimed: BTreeSet<String>,
    seen: BTreeSet<(String, super::Labels)>,
}

impl Exposition {
    /// Parses an answer in OpenMetrics. Names are those of samples: a counter is found
    /// under its `_total`.
    ///
    /// # Errors
    /// Names the line and what is wrong with it.
    pub fn parse_openmetrics(text: &str) -> Result<Self, String> {
        let body = text.strip_suffix(END).ok_or("it does not end with EOF")?;
        let mut this = Self::default();
        let mut reader = Reader::default();
        for (index, line) in body.lines().enumerate() {
            reader
                .line(line, &mut this)
                .map_err(|error| format!("line {}: {error}: {line:?}", index + 1))?;
        }
        this.check_histograms()?;
        Ok(this)
    }
}

impl Reader {
    fn line(&mut self, line: &str, into: &mut Exposition) -> Result<(), String> {
        let Some(rest) = line.strip_prefix("# ") else {
            return self.sample(line, into);
        };
        let mut words = rest.splitn(3, ' ');
        let (Some(what), Some(name), Some(text)) = (words.next(), words.next(), words.next())
        else {
            return Err("metadata without a text".into());
        };
        if self.family.as_ref().is_none_or(|(family, ..)| family != name) {
            if !self.names.insert(name.to_owned()) {
                return Err("a family in two pieces".into());
            }
            self.family = Some((name.to_owned(), None, false));
        }
        let Some((_, kind, has_help)) = &mut self.family else {
            return Err("metadata of nothing".into());
        };
        match what {
            "HELP" if *has_help => Err("HELP twice".into()),
            "HELP" => {
                *has_help = true;
                Ok(())
            }
            "UNIT" if name.ends_with(&format!("_{text}")) => Ok(()),
            "TYPE" if kind.is_some() => Err("TYPE twice".into()),
            "TYPE" => {
                let told = match text {
                    "counter" => Kind::Counter,
                    // Both: any value, under the family's own name.
                    "gauge" | "unknown" => Kind::Gauge,
                    "histogram" => Kind::Histogram,
                    _ => return Err("an unknown type".into()),
                };
                *kind = Some(told);
                self.claim(name, told)?;
                // As the text format has it: a counter's family is called like its samples.
                let family =
                    if told == Kind::Counter { format!("{name}_total") } else { name.to_owned() };
                into.families.insert(family, told);
                Ok(())
            }
            _ => Err("neither HELP, TYPE nor a UNIT that ends the name".into()),
        }
    }

    fn claim(&mut self, name: &str, kind: Kind) -> Result<(), String> {
        if kind == Kind::Counter && name.ends_with("_total") {
            return Err("a counter's family is called without _total".into());
        }
        let own = suffixes(kind).iter().map(|suffix| format!("{name}{suffix}"));
        let all: BTreeSet<String> = own.chain([name.to_owned()]).collect();
        for claim in all {
            if !self.claimed.insert(claim.clone()) {
                return Err(format!("{claim} is another family's, too"));
            }
        }
        Ok(())
    }

    fn sample(&mut self, line: &str, into: &mut Exposition) -> Result<(), String> {
        let sample = parse_sample(line)?;
        let Some((family, Some(kind), true)) = &self.family else {
            return Err("a sample before its family's HELP and TYPE".into());
        };
        let suffix = sample.name.strip_prefix(family.as_str()).ok_or("not of this family")?;
        if !suffixes(*kind).contains(&suffix) {
            return Err(format!("no sample of a {kind:?} is called so"));
        }
        if *kind != Kind::Gauge && (sample.value.is_nan() || sample.value < 0.0) {
            return Err("a counter below zero".into());
        }
        if let Some(edge) = sample.labels.get("le") {
            // Edges are floats, written so that two servers' are the same text.
            let is_float = edge == "+Inf" || (edge.contains(['.', 'e']) && number(edge).is_some());
            if !is_float {
                return Err(format!("le={edge:?} is no float"));
            }
        }
        if !self.seen.insert((sample.name.clone(), sample.labels.clone())) {
            return Err("a series twice".into());
        }
        into.samples.push(sample);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "\
# HELP a Text.
# TYPE a counter
a_total{id=\"/\"} 1.5
# TYPE h_seconds histogram
# UNIT h_seconds seconds
# HELP h_seconds Text.
h_seconds_bucket{le=\"0.1\"} 1
h_seconds_bucket{le=\"+Inf\"} 3
h_seconds_sum 4
h_seconds_count 3
# HELP g Text.
# TYPE g gauge
g -2
# EOF
";

    #[test]
    fn series_are_found_under_the_names_of_their_samples() {
        let read = Exposition::parse_openmetrics(GOOD).expect("good text");
        assert_eq!(read.get("a_total", &[("id", "/")]), Some(1.5));
        assert_eq!(read.get("g", &[]), Some(-2.0));
        assert_eq!(read.growing().count(), 5);
    }

    #[test]
    fn what_is_wrong_is_refused() {
        let cases = [
            ("# EOF\n", "", "no end"),
            ("# EOF\n", "# EOF\n\n", "something behind the end"),
            ("a_total{", "a{", "a counter without _total"),
            ("# TYPE a counter", "# TYPE a gauge", "a gauge with _total"),
            ("# TYPE g gauge\n", "", "no TYPE"),
            ("# HELP g Text.\n", "", "no HELP"),
            ("# HELP g Text.\n# TYPE g", "# HELP a_total Text.\n# TYPE a_total", "a shared name"),
            ("seconds seconds", "seconds bytes", "a unit that isn't in the name"),
            ("g -2\n", "g -2\ng -2\n", "a series twice"),
            ("g -2\n", "g -2\n# HELP a Text.\n", "a family in two pieces"),
            ("{le=\"0.1\"}", "{le=\"1\"}", "an edge that is no float"),
        ];
        for (good, bad, what) in cases {
            assert!(GOOD.contains(good), "{what}: the case changes nothing");
            let text = GOOD.replacen(good, bad, 1);
            assert!(Exposition::parse_openmetrics(&text).is_err(), "accepted: {what}");
        }
    }
}
