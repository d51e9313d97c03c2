//! Backbones against PyTorch; tests/golden/models/backbones.py writes the values and states the formula.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use crossbatch_models::{BackboneKind, Embedder, EmbedderConfig, Mode, NamedTensor};
use serde::Deserialize;

#[derive(Deserialize)]
struct Golden {
    /// Side of the images.
    size: usize,
    /// PyTorch's names.
    names: Vec<String>,
    values: BTreeMap<String, Value>,
    /// Error of f32, length, three products.
    gradients: BTreeMap<String, [f64; 5]>,
}

/// Every `step`-th number of a tensor.
#[derive(Deserialize)]
struct Value {
    /// Relative error that PyTorch makes in f32.
    error: f64,
    step: usize,
    values: Vec<f64>,
}

const BATCH: usize = 4;

const BACKBONES: &str = include_str!("../../../tests/golden/models/backbones.json");
/// From last_stride.py.
const LAST_STRIDE: &str = include_str!("../../../tests/golden/models/last_stride.json");

fn golden(text: &str, kind: BackboneKind) -> Golden {
    let mut all: BTreeMap<String, serde_json::Value> = serde_json::from_str(text).unwrap();
    let found = all.remove(kind.name()).expect("the golden file has this backbone");
    serde_json::from_value(found).unwrap()
}

/// FNV-1a, modulo the largest prime below 2^16.
fn number(name: &str) -> f64 {
    let hash = name
        .bytes()
        .fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    f64::from(hash % 65_521)
}

fn fill(name: &str, tensor: &mut NamedTensor, names: &[String]) {
    let normalises = |stem: &str| names.contains(&format!("{stem}running_mean"));
    let (offset, scale) = if tensor.shape.len() > 1 {
        let fan_in: usize = tensor.shape[1..].iter().product();
        (0.0, 2.0 / (fan_in as f64).sqrt())
    } else if name.ends_with("weight") || name.ends_with("running_var") {
        (1.0, 0.3)
    } else if name.strip_suffix("bias").is_some_and(normalises) {
        (2.0, 0.1)
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
fn filled(config: &EmbedderConfig, golden: &Golden, device: &Device) -> Embedder {
    let embedder = Embedder::new(config, 0, device);
    let mut state = embedder.state_dict();
    let mut names = golden.names.clone();
    names.sort();
    let of = |name: &str| name.strip_prefix("backbone.").map(str::to_owned);
    let mut found: Vec<String> = state.keys().filter_map(|name| of(name)).collect();
    found.sort();
    assert_eq!(found, names, "the same names as PyTorch");
    for (name, tensor) in &mut state {
        if let Some(name) = of(name) {
            fill(&name, tensor, &names);
        }
    }
    embedder.load_state_dict(&state).unwrap()
}

fn images(size: usize, device: &Device) -> Tensor<4> {
    let pixel = |i: usize| (0.5 + 0.5 * (0.011 * (i * i) as f64).sin()) as f32;
    let pixels: Vec<f32> = (0..BATCH * 3 * size * size).map(pixel).collect();
    Tensor::from_data(TensorData::new(pixels, [BATCH, 3, size, size]), device)
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn length(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|value| value * value).sum::<f64>().sqrt()
}

/// Relative L2 error of what the golden file keeps of a tensor.
fn error(found: &[f32], expected: &Value) -> f64 {
    let kept: Vec<f64> = found.iter().step_by(expected.step).map(|&v| f64::from(v)).collect();
    assert_eq!(kept.len(), expected.values.len());
    let off = kept.iter().zip(&expected.values).map(|(a, b)| a - b);
    length(off) / length(expected.values.iter().copied())
}

/// Length and products of a gradient, as the script takes them.
fn summary(gradient: &[f32]) -> [f64; 4] {
    let product = |k: usize| {
        let terms = gradient.iter().enumerate();
        let sum: f64 = terms.map(|(i, &v)| f64::from(v) * (0.7 * i as f64 + k as f64).cos()).sum();
        sum / (gradient.len() as f64).sqrt()
    };
    [length(gradient.iter().map(|&v| f64::from(v))), product(0), product(1), product(2)]
}

/// Inference within 1e-4; training, running statistics and gradients within three times PyTorch's own error in f32.
fn agrees(kind: BackboneKind) {
    let golden = golden(BACKBONES, kind);
    compare(&EmbedderConfig::new(kind, 3, golden.size, 4), &golden);
}

#[test]
fn a_resnet_whose_last_layer_keeps_its_size() {
    for kind in [BackboneKind::ResNet18, BackboneKind::ResNet50] {
        let golden = golden(LAST_STRIDE, kind);
        let config =
            EmbedderConfig { last_stride: 1, ..EmbedderConfig::new(kind, 3, golden.size, 4) };
        compare(&config, &golden);
    }
}

fn compare(config: &EmbedderConfig, golden: &Golden) {
    let mut wrong = Vec::new();
    let mut check = |what: &str, error: f64, allowed: f64| {
        if error.is_nan() || error > allowed {
            wrong.push(format!("{what}: relative error {error:.3e}, allowed {allowed:.3e}"));
        }
    };

    let device = Device::flex();
    let plain = filled(config, golden, &device);
    let found = plain.features(images(golden.size, &device), Mode::Inference);
    check("inference", error(&values(found), &golden.values["inference"]), 1e-4);
    let training = &golden.values["training"];
    let device = device.autodiff();
    let embedder = filled(config, golden, &device);
    let features = embedder.features(images(golden.size, &device), Mode::Train);
    check("training", error(&values(features.clone()), training), 3.0 * training.error);

    let [batch, width] = features.dims();
    let weights: Vec<f32> = (0..batch * width).map(|i| (0.7 * i as f64).cos() as f32).collect();
    let weights = Tensor::from_data(TensorData::new(weights, [batch, width]), &device);
    let loss = (features * weights).sum() / (batch * width) as f32;
    let gradients = embedder.gradients(&loss.backward());
    assert!(golden.gradients.len() > 10, "gradients are compared");
    for (name, &[error, expected @ ..]) in &golden.gradients {
        let found = summary(&gradients[&format!("backbone.{name}")].values);
        let off = length(found.iter().zip(expected).map(|(a, b)| a - b)) / expected[0];
        // A shift before a normalisation has no gradient; what there is of it is rounding.
        let times = if error > 0.5 { 30.0 } else { 3.0 };
        check(&format!("gradient {name}"), off, times * error);
    }
    let state = embedder.state_dict();
    for (what, expected) in &golden.values {
        if let Some(name) = what.strip_prefix("running ") {
            let found = &state[&format!("backbone.{name}")].values;
            check(what, error(found, expected), 3.0 * expected.error);
        }
    }
    assert!(wrong.is_empty(), "{}:\n{}", config.backbone.name(), wrong.join("\n"));
}

macro_rules! backbones {
    ($($test:ident: $kind:ident,)*) => {
        $(#[test]
        fn $test() {
            agrees(BackboneKind::$kind);
        })*

        #[test]
        fn every_backbone_has_a_golden() {
            let tested = [BackboneKind::Conv4, $(BackboneKind::$kind),*];
            assert!(BackboneKind::ALL.iter().all(|kind| tested.contains(kind)));
        }
    };
}

backbones! {
    resnet18: ResNet18,
    resnet34: ResNet34,
    resnet50: ResNet50,
    resnet101: ResNet101,
    googlenet: GoogLeNet,
    bn_inception: BnInception,
    vit_s16: VitS16,
    vit_b16: VitB16,
    dinov2_s14: Dinov2S14,
    dinov2_s14_registers: Dinov2S14Registers,
    dinov2_b14: Dinov2B14,
    dinov2_b14_registers: Dinov2B14Registers,
    convnext_t: ConvNextT,
    mobilenetv3_small: MobileNetV3Small,
    mobilenetv3_large: MobileNetV3Large,
}
