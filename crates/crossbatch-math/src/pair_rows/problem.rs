//! What goes in and what comes out.

use super::program::{FIELDS, PairProgram};
use super::screen::Screen;
use half::{bf16, f16};

/// Rows of embeddings as they are stored.
#[derive(Clone, Copy, Debug)]
pub enum Bank<'a> {
    /// 32 bits a number.
    F32(&'a [f32]),
    /// 16 bits, 11 of them for the digits.
    F16(&'a [f16]),
    /// 16 bits, 8 of them for the digits.
    Bf16(&'a [bf16]),
}

impl Bank<'_> {
    /// Numbers in all.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::F32(values) => values.len(),
            Self::F16(values) => values.len(),
            Self::Bf16(values) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Anchors, references and what is to be computed of their pairs.
#[derive(Clone, Copy, Debug)]
pub struct Problem<'a> {
    /// What is computed.
    pub program: PairProgram,
    /// Numbers in an embedding.
    pub dim: usize,
    /// `[B, dim]`.
    pub anchors: &'a [f32],
    /// Label, id, and own reference (or -1) of each anchor, `[B, 3]`.
    pub codes: &'a [i32],
    /// Thresholds of the positive and of the negative side, `[B, 2]`.
    pub thresholds: &'a [f32],
    /// `[filled, dim]`; further rows are not read.
    pub references: Bank<'a>,
    /// Label of each reference; further ones are not read.
    pub labels: &'a [i32],
    /// Id of each reference; further ones are not read.
    pub ids: &'a [i32],
    /// Weight of each reference, or 1 for all.
    pub weights: Option<&'a [f32]>,
    /// Number of references.
    pub filled: usize,
    /// Whether positives with the anchor's id are left out.
    pub drop_same_image: bool,
    /// What tells that pairs do not count, if somebody kept it up to date with `references`.
    pub screen: Option<&'a Screen>,
}

impl Problem<'_> {
    /// Number of anchors.
    #[must_use]
    pub fn batch(&self) -> usize {
        self.codes.len() / 3
    }

    pub(super) fn label(&self, anchor: usize) -> i32 {
        self.codes[anchor * 3]
    }

    pub(super) fn id(&self, anchor: usize) -> i32 {
        self.codes[anchor * 3 + 1]
    }

    pub(super) fn own(&self, anchor: usize) -> i32 {
        self.codes[anchor * 3 + 2]
    }

    pub(super) fn positive_threshold(&self, anchor: usize) -> f32 {
        self.thresholds[anchor * 2]
    }

    pub(super) fn negative_threshold(&self, anchor: usize) -> f32 {
        self.thresholds[anchor * 2 + 1]
    }

    pub(super) fn anchor(&self, anchor: usize) -> &[f32] {
        &self.anchors[anchor * self.dim..][..self.dim]
    }

    pub(super) fn weight(&self, reference: usize) -> f32 {
        self.weights.map_or(1.0, |weights| weights[reference])
    }

    /// Whether a reference counts at all.
    pub(super) fn counts(&self, reference: usize) -> bool {
        self.weight(reference) > 0.0
    }

    /// # Panics
    ///
    /// If the slices' lengths do not belong together.
    pub(super) fn check(&self) {
        let Self { dim, filled, .. } = *self;
        let batch = self.batch();
        assert!(dim > 0, "rows must have at least one number, dim is 0");
        assert_eq!(self.codes.len(), batch * 3, "codes are three an anchor");
        assert_eq!(self.anchors.len(), batch * dim, "anchors of {batch} x {dim}");
        assert_eq!(self.thresholds.len(), batch * 2, "thresholds are two an anchor");
        assert!(i32::try_from(filled).is_ok(), "{filled} references cannot be numbered");
        assert!(
            self.references.len() >= filled * dim,
            "{filled} references of {dim} numbers in {}",
            self.references.len()
        );
        assert!(self.labels.len() >= filled, "{filled} references, {} labels", self.labels.len());
        assert!(self.ids.len() >= filled, "{filled} references, {} ids", self.ids.len());
        if let Some(weights) = self.weights {
            assert!(weights.len() >= filled, "{filled} references, {} weights", weights.len());
        }
        self.program.check();
    }
}

/// What each anchor's pairs come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Rows {
    /// The positive and the negative side's number, `[B, 2]`.
    pub values: Vec<f32>,
    /// What else is known, by the columns of [`program`](super::program), `[B, FIELDS]`.
    pub fields: Vec<f32>,
    /// Derivative of the positive numbers by the anchors, the negative ones held, `[B, dim]`.
    pub positive: Vec<f32>,
    /// Derivative of the negative numbers by the anchors, `[B, dim]`.
    pub negative: Vec<f32>,
}

impl Rows {
    pub(super) fn field(&self, anchor: usize, column: usize) -> f32 {
        self.fields[anchor * FIELDS + column]
    }

    pub(super) fn field_mut(&mut self, anchor: usize, column: usize) -> &mut f32 {
        &mut self.fields[anchor * FIELDS + column]
    }
}
