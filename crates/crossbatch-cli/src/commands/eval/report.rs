//! A measured subject as a table, JSON or CSV.

use crossbatch_retrieval::{Interval, Metric, Scores, Similarity};
use serde_json::{Map, Value, json};

use super::{measure::Measured, subject::Subject};
use crate::{
    args::{EvalArgs, Format},
    table::{self, Align},
};

/// Version of the JSON.
const FORMAT_VERSION: u32 = 1;

/// An object to put everything else into.
pub(super) fn versioned() -> Map<String, Value> {
    Map::from_iter([("format_version".to_owned(), json!(FORMAT_VERSION))])
}

/// A subject with its numbers, ready to print.
pub(super) struct Report<'a> {
    pub(super) subject: &'a Subject,
    pub(super) measured: &'a Measured,
    /// Of reading, embedding and measuring.
    pub(super) seconds: f64,
}

/// The numbers that a table shows, with their headings.
pub(super) fn columns(scores: &Scores) -> Vec<(usize, String)> {
    let heading = |metric: &Metric| match metric {
        Metric::RecallAt(k) => Some(format!("R@{k}")),
        Metric::MapAtR => Some("MAP@R".to_owned()),
        Metric::RPrecision => Some("R-Prec".to_owned()),
        _ => None,
    };
    let metrics = scores.metrics().iter().enumerate();
    metrics.filter_map(|(at, metric)| Some((at, heading(metric)?))).collect()
}

/// A row of per cents.
pub(super) fn row(name: &str, values: &[f64], columns: &[(usize, String)]) -> Vec<String> {
    let values = columns.iter().map(|(at, _)| format!("{:.2}", values[*at] * 100.0));
    [name.to_owned()].into_iter().chain(values).collect()
}

/// The row of headings above.
pub(super) fn header(first: &str, columns: &[(usize, String)]) -> Vec<String> {
    let headings = columns.iter().map(|(_, heading)| heading.clone());
    [first.to_owned()].into_iter().chain(headings).collect()
}

/// Lower and upper ends as two rows.
pub(super) fn ends(intervals: &[Interval], columns: &[(usize, String)]) -> [Vec<String>; 2] {
    let ends = |end: fn(&Interval) -> f64| intervals.iter().map(end).collect::<Vec<f64>>();
    [
        row("  95 % from", &ends(|interval| interval.low), columns),
        row("  95 % to", &ends(|interval| interval.high), columns),
    ]
}

/// The title's end: what is compared, and how.
pub(super) fn description(subject: &Subject) -> anyhow::Result<String> {
    let similarity = similarity_name(subject.similarity);
    let classes = subject.labels()?.distinct().len();
    let dim = subject.queries.dim();
    Ok(format!("{} · {classes} classes · {dim}-d · {similarity}", subject.title))
}

fn similarity_name(similarity: Similarity) -> &'static str {
    match similarity {
        Similarity::Cosine => "cosine",
        Similarity::Dot => "dot",
        Similarity::Euclidean => "euclidean",
    }
}

/// How many queries count.
pub(super) fn counted(scores: &Scores) -> String {
    let left_out = match scores.left_out() {
        0 => String::new(),
        count => format!(" · {count} without a match left out"),
    };
    format!("{} queries{left_out}; per cent", scores.queries().len())
}

impl Report<'_> {
    pub(super) fn text(&self, args: &EvalArgs) -> anyhow::Result<String> {
        match args.format {
            Format::Table => self.tables(),
            Format::Json => Ok(serde_json::to_string_pretty(&self.json())? + "\n"),
            Format::Csv => self.csv(args),
        }
    }

    /// One flat object; what was asked for besides is lists of such objects.
    fn json(&self) -> Map<String, Value> {
        let mut object = versioned();
        object.extend(self.flat());
        for group in &self.measured.groups {
            object.insert(group.key.clone(), json!(group.objects(&self.measured.scores)));
        }
        if self.measured.worst.is_some() {
            object.insert("worst".to_owned(), json!(self.worst()));
        }
        if self.measured.confused.is_some() {
            object.insert("confused".to_owned(), json!(self.confused()));
        }
        object
    }

    /// The metrics and what they are of.
    pub(super) fn flat(&self) -> Map<String, Value> {
        let scores = &self.measured.scores;
        let mut object = Map::new();
        for (metric, mean) in scores.metrics().iter().zip(scores.means()) {
            object.insert(metric.to_string(), json!(mean));
        }
        if let Some(intervals) = &self.measured.intervals {
            for (metric, interval) in scores.metrics().iter().zip(intervals) {
                object.insert(format!("{metric}_low"), json!(interval.low));
                object.insert(format!("{metric}_high"), json!(interval.high));
            }
        }
        object.insert("median_rank".to_owned(), json!(scores.median(Metric::MeanRank)));
        if let Some(interval) = &self.measured.median {
            object.insert("median_rank_low".to_owned(), json!(interval.low));
            object.insert("median_rank_high".to_owned(), json!(interval.high));
        }
        object.extend(self.measured.groups.iter().flat_map(|group| group.macro_means(scores)));
        object.extend(self.measured.extras.iter().flat_map(|extra| extra.values.iter().cloned()));
        let subject = self.subject;
        object.insert("queries".to_owned(), json!(scores.queries().len()));
        object.insert("left_out".to_owned(), json!(scores.left_out()));
        object.insert("gallery".to_owned(), json!(subject.gallery().len()));
        object.insert("dim".to_owned(), json!(subject.queries.dim()));
        object.insert("similarity".to_owned(), json!(similarity_name(subject.similarity)));
        object.insert("seconds".to_owned(), json!(self.seconds));
        object.insert("measure_seconds".to_owned(), json!(self.measured.seconds));
        object
    }

    fn class(&self, code: u32) -> &str {
        let codes = &self.measured.query_codes;
        let row = codes.iter().position(|&own| own == code);
        let own = row.and_then(|row| Some(self.subject.queries.labels()?.value(row)));
        let distinct = self.subject.gallery().labels().map(|labels| labels.distinct());
        let other = distinct.and_then(|values| values.get(code as usize)).map(String::as_str);
        // The gallery's numbering comes first.
        other.or(own).unwrap_or("")
    }

    fn worst(&self) -> Vec<Map<String, Value>> {
        let (queries, gallery) = (&self.subject.queries, self.subject.gallery());
        let label = |rows: &crossbatch_retrieval::Embeddings, row: u32| {
            rows.labels().map_or("", |labels| labels.value(row as usize)).to_owned()
        };
        let object = |hard: &crossbatch_retrieval::HardQuery| {
            let mut object = Map::new();
            let mut put = |key: &str, value: Value| object.insert(key.to_owned(), value);
            put("query", json!(hard.query));
            put("name", json!(queries.name(hard.query as usize)));
            put("label", json!(label(queries, hard.query)));
            put("average_precision", json!(hard.average_precision));
            put("first_positive", json!(hard.first_positive));
            if let Some((item, closeness)) = hard.nearest_wrong {
                put("nearest_wrong", json!(gallery.name(item as usize)));
                put("nearest_wrong_label", json!(label(gallery, item)));
                put("nearest_wrong_similarity", json!(self.shown(closeness)));
            }
            object
        };
        self.measured.worst.iter().flatten().map(object).collect()
    }

    /// A closeness as people know it: cosines and dot products as they are, else minus the distance.
    fn shown(&self, closeness: f64) -> f64 {
        match self.subject.similarity {
            Similarity::Cosine => closeness.clamp(-1.0, 1.0),
            Similarity::Dot => closeness,
            Similarity::Euclidean => -(-closeness).max(0.0).sqrt(),
        }
    }

    fn confused(&self) -> Vec<Map<String, Value>> {
        let object = |pair: &crossbatch_retrieval::Confusion| {
            Map::from_iter([
                ("label".to_owned(), json!(self.class(pair.query_label))),
                ("taken_for".to_owned(), json!(self.class(pair.found_label))),
                ("count".to_owned(), json!(pair.count)),
                ("of".to_owned(), json!(pair.of)),
            ])
        };
        self.measured.confused.iter().flatten().map(object).collect()
    }

    /// A table: the metrics, or the one list that was asked for.
    fn csv(&self, args: &EvalArgs) -> anyhow::Result<String> {
        // No more than one list was let through.
        if let Some(group) = self.measured.groups.first() {
            return records(&group.objects(&self.measured.scores));
        }
        match (args.worst, args.confused) {
            (None, None) => {
                let mut object = versioned();
                object.extend(self.flat());
                records(&[object])
            }
            (Some(_), _) => records(&self.worst()),
            (None, Some(_)) => records(&self.confused()),
        }
    }

    fn tables(&self) -> anyhow::Result<String> {
        let scores = &self.measured.scores;
        let columns = columns(scores);
        let mut rows = vec![header("", &columns)];
        rows.push(row(&self.subject.row, &scores.means(), &columns));
        rows.extend(self.measured.intervals.iter().flat_map(|found| ends(found, &columns)));
        let mut text = format!(
            "\n {}\n {}\n\n{}\n",
            description(self.subject)?,
            counted(scores),
            table::aligned(&rows)
        );
        for extra in &self.measured.extras {
            let line = |(key, value): &(String, Value)| vec![key.replace('_', " "), number(value)];
            let rows: Vec<Vec<String>> = extra.values.iter().map(line).collect();
            text += &format!(" {}\n\n{}\n", extra.title, table::aligned(&rows));
        }
        for group in &self.measured.groups {
            text += &group.table(scores, &columns);
        }
        if self.measured.worst.is_some() {
            text += &list(
                "worst queries",
                &self.worst(),
                &[
                    ("name", "query"),
                    ("label", "label"),
                    ("average_precision", "AP"),
                    ("first_positive", "first match"),
                    ("nearest_wrong", "nearest wrong"),
                    ("nearest_wrong_label", "label"),
                    ("nearest_wrong_similarity", "similarity"),
                ],
            );
        }
        if self.measured.confused.is_some() {
            text += &list(
                "classes taken for others, by nearest neighbours",
                &self.confused(),
                &[("label", "label"), ("taken_for", "taken for"), ("count", "times"), ("of", "of")],
            );
        }
        Ok(text)
    }
}

/// Objects as a table of some of their keys; text to the left, numbers to the right.
fn list(title: &str, objects: &[Map<String, Value>], keys: &[(&str, &str)]) -> String {
    let mut rows = vec![keys.iter().map(|(_, heading)| (*heading).to_owned()).collect::<Vec<_>>()];
    let cell =
        |object: &Map<String, Value>, key: &str| object.get(key).map(number).unwrap_or_default();
    rows.extend(
        objects.iter().map(|object| keys.iter().map(|(key, _)| cell(object, key)).collect()),
    );
    let is_text =
        |key: &str| objects.iter().any(|object| object.get(key).is_some_and(Value::is_string));
    let align: Vec<Align> =
        keys.iter().map(|(key, _)| if is_text(key) { Align::Left } else { Align::Right }).collect();
    format!(" {title}\n\n{}\n", table::columns(&rows, &align))
}

/// A value for people: fractions with four digits.
fn number(value: &Value) -> String {
    match value {
        Value::Number(number) if number.is_f64() => {
            format!("{:.4}", number.as_f64().unwrap_or(f64::NAN))
        }
        Value::Null => "none".to_owned(),
        value => plain(value),
    }
}

pub(super) fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// All keys, in the order in which they first appear, as a header; the values of each object as a line.
pub(super) fn records(objects: &[Map<String, Value>]) -> anyhow::Result<String> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    if objects.is_empty() {
        return Ok(String::new());
    }
    let all = objects.iter().flat_map(Map::keys).map(|key| (key.clone(), Value::Null));
    let header: Map<String, Value> = all.collect();
    writer.write_record(header.keys())?;
    for object in objects {
        let present = |key: &String| object.get(key).filter(|value| !value.is_null());
        let cells = header.keys().map(|key| present(key).map(plain).unwrap_or_default());
        writer.write_record(cells)?;
    }
    Ok(String::from_utf8(writer.into_inner()?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_align_text_and_numbers() {
        let object = |name: &str, value: f64| {
            Map::from_iter([("a".to_owned(), json!(name)), ("b".to_owned(), json!(value))])
        };
        let text =
            list("t", &[object("pear", 0.5), object("fig", 0.25)], &[("a", "x"), ("b", "y")]);
        assert_eq!(text, " t\n\n x           y\n pear   0.5000\n fig    0.2500\n\n");
        let text = records(&[object("a,b", 0.5)]).unwrap();
        assert_eq!(text, "a,b\n\"a,b\",0.5\n");
    }

    #[test]
    fn no_key_of_any_object_is_lost() {
        let object = |keys: &[&str]| {
            keys.iter().map(|key| ((*key).to_owned(), json!(1))).collect::<Map<String, Value>>()
        };
        let text = records(&[object(&["a", "b"]), object(&["a", "c", "d"])]).unwrap();
        assert_eq!(text, "a,b,c,d\n1,1,,\n1,,1,1\n");
        assert_eq!(records(&[]).unwrap(), "");
    }
}
