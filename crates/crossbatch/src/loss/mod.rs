//! One file a loss, with its page beside it.

mod arithmetic;
mod binomial_deviance;
mod circle;
mod contrastive;
mod lifted_structure;
mod margin;
mod multi_similarity;
mod n_pairs;
mod nca;
mod nt_xent;
mod options;
mod registry;
mod released_triplet;
mod similarity;
mod snr_contrastive;
mod supcon;
mod triplet;

use std::fmt::Debug;

use burn::tensor::Tensor;
use crossbatch_kernels::{Anchors, PairRows, program::PairProgram};

pub(crate) use arithmetic::{any, column};
pub use binomial_deviance::BinomialDevianceLoss;
pub use circle::CircleLoss;
pub use contrastive::{ContrastiveForm, ContrastiveLoss};
pub use lifted_structure::LiftedStructureLoss;
pub use margin::{LearnBeta, MarginLoss};
pub use multi_similarity::MultiSimilarityLoss;
pub use n_pairs::NPairsLoss;
pub use nca::NcaLoss;
pub use nt_xent::NtXentLoss;
pub use options::OptionError;
pub(crate) use options::{above_zero, finite, from_zero, rule};
pub use registry::{LossConfig, LossKind};
pub use released_triplet::ReleasedTripletLoss;
pub use similarity::Similarity;
pub use snr_contrastive::SnrContrastiveLoss;
pub use supcon::SupConLoss;
pub use triplet::{TripletLoss, Triplets};

use crate::reduction::Part;

/// A loss over pairs of anchors and references.
///
/// A loss says which pairs count and what they are folded into, as plain data ([`program`](Self::program)), and what
/// becomes of the two numbers of each anchor's row, as ordinary arithmetic on `[B]` values ([`parts`](Self::parts)).
/// One operation runs every program on every device, streaming over the references, so a new loss is one file and is
/// fused at once. Which pairs there are ([`Pairs`](crate::Pairs)), which of them are mined
/// ([`Miner`](crate::Miner)) and how terms are averaged ([`Reduction`](crate::Reduction)) is decided elsewhere, so
/// that every loss works everywhere.
///
/// A loss is plain data itself. Parameters that are learnt with it are held by whoever runs it
/// ([`Objective`](crate::Objective)).
pub trait PairLoss: Debug + Send + Sync {
    /// Its name in recipes, such as `multi-similarity`.
    fn name(&self) -> &'static str;

    /// Which pairs count and what they are folded into.
    fn program(&self) -> PairProgram;

    /// Thresholds of the positive and the negative side for each anchor, `[B, 2]`; a gradient may flow through them.
    ///
    /// `anchors` are prepared. `parameters` are what is learnt with this loss, where anything is.
    fn thresholds(&self, anchors: &Anchors, parameters: Option<&Tensor<1>>) -> Tensor<2>;

    /// Rows `[N, D]` as they are compared, such as scaled to unit length. Anchors are prepared, and references that
    /// come with them; rows of a memory are not.
    fn prepare(&self, rows: Tensor<2>) -> Tensor<2> {
        rows
    }

    /// What the rows come to. `rows` hold the program's two numbers for each anchor.
    fn parts(
        &self,
        rows: &PairRows,
        anchors: &Anchors,
        parameters: Option<&Tensor<1>>,
    ) -> Vec<Part>;

    /// First values of the parameters that are learnt with this loss, for so many training classes. Most have none.
    fn initial_parameters(&self, _classes: usize) -> Vec<f32> {
        Vec::new()
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    ///
    /// If an option is out of its range; the error names option, value and range.
    fn check(&self) -> Result<(), OptionError> {
        Ok(())
    }
}

/// What a loss does with positives at a similarity of 1 − 1e-5 or more.
///
/// A pair of an anchor with itself never counts: it is known by identity, see [`Pairs`](crate::Pairs).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Duplicates {
    /// They are positives like any other.
    #[default]
    Keep,
    /// They are left out, as in the paper's released code, which tells self-pairs by this test.
    Drop,
}

impl Duplicates {
    /// The similarity below which positives count.
    fn below(self) -> f32 {
        match self {
            Self::Keep => f32::INFINITY,
            Self::Drop => 1.0 - 1e-5,
        }
    }

    fn check(self, similarity: Similarity) -> Result<(), OptionError> {
        options::rule(
            self == Self::Keep || !similarity.is_distance(),
            "duplicates",
            "drop",
            "\"keep\" with a distance",
        )
    }
}
