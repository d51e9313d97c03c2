//! Backbones against PyTorch; tests/golden/models/backbones.py writes the values and states the formula.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use crossbatch_models::{BackboneKind, Embedder, EmbedderConfig, Mode, NamedTensor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    /// PyTorch's names.
    names: Vec<String>,
    values: BTreeMap<String, Value>,
}

#[derive(Deserialize)]
struct Value {
    pytorch_f32_error: f64,
    values: Vec<f64>,
    /// Of the whole tensor.
    length: f64,
}

const BATCH: usize = 4;
const SIZE: usize = 64;

fn golden(kind: BackboneKind) -> Golden {
    let text = include_str!("../../../tests/golden/models/backbones.json");
    let all: serde_json::Value = serde_json::from_str(text).unwrap();
    serde_json::from_value(all[kind.name()].clone()).expect("the golden file has this backbone")
}

/// FNV-1a, modulo the largest prime below 2^16.
fn number(name: &str) -> f64 {
    let hash = name
        .bytes()
        .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash % 65_521)
}

fn fill(name: &str, tensor: &mut NamedTensor) {
    let (offset, scale) = if tensor.shape.len() > 1 {
        let fan_in: usize = tensor.shape[1..].iter().product();
        (0.0, 2.0 / (fan_in as f64).sqrt())
    } else if name.ends_with("weight") || name.ends_with("running_var") {
        (1.0, 0.3)
    } else {
        (0.0, 0.1)
    };
    let phase = 0.001 * number(name);
    for (i, value) in tensor.values.iter_mut().enumerate() {
        let i = i as f64;
        *value = (offset + scale * (0.37 * i + 0.011 * i * i + phase).sin()) as f32;
    }
}

/// The network filled as the script fills PyTorch's, whose names are its own.
fn filled(kind: BackboneKind, device: &Device) -> Embedder {
    let embedder = Embedder::new(&EmbedderConfig::new(kind, 3, SIZE, 4), 0, device);
    let mut state = embedder.state_dict();
    let mut names = golden(kind).names;
    names.sort();
    let of = |name: &str| name.strip_prefix("backbone.").map(str::to_owned);
    let mut found: Vec<String> = state.keys().filter_map(|name| of(name)).collect();
    found.sort();
    assert_eq!(found, names, "the same names as PyTorch");
    for (name, tensor) in &mut state {
        if let Some(name) = of(name) {
            fill(&name, tensor);
        }
    }
    embedder.load_state_dict(&state).unwrap()
}

fn images(device: &Device) -> Tensor<4> {
    let pixel = |i: usize| (0.5 + 0.5 * (0.011 * (i * i) as f64).sin()) as f32;
    let pixels: Vec<f32> = (0..BATCH * 3 * SIZE * SIZE).map(pixel).collect();
    Tensor::from_data(TensorData::new(pixels, [BATCH, 3, SIZE, SIZE]), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Relative L2 error.
fn error(found: &[f64], expected: &[f64], length: f64) -> f64 {
    assert_eq!(found.len(), expected.len());
    let squares = found.iter().zip(expected).map(|(a, b)| (a - b).powi(2));
    squares.sum::<f64>().sqrt() / length
}

fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().map(|&value| f64::from(value)).collect()
}

/// Inference within 1e-4; training, running statistics and gradients within three times PyTorch's own error in f32.
fn agrees(kind: BackboneKind) {
    let golden = golden(kind);
    let mut wrong = Vec::new();
    let mut check = |what: &str, found: &[f64], allowed: f64| {
        let expected = &golden.values[what];
        let error = error(found, &expected.values, expected.length);
        if error.is_nan() || error > allowed {
            wrong.push(format!("{what}: relative error {error:.3e}, allowed {allowed:.3e}"));
        }
    };
    let three = |what: &str| 3.0 * golden.values[what].pytorch_f32_error;

    let plain = filled(kind, &Device::flex());
    let found = plain.features(images(&Device::flex()), Mode::Inference);
    check("inference", &wide(&values(found)), 1e-4);

    let device = Device::flex().autodiff();
    let embedder = filled(kind, &device);
    let features = embedder.features(images(&device), Mode::Train);
    check("training", &wide(&values(features.clone())), three("training"));

    let [batch, width] = features.dims();
    let count = batch * width;
    let weights: Vec<f32> = (0..count).map(|i| (0.7 * i as f64).cos() as f32).collect();
    let weights = Tensor::from_data(TensorData::new(weights, [batch, width]), &device);
    let loss = (features * weights).sum() / count as f32;
    let gradients = embedder.gradients(&loss.backward());
    let mut compared = 0;
    for what in golden.values.keys() {
        if let Some(name) = what.strip_prefix("gradient ") {
            let gradient = wide(&gradients[&format!("backbone.{name}")].values);
            let length = gradient.iter().map(|value| value * value).sum::<f64>().sqrt();
            let product = |k: usize| {
                let terms = gradient.iter().enumerate();
                let sum =
                    terms.map(|(i, value)| value * (0.7 * i as f64 + k as f64).cos()).sum::<f64>();
                sum / (gradient.len() as f64).sqrt()
            };
            let found = [length, product(0), product(1), product(2)];
            check(what, &found, three(what));
            compared += 1;
        }
        if let Some(name) = what.strip_prefix("running ") {
            let found = wide(&embedder.state_dict()[&format!("backbone.{name}")].values);
            check(what, &found, three(what));
        }
    }
    assert!(compared > 10, "gradients were compared");
    assert!(wrong.is_empty(), "{kind}:\n{}", wrong.join("\n"));
}

#[test]
fn resnet18_agrees_with_torchvision() {
    agrees(BackboneKind::ResNet18);
}

#[test]
fn resnet50_agrees_with_torchvision() {
    agrees(BackboneKind::ResNet50);
}
