//! Arithmetic on vectors beyond the multiply-add: comparisons as bit masks, exponentials, horizontal sums.

use super::{Lanes, Portable};

/// Element-wise arithmetic; masks have a bit an element, the first one lowest.
///
/// # Safety
///
/// As [`Lanes`].
#[allow(unsafe_code)]
pub(crate) unsafe trait Arithmetic: Lanes {
    /// `self + other`.
    unsafe fn add(self, other: Self) -> Self;
    /// `self − other`.
    unsafe fn sub(self, other: Self) -> Self;
    /// `self · other`.
    unsafe fn mul(self, other: Self) -> Self;
    /// `self / other`.
    unsafe fn div(self, other: Self) -> Self;
    /// The smaller; `other` where `self` is NaN.
    unsafe fn min(self, other: Self) -> Self;
    /// The larger; `other` where `self` is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The square root.
    unsafe fn sqrt(self) -> Self;
    /// Where `self > other`; not where either is NaN.
    unsafe fn greater(self, other: Self) -> u32;
    /// Where not `self <= other`: where `self > other` or either is NaN.
    unsafe fn not_at_most(self, other: Self) -> u32;
    /// `yes` where the mask has a one, else `no`.
    unsafe fn select(mask: u32, yes: Self, no: Self) -> Self;
    /// The nearest whole number, ties to even, of numbers well inside i32.
    unsafe fn round(self) -> Self;
    /// 2 to the power of whole numbers from −126 to 127.
    unsafe fn power_of_two(self) -> Self;
    /// Where the `LANES` integers at `from` equal `value`.
    unsafe fn equal(from: *const i32, value: i32) -> u32;
    /// The `LANES` integers at `from` as numbers.
    unsafe fn from_integers(from: *const i32) -> Self;
}

/// The sum of a vector's elements, as a fixed tree.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) unsafe fn sum<L: Arithmetic>(vector: L) -> f32 {
    let mut values = [0.0f32; 16];
    // SAFETY: no vector has more than 16 elements.
    unsafe { vector.store(values.as_mut_ptr()) };
    let mut width = L::LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            values[lane] += values[lane + width];
        }
    }
    values[0]
}

/// `e^x` to 2 ulp; arguments are cut to −87..=88.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) unsafe fn exp<L: Arithmetic>(x: L) -> L {
    // SAFETY: element-wise arithmetic on registers; the caller vouches for the instructions.
    unsafe {
        let x = x.max(L::splat(-87.0)).min(L::splat(88.0));
        // x = n ln 2 + r with |r| <= ln 2 / 2; ln 2 in two parts, the first with few digits.
        let n = x.mul(L::splat(std::f32::consts::LOG2_E)).round();
        let r = x.add_product(n, L::splat(-0.693_359_4)).add_product(n, L::splat(2.121_944_4e-4));
        // The Taylor polynomial of degree 7: its rest is below 1e-8 of the result.
        let mut p = L::splat(1.0 / 5040.0);
        for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
            p = L::splat(coefficient).add_product(p, r);
        }
        p.mul(n.power_of_two())
    }
}

/// `1 / (1 + e^−x)`.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) unsafe fn sigmoid<L: Arithmetic>(x: L) -> L {
    // SAFETY: element-wise arithmetic on registers; the caller vouches for the instructions.
    unsafe {
        let zero = L::splat(0.0);
        let positive = x.greater(zero);
        // e^−|x| never overflows.
        let z = exp(x.min(zero.sub(x)));
        let one = L::splat(1.0);
        L::select(positive, one, z).div(one.add(z))
    }
}

/// `ln(1 + e^x)`.
#[inline(always)]
#[allow(unsafe_code)]
pub(crate) unsafe fn softplus<L: Arithmetic>(x: L) -> L {
    // SAFETY: element-wise arithmetic on registers; the caller vouches for the instructions.
    unsafe {
        let zero = L::splat(0.0);
        x.max(zero).add(ln_1p_of_at_most_1(exp(x.min(zero.sub(x)))))
    }
}

/// `ln(1 + z)` for z in 0..=1, as `2 artanh(z / (2 + z))`.
#[inline(always)]
#[allow(unsafe_code)]
unsafe fn ln_1p_of_at_most_1<L: Arithmetic>(z: L) -> L {
    // SAFETY: element-wise arithmetic on registers; the caller vouches for the instructions.
    unsafe {
        // y <= 1/3, so that the series to y^15 leaves a rest below 1e-9 of the result.
        let y = z.div(z.add(L::splat(2.0)));
        let square = y.mul(y);
        let mut p = L::splat(2.0 / 15.0);
        for odd in [13.0f32, 11.0, 9.0, 7.0, 5.0, 3.0, 1.0] {
            p = L::splat(2.0 / odd).add_product(p, square);
        }
        p.mul(y)
    }
}

impl Portable {
    #[inline(always)]
    fn map(self, other: Self, body: impl Fn(f32, f32) -> f32) -> Self {
        Self(std::array::from_fn(|lane| body(self.0[lane], other.0[lane])))
    }
}

// SAFETY: no special instructions; pointers are read for 8 elements.
#[allow(unsafe_code)]
unsafe impl Arithmetic for Portable {
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        self.map(other, |a, b| a + b)
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        self.map(other, |a, b| a - b)
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        self.map(other, |a, b| a * b)
    }
    #[inline(always)]
    unsafe fn div(self, other: Self) -> Self {
        self.map(other, |a, b| a / b)
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        self.map(other, |a, b| if a < b { a } else { b })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        self.map(other, |a, b| if a > b { a } else { b })
    }
    #[inline(always)]
    unsafe fn sqrt(self) -> Self {
        Self(self.0.map(f32::sqrt))
    }
    #[inline(always)]
    unsafe fn greater(self, other: Self) -> u32 {
        (0..8).fold(0, |mask, lane| mask | u32::from(self.0[lane] > other.0[lane]) << lane)
    }
    #[inline(always)]
    unsafe fn not_at_most(self, other: Self) -> u32 {
        let wins = |a: f32, b: f32| a.partial_cmp(&b).is_none_or(std::cmp::Ordering::is_gt);
        (0..8).fold(0, |mask, lane| mask | u32::from(wins(self.0[lane], other.0[lane])) << lane)
    }
    #[inline(always)]
    unsafe fn select(mask: u32, yes: Self, no: Self) -> Self {
        Self(std::array::from_fn(
            |lane| {
                if mask >> lane & 1 == 1 { yes.0[lane] } else { no.0[lane] }
            },
        ))
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Self(self.0.map(f32::round_ties_even))
    }
    #[inline(always)]
    unsafe fn power_of_two(self) -> Self {
        Self(self.0.map(|n| f32::from_bits((((n as i32) + 127) as u32) << 23)))
    }
    #[inline(always)]
    unsafe fn equal(from: *const i32, value: i32) -> u32 {
        // SAFETY: the caller's pointer is valid for 8 elements.
        let values = unsafe { from.cast::<[i32; 8]>().read_unaligned() };
        (0..8).fold(0, |mask, lane| mask | u32::from(values[lane] == value) << lane)
    }
    #[inline(always)]
    unsafe fn from_integers(from: *const i32) -> Self {
        // SAFETY: the caller's pointer is valid for 8 elements.
        Self(unsafe { from.cast::<[i32; 8]>().read_unaligned() }.map(|value| value as f32))
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use super::super::{Avx2, Avx512};
    use super::Arithmetic;
    use std::arch::x86_64::*;

    /// A vector mask of a bit mask: all ones where the bit is one.
    #[inline(always)]
    #[allow(unsafe_code)]
    unsafe fn widen(mask: u32) -> __m256 {
        // SAFETY: the caller vouches for AVX2.
        unsafe {
            let bits = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
            let own = _mm256_and_si256(_mm256_set1_epi32(mask.cast_signed()), bits);
            _mm256_castsi256_ps(_mm256_cmpeq_epi32(own, bits))
        }
    }

    // SAFETY: AVX2 and FMA only; pointers are read unaligned for 8 elements.
    #[allow(unsafe_code)]
    unsafe impl Arithmetic for Avx2 {
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_min_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sqrt(self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe { _mm256_sqrt_ps(self.0) })
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> u32 {
            // SAFETY: the caller vouches for AVX.
            unsafe {
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(self.0, other.0)).cast_unsigned()
            }
        }
        #[inline(always)]
        unsafe fn not_at_most(self, other: Self) -> u32 {
            // SAFETY: the caller vouches for AVX.
            unsafe {
                _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_NLE_UQ>(self.0, other.0)).cast_unsigned()
            }
        }
        #[inline(always)]
        unsafe fn select(mask: u32, yes: Self, no: Self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            Self(unsafe { _mm256_blendv_ps(no.0, yes.0, widen(mask)) })
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: the caller vouches for AVX.
            Self(unsafe {
                _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
            })
        }
        #[inline(always)]
        unsafe fn power_of_two(self) -> Self {
            // SAFETY: the caller vouches for AVX2.
            Self(unsafe {
                let exponent = _mm256_add_epi32(_mm256_cvtps_epi32(self.0), _mm256_set1_epi32(127));
                _mm256_castsi256_ps(_mm256_slli_epi32::<23>(exponent))
            })
        }
        #[inline(always)]
        unsafe fn equal(from: *const i32, value: i32) -> u32 {
            // SAFETY: the caller vouches for AVX2 and the pointer.
            unsafe {
                let values = _mm256_loadu_si256(from.cast());
                let same = _mm256_cmpeq_epi32(values, _mm256_set1_epi32(value));
                _mm256_movemask_ps(_mm256_castsi256_ps(same)).cast_unsigned()
            }
        }
        #[inline(always)]
        unsafe fn from_integers(from: *const i32) -> Self {
            // SAFETY: the caller vouches for AVX and the pointer.
            Self(unsafe { _mm256_cvtepi32_ps(_mm256_loadu_si256(from.cast())) })
        }
    }

    // SAFETY: AVX-512F only; pointers are read unaligned for 16 elements.
    #[allow(unsafe_code)]
    unsafe impl Arithmetic for Avx512 {
        #[inline(always)]
        unsafe fn add(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_add_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sub(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_sub_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn mul(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_mul_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn div(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_div_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn min(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_min_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn max(self, other: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_max_ps(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn sqrt(self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_sqrt_ps(self.0) })
        }
        #[inline(always)]
        unsafe fn greater(self, other: Self) -> u32 {
            // SAFETY: the caller vouches for AVX-512F.
            u32::from(unsafe { _mm512_cmp_ps_mask::<_CMP_GT_OQ>(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn not_at_most(self, other: Self) -> u32 {
            // SAFETY: the caller vouches for AVX-512F.
            u32::from(unsafe { _mm512_cmp_ps_mask::<_CMP_NLE_UQ>(self.0, other.0) })
        }
        #[inline(always)]
        unsafe fn select(mask: u32, yes: Self, no: Self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_mask_blend_ps(mask as __mmask16, no.0, yes.0) })
        }
        #[inline(always)]
        unsafe fn round(self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe {
                _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(self.0)
            })
        }
        #[inline(always)]
        unsafe fn power_of_two(self) -> Self {
            // SAFETY: the caller vouches for AVX-512F.
            Self(unsafe { _mm512_scalef_ps(_mm512_set1_ps(1.0), self.0) })
        }
        #[inline(always)]
        unsafe fn equal(from: *const i32, value: i32) -> u32 {
            // SAFETY: the caller vouches for AVX-512F and the pointer.
            u32::from(unsafe {
                _mm512_cmpeq_epi32_mask(_mm512_loadu_si512(from.cast()), _mm512_set1_epi32(value))
            })
        }
        #[inline(always)]
        unsafe fn from_integers(from: *const i32) -> Self {
            // SAFETY: the caller vouches for AVX-512F and the pointer.
            Self(unsafe { _mm512_cvtepi32_ps(_mm512_loadu_si512(from.cast())) })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lanes::Level;

    /// `exp`, `sigmoid` and `softplus` of 16 numbers at a level.
    fn at(level: Level, input: &[f32; 16]) -> [[f64; 16]; 3] {
        let mut result = [[0.0f32; 16]; 3];
        let out = &mut result;
        for_lanes!(level, run(input: &[f32; 16], out: &mut [[f32; 16]; 3]));
        result.map(|row| row.map(f64::from))
    }

    #[inline(always)]
    #[allow(unsafe_code)]
    fn run<L: Arithmetic>(input: &[f32; 16], out: &mut [[f32; 16]; 3]) {
        for first in (0..16).step_by(L::LANES) {
            // SAFETY: the caller chose `L` by the level; the arrays have 16 elements.
            unsafe {
                let x = L::load(input[first..].as_ptr());
                exp(x).store(out[0][first..].as_mut_ptr());
                sigmoid(x).store(out[1][first..].as_mut_ptr());
                softplus(x).store(out[2][first..].as_mut_ptr());
            }
        }
    }

    #[test]
    fn exponentials_are_right_to_a_few_ulp() {
        for level in Level::supported() {
            for start in -90..90 {
                let input: [f32; 16] = std::array::from_fn(|i| start as f32 + i as f32 * 0.0637);
                let [exps, sigmoids, softpluses] = at(level, &input);
                for (i, x) in input.iter().map(|&x| f64::from(x)).enumerate() {
                    let cut = x.clamp(-87.0, 88.0);
                    let close = |found: f64, expected: f64, what| {
                        let error = (found - expected).abs() / expected;
                        assert!(error < 4e-7, "{level:?} {what}({x}) = {found}, not {expected}");
                    };
                    close(exps[i], cut.exp(), "exp");
                    close(sigmoids[i], 1.0 / (1.0 + (-cut).exp()), "sigmoid");
                    close(softpluses[i], x.max(0.0) + (-cut.abs()).exp().ln_1p(), "softplus");
                }
            }
        }
    }
}
