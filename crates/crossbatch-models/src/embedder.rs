//! Backbone, head and normalisation in one.

use std::collections::BTreeMap;

use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    tensor::{Device, Tensor, TensorData},
};
use serde::{Deserialize, Serialize};

use crate::{
    backbone::{Backbone, BackboneKind},
    init::Initializer,
    layer::{Linear, Mode, l2_normalize},
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
}

/// Images to unit vectors.
///
/// # Shapes
///
/// `[B, C, S, S]` to `[B, D]`.
#[derive(Module, Debug)]
pub struct Embedder {
    backbone: Backbone,
    head: Linear,
}

impl Embedder {
    /// A network with PyTorch's default initialisation drawn from `seed`.
    ///
    /// # Panics
    ///
    /// If the images are too small for the backbone (see [`BackboneKind::smallest_image`]) or the
    /// embedding is empty.
    pub fn new(config: &EmbedderConfig, seed: u64, device: &Device) -> Self {
        let smallest = config.backbone.smallest_image();
        assert!(
            config.size >= smallest,
            "{} needs images of at least {smallest} pixels, got {}",
            config.backbone,
            config.size
        );
        assert!(config.embedding > 0, "an embedding needs at least one number");
        let mut init = Initializer::new(seed, device);
        let backbone = Backbone::new(config.backbone, &mut init, config.channels);
        let features = Backbone::features(config.backbone, config.size);
        Self { backbone, head: Linear::new(&mut init, features, config.embedding) }
    }

    /// Images `[B, C, S, S]` to unit vectors `[B, D]`.
    pub fn forward(&self, images: Tensor<4>, mode: Mode) -> Tensor<2> {
        l2_normalize(self.head.forward(self.backbone.forward(images, mode)))
    }

    /// Where the parameters are.
    pub fn device(&self) -> Device {
        self.head.weight.val().device()
    }

    pub(crate) fn backbone(&self) -> &Backbone {
        &self.backbone
    }

    pub(crate) fn head(&self) -> &Linear {
        &self.head
    }

    /// Every parameter and running statistic, with PyTorch's names and layouts.
    pub fn state_dict(&self) -> StateDict {
        let mut collector = Collector::default();
        // `valid` first: it settles running statistics that the last step left pending.
        self.valid().visit(&mut collector);
        collector.state
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

/// Where a walk over the modules stands. Enum variants are no part of a name: `backbone.blocks.0`,
/// not `backbone.Conv4.blocks.0`.
#[derive(Default)]
struct Path(Vec<String>);

impl Path {
    fn enter(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.push(name.to_owned());
        }
    }

    fn exit(&mut self, container: &str) {
        if !container.starts_with("Enum:") {
            self.0.pop();
        }
    }

    fn name(&self) -> String {
        self.0.join(".")
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
