//! How stale the memory is, measured while training goes on.

use burn::{
    module::Module,
    tensor::{Int, Tensor, TensorData},
};
use crossbatch::{
    ActivePairAges, AgeHistogram, Anchors, Drift, DriftConfig, DriftMeter, DriftState,
    GradientError, Memory, NO_SLOT, Pairs, References, Rows, SameImage, active_pair_ages,
    memory_gradient_error,
};
use crossbatch_models::{Embedder, Mode};
use serde::{Deserialize, Serialize};

use crate::{
    data::LoadedSplit,
    error::Error,
    extract::image_tensor,
    fill::{embed_batches, sampled_batches},
    recipe::Recipe,
};

/// Bins of the histogram of ages.
const BINS: usize = 10;

/// A measurement of drift.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftEvent {
    /// After this step.
    pub step: u64,
    /// How far the probes have moved in inference mode, for each span that has something to compare with.
    pub inference: Vec<Drift>,
    /// The same in training mode, on fixed batches: what the memory's entries go through.
    pub training: Vec<Drift>,
    /// Slots of the memory by age in steps; absent while there is none.
    pub ages: Option<AgeHistogram>,
    /// Negative pairs of a batch of probes with the memory by the entry's age, all and those that the first loss uses;
    /// absent as `gradient` is.
    pub pairs: Option<ActivePairAges>,
    /// Error of the memory's gradient over stale entries against the same images embedded now, for as many slots as
    /// there are probes; absent while there is no memory, and for losses that learn parameters.
    pub gradient: Option<GradientError>,
}

/// The probes and their records.
pub(crate) struct DriftWatch<'a> {
    recipe: &'a Recipe,
    data: &'a LoadedSplit,
    probes: Vec<Vec<u32>>,
    inference: DriftMeter,
    training: DriftMeter,
}

impl<'a> DriftWatch<'a> {
    pub(crate) fn new(recipe: &'a Recipe, data: &'a LoadedSplit) -> Result<Self, Error> {
        let longest = recipe.drift.spans.iter().max().copied().unwrap_or(1);
        let config = DriftConfig {
            spans: recipe.drift.spans.clone(),
            records: (longest / recipe.drift.every.max(1)) as usize + 2,
        };
        Ok(Self {
            recipe,
            data,
            probes: sampled_batches(recipe, data, recipe.drift.probes)?,
            inference: DriftMeter::new(config.clone()),
            training: DriftMeter::new(config),
        })
    }

    /// Embeds the probes and compares.
    pub(crate) fn measure(
        &mut self,
        step: u64,
        embedder: &Embedder,
        memory: Option<&Memory>,
    ) -> Result<DriftEvent, Error> {
        let embedder = embedder.valid();
        let rows = self.probes.iter().map(|batch| self.embed(&embedder, batch));
        let rows = Tensor::cat(rows.collect::<Result<Vec<_>, _>>()?, 0);
        let inference = self.inference.record(step, rows);
        let rows = embed_batches(&embedder, self.data, &self.probes)?;
        let training = self.training.record(step, rows);
        let memory = memory.filter(|memory| !memory.is_empty());
        let ages = memory.map(|memory| AgeHistogram::of(memory, BINS));
        let pairs = memory
            .zip(ages.as_ref())
            .map(|(memory, ages)| self.pairs(step, &embedder, memory, &ages.edges));
        Ok(DriftEvent {
            step,
            inference,
            training,
            ages,
            pairs: pairs.transpose()?.flatten(),
            gradient: memory.map(|memory| self.gradient(&embedder, memory)).transpose()?.flatten(),
        })
    }

    fn embed(&self, embedder: &Embedder, batch: &[u32]) -> Result<Tensor<2>, Error> {
        let positions: Vec<usize> = batch.iter().map(|&id| id as usize).collect();
        let images = image_tensor(&self.data.images, &positions, &embedder.device())?;
        Ok(embedder.forward(images, Mode::Inference))
    }

    /// The ages of the pairs of the first probes with the memory, in the bins of its ages.
    fn pairs(
        &self,
        step: u64,
        embedder: &Embedder,
        memory: &Memory,
        edges: &[u64],
    ) -> Result<Option<ActivePairAges>, Error> {
        let terms = self.recipe.loss.terms();
        let Some(term) = terms.first().filter(|term| !term.learns()) else { return Ok(None) };
        let ids = &self.probes[0];
        let labels: Vec<u32> = ids.iter().map(|&id| self.data.labels[id as usize]).collect();
        let anchors = embed_batches(embedder, self.data, std::slice::from_ref(ids))?;
        let own = vec![NO_SLOT; ids.len()];
        let pairs = Pairs::with_memory(
            Tensor::from_inner(anchors),
            Rows { labels: &labels, ids },
            memory,
            &own,
            self.recipe.memory.same_image,
        );
        Ok(Some(active_pair_ages(term, &pairs.at_step(step), None, edges)))
    }

    /// The error of the gradient by the first probes, over slots spread evenly through the memory.
    fn gradient(
        &self,
        embedder: &Embedder,
        memory: &Memory,
    ) -> Result<Option<GradientError>, Error> {
        let terms = self.recipe.loss.terms();
        if terms.iter().any(|term| term.learns()) {
            return Ok(None);
        }
        let columns = memory.columns();
        let count = self.recipe.drift.probes.min(memory.len());
        let slots: Vec<usize> = (0..count).map(|at| at * memory.len() / count).collect();
        let pick = |of: &[u32]| -> Vec<u32> { slots.iter().map(|&slot| of[slot]).collect() };
        let (labels, ids) = (pick(&columns.labels), pick(&columns.ids));

        // Fresh embeddings come from batches as large as those the stale ones came from.
        let batch = self.recipe.batch.classes * self.recipe.batch.images;
        let batches: Vec<Vec<u32>> = ids.chunks(batch).map(<[u32]>::to_vec).collect();
        let fresh = embed_batches(embedder, self.data, &batches)?;
        let index: Vec<i64> = slots.iter().map(|&slot| slot as i64).collect();
        let index = Tensor::<1, Int>::from_data(TensorData::new(index, [count]), &fresh.device());
        let stored = memory.references(SameImage::Keep).embeddings.inner();
        let stale = stored.select(0, index).cast(fresh.dtype());

        let probes = &self.probes[0];
        let anchors = embed_batches(embedder, self.data, std::slice::from_ref(probes))?;
        let anchor_labels: Vec<u32> =
            probes.iter().map(|&id| self.data.labels[id as usize]).collect();
        let device = embedder.device().autodiff();
        let column = |values: &[u32]| {
            let values: Vec<i32> = values.iter().map(|&value| value as i32).collect();
            let count = values.len();
            let data = TensorData::new(values, [count]);
            Tensor::<1, Int>::from_data(data, &device)
        };
        let references = References {
            screen: None,
            embeddings: Tensor::from_inner(stale),
            labels: column(&labels),
            ids: column(&ids),
            weights: None,
            filled: count,
            drop_same_image: false,
        };
        let error = memory_gradient_error(references, Tensor::from_inner(fresh), |references| {
            let embeddings = Tensor::from_inner(anchors.clone()).require_grad();
            let own = Tensor::full([probes.len()], -1, &embeddings.device());
            let rows = Anchors {
                embeddings: embeddings.clone(),
                labels: column(&anchor_labels),
                ids: column(probes),
                own,
            };
            let pairs = Pairs::between(rows, references);
            let values = terms.iter().map(|term| term.evaluate(&pairs, None).value * term.weight);
            let total = values.reduce(|sum, value| sum + value).expect("a recipe has a loss");
            embeddings.grad(&total.backward()).expect("the loss hangs on its anchors")
        });
        Ok(Some(error))
    }

    /// The records in both modes, for a checkpoint.
    pub(crate) fn state(&self) -> [&DriftState; 2] {
        [self.inference.state(), self.training.state()]
    }

    /// Puts records back.
    pub(crate) fn restore(&mut self, [inference, training]: [DriftState; 2]) {
        self.inference.restore(inference);
        self.training.restore(training);
    }
}
