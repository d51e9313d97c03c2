use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use crossbatch_kernels::{attention, gelu};

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{Conv2d, LayerNorm, Linear},
    onnx::{Attribute, Graph},
};

/// A vision transformer in timm's layout and names (`blocks.0.attn.qkv.weight`, …), layer normalisation first.
///
/// DINOv2's networks are the same with patches of 14 pixels, factors behind attention and MLP (`ls1.gamma`), and where it
/// has registers, four more tokens that are thrown away at the end; position embeddings then belong to patches alone.
/// Initial values are timm's: linear weights normal with deviation 0.02, biases 0, the patches' convolution PyTorch's.
///
/// # References
///
/// Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021. Oquab et al., "DINOv2: Learning Robust Visual Features
/// without Supervision", 2023. Darcet et al., "Vision Transformers Need Registers", ICLR 2024.
#[derive(Module, Debug)]
pub struct VisionTransformer {
    cls_token: Param<Tensor<3>>,
    reg_token: Option<Param<Tensor<3>>>,
    pos_embed: Param<Tensor<3>>,
    patch_embed: PatchEmbed,
    blocks: Vec<Block>,
    norm: LayerNorm,
    heads: usize,
    /// Gives the class token instead of the map of patches.
    class_token: bool,
}

#[derive(Module, Debug)]
struct PatchEmbed {
    proj: Conv2d,
}

#[derive(Module, Debug)]
struct Block {
    norm1: LayerNorm,
    attn: Attention,
    ls1: Option<LayerScale>,
    norm2: LayerNorm,
    mlp: Mlp,
    ls2: Option<LayerScale>,
}

#[derive(Module, Debug)]
struct Attention {
    qkv: Linear,
    proj: Linear,
}

#[derive(Module, Debug)]
struct Mlp {
    fc1: Linear,
    fc2: Linear,
}

#[derive(Module, Debug)]
struct LayerScale {
    gamma: Param<Tensor<1>>,
}

/// What tells one vision transformer from another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct VitPlan {
    pub(crate) width: usize,
    pub(crate) heads: usize,
    pub(crate) patch: usize,
    /// Factors behind attention and MLP.
    pub(crate) scaled: bool,
    pub(crate) registers: usize,
}

/// Blocks; all of these networks have as many.
const DEPTH: usize = 12;
/// The patches' embedding, and the blocks.
pub(super) const STAGES: usize = DEPTH + 1;
const EPSILON: f64 = 1e-6;
const DEVIATION: f64 = 0.02;

impl VisionTransformer {
    pub(crate) fn new(
        init: &mut Initializer<'_>,
        [channels, size]: [usize; 2],
        plan: &VitPlan,
        class_token: bool,
        frozen: usize,
    ) -> Self {
        let VitPlan { width, heads, patch, registers, .. } = *plan;
        let patches = (size / patch).pow(2);
        init.freeze(frozen > 0);
        let tokens = if registers > 0 { patches } else { patches + 1 };
        let cls_token = init.normal([1, 1, width], 1e-6);
        let reg_token = (registers > 0).then(|| init.normal([1, registers, width], 1e-6));
        let pos_embed = init.normal([1, tokens, width], DEVIATION);
        let patch_embed = PatchEmbed { proj: Conv2d::patches(init, [channels, width], patch) };
        let blocks = (0..DEPTH).map(|index| {
            init.freeze(frozen > index + 1);
            Block::new(init, plan)
        });
        let blocks = blocks.collect();
        let norm = LayerNorm::new(init, width, EPSILON);
        Self { cls_token, reg_token, pos_embed, patch_embed, blocks, norm, heads, class_token }
    }

    /// Images `[B, C, S, S]` to features `[B, D, S / patch, S / patch]`, or to the class token `[B, D, 1, 1]`.
    pub fn forward(&self, images: Tensor<4>) -> Tensor<4> {
        let patches = self.patch_embed.proj.forward(images);
        let [batch, width, rows, columns] = patches.dims();
        let patches: Tensor<3> = patches.flatten(2, 3);
        let patches = patches.swap_dims(1, 2);
        let many = |token: &Param<Tensor<3>>| token.val().repeat_dim(0, batch);
        let class = many(&self.cls_token);
        let (tokens, extra) = match &self.reg_token {
            None => (Tensor::cat(vec![class, patches], 1) + self.pos_embed.val(), 1),
            Some(registers) => {
                let patches = patches + self.pos_embed.val();
                let extra = 1 + registers.val().dims()[1];
                (Tensor::cat(vec![class, many(registers), patches], 1), extra)
            }
        };
        let blocks = self.blocks.iter();
        let tokens = blocks.fold(tokens, |tokens, block| block.forward(tokens, self.heads));
        if self.class_token {
            let class = self.norm.forward(tokens.narrow(1, 0, 1));
            return class.reshape([batch, width, 1, 1]);
        }
        let patches = self.norm.forward(tokens.narrow(1, extra, rows * columns));
        patches.swap_dims(1, 2).reshape([batch, width, rows, columns])
    }

    pub(crate) fn onnx(&self, graph: &mut Graph, images: &str) -> String {
        let [_, _, width] = self.cls_token.dims();
        let (width, side) = (width as i64, (self.patches() as f64).sqrt() as i64);
        let patches = graph.conv(&self.patch_embed.proj, images);
        let patches = graph.reshape(&patches, &[0, width, -1]);
        let patches = graph.transpose(&patches, &[0, 2, 1]);
        // A token for each image: its row, as often as there are images.
        let shape = graph.node("Shape", &[images], &[]);
        let first = graph.integers(&[0]);
        let batch = graph.node("Gather", &[&shape, &first], &[]);
        let ones = graph.integers(&[1, 1]);
        let many = graph.concat(&[&batch, &ones], 0);
        let positions = graph.parameter(&self.pos_embed);
        let class = graph.parameter(&self.cls_token);
        let class = graph.node("Expand", &[&class, &many], &[]);
        let (mut tokens, extra) = match &self.reg_token {
            None => {
                let tokens = graph.concat(&[&class, &patches], 1);
                (graph.node("Add", &[&tokens, &positions], &[]), 1)
            }
            Some(registers) => {
                let extra = 1 + registers.dims()[1] as i64;
                let patches = graph.node("Add", &[&patches, &positions], &[]);
                let registers = graph.parameter(registers);
                let registers = graph.node("Expand", &[&registers, &many], &[]);
                (graph.concat(&[&class, &registers, &patches], 1), extra)
            }
        };
        for block in &self.blocks {
            tokens = block.onnx(graph, &tokens, self.heads);
        }
        let range = if self.class_token { [0, 1] } else { [extra, i64::from(i32::MAX)] };
        let [start, end] = range.map(|place| graph.integers(&[place]));
        let axis = graph.integers(&[1]);
        let tokens = graph.node("Slice", &[&tokens, &start, &end, &axis], &[]);
        let tokens = graph.layer_norm(&self.norm, &tokens);
        let tokens = graph.transpose(&tokens, &[0, 2, 1]);
        let side = if self.class_token { 1 } else { side };
        graph.reshape(&tokens, &[0, width, side, side])
    }

    fn patches(&self) -> usize {
        let [_, tokens, _] = self.pos_embed.dims();
        if self.reg_token.is_some() { tokens } else { tokens - 1 }
    }

    pub(crate) fn tally(&self, tally: &mut Tally) {
        tally.conv(&self.patch_embed.proj);
        let extra = 1 + self.reg_token.as_ref().map_or(0, |token| token.val().dims()[1]);
        tally.tokens(extra);
        self.blocks.iter().for_each(|block| block.tally(tally));
        tally.layer_norm();
    }
}

impl Block {
    fn new(init: &mut Initializer<'_>, plan: &VitPlan) -> Self {
        let width = plan.width;
        let scale = |init: &mut Initializer<'_>| {
            plan.scaled.then(|| LayerScale { gamma: init.constant(width, 1e-5) })
        };
        Self {
            norm1: LayerNorm::new(init, width, EPSILON),
            attn: Attention {
                qkv: Linear::normal(init, width, 3 * width, DEVIATION),
                proj: Linear::normal(init, width, width, DEVIATION),
            },
            ls1: scale(init),
            norm2: LayerNorm::new(init, width, EPSILON),
            mlp: Mlp {
                fc1: Linear::normal(init, width, 4 * width, DEVIATION),
                fc2: Linear::normal(init, 4 * width, width, DEVIATION),
            },
            ls2: scale(init),
        }
    }

    fn forward(&self, tokens: Tensor<3>, heads: usize) -> Tensor<3> {
        let scaled = |scale: &Option<LayerScale>, tokens: Tensor<3>| match scale {
            Some(scale) => tokens * scale.gamma.val().unsqueeze(),
            None => tokens,
        };
        let attended = self.attn.forward(self.norm1.forward(tokens.clone()), heads);
        let tokens = tokens + scaled(&self.ls1, attended);
        let hidden = gelu(self.mlp.fc1.forward(self.norm2.forward(tokens.clone())));
        tokens + scaled(&self.ls2, self.mlp.fc2.forward(hidden))
    }

    fn onnx(&self, graph: &mut Graph, tokens: &str, heads: usize) -> String {
        let scaled = |graph: &mut Graph, scale: &Option<LayerScale>, tokens: String| match scale {
            Some(scale) => {
                let gamma = graph.parameter(&scale.gamma);
                graph.node("Mul", &[&tokens, &gamma], &[])
            }
            None => tokens,
        };
        let normal = graph.layer_norm(&self.norm1, tokens);
        let attended = self.attn.onnx(graph, &normal, heads);
        let attended = scaled(graph, &self.ls1, attended);
        let tokens = graph.node("Add", &[tokens, &attended], &[]);
        let hidden = graph.layer_norm(&self.norm2, &tokens);
        let hidden = graph.linear(&self.mlp.fc1, &hidden);
        let hidden = graph.gelu(&hidden);
        let hidden = graph.linear(&self.mlp.fc2, &hidden);
        let hidden = scaled(graph, &self.ls2, hidden);
        graph.node("Add", &[&tokens, &hidden], &[])
    }

    fn tally(&self, tally: &mut Tally) {
        tally.layer_norm();
        tally.linear_each(&self.attn.qkv);
        tally.attention();
        tally.linear_each(&self.attn.proj);
        tally.layer_norm();
        tally.linear_each(&self.mlp.fc1);
        tally.linear_each(&self.mlp.fc2);
    }
}

impl Attention {
    fn onnx(&self, graph: &mut Graph, tokens: &str, heads: usize) -> String {
        let width = self.proj.weight.dims()[0];
        let (each, heads, width) = ((width / heads) as i64, heads as i64, width as i64);
        let all = graph.linear(&self.qkv, tokens);
        let all = graph.reshape(&all, &[0, 0, 3, heads, each]);
        let [queries, keys, values] = [0, 1, 2].map(|part| {
            let [start, end, axis] = [part, part + 1, 2].map(|number| graph.integers(&[number]));
            let part = graph.node("Slice", &[&all, &start, &end, &axis], &[]);
            let part = graph.reshape(&part, &[0, 0, heads, each]);
            graph.transpose(&part, &[0, 2, 1, 3])
        });
        let scale = graph.number(1.0 / (each as f32).sqrt());
        let queries = graph.node("Mul", &[&queries, &scale], &[]);
        let keys = graph.transpose(&keys, &[0, 1, 3, 2]);
        let scores = graph.node("MatMul", &[&queries, &keys], &[]);
        let weights = graph.node("Softmax", &[&scores], &[Attribute::Int("axis", -1)]);
        let attended = graph.node("MatMul", &[&weights, &values], &[]);
        let attended = graph.transpose(&attended, &[0, 2, 1, 3]);
        let attended = graph.reshape(&attended, &[0, 0, width]);
        graph.linear(&self.proj, &attended)
    }

    fn forward(&self, tokens: Tensor<3>, heads: usize) -> Tensor<3> {
        let [batch, count, width] = tokens.dims();
        // [B, N, 3 D] to three of [B, heads, N, D / heads].
        let all = self.qkv.forward(tokens).reshape([batch, count, 3, heads, width / heads]);
        let part = |index: usize| {
            let part: Tensor<4> = all.clone().narrow(2, index, 1).squeeze_dim(2);
            part.swap_dims(1, 2)
        };
        let attended = attention(part(0), part(1), part(2));
        self.proj.forward(attended.swap_dims(1, 2).reshape([batch, count, width]))
    }
}
