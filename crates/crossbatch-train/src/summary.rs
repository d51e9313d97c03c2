//! `summary.json`: what scripts can rely on.

use serde::{Deserialize, Serialize};

use crate::recipe::Report;

/// Retrieval metrics as fractions, one flat object: `recall_at_1` …, `map_at_r`, `r_precision`,
/// `mean_average_precision`, `queries`, `left_out`.
#[derive(Debug, Clone, PartialEq)]
pub struct Metrics {
    /// Recall@K by K, ascending; 1, 10 and 100 are always there.
    pub recall_at: Vec<(usize, f64)>,
    /// MAP@R.
    pub map_at_r: f64,
    /// R-precision.
    pub r_precision: f64,
    /// Mean average precision over the whole ranking.
    pub mean_average_precision: f64,
    /// Queries that were counted.
    pub queries: usize,
    /// Queries without any match, left out.
    pub left_out: usize,
}

impl Metrics {
    /// The K that are measured where a recipe asks for `recall`.
    pub fn cuts(recall: &[usize]) -> Vec<usize> {
        let mut cuts: Vec<usize> = recall.iter().copied().chain([1, 10, 100]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        cuts
    }

    /// Recall@K as a fraction.
    ///
    /// # Panics
    ///
    /// If K was not measured; 1, 10 and 100 always are.
    pub fn recall(&self, k: usize) -> f64 {
        let found = self.recall_at.iter().find(|(cut, _)| *cut == k);
        found.unwrap_or_else(|| panic!("Recall@{k} was not measured")).1
    }
}

impl From<crossbatch_retrieval::Metrics> for Metrics {
    fn from(metrics: crossbatch_retrieval::Metrics) -> Self {
        Self {
            recall_at: metrics.recall_at,
            map_at_r: metrics.map_at_r,
            r_precision: metrics.r_precision,
            mean_average_precision: metrics.mean_average_precision,
            queries: metrics.queries,
            left_out: metrics.left_out,
        }
    }
}

impl Serialize for Metrics {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        for (k, value) in &self.recall_at {
            map.serialize_entry(&format!("recall_at_{k}"), value)?;
        }
        map.serialize_entry("map_at_r", &self.map_at_r)?;
        map.serialize_entry("r_precision", &self.r_precision)?;
        map.serialize_entry("mean_average_precision", &self.mean_average_precision)?;
        map.serialize_entry("queries", &self.queries)?;
        map.serialize_entry("left_out", &self.left_out)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for Metrics {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error;
        let map = serde_json::Map::deserialize(deserializer)?;
        let number = |key: &str| {
            let value = map.get(key).and_then(serde_json::Value::as_f64);
            value.ok_or_else(|| D::Error::custom(format!("`{key}` is no number")))
        };
        let mut recall_at = Vec::new();
        for key in map.keys() {
            if let Some(k) = key.strip_prefix("recall_at_").and_then(|k| k.parse().ok()) {
                recall_at.push((k, number(key)?));
            }
        }
        recall_at.sort_by_key(|(k, _)| *k);
        Ok(Self {
            recall_at,
            map_at_r: number("map_at_r")?,
            r_precision: number("r_precision")?,
            mean_average_precision: number("mean_average_precision")?,
            queries: number("queries")? as usize,
            left_out: number("left_out")? as usize,
        })
    }
}

/// The four rows of the final table.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSet {
    /// Raw pixels, unless `evaluation.raw` is off or they outgrow this machine's memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub raw: Option<Metrics>,
    /// The network before training.
    pub untrained: Metrics,
    /// The network trained with the memory off, where the recipe compares.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub without_memory: Option<Metrics>,
    /// The trained network.
    pub trained: Metrics,
}

/// Outcome of a run, as in `summary.json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Summary {
    /// Version of this file.
    pub format_version: u32,
    /// Name of the recipe.
    pub recipe: String,
    /// What the data was recognised as.
    pub data: String,
    /// Which weights were measured.
    pub report: Report,
    /// Metrics on the unseen test classes.
    pub metrics: MetricSet,
    /// Training steps.
    pub steps: u64,
    /// Slots of the memory.
    pub memory_slots: usize,
    /// Seconds of training of the recipe's own network.
    pub train_seconds: f64,
    /// Seconds of training of the comparison without memory.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub without_memory_train_seconds: Option<f64>,
    /// The seed.
    pub seed: u64,
    /// The device.
    pub device: String,
    /// Threads used.
    pub threads: usize,
    /// Version of crossbatch.
    pub crossbatch: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_one_flat_object() {
        let metrics = Metrics {
            recall_at: vec![(1, 0.5), (10, 0.75), (100, 1.0)],
            map_at_r: 0.25,
            r_precision: 0.3,
            mean_average_precision: 0.4,
            queries: 8,
            left_out: 1,
        };
        let text = serde_json::to_string(&metrics).unwrap();
        assert!(text.starts_with(
            r#"{"recall_at_1":0.5,"recall_at_10":0.75,"recall_at_100":1.0,"map_at_r":0.25"#
        ));
        assert_eq!(serde_json::from_str::<Metrics>(&text).unwrap(), metrics);
        assert_eq!(metrics.recall(10), 0.75);
        assert_eq!(Metrics::cuts(&[5, 1]), [1, 5, 10, 100]);
    }
}
