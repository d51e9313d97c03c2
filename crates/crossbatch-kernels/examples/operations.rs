//! Times single operations, forward and backward, over the layer shapes of real networks; one line of JSON each.
//!
//! `benches/ops/run.sh PYTHON` runs this beside PyTorch and makes a table of both.
#![allow(clippy::print_stdout)]

use burn::tensor::{Device, Distribution, Tensor};
use crossbatch_kernels::{
    BatchNormOptions, PoolOptions, attention, average_pool2d, batch_norm_train, gelu,
    global_average_pool, l2_normalize, layer_norm, linear, max_pool2d,
};
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Repeats at least so often and so long.
const REPEATS: usize = 5;
const SECONDS: f64 = 0.25;

fn main() {
    let device = Device::flex().autodiff();
    let only = std::env::args().nth(1);
    // The list that PyTorch's side takes too.
    let text = include_str!("../../../benches/ops/cases.json");
    let cases: Vec<Case> = serde_json::from_str(text).expect("the list of cases is valid");
    for case in cases {
        if only.as_ref().is_none_or(|only| case.operation.contains(only.as_str())) {
            case.time(&device);
        }
    }
}

#[derive(serde::Deserialize)]
struct Case {
    operation: String,
    network: String,
    shape: Vec<usize>,
    /// Kernel, stride and padding; or outputs of a linear layer.
    arguments: Vec<usize>,
}

impl Case {
    fn time(&self, device: &Device) {
        let shapes = self.shapes();
        let inputs: Vec<Tensor<4>> = shapes
            .iter()
            .map(|shape| {
                let normal = Distribution::Normal(0.0, 1.0);
                Tensor::random(*shape, normal, device).require_grad()
            })
            .collect();
        let upstream = {
            let output = self.run(&inputs);
            Tensor::<4>::random(output.dims(), Distribution::Normal(0.0, 1.0), device)
        };
        let (mut forward, mut both) = (f64::INFINITY, f64::INFINITY);
        let begin = Instant::now();
        let mut count = 0;
        while count < REPEATS || begin.elapsed().as_secs_f64() < SECONDS {
            let start = Instant::now();
            let output = self.run(&inputs);
            forward = forward.min(start.elapsed().as_secs_f64());
            // The sum of the product, so that the operation's own gradient is `upstream`.
            let loss = (output * upstream.clone()).sum();
            let middle = Instant::now();
            let gradients = loss.backward();
            both = both.min(middle.elapsed().as_secs_f64());
            assert!(inputs.iter().all(|input| input.grad(&gradients).is_some()));
            count += 1;
        }
        println!(
            "{}",
            serde_json::json!({
                "operation": self.operation, "network": self.network, "shape": self.shape,
                "arguments": self.arguments, "forward": forward, "backward": both,
            })
        );
    }

    /// The inputs, each with four sizes.
    fn shapes(&self) -> Vec<[usize; 4]> {
        let mut first = [1; 4];
        first[4 - self.shape.len()..].copy_from_slice(&self.shape);
        let channels = [1, first[1], 1, 1];
        let columns = [1, 1, 1, first[3]];
        match self.operation.as_str() {
            "batch_norm_relu" => vec![first, channels, channels],
            "batch_norm_residual_relu" => vec![first, channels, channels, first],
            "layer_norm" => vec![first, columns, columns],
            "linear" => {
                let outputs = self.arguments[0];
                vec![first, [1, 1, outputs, first[3]], [1, 1, 1, outputs]]
            }
            "attention" => vec![first; 3],
            _ => vec![first],
        }
    }

    fn run(&self, inputs: &[Tensor<4>]) -> Tensor<4> {
        let input = inputs[0].clone();
        let vector = |index: usize| -> Tensor<1> {
            let tensor = inputs[index].clone();
            let count = tensor.shape().num_elements();
            tensor.reshape([count])
        };
        let pool = || PoolOptions {
            padding: self.arguments[2],
            ..PoolOptions::new(self.arguments[0], self.arguments[1])
        };
        let options = BatchNormOptions { epsilon: 1e-5, relu: true };
        match self.operation.as_str() {
            "batch_norm_relu" => {
                batch_norm_train(input, vector(1), vector(2), None, options).output
            }
            "batch_norm_residual_relu" => {
                let residual = Some(inputs[3].clone());
                batch_norm_train(input, vector(1), vector(2), residual, options).output
            }
            "max_pool" => max_pool2d(input, pool()),
            "average_pool" => average_pool2d(input, pool(), true),
            "global_average_pool" => global_average_pool(input).unsqueeze_dims(&[2, 3]),
            "layer_norm" => layer_norm(input, vector(1), vector(2), 1e-6),
            "gelu" => gelu(input),
            "linear" => {
                let [_, _, outputs, columns] = inputs[1].dims();
                let weight = inputs[1].clone().reshape([outputs, columns]);
                linear(input, weight, Some(vector(2)))
            }
            "attention" => attention(input, inputs[1].clone(), inputs[2].clone()),
            "l2_normalize" => {
                let [.., rows, columns] = input.dims();
                l2_normalize(input.reshape([rows, columns])).unsqueeze_dims(&[0, 1])
            }
            other => panic!("no operation {other}"),
        }
    }
}
