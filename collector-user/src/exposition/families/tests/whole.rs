//! What the pieces of a rendering must add up to.

use super::*;

/// A family made at once and without any lending: what the pieces must add up to.
pub(super) fn whole(family: &Family, scrape: &Scrape) -> Option<MetricFamily> {
    let snapshot = &*scrape.parts.snapshot;
    let of_subjects = |value: &dyn Fn(&Subject) -> Option<Metric>| {
        let labelled = |subject: &Subject| {
            let mut sample = value(subject)?;
            let labels = [subject.labels.clone(), sample.take_label()].concat();
            sample.set_label(labels);
            Some(sample)
        };
        scrape.subjects.iter().filter_map(labelled).collect::<Vec<_>>()
    };
    let plain = |value: f64| number(family.kind, Vec::new(), value);
    let samples = match family.samples {
        Samples::Own(samples) => samples(scrape),
        Samples::Accounts(value) => of_subjects(&|it| value(snapshot, it).map(plain)),
        Samples::Resources(value) => of_subjects(&|it| value(it.resources.as_ref()?).map(plain)),
        Samples::Histograms(durations) => of_subjects(&|it| {
            let mut sample = Metric::default();
            sample.set_histogram(histogram(durations(snapshot, it)?));
            Some(sample)
        }),
        Samples::Usage(name, cases) => {
            let of_case = |(text, value): &(&str, fn(&Usage) -> f64)| {
                let label = || vec![pair(name, text)];
                of_subjects(&|it| Some(number(family.kind, label(), value(it.usage(snapshot)))))
            };
            cases.iter().flat_map(of_case).collect()
        }
        Samples::Processes(kind, value) => {
            let sample = |row: &origin::ProcessRow| {
                let mut labels = Vec::new();
                let container = &snapshot.containers[row.container];
                origin::set_labels(&mut labels, container, kind, row.process.pid);
                Some(number(family.kind, labels, value(&row.process)? as f64))
            };
            scrape.origin.processes.iter().filter_map(sample).collect()
        }
        Samples::Interfaces(value) => {
            let sample = |row: &InterfaceRow| {
                Some(number(family.kind, row.labels.clone(), value(row)? as f64))
            };
            scrape.interfaces.iter().filter_map(sample).collect()
        }
    };
    if samples.is_empty() {
        return None;
    }
    let mut encoded = MetricFamily::default();
    encoded.set_name(family.name.to_owned());
    encoded.set_help(family.help_text());
    encoded.set_field_type(family.kind);
    encoded.set_metric(samples);
    Some(encoded)
}

#[test]
fn pieces_add_up_to_what_the_encoder_makes_at_once() {
    let mut snapshot = fixture::snapshot();
    for index in 0..2 * SERIES_PER_PIECE {
        let mut container = snapshot.containers[0].clone();
        container.path = format!("/{index:03}").into();
        snapshot.containers.push(container);
    }
    let families = families(&fixture::scrape(snapshot.clone()));
    let whole = TextEncoder::new().encode_to_string(&families).expect("renders");
    assert!(text(snapshot) == whole, "headers once, every line, in order");
}
