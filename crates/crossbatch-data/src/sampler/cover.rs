//! Every image at least once an epoch, evenly.
//!
//! A class is shuffled and cut into groups of K; a last short group is completed with other images of
//! the class. So no image comes again before every image of its class has come, and images repeat
//! only in a class's last group, or where a batch would otherwise lack classes.
//!
//! Each batch takes one group of each of P classes. First come the classes that cannot wait: those
//! with as many groups left as batches are left to hold them. The others are drawn in proportion to
//! their groups left. When fewer than P classes have groups left, further classes join the
//! batch with an additional group, so that nothing is dropped.

use rand::{Rng, RngExt};

use super::classes::{Classes, draw_front, fill_group};
use super::fenwick::Weights;

pub(super) fn plan(
    classes: &mut Classes,
    per_batch: usize,
    images: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let groups = cut(classes, images, rng);
    let mut left = Left::new(groups.iter().map(|positions| positions.len() / images));
    let mut everyone: Vec<u32> = (0..classes.count() as u32).collect();
    let mut in_batch = vec![false; classes.count()];
    let mut plan = Vec::new();
    while left.total > 0 {
        let mut chosen = left.choose(per_batch, rng);
        for &class in &chosen {
            in_batch[class as usize] = true;
        }
        let with_groups = chosen.len();
        let mut at = 0;
        while chosen.len() < per_batch {
            let other = rng.random_range(at..everyone.len());
            everyone.swap(at, other);
            if !in_batch[everyone[at] as usize] {
                in_batch[everyone[at] as usize] = true;
                chosen.push(everyone[at]);
            }
            at += 1;
        }
        for &class in &chosen {
            in_batch[class as usize] = false;
        }
        let additional = chosen.split_off(with_groups);
        draw_front(&mut chosen, with_groups, rng);
        let mut batch = Vec::with_capacity(per_batch * images);
        for &class in &chosen {
            let done = groups[class as usize].len() / images - left.of[class as usize];
            batch.extend_from_slice(&groups[class as usize][done * images..(done + 1) * images]);
        }
        for &class in &additional {
            fill_group(classes.members_mut(class as usize), images, &mut batch, rng);
        }
        left.take(&chosen);
        plan.push(batch);
    }
    plan
}

/// For each class its groups of K, one after the other.
fn cut(classes: &mut Classes, images: usize, rng: &mut impl Rng) -> Vec<Vec<u32>> {
    let mut groups = Vec::with_capacity(classes.count());
    for class in 0..classes.count() {
        let members = classes.members_mut(class);
        let size = members.len();
        draw_front(members, size, rng);
        let mut positions = members.to_vec();
        let lacking = (images - size % images) % images;
        if size >= images {
            // Members before the last group, so that none is in it twice.
            let earlier = size - size % images;
            fill_group(&mut members[..earlier], lacking, &mut positions, rng);
        } else {
            fill_group(members, lacking, &mut positions, rng);
        }
        groups.push(positions);
    }
    groups
}

/// How many groups each class has left.
struct Left {
    of: Vec<usize>,
    total: usize,
    /// Classes by groups left, and the place of each in its bucket.
    buckets: Vec<Vec<u32>>,
    place: Vec<usize>,
    weights: Weights,
}

impl Left {
    fn new(groups: impl ExactSizeIterator<Item = usize>) -> Self {
        let of: Vec<usize> = groups.collect();
        let mut left = Self {
            total: of.iter().sum(),
            buckets: vec![Vec::new(); of.iter().max().map_or(1, |most| most + 1)],
            place: vec![0; of.len()],
            weights: Weights::new(of.iter().map(|&count| count as u64)),
            of,
        };
        for class in 0..left.of.len() {
            left.put(class as u32);
        }
        left
    }

    /// Up to `count` classes that have groups left: first those that cannot wait. They are not taken yet.
    fn choose(&mut self, count: usize, rng: &mut impl Rng) -> Vec<u32> {
        let critical = self.total.div_ceil(count);
        let mut chosen: Vec<u32> = Vec::with_capacity(count);
        for bucket in self.buckets.iter().skip(critical).rev() {
            let room = count - chosen.len();
            chosen.extend(bucket.iter().take(room));
        }
        for &class in &chosen {
            self.weights.remove(class as usize, self.of[class as usize] as u64);
        }
        while chosen.len() < count && self.weights.total() > 0 {
            let class = self.weights.find(rng.random_range(0..self.weights.total()));
            self.weights.remove(class, self.of[class] as u64);
            chosen.push(class as u32);
        }
        for &class in &chosen {
            self.weights.add(class as usize, self.of[class as usize] as u64);
        }
        chosen
    }

    fn take(&mut self, classes: &[u32]) {
        for &class in classes {
            let bucket = &mut self.buckets[self.of[class as usize]];
            let place = self.place[class as usize];
            bucket.swap_remove(place);
            if let Some(&moved) = bucket.get(place) {
                self.place[moved as usize] = place;
            }
            self.of[class as usize] -= 1;
            self.weights.remove(class as usize, 1);
            self.put(class);
        }
        self.total -= classes.len();
        while self.buckets.last().is_some_and(Vec::is_empty) {
            self.buckets.pop();
        }
    }

    fn put(&mut self, class: u32) {
        let bucket = &mut self.buckets[self.of[class as usize]];
        self.place[class as usize] = bucket.len();
        bucket.push(class);
    }
}
