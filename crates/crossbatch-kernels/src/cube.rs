//! The operations that have no kernel on GPUs: their reference bodies.

use crate::{BatchNormOps, Conv2dOps, OptimizerOps, PoolOps};
use burn_cubecl::CubeBackend;

impl Conv2dOps for CubeBackend {}
impl BatchNormOps for CubeBackend {}
impl PoolOps for CubeBackend {}
impl OptimizerOps for CubeBackend {}
