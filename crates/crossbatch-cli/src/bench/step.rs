//! The call that is timed: a loss against the memory and its gradient, by the path that a training step takes.

use burn::tensor::{Device, Int, Tensor, TensorData};
use crossbatch_kernels::{
    Anchors, PairRows, References, pair_rows,
    program::{self, Body, Closeness, NegativeRule, PairProgram, PositiveRule, Term},
};

use super::{Inputs, Labelled};
use crate::args::BenchLoss;

/// A loss, anchors and a bank, ready for any number of calls.
pub(crate) struct Step {
    loss: BenchLoss,
    anchors: Tensor<2>,
    labels: Vec<u32>,
    bank: References,
}

/// What a call gives.
pub(crate) struct Output {
    pub(crate) value: f32,
    /// By the anchors as given, `[B, D]`.
    pub(crate) gradient: Tensor<2>,
    rows: PairRows,
}

impl Step {
    /// Takes the inputs over; the bank stays in the type it comes in.
    pub(crate) fn new(loss: BenchLoss, inputs: Inputs) -> Self {
        let device = Device::flex().autodiff();
        let Inputs { anchors, bank } = inputs;
        let filled = bank.labels.len();
        let tensor = |rows: Labelled| Tensor::from_data(rows.embeddings, &device);
        let ids: Vec<u32> = (0..filled as u32).collect();
        Self {
            loss,
            labels: anchors.labels.clone(),
            anchors: tensor(anchors),
            bank: References {
                labels: column(&bank.labels, &device),
                ids: column(&ids, &device),
                embeddings: tensor(bank),
                weights: None,
                filled,
                drop_same_image: false,
            },
        }
    }

    /// The value and its gradient.
    pub(crate) fn call(&self) -> Output {
        let anchors = self.anchors.clone().require_grad();
        let (value, rows) = self.loss(anchors.clone());
        let gradients = value.backward();
        let gradient = anchors.grad(&gradients).expect("the value hangs on the anchors");
        Output { value: value.into_scalar(), gradient, rows }
    }

    fn loss(&self, embeddings: Tensor<2>) -> (Tensor<1>, PairRows) {
        let device = embeddings.device();
        let [batch, _] = embeddings.dims();
        let anchors = Anchors {
            embeddings,
            labels: column(&self.labels, &device),
            ids: Tensor::full([batch], -1, &device),
            // No self-pair: the anchors are not in the bank.
            own: Tensor::full([batch], -1, &device),
        };
        let (thresholds, program) = program(self.loss);
        let thresholds: Vec<f32> = thresholds.into_iter().cycle().take(2 * batch).collect();
        let thresholds = Tensor::from_data(TensorData::new(thresholds, [batch, 2]), &device);
        let rows = pair_rows(anchors, self.bank.clone(), thresholds, program);
        let (positive, negative) = (rows.positive.clone(), rows.negative.clone());
        let values = match self.loss {
            BenchLoss::Contrastive => positive + negative,
            BenchLoss::MultiSimilarity => {
                let counts = rows.field(program::POSITIVES) * rows.field(program::NEGATIVES);
                let counts = counts.greater_scalar(0.0).float();
                let softplus = |side: Tensor<1>| (side.exp() + 1.0).log();
                (softplus(positive) / 2.0 + softplus(negative) / 40.0) * counts
            }
        };
        (values.sum() / batch as f32, rows)
    }

    /// B and D.
    pub(crate) fn dims(&self) -> [usize; 2] {
        self.anchors.dims()
    }

    /// The anchors and the bank as f32, `[B, D]` and `[M, D]`.
    pub(crate) fn matrices(&self) -> (Vec<f32>, Vec<f32>) {
        let values = |tensor: &Tensor<2>| {
            tensor.clone().into_data().convert::<f32>().try_into_vec().expect("just made f32")
        };
        (values(&self.anchors), values(&self.bank.embeddings))
    }
}

impl Output {
    /// The gradient's length.
    pub(crate) fn gradient_norm(&self) -> f64 {
        let values: Vec<f32> = self.gradient.to_data().try_into_vec().expect("gradients are f32");
        values.iter().map(|&value| f64::from(value).powi(2)).sum::<f64>().sqrt()
    }

    /// Positive and negative pairs that count, an anchor.
    pub(crate) fn pairs(&self) -> (f64, f64) {
        let mean = |field| {
            let counts: Vec<f32> =
                self.rows.field(field).into_data().try_into_vec().expect("fields are f32");
            counts.iter().map(|&count| f64::from(count)).sum::<f64>() / counts.len() as f64
        };
        (mean(program::POSITIVES), mean(program::NEGATIVES))
    }
}

/// The loss's thresholds and program.
fn program(loss: BenchLoss) -> ([f32; 2], PairProgram) {
    let (thresholds, positive, positives, negative, negatives) = match loss {
        BenchLoss::Contrastive => (
            [1.0, 0.5],
            Term::Linear { offset: 0.0 },
            PositiveRule::ALL,
            Term::Linear { offset: 0.5 },
            NegativeRule { violating: true, ..NegativeRule::ALL },
        ),
        BenchLoss::MultiSimilarity => (
            [0.5, 0.5],
            Term::LogSumExp { scale: 2.0 },
            PositiveRule { hardest_negative: Some(0.1), ..PositiveRule::ALL },
            Term::LogSumExp { scale: 40.0 },
            NegativeRule { hardest_positive: Some(0.1), ..NegativeRule::ALL },
        ),
    };
    let body = Body::Sides { positive, positives, negative, negatives };
    (thresholds, PairProgram { closeness: Closeness::Dot, body })
}

/// Dense labels or ids as a device tensor `[N]`.
fn column(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value.cast_signed()).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}
