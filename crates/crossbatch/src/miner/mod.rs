//! One file a miner, with its page beside it.

use std::fmt::Debug;

/// Which pairs of a loss count besides what the loss itself selects.
pub trait Miner: Debug + Send + Sync {
    /// Its name in recipes, such as `pair-margin`.
    fn name(&self) -> &'static str;
}
