//! What computes the rows of a pair loss.

use burn::tensor::{DType, Tensor};
use crossbatch_kernels::{Anchors, PairRows, References, pair_rows, program::PairProgram};
use serde::{Deserialize, Serialize};

/// What computes the rows of a pair loss.
///
/// A loss trains the same under either, up to rounding, and that is what the second one is for: a result that seems
/// wrong is repeated with it, and a kernel is judged by it (docs/results.md, "Through the kernels and without").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kernel {
    /// The device's kernel, which streams over the references; where there is none, the reference body.
    #[default]
    Fused,
    /// The reference body: ordinary tensor operations over matrices `[B, M]`, in f64. Slow, and takes a hundred bytes a
    /// pair or more. The device must have f64.
    Reference,
}

impl Kernel {
    /// The program's rows over all pairs of anchors and references; shapes and panics as [`pair_rows`].
    pub(crate) fn rows(
        self,
        anchors: Anchors,
        references: References,
        thresholds: Tensor<2>,
        program: PairProgram,
    ) -> PairRows {
        match self {
            Self::Fused => pair_rows(anchors, references, thresholds, program),
            Self::Reference => in_double(anchors, references, thresholds, program),
        }
    }
}

/// No kernel is made for f64, so that the reference body runs.
fn in_double(
    anchors: Anchors,
    references: References,
    thresholds: Tensor<2>,
    program: PairProgram,
) -> PairRows {
    let double = DType::F64;
    let anchors = Anchors { embeddings: anchors.embeddings.cast(double), ..anchors };
    let references = References {
        embeddings: references.embeddings.cast(double),
        weights: references.weights.map(|weights| weights.cast(double)),
        ..references
    };
    let rows = pair_rows(anchors, references, thresholds.cast(double), program);
    PairRows {
        positive: rows.positive.cast(DType::F32),
        negative: rows.negative.cast(DType::F32),
        fields: rows.fields.cast(DType::F32),
    }
}
