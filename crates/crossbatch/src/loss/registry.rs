//! The losses by name.

use super::{
    BinomialDevianceLoss, CircleLoss, ContrastiveLoss, LiftedStructureLoss, MarginLoss,
    MultiSimilarityLoss, NPairsLoss, NcaLoss, NtXentLoss, PairLoss, ReleasedTripletLoss,
    SnrContrastiveLoss, SupConLoss, TripletLoss,
};
use crate::registry::registry;

registry! {
    /// Which loss.
    kind LossKind;
    /// A loss with its options: a table with `kind` and, beside it, that loss's own keys.
    config LossConfig;
    /// The loss.
    get loss -> PairLoss;
    Contrastive, "contrastive", ContrastiveLoss, "contrastive.md";
    ReleasedTriplet, "released-triplet", ReleasedTripletLoss, "released_triplet.md";
    Triplet, "triplet", TripletLoss, "triplet.md";
    MultiSimilarity, "multi-similarity", MultiSimilarityLoss, "multi_similarity.md";
    NtXent, "nt-xent", NtXentLoss, "nt_xent.md", alias "infonce";
    SupCon, "supcon", SupConLoss, "supcon.md";
    NPairs, "n-pairs", NPairsLoss, "n_pairs.md";
    LiftedStructure, "lifted-structure", LiftedStructureLoss, "lifted_structure.md";
    BinomialDeviance, "binomial-deviance", BinomialDevianceLoss, "binomial_deviance.md";
    Circle, "circle", CircleLoss, "circle.md";
    Nca, "nca", NcaLoss, "nca.md";
    Margin, "margin", MarginLoss, "margin.md";
    SnrContrastive, "snr-contrastive", SnrContrastiveLoss, "snr_contrastive.md";
}

impl Default for LossConfig {
    fn default() -> Self {
        Self::Contrastive(ContrastiveLoss::default())
    }
}
