//! Tensors to test with.

use burn::tensor::{DType, Device, Tensor, TensorData};

pub(crate) fn plain() -> Device {
    Device::flex()
}

pub(crate) fn autodiff() -> Device {
    Device::flex().autodiff()
}

/// The GPU that this machine has, software ones included; said aloud if there is none.
///
/// # Panics
///
/// If `CROSSBATCH_REQUIRE` asks for a GPU and there is none.
#[cfg(feature = "gpu")]
#[expect(clippy::print_stderr, reason = "a skip is told aloud")]
pub(crate) fn gpu() -> Option<Device> {
    let device = crossbatch_kernels::gpu();
    if device.is_none() {
        let required = std::env::var("CROSSBATCH_REQUIRE").unwrap_or_default();
        assert!(!required.contains("gpu"), "a GPU is required, none was found");
        eprintln!("SKIPPED on a GPU: none was found");
    }
    device
}

/// Makes two tests of a function of a device: one on the CPU, and, where GPUs are built in, one there.
macro_rules! on_each_device {
    ($($name:ident),+ $(,)?) => {$(
        mod $name {
            #[test]
            fn on_the_cpu() {
                super::$name(&crate::common::plain());
            }

            #[cfg(feature = "gpu")]
            #[test]
            fn on_a_gpu() {
                if let Some(device) = crate::common::gpu() {
                    super::$name(&device);
                }
            }
        }
    )+};
}
pub(crate) use on_each_device;

/// Numbers in -1..1 that look random and are the same every time.
pub(crate) fn numbers(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) + 1;
    (0..count)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

pub(crate) fn random<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let count = shape.iter().product();
    Tensor::from_data(TensorData::new(numbers(count, seed), shape), device)
}

/// The same values as f64: ordinary Burn operations do the work then.
pub(crate) fn wide<const D: usize>(tensor: &Tensor<D>) -> Tensor<D> {
    let data = tensor.to_data().convert::<f64>();
    let tensor = Tensor::from_data(data, (&tensor.device(), DType::F64));
    assert_eq!(tensor.dtype(), DType::F64);
    tensor
}

pub(crate) fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f64> {
    tensor.to_data().convert::<f64>().try_to_vec::<f64>().expect("converted to f64")
}

/// Fails with the first element that is further away than `tolerance` of the largest value.
#[track_caller]
pub(crate) fn assert_close(found: &[f64], expected: &[f64], tolerance: f64, what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |most, value| most.max(value.abs()));
    for (index, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= tolerance * scale,
            "{what}[{index}]: {found} against {expected}"
        );
    }
}

pub(crate) fn options(epsilon: f64, relu: bool) -> crossbatch_kernels::BatchNormOptions {
    crossbatch_kernels::BatchNormOptions { epsilon, relu }
}
