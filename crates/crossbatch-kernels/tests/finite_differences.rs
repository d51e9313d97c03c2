//! Gradients against differences of the function itself.

use crate::common::{autodiff, numbers, options, values};
use burn::tensor::{Device, Tensor, TensorData};
use crossbatch_kernels::{ConvOptions, PoolOptions, batch_norm_train, conv2d, max_pool2d};

/// Compares every partial derivative of `sum(run(inputs) * upstream)`.
fn check(shapes: &[Vec<usize>], step: f32, run: impl Fn(&[Tensor<4>]) -> Tensor<4>) {
    let device = autodiff();
    let points: Vec<Vec<f32>> = shapes
        .iter()
        .enumerate()
        .map(|(index, shape)| {
            // Values apart from each other by more than two steps, so that no maximum changes, and
            // shifted, so that no sum is exactly at the ReLU's corner.
            let count: usize = shape.iter().product();
            let mut order: Vec<usize> = (0..count).collect();
            let keys = numbers(count, index as u64 + 1);
            order.sort_by(|a, b| keys[*a].total_cmp(&keys[*b]));
            let mut values = vec![0.0; count];
            for (rank, place) in order.into_iter().enumerate() {
                values[place] =
                    (rank as f32 + 0.5) / count as f32 * 2.0 - 1.0 + 0.13 * index as f32;
            }
            values
        })
        .collect();
    let tensors = |points: &[Vec<f32>], device: &Device| -> Vec<Tensor<4>> {
        points
            .iter()
            .zip(shapes)
            .map(|(point, shape)| {
                Tensor::from_data(TensorData::new(point.clone(), shape.clone()), device)
            })
            .collect()
    };
    let upstream = |count: usize| numbers(count, 77);
    let value = |points: &[Vec<f32>]| -> f64 {
        let output = values(&run(&tensors(points, &Device::flex())));
        let upstream = upstream(output.len());
        output.iter().zip(upstream).map(|(a, b)| a * f64::from(b)).sum()
    };

    let inputs: Vec<Tensor<4>> =
        tensors(&points, &device).into_iter().map(Tensor::require_grad).collect();
    let output = run(&inputs);
    let count = output.shape().num_elements();
    let weights = Tensor::from_data(TensorData::new(upstream(count), output.dims()), &device);
    let gradients = (output * weights).sum().backward();
    for (index, input) in inputs.iter().enumerate() {
        let gradient = values(&input.grad(&gradients).expect("inputs are tracked"));
        for place in 0..points[index].len() {
            let mut moved = points.clone();
            moved[index][place] += step;
            let above = value(&moved);
            moved[index][place] = points[index][place] - step;
            let slope = (above - value(&moved)) / (2.0 * f64::from(step));
            assert!(
                (gradient[place] - slope).abs() < 2e-2 * (1.0 + slope.abs()),
                "input {index}[{place}]: {} against {slope}",
                gradient[place]
            );
        }
    }
}

#[test]
fn conv2d_gradients() {
    for (stride, padding) in [([1, 1], [1, 1]), ([2, 1], [0, 2]), ([3, 3], [2, 2])] {
        check(&[vec![2, 2, 4, 3], vec![3, 2, 3, 2]], 1e-2, |inputs| {
            let options = ConvOptions { stride, padding, ..ConvOptions::default() };
            conv2d(inputs[0].clone(), inputs[1].clone(), None, options)
        });
    }
}

#[test]
fn conv2d_gradients_with_groups_and_dilation() {
    for (stride, padding, dilation) in [([1, 1], [1, 1], [1, 1]), ([2, 2], [1, 2], [2, 1])] {
        for (groups, weight) in [(2, vec![6, 2, 3, 2]), (4, vec![4, 1, 3, 3])] {
            check(&[vec![2, 4, 5, 4], weight], 1e-2, |inputs| {
                let options = ConvOptions { stride, padding, dilation, groups };
                conv2d(inputs[0].clone(), inputs[1].clone(), None, options)
            });
        }
    }
}

#[test]
fn batch_norm_gradients() {
    for relu in [false, true] {
        check(&[vec![3, 2, 2, 2], vec![1, 2, 1, 1], vec![1, 2, 1, 1]], 1e-3, |inputs| {
            let [weight, bias] = [1, 2].map(|index: usize| inputs[index].clone().reshape([2]));
            batch_norm_train(inputs[0].clone(), weight, bias, None, options(1e-5, relu)).output
        });
    }
}

#[test]
fn max_pool2d_gradients() {
    for (kernel, stride) in [(2, 2), (3, 1), (2, 3)] {
        check(&[vec![1, 2, 5, 4]], 1e-3, |inputs| {
            max_pool2d(inputs[0].clone(), PoolOptions::new(kernel, stride))
        });
    }
}
