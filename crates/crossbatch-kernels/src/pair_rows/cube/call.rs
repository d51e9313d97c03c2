//! One call's tensors, and the launch of a pass.

use super::merge::merge;
use super::plan::{Fold, Numbers, Plan, UNITS, chunk};
use super::stream::{STATE, stream};
use crate::pair_rows::program::FIELDS;
use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::ops::{FloatTensorOps, IntTensorOps};
use burn::tensor::{DType, FloatDType, IntDType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::cubecl::prelude::*;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::ops::numeric::empty_device_contiguous_dtype;
use burn_cubecl::tensor::CubeTensor;

pub(super) struct Call {
    anchors: CubeTensor,
    references: CubeTensor,
    weights: CubeTensor,
    codes: CubeTensor,
    labels: CubeTensor,
    ids: CubeTensor,
    /// Of the negative and of the positive side.
    numbers: [Numbers; 2],
    filled: usize,
    pub(super) values: CubeTensor,
    pub(super) fields: CubeTensor,
    pub(super) to_positive: CubeTensor,
    pub(super) to_negative: CubeTensor,
}

impl Call {
    /// Of anchors, references and weights; codes, labels and ids.
    pub(super) fn new(
        [anchors, references, weights]: [CubeTensor; 3],
        [codes, labels, ids]: [CubeTensor; 3],
        numbers: [Numbers; 2],
        filled: usize,
    ) -> Self {
        let anchors = into_contiguous(anchors);
        let [batch, dim] = [anchors.shape()[0], anchors.shape()[1]];
        // Rows may lie apart, as some devices have them: no copy of a large bank for that.
        let references = if references.meta.is_tiled() || references.meta.strides()[1] != 1 {
            into_contiguous(references)
        } else {
            references
        };
        // Labels of different types would never be equal.
        let ints = |tensor| into_contiguous(CubeBackend::int_cast(tensor, IntDType::I32));
        let empty = |columns| floats(&anchors, [batch, columns]);
        Self {
            values: empty(2),
            fields: empty(FIELDS),
            to_positive: empty(dim),
            to_negative: empty(dim),
            references,
            weights: into_contiguous(CubeBackend::float_cast(weights, FloatDType::F32)),
            codes: ints(codes),
            labels: ints(labels),
            ids: ints(ids),
            numbers,
            filled,
            anchors,
        }
    }

    /// The same with another positive side, and with results of its own.
    pub(super) fn with_positive(&self, positive: Numbers) -> Self {
        let [batch, dim] = [self.anchors.shape()[0], self.anchors.shape()[1]];
        let empty = |columns| floats(&self.anchors, [batch, columns]);
        Self {
            values: empty(2),
            fields: empty(FIELDS),
            to_positive: empty(dim),
            to_negative: empty(dim),
            references: self.references.clone(),
            weights: self.weights.clone(),
            codes: self.codes.clone(),
            labels: self.labels.clone(),
            ids: self.ids.clone(),
            numbers: [self.numbers[0], positive],
            filled: self.filled,
            anchors: self.anchors.clone(),
        }
    }

    /// Runs one pass over the references and writes what it finds.
    #[allow(unsafe_code)]
    pub(super) fn pass(&self, plan: Plan, limits: CubeTensor) {
        let [batch, dim] = [self.anchors.shape()[0], plan.dim];
        let chunk = chunk(&plan, self.filled);
        let chunks = self.filled.div_ceil(chunk);
        let states = floats(&self.anchors, [chunks * batch, STATE]);
        // A side that is not folded has no gradients.
        let along = |fold| {
            let rows = if fold == Fold::None { 1 } else { chunks * batch };
            floats(&self.anchors, [rows, dim])
        };
        let (negative_along, positive_along) = (along(plan.negative), along(plan.positive));
        let limits = into_contiguous(limits);
        let size = CubeDim::new_1d(UNITS as u32);
        let cubes = CubeCount::Static(batch.div_ceil(plan.rows) as u32, chunks as u32, 1);
        let client = &self.anchors.client;
        let buffer = |tensor: &CubeTensor| tensor.clone().into_buffer_arg();
        let addresses = |tensors: &[&CubeTensor]| {
            let types = tensors.iter().map(|tensor| tensor.required_address_type());
            types.max().unwrap_or_default()
        };
        let [negative, positive] = self.numbers;
        // SAFETY: the kernel reads references below `filled`, which the caller has checked against the tensor's rows
        // of `row_stride` numbers; codes, limits and anchors below the batch; and it writes chunks and rows of which
        // the output tensors were made. Labels, ids and, where weighted, weights are as many as the references.
        unsafe {
            stream::launch_unchecked(
                client,
                cubes,
                size,
                addresses(&[&self.references, &states, &negative_along, &positive_along]),
                buffer(&self.anchors),
                buffer(&self.references),
                buffer(&self.codes),
                buffer(&self.labels),
                buffer(&self.ids),
                buffer(&self.weights),
                buffer(&limits),
                buffer(&states),
                buffer(&negative_along),
                buffer(&positive_along),
                batch as u32,
                self.filled as u32,
                chunk as u32,
                self.references.meta.strides()[0] as u32,
                negative.scale,
                negative.shift,
                positive.scale,
                positive.shift,
                plan,
                dtype_to_storage_type(self.references.dtype),
            );
        }
        // SAFETY: an anchor's cubes read what the first kernel wrote, and write its row of the outputs.
        unsafe {
            merge::launch_unchecked(
                client,
                CubeCount::Static(batch as u32, dim.div_ceil(UNITS) as u32, 1),
                size,
                addresses(&[&states, &negative_along, &positive_along]),
                buffer(&states),
                buffer(&negative_along),
                buffer(&positive_along),
                buffer(&self.anchors),
                buffer(&self.fields),
                buffer(&self.values),
                buffer(&self.to_negative),
                buffer(&self.to_positive),
                batch as u32,
                chunks as u32,
                f32::NAN.to_bits(),
                positive.scale,
                plan,
            );
        }
    }
}

/// An uninitialised tensor beside another one.
fn floats(beside: &CubeTensor, shape: [usize; 2]) -> CubeTensor {
    empty_device_contiguous_dtype(
        beside.client.clone(),
        beside.device.clone(),
        Shape::new(shape),
        DType::F32,
    )
}
