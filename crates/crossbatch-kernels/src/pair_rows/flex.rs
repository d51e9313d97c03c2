//! The CPU kernel: `crossbatch_math::pair_rows` on the tensors' own memory.

use super::PairRowsOps;
use burn::backend::Flex;

impl PairRowsOps for Flex {}
