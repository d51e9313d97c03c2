//! State dicts, files and initialisation.

use std::collections::HashMap;

use burn::tensor::{Device, Tensor};
use crossbatch_models::{
    BackboneKind, Embedder, EmbedderConfig, Mode, from_safetensors, to_safetensors,
};

fn config() -> EmbedderConfig {
    EmbedderConfig::new(BackboneKind::Conv4, 3, 16, 8)
}

#[test]
fn initial_values_are_pytorchs_and_hang_on_the_seed_alone() {
    let state = Embedder::new(&config(), 1, &Device::flex()).state_dict();
    assert_eq!(state, Embedder::new(&config(), 1, &Device::flex().autodiff()).state_dict());
    assert_ne!(state, Embedder::new(&config(), 2, &Device::flex()).state_dict());

    for (name, fan_in) in [
        ("backbone.blocks.0.conv.weight", 27.0),
        ("backbone.blocks.1.conv.weight", 576.0),
        ("head.weight", 256.0),
    ] {
        // Uniform in ±1/sqrt(fan_in): the bound is nearly reached, the variance is bound²/3.
        let values = &state[name].values;
        let bound = 1.0 / f64::sqrt(fan_in);
        let largest = values.iter().fold(0.0f64, |max, value| max.max(f64::from(value.abs())));
        assert!(largest <= bound && largest > 0.95 * bound, "{name}: {largest} of {bound}");
        let variance =
            values.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>() / values.len() as f64;
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.1, "{name}: {variance}");
    }
    assert_eq!(state["backbone.blocks.2.norm.weight"].values, [1.0; 64]);
    assert_eq!(state["backbone.blocks.2.norm.running_var"].values, [1.0; 64]);
    assert_eq!(state["head.weight"].shape, [8, 256]);
}

#[test]
fn weights_survive_a_file() {
    let embedder = Embedder::new(&config(), 3, &Device::flex());
    let metadata = HashMap::from([("step".to_owned(), "7".to_owned())]);
    let bytes = to_safetensors(&embedder.state_dict(), metadata).unwrap();
    let (state, metadata) = from_safetensors(&bytes, "").unwrap();
    assert_eq!(metadata["step"], "7");
    let loaded = Embedder::new(&config(), 4, &Device::flex()).load_state_dict(&state).unwrap();
    let images = Tensor::<4>::ones([2, 3, 16, 16], &Device::flex());
    assert_eq!(
        loaded.forward(images.clone(), Mode::Inference).into_data(),
        embedder.forward(images, Mode::Inference).into_data()
    );
}

#[test]
fn frozen_statistics_are_used_as_in_training_and_stay() {
    let device = Device::flex();
    let embedder = Embedder::new(&config(), 3, &device);
    let images =
        Tensor::<4>::random([4, 3, 16, 16], burn::tensor::Distribution::Normal(1.0, 2.0), &device);
    let untouched = embedder.state_dict();
    let frozen = embedder.forward(images.clone(), Mode::TrainFrozenStatistics);
    assert_eq!(embedder.state_dict(), untouched);
    let trained = embedder.forward(images.clone(), Mode::Train);
    assert_eq!(frozen.clone().into_data(), trained.into_data());
    assert_ne!(embedder.state_dict(), untouched);
    assert_ne!(frozen.into_data(), embedder.forward(images, Mode::Inference).into_data());
}

#[test]
fn weights_that_do_not_fit_are_listed_all_at_once() {
    let embedder = Embedder::new(&config(), 3, &Device::flex());
    let mut state = embedder.state_dict();
    let bias = state.remove("head.bias").unwrap();
    state.insert("head.extra".to_owned(), bias);
    state.get_mut("head.weight").unwrap().shape = vec![256, 8];
    let message = embedder.load_state_dict(&state).unwrap_err().to_string();
    for part in [
        "unexpected `head.extra`",
        "missing `head.bias`",
        "`head.weight` is [256, 8], expected [8, 256]",
    ] {
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn damaged_files_are_errors() {
    let embedder = Embedder::new(&config(), 3, &Device::flex());
    let bytes = to_safetensors(&embedder.state_dict(), HashMap::new()).unwrap();
    for end in [0, 4, 100, bytes.len() - 1] {
        assert!(from_safetensors(&bytes[..end], "").is_err(), "cut at {end}");
    }
}
