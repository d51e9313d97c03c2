//! A loss over pairs that were chosen anchor by anchor.

use burn::tensor::{DType, Int, Tensor, TensorData, s};
use crossbatch_kernels::{
    Anchors, PairRows, References,
    program::{FIELDS, PairProgram},
};

use super::Selection;
use crate::kernel::Kernel;

/// What `kernel` gives where each anchor has references of its own: it runs once an anchor, over the few that were
/// chosen, so that every program and every rule means the same as ever.
pub(crate) fn selected_rows(
    anchors: &Anchors,
    references: &References,
    thresholds: &Tensor<2>,
    program: PairProgram,
    selection: &Selection,
    kernel: Kernel,
) -> PairRows {
    let device = anchors.embeddings.device();
    let rows: Vec<PairRows> = selection
        .references
        .iter()
        .enumerate()
        .map(|(anchor, chosen)| {
            let one = |column: &Tensor<1, Int>| column.clone().slice(anchor..anchor + 1);
            // No reference at all is one that is not filled.
            let filled = chosen.len();
            let mut chosen: Vec<i32> = chosen.iter().map(|&reference| reference as i32).collect();
            chosen.resize(filled.max(1), 0);
            let data = TensorData::new(chosen, [filled.max(1)]);
            let chosen = Tensor::<1, Int>::from_data(data, (&device, DType::I32));
            let of_chosen = |column: &Tensor<1, Int>| column.clone().select(0, chosen.clone());
            let alone = Anchors {
                embeddings: anchors.embeddings.clone().slice(s![anchor..anchor + 1, ..]),
                labels: one(&anchors.labels),
                ids: one(&anchors.ids),
                // Self-pairs are never chosen.
                own: one(&anchors.own).zeros_like() - 1,
            };
            let references = References {
                embeddings: references.embeddings.clone().select(0, chosen.clone()),
                labels: of_chosen(&references.labels),
                ids: of_chosen(&references.ids),
                weights: (references.weights.as_ref())
                    .map(|weights| weights.clone().select(0, chosen.clone())),
                filled,
                drop_same_image: references.drop_same_image,
                screen: None,
            };
            let thresholds = thresholds.clone().slice(s![anchor..anchor + 1, ..]);
            kernel.rows(alone, references, thresholds, program)
        })
        .collect();
    let column = |get: fn(&PairRows) -> Tensor<1>| Tensor::cat(rows.iter().map(get).collect(), 0);
    PairRows {
        positive: column(|row| row.positive.clone()),
        negative: column(|row| row.negative.clone()),
        fields: Tensor::cat(rows.iter().map(|row| row.fields.clone()).collect(), 0)
            .reshape([rows.len(), FIELDS]),
    }
}
