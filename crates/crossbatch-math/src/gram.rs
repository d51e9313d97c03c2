//! The Gram matrix of some rows in f64: what means, spreads and principal components are made of.

use gemm::{Parallelism, gemm};

/// Adds `rowsᵀ · rows` to `out`.
///
/// Runs on the calling thread. The same rows give the same bits on the same machine.
///
/// # Shapes
///
/// `rows` is `[n, dim]`, `out` is `[dim, dim]`, both row-major without gaps.
///
/// # Panics
///
/// If `dim` is zero, if `rows` is not a whole number of rows, or if `out` does not hold `dim * dim` values.
///
/// # Example
///
/// ```
/// use crossbatch_math::gram::add_gram;
///
/// let mut out = [1.0, 0.0, 0.0, 1.0];
/// add_gram(&[1.0, 2.0, 3.0, 4.0], 2, &mut out);
/// assert_eq!(out, [1.0 + 10.0, 14.0, 14.0, 1.0 + 20.0]);
/// ```
pub fn add_gram(rows: &[f64], dim: usize, out: &mut [f64]) {
    assert!(dim > 0, "rows must have at least one value, dim is 0");
    assert!(
        rows.len().is_multiple_of(dim),
        "rows must hold whole rows of {dim} values, they hold {}",
        rows.len()
    );
    assert!(
        dim.checked_mul(dim) == Some(out.len()),
        "out must hold {dim} x {dim} values, it holds {}",
        out.len()
    );
    let n = rows.len() / dim;
    if n == 0 {
        return;
    }
    let stride = dim.cast_signed();
    // SAFETY: `gemm` reads `rows[r * dim + i]` for r < n, i < dim and reads and writes `out[i * dim + j]` for
    // i, j < dim, all inside the slices, whose lengths are checked above; strides fit isize because slices of f64 hold
    // fewer than isize::MAX values; `out` is borrowed uniquely, so it does not overlap `rows`.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            dim,
            dim,
            n,
            out.as_mut_ptr(),
            1,
            stride,
            true,
            rows.as_ptr(),
            stride,
            1,
            rows.as_ptr(),
            1,
            stride,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_written_out_sums() {
        for (n, dim) in [(0, 3), (1, 1), (5, 3), (40, 17), (300, 33)] {
            let value = |i: usize| ((i * 7 + i * i * 3) % 9) as f64 - 4.0;
            let rows: Vec<f64> = (0..n * dim).map(value).collect();
            let mut out = vec![0.5; dim * dim];
            add_gram(&rows, dim, &mut out);
            for i in 0..dim {
                for j in 0..dim {
                    let sum: f64 = (0..n).map(|r| rows[r * dim + i] * rows[r * dim + j]).sum();
                    assert_eq!(out[i * dim + j], 0.5 + sum, "{n} x {dim} at ({i}, {j})");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "out must hold 2 x 2 values, it holds 3")]
    fn a_wrong_output_size_is_named() {
        add_gram(&[1.0, 2.0], 2, &mut [0.0; 3]);
    }
}
