//! Every pair, looked at once.

use burn::tensor::{Int, Tensor, s};
use crossbatch_kernels::{Anchors, References, program::Closeness};

/// References compared at a time.
const BLOCK: usize = 4096;

/// The pairs that a miner may choose from.
///
/// References are compared in blocks and read back, so nothing of size `[B, M]` is kept; but the device is waited for.
#[derive(Debug)]
pub struct Candidates<'a> {
    pub(crate) anchors: &'a Anchors,
    pub(crate) references: &'a References,
    pub(crate) closeness: Closeness,
    pub(crate) step: u64,
}

/// One pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// Number of the anchor.
    pub anchor: usize,
    /// Number of the reference.
    pub reference: u32,
    /// Whether it is a positive pair.
    pub is_positive: bool,
    /// How close the two are, larger is closer.
    pub closeness: f32,
}

/// What is known of rows, on the host.
struct Columns {
    labels: Vec<i32>,
    ids: Vec<i32>,
}

fn read(column: &Tensor<1, Int>) -> Vec<i32> {
    column.clone().into_data().iter::<i32>().collect()
}

impl Candidates<'_> {
    /// Number of anchors.
    pub fn anchors(&self) -> usize {
        self.anchors.embeddings.dims()[0]
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        self.anchors.embeddings.dims()[1]
    }

    /// What the loss compares rows by.
    pub fn closeness(&self) -> Closeness {
        self.closeness
    }

    /// The training step.
    pub fn step(&self) -> u64 {
        self.step
    }

    /// Calls `visit` with every positive and every negative pair, compared by `closeness`: of each anchor in the order
    /// of the references.
    pub fn for_each(&self, closeness: Closeness, mut visit: impl FnMut(Candidate)) {
        let anchors = Columns { labels: read(&self.anchors.labels), ids: read(&self.anchors.ids) };
        let references =
            Columns { labels: read(&self.references.labels), ids: read(&self.references.ids) };
        let own = read(&self.anchors.own);
        let weights: Option<Vec<f32>> = (self.references.weights.as_ref())
            .map(|weights| weights.clone().into_data().iter::<f32>().collect());
        let counts =
            |reference: usize| weights.as_ref().is_none_or(|weights| weights[reference] > 0.0);

        let rows = self.anchors.embeddings.clone().detach();
        for first in (0..self.references.filled).step_by(BLOCK) {
            let last = (first + BLOCK).min(self.references.filled);
            let block = self.references.embeddings.clone().slice(s![first..last, ..]).detach();
            let block = compare(closeness, rows.clone(), block.cast(rows.dtype()));
            let block = block.into_data().try_to_vec::<f32>().expect("rows are f32");
            for (anchor, closenesses) in block.chunks(last - first).enumerate() {
                for (reference, &closeness) in (first..).zip(closenesses) {
                    let is_positive = anchors.labels[anchor] == references.labels[reference];
                    let dropped = is_positive
                        && self.references.drop_same_image
                        && anchors.ids[anchor] == references.ids[reference];
                    if own[anchor] == reference as i32 || dropped || !counts(reference) {
                        continue;
                    }
                    let reference = reference as u32;
                    visit(Candidate { anchor, reference, is_positive, closeness });
                }
            }
        }
    }
}

/// Closeness of all pairs, `[B, n]`.
fn compare(closeness: Closeness, anchors: Tensor<2>, references: Tensor<2>) -> Tensor<2> {
    let references = match closeness {
        Closeness::CentredSquaredDistance => {
            let mean = references.clone().mean_dim(1);
            references - mean
        }
        _ => references,
    };
    let products = anchors.clone().matmul(references.clone().transpose());
    if closeness == Closeness::Dot {
        return products;
    }
    let squares = anchors.square().sum_dim(1) + references.square().sum_dim(1).transpose();
    let squared = (squares - products * 2.0).clamp_min(0.0);
    match closeness {
        Closeness::Distance => squared.sqrt().neg(),
        _ => squared.neg(),
    }
}
