//! Backbone, head and normalisation in one.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::{
    backbone::{Backbone, BackboneKind},
    cost::Tally,
    init::Initializer,
    layer::{LayerNorm, Linear, Mode, l2_normalize},
    pooling::{Pool, Pooling},
    weights::{NamedTensor, StateDict, WeightsError},
};

/// Everything that fixes an [`Embedder`]'s architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct EmbedderConfig {
    /// The backbone.
    pub backbone: BackboneKind,
    /// Input channels, 1 or 3.
    pub channels: usize,
    /// Side of the square input images.
    pub size: usize,
    /// Numbers in an embedding.
    pub embedding: usize,
    /// How features become a row.
    pub pooling: Pooling,
    /// Stride of a residual network's last layer: 2, or 1 for features of twice the side.
    pub last_stride: usize,
    /// Whether a layer normalisation comes before the linear layer.
    pub head_norm: bool,
    /// Whether batch normalisations keep their statistics, scales and shifts.
    pub frozen_norm: bool,
    /// Stages of the backbone that are not trained, from the input on.
    pub frozen_stages: usize,
}

impl EmbedderConfig {
    /// A backbone with its usual pooling and a linear head, all of it trained.
    pub fn new(backbone: BackboneKind, channels: usize, size: usize, embedding: usize) -> Self {
        Self {
            backbone,
            channels,
            size,
            embedding,
            pooling: backbone.usual_pooling(),
            last_stride: 2,
            head_norm: false,
            frozen_norm: false,
            frozen_stages: 0,
        }
    }

    /// What does not go together.
    ///
    /// # Errors
    ///
    /// If an option is out of its range or is none of this backbone's.
    pub fn check(&self) -> Result<(), String> {
        let backbone = self.backbone;
        let smallest = backbone.smallest_image();
        if self.size < smallest {
            return Err(format!(
                "{backbone} needs images of at least {smallest} pixels, got {}",
                self.size
            ));
        }
        let patch = backbone.patch();
        if !self.size.is_multiple_of(patch) {
            return Err(format!(
                "{backbone} needs images whose side is a multiple of {patch} pixels, got {}",
                self.size
            ));
        }
        if !matches!(self.channels, 1 | 3) {
            return Err(format!("images have 1 or 3 channels, not {}", self.channels));
        }
        if self.embedding == 0 {
            return Err("an embedding needs at least one number".to_owned());
        }
        if self.pooling == Pooling::Flatten && backbone != BackboneKind::Conv4 {
            return Err(format!("pooling \"flatten\" goes with conv4 only, not with {backbone}"));
        }
        if self.pooling == Pooling::ClassToken && patch == 1 {
            return Err(format!(
                "pooling \"class-token\" goes with vit and dinov2 only, not with {backbone}"
            ));
        }
        if !matches!(self.last_stride, 1 | 2)
            || self.last_stride == 1 && !backbone.has_last_stride()
        {
            return Err(format!(
                "the last stride of {backbone} cannot be {}; it is 2, and in a resnet 1 or 2",
                self.last_stride
            ));
        }
        let stages = backbone.stages();
        if self.frozen_stages > stages {
            return Err(format!(
                "{backbone} has {stages} stages to freeze, not {}",
                self.frozen_stages
            ));
        }
        Ok(())
    }

    fn features(&self) -> usize {
        let channels = self.backbone.channels();
        match self.pooling {
            Pooling::Flatten => channels * (self.size / 8).pow(2),
            _ => channels,
        }
    }
}

/// Images to unit vectors: backbone, pooling, optional layer normalisation, linear layer, L2 normalisation.
///
/// # Shapes
///
/// `[B, C, S, S]` to `[B, D]`.
#[derive(Module, Debug)]
pub struct Embedder {
    backbone: Backbone,
    pool: Pool,
    norm: Option<LayerNorm>,
    head: Linear,
}

impl Embedder {
    /// A network with PyTorch's default initialisation drawn from `seed`.
    ///
    /// # Panics
    ///
    /// If [`EmbedderConfig::check`] refuses the configuration.
    pub fn new(config: &EmbedderConfig, seed: u64, device: &Device) -> Self {
        config.check().unwrap_or_else(|reason| panic!("{reason}"));
        let mut init = Initializer::new(seed, device);
        let backbone = Backbone::new(config, &mut init);
        let pool = Pool::new(&mut init, config.pooling);
        let features = config.features();
        let norm = config.head_norm.then(|| LayerNorm::new(&mut init, features, 1e-5));
        Self { backbone, pool, norm, head: Linear::new(&mut init, features, config.embedding) }
    }

    /// A ResNet-18 with `width` channels in its first layer, for tests on small files.
    #[cfg(test)]
    pub(crate) fn thin_resnet(config: &EmbedderConfig, width: usize, device: &Device) -> Self {
        let plan = crate::backbone::ResNetPlan {
            blocks: [2; 4],
            bottleneck: false,
            width,
            last_stride: 2,
        };
        let mut init = Initializer::new(0, device);
        let network = crate::backbone::ResNet::new(&mut init, config.channels, &plan, 0);
        let pool = Pool::new(&mut init, config.pooling);
        let head = Linear::new(&mut init, plan.features(), config.embedding);
        Self { backbone: Backbone::ResNet(network), pool, norm: None, head }
    }

    /// Images `[B, C, S, S]` to unit vectors `[B, D]`.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        let features = self.features(images, mode);
        let features = match &self.norm {
            Some(norm) => norm.forward(features),
            None => features,
        };
        l2_normalize(self.head.forward(features))
    }

    /// Images `[B, C, S, S]` to the pooled features `[B, F]` that the head takes.
    pub fn features(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        self.pool.forward(self.backbone.forward(images, mode))
    }

    /// Its layers, in the order of `forward`.
    pub(crate) fn tally(&self, tally: &mut Tally) {
        self.backbone.tally(tally);
        self.pool.tally(tally);
        if self.norm.is_some() {
            tally.layer_norm();
        }
        tally.linear(&self.head);
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.head.weight.val().device()
    }

    /// Every parameter and running statistic, with PyTorch's names and layouts.
    pub fn state_dict(&self) -> StateDict {
        let mut collector = Collector::default();
        // `valid` first: it settles running statistics that the last step left pending.
        self.valid().visit(&mut collector);
        collector.state
    }

    /// The gradient of every parameter that has one, by name.
    pub fn gradients(&self, gradients: &Gradients) -> StateDict {
        let mut collector =
            GradientCollector { gradients, path: Path::default(), found: StateDict::new() };
        self.visit(&mut collector);
        collector.found
    }

    /// This network with the values of `state`.
    ///
    /// # Errors
    ///
    /// If a tensor is missing, unexpected or of another shape; all of them are listed.
    pub fn load_state_dict(self, state: &StateDict) -> Result<Self, WeightsError> {
        let mut loader = Loader { state, path: Path::default(), wrong: Vec::new() };
        let expected = self.state_dict();
        let unexpected = state.keys().filter(|name| !expected.contains_key(*name));
        loader.wrong.extend(unexpected.map(|name| format!("unexpected `{name}`")));
        let loaded = self.map(&mut loader);
        if loader.wrong.is_empty() { Ok(loaded) } else { Err(WeightsError::Mismatch(loader.wrong)) }
    }
}

/// The key map: what PyTorch calls a part that a Rust field cannot be called, where the two differ.
fn in_pytorch(field: &str) -> Option<&'static str> {
    const NAMES: [(&str, &str); 6] = [
        // Numbered places of a `Sequential`, between others that have no parameters.
        ("pool_projection", "branch4.1"),
        ("block_0", "block.0"),
        ("block_2", "block.2"),
        ("block_3", "block.3"),
        ("block_5", "block.5"),
        ("layers", ""),
    ];
    NAMES.into_iter().find(|(own, _)| *own == field).map(|(_, name)| name)
}

/// Where a walk over the modules stands. Enum variants are no part of a name: `backbone.blocks.0`,
/// not `backbone.Conv4.blocks.0`.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(in_pytorch(name).unwrap_or(name).to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        let parts = self.0.iter().filter(|part| !part.is_empty());
        parts.map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

#[derive(Default)]
struct Collector {
    path: Path,
    state: BTreeMap<String, NamedTensor>,
}

impl ModuleVisitor for Collector {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let data = param.val().into_data();
        let shape = param.val().dims().to_vec();
        let values = data.try_to_vec::<f32>().expect("parameters are f32");
        self.state.insert(self.path.name(), NamedTensor { shape, values });
    }
}

struct GradientCollector<'a> {
    gradients: &'a Gradients,
    path: Path,
    found: StateDict,
}

impl ModuleVisitor for GradientCollector<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.val();
        if !value.is_require_grad() {
            return;
        }
        if let Some(gradient) = value.grad(self.gradients) {
            let shape = gradient.dims().to_vec();
            let values = gradient.into_data().try_to_vec().expect("gradients are f32");
            self.found.insert(self.path.name(), NamedTensor { shape, values });
        }
    }
}

struct Loader<'a> {
    state: &'a StateDict,
    path: Path,
    wrong: Vec<String>,
}

impl ModuleMapper for Loader<'_> {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let name = self.path.name();
        let expected = param.val().dims();
        match self.state.get(&name) {
            None => self.wrong.push(format!("missing `{name}`")),
            Some(found) if found.shape != expected => {
                self.wrong.push(format!("`{name}` is {:?}, expected {expected:?}", found.shape))
            }
            Some(found) => {
                return param.map(|old| {
                    let data = TensorData::new(found.values.clone(), expected);
                    Tensor::from_data(data, &old.device()).set_require_grad(old.is_require_grad())
                });
            }
        }
        param
    }
}
