use burn::{module::Module, tensor::Tensor, tensor::activation::relu};
use crossbatch_kernels::global_average_pool;

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{BatchNorm2d, Conv2d, Mode},
    onnx::{Attribute, Graph},
};

/// MobileNetV3, large or small, in torchvision's layout and names; features are those before the classifier's first linear
/// layer. Batch normalisations have epsilon 1e-3 and momentum 0.01.
///
/// # References
///
/// Howard et al., "Searching for MobileNetV3", ICCV 2019, tables 1 and 2.
#[derive(Module, Debug)]
pub struct MobileNetV3 {
    features: Vec<Layer>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are a dozen of them")]
enum Layer {
    Conv(ConvNorm),
    Residual(Residual),
}

/// Convolution, batch normalisation, activation.
#[derive(Module, Debug)]
struct ConvNorm {
    layers: (Conv2d, BatchNorm2d),
    hard_swish: bool,
}

/// Expansion, a convolution a channel, squeeze-and-excitation, projection; the input is added where shapes allow.
#[derive(Module, Debug)]
struct Residual {
    block: Vec<Part>,
    adds: bool,
}

#[derive(Module, Debug)]
enum Part {
    Conv(ConvNorm),
    Squeeze(Squeeze),
}

/// Channels weighted by what two 1x1 convolutions make of their means.
#[derive(Module, Debug)]
struct Squeeze {
    fc1: Conv2d,
    fc2: Conv2d,
}

/// Kernel, expanded channels, output channels, squeeze, hard swish, stride.
type Row = (usize, usize, usize, bool, bool, usize);

const SMALL: [Row; 11] = [
    (3, 16, 16, true, false, 2),
    (3, 72, 24, false, false, 2),
    (3, 88, 24, false, false, 1),
    (5, 96, 40, true, true, 2),
    (5, 240, 40, true, true, 1),
    (5, 240, 40, true, true, 1),
    (5, 120, 48, true, true, 1),
    (5, 144, 48, true, true, 1),
    (5, 288, 96, true, true, 2),
    (5, 576, 96, true, true, 1),
    (5, 576, 96, true, true, 1),
];

const LARGE: [Row; 15] = [
    (3, 16, 16, false, false, 1),
    (3, 64, 24, false, false, 2),
    (3, 72, 24, false, false, 1),
    (5, 72, 40, true, false, 2),
    (5, 120, 40, true, false, 1),
    (5, 120, 40, true, false, 1),
    (3, 240, 80, false, true, 2),
    (3, 200, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 184, 80, false, true, 1),
    (3, 480, 112, true, true, 1),
    (3, 672, 112, true, true, 1),
    (5, 672, 160, true, true, 2),
    (5, 960, 160, true, true, 1),
    (5, 960, 160, true, true, 1),
];

fn rows(large: bool) -> &'static [Row] {
    if large { &LARGE } else { &SMALL }
}

/// The first convolution, each residual block, the last convolution.
pub(super) fn stages(large: bool) -> usize {
    rows(large).len() + 2
}

pub(super) fn width(large: bool) -> usize {
    6 * rows(large).last().map_or(0, |row| row.2)
}

/// How a convolution's output goes on.
#[derive(Clone, Copy, PartialEq)]
enum Activation {
    None,
    Relu,
    HardSwish,
}

/// `x / 6 + 1 / 2`, within 0..1.
fn hard_sigmoid(input: Tensor<4>) -> Tensor<4> {
    (input + 3.0).clamp(0.0, 6.0) / 6.0
}

impl ConvNorm {
    fn new(init: &mut Initializer<'_>, conv: Conv2d, activation: Activation) -> Self {
        let channels = conv.weight.dims()[0];
        let norm = BatchNorm2d::with_epsilon(init, channels, activation == Activation::Relu, 1e-3);
        let norm = norm.with_momentum(0.01);
        Self { layers: (conv, norm), hard_swish: activation == Activation::HardSwish }
    }

    fn forward(&self, input: Tensor<4>, mode: Mode) -> Tensor<4> {
        let features = self.layers.1.after(&self.layers.0, input, None, mode);
        if self.hard_swish { features.clone() * hard_sigmoid(features) } else { features }
    }

    fn forward_residual(&self, input: Tensor<4>, residual: Tensor<4>, mode: Mode) -> Tensor<4> {
        self.layers.1.after(&self.layers.0, input, Some(residual), mode)
    }

    fn onnx(&self, graph: &mut Graph, input: &str, residual: Option<&str>) -> String {
        let features = graph.conv(&self.layers.0, input);
        let features = graph.norm(&self.layers.1, &features, residual);
        if self.hard_swish { graph.node("HardSwish", &[&features], &[]) } else { features }
    }

    fn tally(&self, tally: &mut Tally) {
        tally.conv(&self.layers.0);
        tally.norm(&self.layers.1);
    }
}

impl Squeeze {
    fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let [batch, channels, ..] = input.dims();
        let means = global_average_pool(input.clone()).reshape([batch, channels, 1, 1]);
        let factors = hard_sigmoid(self.fc2.forward(relu(self.fc1.forward(means))));
        input * factors
    }
}

impl Squeeze {
    fn onnx(&self, graph: &mut Graph, input: &str) -> String {
        let means = graph.node("GlobalAveragePool", &[input], &[]);
        let hidden = graph.conv(&self.fc1, &means);
        let hidden = graph.relu(&hidden);
        let factors = graph.conv(&self.fc2, &hidden);
        let slope = [Attribute::Float("alpha", 1.0 / 6.0), Attribute::Float("beta", 0.5)];
        let factors = graph.node("HardSigmoid", &[&factors], &slope);
        graph.node("Mul", &[input, &factors], &[])
    }
}

impl Residual {
    fn new(init: &mut Initializer<'_>, input: usize, row: Row) -> Self {
        let (kernel, expanded, output, squeeze, hard_swish, stride) = row;
        let activation = if hard_swish { Activation::HardSwish } else { Activation::Relu };
        let mut block = Vec::new();
        if expanded != input {
            let conv = Conv2d::kaiming(init, [input, expanded], 1, 1, 1);
            block.push(Part::Conv(ConvNorm::new(init, conv, activation)));
        }
        let conv = Conv2d::kaiming(init, [expanded, expanded], kernel, stride, expanded);
        block.push(Part::Conv(ConvNorm::new(init, conv, activation)));
        if squeeze {
            let squeezed = divisible(expanded / 4);
            let fc1 = Conv2d::kaiming(init, [expanded, squeezed], 1, 1, 1).with_zero_bias(init);
            let fc2 = Conv2d::kaiming(init, [squeezed, expanded], 1, 1, 1).with_zero_bias(init);
            block.push(Part::Squeeze(Squeeze { fc1, fc2 }));
        }
        let conv = Conv2d::kaiming(init, [expanded, output], 1, 1, 1);
        block.push(Part::Conv(ConvNorm::new(init, conv, Activation::None)));
        Self { block, adds: stride == 1 && input == output }
    }

    fn forward(&self, input: Tensor<4>, mode: Mode) -> Tensor<4> {
        let last = self.block.len() - 1;
        self.block.iter().enumerate().fold(input.clone(), |features, (index, part)| match part {
            Part::Conv(conv) if index == last && self.adds => {
                conv.forward_residual(features, input.clone(), mode)
            }
            Part::Conv(conv) => conv.forward(features, mode),
            Part::Squeeze(squeeze) => squeeze.forward(features),
        })
    }

    fn onnx(&self, graph: &mut Graph, input: &str) -> String {
        let last = self.block.len() - 1;
        self.block.iter().enumerate().fold(input.to_owned(), |features, (index, part)| match part {
            Part::Conv(conv) => {
                conv.onnx(graph, &features, (index == last && self.adds).then_some(input))
            }
            Part::Squeeze(squeeze) => squeeze.onnx(graph, &features),
        })
    }

    fn tally(&self, tally: &mut Tally) {
        for part in &self.block {
            match part {
                Part::Conv(conv) => conv.tally(tally),
                Part::Squeeze(squeeze) => tally.branch(|tally| {
                    tally.global_pool();
                    tally.conv(&squeeze.fc1);
                    tally.conv(&squeeze.fc2);
                }),
            }
        }
    }
}

/// The nearest multiple of 8, at least 8, and no more than a tenth below `channels`.
fn divisible(channels: usize) -> usize {
    let near = ((channels + 4) / 8 * 8).max(8);
    if near * 10 < channels * 9 { near + 8 } else { near }
}

impl MobileNetV3 {
    pub(crate) fn new(
        init: &mut Initializer<'_>,
        channels: usize,
        large: bool,
        frozen: usize,
    ) -> Self {
        init.freeze(frozen > 0);
        let conv = Conv2d::kaiming(init, [channels, 16], 3, 2, 1);
        let mut features = vec![Layer::Conv(ConvNorm::new(init, conv, Activation::HardSwish))];
        let mut input = 16;
        for &row in rows(large) {
            init.freeze(frozen > features.len());
            features.push(Layer::Residual(Residual::new(init, input, row)));
            input = row.2;
        }
        init.freeze(frozen > features.len());
        let conv = Conv2d::kaiming(init, [input, 6 * input], 1, 1, 1);
        features.push(Layer::Conv(ConvNorm::new(init, conv, Activation::HardSwish)));
        Self { features }
    }

    /// Images `[B, C, H, W]` to features `[B, 960, H / 32, W / 32]` (small: 576), rounded up.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        self.features.iter().fold(images, |features, layer| match layer {
            Layer::Conv(conv) => conv.forward(features, mode),
            Layer::Residual(block) => block.forward(features, mode),
        })
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, images: &str) -> String {
        self.features.iter().fold(images.to_owned(), |features, layer| match layer {
            Layer::Conv(conv) => conv.onnx(graph, &features, None),
            Layer::Residual(block) => block.onnx(graph, &features),
        })
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        for layer in &self.features {
            match layer {
                Layer::Conv(conv) => conv.tally(tally),
                Layer::Residual(block) => block.tally(tally),
            }
        }
    }
}
