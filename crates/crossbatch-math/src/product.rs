//! Products of row-major matrices, and dot products whose last bit can be relied on.
//!
//! [`rows_times_rows`] is fast and rounds as it likes: the `gemm` crate picks a kernel by the shape of the
//! operands and by the processor, so the same two rows can give sums that differ in their last bits when they
//! are multiplied in other company. [`dot_f64`] is slower and always gives the same value for the same two
//! rows. Whoever ranks by similarity filters with the first and decides with the second.
//!
//! [`shared_rows_times_rows`] and [`shared_product`] share one product over rayon's current pool, as `gemm` does it by
//! itself: a yardstick for kernels that cut their products into tiles.

use crate::lanes::{Level, for_level};
use gemm::{Parallelism, gemm};
use std::mem::MaybeUninit;

/// How many partial sums [`dot_f64`] keeps. Part of its definition: another number is another rounding.
const LANES: usize = 8;

/// Every row of `a` times every row of `b`: `out[i * n + j] = <a_i, b_j>`, where `n` is the number of rows of `b`.
///
/// Runs on the calling thread. What `out` held before is overwritten, never read.
///
/// The error of one sum is at most `dim * 2^-24 / (1 - dim * 2^-24)` times `Σ |a_i[d] * b_j[d]|`,
/// whichever kernel runs.
///
/// # Shapes
///
/// `a` is `[m, dim]`, `b` is `[n, dim]`, `out` is `[m, n]`, all row-major without gaps.
///
/// # Panics
///
/// If `dim` is zero, if `a` or `b` is not a whole number of rows, or if `out` does not hold `m * n` values.
///
/// # Example
///
/// ```
/// use crossbatch_math::product::rows_times_rows;
///
/// let a = [1.0, 0.0, 0.0, 2.0]; // two rows of two
/// let b = [3.0, 4.0]; // one row
/// let mut out = [0.0; 2];
/// rows_times_rows(&a, &b, 2, &mut out);
/// assert_eq!(out, [3.0, 8.0]);
/// ```
pub fn rows_times_rows(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    multiply(a, Right::Rows(b), dim, out, Parallelism::None);
}

/// As [`rows_times_rows`], with the threads of rayon's current pool; their number may change the last bits.
///
/// # Panics
///
/// As [`rows_times_rows`].
pub fn shared_rows_times_rows(a: &[f32], b: &[f32], dim: usize, out: &mut [f32]) {
    multiply(a, Right::Rows(b), dim, out, Parallelism::Rayon(0));
}

/// The matrix product `a · b`, with the threads of rayon's current pool; their number may change the last bits.
///
/// What `out` held before is overwritten, never read.
///
/// # Shapes
///
/// `a` is `[m, inner]`, `b` is `[inner, n]`, `out` is `[m, n]`, all row-major without gaps.
///
/// # Panics
///
/// If `inner` is zero, if `a` is not a whole number of rows or `b` of columns, or if `out` does not hold `m * n` values.
///
/// # Example
///
/// ```
/// use crossbatch_math::product::shared_product;
///
/// let a = [1.0, 2.0]; // one row of two
/// let b = [3.0, 4.0, 5.0, 6.0]; // two rows of two
/// let mut out = [0.0; 2];
/// shared_product(&a, &b, 2, &mut out);
/// assert_eq!(out, [13.0, 16.0]);
/// ```
pub fn shared_product(a: &[f32], b: &[f32], inner: usize, out: &mut [f32]) {
    multiply(a, Right::Columns(b), inner, out, Parallelism::Rayon(0));
}

/// A matrix whose rows and columns are any distance apart.
#[derive(Clone, Copy)]
pub(crate) struct View<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> View<'a> {
    /// Row-major, without gaps.
    pub(crate) fn rows(values: &'a [f32], columns: usize) -> Self {
        let rows = whole("a view", "rows", values, columns);
        Self { values, rows, columns, row_stride: columns, column_stride: 1 }
    }

    pub(crate) fn transposed(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a · b`, or `out += a · b` with `add`, on the calling thread; `out` is row-major without gaps.
pub(crate) fn product_of_views(a: View<'_>, b: View<'_>, add: bool, out: &mut [f32]) {
    let (m, inner, n) = (a.rows, a.columns, b.columns);
    assert_eq!(b.rows, inner, "{m} x {inner} times {} x {n}", b.rows);
    assert_eq!(out.len(), m * n, "out must hold {m} x {n} values");
    if out.is_empty() {
        return;
    }
    let stride = usize::cast_signed;
    // SAFETY: views come from `View::rows` alone, so that rows · columns is the length of their values and strides reach no
    // further, transposed or not; `out` holds m x n values and is borrowed uniquely; with `add` false it is not read.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            m,
            n,
            inner,
            out.as_mut_ptr(),
            1,
            stride(n),
            add,
            a.values.as_ptr(),
            stride(a.column_stride),
            stride(a.row_stride),
            b.values.as_ptr(),
            stride(b.column_stride),
            stride(b.row_stride),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The right side of a product: `[n, inner]`, to be transposed, or `[inner, n]`.
enum Right<'a> {
    Rows(&'a [f32]),
    Columns(&'a [f32]),
}

fn multiply(a: &[f32], b: Right<'_>, inner: usize, out: &mut [f32], parallelism: Parallelism) {
    let m = whole("a", "rows", a, inner);
    let (b, n, column_stride, row_stride) = match b {
        Right::Rows(b) => (b, whole("b", "rows", b, inner), inner, 1),
        Right::Columns(b) => {
            let n = whole("b", "columns", b, inner);
            (b, n, 1, n)
        }
    };
    assert!(
        m.checked_mul(n) == Some(out.len()),
        "out must hold {m} x {n} values, it holds {}",
        out.len()
    );
    if out.is_empty() {
        return;
    }
    let [out_row, row, column_stride, row_stride] =
        [n, inner, column_stride, row_stride].map(usize::cast_signed);
    // SAFETY: the three lengths are checked above. `gemm` reads `a[i * inner + d]` and `b[j * inner + d]` (rows) or
    // `b[d * n + j]` (columns) and writes `out[i * n + j]` for i < m, j < n, d < inner, all inside the slices; strides
    // fit isize because slices of f32 hold fewer than isize::MAX values; `out` is borrowed uniquely, so it overlaps
    // neither operand; with `read_dst` false it is written without being read. `gemm` returns when its threads are
    // done, so nothing outlives the call.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            m,
            n,
            inner,
            out.as_mut_ptr(),
            1,
            out_row,
            false,
            a.as_ptr(),
            1,
            row,
            b.as_ptr(),
            column_stride,
            row_stride,
            0.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// A matrix inside a slice: element `(i, j)` lies at `i * row + j * column`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operand<'a> {
    values: &'a [f32],
    row: usize,
    column: usize,
}

impl<'a> Operand<'a> {
    pub(crate) fn new(values: &'a [f32], row: usize, column: usize) -> Self {
        Self { values, row, column }
    }

    /// Panics unless a matrix of this size lies inside.
    fn check(&self, rows: usize, columns: usize) {
        let last = (rows - 1) * self.row + (columns - 1) * self.column;
        assert!(last < self.values.len(), "{rows} x {columns} at {self:?}");
    }
}

/// A slice that tasks write to, each to elements of its own.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    first: *mut f32,
    len: usize,
}

// SAFETY: whoever shares it gives every task elements of its own; nothing reads before all tasks are done.
#[allow(unsafe_code)]
unsafe impl Send for Shared {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Shared {}

impl Shared {
    /// The slice must outlive every use, and not be used otherwise meanwhile.
    pub(crate) fn new(values: &mut [f32]) -> Self {
        Self { first: values.as_mut_ptr(), len: values.len() }
    }

    /// The whole capacity of `values`, for tasks that write every element before anything reads it.
    pub(crate) fn of_capacity(values: &mut Vec<f32>) -> Self {
        Self { first: values.as_mut_ptr(), len: values.capacity() }
    }

    /// The `len` elements from `at` on, which may hold nothing yet.
    pub(crate) fn uninit<'a>(self, at: usize, len: usize) -> &'a mut [MaybeUninit<f32>] {
        assert!(at + len <= self.len);
        // SAFETY: inside the slice, and these elements belong to this task alone.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts_mut(self.first.add(at).cast(), len)
        }
    }

    /// Where element `at` lies, with `len` elements from there on inside the slice.
    pub(crate) fn pointer(self, at: usize, len: usize) -> *mut f32 {
        assert!(at + len <= self.len);
        self.first.wrapping_add(at)
    }

    /// Copies `values` to `at`.
    pub(crate) fn write(self, at: usize, values: &[f32]) {
        assert!(at + values.len() <= self.len);
        // SAFETY: inside the slice, and these elements belong to this task alone.
        #[allow(unsafe_code)]
        unsafe {
            std::ptr::copy_nonoverlapping(values.as_ptr(), self.first.add(at), values.len());
        }
    }

    /// Changes the `len` elements from `at` on in place.
    pub(crate) fn change(self, at: usize, len: usize, change: impl FnOnce(&mut [f32])) {
        assert!(at + len <= self.len);
        // SAFETY: inside the slice, and these elements belong to this task alone.
        #[allow(unsafe_code)]
        change(unsafe { std::slice::from_raw_parts_mut(self.first.add(at), len) });
    }
}

/// `a · b` for `size` = `[m, n, inner]`, none of them zero, into the elements `at + i * row + j * column` of `out`, which
/// belong to this call alone; added to what is there if `add`. Runs on the calling thread.
pub(crate) fn multiply_into(
    [m, n, inner]: [usize; 3],
    out: Shared,
    at: usize,
    [row, column]: [usize; 2],
    add: bool,
    a: Operand<'_>,
    b: Operand<'_>,
) {
    a.check(m, inner);
    b.check(inner, n);
    let last = at + (m - 1) * row + (n - 1) * column;
    assert!(last < out.len, "{m} x {n} at {at} must lie inside {} values", out.len);
    let stride = usize::cast_signed;
    // SAFETY: all three matrices lie inside their slices, as just checked, whose strides fit isize because slices of f32
    // hold fewer than isize::MAX values. The elements written belong to this call, and the operands are shared borrows.
    #[allow(unsafe_code)]
    unsafe {
        gemm(
            m,
            n,
            inner,
            out.first.add(at),
            stride(column),
            stride(row),
            add,
            a.values.as_ptr(),
            stride(a.column),
            stride(a.row),
            b.values.as_ptr(),
            stride(b.column),
            stride(b.row),
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// The dot product of two rows in f64, summed in one fixed order.
///
/// A product of two f32 values is exact in f64, so only the additions round, and these always happen in the same
/// order: eight partial sums over the positions with the same remainder by eight, added as a fixed tree. The result
/// is therefore the same on every processor, with or without fused multiply-add, and `dot_f64(a, b)` equals
/// `dot_f64(b, a)`. It is never `-0.0`.
///
/// # Panics
///
/// If the rows differ in length.
///
/// # Example
///
/// ```
/// use crossbatch_math::product::dot_f64;
///
/// assert_eq!(dot_f64(&[1.0, 2.0, 3.0], &[4.0, 5.0, 6.0]), 32.0);
/// ```
pub fn dot_f64(a: &[f32], b: &[f32]) -> f64 {
    assert!(a.len() == b.len(), "rows of {} and {} values have no dot product", a.len(), b.len());
    let mut sum = 0.0;
    let out = &mut sum;
    for_level!(Level::detect(), add_products(a: &[f32], b: &[f32], out: &mut f64));
    sum
}

/// The squared Euclidean distance of two rows in f64, summed as [`dot_f64`] sums.
///
/// A difference of two f32 values rounds once in f64, its square once more; the sum's order is fixed. The result is the
/// same on every processor, and `squared_distance_f64(a, b)` equals `squared_distance_f64(b, a)`.
///
/// # Panics
///
/// If the rows differ in length.
///
/// # Example
///
/// ```
/// use crossbatch_math::product::squared_distance_f64;
///
/// assert_eq!(squared_distance_f64(&[1.0, 2.0], &[4.0, 6.0]), 25.0);
/// ```
pub fn squared_distance_f64(a: &[f32], b: &[f32]) -> f64 {
    assert!(a.len() == b.len(), "rows of {} and {} values have no distance", a.len(), b.len());
    let mut sum = 0.0;
    let out = &mut sum;
    for_level!(Level::detect(), add_squares(a: &[f32], b: &[f32], out: &mut f64));
    sum
}

#[inline(always)]
fn add_products(a: &[f32], b: &[f32], out: &mut f64) {
    *out = sum_in_order(a, b, |x, y| f64::from(x) * f64::from(y));
}

#[inline(always)]
fn add_squares(a: &[f32], b: &[f32], out: &mut f64) {
    *out = sum_in_order(a, b, |x, y| {
        let difference = f64::from(x) - f64::from(y);
        difference * difference
    });
}

/// The one order of summation, however many lanes an instruction has.
#[inline(always)]
fn sum_in_order(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f64) -> f64 {
    let mut sums = [0.0f64; LANES];
    let (a_chunks, a_rest) = a.as_chunks::<LANES>();
    let (b_chunks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_chunks.iter().zip(b_chunks) {
        for lane in 0..LANES {
            sums[lane] += term(x[lane], y[lane]);
        }
    }
    for (sum, (&x, &y)) in sums.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *sum += term(x, y);
    }
    ((sums[0] + sums[4]) + (sums[2] + sums[6])) + ((sums[1] + sums[5]) + (sums[3] + sums[7]))
}

/// The number of `lines`, of `dim` values each, in the values of the matrix `name`.
fn whole(name: &str, lines: &str, values: &[f32], dim: usize) -> usize {
    assert!(dim > 0, "{lines} must have at least one value, dim is 0");
    assert!(
        values.len().is_multiple_of(dim),
        "{name} must hold whole {lines} of {dim} values, it holds {}",
        values.len()
    );
    values.len() / dim
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Small whole numbers, so that every sum is exact in f32.
    fn whole_numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count).map(|i| ((i * 7 + seed * 13 + i * i * 3) % 9) as f32 - 4.0).collect()
    }

    #[test]
    fn equals_the_written_out_product_at_odd_sizes() {
        let sizes = [(1, 1, 1), (1, 9, 3), (9, 1, 3), (5, 7, 1), (17, 33, 13), (64, 65, 40)];
        for (m, n, dim) in sizes.into_iter().chain([(64, 900, 128)]) {
            let (a, b) = (whole_numbers(m * dim, 1), whole_numbers(n * dim, 2));
            let mut out = vec![f32::NAN; m * n];
            rows_times_rows(&a, &b, dim, &mut out);
            for i in 0..m {
                for j in 0..n {
                    let expected: f32 = (0..dim).map(|d| a[i * dim + d] * b[j * dim + d]).sum();
                    assert_eq!(out[i * n + j], expected, "{m} x {n} x {dim} at ({i}, {j})");
                }
            }
            let mut shared = vec![f32::NAN; m * n];
            shared_rows_times_rows(&a, &b, dim, &mut shared);
            assert_eq!(shared, out, "{m} x {n} x {dim} shared");
            let columns: Vec<f32> = (0..dim * n).map(|at| b[at % n * dim + at / n]).collect();
            shared.fill(f32::NAN);
            shared_product(&a, &columns, dim, &mut shared);
            assert_eq!(shared, out, "{m} x {n} x {dim} with columns");
        }
    }

    #[test]
    fn no_rows_give_no_products() {
        rows_times_rows(&[], &[1.0, 2.0], 2, &mut []);
        rows_times_rows(&[1.0, 2.0], &[], 2, &mut []);
    }

    #[test]
    #[should_panic(expected = "out must hold 2 x 1 values, it holds 3")]
    fn a_wrong_output_size_is_named() {
        rows_times_rows(&[1.0, 2.0], &[1.0], 1, &mut [0.0; 3]);
    }

    #[test]
    #[should_panic(expected = "b must hold whole rows of 2 values, it holds 3")]
    fn a_broken_row_is_named() {
        rows_times_rows(&[1.0, 2.0], &[1.0; 3], 2, &mut [0.0; 1]);
    }

    #[test]
    fn dot_is_symmetric_and_close_to_the_plain_sum() {
        for len in [0, 1, 7, 8, 9, 31, 100] {
            let a: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..len).map(|i| (i as f32 * 0.91).cos()).collect();
            let plain: f64 = a.iter().zip(&b).map(|(&x, &y)| f64::from(x) * f64::from(y)).sum();
            assert_eq!(dot_f64(&a, &b).to_bits(), dot_f64(&b, &a).to_bits());
            assert!((dot_f64(&a, &b) - plain).abs() < 1e-13, "length {len}");
        }
    }

    #[test]
    fn dot_keeps_what_f32_would_lose() {
        assert_eq!(dot_f64(&[1e4, 1.0, -1e4], &[1e4, 1.0, 1e4]), 1.0);
    }

    #[test]
    fn distance_is_symmetric_and_close_to_the_plain_sum() {
        for len in [0, 1, 7, 8, 9, 31, 100] {
            let a: Vec<f32> = (0..len).map(|i| (i as f32 * 0.37).sin()).collect();
            let b: Vec<f32> = (0..len).map(|i| (i as f32 * 0.91).cos()).collect();
            let plain: f64 =
                a.iter().zip(&b).map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2)).sum();
            let found = squared_distance_f64(&a, &b);
            assert_eq!(found.to_bits(), squared_distance_f64(&b, &a).to_bits());
            assert!((found - plain).abs() < 1e-12, "length {len}");
        }
    }

    #[test]
    #[should_panic(expected = "rows of 2 and 3 values")]
    fn dot_of_unequal_rows_panics() {
        dot_f64(&[1.0; 2], &[1.0; 3]);
    }
}
