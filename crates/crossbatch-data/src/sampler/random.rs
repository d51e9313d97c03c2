//! Classes at random, images at random: the sampler of most retrieval code.

use rand::Rng;

use super::classes::{Classes, draw_front, fill_group};

/// `max(1, N / (P * K))` batches; classes without replacement within a batch, images within a class.
pub(super) fn plan(
    classes: &mut Classes,
    per_batch: usize,
    images: usize,
    rng: &mut impl Rng,
) -> Vec<Vec<u32>> {
    let batches = (classes.positions() / (per_batch * images)).max(1);
    let mut order: Vec<u32> = (0..classes.count() as u32).collect();
    let mut plan = Vec::with_capacity(batches);
    for _ in 0..batches {
        let mut batch = Vec::with_capacity(per_batch * images);
        draw_front(&mut order, per_batch, rng);
        for &class in &order[..per_batch] {
            fill_group(classes.members_mut(class as usize), images, &mut batch, rng);
        }
        plan.push(batch);
    }
    plan
}
