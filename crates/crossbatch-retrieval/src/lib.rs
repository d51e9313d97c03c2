//! Vectors in, numbers out: exact search (cosine, dot product, Euclidean) and retrieval metrics.
//!
//! Given embeddings and labels this crate says what is nearest to what ([`search()`]) and how good that ranking is
//! ([`evaluate_self`] for a set searched with itself, [`evaluate`] for queries and a gallery). It knows nothing of
//! models, tensors or images.
//! [`Embeddings`] reads and writes files of vectors with their labels: safetensors, NumPy's, CSV, and Parquet with the feature
//! `parquet` (off by default: twenty more crates, none of them with C code).
//!
//! - **Exact.** Every query meets every gallery item; there is no index and no approximation.
//! - **Deterministic.** The order of a ranking is defined by the vectors alone: f64 arithmetic over the stored values,
//!   highest first, then the lower index. Products in fixed point of 8 or 16 bits (or f32) do the bulk of the work, but
//!   decide nothing they could get wrong: each has a known bound on its error, and what lies within it is computed again.
//!   The same vectors give the same numbers, to the last bit, for any number of threads.
//! - **Small.** Similarities exist one block at a time; memory grows with the number of queries times `k`, never with
//!   queries times gallery. Metrics do without neighbour lists altogether: the rank of a positive is a count. Both sides
//!   may be larger than memory ([`rank_sources`], [`nearest_sources`]).
//! - **Honest about input.** NaN, lengths that do not fit and labels without a match are errors that say
//!   where and what.
//!
//! Work runs on rayon's current pool: call from inside `ThreadPool::install` to choose another.
//!
//! # A whole program
//!
//! ```
//! use crossbatch_retrieval::{
//!     Exclude, MetricsConfig, Similarity, Vectors, evaluate_self, search,
//! };
//!
//! # fn main() -> Result<(), crossbatch_retrieval::Error> {
//! // Six embeddings of three classes, as they come out of a model.
//! let embeddings = [
//!     2.0, 0.1, 0.0, //
//!     1.5, 0.3, 0.1, //
//!     0.0, 3.0, 0.2, //
//!     0.1, 1.0, 0.0, //
//!     0.0, 0.2, 0.9, //
//!     1.0, 0.0, 0.8, // a difficult one: nearer to the first class than to its own
//! ];
//! let labels = [0, 0, 1, 1, 2, 2];
//!
//! let rows = Vectors::new(embeddings.to_vec(), 3, Similarity::Cosine)?;
//! let config = MetricsConfig { recall_at: vec![1, 2] };
//! let metrics = evaluate_self(&rows, &labels, &config, &|done, total| {
//!     let _ = (done, total); // drive a progress bar here
//! })?;
//! assert_eq!(metrics.queries, 6);
//! assert_eq!(metrics.recall(1), Some(5.0 / 6.0)); // only the last row has a stranger first
//! assert_eq!(metrics.map_at_r, 5.0 / 6.0); // with one positive each, the same
//!
//! let neighbours = search(&rows, &rows, 2, Exclude::SameIndex, &|_, _| {})?;
//! let (indices, similarities) = neighbours.row(5);
//! assert_eq!(indices, [1, 0]);
//! assert!((similarities[0] - 0.805).abs() < 1e-3);
//! # Ok(())
//! # }
//! ```
//!
//! # Which metric
//!
//! | metric | asks | range |
//! |---|---|---|
//! | [`recall_at`](Metrics::recall_at) | is any match among the first K? | the papers' headline; saturates |
//! | [`precision_at`](Metrics::precision_at) | how much of the first page is right? | at most R / K |
//! | [`r_precision`](Metrics::r_precision) | of as many places as there are matches, how many are right? | 1 is perfect |
//! | [`map_at_r`](Metrics::map_at_r) | the same, and are the right ones first? | 1 is perfect; the best single number |
//! | [`mean_average_precision`](Metrics::mean_average_precision) | how early does every match come? | 1 is perfect |
//! | [`mean_reciprocal_rank`](Metrics::mean_reciprocal_rank) | how early does the first match come? | 1 if all first |
//! | [`ndcg_at`](Metrics::ndcg_at) | the same, discounted by the logarithm of the rank, among the first K? | 1 is perfect |
//! | [`mean_rank`](Metrics::mean_rank), [`median_rank`](Metrics::median_rank) | where does the first match stand? | 1 is perfect |
//!
//! [`rank()`] and [`Scores`] give every query's own numbers, and from them means per class or group, confidence intervals and
//! the difference of two runs. `docs/metrics` in the repository has a page for each metric.
//!
//! # Besides rankings
//!
//! | module | asks |
//! |---|---|
//! | [`protocol`] | who searches what, in SOP, In-Shop, VehicleID …? |
//! | [`verification`] | same or not the same: ROC-AUC, EER, FNMR@FMR, thresholds |
//! | [`cluster`] | k-means; NMI and AMI of clusters and classes |
//! | [`health`] | spread, alignment, uniformity, effective rank, duplicates |
//! | [`postprocess`] | query expansion, database augmentation, PCA, whitening, k-reciprocal re-ranking |

pub mod cluster;
mod count;
mod dense;
mod embeddings;
mod error;
mod files;
pub mod health;
mod ladder;
mod linear;
mod measure;
mod metrics;
mod options;
mod order;
mod piece;
mod plan;
pub mod postprocess;
pub mod protocol;
mod radix;
mod random;
mod rank;
mod ranking;
mod relation;
mod scan;
mod search;
mod sorted;
mod source;
mod top_k;
mod vectors;
pub mod verification;
mod wanted;

pub use embeddings::{Embeddings, FileError, FileFormat, FileRows, Labels};
pub use error::Error;
pub use files::{replace_file, write_atomically};
pub use measure::{measure, measure_sources};
pub use metrics::{
    Bootstrap, Confusion, Group, HardQuery, Interval, Metric, Metrics, MetricsConfig, Scores,
    Units, confusions, evaluate, evaluate_self, worst_queries,
};
pub use options::Options;
pub use rank::{rank, rank_source, rank_sources};
pub use ranking::Ranking;
pub use relation::{Column, Exclude, Ignore, Relation};
pub use search::{Neighbours, nearest, nearest_sources, search};
pub use source::RowSource;
pub use vectors::{Precision, Similarity, Values, Vectors};

/// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
