//! Conv-4 against PyTorch; tests/golden/models/make.py writes the values and states the formula.

use burn::tensor::{Device, Tensor, TensorData};
use crossbatch_models::{BackboneKind, Embedder, EmbedderConfig, Mode, NamedTensor, StateDict};

const BATCH: usize = 6;
const EMBEDDING: usize = 16;

fn golden() -> serde_json::Value {
    let text = include_str!("../../../tests/golden/models/conv4.json");
    serde_json::from_str(text).unwrap()
}

fn numbers(value: &serde_json::Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// The network with parameters from the script's formula, in the order of PyTorch's state dict.
fn filled(device: &Device) -> Embedder {
    let config = EmbedderConfig::new(BackboneKind::Conv4, 1, 28, EMBEDDING);
    let embedder = Embedder::new(&config, 0, device);
    let mut state = embedder.state_dict();
    let golden = golden();
    let names = golden["names"].as_array().unwrap();
    assert_eq!(names.len(), state.len(), "same tensors as PyTorch");
    for (p, name) in names.iter().enumerate() {
        let name = name.as_str().unwrap();
        let tensor: &mut NamedTensor = state.get_mut(name).expect(name);
        let fan_in: usize = tensor.shape[1..].iter().product();
        let (offset, scale) = if name.ends_with("norm.weight") || name.ends_with("running_var") {
            (1.0, 0.3)
        } else if name.ends_with("weight") {
            (0.0, 2.0 / (fan_in as f64).sqrt())
        } else {
            (0.0, 0.1)
        };
        for (i, value) in tensor.values.iter_mut().enumerate() {
            *value = (offset + scale * (0.37 * i as f64 + 1.3 * p as f64).sin()) as f32;
        }
    }
    embedder.load_state_dict(&state).unwrap()
}

fn images(device: &Device) -> Tensor<4> {
    let pixel = |i: usize| (0.5 + 0.5 * (0.011 * (i * i) as f64).sin()) as f32;
    let pixels: Vec<f32> = (0..BATCH * 784).map(pixel).collect();
    Tensor::from_data(TensorData::new(pixels, [BATCH, 1, 28, 28]), device)
}

/// Relative L2 error against PyTorch in f64 of at most three times PyTorch's own in f32.
#[track_caller]
fn close(what: &str, found: &[f32]) {
    let golden = &golden()[what];
    let expected = numbers(&golden["values"]);
    assert_eq!(found.len(), expected.len(), "{what}");
    let norm = expected.iter().map(|value| value * value).sum::<f64>().sqrt();
    let error = found.iter().zip(&expected).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum::<f64>();
    let error = error.sqrt() / norm;
    let allowed = 3.0 * golden["pytorch_f32_error"].as_f64().unwrap();
    assert!(error <= allowed, "{what}: relative error {error:e}, allowed {allowed:e}");
}

fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

#[test]
fn inference_agrees_with_pytorch() {
    let device = Device::flex();
    let found = filled(&device).forward(images(&device), Mode::Inference);
    close("inference", &values(found));
}

#[test]
fn training_agrees_with_pytorch_forward_backward_and_running_statistics() {
    let device = Device::flex().autodiff();
    let embedder = filled(&device);
    let found = embedder.forward(images(&device), Mode::Train);
    close("training", &values(found.clone()));

    let golden = golden();
    let all = |prefix: &'static str| {
        let keys = golden.as_object().unwrap().keys();
        let named: Vec<_> = keys.filter_map(|key| Some((key, key.strip_prefix(prefix)?))).collect();
        assert!(named.len() >= 3, "the golden file has {prefix}");
        named
    };
    let state = embedder.state_dict();
    for (key, name) in all("running ") {
        close(key, &state[name].values);
    }

    let coefficients: Vec<f32> =
        (0..BATCH * EMBEDDING).map(|i| (0.7 * i as f64).cos() as f32).collect();
    let coefficients = TensorData::new(coefficients, [BATCH, EMBEDDING]);
    let loss = (found * Tensor::from_data(coefficients, &device)).sum();
    let gradients = gradients(&embedder, loss);
    for (key, name) in all("gradient ") {
        close(key, &gradients[name].values);
    }
}

/// Gradients by parameter name: what one step of plain gradient descent at rate 1 takes away.
fn gradients(embedder: &Embedder, loss: Tensor<1>) -> StateDict {
    let gradients = burn::optim::GradientsParams::from_grads(loss.backward(), embedder);
    let before = embedder.state_dict();
    let mut optimizer = burn::optim::SgdConfig::new().init();
    let mut state = optimizer.step(1.0, embedder.clone(), gradients).state_dict();
    for (name, tensor) in &mut state {
        for (after, before) in tensor.values.iter_mut().zip(&before[name].values) {
            *after = before - *after;
        }
    }
    state
}
