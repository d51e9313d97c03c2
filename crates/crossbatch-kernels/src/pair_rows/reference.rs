//! The rows of a pair loss in ordinary tensor operations over `[B, M]`.

use super::PairRowsOptions;
use burn::backend::Backend;
use burn::backend::tensor::{FloatTensor, IntTensor};

#[expect(clippy::too_many_arguments)]
pub(super) fn forward<B: Backend>(
    _anchors: FloatTensor<B>,
    _references: FloatTensor<B>,
    _thresholds: FloatTensor<B>,
    _codes: IntTensor<B>,
    _labels: IntTensor<B>,
    _ids: IntTensor<B>,
    _weights: FloatTensor<B>,
    _options: PairRowsOptions,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    unimplemented!()
}

#[expect(clippy::too_many_arguments)]
pub(super) fn reference_gradient<B: Backend>(
    _upstream: FloatTensor<B>,
    _anchors: FloatTensor<B>,
    _references: FloatTensor<B>,
    _thresholds: FloatTensor<B>,
    _codes: IntTensor<B>,
    _labels: IntTensor<B>,
    _ids: IntTensor<B>,
    _weights: FloatTensor<B>,
    _values: FloatTensor<B>,
    _fields: FloatTensor<B>,
    _options: PairRowsOptions,
) -> FloatTensor<B> {
    unimplemented!()
}
