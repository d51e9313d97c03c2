//! An embedder as an ONNX file: inference alone, operator set 17.

mod proto;

use std::collections::HashMap;

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::Tensor,
};
use crossbatch_kernels::PoolOptions;

pub(crate) use proto::Attribute;
use proto::Message;

use crate::{
    embedder::{Embedder, EmbedderConfig, Path},
    layer::{BatchNorm2d, Conv2d, LayerNorm, Linear},
    weights::{StateDict, WeightsError},
};

/// `ir_version` that goes with operator set 17.
const IR_VERSION: i64 = 8;
const OPERATORS: i64 = 17;

impl Embedder {
    /// The bytes of an ONNX file that computes what [`Embedder::forward`] does in inference: input `images`
    /// `[N, C, S, S]`, output `embeddings` `[N, D]`. Weights have PyTorch's names.
    ///
    /// # Errors
    ///
    /// If the file would be larger than the 2 GiB that the format allows.
    pub fn to_onnx(&self, config: &EmbedderConfig) -> Result<Vec<u8>, WeightsError> {
        let network = self.valid();
        let mut graph = Graph::new(&network);
        let embeddings = network.onnx(&mut graph, "images");
        graph.identity(&embeddings, "embeddings");
        let input = proto::value("images", &[config.channels, config.size, config.size]);
        let output = proto::value("embeddings", &[config.embedding]);
        let graph = Message::default()
            .messages(1, &graph.nodes)
            .text(2, config.backbone.name())
            .messages(5, &graph.tensors)
            .message(11, &input)
            .message(12, &output);
        let operators = Message::default().text(1, "").int(2, OPERATORS);
        let model = Message::default()
            .int(1, IR_VERSION)
            .text(2, "crossbatch")
            .text(3, env!("CARGO_PKG_VERSION"))
            .message(7, &graph)
            .message(8, &operators);
        let bytes = model.into_bytes();
        if i32::try_from(bytes.len()).is_err() {
            return Err(WeightsError::TooLarge);
        }
        Ok(bytes)
    }
}

/// Nodes in the order of computation, and the tensors that they take.
pub(crate) struct Graph {
    nodes: Vec<Message>,
    tensors: Vec<Message>,
    /// Names of parameters, and their values.
    names: HashMap<ParamId, String>,
    state: StateDict,
    made: usize,
}

/// Collects the names of parameters by their ids.
#[derive(Default)]
struct Names {
    path: Path,
    found: HashMap<ParamId, String>,
}

impl ModuleVisitor for Names {
    fn enter_module(&mut self, name: &str, container: &str) {
        self.path.enter(name, container);
    }

    fn exit_module(&mut self, _name: &str, container: &str) {
        self.path.exit(container);
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.found.insert(param.id, self.path.name());
    }
}

impl Graph {
    fn new(network: &Embedder) -> Self {
        let mut names = Names::default();
        network.visit(&mut names);
        Self {
            nodes: Vec::new(),
            tensors: Vec::new(),
            names: names.found,
            state: network.state_dict(),
            made: 0,
        }
    }

    /// Adds a node with one output, whose name it gives.
    pub(crate) fn node(
        &mut self,
        operator: &str,
        inputs: &[&str],
        attributes: &[Attribute<'_>],
    ) -> String {
        self.made += 1;
        let output = format!("{operator}.{}", self.made);
        self.push(operator, inputs, &output, attributes);
        output
    }

    fn push(
        &mut self,
        operator: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[Attribute<'_>],
    ) {
        let node = inputs.iter().fold(Message::default(), |node, input| node.text(1, input));
        let node = node.text(2, output).text(3, output).text(4, operator);
        let attributes: Vec<Message> = attributes.iter().map(Attribute::message).collect();
        self.nodes.push(node.messages(5, &attributes));
    }

    fn identity(&mut self, input: &str, output: &str) {
        self.push("Identity", &[input], output, &[]);
    }

    /// A parameter by its PyTorch name.
    pub(crate) fn parameter<const D: usize>(&mut self, param: &Param<Tensor<D>>) -> String {
        let name = self.names[&param.id].clone();
        self.named(name)
    }

    fn named(&mut self, name: String) -> String {
        let tensor = &self.state[&name];
        let bytes = bytemuck::cast_slice(&tensor.values);
        self.tensors.push(proto::tensor(&name, &tensor.shape, 1, bytes));
        name
    }

    /// A number.
    pub(crate) fn number(&mut self, value: f32) -> String {
        self.made += 1;
        let name = format!("number.{}", self.made);
        self.tensors.push(proto::tensor(&name, &[], 1, &value.to_le_bytes()));
        name
    }

    /// A row of whole numbers, such as a shape.
    pub(crate) fn integers(&mut self, values: &[i64]) -> String {
        self.made += 1;
        let name = format!("integers.{}", self.made);
        let bytes = bytemuck::cast_slice(values);
        self.tensors.push(proto::tensor(&name, &[values.len()], 7, bytes));
        name
    }

    pub(crate) fn reshape(&mut self, input: &str, shape: &[i64]) -> String {
        let shape = self.integers(shape);
        self.node("Reshape", &[input, &shape], &[])
    }

    pub(crate) fn transpose(&mut self, input: &str, axes: &[i64]) -> String {
        self.node("Transpose", &[input], &[Attribute::Ints("perm", axes.to_vec())])
    }

    pub(crate) fn relu(&mut self, input: &str) -> String {
        self.node("Relu", &[input], &[])
    }

    pub(crate) fn conv(&mut self, layer: &Conv2d, input: &str) -> String {
        let [_, _, rows, columns] = layer.weight.dims();
        let options = layer.options();
        let weight = self.parameter(&layer.weight);
        let bias = layer.bias.as_ref().map(|bias| self.parameter(bias));
        let inputs: Vec<&str> = [input, &weight].into_iter().chain(bias.as_deref()).collect();
        let ints =
            |values: [usize; 2]| values.iter().map(|&value| value as i64).collect::<Vec<_>>();
        let pads = ints(options.padding);
        self.node(
            "Conv",
            &inputs,
            &[
                Attribute::Ints("kernel_shape", ints([rows, columns])),
                Attribute::Ints("strides", ints(options.stride)),
                Attribute::Ints("pads", [&pads[..], &pads].concat()),
                Attribute::Int("group", options.groups as i64),
            ],
        )
    }

    /// Batch normalisation by running statistics, with what is added and the ReLU.
    pub(crate) fn norm(
        &mut self,
        layer: &BatchNorm2d,
        input: &str,
        residual: Option<&str>,
    ) -> String {
        let weight = self.parameter(&layer.weight);
        let bias = self.parameter(&layer.bias);
        let stem = weight.trim_end_matches("weight").to_owned();
        let mean = self.named(format!("{stem}running_mean"));
        let variance = self.named(format!("{stem}running_var"));
        let inputs = [input, &weight, &bias, &mean, &variance];
        let epsilon = Attribute::Float("epsilon", layer.epsilon() as f32);
        let mut output = self.node("BatchNormalization", &inputs, &[epsilon]);
        if let Some(residual) = residual {
            output = self.node("Add", &[&output, residual], &[]);
        }
        if layer.has_relu() { self.relu(&output) } else { output }
    }

    /// Layer normalisation over the last axis.
    pub(crate) fn layer_norm(&mut self, layer: &LayerNorm, input: &str) -> String {
        let (weight, bias) = (self.parameter(&layer.weight), self.parameter(&layer.bias));
        let epsilon = Attribute::Float("epsilon", layer.epsilon() as f32);
        let attributes = [Attribute::Int("axis", -1), epsilon];
        self.node("LayerNormalization", &[input, &weight, &bias], &attributes)
    }

    /// Layer normalisation over the channels of an image.
    pub(crate) fn layer_norm_channels(&mut self, layer: &LayerNorm, input: &str) -> String {
        let last = self.transpose(input, &[0, 2, 3, 1]);
        let normal = self.layer_norm(layer, &last);
        self.transpose(&normal, &[0, 3, 1, 2])
    }

    /// A linear layer over the last axis.
    pub(crate) fn linear(&mut self, layer: &Linear, input: &str) -> String {
        let (weight, bias) = (self.parameter(&layer.weight), self.parameter(&layer.bias));
        let weight = self.transpose(&weight, &[1, 0]);
        let product = self.node("MatMul", &[input, &weight], &[]);
        self.node("Add", &[&product, &bias], &[])
    }

    /// `x / 2 · (1 + erf(x / √2))`; operator set 17 has no GELU.
    pub(crate) fn gelu(&mut self, input: &str) -> String {
        let [root, one, half] =
            [std::f32::consts::SQRT_2, 1.0, 0.5].map(|value| self.number(value));
        let scaled = self.node("Div", &[input, &root], &[]);
        let erf = self.node("Erf", &[&scaled], &[]);
        let sum = self.node("Add", &[&erf, &one], &[]);
        let product = self.node("Mul", &[input, &sum], &[]);
        self.node("Mul", &[&product, &half], &[])
    }

    fn windows(options: PoolOptions) -> Vec<Attribute<'static>> {
        let PoolOptions { kernel, stride, padding, ceil_mode } = options;
        vec![
            Attribute::Ints("kernel_shape", vec![kernel as i64; 2]),
            Attribute::Ints("strides", vec![stride as i64; 2]),
            Attribute::Ints("pads", vec![padding as i64; 4]),
            // With a stride of 1 there is nothing to round.
            Attribute::Int("ceil_mode", i64::from(ceil_mode && stride > 1)),
        ]
    }

    pub(crate) fn max_pool(&mut self, options: PoolOptions, input: &str) -> String {
        self.node("MaxPool", &[input], &Self::windows(options))
    }

    /// The mean of windows, padding counted.
    pub(crate) fn average_pool(&mut self, options: PoolOptions, input: &str) -> String {
        let mut attributes = Self::windows(options);
        attributes.push(Attribute::Int("count_include_pad", 1));
        self.node("AveragePool", &[input], &attributes)
    }

    pub(crate) fn concat(&mut self, inputs: &[&str], axis: i64) -> String {
        self.node("Concat", inputs, &[Attribute::Int("axis", axis)])
    }
}
