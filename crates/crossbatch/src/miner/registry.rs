//! The miners by name.

use super::{
    AgeWindowMiner, DistanceWeightedMiner, Miner, MultiSimilarityMiner, PairMarginMiner, TopKMiner,
    TripletMiner,
};
use crate::registry::registry;

registry! {
    /// Which miner.
    kind MinerKind;
    /// A miner with its options: a table with `kind` and, beside it, that miner's own keys.
    config MinerConfig;
    /// The miner.
    get miner -> Miner;
    MultiSimilarity, "multi-similarity", MultiSimilarityMiner, "multi_similarity.md";
    Triplets, "triplets", TripletMiner, "triplets.md";
    PairMargin, "pair-margin", PairMarginMiner, "pair_margin.md";
    TopK, "top-k", TopKMiner, "top_k.md";
    DistanceWeighted, "distance-weighted", DistanceWeightedMiner, "distance_weighted.md";
    AgeWindow, "age-window", AgeWindowMiner, "age_window.md";
}
