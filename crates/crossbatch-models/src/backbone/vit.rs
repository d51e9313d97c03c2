use burn::{
    module::{Module, Param},
    tensor::Tensor,
};
use crossbatch_kernels::{attention, gelu};

use crate::{
    cost::Tally,
    init::Initializer,
    layer::{Conv2d, LayerNorm, Linear},
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
