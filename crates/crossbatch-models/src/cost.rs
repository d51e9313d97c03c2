//! What a network costs, from its definition: arithmetic, and memory kept for the backward pass.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

use crossbatch_kernels::PoolOptions;

use crate::{
    embedder::Embedder,
    layer::{BatchNorm2d, Conv2d, Linear},
};

/// What one image costs in a training step.
///
/// Counted are the multiplications and additions of convolutions and linear layers, two for each product. What is done
/// number by number (normalisation, ReLU, pooling) is left out; it is a few per cent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NetworkCost {
    /// Floating-point operations of the forward pass.
    pub forward_flops: u64,
    /// Those of the backward pass: gradients of weights, and of everything but the image.
    pub backward_flops: u64,
    /// Bytes that wait for the backward pass.
    pub kept_bytes: u64,
    /// Bytes of the largest activation.
    pub largest_bytes: u64,
}

impl Embedder {
    /// What an image `[channels, size, size]` costs; the backward pass where the network's device trains.
    ///
    /// # Panics
    ///
    /// If the network takes images of another number of channels.
    pub fn cost(&self, channels: usize, size: usize) -> NetworkCost {
        let mut tally = Tally::new([channels, size, size]);
        self.tally(&mut tally);
        tally.cost
    }

    /// Numbers that training changes; on a device that trains.
    pub fn trainable(&self) -> usize {
        struct Counter(usize);
        impl ModuleVisitor for Counter {
            fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
                let value = param.val();
                if value.is_require_grad() {
                    self.0 += value.shape().num_elements();
                }
            }
        }
        let mut counter = Counter(0);
        self.visit(&mut counter);
        counter.0
    }
}

/// Follows an image through a network's layers, in the order of its forward pass.
pub(crate) struct Tally {
    /// Channels, height and width of the activation.
    shape: [usize; 3],
    /// Whether the activation is counted already.
    kept: bool,
    /// Whether anything before it has a gradient.
    needs_gradient: bool,
    cost: NetworkCost,
}

impl Tally {
    fn new(image: [usize; 3]) -> Self {
        Self { shape: image, kept: false, needs_gradient: false, cost: NetworkCost::default() }
    }

    fn values(&self) -> u64 {
        self.shape.iter().map(|&size| size as u64).product()
    }

    /// The next layer needs its input for the backward pass.
    fn keep(&mut self) {
        if !self.kept {
            self.cost.kept_bytes += 4 * self.values();
            self.kept = true;
        }
    }

    fn gives(&mut self, shape: [usize; 3]) {
        self.shape = shape;
        self.kept = false;
        self.cost.largest_bytes = self.cost.largest_bytes.max(4 * self.values());
    }

    /// Products of weights and activations, which come again for the weights' gradient, and for the input's if that
    /// has one.
    fn products(&mut self, flops: u64, trained: bool) {
        self.cost.forward_flops += flops;
        self.cost.backward_flops += flops * (u64::from(self.needs_gradient) + u64::from(trained));
        self.needs_gradient |= trained;
    }

    pub(crate) fn conv(&mut self, layer: &Conv2d) {
        let [output, input, height, width] = layer.weight.dims();
        let [channels, rows, columns] = self.shape;
        assert_eq!(
            channels,
            input * layer.options().groups,
            "a convolution of {input} channels after {channels}"
        );
        self.keep();
        let options = layer.options();
        assert_eq!(options.dilation, [1, 1], "dilation is not counted");
        let side = |size: usize, kernel: usize, axis: usize| {
            (size + 2 * options.padding[axis] - kernel) / options.stride[axis] + 1
        };
        self.gives([output, side(rows, height, 0), side(columns, width, 1)]);
        self.products(
            2 * self.values() * (input * height * width) as u64,
            layer.weight.val().is_require_grad(),
        );
    }

    pub(crate) fn norm(&mut self, layer: &BatchNorm2d) {
        assert_eq!(layer.weight.dims(), [self.shape[0]], "channels of a normalisation");
        self.keep();
        // A frozen one trains nothing, but what comes behind a trained one passes gradients on.
        self.needs_gradient |= layer.weight.val().is_require_grad();
        self.gives(self.shape);
    }

    /// Maximum pooling remembers where the maxima were, a byte each.
    pub(crate) fn max_pool(&mut self, options: PoolOptions) {
        let [channels, rows, columns] = self.shape;
        let PoolOptions { kernel, stride, padding, ceil_mode } = options;
        let side = |size: usize| {
            let last = size + 2 * padding - kernel;
            if !ceil_mode {
                return last / stride + 1;
            }
            let windows = last.div_ceil(stride) + 1;
            // A window must begin before the padding behind the image.
            windows - usize::from((windows - 1) * stride >= size + padding)
        };
        self.gives([channels, side(rows), side(columns)]);
        self.cost.kept_bytes += self.values();
    }

    /// The image becomes one number a channel.
    pub(crate) fn global_pool(&mut self) {
        self.gives([self.shape[0], 1, 1]);
    }

    /// The image becomes a row of numbers.
    pub(crate) fn flatten(&mut self) {
        let kept = self.kept;
        self.gives([self.values() as usize, 1, 1]);
        self.kept = kept;
    }

    /// Follows a side branch from here, then goes back; the branch's output is in memory besides.
    pub(crate) fn branch(&mut self, follow: impl FnOnce(&mut Self)) {
        self.keep();
        let (shape, needs_gradient) = (self.shape, self.needs_gradient);
        follow(self);
        (self.shape, self.kept, self.needs_gradient) = (shape, true, needs_gradient);
    }

    /// Branches side by side from here, whose channels are joined.
    pub(crate) fn parallel(&mut self, branches: &[&dyn Fn(&mut Self)]) {
        let start = self.shape;
        let (mut channels, mut shape, mut trained) = (0, start, self.needs_gradient);
        for follow in branches {
            self.branch(|tally| {
                follow(tally);
                shape = tally.shape;
                channels += shape[0];
                trained |= tally.needs_gradient;
            });
        }
        self.gives([channels, shape[1], shape[2]]);
        self.needs_gradient = trained;
    }

    /// A branch that is not there.
    pub(crate) fn nothing(&mut self) {
        self.shape[0] = 0;
    }

    /// The places of the image become tokens, with some more besides.
    pub(crate) fn tokens(&mut self, extra: usize) {
        let [width, rows, columns] = self.shape;
        self.gives([width, rows * columns + extra, 1]);
        self.needs_gradient = true;
    }

    /// A linear layer at each place or token.
    pub(crate) fn linear_each(&mut self, layer: &Linear) {
        let [output, input] = layer.weight.dims();
        let [width, rows, columns] = self.shape;
        assert_eq!(width, input, "a linear layer of {input} at places of {width}");
        self.keep();
        self.gives([output, rows, columns]);
        let places = (rows * columns) as u64;
        self.products(2 * (input * output) as u64 * places, layer.weight.val().is_require_grad());
    }

    /// Attention among the tokens, after queries, keys and values: scores and their product with the values.
    pub(crate) fn attention(&mut self) {
        let [width, tokens, _] = self.shape;
        self.keep();
        self.gives([width / 3, tokens, 1]);
        self.products(4 * (tokens * tokens * width / 3) as u64, self.needs_gradient);
    }

    pub(crate) fn layer_norm(&mut self) {
        self.keep();
        self.needs_gradient = true;
        self.gives(self.shape);
    }

    pub(crate) fn linear(&mut self, layer: &Linear) {
        let [output, input] = layer.weight.dims();
        assert_eq!(self.values(), input as u64, "a linear layer of {input} after {:?}", self.shape);
        self.keep();
        self.gives([output, 1, 1]);
        self.products(2 * (input * output) as u64, layer.weight.val().is_require_grad());
        // The length that rows are divided by comes after it and needs them.
        self.keep();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BackboneKind, EmbedderConfig, Mode};
    use burn::tensor::Device;

    fn conv4(channels: usize, size: usize, embedding: usize) -> Embedder {
        let config = EmbedderConfig::new(BackboneKind::Conv4, channels, size, embedding);
        Embedder::new(&config, 0, &Device::flex().autodiff())
    }

    #[test]
    fn conv4_by_hand() {
        let network = conv4(1, 28, 128);
        let weights = 64 * 9 + 3 * (64 * 64 * 9) + 4 * (64 + 64) + 576 * 128 + 128;
        assert_eq!(network.trainable(), weights);
        let cost = network.cost(1, 28);
        let first = 2 * 9 * 64 * 28 * 28;
        let later = 2 * 9 * 64 * 64 * (14 * 14 + 7 * 7 + 3 * 3) + 2 * 576 * 128;
        assert_eq!(cost.forward_flops, first + later);
        assert_eq!(cost.backward_flops, first + 2 * later);
        assert_eq!(cost.largest_bytes, 4 * 64 * 28 * 28);
        // The image; each block's convolution; what was pooled with its places; the features; the embedding.
        let blocks = 64 * (784 + 196 + 49 + 9) + 64 * (196 + 49 + 9) + 64 * 9 + 128;
        assert_eq!(cost.kept_bytes, 4 * (784 + blocks) + 64 * (196 + 49 + 9));
    }

    #[test]
    fn sizes_are_those_of_the_forward_pass() {
        // The head's assertion compares the features counted with its own.
        for (channels, size) in [(1, 8), (3, 31), (3, 64)] {
            let network = conv4(channels, size, 5);
            let images = Tensor::<4>::zeros([2, channels, size, size], &Device::flex().autodiff());
            assert_eq!(network.forward(images, Mode::Train).dims(), [2, 5]);
            assert!(network.cost(channels, size).forward_flops > 0);
        }
    }

    #[test]
    fn running_statistics_are_not_trained() {
        let network = conv4(3, 8, 4);
        let state = network.state_dict();
        let all: usize = state.values().map(|tensor| tensor.values.len()).sum();
        let running = state.iter().filter(|(name, _)| name.contains("running_"));
        let running: usize = running.map(|(_, tensor)| tensor.values.len()).sum();
        assert!(running > 0);
        assert_eq!(network.trainable(), all - running);
    }
}
