//! The operations that have no kernel on GPUs: their reference bodies.

use crate::{
    AttentionOps, AveragePoolOps, BatchNormOps, Conv2dOps, ConvNormOps, GeluOps, LayerNormOps,
    NormalizeOps, OptimizerOps, PoolOps,
};
use burn_cubecl::CubeBackend;

impl Conv2dOps for CubeBackend {}
impl BatchNormOps for CubeBackend {}
impl ConvNormOps for CubeBackend {}
impl PoolOps for CubeBackend {}
impl OptimizerOps for CubeBackend {}
impl AveragePoolOps for CubeBackend {}
impl LayerNormOps for CubeBackend {}
impl GeluOps for CubeBackend {}
impl AttentionOps for CubeBackend {}
impl NormalizeOps for CubeBackend {}
