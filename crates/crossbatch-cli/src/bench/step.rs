//! The call that is timed: a loss against the memory and its gradient, by the path that a training step takes.

use burn::tensor::{DType, Device, Tensor, TensorData};
use crossbatch::{
    LossConfig, LossKind, Memory, MemoryConfig, NO_SLOT, PairStatistics, PairTerm, Pairs, Rows,
    SameImage, Storage,
};

use super::{Inputs, Labelled};

/// Rows that are written to the memory at a time.
const CHUNK: usize = 1 << 16;

/// A loss, anchors and a filled memory, ready for any number of calls.
pub(crate) struct Step {
    term: PairTerm,
    /// What is learnt with the loss, at its first values.
    parameters: Option<Tensor<1>>,
    anchors: Tensor<2>,
    labels: Vec<u32>,
    ids: Vec<u32>,
    memory: Memory,
}

/// What a call gives.
pub(crate) struct Output {
    pub(crate) value: f32,
    /// By the anchors as given, `[B, D]`.
    pub(crate) gradient: Tensor<2>,
    statistics: PairStatistics,
}

impl Step {
    /// Takes the inputs over and fills a memory of that size with the bank.
    pub(crate) fn new(loss: LossKind, storage: Storage, inputs: Inputs) -> Self {
        let device = Device::flex().autodiff();
        let Inputs { anchors, bank } = inputs;
        let classes = anchors.labels.iter().chain(&bank.labels).max().map_or(0, |&most| most + 1);
        let term = PairTerm::shared(as_given(loss).build());
        let parameters = term.loss.initial_parameters(classes as usize);
        // The anchors are images of their own.
        let first = bank.labels.len() as u32;
        Self {
            term,
            parameters: (!parameters.is_empty())
                .then(|| Tensor::from_data(&parameters[..], &device)),
            ids: (first..).take(anchors.labels.len()).collect(),
            labels: anchors.labels,
            anchors: Tensor::from_data(anchors.embeddings, &device),
            memory: remember(bank, storage, &device),
        }
    }

    /// The value and its gradient.
    pub(crate) fn call(&self) -> Output {
        let anchors = self.anchors.clone().require_grad();
        let rows = Rows { labels: &self.labels, ids: &self.ids };
        // The anchors are not in the memory, so that no pair is a self-pair.
        let own_slots = vec![NO_SLOT; self.labels.len()];
        let pairs =
            Pairs::with_memory(anchors.clone(), rows, &self.memory, &own_slots, SameImage::Keep);
        let output = self.term.evaluate(&pairs, self.parameters.as_ref());
        let gradients = output.value.backward();
        let gradient = anchors.grad(&gradients).expect("the value hangs on the anchors");
        Output { value: output.value.into_scalar(), gradient, statistics: output.statistics }
    }

    /// B and D.
    pub(crate) fn dims(&self) -> [usize; 2] {
        self.anchors.dims()
    }

    /// M.
    pub(crate) fn entries(&self) -> usize {
        self.memory.len()
    }

    /// Bytes of the memory.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// The memory's embeddings as they are stored, `[M, D]`, with their labels.
    pub(crate) fn bank(&self) -> Labelled {
        Labelled {
            embeddings: self.memory.embeddings().into_data(),
            labels: self.memory.columns().labels.clone(),
        }
    }

    /// The anchors and the bank as f32, `[B, D]` and `[M, D]`.
    pub(crate) fn matrices(&self) -> (Vec<f32>, Vec<f32>) {
        let values = |data: TensorData| {
            data.convert_dtype(DType::F32).try_into_vec().expect("just made f32")
        };
        (values(self.anchors.to_data()), values(self.bank().embeddings))
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
        let anchors = self.statistics.anchors() as f64;
        let mean = |sum: Tensor<1>| f64::from(sum.into_scalar::<f32>()) / anchors;
        (mean(self.statistics.active_positives()), mean(self.statistics.active_negatives()))
    }
}

/// The loss with its defaults, but on the rows as they are: where it would compare by the cosine, and so scale the
/// anchors to unit length, it compares by the dot product, as the released code does.
fn as_given(kind: LossKind) -> LossConfig {
    let mut options = serde_json::to_value(kind.config()).expect("a loss is a plain table");
    if let Some(similarity) = options.get_mut("similarity").filter(|word| *word == "cosine") {
        *similarity = "dot".into();
    }
    serde_json::from_value(options).expect("what compares by the cosine can by the dot product")
}

fn remember(bank: Labelled, storage: Storage, device: &Device) -> Memory {
    let [entries, dim] = bank.embeddings.shape().dims();
    let mut memory = MemoryConfig { storage, ..MemoryConfig::new(entries, dim) }.init(device);
    let embeddings = Tensor::<2>::from_data(bank.embeddings, device);
    let ids: Vec<u32> = (0..entries as u32).collect();
    for start in (0..entries).step_by(CHUNK) {
        let range = start..entries.min(start + CHUNK);
        let rows = Rows { labels: &bank.labels[range.clone()], ids: &ids[range.clone()] };
        let chunk = embeddings.clone().slice(range);
        memory.enqueue(chunk, rows, 0).expect("as many slots as rows");
    }
    memory
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
