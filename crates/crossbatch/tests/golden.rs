//! Values and gradients of pytorch-metric-learning and of formulas in PyTorch (`tests/golden/losses/make.py`).

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use crossbatch::{
    ContrastiveLoss, DistanceWeightedMiner, LossConfig, Memory, MinerConfig, PairTerm, Pairs,
    Reduction, Rows, SameImage,
};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::common::{anchors, matrix, on_each_device, references, values};

#[derive(Deserialize)]
struct Fixture {
    dim: usize,
    rows: BTreeMap<String, Block>,
    cases: Vec<Case>,
    sampling: Sampling,
}

#[derive(Deserialize)]
struct Block {
    labels: Vec<u32>,
    values: Vec<f32>,
}

impl Block {
    fn ids(&self) -> Vec<u32> {
        (0..self.labels.len() as u32).collect()
    }
}

#[derive(Deserialize)]
struct Case {
    name: String,
    term: Map<String, Value>,
    anchors: String,
    references: Option<String>,
    older: Option<String>,
    slots: Option<usize>,
    value: f64,
    gradient: Vec<f64>,
    reference_gradient: Option<Vec<f64>>,
    parameters: Option<Vec<f32>>,
    parameter_gradient: Option<Vec<f64>>,
    /// The value is the sum over pairs by the number of active ones.
    #[serde(default)]
    over_active: bool,
}

#[derive(Deserialize)]
struct Sampling {
    anchors: String,
    references: String,
    probabilities: Vec<f64>,
}

fn fixture() -> Fixture {
    let text = include_str!("../../../tests/golden/losses/losses.json");
    serde_json::from_str(text).expect("the fixture is valid")
}

/// A term from a table as a recipe would have it.
fn term(table: &Map<String, Value>) -> PairTerm {
    let mut table = table.clone();
    let mut take = |key: &str| table.remove(key);
    let reduction = take("reduction").expect("a case has a reduction");
    let reduction: Reduction = serde_json::from_value(reduction).expect("a reduction");
    let miners = take("miners").unwrap_or_default();
    let miners: Option<Vec<MinerConfig>> = serde_json::from_value(miners).expect("miners");
    let loss: LossConfig = serde_json::from_value(Value::Object(table)).expect("a loss");
    let mut term = PairTerm::shared(loss.build()).with_reduction(reduction);
    term.miners = miners.unwrap_or_default().iter().map(MinerConfig::build).collect();
    term.check().expect("options in range");
    term
}

#[track_caller]
fn close(found: &[f32], expected: &[f64], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let size = expected.iter().fold(0.0, |most: f64, value| most.max(value.abs()));
    for (index, (&found, &expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f64::from(found) - expected).abs() <= 2e-5 * size,
            "{what}, number {index}: {found}, not {expected}"
        );
    }
}

fn judge(case: &Case, fixture: &Fixture, device: &Device) {
    let dim = fixture.dim;
    let block = |name: &str| &fixture.rows[name];
    let leaf = |name: &str| matrix(&block(name).values, dim, device).require_grad();
    let own = block(&case.anchors);
    let (labels, ids) = (&own.labels[..], own.ids());
    let rows = Rows { labels, ids: &ids };
    let embeddings = leaf(&case.anchors);

    let mut memory = Memory::new(case.slots.unwrap_or(1), dim, device);
    let mut other = None;
    let pairs = if let Some(older) = &case.older {
        // Images of their own.
        let older_ids: Vec<u32> = block(older).ids().iter().map(|id| id + 1000).collect();
        let older_rows = Rows { labels: &block(older).labels, ids: &older_ids };
        memory.enqueue(leaf(older), older_rows, 1).unwrap();
        let slots = memory.enqueue(embeddings.clone(), rows, 2).unwrap();
        Pairs::with_memory(embeddings.clone(), rows, &memory, &slots, SameImage::Keep)
    } else if let Some(name) = &case.references {
        let rows = leaf(name);
        other = Some(rows.clone());
        Pairs::between(anchors(embeddings.clone(), labels), references(rows, &block(name).labels))
    } else {
        Pairs::within_batch(embeddings.clone(), rows)
    };

    let parameters = case
        .parameters
        .as_ref()
        .map(|values| Tensor::<1>::from_data(&values[..], device).require_grad());
    let output = term(&case.term).evaluate(&pairs, parameters.as_ref());
    let value = if case.over_active {
        let statistics = &output.statistics;
        let active = statistics.active_positives() + statistics.active_negatives();
        output.value * labels.len() as f32 / active
    } else {
        output.value
    };

    let name = &case.name;
    close(&values(value.clone()), &[case.value], &format!("{name}: value"));
    let gradients = value.backward();
    let gradient = |leaf: &Tensor<2>| values(leaf.grad(&gradients).expect("a gradient"));
    close(&gradient(&embeddings), &case.gradient, &format!("{name}: gradient"));
    if let (Some(other), Some(expected)) = (&other, &case.reference_gradient) {
        close(&gradient(other), expected, &format!("{name}: gradient of the references"));
    }
    if let (Some(parameters), Some(expected)) = (&parameters, &case.parameter_gradient) {
        let found = values(parameters.grad(&gradients).expect("a gradient"));
        close(&found, expected, &format!("{name}: gradient of the parameters"));
    }
}

on_each_device!(every_case_agrees);

fn every_case_agrees(device: &Device) {
    let fixture = fixture();
    let device = device.clone().autodiff();
    assert!(fixture.cases.len() > 70, "{} cases", fixture.cases.len());
    for case in &fixture.cases {
        judge(case, &fixture, &device);
    }
}

/// Each negative is drawn as often as pytorch-metric-learning would draw it.
#[test]
fn negatives_are_drawn_by_their_distance() {
    let fixture = fixture();
    let device = Device::flex();
    let block = |name: &str| &fixture.rows[name];
    let (own, other) = (block(&fixture.sampling.anchors), block(&fixture.sampling.references));
    let embeddings = matrix(&own.values, fixture.dim, &device);
    let references = references(matrix(&other.values, fixture.dim, &device), &other.labels);
    let pairs = Pairs::between(anchors(embeddings, &own.labels), references);

    let miner = DistanceWeightedMiner { negatives: 1, ..Default::default() };
    let term = PairTerm::new(ContrastiveLoss::default()).with_miner(miner);
    let draws = 3000;
    let columns = other.labels.len();
    let mut counts = vec![0.0; own.labels.len() * columns];
    for step in 0..draws {
        let selection = term.select(&pairs.clone().at_step(step)).expect("it selects");
        for (anchor, chosen) in selection.references.iter().enumerate() {
            for &reference in chosen {
                if other.labels[reference as usize] != own.labels[anchor] {
                    counts[anchor * columns + reference as usize] += 1.0;
                }
            }
        }
    }
    let draws = draws as f64;
    for (index, (count, &probability)) in
        counts.into_iter().zip(&fixture.sampling.probabilities).enumerate()
    {
        // Five standard deviations and a draw.
        let expected = draws * probability;
        let slack = 5.0 * (expected * (1.0 - probability)).sqrt() + 1.0;
        let pair = (index / columns, index % columns);
        assert!((count - expected).abs() <= slack, "{pair:?}: {count} draws, {expected} expected");
    }
}
