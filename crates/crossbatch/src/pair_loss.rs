//! A loss over pairs.

use std::sync::Arc;

use burn::tensor::Tensor;
use crossbatch_kernels::{Anchors, References, program::PairProgram};

use crate::{
    kernel::Kernel,
    loss::{OptionError, PairLoss},
    miner::{Candidates, Miner, Selection, selected_rows},
    pairs::Pairs,
    reduction::Reduction,
    statistics::PairStatistics,
};

/// The value of a loss over some pairs, and what is known of them.
#[derive(Debug, Clone)]
pub struct PairLossOutput {
    /// The reduced loss, `[1]`.
    pub value: Tensor<1>,
    /// Counts and similarities, without gradient.
    pub statistics: PairStatistics,
}

/// `loss` over all of `pairs`: within a batch, with a memory, or with any other references.
///
/// For mined pairs, weights and learnt parameters see [`PairTerm`].
///
/// # Shapes
///
/// Anchors `[B, D]`, references `[M, D]`; the value is `[1]`. Nothing of size `[B, M]` is built on a device that has a
/// kernel.
///
/// # Panics
///
/// If the widths differ, or the loss learns parameters.
pub fn pair_loss(loss: &dyn PairLoss, pairs: &Pairs<'_>, reduction: Reduction) -> PairLossOutput {
    evaluate(loss, &[], None, pairs, reduction, Kernel::Fused)
}

/// A loss with its miners, its reduction and its weight: one term of an [`Objective`](crate::Objective).
#[derive(Debug, Clone)]
pub struct PairTerm {
    /// The loss.
    pub loss: Arc<dyn PairLoss>,
    /// What pairs are mined by; every one must let a pair through.
    pub miners: Vec<Arc<dyn Miner>>,
    /// How terms become one number. Default `sum` (the paper's).
    pub reduction: Reduction,
    /// Factor of the reduced loss. Default 1.
    pub weight: f32,
    /// What computes its pairs. Default: the device's kernel.
    pub kernel: Kernel,
}

impl PairTerm {
    /// `loss` over all pairs, reduced by sum, with weight 1.
    pub fn new(loss: impl PairLoss + 'static) -> Self {
        Self::shared(Arc::new(loss))
    }

    /// The same of a loss that is shared.
    pub fn shared(loss: Arc<dyn PairLoss>) -> Self {
        Self {
            loss,
            miners: Vec::new(),
            reduction: Reduction::Sum,
            weight: 1.0,
            kernel: Kernel::Fused,
        }
    }

    /// With one more miner.
    #[must_use]
    pub fn with_miner(mut self, miner: impl Miner + 'static) -> Self {
        self.miners.push(Arc::new(miner));
        self
    }

    /// With another reduction.
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// With another weight.
    #[must_use]
    pub fn with_weight(mut self, weight: f32) -> Self {
        self.weight = weight;
        self
    }

    /// With its pairs computed by another body.
    #[must_use]
    pub fn with_kernel(mut self, kernel: Kernel) -> Self {
        self.kernel = kernel;
        self
    }

    /// Whether the loss has parameters of its own.
    pub fn learns(&self) -> bool {
        !self.loss.initial_parameters(1).is_empty()
    }

    /// Checks what types cannot say.
    ///
    /// # Errors
    ///
    /// If an option is out of its range, or a miner does not go with the loss.
    pub fn check(&self) -> Result<(), OptionError> {
        self.loss.check()?;
        self.miners.iter().try_for_each(|miner| miner.check())?;
        restricted(&*self.loss, &self.miners).map(|_| ())
    }

    /// The pairs that its miners choose anchor by anchor; none where no miner chooses so.
    pub fn select(&self, pairs: &Pairs<'_>) -> Option<Selection> {
        let (anchors, references) = pairs.prepared(&*self.loss, &self.miners);
        chosen(&self.miners, &candidates(&anchors, &references, self.loss.program(), pairs))
    }

    /// The term over `pairs`, before its weight.
    ///
    /// # Panics
    ///
    /// If the widths differ, a miner does not go with the loss ([`check`](Self::check)), or the loss learns parameters
    /// and none are given.
    pub fn evaluate(&self, pairs: &Pairs<'_>, parameters: Option<&Tensor<1>>) -> PairLossOutput {
        evaluate(&*self.loss, &self.miners, parameters, pairs, self.reduction, self.kernel)
    }

    /// For each of `count` groups of references, `groups[reference]`: its negative pairs, and those that are active (of a
    /// triplet loss: triplets). A group's negatives stand beside the positives of all groups.
    pub(crate) fn negatives_by_group(
        &self,
        pairs: &Pairs<'_>,
        parameters: Option<&Tensor<1>>,
        groups: &[usize],
        count: usize,
    ) -> Vec<(u64, u64)> {
        let program =
            restricted(&*self.loss, &self.miners).unwrap_or_else(|error| panic!("{error}"));
        let (anchors, references) = pairs.prepared(&*self.loss, &self.miners);
        let thresholds = self.loss.thresholds(&anchors, parameters);
        let candidates = candidates(&anchors, &references, program, pairs);
        let mined = chosen(&self.miners, &candidates);

        let mut positives = vec![Vec::new(); pairs.anchors()];
        let mut negatives = vec![positives.clone(); count];
        candidates.for_each(program.closeness, |pair| {
            let side = if pair.is_positive {
                &mut positives
            } else {
                &mut negatives[groups[pair.reference as usize]]
            };
            side[pair.anchor].push(pair.reference);
        });
        let count = |negatives: Vec<Vec<u32>>| {
            let all = negatives.iter().map(|row| row.len() as u64).sum();
            let both = positives.iter().zip(negatives).map(|(positives, mut row)| {
                row.extend(positives);
                row.sort_unstable();
                row
            });
            let mut selection = Selection { references: both.collect() };
            if let Some(mined) = &mined {
                selection = selection.and(mined);
            }
            let kernel = self.kernel;
            let rows =
                selected_rows(&anchors, &references, &thresholds, program, &selection, kernel);
            let active = PairStatistics::new(&rows).active_negatives().into_scalar::<f32>();
            (all, active as u64)
        };
        negatives.into_iter().map(count).collect()
    }
}

fn candidates<'a>(
    anchors: &'a Anchors,
    references: &'a References,
    program: PairProgram,
    pairs: &Pairs<'_>,
) -> Candidates<'a> {
    Candidates { anchors, references, closeness: program.closeness, step: pairs.step() }
}

/// The pairs that all selecting miners let through; none where no miner selects.
fn chosen(miners: &[Arc<dyn Miner>], candidates: &Candidates<'_>) -> Option<Selection> {
    miners.iter().filter_map(|miner| miner.select(candidates)).reduce(|one, other| one.and(&other))
}

fn restricted(loss: &dyn PairLoss, miners: &[Arc<dyn Miner>]) -> Result<PairProgram, OptionError> {
    let mut program = loss.program();
    for miner in miners {
        miner.restrict(&mut program)?;
    }
    Ok(program)
}

fn evaluate(
    loss: &dyn PairLoss,
    miners: &[Arc<dyn Miner>],
    parameters: Option<&Tensor<1>>,
    pairs: &Pairs<'_>,
    reduction: Reduction,
    kernel: Kernel,
) -> PairLossOutput {
    let program = restricted(loss, miners).unwrap_or_else(|error| panic!("{error}"));
    let (anchors, references) = pairs.prepared(loss, miners);
    let thresholds = loss.thresholds(&anchors, parameters);

    let candidates = candidates(&anchors, &references, program, pairs);
    let selection = chosen(miners, &candidates);
    let rows = match selection {
        Some(selection) => {
            selected_rows(&anchors, &references, &thresholds, program, &selection, kernel)
        }
        None => kernel.rows(anchors.clone(), references, thresholds, program),
    };
    let value = loss
        .parts(&rows, &anchors, parameters)
        .into_iter()
        .map(|part| part.reduce(reduction))
        .reduce(|sum, part| sum + part)
        .expect("a loss has at least one part");
    PairLossOutput { value, statistics: PairStatistics::new(&rows) }
}
