use burn::{module::Module, tensor::Tensor};
use crossbatch_kernels::{PoolOptions, max_pool2d};

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{BatchNorm2d, Conv2d, Mode},
    onnx::Graph,
};

/// Four blocks of 3x3 convolution (64 channels, no bias), BatchNorm and ReLU, with 2x2 max-pooling
/// after the first three; the output is flattened
/// unless another pooling is asked for.
///
/// 28 x 28 images end in 64 x 3 x 3 = 576 features.
///
/// # References
///
/// The four-block network of Vinyals et al., "Matching Networks for One Shot Learning" (NIPS 2016),
/// usual on Omniglot; here the last block keeps its size.
#[derive(Module, Debug)]
pub struct Conv4 {
    blocks: Vec<Block>,
}

#[derive(Module, Debug)]
struct Block {
    conv: Conv2d,
    norm: BatchNorm2d,
}

pub(super) const WIDTH: usize = 64;
pub(super) const BLOCKS: usize = 4;

impl Conv4 {
    pub(crate) fn new(init: &mut Initializer<'_>, channels: usize, frozen: usize) -> Self {
        let blocks = (0..BLOCKS)
            .map(|index| {
                init.freeze(index < frozen);
                Block {
                    conv: Conv2d::new(init, if index == 0 { channels } else { WIDTH }, WIDTH, 3),
                    norm: BatchNorm2d::new(init, WIDTH, true),
                }
            })
            .collect();
        Self { blocks }
    }

    /// Images `[B, C, S, S]` to features `[B, 64, S / 8, S / 8]`.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        let last = self.blocks.len() - 1;
        self.blocks.iter().enumerate().fold(images, |features, (index, block)| {
            let features = block.norm.after(&block.conv, features, None, mode);
            if index < last { max_pool2d(features, PoolOptions::new(2, 2)) } else { features }
        })
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, images: &str) -> String {
        let last = self.blocks.len() - 1;
        self.blocks.iter().enumerate().fold(images.to_owned(), |features, (index, block)| {
            let features = graph.conv(&block.conv, &features);
            let features = graph.norm(&block.norm, &features, None);
            if index < last { graph.max_pool(PoolOptions::new(2, 2), &features) } else { features }
        })
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        let last = self.blocks.len() - 1;
        for (index, block) in self.blocks.iter().enumerate() {
            tally.conv(&block.conv);
            tally.norm(&block.norm);
            if index < last {
                tally.max_pool(PoolOptions::new(2, 2));
            }
        }
    }
}
