//! What can be done to embeddings, or to a ranking, after the model is done.
//!
//! Each of these looks at the gallery as a whole, so its numbers are another protocol than those of the embeddings alone:
//! report them beside, not instead. None reads a label.

mod expansion;
mod pca;
mod reciprocal;

pub use expansion::{Expansion, augment_database, expand_queries};
pub use pca::{Pca, PcaConfig};
pub use reciprocal::{KReciprocal, KReciprocalConfig};
