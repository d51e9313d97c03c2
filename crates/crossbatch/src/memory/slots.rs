//! Which slot a row is written to: the two policies, without any tensor.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::{MemoryError, Policy};

/// Where the next rows go.
#[derive(Debug, Clone)]
pub(super) enum Slots {
    Fifo { cursor: usize },
    Keyed(Keyed),
}

/// Slots by image, and by how long ago they were written.
#[derive(Debug, Clone, Default)]
pub(super) struct Keyed {
    slot_of: HashMap<u32, u32>,
    /// Number of the write that filled each slot; unique, so that rows of one step have an order.
    turn_of: Vec<u64>,
    slot_by_turn: BTreeMap<u64, u32>,
    next_turn: u64,
}

impl Slots {
    pub(super) fn new(policy: Policy) -> Self {
        match policy {
            Policy::Fifo => Self::Fifo { cursor: 0 },
            Policy::Keyed => Self::Keyed(Keyed::default()),
        }
    }

    /// Whether rows of these images fit next to each other.
    pub(super) fn check(&self, ids: &[u32], capacity: usize) -> Result<(), MemoryError> {
        let batch = match self {
            _ if ids.len() <= capacity => return Ok(()),
            Self::Fifo { .. } => ids.len(),
            Self::Keyed(_) => ids.iter().collect::<HashSet<_>>().len(),
        };
        if batch > capacity {
            return Err(MemoryError::BatchTooLarge { batch, capacity });
        }
        Ok(())
    }

    /// The slot of each row, as if they came one after the other. `held` are the images of the filled
    /// slots.
    pub(super) fn assign(&mut self, ids: &[u32], held: &[u32], capacity: usize) -> Vec<u32> {
        match self {
            Self::Fifo { cursor } => {
                let slots = (0..ids.len()).map(|row| ((*cursor + row) % capacity) as u32).collect();
                *cursor = (*cursor + ids.len()) % capacity;
                slots
            }
            Self::Keyed(keyed) => ids.iter().map(|&id| keyed.assign(id, held, capacity)).collect(),
        }
    }

    /// The filled slots from the one written longest ago to the newest.
    pub(super) fn order(&self, filled: usize) -> Vec<u32> {
        match self {
            Self::Fifo { cursor } => {
                let oldest = if *cursor < filled { *cursor } else { 0 };
                (0..filled).map(|index| ((oldest + index) % filled) as u32).collect()
            }
            Self::Keyed(keyed) => keyed.slot_by_turn.values().copied().collect(),
        }
    }

    /// What [`Self::order`] told, as it was; `ids` are the images of the filled slots.
    pub(super) fn restore(
        policy: Policy,
        order: &[u32],
        ids: &[u32],
        capacity: usize,
    ) -> Result<Self, MemoryError> {
        let filled = ids.len();
        let wrong = |what| MemoryError::Order { what };
        if order.len() != filled || order.iter().any(|&slot| slot as usize >= filled) {
            return Err(wrong("it does not name each filled slot"));
        }
        let mut slots = Self::new(policy);
        match &mut slots {
            Self::Fifo { cursor } => {
                let start = order.first().map_or(0, |&slot| slot as usize);
                let turns =
                    (0..filled).all(|index| order[index] as usize == (start + index) % filled);
                if !turns || (filled < capacity && start != 0) {
                    return Err(wrong("a ring's slots are written in turn"));
                }
                *cursor = (start + filled) % capacity;
            }
            Self::Keyed(keyed) => {
                keyed.turn_of = vec![0; filled];
                for &slot in order {
                    keyed.touch(slot);
                    keyed.slot_of.insert(ids[slot as usize], slot);
                }
                if keyed.slot_by_turn.len() != filled {
                    return Err(wrong("it names a slot twice"));
                }
                if keyed.slot_of.len() != filled {
                    return Err(wrong("a keyed memory holds an image once"));
                }
            }
        }
        Ok(slots)
    }

    /// Bytes on the host; those of the maps are an estimate.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Fifo { .. } => 0,
            Self::Keyed(keyed) => {
                // A hash map keeps a byte an entry besides the entry, a B-tree is filled to 3/4.
                let by_image = keyed.slot_of.capacity() * (8 + 1);
                let by_turn = keyed.slot_by_turn.len() * 16 * 4 / 3;
                by_image + by_turn + keyed.turn_of.capacity() * 8
            }
        }
    }
}

impl Keyed {
    fn assign(&mut self, id: u32, held: &[u32], capacity: usize) -> u32 {
        let slot = match self.slot_of.get(&id) {
            Some(&slot) => slot,
            None => {
                let slot = if self.turn_of.len() < capacity {
                    self.turn_of.push(u64::MAX);
                    (self.turn_of.len() - 1) as u32
                } else {
                    let (_, slot) = self.slot_by_turn.pop_first().expect("a full memory has slots");
                    // Rows of this very call are the newest, and no more than fit: the evicted one is
                    // an older row, whose image `held` still tells.
                    self.slot_of.remove(&held[slot as usize]);
                    slot
                };
                self.slot_of.insert(id, slot);
                slot
            }
        };
        self.touch(slot);
        slot
    }

    /// Makes `slot` the newest.
    fn touch(&mut self, slot: u32) {
        let turn = std::mem::replace(&mut self.turn_of[slot as usize], self.next_turn);
        if self.slot_by_turn.get(&turn) == Some(&slot) {
            self.slot_by_turn.remove(&turn);
        }
        self.slot_by_turn.insert(self.next_turn, slot);
        self.next_turn += 1;
    }
}
