//! Eigenvalues and eigenvectors of a symmetric matrix.
//!
//! Householder reduction to tridiagonal form, then the implicit QL method (Golub and Van Loan, "Matrix Computations",
//! 4th edition, sections 8.3.1 to 8.3.5). Eigenvectors are kept as rows, so that every rotation runs along memory.

/// The decomposition of a symmetric matrix, largest eigenvalue first.
#[derive(Debug, Clone)]
pub(crate) struct Eigen {
    /// `[n]`, descending.
    pub(crate) values: Vec<f64>,
    /// `[n, n]`: row `i` is the unit eigenvector of `values[i]`, its largest component positive.
    pub(crate) vectors: Vec<f64>,
}

/// The eigenvalues of the symmetric `[n, n]` matrix, descending.
pub(crate) fn eigenvalues(matrix: Vec<f64>, n: usize) -> Vec<f64> {
    let mut form = Tridiagonal::of(matrix, n);
    form.solve(&mut []);
    let mut values = form.diagonal;
    values.sort_unstable_by(|a, b| b.total_cmp(a));
    values
}

/// Eigenvalues and eigenvectors of the symmetric `[n, n]` matrix.
pub(crate) fn symmetric(matrix: Vec<f64>, n: usize) -> Eigen {
    let mut form = Tridiagonal::of(matrix, n);
    let mut vectors = form.basis();
    form.solve(&mut vectors);
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| form.diagonal[b].total_cmp(&form.diagonal[a]));
    let values = order.iter().map(|&i| form.diagonal[i]).collect();
    let upright = |i: &usize| {
        let row = &vectors[i * n..(i + 1) * n];
        let largest = row.iter().fold(0.0f64, |m, &x| if x.abs() > m.abs() { x } else { m });
        let sign = if largest < 0.0 { -1.0 } else { 1.0 };
        row.iter().map(move |value| sign * value)
    };
    let vectors = order.iter().flat_map(upright).collect();
    Eigen { values, vectors }
}

/// `T = Qᵀ A Q`, with `Q` as the reflections that made it.
struct Tridiagonal {
    n: usize,
    diagonal: Vec<f64>,
    /// `beside[i]` couples `i` and `i + 1`; the last is unused.
    beside: Vec<f64>,
    /// Row `k` holds the reflection that cleared row `k`, in its columns after `k`, and its factor.
    reflections: Vec<f64>,
    factors: Vec<f64>,
}

impl Tridiagonal {
    /// Reduces `a`, of which the whole square is read and kept symmetric.
    fn of(mut a: Vec<f64>, n: usize) -> Self {
        assert_eq!(a.len(), n * n, "a square matrix");
        let (mut beside, mut factors) = (vec![0.0; n], vec![0.0; n]);
        for k in 0..n.saturating_sub(1) {
            // The reflection I - f v vᵀ sends row k, from column k + 1 on, to a multiple of the first unit vector.
            let (head, tail) = a.split_at_mut((k + 1) * n);
            let v = &mut head[k * n + k + 1..(k + 1) * n];
            let scale = v.iter().fold(0.0f64, |m, x| m.max(x.abs()));
            let rest = v[1..].iter().any(|&x| x != 0.0);
            if scale == 0.0 || !rest {
                beside[k] = v[0];
                continue;
            }
            let norm = scale * v.iter().map(|x| (x / scale) * (x / scale)).sum::<f64>().sqrt();
            let image = if v[0] > 0.0 { -norm } else { norm };
            v[0] -= image;
            beside[k] = image;
            let factor = 2.0 / v.iter().map(|x| x * x).sum::<f64>();
            factors[k] = factor;
            // A ← (I - f v vᵀ) A (I - f v vᵀ) = A - v wᵀ - w vᵀ on the square below.
            let m = n - k - 1;
            let row = |i: usize| i * n + k + 1..(i + 1) * n;
            let mut w: Vec<f64> = (0..m).map(|i| factor * dot(&tail[row(i)], v)).collect();
            let half = factor * dot(&w, v) / 2.0;
            w.iter_mut().zip(v.iter()).for_each(|(w, v)| *w -= half * v);
            for i in 0..m {
                let (vi, wi) = (v[i], w[i]);
                for ((x, v), w) in tail[row(i)].iter_mut().zip(v.iter()).zip(&w) {
                    *x -= vi * w + wi * v;
                }
            }
        }
        let diagonal = (0..n).map(|i| a[i * n + i]).collect();
        Self { n, diagonal, beside, reflections: a, factors }
    }

    /// `Qᵀ`: row `i` is what coordinate `i` of the tridiagonal form stands for.
    fn basis(&self) -> Vec<f64> {
        let n = self.n;
        let mut q = vec![0.0; n * n];
        (0..n).for_each(|i| q[i * n + i] = 1.0);
        // Rows of Qᵀ times each reflection from the right, the last reflection first: only rows after k are touched.
        for k in (0..n.saturating_sub(1)).rev().filter(|&k| self.factors[k] != 0.0) {
            let v = &self.reflections[k * n + k + 1..(k + 1) * n];
            for i in k + 1..n {
                let row = &mut q[i * n + k + 1..(i + 1) * n];
                let along = self.factors[k] * dot(row, v);
                row.iter_mut().zip(v).for_each(|(x, v)| *x -= along * v);
            }
        }
        q
    }

    /// Turns the diagonal into eigenvalues, and the rows of `vectors` (if there are any) into eigenvectors.
    fn solve(&mut self, vectors: &mut [f64]) {
        let (n, d, e) = (self.n, &mut self.diagonal, &mut self.beside);
        let largest = d.iter().chain(e.iter()).fold(0.0f64, |m, x| m.max(x.abs()));
        for low in 0..n {
            // The method converges in two or three steps a value; a hundred is a bound that only non-finite input meets.
            for _ in 0..100 {
                // The block that starts at `low` ends where the coupling is lost to rounding.
                let lost = |i: &usize| {
                    e[*i].abs()
                        <= f64::EPSILON * (d[*i].abs() + d[i + 1].abs()).max(f64::EPSILON * largest)
                };
                let end = (low..n - 1).find(lost).unwrap_or(n - 1);
                if end == low {
                    break;
                }
                let g = (d[low + 1] - d[low]) / (2.0 * e[low]);
                let r = g.hypot(1.0);
                let mut shifted = d[end] - d[low] + e[low] / (g + r.copysign(g));
                let (mut sine, mut cosine, mut taken) = (1.0, 1.0, 0.0);
                let mut cut_short = false;
                for i in (low..end).rev() {
                    let (f, b) = (sine * e[i], cosine * e[i]);
                    let r = f.hypot(shifted);
                    e[i + 1] = r;
                    if r == 0.0 {
                        d[i + 1] -= taken;
                        e[end] = 0.0;
                        cut_short = true;
                        break;
                    }
                    (sine, cosine) = (f / r, shifted / r);
                    let g = d[i + 1] - taken;
                    let r = (d[i] - g) * sine + 2.0 * cosine * b;
                    taken = sine * r;
                    d[i + 1] = g + taken;
                    shifted = cosine * r - b;
                    rotate(vectors, n, i, sine, cosine);
                }
                if !cut_short {
                    d[low] -= taken;
                    e[low] = shifted;
                    e[end] = 0.0;
                }
            }
        }
    }
}

/// Turns rows `i` and `i + 1` in their plane.
fn rotate(vectors: &mut [f64], n: usize, i: usize, sine: f64, cosine: f64) {
    if vectors.is_empty() {
        return;
    }
    let (left, right) = vectors[i * n..(i + 2) * n].split_at_mut(n);
    for (a, b) in left.iter_mut().zip(right) {
        let (x, y) = (*a, *b);
        *b = sine * x + cosine * y;
        *a = cosine * x - sine * y;
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_chunks, a_rest) = a.as_chunks::<8>();
    let (b_chunks, b_rest) = b.as_chunks::<8>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    let rest: f64 = a_rest.iter().zip(b_rest).map(|(x, y)| x * y).sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `|A v - λ v|` and `|Vᵀ V - I|` at their largest, the values descending.
    fn check(matrix: &[f64], n: usize) {
        let found = symmetric(matrix.to_vec(), n);
        let size = matrix.iter().fold(1e-300f64, |m, x| m.max(x.abs()));
        for i in 0..n {
            let v = &found.vectors[i * n..(i + 1) * n];
            for r in 0..n {
                let image: f64 = (0..n).map(|c| matrix[r * n + c] * v[c]).sum();
                let error = (image - found.values[i] * v[r]).abs();
                assert!(error < 1e-13 * size * (n as f64 + 4.0), "{n}: {error} of {size}");
            }
            for j in 0..n {
                let inner: f64 = (0..n).map(|c| v[c] * found.vectors[j * n + c]).sum();
                assert!((inner - f64::from(u8::from(i == j))).abs() < 1e-12 * (n as f64 + 4.0));
            }
        }
        assert!(found.values.is_sorted_by(|a, b| a >= b));
        let alone = eigenvalues(matrix.to_vec(), n);
        let close = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * size * n as f64;
        assert!(alone.iter().zip(&found.values).all(close));
    }

    #[test]
    fn two_by_two_by_hand() {
        let found = symmetric(vec![2.0, 1.0, 1.0, 2.0], 2);
        assert!((found.values[0] - 3.0).abs() < 1e-15 && (found.values[1] - 1.0).abs() < 1e-15);
        let half = 0.5f64.sqrt();
        assert!(found.vectors[..2].iter().all(|x| (x - half).abs() < 1e-15));
    }

    #[test]
    fn matrices_of_every_kind_are_decomposed() {
        for n in [1, 2, 3, 4, 7, 20, 61] {
            let noise = |i: usize, j: usize| ((i * 31 + j * 17 + i * j * 7) as f64).sin();
            let square = |f: &dyn Fn(usize, usize) -> f64| -> Vec<f64> {
                (0..n * n).map(|at| f(at / n, at % n)).collect()
            };
            check(&square(&|i, j| noise(i.min(j), i.max(j))), n);
            check(&square(&|_, _| 0.0), n);
            check(&square(&|i, j| f64::from(u8::from(i == j)) * (i % 3) as f64), n);
            check(&square(&|_, _| 1.0), n); // rank one
            check(
                &square(&|i, j| if i.abs_diff(j) <= 1 { 1e-8 + i.min(j) as f64 } else { 0.0 }),
                n,
            );
            check(&square(&|i, j| 1e8f64.powf(-((i + j) as f64) / n as f64)), n);
            // A Gram matrix of rank two.
            check(&square(&|i, j| noise(i, 1) * noise(j, 1) + noise(i, 2) * noise(j, 2)), n);
        }
        assert!(eigenvalues(Vec::new(), 0).is_empty());
    }
}
