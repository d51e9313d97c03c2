//! Values and gradients of PyTorch (`tests/golden/kernels/make.py`).

use crate::common::{assert_close, on_each_device, options, values};
use burn::tensor::{Device, Tensor, TensorData};
use crossbatch_kernels::{
    ConvOptions, PoolOptions, batch_norm_inference, batch_norm_train, conv2d, max_pool2d,
};
use serde::Deserialize;
use std::collections::BTreeMap;

on_each_device!(conv2d_as_in_pytorch, batch_norm_as_in_pytorch, max_pool2d_as_in_pytorch);

const TOLERANCE: f64 = 3e-6;

#[derive(Deserialize)]
struct Fixture {
    cases: Cases,
}

#[derive(Deserialize)]
struct Cases {
    conv2d: Vec<Case>,
    batch_norm: Vec<Case>,
    max_pool2d: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    name: String,
    inputs: BTreeMap<String, Values>,
    upstream: Values,
    output: Values,
    gradients: BTreeMap<String, Values>,
    /// Two numbers for convolutions, one for pooling.
    stride: Option<serde_json::Value>,
    padding: Option<[usize; 2]>,
    kernel: Option<usize>,
    relu: Option<bool>,
    mean: Option<Values>,
    variance: Option<Values>,
}

#[derive(Deserialize)]
struct Values {
    shape: Vec<usize>,
    values: Vec<f64>,
}

impl Values {
    fn tensor<const D: usize>(&self, device: &Device) -> Tensor<D> {
        let values: Vec<f32> = self.values.iter().map(|value| *value as f32).collect();
        Tensor::from_data(TensorData::new(values, self.shape.clone()), device)
    }
}

fn cases() -> Cases {
    let text = include_str!("../../../tests/golden/kernels/kernels.json");
    let fixture: Fixture = serde_json::from_str(text).expect("the fixture is valid");
    fixture.cases
}

impl Case {
    fn stride<T: serde::de::DeserializeOwned>(&self) -> T {
        let stride = self.stride.clone().expect("the case has a stride");
        serde_json::from_value(stride).expect("the stride is valid")
    }

    /// Compares an output and the gradients behind it.
    fn check(&self, output: &Tensor<4>, inputs: &[(&str, Vec<f64>)]) {
        assert_eq!(output.dims().to_vec(), self.output.shape, "{}", self.name);
        assert_close(&values(output), &self.output.values, TOLERANCE, &self.name);
        assert_eq!(inputs.len(), self.gradients.len());
        for (name, gradient) in inputs {
            let what = format!("{}, gradient of {name}", self.name);
            assert_close(gradient, &self.gradients[*name].values, TOLERANCE, &what);
        }
    }
}

fn conv2d_as_in_pytorch(device: &Device) {
    for case in cases().conv2d {
        let options = ConvOptions {
            stride: case.stride(),
            padding: case.padding.expect("the case has a padding"),
            ..ConvOptions::default()
        };
        let run = |device: &Device, track: bool| {
            let follow = |tensor: Tensor<4>| if track { tensor.require_grad() } else { tensor };
            let input = follow(case.inputs["input"].tensor(device));
            let weight = follow(case.inputs["weight"].tensor(device));
            let bias = case.inputs.get("bias").map(|bias| {
                let bias: Tensor<1> = bias.tensor(device);
                if track { bias.require_grad() } else { bias }
            });
            let output = conv2d(input.clone(), weight.clone(), bias.clone(), options);
            (input, weight, bias, output)
        };
        let (.., output) = run(device, false);
        assert_close(&values(&output), &case.output.values, TOLERANCE, &case.name);

        let device = device.clone().autodiff();
        let (input, weight, bias, output) = run(&device, true);
        let upstream = case.upstream.tensor::<4>(&device);
        let gradients = (output.clone() * upstream).sum().backward();
        let mut found = vec![
            ("input", values(&input.grad(&gradients).unwrap())),
            ("weight", values(&weight.grad(&gradients).unwrap())),
        ];
        if let Some(bias) = bias {
            found.push(("bias", values(&bias.grad(&gradients).unwrap())));
        }
        case.check(&output, &found);
    }
}

fn batch_norm_as_in_pytorch(device: &Device) {
    for case in cases().batch_norm {
        let relu = case.relu.expect("the case says whether a ReLU follows");
        let device = device.clone().autodiff();
        let input = case.inputs["input"].tensor::<4>(&device).require_grad();
        let weight = case.inputs["weight"].tensor::<1>(&device).require_grad();
        let bias = case.inputs["bias"].tensor::<1>(&device).require_grad();
        let result = batch_norm_train(
            input.clone(),
            weight.clone(),
            bias.clone(),
            None,
            options(1e-5, relu),
        );
        for (found, expected) in [(&result.mean, &case.mean), (&result.variance, &case.variance)] {
            let expected = &expected.as_ref().expect("the case has statistics").values;
            assert_close(&values(found), expected, TOLERANCE, &case.name);
            assert!(!found.is_require_grad());
        }
        let upstream = case.upstream.tensor::<4>(&device);
        let gradients = (result.output.clone() * upstream).sum().backward();
        let found = [
            ("input", values(&input.grad(&gradients).unwrap())),
            ("weight", values(&weight.grad(&gradients).unwrap())),
            ("bias", values(&bias.grad(&gradients).unwrap())),
        ];
        case.check(&result.output, &found);

        // By its own statistics, inference is the same function.
        let given = batch_norm_inference(
            input.inner(),
            weight.inner(),
            bias.inner(),
            result.mean.inner(),
            result.variance.inner(),
            None,
            options(1e-5, relu),
        );
        assert_close(&values(&given), &case.output.values, TOLERANCE, &case.name);
    }
}

fn max_pool2d_as_in_pytorch(device: &Device) {
    for case in cases().max_pool2d {
        let kernel = case.kernel.expect("the case has a kernel");
        let stride = case.stride();
        let input = case.inputs["input"].tensor::<4>(device);
        let output = max_pool2d(input, PoolOptions::new(kernel, stride));
        assert_close(&values(&output), &case.output.values, 0.0, &case.name);

        let device = device.clone().autodiff();
        let input = case.inputs["input"].tensor::<4>(&device).require_grad();
        let output = max_pool2d(input.clone(), PoolOptions::new(kernel, stride));
        let upstream = case.upstream.tensor::<4>(&device);
        let gradients = (output.clone() * upstream).sum().backward();
        let found = [("input", values(&input.grad(&gradients).unwrap()))];
        case.check(&output, &found);
    }
}
