//! Everything but convolution: values and gradients of PyTorch (`tests/golden/kernels/operations.py`), the CPU kernels
//! against the reference bodies (the same call in f64), finite differences, threads, wrong sizes.

use crate::common::{
    assert_close, autodiff, numbers, on_each_device, options, plain, random, values, wide,
};
use burn::tensor::{Device, Tensor, TensorData};
use crossbatch_kernels::{
    ConvOptions, Normalisation, PoolOptions, adaptive_average_pool2d, attention, average_pool2d,
    batch_norm_inference, batch_norm_train, conv2d, conv2d_norm_inference, gelu,
    global_average_pool, global_max_pool, l2_normalize, layer_norm, layer_norm_channels, linear,
    max_pool2d,
};
use serde::Deserialize;

on_each_device!(as_in_pytorch);

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    operation: String,
    options: Options,
    inputs: Vec<Values>,
    upstream: Values,
    output: Values,
    gradients: Vec<Values>,
}

#[derive(Clone, Copy, Deserialize)]
struct Options {
    relu: Option<bool>,
    kernel: Option<usize>,
    stride: Option<usize>,
    padding: Option<usize>,
    ceil_mode: Option<bool>,
    include: Option<bool>,
    size: Option<[usize; 2]>,
    epsilon: Option<f64>,
}

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f64>,
}

/// Runs an operation by name on inputs that lie flat; gives its output flat, and its shape.
fn run(
    name: &str,
    o: Options,
    shapes: &[Vec<usize>],
    inputs: &[Tensor<1>],
) -> (Tensor<1>, Vec<usize>) {
    fn of<const D: usize>(shapes: &[Vec<usize>], inputs: &[Tensor<1>], index: usize) -> Tensor<D> {
        let mut shape = [1; D];
        // Missing sizes in front are 1.
        let given = &shapes[index];
        shape[D - given.len()..].copy_from_slice(given);
        inputs[index].clone().reshape(shape)
    }
    fn flat<const D: usize>(tensor: Tensor<D>) -> (Tensor<1>, Vec<usize>) {
        let shape = tensor.dims().to_vec();
        let count = shape.iter().product::<usize>();
        (tensor.reshape([count]), shape)
    }
    let four = |index: usize| of::<4>(shapes, inputs, index);
    let one = |index: usize| of::<1>(shapes, inputs, index);
    let windows = || PoolOptions {
        kernel: o.kernel.expect("a kernel"),
        stride: o.stride.expect("a stride"),
        padding: o.padding.expect("a padding"),
        ceil_mode: o.ceil_mode.expect("a mode"),
    };
    match name {
        "batch_norm_residual" => {
            let options = options(1e-5, o.relu.expect("with or without ReLU"));
            flat(batch_norm_train(four(0), one(1), one(2), Some(four(3)), options).output)
        }
        "max_pool2d" => flat(max_pool2d(four(0), windows())),
        "average_pool2d" => {
            flat(average_pool2d(four(0), windows(), o.include.expect("what counts")))
        }
        "adaptive_average_pool2d" => {
            flat(adaptive_average_pool2d(four(0), o.size.expect("a size")))
        }
        "global_average_pool" => flat(global_average_pool(four(0))),
        "global_max_pool" => flat(global_max_pool(four(0))),
        "layer_norm" => flat(layer_norm(
            of::<3>(shapes, inputs, 0),
            one(1),
            one(2),
            o.epsilon.expect("epsilon"),
        )),
        "gelu" => flat(gelu(of::<2>(shapes, inputs, 0))),
        "linear" => {
            let bias = (inputs.len() > 2).then(|| one(2));
            flat(linear(of::<3>(shapes, inputs, 0), of::<2>(shapes, inputs, 1), bias))
        }
        "attention" => flat(attention(four(0), four(1), four(2))),
        "l2_normalize" => flat(l2_normalize(of::<2>(shapes, inputs, 0))),
        other => panic!("no operation {other}"),
    }
}

/// Output and gradients of `sum(output · upstream)`.
fn differentiate(
    name: &str,
    o: Options,
    shapes: &[Vec<usize>],
    inputs: &[Tensor<1>],
    upstream: impl Fn(&Tensor<1>) -> Tensor<1>,
) -> Vec<Vec<f64>> {
    let inputs: Vec<Tensor<1>> =
        inputs.iter().map(|input| input.clone().detach().require_grad()).collect();
    let (output, _) = run(name, o, shapes, &inputs);
    let gradients = (output.clone() * upstream(&output)).sum().backward();
    let mut found = vec![values(&output)];
    found.extend(inputs.iter().map(|input| values(&input.grad(&gradients).expect("tracked"))));
    found
}

/// Within 3e-6 of the largest value; maxima exactly.
fn as_in_pytorch(device: &Device) {
    let text = include_str!("../../../tests/golden/kernels/operations.json");
    let fixture: Fixture = serde_json::from_str(text).expect("the fixture is valid");
    for (index, case) in fixture.cases.iter().enumerate() {
        let what = format!("case {index}, {}", case.operation);
        let device = device.clone().autodiff();
        let tensor = |values: &Values| -> Tensor<1> {
            let numbers: Vec<f32> = values.values.iter().map(|value| *value as f32).collect();
            let count = numbers.len();
            Tensor::from_data(TensorData::new(numbers, [count]), &device)
        };
        let inputs: Vec<Tensor<1>> = case.inputs.iter().map(tensor).collect();
        let shapes: Vec<Vec<usize>> = case.inputs.iter().map(|input| input.shape.clone()).collect();
        let (output, shape) = run(&case.operation, case.options, &shapes, &inputs);
        assert!(shape.ends_with(&case.output.shape), "{what}: {shape:?}");
        assert!(!output.is_require_grad(), "{what}");
        let found = differentiate(&case.operation, case.options, &shapes, &inputs, |_| {
            tensor(&case.upstream)
        });
        let exact = case.operation.contains("max") as usize as f64;
        let tolerance = 3e-6 * (1.0 - exact);
        assert_close(&found[0], &case.output.values, tolerance, &what);
        // Without autodiff, the same numbers to the bit.
        let plain: Vec<Tensor<1>> = inputs.into_iter().map(Tensor::inner).collect();
        let (plain, _) = run(&case.operation, case.options, &shapes, &plain);
        assert_eq!(values(&plain), found[0], "{what}");
        for (place, (found, expected)) in found[1..].iter().zip(&case.gradients).enumerate() {
            let what = format!("{what}, gradient {place}");
            assert_close(found, &expected.values, 3e-6, &what);
        }
    }
}

const NONE: Options = Options {
    relu: None,
    kernel: None,
    stride: None,
    padding: None,
    ceil_mode: None,
    include: None,
    size: None,
    epsilon: None,
};

/// Operations, options and input sizes, larger and odder than the goldens.
fn sweep() -> Vec<(&'static str, Options, Vec<Vec<usize>>)> {
    let mut cases = vec![];
    for relu in [false, true] {
        for shape in [vec![4, 7, 5, 3], vec![1, 2, 40, 130], vec![64, 3, 1, 1], vec![2, 65, 14, 14]]
        {
            let channels = shape[1];
            let shapes = vec![shape.clone(), vec![channels], vec![channels], shape];
            cases.push(("batch_norm_residual", Options { relu: Some(relu), ..NONE }, shapes));
        }
    }
    for (shape, kernel, stride, padding, ceil_mode) in [
        ([2, 3, 8, 8], 2, 2, 0, false),
        ([2, 3, 15, 13], 3, 2, 1, false),
        ([1, 2, 112, 9], 3, 2, 1, false),
        ([2, 2, 14, 14], 3, 1, 1, false),
        ([1, 2, 28, 29], 3, 2, 0, true),
        ([1, 2, 3, 1], 5, 4, 2, true),
        ([1, 1, 9, 9], 17, 3, 8, false),
        ([1, 3, 1, 1], 3, 1, 1, false),
    ] {
        for (name, include) in
            [("max_pool2d", true), ("average_pool2d", true), ("average_pool2d", false)]
        {
            let options = Options {
                kernel: Some(kernel),
                stride: Some(stride),
                padding: Some(padding),
                ceil_mode: Some(ceil_mode),
                include: Some(include),
                ..NONE
            };
            cases.push((name, options, vec![shape.to_vec()]));
        }
    }
    for (shape, size) in [([2, 3, 7, 7], [1, 1]), ([1, 5, 13, 9], [6, 4]), ([1, 1, 2, 2], [3, 5])] {
        let options = Options { size: Some(size), ..NONE };
        cases.push(("adaptive_average_pool2d", options, vec![shape.to_vec()]));
        cases.push(("global_average_pool", NONE, vec![shape.to_vec()]));
        cases.push(("global_max_pool", NONE, vec![shape.to_vec()]));
    }
    for (shape, columns) in [(vec![3, 65, 96], 96), (vec![1, 1, 3], 3), (vec![2, 70, 131], 131)] {
        let options = Options { epsilon: Some(1e-6), ..NONE };
        cases.push(("layer_norm", options, vec![shape, vec![columns], vec![columns]]));
    }
    cases.push(("gelu", NONE, vec![vec![37, 1001]]));
    for (shape, outputs) in [(vec![2, 67, 33], 70), (vec![1, 1, 1], 1), (vec![3, 131, 64], 192)] {
        let inputs = shape[2];
        cases.push(("linear", NONE, vec![shape.clone(), vec![outputs, inputs], vec![outputs]]));
        cases.push(("linear", NONE, vec![shape, vec![outputs, inputs]]));
    }
    for (q, k) in [([2, 3, 67, 16], [2, 3, 67, 16]), ([1, 2, 5, 7], [1, 2, 131, 7])] {
        cases.push(("attention", NONE, vec![q.to_vec(), k.to_vec(), k.to_vec()]));
    }
    cases.push(("l2_normalize", NONE, vec![vec![33, 127]]));
    cases.push(("l2_normalize", NONE, vec![vec![1, 1]]));
    cases
}

fn inputs(shapes: &[Vec<usize>], device: &Device) -> Vec<Tensor<1>> {
    let tensor = |(index, shape): (usize, &Vec<usize>)| {
        random([shape.iter().product()], index as u64 + 1, device)
    };
    shapes.iter().enumerate().map(tensor).collect()
}

/// Within 2e-5 of the largest value: f32 against f64.
#[test]
fn kernels_agree_with_their_references() {
    let device = autodiff();
    for (name, options, shapes) in sweep() {
        let inputs = inputs(&shapes, &device);
        let upstream = |output: &Tensor<1>| random(output.dims(), 99, &device);
        let fast = differentiate(name, options, &shapes, &inputs, upstream);
        let inputs: Vec<Tensor<1>> = inputs.iter().map(wide).collect();
        let reference =
            differentiate(name, options, &shapes, &inputs, |output| wide(&upstream(output)));
        for (place, (fast, reference)) in fast.iter().zip(&reference).enumerate() {
            let what = format!("{name} {shapes:?}, result {place}");
            assert_close(fast, reference, 2e-5, &what);
        }
    }
}

#[test]
fn threads_do_not_change_a_bit() {
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let device = autodiff();
            let all = sweep().into_iter().map(|(name, options, shapes)| {
                let upstream = |output: &Tensor<1>| random(output.dims(), 99, &device);
                differentiate(name, options, &shapes, &inputs(&shapes, &device), upstream)
            });
            all.collect::<Vec<_>>()
        })
    };
    let one = run(1);
    for threads in [2, 3] {
        for (case, (one, more)) in sweep().iter().zip(one.iter().zip(run(threads))) {
            assert!(*one == more, "{} {:?} with {threads} threads", case.0, case.2);
        }
    }
}

/// Every partial derivative by central differences of the reference body in f64.
#[test]
fn gradients_are_those_of_the_function() {
    let device = Device::flex();
    let small = [
        (
            "batch_norm_residual",
            Options { relu: Some(true), ..NONE },
            vec![vec![3, 2, 2, 2], vec![2], vec![2], vec![3, 2, 2, 2]],
        ),
        ("adaptive_average_pool2d", Options { size: Some([2, 3]), ..NONE }, vec![vec![1, 2, 5, 4]]),
        ("global_max_pool", NONE, vec![vec![2, 2, 3, 2]]),
        (
            "layer_norm",
            Options { epsilon: Some(1e-5), ..NONE },
            vec![vec![1, 3, 5], vec![5], vec![5]],
        ),
        ("gelu", NONE, vec![vec![3, 7]]),
        ("linear", NONE, vec![vec![1, 2, 3], vec![4, 3], vec![4]]),
        ("attention", NONE, vec![vec![1, 2, 3, 2], vec![1, 2, 4, 2], vec![1, 2, 4, 2]]),
        ("l2_normalize", NONE, vec![vec![3, 4]]),
    ];
    for (name, options, shapes) in small {
        let points: Vec<Vec<f32>> = shapes
            .iter()
            .enumerate()
            .map(|(index, shape)| numbers(shape.iter().product(), index as u64 + 1))
            .collect();
        let tensors = |points: &[Vec<f32>], device: &Device| -> Vec<Tensor<1>> {
            let one = |point: &Vec<f32>| {
                Tensor::from_data(TensorData::new(point.clone(), [point.len()]), device)
            };
            points.iter().map(one).collect()
        };
        let tracked = tensors(&points, &autodiff());
        let upstream = |output: &Tensor<1>| random(output.dims(), 77, &output.device());
        let gradients = differentiate(name, options, &shapes, &tracked, upstream);
        let value = |points: &[Vec<f32>]| -> f64 {
            let inputs: Vec<Tensor<1>> = tensors(points, &device).iter().map(wide).collect();
            let output = values(&run(name, options, &shapes, &inputs).0);
            let upstream = numbers(output.len(), 77);
            output.iter().zip(upstream).map(|(a, b)| a * f64::from(b)).sum()
        };
        let step = 1e-3f32;
        for (index, point) in points.iter().enumerate() {
            for place in 0..point.len() {
                let mut moved = points.clone();
                moved[index][place] = point[place] + step;
                let (above, up) = (value(&moved), moved[index][place]);
                moved[index][place] = point[place] - step;
                let (below, down) = (value(&moved), moved[index][place]);
                let slope = (above - below) / (f64::from(up) - f64::from(down));
                let found = gradients[index + 1][place];
                assert!(
                    (found - slope).abs() < 1e-3 * (1.0 + slope.abs()),
                    "{name}, input {index}[{place}]: {found} against {slope}"
                );
            }
        }
    }
}

/// A mean of ten thousand deviations costs no digits: the input itself is exact to 5e-4 of one.
#[test]
fn large_means_are_safe() {
    let device = plain();
    let numbers: Vec<f32> =
        numbers(8 * 3 * 400, 5).iter().map(|x| (x * 1024.0).round() / 512.0 + 1e4).collect();
    let input = Tensor::<4>::from_data(TensorData::new(numbers, [8, 3, 20, 20]), &device);
    let (ones, zeros) = (Tensor::<1>::ones([3], &device), Tensor::<1>::zeros([3], &device));
    let found =
        batch_norm_train(input.clone(), ones.clone(), zeros.clone(), None, options(1e-5, false));
    let (ones, zeros) = (wide(&ones), wide(&zeros));
    let exact = batch_norm_train(wide(&input), ones, zeros, None, options(1e-5, false));
    assert_close(&values(&found.output), &values(&exact.output), 1e-3, "output");
    assert_close(&values(&found.variance), &values(&exact.variance), 1e-6, "variance");
    let rows: Tensor<2> = input.reshape([24, 400]);
    let (ones, zeros) = (Tensor::<1>::ones([400], &device), Tensor::<1>::zeros([400], &device));
    let found = layer_norm(rows.clone(), ones.clone(), zeros.clone(), 1e-6);
    let exact = layer_norm(wide(&rows), wide(&ones), wide(&zeros), 1e-6);
    assert_close(&values(&found), &values(&exact), 1e-3, "rows");
}

#[test]
fn inference_adds_a_residual_on_every_kind_of_device() {
    let device = autodiff();
    let [input, residual] = [1, 2].map(|seed| random([3, 5, 4, 6], seed, &device));
    let [weight, bias, mean] = [3, 4, 5].map(|seed| random([5], seed, &device));
    let variance = random([5], 6, &device) + 1.5;
    let run = |input: Tensor<4>, residual: Tensor<4>, layer: [Tensor<1>; 4]| {
        let [weight, bias, mean, variance] = layer;
        let options = options(1e-3, true);
        values(&batch_norm_inference(input, weight, bias, mean, variance, Some(residual), options))
    };
    let layer = [weight, bias, mean, variance];
    let exact = run(wide(&input), wide(&residual), layer.clone().map(|tensor| wide(&tensor)));
    let found = run(input.clone(), residual.clone(), layer.clone());
    assert_close(&found, &exact, 2e-6, "autodiff device");
    assert_eq!(found, run(input.inner(), residual.inner(), layer.map(Tensor::inner)));
}

/// One after the other gives the same bits, in another type the same function, tracked the same gradients.
#[test]
fn convolution_and_normalisation_in_one() {
    let device = autodiff();
    for (groups, stride, with_residual) in [(1, 1, true), (1, 2, false), (4, 1, true)] {
        let input = random([2, 8, 9, 7], 1, &device);
        let weight = random([12, 8 / groups, 3, 3], 2, &device);
        let channel = |seed: u64| random::<2>([1, 12], seed, &device).reshape([12]);
        let norm = Normalisation {
            weight: channel(3),
            bias: channel(4),
            mean: channel(5),
            variance: channel(6) + 1.5,
            options: options(1e-5, true),
        };
        let options =
            ConvOptions { stride: [stride; 2], padding: [1, 1], groups, ..ConvOptions::default() };
        let size = [2, 12, 8 / stride + 1, 6 / stride + 1];
        let residual = with_residual.then(|| random(size, 7, &device));
        let apart = |input: Tensor<4>, weight: Tensor<4>, norm: Normalisation, residual| {
            let Normalisation { weight: scale, bias, mean, variance, options: norm } = norm;
            let features = conv2d(input, weight, None, options);
            batch_norm_inference(features, scale, bias, mean, variance, residual, norm)
        };
        let changed = |norm: &Normalisation, change: fn(Tensor<1>) -> Tensor<1>| Normalisation {
            weight: change(norm.weight.clone()),
            bias: change(norm.bias.clone()),
            mean: change(norm.mean.clone()),
            variance: change(norm.variance.clone()),
            options: norm.options,
        };
        let inner = (input.clone().inner(), weight.clone().inner());
        let inner_residual = residual.clone().map(Tensor::inner);
        let inner_norm = changed(&norm, Tensor::inner);
        let found = conv2d_norm_inference(
            inner.0.clone(),
            inner.1.clone(),
            options,
            inner_norm.clone(),
            inner_residual.clone(),
        );
        let expected = apart(inner.0, inner.1, inner_norm, inner_residual);
        assert_eq!(found.dims(), size);
        assert_eq!(values(&found), values(&expected));

        let wide_norm = changed(&norm, |tensor| wide(&tensor));
        let wide_residual = residual.as_ref().map(wide);
        let exact =
            conv2d_norm_inference(wide(&input), wide(&weight), options, wide_norm, wide_residual);
        assert_close(&values(&found), &values(&exact), 1e-5, "in f64");

        let gradients = |run: &dyn Fn(Tensor<4>, Tensor<4>) -> Tensor<4>| {
            let (input, weight) = (input.clone().require_grad(), weight.clone().require_grad());
            let loss = run(input.clone(), weight.clone()).powi_scalar(2).sum();
            let all = loss.backward();
            [input, weight].map(|tensor| values(&tensor.grad(&all).unwrap()))
        };
        let found = gradients(&|input, weight| {
            conv2d_norm_inference(input, weight, options, norm.clone(), residual.clone())
        });
        let expected =
            gradients(&|input, weight| apart(input, weight, norm.clone(), residual.clone()));
        assert_eq!(found, expected);
    }
}

#[test]
#[should_panic(expected = "mean has 3 elements for 2 channels")]
fn a_normalisation_of_other_channels_is_named() {
    let device = plain();
    let ones = |length| Tensor::ones([length], &device);
    let norm = Normalisation {
        weight: ones(2),
        bias: ones(2),
        mean: ones(3),
        variance: ones(2),
        options: options(1e-5, false),
    };
    let (input, weight) = (random([1, 1, 3, 3], 1, &device), random([2, 1, 1, 1], 2, &device));
    let _ = conv2d_norm_inference(input, weight, ConvOptions::default(), norm, None);
}

#[test]
fn channels_are_normalised_in_place() {
    let device = plain();
    let input = random([2, 6, 3, 5], 1, &device);
    let [weight, bias] = [2, 3].map(|seed| random([6], seed, &device));
    let found = layer_norm_channels(input.clone(), weight.clone(), bias.clone(), 1e-6);
    assert_eq!(found.dims(), [2, 6, 3, 5]);
    let rows = layer_norm(input.permute([0, 2, 3, 1]), weight, bias, 1e-6);
    assert_eq!(values(&found), values(&rows.permute([0, 3, 1, 2])));
}

#[test]
#[should_panic(expected = "residual of [1, 2, 3, 4] for an input of [1, 2, 3, 3]")]
fn a_residual_of_another_shape_is_named() {
    let device = plain();
    let (ones, zeros) = (Tensor::<1>::ones([2], &device), Tensor::<1>::zeros([2], &device));
    let residual = Some(random([1, 2, 3, 4], 2, &device));
    let _ = batch_norm_train(
        random([1, 2, 3, 3], 1, &device),
        ones,
        zeros,
        residual,
        options(1e-5, true),
    );
}

#[test]
#[should_panic(expected = "has no elements to take a mean of")]
fn an_empty_batch_has_no_statistics() {
    let device = plain();
    let (ones, zeros) = (Tensor::<1>::ones([2], &device), Tensor::<1>::zeros([2], &device));
    let empty = Tensor::<4>::zeros([0, 2, 3, 3], &device);
    let _ = batch_norm_train(empty, ones, zeros, None, options(1e-5, true));
}

#[test]
#[should_panic(expected = "padding 2 is more than half of kernel 3")]
fn too_much_padding_is_named() {
    let options = PoolOptions { kernel: 3, stride: 1, padding: 2, ceil_mode: false };
    let _ = max_pool2d(random([1, 1, 4, 4], 1, &plain()), options);
}

#[test]
#[should_panic(expected = "weight has 2 elements for rows of 3")]
fn layer_norm_names_both_sizes() {
    let device = plain();
    let ones = Tensor::<1>::ones([2], &device);
    let _ = layer_norm(random([4, 3], 1, &device), ones.clone(), ones, 1e-5);
}

#[test]
#[should_panic(expected = "input has 3 columns, weight 2")]
fn linear_names_both_sizes() {
    let device = plain();
    let _ = linear(random([4, 3], 1, &device), random([5, 2], 2, &device), None);
}

#[test]
#[should_panic(expected = "values [1, 1, 2, 4], keys [1, 1, 2, 3]")]
fn attention_names_both_sizes() {
    let device = plain();
    let tensor = |dim: usize| random([1, 1, 2, dim], 1, &device);
    let _ = attention(tensor(3), tensor(3), tensor(4));
}
