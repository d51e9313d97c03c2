//! Positions by class.

use rand::{Rng, RngExt};

/// The positions of each class, classes in the order of their labels.
pub(super) struct Classes {
    positions: Vec<u32>,
    /// Where each class starts, and the end.
    starts: Vec<usize>,
}

impl Classes {
    pub(super) fn new(labels: &[u32]) -> Self {
        let mut positions: Vec<u32> = (0..labels.len() as u32).collect();
        positions.sort_by_key(|&position| labels[position as usize]);
        let mut starts: Vec<usize> = (0..labels.len())
            .filter(|&at| {
                at == 0 || labels[positions[at] as usize] != labels[positions[at - 1] as usize]
            })
            .collect();
        starts.push(labels.len());
        Self { positions, starts }
    }

    pub(super) fn count(&self) -> usize {
        self.starts.len() - 1
    }

    pub(super) fn positions(&self) -> usize {
        self.positions.len()
    }

    pub(super) fn size(&self, class: usize) -> usize {
        self.starts[class + 1] - self.starts[class]
    }

    pub(super) fn members_mut(&mut self, class: usize) -> &mut [u32] {
        &mut self.positions[self.starts[class]..self.starts[class + 1]]
    }
}

/// Moves `count` random items to the front, in random order.
pub(super) fn draw_front(items: &mut [u32], count: usize, rng: &mut impl Rng) {
    for at in 0..count.min(items.len()) {
        let other = rng.random_range(at..items.len());
        items.swap(at, other);
    }
}

/// Adds `images` random members, all different as long as there are enough; a smaller class is used up
/// and begun again.
pub(super) fn fill_group(
    members: &mut [u32],
    images: usize,
    batch: &mut Vec<u32>,
    rng: &mut impl Rng,
) {
    let mut wanted = images;
    while wanted > 0 {
        let count = wanted.min(members.len());
        draw_front(members, count, rng);
        batch.extend_from_slice(&members[..count]);
        wanted -= count;
    }
}
