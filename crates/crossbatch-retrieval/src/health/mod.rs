//! What embeddings look like, before any ranking: spread, collapse, duplicates.

mod duplicates;
mod similarity;
mod spectrum;

pub use duplicates::{Duplicates, duplicates};
pub use similarity::{SimilarityHealth, Spread, similarity_health, uniformity};
pub use spectrum::{Spectrum, spectrum};
