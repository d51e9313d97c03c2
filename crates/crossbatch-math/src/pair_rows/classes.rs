//! Which references share an anchor's label.

use super::problem::Problem;
use rayon::prelude::*;

/// The labels of a batch in an open hash table, and for each the references that carry it.
#[derive(Debug)]
pub(super) struct Classes {
    /// Label and class of each occupied place; class -1 where there is none.
    table: Vec<(i32, i32)>,
    /// Class of each anchor.
    pub(super) of_anchor: Vec<u32>,
    /// References of each class with a weight above 0, in order.
    pub(super) members: Vec<Vec<u32>>,
    /// References with a weight above 0.
    pub(super) live: usize,
}

/// References that one task looks through.
const CHUNK: usize = 1 << 15;

impl Classes {
    pub(super) fn new(problem: &Problem<'_>) -> Self {
        let batch = problem.batch();
        let places = (batch * 4).next_power_of_two().max(16);
        let mut classes = Self {
            table: vec![(0, -1); places],
            of_anchor: Vec::with_capacity(batch),
            members: Vec::new(),
            live: 0,
        };
        for anchor in 0..batch {
            let label = problem.label(anchor);
            let place = classes.place(label);
            if classes.table[place].1 < 0 {
                classes.table[place] = (label, classes.members.len() as i32);
                classes.members.push(Vec::new());
            }
            classes.of_anchor.push(classes.table[place].1 as u32);
        }
        classes.find_members(problem);
        classes
    }

    fn find_members(&mut self, problem: &Problem<'_>) {
        let labels = &problem.labels[..problem.filled];
        let found: Vec<(Vec<(u32, u32)>, usize)> = labels
            .par_chunks(CHUNK)
            .enumerate()
            .map(|(chunk, labels)| {
                let first = chunk * CHUNK;
                let mut found = Vec::new();
                let mut live = labels.len();
                if let Some(weights) = problem.weights {
                    live =
                        weights[first..first + labels.len()].iter().filter(|w| **w > 0.0).count();
                }
                for (at, &label) in labels.iter().enumerate() {
                    if let Some(class) = self.find(label)
                        && problem.weight(first + at) > 0.0
                    {
                        found.push((class, (first + at) as u32));
                    }
                }
                (found, live)
            })
            .collect();
        for (found, live) in found {
            self.live += live;
            for (class, slot) in found {
                self.members[class as usize].push(slot);
            }
        }
    }

    /// Where a label is, or where it would be.
    #[inline(always)]
    fn place(&self, label: i32) -> usize {
        let last = self.table.len() - 1;
        // Fibonacci hashing: the high half of the product is mixed best.
        let mixed = u64::from(label.cast_unsigned()).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mut place = (mixed >> 32) as usize & last;
        while self.table[place].1 >= 0 && self.table[place].0 != label {
            place = (place + 1) & last;
        }
        place
    }

    /// The class of a label, if an anchor has it.
    #[inline(always)]
    pub(super) fn find(&self, label: i32) -> Option<u32> {
        u32::try_from(self.table[self.place(label)].1).ok()
    }
}
