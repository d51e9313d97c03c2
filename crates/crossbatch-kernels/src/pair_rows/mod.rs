//! The rows of a pair loss: what each anchor's pairs come to, and the gradients, without a `[B, M]` matrix.

// An extension of Burn takes its tensors one by one.
#![allow(clippy::too_many_arguments)]

mod backward;
#[cfg(feature = "gpu")]
mod cube;
mod flex;
mod reference;

use crate::fallback;
use burn::backend::tensor::{FloatTensor, IntTensor};
use burn::backend::{Backend, Dispatch, backend_extension};
use burn::tensor::{Int, Tensor};
pub use crossbatch_math::pair_rows::{Screen, program};
use program::PairProgram;
use std::sync::Arc;

/// The anchors of a pair loss.
#[derive(Clone, Debug)]
pub struct Anchors {
    /// Embeddings, `[B, D]`, f32.
    pub embeddings: Tensor<2>,
    /// Class of each, `[B]`, i32 on every device, not negative.
    pub labels: Tensor<1, Int>,
    /// Image of each, `[B]`, i32.
    pub ids: Tensor<1, Int>,
    /// The reference that is the very same row, to be left out, or -1; `[B]`, i32.
    pub own: Tensor<1, Int>,
}

/// What anchors are compared with.
#[derive(Clone, Debug)]
pub struct References {
    /// Embeddings, `[C, D]`, f32, f16 or bf16; only the first `filled` count.
    pub embeddings: Tensor<2>,
    /// Class of each, `[C]`, i32, not negative.
    pub labels: Tensor<1, Int>,
    /// Image of each, `[C]`, i32.
    pub ids: Tensor<1, Int>,
    /// Weight of each reference's pairs, `[C]`, from 0 (left out) on; none is 1 for all.
    pub weights: Option<Tensor<1>>,
    /// How many references there are.
    pub filled: usize,
    /// Whether positives of the anchor's own image are left out.
    pub drop_same_image: bool,
    /// What the CPU kernel can tell from without a product, if somebody kept it up to date with these very
    /// embeddings; of others it would tell nonsense.
    pub screen: Option<Arc<Screen>>,
}

/// What [`pair_rows`] gives, a value for each anchor.
#[derive(Clone, Debug)]
pub struct PairRows {
    /// The positive side's number, `[B]`.
    pub positive: Tensor<1>,
    /// The negative side's number, `[B]`.
    pub negative: Tensor<1>,
    /// The columns that [`program`] names, `[B, FIELDS]`, without gradient.
    pub fields: Tensor<2>,
}

impl PairRows {
    /// One of the columns that [`program`] names, `[B]`, without gradient.
    #[must_use]
    pub fn field(&self, column: usize) -> Tensor<1> {
        let [batch, _] = self.fields.dims();
        self.fields.clone().slice([0..batch, column..column + 1]).reshape([batch])
    }
}

/// Runs `program` over all pairs of anchors and references.
///
/// The gradient of both numbers reaches the anchors, the thresholds, and the references where they track one. On the
/// CPU and on GPUs nothing of size `[B, M]` is built; the gradient of the references is computed in the backward pass.
///
/// # Shapes
///
/// - anchors `[B, D]`, references `[C, D]`
/// - `thresholds`: `[B, 2]`, of the positive and of the negative side
///
/// # Panics
///
/// If sizes disagree, or the program is not valid ([`PairProgram::check`]).
#[must_use]
pub fn pair_rows(
    anchors: Anchors,
    references: References,
    thresholds: Tensor<2>,
    program: PairProgram,
) -> PairRows {
    let forward = <Dispatch as PairRowsOps>::pair_rows_forward;
    run(anchors, references, thresholds, program, forward).0
}

/// [`pair_rows`] by its reference body on whatever device, with the derivatives of both numbers by the anchors. The
/// judge of the kernels in tests.
#[doc(hidden)]
#[must_use]
pub fn pair_rows_reference(
    anchors: Anchors,
    references: References,
    thresholds: Tensor<2>,
    program: PairProgram,
) -> (PairRows, [Tensor<2>; 2]) {
    run(anchors, references, thresholds, program, reference::forward::<Dispatch>)
}

type Floats = FloatTensor<Dispatch>;
type Ints = IntTensor<Dispatch>;
type Forward = fn(
    Floats,
    Floats,
    Floats,
    Ints,
    Ints,
    Ints,
    Floats,
    PairRowsOptions,
) -> (Floats, Floats, Floats, Floats);

fn run(
    anchors: Anchors,
    references: References,
    thresholds: Tensor<2>,
    program: PairProgram,
    forward: Forward,
) -> (PairRows, [Tensor<2>; 2]) {
    program.check();
    let [batch, dim] = anchors.embeddings.dims();
    let [capacity, reference_dim] = references.embeddings.dims();
    assert_eq!(dim, reference_dim, "anchors have {dim} numbers, references {reference_dim}");
    assert!(
        references.filled <= capacity,
        "{} filled references in {capacity} rows",
        references.filled
    );
    assert_eq!(thresholds.dims(), [batch, 2], "thresholds are one pair an anchor");
    for (name, column) in
        [("labels", &anchors.labels), ("ids", &anchors.ids), ("own references", &anchors.own)]
    {
        assert_eq!(column.dims(), [batch], "{name} of the anchors");
    }
    for (name, column) in [("labels", &references.labels), ("ids", &references.ids)] {
        assert_eq!(column.dims(), [capacity], "{name} of the references");
    }
    if let Some(weights) = &references.weights {
        assert_eq!(weights.dims(), [capacity], "weights of the references");
    }

    let options = PairRowsOptions {
        program,
        filled: references.filled,
        weighted: references.weights.is_some(),
        drop_same_image: references.drop_same_image,
        screen: references.screen,
    };
    let device = anchors.embeddings.device();
    let codes = Tensor::stack::<2>(vec![anchors.labels, anchors.ids, anchors.own], 1);
    let weights = references.weights.unwrap_or_else(|| Tensor::ones([1], &device));
    let (values, fields, positive, negative) = forward(
        anchors.embeddings.into_dispatch(),
        references.embeddings.into_dispatch(),
        thresholds.into_dispatch(),
        codes.into_dispatch(),
        references.labels.into_dispatch(),
        references.ids.into_dispatch(),
        weights.into_dispatch(),
        options,
    );
    let values = Tensor::<2>::from_dispatch(values);
    let rows = PairRows {
        positive: values.clone().slice([0..batch, 0..1]).reshape([batch]),
        negative: values.slice([0..batch, 1..2]).reshape([batch]),
        fields: Tensor::from_dispatch(fields),
    };
    (rows, [positive, negative].map(Tensor::from_dispatch))
}

/// Options of the backend side.
#[derive(Clone, Debug, PartialEq)]
pub struct PairRowsOptions {
    /// What is computed.
    pub program: PairProgram,
    /// References that count; further rows of their tensors are not read.
    pub filled: usize,
    /// Whether the weights are to be used; else they are one number, unused.
    pub weighted: bool,
    /// Whether positives with the anchor's id are left out.
    pub drop_same_image: bool,
    /// What the CPU kernel can tell from without a product.
    pub screen: Option<Arc<Screen>>,
}

/// The backend side of [`pair_rows`]. Sizes are checked by the function.
#[backend_extension(
    Flex,
    Cube: cfg(feature = "gpu"),
    Fusion: cfg(feature = "gpu"),
    Autodiff
)]
pub trait PairRowsOps: Backend {
    /// The rows' two numbers `[B, 2]`, their fields `[B, FIELDS]`, and the derivatives by the anchors of the positive
    /// numbers (with the negative ones held) and of the negative numbers, `[B, D]` each.
    ///
    /// `codes` `[B, 3]` are label, id and own reference (or -1) of each anchor.
    #[fusion(meta = cube::forward_shapes)]
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
        reference::forward::<Self>(
            anchors, references, thresholds, codes, labels, ids, weights, options,
        )
    }

    /// The gradient of the references, `[C, D]` (0 behind the filled ones), where `upstream` `[B, 2]` is the gradient of
    /// the rows' numbers, the coupling already added to the negative side's.
    #[fusion(default)]
    fn pair_rows_reference_gradient(
        upstream: FloatTensor<Self>,
        anchors: FloatTensor<Self>,
        references: FloatTensor<Self>,
        thresholds: FloatTensor<Self>,
        codes: IntTensor<Self>,
        labels: IntTensor<Self>,
        ids: IntTensor<Self>,
        weights: FloatTensor<Self>,
        values: FloatTensor<Self>,
        fields: FloatTensor<Self>,
        options: PairRowsOptions,
    ) -> FloatTensor<Self> {
        fallback::tell("the gradient of the references has no kernel on this device");
        reference::reference_gradient::<Self>(
            upstream, anchors, references, thresholds, codes, labels, ids, weights, values, fields,
            options,
        )
    }
}
