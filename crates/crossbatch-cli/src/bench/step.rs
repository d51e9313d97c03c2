//! The call that is timed: a loss against the memory and its gradient, by the path that a training step takes.

use burn::tensor::{DType, Device, Int, Tensor, TensorData};
use crossbatch::{Anchors, LossConfig, LossKind, PairRows, Reduction, References, program};
use crossbatch_kernels::pair_rows;

use super::{Inputs, Labelled};

/// A loss, anchors and a bank, ready for any number of calls.
pub(crate) struct Step {
    loss: LossConfig,
    /// What is learnt with the loss, at its first values.
    parameters: Option<Tensor<1>>,
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
    pub(crate) fn new(loss: LossKind, inputs: Inputs) -> Self {
        let device = Device::flex().autodiff();
        let Inputs { anchors, bank } = inputs;
        let loss = as_given(loss);
        let filled = bank.labels.len();
        let classes = anchors.labels.iter().chain(&bank.labels).max().map_or(0, |&most| most + 1);
        let parameters = loss.loss().initial_parameters(classes as usize);
        let ids: Vec<u32> = (0..filled as u32).collect();
        Self {
            loss,
            parameters: (!parameters.is_empty())
                .then(|| Tensor::from_data(&parameters[..], &device)),
            labels: anchors.labels.clone(),
            anchors: tensor(anchors, &device),
            bank: References {
                labels: column(&bank.labels, &device),
                ids: column(&ids, &device),
                embeddings: tensor(bank, &device),
                weights: None,
                filled,
                drop_same_image: false,
            },
        }
    }

    /// The value and its gradient.
    pub(crate) fn call(&self) -> Output {
        let anchors = self.anchors.clone().require_grad();
        let (value, rows) = self.evaluate(anchors.clone());
        let gradients = value.backward();
        let gradient = anchors.grad(&gradients).expect("the value hangs on the anchors");
        Output { value: value.into_scalar(), gradient, rows }
    }

    /// The loss over all pairs of anchors and bank, as [`crossbatch::PairTerm`] evaluates it against a memory.
    fn evaluate(&self, embeddings: Tensor<2>) -> (Tensor<1>, PairRows) {
        let (loss, parameters) = (self.loss.loss(), self.parameters.as_ref());
        let device = embeddings.device();
        let [batch, _] = embeddings.dims();
        let none = || Tensor::from_data(&vec![-1i32; batch][..], &device);
        let anchors = Anchors {
            embeddings: loss.prepare(embeddings),
            labels: column(&self.labels, &device),
            // The anchors are not in the bank: no image and no row is the same.
            ids: none(),
            own: none(),
        };
        let thresholds = loss.thresholds(&anchors, parameters);
        let rows = pair_rows(anchors.clone(), self.bank.clone(), thresholds, loss.program());
        let parts = loss.parts(&rows, &anchors, parameters).into_iter();
        let value = parts.map(|part| part.reduce(Reduction::Sum)).reduce(|sum, part| sum + part);
        (value.expect("a loss has at least one part"), rows)
    }

    /// B and D.
    pub(crate) fn dims(&self) -> [usize; 2] {
        self.anchors.dims()
    }

    /// The anchors and the bank as f32, `[B, D]` and `[M, D]`.
    pub(crate) fn matrices(&self) -> (Vec<f32>, Vec<f32>) {
        let values = |tensor: &Tensor<2>| {
            let data = tensor.clone().into_data().convert_dtype(DType::F32);
            data.try_into_vec().expect("just made f32")
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

    /// Positive and negative pairs (of a triplet loss 0 and triplets) that count, an anchor.
    pub(crate) fn pairs(&self) -> (f64, f64) {
        let mean = |field| {
            let counts = self.rows.field(field).into_data();
            let counts: Vec<f32> = counts.try_into_vec().expect("fields are f32");
            counts.iter().map(|&count| f64::from(count)).sum::<f64>() / counts.len() as f64
        };
        (mean(program::POSITIVES), mean(program::NEGATIVES))
    }
}

/// The loss with its defaults, but on the rows as they are: where it would compare by the cosine, and so scale the
/// anchors to unit length, it compares by the dot product, as the released code does.
fn as_given(kind: LossKind) -> LossConfig {
    let mut options = serde_json::to_value(kind.config()).expect("a loss is a plain table");
    if let Some(similarity) = options.get_mut("similarity").filter(|word| *word == "cosine") {
        *similarity = "dot".into();
    }
    serde_json::from_value(options)
        .expect("a loss that compares by the cosine can by the dot product")
}

fn tensor(rows: Labelled, device: &Device) -> Tensor<2> {
    let dtype = rows.embeddings.dtype();
    Tensor::from_data(rows.embeddings, (device, dtype))
}

/// Dense labels or ids as a device tensor `[N]`.
fn column(values: &[u32], device: &Device) -> Tensor<1, Int> {
    let values: Vec<i32> = values.iter().map(|&value| value.cast_signed()).collect();
    let len = values.len();
    Tensor::from_data(TensorData::new(values, [len]), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_loss_takes_rows_as_they_are() {
        for &kind in LossKind::ALL {
            let options = serde_json::to_value(as_given(kind)).unwrap();
            assert_eq!(as_given(kind).kind(), kind);
            assert_ne!(options["similarity"], "cosine", "{kind}");
        }
    }
}
