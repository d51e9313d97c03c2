//! How stale a memory is: how far embeddings move, how old its entries are, and what that does to the
//! gradient.

mod ages;
mod gradient;
mod meter;

pub use ages::{ActivePairAges, AgeHistogram, active_pair_ages};
pub use gradient::{GradientError, memory_gradient_error};
pub use meter::{Drift, DriftConfig, DriftMeter, DriftState};
