//! Views, untracked inputs, thread counts, wrong sizes.

use crate::common::{autodiff, options, plain, random, values};
use burn::tensor::{Device, Tensor};
use crossbatch_kernels::{ConvOptions, PoolOptions, batch_norm_train, conv2d, max_pool2d};

const SAME: ConvOptions =
    ConvOptions { stride: [1, 1], padding: [1, 1], dilation: [1, 1], groups: 1 };

/// All three operations in a row, with the gradients of all inputs.
fn network(input: Tensor<4>, weight: Tensor<4>, device: &Device) -> Vec<Vec<f64>> {
    let channels = weight.dims()[0];
    let input = input.require_grad();
    let weight = weight.require_grad();
    let scale = random([channels], 5, device).require_grad();
    let shift = random([channels], 6, device).require_grad();
    let output = conv2d(input.clone(), weight.clone(), None, SAME);
    let normal = batch_norm_train(output, scale.clone(), shift.clone(), None, options(1e-5, true));
    let output = max_pool2d(normal.output, PoolOptions::new(2, 2));
    let gradients = (output.clone() * output.clone()).sum().backward();
    vec![
        values(&output),
        values(&normal.mean),
        values(&normal.variance),
        values(&input.grad(&gradients).unwrap()),
        values(&weight.grad(&gradients).unwrap()),
        values(&scale.grad(&gradients).unwrap()),
        values(&shift.grad(&gradients).unwrap()),
    ]
}

#[test]
fn threads_do_not_change_a_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let device = autodiff();
            let input = random([9, 5, 13, 11], 1, &device);
            network(input, random([24, 5, 3, 3], 2, &device), &device)
        })
    };
    let one = run(1);
    assert_eq!(one, run(2));
    assert_eq!(one, run(3));
}

#[test]
fn views_are_read_in_their_own_order() {
    let device = autodiff();
    let stored = random([3, 8, 10, 4], 1, &device);
    let kernels = random([3, 3, 4, 6], 2, &device);
    // Channels-last images, and weights stored as [kH, kW, C, O].
    let view = stored.clone().permute([0, 3, 1, 2]);
    let weight = kernels.clone().permute([3, 2, 0, 1]);
    let copy = |tensor: &Tensor<4>| Tensor::<4>::from_data(tensor.to_data(), &device);
    let expected = network(copy(&view), copy(&weight), &device);
    assert_eq!(network(view.detach(), weight.detach(), &device), expected);

    // A slice that begins inside its buffer.
    let part = stored.slice([1..3, 2..6, 0..10, 0..4]);
    let expected = values(&max_pool2d(copy(&part), PoolOptions::new(2, 1)));
    assert_eq!(values(&max_pool2d(part, PoolOptions::new(2, 1))), expected);
}

#[test]
fn what_is_not_tracked_gets_no_gradient() {
    let device = autodiff();
    let input = random([2, 3, 5, 5], 1, &device);
    let weight = random([4, 3, 3, 3], 2, &device);
    let both = network(input.clone(), weight.clone(), &device);

    let tracked = weight.clone().require_grad();
    let output = conv2d(input.clone(), tracked.clone(), None, SAME);
    let gradients = output.clone().sum().backward();
    assert!(input.grad(&gradients).is_none());
    assert_eq!(tracked.grad(&gradients).unwrap().dims(), [4, 3, 3, 3]);

    let moving = input.clone().require_grad();
    let gradients = conv2d(moving.clone(), weight.clone(), None, SAME).sum().backward();
    assert!(weight.grad(&gradients).is_none());
    assert_eq!(moving.grad(&gradients).unwrap().dims(), [2, 3, 5, 5]);

    // Nothing tracked at all: the operations still run on an autodiff device.
    let output = conv2d(input, weight, None, SAME);
    let ones = Tensor::<1>::ones([4], &device);
    let normal = batch_norm_train(output, ones.clone(), ones, None, options(1e-5, true)).output;
    assert!(!max_pool2d(normal, PoolOptions::new(2, 2)).is_require_grad());
    assert_eq!(both.len(), 7);
}

#[test]
fn a_tensor_used_twice_adds_its_gradients() {
    let device = autodiff();
    let input = random([1, 2, 4, 4], 1, &device).require_grad();
    let weight = random([2, 2, 3, 3], 2, &device);
    let ones = Tensor::<1>::ones([2], &device);
    let zeros = Tensor::<1>::zeros([2], &device);
    let once = |input: &Tensor<4>| {
        let output = conv2d(input.clone(), weight.clone(), None, SAME);
        batch_norm_train(output, ones.clone(), zeros.clone(), None, options(1e-5, false)).output
    };
    let upstream = random([1, 2, 4, 4], 3, &device);
    let single = (once(&input) * upstream.clone()).sum().backward();
    let double = ((once(&input) + once(&input)) * upstream).sum().backward();
    let single = values(&input.grad(&single).unwrap());
    let double = values(&input.grad(&double).unwrap());
    for (single, double) in single.iter().zip(double) {
        assert!((2.0 * single - double).abs() < 1e-5);
    }
}

/// The gradient of the output may be shared; then it must not be changed in place.
#[test]
fn a_shared_gradient_is_left_alone() {
    let device = autodiff();
    let input = random([2, 2, 3, 3], 1, &device).require_grad();
    let other = random([2, 2, 3, 3], 2, &device).require_grad();
    let ones = Tensor::<1>::ones([2], &device);
    let zeros = Tensor::<1>::zeros([2], &device);
    let normal = batch_norm_train(input.clone(), ones, zeros, None, options(1e-5, false)).output;
    let upstream = random([2, 2, 3, 3], 3, &device);
    let gradients = ((normal + other.clone()) * upstream.clone()).sum().backward();
    assert_eq!(values(&other.grad(&gradients).unwrap()), values(&upstream));
    assert!(input.grad(&gradients).is_some());
}

#[test]
#[should_panic(expected = "input has 3 channels, weight 2")]
fn conv2d_names_both_channels() {
    let device = plain();
    let _ = conv2d(random([1, 3, 4, 4], 1, &device), random([1, 2, 3, 3], 2, &device), None, SAME);
}

#[test]
#[should_panic(expected = "kernel of 7 must be in 1..=6, the padded input")]
fn conv2d_names_the_padded_input() {
    let device = plain();
    let _ = conv2d(random([1, 1, 4, 4], 1, &device), random([1, 1, 7, 3], 2, &device), None, SAME);
}

#[test]
#[should_panic(expected = "bias has 3 elements for 2 filters")]
fn conv2d_names_bias_and_filters() {
    let device = plain();
    let bias = Some(random([3], 3, &device));
    let _ = conv2d(random([1, 1, 4, 4], 1, &device), random([2, 1, 3, 3], 2, &device), bias, SAME);
}

#[test]
#[should_panic(expected = "convolution of an empty batch: input is [0, 1, 4, 4]")]
fn conv2d_refuses_an_empty_batch() {
    let device = plain();
    let input = Tensor::<4>::zeros([0, 1, 4, 4], &device);
    let _ = conv2d(input, random([1, 1, 3, 3], 2, &device), None, SAME);
}

#[test]
#[should_panic(expected = "3 groups must divide 4 channels and 3 filters")]
fn conv2d_names_groups() {
    let device = plain();
    let options = ConvOptions { groups: 3, ..SAME };
    let _ =
        conv2d(random([1, 4, 4, 4], 1, &device), random([3, 1, 3, 3], 2, &device), None, options);
}

#[test]
#[should_panic(expected = "weight has 3 elements for 2 channels")]
fn batch_norm_names_both_sizes() {
    let device = plain();
    let [weight, bias] = [3, 2].map(|channels| Tensor::<1>::ones([channels], &device));
    let _ =
        batch_norm_train(random([1, 2, 3, 3], 1, &device), weight, bias, None, options(1e-5, true));
}

#[test]
#[should_panic(expected = "kernel of 4 must be in 1..=3, the input 5 x 3")]
fn max_pool2d_names_both_sizes() {
    let _ = max_pool2d(random([1, 1, 5, 3], 1, &plain()), PoolOptions::new(4, 1));
}
