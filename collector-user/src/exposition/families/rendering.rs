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
    Family, Samples, Scrape, all, histogram, number, openmetrics,
    origin::{ProcessRow, set_labels},
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
    is_ended: bool,
}

/// A family of which some series are still to come.
struct Begun {
    family: &'static Family,
    /// What the encoder takes: the family, with the samples of one piece at a time.
    encoded: MetricFamily,
    series: Series,
    is_headed: bool,
}

/// What a family's series are made of.
enum Series {
    Own(vec::IntoIter<Metric>),
    /// Places in the list of subjects.
    Subjects(Range<usize>),
    /// Places in the list of processes.
    Processes(Range<usize>),
}

impl Rendering {
    /// Starts at the first family.
    pub fn new(scrape: Scrape, format: Format) -> Self {
        let rest = all().into_iter();
        Self {
            scrape,
            format,
            rest,
            begun: None,
            worn: Vec::new(),
            piece_bytes: 0,
            is_ended: false,
        }
    }

    /// The family begun, or else the next one that is to be shown.
    fn begin(&mut self) -> Option<Begun> {
        self.begun.take().or_else(|| {
            let family = self.rest.find(|family| self.scrape.shows(family))?;
            Some(Begun::new(family, &self.scrape))
        })
    }

    /// The next piece of a family; empty when the family has no more samples, or none at
    /// all (then nothing tells of it: the text format knows no family without samples).
    fn piece(&mut self, begun: &mut Begun) -> prometheus::Result<Vec<u8>> {
        let (samples, lenders) = self.samples(begun);
        if samples.is_empty() {
            return Ok(Vec::new());
        }
        let mut text = Vec::with_capacity(self.piece_bytes);
        begun.encoded.set_metric(samples);
        begun.encode(self.format, &mut text)?;
        self.piece_bytes = self.piece_bytes.max(text.len());
        self.take_back(begun, lenders);
        Ok(text)
    }

    /// The next samples, and the places of the subjects whose labels they wear.
    fn samples(&mut self, begun: &mut Begun) -> (Vec<Metric>, Vec<usize>) {
        let mut samples = Vec::with_capacity(SERIES_PER_PIECE);
        let mut lenders = Vec::new();
        let Begun { family, series, .. } = begun;
        match series {
            Series::Own(series) => samples.extend(series.take(SERIES_PER_PIECE)),
            Series::Subjects(places) => {
                lenders.reserve(SERIES_PER_PIECE);
                while samples.len() < SERIES_PER_PIECE
                    && let Some(place) = places.next()
                {
                    if let Some(mut sample) = family.of_subject(&self.scrape, place) {
                        let subject = &mut self.scrape.subjects[place];
                        sample.set_label(std::mem::take(&mut subject.labels));
                        samples.push(sample);
                        lenders.push(place);
                    }
                }
            }
            Series::Processes(places) => {
                while samples.len() < SERIES_PER_PIECE
                    && let Some(place) = places.next()
                {
                    let row = self.scrape.origin.processes[place];
                    if let Some((kind, mut sample)) = family.of_process(&row) {
                        let mut labels = self.worn.pop().unwrap_or_default();
                        let container = &self.scrape.parts.snapshot.containers[row.container];
                        set_labels(&mut labels, container, kind, row.process.pid);
                        sample.set_label(labels);
                        samples.push(sample);
                    }
                }
            }
        }
        (samples, lenders)
    }

    /// Gives lent labels back.
    fn take_back(&mut self, begun: &mut Begun, lenders: Vec<usize>) {
        let samples = begun.encoded.take_metric().into_iter();
        match &begun.series {
            Series::Own(_) => {}
            Series::Subjects(_) => {
                for (place, mut sample) in lenders.into_iter().zip(samples) {
                    self.scrape.subjects[place].labels = sample.take_label();
                }
            }
            Series::Processes(_) => self.worn.extend(samples.map(|mut it| it.take_label())),
        }
    }
}

impl Iterator for Rendering {
    /// Text. An error means a family without a name: a bug here, and the answer must end
    /// there rather than look whole.
    type Item = prometheus::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(mut begun) = self.begin() {
            match self.piece(&mut begun) {
                Ok(text) if text.is_empty() => {}
                Ok(text) => {
                    self.begun = Some(begun);
                    return Some(Ok(text));
                }
                Err(error) => return Some(Err(error)),
            }
        }
        let end = match self.format {
            Format::OpenMetrics if !self.is_ended => Some(Ok(openmetrics::END.into())),
            Format::OpenMetrics | Format::Text => None,
        };
        self.is_ended = true;
        end
    }
}

impl Begun {
    fn new(family: &'static Family, scrape: &Scrape) -> Self {
        let mut encoded = MetricFamily::default();
        encoded.set_name(family.name.to_owned());
        encoded.set_field_type(family.kind);
        let series = match family.samples {
            Samples::Own(samples) => Series::Own(samples(scrape).into_iter()),
            Samples::Accounts(_) | Samples::Histograms(_) | Samples::Resources(_) => {
                Series::Subjects(0..scrape.subjects.len())
            }
            Samples::Processes(..) => Series::Processes(0..scrape.origin.processes.len()),
        };
        Self { family, encoded, series, is_headed: false }
    }

    /// Appends the samples at hand, after HELP and TYPE if they are the first.
    fn encode(&mut self, format: Format, text: &mut Vec<u8>) -> prometheus::Result<()> {
        let Self { family, encoded, is_headed, .. } = self;
        let takes_encoders_header = !*is_headed && format == Format::Text;
        if takes_encoders_header {
            encoded.set_help(family.help.to_owned());
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
    /// The sample of the subject at this place, without labels.
    fn of_subject(&self, scrape: &Scrape, place: usize) -> Option<Metric> {
        let (snapshot, subject) = (&*scrape.parts.snapshot, &scrape.subjects[place]);
        let value = match self.samples {
            Samples::Accounts(value) => value(snapshot, subject)?,
            Samples::Resources(value) => value(subject.resources.as_ref()?)?,
            Samples::Histograms(durations) => {
                let mut sample = Metric::default();
                sample.set_histogram(histogram(durations(snapshot, subject)?));
                return Some(sample);
            }
            Samples::Own(_) | Samples::Processes(..) => return None,
        };
        Some(number(self.kind, Vec::new(), value))
    }

    /// The sample of a process, without labels, and its `type`.
    fn of_process(&self, row: &ProcessRow) -> Option<(&'static str, Metric)> {
        let Samples::Processes(kind, value) = self.samples else { return None };
        let value = value(&row.process)? as f64;
        Some((kind, number(self.kind, Vec::new(), value)))
    }

    /// The whole family, made without any lending: what the pieces must add up to.
    #[cfg(test)]
    pub(super) fn whole(&self, scrape: &Scrape) -> Option<MetricFamily> {
        if !scrape.shows(self) {
            return None;
        }
        let samples: Vec<_> = match self.samples {
            Samples::Own(samples) => samples(scrape),
            Samples::Accounts(_) | Samples::Histograms(_) | Samples::Resources(_) => {
                let places = scrape.subjects.iter().enumerate();
                let sample = |(place, subject): (_, &super::Subject)| {
                    let mut sample = self.of_subject(scrape, place)?;
                    sample.set_label(subject.labels.clone());
                    Some(sample)
                };
                places.filter_map(sample).collect()
            }
            Samples::Processes(..) => {
                let sample = |row: &ProcessRow| {
                    let (kind, mut sample) = self.of_process(row)?;
                    let mut labels = Vec::new();
                    let container = &scrape.parts.snapshot.containers[row.container];
                    set_labels(&mut labels, container, kind, row.process.pid);
                    sample.set_label(labels);
                    Some(sample)
                };
                scrape.origin.processes.iter().filter_map(sample).collect()
            }
        };
        if samples.is_empty() {
            return None;
        }
        let mut family = MetricFamily::default();
        family.set_name(self.name.to_owned());
        family.set_help(self.help.to_owned());
        family.set_field_type(self.kind);
        family.set_metric(samples);
        Some(family)
    }
}
