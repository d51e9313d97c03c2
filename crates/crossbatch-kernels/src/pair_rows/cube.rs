//! The GPU kernels: nothing of size `[B, M]` is built.
//!
//! [`stream`] reads a chunk of the references against some anchors, [`merge`] puts the chunks together in their order.
//! A cube of 8 anchors (fewer for rows of more than 256 numbers) reads its chunk once for the products, and again those
//! references that have a part in a gradient; so the bank is read `B / 8` times, `2 · B · M · D` operations for the
//! products, and the partial gradients are at most about 170 times `2 · B · D` numbers for a million references. A
//! second pass follows where a rule needs the extremes of a row first, or positives stand against the negatives.
//!
//! What the reference body does here: triplets, semi-hard negatives, positives against all pairs, rows of more than 2,048 numbers, anchors that are
//! not f32, no reference at all, and the gradient of the references.
//!
//! Results were checked on Mesa's software Vulkan; no measurement on a card stands behind the sizes.

mod call;
mod limits;
mod merge;
mod plan;
mod stream;

use super::program::{Body, FIELDS};
use super::{PairRowsOps, PairRowsOptions, reference};
use burn::backend::TensorMetadata;
use burn::backend::fusion::custom::TensorSpec;
use burn::backend::ops::FloatTensorOps;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::tensor::CubeTensor;
use call::Call;
use limits::Limits;
use plan::{Fold, Numbers, Plan};

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
        let kinds = anchors.dtype == DType::F32
            && matches!(references.dtype, DType::F32 | DType::F16 | DType::BF16);
        if !kinds || !plan::served(&options, batch, dim) {
            return reference::forward::<Self>(
                anchors, references, thresholds, codes, labels, ids, weights, options,
            );
        }
        let Body::Sides { positive, positives, negative, negatives } = options.program.body else {
            unreachable!("other bodies are not served")
        };
        let numbers = [Numbers::from(negative), Numbers::from(positive)];
        let [negative, positive] = numbers.map(|side| side.fold);
        let call = Call::new(
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
        let first = Plan { survey: !survey_first, negative, ..none };
        if positive == Fold::Against {
            call.pass(first, limits.tensor(&call.fields));
            limits.against = Some(column(&call.values, 1));
            call.pass(Plan { positive, ..none }, limits.tensor(&call.fields));
        } else {
            call.pass(Plan { positive, ..first }, limits.tensor(&call.fields));
        }
        (call.values, call.fields, call.to_positive, call.to_negative)
    }
}

/// Column `index` of `[B, n]`, as `[B, 1]`.
fn column(tensor: &CubeTensor, index: usize) -> CubeTensor {
    let rows = tensor.shape()[0];
    let range = [Slice::from(0..rows), Slice::from(index..index + 1)];
    CubeBackend::float_slice(tensor.clone(), &range)
}
