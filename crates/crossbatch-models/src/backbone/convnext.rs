use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use crossbatch_kernels::gelu;

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{Conv2d, LayerNorm, Linear},
};

/// ConvNeXt-T in torchvision's layout and names, without stochastic depth. The layer normalisation that torchvision has
/// behind the pooling belongs to its classifier; `head-norm` puts one in its place.
///
/// Initial values are torchvision's: weights normal with deviation 0.02, biases 0, factors 1e-6.
///
/// # References
///
/// Liu et al., "A ConvNet for the 2020s", CVPR 2022.
#[derive(Module, Debug)]
pub struct ConvNeXt {
    features: Features,
}

/// The first convolution and its normalisation, then blocks and halvings in turn.
type Features = (
    (Conv2d, LayerNorm),
    Vec<Block>,
    (LayerNorm, Conv2d),
    Vec<Block>,
    (LayerNorm, Conv2d),
    Vec<Block>,
    (LayerNorm, Conv2d),
    Vec<Block>,
);

/// A 7x7 convolution a channel, then normalisation and two linear layers over the channels of each place.
#[derive(Module, Debug)]
struct Block {
    layer_scale: Param<Tensor<3>>,
    block_0: Conv2d,
    block_2: LayerNorm,
    block_3: Linear,
    block_5: Linear,
}

const WIDTHS: [usize; 4] = [96, 192, 384, 768];
const DEPTHS: [usize; 4] = [3, 3, 9, 3];
/// The first convolution, and the four rows of blocks with the halving before them.
pub(super) const STAGES: usize = 5;
pub(super) const WIDTH: usize = WIDTHS[3];
const EPSILON: f64 = 1e-6;

impl ConvNeXt {
    pub(crate) fn new(init: &mut Initializer<'_>, channels: usize, frozen: usize) -> Self {
        init.freeze(frozen > 0);
        let stem = Conv2d::blocks(init, [channels, WIDTHS[0]], 4);
        let stem = (stem, LayerNorm::new(init, WIDTHS[0], EPSILON));
        let blocks = |init: &mut Initializer<'_>, stage: usize| -> Vec<Block> {
            init.freeze(frozen > stage + 1);
            (0..DEPTHS[stage]).map(|_| Block::new(init, WIDTHS[stage])).collect()
        };
        let halve = |init: &mut Initializer<'_>, stage: usize| {
            init.freeze(frozen > stage + 1);
            let norm = LayerNorm::new(init, WIDTHS[stage - 1], EPSILON);
            (norm, Conv2d::blocks(init, [WIDTHS[stage - 1], WIDTHS[stage]], 2))
        };
        let first = blocks(init, 0);
        let (halve1, second) = (halve(init, 1), blocks(init, 1));
        let (halve2, third) = (halve(init, 2), blocks(init, 2));
        let (halve3, fourth) = (halve(init, 3), blocks(init, 3));
        Self { features: (stem, first, halve1, second, halve2, third, halve3, fourth) }
    }

    /// Images `[B, C, H, W]` to features `[B, 768, H / 32, W / 32]`, rounded down.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let (stem, first, halve1, second, halve2, third, halve3, fourth) = &self.features;
        let run = |blocks: &[Block], features| {
            blocks.iter().fold(features, |features, block| block.forward(features))
        };
        let halve = |(norm, conv): &(LayerNorm, Conv2d), features| {
            conv.forward(norm.forward_channels(features))
        };
        let features = stem.1.forward_channels(stem.0.forward(images));
        let features = run(second, halve(halve1, run(first, features)));
        let features = run(third, halve(halve2, features));
        run(fourth, halve(halve3, features))
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        let (stem, first, halve1, second, halve2, third, halve3, fourth) = &self.features;
        tally.conv(&stem.0);
        tally.layer_norm();
        first.iter().for_each(|block| block.tally(tally));
        for (halve, blocks) in [(halve1, second), (halve2, third), (halve3, fourth)] {
            tally.layer_norm();
            tally.conv(&halve.1);
            blocks.iter().for_each(|block| block.tally(tally));
        }
    }
}

impl Block {
    fn new(init: &mut Initializer<'_>, width: usize) -> Self {
        Self {
            layer_scale: init.constant_of([width, 1, 1], 1e-6),
            block_0: Conv2d::depthwise(init, width, 7),
            block_2: LayerNorm::new(init, width, EPSILON),
            block_3: Linear::normal(init, width, 4 * width, 0.02),
            block_5: Linear::normal(init, 4 * width, width, 0.02),
        }
    }

    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        // Channels last, as the linear layers take them.
        let features = self.block_0.forward(input.clone()).permute([0, 2, 3, 1]);
        let features = gelu(self.block_3.forward(self.block_2.forward(features)));
        let features = self.block_5.forward(features).permute([0, 3, 1, 2]);
        input + features * self.layer_scale.val().unsqueeze()
    }

    fn tally(&self, tally: &mut Tally) {
        tally.conv(&self.block_0);
        tally.layer_norm();
        tally.linear_each(&self.block_3);
        tally.linear_each(&self.block_5);
    }
}
