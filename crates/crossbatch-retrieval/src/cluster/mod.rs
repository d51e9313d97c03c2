//! Clustering, and how well clusters agree with labels.

mod agreement;
mod centres;
mod k_means;
mod seeding;

pub use agreement::{Normaliser, adjusted_mutual_information, normalised_mutual_information};
pub use k_means::{KMeans, KMeansConfig, k_means};
