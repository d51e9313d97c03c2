//! Rows and comparisons that several tests share.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use crossbatch::{Anchors, References};

/// Numbers from -0.5 to 0.5 that look random and are always the same.
pub(crate) fn numbers(count: usize, salt: u64) -> Vec<f32> {
    let mut state = salt.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 24) as f32 - 0.5
    };
    (0..8).for_each(|_| _ = next());
    (0..count).map(|_| next()).collect()
}

/// Scales each row of `dim` numbers to unit length.
pub(crate) fn unit(mut values: Vec<f32>, dim: usize) -> Vec<f32> {
    for row in values.chunks_mut(dim) {
        let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
        row.iter_mut().for_each(|value| *value /= norm);
    }
    values
}

pub(crate) fn matrix(values: &[f32], dim: usize, device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len() / dim, dim]), device)
}

fn codes(values: impl Iterator<Item = i32>, device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.collect();
    let data = TensorData::new(values.clone(), [values.len()]);
    Tensor::from_data(data, (device, DType::I32))
}

/// Anchors without a self-pair, each of its own image.
pub(crate) fn anchors(embeddings: Tensor<2>, labels: &[u32]) -> Anchors {
    let device = embeddings.device();
    Anchors {
        embeddings,
        labels: codes(labels.iter().map(|&label| label as i32), &device),
        ids: codes(0..labels.len() as i32, &device),
        own: codes(labels.iter().map(|_| -1), &device),
    }
}

/// References that all count, each of its own image.
pub(crate) fn references(embeddings: Tensor<2>, labels: &[u32]) -> References {
    let device = embeddings.device();
    References {
        screen: None,
        embeddings,
        labels: codes(labels.iter().map(|&label| label as i32), &device),
        ids: codes(1000..1000 + labels.len() as i32, &device),
        weights: None,
        filled: labels.len(),
        drop_same_image: false,
    }
}

pub(crate) fn values<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

/// The GPU that this machine has, software ones included; said aloud if there is none.
///
/// # Panics
///
/// If `CROSSBATCH_REQUIRE` asks for a GPU and there is none.
#[cfg(feature = "gpu")]
#[expect(clippy::print_stderr, reason = "a skip is told aloud")]
pub(crate) fn gpu() -> Option<Device> {
    let device = crossbatch::gpu();
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
                super::$name(&burn::tensor::Device::flex());
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
