//! Softmax attention of heads `[T, D]`, forward and backward.
//!
//! A tile of queries meets all keys: their scores are two products and an exponential, and are dropped with the tile, so that
//! no matrix of queries x keys is kept. Backward computes them again from the row's logarithm of its sum. Heads are
//! independent; within a head, tiles add to the gradients of keys and values in order.

use crate::lanes::{Arithmetic, Level, exp, for_lanes, sum};
use crate::product::{View, product_of_views};
use rayon::prelude::*;

/// Queries of a tile.
const TILE: usize = 64;

/// Sizes of an attention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttentionShape {
    /// Images times heads.
    pub heads: usize,
    /// Queries of a head.
    pub queries: usize,
    /// Keys and values of a head.
    pub keys: usize,
    /// Columns of a query, a key and a value.
    pub dim: usize,
}

impl AttentionShape {
    fn check(&self, q: &[f32], k: &[f32], v: &[f32]) {
        assert!(self.keys > 0 && self.dim > 0, "{self:?} has no keys or no columns");
        let of_keys = self.heads * self.keys * self.dim;
        for (name, found, expected) in [
            ("q", q.len(), self.heads * self.queries * self.dim),
            ("k", k.len(), of_keys),
            ("v", v.len(), of_keys),
        ] {
            assert_eq!(found, expected, "{name} has {found} elements, its shape {expected}");
        }
    }

    fn scale(&self) -> f32 {
        (1.0 / (self.dim as f64).sqrt()) as f32
    }

    fn head<'a>(&self, values: &'a [f32], head: usize) -> &'a [f32] {
        let size = self.keys * self.dim;
        &values[head * size..][..size]
    }
}

/// `softmax(q · kᵀ / √dim) · v`, and of each query the logarithm of the sum that its weights are divided by.
///
/// # Panics
///
/// If a slice's length differs from the shape's, or there are no keys or columns.
#[must_use]
pub fn forward(shape: &AttentionShape, q: &[f32], k: &[f32], v: &[f32]) -> (Vec<f32>, Vec<f32>) {
    shape.check(q, k, v);
    let mut output = vec![0.0; q.len()];
    let mut logs = vec![0.0; shape.heads * shape.queries];
    if q.is_empty() {
        return (output, logs);
    }
    let dim = shape.dim;
    let level = Level::detect();
    let tiles: Vec<_> = output
        .chunks_exact_mut(shape.queries * dim)
        .zip(logs.chunks_exact_mut(shape.queries))
        .zip(q.chunks_exact(shape.queries * dim))
        .enumerate()
        .flat_map(|(head, ((output, logs), q))| {
            q.chunks(TILE * dim)
                .zip(output.chunks_mut(TILE * dim))
                .zip(logs.chunks_mut(TILE))
                .map(move |((q, output), logs)| (head, q, output, logs))
        })
        .collect();
    tiles.into_par_iter().for_each_init(
        || vec![0.0; TILE * shape.keys],
        |scores, (head, q, output, logs)| {
            let scores = &mut scores[..logs.len() * shape.keys];
            let keys = View::rows(shape.head(k, head), dim);
            product_of_views(View::rows(q, dim), keys.transposed(), false, scores);
            let scale = shape.scale();
            for (scores, log) in scores.chunks_exact_mut(shape.keys).zip(logs.iter_mut()) {
                for_lanes!(level, soften(scores: &mut [f32], scale: f32, log: &mut f32));
            }
            let values = View::rows(shape.head(v, head), dim);
            product_of_views(View::rows(scores, shape.keys), values, false, output);
        },
    );
    (output, logs)
}

/// Scores become weights that add up to 1; `log` is the logarithm of `Σ e^(scale · score)`.
#[inline(always)]
#[allow(unsafe_code)]
fn soften<L: Arithmetic>(scores: &mut [f32], scale: f32, log: &mut f32) {
    let whole = scores.len() / L::LANES * L::LANES;
    // SAFETY: `for_lanes` chose `L` by the processor, and every vector lies in the slice.
    unsafe {
        let mut most = L::splat(f32::NEG_INFINITY);
        for at in (0..whole).step_by(L::LANES) {
            most = most.max(L::load(scores.as_ptr().add(at)));
        }
        let mut lanes = [f32::NEG_INFINITY; 16];
        most.store(lanes.as_mut_ptr());
        let most = lanes.iter().chain(&scores[whole..]).fold(f32::NEG_INFINITY, |a, b| a.max(*b));
        let most = most * scale;
        *log = most;
        let total = exponentials::<L>(scores, scale, log);
        let factor = 1.0 / total;
        for score in &mut *scores {
            *score *= factor;
        }
        *log = most + total.ln();
    }
}

/// Each score becomes `e^(scale · score − log)`; gives their sum, NaN if a score is no finite number.
#[inline(always)]
#[allow(unsafe_code)]
fn exponentials<L: Arithmetic>(scores: &mut [f32], scale: f32, log: &f32) -> f32 {
    let whole = scores.len() / L::LANES * L::LANES;
    // SAFETY: `for_lanes` chose `L` by the processor; vectors lie in the slice or in an array of 16.
    unsafe {
        let (by, from) = (L::splat(scale), L::splat(0.0).sub(L::splat(*log)));
        let mut total = L::splat(0.0);
        // `exp` cuts its argument and would hide NaN; 0 times a finite number is 0.
        let mut poison = L::splat(0.0);
        for at in (0..whole).step_by(L::LANES) {
            let place = scores.as_mut_ptr().add(at);
            let score = L::load(place);
            let weight = exp(from.add_product(score, by));
            poison = poison.add_product(score, L::splat(0.0));
            total = total.add(weight);
            weight.store(place);
        }
        let mut rest = 0.0;
        if whole < scores.len() {
            let mut padded = [0.0f32; 16];
            let tail = &mut scores[whole..];
            padded[..tail.len()].copy_from_slice(tail);
            let score = L::load(padded.as_ptr());
            poison = poison.add_product(score, L::splat(0.0));
            exp(from.add_product(score, by)).store(padded.as_mut_ptr());
            tail.copy_from_slice(&padded[..tail.len()]);
            rest = tail.iter().sum();
        }
        sum(total) + rest + sum(poison)
    }
}

/// Gradients of [`forward`].
#[derive(Clone, Debug, PartialEq)]
pub struct AttentionGradients {
    /// Of the queries.
    pub q: Vec<f32>,
    /// Of the keys.
    pub k: Vec<f32>,
    /// Of the values.
    pub v: Vec<f32>,
}

/// The gradients, from the inputs, what [`forward`] gave, and the output's `gradient`.
///
/// # Panics
///
/// As [`forward`].
#[must_use]
pub fn backward(
    shape: &AttentionShape,
    [q, k, v]: [&[f32]; 3],
    output: &[f32],
    logs: &[f32],
    gradient: &[f32],
) -> AttentionGradients {
    shape.check(q, k, v);
    assert_eq!([output.len(), gradient.len()], [q.len(); 2], "output, gradient and q differ");
    assert_eq!(logs.len(), shape.heads * shape.queries, "logs of another number of queries");
    let (mut to_q, mut to_k, mut to_v) =
        (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    let (of_queries, of_keys) = (shape.queries * shape.dim, shape.keys * shape.dim);
    if !q.is_empty() {
        let level = Level::detect();
        to_q.par_chunks_exact_mut(of_queries)
            .zip(to_k.par_chunks_exact_mut(of_keys).zip(to_v.par_chunks_exact_mut(of_keys)))
            .enumerate()
            .for_each_init(
                || [(); 2].map(|()| vec![0.0; TILE * shape.keys]),
                |scratch, (head, (to_q, (to_k, to_v)))| {
                    let part = |values: &'_ [f32]| -> std::ops::Range<usize> {
                        let size = values.len() / shape.heads;
                        head * size..(head + 1) * size
                    };
                    let side = Side {
                        q: &q[part(q)],
                        output: &output[part(output)],
                        logs: &logs[part(logs)],
                        gradient: &gradient[part(gradient)],
                    };
                    let [k, v] = [k, v].map(|values| shape.head(values, head));
                    head_gradients(level, shape, &side, [k, v], scratch, to_q, [to_k, to_v]);
                },
            );
    }
    AttentionGradients { q: to_q, k: to_k, v: to_v }
}

/// A head's queries and what came of them.
struct Side<'a> {
    q: &'a [f32],
    output: &'a [f32],
    logs: &'a [f32],
    gradient: &'a [f32],
}

fn head_gradients(
    level: Level,
    shape: &AttentionShape,
    side: &Side<'_>,
    [k, v]: [&[f32]; 2],
    [weights, slopes]: &mut [Vec<f32>; 2],
    to_q: &mut [f32],
    [to_k, to_v]: [&mut [f32]; 2],
) {
    let (dim, keys) = (shape.dim, shape.keys);
    let (k, v) = (View::rows(k, dim), View::rows(v, dim));
    let scale = shape.scale();
    for (index, to_q) in to_q.chunks_mut(TILE * dim).enumerate() {
        let rows = to_q.len() / dim;
        let range = index * TILE * dim..index * TILE * dim + to_q.len();
        let (q, output, gradient) =
            (&side.q[range.clone()], &side.output[range.clone()], &side.gradient[range]);
        let (weights, slopes) = (&mut weights[..rows * keys], &mut slopes[..rows * keys]);
        let (q, above) = (View::rows(q, dim), View::rows(gradient, dim));
        product_of_views(q, k.transposed(), false, weights);
        product_of_views(above, v.transposed(), false, slopes);
        for row in 0..rows {
            let log = &side.logs[index * TILE + row];
            let along: f32 = output[row * dim..][..dim]
                .iter()
                .zip(&gradient[row * dim..][..dim])
                .map(|(a, b)| a * b)
                .sum();
            let weights = &mut weights[row * keys..][..keys];
            let slopes = &mut slopes[row * keys..][..keys];
            for_lanes!(level, score_gradients(
                weights: &mut [f32],
                slopes: &mut [f32],
                scale: f32,
                log: &f32,
                along: f32,
            ));
        }
        let add = index > 0;
        product_of_views(View::rows(weights, keys).transposed(), above, add, to_v);
        product_of_views(View::rows(slopes, keys), k, false, to_q);
        product_of_views(View::rows(slopes, keys).transposed(), q, add, to_k);
    }
}

/// Scores become weights, and slopes by weights become slopes by scores: `scale · w · (slope − Σ w slope)`.
#[inline(always)]
fn score_gradients<L: Arithmetic>(
    weights: &mut [f32],
    slopes: &mut [f32],
    scale: f32,
    log: &f32,
    along: f32,
) {
    let _ = exponentials::<L>(weights, scale, log);
    for (slope, weight) in slopes.iter_mut().zip(weights) {
        *slope = scale * *weight * (*slope - along);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(len: usize, seed: usize) -> Vec<f32> {
        (0..len).map(|i| ((i * 7919 + seed * 104_729) % 997) as f32 / 250.0 - 2.0).collect()
    }

    /// All in f64: output and the gradients of `Σ output · gradient`.
    fn reference(shape: &AttentionShape, [q, k, v, gradient]: [&[f32]; 4]) -> [Vec<f64>; 4] {
        let AttentionShape { heads, queries, keys, dim } = *shape;
        let scale = 1.0 / (dim as f64).sqrt();
        let wide = |values: &[f32], at: usize| f64::from(values[at]);
        let mut out = [q.len(), q.len(), k.len(), v.len()].map(|len| vec![0.0f64; len]);
        for head in 0..heads {
            for query in 0..queries {
                let row = (head * queries + query) * dim;
                let key = |j: usize| (head * keys + j) * dim;
                let dot = |a: &[f32], at: usize, b: &[f32], bt: usize| -> f64 {
                    (0..dim).map(|d| wide(a, at + d) * wide(b, bt + d)).sum()
                };
                let scores: Vec<f64> = (0..keys).map(|j| dot(q, row, k, key(j)) * scale).collect();
                let most = scores.iter().fold(f64::MIN, |a, b| a.max(*b));
                let total: f64 = scores.iter().map(|s| (s - most).exp()).sum();
                let weights: Vec<f64> = scores.iter().map(|s| (s - most).exp() / total).collect();
                let slopes: Vec<f64> = (0..keys).map(|j| dot(gradient, row, v, key(j))).collect();
                let along: f64 = weights.iter().zip(&slopes).map(|(w, s)| w * s).sum();
                for j in 0..keys {
                    let slope = weights[j] * (slopes[j] - along) * scale;
                    for d in 0..dim {
                        out[0][row + d] += weights[j] * wide(v, key(j) + d);
                        out[1][row + d] += slope * wide(k, key(j) + d);
                        out[2][key(j) + d] += slope * wide(q, row + d);
                        out[3][key(j) + d] += weights[j] * wide(gradient, row + d);
                    }
                }
            }
        }
        out
    }

    #[test]
    fn both_passes_agree_with_the_formulas() {
        for (heads, queries, keys, dim) in
            [(1, 1, 1, 1), (2, 3, 5, 4), (3, 65, 17, 8), (2, 130, 131, 64), (1, 7, 33, 3)]
        {
            let shape = AttentionShape { heads, queries, keys, dim };
            let [q, gradient] = [1, 2].map(|seed| values(heads * queries * dim, seed));
            let [k, v] = [3, 4].map(|seed| values(heads * keys * dim, seed));
            let expected = reference(&shape, [&q, &k, &v, &gradient]);
            let (output, logs) = forward(&shape, &q, &k, &v);
            let back = backward(&shape, [&q, &k, &v], &output, &logs, &gradient);
            for (found, expected) in [output, back.q, back.k, back.v].iter().zip(&expected) {
                let scale = expected.iter().fold(1.0f64, |a, b| a.max(b.abs()));
                for (found, expected) in found.iter().zip(expected) {
                    let error = (f64::from(*found) - expected).abs();
                    assert!(error <= 1e-5 * scale, "{shape:?}: {found}, not {expected}");
                }
            }
        }
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let shape = AttentionShape { heads: 5, queries: 150, keys: 97, dim: 32 };
        let [q, gradient] = [1, 2].map(|seed| values(5 * 150 * 32, seed));
        let [k, v] = [3, 4].map(|seed| values(5 * 97 * 32, seed));
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (output, logs) = forward(&shape, &q, &k, &v);
                let back = backward(&shape, [&q, &k, &v], &output, &logs, &gradient);
                (output, logs, back)
            })
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn large_scores_do_not_overflow_and_nan_stays_visible() {
        let shape = AttentionShape { heads: 1, queries: 1, keys: 2, dim: 1 };
        assert_eq!(forward(&shape, &[1e3], &[1e3, -1e3], &[5.0, 7.0]).0, [5.0]);
        assert!(forward(&shape, &[f32::NAN], &[1.0, 2.0], &[5.0, 7.0]).0[0].is_nan());
    }

    #[test]
    #[should_panic(expected = "k has 1 elements, its shape 2")]
    fn a_wrong_length_is_named() {
        let shape = AttentionShape { heads: 1, queries: 1, keys: 2, dim: 1 };
        let _ = forward(&shape, &[1.0], &[1.0], &[1.0, 2.0]);
    }
}
