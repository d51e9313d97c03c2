//! The GPU that a build reaches.

use burn::tensor::Device;

/// The GPU to compute on, software ones included; none where the build has no GPU feature or the machine no GPU.
///
/// With several features the first of CUDA, ROCm and wgpu (Metal, Vulkan, WebGPU) that finds a device gives it. wgpu
/// prefers the fastest one; environment variable `CUBECL_WGPU_DEFAULT_DEVICE` names another.
#[must_use]
pub fn gpu() -> Option<Device> {
    #[cfg(feature = "cuda")]
    if let Some(device) = first(burn::tensor::DeviceType::Cuda) {
        return Some(device);
    }
    #[cfg(feature = "rocm")]
    if let Some(device) = first(burn::tensor::DeviceType::Rocm) {
        return Some(device);
    }
    #[cfg(feature = "wgpu")]
    if first(burn::tensor::DeviceType::Wgpu).is_some() {
        return Some(Device::wgpu(burn::tensor::DeviceKind::DefaultDevice));
    }
    None
}

#[cfg(any(feature = "cuda", feature = "rocm", feature = "wgpu"))]
fn first(kind: burn::tensor::DeviceType) -> Option<Device> {
    Device::enumerate(kind).into_vec().into_iter().next()
}
