//! Times the convolutions of `benches/conv/layers.csv`.
//!
//! `cargo run --release -p crossbatch-math --example conv -- LAYERS.csv NETWORK|all [SECONDS]`
//!
//! A line of JSON a layer: milliseconds (the best of the repeats) of the forward pass, of the gradient to the input
//! (0 for a network's first layer) and of the gradients to weights and bias.
#![allow(clippy::print_stdout)]

use crossbatch_math::conv::{self, ConvShape};
use std::hint::black_box;
use std::time::{Duration, Instant};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn best<R>(seconds: f64, mut run: impl FnMut() -> R) -> f64 {
    black_box(run());
    let (mut least, start, mut count) = (Duration::MAX, Instant::now(), 0);
    while count < 5 || start.elapsed().as_secs_f64() < seconds {
        let begin = Instant::now();
        black_box(run());
        least = least.min(begin.elapsed());
        count += 1;
    }
    least.as_secs_f64() * 1e3
}

/// Numbers spread over -1..1.
fn numbers(count: usize) -> Vec<f32> {
    (0..count).map(|i| (i.wrapping_mul(2_654_435_761) % 1000) as f32 / 500.0 - 1.0).collect()
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: conv LAYERS.csv NETWORK|all [SECONDS]";
    let path = arguments.next().expect(usage);
    let only = arguments.next().expect(usage);
    let seconds = arguments.next().map_or(0.1, |text| text.parse().expect(usage));
    let text = fs_err::read_to_string(&path).expect("the layers can be read");
    for (index, line) in text.lines().skip(1).enumerate() {
        let (network, rest) = line.split_once(',').expect("a line has columns");
        if only != "all" && only != network {
            continue;
        }
        let columns: Vec<usize> =
            rest.split(',').map(|column| column.parse().expect("columns are numbers")).collect();
        let [
            _,
            batch,
            channels,
            filters,
            height,
            width,
            kernel,
            stride,
            padding,
            groups,
            bias,
            first,
        ] = columns[..]
        else {
            panic!("line {} has {} columns", index + 2, columns.len() + 1);
        };
        let shape = ConvShape {
            batch,
            channels,
            filters,
            input: [height, width],
            kernel: [kernel; 2],
            stride: [stride; 2],
            padding: [padding; 2],
            dilation: [1, 1],
            groups,
        };
        let input = numbers(shape.input_len());
        let weight = numbers(shape.weight_len());
        let gradient = numbers(shape.output_len());
        let shift = (bias == 1).then(|| numbers(filters));
        let forward = best(seconds, || conv::forward(&shape, &input, &weight, shift.as_deref()));
        let to_input = if first == 1 {
            0.0
        } else {
            best(seconds, || conv::input_gradient(&shape, &gradient, &weight))
        };
        let to_weight = best(seconds, || {
            let bias = shift.as_ref().map(|_| conv::bias_gradient(&shape, &gradient));
            (conv::weight_gradient(&shape, &input, &gradient), bias)
        });
        println!(
            r#"{{"layer": {index}, "kind": "crossbatch", "forward": {forward}, "to_input": {to_input}, "to_weight": {to_weight}}}"#
        );
    }
}
