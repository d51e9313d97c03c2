//! Cross-batch memory for embedding learning, on [Burn](https://burn.dev).
//!
//! While an embedding network trains, a [`Memory`] remembers the embeddings of past batches, so
//! that every anchor meets tens of thousands of negatives instead of a batch of them. Features
//! drift slowly, so the stale ones still serve (Wang et al., "Cross-Batch Memory for Embedding
//! Learning", CVPR 2020).
//!
//! What carries the method:
//!
//! - [`Memory`]: detached embeddings with label, sample id and birth step per slot, a ring of the
//!   latest rows or a slot an image;
//! - [`Pairs`]: which rows are compared, within the batch, with the memory or with others; labels
//!   make pairs positive or negative, and an anchor is never paired with itself;
//! - [`PairLoss`]: what pairs cost; one type a loss ([`LossKind`] lists them), each with a page;
//! - [`Miner`]: which of the pairs count;
//! - [`Objective`]: batch loss + weight x memory loss, with the statistics that explain them.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use crossbatch::{ContrastiveLoss, Memory, Objective, ObjectiveConfig, PairTerm, Rows};
//!
//! let device = Device::flex().autodiff();
//! let mut memory = Memory::new(4, 2, &device);
//! let term = PairTerm::new(ContrastiveLoss { margin: 0.5, ..Default::default() });
//! let objective = Objective::new([term], ObjectiveConfig::default());
//!
//! // Step 1: embeddings of two images of class 7, ids 0 and 1.
//! let anchors = Tensor::<2>::from_data([[1.0, 0.0], [0.6, 0.8]], &device).require_grad();
//! let rows = Rows { labels: &[7, 7], ids: &[0, 1] };
//! let own = memory.enqueue(anchors.clone(), rows, 1).unwrap();
//! let output = objective.forward(anchors.clone(), rows, Some((&memory, &own[..])), 1);
//!
//! // Each anchor has one positive at similarity 0.6, in the batch and again in the memory.
//! let value = output.total.clone().into_scalar::<f32>();
//! assert!((value - (0.4 + 0.4)).abs() < 1e-6);
//! let gradients = output.total.backward();
//! assert!(anchors.grad(&gradients).is_some());
//! ```

mod drift;
mod kernel;
mod loss;
mod memory;
mod miner;
mod objective;
mod pair_loss;
mod pairs;
mod reduction;
mod registry;
mod relation;
mod statistics;
mod twin;

pub use crossbatch_kernels::{Anchors, PairRows, References, gpu, program};
pub use drift::{
    ActivePairAges, AgeHistogram, Drift, DriftConfig, DriftMeter, DriftState, GradientError,
    active_pair_ages, memory_gradient_error,
};
pub use kernel::Kernel;
pub use loss::{
    BinomialDevianceLoss, CircleLoss, ContrastiveForm, ContrastiveLoss, Duplicates, LearnBeta,
    LiftedStructureLoss, LossConfig, LossKind, MarginLoss, MultiSimilarityLoss, NPairsLoss,
    NcaLoss, NtXentLoss, OptionError, PairLoss, ReleasedTripletLoss, Similarity,
    SnrContrastiveLoss, SupConLoss, TripletLoss, Triplets,
};
pub use memory::{
    AgeWeighting, Correction, CorrectionState, Interner, KalmanConfig, Memory, MemoryColumns,
    MemoryConfig, MemoryError, MemoryState, NO_SLOT, Policy, Storage, TrackState,
};
pub use miner::{
    AgeWindowMiner, Candidate, Candidates, DistanceWeightedMiner, MinedTriplets, Miner,
    MinerConfig, MinerKind, MultiSimilarityMiner, PairMarginMiner, Selection, TopKMiner,
    TripletMiner,
};
pub use objective::{LossParameters, Objective, ObjectiveConfig, ObjectiveOutput, TermOutput};
pub use pair_loss::{PairLossOutput, PairTerm, pair_loss};
pub use pairs::Pairs;
pub use reduction::{Part, Reduction};
pub use relation::{Rows, SameImage};
pub use statistics::PairStatistics;
pub use twin::MomentumTwin;

/// The README's program compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
pub struct Readme;
