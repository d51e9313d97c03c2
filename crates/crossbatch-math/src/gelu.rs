//! `x · Φ(x)`, the exact Gaussian error linear unit, and its gradient.
//!
//! `Φ(−a) = e^(−a²/2) · q(a)` for `a ≥ 0`, where `q(a) = erfcx(a / √2) / 2` is smooth: a polynomial in
//! `t = 1 / (1 + 0.29 a)`. So the tail keeps its digits, where `1 + erf` cancels. Bound by memory at 8 bytes an element.

use crate::lanes::{Arithmetic, Level, exp, for_lanes};
use rayon::prelude::*;
use std::mem::MaybeUninit;

/// Elements of a task.
const CHUNK: usize = 16 * 1024;

/// Coefficients of `q` by powers of `t`, from the highest: least squares with weights that level the relative error, against
/// SciPy's `erfcx`, over `a` from 0 to 14; relative error 7e-8, in f32 2.8e-7.
const Q: [f32; 9] = [
    0.038_391_76,
    -0.188_932_39,
    0.299_550_1,
    -0.145_577_61,
    0.183_286_47,
    0.077_129_07,
    0.120_978_49,
    0.115_150_206,
    2.388_576_3e-5,
];

/// `Φ(x)` and `e^(−x²/2)`.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn normal<L: Arithmetic>(x: L) -> (L, L) {
    // SAFETY: element-wise arithmetic on registers; the caller vouches for the instructions.
    unsafe {
        let (zero, one) = (L::splat(0.0), L::splat(1.0));
        let a = x.max(zero.sub(x)).min(L::splat(14.0));
        let t = one.div(one.add_product(a, L::splat(0.29)));
        let mut q = L::splat(Q[0]);
        for coefficient in &Q[1..] {
            q = L::splat(*coefficient).add_product(q, t);
        }
        // −a²/2 = high + low, so that the rounding of the square does not grow with it.
        let half = a.mul(L::splat(-0.5));
        let high = half.mul(a);
        let low = zero.sub(high).add_product(half, a);
        let bell = exp(high);
        let bell = bell.add_product(bell, low);
        let tail = bell.mul(q);
        (L::select(x.greater(zero), one.sub(tail), tail), bell)
    }
}

/// `x · Φ(x)` of each element, to 6 ulp where the result is a normal number.
#[must_use]
pub fn forward(input: &[f32]) -> Vec<f32> {
    let level = Level::detect();
    fill(input.len(), |first, to| {
        let from = &input[first..first + to.len()];
        for_lanes!(level, values(from: &[f32], to: &mut [MaybeUninit<f32>]));
    })
}

/// `gradient · (Φ(x) + x · φ(x))` of each element.
///
/// # Panics
///
/// If the lengths differ.
#[must_use]
pub fn backward(input: &[f32], gradient: &[f32]) -> Vec<f32> {
    assert_eq!(gradient.len(), input.len(), "gradient and input differ in length");
    let level = Level::detect();
    fill(input.len(), |first, to| {
        let range = first..first + to.len();
        let (from, gradient) = (&input[range.clone()], &gradient[range]);
        for_lanes!(level, slopes(from: &[f32], gradient: &[f32], to: &mut [MaybeUninit<f32>]));
    })
}

/// A vector of `len` elements that `write` fills in pieces, each from its first place on.
fn fill(len: usize, write: impl Fn(usize, &mut [MaybeUninit<f32>]) + Sync) -> Vec<f32> {
    let mut output: Vec<f32> = Vec::with_capacity(len);
    output.spare_capacity_mut()[..len]
        .par_chunks_mut(CHUNK)
        .enumerate()
        .for_each(|(index, to)| write(index * CHUNK, to));
    // SAFETY: the pieces cover the length, and both callers write every element of a piece.
    #[allow(unsafe_code)]
    unsafe {
        output.set_len(len);
    }
    output
}

#[inline(always)]
fn values<L: Arithmetic>(from: &[f32], to: &mut [MaybeUninit<f32>]) {
    each::<L, false>([from, from], to);
}

#[inline(always)]
fn slopes<L: Arithmetic>(from: &[f32], gradient: &[f32], to: &mut [MaybeUninit<f32>]) {
    each::<L, true>([from, gradient], to);
}

/// The value of `x`, or with `SLOPE` its slope times the gradient. (No closure: it would be compiled without the
/// instructions of `L`.)
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn one<L: Arithmetic, const SLOPE: bool>([x, gradient]: [L; 2]) -> L {
    // SAFETY: registers only; the caller vouches for the instructions.
    unsafe {
        let (below, bell) = normal(x);
        if SLOPE {
            // 1 / √(2π)
            let density = bell.mul(L::splat(0.398_942_3));
            gradient.mul(below.add_product(x, density))
        } else {
            x.mul(below)
        }
    }
}

/// Whole vectors, then the rest through a padded one.
#[inline(always)]
#[allow(unsafe_code)]
fn each<L: Arithmetic, const SLOPE: bool>(from: [&[f32]; 2], to: &mut [MaybeUninit<f32>]) {
    let [x, gradient] = from;
    let len = to.len();
    assert!(x.len() == len && gradient.len() == len);
    let whole = len / L::LANES * L::LANES;
    for at in (0..whole).step_by(L::LANES) {
        // SAFETY: `at + LANES` is at most the length of all slices; `for_lanes` chose `L` by the processor.
        unsafe {
            let inputs = [L::load(x.as_ptr().add(at)), L::load(gradient.as_ptr().add(at))];
            one::<L, SLOPE>(inputs).store(to.as_mut_ptr().add(at).cast());
        }
    }
    if whole < len {
        let (mut last, mut results) = ([[0.0f32; 16]; 2], [0.0f32; 16]);
        last[0][..len - whole].copy_from_slice(&x[whole..]);
        last[1][..len - whole].copy_from_slice(&gradient[whole..]);
        // SAFETY: no vector has more than 16 elements.
        unsafe {
            let inputs = [L::load(last[0].as_ptr()), L::load(last[1].as_ptr())];
            one::<L, SLOPE>(inputs).store(results.as_mut_ptr());
        }
        for (to, result) in to[whole..].iter_mut().zip(results) {
            to.write(result);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `Φ` by its series around 0, or the continued fraction of the tail, in f64.
    fn phi(x: f64) -> f64 {
        let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
        if x.abs() < 5.0 {
            let (mut term, mut sum, mut n) = (x, x, 1.0);
            while term.abs() > 1e-18 * sum.abs() {
                n += 2.0;
                term *= x * x / n;
                sum += term;
            }
            // Cancels to 1e-16 / Φ(−5) = 4e-10 at worst.
            0.5 + density * sum
        } else {
            let a = x.abs();
            let fraction = (1..200).rev().fold(a, |rest, k| a + f64::from(k) / rest);
            let tail = density / fraction;
            if x > 0.0 { 1.0 - tail } else { tail }
        }
    }

    #[test]
    fn known_values() {
        let found = forward(&[0.0, 1.0, -1.0, 20.0, -20.0]);
        assert_eq!(found[0], 0.0);
        assert!((found[1] - 0.841_344_8).abs() < 2e-7 && (found[2] + 0.158_655_25).abs() < 2e-7);
        assert_eq!(found[3], 20.0);
        assert!(found[4].abs() < 1e-30);
    }

    #[test]
    fn right_to_a_few_ulp() {
        let input: Vec<f32> = (-12_400..=12_400).map(|i| i as f32 * 1e-3 + 1.3e-4).collect();
        let ones = vec![1.0; input.len()];
        let (mut most, mut most_slope) = (0.0f64, 0.0f64);
        for ((x, y), slope) in input.iter().zip(forward(&input)).zip(backward(&input, &ones)) {
            let x = f64::from(*x);
            let exact = x * phi(x);
            let ulp = f64::from(f32::EPSILON) * exact.abs();
            most = most.max((f64::from(y) - exact).abs() / ulp);
            let density = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt();
            most_slope = most_slope.max((f64::from(slope) - phi(x) - x * density).abs());
        }
        assert!(most <= 6.0, "{most} ulp");
        assert!(most_slope <= 4e-7, "slope off by {most_slope}");
    }

    #[test]
    fn nan_and_infinity() {
        let found = forward(&[f32::NAN, f32::INFINITY]);
        assert!(found[0].is_nan());
        assert_eq!(found[1], f32::INFINITY);
    }
}
