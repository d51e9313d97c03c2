//! The CPU kernels (f32) against the reference bodies (the same call in f64).

use crate::common::{assert_close, autodiff, options, random, values, wide};
use burn::tensor::Tensor;
use crossbatch_kernels::{
    ConvOptions, PoolOptions, batch_norm_inference, batch_norm_train, conv2d, max_pool2d,
};

/// Output and gradients of `sum(output * upstream)` for each of two inputs' types.
fn both<const N: usize>(
    inputs: [Tensor<4>; N],
    run: impl Fn([Tensor<4>; N]) -> Tensor<4>,
) -> [Vec<Vec<f64>>; 2] {
    let pass = |inputs: [Tensor<4>; N]| {
        let inputs = inputs.map(Tensor::require_grad);
        let output = run(inputs.clone());
        let upstream = random(output.dims(), 99, &output.device());
        let upstream =
            if output.dtype() == inputs[0].dtype() && wide(&upstream).dtype() == output.dtype() {
                wide(&upstream)
            } else {
                upstream
            };
        let gradients = (output.clone() * upstream).sum().backward();
        let mut found = vec![values(&output)];
        for input in &inputs {
            found.push(values(&input.grad(&gradients).expect("inputs are tracked")));
        }
        found
    };
    let wide = inputs.clone().map(|input| wide(&input));
    [pass(inputs), pass(wide)]
}

#[track_caller]
fn assert_same(found: [Vec<Vec<f64>>; 2], tolerance: f64, what: &str) {
    let [fast, reference] = found;
    for (index, (fast, reference)) in fast.iter().zip(&reference).enumerate() {
        assert_close(fast, reference, tolerance, &format!("{what}, result {index}"));
    }
}

#[test]
fn conv2d_agrees() {
    let device = autodiff();
    for (input, weight, stride, padding) in [
        ([2, 3, 9, 11], [20, 3, 3, 3], [1, 1], [1, 1]),
        ([1, 1, 28, 28], [64, 1, 3, 3], [1, 1], [1, 1]),
        ([5, 17, 1, 1], [9, 17, 3, 3], [1, 1], [1, 1]),
        ([3, 16, 7, 7], [33, 16, 1, 1], [1, 1], [0, 0]),
        ([2, 8, 14, 14], [16, 8, 3, 3], [2, 2], [1, 1]),
        ([2, 8, 13, 15], [16, 8, 1, 1], [2, 2], [0, 0]),
        ([2, 3, 23, 21], [8, 3, 7, 7], [2, 2], [3, 3]),
        ([1, 2, 5, 40], [3, 2, 2, 5], [3, 1], [0, 4]),
    ] {
        let options = ConvOptions { stride, padding, ..ConvOptions::default() };
        let inputs = [random(input, 1, &device), random(weight, 2, &device)];
        let found = both(inputs, |[input, weight]| conv2d(input, weight, None, options));
        assert_same(found, 2e-6, &format!("{input:?} {weight:?} {options:?}"));
    }
}

#[test]
fn conv2d_agrees_with_groups_and_dilation() {
    let device = autodiff();
    for (input, weight, stride, padding, dilation, groups) in [
        ([2, 6, 9, 11], [6, 1, 3, 3], [1, 1], [1, 1], [1, 1], 6),
        ([2, 20, 14, 13], [20, 1, 3, 3], [2, 2], [1, 1], [1, 1], 20),
        ([1, 5, 7, 7], [10, 1, 7, 7], [1, 1], [3, 3], [1, 1], 5),
        ([2, 8, 9, 8], [12, 2, 3, 3], [2, 1], [1, 0], [1, 1], 4),
        ([2, 8, 7, 8], [12, 4, 1, 1], [2, 2], [0, 0], [1, 1], 2),
        ([2, 3, 12, 11], [4, 3, 3, 3], [1, 1], [2, 3], [2, 3], 1),
        ([1, 4, 12, 11], [4, 1, 3, 2], [2, 1], [2, 0], [2, 4], 4),
    ] {
        let options = ConvOptions { stride, padding, dilation, groups };
        let inputs = [random(input, 1, &device), random(weight, 2, &device)];
        let found = both(inputs, |[input, weight]| conv2d(input, weight, None, options));
        assert_same(found, 2e-6, &format!("{input:?} {weight:?} {options:?}"));
    }
}

#[test]
fn batch_norm_agrees() {
    let device = autodiff();
    for shape in [[4, 7, 5, 3], [64, 3, 1, 1], [2, 65, 14, 14], [1, 2, 40, 130]] {
        for relu in [false, true] {
            let channels = shape[1];
            let inputs = [
                random(shape, 1, &device) * 3.0 + 0.7,
                random([1, channels, 1, 1], 2, &device),
                random([1, channels, 1, 1], 3, &device),
            ]
            .map(Tensor::detach);
            let name = format!("{shape:?} relu {relu}");
            let train = |[input, weight, bias]: [Tensor<4>; 3]| {
                let (weight, bias) = (weight.reshape([channels]), bias.reshape([channels]));
                batch_norm_train(input, weight, bias, None, options(1e-5, relu)).output
            };
            assert_same(both(inputs.clone(), train), 2e-5, &name);

            let inference = |[input, weight, bias]: [Tensor<4>; 3]| {
                let (weight, bias) = (weight.reshape([channels]), bias.reshape([channels]));
                let (mean, variance) = (bias.clone() * 0.5, weight.clone().abs() + 0.1);
                batch_norm_inference(input, weight, bias, mean, variance, None, options(1e-5, relu))
            };
            assert_same(both(inputs, inference), 2e-5, &name);
        }
    }
}

#[test]
fn inference_without_gradients_agrees() {
    let device = autodiff();
    let input = random([3, 5, 4, 6], 1, &device);
    let [weight, bias, mean] = [2, 3, 4].map(|seed| random([5], seed, &device));
    let variance = random([5], 5, &device) + 1.5;
    for relu in [false, true] {
        let run = |device_tensors: [Tensor<1>; 4], input: Tensor<4>| {
            let [weight, bias, mean, variance] = device_tensors;
            values(&batch_norm_inference(
                input,
                weight,
                bias,
                mean,
                variance,
                None,
                options(1e-3, relu),
            ))
        };
        let parameters = [&weight, &bias, &mean, &variance].map(Clone::clone);
        let expected = run(parameters.clone().map(|tensor| wide(&tensor)), wide(&input));
        let on_autodiff = run(parameters.clone(), input.clone());
        let on_plain = run(parameters.map(Tensor::inner), input.clone().inner());
        assert_close(&on_autodiff, &expected, 2e-6, "autodiff device");
        assert_eq!(on_autodiff, on_plain);
    }
}

#[test]
fn max_pool2d_agrees() {
    let device = autodiff();
    for (shape, kernel, stride) in [
        ([2, 3, 8, 8], 2, 2),
        ([1, 2, 9, 13], 2, 2),
        ([2, 2, 11, 7], 3, 2),
        ([1, 1, 5, 5], 5, 1),
        ([1, 1, 20, 18], 17, 1),
        ([3, 1, 4, 4], 1, 2),
    ] {
        let found = both([random(shape, 1, &device)], |[input]| {
            max_pool2d(input, PoolOptions::new(kernel, stride))
        });
        assert_same(found, 1e-6, &format!("{shape:?} kernel {kernel} stride {stride}"));
    }
}
