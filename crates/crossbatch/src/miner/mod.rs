//! One file a miner, with its page beside it.

mod age_window;
mod candidates;
mod distance_weighted;
mod multi_similarity;
mod pair_margin;
mod registry;
mod selected;
mod top_k;
mod triplets;

use std::fmt::Debug;

use crossbatch_kernels::program::PairProgram;

pub use age_window::AgeWindowMiner;
pub use candidates::{Candidate, Candidates};
pub use distance_weighted::DistanceWeightedMiner;
pub use multi_similarity::MultiSimilarityMiner;
pub use pair_margin::PairMarginMiner;
pub use registry::{MinerConfig, MinerKind};
pub(crate) use selected::selected_rows;
pub use top_k::TopKMiner;
pub use triplets::{MinedTriplets, TripletMiner};

use crate::loss::OptionError;

/// Which pairs of a loss count, besides what the loss itself selects.
///
/// A miner works in one of three ways. Most add conditions to the loss's program ([`restrict`](Self::restrict)), which
/// costs nothing. One may weigh references ([`weigh`](Self::weigh)). And one may choose pairs anchor by anchor
/// ([`select`](Self::select)), which looks at every pair once more. Where a loss has several miners, pairs count that
/// all of them let through.
pub trait Miner: Debug + Send + Sync {
    /// Its name in recipes, such as `pair-margin`.
    fn name(&self) -> &'static str;

    /// Adds its conditions to a loss's program.
    ///
    /// # Errors
    ///
    /// If they cannot be combined with what the program computes.
    fn restrict(&self, _program: &mut PairProgram) -> Result<(), OptionError> {
        Ok(())
    }

    /// Weight of a reference that was written `age` steps ago, 0 to leave it out. Only references from a memory have
    /// an age.
    fn weigh(&self, _age: u64) -> f32 {
        1.0
    }

    /// Whether [`weigh`](Self::weigh) is to be asked.
    fn weighs(&self) -> bool {
        false
    }

    /// The pairs that it lets through, where it chooses them anchor by anchor.
    fn select(&self, _candidates: &Candidates<'_>) -> Option<Selection> {
        None
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

/// The references that count for each anchor, in rising order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// For each anchor, positives and negatives together.
    pub references: Vec<Vec<u32>>,
}

impl Selection {
    /// What both let through.
    pub(crate) fn and(mut self, other: &Self) -> Self {
        for (mine, theirs) in self.references.iter_mut().zip(&other.references) {
            mine.retain(|reference| theirs.binary_search(reference).is_ok());
        }
        self
    }
}

/// The error of a miner that does not go with a loss, which `expected` would.
fn misfit(miner: &dyn Miner, expected: &'static str) -> OptionError {
    OptionError { option: "miners", value: miner.name().to_owned(), expected }
}

/// The stricter of two bounds, of which a condition may have none.
fn stricter(bound: Option<f32>, other: f32, pick: fn(f32, f32) -> f32) -> Option<f32> {
    Some(bound.map_or(other, |bound| pick(bound, other)))
}
