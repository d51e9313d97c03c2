//! Weighted draws in logarithmic time.

/// Whole weights of numbered items, with prefix sums in a Fenwick tree.
pub(crate) struct Weights {
    tree: Vec<u64>,
    total: u64,
    top: usize,
}

impl Weights {
    pub(crate) fn new(weights: impl ExactSizeIterator<Item = u64>) -> Self {
        let count = weights.len();
        let mut tree = vec![0; count + 1];
        let mut total = 0;
        for (item, weight) in weights.enumerate() {
            tree[item + 1] += weight;
            total += weight;
            let parent = (item + 1) + lowest_bit(item + 1);
            if parent <= count {
                tree[parent] += tree[item + 1];
            }
        }
        Self { tree, total, top: if count == 0 { 0 } else { 1 << count.ilog2() } }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    pub(crate) fn add(&mut self, item: usize, weight: u64) {
        self.change(item, |node| node + weight);
        self.total += weight;
    }

    pub(crate) fn remove(&mut self, item: usize, weight: u64) {
        self.change(item, |node| node - weight);
        self.total -= weight;
    }

    /// The item on which a point below the total falls.
    pub(crate) fn find(&self, mut point: u64) -> usize {
        let (mut item, mut step) = (0, self.top);
        while step > 0 {
            if item + step < self.tree.len() && self.tree[item + step] <= point {
                item += step;
                point -= self.tree[item];
            }
            step /= 2;
        }
        item
    }

    fn change(&mut self, item: usize, to: impl Fn(u64) -> u64) {
        let mut node = item + 1;
        while node < self.tree.len() {
            self.tree[node] = to(self.tree[node]);
            node += lowest_bit(node);
        }
    }
}

fn lowest_bit(node: usize) -> usize {
    node & node.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_falls_on_its_item() {
        let weights = [3, 0, 1, 5, 0, 0, 2];
        let mut tree = Weights::new(weights.into_iter());
        let expected: Vec<usize> = weights
            .iter()
            .enumerate()
            .flat_map(|(item, &weight)| vec![item; weight as usize])
            .collect();
        let found: Vec<usize> = (0..tree.total()).map(|point| tree.find(point)).collect();
        assert_eq!(found, expected);
        tree.remove(0, 3);
        tree.add(6, 1);
        assert_eq!((tree.find(0), tree.find(tree.total() - 1), tree.total()), (2, 6, 9));
    }
}
