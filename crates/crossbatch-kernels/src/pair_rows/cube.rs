//! The GPU kernels: nothing of size `[B, M]` is built.
//!
//! [`stream`] reads a chunk of the references against some anchors, [`merge`] puts the chunks together in their order, so
//! that results are the same every time.
//!
//! **Work of a pass.** A cube takes 8 anchors (4, 2, 1 for rows of more than 256, 512, 1,024 numbers) and a chunk. It does
//! `2 · 8 · D` operations a reference for the products, and as many again, a side, for references with a part in a
//! gradient. It reads each reference once for the products, and again those with a part; so a pass moves `B / 8` times
//! the bank, `B / 8 · M · D` numbers as stored (from the caches where they hold a chunk), and the partial results are at
//! most `128 · B · (2 D + 19)` numbers, written and read once. Passes: one; one more first where a rule needs the extremes
//! of a row; one more where positives stand against the negatives, two where they stand against all.
//!
//! **What the reference body does on a GPU:** triplets, semi-hard negatives, rows of more than 2,048 numbers, anchors
//! that are not f32 and references that are not f32, f16 or bf16, devices that are too small; the log tells of these. No
//! anchor or no reference at all; and the gradient of the references, which the fusion of operations takes as the
//! ordinary operations that it is.
//!
//! Right on Mesa's software Vulkan, by the tests; no measurement on a card stands behind the sizes.

mod all;
mod call;
mod limits;
mod merge;
mod plan;
mod stream;

use super::program::{Body, FIELDS, Term};
use super::{PairRowsOps, PairRowsOptions, reference};
use crate::fallback;
use all::against_all;
use burn::backend::TensorMetadata;
use burn::backend::cubecl::dtype_to_storage_type;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use call::Call;
use limits::{Limits, column};
use plan::{Numbers, Plan};

/// Buffers of the kernel with the most: ten tensors and the numbers.
const BINDINGS: u32 = 11;

/// The shapes of what the forward pass gives, for the fusion of operations.
pub(super) fn forward_shapes(
    anchors: &TensorSpec,
    _references: &TensorSpec,
    _thresholds: &TensorSpec,
    _codes: &TensorSpec,
    _labels: &TensorSpec,
    _ids: &TensorSpec,
    _weights: &TensorSpec,
    _options: &PairRowsOptions,
) -> (TensorSpec, TensorSpec, TensorSpec, TensorSpec) {
    let batch = anchors.shape[0];
    let columns = |count| TensorSpec::new(Shape::new([batch, count]), anchors.dtype);
    (columns(2), columns(FIELDS), anchors.clone(), anchors.clone())
}

impl PairRowsOps for CubeBackend {
    fn pair_rows_forward(
        anchors: FloatTensor<Self>,
        references: FloatTensor<Self>,
        thresholds: FloatTensor<Self>,
        codes: IntTensor<Self>,
        labels: IntTensor<Self>,
        ids: IntTensor<Self>,
        weights: FloatTensor<Self>,
        options: PairRowsOptions,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let shape = anchors.shape();
        let [batch, dim] = [shape[0], shape[1]];
        let served = plan::unserved(&options, dim)
            .or_else(|| unreadable(&anchors, &references))
            .or_else(|| too_small(&anchors, &Plan::new(&options, dim)));
        if let Some(reason) = served {
            fallback::tell(reason);
        }
        // Without pairs there is nothing to launch.
        let (Body::Sides { positive, positives, negative, negatives }, None, 1.., 1..) =
            (options.program.body, served, batch, options.filled)
        else {
            return reference::forward::<Self>(
                anchors, references, thresholds, codes, labels, ids, weights, options,
            );
        };
        let numbers = [Numbers::from(negative), Numbers::from(positive)];
        let mut call = Call::new(
            [anchors, references, weights],
            [codes, labels, ids],
            numbers,
            options.filled,
        );
        let mut limits = Limits { thresholds, positives, negatives, against: None };
        let none = Plan::new(&options, dim);

        let survey_first = limits.need_extremes();
        if survey_first {
            // No bounds are read where nothing is folded.
            call.pass(Plan { survey: true, ..none }, call.fields.clone());
        }
        let [negative_fold, positive_fold] = numbers.map(|side| side.fold);
        let first = Plan { survey: !survey_first, negative: negative_fold, ..none };
        match positive {
            Term::AgainstNegatives { .. } => {
                call.pass(first, limits.tensor(&call.fields));
                limits.against = Some(column(&call.values, 1));
                call.pass(Plan { positive: positive_fold, ..none }, limits.tensor(&call.fields));
            }
            Term::AgainstAll { scale } => {
                call.pass(first, limits.tensor(&call.fields));
                against_all(&mut call, none, &limits, scale);
            }
            _ => call.pass(Plan { positive: positive_fold, ..first }, limits.tensor(&call.fields)),
        }
        (call.values, call.fields, call.to_positive, call.to_negative)
    }
}

/// Why the kernels cannot read these tensors, if they cannot.
fn unreadable(anchors: &CubeTensor, references: &CubeTensor) -> Option<&'static str> {
    let known = matches!(references.dtype, DType::F32 | DType::F16 | DType::BF16);
    if anchors.dtype != DType::F32 || !known {
        return Some("the GPU kernels read f32 anchors and f32, f16 or bf16 references");
    }
    let kind = dtype_to_storage_type(references.dtype);
    let readable = anchors.client.properties().supports_type(kind);
    (!readable).then_some("the device's kernels cannot read the references' type")
}

/// What of the device is too small for the kernels, if anything is.
fn too_small(anchors: &CubeTensor, plan: &Plan) -> Option<&'static str> {
    let hardware = &anchors.client.properties().hardware;
    if hardware.max_shared_memory_size < plan::shared_bytes(plan) {
        Some("the device has too little shared memory for the GPU kernels")
    } else if hardware.max_units_per_cube < plan::UNITS as u32 || hardware.max_bindings < BINDINGS {
        Some("the device has too few units or bindings for the GPU kernels")
    } else {
        None
    }
}
