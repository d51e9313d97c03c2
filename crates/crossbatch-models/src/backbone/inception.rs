use burn::{module::Module, tensor::Tensor};
use crossbatch_kernels::{PoolOptions, average_pool2d, max_pool2d};

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{BatchNorm2d, Conv2d, Mode},
    onnx::Graph,
};

/// GoogLeNet in torchvision's layout and names: batch normalisation (epsilon 1e-3) behind every convolution, no bias, and a
/// 3x3 where the paper has a 5x5, as in torchvision and the weights it publishes. The auxiliary classifiers are left out.
///
/// torchvision's published weights expect pixels in -1..1 and are used there with `transform_input`, which brings images
/// normalised by ImageNet's mean and deviation to that; here the mean and deviation 0.5 do the same.
///
/// # References
///
/// Szegedy et al., "Going Deeper with Convolutions", CVPR 2015.
#[derive(Module, Debug)]
pub struct GoogLeNet {
    conv1: BasicConv,
    conv2: BasicConv,
    conv3: BasicConv,
    inception3a: Inception,
    inception3b: Inception,
    inception4a: Inception,
    inception4b: Inception,
    inception4c: Inception,
    inception4d: Inception,
    inception4e: Inception,
    inception5a: Inception,
    inception5b: Inception,
}

/// BN-Inception: the table of the batch normalisation paper, by our own PyTorch definition
/// (tests/golden/models/bn_inception.py), whose names these are.
///
/// Two 3x3 convolutions stand where GoogLeNet has a 5x5; 3c and 4e halve the image; average pooling counts the padding.
///
/// # References
///
/// Ioffe, Szegedy, "Batch Normalization: Accelerating Deep Network Training by Reducing Internal Covariate Shift", ICML
/// 2015, figure 5.
#[derive(Module, Debug)]
pub struct BnInception {
    conv1: BasicConv,
    conv2: BasicConv,
    conv3: BasicConv,
    inception3a: Inception,
    inception3b: Inception,
    inception3c: Inception,
    inception4a: Inception,
    inception4b: Inception,
    inception4c: Inception,
    inception4d: Inception,
    inception4e: Inception,
    inception5a: Inception,
    inception5b: Inception,
}

/// Convolution, batch normalisation, ReLU.
#[derive(Module, Debug)]
struct BasicConv {
    conv: Conv2d,
    bn: BatchNorm2d,
}

/// Four branches side by side: 1x1; 1x1 and 3x3; 1x1 and one or two 3x3; pooling and 1x1. One that halves the image has no
/// first branch, and its fourth is maximum pooling alone.
#[derive(Module, Debug)]
struct Inception {
    branch1: Option<BasicConv>,
    branch2: Vec<BasicConv>,
    branch3: Vec<BasicConv>,
    pool_projection: Option<BasicConv>,
    average: bool,
}

/// The first three convolutions, then the modules of each size.
pub(super) const STAGES: usize = 4;
pub(super) const WIDTH: usize = 1024;

const HALVE: PoolOptions = PoolOptions { kernel: 3, stride: 2, padding: 0, ceil_mode: true };
const HALVE_BY_TWO: PoolOptions = PoolOptions { kernel: 2, ..HALVE };
const KEEP: PoolOptions = PoolOptions { kernel: 3, stride: 1, padding: 1, ceil_mode: true };

/// What tells the two networks' layers apart.
#[derive(Clone, Copy)]
struct Style {
    epsilon: f64,
    /// 3x3 convolutions of the third branch.
    depth: usize,
    /// Deviation of the initial weights; none: `kaiming_normal_`.
    deviation: Option<f64>,
}

const GOOGLENET: Style = Style { epsilon: 1e-3, depth: 1, deviation: Some(0.01) };
const BN_INCEPTION: Style = Style { epsilon: 1e-5, depth: 2, deviation: None };

impl BasicConv {
    fn new(
        init: &mut Initializer<'_>,
        [input, output]: [usize; 2],
        kernel: usize,
        stride: usize,
        style: Style,
    ) -> Self {
        let conv = match style.deviation {
            Some(deviation) => Conv2d::normal(init, [input, output], kernel, stride, deviation),
            None => Conv2d::kaiming(init, [input, output], kernel, stride, 1),
        };
        Self { conv, bn: BatchNorm2d::with_epsilon(init, output, true, style.epsilon) }
    }

    fn forward(&self, input: Tensor<4>, mode: Mode) -> Tensor<4> {
        self.bn.after(&self.conv, input, None, mode)
    }

    fn onnx(&self, graph: &mut Graph, input: &str) -> String {
        let features = graph.conv(&self.conv, input);
        graph.norm(&self.bn, &features, None)
    }

    fn tally(&self, tally: &mut Tally) {
        tally.conv(&self.conv);
        tally.norm(&self.bn);
    }
}

fn chain(convs: &[BasicConv], input: Tensor<4>, mode: Mode) -> Tensor<4> {
    convs.iter().fold(input, |features, conv| conv.forward(features, mode))
}

impl Inception {
    /// Channels as in the papers' tables: input; 1x1; reduction and 3x3; reduction and (double) 3x3; projection.
    fn new(
        init: &mut Initializer<'_>,
        [input, one, reduce3, three, reduce5, five, projection]: [usize; 7],
        average: bool,
        style: Style,
    ) -> Self {
        // A module without 1x1 convolutions outside halves the image.
        let stride = if one == 0 { 2 } else { 1 };
        let mut conv =
            |channels, kernel, stride| BasicConv::new(init, channels, kernel, stride, style);
        let branch1 = (one > 0).then(|| conv([input, one], 1, 1));
        let branch2 = vec![conv([input, reduce3], 1, 1), conv([reduce3, three], 3, stride)];
        let mut branch3 = vec![conv([input, reduce5], 1, 1)];
        for index in 0..style.depth {
            let from = if index == 0 { reduce5 } else { five };
            let stride = if index + 1 == style.depth { stride } else { 1 };
            branch3.push(conv([from, five], 3, stride));
        }
        let pool_projection = (projection > 0).then(|| conv([input, projection], 1, 1));
        Self { branch1, branch2, branch3, pool_projection, average }
    }

    fn forward(&self, input: Tensor<4>, mode: Mode) -> Tensor<4> {
        let pooled = match &self.pool_projection {
            None => max_pool2d(input.clone(), PoolOptions { stride: 2, ceil_mode: false, ..KEEP }),
            Some(projection) => {
                let pooled = if self.average {
                    average_pool2d(input.clone(), PoolOptions { ceil_mode: false, ..KEEP }, true)
                } else {
                    max_pool2d(input.clone(), KEEP)
                };
                projection.forward(pooled, mode)
            }
        };
        let mut branches = Vec::with_capacity(4);
        branches.extend(self.branch1.as_ref().map(|conv| conv.forward(input.clone(), mode)));
        branches.push(chain(&self.branch2, input.clone(), mode));
        branches.push(chain(&self.branch3, input, mode));
        branches.push(pooled);
        Tensor::cat(branches, 1)
    }

    fn onnx(&self, graph: &mut Graph, input: &str) -> String {
        let mut branches = Vec::with_capacity(4);
        branches.extend(self.branch1.as_ref().map(|conv| conv.onnx(graph, input)));
        for branch in [&self.branch2, &self.branch3] {
            let start = input.to_owned();
            branches.push(branch.iter().fold(start, |features, conv| conv.onnx(graph, &features)));
        }
        branches.push(match &self.pool_projection {
            None => graph.max_pool(PoolOptions { stride: 2, ceil_mode: false, ..KEEP }, input),
            Some(projection) => {
                let pooled = if self.average {
                    graph.average_pool(PoolOptions { ceil_mode: false, ..KEEP }, input)
                } else {
                    graph.max_pool(KEEP, input)
                };
                projection.onnx(graph, &pooled)
            }
        });
        let branches: Vec<&str> = branches.iter().map(String::as_str).collect();
        graph.concat(&branches, 1)
    }

    fn tally(&self, tally: &mut Tally) {
        let run = |convs: &[BasicConv], tally: &mut Tally| {
            convs.iter().for_each(|conv| conv.tally(tally))
        };
        tally.parallel(&[
            &|tally: &mut Tally| match &self.branch1 {
                Some(conv) => conv.tally(tally),
                None => tally.nothing(),
            },
            &|tally: &mut Tally| run(&self.branch2, tally),
            &|tally: &mut Tally| run(&self.branch3, tally),
            &|tally: &mut Tally| match &self.pool_projection {
                Some(projection) => {
                    tally.max_pool(PoolOptions { ceil_mode: false, ..KEEP });
                    projection.tally(tally);
                }
                None => tally.max_pool(PoolOptions { stride: 2, ceil_mode: false, ..KEEP }),
            },
        ]);
    }
}

impl GoogLeNet {
    pub(crate) fn new(init: &mut Initializer<'_>, channels: usize, frozen: usize) -> Self {
        let style = GOOGLENET;
        init.freeze(frozen > 0);
        let conv1 = BasicConv::new(init, [channels, 64], 7, 2, style);
        let conv2 = BasicConv::new(init, [64, 64], 1, 1, style);
        let conv3 = BasicConv::new(init, [64, 192], 3, 1, style);
        let mut module = |stage: usize, channels| {
            init.freeze(frozen > stage);
            Inception::new(init, channels, false, style)
        };
        Self {
            conv1,
            conv2,
            conv3,
            inception3a: module(1, [192, 64, 96, 128, 16, 32, 32]),
            inception3b: module(1, [256, 128, 128, 192, 32, 96, 64]),
            inception4a: module(2, [480, 192, 96, 208, 16, 48, 64]),
            inception4b: module(2, [512, 160, 112, 224, 24, 64, 64]),
            inception4c: module(2, [512, 128, 128, 256, 24, 64, 64]),
            inception4d: module(2, [512, 112, 144, 288, 32, 64, 64]),
            inception4e: module(2, [528, 256, 160, 320, 32, 128, 128]),
            inception5a: module(3, [832, 256, 160, 320, 32, 128, 128]),
            inception5b: module(3, [832, 384, 192, 384, 48, 128, 128]),
        }
    }

    /// Images `[B, C, H, W]` to features `[B, 1024, H / 32, W / 32]`, rounded up.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        let features = max_pool2d(self.conv1.forward(images, mode), HALVE);
        let features = self.conv3.forward(self.conv2.forward(features, mode), mode);
        let mut features = max_pool2d(features, HALVE);
        for (index, module) in self.modules().into_iter().enumerate() {
            features = match index {
                2 => max_pool2d(features, HALVE),
                7 => max_pool2d(features, HALVE_BY_TWO),
                _ => features,
            };
            features = module.forward(features, mode);
        }
        features
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, images: &str) -> String {
        let features = self.conv1.onnx(graph, images);
        let features = graph.max_pool(HALVE, &features);
        let features = self.conv2.onnx(graph, &features);
        let features = self.conv3.onnx(graph, &features);
        let mut features = graph.max_pool(HALVE, &features);
        for (index, module) in self.modules().into_iter().enumerate() {
            features = match index {
                2 => graph.max_pool(HALVE, &features),
                7 => graph.max_pool(HALVE_BY_TWO, &features),
                _ => features,
            };
            features = module.onnx(graph, &features);
        }
        features
    }

    fn modules(&self) -> [&Inception; 9] {
        [
            &self.inception3a,
            &self.inception3b,
            &self.inception4a,
            &self.inception4b,
            &self.inception4c,
            &self.inception4d,
            &self.inception4e,
            &self.inception5a,
            &self.inception5b,
        ]
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        self.conv1.tally(tally);
        tally.max_pool(HALVE);
        self.conv2.tally(tally);
        self.conv3.tally(tally);
        tally.max_pool(HALVE);
        for (index, module) in self.modules().into_iter().enumerate() {
            match index {
                2 => tally.max_pool(HALVE),
                7 => tally.max_pool(HALVE_BY_TWO),
                _ => {}
            }
            module.tally(tally);
        }
    }
}

impl BnInception {
    pub(crate) fn new(init: &mut Initializer<'_>, channels: usize, frozen: usize) -> Self {
        let style = BN_INCEPTION;
        init.freeze(frozen > 0);
        let conv1 = BasicConv::new(init, [channels, 64], 7, 2, style);
        let conv2 = BasicConv::new(init, [64, 64], 1, 1, style);
        let conv3 = BasicConv::new(init, [64, 192], 3, 1, style);
        let mut module = |stage: usize, channels, average| {
            init.freeze(frozen > stage);
            Inception::new(init, channels, average, style)
        };
        Self {
            conv1,
            conv2,
            conv3,
            inception3a: module(1, [192, 64, 64, 64, 64, 96, 32], true),
            inception3b: module(1, [256, 64, 64, 96, 64, 96, 64], true),
            inception3c: module(1, [320, 0, 128, 160, 64, 96, 0], false),
            inception4a: module(2, [576, 224, 64, 96, 96, 128, 128], true),
            inception4b: module(2, [576, 192, 96, 128, 96, 128, 128], true),
            inception4c: module(2, [576, 160, 128, 160, 128, 160, 128], true),
            inception4d: module(2, [608, 96, 128, 192, 160, 192, 128], true),
            inception4e: module(2, [608, 0, 128, 192, 192, 256, 0], false),
            inception5a: module(3, [1056, 352, 192, 320, 160, 224, 128], true),
            inception5b: module(3, [1024, 352, 192, 320, 192, 224, 128], false),
        }
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, images: &str) -> String {
        let features = self.conv1.onnx(graph, images);
        let features = graph.max_pool(HALVE, &features);
        let features = self.conv2.onnx(graph, &features);
        let features = self.conv3.onnx(graph, &features);
        let features = graph.max_pool(HALVE, &features);
        let modules = self.modules().into_iter();
        modules.fold(features, |features, module| module.onnx(graph, &features))
    }

    fn modules(&self) -> [&Inception; 10] {
        [
            &self.inception3a,
            &self.inception3b,
            &self.inception3c,
            &self.inception4a,
            &self.inception4b,
            &self.inception4c,
            &self.inception4d,
            &self.inception4e,
            &self.inception5a,
            &self.inception5b,
        ]
    }

    /// Images `[B, C, H, W]` to features `[B, 1024, H / 32, W / 32]`, rounded up.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<4> {
        let features = max_pool2d(self.conv1.forward(images, mode), HALVE);
        let features = self.conv3.forward(self.conv2.forward(features, mode), mode);
        let features = max_pool2d(features, HALVE);
        let modules = self.modules().into_iter();
        modules.fold(features, |features, module| module.forward(features, mode))
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        self.conv1.tally(tally);
        tally.max_pool(HALVE);
        self.conv2.tally(tally);
        self.conv3.tally(tally);
        tally.max_pool(HALVE);
        self.modules().into_iter().for_each(|module| module.tally(tally));
    }
}
