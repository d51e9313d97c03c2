//! Embeddings as safetensors.

use std::collections::HashMap;

use anyhow::bail;
use crossbatch_models::{Dtype, RawTensor, serialize};
use serde_json::json;

use super::Table;
use crate::images::Item;

/// Version of the layout below.
const FORMAT_VERSION: &str = "1";

/// Readers refuse a header of 100 MB; this leaves room for what is not names.
const MOST_NAME_BYTES: usize = 90_000_000;

/// `embeddings` f32 `[N, D]`, `labels` i64 `[N]` where every image has one, and the names in the
/// metadata.
pub(super) fn file(table: &Table<'_>) -> anyhow::Result<Vec<u8>> {
    let count = table.items.len();
    let mut metadata = HashMap::from([
        ("crossbatch_format_version".to_owned(), FORMAT_VERSION.to_owned()),
        ("names".to_owned(), json!(table.names()).to_string()),
    ]);
    let embeddings: Vec<u8> = table.bytes().collect();
    let mut tensors = vec![RawTensor {
        name: "embeddings".to_owned(),
        dtype: Dtype::F32,
        shape: vec![count, table.dim],
        bytes: &embeddings,
    }];
    let mut labels = Vec::new();
    if let Some(names) = table.labels() {
        let (found, names) = numbers(&names);
        labels = found.iter().flat_map(|label| label.to_le_bytes()).collect();
        metadata.extend(names.map(|names| ("label_names".to_owned(), json!(names).to_string())));
    }
    if !labels.is_empty() {
        tensors.push(RawTensor {
            name: "labels".to_owned(),
            dtype: Dtype::I64,
            shape: vec![count],
            bytes: &labels,
        });
    }
    Ok(serialize(tensors, metadata)?)
}

/// Labels as numbers. Where all of them are whole numbers they stay what they are; otherwise they are
/// numbered in order of first appearance, and the names are returned in that order.
fn numbers<'a>(labels: &[&'a str]) -> (Vec<i64>, Option<Vec<&'a str>>) {
    // `007` and `7` are two labels, so only the plain spelling counts as a number.
    let whole =
        |label: &&str| label.parse::<i64>().ok().filter(|number| number.to_string() == **label);
    if let Some(numbers) = labels.iter().map(whole).collect() {
        return (numbers, None);
    }
    let mut names = Vec::new();
    let mut known = HashMap::new();
    let numbers = labels.iter().map(|&label| {
        *known.entry(label).or_insert_with(|| {
            names.push(label);
            names.len() as i64 - 1
        })
    });
    (numbers.collect(), Some(names))
}

pub(super) fn check_names(items: &[Item]) -> anyhow::Result<()> {
    // Escaped twice: in a JSON array, which is a JSON string. Quotes double, the rest is rare.
    let bytes: usize = items.iter().map(|item| item.name.len() + 5).sum();
    if bytes > MOST_NAME_BYTES {
        bail!(
            "the names of {} images are too long for a safetensors header ({bytes} bytes, at most {MOST_NAME_BYTES}); write .npy instead, whose names go to a file of their own",
            items.len()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_stay_and_other_labels_are_numbered() {
        assert_eq!(numbers(&["7", "-3", "7"]), (vec![7, -3, 7], None));
        let (found, names) = numbers(&["pear", "7", "pear", "apple"]);
        assert_eq!((found, names), (vec![0, 1, 0, 2], Some(vec!["pear", "7", "apple"])));
        assert_eq!(numbers(&["007", "7"]).0, [0, 1]);
    }
}
