use burn::{module::Module, tensor::Tensor};
use crossbatch_kernels::{PoolOptions, max_pool2d};

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{BatchNorm2d, Conv2d, Mode},
    onnx::Graph,
};

/// A residual network in torchvision's layout and names (`layer1.0.conv1.weight`, …).
///
/// Where a bottleneck strides, it does so in its 3x3 convolution ("v1.5"), as torchvision and the published weights do;
/// the paper strides in the first 1x1. Initial values are torchvision's: `kaiming_normal_` by the outputs, scales 1.
///
/// # References
///
/// He, Zhang, Ren, Sun, "Deep Residual Learning for Image Recognition", CVPR 2016.
#[derive(Module, Debug)]
pub struct ResNet {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    layer1: Vec<Block>,
    layer2: Vec<Block>,
    layer3: Vec<Block>,
    layer4: Vec<Block>,
}

/// Two 3x3 convolutions, or with a third a bottleneck of 1x1, 3x3 and 1x1; the input is added before the last ReLU.
#[derive(Module, Debug)]
struct Block {
    conv1: Conv2d,
    bn1: BatchNorm2d,
    conv2: Conv2d,
    bn2: BatchNorm2d,
    conv3: Option<Conv2d>,
    bn3: Option<BatchNorm2d>,
    downsample: Option<(Conv2d, BatchNorm2d)>,
}

/// What tells one residual network from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ResNetPlan {
    /// Blocks of each of the four layers.
    pub(crate) blocks: [usize; 4],
    /// Whether blocks are bottlenecks, with four times as many channels outside.
    pub(crate) bottleneck: bool,
    /// Channels of the first layer; 64 in all published ones.
    pub(crate) width: usize,
    /// Stride of the last layer: 2, or 1 for a map of twice the side.
    pub(crate) last_stride: usize,
}

impl ResNetPlan {
    pub(crate) fn features(&self) -> usize {
        self.width * 8 * self.expansion()
    }

    fn expansion(&self) -> usize {
        if self.bottleneck { 4 } else { 1 }
    }
}

/// The first convolution, and the four layers.
pub(super) const STAGES: usize = 5;

const POOL: PoolOptions = PoolOptions { kernel: 3, stride: 2, padding: 1, ceil_mode: false };

impl ResNet {
    pub(crate) fn new(
        init: &mut Initializer<'_>,
        channels: usize,
        plan: &ResNetPlan,
        frozen: usize,
    ) -> Self {
        init.freeze(frozen > 0);
        let conv1 = Conv2d::kaiming(init, [channels, plan.width], 7, 2, 1);
        let bn1 = BatchNorm2d::new(init, plan.width, true);
        let mut input = plan.width;
        let [layer1, layer2, layer3, layer4] = [0, 1, 2, 3].map(|layer| {
            init.freeze(frozen > layer + 1);
            let stride = match layer {
                0 => 1,
                3 => plan.last_stride,
                _ => 2,
            };
            let width = plan.width << layer;
            let blocks = (0..plan.blocks[layer]).map(|index| {
                let stride = if index == 0 { stride } else { 1 };
                let block = Block::new(init, input, width, stride, plan);
                input = width * plan.expansion();
                block
            });
            blocks.collect()
        });
        Self { conv1, bn1, layer1, layer2, layer3, layer4 }
    }

    fn blocks(&self) -> impl Iterator<Item = &Block> {
        [&self.layer1, &self.layer2, &self.layer3, &self.layer4].into_iter().flatten()
    }

    /// Images `[B, C, H, W]` to features `[B, F, H / 32, W / 32]`, rounded up.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        let features = self.bn1.after(&self.conv1, images, None, mode);
        let features = max_pool2d(features, POOL);
        self.blocks().fold(features, |features, block| block.forward(features, mode))
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, images: &str) -> String {
        let features = graph.conv(&self.conv1, images);
        let features = graph.norm(&self.bn1, &features, None);
        let features = graph.max_pool(POOL, &features);
        self.blocks().fold(features, |features, block| block.onnx(graph, &features))
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        tally.conv(&self.conv1);
        tally.norm(&self.bn1);
        tally.max_pool(POOL);
        self.blocks().for_each(|block| block.tally(tally));
    }
}

impl Block {
    fn new(
        init: &mut Initializer<'_>,
        input: usize,
        width: usize,
        stride: usize,
        plan: &ResNetPlan,
    ) -> Self {
        let output = width * plan.expansion();
        let norm = BatchNorm2d::new;
        let (first, second) =
            if plan.bottleneck { ((1, 1), (3, stride)) } else { ((3, stride), (3, 1)) };
        Self {
            conv1: Conv2d::kaiming(init, [input, width], first.0, first.1, 1),
            bn1: norm(init, width, true),
            conv2: Conv2d::kaiming(init, [width, width], second.0, second.1, 1),
            bn2: norm(init, width, true),
            conv3: plan.bottleneck.then(|| Conv2d::kaiming(init, [width, output], 1, 1, 1)),
            bn3: plan.bottleneck.then(|| norm(init, output, true)),
            downsample: (stride != 1 || input != output).then(|| {
                let conv = Conv2d::kaiming(init, [input, output], 1, stride, 1);
                (conv, norm(init, output, false))
            }),
        }
    }

    fn forward(&self, input: Tensor<4>, mode: Mode) -> Tensor<4> {
        let identity = match &self.downsample {
            Some((conv, norm)) => norm.after(conv, input.clone(), None, mode),
            None => input.clone(),
        };
        let features = self.bn1.after(&self.conv1, input, None, mode);
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let features = self.bn2.after(&self.conv2, features, None, mode);
                bn3.after(conv3, features, Some(identity), mode)
            }
            _ => self.bn2.after(&self.conv2, features, Some(identity), mode),
        }
    }

    fn onnx(&self, graph: &mut Graph, input: &str) -> String {
        let identity = match &self.downsample {
            Some((conv, norm)) => {
                let features = graph.conv(conv, input);
                graph.norm(norm, &features, None)
            }
            None => input.to_owned(),
        };
        let features = graph.conv(&self.conv1, input);
        let features = graph.norm(&self.bn1, &features, None);
        let features = graph.conv(&self.conv2, &features);
        match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => {
                let features = graph.norm(&self.bn2, &features, None);
                let features = graph.conv(conv3, &features);
                graph.norm(bn3, &features, Some(&identity))
            }
            _ => graph.norm(&self.bn2, &features, Some(&identity)),
        }
    }

    fn tally(&self, tally: &mut Tally) {
        if let Some((conv, norm)) = &self.downsample {
            tally.branch(|tally| {
                tally.conv(conv);
                tally.norm(norm);
            });
        }
        tally.conv(&self.conv1);
        tally.norm(&self.bn1);
        tally.conv(&self.conv2);
        tally.norm(&self.bn2);
        if let (Some(conv3), Some(bn3)) = (&self.conv3, &self.bn3) {
            tally.conv(conv3);
            tally.norm(bn3);
        }
    }
}
