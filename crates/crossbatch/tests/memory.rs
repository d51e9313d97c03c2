//! Both policies against plain lists.

use burn::tensor::{Device, Tensor, TensorData};
use crossbatch::{
    Correction, KalmanConfig, Memory, MemoryConfig, NO_SLOT, Policy, Rows, SameImage, Storage,
};
use proptest::prelude::*;

/// A remembered row.
#[derive(Debug, Clone, PartialEq)]
struct Entry {
    id: u32,
    label: u32,
    birth: u64,
    value: f32,
}

/// What a memory should hold, from the row written longest ago to the newest.
fn remember(model: &mut Vec<Entry>, policy: Policy, capacity: usize, entry: Entry) {
    if policy == Policy::Keyed {
        model.retain(|held| held.id != entry.id);
    }
    model.push(entry);
    if model.len() > capacity {
        model.remove(0);
    }
}

/// What a memory does hold, in its own order.
fn held(memory: &Memory) -> Vec<Entry> {
    let columns = memory.columns();
    let values: Vec<f32> = memory.embeddings().into_data().iter::<f32>().collect();
    let order = memory.state().order;
    order
        .iter()
        .map(|&slot| slot as usize)
        .map(|slot| {
            assert_eq!(values[slot * 2], -values[slot * 2 + 1]);
            Entry {
                id: columns.ids[slot],
                label: columns.labels[slot],
                birth: columns.births[slot],
                value: values[slot * 2],
            }
        })
        .collect()
}

/// A batch: images, and which of them are enqueued. `None` saves the memory and goes on in another.
type Step = Option<Vec<(u32, bool)>>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let batch = prop::collection::vec((0u32..25, prop::bool::weighted(0.7)), 0..14);
    let step = prop_oneof![6 => batch.prop_map(Some), 1 => Just(None)];
    prop::collection::vec(step, 1..16)
}

fn options() -> impl Strategy<Value = (Policy, Storage)> {
    let policy = prop::sample::select(vec![Policy::Fifo, Policy::Keyed]);
    (policy, prop::sample::select(vec![Storage::F32, Storage::F16, Storage::Bf16]))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever the batches, masks and interruptions, a memory holds the rows that a list would, each
    /// with its own label, id, birth and embedding, and the slots it returns are where they are.
    #[test]
    fn holds_what_a_list_would(
        (policy, storage) in options(),
        capacity in 1usize..20,
        steps in steps(),
        autodiff: bool,
    ) {
        let device = if autodiff { Device::flex().autodiff() } else { Device::flex() };
        let config = MemoryConfig { policy, storage, ..MemoryConfig::new(capacity, 2) };
        let mut memory = config.init(&device);
        let mut model: Vec<Entry> = Vec::new();
        let mut next = 0u32;
        for (step, batch) in steps.into_iter().enumerate() {
            let step = step as u64;
            let Some(batch) = batch else {
                let state = memory.state();
                memory = config.init(&device);
                memory.restore(state.clone()).unwrap();
                prop_assert_eq!(memory.state(), state);
                continue;
            };
            let (ids, mask): (Vec<u32>, Vec<bool>) = batch.into_iter().unzip();
            let labels: Vec<u32> = ids.iter().map(|id| id % 7).collect();
            // Whole numbers below 256, so that every storage type holds them.
            let values: Vec<f32> = ids.iter().map(|_| { next = (next + 1) % 256; next as f32 }).collect();
            let data: Vec<f32> = values.iter().flat_map(|&value| [value, -value]).collect();
            let embeddings = Tensor::<2>::from_data(TensorData::new(data, [ids.len(), 2]), &device);
            let rows = Rows { labels: &labels, ids: &ids };
            let before = memory.state();
            let result = memory.enqueue_masked(embeddings, rows, &mask, step);

            let chosen: Vec<usize> = (0..ids.len()).filter(|&row| mask[row]).collect();
            let mut distinct: Vec<u32> = chosen.iter().map(|&row| ids[row]).collect();
            if policy == Policy::Keyed {
                distinct.sort_unstable();
                distinct.dedup();
            }
            if distinct.len() > capacity {
                prop_assert!(result.is_err());
                prop_assert_eq!(memory.state(), before);
                continue;
            }
            let own = result.unwrap();
            for &row in &chosen {
                let entry = Entry { id: ids[row], label: labels[row], birth: step, value: values[row] };
                remember(&mut model, policy, capacity, entry);
            }
            prop_assert_eq!(&held(&memory), &model);

            for row in 0..ids.len() {
                let stays = mask[row] && model.iter().any(|entry| {
                    entry.birth == step && entry.id == ids[row] && entry.value == values[row]
                });
                prop_assert_eq!(own[row] != NO_SLOT, stays);
                if stays {
                    prop_assert_eq!(memory.columns().ids[own[row] as usize], ids[row]);
                }
            }
            let references = memory.references(SameImage::Keep);
            prop_assert_eq!(references.filled, model.len());
            let filled = |tensor: Tensor<1, burn::tensor::Int>| {
                let mut values: Vec<u32> = tensor.into_data().iter::<u32>().collect();
                values.truncate(model.len());
                values
            };
            prop_assert_eq!(filled(references.ids), memory.columns().ids.clone());
            prop_assert_eq!(filled(references.labels), memory.columns().labels.clone());
        }
    }

    /// A saved memory goes on to the bit as the one it was saved from, corrections included.
    #[test]
    fn goes_on_as_if_never_saved(
        (policy, storage) in options(),
        correction in prop::sample::select(vec![
            Correction::None,
            Correction::Moments,
            Correction::Kalman(KalmanConfig::default()),
        ]),
        batches in prop::collection::vec(prop::collection::vec((0u32..25, -1.0f32..1.0), 0..9), 1..10),
        at in 0usize..10,
    ) {
        let device = Device::flex();
        let config = MemoryConfig { policy, storage, correction, ..MemoryConfig::new(9, 2) };
        let mut memory = config.init(&device);
        let mut other = config.init(&device);
        for (step, batch) in batches.into_iter().enumerate() {
            if step == at {
                other.restore(memory.state()).unwrap();
            }
            let ids: Vec<u32> = batch.iter().map(|(id, _)| *id).collect();
            let data: Vec<f32> = batch.iter().flat_map(|&(id, value)| [value, id as f32]).collect();
            let embeddings = Tensor::<2>::from_data(TensorData::new(data, [ids.len(), 2]), &device);
            let rows = Rows { labels: &ids, ids: &ids };
            memory.enqueue(embeddings.clone(), rows, step as u64).unwrap();
            if step >= at {
                other.enqueue(embeddings, rows, step as u64).unwrap();
                prop_assert_eq!(memory.state(), other.state());
                prop_assert_eq!(memory.embeddings().into_data(), other.embeddings().into_data());
            }
        }
    }
}
