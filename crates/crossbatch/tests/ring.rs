//! The ring against a plain queue.

use std::collections::VecDeque;

use burn::tensor::{Device, Tensor, TensorData};
use crossbatch::{MemoryRing, Rows};
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever the batch sizes, the ring holds the rows that a queue of its capacity would, each
    /// with its own label, id, birth and embedding, and the slots it returns are where they are.
    #[test]
    fn holds_what_a_queue_would(capacity in 1usize..20, batches in prop::collection::vec(0usize..20, 1..12)) {
        let device = Device::flex();
        let mut ring = MemoryRing::new(capacity, 2, &device);
        let mut queue: VecDeque<(u32, u64)> = VecDeque::new();
        let mut next = 0u32;
        for (step, size) in batches.into_iter().enumerate() {
            let step = step as u64;
            let ids: Vec<u32> = (next..next + size as u32).collect();
            let labels: Vec<u32> = ids.iter().map(|id| id % 7).collect();
            let values = ids.iter().flat_map(|&id| [id as f32, -(id as f32)]).collect::<Vec<_>>();
            let embeddings = Tensor::<2>::from_data(TensorData::new(values, [size, 2]), &device);
            let result = ring.enqueue(embeddings, Rows { labels: &labels, ids: &ids }, step);
            if size > capacity {
                prop_assert!(result.is_err());
                continue;
            }
            let slots = result.unwrap();
            next += size as u32;
            queue.extend(ids.iter().map(|&id| (id, step)));
            while queue.len() > capacity {
                queue.pop_front();
            }

            for (slot, id) in slots.iter().zip(&ids) {
                prop_assert_eq!(ring.columns().ids[*slot as usize], *id);
            }
            prop_assert_eq!(ring.len(), queue.len());
            let stored = ring.embeddings().into_data().try_to_vec::<f32>().unwrap();
            let columns = ring.columns();
            let mut held: Vec<(u32, u64)> = Vec::new();
            for slot in 0..ring.len() {
                let id = columns.ids[slot];
                prop_assert_eq!(columns.labels[slot], id % 7);
                prop_assert_eq!(&stored[slot * 2..slot * 2 + 2], &[id as f32, -(id as f32)]);
                held.push((id, columns.births[slot]));
            }
            held.sort_unstable();
            prop_assert_eq!(held, queue.iter().copied().collect::<Vec<_>>());
            let device_ids = ring.device_ids().into_data().iter::<u32>().collect::<Vec<_>>();
            prop_assert_eq!(&device_ids, &columns.ids);
        }
    }
}
