//! From a scrape to text, piece by piece.
//!
//! Owns the order, what is in memory at once, and the lending of labels. The text of
//! samples is the prometheus crate's; in which words families are introduced depends on
//! the format.

use std::{ops::Range, vec};

use prometheus::{
    Encoder, TextEncoder,
    proto::{LabelPair, Metric, MetricFamily},
};

use super::{
    Family, Samples, Scrape, all, histogram, labels::pair, number, openmetrics, origin::set_labels,
};
use crate::exposition::format::Format;

/// Series that are turned into text at once. A histogram's is some 5 KB, so that a
/// piece stays within the CPU's caches and an answer of megabytes never is in memory.
pub(super) const SERIES_PER_PIECE: usize = 32;

/// Renders a scrape piece by piece, each ending with a whole line.
pub struct Rendering {
    scrape: Scrape,
    format: Format,
    rest: vec::IntoIter<&'static Family>,
    /// What is left of the family begun.
    begun: Option<Begun>,
    /// Labels that samples of processes wore, to be filled in again.
    worn: Vec<Vec<LabelPair>>,
    /// Room for the next piece: as much as the biggest one before took.
    piece_bytes: usize,
    /// What comes after the last family.
    end: Option<&'static [u8]>,
}

/// A family of which some series may still be to come.
struct Begun {
    family: &'static Family,
    /// What the encoder takes: the family, with the samples of one piece at a time.
    encoded: MetricFamily,
    series: Series,
    is_headed: bool,
}

/// What a family's series are made of.
enum Series {
    /// Samples with labels of their own.
    Own(vec::IntoIter<Metric>),
    /// Rows of the scrape (see [`Family::rows`]), whose labels are lent.
    Rows(Range<usize>),
}

impl Rendering {
    /// Starts at the first family.
    pub fn new(scrape: Scrape, format: Format) -> Self {
        let end = match format {
            Format::OpenMetrics => Some(openmetrics::END),
            Format::Text => None,
        };
        let (rest, worn) = (all().into_iter(), Vec::new());
        Self { scrape, format, rest, begun: None, worn, piece_bytes: 0, end }
    }

    /// The family begun, or else the next one that is to be shown.
    fn begin(&mut self) -> Option<Begun> {
        self.begun.take().or_else(|| {
            let family = self.rest.find(|family| self.scrape.shows(family))?;
            Some(Begun::new(family, &self.scrape))
        })
    }

    /// The next piece of a family; `None` when it has no more samples, or none at all (then
    /// nothing tells of it: the text format knows no family without samples).
    fn piece(&mut self, begun: &mut Begun) -> Option<prometheus::Result<Vec<u8>>> {
        let family = begun.family;
        let (samples, lenders) = match &mut begun.series {
            Series::Own(samples) => (samples.by_ref().take(SERIES_PER_PIECE).collect(), Vec::new()),
            Series::Rows(rows) => self.samples(family, rows),
        };
        if samples.is_empty() {
            return None;
        }
        let mut text = Vec::with_capacity(self.piece_bytes);
        begun.encoded.set_metric(samples);
        let outcome = begun.encode(self.format, &mut text);
        self.piece_bytes = self.piece_bytes.max(text.len());
        for (row, mut sample) in lenders.into_iter().zip(begun.encoded.take_metric()) {
            self.give_back(family, row, sample.take_label());
        }
        Some(outcome.map(|()| text))
    }

    /// The samples of the next rows that have a value, and these rows. It ends early where a
    /// row's labels are lent to another sample already.
    fn samples(&mut self, family: &Family, rows: &mut Range<usize>) -> (Vec<Metric>, Vec<usize>) {
        let mut samples = Vec::with_capacity(SERIES_PER_PIECE);
        let mut lenders = Vec::with_capacity(SERIES_PER_PIECE);
        while samples.len() < SERIES_PER_PIECE && rows.start < rows.end {
            let row = rows.start;
            if let Some(mut sample) = family.value(&self.scrape, row) {
                let Some(labels) = self.lend(family, row) else { break };
                sample.set_label(labels);
                samples.push(sample);
                lenders.push(row);
            }
            rows.start += 1;
        }
        (samples, lenders)
    }

    /// Labels for the sample of a row; `None` while another sample wears them.
    fn lend(&mut self, family: &Family, row: usize) -> Option<Vec<LabelPair>> {
        let scrape = &mut self.scrape;
        let place = match family.samples {
            Samples::Processes(kind, _) => {
                let mut labels = self.worn.pop().unwrap_or_default();
                let row = &scrape.origin.processes[row];
                let container = &scrape.parts.snapshot.containers[row.container];
                set_labels(&mut labels, container, kind, row.process.pid);
                return Some(labels);
            }
            Samples::Interfaces(_) => {
                return Some(std::mem::take(&mut scrape.interfaces[row].labels));
            }
            _ => row % scrape.subjects.len(),
        };
        let mut labels = std::mem::take(&mut scrape.subjects[place].labels);
        if labels.is_empty() {
            return None;
        }
        if let Samples::Usage(name, cases) = family.samples {
            labels.push(pair(name, cases[row / scrape.subjects.len()].0));
        }
        Some(labels)
    }

    fn give_back(&mut self, family: &Family, row: usize, mut labels: Vec<LabelPair>) {
        match family.samples {
            Samples::Processes(..) => return self.worn.push(labels),
            Samples::Interfaces(_) => return self.scrape.interfaces[row].labels = labels,
            Samples::Usage(..) => drop(labels.pop()),
            _ => {}
        }
        let place = row % self.scrape.subjects.len();
        self.scrape.subjects[place].labels = labels;
    }

    /// Ends for good, and without the last line.
    fn stop(&mut self) {
        self.rest = Vec::new().into_iter();
        self.end = None;
    }
}

impl Iterator for Rendering {
    /// Text. An error means a family without a name: a bug here, and the answer must end
    /// there rather than look whole.
    type Item = prometheus::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(mut begun) = self.begin() {
            let Some(piece) = self.piece(&mut begun) else { continue };
            match piece {
                Ok(_) => self.begun = Some(begun),
                Err(_) => self.stop(),
            }
            return Some(piece);
        }
        self.end.take().map(|end| Ok(end.into()))
    }
}

impl Begun {
    fn new(family: &'static Family, scrape: &Scrape) -> Self {
        let mut encoded = MetricFamily::default();
        encoded.set_name(family.name.to_owned());
        encoded.set_field_type(family.kind);
        let series = match family.samples {
            Samples::Own(samples) => Series::Own(samples(scrape).into_iter()),
            _ => Series::Rows(0..family.rows(scrape)),
        };
        Self { family, encoded, series, is_headed: false }
    }

    /// Appends the samples at hand, after HELP and TYPE if they are the first.
    fn encode(&mut self, format: Format, text: &mut Vec<u8>) -> prometheus::Result<()> {
        let Self { family, encoded, is_headed, .. } = self;
        let takes_encoders_header = !*is_headed && format == Format::Text;
        if takes_encoders_header {
            encoded.set_help(family.help_text());
        } else if !*is_headed {
            openmetrics::introduce(family, text);
        }
        let begin = text.len();
        TextEncoder::new().encode(std::slice::from_ref(encoded), text)?;
        if !takes_encoders_header {
            // Without a HELP text the encoder writes none, but it always writes TYPE:
            // that is the first line.
            let line = text[begin..].iter().position(|byte| *byte == b'\n');
            text.drain(begin..line.map_or(begin, |end| begin + end + 1));
        }
        encoded.set_help(String::new());
        *is_headed = true;
        Ok(())
    }
}

impl Family {
    /// How many rows may have a sample: one for each subject (again for each case), for each
    /// process, or for each interface.
    fn rows(&self, scrape: &Scrape) -> usize {
        match self.samples {
            Samples::Own(_) => 0,
            Samples::Accounts(_) | Samples::Histograms(_) | Samples::Resources(_) => {
                scrape.subjects.len()
            }
            Samples::Usage(_, cases) => cases.len() * scrape.subjects.len(),
            Samples::Processes(..) => scrape.origin.processes.len(),
            Samples::Interfaces(_) => scrape.interfaces.len(),
        }
    }

    /// The sample of a row, without labels.
    fn value(&self, scrape: &Scrape, row: usize) -> Option<Metric> {
        let snapshot = &*scrape.parts.snapshot;
        let subject = |row| &scrape.subjects[row];
        let value = match self.samples {
            Samples::Own(_) => return None,
            Samples::Accounts(value) => value(snapshot, subject(row))?,
            Samples::Resources(value) => value(subject(row).resources.as_ref()?)?,
            Samples::Usage(_, cases) => {
                let (case, place) = (row / scrape.subjects.len(), row % scrape.subjects.len());
                cases[case].1(subject(place).usage(snapshot))
            }
            Samples::Histograms(durations) => {
                let mut sample = Metric::default();
                sample.set_histogram(histogram(durations(snapshot, subject(row))?));
                return Some(sample);
            }
            Samples::Processes(_, value) => value(&scrape.origin.processes[row].process)? as f64,
            Samples::Interfaces(value) => value(&scrape.interfaces[row])? as f64,
        };
        Some(number(self.kind, Vec::new(), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        exposition::families::{Stability, fixture},
        model::collectors::Collectors,
    };

    /// The encoder refuses it, as nothing is called "".
    static NAMELESS: Family = Family {
        name: "",
        kind: prometheus::proto::MetricType::GAUGE,
        help: "Fails.",
        labels: &[],
        collectors: Collectors::NONE,
        source: "a test",
        stability: Stability::Stable,
        samples: Samples::Accounts(|_, _| Some(1.0)),
    };

    fn rendering(families: Vec<&'static Family>, format: Format) -> Rendering {
        let scrape = fixture::scrape(fixture::snapshot());
        Rendering { rest: families.into_iter(), ..Rendering::new(scrape, format) }
    }

    fn labels(rendering: &Rendering) -> Vec<usize> {
        rendering.scrape.subjects.iter().map(|subject| subject.labels.len()).collect()
    }

    #[test]
    fn after_an_error_nothing_comes_and_nobody_misses_labels() {
        for format in [Format::Text, Format::OpenMetrics] {
            let mut families = all();
            families.insert(5, &NAMELESS);
            let mut rendering = rendering(families, format);
            let before = labels(&rendering);
            let pieces: Vec<_> = rendering.by_ref().collect();
            assert!(pieces.len() > 5, "what came before is whole");
            let (last, others) = pieces.split_last().expect("pieces");
            assert!(last.is_err() && others.iter().all(Result::is_ok));
            assert!(rendering.next().is_none(), "not even the end's line");
            assert_eq!(labels(&rendering), before);
        }
    }

    #[test]
    fn lent_labels_come_back_as_they_were() {
        let mut rendering = rendering(all(), Format::Text);
        let labels = |rendering: &Rendering| -> Vec<Vec<LabelPair>> {
            let Scrape { subjects, interfaces, .. } = &rendering.scrape;
            let of_subjects = subjects.iter().map(|it| it.labels.clone());
            of_subjects.chain(interfaces.iter().map(|it| it.labels.clone())).collect()
        };
        let before = labels(&rendering);
        assert!(rendering.by_ref().all(|piece| piece.is_ok()));
        assert_eq!(labels(&rendering), before);
    }
}
