//! Embeddings of two kinds, from a seed.
//!
//! Classes are directions with members scattered around them, about five to a class in the memory, as in product
//! retrieval. The memory is in random order; anchors come four to a class.

use burn::tensor::TensorData;
use crossbatch_data::mix_seed;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rayon::prelude::*;

use super::{Inputs, Labelled};
use crate::args::BenchData;

/// Members of a class in the memory, on average.
const MEMBERS: usize = 5;

/// Anchors of a class.
const ANCHORS: usize = 4;

/// Length of a member's deviation from its class. Two members of a class then have a cosine of about 1 / (1 + 0.9²) = 0.55
/// (sparse) or 1 / (1 + 0.7²) = 0.67 (dense), and with mining some pairs are mined in either.
const SCATTER: [f32; 2] = [0.9, 0.7];

/// Families of similar classes: an anchor's family is a fiftieth of the memory, 1,100 of 55,000 entries.
const FAMILIES: usize = 50;

/// Fewest classes of a family, in a memory of few classes.
const SIBLINGS: usize = 4;

/// Cosine of two classes of a family. Two members of them then have a cosine of about 0.9 · 0.67 = 0.6.
const KINSHIP: f32 = 0.9;

/// Sizes of the inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    /// B.
    pub(crate) batch: usize,
    /// M.
    pub(crate) entries: usize,
    /// D.
    pub(crate) dim: usize,
}

/// The same inputs for the same arguments, whatever the number of threads.
pub(crate) fn generate(kind: BenchData, shape: Shape, seed: u64) -> Inputs {
    let Shape { batch, entries, dim } = shape;
    let source = Source { kind, dim, seed, classes: entries.div_ceil(MEMBERS) };
    let centres = source.centres();

    let mut rng = source.generator(Purpose::Order, 0);
    let mut bank: Vec<u32> = (0..entries).map(|entry| (entry % source.classes) as u32).collect();
    for last in (1..entries).rev() {
        bank.swap(last, rng.random_range(0..=last));
    }
    let of_batch: Vec<u32> =
        (0..batch.div_ceil(ANCHORS)).map(|_| rng.random_range(0..source.classes) as u32).collect();
    let anchors: Vec<u32> = (0..batch).map(|anchor| of_batch[anchor / ANCHORS]).collect();

    Inputs {
        anchors: source.members(&centres, anchors, Purpose::Anchor),
        bank: source.members(&centres, bank, Purpose::Entry),
    }
}

/// What random numbers are drawn for; each has its own.
#[derive(Clone, Copy)]
enum Purpose {
    Order,
    Centre,
    Family,
    Anchor,
    Entry,
}

struct Source {
    kind: BenchData,
    dim: usize,
    seed: u64,
    classes: usize,
}

impl Source {
    fn generator(&self, purpose: Purpose, index: usize) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(mix_seed(&[self.seed, purpose as u64, index as u64]))
    }

    /// Fills `row` with a vector of length about 1 in a random direction.
    fn direction(&self, purpose: Purpose, index: usize, row: &mut [f32]) {
        let mut rng = self.generator(purpose, index);
        let size = (self.dim as f32).sqrt().recip();
        // Normal numbers by Box and Muller.
        for pair in row.chunks_mut(2) {
            // From (0, 1], so that the logarithm is finite.
            let radius = (-2.0 * (1.0 - rng.random::<f32>()).ln()).sqrt() * size;
            let (sine, cosine) = (std::f32::consts::TAU * rng.random::<f32>()).sin_cos();
            pair[0] = radius * cosine;
            if let Some(second) = pair.get_mut(1) {
                *second = radius * sine;
            }
        }
    }

    /// The classes' directions, `[classes, D]`.
    fn centres(&self) -> Vec<f32> {
        let mut centres = vec![0.0; self.classes * self.dim];
        let families = FAMILIES.min(self.classes / SIBLINGS).max(1);
        centres.par_chunks_mut(self.dim).enumerate().for_each(|(class, row)| {
            self.direction(Purpose::Centre, class, row);
            if self.kind == BenchData::Dense {
                let mut family = vec![0.0; self.dim];
                self.direction(Purpose::Family, class % families, &mut family);
                for (value, family) in row.iter_mut().zip(&family) {
                    *value = *value * (1.0 - KINSHIP).sqrt() + family * KINSHIP.sqrt();
                }
            }
            normalize(row);
        });
        centres
    }

    /// A member of each of the classes `labels`.
    fn members(&self, centres: &[f32], labels: Vec<u32>, purpose: Purpose) -> Labelled {
        let (dim, scatter) = (self.dim, SCATTER[self.kind as usize]);
        let mut rows = vec![0.0; labels.len() * dim];
        rows.par_chunks_mut(dim).zip(&labels).enumerate().for_each(|(index, (row, &label))| {
            self.direction(purpose, index, row);
            let centre = &centres[label as usize * dim..][..dim];
            for (value, centre) in row.iter_mut().zip(centre) {
                *value = *value * scatter + centre;
            }
            normalize(row);
        });
        Labelled { embeddings: TensorData::new(rows, [labels.len(), dim]), labels }
    }
}

fn normalize(row: &mut [f32]) {
    let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(f32::MIN_POSITIVE);
    row.iter_mut().for_each(|value| *value /= length);
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { batch: 10, entries: 5000, dim: 128 };

    /// Active negatives and the mean cosine of positives, an anchor.
    fn census(kind: BenchData) -> (f64, f64) {
        let inputs = generate(kind, SHAPE, 3);
        let rows = |side: &Labelled| side.embeddings.as_slice::<f32>().unwrap().to_vec();
        let (anchors, bank) = (rows(&inputs.anchors), rows(&inputs.bank));
        let (mut active, mut positives, mut sum) = (0, 0, 0.0);
        for (anchor, label) in anchors.chunks(SHAPE.dim).zip(&inputs.anchors.labels) {
            for (entry, other) in bank.chunks(SHAPE.dim).zip(&inputs.bank.labels) {
                let cosine: f32 = anchor.iter().zip(entry).map(|(a, b)| a * b).sum();
                if label == other {
                    positives += 1;
                    sum += f64::from(cosine);
                } else {
                    active += usize::from(cosine > 0.5);
                }
            }
        }
        assert_eq!(positives, SHAPE.batch * MEMBERS);
        (active as f64 / SHAPE.batch as f64, sum / positives as f64)
    }

    #[test]
    fn sparse_has_hardly_any_active_negative_and_dense_a_fiftieth() {
        let (active, cosine) = census(BenchData::Sparse);
        assert!(active < 0.5, "{active} active negatives an anchor");
        assert!((0.45..0.65).contains(&cosine), "positives at {cosine}");
        let (active, cosine) = census(BenchData::Dense);
        assert!((70.0..100.0).contains(&active), "{active} active negatives of a family of 100");
        assert!((0.6..0.75).contains(&cosine), "positives at {cosine}");
    }

    #[test]
    fn the_seed_alone_decides() {
        let rows = |seed| generate(BenchData::Dense, Shape { dim: 3, ..SHAPE }, seed).bank;
        let (one, same, other) = (rows(1), rows(1), rows(2));
        assert_eq!((&one.embeddings, &one.labels), (&same.embeddings, &same.labels));
        assert!(one.embeddings != other.embeddings && one.labels != other.labels);
        let length = |row: &[f32]| row.iter().map(|value| value * value).sum::<f32>();
        let values = one.embeddings.as_slice::<f32>().unwrap();
        assert!(values.chunks(3).all(|row| (length(row) - 1.0).abs() < 1e-5));
        // Smaller than a batch of one and a family: still what was asked for.
        let tiny = generate(BenchData::Dense, Shape { batch: 1, entries: 1, dim: 1 }, 0);
        assert_eq!((tiny.anchors.labels, tiny.bank.labels), (vec![0], vec![0]));
    }
}
