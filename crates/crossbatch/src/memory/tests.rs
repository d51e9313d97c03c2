use burn::tensor::{Device, Tensor, TensorData};

use super::*;

fn device() -> Device {
    Device::flex().autodiff()
}

fn batch(values: &[f32]) -> Tensor<2> {
    Tensor::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &device())
}

fn numbers(tensor: Tensor<2>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn keyed(capacity: usize) -> Memory {
    MemoryConfig { policy: Policy::Keyed, ..MemoryConfig::new(capacity, 1) }.init(&device())
}

#[test]
fn wraps_when_the_batch_does_not_divide_the_capacity() {
    let mut memory = Memory::new(3, 1, &device());
    let rows = |labels: &'static [u32]| Rows { labels, ids: labels };
    assert_eq!(memory.enqueue(batch(&[1.0, 2.0]), rows(&[1, 2]), 0).unwrap(), [0, 1]);
    assert_eq!(memory.len(), 2);
    assert_eq!(memory.enqueue(batch(&[3.0, 4.0]), rows(&[3, 4]), 1).unwrap(), [2, 0]);
    // 1 was the oldest and is the only one gone.
    assert_eq!(memory.columns().labels, [4, 2, 3]);
    assert_eq!(memory.columns().births, [1, 0, 1]);
    assert_eq!(numbers(memory.embeddings()), [4.0, 2.0, 3.0]);
    assert_eq!(memory.state().order, [1, 2, 0]);
}

#[test]
fn a_batch_as_large_as_the_memory_replaces_it() {
    let mut memory = Memory::new(2, 1, &device());
    let rows = Rows { labels: &[0, 0], ids: &[5, 6] };
    memory.enqueue(batch(&[1.0]), Rows { labels: &[9], ids: &[9] }, 0).unwrap();
    memory.enqueue(batch(&[2.0, 3.0]), rows, 1).unwrap();
    assert_eq!(memory.columns().ids, [6, 5]);
    assert_eq!(memory.len(), 2);
}

#[test]
fn a_batch_larger_than_the_memory_is_refused_and_changes_nothing() {
    let rows = Rows { labels: &[0, 0], ids: &[0, 1] };
    for mut memory in [Memory::new(1, 1, &device()), keyed(1)] {
        memory.enqueue(batch(&[7.0]), Rows { labels: &[3], ids: &[3] }, 4).unwrap();
        let error = memory.enqueue(batch(&[1.0, 2.0]), rows, 5).unwrap_err();
        assert_eq!(error, MemoryError::BatchTooLarge { batch: 2, capacity: 1 });
        assert!(memory.fill(batch(&[1.0, 2.0]), rows, 5).is_err());
        assert_eq!((memory.columns().labels[0], memory.now()), (3, 4));
    }
}

#[test]
fn an_image_seen_again_takes_its_slot_again() {
    let mut memory = keyed(3);
    let rows = |ids: &'static [u32]| Rows { labels: ids, ids };
    assert_eq!(memory.enqueue(batch(&[1.0, 2.0]), rows(&[10, 20]), 0).unwrap(), [0, 1]);
    assert_eq!(memory.enqueue(batch(&[3.0, 4.0]), rows(&[30, 10]), 1).unwrap(), [2, 0]);
    assert_eq!(numbers(memory.embeddings()), [4.0, 2.0, 3.0]);
    // 20 has not been seen for longest.
    assert_eq!(memory.enqueue(batch(&[5.0]), rows(&[40]), 2).unwrap(), [1]);
    // Then 30, which came before 10 in its batch.
    assert_eq!(memory.enqueue(batch(&[6.0]), rows(&[50]), 3).unwrap(), [2]);
    assert_eq!(memory.columns().ids, [10, 40, 50]);
    assert_eq!(memory.columns().births, [1, 2, 3]);
}

#[test]
fn the_last_of_an_images_rows_stays() {
    let mut memory = keyed(2);
    let rows = Rows { labels: &[1, 2, 1, 1], ids: &[10, 20, 10, 10] };
    let own = memory.enqueue(batch(&[1.0, 2.0, 3.0, 4.0]), rows, 0).unwrap();
    assert_eq!(own, [NO_SLOT, 1, NO_SLOT, 0]);
    assert_eq!(numbers(memory.embeddings()), [4.0, 2.0]);
}

#[test]
fn only_masked_rows_are_written() {
    let rows = Rows { labels: &[1, 2, 3, 4], ids: &[1, 2, 3, 4] };
    for mut memory in [Memory::new(3, 1, &device()), keyed(3)] {
        let mask = [false, true, false, true];
        let own = memory.enqueue_masked(batch(&[1.0, 2.0, 3.0, 4.0]), rows, &mask, 7).unwrap();
        assert_eq!(own, [NO_SLOT, 0, NO_SLOT, 1]);
        assert_eq!(memory.columns().ids, [2, 4]);
        assert_eq!(numbers(memory.embeddings()), [2.0, 4.0]);
        let own = memory.enqueue_masked(batch(&[1.0; 4]), rows, &[false; 4], 8).unwrap();
        assert_eq!((own, memory.len()), (vec![NO_SLOT; 4], 2));
    }
}

#[test]
fn what_is_stored_carries_no_gradient() {
    let mut memory = Memory::new(2, 1, &device());
    let rows = batch(&[1.0, 2.0]).require_grad();
    memory.enqueue(rows.clone() * 2.0, Rows { labels: &[0, 1], ids: &[0, 1] }, 0).unwrap();
    let gradients = (memory.embeddings().sum() + rows.clone().sum()).backward();
    assert_eq!(numbers(rows.grad(&gradients).unwrap()), [1.0, 1.0]);
}

#[test]
fn half_storage_rounds_once() {
    for (storage, expected) in [(Storage::F16, 0.333_251_95), (Storage::Bf16, 0.333_984_38)] {
        let config = MemoryConfig { storage, ..MemoryConfig::new(2, 1) };
        let mut memory = config.init(&device());
        let rows = Rows { labels: &[0], ids: &[0] };
        memory.enqueue(batch(&[1.0 / 3.0]), rows, 0).unwrap();
        assert_eq!(numbers(memory.embeddings()), [expected]);
        assert_eq!(memory.embeddings().dtype(), storage.dtype());
        assert_eq!(config.device_bytes(), Some(2 * (2 + 4 + 4)));
    }
}

#[test]
fn references_are_the_whole_memory_and_say_what_counts() {
    let weighting = AgeWeighting { half_life: Some(1.0), window: None };
    let mut memory = MemoryConfig { weighting, ..MemoryConfig::new(4, 1) }.init(&device());
    memory.enqueue(batch(&[1.0]), Rows { labels: &[5], ids: &[6] }, 1).unwrap();
    memory.enqueue(batch(&[2.0]), Rows { labels: &[7], ids: &[8] }, 2).unwrap();
    let references = memory.references(SameImage::Drop);
    assert_eq!(references.embeddings.dims(), [4, 1]);
    assert!(references.embeddings.is_autodiff() && references.drop_same_image);
    assert_eq!(references.filled, 2);
    let column = |tensor: Tensor<1, Int>| tensor.into_data().try_to_vec::<i32>().unwrap();
    assert_eq!(column(references.labels), [5, 7, 0, 0]);
    assert_eq!(column(references.ids), [6, 8, 0, 0]);
    let weights = references.weights.unwrap().into_data().try_to_vec::<f32>().unwrap();
    assert_eq!(weights, [0.5, 1.0, 0.0, 0.0]);
    assert!(Memory::new(4, 1, &device()).references(SameImage::Keep).weights.is_none());
}

/// Where the elements of a tensor of the CPU backend lie.
fn address(tensor: &Tensor<2>) -> usize {
    use burn::backend::{DispatchKindConversion, DispatchTensor, Flex};
    let tensor = tensor.clone().inner().into_dispatch();
    let tensor = <DispatchTensor as DispatchKindConversion<Flex>>::try_into_backend(tensor);
    let tensor = tensor.unwrap().float();
    match tensor.dtype() {
        burn::tensor::DType::F32 => tensor.storage::<f32>().as_ptr() as usize,
        _ => tensor.storage::<burn::tensor::f16>().as_ptr() as usize,
    }
}

#[test]
fn writes_are_in_place_and_references_are_no_copy() {
    for policy in [Policy::Fifo, Policy::Keyed] {
        for storage in [Storage::F32, Storage::F16] {
            for correction in [Correction::None, Correction::Moments] {
                let config =
                    MemoryConfig { policy, storage, correction, ..MemoryConfig::new(50, 1) };
                let mut memory = config.init(&device());
                let bank = address(&memory.bank.embeddings);
                let current = address(memory.current());
                for step in 0..20 {
                    // Scattered images, and a wrap.
                    let ids: Vec<u32> = (0..7).map(|row| (step * 13 + row * 29) % 60).collect();
                    let values: Vec<f32> = ids.iter().map(|&id| id as f32).collect();
                    let anchors = batch(&values).require_grad() * 2.0;
                    let rows = Rows { labels: &ids, ids: &ids };
                    memory.enqueue(anchors, rows, u64::from(step)).unwrap();
                    assert_eq!(address(&memory.bank.embeddings), bank, "{config:?}");
                    let references = memory.references(SameImage::Keep);
                    assert_eq!(address(&references.embeddings), current, "{config:?}");
                }
            }
        }
    }
}

#[test]
fn an_earlier_steps_references_stay_what_they_were() {
    let mut memory = Memory::new(1, 1, &device());
    memory.enqueue(batch(&[1.0]), Rows { labels: &[0], ids: &[0] }, 0).unwrap();
    let references = memory.references(SameImage::Keep);
    memory.enqueue(batch(&[2.0]), Rows { labels: &[0], ids: &[0] }, 1).unwrap();
    assert_eq!(numbers(references.embeddings), [1.0]);
    assert_eq!(numbers(memory.embeddings()), [2.0]);
}

#[test]
fn a_fill_replaces_everything() {
    let mut memory = Memory::new(3, 1, &device());
    memory.enqueue(batch(&[9.0, 9.0]), Rows { labels: &[9, 9], ids: &[9, 9] }, 1).unwrap();
    memory.fill(batch(&[1.0, 2.0]), Rows { labels: &[1, 2], ids: &[1, 2] }, 5).unwrap();
    assert_eq!(memory.columns().labels, [1, 2]);
    assert_eq!(memory.columns().births, [5, 5]);
}

#[test]
fn a_state_of_other_options_is_refused() {
    let memory = Memory::new(3, 1, &device());
    let half = MemoryConfig { storage: Storage::F16, ..MemoryConfig::new(3, 1) };
    let error = half.init(&device()).restore(memory.state()).unwrap_err();
    assert!(error.to_string().contains("storage f32, this one has f16"), "{error}");
    assert!(keyed(3).restore(memory.state()).is_err());
}

#[test]
fn a_damaged_state_is_refused_and_changes_nothing() {
    for mut memory in [Memory::new(3, 1, &device()), keyed(3)] {
        let rows = Rows { labels: &[1, 2], ids: &[1, 2] };
        memory.enqueue(batch(&[1.0, 2.0]), rows, 0).unwrap();
        let state = memory.state();
        let damages: [fn(&mut MemoryState); 6] = [
            |state| state.order = vec![0, 0],
            |state| state.order = vec![0, 7],
            |state| state.order = vec![0],
            |state| state.columns.ids.push(0),
            |state| state.columns.births.clear(),
            |state| state.embeddings.truncate(5),
        ];
        for damage in damages {
            let mut damaged = state.clone();
            damage(&mut damaged);
            assert!(memory.restore(damaged.clone()).is_err(), "{damaged:?}");
            assert_eq!(memory.state(), state);
        }
    }
    let mut memory = keyed(3);
    memory.enqueue(batch(&[1.0, 2.0]), Rows { labels: &[1, 2], ids: &[1, 2] }, 0).unwrap();
    let mut twice = memory.state();
    twice.columns.ids = vec![1, 1];
    assert!(memory.restore(twice).is_err());
}

#[test]
fn debug_is_for_people() {
    let mut memory = Memory::new(3, 1, &device());
    assert!(format!("{memory:?}").contains("ages: none"));
    memory.enqueue(batch(&[1.0]), Rows { labels: &[1], ids: &[1] }, 0).unwrap();
    memory.enqueue(batch(&[2.0]), Rows { labels: &[1], ids: &[2] }, 12).unwrap();
    let text = format!("{memory:?}");
    assert!(text.contains("filled: 2, capacity: 3, dim: 1"), "{text}");
    assert!(text.contains("classes: 1, ages: 0..=12"), "{text}");
}
