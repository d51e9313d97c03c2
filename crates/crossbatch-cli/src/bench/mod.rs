//! `crossbatch bench memory`: how long the memory's part of a training step takes, beside plain matrix products.
//!
//! `generate` or `file` gives the inputs, `step` is the call that is timed, `measure` times it.

pub(crate) mod file;
pub(crate) mod generate;
pub(crate) mod measure;
pub(crate) mod step;

use std::collections::HashMap;

use burn::tensor::{DType, TensorData};

/// Embeddings with the class of each.
pub(crate) struct Labelled {
    /// `[N, D]`, in the type they are stored in.
    pub(crate) embeddings: TensorData,
    /// `[N]`, dense over anchors and bank.
    pub(crate) labels: Vec<u32>,
}

/// What the memory step works on.
pub(crate) struct Inputs {
    /// `[B, D]`, f32.
    pub(crate) anchors: Labelled,
    /// `[M, D]`, f32, f16 or bf16.
    pub(crate) bank: Labelled,
}

impl Labelled {
    /// Rows of f32 in another type.
    pub(crate) fn stored_as(self, dtype: DType) -> Self {
        Self { embeddings: self.embeddings.convert_dtype(dtype), ..self }
    }

    /// N and D.
    pub(crate) fn dims(&self) -> [usize; 2] {
        self.embeddings.shape().dims()
    }
}

/// Any labels as dense ones: equal for equal, numbered in the order in which they come.
#[derive(Default)]
pub(crate) struct Interner {
    known: HashMap<i128, u32>,
}

impl Interner {
    pub(crate) fn dense(&mut self, labels: &[i128]) -> Vec<u32> {
        let dense = |label: &i128| {
            let next = self.known.len() as u32;
            *self.known.entry(*label).or_insert(next)
        };
        labels.iter().map(dense).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_both_sides_share_their_numbers() {
        let mut interner = Interner::default();
        assert_eq!(interner.dense(&[7, -3, 7, i128::from(u64::MAX)]), [0, 1, 0, 2]);
        assert_eq!(interner.dense(&[9, -3]), [3, 1]);
    }
}
