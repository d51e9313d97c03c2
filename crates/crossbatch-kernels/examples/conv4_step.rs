//! Times a training step of Conv-4 with our operations and with Burn's own.
//!
//! `cargo run --release --example conv4_step -p crossbatch-kernels [-- seconds [ours|burn]]`
#![allow(clippy::print_stdout)]

use burn::tensor::{Device, Distribution, Tensor, activation, module, ops};
use crossbatch_kernels::{
    BatchNormOptions, ConvOptions, PoolOptions, batch_norm_train, conv2d, max_pool2d,
};
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Layer {
    weight: Tensor<4>,
    scale: Tensor<1>,
    shift: Tensor<1>,
}

fn ours(layer: &Layer, input: Tensor<4>, pool: bool) -> Tensor<4> {
    let options = ConvOptions { padding: [1, 1], ..ConvOptions::default() };
    let output = conv2d(input, layer.weight.clone(), None, options);
    let (scale, shift) = (layer.scale.clone(), layer.shift.clone());
    let output = batch_norm_train(
        output,
        scale,
        shift,
        None,
        BatchNormOptions { epsilon: 1e-5, relu: true },
    )
    .output;
    if pool { max_pool2d(output, PoolOptions::new(2, 2)) } else { output }
}

fn burns(layer: &Layer, input: Tensor<4>, pool: bool) -> Tensor<4> {
    let options = ops::ConvOptions::new([1, 1], [1, 1], [1, 1], 1);
    let output = module::conv2d(input, layer.weight.clone(), None, options);
    let (scale, shift) = (layer.scale.clone(), layer.shift.clone());
    let output = module::batch_norm_train(output, scale, shift, 1e-5).output;
    let output = activation::relu(output);
    if pool { module::max_pool2d(output, ops::MaxPoolOptions::new([2, 2])) } else { output }
}

fn step(layers: &[Layer], images: &Tensor<4>, layer: fn(&Layer, Tensor<4>, bool) -> Tensor<4>) {
    let mut output = images.clone();
    for (index, parameters) in layers.iter().enumerate() {
        output = layer(parameters, output, index < 3);
    }
    let gradients = (output.clone() * output).sum().backward();
    for parameters in layers {
        assert!(parameters.weight.grad(&gradients).is_some());
    }
}

fn main() {
    let seconds = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(2.0);
    let device = Device::flex().autodiff();
    let images = Tensor::random([64, 1, 28, 28], Distribution::Normal(0.0, 1.0), &device);
    let layers: Vec<Layer> = [1, 64, 64, 64]
        .into_iter()
        .map(|channels| Layer {
            weight: Tensor::random([64, channels, 3, 3], Distribution::Normal(0.0, 0.1), &device)
                .require_grad(),
            scale: Tensor::ones([64], &device).require_grad(),
            shift: Tensor::zeros([64], &device).require_grad(),
        })
        .collect();
    type Forward = fn(&Layer, Tensor<4>, bool) -> Tensor<4>;
    let kinds: [(&str, Forward); 2] = [("ours", ours), ("burn", burns)];
    let only = std::env::args().nth(2);
    for (name, layer) in kinds {
        if only.as_ref().is_some_and(|only| only != name) {
            continue;
        }
        for _ in 0..5 {
            step(&layers, &images, layer);
        }
        let mut times = Vec::new();
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs_f64(seconds) {
            let start = Instant::now();
            step(&layers, &images, layer);
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
        times.sort_by(f64::total_cmp);
        println!(
            "{name}: median {:.1} ms, best {:.1} ms of {} steps",
            times[times.len() / 2],
            times[0],
            times.len()
        );
    }
}
