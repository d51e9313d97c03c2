//! What is known of a slot besides its embedding.

/// Columns of the filled slots, by slot; a further column is a further vector here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryColumns {
    /// Dense class label of each slot.
    pub labels: Vec<u32>,
    /// Dense sample id of each slot.
    pub ids: Vec<u32>,
    /// Step at which each slot was written.
    pub births: Vec<u64>,
}

impl MemoryColumns {
    /// Number of filled slots.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether no slot is filled.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Writes a slot. A batch fills slots from the first empty one on, in any order.
    pub(super) fn write(&mut self, slot: usize, label: u32, id: u32, birth: u64) {
        let len = self.len().max(slot + 1);
        self.labels.resize(len, 0);
        self.ids.resize(len, 0);
        self.births.resize(len, 0);
        self.labels[slot] = label;
        self.ids[slot] = id;
        self.births[slot] = birth;
    }

    pub(super) fn bytes(&self) -> usize {
        4 * (self.labels.capacity() + self.ids.capacity()) + 8 * self.births.capacity()
    }
}
