//! Several subjects side by side, with their differences to the first.

use crossbatch_retrieval::{Bootstrap, Interval, Units};
use crossbatch_train::Observer;
use serde_json::{Map, Value, json};

use super::report::{Report, columns, counted, description, ends, header, records, row, versioned};
use crate::{
    args::{EvalArgs, Format},
    printer::Printer,
    table,
};

/// A subject's difference to the first: of each metric, over the queries that both could score.
struct Difference {
    intervals: Vec<Interval>,
    /// Whether both were measured on the same queries, so that the intervals are of pairs.
    paired: bool,
}

pub(super) fn text(
    reports: &[Report<'_>],
    args: &EvalArgs,
    bootstrap: &Bootstrap,
    printer: &Printer,
) -> anyhow::Result<String> {
    let Some((first, others)) = reports.split_first() else { return Ok(String::new()) };
    let mut differences = Vec::new();
    for other in others {
        let difference = difference(first, other, bootstrap)?;
        if !difference.paired {
            printer.warn(&format!(
                "{} and {} have other queries (labels or names differ): their difference has no interval; for one, measure both on the same rows in the same order",
                first.subject.name, other.subject.name
            ));
        }
        differences.push(difference);
    }
    match args.format {
        Format::Table => tables(first, others, &differences),
        Format::Json => {
            let mut object = versioned();
            object.insert("runs".to_owned(), json!(objects(first, others, &differences)));
            Ok(serde_json::to_string_pretty(&object)? + "\n")
        }
        Format::Csv => records(&objects(first, others, &differences)),
    }
}

fn difference(
    first: &Report<'_>,
    other: &Report<'_>,
    bootstrap: &Bootstrap,
) -> anyhow::Result<Difference> {
    let (a, b) = (&first.measured.scores, &other.measured.scores);
    if !same_queries(first, other) {
        let means = b.means().into_iter().zip(a.means()).map(|(b, a)| b - a);
        let intervals = means.map(|mean| Interval { mean, low: f64::NAN, high: f64::NAN });
        return Ok(Difference { intervals: intervals.collect(), paired: false });
    }
    let units = Units::Classes(&first.measured.query_codes);
    let intervals = b.minus(a)?.intervals(units, bootstrap)?;
    Ok(Difference { intervals, paired: true })
}

/// Whether row for row both have the same query: labels, and names where both have any.
fn same_queries(first: &Report<'_>, other: &Report<'_>) -> bool {
    let (a, b) = (&first.subject.queries, &other.subject.queries);
    let names = match (a.names(), b.names()) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    };
    let labels = match (a.labels(), b.labels()) {
        (Some(a), Some(b)) => a.values().eq(b.values()),
        _ => false,
    };
    names && labels
}

fn objects(
    first: &Report<'_>,
    others: &[Report<'_>],
    differences: &[Difference],
) -> Vec<Map<String, Value>> {
    let named = |report: &Report<'_>| {
        let mut object = Map::from_iter([("name".to_owned(), json!(report.subject.name))]);
        object.extend(report.flat());
        object
    };
    let mut objects = vec![named(first)];
    for (other, difference) in others.iter().zip(differences) {
        let mut object = named(other);
        for (metric, interval) in first.measured.scores.metrics().iter().zip(&difference.intervals)
        {
            object.insert(format!("{metric}_difference"), json!(interval.mean));
            if difference.paired {
                object.insert(format!("{metric}_difference_low"), json!(interval.low));
                object.insert(format!("{metric}_difference_high"), json!(interval.high));
            }
        }
        objects.push(object);
    }
    objects
}

fn tables(
    first: &Report<'_>,
    others: &[Report<'_>],
    differences: &[Difference],
) -> anyhow::Result<String> {
    let columns = columns(&first.measured.scores);
    let mut rows = vec![header("", &columns)];
    let mut text = String::from("\n");
    let own = |report: &Report<'_>, rows: &mut Vec<Vec<String>>| {
        rows.push(row(&report.subject.name, &report.measured.scores.means(), &columns));
        rows.extend(report.measured.intervals.iter().flat_map(|found| ends(found, &columns)));
    };
    own(first, &mut rows);
    for (other, difference) in others.iter().zip(differences) {
        own(other, &mut rows);
        let means: Vec<f64> = difference.intervals.iter().map(|interval| interval.mean).collect();
        rows.push(signed(row("  difference", &means, &columns)));
        if difference.paired {
            rows.extend(ends(&difference.intervals, &columns).map(signed));
        }
    }
    for report in [first].into_iter().chain(others) {
        text +=
            &format!(" {}\n {}\n", description(report.subject)?, counted(&report.measured.scores));
    }
    Ok(format!("{text}\n{}\n", table::aligned(&rows)))
}

/// A plus where there is no minus.
fn signed(row: Vec<String>) -> Vec<String> {
    let sign = |(at, cell): (usize, String)| match at {
        0 => cell,
        _ if cell.starts_with('-') => cell,
        _ => format!("+{cell}"),
    };
    row.into_iter().enumerate().map(sign).collect()
}
