//! The metrics of parts of the queries: of each class, or of each value of a column.

use crossbatch_retrieval::{Group, Metric, Scores};
use serde_json::{Map, Value, json};

use super::{report, subject::Subject};
use crate::{args::EvalArgs, table};

/// The queries by the values of a column, measured.
pub(super) struct Groups {
    /// Of the list in JSON.
    pub(super) key: String,
    /// What a value is called there.
    value: &'static str,
    /// What it is called in a table.
    heading: String,
    /// The worst first.
    groups: Vec<(String, Group)>,
    /// Means over the groups, however many queries each has.
    means: Vec<f64>,
}

/// The groups of `--per-class` and `--per`.
pub(super) fn measure(
    subject: &Subject,
    args: &EvalArgs,
    scores: &Scores,
) -> anyhow::Result<Vec<Groups>> {
    names(args).map(|name| Groups::of(subject, name, scores)).collect()
}

/// The columns that are asked for, each once.
pub(super) fn names(args: &EvalArgs) -> impl Iterator<Item = &str> {
    let others = args.per.iter().enumerate().filter(|(at, name)| {
        let before = &args.per[..*at];
        !(before.contains(name) || args.per_class && *name == "label")
    });
    args.per_class.then_some("label").into_iter().chain(others.map(|(_, name)| name.as_str()))
}

impl Groups {
    fn of(subject: &Subject, name: &str, scores: &Scores) -> anyhow::Result<Self> {
        let (value, heading) = match name {
            "label" => ("label", "class".to_owned()),
            // `per_class` is of the labels. With the second case no two columns share a key.
            _ if name == "class" || name.starts_with("column_") => {
                ("value", format!("column_{name}"))
            }
            _ => ("value", name.to_owned()),
        };
        let key = format!("per_{heading}");
        let column = subject.of_queries(name)?;
        let judged = scores.metrics().iter().position(|&metric| metric == Metric::MapAtR);
        let mut groups = scores.by(column.codes())?;
        if let Some(at) = judged {
            groups.sort_by(|a, b| a.means[at].total_cmp(&b.means[at]));
        }
        let named = |group: Group| (column.distinct()[group.value as usize].clone(), group);
        let groups = groups.into_iter().map(named).collect();
        Ok(Self { key, value, heading, groups, means: scores.macro_means(column.codes())? })
    }

    /// An object a group.
    pub(super) fn objects(&self, scores: &Scores) -> Vec<Map<String, Value>> {
        let object = |(value, group): &(String, Group)| {
            let mut object = Map::new();
            object.insert(self.value.to_owned(), json!(value));
            object.insert("queries".to_owned(), json!(group.queries));
            let metrics = scores.metrics().iter().zip(&group.means);
            object.extend(metrics.map(|(metric, mean)| (metric.to_string(), json!(mean))));
            object
        };
        self.groups.iter().map(object).collect()
    }

    /// The means over the groups: `macro_` before a metric's name for classes, `macro_COLUMN_` for others.
    pub(super) fn macro_means(&self, scores: &Scores) -> Vec<(String, Value)> {
        let of = if self.value == "label" { String::new() } else { format!("{}_", self.heading) };
        let metrics = scores.metrics().iter().zip(&self.means);
        metrics.map(|(metric, mean)| (format!("macro_{of}{metric}"), json!(mean))).collect()
    }

    pub(super) fn table(&self, scores: &Scores, columns: &[(usize, String)]) -> String {
        let mut rows = vec![report::header(&self.heading, columns)];
        rows[0].insert(1, "queries".to_owned());
        let mut push = |name: &str, queries: usize, means: &[f64]| {
            let mut row = report::row(name, means, columns);
            row.insert(1, queries.to_string());
            rows.push(row);
        };
        for (value, group) in &self.groups {
            push(value, group.queries, &group.means);
        }
        push(&format!("mean of {}", self.groups.len()), scores.queries().len(), &self.means);
        format!("{}\n", table::aligned(&rows))
    }
}
